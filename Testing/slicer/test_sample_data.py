"""The phantom in Slicer's Sample Data."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import ClassVar

import numpy as np
import pytest
import slicer
from LiverTumorSegLib.cli.parser import DEMO_SEED
from LiverTumorSegLib.phantom.phantom import make_phantom
from LiverTumorSegSlicer.scene import sample_data
from LiverTumorSegSlicer.scene.nodes import checkVolume, readVolume
from slicersim.sample_data import SampleDataLogic


class LaterSampleDataLogic(SampleDataLogic):
    """Since Slicer 5.12."""

    categories: ClassVar[dict[str, str]] = {}

    @staticmethod
    def registerCustomSampleDataCategory(category, title=None):
        LaterSampleDataLogic.categories[category] = title


@pytest.fixture(params=[SampleDataLogic, LaterSampleDataLogic])
def sampleData(request, monkeypatch):
    module = ModuleType("SampleData")
    module.SampleDataLogic = request.param
    monkeypatch.setitem(sys.modules, "SampleData", module)
    monkeypatch.setattr(slicer.modules, "sampleDataSources", {}, raising=False)
    monkeypatch.setattr(LaterSampleDataLogic, "categories", {})
    return request.param


def onlySource():
    """The category and the one source that are registered."""
    ((category, (source,)),) = slicer.modules.sampleDataSources.items()
    return category, source


def test_the_phantom_is_listed_in_our_own_category(scene, sampleData):
    sample_data.registerSamples()
    category, source = onlySource()
    assert (category, source.sampleName) == ("LiverTumorSeg", "Liver phantom")
    assert source.thumbnailFileName.endswith("Resources/Icons/LiverTumorSeg.png")
    titles = {"LiverTumorSeg": "Liver Tumor Segmentation"}
    later = sampleData is LaterSampleDataLogic
    assert LaterSampleDataLogic.categories == (titles if later else {})


def test_a_click_makes_the_phantom_without_a_network(scene, sampleData, monkeypatch):
    monkeypatch.setattr(sample_data, "PHANTOM_SHAPE_KJI", (24, 40, 40))
    monkeypatch.setattr(sample_data, "PHANTOM_SPACING_KJI_MM", (12.0, 9.6, 9.6))
    sample_data.registerSamples()
    _, source = onlySource()
    node = source.customDownloader(source)
    expected = make_phantom(
        seed=sample_data.PHANTOM_SEED, shape_kji=(24, 40, 40), spacing_kji_mm=(12.0, 9.6, 9.6)
    )
    ct = readVolume(node)
    assert np.array_equal(ct.hu, expected.ct.hu)
    assert np.allclose(ct.ijk_to_ras, expected.ct.ijk_to_ras)
    assert all("mm apart" in warning for warning in checkVolume(node)), "made small"
    display = node.GetDisplayNode()
    assert (display.GetWindowLevelMin(), display.GetWindowLevelMax()) == (-40, 160)
    assert source.customDownloader(source).GetName() != node.GetName()


def test_the_phantom_is_the_abdomen_of_the_command_lines_demo():
    assert sample_data.PHANTOM_SEED == DEMO_SEED


def test_the_note_on_slicers_own_sample_says_where_it_is_from(scene):
    note = sample_data.ctLiverNote()
    assert "CTLiver" in note
    assert "liver_100" in note
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 0

"""The phantom in Slicer's Sample Data."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
import slicer
from LiverTumorSegLib.cli.parser import DEMO_SEED
from LiverTumorSegLib.phantom.phantom import make_phantom
from LiverTumorSegSlicer.scene import sample_data
from LiverTumorSegSlicer.scene.nodes import checkVolume, readVolume


class SampleDataLogic:
    """The two calls of Slicer's class of this name, with its arguments."""

    sources: ClassVar[list[SimpleNamespace]] = []
    categories: ClassVar[dict[str, str]] = {}

    @staticmethod
    def registerCustomSampleDataSource(
        category="Custom",
        sampleName=None,
        uris=None,
        fileNames=None,
        nodeNames=None,
        customDownloader=None,
        thumbnailFileName=None,
        loadFileType="VolumeFile",
        loadFiles=None,
        loadFileProperties=None,
        checksums=None,
    ):
        assert isinstance(uris, str)  # else Slicer wants lists of equal length
        source = SimpleNamespace(category=category, name=sampleName, download=customDownloader)
        source.thumbnail = thumbnailFileName
        SampleDataLogic.sources.append(source)


class LaterSampleDataLogic(SampleDataLogic):
    """Since Slicer 5.12."""

    @staticmethod
    def registerCustomSampleDataCategory(category, title=None):
        SampleDataLogic.categories[category] = title


@pytest.fixture(params=[SampleDataLogic, LaterSampleDataLogic])
def sampleData(request, monkeypatch):
    module = ModuleType("SampleData")
    module.SampleDataLogic = request.param
    monkeypatch.setitem(sys.modules, "SampleData", module)
    monkeypatch.setattr(SampleDataLogic, "sources", [])
    monkeypatch.setattr(SampleDataLogic, "categories", {})
    return request.param


def test_the_phantom_is_listed_in_our_own_category(scene, sampleData):
    sample_data.registerSamples()
    (source,) = sampleData.sources
    assert (source.category, source.name) == ("LiverTumorSeg", "Liver phantom")
    assert source.thumbnail.endswith("Resources/Icons/LiverTumorSeg.png")
    later = sampleData is LaterSampleDataLogic
    assert sampleData.categories == ({"LiverTumorSeg": "Liver Tumor Segmentation"} if later else {})


def test_a_click_makes_the_phantom_without_a_network(scene, sampleData, monkeypatch):
    monkeypatch.setattr(sample_data, "PHANTOM_SHAPE_KJI", (24, 40, 40))
    monkeypatch.setattr(sample_data, "PHANTOM_SPACING_KJI_MM", (12.0, 9.6, 9.6))
    sample_data.registerSamples()
    source = sampleData.sources[0]
    node = source.download(source)
    expected = make_phantom(
        seed=sample_data.PHANTOM_SEED, shape_kji=(24, 40, 40), spacing_kji_mm=(12.0, 9.6, 9.6)
    )
    ct = readVolume(node)
    assert np.array_equal(ct.hu, expected.ct.hu)
    assert np.allclose(ct.ijk_to_ras, expected.ct.ijk_to_ras)
    assert all("mm apart" in warning for warning in checkVolume(node)), "made small"
    display = node.GetDisplayNode()
    assert (display.GetWindowLevelMin(), display.GetWindowLevelMax()) == (-40, 160)
    assert source.download(source).GetName() != node.GetName()


def test_the_phantom_is_the_abdomen_of_the_command_lines_demo():
    assert sample_data.PHANTOM_SEED == DEMO_SEED


def test_the_note_on_slicers_own_sample_says_where_it_is_from(scene):
    note = sample_data.ctLiverNote()
    assert "CTLiver" in note
    assert "liver_100" in note
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 0

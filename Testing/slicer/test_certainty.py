"""How sure the model was: kept beside the scene, measured where the model marked tumor."""

from __future__ import annotations

from typing import Any

import ct_scenes as toys
import numpy as np
import pytest
import slicer
from LiverTumorSegLib.result.lesions import measure
from LiverTumorSegSlicer.panel.lesion_table import LesionTable
from LiverTumorSegSlicer.scene import certainty
from LiverTumorSegSlicer.scene.certainty import certaintyOf, keepCertainty
from LiverTumorSegSlicer.scene.nodes import readVolume, removeResult, writeSegmentation
from LiverTumorSegSlicer.scene.placement import removeFromScene


def someCertainty() -> np.ndarray:
    levels = np.random.default_rng(3).integers(1, 256, toys.SHAPE_KJI).astype(np.uint8)
    return np.where(toys.toyLabels() == 2, levels, 0).astype(np.uint8)


def addResult(**options: Any) -> tuple[Any, Any]:
    """A CT, and a run's segmentation of it with its certainty."""
    volume = options.pop("volume", None) or toys.addCt(options.pop("affine", None))
    node = writeSegmentation(toys.toyLabels(), volume, toys.RECORD, **options)
    keepCertainty(node, volume, someCertainty())
    return volume, node


def confidencesOf(node: Any, volume: Any) -> list[float | None]:
    table = LesionTable(node, volume)
    table.compute()
    table.cleanUp()
    return [row.confidence for row in table.rows]


@pytest.mark.parametrize(("axes", "signs"), toys.ALL_ORIENTATIONS[::7])
@pytest.mark.parametrize("onePerLesion", [False, True])
def test_the_rows_have_the_confidence_that_the_library_measures(scene, axes, signs, onePerLesion):
    affine = toys.orientedAffine(axes, signs)
    volume, node = addResult(affine=affine, onePerLesion=onePerLesion)
    expected = measure(toys.toyLabels(), readVolume(volume), someCertainty())
    assert expected.has_confidence
    assert confidencesOf(node, volume) == [one.confidence for one in expected.lesions]


@pytest.mark.parametrize("seed", range(20))
def test_any_box_gives_what_was_kept(scene, seed):
    volume, node = addResult()
    rng = np.random.default_rng(seed)
    edges = [sorted(rng.integers(0, count + 1, 2)) for count in toys.SHAPE_KJI]
    box = tuple(slice(int(low), int(high)) for low, high in edges)
    kept = certaintyOf(node, volume)
    np.testing.assert_array_equal(kept.within(box), someCertainty()[box])
    assert kept.valuesKji.size < someCertainty().size


def test_what_is_drawn_by_hand_does_not_count(scene):
    volume, node = addResult()
    before = confidencesOf(node, volume)
    labels = toys.toyLabels()
    drawn = np.zeros(toys.SHAPE_KJI, bool)
    drawn[9:11, 2:5, 2:5] = True
    mask = ((labels == 2) | drawn).astype(np.uint8)
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask, node, "Tumor", volume)
    table = LesionTable(node, volume)
    table.compute()
    found = {row.volumeMl: row.confidence for row in table.rows}
    assert None in found.values(), "the new lesion"
    assert [one for one in before if one not in found.values()] == []
    table.cleanUp()


def test_unknown_is_a_dash(scene):
    volume = toys.addCt()
    node = writeSegmentation(toys.toyLabels(), volume, toys.RECORD)
    table = LesionTable(node, volume)
    table.compute()
    assert {row.cells()[5] for row in table.rows} == {"-"}
    table.cleanUp()


def test_another_run_drops_it_and_undoing_that_run_brings_it_back(scene):
    volume, node = addResult()
    before = confidencesOf(node, volume)
    writeSegmentation(toys.toyLabels(), volume, toys.RECORD, segmentationNode=node)
    assert confidencesOf(node, volume) == [None] * 3
    keepCertainty(node, volume, None)
    removeResult(node)
    assert confidencesOf(node, volume) == before
    assert None not in before


def test_it_is_of_its_own_ct_only(scene):
    volume, node = addResult()
    other = toys.addCt()
    assert certaintyOf(node, volume) is not None
    assert certaintyOf(node, other) is None
    slicer.util.updateVolumeFromArray(volume, np.zeros((5, 6, 7), np.int16))
    assert certaintyOf(node, volume) is None


def test_what_no_segmentation_has_any_more_is_let_go(scene):
    volume, first = addResult()
    assert len(certainty._kept) == 1
    removeFromScene(first)
    _, second = addResult(volume=volume)
    assert list(certainty._kept) == [second.GetAttribute(certainty.TOKEN)]
    scene.Clear(False)
    volume = toys.addCt()
    node = writeSegmentation(toys.toyLabels(), volume, toys.RECORD)
    keepCertainty(node, volume, None)
    assert certainty._kept == {}


def test_a_result_without_tumor_has_none(scene):
    volume, node = addResult()
    keepCertainty(node, volume, np.zeros(toys.SHAPE_KJI, np.uint8))
    assert certaintyOf(node, volume) is None

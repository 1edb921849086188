"""The slider of sensitivity: segments, table and record follow, and what a person did stays."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import slicer
from ct_scenes import Brush
from LiverTumorSegLib.labels import Label
from LiverTumorSegLib.result.step_labels import TumorSeen
from LiverTumorSegSlicer.scene.geometry import worldIjkToRas
from LiverTumorSegSlicer.scene.kept import keptFor
from LiverTumorSegSlicer.scene.nodes import hasEditedSegments, readLabels, resultRecord
from LiverTumorSegSlicer.scene.segments import segmentIds
from LiverTumorSegSlicer.self_test import AnsweringRunner
from panel_desk import PanelDesk, stepsOf, waitUntil


def labelsOf(desk: PanelDesk) -> dict[int, np.ndarray]:
    """Fewer: the larger tumor alone. More: it has grown, and there is a third one."""
    tested = desk.labelsKji
    fewer, more = tested.copy(), tested.copy()
    fewer[(tested == Label.TUMOR) & (np.indices(tested.shape)[1] > 36)] = Label.LIVER
    k, j, i = np.nonzero((tested == Label.TUMOR) & (np.indices(tested.shape)[1] < 36))
    more[k.min() : k.max() + 1, j.min() - 1 : j.max() + 1, i.min() : i.max() + 2] = Label.TUMOR
    more[14:16, 40:44, 18:22] = Label.TUMOR
    return {-1: fewer, 0: tested, 1: more}


@pytest.fixture(params=[False, True], ids=["one segment", "a segment each"])
def result(desk: PanelDesk, request: pytest.FixtureRequest) -> Any:
    desk.volume = desk.loadCt("Scan")
    desk.parameters.onePerLesion = request.param
    desk.labels = labelsOf(desk)
    seen = TumorSeen((0, 0, 0), np.where(desk.labels[1] == Label.TUMOR, 200, 0).astype(np.uint8))
    later = (seen, stepsOf(desk.labels))
    desk.answer = lambda: AnsweringRunner(lambda ct: desk.labelsKji, later=later)
    return desk.run()


def slide(desk: PanelDesk, node: Any, step: int) -> None:
    desk.ui.sensitivitySlider.value = step
    waitUntil(lambda: keptFor(node).step == step and not desk.panel.sensitivityPanel.isBusy)


def test_segments_table_and_record_are_those_of_the_step(desk: PanelDesk, result: Any) -> None:
    assert desk.ui.sensitivityWidget.visible
    assert desk.ui.sensitivityLabel.text.startswith(
        "As tested. Where it was tuned it found 3 of 4 tumors"
    )
    for step, tumors in ((1, 3), (-1, 1), (1, 3), (0, 2), (-1, 1), (0, 2)):
        slide(desk, result, step)
        np.testing.assert_array_equal(readLabels(result, desk.volume), desk.labels[step])
        assert desk.ui.lesionTable.rowCount == tumors
        record = resultRecord(result)
        assert record["sensitivity"]["steps"] == step
        assert record["model"]["decision"]["tumor_threshold"] == 0.5 - 0.1 * step
        assert hasEditedSegments(result) == [], "nobody has edited anything"
        if desk.parameters.onePerLesion:
            assert len(segmentIds(result.GetSegmentation())) == 1 + tumors


def test_what_a_person_did_stays_at_every_step(desk: PanelDesk, result: Any) -> None:
    lesions = desk.panel.lesionPanel
    lesions.select(1)
    desk.panel.reviewPanel.reject()
    lesions.select(0)
    desk.panel.reviewPanel.accept()
    after = readLabels(result, desk.volume)
    for step in (1, -1, 0, 1):
        slide(desk, result, step)
        now = readLabels(result, desk.volume)
        third = np.zeros(now.shape, bool)
        third[14:16, 40:44, 18:22] = True
        np.testing.assert_array_equal(now[~third], after[~third])
        assert (now[third] == Label.TUMOR).all() == (step == 1)


def test_what_was_drawn_by_hand_stays_with_all_that_touches_it(
    desk: PanelDesk, result: Any
) -> None:
    drawn = np.zeros(desk.labelsKji.shape, bool)
    drawn[14:16, 44:46, 22:24] = True  # at a corner of the third tumor
    alone = np.zeros(drawn.shape, bool)
    alone[6:8, 30:33, 40:43] = True
    tumor = next(k for k in segmentIds(result.GetSegmentation()) if k.startswith("Tumor"))
    Brush(result, desk.volume).draw(tumor, drawn | alone)
    before = readLabels(result, desk.volume)
    slide(desk, result, 1)
    now = readLabels(result, desk.volume)
    assert (now[drawn | alone] == Label.TUMOR).all()
    assert (now[14:16, 40:44, 18:22] == before[14:16, 40:44, 18:22]).all()
    assert (now == Label.TUMOR).sum() > (before == Label.TUMOR).sum(), "the other tumor has grown"
    slide(desk, result, 0)
    np.testing.assert_array_equal(readLabels(result, desk.volume), before)
    assert hasEditedSegments(result), "a second run asks before it replaces what was drawn"


def test_a_model_without_other_decisions_shows_no_slider(desk: PanelDesk) -> None:
    desk.loadCt("Scan")
    desk.answerWith()
    desk.run()
    assert not desk.ui.sensitivityWidget.visible
    assert not desk.ui.sensitivityLabel.visible
    slicer.app.processEvents()


def test_uncertainty_is_laid_over_the_ct_and_taken_away_without_a_trace(
    desk: PanelDesk, result: Any
) -> None:
    views = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
    before = {node.GetID() for node in slicer.util.getNodesByClass("vtkMRMLNode")}
    desk.ui.uncertaintyCheckBox.checked = True
    overlay = desk.panel.uncertaintyPanel._overlay.node
    assert {view.GetForegroundVolumeID() for view in views} == {overlay.GetID()}
    colors = overlay.GetDisplayNode().GetColorNode()
    lightness, dark = [], [0.0] * 4
    for index in range(0, colors.GetNumberOfColors(), 5):
        colors.GetColor(index, dark)
        lightness.append(0.2126 * dark[0] + 0.7152 * dark[1] + 0.0722 * dark[2])
        assert dark[0] < 0.8 or dark[1] > 0.8, "red is the color of tumors"
    assert lightness == sorted(lightness)
    assert lightness[0] > 0.3, "the least of it is seen on a dark CT"
    percentKji = slicer.util.arrayFromVolume(overlay)
    assert set(np.unique(percentKji)) == {0, 78}, "200 of 255"
    assert (percentKji[desk.labels[1] == Label.TUMOR] == 78).all()
    assert (worldIjkToRas(overlay) == worldIjkToRas(desk.volume)).all()
    assert slicer.util.getNodesByClass("vtkMRMLColorLegendDisplayNode"), "the color bar"
    desk.ui.uncertaintyCheckBox.checked = False
    assert all(view.GetForegroundVolumeID() is None for view in views)
    assert {node.GetID() for node in slicer.util.getNodesByClass("vtkMRMLNode")} == before
    desk.ui.uncertaintyCheckBox.checked = True
    slicer.util.selectModule("SampleData")
    assert not slicer.util.getNodesByClass("vtkMRMLColorLegendDisplayNode")

"""A reader goes through the lesions by keys and clicks; nothing that was drawn is lost."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import qt
import slicer
from LiverTumorSegLib.labels import Label
from LiverTumorSegLib.result.lesions import label_lesions
from LiverTumorSegSlicer.scene.geometry import worldIjkToRas
from LiverTumorSegSlicer.scene.nodes import hasEditedSegments, readLabels
from LiverTumorSegSlicer.scene.review import rejectedLesions, reviewOf
from LiverTumorSegSlicer.scene.segments import segmentIds
from panel_desk import PanelDesk, waitUntil

REVIEW = 7  # the table's column


@pytest.fixture
def result(desk: PanelDesk) -> Any:
    """The segmentation of a run over the test CT, with two tumors in one segment."""
    desk.volume = desk.loadCt("Scan")
    desk.answerWith()
    return desk.run()


def press(desk: PanelDesk, key: str) -> None:
    qt.QTest.keyClick(desk.window, getattr(qt.Qt, f"Key_{key}"))
    slicer.app.processEvents()


def reviews(desk: PanelDesk) -> list[str]:
    table = desk.ui.lesionTable
    return [table.item(row, REVIEW).text() for row in range(table.rowCount)]


def statuses(node: Any) -> dict[str, str]:
    segmentation = node.GetSegmentation()
    return {key: reviewOf(segmentation.GetSegment(key)) for key in segmentIds(segmentation)}


def test_keys_go_round_the_lesions_and_only_while_the_module_is_shown(
    desk: PanelDesk, result: Any
) -> None:
    table = desk.ui.lesionTable
    rows = []
    for key in "NNPPN":
        press(desk, key)
        rows.append(table.currentRow())
    assert rows == [1, 0, 1, 0, 1]
    slicer.util.selectModule("SampleData")
    before = [s.GetSliceOffset() for s in slicer.util.getNodesByClass("vtkMRMLSliceNode")]
    for key in "NAX":
        press(desk, key)
    assert [s.GetSliceOffset() for s in slicer.util.getNodesByClass("vtkMRMLSliceNode")] == before
    assert (readLabels(result, desk.volume) == desk.labelsKji).all()
    assert set(statuses(result).values()) == {""}
    slicer.util.selectModule("LiverTumorSeg")
    press(desk, "N")
    assert table.currentRow() == 0


def test_an_accepted_lesion_has_a_segment_of_its_own_and_slicer_s_status(
    desk: PanelDesk, result: Any
) -> None:
    assert desk.ui.lesionTable.isColumnHidden(REVIEW), "nothing was reviewed yet"
    press(desk, "A")
    assert reviews(desk) == ["accepted", "new"]
    assert desk.ui.lesionTable.currentRow() == 1, "the next one"
    assert not desk.ui.lesionTable.isColumnHidden(REVIEW)
    assert (readLabels(result, desk.volume) == desk.labelsKji).all(), "no voxel has changed"
    accepted = [key for key, review in statuses(result).items() if review == "accepted"]
    assert accepted
    assert accepted != ["Tumor"], "the other tumor is in that"
    assert len(hasEditedSegments(result)) > 0, "a second run asks before it replaces them"
    press(desk, "A")
    assert reviews(desk) == ["accepted", "accepted"]
    press(desk, "U")
    assert reviews(desk) == ["accepted", "new"]


def test_a_rejected_lesion_is_liver_and_one_undo_brings_it_back(
    desk: PanelDesk, result: Any
) -> None:
    components, _count = label_lesions(desk.labelsKji)
    largest = components == np.bincount(components.ravel())[1:].argmax() + 1
    press(desk, "X")
    expected = desk.labelsKji.copy()
    expected[largest] = Label.LIVER
    assert (readLabels(result, desk.volume) == expected).all()
    assert desk.ui.lesionTable.rowCount == 1
    (row,) = rejectedLesions(result)
    assert row["review"] == "rejected"
    assert row["volume_ml"] == pytest.approx(
        largest.sum() * abs(np.linalg.det(worldIjkToRas(desk.volume)[:3, :3])) / 1000, abs=1e-3
    )
    press(desk, "X")
    assert "no tumor found" in desk.ui.resultLabel.text
    press(desk, "U")
    assert (readLabels(result, desk.volume) == expected).all()
    press(desk, "U")
    assert (readLabels(result, desk.volume) == desk.labelsKji).all()
    assert rejectedLesions(result) == []
    assert not desk.ui.undoButton.enabled


def test_an_undo_keeps_what_was_drawn_meanwhile(desk: PanelDesk, result: Any) -> None:
    press(desk, "X")
    drawn = readLabels(result, desk.volume) == Label.TUMOR
    drawn[12, 30:34, 40:44] = True
    slicer.util.updateSegmentBinaryLabelmapFromArray(
        drawn.astype(np.uint8), result, "Tumor", desk.volume
    )
    press(desk, "U")
    tumor = readLabels(result, desk.volume) == Label.TUMOR
    assert (tumor == (drawn | (desk.labelsKji == Label.TUMOR))).all()


def test_a_rejected_segment_of_its_own_goes_and_comes_back_with_its_name(
    desk: PanelDesk, result: Any
) -> None:
    press(desk, "A")
    names = {one.GetName() for one in _segments(result)}
    desk.ui.lesionTable.setCurrentCell(0, 0)
    press(desk, "X")
    assert {one.GetName() for one in _segments(result)} < names
    press(desk, "U")
    assert {one.GetName() for one in _segments(result)} == names
    assert reviews(desk) == ["accepted", "new"]


def test_a_click_in_a_view_adds_the_lesion_that_was_missed(desk: PanelDesk) -> None:
    """The run has found no tumor; the CT has two."""
    desk.volume = desk.loadCt("Scan")
    liver = np.minimum(desk.labelsKji, np.uint8(Label.LIVER))
    desk.answerWith(liver)
    node = desk.run()
    desk.click(desk.ui.addLesionButton)
    clickAt(desk, (13, 30, 26))
    waitUntil(lambda: desk.ui.lesionTable.rowCount == 1)
    components, _count = label_lesions(desk.labelsKji)
    truth = components == components[13, 30, 26]
    found = readLabels(node, desk.volume) == Label.TUMOR
    assert 2 * (found & truth).sum() / (found.sum() + truth.sum()) > 0.7
    assert reviews(desk) == ["added"]
    assert desk.ui.lesionTable.currentRow() == 0
    assert not desk.ui.addLesionButton.checked
    assert not slicer.util.getNodesByClass("vtkMRMLMarkupsFiducialNode")
    desk.click(desk.ui.undoButton)
    assert (readLabels(node, desk.volume) == liver).all()


def test_a_click_beside_the_liver_is_a_sentence(desk: PanelDesk, result: Any) -> None:
    desk.click(desk.ui.addLesionButton)
    clickAt(desk, (0, 0, 0))
    waitUntil(lambda: desk.questions.failures)
    assert desk.questions.failures == [
        "Click inside the liver, on a lesion that is not marked yet."
    ]
    assert (readLabels(result, desk.volume) == desk.labelsKji).all()


@pytest.mark.usefixtures("result")
def test_who_changes_their_mind_places_nothing(desk: PanelDesk) -> None:
    interaction = slicer.app.applicationLogic().GetInteractionNode()
    for change in (
        lambda: desk.click(desk.ui.addLesionButton),
        lambda: interaction.SetCurrentInteractionMode(interaction.ViewTransform),
        lambda: slicer.util.selectModule("SampleData"),
    ):
        desk.click(desk.ui.addLesionButton)
        assert interaction.GetCurrentInteractionMode() == interaction.Place
        change()
        waitUntil(lambda: not desk.ui.addLesionButton.checked)
        assert interaction.GetCurrentInteractionMode() == interaction.ViewTransform
        assert not slicer.util.getNodesByClass("vtkMRMLMarkupsFiducialNode")


def clickAt(desk: PanelDesk, voxelKji: tuple[int, int, int]) -> None:
    """What Slicer's views do with a click while a point is to be placed."""
    application = slicer.app.applicationLogic()
    node = slicer.mrmlScene.GetNodeByID(application.GetSelectionNode().GetActivePlaceNodeID())
    ras = worldIjkToRas(desk.volume) @ [*voxelKji[::-1], 1.0]
    node.AddControlPointWorld(*ras[:3])
    interaction = application.GetInteractionNode()
    interaction.SetCurrentInteractionMode(interaction.ViewTransform)
    slicer.app.processEvents()


def _segments(node: Any) -> list[Any]:
    segmentation = node.GetSegmentation()
    return [segmentation.GetSegment(key) for key in segmentIds(segmentation)]

"""Two dates in the panel: matches, both CTs side by side, and wrong matches corrected by clicks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import qt
import slicer
from ct_scenes import Brush, addTransform, rotation
from LiverTumorSegLib.result.followup.change import DatedLesion, Link, change_of
from LiverTumorSegSlicer.scene.geometry import worldIjkToRas
from LiverTumorSegSlicer.scene.segments import segmentIds
from panel_desk import PanelDesk, waitUntil

ERROR_MM = 3.2
CTRL = qt.Qt.ControlModifier
MOVEMENT = rotation(2, 20)
MOVEMENT[:3, 3] = (11.0, -6.0, 4.5)
PROPOSED = (Link((1,), (2,)), Link((2,), ()), Link((), (1,)))  # crossed: 1 is 1, and 2 is 2


def centersOf(desk: PanelDesk) -> list[tuple[float, ...]]:
    return [tuple(one.lesion.centroid_ras_mm) for one in desk.panel.lesionPanel.lesions]


def recordOf(desk: PanelDesk) -> dict[str, Any]:
    """What the command line says: the follow-up is the table's, the baseline the same, moved."""
    back = np.linalg.inv(MOVEMENT)
    sizes = [(9.3, 30.0), (0.7, 12.0)]
    after = [
        DatedLesion(n, ml, mm, center, may_progress=True)
        for n, ((ml, mm), center) in enumerate(zip(sizes, centersOf(desk), strict=True), start=1)
    ]
    before = [
        DatedLesion(one.number, one.volume_ml, one.longest_mm, tuple(place[:3]), target=True)
        for one in after
        for place in [(back @ [*one.center_ras_mm, 1]).tolist()]
    ]
    rows = change_of(PROPOSED, before, after).rows
    return {
        "lesions": [row.to_dict() for row in rows],
        "registration": {
            "error_mm": ERROR_MM,
            "baseline_ras_to_followup_ras": MOVEMENT.tolist(),
        },
        "lesions_of_dates": {
            "baseline": [one.to_dict() for one in before],
            "followup": [one.to_dict() for one in after],
        },
    }


def answer(desk: PanelDesk, name: str) -> list[str]:
    """The child makes its page and record: the arguments that it got."""
    waitUntil(lambda: desk.runners[-1].pid)
    runner = desk.runners[-1]
    folder = Path(runner.arguments[runner.arguments.index("-o") + 1])
    folder.mkdir()
    (folder / "report.html").write_text(name, "utf-8")
    (folder / "comparison.json").write_text(json.dumps(recordOf(desk)), "utf-8")
    runner.exit(0)
    slicer.app.processEvents()
    return list(runner.arguments)


@pytest.fixture
def compared(desk: PanelDesk, tmp_path: Path) -> Any:
    """An earlier CT with its result, which lies elsewhere, and the later one, which is shown."""
    early = desk.loadCt("Early")
    early.SetAndObserveTransformNodeID(addTransform(np.linalg.inv(MOVEMENT)).GetID())
    desk.answerWith()
    desk.parameters.inputVolume = early
    baseline = desk.run()
    late = desk.loadCt("Late")
    desk.parameters.inputVolume = late
    desk.run()
    desk.early, desk.late, desk.baseline = early, late, baseline
    (tmp_path / "pages").mkdir()
    desk.questions.path = tmp_path / "pages"
    desk.ui.baselineSelector.setCurrentNode(baseline)
    desk.answer = None
    desk.click(desk.ui.compareButton)
    assert not desk.ui.compareButton.enabled, "one at a time"
    answer(desk, "first")
    return desk.parameters.outputSegmentation


def rowsOf(desk: PanelDesk) -> list[tuple[str, ...]]:
    table = desk.ui.matchesTable
    return [tuple(table.item(row, c).text() for c in range(3)) for row in range(table.rowCount)]


def select(desk: PanelDesk, *rows: int) -> None:
    """With the mouse, the second one with Ctrl."""
    table = desk.ui.matchesTable
    for number, row in enumerate(rows):
        place = table.visualItemRect(table.item(row, 0)).center()
        modifier = CTRL if number else qt.Qt.NoModifier
        qt.QTest.mouseClick(table.viewport(), qt.Qt.LeftButton, modifier, place)
    slicer.app.processEvents()


def logicOf(name: str) -> Any:
    return slicer.app.layoutManager().sliceWidget(name).sliceLogic()


@pytest.mark.usefixtures("compared")
def test_a_wrong_match_is_corrected_by_clicks_and_all_numbers_follow(desk: PanelDesk) -> None:
    ui = desk.ui
    assert rowsOf(desk) == [
        ("1", "2", "shrunk (target)"),
        ("2", "-", "gone (target)"),
        ("-", "1", "new"),
    ]
    text = "The livers fit within 3 mm. Targets 42 > 12 mm: partial response, if the reader agrees"
    assert ui.comparisonLabel.text == f"{text} (RECIST 1.1). New, to be confirmed: 1."
    for button in (ui.notSameButton, ui.sameButton):
        assert not button.enabled, "nothing is selected"
    select(desk, 0)
    assert not ui.sameButton.enabled
    desk.click(ui.notSameButton)
    assert [row[:2] for row in rowsOf(desk)] == [("1", "-"), ("2", "-"), ("-", "1"), ("-", "2")]
    select(desk, 0, 1)
    assert not ui.sameButton.enabled, "both are of the earlier date"
    for _again in range(2):  # 1 with 1, then 2 with 2, which have moved up
        pairs = [row[:2] for row in rowsOf(desk)]
        free = [n for n, pair in enumerate(pairs) if "-" in pair]
        select(desk, free[0], free[len(free) // 2])
        desk.click(ui.sameButton)
    assert rowsOf(desk) == [("1", "1", "unchanged (target)"), ("2", "2", "unchanged (target)")]
    assert "42 > 42 mm: stable disease" in ui.comparisonLabel.text
    assert ui.comparisonLabel.text.endswith("Matches were corrected by hand.")
    desk.click(ui.savePageButton)
    arguments = answer(desk, "corrected")
    assert arguments[arguments.index("--match") + 1] == "1=1,2=2"
    assert arguments[arguments.index("--no-match") + 1] == "1"
    (path,) = desk.questions.path.iterdir()
    assert path.read_text("utf-8") == "corrected"
    assert len(rowsOf(desk)) == 2, "saving changes nothing"
    desk.questions.agrees = False
    desk.click(ui.compareButton)
    assert len(rowsOf(desk)) == 2, "corrections are not thrown away without a question"


@pytest.mark.usefixtures("compared")
def test_both_dates_stand_side_by_side_and_scroll_together(desk: PanelDesk) -> None:
    manager, sliceNodes = slicer.app.layoutManager(), {}
    for name in ("Red", "Yellow"):
        sliceNodes[name] = logicOf(name).GetSliceNode()
    before = stateOfViews(desk)
    desk.click(desk.ui.linkedViewsButton)
    assert manager.layout == slicer.vtkMRMLLayoutNode.SlicerLayoutSideBySideView
    shown = [logicOf(name).GetSliceCompositeNode() for name in ("Red", "Yellow")]
    assert [one.GetBackgroundVolumeID() for one in shown] == [
        desk.early.GetID(),
        desk.late.GetID(),
    ]
    assert [node.GetOrientation() for node in sliceNodes.values()] == ["Axial", "Axial"]
    np.testing.assert_allclose(worldIjkToRas(desk.early), worldIjkToRas(desk.late), atol=1e-6)
    later = desk.parameters.outputSegmentation
    assert [display(node) for node in (desk.baseline, later)] == [
        [sliceNodes["Red"].GetID()],
        [sliceNodes["Yellow"].GetID()],
    ]
    logic = logicOf("Red")  # a person turns the wheel
    logic.StartSliceNodeInteraction(slicer.vtkMRMLSliceNode.SliceToRASFlag)
    logic.SetSliceOffset(logic.GetSliceOffset() + 7.0)
    logic.EndSliceNodeInteraction()
    assert logicOf("Yellow").GetSliceOffset() == pytest.approx(logic.GetSliceOffset())
    select(desk, 0)  # 1 of the earlier is shown on the left, and 2 on the right
    for (name, node), center in zip(sliceNodes.items(), centersOf(desk), strict=True):
        assert node.GetSliceOffset() == pytest.approx(center[2], abs=0.02), name
    desk.click(desk.ui.savePageButton)
    place = desk.early.GetParentTransformNode()
    assert place is not None
    answer(desk, "page")
    desk.click(desk.ui.linkedViewsButton)
    assert stateOfViews(desk) == before


@pytest.mark.usefixtures("compared")
def test_two_results_of_one_ct_are_linked_without_moving_it(desk: PanelDesk) -> None:
    later = desk.parameters.outputSegmentation
    desk.parameters.outputSegmentation = None
    desk.answerWith()
    desk.baseline = desk.run()
    desk.parameters.outputSegmentation = later
    desk.ui.baselineSelector.setCurrentNode(desk.baseline)
    desk.answer = None
    desk.click(desk.ui.compareButton)
    answer(desk, "both")
    place = worldIjkToRas(desk.late)
    desk.click(desk.ui.linkedViewsButton)
    assert len(rowsOf(desk)) == 3
    assert desk.ui.linkedViewsButton.checked
    np.testing.assert_array_equal(worldIjkToRas(desk.late), place)
    desk.click(desk.ui.linkedViewsButton)
    assert slicer.app.layoutManager().layout != slicer.vtkMRMLLayoutNode.SlicerLayoutSideBySideView


@pytest.mark.usefixtures("compared")
def test_views_are_as_before_whichever_way_the_comparison_ends(desk: PanelDesk) -> None:
    ui = desk.ui
    before = stateOfViews(desk)
    desk.click(ui.linkedViewsButton)
    slicer.util.selectModule("SampleData")
    slicer.util.selectModule("LiverTumorSeg")
    assert len(rowsOf(desk)) == 3, "another module was looked at"
    assert ui.linkedViewsButton.checked
    (tumor, *_others) = (i for i in segmentIds(desk.baseline.GetSegmentation()) if "umor" in i)
    mask = np.zeros(desk.labelsKji.shape, np.uint8)
    mask[12:14, 38:40, 20:22] = 1
    Brush(desk.baseline, desk.early).draw(tumor, mask)
    assert rowsOf(desk) == []
    assert ui.comparisonLabel.text == "Tumors have changed since they were compared; compare again."
    assert stateOfViews(desk) == before
    desk.click(ui.compareButton)
    answer(desk, "again")
    desk.click(ui.linkedViewsButton)
    desk.panel.lesionPanel.select(0)
    desk.click(ui.rejectButton)
    assert rowsOf(desk) == []
    assert stateOfViews(desk) == before
    desk.click(ui.undoButton)
    desk.click(ui.compareButton)
    answer(desk, "once more")
    desk.click(ui.linkedViewsButton)
    slicer.mrmlScene.Clear(0)
    slicer.app.processEvents()
    assert slicer.app.layoutManager().layout == before["layout"]
    assert not ui.linkedViewsButton.checked


def display(segmentationNode: Any) -> list[str]:
    node = segmentationNode.GetDisplayNode()
    return [node.GetNthViewNodeID(n) for n in range(node.GetNumberOfViewNodeIDs())]


def stateOfViews(desk: PanelDesk) -> dict[str, Any]:
    """All that linked views change."""
    composites = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
    slices = [logicOf(name).GetSliceNode() for name in ("Red", "Yellow", "Green")]
    nodes = (desk.baseline, desk.parameters.outputSegmentation)
    return {
        "layout": slicer.app.layoutManager().layout,
        "links": [(c.GetLinkedControl(), c.GetHotLinkedControl()) for c in composites],
        "volumes": [c.GetBackgroundVolumeID() for c in composites],
        "orientations": [node.GetOrientation() for node in slices],
        "shown": [(display(node), node.GetDisplayNode().GetVisibility()) for node in nodes],
        "places": [node.GetTransformNodeID() for node in (desk.early, desk.baseline)],
        "transforms": len(slicer.util.getNodesByClass("vtkMRMLTransformNode")),
    }

"""What the views and the panel show by themselves: the first tumor, 3D, a window, what to know."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import qt
import slicer
from LiverTumorSegLib.model.catalog import shipped_models
from LiverTumorSegSlicer.panel.models import recallText
from panel_desk import PanelDesk, writeModel

from LiverTumorSeg import ADVANCED

WINDOW = (1280, 800)  # pixels
PANEL_WIDTH = 400  # pixels, beside its scroll bar, whatever the font
TABLE_MARGINS = 72  # of it, to both sides of the table, with its frame


def pointOfRow(desk: PanelDesk, number: int) -> tuple[float, float, float]:
    return desk.panel.lesionPanel._rowAt(number).pointRasMm


def test_after_a_run_the_largest_tumor_is_shown_where_the_views_are(desk: PanelDesk) -> None:
    desk.loadCt()
    desk.answerWith()
    red = slicer.util.getNode("Red")
    panned = [mm + 20 for mm in slicer.util.arrayFromVTKMatrix(red.GetSliceToRAS())[:2, 3]]
    red.JumpSliceByCentering(*panned, 0.0)
    desk.run()
    assert desk.ui.lesionTable.currentRow() == 0
    r, a, s = slicer.util.arrayFromVTKMatrix(red.GetSliceToRAS())[:3, 3]
    assert (r, a) == pytest.approx(panned)
    assert s == pytest.approx(pointOfRow(desk, 0)[2])
    assert desk.ui.lesionTable.item(0, 4).text() == f"{s:+.1f}"


def test_a_person_in_another_module_is_not_disturbed(desk: PanelDesk) -> None:
    desk.loadCt()
    runner = desk.start()
    slicer.util.selectModule("SampleData")
    before = slicer.util.getNode("Red").GetSliceOffset()
    runner.begin()
    runner.answer(desk.labelsKji)
    runner.exit()
    for _settle in range(50):
        slicer.app.processEvents()
    assert slicer.util.getNode("Red").GetSliceOffset() == before


def test_3d_comes_back_after_a_second_run(desk: PanelDesk) -> None:
    desk.loadCt()
    desk.answerWith()
    node = desk.run()
    desk.click(desk.ui.show3DButton)
    display = node.GetDisplayNode()
    assert display.GetSegmentOpacity3D("Liver") < 1 == display.GetSegmentOpacity3D("Tumor")
    assert desk.run() is node
    assert node.GetSegmentation().ContainsRepresentation("Closed surface")
    assert desk.ui.show3DButton.checked
    assert node.GetDisplayNode().GetSegmentOpacity3D("Liver") < 1
    desk.click(desk.ui.show3DButton)
    desk.run()
    assert not node.GetSegmentation().ContainsRepresentation("Closed surface")


def test_the_button_follows_what_is_done_in_segment_editor(desk: PanelDesk) -> None:
    desk.loadCt()
    desk.answerWith()
    node = desk.run()
    node.CreateClosedSurfaceRepresentation()
    assert desk.ui.show3DButton.checked


def test_a_window_that_nobody_chose_becomes_that_of_the_abdomen(desk: PanelDesk) -> None:
    volume = desk.loadCt()
    desk.answerWith()
    display = volume.GetDisplayNode()
    display.SetAutoWindowLevel(True)
    desk.run()
    assert (display.GetWindow(), display.GetLevel()) == (350, 40)
    display.SetWindowLevelMinMax(-900, 300)
    desk.run()
    assert (display.GetWindow(), display.GetLevel()) == (1200, -300), "a person's choice stays"


def test_the_result_says_what_the_model_is_known_to_miss(desk: PanelDesk) -> None:
    scores = {"test, lesions found": "9 of 24, 2 false in 5 volumes"}
    desk.environment.importModel(writeModel(desk.folder / "known.safetensors", scores=scores))
    desk.panel.environmentPanel.look()
    desk.loadCt()
    for name, words in (("known", "finds 9 of 24 tumors in tests"), ("other", "is not known")):
        desk.answerWith(model={"model": name})
        desk.run()
        assert words in desk.ui.recallLabel.text
        assert desk.ui.recallLabel.visible
    for entry in shipped_models():
        large, there = entry.large_lesions_found
        assert f"from 10 mm {large} of {there}" in recallText(entry)


def test_a_status_about_another_ct_goes(desk: PanelDesk) -> None:
    first = desk.loadCt("First")
    desk.answerWith()
    desk.run()
    assert desk.ui.statusLabel.text.startswith("Done")
    desk.ui.inputSelector.setCurrentNode(desk.loadCt("Second"))
    assert desk.ui.statusLabel.text == ""
    desk.answer = None
    runner = desk.start()
    runner.begin()
    runner.say("progress", fraction=0.5, phrase="Slice 5", seconds_left=None)
    desk.ui.inputSelector.setCurrentNode(first)
    assert desk.ui.statusLabel.text == "Slice 5", "a run goes on, and is told of"


def test_views_follow_another_ct_with_its_result_unless_one_shows_it(desk: PanelDesk) -> None:
    """A result laid over another patient's CT would be worse than the CT before."""
    views = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
    volumes, results = [], []
    for name in ("First", "Second"):
        volumes.append(desk.loadCt(name))
        desk.ui.inputSelector.setCurrentNode(volumes[-1])
        desk.answerWith()
        results.append(desk.run())
    for chosen in (0, 1, 0):
        desk.ui.inputSelector.setCurrentNode(volumes[chosen])
        assert {view.GetBackgroundVolumeID() for view in views} == {volumes[chosen].GetID()}
        shown = [bool(node.GetDisplayNode().GetVisibility()) for node in results]
        assert shown == [chosen == 0, chosen == 1]
    views[0].SetBackgroundVolumeID(volumes[1].GetID())
    desk.ui.inputSelector.setCurrentNode(volumes[1])
    assert views[1].GetBackgroundVolumeID() == volumes[0].GetID(), "as a person arranged it"


def test_a_volume_that_is_no_ct_is_told_when_it_is_chosen(desk: PanelDesk) -> None:
    ct = desk.loadCt()
    warning = desk.ui.inputWarningLabel
    assert not warning.visible
    mr = slicer.util.addVolumeFromArray(np.arange(1000).reshape(10, 10, 10).astype(np.int16))
    desk.ui.inputSelector.setCurrentNode(mr)
    assert "nothing below 0" in warning.text
    assert warning.visible
    tree = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    tree.SetItemAttribute(tree.GetItemByDataNode(ct), "DICOM.Modality", "MR")
    desk.ui.inputSelector.setCurrentNode(ct)
    assert warning.text == "This volume is MR by its DICOM data; the models know CT only."
    assert desk.ui.segmentButton.enabled, "the person may know better"
    tree.SetItemAttribute(tree.GetItemByDataNode(ct), "DICOM.Modality", "CT")
    desk.ui.inputSelector.setCurrentNode(mr)
    desk.ui.inputSelector.setCurrentNode(ct)
    assert not warning.visible


def test_advanced_goes_back_to_its_defaults_and_nothing_else_does(desk: PanelDesk) -> None:
    volume = desk.loadCt()
    parameters = desk.parameters
    before = {name: getattr(parameters, name) for name in ADVANCED}
    for name, value in before.items():
        setattr(parameters, name, not value if isinstance(value, bool) else 6.5)
    parameters.device = "cpu"
    desk.ui.advancedCollapsibleButton.collapsed = False
    desk.click(desk.ui.restoreDefaultsButton)
    assert {name: getattr(parameters, name) for name in before} == before
    assert (parameters.inputVolume, parameters.device) == (volume, "cpu")


def shownColumns(table: Any) -> list[int]:
    return [column for column in range(table.columnCount) if not table.isColumnHidden(column)]


def test_columns_that_say_nothing_are_hidden(desk: PanelDesk) -> None:
    desk.loadCt()
    desk.answerWith()
    desk.run()
    assert shownColumns(desk.ui.lesionTable) == [0, 1, 2, 3, 4], "no confidence, and one segment"
    desk.parameters.onePerLesion = True
    desk.run()
    assert shownColumns(desk.ui.lesionTable) == [0, 1, 2, 3, 4, 6]


def test_the_panel_fits_its_width_with_a_font_of_150_percent(desk: PanelDesk) -> None:
    """No horizontal scroll bar in the panel with everything unfolded, and none in the table."""
    original = slicer.app.font()
    larger = qt.QFont(original)
    larger.setPointSizeF(1.5 * original.pointSizeF())
    ui = desk.ui
    try:
        slicer.app.setFont(larger)
        desk.loadCt()
        desk.answerWith()
        desk.run()
        for section in (ui.advancedCollapsibleButton, ui.environmentCollapsibleButton):
            section.collapsed = False
        for _settle in range(5):
            slicer.app.processEvents()
        assert desk.page.minimumSizeHint().width() <= PANEL_WIDTH
        used = ui.lesionTable.horizontalHeader().length()
        assert used <= PANEL_WIDTH - TABLE_MARGINS
    finally:
        slicer.app.setFont(original)


def test_a_result_fits_a_window_of_800_pixels_without_a_scroll_bar(desk: PanelDesk) -> None:
    """What wraps over lines must not ask for the room of its narrowest form."""
    desk.window.resize(*WINDOW)
    desk.loadCt()
    dropped = "1 mark of tumor in fat or gas that goes on around (-53 HU): dropped, as no tumor is."
    desk.answerWith(warnings=[dropped], model={"model": "first", "version": "1"})
    desk.run()
    desk.ui.environmentCollapsibleButton.collapsed = True
    for _settle in range(6):
        slicer.app.processEvents()
    assert desk.ui.recallLabel.visible
    assert desk.ui.warningsLabel.visible
    assert desk.page.height <= desk.page.parent().height

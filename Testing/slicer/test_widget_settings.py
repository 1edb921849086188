"""The settings of the panel, and what of them reaches the run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slicer
from ct_scenes import addCt, orientedAffine
from LiverTumorSegSlicer.environment.prober import Found, Proof
from LiverTumorSegSlicer.scene.axial_slices import AxialSlices
from panel_desk import PanelDesk, writeModel


def argumentsOf(desk: PanelDesk) -> list[str]:
    runner = desk.start()
    desk.click(desk.ui.segmentButton)
    runner.exit(130)
    slicer.app.processEvents()
    return runner.arguments


def following(arguments: list[str], option: str, count: int = 1) -> list[str]:
    start = arguments.index(option) + 1
    return arguments[start : start + count]


def test_the_defaults_ask_for_the_chosen_model_and_no_more(desk: PanelDesk) -> None:
    desk.loadCt()
    arguments = argumentsOf(desk)
    assert following(arguments, "--model") == ["first"]
    assert following(arguments, "--device") == ["auto"]
    left_out = {"--no-scan", "--probabilities", "--slices", "--smallest-lesion-mm"}
    assert not left_out & set(arguments)


def test_every_setting_reaches_the_run(desk: PanelDesk) -> None:
    desk.loadCt()
    ui = desk.ui
    desk.click(ui.advancedCollapsibleButton)
    desk.click(ui.scanCheckBox)
    desk.click(ui.limitSlicesCheckBox)
    ui.firstSliceSpinBox.value, ui.lastSliceSpinBox.value = 4, 9
    ui.smallestLesionSpinBox.value = 6.5
    ui.deviceComboBox.currentIndex = 2
    ui.deviceComboBox.activated.emit(2)
    arguments = argumentsOf(desk)
    assert "--no-scan" in arguments
    assert following(arguments, "--slices", 2) == ["4", "9"]
    assert following(arguments, "--smallest-lesion-mm") == ["6.5"]
    assert following(arguments, "--device") == ["cpu"]


def test_the_range_starts_with_all_slices_and_stays_within_them(desk: PanelDesk) -> None:
    desk.loadCt()
    ui = desk.ui
    assert not ui.firstSliceSpinBox.enabled
    assert (ui.firstSliceSpinBox.value, ui.lastSliceSpinBox.value) == (0, 23)
    assert ui.lastSliceSpinBox.maximum == 23
    other = slicer.util.addVolumeFromArray(np.zeros((40, 8, 8), np.int16), name="Other")
    ui.inputSelector.setCurrentNode(other)
    assert (ui.firstSliceSpinBox.value, ui.lastSliceSpinBox.value) == (0, 39)


def test_slices_are_counted_from_the_feet_for_the_run(desk: PanelDesk) -> None:
    flipped = addCt(orientedAffine((0, 1, 2), (-1, -1, -1)))  # k runs from head to feet
    desk.ui.inputSelector.setCurrentNode(flipped)
    desk.parameters.limitSlices = True
    desk.parameters.firstSlice, desk.parameters.lastSlice = 2, 5
    assert following(argumentsOf(desk), "--slices", 2) == ["8", "11"]


def test_a_range_given_the_wrong_way_round_is_turned(desk: PanelDesk) -> None:
    desk.loadCt()
    desk.parameters.limitSlices = True
    desk.parameters.firstSlice, desk.parameters.lastSlice = 9, 4
    assert following(argumentsOf(desk), "--slices", 2) == ["4", "9"]


def test_slices_are_taken_from_what_the_coronal_view_shows(desk: PanelDesk) -> None:
    volume = desk.loadCt()
    desk.click(desk.ui.advancedCollapsibleButton)
    green = slicer.mrmlScene.GetNodeByID("vtkMRMLSliceNodeGreen")
    width, height, depth = green.GetFieldOfView()
    green.SetFieldOfView(width * 30 / height, 30, depth)  # 30 mm high
    bounds = [0.0] * 6
    volume.GetRASBounds(bounds)
    center = [(bounds[2 * axis] + bounds[2 * axis + 1]) / 2 for axis in range(3)]
    green.JumpSliceByCentering(*center)
    desk.click(desk.ui.slicesFromViewsButton)
    first, last = desk.parameters.firstSlice, desk.parameters.lastSlice
    assert desk.parameters.limitSlices
    assert 0 < first < 12 < last < 23
    assert 30 / 4.9 <= last - first + 1 <= 60 / 4.9, "tilted by some degrees, 4.9 mm apart"
    green.JumpSliceByCentering(center[0], center[1], center[2] + 900)
    desk.click(desk.ui.slicesFromViewsButton)
    assert (desk.parameters.firstSlice, desk.parameters.lastSlice) == (first, last)
    assert "shows this volume" in desk.ui.statusLabel.text


def addRoi(center: tuple[float, ...], size: tuple[float, ...]) -> Any:
    roi = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "ROI")
    roi.SetCenter(center)
    roi.SetSize(size)
    return roi


def test_slices_follow_a_region_of_interest(desk: PanelDesk) -> None:
    volume = slicer.util.addVolumeFromArray(
        np.zeros((30, 10, 10), np.int16), ijkToRAS=np.diag([-1.0, -1.0, 2.0, 1.0])
    )
    desk.ui.inputSelector.setCurrentNode(volume)
    roi = addRoi((-5, -5, 20), (4, 4, 12))
    desk.ui.roiSelector.setCurrentNode(roi)
    assert (desk.parameters.firstSlice, desk.parameters.lastSlice) == (7, 13)
    assert desk.parameters.limitSlices
    roi.SetCenter(-5, -5, 40)
    assert (desk.parameters.firstSlice, desk.parameters.lastSlice) == (17, 23)
    desk.ui.roiSelector.setCurrentNode(None)
    roi.SetCenter(-5, -5, 20)
    assert (desk.parameters.firstSlice, desk.parameters.lastSlice) == (17, 23)
    far = addRoi((-5, -5, 500), (4, 4, 12))
    desk.ui.roiSelector.setCurrentNode(far)
    assert "outside this volume" in desk.ui.statusLabel.text


@pytest.mark.usefixtures("scene")
def test_axial_slices_know_their_axis_in_any_grid() -> None:
    for axes, signs, axis, isFromHead in (
        ((0, 1, 2), (-1, -1, 1), 2, False),
        ((2, 1, 0), (-1, 1, 1), 0, True),
        ((0, 2, 1), (1, 1, 1), 1, False),
    ):
        slices = AxialSlices.of(addCt(orientedAffine(axes, signs)))
        assert slices is not None
        assert (slices.axisIjk, slices.isFromHead) == (axis, isFromHead)
        assert slices.count == (22, 18, 14)[axis]
        assert slices.fromFeet(0, 0) == ((slices.count - 1,) * 2 if isFromHead else (0, 0))
        assert slices.fromFeet(-5, 999) == (0, slices.count - 1)


@pytest.mark.usefixtures("scene")
def test_a_volume_without_voxels_has_no_slices() -> None:
    empty = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    assert AxialSlices.of(empty) is None
    assert AxialSlices.of(None) is None


def test_the_model_s_card_is_its_tool_tip(desk: PanelDesk) -> None:
    told = {"title": "Second <net>", "summary": "Trained on 3 CTs.", "scores": {"Dice": 0.81}}
    desk.questions.path = writeModel(desk.folder / "second.safetensors", **told)
    desk.click(desk.ui.environmentCollapsibleButton)
    desk.click(desk.ui.importModelButton)
    assert desk.ui.modelComboBox.currentText == "Second <net>"
    card = desk.ui.modelComboBox.toolTip
    for words in ("Second &lt;net&gt;", "second 1", "Trained on 3 CTs.", "Dice: 0.81", "CC0"):
        assert words in card
    assert "not for diagnosis" in card
    assert desk.parameters.model == "second"


def test_a_model_that_is_not_there_stops_the_run_before_it_starts(desk: PanelDesk) -> None:
    desk.loadCt()
    desk.parameters.model = "absent"
    assert not desk.ui.segmentButton.enabled
    assert "The model absent is not installed" in desk.ui.segmentButton.toolTip
    desk.ui.modelComboBox.currentIndex = 0
    desk.ui.modelComboBox.activated.emit(0)
    assert desk.parameters.model == "first"
    assert desk.ui.segmentButton.enabled


def test_a_gpu_that_is_not_there_is_told_before_the_run(desk: PanelDesk) -> None:
    desk.loadCt()
    desk.parameters.device = "cuda"
    assert desk.ui.segmentButton.enabled, "nobody has looked yet"
    desk.prober.tell(Proof())
    assert not desk.ui.segmentButton.enabled
    assert desk.ui.segmentButton.toolTip.endswith("Choose Automatic or CPU.")
    desk.parameters.device = "auto"
    assert desk.ui.segmentButton.enabled


def test_a_script_s_device_is_shown(desk: PanelDesk) -> None:
    desk.parameters.device = "cuda:1"
    assert desk.ui.deviceComboBox.currentText == "cuda:1"
    desk.parameters.device = "auto"
    assert desk.ui.deviceComboBox.currentText == "Automatic"


@pytest.mark.parametrize("found", [None, Found("1.0", True), Found("99.0", False)])
def test_what_is_missing_stops_the_run_before_it_starts(
    desk: PanelDesk, found: Found | None
) -> None:
    desk.loadCt()
    desk.prober.found["torch"] = found
    desk.panel.environmentPanel.look()
    assert not desk.ui.segmentButton.enabled
    assert "PyTorch" in desk.ui.segmentButton.toolTip
    assert not desk.ui.environmentCollapsibleButton.collapsed
    assert "PyTorch" in desk.ui.environmentLabel.text
    assert desk.ui.installButton.enabled


def test_no_folder_of_a_person_is_in_the_tool_tips(desk: PanelDesk) -> None:
    assert str(Path.home()) not in desk.ui.modelComboBox.toolTip

"""The settings of the panel, and what of them reaches the run."""

from __future__ import annotations

from pathlib import Path

import pytest
import slicer
from LiverTumorSegSlicer.environment.packages import Found, PackageCheck
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
    left_out = {"--device", "--no-coarse-search", "--probabilities", "--smallest-lesion-mm"}
    assert not left_out & set(arguments)


def test_every_setting_reaches_the_run(desk: PanelDesk) -> None:
    desk.loadCt()
    ui = desk.ui
    desk.click(ui.advancedCollapsibleButton)
    desk.click(ui.scanCheckBox)
    ui.smallestLesionSpinBox.value = 6.5
    ui.deviceComboBox.currentIndex = 2
    ui.deviceComboBox.activated.emit(2)
    arguments = argumentsOf(desk)
    assert "--no-coarse-search" in arguments
    assert following(arguments, "--smallest-lesion-mm") == ["6.5"]
    assert following(arguments, "--device") == ["cpu"]


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
    desk.packages.finishCheck(PackageCheck())
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
    desk.packages.found["torch"] = found
    desk.panel.environmentPanel.look()
    assert not desk.ui.segmentButton.enabled
    assert "PyTorch" in desk.ui.segmentButton.toolTip
    assert not desk.ui.environmentCollapsibleButton.collapsed
    assert "PyTorch" in desk.ui.environmentLabel.text
    assert desk.ui.installButton.enabled


def test_no_folder_of_a_person_is_in_the_tool_tips(desk: PanelDesk) -> None:
    assert str(Path.home()) not in desk.ui.modelComboBox.toolTip

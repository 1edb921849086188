"""The panel's *Environment* section: what is missing, Install, and the imported models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import qt
import slicer
from fake_environment import forgetAll
from LiverTumorSegSlicer.environment.installer import Declined, InstallFailed
from LiverTumorSegSlicer.environment.kit import KitEnd
from LiverTumorSegSlicer.environment.packages import PackageCheck
from LiverTumorSegSlicer.environment.preflight import Verdict
from LiverTumorSegSlicer.panel.environment_panel import openWhereInstallationWaits
from panel_desk import PanelDesk, waitUntil, writeModel


def miss(desk: PanelDesk, *names: str) -> None:
    """These packages are not there, and the panel has looked."""
    desk.packages.found.update(dict.fromkeys(names))
    desk.panel.environmentPanel.look()


@pytest.fixture(autouse=True)
def forgetful() -> None:
    """Nothing is remembered from an earlier start."""
    forgetAll()


@pytest.fixture
def unfolded(desk: PanelDesk) -> None:
    """A person has opened the section."""
    desk.click(desk.ui.environmentCollapsibleButton)
    assert not desk.ui.environmentCollapsibleButton.collapsed


def test_nothing_is_unfolded_where_nothing_is_missing(desk: PanelDesk) -> None:
    """There is no default model on the desk; the imported one will do."""
    assert desk.ui.environmentCollapsibleButton.collapsed
    desk.packages.finishCheck(PackageCheck(gpu="Some GPU"))
    assert desk.ui.environmentCollapsibleButton.collapsed
    assert "PyTorch 99.0, GPU: Some GPU." in desk.ui.environmentLabel.text
    desk.loadCt()
    assert desk.ui.segmentButton.enabled


def test_a_person_may_fold_it_again(desk: PanelDesk) -> None:
    miss(desk, "cv2")
    assert not desk.ui.environmentCollapsibleButton.collapsed
    desk.ui.environmentCollapsibleButton.collapsed = True
    slicer.util.selectModule("SampleData")
    slicer.util.selectModule("LiverTumorSeg")
    assert desk.ui.environmentCollapsibleButton.collapsed, "nothing else is missing than before"
    miss(desk, "safetensors")
    assert not desk.ui.environmentCollapsibleButton.collapsed


def test_install_asks_installs_and_enables_the_run(desk: PanelDesk) -> None:
    desk.loadCt()
    miss(desk, "torch", "cv2")
    assert not desk.ui.segmentButton.enabled
    desk.click(desk.ui.installButton)
    assert "PyTorch" in desk.questions.asked[0]
    assert desk.ui.segmentButton.enabled
    assert not desk.ui.installButton.enabled
    assert desk.questions.failures == []


def test_nothing_is_installed_without_consent(desk: PanelDesk) -> None:
    miss(desk, "torch")
    desk.questions.agrees = False
    desk.click(desk.ui.installButton)
    assert desk.packages.found["torch"] is None
    assert desk.ui.installButton.enabled
    assert desk.questions.failures == [], "saying no is no failure"


@pytest.mark.parametrize(
    ("failure", "told"),
    [
        (InstallFailed("network", "There is no network.", "pip's log"), ["There is no network."]),
        (InstallFailed("other", "Try again.", "pip's log"), ["Try again."]),
        (InstallFailed("other", "Slicer's window said it.", "pip's log", isShown=True), []),
        (Declined(), []),
    ],
)
def test_a_failed_installation_is_one_sentence(
    desk: PanelDesk, failure: Exception, told: list[str]
) -> None:
    miss(desk, "torch")
    desk.installer.failure = failure
    desk.click(desk.ui.installButton)
    assert desk.questions.failures == told
    assert desk.ui.installButton.enabled, "one can try again"


def test_the_question_lists_what_was_looked_at_before(desk: PanelDesk) -> None:
    miss(desk, "cv2")
    desk.preflight.verdicts = (Verdict(False, "The disk is full."),)
    desk.questions.agrees = False
    desk.click(desk.ui.installButton)
    (question,) = desk.questions.asked
    assert "\u2713 Already there: PyTorch 99.0, scipy 99.0, safetensors 99.0." in question
    assert "\u2717 The disk is full." in question
    assert desk.preflight.looks == [False], "PyTorch is there"
    assert desk.ui.installButton.enabled


def test_while_pip_works_nothing_else_can_be_begun(desk: PanelDesk) -> None:
    """pip's lines are printed with clicks served between them."""
    desk.loadCt()
    miss(desk, "torch")
    seen: list[Any] = []

    def clickAround() -> None:
        ui = desk.ui
        buttons = (ui.installButton, ui.saveKitButton, ui.installKitButton, ui.importModelButton)
        seen.append([button.enabled for button in (*buttons, ui.segmentButton)])
        seen.append(ui.environmentLabel.text)
        seen.append(qt.QApplication.overrideCursor() is not None)
        for button in buttons:
            desk.click(button)
        slicer.util.selectModule("SampleData")
        slicer.util.selectModule("LiverTumorSeg")

    desk.installer.whileInstalling = clickAround
    desk.click(desk.ui.installButton)
    assert seen == [[False] * 5, "Installing; Slicer may not answer for some minutes.", True]
    assert len(desk.questions.asked) == 1
    assert desk.ui.segmentButton.enabled
    assert qt.QApplication.overrideCursor() is None


def test_after_a_restart_the_installation_goes_on_by_itself(
    desk: PanelDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    miss(desk, "torch")
    restarts: list[int] = []
    monkeypatch.setattr(slicer.util, "restart", lambda: restarts.append(1))
    desk.installer.failure = InstallFailed("restart", "Files are in use.")
    desk.click(desk.ui.installButton)
    assert "Files are in use." in desk.questions.asked[-1]
    assert restarts == [1]
    desk.questions.asked.clear()
    desk.installer.failure = None
    slicer.util.selectModule("SampleData")
    openWhereInstallationWaits()  # Slicer's start
    waitUntil(lambda: desk.packages.found["torch"] is not None)
    assert slicer.util.moduleSelector().selectedModule == "LiverTumorSeg"
    assert desk.questions.asked == [], "the person has agreed before"
    assert not desk.environment.remembered.installationWaits


def test_what_fails_again_after_the_restart_is_told_and_not_repeated(desk: PanelDesk) -> None:
    miss(desk, "torch")
    desk.installer.failure = InstallFailed("restart", "Files are in use.")
    desk.environment.remembered.installationWaits = True
    slicer.util.selectModule("SampleData")
    slicer.util.selectModule("LiverTumorSeg")
    waitUntil(lambda: desk.questions.failures)
    assert desk.questions.failures == ["Files are in use."]
    assert not desk.environment.remembered.installationWaits


@pytest.mark.usefixtures("unfolded")
def test_a_kit_is_saved_and_installed_with_the_window_alive(desk: PanelDesk) -> None:
    ui, kits = desk.ui, desk.kits
    for button, what in ((ui.saveKitButton, "save"), (ui.installKitButton, "install")):
        desk.questions.path = None
        desk.click(button)
        assert kits.begun == [], "a changed mind begins nothing"
        desk.questions.path = desk.folder
        desk.click(button)
        assert kits.begun == [(what, desk.folder)]
        assert not button.enabled
        kits.onLine("Collecting torch")
        assert ui.environmentLabel.text.endswith("\nCollecting torch")
        kits.onEnd(KitEnd(desk.folder))
        assert button.enabled
        kits.begun.clear()
    assert desk.questions.messages == [
        f"The kit is saved in {desk.folder}.",
        "The kit was installed.",
    ]
    assert kits.requirements[:3] == [
        "torch==99.0",
        "opencv-python-headless==99.0",
        "safetensors==99.0",
    ]
    assert kits.requirements[3].startswith("numpy=="), "Slicer's own decides what fits it"


@pytest.mark.usefixtures("unfolded")
def test_a_kit_that_is_refused_or_fails_is_a_sentence(desk: PanelDesk) -> None:
    desk.questions.path = desk.folder
    desk.kits.refusal = InstallFailed("kit", "This folder is no kit.")
    desk.click(desk.ui.installKitButton)
    desk.kits.refusal = None
    desk.click(desk.ui.saveKitButton)
    desk.kits.onEnd(KitEnd(desk.folder, InstallFailed("disk", "The disk is full.", "pip's log")))
    assert desk.questions.failures == ["This folder is no kit.", "The disk is full."]
    assert desk.ui.saveKitButton.enabled


def test_packages_are_tried_once_in_the_background(desk: PanelDesk) -> None:
    assert len(desk.packages.asked) == 1
    slicer.util.selectModule("SampleData")
    slicer.util.selectModule("LiverTumorSeg")
    assert len(desk.packages.asked) == 1, "one trial at a time"
    desk.packages.finishCheck(PackageCheck(gpu="Some GPU"))
    desk.panel.environmentPanel.look()
    assert desk.packages.asked == [], "and only once"


def test_what_fails_when_it_is_tried_stops_the_run(desk: PanelDesk) -> None:
    desk.loadCt()
    assert desk.ui.segmentButton.enabled
    desk.packages.finishCheck(PackageCheck(errors={"torch": "DLL load failed"}))
    assert not desk.ui.segmentButton.enabled
    assert "DLL load failed" in desk.ui.environmentLabel.text
    assert desk.ui.installButton.enabled


def test_a_trial_that_ends_after_the_panel_tells_nobody(desk: PanelDesk) -> None:
    desk.panel.cleanup()
    before = desk.ui.environmentLabel.text
    desk.packages.finishCheck(PackageCheck(errors={"torch": "DLL load failed"}))
    assert desk.ui.environmentLabel.text == before


@pytest.mark.usefixtures("unfolded")
def test_diagnostics_are_copied(desk: PanelDesk) -> None:
    desk.click(desk.ui.copyDiagnosticsButton)
    text = slicer.app.clipboard().text()
    assert "Slicer" in text
    assert "torch: 99.0" in text
    assert "first 1" in text
    assert str(Path.home()) not in text or Path.home() == Path("/")


@pytest.mark.usefixtures("unfolded")
def test_a_model_is_imported_chosen_and_removed_again(desk: PanelDesk) -> None:
    ui = desk.ui
    assert ui.modelComboBox.count == 1
    desk.questions.path = writeModel(desk.folder / "second.safetensors")
    desk.click(ui.importModelButton)
    assert [ui.modelComboBox.itemText(n) for n in range(2)] == ["First", "Second"]
    assert desk.parameters.model == "second"
    assert ui.removeModelButton.enabled
    desk.questions.agrees = False
    desk.click(ui.removeModelButton)
    assert ui.modelComboBox.count == 2
    desk.questions.agrees = True
    desk.click(ui.removeModelButton)
    assert ui.modelComboBox.count == 1
    assert desk.parameters.model == ""
    assert ui.modelComboBox.currentText == "First"


@pytest.mark.usefixtures("unfolded")
def test_the_last_model_gone_says_what_to_do(desk: PanelDesk) -> None:
    desk.loadCt()
    desk.click(desk.ui.removeModelButton)
    assert not desk.ui.segmentButton.enabled
    assert "import one in Environment" in desk.ui.segmentButton.toolTip
    assert not desk.ui.modelComboBox.enabled
    assert not desk.ui.removeModelButton.enabled


@pytest.mark.usefixtures("unfolded")
def test_a_file_that_is_no_model_is_refused(desk: PanelDesk) -> None:
    desk.questions.path = desk.folder / "notes.safetensors"
    desk.questions.path.write_text("not a model")
    desk.click(desk.ui.importModelButton)
    assert len(desk.questions.failures) == 1
    assert "not a model file" in desk.questions.failures[0]
    desk.questions.path = None
    desk.click(desk.ui.importModelButton)
    assert len(desk.questions.failures) == 1, "a changed mind is no failure"


@pytest.mark.usefixtures("unfolded")
def test_the_model_folder_opens_and_is_made_when_needed(desk: PanelDesk) -> None:
    assert desk.ui.modelFolderButton.toolTip == str(desk.models)
    desk.click(desk.ui.modelFolderButton)
    assert desk.questions.asked == [desk.models]
    assert desk.models.is_dir()


@pytest.mark.usefixtures("unfolded")
def test_a_model_folder_that_cannot_be_made_is_a_sentence(
    desk: PanelDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    (desk.folder / "file").write_text("")
    monkeypatch.setattr(desk.environment, "modelFolder", lambda: desk.folder / "file" / "models")
    desk.click(desk.ui.modelFolderButton)
    assert len(desk.questions.failures) == 1
    assert "cannot be made" in desk.questions.failures[0]

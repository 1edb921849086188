"""The panel's *Environment* section: what is missing, Install, and the imported models."""

from __future__ import annotations

from pathlib import Path

import pytest
import slicer
from LiverTumorSegSlicer.environment.installer import Declined, InstallFailed
from LiverTumorSegSlicer.environment.prober import Proof
from panel_desk import PanelDesk, writeModel


def miss(desk: PanelDesk, *names: str) -> None:
    """These packages are not there, and the panel has looked."""
    desk.prober.found.update(dict.fromkeys(names))
    desk.panel.environmentPanel.look()


@pytest.fixture
def unfolded(desk: PanelDesk) -> None:
    """A person has opened the section."""
    desk.click(desk.ui.environmentCollapsibleButton)
    assert not desk.ui.environmentCollapsibleButton.collapsed


def test_nothing_is_unfolded_where_nothing_is_missing(desk: PanelDesk) -> None:
    """There is no default model on the desk; the imported one will do."""
    assert desk.ui.environmentCollapsibleButton.collapsed
    desk.prober.tell(Proof(cuda="Some GPU"))
    assert desk.ui.environmentCollapsibleButton.collapsed
    assert "PyTorch 99.0, GPU: Some GPU." in desk.ui.environmentLabel.text
    desk.loadCt()
    assert desk.ui.segmentButton.enabled


def test_a_person_may_fold_it_again(desk: PanelDesk) -> None:
    miss(desk, "nibabel")
    assert not desk.ui.environmentCollapsibleButton.collapsed
    desk.ui.environmentCollapsibleButton.collapsed = True
    slicer.util.selectModule("SampleData")
    slicer.util.selectModule("LiverTumorSeg")
    assert desk.ui.environmentCollapsibleButton.collapsed, "nothing else is missing than before"
    miss(desk, "safetensors")
    assert not desk.ui.environmentCollapsibleButton.collapsed


def test_install_asks_installs_and_enables_the_run(desk: PanelDesk) -> None:
    desk.loadCt()
    miss(desk, "torch", "nibabel")
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
    assert desk.prober.found["torch"] is None
    assert desk.ui.installButton.enabled
    assert desk.questions.failures == [], "saying no is no failure"


@pytest.mark.parametrize(
    ("failure", "told"),
    [
        (InstallFailed("network", "There is no network.", "pip's log"), ["There is no network."]),
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


def test_packages_are_tried_once_in_the_background(desk: PanelDesk) -> None:
    assert len(desk.prober.asked) == 1
    slicer.util.selectModule("SampleData")
    slicer.util.selectModule("LiverTumorSeg")
    assert len(desk.prober.asked) == 1, "one trial at a time"
    desk.prober.tell(Proof(cuda="Some GPU"))
    desk.panel.environmentPanel.look()
    assert desk.prober.asked == [], "and only once"


def test_what_fails_when_it_is_tried_stops_the_run(desk: PanelDesk) -> None:
    desk.loadCt()
    assert desk.ui.segmentButton.enabled
    desk.prober.tell(Proof(errors={"torch": "DLL load failed"}))
    assert not desk.ui.segmentButton.enabled
    assert "DLL load failed" in desk.ui.environmentLabel.text
    assert desk.ui.installButton.enabled


def test_a_trial_that_ends_after_the_panel_tells_nobody(desk: PanelDesk) -> None:
    desk.panel.cleanup()
    before = desk.ui.environmentLabel.text
    desk.prober.tell(Proof(errors={"torch": "DLL load failed"}))
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

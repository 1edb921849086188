"""The windows that ask and tell, as real dialogs that a person answers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import qt
import slicer
from LiverTumorSegSlicer.panel.dialogs import Questions, Replace
from looped import looped
from slicersim.dialogs import answering

pytestmark = pytest.mark.usefixtures("main_window")


@pytest.fixture(autouse=True)
def dialogsAreShown() -> Iterator[None]:
    """In its testing mode Slicer answers some of them itself."""
    slicer.app.__dict__["_testing"] = False
    yield
    slicer.app.__dict__["_testing"] = True


@looped(
    ("button", "choice"),
    [
        ("Make a new segmentation", Replace.KEEP),
        ("Replace", Replace.REPLACE),
        ("Cancel", Replace.CANCEL),
    ],
)
def test_edited_segments_have_three_ways(button: str, choice: Replace) -> None:
    with answering(button) as shown:
        assert Questions().replaceEdited(["Liver", "Tumor 2"]) is choice
    assert "Liver, Tumor 2" in shown[0]


@looped(("button", "answer"), [("OK", True), ("Cancel", False)])
def test_a_question_can_be_refused(button: str, answer: bool) -> None:
    with answering(button) as shown:
        assert Questions().confirm("Delete the model?") is answer
    assert "Delete the model?" in shown[0]


def test_a_failure_is_told_with_its_log() -> None:
    with answering("OK") as shown:
        Questions().showFailure("The GPU is full; choose the CPU.", "pages\nof log")
    assert "The GPU is full" in shown[0]


class FileDialog:
    """Chooses a path in the next file dialog and agrees, or does not."""

    def __init__(self, path: Path, agrees: bool = True) -> None:
        self.path, self.agrees, self.suggested, self.seen = path, agrees, "", False
        self.timer = qt.QTimer()
        self.timer.connect("timeout()", self._answer)
        self.timer.start(20)

    def _answer(self) -> None:
        dialog: Any = qt.QApplication.activeModalWidget()
        if dialog is None:
            return
        if isinstance(dialog, qt.QMessageBox):  # it did not know the file yet: try again
            dialog.accept()
            return
        if not self.seen:
            self.seen = True
            dialog.connect("finished(int)", lambda *_result: self.timer.stop())
            self.suggested = "".join(Path(name).name for name in dialog.selectedFiles())
        if not self.agrees:
            dialog.reject()
            return
        dialog.setDirectory(str(self.path.parent))
        dialog.findChild(qt.QLineEdit).text = str(self.path)
        dialog.accept()


def test_a_place_to_save_is_asked_for(tmp_path: Path) -> None:
    answer = FileDialog(tmp_path / "table.csv")
    assert Questions().savePath("Save", "suggested.csv", "CSV (*.csv)") == tmp_path / "table.csv"
    assert answer.suggested == "suggested.csv"


def test_a_file_to_read_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_text("")
    FileDialog(tmp_path / "a.safetensors")
    found = Questions().openPath("Import", "Models (*.safetensors)")
    assert found == tmp_path / "a.safetensors"


def test_a_folder_is_asked_for(tmp_path: Path) -> None:
    FileDialog(tmp_path)
    assert Questions().folder("Folder") == tmp_path


def test_a_changed_mind_is_none(tmp_path: Path) -> None:
    answer = FileDialog(tmp_path / "table.csv", agrees=False)
    assert Questions().savePath("Save", "suggested.csv", "CSV (*.csv)") is None
    answer = FileDialog(tmp_path, agrees=False)
    assert Questions().openPath("Import", "Models (*.safetensors)") is None
    assert answer.timer.active is False

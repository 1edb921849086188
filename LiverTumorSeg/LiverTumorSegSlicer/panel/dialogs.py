"""Message boxes and file dialogs. Tests hand in a stand-in."""

from __future__ import annotations

from enum import Enum, auto
from pathlib import Path

import qt
import slicer
from slicer.i18n import tr as _

TITLE = "Liver Tumor Segmentation"


class Replace(Enum):
    """What is to happen with segments that were edited."""

    REPLACE = auto()
    KEEP = auto()
    CANCEL = auto()


class Questions:
    """Message boxes and file dialogs."""

    def replaceEdited(self, segmentNames: list[str]) -> Replace:
        """Whether a run may replace these segments, which a person edited."""
        box = qt.QMessageBox(slicer.util.mainWindow())
        box.setIcon(qt.QMessageBox.Question)
        box.setWindowTitle(_(TITLE))
        box.setText(
            _("You edited {names}. Replace by the new result?").format(
                names=", ".join(segmentNames)
            )
        )
        keep = box.addButton(_("Make a new segmentation"), qt.QMessageBox.AcceptRole)
        box.addButton(_("Replace"), qt.QMessageBox.DestructiveRole)
        box.addButton(qt.QMessageBox.Cancel)
        box.setDefaultButton(keep)
        box.exec_()
        role = box.buttonRole(box.clickedButton())
        box.deleteLater()
        choices = {
            qt.QMessageBox.AcceptRole: Replace.KEEP,
            qt.QMessageBox.DestructiveRole: Replace.REPLACE,
        }
        return choices.get(role, Replace.CANCEL)

    def confirm(self, text: str) -> bool:
        """Whether to go on."""
        return slicer.util.confirmOkCancelDisplay(text, windowTitle=_(TITLE))

    def showMessage(self, text: str) -> None:
        """Say that a long task has finished."""
        slicer.util.infoDisplay(text, windowTitle=_(TITLE))

    def showFailure(self, sentence: str, log: str = "") -> None:
        """Say what went wrong and what to do; the log can be unfolded and copied."""
        details = {"detailedText": log} if log else {}
        slicer.util.errorDisplay(sentence, windowTitle=_(TITLE), **details)

    def savePath(self, title: str, suggestedName: str, nameFilter: str) -> Path | None:
        """Where to save; None when the person changed their mind. Asks before replacing a file."""
        dialog = qt.QFileDialog(slicer.util.mainWindow(), title)
        dialog.setAcceptMode(qt.QFileDialog.AcceptSave)
        dialog.setDefaultSuffix(nameFilter.partition("*.")[2].split(")")[0].split(" ")[0])
        # volumes from DICOM are called "4: Venous 3 mm"
        dialog.selectFile(slicer.app.coreIOManager().forceFileNameValidCharacters(suggestedName))
        return self._chosen(dialog, nameFilter)

    def openPath(self, title: str, nameFilter: str) -> Path | None:
        """Which file to read; None when the person changed their mind."""
        dialog = qt.QFileDialog(slicer.util.mainWindow(), title)
        dialog.setFileMode(qt.QFileDialog.ExistingFile)
        return self._chosen(dialog, nameFilter)

    def folder(self, title: str) -> Path | None:
        """Which folder to write to; None when the person changed their mind."""
        dialog = qt.QFileDialog(slicer.util.mainWindow(), title)
        dialog.setFileMode(qt.QFileDialog.Directory)
        return self._chosen(dialog, "")

    def showFolder(self, folder: Path) -> None:
        """Open a folder in the system's own window."""
        qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(str(folder)))

    def _chosen(self, dialog, nameFilter: str) -> Path | None:
        if nameFilter:
            dialog.setNameFilter(nameFilter)
        if sceneFolder := slicer.mrmlScene.GetRootDirectory():
            dialog.setDirectory(sceneFolder)
        accepted = dialog.exec_() == qt.QDialog.Accepted
        files = dialog.selectedFiles()
        dialog.deleteLater()
        return Path(files[0]) if accepted and files else None

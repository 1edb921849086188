"""*DICOM SEG and report*: what a hospital's archive takes, made by the command line in a child."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

from LiverTumorSegSlicer.environment.requirements import Environment
from LiverTumorSegSlicer.run.case_job import SEG, SR, DicomJob
from LiverTumorSegSlicer.run.process import Runner
from LiverTumorSegSlicer.run.sentences import translatedError
from LiverTumorSegSlicer.scene.exports import dicomFiles, whyNoDicomSeg, writeDicomPair

from .dialogs import Questions
from .lesion_panel import LesionPanel
from .page_maker import caseOf, showStatus


class DicomPanel:
    """An entry of the menu *Export*. ``makeRunner``: what runs the child."""

    def __init__(
        self,
        ui: Any,
        environment: Environment,
        questions: Questions,
        lesions: LesionPanel,
        makeRunner: Callable[[], Runner],
    ) -> None:
        self._environment, self._questions = environment, questions
        self._lesions, self._makeRunner = lesions, makeRunner
        self._job: DicomJob | None = None
        self._action = ui.exportButton.menu().addAction(_("DICOM SEG and report (SR)..."))
        self._action.connect("triggered(bool)", self._export)

    def cleanUp(self) -> None:
        """The panel goes, and what is being made with it."""
        if self._job is not None:
            self._job.cleanUp()
            self._job = None

    def _export(self, _checked: bool = False) -> None:
        segmentationNode, volumeNode = self._lesions.nodes
        if whyNot := whyNoDicomSeg(volumeNode):
            self._questions.showFailure(whyNot)
            return
        if not self._isHighdicomThere():
            return
        folder = self._questions.folder(_("Folder for the DICOM files"))
        if folder is None:
            return
        try:
            with slicer.util.WaitCursor():
                case, files = caseOf(segmentationNode, volumeNode), dicomFiles(volumeNode)
        except ValueError as error:
            self._questions.showFailure(translatedError(error))
            return
        self._job = DicomJob(
            case,
            files,
            self._makeRunner(),
            onProgress=lambda _fraction, phrase: showStatus(phrase),
            onEnd=lambda made, why: self._onEnd(made, why, folder),
        )
        self._action.setEnabled(False)
        self._job.start()

    def _isHighdicomThere(self) -> bool:
        """Whether the package that writes DICOM is there, or was put in place just now."""
        if self._environment.isDicomWriterThere():
            return True
        question = _(
            "DICOM reports are written by the Python package highdicom (about 15 MB with what it"
            " needs), which is not in Slicer's Python yet. Download and install it now?"
        )
        if not self._questions.confirm(question):
            return False
        outcome = self._environment.installDicomWriter()
        if outcome.kind != "done" and not outcome.isShown:
            self._questions.showFailure(outcome.sentence, outcome.log)
        return outcome.kind == "done"

    def _onEnd(self, made: dict[str, bytes] | None, why: str, folder: Path) -> None:
        self._job = None
        self._action.setEnabled(True)
        if made is None:
            showStatus("")
            self._questions.showFailure(why)
            return
        name = f"LiverTumorSeg_{datetime.now():%Y%m%d_%H%M%S}"
        try:
            writeDicomPair(folder, name, made[SEG], made[SR])
        except ValueError as error:
            showStatus("")
            self._questions.showFailure(translatedError(error))
            return
        showStatus(_("The segments and their report were exported, and are in the DICOM database."))

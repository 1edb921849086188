"""One page to read and print: of the result that is shown, or of the change since an earlier."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import slicer
from slicer.i18n import tr as _

from LiverTumorSegSlicer.run.page_job import PageCase, PageJob
from LiverTumorSegSlicer.run.process import Runner
from LiverTumorSegSlicer.run.sentences import translatedError
from LiverTumorSegSlicer.scene.file_writing import writeWhole
from LiverTumorSegSlicer.scene.geometry import isInScene
from LiverTumorSegSlicer.scene.lesion_measures import measureSegments
from LiverTumorSegSlicer.scene.nodes import readLabels, readVolume
from LiverTumorSegSlicer.scene.review import reviewedRecord

from .dialogs import Questions
from .inputs import sourceVolume
from .lesion_panel import LesionPanel

PAGE_FILTER = "HTML (*.html)"
SHOWN_MS = 10_000


class ReportPanel:
    """The buttons *Report* and *Compare*. ``makeRunner``: what runs the child."""

    def __init__(
        self,
        ui: Any,
        questions: Questions,
        lesions: LesionPanel,
        makeRunner: Callable[[], Runner],
    ) -> None:
        self._ui, self._questions, self._lesions = ui, questions, lesions
        self._makeRunner = makeRunner
        self._job: PageJob | None = None
        ui.reportButton.connect("clicked(bool)", self._report)
        ui.compareButton.connect("clicked(bool)", self._compare)
        ui.baselineSelector.connect("currentNodeChanged(vtkMRMLNode*)", self._onBaseline)
        self.update()

    def update(self) -> None:
        """Which buttons can do something now; two dates take a second segmentation."""
        every = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
        isSecond = sum(not node.GetHideFromEditors() for node in every) > 1
        for widget in (self._ui.baselineSelector, self._ui.compareButton):
            widget.setVisible(isSecond)
        isFree = self._job is None and self._lesions.isMeasured
        shown, baseline = self._lesions.nodes[0], self._ui.baselineSelector.currentNode()
        self._ui.reportButton.enabled = isFree
        self._ui.compareButton.enabled = isFree and baseline is not None and baseline is not shown

    def cleanUp(self) -> None:
        """The panel goes, and a page that is being made with it."""
        if self._job is not None:
            self._job.cleanUp()
            self._job = None

    def _onBaseline(self, _node: Any) -> None:
        self.update()

    def _report(self) -> None:
        path = self._pathFor(_("Report"))
        if path is not None:
            self._make("report", {"followup": self._lesions.nodes}, path)

    def _compare(self) -> None:
        baseline = self._ui.baselineSelector.currentNode()
        volume = sourceVolume(baseline)
        if not isInScene(volume):
            text = _("The CT of the earlier result is not in the scene; load it to compare.")
            self._questions.showFailure(text)
            return
        path = self._pathFor(_("Comparison"))
        if path is not None:
            cases = {"baseline": (baseline, volume), "followup": self._lesions.nodes}
            self._make("compare", cases, path)

    def _pathFor(self, title: str) -> Path | None:
        name = f"{self._lesions.nodes[0].GetName()} {title.lower()}.html"
        return self._questions.savePath(title, name, PAGE_FILTER)

    def _make(self, command: str, nodes: dict[str, tuple[Any, Any]], path: Path) -> None:
        try:
            with slicer.util.WaitCursor():
                cases = {name: _caseOf(*pair) for name, pair in nodes.items()}
        except ValueError as error:
            self._questions.showFailure(translatedError(error))
            return
        self._job = PageJob(
            cases,
            command,
            self._makeRunner(),
            onProgress=lambda _fraction, phrase: self._say(phrase),
            onEnd=lambda page, why: self._onEnd(page, why, path),
        )
        self.update()
        self._job.start()

    def _say(self, text: str) -> None:
        slicer.util.showStatusMessage(text, SHOWN_MS)

    def _onEnd(self, page: bytes | None, why: str, path: Path) -> None:
        self._job = None
        self.update()
        if page is None:
            self._say("")
            self._questions.showFailure(why)
            return
        try:
            writeWhole(path, lambda part: _write(part, page))
        except ValueError as error:
            self._questions.showFailure(translatedError(error))
            return
        self._say(_("The page was written."))
        self._questions.showFolder(path)  # in the system's browser


def _write(path: Path, page: bytes) -> None:
    path.write_bytes(page)


def _caseOf(segmentationNode: Any, volumeNode: Any) -> PageCase:
    """Copies for the child. ``ValueError`` where a node is gone or is no CT."""
    ct = readVolume(volumeNode)
    labelsKji = readLabels(segmentationNode, volumeNode)
    measures, lesions = measureSegments(segmentationNode, volumeNode)
    record = reviewedRecord(segmentationNode, measures, lesions)
    return PageCase(ct.hu, np.asarray(ct.ijk_to_ras), labelsKji, record)

"""One page at a time, made by the command line of what is in the scene, and saved."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import slicer
from LiverTumorSegLib.result.parts import PartMeasures, with_parts
from slicer.i18n import tr as _

from LiverTumorSegSlicer.run.case_job import Case, Page, PageJob
from LiverTumorSegSlicer.run.process import Runner
from LiverTumorSegSlicer.run.sentences import translatedError
from LiverTumorSegSlicer.scene.file_writing import writeBytesWhole
from LiverTumorSegSlicer.scene.lesion_measures import measureSegments
from LiverTumorSegSlicer.scene.nodes import readLabels, readVolume
from LiverTumorSegSlicer.scene.review import reviewedRecord

from .dialogs import Questions

PAGE_FILTER = "HTML (*.html)"
SHOWN_MS = 10_000
Nodes = tuple[Any, Any]  # a segmentation and its CT


class PageMaker:
    """``makeRunner``: what runs the child. ``onChanged``, to be set: it became busy, or free."""

    def __init__(self, questions: Questions, makeRunner: Callable[[], Runner]) -> None:
        self._questions, self._makeRunner = questions, makeRunner
        self._job: PageJob | None = None
        self.onChanged: Callable[[], None] = lambda: None

    @property
    def isFree(self) -> bool:
        return self._job is None

    def cleanUp(self) -> None:
        """The panel goes, and a page that is being made with it."""
        if self._job is not None:
            self._job.cleanUp()
            self._job = None

    def pathFor(self, title: str, segmentationNode: Any) -> Path | None:
        """Where a person wants a page."""
        name = f"{segmentationNode.GetName()} {title.lower()}.html"
        return self._questions.savePath(title, name, PAGE_FILTER)

    def make(
        self,
        command: Sequence[str],
        nodes: Mapping[str, Nodes],
        onMade: Callable[[Page], None],
        parts: PartMeasures | None = None,
    ) -> None:
        """Begin a page of copies of these nodes; a failure is shown, and ``onMade`` not called.

        command: "report" or "compare", with options. nodes: in the order in which it takes them.
        parts: of the liver of the last of them.
        """
        try:
            with slicer.util.WaitCursor():
                last = list(nodes)[-1]
                cases = {
                    name: caseOf(*pair, parts if name == last else None)
                    for name, pair in nodes.items()
                }
        except ValueError as error:
            self._questions.showFailure(translatedError(error))
            return
        self._job = PageJob(
            cases,
            command,
            self._makeRunner(),
            onProgress=lambda _fraction, phrase: showStatus(phrase),
            onEnd=lambda page, why: self._onEnd(page, why, onMade),
        )
        self.onChanged()
        self._job.start()

    def save(self, page: Page, path: Path) -> None:
        """Write a page whole, and open it in the system's browser."""
        try:
            writeBytesWhole(path, page.html)
        except ValueError as error:
            self._questions.showFailure(translatedError(error))
            return
        showStatus(_("The page was written."))
        self._questions.showFolder(path)

    def _onEnd(self, page: Page | None, why: str, onMade: Callable[[Page], None]) -> None:
        self._job = None
        showStatus("")
        self.onChanged()
        if page is None:
            self._questions.showFailure(why)
        else:
            onMade(page)


def showStatus(text: str) -> None:
    """Show what is going on, for some seconds."""
    slicer.util.showStatusMessage(text, SHOWN_MS)


def caseOf(segmentationNode: Any, volumeNode: Any, parts: PartMeasures | None = None) -> Case:
    """Copies for the child. ``ValueError`` where a node is gone or is no CT."""
    ct = readVolume(volumeNode)
    labelsKji = readLabels(segmentationNode, volumeNode)
    measures, lesions = measureSegments(segmentationNode, volumeNode)
    record = reviewedRecord(segmentationNode, measures, lesions)
    record = with_parts(record, parts, labelsKji)
    return Case(ct.hu, np.asarray(ct.ijk_to_ras), labelsKji, record)

"""A run for a script: it goes on to the next line when the segmentation is there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import qt
from slicer.i18n import tr as _

from LiverTumorSegSlicer.scene.nodes import EditedSegmentsError, hasEditedSegments

from .segmentation_run import Outcome, RunEnd, RunSettings


class Starter(Protocol):
    """The part of the module's logic that is needed here."""

    def start(
        self, volumeNode: Any, segmentationNode: Any, settings: RunSettings, **callbacks: Any
    ) -> None: ...

    def cancel(self) -> None: ...


def segmentAndWait(
    logic: Starter,
    volumeNode: Any,
    segmentationNode: Any,
    settings: RunSettings,
    progress: Callable[[float, str], None] | None,
) -> Any:
    """Run, and return the segmentation node. Slicer handles its events meanwhile.

    What ``progress(fraction, phrase)`` raises ends the run, and is raised here.
    Raises ``ValueError`` for a volume that is no CT or edits that would be lost, ``RuntimeError``
    when the run fails.
    """
    edited = hasEditedSegments(segmentationNode)
    if edited and not settings.discardEdits:
        raise EditedSegmentsError(edited)
    ends: list[RunEnd] = []
    raised: list[BaseException] = []
    loop = qt.QEventLoop()

    def onProgress(fraction: float, phrase: str, _secondsLeft: float | None) -> None:
        if progress is None or raised:
            return
        try:
            progress(fraction, phrase)
        except BaseException as error:  # Qt would print it and go on
            raised.append(error)
            logic.cancel()

    def onEnd(end: RunEnd) -> None:
        ends.append(end)
        loop.quit()

    logic.start(volumeNode, segmentationNode, settings, onProgress=onProgress, onEnd=onEnd)
    if not ends:
        loop.exec_()
    if raised:
        raise raised[0]
    return _resultOf(ends[0])


def _resultOf(end: RunEnd) -> Any:
    if end.failure is not None:
        raise RuntimeError(end.failure.sentence)
    if end.outcome is Outcome.CANCELED:
        raise RuntimeError(_("The segmentation was canceled."))
    if end.outcome is Outcome.ABANDONED:
        raise RuntimeError(_("The CT was removed, or the scene closed, during the segmentation."))
    return end.segmentationNode

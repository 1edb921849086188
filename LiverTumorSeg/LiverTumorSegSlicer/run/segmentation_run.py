"""One segmentation of a volume node: a job, and what becomes of the scene when it ends.

The scene stays as it is until the job has succeeded. A run whose volume is removed, or whose scene
is closed, ends without a word: there is nobody left whom its result concerns.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any

import slicer
import vtk
from LiverTumorSegLib import settings
from slicer.i18n import tr as _

from LiverTumorSegSlicer.scene.geometry import isInScene
from LiverTumorSegSlicer.scene.kept import keepForLater
from LiverTumorSegSlicer.scene.nodes import EditedSegmentsError, readVolume, writeSegmentation
from LiverTumorSegSlicer.scene.probability_volumes import (
    addProbabilityVolumes,
    forgetProbabilityVolumes,
)
from LiverTumorSegSlicer.scene.segments import LABELMAP, segmentIds, showForReview

from .job import JobFailure, JobRequest, JobResult, SegmentationJob
from .process import Runner
from .sentences import translatedError

ProgressCallback = Callable[[float, str, "float | None"], None]


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """The panel's settings of a run.

    model: a name, a file, or None for the default. device: "auto", "cpu", "cuda", "cuda:1", "mps".
    scan: whether slices clearly outside the liver are skipped.
    smallestLesionMm: smaller tumors are dropped; None leaves it to the model.
    onePerLesion: a segment for each tumor instead of one for all.
    keepProbabilities: whether two volumes with the network's probabilities are added.
    discardEdits: whether a person agreed that edited segments are replaced.
    """

    model: str | None = None
    device: str = "auto"
    scan: bool = True
    smallestLesionMm: float | None = None
    onePerLesion: bool = False
    keepProbabilities: bool = False
    discardEdits: bool = False

    def ofTheNetwork(self) -> settings.RunSettings:
        """The settings of the child process."""
        return settings.RunSettings(
            model=self.model,
            device=self.device,
            coarse_search=self.scan,
            probabilities=self.keepProbabilities,
            smallest_lesion_mm=self.smallestLesionMm,
        )


class Outcome(Enum):
    """How a run ended. ABANDONED: its volume or its scene is gone."""

    DONE = auto()
    FAILED = auto()
    CANCELED = auto()
    ABANDONED = auto()


@dataclass(frozen=True, eq=False)
class RunEnd:
    """How a run ended, with its result or its failure.

    segmentationNode, record: of a run that is done. failure: of one that failed.
    notes: what happened in the scene meanwhile, one sentence each; the record has its own warnings.
    """

    outcome: Outcome
    segmentationNode: Any = None
    record: dict[str, Any] = field(default_factory=dict)
    failure: JobFailure | None = None
    notes: tuple[str, ...] = ()
    log: str = ""


class SegmentationRun:
    """Make one for each run, and start it. ``onEnd`` is called once, on the main thread."""

    def __init__(
        self,
        volumeNode: Any,
        segmentationNode: Any,
        settings: RunSettings,
        runner: Runner,
        *,
        onProgress: ProgressCallback,
        onEnd: Callable[[RunEnd], None],
    ) -> None:
        self._volumeNode, self._segmentationNode = volumeNode, segmentationNode
        self._settings = settings
        self._runner: Runner | None = runner
        self._onProgress, self._onEnd = onProgress, onEnd
        self._job: SegmentationJob | None = None
        self._tags: list[int] = []
        self._isAbandoned = False

    @property
    def isRunning(self) -> bool:
        return self._job is not None and self._job.isRunning

    def start(self) -> None:
        """Begin; returns when the voxels are copied. ``ValueError`` for a volume that is no CT."""
        assert self._runner is not None, "a run is started once"
        ct = readVolume(self._volumeNode)
        request = JobRequest(
            huKji=ct.hu,
            ijkToRas=ct.ijk_to_ras,
            settings=self._settings.ofTheNetwork(),
        )
        self._voxelsBefore = _voxelStamp(self._volumeNode)
        self._segmentsBefore = _segmentStamps(self._segmentationNode)
        self._watchScene()
        self._job = SegmentationJob(
            request,
            self._runner,
            onProgress=self._onProgress,
            onFinished=self._onFinished,
            onFailed=self._onFailed,
            onCancelled=self._onCancelled,
        )
        self._job.start()

    def cancel(self) -> None:
        """Stop at once; the scene stays as it is."""
        if self._job is not None:
            self._job.cancel()

    def cleanUp(self) -> None:
        """Stop, and call nobody: the panel goes."""
        self._unwatchScene()
        if self._job is not None:
            self._job.cleanUp()

    def _watchScene(self) -> None:
        @vtk.calldata_type(vtk.VTK_OBJECT)
        def onRemoved(_caller: Any, _event: str, node: Any) -> None:
            if node is self._volumeNode:
                self._abandon()

        scene, events = slicer.mrmlScene, slicer.vtkMRMLScene
        self._tags = [
            scene.AddObserver(events.NodeAboutToBeRemovedEvent, onRemoved),
            scene.AddObserver(events.StartCloseEvent, lambda *_nothing: self._abandon()),
        ]

    def _unwatchScene(self) -> None:
        while self._tags:
            slicer.mrmlScene.RemoveObserver(self._tags.pop())

    def _abandon(self) -> None:
        self._isAbandoned = True
        self.cancel()

    def _onCancelled(self) -> None:
        outcome = Outcome.ABANDONED if self._isAbandoned else Outcome.CANCELED
        self._end(RunEnd(outcome, log=self._job.log if self._job else ""))

    def _onFailed(self, failure: JobFailure) -> None:
        self._end(RunEnd(Outcome.FAILED, failure=failure, log=failure.log))

    def _onFinished(self, result: JobResult) -> None:
        try:
            end = self._intoScene(result)
        except ValueError as error:
            end = _failed(translatedError(error), result.log)
        except Exception as error:
            logging.exception("The result could not be put into the scene.")
            sentence = _("The result could not be put into the scene ({reason}); try again.")
            end = _failed(sentence.format(reason=error), result.log)
        self._end(end)

    def _intoScene(self, result: JobResult) -> RunEnd:
        notes = []
        if _voxelStamp(self._volumeNode) != self._voxelsBefore:
            notes.append(_("The CT was changed meanwhile; the result is that of the CT before."))
        node, note = self._write(result)
        showForReview(node)
        keepForLater(node, result.steps, result.seen, self._settings.onePerLesion)
        forgetProbabilityVolumes(node)
        if result.probabilities is not None:
            addProbabilityVolumes(result.probabilities, self._volumeNode, node)
        notes += note
        return RunEnd(Outcome.DONE, node, result.record, notes=tuple(notes), log=result.log)

    def _write(self, result: JobResult) -> tuple[Any, list[str]]:
        """Into the chosen segmentation unless somebody worked on it during the run."""
        target = self._segmentationNode if isInScene(self._segmentationNode) else None
        unchanged = _segmentStamps(target) == self._segmentsBefore
        options = {"onePerLesion": self._settings.onePerLesion}
        arguments = (result.labelsKji, self._volumeNode, result.record)
        try:
            agreed = self._settings.discardEdits and unchanged
            node = writeSegmentation(
                *arguments, segmentationNode=target, discardEdits=agreed, **options
            )
        except EditedSegmentsError:
            node = writeSegmentation(*arguments, **options)
            return node, [
                _("The chosen segmentation was edited meanwhile; the result is in a new one.")
            ]
        return node, []

    def _end(self, end: RunEnd) -> None:
        """Free the copy of the CT and its nodes, for a run may be held for long; call back."""
        self._unwatchScene()
        onEnd, self._onEnd, self._onProgress = self._onEnd, _ignore, _ignore
        self._job, self._runner = None, None
        self._volumeNode, self._segmentationNode = None, None
        onEnd(end)


def _ignore(*_arguments: Any) -> None:
    """The callback of a run that is over."""


def _failed(sentence: str, log: str) -> RunEnd:
    return RunEnd(Outcome.FAILED, failure=JobFailure("input", sentence, log), log=log)


def _voxelStamp(volumeNode: Any) -> int:
    """Another one after the voxels were changed; VTK numbers all changes in one row."""
    image = volumeNode.GetImageData()
    return 0 if image is None else int(image.GetMTime())


def _segmentStamps(segmentationNode: Any) -> list[tuple[Any, ...]]:
    """Others after segments were added, removed, renamed or painted on."""
    if not isInScene(segmentationNode):
        return []
    segmentation = segmentationNode.GetSegmentation()
    stamps = []
    for segmentId in segmentIds(segmentation):
        segment = segmentation.GetSegment(segmentId)
        image = segment.GetRepresentation(LABELMAP)
        stamps.append((segmentId, segment.GetName(), image.GetMTime() if image else 0))
    return stamps

"""What a run leaves behind in Slicer: no memory of the CT's size, and no file of the patient's.

The stand-in keeps what ``qt.QTimer.singleShot`` was given, and lets no thread run while it waits
for events, as Slicer does.
"""

from __future__ import annotations

import gc
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import qt
import slicer
from fake_runner import FakeRunner
from LiverTumorSegSlicer import self_test
from LiverTumorSegSlicer.run import job, later, segmentation_run
from LiverTumorSegSlicer.run.job import JobRequest, SegmentationJob
from LiverTumorSegSlicer.run.later import callLater
from LiverTumorSegSlicer.self_test import AnsweringRunner
from panel_desk import PanelDesk, waitUntil

SLICE = np.zeros((512, 512), np.int16)
CALLS = 100  # to a slow disk


@pytest.fixture
def noCollector() -> Iterator[None]:
    """What only Python's collector of circles would free lives for minutes in Slicer."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


class Watched:
    """Weak references to every large array that a run takes, makes or hands on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._references: dict[str, list[weakref.ref[np.ndarray]]] = {}
        self._watch(monkeypatch, segmentation_run, "readVolume", lambda ct: {"ct": ct.hu})
        self._watch(monkeypatch, job, "read_answer", lambda answer: vars(answer))
        self._watch(monkeypatch, self_test, "read_request", lambda ct: {"child's ct": ct.hu})

    def _watch(self, monkeypatch: pytest.MonkeyPatch, place: Any, name: str, parts: Any) -> None:
        original = getattr(place, name)

        def watched(*arguments: Any) -> Any:
            value = original(*arguments)
            for part, array in parts(value).items():
                if isinstance(array, np.ndarray):
                    self._references.setdefault(part, []).append(weakref.ref(array))
            return value

        monkeypatch.setattr(place, name, watched)

    @property
    def seen(self) -> set[str]:
        return set(self._references)

    @property
    def alive(self) -> set[str]:
        return {
            name for name, refs in self._references.items() if any(r() is not None for r in refs)
        }


@pytest.mark.usefixtures("noCollector")
@pytest.mark.parametrize("end", ["done", "failed", "canceled"])
def test_nothing_of_the_ct_s_size_lives_after_a_run(
    desk: PanelDesk, end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the copy of the CT nor labels and probabilities: only what is in the scene."""
    watched = Watched(monkeypatch)
    desk.loadCt()
    desk.parameters.keepProbabilities = True
    labels = desk.labelsKji
    share = np.zeros((3, *labels.shape), np.float16)
    answers = {"done": lambda ct: labels, "failed": None}
    if end in answers:
        desk.answer = lambda: AnsweringRunner(answers[end], probabilities=share)
        desk.run()
    else:
        runner = desk.start()
        desk.click(desk.ui.segmentButton)
        runner.exit(130)
    desk.runners.clear()
    handedBack = {"labels_kji", "probabilities", "child's ct"} if end == "done" else set()
    assert watched.seen == {"ct"} | handedBack
    waitUntil(lambda: not watched.alive, 10, lookEveryMs=300)


class Waiting:
    """A job of a size that takes a while, in a Slicer that only waits for events.

    looks: how often the job has asked to be called later.
    """

    def __init__(self, folder: Path, slices: int) -> None:
        self.runner, self.ends, self.folder = FakeRunner(), [], folder
        self.looks = 0
        huKji = np.broadcast_to(SLICE, (slices, *SLICE.shape)).copy()
        self.job = SegmentationJob(
            JobRequest(huKji=huKji, ijkToRas=np.eye(4)),
            self.runner,
            onProgress=lambda *_told: None,
            onFinished=self.ends.append,
            onFailed=self.ends.append,
            onCancelled=lambda: self.ends.append("cancelled"),
            later=self._later,
            temporaryFolder=folder,
        )

    def _later(self, milliseconds: int, function: Callable[[], None]) -> None:
        self.looks += 1
        callLater(milliseconds, function)

    def waitFor(self, condition: Callable[[], Any]) -> None:
        """Meanwhile nothing runs Python but what the job asks for, and a rare look."""
        waitUntil(condition, lookEveryMs=250)


def test_the_ct_is_handed_over_though_slicer_gives_threads_no_time(
    scene: Any, tmp_path: Path
) -> None:
    """How long it takes: Testing/benchmarks/bench_slicer_block.py."""
    waiting = Waiting(tmp_path, 100)
    waiting.job.start()
    waiting.waitFor(lambda: waiting.runner.isThere)
    waiting.job.cleanUp()


def afterCalls(function: Callable[..., None]) -> Callable[..., None]:
    """A function on a slow disk: at each call to it the thread lets the interpreter go."""

    def slowly(*arguments: Any) -> None:
        for _call in range(CALLS):
            time.sleep(0.001)
        function(*arguments)

    return slowly


def test_a_look_gives_hand_over_and_removal_time_for_many_calls_to_the_disk(
    scene: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread has to get the interpreter back after each call. Where a look gives it no time,
    that happens once a look, and the looks are as many as the calls."""
    monkeypatch.setattr(later, "GIVEN_SECONDS", 1.0)  # enough for all, on a busy computer too
    for name in ("write_request", "removeJobFolder"):
        monkeypatch.setattr(job, name, afterCalls(getattr(job, name)))
    waiting = Waiting(tmp_path, 2)
    waiting.job.start()
    waiting.waitFor(lambda: waiting.runner.isThere)
    assert waiting.looks < CALLS / 4
    waiting.looks = 0
    waiting.runner.exit(1)
    waiting.waitFor(lambda: not list(tmp_path.iterdir()))
    assert waiting.looks < CALLS / 4


def test_the_patients_ct_is_gone_soon_after_the_end(scene: Any, tmp_path: Path) -> None:
    waiting = Waiting(tmp_path, 60)
    waiting.job.start()
    waiting.waitFor(lambda: waiting.runner.isThere)
    assert list(tmp_path.iterdir())
    waiting.runner.exit(1)
    assert len(waiting.ends) == 1
    waiting.waitFor(lambda: not list(tmp_path.iterdir()))


def test_what_is_called_later_is_let_go(scene: Any) -> None:
    called: list[str] = []
    before = len(slicer.app.children())
    callLater(0, lambda: called.append("now"))
    callLater(30, lambda: called.append("then"))
    waitUntil(lambda: len(called) == 2)
    slicer.app.processEvents(qt.QEventLoop.AllEvents)
    waitUntil(lambda: len(slicer.app.children()) <= before + 1)  # the test's own
    assert called == ["now", "then"]

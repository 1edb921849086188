"""What the self test needs where there is no network, no torch and no model.

A CT made of numbers, and a runner that sends what the command line does, in this process.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import slicer
from LiverTumorSegLib.cli.exchange import Answer, read_request, write_answer
from LiverTumorSegLib.labels import Label
from LiverTumorSegLib.result.lesions import measure, measures_to_dict
from LiverTumorSegLib.result.step_labels import StepLabels, TumorSeen
from LiverTumorSegLib.volume import CtVolume

from .run.later import callLater
from .run.process import ExitCallback, LineCallback

OBLIQUE_IJK_TO_RAS = np.array(
    [[-1.45, 0.10, 0.3, 70.0], [0.12, -1.46, -0.5, 55.0], [0.15, -0.26, 4.9, -60.0], [0, 0, 0, 1]]
)
SHAPE_KJI = (24, 72, 80)
AIR_HU, BODY_HU, LIVER_HU, TUMOR_HU = -1000, 20, 110, 60


def makeTestCt(name: str = "Test CT") -> tuple[Any, np.ndarray]:
    """An oblique CT of a body with a liver and two tumors: the volume node and its labels."""
    labelsKji = _makeLabels()
    huKji = np.full(SHAPE_KJI, AIR_HU, np.int16)
    huKji[_ellipsoid((11.5, 36, 40), (40, 32, 36))] = BODY_HU
    huKji[labelsKji == Label.LIVER] = LIVER_HU
    huKji[labelsKji == Label.TUMOR] = TUMOR_HU
    node = slicer.util.addVolumeFromArray(huKji, ijkToRAS=OBLIQUE_IJK_TO_RAS, name=name)
    node.CreateDefaultDisplayNodes()
    return node, labelsKji


def _makeLabels() -> np.ndarray:
    labelsKji = np.zeros(SHAPE_KJI, np.uint8)
    labelsKji[_ellipsoid((12, 34, 30), (9, 18, 20))] = Label.LIVER
    labelsKji[_ellipsoid((13, 30, 26), (2.2, 5, 5))] = Label.TUMOR
    labelsKji[_ellipsoid((9, 42, 36), (1.2, 3, 3))] = Label.TUMOR
    return labelsKji


def _ellipsoid(centerKji: tuple[float, ...], radiiKji: tuple[float, ...]) -> np.ndarray:
    axes = np.ogrid[tuple(slice(n) for n in SHAPE_KJI)]
    terms = ((x - c) / r for x, c, r in zip(axes, centerKji, radiiKji, strict=True))
    return sum(term**2 for term in terms) <= 1


class AnsweringRunner:
    """A ``Runner`` without a process: it sends each line in turn, then the labels of a function.

    lines: events that a run says on its way, as dictionaries. answer(ct): the labels; None to end
    without any. exitCode: how it ends. pauseMs: between two lines. endsWhenAsked: whether
    ``terminate`` ends it, as it does a process that is well. later: what it leaves for later.
    """

    def __init__(
        self,
        answer: Callable[[CtVolume], np.ndarray] | None,
        lines: tuple[dict[str, Any], ...] = (),
        *,
        exitCode: int = 0,
        errorText: str = "",
        pauseMs: int = 1,
        record: dict[str, Any] | None = None,
        probabilities: np.ndarray | None = None,
        later: tuple[TumorSeen | None, StepLabels | None] = (None, None),
    ) -> None:
        self.pid: int | None = None
        self.childPid: int | None = None
        self.arguments: list[str] = []
        self._answer, self._exitCode = answer, exitCode
        self._lines, self._errorText = list(lines), errorText
        self._pauseMs, self._record = pauseMs, record or {}
        self._probabilities, self._later = probabilities, later

    def start(
        self,
        arguments: list[str],
        onLine: LineCallback,
        onErrorText: LineCallback,
        onExit: ExitCallback,
    ) -> None:
        self.pid, self.arguments = 1, arguments
        self._onLine, self._onErrorText, self._onExit = onLine, onErrorText, onExit
        callLater(self._pauseMs, self._next)

    def terminate(self) -> None:
        self._end(15, True)

    def kill(self) -> None:
        self._end(9, True)

    def closeInput(self) -> None:
        """The process that this stands for ends by itself then; so here ``terminate`` does it."""

    def _next(self) -> None:
        if self.pid is None:
            return
        if self._lines:
            self._say(**self._lines.pop(0))
            callLater(self._pauseMs, self._next)
            return
        if self._errorText:
            self._onErrorText(self._errorText)
        if self._answer is not None:
            self._finish()
        self._end(self._exitCode, False)

    def _finish(self) -> None:
        folder = Path(self.arguments[self.arguments.index("--raw") + 1])
        ct = read_request(folder)
        labelsKji = self._answer(ct) if self._answer else None
        record = {**self.recordOf(labelsKji, ct), **self._record}
        write_answer(folder, Answer(labelsKji, record, self._probabilities, *self._later))
        self._say(event="finished", summary="", **record)

    @staticmethod
    def recordOf(labelsKji: np.ndarray, ct: CtVolume) -> dict[str, Any]:
        """A run's record, as far as Slicer reads it."""
        return {
            "notice": "For research only, not for diagnosis.",
            "found_liver": bool(labelsKji.any()),
            **measures_to_dict(measure(labelsKji, ct)),
            "model": {"model": "self-test", "version": "0", "sha256": None},
            "run": {"device": "cpu", "seconds": 0.1},
            "warnings": [],
        }

    def _say(self, **event: Any) -> None:
        self._onLine(json.dumps(event))

    def _end(self, code: int, crashed: bool) -> None:
        if self.pid is not None:
            self.pid = None
            self._onExit(code, crashed)

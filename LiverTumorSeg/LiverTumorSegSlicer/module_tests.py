"""The self test's cases: in Slicer itself, without network, torch and model where these are not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import slicer

from .environment.requirements import Environment
from .panel.inputs import sourceVolume
from .panel.lesion_table import LesionTable
from .run.process import Runner
from .scene.nodes import readLabels, resultRecord
from .self_test import AnsweringRunner, makeTestCt


class ModuleTests:
    """Tests that a test case inherits when it says how the module's logic is made.

    No TestCase itself: Slicer runs every TestCase that it finds in the module's namespace.
    """

    def makeLogic(self, makeRunner: Callable[[], Runner] | None = None) -> Any:
        """The logic, with the runner handed in; the real child process by default."""
        raise NotImplementedError

    def runAll(self) -> None:
        """Every test, each in an empty scene."""
        for name in [name for name in dir(self) if name.startswith("test_")]:
            slicer.mrmlScene.Clear()
            getattr(self, name)()
        slicer.mrmlScene.Clear()

    def test_resultFitsObliqueCt(self) -> None:
        """Every voxel comes back where it was, and the tumors are measured."""
        volumeNode, labelsKji = makeTestCt()
        steps: list[tuple[float, str]] = []
        logic = self.makeLogic(lambda: AnsweringRunner(lambda ct: labelsKji))
        node = logic.segment(volumeNode, progress=lambda *step: steps.append(step))
        np.testing.assert_array_equal(readLabels(node, volumeNode), labelsKji)
        assert steps[0][0] == 0.0
        table = LesionTable(node, volumeNode)
        assert len(table.compute().lesions) == 2
        table.cleanUp()

    def test_stoppingLeavesTheSceneAlone(self) -> None:
        """An error that the progress callback raises ends the run and comes out of it."""
        volumeNode, labelsKji = makeTestCt()
        before = slicer.mrmlScene.GetNumberOfNodes()
        logic = self.makeLogic(lambda: AnsweringRunner(lambda ct: labelsKji))
        with self.assertRaises(KeyboardInterrupt):  # noqa: PT027  Slicer has no pytest
            logic.segment(volumeNode, progress=_stop)
        assert not logic.isRunning
        assert slicer.mrmlScene.GetNumberOfNodes() == before

    def test_failureIsOneSentence(self) -> None:
        """A failed run shows the child process's message."""
        volumeNode, _labelsKji = makeTestCt()
        failed = {"event": "failed", "kind": "model", "text": "There is no such model."}
        logic = self.makeLogic(lambda: AnsweringRunner(None, (failed,), exitCode=2))
        with self.assertRaisesRegex(RuntimeError, "^There is no such model.$"):  # noqa: PT027
            logic.segment(volumeNode)

    def test_realChildProcess(self) -> None:
        """The shipped model, where it and its packages are installed."""
        problems = Environment().check().problems
        if problems:
            slicer.util.delayDisplay(f"The model was not run: {problems[0].sentence}", 0)
            return
        volumeNode, _labelsKji = makeTestCt()
        node = self.makeLogic().segment(volumeNode, device="cpu")
        assert resultRecord(node)["run"]["device"] == "cpu"
        assert sourceVolume(node) is volumeNode


def _stop(_fraction: float, _phrase: str) -> None:
    raise KeyboardInterrupt

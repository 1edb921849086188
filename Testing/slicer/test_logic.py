"""The logic as a script uses it, and the module's own self test."""

from __future__ import annotations

import gc
import weakref
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import qt
import slicer
from ct_scenes import sceneState
from fake_runner import FakeRunner
from LiverTumorSegSlicer.run import segmentation_run
from LiverTumorSegSlicer.run.segmentation_run import Outcome, RunEnd, RunSettings
from LiverTumorSegSlicer.scene.nodes import readLabels
from LiverTumorSegSlicer.scene.volumes import readVolume
from LiverTumorSegSlicer.self_test import AnsweringRunner, makeTestCt
from panel_desk import waitUntil


@pytest.fixture(autouse=True)
def noModel(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """No model of the person who runs the tests."""
    monkeypatch.setenv("LIVERTUMORSEG_MODELS", str(tmp_path / "models"))


def answering(labelsKji: np.ndarray, **options: Any) -> Any:
    return lambda: AnsweringRunner(lambda ct: labelsKji, **options)


def test_the_module_s_own_self_test_passes(module: ModuleType) -> None:
    slicer.modules.LiverTumorSegInstance.runTest()


def test_five_lines_of_a_script(module: ModuleType) -> None:
    volume, labels = makeTestCt("Scan")
    logic = module.LiverTumorSegLogic(answering(labels))
    node = logic.segment(volume)
    assert np.array_equal(readLabels(node, volume), labels)
    assert node.GetName() == "Scan liver and tumors"
    assert logic.segment(volume, segmentationNode=node) is node


def test_slicer_lives_on_while_a_script_waits(module: ModuleType) -> None:
    volume, labels = makeTestCt()
    beats: list[int] = []
    timer = qt.QTimer()
    timer.connect("timeout()", lambda: beats.append(1))
    timer.start(5)
    progress = tuple({"event": "progress", "fraction": n / 9, "phrase": "on"} for n in range(9))
    told: list[float] = []
    logic = module.LiverTumorSegLogic(answering(labels, lines=progress, pauseMs=20))
    logic.segment(volume, progress=lambda fraction, phrase: told.append(fraction))
    timer.stop()
    assert len(beats) > 10
    assert told == sorted(told)
    assert told[-1] == 1.0


def test_settings_are_those_of_the_panel(module: ModuleType) -> None:
    volume, labels = makeTestCt()
    runners: list[Any] = []

    def make() -> Any:
        runners.append(answering(labels)())
        return runners[-1]

    logic = module.LiverTumorSegLogic(make)
    node = logic.segment(
        volume,
        model="some-model",
        device="cpu",
        scan=False,
        smallestLesionMm=3.0,
        onePerLesion=True,
    )
    arguments = " ".join(runners[0].arguments)
    for words in ("--model some-model", "--device cpu", "--no-coarse-search"):
        assert words in arguments
    assert "--smallest-lesion-mm 3.0" in arguments
    assert node.GetSegmentation().GetNumberOfSegments() == 3
    with pytest.raises(TypeError, match="colour"):
        logic.segment(volume, colour="red")


def test_a_script_may_not_lose_a_person_s_edits(module: ModuleType) -> None:
    volume, labels = makeTestCt()
    logic = module.LiverTumorSegLogic(answering(labels))
    node = logic.segment(volume)
    node.GetSegmentation().GetSegment("Tumor").SetName("My tumor")
    with pytest.raises(ValueError, match="My tumor"):
        logic.segment(volume, node)
    assert not logic.isRunning
    logic.segment(volume, node, discardEdits=True)
    assert node.GetSegmentation().GetSegment("Tumor").GetName() == "Tumor"


def test_what_progress_raises_comes_out(module: ModuleType) -> None:
    volume, labels = makeTestCt()
    before = sceneState()
    logic = module.LiverTumorSegLogic(answering(labels))

    def stop(fraction: float, phrase: str) -> None:
        if fraction >= 1.0:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        logic.segment(volume, progress=stop)
    slicer.app.processEvents()
    assert sceneState() == before


def test_failures_are_sentences(module: ModuleType) -> None:
    volume, _labels = makeTestCt()
    before = sceneState()
    logic = module.LiverTumorSegLogic(lambda: AnsweringRunner(None, exitCode=137))
    with pytest.raises(RuntimeError, match="memory ran out"):
        logic.segment(volume)
    logic = module.LiverTumorSegLogic(lambda: FakeRunner(OSError("no such file")))
    with pytest.raises(RuntimeError, match="PythonSlicer"):
        logic.segment(volume)
    with pytest.raises(ValueError, match="The CT is not in the scene"):
        logic.segment(None)
    assert sceneState() == before


def test_a_ct_that_goes_meanwhile_is_told_to_the_script(module: ModuleType) -> None:
    volume, labels = makeTestCt()
    logic = module.LiverTumorSegLogic(answering(labels, pauseMs=60))
    qt.QTimer.singleShot(30, lambda: slicer.mrmlScene.RemoveNode(volume))
    with pytest.raises(RuntimeError, match="The CT was removed"):
        logic.segment(volume)


def test_one_run_at_a_time(module: ModuleType) -> None:
    volume, _labels = makeTestCt()
    logic = module.LiverTumorSegLogic(FakeRunner)
    ends: list[RunEnd] = []
    silent = {"onProgress": lambda *_told: None, "onEnd": ends.append}
    logic.start(volume, None, RunSettings(), **silent)
    with pytest.raises(RuntimeError, match="is running"):
        logic.start(volume, None, RunSettings(), **silent)
    logic.cancel()
    assert [end.outcome for end in ends] == [Outcome.CANCELED]
    logic.cancel()
    assert len(ends) == 1


def test_a_canceled_script_is_told(module: ModuleType) -> None:
    volume, labels = makeTestCt()
    logic = module.LiverTumorSegLogic(answering(labels, pauseMs=60))
    qt.QTimer.singleShot(30, logic.cancel)
    with pytest.raises(RuntimeError, match="canceled"):
        logic.segment(volume)


def test_a_chosen_segmentation_that_is_deleted_meanwhile(module: ModuleType) -> None:
    volume, labels = makeTestCt()
    chosen = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    logic = module.LiverTumorSegLogic(answering(labels, pauseMs=60))
    qt.QTimer.singleShot(30, lambda: slicer.mrmlScene.RemoveNode(chosen))
    node = logic.segment(volume, chosen)
    assert node is not chosen
    assert np.array_equal(readLabels(node, volume), labels)


def test_the_parameter_node_is_the_scene_s_own(module: ModuleType) -> None:
    logic = module.LiverTumorSegLogic()
    logic.getParameterNode().smallestLesionMm = 4.5
    assert module.LiverTumorSegLogic().getParameterNode().smallestLesionMm == 4.5
    with pytest.raises(ValueError, match="range"):
        logic.getParameterNode().smallestLesionMm = 99.0
    slicer.mrmlScene.Clear()
    assert logic.getParameterNode().smallestLesionMm == 0.0


def test_a_run_that_is_over_keeps_no_ct(
    module: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither its own copy, hundreds of megabytes, nor a node that was removed from the scene."""
    copies = []

    def readAndWatch(volumeNode: Any) -> Any:
        ct = readVolume(volumeNode)
        copies.append(weakref.ref(ct.hu))
        return ct

    monkeypatch.setattr(segmentation_run, "readVolume", readAndWatch)
    volume, labels = makeTestCt()
    node = weakref.ref(volume)
    logic = module.LiverTumorSegLogic(answering(labels))
    logic.segment(volume)
    slicer.mrmlScene.Clear()
    del volume
    waitUntil(lambda: gc.collect() >= 0 and copies[0]() is None)
    assert node() is None


def test_the_ct_is_seen_through_a_result(module: ModuleType) -> None:
    volume, labels = makeTestCt()
    display = module.LiverTumorSegLogic(answering(labels)).segment(volume).GetDisplayNode()
    assert display.GetSegmentOpacity2DFill("Liver") < display.GetSegmentOpacity2DFill("Tumor") < 0.5
    assert display.GetSegmentOpacity2DOutline("Liver") == 1.0

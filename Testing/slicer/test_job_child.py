"""The job with a real QProcess and the real command line in it, on a tiny CT and random weights."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from LiverTumorSegLib.inference.segmenter import load_segmenter
from LiverTumorSegLib.result.plausibility import check
from LiverTumorSegLib.settings import RunSettings
from LiverTumorSegLib.volume import CtVolume
from LiverTumorSegSlicer.run.job import (
    JobFailure,
    JobRequest,
    JobResult,
    SegmentationJob,
    removeLeftovers,
)
from LiverTumorSegSlicer.run.process import MODULE_FOLDER, ProcessRunner
from looped import looped
from panel_desk import waitUntil
from random_model import save_random_model
from test_process import isAlive

LPS = np.diag([-5.0, -5.0, 4.0, 1.0])
TESTING = Path(__file__).resolve().parents[1]
FOLDERS = (TESTING, TESTING / "slicer", TESTING / "support", MODULE_FOLDER)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_random_model(tmp_path_factory.mktemp("model") / "tiny.safetensors"))


@pytest.fixture(autouse=True)
def oneThread(scene: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def someHu(slices: int) -> np.ndarray:
    hu = np.full((slices, 36, 40), -1000, np.int16)
    random = np.random.default_rng(1)
    hu[:, 6:-6, 6:-6] = random.integers(20, 120, hu[:, 6:-6, 6:-6].shape)
    return hu


class Run:
    """A job on the real runner."""

    def __init__(self, folder: Path, model: str, slices: int = 5, **request: Any) -> None:
        self.runner, self.ends, self.progress = ProcessRunner(), [], []
        self.folder = folder
        values = {"device": "cpu", "smallest_lesion_mm": 0.0, "coarse_search": False, **request}
        affine = LPS if slices < 100 else LPS @ np.diag([1, 1, 0.1, 1])  # nobody is 8 m long
        self.request = JobRequest(someHu(slices), affine, RunSettings(model=model, **values))
        self.job = SegmentationJob(
            self.request,
            self.runner,
            onProgress=lambda *told: self.progress.append(told),
            onFinished=self.ends.append,
            onFailed=self.ends.append,
            onCancelled=lambda: self.ends.append("cancelled"),
            temporaryFolder=folder,
        )
        self.job.start()

    def waitForASlice(self) -> int:
        """The child's own number."""
        waitUntil(lambda: self.ends or any(fraction > 0 for fraction, _, _ in self.progress))
        assert not self.ends, self.ends
        assert self.runner.childPid is not None
        return self.runner.childPid

    def end(self) -> Any:
        waitUntil(lambda: self.ends, 120)
        waitUntil(lambda: not list(self.folder.iterdir()))
        (end,) = self.ends
        return end


@pytest.fixture
def one_thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Here and in the child: several add up a sum in an order of their own."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("one_thread")
def test_the_labels_are_those_of_the_library(tmp_path: Path, model: str) -> None:
    run = Run(tmp_path, model, probabilities=True)
    result = run.end()
    assert isinstance(result, JobResult), result
    segmenter = load_segmenter(
        RunSettings(model=str(model), device="cpu", coarse_search=False, smallest_lesion_mm=0.0)
    )
    ct = CtVolume(run.request.huKji, LPS)
    expected = segmenter.segment(ct, keep_prediction=True)
    checked = check(ct, expected.labels_kji, expected.tumor_probability_kji)
    np.testing.assert_array_equal(result.labelsKji, checked.labels_kji)
    np.testing.assert_array_equal(result.probabilities, expected.probabilities)
    assert result.probabilities[1:].any()
    assert result.record["notice"] == "For research only, not for diagnosis."
    assert result.record["model"]["sha256"] == segmenter.sha256
    assert [fraction for fraction, _, _ in run.progress] == sorted(f for f, _, _ in run.progress)


def test_cancel_and_run_again(tmp_path: Path, model: str) -> None:
    run = Run(tmp_path, model, slices=2000)
    pid = run.waitForASlice()
    run.job.cancel()
    assert run.ends == ["cancelled"]
    waitUntil(lambda: not isAlive(pid), 5)
    assert run.end() == "cancelled"
    assert isinstance(Run(tmp_path, model, slices=2).end(), JobResult)


def test_cancel_before_the_child_speaks(tmp_path: Path, model: str) -> None:
    run = Run(tmp_path, model, slices=2000)
    waitUntil(lambda: run.runner.pid is not None)
    launcher = run.runner.pid
    assert launcher is not None
    run.job.cancel()
    waitUntil(lambda: not isAlive(launcher), 5)
    assert run.end() == "cancelled"


def test_a_child_that_is_killed(tmp_path: Path, model: str) -> None:
    run = Run(tmp_path, model, slices=2000)
    os.kill(run.waitForASlice(), signal.SIGKILL)
    failure = run.end()
    assert isinstance(failure, JobFailure)
    assert failure.kind == "memory"
    assert "close other programs" in failure.sentence


def test_a_child_that_somebody_ends(tmp_path: Path, model: str) -> None:
    run = Run(tmp_path, model, slices=2000)
    os.kill(run.waitForASlice(), signal.SIGTERM)
    failure = run.end()
    assert isinstance(failure, JobFailure)
    assert "outside Slicer" in failure.sentence


@looped(
    ("request_", "kind", "words"),
    [
        ({"model": "no-such-model"}, "input", "no-such-model"),
        ({"device": "abacus"}, "input", "abacus"),
    ],
)
def test_what_cannot_be_run_is_said_in_the_childs_words(
    tmp_path: Path, model: str, request_: dict[str, Any], kind: str, words: str
) -> None:
    failure = Run(tmp_path, request_.pop("model", model), **request_).end()
    assert isinstance(failure, JobFailure)
    assert failure.kind == kind
    assert words in failure.sentence


def test_a_broken_model(tmp_path: Path) -> None:
    (tmp_path / "broken.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{broken")
    (tmp_path / "runs").mkdir()
    failure = Run(tmp_path / "runs", str(tmp_path / "broken.safetensors")).end()
    assert isinstance(failure, JobFailure)
    assert failure.kind == "model"


@looped(
    ("package", "code", "words"),
    [
        ("torch", "raise ModuleNotFoundError(\"No module named 'torch'\")", "is missing"),
        ("torch", "", "in part"),  # a folder that an interrupted installation left
        ("torch", "raise ImportError('DLL load failed while importing _C')", "in part"),
        ("cv2", "", "in part"),
        ("safetensors", "raise ModuleNotFoundError(\"No module named 'safetensors'\")", "missing"),
    ],
)
def test_packages_that_are_missing_or_half_there(
    tmp_path: Path,
    model: str,
    monkeypatch: pytest.MonkeyPatch,
    package: str,
    code: str,
    words: str,
) -> None:
    (tmp_path / "packages" / package).mkdir(parents=True)
    (tmp_path / "packages" / package / "__init__.py").write_text(code)
    (tmp_path / "runs").mkdir()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "packages"))
    failure = Run(tmp_path / "runs", model).end()
    assert isinstance(failure, JobFailure)
    assert failure.kind == "environment", failure
    assert words in failure.sentence
    assert "Traceback" in failure.log


def test_slicer_dies_and_its_child_with_it(tmp_path: Path, model: str) -> None:
    """A Python that plays Slicer is killed; what it left is removed at the next start."""
    program = f"""
import json, sys
sys.path[:0] = {[str(folder) for folder in FOLDERS]!r}
from slicersim.app import boot
boot()
from pathlib import Path
from test_job_child import Run
from panel_desk import waitUntil
from slicersim.loop import in_event_loop
def work():
    run = Run(Path({str(tmp_path)!r}), {model!r}, slices=2000)
    print(json.dumps([run.waitForASlice(), run.runner.pid]), flush=True)
    waitUntil(lambda: False, 100)
in_event_loop(work)
"""
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True
    ) as slicerProcess:
        assert slicerProcess.stdout is not None
        pids = json.loads(slicerProcess.stdout.readline())
        assert all(isAlive(pid) for pid in pids)
        assert removeLeftovers(tmp_path) == 0, "its Slicer lives"
        slicerProcess.kill()
        slicerProcess.wait()
        waitUntil(lambda: not any(isAlive(pid) for pid in pids), 20)
    assert len(list(tmp_path.iterdir())) == 1
    assert removeLeftovers(tmp_path) == 1
    assert not list(tmp_path.iterdir())

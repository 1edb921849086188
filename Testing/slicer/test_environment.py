"""What is missing is found and said in a sentence."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest
from fake_environment import (
    FakePackages,
    environmentOf,
    forgetAll,
    shipSmallModel,
)
from LiverTumorSegLib.model import catalog
from LiverTumorSegSlicer.environment.packages import Found, PackageCheck
from LiverTumorSegSlicer.environment.requirements import Environment
from looped import looped
from panel_desk import waitUntil

SENTENCE = re.compile(r"[A-Z].*\.", re.DOTALL)
WHOLE = {"cv2": True, "safetensors": True, "scipy": True}


@pytest.fixture(autouse=True)
def shippedModel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> catalog.ModelEntry:
    forgetAll()
    return shipSmallModel(tmp_path, monkeypatch)


def checkedReport(packages: FakePackages, **options: Any) -> Any:
    """The report after all was tried."""
    reports: list[Any] = []
    environmentOf(packages, **options)[0].checkInChild(reports.append)
    (report,) = reports
    return report


def kinds(report: Any) -> list[str]:
    for problem in report.problems:
        assert SENTENCE.fullmatch(problem.sentence), problem.sentence
        assert "{size}" not in problem.sentence
    return [problem.kind for problem in report.problems]


def test_all_is_there() -> None:
    report = environmentOf(FakePackages())[0].check()
    assert (report.isReady, report.canInstall, report.isChecked) == (True, False, False)
    assert (report.torch, report.model, report.gpu) == ("2.8.0+cu126", True, None)
    assert {name: getattr(report, name) for name in WHOLE} == WHOLE


def test_the_gpu_is_known_when_all_was_tried() -> None:
    report = checkedReport(FakePackages(packageCheck=PackageCheck(gpu="NVIDIA RTX")))
    assert (report.isChecked, report.gpu, report.isReady) == (True, "NVIDIA RTX", True)


def test_a_gpu_that_does_not_run_is_no_obstacle_and_is_told() -> None:
    report = checkedReport(
        FakePackages(packageCheck=PackageCheck(gpuProblem="no kernel image is available"))
    )
    assert report.isReady
    assert report.gpu is None
    assert "kernel" in report.gpuProblem


def test_no_torch() -> None:
    report = environmentOf(FakePackages("torch"))[0].check()
    assert kinds(report) == ["torch"]
    assert (report.canInstall, report.torch) == (True, None)
    assert "click Install" in report.problems[0].sentence


def test_no_torch_and_no_extension_to_install_it() -> None:
    report = environmentOf(FakePackages("torch"), canInstallTorch=False)[0].check()
    assert kinds(report) == ["extension"]
    assert not report.canInstall
    assert "Extensions Manager" in report.problems[0].sentence


@looped("extension", [True, False])
def test_a_torch_that_works_needs_no_extension(extension: bool) -> None:
    assert environmentOf(FakePackages(), canInstallTorch=extension)[0].check().isReady


def test_an_old_torch() -> None:
    packages = FakePackages()
    packages.found["torch"] = Found("1.13.1+cu117", True)
    report = environmentOf(packages)[0].check()
    assert kinds(report) == ["torch-old"]
    assert "1.13.1+cu117" in report.problems[0].sentence


def test_a_torch_in_part() -> None:
    packages = FakePackages()
    packages.found["torch"] = Found("?", False)
    report = environmentOf(packages)[0].check()
    assert kinds(report) == ["torch-broken"]
    assert (report.torch, report.canInstall) == (None, True)
    assert "click Install" in report.problems[0].sentence


def test_a_torch_that_fails_when_tried() -> None:
    report = checkedReport(
        FakePackages(packageCheck=PackageCheck(errors={"torch": "DLL {c10} load failed"}))
    )
    assert kinds(report) == ["torch-broken"]
    assert "(DLL {c10} load failed)" in report.problems[0].sentence
    assert report.torch is None


def test_packages_that_are_missing() -> None:
    report = environmentOf(FakePackages("cv2", "safetensors"))[0].check()
    assert kinds(report) == ["packages"]
    assert "opencv-python-headless, safetensors" in report.problems[0].sentence
    assert (report.cv2, report.safetensors, report.scipy) == (False, False, True)


def test_packages_that_are_too_old() -> None:
    packages = FakePackages()
    packages.found["safetensors"] = Found("0.3.9", True)
    assert kinds(environmentOf(packages)[0].check()) == ["packages"]


def test_any_opencv_will_do() -> None:
    """A second one would write over the first one's files."""
    packages = FakePackages()
    packages.found["cv2"] = Found("4.5.1", True)
    assert environmentOf(packages)[0].check().isReady


def test_a_package_that_fails_when_tried() -> None:
    report = checkedReport(
        FakePackages(packageCheck=PackageCheck(errors={"cv2": "no createCLAHE"}))
    )
    assert kinds(report) == ["packages-broken"]
    assert "opencv-python-headless (no createCLAHE)" in report.problems[0].sentence
    assert not report.cv2


def test_no_python_for_a_child() -> None:
    report = environmentOf(FakePackages(hasPython=False))[0].check()
    assert kinds(report) == ["python"]
    assert not report.canInstall


@looped("how", ["missing", "cut", "changed", "none"])
def test_a_model_that_is_not_whole(
    how: str, shippedModel: catalog.ModelEntry, monkeypatch: pytest.MonkeyPatch
) -> None:
    packages = FakePackages()
    if how == "missing":
        shippedModel.file.path.unlink()
    elif how == "cut":
        shippedModel.file.path.write_bytes(b"mod")
    elif how == "changed":
        packages.packageCheck = PackageCheck(errors={"model": "It was changed."})
    else:
        monkeypatch.setattr(catalog, "shipped_models", tuple)
    report = checkedReport(packages)
    assert kinds(report) == ["model"]
    assert not report.model
    assert not report.canInstall


def test_several_things_at_once() -> None:
    report = environmentOf(FakePackages("torch", "safetensors"))[0].check()
    assert kinds(report) == ["torch", "packages"]


def test_looking_imports_and_installs_nothing(scene: Any) -> None:
    from slicersim import packaging as recorded

    before, requested = set(sys.modules), list(recorded.requested)
    Environment().check()
    assert not {"torch", "cv2", "nibabel"} & (set(sys.modules) - before)
    assert recorded.requested == requested


def test_here_all_packages_are_found_and_work(scene: Any) -> None:

    reports: list[Any] = []
    environment = Environment()
    assert environment.check().torch is not None
    environment.checkInChild(reports.append)
    waitUntil(lambda: reports, 120)
    report = reports[0]
    assert report.isChecked
    assert [problem for problem in report.problems if problem.kind != "model"] == []
    assert {name: getattr(report, name) for name in WHOLE} == WHOLE
    assert report.torch == environment.check().torch

"""Packages whole, in part and not at all, told apart by their files; and what the child says."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from fake_runner import FakeRunner
from LiverTumorSegSlicer.environment.packages import (
    Found,
    PackageCheck,
    SlicerPackages,
    findPackage,
    readPackageCheck,
)

NAME = "made_up_package"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of packages."""
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    importlib.invalidate_caches()


def addCode(folder: Path) -> None:
    (folder / NAME).mkdir(exist_ok=True)
    (folder / NAME / "__init__.py").write_text("raise SystemExit('it was imported')")


def addRegistration(folder: Path, text: str = f"Name: {NAME}\nVersion: 1.2\n") -> None:
    registration = folder / f"{NAME}-1.2.dist-info"
    registration.mkdir()
    (registration / "METADATA").write_text(text)


def found() -> Found | None:
    importlib.invalidate_caches()
    return findPackage(NAME)


def test_not_at_all(folder: Path) -> None:
    assert found() is None


def test_whole_and_not_imported(folder: Path) -> None:
    addCode(folder)
    addRegistration(folder)
    assert found() == Found("1.2", True)
    assert NAME not in sys.modules


def test_code_without_registration(folder: Path) -> None:
    """As torch looks after an installation that was interrupted; PyTorchUtils falls over it."""
    addCode(folder)
    assert found() == Found("?", False)


def test_registration_without_code(folder: Path) -> None:
    addRegistration(folder)
    assert found() == Found("1.2", False)


def test_an_empty_folder(folder: Path) -> None:
    """As torch leaves behind when files in use could not be removed."""
    (folder / NAME / "lib").mkdir(parents=True)
    assert found() == Found("?", False)


def test_a_registration_that_was_cut_off(folder: Path) -> None:
    addCode(folder)
    addRegistration(folder, "")
    assert found() == Found("?", False)


def test_a_package_that_broke_while_slicer_imported_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    half = ModuleType(NAME)
    half.__spec__ = None
    monkeypatch.setitem(sys.modules, NAME, half)
    assert found() == Found("?", False)


def said(*values: dict[str, Any]) -> list[str]:
    return [json.dumps(value) for value in values]


def good(name: str, version: str = "1.0") -> tuple[dict[str, Any], dict[str, Any]]:
    return {"trying": name}, {"name": name, "ok": True, "version": version}


def bad(name: str, error: str) -> tuple[dict[str, Any], dict[str, Any]]:
    return {"trying": name}, {"name": name, "ok": False, "kind": "ImportError", "error": error}


def test_the_childs_lines_say_what_works_what_fails_and_what_ends_its_python() -> None:
    # all works
    lines = said(*good("torch"), *good("gpu", "NVIDIA RTX"), *good("model"))
    assert readPackageCheck(["noise", "[1]", *lines], "") == PackageCheck({}, "NVIDIA RTX", None)

    # no gpu
    assert readPackageCheck(said(*good("torch"), *good("gpu", "")), "") == PackageCheck(
        {}, None, None
    )

    # what fails is told in a line
    lines = said(*bad("cv2", "no createCLAHE\nand pages more"), *bad("safetensors", ""))
    assert readPackageCheck(lines, "").errors == {
        "cv2": "no createCLAHE",
        "safetensors": "ImportError",
    }

    # a gpu that does not run is no error
    packageCheck = readPackageCheck(said(*good("torch"), *bad("gpu", "no kernel image")), "")
    assert packageCheck == PackageCheck({}, None, "no kernel image")

    # without torch nothing is said of the gpu
    packageCheck = readPackageCheck(said(*bad("torch", "cut off"), *bad("gpu", "cut off")), "")
    assert packageCheck == PackageCheck({"torch": "cut off"}, None, None)

    # what ends its python is named
    packageCheck = readPackageCheck(
        said(*good("numpy"), {"trying": "torch"}), "Illegal instruction"
    )
    assert list(packageCheck.errors) == ["torch"]

    # a child that says nothing
    assert readPackageCheck([], "Traceback\nlast words\n").errors == {"torch": "last words"}
    assert list(readPackageCheck([], "").errors) == ["torch"]


def test_the_child_is_asked_once() -> None:
    runner, checks = FakeRunner(), []
    SlicerPackages(lambda: runner).checkInChild(checks.append)
    assert runner.arguments == ["-m", "LiverTumorSegLib.cli.selfcheck", "--with-parent"]
    for line in said(*good("torch"), *good("gpu", "")):
        runner.print(line)
    assert checks == []
    runner.exit()
    assert checks == [PackageCheck()]


def test_no_python_to_ask() -> None:
    checks: list[PackageCheck] = []
    runner = FakeRunner(FileNotFoundError("PythonSlicer was not found."))
    SlicerPackages(lambda: runner).checkInChild(checks.append)
    assert "not found" in checks[0].errors["torch"]


def test_a_trial_ends_with_the_panel_and_with_slicer() -> None:
    runner, checks = FakeRunner(), []
    packages = SlicerPackages(lambda: runner)
    packages.checkInChild(checks.append)
    assert "--with-parent" in runner.arguments
    packages.cleanUp()
    assert runner.calls == ["closeInput", "kill"]
    runner.exit(9, crashed=True)
    packages.cleanUp()
    assert len(runner.calls) == 2

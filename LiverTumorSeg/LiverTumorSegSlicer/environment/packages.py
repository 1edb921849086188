"""Looks for packages without importing them, and tries them in a child process.

Importing torch in Slicer to see whether it works would cost seconds, keep its files locked against
a repair, and on a half-installed one take Slicer down.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from slicer.i18n import tr as _

from LiverTumorSegSlicer.run.process import ProcessRunner, Runner, findPythonSlicer
from LiverTumorSegSlicer.run.sentences import translated

# name to import -> name for pip
PACKAGES = {
    "scipy": "scipy",
    "cv2": "opencv-python-headless",
    "safetensors": "safetensors",
}
DICOM_WRITER = "highdicom"  # for DICOM reports only: asked for when somebody wants one
DICOM_WRITER_LINE = "highdicom>=0.27"  # as in pyproject.toml
OPENCVS = (  # each of them owns the folder cv2
    "opencv-python-headless",
    "opencv-python",
    "opencv-contrib-python-headless",
    "opencv-contrib-python",
)
UNKNOWN_VERSION = "?"


@dataclass(frozen=True)
class Found:
    """A package by its files. isWhole: whether it has both its code and its registration."""

    version: str
    isWhole: bool


@dataclass(frozen=True)
class PackageCheck:
    """The result of importing every package in a child process.

    errors: name of a package, or "model" -> why it does not work. gpu: the GPU's name.
    """

    errors: dict[str, str] = field(default_factory=dict)
    gpu: str | None = None
    gpuProblem: str | None = None


class Packages(Protocol):
    """Which Python packages are installed, and whether they work."""

    @property
    def hasPython(self) -> bool:
        """Whether there is a Python to run anything in."""

    def find(self) -> dict[str, Found | None]:
        """Each package, torch among them, by its import name; None where it is not installed."""

    def isThere(self, name: str) -> bool:
        """Whether a package that no run needs is installed as a whole, by its import name."""

    def isImported(self, name: str) -> bool:
        """Whether this Slicer has a package's code loaded, and so holds its files."""

    def checkInChild(self, onChecked: Callable[[PackageCheck], None]) -> None:
        """Try all in a child process; onChecked is called once, on the main thread."""

    def cleanUp(self) -> None:
        """End a trial that is under way: Slicer quits, or the module is reloaded."""


class SlicerPackages:
    """The packages of the running Slicer."""

    def __init__(self, makeRunner: Callable[[], Runner] = ProcessRunner) -> None:
        self._makeRunner = makeRunner
        self._runner: Runner | None = None  # held while it runs

    @property
    def hasPython(self) -> bool:
        return findPythonSlicer() is not None

    def find(self) -> dict[str, Found | None]:
        return {name: findPackage(name) for name in ("torch", *PACKAGES)}

    def isThere(self, name: str) -> bool:
        found = findPackage(name)
        return found is not None and found.isWhole

    def isImported(self, name: str) -> bool:
        return name in sys.modules

    def checkInChild(self, onChecked: Callable[[PackageCheck], None]) -> None:
        lines: list[str] = []
        errors: list[str] = []

        def end(code: int, crashed: bool) -> None:
            self._runner = None
            onChecked(readPackageCheck(lines, "\n".join(errors)))

        runner = self._runner = self._makeRunner()
        arguments = ["-m", "LiverTumorSegLib.cli.selfcheck", "--with-parent"]
        try:
            runner.start(arguments, lines.append, errors.append, end)
        except OSError as error:
            onChecked(readPackageCheck([], str(error)))

    def cleanUp(self) -> None:
        if self._runner is not None:
            self._runner.closeInput()
            self._runner.kill()


def findPackage(name: str) -> Found | None:
    """A package by its import name."""
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):  # imported before, and left half-made in sys.modules
        return Found(UNKNOWN_VERSION, False)
    version = _version(name)
    if spec is None:  # registered without code: pip would believe that it is there
        return Found(version, False) if version else None
    hasCode = spec.origin is not None  # a folder left without __init__.py has none
    return Found(version or UNKNOWN_VERSION, hasCode and version is not None)


def readPackageCheck(lines: list[str], errorText: str) -> PackageCheck:
    """The result of the child process, from its JSON lines (LiverTumorSegLib/cli/selfcheck.py)."""
    results: dict[str, dict[str, Any]] = {}
    trying = None
    for line in lines:
        values = _parsed(line)
        trying = values.get("trying", trying)
        if "name" in values:
            results[str(values["name"])] = values
            trying = None
    errors = {name: _firstLine(values) for name, values in results.items() if not values.get("ok")}
    if trying is not None:
        errors[trying] = _("it ended the Python that tried it")
    if not results and trying is None:  # not even begun: as if the first of all had failed
        errors["torch"] = (
            errorText.strip().splitlines()[-1] if errorText.strip() else _("no answer")
        )
    gpuProblem = errors.pop("gpu", None) if "torch" not in errors else None
    errors.pop("gpu", None)
    return PackageCheck(errors, results.get("gpu", {}).get("version") or None, gpuProblem)


def _firstLine(values: dict[str, Any]) -> str:
    """The first line of an error message: libraries add pages."""
    text = translated(values.get("said"), values.get("error")).strip()
    return text.splitlines()[0] if text else str(values.get("kind"))


def _parsed(line: str) -> dict[str, Any]:
    """A line as JSON object; empty for other output."""
    try:
        values = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return values if isinstance(values, dict) else {}


def _version(name: str) -> str | None:
    for distribution in OPENCVS if name == "cv2" else (name,):
        try:
            # a registration that is itself cut off has no version
            version: str | None = importlib.metadata.version(distribution)
        except (importlib.metadata.PackageNotFoundError, KeyError, TypeError, OSError):
            continue
        if version:
            return version
    return None

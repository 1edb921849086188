"""In place of Slicer's packages and of what installs them: a test says what is there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import slicer
from LiverTumorSegLib.model import catalog
from LiverTumorSegSlicer.environment import remembered
from LiverTumorSegSlicer.environment.installer import InstallFailed
from LiverTumorSegSlicer.environment.packages import (
    DICOM_WRITER,
    PACKAGES,
    Found,
    PackageCheck,
)
from LiverTumorSegSlicer.environment.requirements import Environment


class FakePackages:
    """Finds every package but those named; what ``checkInChild`` finds is set by the test."""

    def __init__(
        self, *missing: str, packageCheck: PackageCheck | None = None, hasPython: bool = True
    ) -> None:
        versions = {"torch": "2.8.0+cu126", "cv2": "4.12", "safetensors": "0.6"}
        self.found: dict[str, Found | None] = {
            name: None if name in missing else Found(versions.get(name, "1.16"), True)
            for name in ("torch", *PACKAGES)
        }
        self.packageCheck = packageCheck or PackageCheck()
        self.hasPython = hasPython
        self.imported: set[str] = set()

    def find(self) -> dict[str, Found | None]:
        return dict(self.found)

    def isThere(self, name: str) -> bool:
        return self.found.get(name) is not None

    def isImported(self, name: str) -> bool:
        return name in self.imported

    def cleanUp(self) -> None:
        self.isCleanedUp = True

    def checkInChild(self, onChecked: Callable[[PackageCheck], None]) -> None:
        onChecked(self.packageCheck)


class FakeInstaller:
    """Notes what it is asked for, and puts it where the packages are looked for."""

    def __init__(self, packages: FakePackages, *, canInstallTorch: bool = True) -> None:
        self.canInstallTorch = canInstallTorch
        self.asked: list[tuple[Any, ...]] = []
        self.failure: Exception | None = None
        self.isInVain = False
        self._packages = packages

    def installTorch(self, requirement: str, *, isRepair: bool, isAsked: bool) -> None:
        self._install("torch", requirement, isRepair, isAsked, ["torch"])

    def installPackages(self, requirements: list[str], *, isRepair: bool, isAsked: bool) -> None:
        names = {pip: name for name, pip in PACKAGES.items()} | {DICOM_WRITER: DICOM_WRITER}
        wanted = [names[line.split(">=")[0]] for line in requirements]
        self._install("packages", tuple(requirements), isRepair, isAsked, wanted)

    def _install(
        self, what: str, which: Any, isRepair: bool, isAsked: bool, names: list[str]
    ) -> None:
        self.asked.append((what, which, isRepair, isAsked))
        if self.failure is not None:
            raise self.failure
        for name in [] if self.isInVain else names:
            self._packages.found[name] = Found("99.0", True)


def noNetwork() -> InstallFailed:
    return InstallFailed("network", "The packages could not be downloaded; connect.", "pip said so")


def forgetAll() -> None:
    """Nothing is remembered of an earlier start of Slicer."""
    slicer.app.userSettings().remove(remembered.GROUP)


def environmentOf(
    packages: FakePackages, folder: Path | None = None, **options: Any
) -> tuple[Environment, FakeInstaller]:
    """An environment on fakes; folder: of imported models."""
    installer = FakeInstaller(packages, **options)
    return Environment(packages, installer, folder), installer


def shipSmallModel(folder: Path, monkeypatch: pytest.MonkeyPatch) -> catalog.ModelEntry:
    """A default model of 5 bytes; whether the real one is shipped is another test's question."""
    path = folder / "shipped" / "m.safetensors"
    path.parent.mkdir()
    path.write_bytes(b"model")
    file = catalog.FileRecord(path, "ab" * 32, 5)
    entry = catalog.ModelEntry("m", "M", "1.0", file, "CC0", {}, "", default=True, shipped=True)
    monkeypatch.setattr(catalog, "shipped_models", lambda: (entry,))
    return entry

"""An offline kit: the wheels that this Slicer needs, with their hashes, in one folder.

    kits = Kits()
    kits.save(parent, requirements, onLine, onEnd)   # where there is a network
    kits.install(folder, onLine, onEnd)              # on a computer without one

    LiverTumorSeg-kit-.../
        kit.json            the Python and the system that it is for
        requirements.txt    each wheel's name, version and SHA-256, as pip checks them
        wheels/             the packages and what they need

NumPy is Slicer's own and in no kit: another one would break Slicer.
"""

from __future__ import annotations

import hashlib
import json
import platform
import shutil
import sysconfig
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from LiverTumorSegSlicer.privacy import withoutPersonalPaths
from LiverTumorSegSlicer.run.process import ProcessRunner, Runner

from .installer import InstallFailed, causeOf, sentenceOf
from .pip import runPip

ABOUT, LIST, WHEELS = "kit.json", "requirements.txt", "wheels"
OF_SLICER = ("numpy",)
TORCH_INDEXES = "https://download.pytorch.org/whl"
BLOCK_BYTES = 2**20
DAMAGED_WORDS = ("do not match the hashes", "badzipfile", "is an invalid wheel")

OnLine = Callable[[str], None]


@dataclass(frozen=True)
class KitEnd:
    """The outcome of making a kit. folder: of the kit; failure: None when it went well."""

    folder: Path
    failure: InstallFailed | None = None


class Kits:
    """makeRunner: of the child processes that pip runs in."""

    def __init__(self, makeRunner: Callable[[], Runner] = ProcessRunner) -> None:
        self._makeRunner = makeRunner
        self._runner: Runner | None = None  # held while it runs

    def save(
        self,
        parent: Path,
        requirements: list[str],
        onLine: OnLine,
        onEnd: Callable[[KitEnd], None],
    ) -> None:
        """Make a kit below a folder, whole or not at all; ``InstallFailed`` when it is there.

        requirements: as for pip. A torch of one of PyTorch's own builds ("torch==2.8.0+cu126") is
        taken from the place of that build.
        """
        target = parent / f"LiverTumorSeg-kit-{'-'.join(_system().values())}"
        if target.exists():
            sentence = _("A kit is in this folder already ({name}); choose another folder.")
            raise InstallFailed("kit", sentence.format(name=target.name))
        try:
            part = Path(tempfile.mkdtemp(prefix=".kit-", dir=parent))
        except OSError as error:
            sentence = _("Nothing can be written to this folder ({reason}); choose another one.")
            reason = error.strerror or error
            raise InstallFailed("kit", sentence.format(reason=reason)) from error

        def end(isWell: bool, said: str) -> None:
            self._runner = None
            onEnd(_finish(part, target) if isWell else KitEnd(target, _failure(said)))
            shutil.rmtree(part, ignore_errors=True)

        command = ["download", "--only-binary=:all:", "--dest", str(part / WHEELS)]
        self._runner = self._makeRunner()
        runPip(self._runner, [*command, *_indexes(requirements), *requirements], end, onLine)

    def install(self, folder: Path, onLine: OnLine, onEnd: Callable[[KitEnd], None]) -> None:
        """Put a kit's packages into this Python; pip compares every hash and asks no network.

        ``InstallFailed`` when the folder holds no kit, or one for another Slicer.
        """
        _refuseOther(folder)

        def end(isWell: bool, said: str) -> None:
            self._runner = None
            onEnd(KitEnd(folder, None if isWell else _failure(said)))

        command = ["install", "--no-index", "--no-deps", "--require-hashes"]
        arguments = [*command, "--find-links", str(folder / WHEELS), "-r", str(folder / LIST)]
        self._runner = self._makeRunner()
        runPip(self._runner, arguments, end, onLine)

    def cleanUp(self) -> None:
        """End what is going on."""
        if self._runner is not None:
            self._runner.closeInput()
            self._runner.kill()


def _system() -> dict[str, str]:
    """What a wheel must fit."""
    return {
        "python": "py" + platform.python_version().rpartition(".")[0].replace(".", ""),
        "system": sysconfig.get_platform(),
    }


def _indexes(requirements: list[str]) -> list[str]:
    """Where PyTorch's own builds are: they name the graphics driver after a plus sign."""
    builds = [line.partition("+")[2] for line in requirements if line.startswith("torch==")]
    return [word for b in builds if b for word in ("--extra-index-url", f"{TORCH_INDEXES}/{b}")]


def _finish(part: Path, target: Path) -> KitEnd:
    """List the wheels, and give the folder its name."""
    try:
        lines = []
        for wheel in sorted((part / WHEELS).glob("*.whl")):
            name, version = wheel.name.split("-")[:2]
            if name.lower() in OF_SLICER:
                wheel.unlink()
            else:
                lines.append(f"{name}=={version} --hash=sha256:{_sha256(wheel)}\n")
        (part / LIST).write_text("".join(lines), encoding="utf-8")
        (part / ABOUT).write_text(json.dumps(_system(), indent=2) + "\n", encoding="utf-8")
        part.rename(target)
    except OSError as error:
        return KitEnd(target, _failure(str(error)))
    return KitEnd(target)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while block := stream.read(BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def _refuseOther(folder: Path) -> None:
    about = _about(folder)
    if about is None or not (folder / LIST).is_file() or not (folder / WHEELS).is_dir():
        sentence = _(
            "This folder is no kit; choose the folder that Save kit made (it holds {file})."
        )
        raise InstallFailed("kit", sentence.format(file=ABOUT))
    here = _system()
    if any(about.get(name) != value for name, value in here.items()):
        sentence = _(
            "This kit is for {there} and this Slicer is {here}; make one with the same version of"
            " Slicer on the same system."
        )
        there = " ".join(str(about.get(name)) for name in here)
        raise InstallFailed("kit", sentence.format(there=there, here=" ".join(here.values())))


def _about(folder: Path) -> dict[str, Any] | None:
    try:
        values = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return values if isinstance(values, dict) else None


def _failure(said: str) -> InstallFailed:
    log = withoutPersonalPaths(said)
    if any(message in said.lower() for message in DAMAGED_WORDS):
        sentence = _("A file of the kit is damaged or was changed; copy the kit anew.")
        return InstallFailed("kit", sentence, log)
    kind = causeOf(said)
    return InstallFailed(kind, sentenceOf(kind), log)

"""Puts missing packages into Slicer's Python, and says in a sentence why that failed.

torch comes through the PyTorch extension, which knows which build fits the GPU; the rest through
pip as Slicer calls it. Nothing is installed but from here, and here only when the user said yes.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import io
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import slicer
from slicer.i18n import tr as _

REQUESTER = "LiverTumorSeg"
GIGABYTE = 10**9
TORCH_BYTES = 2 * GIGABYTE  # the smallest build, unpacked beside its download
PACKAGES_BYTES = GIGABYTE // 2

# What pip, its network libraries and the operating systems say, in lower case. The order matters:
# with a proxy in the way pip ends with "no matching distribution", as for a package not there is.
CAUSES = (
    ("path", ("long path support", "filename or extension is too long")),
    ("disk", ("no space left", "errno 28", "not enough space", "winerror 112", "disk quota")),
    ("ssl", ("certificate_verify_failed", "sslerror", "ssl:", "certificate verify failed")),
    ("proxy", ("proxyerror", "cannot connect to proxy", "407 ", "tunnel connection failed")),
    (
        "network",
        (
            "newconnectionerror",
            "failed to establish a new connection",
            "name resolution",
            "getaddrinfo failed",
            "nameresolutionerror",
            "network is unreachable",
            "connection refused",
            "max retries exceeded",
            "read timed out",
            "connecttimeout",
            "connection reset",
        ),
    ),
    (
        "restart",
        ("permissionerror", "permission denied", "access is denied", "winerror 5", "winerror 32"),
    ),
    ("nothing", ("no matching distribution", "could not find a version")),
)


class Declined(Exception):
    """The user has declined the installation."""


class InstallFailed(Exception):
    """An installation failed. kind: one of CAUSES, "extension" or "other". log: what pip said.

    isShown: whether Slicer itself has shown the log in a window already.
    """

    def __init__(self, kind: str, sentence: str, log: str = "", *, isShown: bool = False) -> None:
        super().__init__(sentence)
        self.kind, self.sentence, self.log, self.isShown = kind, sentence, log, isShown


class Installer(Protocol):
    """Installs Python packages into Slicer. Both methods raise ``Declined`` or ``InstallFailed``.

    isRepair: what is there is broken and is put in anew. isAsked: the user has said yes already.
    """

    @property
    def canInstallTorch(self) -> bool: ...
    def installTorch(self, requirement: str, *, isRepair: bool, isAsked: bool) -> None: ...
    def installPackages(
        self, requirements: list[str], *, isRepair: bool, isAsked: bool
    ) -> None: ...


class SlicerInstaller:
    """Installs into the running Slicer."""

    @property
    def canInstallTorch(self) -> bool:
        """Whether the PyTorch extension is there."""
        return importlib.util.find_spec("PyTorchUtils") is not None

    def installTorch(self, requirement: str, *, isRepair: bool, isAsked: bool) -> None:
        """requirement: such as ">=2.2"."""
        if not self.canInstallTorch:
            raise InstallFailed("extension", extensionSentence())
        _refuseFullDisk(TORCH_BYTES)
        with _failuresExplained():
            logic = importlib.import_module("PyTorchUtils").PyTorchUtilsLogic()
            if isRepair:
                _removePackages(["torch", "torchvision"])
            installed = logic.installTorch(
                askConfirmation=not isAsked, torchVersionRequirement=requirement
            )
        if installed is None:
            raise Declined

    def installPackages(self, requirements: list[str], *, isRepair: bool, isAsked: bool) -> None:
        """requirements: as in a requirements file."""
        _refuseFullDisk(PACKAGES_BYTES)
        packaging = _packaging()
        with _failuresExplained(isShown=packaging is not None and not slicer.app.testingEnabled()):
            if isRepair:
                slicer.util.pip_install(["--force-reinstall", "--no-deps", *requirements])
            elif packaging:
                _ensure(packaging, requirements, isAsked)
            else:
                _confirm(requirements, isAsked)
                slicer.util.pip_install(requirements)


def extensionSentence() -> str:
    """What to do where torch is missing, and so is the extension that installs it."""
    return _(
        "PyTorch is missing, and so is the extension that installs it; install the extension"
        " PyTorch in View / Extensions Manager and restart Slicer."
    )


def causeOf(log: str) -> str:
    """Why pip failed, by its messages; "other" when none of them is known."""
    text = log.lower()
    return next((kind for kind, messages in CAUSES if any(m in text for m in messages)), "other")


def sentenceOf(kind: str) -> str:
    """What is wrong and what to do, for each of CAUSES."""
    return {
        "path": _(
            "Windows refuses paths this long; switch long paths on in Windows, or install Slicer in"
            " a folder with a short name, and click Install again."
        ),
        "disk": _("The disk of Slicer is full; free some space and click Install again."),
        "ssl": _(
            "The network's certificate was refused, as happens behind a company's filter; ask your"
            " IT for the certificate and for pip's settings, then click Install again."
        ),
        "proxy": _(
            "The network's proxy refused the download; ask your IT for the proxy, set it as"
            " HTTPS_PROXY, start Slicer again and click Install."
        ),
        "network": _(
            "The packages could not be downloaded; connect this computer to the internet, or ask"
            " your IT to allow pip's downloads, and click Install again."
        ),
        "restart": _(
            "Files are in use or protected; restart Slicer and click Install first, as the owner"
            " of Slicer's folder."
        ),
        "nothing": _(
            "There is no build of a package for this Slicer; use the newest stable Slicer and click"
            " Install there."
        ),
    }.get(kind, _("The installation failed; restart Slicer and click Install again."))


def _packaging() -> Any:
    """slicer.packaging; None before Slicer 5.11."""
    try:
        return importlib.import_module("slicer.packaging")
    except ImportError:
        return None


def _ensure(packaging: Any, requirements: list[str], isAsked: bool) -> None:
    try:
        packaging.pip_ensure(
            requirements, requester=REQUESTER, prompt_install=not isAsked, prompt_restart=False
        )
    except RuntimeError as error:
        if "declined" in str(error).lower():
            raise Declined from error
        raise


def _confirm(requirements: list[str], isAsked: bool) -> None:
    question = _("Slicer installs these Python packages: {names}. Continue?")
    names = ", ".join(requirements)
    if not isAsked and not slicer.util.confirmOkCancelDisplay(question.format(names=names)):
        raise Declined


def _removePackages(names: list[str]) -> None:
    """Uninstall packages; those that are not registered as installed are left out."""
    with contextlib.suppress(Exception):
        slicer.util.pip_uninstall(" ".join(names))


def _refuseFullDisk(neededBytes: int) -> None:
    free = shutil.disk_usage(packagesFolder()).free
    if free < neededBytes:
        sentence = _(
            "The disk of Slicer has {free:.1f} GB left and {needed:.1f} GB are needed; free some"
            " space and click Install again."
        )
        numbers = {"free": free / GIGABYTE, "needed": neededBytes / GIGABYTE}
        raise InstallFailed("disk", sentence.format(**numbers))


def packagesFolder() -> Path:
    """Where pip puts packages; numpy is always there."""
    spec = importlib.util.find_spec("numpy")
    return Path(spec.origin).parents[1] if spec and spec.origin else Path(sys.prefix)


@contextlib.contextmanager
def _failuresExplained(*, isShown: bool = False) -> Iterator[None]:
    """Turn a failure inside into an ``InstallFailed`` by what pip printed meanwhile.

    isShown: whether Slicer, which runs pip in a window, shows the log of a failure by itself.
    """
    heard = _Tee(sys.stdout)
    try:
        with contextlib.redirect_stdout(heard):
            yield
    except Declined:
        raise
    except Exception as error:
        log = f"{heard.text()}\n{error!r}"
        kind = causeOf(log)
        raise InstallFailed(kind, sentenceOf(kind), log, isShown=isShown) from error
    finally:
        importlib.invalidate_caches()


class _Tee(io.TextIOBase):
    """Copies a stream into memory: Slicer prints pip's output and raises without it."""

    def __init__(self, target: Any) -> None:
        self._target = target
        self._parts: list[str] = []

    def write(self, text: str) -> int:
        self._parts.append(text)
        self._target.write(text)
        return len(text)

    def flush(self) -> None:
        if hasattr(self._target, "flush"):
            self._target.flush()

    def text(self) -> str:
        return "".join(self._parts)

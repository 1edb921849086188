"""How packages are asked for in each Slicer, and the sentence for each way in which that fails."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any, ClassVar

import pytest
import slicer
from LiverTumorSegSlicer.environment import installer as installer_module
from LiverTumorSegSlicer.environment.installer import (
    CAUSES,
    Declined,
    InstallFailed,
    SlicerInstaller,
    causeOf,
    sentenceOf,
)
from looped import looped
from slicersim import dialogs
from slicersim import packaging as stand_in


class FakeTorchLogic:
    """PyTorchUtilsLogic as far as it is called."""

    calls: ClassVar[list[dict[str, Any]]] = []
    answer: Any = "the module torch"

    def installTorch(self, **options: Any) -> Any:
        type(self).calls.append(options)
        if isinstance(self.answer, Exception):
            print("ERROR: No matching distribution found for torch")
            raise self.answer
        return self.answer


@pytest.fixture
def pyTorchUtils(monkeypatch: pytest.MonkeyPatch, scene: Any) -> type[FakeTorchLogic]:
    """The PyTorch extension."""
    module = ModuleType("PyTorchUtils")
    module.__spec__ = installer_module.importlib.machinery.ModuleSpec("PyTorchUtils", None)
    logic = type("PyTorchUtilsLogic", (FakeTorchLogic,), {"calls": []})
    module.PyTorchUtilsLogic = logic  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "PyTorchUtils", module)
    return logic


@pytest.fixture
def packaging(monkeypatch: pytest.MonkeyPatch, scene: Any) -> ModuleType:
    """slicer.packaging of Slicer 5.11 and later; a test gives it what it needs."""
    module = ModuleType("slicer.packaging")
    monkeypatch.setitem(sys.modules, "slicer.packaging", module)
    return module


@pytest.fixture
def olderSlicer(monkeypatch: pytest.MonkeyPatch, scene: Any) -> list[Any]:
    """Without slicer.packaging; what pip was asked for."""
    asked: list[Any] = []
    monkeypatch.setitem(sys.modules, "slicer.packaging", None)
    monkeypatch.setattr(slicer.util, "pip_install", asked.append)
    return asked


def saying(*lines: str) -> Callable[..., None]:
    """pip as Slicer runs it: its words are printed, then there is an error without them."""

    def install(*_: Any, **options: Any) -> None:
        for line in lines:
            print(line)
        raise subprocess.CalledProcessError(1, "pip")

    return install


# --- torch ---------------------------------------------------------------------------------------


def test_torch_comes_through_the_extension(pyTorchUtils: type[FakeTorchLogic]) -> None:
    installer = SlicerInstaller()
    assert installer.canInstallTorch
    installer.installTorch(">=2.2", isRepair=False, isAsked=False)
    installer.installTorch(">=2.2", isRepair=False, isAsked=True)
    assert pyTorchUtils.calls == [
        {"askConfirmation": True, "torchVersionRequirement": ">=2.2"},
        {"askConfirmation": False, "torchVersionRequirement": ">=2.2"},
    ]


def test_without_the_extension_it_is_named(scene: Any) -> None:
    assert not SlicerInstaller().canInstallTorch
    with pytest.raises(InstallFailed, match="Extensions Manager") as failure:
        SlicerInstaller().installTorch(">=2.2", isRepair=False, isAsked=True)
    assert failure.value.kind == "extension"


def test_no_to_torch_is_no_failure(pyTorchUtils: type[FakeTorchLogic]) -> None:
    pyTorchUtils.answer = None
    with pytest.raises(Declined):
        SlicerInstaller().installTorch(">=2.2", isRepair=False, isAsked=False)


@pytest.mark.parametrize("isThere", [True, False])
def test_a_broken_torch_is_removed_first(
    pyTorchUtils: type[FakeTorchLogic], monkeypatch: pytest.MonkeyPatch, isThere: bool
) -> None:
    removed: list[str] = []

    def remove(names: str) -> None:
        removed.append(names)
        if not isThere:  # as pip says of files without a registration
            raise subprocess.CalledProcessError(1, "pip")

    monkeypatch.setattr(slicer.util, "pip_uninstall", remove)
    SlicerInstaller().installTorch(">=2.2", isRepair=True, isAsked=True)
    assert removed == ["torch torchvision"]
    assert len(pyTorchUtils.calls) == 1


@looped(
    "error",
    [
        TypeError("'NoneType' object is not iterable"),
        ImportError("DLL load failed"),
        OSError("c10.dll"),
    ],
)
def test_what_the_extension_raises_becomes_a_sentence(
    pyTorchUtils: type[FakeTorchLogic], error: Exception
) -> None:
    pyTorchUtils.answer = error
    with pytest.raises(InstallFailed, match=r"\.$") as failure:
        SlicerInstaller().installTorch(">=2.2", isRepair=False, isAsked=True)
    assert "No matching distribution" in failure.value.log
    assert repr(error) in failure.value.log


# --- packages ------------------------------------------------------------------------------------


def test_packages_come_through_slicer_packaging(packaging: Any) -> None:
    calls: list[Any] = []
    packaging.pip_ensure = lambda lines, **options: calls.append((lines, options))
    for isAsked in (False, True):
        SlicerInstaller().installPackages(["safetensors>=0.4"], isRepair=False, isAsked=isAsked)
    assert [lines for lines, _ in calls] == [["safetensors>=0.4"]] * 2
    assert [options["prompt_install"] for _, options in calls] == [True, False]
    assert calls[0][1]["requester"] == "LiverTumorSeg"


def test_slicer_shows_the_log_of_a_failure_itself(
    scene: Any, main_window: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stand_in.pip, "says", ("ERROR: something new",))
    monkeypatch.setattr(stand_in.pip, "code", 1)
    with dialogs.answering("OK") as shown, pytest.raises(InstallFailed) as failure:
        SlicerInstaller().installPackages(["not-there>=2"], isRepair=False, isAsked=True)
    assert len(shown) == 1
    assert (failure.value.kind, failure.value.isShown) == ("other", True)
    assert "something new" in failure.value.log


def test_no_to_packages_is_no_failure(packaging: Any) -> None:
    def decline(*_: Any, **options: Any) -> None:
        raise RuntimeError("User declined package installation")

    packaging.pip_ensure = decline
    with pytest.raises(Declined):
        SlicerInstaller().installPackages(["safetensors"], isRepair=False, isAsked=False)


def test_an_older_slicer_asks_and_installs(
    olderSlicer: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    questions: list[str] = []

    def answering(answer: bool) -> Callable[[str], bool]:
        return lambda question: questions.append(question) or answer  # type: ignore[func-returns-value]

    monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", answering(False))
    with pytest.raises(Declined):
        SlicerInstaller().installPackages(["safetensors>=0.4"], isRepair=False, isAsked=False)
    assert olderSlicer == []
    monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", answering(True))
    SlicerInstaller().installPackages(["safetensors>=0.4"], isRepair=False, isAsked=False)
    SlicerInstaller().installPackages(["safetensors>=0.4"], isRepair=False, isAsked=True)
    assert olderSlicer == [["safetensors>=0.4"]] * 2
    assert len(questions) == 2
    assert "safetensors" in questions[0]


def test_a_broken_package_is_put_in_anew(olderSlicer: list[Any]) -> None:
    """pip would find it there and do nothing."""
    SlicerInstaller().installPackages(["safetensors>=0.4"], isRepair=True, isAsked=True)
    assert olderSlicer == [["--force-reinstall", "--no-deps", "safetensors>=0.4"]]


# --- failures ------------------------------------------------------------------------------------

WORDS = {
    "disk": [
        "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device"
    ],
    "ssl": [
        "WARNING: Retrying after connection broken by 'SSLError(SSLCertVerificationError(1,"
        " '[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed'))': /simple/safetensors/",
        "ERROR: No matching distribution found for safetensors>=0.4",
    ],
    "proxy": [
        "WARNING: Retrying after connection broken by 'ProxyError('Cannot connect to proxy.',"
        " OSError('Tunnel connection failed: 407 Proxy Authentication Required'))'",
        "ERROR: No matching distribution found for safetensors>=0.4",
    ],
    "network": [
        "WARNING: Retrying after connection broken by 'NewConnectionError('Failed to establish a"
        " new connection: [Errno -3] Temporary failure in name resolution')'",
        "ERROR: No matching distribution found for safetensors>=0.4",
    ],
    "restart": ["ERROR: Could not install packages: [WinError 5] Access is denied: '_C.pyd'"],
    "nothing": ["ERROR: Could not find a version that satisfies the requirement safetensors>=99"],
    "path": [
        "ERROR: Could not install packages due to an OSError: [Errno 2] No such file",
        "HINT: This error might have occurred since this system does not have Windows Long Path"
        " support enabled.",
    ],
    "other": ["Segmentation fault"],
}


@looped("kind", WORDS)
def test_every_way_to_fail_has_its_sentence(
    packaging: Any, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    packaging.pip_ensure = saying(*WORDS[kind])
    with pytest.raises(InstallFailed) as failure:
        SlicerInstaller().installPackages(["safetensors"], isRepair=False, isAsked=True)
    assert failure.value.kind == kind
    assert failure.value.sentence == sentenceOf(kind)
    assert WORDS[kind][0] in failure.value.log
    assert WORDS[kind][0] in capsys.readouterr().out, "Slicer's console shows it as before"


def test_the_sentences_differ_and_say_what_to_do() -> None:
    sentences = [sentenceOf(kind) for kind in (*(kind for kind, _ in CAUSES), "other")]
    assert len(set(sentences)) == len(sentences) == len(WORDS)
    assert all(sentence.endswith(".") and "Install" in sentence for sentence in sentences)


def test_an_unknown_word_is_no_cause() -> None:
    assert causeOf("all is well") == "other"


def test_a_disk_without_room_is_seen_before_the_download(
    packaging: Any, pyTorchUtils: type[FakeTorchLogic], monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(".")._replace(free=300_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(InstallFailed, match=r"0\.3 GB left and 2\.0 GB are needed"):
        SlicerInstaller().installTorch(">=2.2", isRepair=False, isAsked=True)
    with pytest.raises(InstallFailed, match=r"0\.5 GB are needed") as failure:
        SlicerInstaller().installPackages(["safetensors"], isRepair=False, isAsked=True)
    assert failure.value.kind == "disk"
    assert pyTorchUtils.calls == []

"""The panel on a test's desk: what it runs, what it finds installed, and what a person answers."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import qt
import slicer
from fake_runner import FakeRunner
from LiverTumorSegLib.labels import Label
from LiverTumorSegLib.model.spec import ModelSpec
from LiverTumorSegLib.result.step_labels import StepLabels
from LiverTumorSegSlicer.environment.installer import InstallFailed
from LiverTumorSegSlicer.environment.packages import Found, PackageCheck
from LiverTumorSegSlicer.environment.preflight import OnVerdicts, Verdict
from LiverTumorSegSlicer.environment.requirements import Environment
from LiverTumorSegSlicer.panel.dialogs import Questions, Replace
from LiverTumorSegSlicer.self_test import AnsweringRunner, makeTestCt

LEFT = qt.Qt.LeftButton
THREE_LABELS = {"background": 0, "liver": 1, "tumor": 2}


def waitUntil(condition: Callable[[], Any], seconds: float = 20.0, *, lookEveryMs: int = 5) -> None:
    """Wait for events, as Slicer does, until something is so."""
    loop, timer = qt.QEventLoop(), qt.QTimer()
    deadline = time.monotonic() + seconds

    def look() -> None:
        if condition() or time.monotonic() > deadline:
            loop.quit()

    timer.connect("timeout()", look)
    timer.start(lookEveryMs)
    loop.exec_()
    timer.stop()
    assert condition(), "it did not come to pass"


def stepsOf(labels: dict[int, np.ndarray]) -> StepLabels:
    """What a run leaves at the steps of sensitivity; what is told of its tests is made up."""
    flat = np.stack([labels[step].ravel() for step in sorted(labels)])
    voxels = np.flatnonzero((flat == Label.TUMOR).any(axis=0) | (flat != flat[0]).any(axis=0))
    expected = (
        "Where it was tuned it found {large} of {large_true} tumors from 10 mm and {small} of"
    )
    expected += " {small_true} smaller ones, with {false_marks:.1f} false marks a CT."
    values = {"large": 3, "large_true": 4, "small": 1, "small_true": 9, "false_marks": 1.5}
    told = tuple(
        {
            "sensitivity": {"steps": step, "tumor_threshold": 0.5 - 0.1 * step},
            "expected": {"key": expected, "values": values},
            "decision": {"tumor_threshold": 0.5 - 0.1 * step},
            "lesions": [],
        }
        for step in sorted(labels)
    )
    return StepLabels(min(labels), voxels, flat[:, voxels], told)


class FakePackages:
    """Finds what the test says; a check waits until ``finishCheck`` is called."""

    hasPython = True

    def __init__(self) -> None:
        names = ("torch", "scipy", "cv2", "safetensors")
        self.found: dict[str, Found | None] = {name: Found("99.0", True) for name in names}
        self.asked: list[Callable[[PackageCheck], None]] = []

    def find(self) -> dict[str, Found | None]:
        return dict(self.found)

    def isThere(self, name: str) -> bool:
        return self.found.get(name) is not None

    def isImported(self, name: str) -> bool:
        return False

    def cleanUp(self) -> None:
        self.isCleanedUp = True

    def checkInChild(self, onChecked: Callable[[PackageCheck], None]) -> None:
        self.asked.append(onChecked)

    def finishCheck(self, packageCheck: PackageCheck) -> None:
        self.asked.pop()(packageCheck)


class FakeInstaller:
    """Installs by noting that it is there now, unless it is to fail."""

    canInstallTorch = True

    def __init__(self, packages: FakePackages) -> None:
        self.packages = packages
        self.failure: Exception | None = None
        self.whileInstalling: Callable[[], None] = lambda: None

    def installTorch(self, requirement: str, *, isRepair: bool, isAsked: bool) -> None:
        self._install(["torch"])

    def installPackages(self, requirements: list[str], *, isRepair: bool, isAsked: bool) -> None:
        names = {"opencv-python-headless": "cv2"}
        plain = (line.split(">")[0] for line in requirements)
        self._install([names.get(name, name) for name in plain])

    def _install(self, names: list[str]) -> None:
        self.whileInstalling()
        if self.failure is not None:
            raise self.failure
        self.packages.found.update({name: Found("99.0", True) for name in names})


class FakePreflight:
    """Finds what the test says, at once."""

    def __init__(self) -> None:
        self.verdicts: tuple[Verdict, ...] = (Verdict(True, "There is room."),)
        self.looks: list[bool] = []

    def look(self, isTorchNeeded: bool, onVerdicts: OnVerdicts) -> None:
        self.looks.append(isTorchNeeded)
        onVerdicts(self.verdicts)

    def cleanUp(self) -> None:
        """Nothing is going on."""


class FakeKits:
    """A kit that the test ends."""

    def __init__(self) -> None:
        self.begun: list[tuple[str, Path]] = []
        self.refusal: InstallFailed | None = None

    def save(self, parent: Path, requirements: list[str], onLine: Any, onEnd: Any) -> None:
        self.requirements = requirements
        self._begin("save", parent, onLine, onEnd)

    def install(self, folder: Path, onLine: Any, onEnd: Any) -> None:
        self._begin("install", folder, onLine, onEnd)

    def _begin(self, what: str, folder: Path, onLine: Any, onEnd: Any) -> None:
        self.begun.append((what, folder))
        if self.refusal is not None:
            raise self.refusal
        self.onLine, self.onEnd = onLine, onEnd

    def cleanUp(self) -> None:
        """Nothing is going on."""


class FakeQuestions(Questions):
    """Answers at once, and keeps what was asked and told."""

    def __init__(self) -> None:
        self.replace, self.agrees = Replace.CANCEL, True
        self.path: Path | None = None
        self.asked: list[Any] = []
        self.failures: list[str] = []
        self.messages: list[str] = []

    def replaceEdited(self, segmentNames: list[str]) -> Replace:
        self.asked.append(segmentNames)
        return self.replace

    def confirm(self, text: str) -> bool:
        self.asked.append(text)
        return self.agrees

    def showMessage(self, text: str) -> None:
        self.messages.append(text)

    def showFailure(self, sentence: str, log: str = "") -> None:
        self.failures.append(sentence)

    def _chosen(self, dialog: Any, nameFilter: str) -> Path | None:
        """What a person answers to the file dialog, that of savePath with the suggested name."""
        if dialog.acceptMode != qt.QFileDialog.AcceptSave:
            return self.path
        (suggested,) = (Path(name).name for name in dialog.selectedFiles())
        self.asked.append(suggested)
        return self.path / suggested if self.path else None

    def showFolder(self, folder: Path) -> None:
        self.asked.append(folder)


def writeModel(
    path: Path,
    *,
    labels: dict[str, int] = THREE_LABELS,
    preprocessing: dict[str, Any] | None = None,
    **told: Any,
) -> Path:
    """A model file with a description and one number; nothing could run it."""
    spec = ModelSpec(
        name=path.stem,
        version="1",
        net="hybrid2d",
        net_args={},
        preprocessing=preprocessing or {},
        labels=labels,
        training_hu_range=None,
        postprocessing={},
        provenance={"title": path.stem.capitalize(), "licence": "CC0", **told},
        storage="fp32",
    )
    tensor = '{"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}'
    text = spec.to_json().replace("\\", "\\\\").replace('"', '\\"')
    header = f'{{"__metadata__": {{"spec": "{text}"}}, "w": {tensor}}}'.encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    return path


class PanelDesk:
    """The module's panel in the main window, with everything outside it handed in.

    answer: what the next run's child does; a ``FakeRunner`` that the test drives when None.
    """

    def __init__(
        self, module: ModuleType, folder: Path, monkeypatch: pytest.MonkeyPatch, window: Any
    ) -> None:
        self.window, self.folder = window, folder
        self.packages, self.questions = FakePackages(), FakeQuestions()
        self.installer = FakeInstaller(self.packages)
        self.models = folder / "models"
        self.preflight, self.kits = FakePreflight(), FakeKits()
        self.environment = Environment(
            self.packages, self.installer, self.models, preflight=self.preflight, kits=self.kits
        )
        self.environment.importModel(writeModel(folder / "first.safetensors"))
        self.runners: list[Any] = []
        self.answer: Callable[[], Any] | None = None
        self._module, original = module, module.LiverTumorSegWidget
        monkeypatch.setattr(
            module, "LiverTumorSegWidget", lambda parent: self._make(original, parent)
        )

    def _make(self, cls: type, parent: Any) -> Any:
        return cls(
            parent,
            environment=self.environment,
            questions=self.questions,
            makeRunner=self._makeRunner,
        )

    def panelWithoutPage(self) -> Any:
        """As from the Python console: without the application's page."""
        return self._module.LiverTumorSegWidget(None)

    def _makeRunner(self) -> Any:
        self.runners.append(self.answer() if self.answer else FakeRunner())
        return self.runners[-1]

    def open(self) -> Any:
        """The panel, selected in the main window as a person does it."""
        entry = slicer.modules.livertumorseg
        self.page = entry.createNewWidgetRepresentation()
        entry.__dict__["_page"] = self.page
        slicer.util.selectModule("LiverTumorSeg")
        slicer.app.processEvents()
        return self.panel

    @property
    def panel(self) -> Any:
        return self.page.self()

    @property
    def ui(self) -> Any:
        return self.panel.ui

    @property
    def parameters(self) -> Any:
        return self.panel.logic.getParameterNode()

    def close(self) -> None:
        """As when Slicer quits."""
        slicer.util.selectModule("SampleData")
        self.panel.cleanup()
        slicer.modules.livertumorseg.__dict__["_page"] = None
        self.page.deleteLater()
        slicer.app.processEvents()

    def loadCt(self, name: str = "4: Venous 3 mm") -> Any:
        """The CT that a person loads, named as from DICOM: in the scene, and shown."""
        node, self.labelsKji = makeTestCt(name)
        slicer.util.setSliceViewerLayers(background=node, fit=True)
        slicer.app.processEvents()
        return node

    def answerWith(self, labelsKji: np.ndarray | None = None, **record: Any) -> None:
        """From now on the child finds these labels (those of the test CT), by itself."""
        labels = self.labelsKji if labelsKji is None else labelsKji
        self.answer = lambda: AnsweringRunner(lambda ct: labels, record=record)

    def click(self, button: Any) -> None:
        """With the mouse, on the real widget; a disabled one does nothing."""
        qt.QTest.mouseClick(button, LEFT)
        slicer.app.processEvents()

    def run(self) -> Any:
        """Click Segment and wait for the result: the segmentation node of the panel."""
        self.click(self.ui.segmentButton)
        assert self.ui.segmentButton.text == "Cancel"
        waitUntil(lambda: not self.panel.logic.isRunning)
        slicer.app.processEvents()
        return self.parameters.outputSegmentation

    def start(self) -> Any:
        """Click Segment: the runner, once its child is there."""
        self.click(self.ui.segmentButton)
        waitUntil(lambda: self.runners and self.runners[-1].pid)
        return self.runners[-1]

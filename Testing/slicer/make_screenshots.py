"""Draws the pictures of the README anew, or every state of the panel, on the synthetic abdomen.

    python Testing/slicer/make_screenshots.py            the two of the README, by the shipped model
    python Testing/slicer/make_screenshots.py -o all     every state, to be looked at
    python Testing/slicer/make_screenshots.py -o dark --dark --font-percent 150
    python Testing/slicer/make_screenshots.py -o draft --fake     the phantom's own truth: quick

The window is the stand-in of Testing/slicersim; panel, scene and views are drawn as in Slicer.
"""

from __future__ import annotations

import argparse
import functools
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
MODULE_FOLDER = ROOT / "LiverTumorSeg"
sys.path[:0] = [str(HERE), str(HERE.parent), str(MODULE_FOLDER)]

from slicersim.app import boot, leave  # noqa: E402

boot()

import numpy as np  # noqa: E402
import qt  # noqa: E402
import slicer  # noqa: E402
from LiverTumorSegLib.labels import Label  # noqa: E402
from LiverTumorSegLib.phantom.phantom import make_phantom  # noqa: E402
from LiverTumorSegLib.result.step_labels import StepLabels, TumorSeen  # noqa: E402
from LiverTumorSegSlicer.environment.packages import Found  # noqa: E402
from LiverTumorSegSlicer.environment.requirements import Environment  # noqa: E402
from LiverTumorSegSlicer.panel.dialogs import Questions  # noqa: E402
from LiverTumorSegSlicer.run.process import ProcessRunner  # noqa: E402
from LiverTumorSegSlicer.scene import sample_data  # noqa: E402
from LiverTumorSegSlicer.scene.nodes import readLabels  # noqa: E402
from LiverTumorSegSlicer.self_test import AnsweringRunner  # noqa: E402
from panel_desk import FakePackages, stepsOf, writeModel  # noqa: E402
from PIL import Image  # noqa: E402
from scipy.ndimage import binary_dilation, binary_erosion, label  # noqa: E402
from slicersim.load import load_module, main_window  # noqa: E402
from slicersim.loop import in_event_loop  # noqa: E402

WINDOW, VIEW, PANEL_WIDTH = (1280, 800), (416, 366), 416  # pixels
IN_README = frozenset({"ready", "result"})
DARK = {  # gray levels of a palette's roles, near those of Slicer's dark style
    **dict.fromkeys(("Window", "Button", "AlternateBase", "ToolTipBase"), 50),
    **dict.fromkeys(("WindowText", "Text", "ButtonText", "ToolTipText", "BrightText"), 235),
    **{"Base": 35, "Light": 80, "Midlight": 65, "Mid": 40, "Dark": 30, "Shadow": 15},
    **{"Highlight": 110, "HighlightedText": 255, "PlaceholderText": 140},
}
COLORS, METHOD = 256, Image.Quantize.MAXCOVERAGE  # half the file, and no difference to be seen
FAINT = 120  # of text that is disabled
SLICES = 29  # that the draft counts
SHOWN_WHEN_RUNNING = 400  # thousandths of the run
OUT_OF_MEMORY = "torch.cuda.OutOfMemoryError: CUDA out of memory. Tried to allocate 3.2 GiB"


class QuietQuestions(Questions):
    """No window in front of the panel."""

    def confirm(self, text: str) -> bool:
        """A person agrees to the model's license."""
        return True

    def showFailure(self, sentence: str, log: str = "") -> None:
        """The panel says it too."""


class MissingPackages:
    """A Slicer into which nothing was installed yet."""

    hasPython = True

    def find(self) -> dict[str, Found | None]:
        missing = dict.fromkeys(("torch", "cv2", "safetensors"))
        return {**missing, "scipy": Found("99.0", True)}  # Slicer's own

    def checkInChild(self, onChecked: Callable[[Any], None]) -> None:
        """There is nothing to try."""

    def isImported(self, name: str) -> bool:
        return False

    def cleanUp(self) -> None:
        """Nothing is tried."""


class TorchOffering:
    """The PyTorch extension is there."""

    canInstallTorch = True


def draftEnvironment() -> Environment:
    """All is installed, and a model that cannot run."""
    folder = Path(tempfile.mkdtemp())
    environment = Environment(FakePackages(), modelFolder=folder / "models")
    environment.importModel(writeModel(folder / "draft.safetensors", title="Draft, no model"))
    return environment


class Studio:
    """The main window with the module's panel, and where the pictures go."""

    def __init__(self, folder: Path, isDraft: bool, names: frozenset[str]) -> None:
        """names: of the pictures that are wanted; all when there are none."""
        self.folder, self.isDraft, self.names = folder, isDraft, names
        self.module = load_module(MODULE_FOLDER / "LiverTumorSeg.py")
        self.widgetClass = self.module.LiverTumorSegWidget
        self.window = main_window(VIEW)
        self.window.resize(*WINDOW)
        self.makeRunner: Callable[[], Any] = ProcessRunner

    def open(self, environment: Environment) -> None:
        """The panel with what it finds installed, in place of the one there was."""
        make = functools.partial(
            self.widgetClass,
            environment=environment,
            questions=QuietQuestions(),
            makeRunner=lambda: self.makeRunner(),
        )
        self.module.LiverTumorSegWidget = make
        entry = slicer.modules.livertumorseg
        page = entry.createNewWidgetRepresentation()
        slicer.util.selectModule("SampleData")
        entry.__dict__["_page"] = page
        slicer.util.selectModule("LiverTumorSeg")
        self.panel, self.ui = page.self(), page.self().ui
        self.window.show()
        dock = self.window.findChild(qt.QDockWidget)
        self.window.resizeDocks([dock], [PANEL_WIDTH], qt.Qt.Horizontal)

    def shoot(self, name: str) -> None:
        """Save the window as a picture, if it is wanted."""
        if self.names and name not in self.names:
            return
        for _again in range(3):  # a layout settles in steps
            slicer.app.processEvents()
        self.window.refresh()
        slicer.app.processEvents()
        path = self.folder / f"{name}.png"
        self.window.grab().save(str(path))
        with Image.open(path) as picture:
            fewer = picture.convert("RGB").quantize(COLORS, METHOD, dither=Image.Dither.NONE)
        fewer.save(path, optimize=True)
        print(name)

    def loadPhantom(self) -> None:
        """The sample of the module, through its own door."""
        sample_data.loadPhantom()
        slicer.app.processEvents()
        if self.isDraft:
            phantom = make_phantom(
                seed=sample_data.PHANTOM_SEED,
                shape_kji=sample_data.PHANTOM_SHAPE_KJI,
                spacing_kji_mm=sample_data.PHANTOM_SPACING_KJI_MM,
            )
            self.makeRunner = lambda: AnsweringRunner(
                lambda ct: phantom.labels,
                draftLines(),
                later=draftLater(phantom.labels),
                pauseMs=40,
                record={"run": {"device": "cpu", "seconds": SLICES}},
            )

    def waitUntil(self, condition: Callable[[], bool], seconds: float = 600) -> None:
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                raise TimeoutError(self.ui.statusLabel.text or self.ui.segmentButton.toolTip)
            slicer.app.processEvents()
            time.sleep(0.01)

    def scrollTo(self, widget: Any) -> None:
        """Bring a part of the panel into sight."""
        parent = widget.parentWidget()
        while not isinstance(parent, qt.QScrollArea):
            parent = parent.parentWidget()
        slicer.app.processEvents()
        parent.ensureWidgetVisible(widget)

    def click(self, button: Any) -> None:
        qt.QTest.mouseClick(button, qt.Qt.LeftButton)
        slicer.app.processEvents()


def draftLater(labelsKji: np.ndarray) -> tuple[TumorSeen, StepLabels]:
    """Where tumor was seen, and the labels at three steps: tumors lose a layer, or grow by one."""
    tumor = labelsKji == Label.TUMOR
    grown = binary_dilation(tumor) & (labelsKji > 0)
    fewer = np.where(tumor & ~binary_erosion(tumor), Label.LIVER, labelsKji).astype(np.uint8)
    more = np.where(grown, Label.TUMOR, labelsKji).astype(np.uint8)
    seen = TumorSeen((0, 0, 0), np.where(grown, 200, 0).astype(np.uint8))
    return seen, stepsOf({-1: fewer, 0: labelsKji, 1: more})


def draftLines() -> tuple[dict[str, Any], ...]:
    """What a child says while it works."""
    return tuple(
        {
            "event": "progress",
            "fraction": 0.97 * number / SLICES,
            "phrase": f"Slice {number} of {SLICES}",
            "said": {"key": "Slice {n} of {count}", "values": {"n": number, "count": SLICES}},
            "seconds_left": SLICES - number,
        }
        for number in range(1, SLICES + 1)
    )


def shootRun(studio: Studio) -> None:
    """From the empty scene to the result."""
    studio.open(draftEnvironment() if studio.isDraft else Environment())
    ui = studio.ui
    studio.shoot("empty")
    studio.loadPhantom()
    studio.waitUntil(lambda: ui.segmentButton.enabled)
    ui.environmentCollapsibleButton.collapsed = True
    studio.shoot("ready")
    studio.click(ui.segmentButton)
    studio.waitUntil(lambda: ui.progressBar.value > SHOWN_WHEN_RUNNING)
    studio.shoot("running")
    studio.waitUntil(lambda: not studio.panel.logic.isRunning)
    if ui.lesionTable.rowCount == 0:
        raise RuntimeError(f"No tumor was found: {ui.statusLabel.text}")
    studio.click(ui.show3DButton)
    ui.lesionTable.setCurrentCell(0, 0)
    studio.shoot("result")


def shootAdvanced(studio: Studio) -> None:
    """The settings, with the log of the run."""
    studio.ui.resultCollapsibleButton.collapsed = True
    studio.ui.advancedCollapsibleButton.collapsed = False
    studio.shoot("advanced")
    studio.ui.advancedCollapsibleButton.collapsed = True
    studio.ui.resultCollapsibleButton.collapsed = False


def shootCompared(studio: Studio) -> None:
    """Beside an earlier result, in which all tumors are smaller and the smallest is not there."""
    ui, parameters = studio.ui, studio.panel.logic.getParameterNode()
    now = parameters.outputSegmentation
    labelsKji = readLabels(now, parameters.inputVolume)
    smaller = binary_erosion(labelsKji == Label.TUMOR, iterations=2)
    pieces, count = label(smaller)
    sizes = np.bincount(pieces.ravel(), minlength=count + 1)[1:]
    smaller &= pieces != 1 + sizes.argmin()
    earlier = np.where(smaller, Label.TUMOR, np.minimum(labelsKji, Label.LIVER)).astype(np.uint8)
    studio.makeRunner = lambda: AnsweringRunner(lambda ct: earlier, draftLines())
    parameters.outputSegmentation = None
    studio.waitUntil(lambda: ui.segmentButton.enabled)
    studio.click(ui.segmentButton)
    studio.waitUntil(lambda: not studio.panel.logic.isRunning)
    before = parameters.outputSegmentation
    before.SetName("LiverPhantom, earlier")
    parameters.outputSegmentation = now
    studio.makeRunner = ProcessRunner
    ui.baselineSelector.setCurrentNode(before)
    studio.waitUntil(lambda: ui.compareButton.enabled)
    studio.click(ui.compareButton)
    studio.waitUntil(lambda: ui.matchesTable.rowCount > 0)
    studio.click(ui.linkedViewsButton)
    ui.matchesTable.selectRow(0)
    studio.scrollTo(ui.savePageButton)
    studio.shoot("compared")
    studio.click(ui.linkedViewsButton)


def shootError(studio: Studio) -> None:
    """A run that fails."""
    studio.click(studio.ui.removeButton)
    studio.window.statusBar().clearMessage()
    studio.makeRunner = lambda: AnsweringRunner(None, exitCode=1, errorText=OUT_OF_MEMORY)
    studio.click(studio.ui.segmentButton)
    studio.waitUntil(lambda: not studio.panel.logic.isRunning)
    studio.shoot("error")


def shootEnvironment(studio: Studio) -> None:
    """Before the packages are installed."""
    studio.open(Environment(MissingPackages(), TorchOffering(), Path(tempfile.mkdtemp())))
    studio.loadPhantom()
    studio.shoot("environment")
    studio.panel.cleanup()
    slicer.mrmlScene.Clear()
    viewNode = slicer.app.layoutManager().threeDWidget(0).mrmlViewNode()
    viewNode.SetBoxVisible(False)  # closing the scene brings them back
    viewNode.SetAxisLabelsVisible(False)


def setLook(fontPercent: int, isDark: bool) -> None:
    """How large text is and which colors the panel has, as a person sets it for all of Slicer."""
    font = qt.QFont(slicer.app.font())
    font.setPointSizeF(font.pointSizeF() * fontPercent / 100)
    slicer.app.setFont(font)
    if isDark:
        palette = qt.QPalette()
        for role, gray in DARK.items():
            palette.setColor(getattr(qt.QPalette, role), qt.QColor(gray, gray, gray))
        for role in ("Text", "WindowText", "ButtonText"):
            faint = qt.QColor(FAINT, FAINT, FAINT)
            palette.setColor(qt.QPalette.Disabled, getattr(qt.QPalette, role), faint)
        slicer.app.setPalette(palette)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("--fake", action="store_true", help="the phantom's truth, no model")
    add("--dark", action="store_true", help="a dark style")
    add("--font-percent", type=int, default=100, metavar="N", help="100 is the usual font")
    add("-o", "--output", type=Path, metavar="FOLDER", help="every state goes here")
    args = parser.parse_args()
    folder = args.output or ROOT / "Resources" / "Screenshots"
    folder.mkdir(parents=True, exist_ok=True)
    setLook(args.font_percent, args.dark)
    studio = Studio(folder, args.fake, frozenset() if args.output else IN_README)
    for shoot in (shootEnvironment, shootRun, shootAdvanced, shootCompared, shootError):
        shoot(studio)
    return 0


if __name__ == "__main__":
    leave(in_event_loop(main))

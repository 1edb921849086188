"""Draws Resources/Screenshots anew: every state of the panel, on the synthetic abdomen.

    python Testing/slicer/make_screenshots.py            the shipped model finds liver and tumors
    python Testing/slicer/make_screenshots.py --fake     the phantom's own truth instead: a draft

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

import qt  # noqa: E402
import slicer  # noqa: E402
from LiverTumorSegLib.phantom.phantom import make_phantom  # noqa: E402
from LiverTumorSegSlicer.environment.prober import Found  # noqa: E402
from LiverTumorSegSlicer.environment.requirements import Environment  # noqa: E402
from LiverTumorSegSlicer.panel.questions import Questions  # noqa: E402
from LiverTumorSegSlicer.run.process import ProcessRunner  # noqa: E402
from LiverTumorSegSlicer.scene import samples  # noqa: E402
from LiverTumorSegSlicer.self_test import AnsweringRunner  # noqa: E402
from panel_desk import FakeProber, writeModel  # noqa: E402
from slicersim.load import load_module, main_window  # noqa: E402
from slicersim.loop import in_event_loop  # noqa: E402

WINDOW, VIEW, PANEL_WIDTH = (1280, 800), (416, 366), 416  # pixels
SLICES = 29  # that the draft counts
SHOWN_WHEN_RUNNING = 400  # thousandths of the run
OUT_OF_MEMORY = "torch.cuda.OutOfMemoryError: CUDA out of memory. Tried to allocate 3.2 GiB"


class QuietQuestions(Questions):
    """No window in front of the panel."""

    def confirm(self, text: str) -> bool:
        """A person agrees to the model's license."""
        return True

    def tellFailure(self, sentence: str, log: str = "") -> None:
        """The panel says it too."""


class MissingProber:
    """A Slicer into which nothing was installed yet."""

    hasPython = True

    def find(self) -> dict[str, Found | None]:
        missing = dict.fromkeys(("torch", "cv2", "safetensors"))
        return {**missing, "scipy": Found("99.0", True)}  # Slicer's own

    def prove(self, onProof: Callable[[Any], None]) -> None:
        """There is nothing to try."""

    def cleanUp(self) -> None:
        """There is nothing to end."""


class TorchOffering:
    """The PyTorch extension is there."""

    canInstallTorch = True


def draftEnvironment() -> Environment:
    """All is installed, and a model that cannot run."""
    folder = Path(tempfile.mkdtemp())
    environment = Environment(FakeProber(), modelFolder=folder / "models")
    environment.importModel(writeModel(folder / "draft.safetensors", title="Draft, no model"))
    return environment


class Studio:
    """The main window with the module's panel, and where the pictures go."""

    def __init__(self, folder: Path, isDraft: bool) -> None:
        self.folder, self.isDraft = folder, isDraft
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
        """Save the window as a picture."""
        for _again in range(3):  # a layout settles in steps
            slicer.app.processEvents()
        self.window.refresh()
        slicer.app.processEvents()
        self.window.grab().save(str(self.folder / f"{name}.png"))
        print(name)

    def loadPhantom(self) -> None:
        """The sample of the module, through its own door."""
        samples.loadPhantom()
        slicer.app.processEvents()
        if self.isDraft:
            phantom = make_phantom(
                seed=samples.PHANTOM_SEED,
                shape_kji=samples.PHANTOM_SHAPE_KJI,
                spacing_kji_mm=samples.PHANTOM_SPACING_KJI_MM,
            )
            self.makeRunner = lambda: AnsweringRunner(
                lambda ct: phantom.labels,
                draftLines(),
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

    def click(self, button: Any) -> None:
        qt.QTest.mouseClick(button, qt.Qt.LeftButton)
        slicer.app.processEvents()


def draftLines() -> tuple[dict[str, Any], ...]:
    """What a child says while it works."""
    return tuple(
        {
            "event": "progress",
            "fraction": 0.97 * number / SLICES,
            "phrase": f"Slice {number} of about {SLICES}",
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
    studio.open(Environment(MissingProber(), TorchOffering(), Path(tempfile.mkdtemp())))
    studio.loadPhantom()
    studio.shoot("environment")
    studio.panel.cleanup()
    slicer.mrmlScene.Clear()
    viewNode = slicer.app.layoutManager().threeDWidget(0).mrmlViewNode()
    viewNode.SetBoxVisible(False)  # closing the scene brings them back
    viewNode.SetAxisLabelsVisible(False)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fake", action="store_true", help="the phantom's truth, no model")
    default = ROOT / "Resources" / "Screenshots"
    parser.add_argument("-o", "--output", type=Path, default=default, metavar="FOLDER")
    given = parser.parse_args()
    given.output.mkdir(parents=True, exist_ok=True)
    studio = Studio(given.output, given.fake)
    for shoot in (shootEnvironment, shootRun, shootAdvanced, shootError):
        shoot(studio)
    return 0


if __name__ == "__main__":
    leave(in_event_loop(main))

"""A person's path with the real child process: load a CT, click Segment, look in 2D and 3D.

    python Testing/slicer/click_through.py FOLDER [MODEL]

Prints one JSON object, and leaves a picture of the window in FOLDER. MODEL: the name of a shipped
model, else the default one. The click comes from the X
server where there is one (and xdotool), else from Qt. A shipped model is run when there is one,
else the model in the folder LIVERTUMORSEG_MODELS.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
MODULE_FOLDER = HERE.parents[1] / "LiverTumorSeg"
sys.path[:0] = [str(HERE), str(HERE.parent), str(MODULE_FOLDER)]

from slicersim import pythonqt  # noqa: E402
from slicersim.app import boot, leave  # noqa: E402

boot()

import numpy as np  # noqa: E402
import qt  # noqa: E402
import slicer  # noqa: E402
from LiverTumorSegLib.model.catalog import shipped_models  # noqa: E402
from LiverTumorSegLib.phantom.phantom import make_phantom  # noqa: E402
from LiverTumorSegSlicer.environment.remembered import Remembered  # noqa: E402
from LiverTumorSegSlicer.scene.nodes import readLabels, resultRecord  # noqa: E402
from slicersim.load import load_module, main_window  # noqa: E402
from slicersim.loop import in_event_loop  # noqa: E402

# Random weights see tumors everywhere, and only need a few voxels for it.
COARSE = {"shape_kji": (8, 48, 48), "spacing_kji_mm": (30.0, 8.0, 8.0)}
FINE = {"shape_kji": (36, 160, 160), "spacing_kji_mm": (8.0, 2.4, 2.4)}
PHANTOM_SEED = 7  # has a tumor of 37 mm, which shows in a small 3D view
MOST_SECONDS = 120
STILL_SECONDS = 0.2
RED_SHARE = 0.5  # of red without green: 0.41 in the liver's color, 0.79 in the tumor's
COLOR_DIFFERENCE = 25  # of 255: what is tinted, in a gray picture


class Heart:
    """How long the main thread was ever busy, in seconds."""

    def __init__(self) -> None:
        self.longest, self._last = 0.0, time.perf_counter()
        self._timer = qt.QTimer()
        self._timer.connect("timeout()", self._beat)
        self._timer.start(0)

    def _beat(self) -> None:
        now = time.perf_counter()
        self.longest, self._last = max(self.longest, now - self._last), now

    def stop(self) -> float:
        self._timer.stop()
        return self.longest


def loadCt() -> Any:
    """The phantom, shown in the views."""
    phantom = make_phantom(seed=PHANTOM_SEED, **(FINE if shipped_models() else COARSE))
    ijkToRas = phantom.ct.ijk_to_ras
    node = slicer.util.addVolumeFromArray(phantom.ct.hu, ijkToRAS=ijkToRas, name="CT")
    node.CreateDefaultDisplayNodes()
    slicer.util.setSliceViewerLayers(background=node, fit=True)
    return node


def click(button: Any) -> str:
    """Scroll to a button and, once it stands still, press the mouse on it; how that was done."""
    place, before = None, object()
    while place != before:
        before = place
        slicer.util.mainWindow().findChild(qt.QScrollArea).ensureWidgetVisible(button)
        pause = time.monotonic() + STILL_SECONDS
        while time.monotonic() < pause:
            slicer.app.processEvents()
        corner = button.mapToGlobal(qt.QPoint(0, 0))
        place = corner.x(), corner.y()
    center = qt.QPoint(button.width // 2, button.height // 2)
    if qt.QGuiApplication.platformName() != "xcb" or shutil.which("xdotool") is None:
        qt.QTest.mouseClick(button, qt.Qt.LeftButton)
        return "Qt"
    place = button.mapToGlobal(center)
    move = ["xdotool", "mousemove", "--sync", str(place.x()), str(place.y())]
    subprocess.run([*move, "click", "1"], check=True)
    return "X"


def waitUntil(condition: Any) -> None:
    end = time.monotonic() + MOST_SECONDS
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(slicer.modules.LiverTumorSegWidget.ui.statusLabel.text)
        slicer.app.processEvents()
        time.sleep(0.005)


def tinted() -> dict[str, list[int]]:
    """Pixels with the colors of liver (light brown) and tumor (red), for each view."""
    found = {}
    for name, view in slicer.app.layoutManager().views().items():
        red, green, blue = (view.image()[..., c].astype(int) for c in range(3))
        isTinted = red - blue > COLOR_DIFFERENCE
        isRed = isTinted & (red - green > RED_SHARE * red)
        found[name] = [int(np.count_nonzero(isTinted & ~isRed)), int(np.count_nonzero(isRed))]
    return found


def segment(panel: Any) -> dict[str, Any]:
    """Click, and wait for the end, as a person does."""
    heart = Heart()
    how = click(panel.ui.segmentButton)
    waitUntil(lambda: panel.logic.isRunning)
    phrases = set()

    def isOver() -> bool:
        phrases.add(panel.ui.statusLabel.text)
        return not panel.logic.isRunning

    waitUntil(isOver)
    return {"click": how, "phrases": len(phrases), "longest_pause_s": round(heart.stop(), 3)}


def showFirstTumor(panel: Any) -> None:
    """In the slices by its row, and in 3D by the button."""
    panel.ui.lesionTable.setCurrentCell(0, 0)
    click(panel.ui.show3DButton)
    waitUntil(lambda: panel.ui.show3DButton.checked)


def main() -> int:
    folder, model = Path(sys.argv[1]), "".join(sys.argv[2:])
    load_module(MODULE_FOLDER / "LiverTumorSeg.py")
    window = main_window()
    window.show()
    slicer.util.selectModule("LiverTumorSeg")
    panel = slicer.modules.LiverTumorSegWidget
    volume = loadCt()
    for entry in shipped_models():  # a person agrees to the license once
        Remembered().noteAgreement(entry.name, entry.licence)
    parameters = panel.logic.getParameterNode()
    parameters.model = model
    parameters.scan, parameters.device, parameters.smallestLesionMm = False, "cpu", 0.1
    waitUntil(lambda: panel.ui.segmentButton.enabled)
    told: dict[str, Any] = {"platform": qt.QGuiApplication.platformName(), "before": tinted()}
    told |= segment(panel)
    node = panel.logic.getParameterNode().outputSegmentation
    if node is None:
        raise RuntimeError(f"{panel.ui.statusLabel.text}\n{panel.ui.logText.plainText}")
    showFirstTumor(panel)
    told["after"] = tinted()
    node.GetDisplayNode().SetSegmentVisibility3D("Liver", False)
    told["tumors"] = tinted()["3D"]  # random weights wrap them in many sheets of liver
    node.GetDisplayNode().SetSegmentVisibility3D("Liver", True)
    told["voxels"] = np.bincount(readLabels(node, volume).ravel(), minlength=3).tolist()
    told["rows"], told["status"] = panel.ui.lesionTable.rowCount, panel.ui.statusLabel.text
    told["model"] = resultRecord(node)["model"]["model"]
    told["errors"] = [repr(error) for error in pythonqt.callback_errors]
    window.refresh()
    slicer.app.processEvents()
    window.grab().save(str(folder / "window.png"))
    print(json.dumps(told), flush=True)
    return 0


if __name__ == "__main__":
    leave(in_event_loop(main))

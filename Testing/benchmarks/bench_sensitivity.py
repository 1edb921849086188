"""How long does a step of sensitivity take, and for how long is Slicer busy at a stretch?

The promise is about a second, and 200 ms, on 512 x 512 x 150 voxels.

    python Testing/benchmarks/bench_sensitivity.py
    python Testing/benchmarks/bench_sensitivity.py --lesions 60 --per-lesion

A liver of 1.6 L holds lesions of 8 to 30 mm; each step from one end to the other adds some and lets
all grow by a voxel. What is measured is the panel's own way: segments, record and table. On a busy
machine only the seconds of the processor mean something.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

TESTING = Path(__file__).resolve().parents[1]
MODULE_FOLDER = TESTING.parent / "LiverTumorSeg"
SHAPE_KJI, SPACING_KJI_MM = (150, 512, 512), (1.5, 0.75, 0.75)
STEPS = (-1, 0, 1)
PROMISED_MS, PROMISED_S = 200, 1.0


def main() -> None:
    """Print a line for each move of the slider."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--lesions", type=int, default=12)
    parser.add_argument("--per-lesion", action="store_true")
    args = parser.parse_args()
    sys.path[:0] = [str(TESTING), str(MODULE_FOLDER)]
    from slicersim.app import boot, leave
    from slicersim.loop import in_event_loop

    boot()
    in_event_loop(lambda: measure(args))
    leave(0)


def makeLabels(count: int) -> dict[int, np.ndarray]:
    """By step; a lesion in three is there only at the last step, and one only from the middle."""
    random, spacing = np.random.default_rng(0), np.array(SPACING_KJI_MM)
    labels = {step: np.zeros(SHAPE_KJI, np.uint8) for step in STEPS}
    center, radii = np.array([75, 250, 190]), np.array([55, 95, 120])
    draw(labels[-1], center, radii, 1)
    for step in (0, 1):
        labels[step][:] = labels[-1]
    for n in range(count):
        place = center + random.uniform(-0.55, 0.55, 3) * radii
        radius = random.uniform(4, 15) / spacing
        for step in STEPS:
            if step >= (-1, 0, 1)[n % 3]:
                draw(labels[step], place, radius + step, 2)
    return labels


def draw(labels: np.ndarray, center: np.ndarray, radii: np.ndarray, value: int) -> None:
    start = np.floor(center - radii).astype(int)
    box = tuple(slice(s, s + 2 * int(r) + 3) for s, r in zip(start, radii, strict=True))
    axes = np.ogrid[box]
    inside = sum(((x - c) / r) ** 2 for x, c, r in zip(axes, center, radii, strict=True)) <= 1
    labels[box][inside] = value


def makeSteps(labels: dict[int, np.ndarray]) -> Any:
    from LiverTumorSegLib.result.step_labels import StepLabels

    differs = np.zeros(labels[0].size, bool)
    for one in labels.values():
        differs |= (one.ravel() == 2) | (one.ravel() != labels[0].ravel())
    voxels = np.flatnonzero(differs)
    told = {"sensitivity": {}, "expected": {"key": "", "values": {}}, "decision": {}, "lesions": []}
    found = np.stack([labels[step].ravel()[voxels] for step in STEPS])
    return StepLabels(-1, voxels, found, (told,) * len(STEPS))


def measure(args: argparse.Namespace) -> None:
    import slicer
    from LiverTumorSegSlicer.panel.dialogs import Questions
    from LiverTumorSegSlicer.panel.lesion_panel import LesionPanel
    from LiverTumorSegSlicer.panel.sensitivity_panel import SensitivityPanel
    from LiverTumorSegSlicer.scene.kept import keepForLater, keptFor
    from LiverTumorSegSlicer.scene.nodes import writeSegmentation

    labels = makeLabels(args.lesions)
    affine = np.diag([*SPACING_KJI_MM[::-1], 1.0]) * [-1, -1, 1, 1]
    hu = np.where(labels[0] == 2, 60, 100).astype(np.int16)
    volumeNode = slicer.util.addVolumeFromArray(hu, ijkToRAS=affine, name="CT")
    node = writeSegmentation(labels[0], volumeNode, {}, onePerLesion=args.per_lesion)
    keepForLater(node, makeSteps(labels), None, args.per_lesion)
    window = slicer.util.loadUI(str(MODULE_FOLDER / "Resources" / "UI" / "LiverTumorSeg.ui"))
    ui = slicer.util.childWidgetVariables(window)
    lesions = LesionPanel(ui, Questions(), lambda name: None)
    panel = SensitivityPanel(ui, Questions(), lesions, lambda: None)
    lesions.onChanged = panel.update
    lesions.show(node, volumeNode)
    print(f"{args.lesions} lesions; promised {PROMISED_S:.0f} s, {PROMISED_MS} ms at a stretch")
    for step in (1, 0, -1, 1):
        hearts = Heart(time.perf_counter), Heart(time.thread_time)
        start = time.perf_counter(), time.process_time()
        ui.sensitivitySlider.value = step
        waitUntil(lambda wanted=step: keptFor(node).step == wanted and not panel.isBusy)
        wall, processor = time.perf_counter() - start[0], time.process_time() - start[1]
        print(
            f"to {step:+d}: {wall:.2f} s, longest {hearts[0].longestMs:.0f} ms; of the processor"
            f" {processor:.2f} s, longest {hearts[1].longestMs:.0f} ms",
            flush=True,
        )


class Heart:
    """Beats in the event loop, and keeps the longest pause by one clock."""

    def __init__(self, clock: Callable[[], float]) -> None:
        import qt

        self.longestMs = 0.0
        self._clock, self._last = clock, clock()
        self._timer = qt.QTimer()
        self._timer.connect("timeout()", self._beat)
        self._timer.start(5)

    def _beat(self) -> None:
        now = self._clock()
        self.longestMs = max(self.longestMs, 1000 * (now - self._last))
        self._last = now


def waitUntil(condition: Any) -> None:
    import qt

    loop, timer = qt.QEventLoop(), qt.QTimer()
    timer.connect("timeout()", lambda: loop.quit() if condition() else None)
    timer.start(20)
    loop.exec_()
    timer.stop()


if __name__ == "__main__":
    main()

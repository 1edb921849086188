"""How long Slicer's window stands still while a CT is copied out and a result is put in.

    python Testing/benchmarks/bench_slicer_import.py [slices]

Real MRML (slicer-core) in the stand-in for the application, a liver-sized solid with 40 lesions on
512 x 512 pixels, 300 slices when not said otherwise.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
TESTING = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTING), str(TESTING.parent / "LiverTumorSeg")]

from slicersim.app import boot  # noqa: E402

boot()

import slicer  # noqa: E402
from LiverTumorSegSlicer.panel.lesion_table import LesionTable  # noqa: E402
from LiverTumorSegSlicer.scene.editing import style3D  # noqa: E402
from LiverTumorSegSlicer.scene.nodes import (  # noqa: E402
    hasEditedSegments,
    readLabels,
    readVolume,
    removeResult,
    writeSegmentation,
)

LESIONS, REPEATS = 40, 3


def makeLabels(slices: int) -> np.ndarray:
    """An ellipsoid of about 1.5 L at 0.8 x 0.8 x 1 mm, with spheres in it."""
    k, j, i = np.ogrid[:slices, :512, :512]
    center = (slices / 2, 230, 200)
    liver = ((k - center[0]) / (slices / 4)) ** 2
    liver = liver + ((j - center[1]) / 100) ** 2 + ((i - center[2]) / 110) ** 2 < 1
    labels = liver.astype(np.uint8)
    random = np.random.default_rng(0)
    for radius in random.uniform(3, 18, LESIONS):
        at = np.array(center) + random.uniform(-0.5, 0.5, 3) * (slices / 4, 100, 110)
        low = np.maximum((at - radius - 1).astype(int), 0)
        box = tuple(slice(a, a + int(2 * radius) + 3) for a in low)
        grid = np.ogrid[box]
        labels[box][sum((g - c) ** 2 for g, c in zip(grid, at, strict=True)) < radius**2] = 2
    return labels


def report(what: str, work: Callable[[], Any]) -> Any:
    """Time it a few times and print the median; the last result."""
    times = []
    for _repeat in range(REPEATS):
        start = time.perf_counter()
        result = work()
        times.append(time.perf_counter() - start)
    print(f"{what:52s} {1000 * float(np.median(times)):7.0f} ms")
    return result


def main(slices: int) -> None:
    """Print one line for each thing that the main thread does."""
    labels = makeLabels(slices)
    voxels = np.where(labels == 0, -900, 100).astype(np.int16)
    volume = slicer.util.addVolumeFromArray(voxels, ijkToRAS=np.diag([-0.8, -0.8, 1.0, 1.0]))
    print(f"{slices} x 512 x 512 voxels, {int((labels > 0).sum()) * 0.64e-3:.0f} mL of liver")
    report("read the CT", lambda: readVolume(volume))
    node = report("write a new segmentation", lambda: writeSegmentation(labels, volume, {}))
    report("write one segment a lesion", lambda: oneEach(labels, volume))
    report("ask whether it was edited", lambda: hasEditedSegments(node))
    report("replace it", lambda: writeSegmentation(labels, volume, {}, segmentationNode=node))
    report("remove a result", lambda: removeResult(node))
    report("read the labels back", lambda: readLabels(node, volume))
    table = LesionTable(node, volume)
    report("measure the lesion table", table.compute)
    table.cleanUp()
    report("3D surfaces, on request", lambda: (make3D(node), style3D(node)))


def make3D(node: Any) -> None:
    """As Slicer's own button does."""
    node.GetSegmentation().CreateRepresentation("Closed surface", True)


def oneEach(labels: np.ndarray, volume: Any) -> None:
    """Written and removed, to start anew."""
    removeResult(writeSegmentation(labels, volume, {}, onePerLesion=True))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 300)

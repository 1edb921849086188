"""What do the other steps of sensitivity cost a run, beside the decision that it makes anyway?

    python Testing/benchmarks/bench_steps.py --slices 130
    python Testing/benchmarks/bench_steps.py --slices 130 --profile

A made-up liver of 1.6 L with lesions of 6 to 30 mm on 512 x 512 pixels, as a network for tumors at
the liver tells of it. Printed are seconds of the processor: of one decision with its check, of all
five steps, and their ratio, which a busy machine does not change.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

MODULE_FOLDER = Path(__file__).resolve().parents[2] / "LiverTumorSeg"
SIDE, SPACING_JI_MM = 512, 0.75
LIVER_MM, BOX_PX = (80.0, 72.0, 88.0), 320
THRESHOLDS = ((0.7, 0.8), (0.5, 0.8), (0.5, 0.7), (0.4, 0.6), (0.3, 0.4))  # outline, seeds
TESTED = 2


def main() -> None:
    """Print the seconds."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--slices", type=int, default=130)
    parser.add_argument("--lesions", type=int, default=12)
    parser.add_argument("--profile", action="store_true", help="where the time goes")
    given = parser.parse_args()
    sys.path[:0] = [str(MODULE_FOLDER)]
    from LiverTumorSegLib.result.plausibility import check
    from LiverTumorSegLib.result.steps import labels_at_steps

    ct, done, sensitivity = make_run(given.slices, given.lesions)
    tested = sensitivity.stops[TESTED].decision
    start = time.process_time()
    labels, probability = done.prediction.decide(tested, done.postprocessing)
    check(ct, labels, probability)
    once = time.process_time() - start
    profile = cProfile.Profile(time.process_time)
    start = time.process_time()
    if given.profile:
        profile.enable()
    labels_at_steps(ct, tested, done, sensitivity)
    profile.disable()
    steps = time.process_time() - start
    print(
        f"{given.slices} slices: a decision {once:.2f} s, steps {steps:.2f} s: {steps / once:.2f}"
    )
    if given.profile:
        pstats.Stats(profile).sort_stats("cumulative").print_stats(35)


def make_run(slices: int, count: int) -> tuple[Any, Any, Any]:
    """A CT, a segmentation of it as tested, and the steps."""
    from LiverTumorSegLib.inference.decision import Decision
    from LiverTumorSegLib.inference.postprocess import Postprocessing
    from LiverTumorSegLib.inference.segmenter import Segmentation
    from LiverTumorSegLib.inference.sensitivity import Sensitivity, Stop
    from LiverTumorSegLib.result.plausibility import check
    from LiverTumorSegLib.volume import CtVolume

    spacing = (260.0 / slices, SPACING_JI_MM, SPACING_JI_MM)
    liver, sureness = draw(slices, spacing, count)
    hu = np.full(liver.shape, -1000, np.int16)
    j, i = np.ogrid[:SIDE, :SIDE]
    hu[:, ((j - 256) / 190) ** 2 + ((i - 256) / 245) ** 2 <= 1] = 20  # a body with a spine
    hu[:, 370:410, 236:276] = 400
    hu[liver] = 110
    hu[(sureness > 0.5) & liver] = 70
    ct = CtVolume(hu, np.diag([-spacing[2], -spacing[1], spacing[0], 1.0]))
    prediction = make_prediction(liver, sureness, spacing)
    stops = tuple(
        Stop(
            steps=n - TESTED,
            decision=Decision(
                tumor_threshold=low, seed_threshold=high, smoothing_mm=2.0, calibration=(1.1, -0.4)
            ),
            large=(n, 9),
            small=(n, 9),
            false_lesions_per_volume=float(n),
        )
        for n, (low, high) in enumerate(THRESHOLDS)
    )
    steps = Postprocessing(clean_liver=True)
    labels, probability = prediction.decide(stops[TESTED].decision, steps)
    checked = check(ct, labels, probability)
    done = Segmentation(
        labels_kji=checked.labels_kji,
        tumor_probability_kji=checked.tumor_probability_kji,
        prediction=prediction,
        postprocessing=steps,
        reorientation=ct.to_lps(copy=False)[1],
        device="cpu",
        slices=slices,
        slices_run=slices,
        seconds=0.0,
        warnings=(),
    )
    return ct, done, Sensitivity(stops)


def draw(slices: int, spacing: tuple[float, ...], count: int) -> tuple[Any, Any]:
    """Where the liver is, and how sure a network is of tumor, falling off at each rim."""
    random = np.random.default_rng(0)
    radii = np.array(LIVER_MM) / spacing
    center = np.array([slices / 2, 250, 200])
    shape = (slices, SIDE, SIDE)
    liver = np.zeros(shape, bool)
    sureness = np.zeros(shape, np.float16)
    fill(liver, center, radii, lambda away: away <= 1)
    for _ in range(count):
        place = center + random.uniform(-0.5, 0.5, 3) * radii
        best = random.uniform(0.35, 1.0)
        reach = random.uniform(3, 15) * 1.5 / np.array(spacing)
        fill(sureness, place, reach, lambda away, best=best: best * np.clip(1.5 - away, 0, 1))
    return liver, sureness


def fill(array: Any, center: Any, radii: Any, value: Any) -> None:
    """The larger of what is there and a function of the distance in radii."""
    start = np.maximum(np.floor(center - 1.5 * radii).astype(int), 0)
    box = tuple(slice(s, s + 3 * int(np.ceil(r)) + 1) for s, r in zip(start, radii, strict=True))
    window = array[box]
    k, j, i = (np.arange(s, s + n) for s, n in zip(start, window.shape, strict=True))
    grid = np.ix_(k, j, i)
    away = np.sqrt(sum(((x - c) / r) ** 2 for x, c, r in zip(grid, center, radii, strict=True)))
    np.maximum(window, value(away).astype(array.dtype), out=window)


def make_prediction(liver: Any, sureness: Any, spacing: tuple[float, ...]) -> Any:
    """As of two networks: the second one on pixels of its own, around the liver."""
    from LiverTumorSegLib.inference.grids import BoxGrid
    from LiverTumorSegLib.inference.prediction import ClassMaps, Prediction

    first, fine = (90, 40), (SIDE, SIDE)
    grid = BoxGrid(fine, fine, first, (BOX_PX, BOX_PX), (BOX_PX, BOX_PX))
    box = (slice(first[0], first[0] + BOX_PX), slice(first[1], first[1] + BOX_PX))
    whole = BoxGrid(fine, fine, (0, 0), fine, fine)
    maps, tumors = ClassMaps(whole), ClassMaps(grid)
    for k in np.flatnonzero(liver.any(axis=(1, 2))):
        tumor = sureness[k][box]
        tumors.by_slice[int(k)] = np.stack([np.float16(0.98) - tumor.clip(0, 0.98), tumor])
    return Prediction(liver, liver, maps, tumors, spacing, len(tumors.by_slice))


if __name__ == "__main__":
    main()

"""How long scoring one case takes, without the network: voxels, surfaces, lesions, calibration.

    python Testing/benchmarks/bench_evaluate.py
    python Testing/benchmarks/bench_evaluate.py --slices 150 500

The truth is a phantom's, 512 x 512 pixels and 375 mm high; the prediction is the truth moved by a
few voxels, with false specks all over it, which is more work than a good model makes. Goal: a case
of 500 slices in under 30 s, in processor time, since other programs do not disturb that.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np
from LiverTumorSegLib.labels import Label
from LiverTumorSegLib.phantom.phantom import make_phantom
from numpy.typing import NDArray
from pairs import print_table

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from training.cases.case import Case
from training.score.case import Run, score_run
from training.score.summary import summarize

HEIGHT_MM = 375.0
GOAL_S = 30.0
SPECKS = 200
COLUMNS = ("slices", "lesions true", "predicted", "scoring CPU s", "summary CPU s", "wall s")


def prediction_of(true: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The truth moved by (1, 2, 3) voxels, with specks of tumor in its liver."""
    made = np.roll(true, (1, 2, 3), axis=(0, 1, 2))
    liver = np.flatnonzero(made == Label.LIVER)
    chosen = np.random.default_rng(0).choice(liver, SPECKS, replace=False)
    made.ravel()[chosen] = Label.TUMOR
    return made


def measure(slices: int) -> list[str]:
    """A row of the table."""
    phantom = make_phantom(
        seed=5, shape_kji=(slices, 512, 512), spacing_kji_mm=(HEIGHT_MM / slices, 0.75, 0.75)
    )
    predicted = prediction_of(phantom.labels)
    probabilities = np.zeros((len(Label), *predicted.shape), np.float16)
    probabilities[Label.TUMOR] = predicted == Label.TUMOR
    case = Case("phantom", Path("phantom"), None, "phantom", None, "case")
    run = Run(predicted, "cpu", slices, slices, 0.0, probabilities)
    started, wall = time.process_time(), time.perf_counter()
    score = score_run(case, phantom.ct, run, phantom.labels)
    scored = time.process_time()
    summarize([score])
    found = score.volume.table
    return [
        str(slices),
        str(len(found.true)),
        str(len(found.predicted)),
        f"{scored - started:.1f}",
        f"{time.process_time() - scored:.1f}",
        f"{time.perf_counter() - wall:.1f}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--slices", type=int, nargs="+", default=[500])
    rows = [measure(slices) for slices in parser.parse_args().slices]
    print_table(COLUMNS, rows)
    print(f"Goal: under {GOAL_S:.0f} s at 500 slices.")


if __name__ == "__main__":
    main()

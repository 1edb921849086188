"""Our preprocessing of a slice against the bare OpenCV calls that do the same, in one run.

    python Testing/benchmarks/bench_preprocess.py
    python Testing/benchmarks/bench_preprocess.py --pairs 51 --threads 2

Both turn int16 512 x 512 HU into 256 x 256 grays: scale to 8 bits, CLAHE, gamma table, resize. The
second row leaves the scaling out of the bare calls. The goal is a ratio of at most 1.2.
"""

from __future__ import annotations

import argparse

import cv2
import numpy as np
from LiverTumorSegLib.inference.preprocess import SlicePreprocessing, gamma_table
from LiverTumorSegLib.phantom.phantom import make_phantom
from numpy.typing import NDArray
from pairs import print_table, run_in_turns

SPACING_JI_MM = (0.75, 0.75)
GOAL = 1.2


def bare_gray(hu: NDArray[np.int16], step: SlicePreprocessing) -> NDArray[np.uint8]:
    """HU to 0-255 by OpenCV's own scaling; the clip keeps its absolute value out of play."""
    low, high = step.window_hu
    gain = 255 / (high - low)
    return cv2.convertScaleAbs(np.clip(hu, low, high), alpha=gain, beta=-low * gain)


def bare_enhance(gray: NDArray[np.uint8], step: SlicePreprocessing) -> NDArray[np.uint8]:
    """CLAHE, gamma, resize as one would write them."""
    tiles = (step.clahe_tiles, step.clahe_tiles)
    even = cv2.createCLAHE(clipLimit=step.clahe_clip, tileGridSize=tiles).apply(gray)
    dark = cv2.LUT(even, gamma_table(step.gamma))
    return cv2.resize(dark, (step.size_px, step.size_px), interpolation=cv2.INTER_LINEAR)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=31)
    parser.add_argument("--slices", type=int, default=32, help="slices in one timed run")
    parser.add_argument("--threads", type=int, default=1, help="OpenCV's threads")
    args = parser.parse_args()
    cv2.setNumThreads(args.threads)
    step = SlicePreprocessing()
    spacing_kji_mm = (180 / args.slices, *SPACING_JI_MM)
    phantom = make_phantom(shape_kji=(args.slices, 512, 512), spacing_kji_mm=spacing_kji_mm)
    slices = phantom.ct.to_lps()[0].hu
    grays = [bare_gray(hu, step) for hu in slices]

    def ours() -> list[NDArray[np.uint8]]:
        return [step(hu, SPACING_JI_MM) for hu in slices]

    def bare() -> list[NDArray[np.uint8]]:
        return [bare_enhance(bare_gray(hu, step), step) for hu in slices]

    def bare_8_bit() -> list[NDArray[np.uint8]]:
        return [bare_enhance(gray, step) for gray in grays]

    rows = []
    for name, other in (("bare calls", bare), ("bare calls, 8 bits given", bare_8_bit)):
        times = run_in_turns(ours, other, args.pairs)
        per_slice = 1000 / args.slices
        rows.append(
            (
                name,
                f"{times.ours_median_s * per_slice:.2f}",
                f"{times.other_median_s * per_slice:.2f}",
                f"{times.ratio:.2f}",
                times.ratio_range,
            )
        )
    print_table(["against", "ours ms/slice", "theirs ms/slice", "ratio", "range"], rows)
    unlike = sum(np.count_nonzero(a != b) for a, b in zip(ours(), bare(), strict=True))
    print(f"Goal: ratio at most {GOAL} in the first row. Bytes that differ: {unlike}")


if __name__ == "__main__":
    main()

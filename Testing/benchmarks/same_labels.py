"""Does this code still give the labels that an earlier one gave?

    python Testing/benchmarks/same_labels.py BEFORE CT.nii.gz [...] --phantom --model NAME
    (change the code)
    python Testing/benchmarks/same_labels.py BEFORE CT.nii.gz [...] --phantom --model NAME

What BEFORE does not hold yet is segmented and written there; what it holds is segmented again and
compared. CT: a NIfTI file, or a folder whose volume-*.nii.gz are meant. Exit code 1 when a voxel
differs; then its count and the Dice of both label maps are said.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from LiverTumorSegLib.ct.nifti import read_ct
from LiverTumorSegLib.inference.segmenter import load_segmenter
from LiverTumorSegLib.phantom.phantom import make_phantom
from LiverTumorSegLib.result.agreement import compare
from LiverTumorSegLib.settings import RunSettings
from LiverTumorSegLib.volume import CtVolume

DEMO_SEED, DEMO_SHAPE_KJI, DEMO_SPACING_KJI_MM = 7, (72, 320, 320), (4.0, 1.2, 1.2)


def cases(paths: list[Path], phantom: bool) -> Iterator[tuple[str, CtVolume]]:
    """Name and CT of each case, one in memory at a time."""
    for path in paths:
        for file in sorted(path.glob("volume-*.nii.gz")) if path.is_dir() else [path]:
            yield file.name.removesuffix(".nii.gz"), read_ct(file)[0]
    if phantom:
        made = make_phantom(
            seed=DEMO_SEED, shape_kji=DEMO_SHAPE_KJI, spacing_kji_mm=DEMO_SPACING_KJI_MM
        )
        yield "phantom", made.ct


def differences(now: np.ndarray, before: np.ndarray) -> str:
    """Empty for equal label maps; else how unlike they are."""
    if now.shape == before.shape and np.array_equal(now, before):
        return ""
    count = int(np.count_nonzero(now != before))
    dice = compare(now, before)
    return f"{count} voxels, liver Dice {dice.liver_dice:.5f}, tumor Dice {dice.tumor_dice:.5f}"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("before", type=Path, help="folder of label maps")
    parser.add_argument("ct", type=Path, nargs="*")
    parser.add_argument("--model", required=True, help="name or file")
    parser.add_argument("--phantom", action="store_true", help="also the demo's synthetic CT")
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    segmenter, changed = load_segmenter(RunSettings(model=args.model, device=args.device)), 0
    folder = args.before / Path(args.model).stem
    folder.mkdir(parents=True, exist_ok=True)
    for name, ct in cases(args.ct, args.phantom):
        done = segmenter.segment(ct)
        file = folder / f"{name}.npz"
        if not file.exists():
            np.savez_compressed(file, labels=done.labels_kji)
            said = "written"
        else:
            with np.load(file) as stored:
                said = differences(done.labels_kji, stored["labels"])
            changed += bool(said)
        print(f"{name:<24} {said or 'equal'}  ({done.seconds:.0f} s)", flush=True)
    return 1 if changed else 0


if __name__ == "__main__":
    sys.exit(main())

"""Does the coarse scan change labels? Every case is segmented with it and without it.

    python Testing/benchmarks/check_scan.py LITS_FOLDER [--model NAME] [--cases 29 30 ...]

Prints, for each case, the slices that the network saw, the time and the voxels that differ. The
scan is the default only as long as the last column is 0 throughout. No figure here is a score:
the cases may be training cases.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from LiverTumorSegLib.ct.nifti import read_ct
from LiverTumorSegLib.inference.segmenter import load_segmenter
from LiverTumorSegLib.settings import RunSettings

WHOLE_SCANS = (29, 30, 32, 35, 36, 39, 41, 42, 47)  # the others hold the liver's range only


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--model")
    parser.add_argument("--cases", type=int, nargs="*", default=WHOLE_SCANS)
    args = parser.parse_args()
    fast, full = (
        load_segmenter(RunSettings(model=args.model, coarse_search=scan)) for scan in (True, False)
    )
    print("case  slices  run with scan  seconds with / without  voxels that differ")
    total = 0
    for case in args.cases:
        ct, _ = read_ct(args.data / f"volume-{case}.nii.gz")
        with_scan, without = fast.segment(ct), full.segment(ct)
        differ = int(np.count_nonzero(with_scan.labels_kji != without.labels_kji))
        total += differ
        print(
            f"{case:>4}  {with_scan.slices:>6}  {with_scan.slices_run:>13}"
            f"  {with_scan.seconds:>12.1f} / {without.seconds:<7.1f}  {differ:>18}",
            flush=True,
        )
    print("equal on every case" if total == 0 else f"{total} voxels differ: keep the scan off")
    return int(total > 0)


if __name__ == "__main__":
    sys.exit(main())

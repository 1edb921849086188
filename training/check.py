"""Check a folder of labeled CTs before training.

python -m training.check FOLDER [--table groups.csv]   # a table; exit 2 when something is wrong
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from training.cases.folder import MANIFEST, check_cases, find_cases


def main(argv: Sequence[str] | None = None) -> int:
    """Print the report of a folder; 0 when all is well, 2 when not."""
    from tqdm import tqdm

    parser = argparse.ArgumentParser(
        prog="python -m training.check", description="Check a folder of labeled CTs for training."
    )
    parser.add_argument("folder", type=Path, help="LiTS, MSD Task03 or 3D-IRCADb folder")
    parser.add_argument(
        "--table", type=Path, help=f"CSV: file, patient_group, split (default: FOLDER/{MANIFEST})"
    )
    options = parser.parse_args(argv)
    try:
        cases = find_cases(options.folder, table=options.table)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    report = check_cases(tqdm(cases, unit="case", leave=False, disable=None))
    print(report.text())
    return 2 if report.problems else 0


if __name__ == "__main__":
    sys.exit(main())

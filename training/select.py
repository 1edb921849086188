"""Choose the cases that meet the hybrid2d paper's rules, and say in words why the others do not.

    python -m training.select LITS_FOLDER -o selection.csv
    python -m training.select LITS_FOLDER -o selection.csv --count 11 --exclude-motion 3 17

The rules (Bader & Jarjees 2026, II.A): at least one tumor, at least 5 tumor slices, image and mask
aligned slice by slice, the whole liver in the scan, no severe motion artifact. The last can only be
seen: look at the scans and list those that are blurred. The paper chose 11 volumes but does not
name them; ``--count 11`` draws as many patients, evenly from small, medium and large tumors, and
takes one scan of each.

The CSV has a row a case and is a ``--table`` for every other command; ``training.split --select``
takes the included cases from it. Its ``included`` column may be edited by hand.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from LiverTumorSegLib.files import refuse_existing

from training import command
from training.cases.criteria import (
    MIN_TUMOR_SLICES,
    Rules,
    save_selection,
    select_cases,
    selection_text,
)
from training.cases.folder import check_cases, find_cases


def _parser() -> argparse.ArgumentParser:
    parser = command.parser("select", __doc__)
    add = parser.add_argument
    command.add_cases(parser)
    command.add_output(parser, "CSV to write", replaces="the CSV")
    add("--min-tumor-slices", type=int, default=MIN_TUMOR_SLICES)
    add("--exclude-motion", nargs="+", default=[], metavar="ID", help="scans with motion artifacts")
    add("--strict-coverage", action="store_true", help="leave out what cannot be judged, too")
    add("--count", type=int, help="draw so many patients, one scan each (the paper: 11)")
    add("--seed", type=int, default=42)
    return parser


def _select(given: argparse.Namespace) -> None:
    from tqdm import tqdm

    rules = Rules(
        min_tumor_slices=given.min_tumor_slices,
        motion=frozenset(given.exclude_motion),
        strict_coverage=given.strict_coverage,
        count=given.count,
        seed=given.seed,
    )
    refuse_existing(given.output, overwrite=given.overwrite)
    cases = find_cases(given.data, table=given.table)
    report = check_cases(tqdm(cases, unit="case", leave=False, disable=None))
    selection = select_cases(report, rules)
    save_selection(selection, given.output)
    print(selection_text(selection))


def main(arguments: Sequence[str] | None = None) -> int:
    return command.run(_parser(), _select, arguments)


if __name__ == "__main__":
    sys.exit(main())

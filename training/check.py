"""Check a folder of labeled CTs, and on request choose the cases that meet the paper's rules.

    python -m training.check LITS_FOLDER [--table groups.csv]
    python -m training.check LITS_FOLDER -o selection.csv
    python -m training.check LITS_FOLDER -o selection.csv --count 11 --exclude-motion 3 17

Prints a table of the cases; the exit code is 2 when something is wrong with them.

With -o a CSV says which cases meet the hybrid2d paper's rules, and why the others do not
(Bader & Jarjees 2026, II.A): at least one tumor, at least 5 tumor slices, image and mask aligned
slice by slice, the whole liver in the scan, no severe motion artifact. The last can only be seen:
look at the scans and list those that are blurred. The paper chose 11 volumes but does not name
them; ``--count 11`` draws as many patients, evenly from small, medium and large tumors, and takes
one scan of each. The CSV has a row a case and is a ``--table`` for every other command;
``training.split --select`` takes the included cases from it. Its ``included`` column may be edited
by hand. The exit code is 0 then: what is wrong is a reason in the CSV.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

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
    parser = command.parser("check", __doc__)
    add = parser.add_argument
    command.add_cases(parser)
    add("-o", "--output", type=Path, metavar="CSV", help="choose cases, and write why")
    add("--overwrite", action="store_true", help="replace the CSV")
    add("--min-tumor-slices", type=int, default=MIN_TUMOR_SLICES)
    add("--exclude-motion", nargs="+", default=[], metavar="ID", help="scans with motion artifacts")
    add("--strict-coverage", action="store_true", help="leave out what cannot be judged, too")
    add("--count", type=int, help="draw so many patients, one scan each (the paper: 11)")
    add("--seed", type=int, default=42, help="of the draw (default 42)")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    from tqdm import tqdm

    def work(args: argparse.Namespace) -> int:
        if args.output is not None:
            refuse_existing(args.output, overwrite=args.overwrite)
        cases = find_cases(args.data, table=args.table)
        report = check_cases(tqdm(cases, unit="case", leave=False, disable=None))
        if args.output is None:
            print(report.text())
            return command.EXIT_REFUSED if report.problems else 0
        rules = Rules(
            min_tumor_slices=args.min_tumor_slices,
            motion=frozenset(args.exclude_motion),
            strict_coverage=args.strict_coverage,
            count=args.count,
            seed=args.seed,
        )
        selection = select_cases(report, rules)
        save_selection(selection, args.output)
        print(selection_text(selection))
        return 0

    return command.run(_parser(), work, arguments)


if __name__ == "__main__":
    sys.exit(main())

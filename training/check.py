"""Check a folder of labeled CTs before training.

python -m training.check FOLDER [--table groups.csv]   # a table; exit 2 when something is wrong
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from training import command
from training.cases.folder import check_cases, find_cases


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the report of a folder; 0 when all is well, 2 when not."""
    parser = command.parser("check", "Check a folder of labeled CTs for training.")
    command.add_cases(parser)
    return command.run(parser, _check, arguments)


def _check(options: argparse.Namespace) -> int:
    from tqdm import tqdm

    cases = find_cases(options.data, table=options.table)
    report = check_cases(tqdm(cases, unit="case", leave=False, disable=None))
    print(report.text())
    return command.EXIT_REFUSED if report.problems else 0


if __name__ == "__main__":
    sys.exit(main())

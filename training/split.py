"""Make a split, or one a fold, and write it.

python -m training.split LITS_FOLDER -o split.json                # 80, 10, 10 % of the volumes
python -m training.split LITS_FOLDER -o split.json --counts 8 1 2 --select selection.csv
python -m training.split LITS_FOLDER -o split.json --folds 5      # split-fold1.json to 5
python -m training.split LITS_FOLDER -o split.json --lists mine.json
python -m training.split LITS_FOLDER -o split.json --named gunetrpp-public
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from LiverTumorSegLib.files import read_json, refuse_existing

from training import command
from training.cases import splits
from training.cases.case import SET_NAMES, Case
from training.cases.criteria import read_selection
from training.cases.folder import check_cases, find_cases
from training.cases.splits import NAMED, GroupBy, Split, named_split
from training.cases.table import key_column, read_csv


def read_lists(path: Path) -> dict[str, list[str]]:
    """Case names by set, as somebody wrote them down.

    JSON: {"train": [..], "val": [..], "test": [..]}; a split file will do. CSV: columns ``name``
    (or ``file``) and ``split``; rows without a split are left out. Raises ``ValueError`` for
    anything else.
    """
    if path.suffix.lower() != ".json":
        return _read_csv_lists(path)
    try:
        content = read_json(path)
    except OSError:
        raise ValueError(f"{path.name} cannot be read; check its name and folder.") from None
    except ValueError as error:
        raise ValueError(f"{error} Mend it or give a CSV.") from None
    if content.keys() - splits.SPLIT_KEYS:
        raise ValueError(f"{path.name} must hold lists of names: train, val and test.")
    lists = {set_name: content.get(set_name, []) for set_name in SET_NAMES}
    for set_name, names in lists.items():
        if not isinstance(names, list) or not all(isinstance(n, str | int) for n in names):
            raise ValueError(f"{path.name} must hold names in {set_name}, in square brackets.")
    return {set_name: [str(name) for name in names] for set_name, names in lists.items()}


def _read_csv_lists(path: Path) -> dict[str, list[str]]:
    columns, lines = read_csv(path)
    key = key_column(columns, "split", path)
    lists: dict[str, list[str]] = {set_name: [] for set_name in SET_NAMES}
    for line in lines:
        if line["split"] and line["split"] not in lists:
            raise ValueError(
                f'{path.name} has split "{line["split"]}" for {line[key]}; '
                f"use one of {', '.join(SET_NAMES)}."
            )
        if line["split"]:
            lists[line["split"]].append(line[key])
    return lists


@dataclass(frozen=True, kw_only=True)
class SplitOptions:
    """How patients are split: at most one of counts, shares, folds, lists, named and from_table.

    data, table: the cases. select: a CSV of training.check; only its included cases. counts:
        patients in train, val and test; shares: of the volumes. lists: file of names a set.
    """

    data: Path
    output: Path
    table: Path | None
    select: Path | None
    counts: tuple[int, int, int] | None
    shares: tuple[float, float, float] | None
    folds: int | None
    lists: Path | None
    named: str | None
    from_table: bool
    seed: int
    group_by: GroupBy
    overwrite: bool


def make_splits(options: SplitOptions) -> tuple[list[Case], list[Split]]:
    """The cases that were to be split, and one split, or one a fold."""
    cases = find_cases(options.data, table=options.table)
    known_ml: Mapping[str, float] | None = None
    if options.select is not None:
        cases, known_ml = read_selection(options.select, cases)
    seed, group_by = options.seed, options.group_by
    if options.from_table:
        return cases, [splits.split_from_column(cases, group_by=group_by)]
    if options.lists is not None:
        lists = read_lists(options.lists)
        return cases, [splits.split_from_lists(cases, lists, group_by=group_by)]
    tumor_ml = _measured(cases) if known_ml is None else known_ml
    if options.named is not None:
        split, skipped = named_split(options.named, cases, tumor_ml, seed=seed, group_by=group_by)
        if skipped:
            print(skipped, file=sys.stderr)
        return cases, [split]
    if options.folds is not None:
        return cases, splits.kfold_splits(
            cases, tumor_ml, options.folds, seed=seed, group_by=group_by
        )
    return cases, [
        splits.stratified_split(
            cases,
            tumor_ml,
            seed=seed,
            shares=options.shares,
            counts=options.counts,
            group_by=group_by,
        )
    ]


def _measured(cases: Sequence[Case]) -> Mapping[str, float]:
    """Tumor volumes in ml by name; ``ValueError`` when a case cannot be trusted."""
    from tqdm import tqdm

    scans = [case for case in cases if case.kind == "case"]
    report = check_cases(tqdm(scans, unit="case", leave=False, disable=None))
    if report.problems:
        raise ValueError(
            f"{len(report.problems)} things are wrong with these cases, the first: "
            f"{report.problems[0]} Mend them, or leave such cases out by training.check -o."
        )
    return report.tumor_ml


def outputs(path: Path, count: int) -> list[Path]:
    """The file to write, or one a fold: split.json gives split-fold1.json, split-fold2.json, ..."""
    if count == 1:
        return [path]
    return [path.with_name(f"{path.stem}-fold{n}{path.suffix}") for n in range(1, count + 1)]


def _show(path: Path, split: Split, cases: Sequence[Case]) -> None:
    names = {name for set_name in SET_NAMES for name in split.names(set_name)}
    used = [case for case in cases if case.name in names]
    left = sum(case.kind == "case" for case in cases) - sum(case.kind == "case" for case in used)
    print(f"{path.name}" + (f" (leaves out {left} cases)" if left else ""))
    print(split.text(used))
    for warning in filter(None, (split.warning, splits.departure_from_table(split, cases))):
        print(f"Warning: {warning}", file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = command.parser("split", splits.__doc__)
    add = parser.add_argument
    command.add_cases(parser)
    command.add_output(parser, "JSON to write", replaces="split files")
    add("--select", type=Path, metavar="CSV", help="use the included cases of training.check -o")
    sets = ("TRAIN", "VAL", "TEST")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--counts", type=int, nargs=3, metavar=sets, help="patients; the paper: 8 1 2")
    how.add_argument("--shares", type=float, nargs=3, metavar=sets, help="of the volumes, sum 1")
    how.add_argument("--folds", type=int, help="test each patient once; a file a fold")
    how.add_argument("--lists", type=Path, metavar="FILE", help="JSON or CSV of names a set")
    about = "; ".join(f"{name}: {named.about}" for name, named in NAMED.items())
    how.add_argument("--named", choices=sorted(NAMED), help=f"a published test set ({about})")
    how.add_argument("--from-table", action="store_true", help="the table's split column")
    add("--seed", type=int, default=42, help="of the draw (default 42)")
    add(
        "--group-by",
        choices=get_args(GroupBy),
        default="patient",
        help='"volume" leaks between sets: for comparison only',
    )
    return parser


def _split(options: SplitOptions) -> None:
    """Write the split files and print what is in them."""
    for path in outputs(options.output, options.folds or 1):
        refuse_existing(path, overwrite=options.overwrite)
    cases, made = make_splits(options)
    paths = outputs(options.output, len(made))
    for path, split in zip(paths, made, strict=True):
        splits.save_split(split, path)
        _show(path, split, cases)


def main(arguments: Sequence[str] | None = None) -> int:
    return command.run(_parser(), lambda args: _split(SplitOptions(**vars(args))), arguments)


if __name__ == "__main__":
    sys.exit(main())

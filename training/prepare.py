"""Turn CT cases into memory-mapped slices, with the very preprocessing that inference will use.

    python -m training.prepare LITS_FOLDER -o prepared
    python -m training.prepare LITS_FOLDER -o prepared --phantoms 12 --windowed --workers 2
    python -m training.prepare LITS_FOLDER -o prepared --split-file split.json
    python -m training.prepare LITS_FOLDER -o no-clahe --without clahe --size-px 128

For the liver-then-tumor model, from whole CTs and from slices with weak labels
(:mod:`training.cases.scattered`), no sets: who is left out is said when training starts.

    python -m training.prepare LITS_FOLDER LITS_WEAK_FOLDER -o boxes --recipe tumor-boxes
    python -m training.prepare LITS_FOLDER LITS_WEAK_FOLDER -o slices --recipe liver-slices

The sets come from the table's split column, or from a file that training.split wrote; cases that
are in no set are left out.

Writes one folder a case (images.npy, labels.npy, case.json) and manifest.json last. A second call
goes on where the first stopped: cases whose files and settings have not changed are kept, in
whatever set they are now.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace

from LiverTumorSegLib.inference.preprocess import PRESETS, SlicePreprocessing

from training import command
from training.cases import splits
from training.cases.scattered import read_stacks
from training.data.boxes import prepare_boxes
from training.data.prepared import find_sources, prepare, print_sets
from training.data.whole_slices import prepare_slices
from training.learn.step_trainer import STEP_RECIPES


def _parser() -> argparse.ArgumentParser:
    parser = command.parser("prepare", __doc__)
    command.add_cases(parser, nargs="*", split_file=True)
    command.add_output(parser, "folder to write")
    parser.add_argument("--recipe", choices=list(STEP_RECIPES), help="what it is to be made for")
    parser.add_argument("--preset", choices=PRESETS, default="window")
    parser.add_argument("--size-px", type=int, help="side of a slice; the paper's is 256")
    parser.add_argument(
        "--without",
        choices=("clahe", "gamma"),
        nargs="+",
        default=[],
        help="leave steps out, as the rows of the paper's Table 4 do",
    )
    parser.add_argument("--phantoms", type=int, default=0, help="synthetic training cases to add")
    parser.add_argument(
        "--windowed", action="store_true", help="keep slices before CLAHE too (for HU shifts)"
    )
    parser.add_argument("--workers", type=int, default=1)
    return parser


def _steps(given: argparse.Namespace) -> SlicePreprocessing:
    """The preset's, with what was asked to be otherwise."""
    steps = SlicePreprocessing(
        preset=given.preset,
        use_clahe="clahe" not in given.without,
        use_gamma="gamma" not in given.without,
    )
    return steps if given.size_px is None else replace(steps, size_px=given.size_px)


def _prepare_for_steps(given: argparse.Namespace) -> None:
    stacks = read_stacks(given.data)
    boxes = STEP_RECIPES[given.recipe].data == "boxes"
    names = (prepare_boxes if boxes else prepare_slices)(stacks, given.output)
    print(f"{len(names)} CTs")


def _prepare(given: argparse.Namespace) -> None:
    from tqdm import tqdm

    if given.recipe is not None:
        _prepare_for_steps(given)
        return
    if len(given.data) > 1:
        raise ValueError("Several folders are read with --recipe only; name one.")
    folder = given.data[0] if given.data else None
    split = splits.load_split(given.split_file) if given.split_file else None
    sources = find_sources(folder, given.table, given.phantoms, split)
    manifest = prepare(
        sources,
        given.output,
        _steps(given),
        windowed=given.windowed,
        workers=given.workers,
        group_by=split.group_by if split else "patient",
        progress=lambda items: tqdm(items, total=len(sources), unit="case"),
    )
    print_sets(manifest, "cases", split)


def main(arguments: Sequence[str] | None = None) -> int:
    return command.run(_parser(), _prepare, arguments)


if __name__ == "__main__":
    sys.exit(main())

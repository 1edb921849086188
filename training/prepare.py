"""Turn CT cases into memory-mapped arrays, with the very preprocessing that inference will use.

    python -m training.prepare LITS_FOLDER -o prepared
    python -m training.prepare LITS_FOLDER -o prepared --phantoms 12 --windowed --workers 2
    python -m training.prepare LITS_FOLDER -o prepared --split-file split.json
    python -m training.prepare LITS_FOLDER -o no-clahe --without clahe --size-px 128

As slices, or with --volumes as whole volumes for a patch network:

    python -m training.prepare LITS_FOLDER -o prepared3d --volumes --window -40 160 --size-px 128

For the liver-then-tumor model, from whole CTs and from slices with weak labels
(:mod:`training.cases.scattered`), no sets: who is left out is said when training starts.

    python -m training.prepare LITS_FOLDER LITS_WEAK_FOLDER -o boxes --recipe tumor-boxes
    python -m training.prepare LITS_FOLDER LITS_WEAK_FOLDER -o slices --recipe liver-slices

Self-training: once a tumor network has learned, its own answers take the place of the tumor labels
of slices of which only cells are known (:mod:`training.learn.self_labels`).

    python -m training.prepare LITS_FOLDER LITS_WEAK_FOLDER -o again --recipe tumor-boxes \\
        --self-train runs/base

--every-mm thins whole CTs: a pack that must travel to another machine is half as large at 2 mm (a
tumor network's neighbors are taken within 6 mm).

The sets come from the table's split column, or from a file that training.split wrote; cases that
are in no set are left out.

Writes one folder a case and manifest.json last: images.npy and labels.npy for slices; for volumes
image.npy, float16 (k, size, size) in [0, 1], and labels.npy, slices in LPS order from the feet up.
A second call goes on where the first stopped: cases whose files and settings have not changed are
left as they are, in whatever set they are now.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from LiverTumorSegLib.inference.preprocess import PRESETS, SlicePreprocessing
from LiverTumorSegLib.inference.preprocess_volume import VolumePreprocessing

from training import command
from training.cases import splits
from training.cases.scattered import read_stacks
from training.data.boxes import PREPROCESSING, prepare_boxes
from training.data.prepared import cases_to_prepare, prepare, print_sets
from training.data.prepared_volumes import prepare_volumes
from training.data.whole_slices import prepare_slices
from training.learn.self_labels import SelfLabels
from training.learn.step_trainer import STEP_RECIPES

OF_SLICES: dict[str, Any] = {"preset": "window", "without": (), "windowed": False}
OF_VOLUMES: dict[str, Any] = {"window": None}  # option -> its default


def _parser() -> argparse.ArgumentParser:
    parser = command.parser("prepare", __doc__)
    add = parser.add_argument
    command.add_cases(parser, nargs="*", split_file=True)
    command.add_output(parser, "folder to write")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--volumes", action="store_true", help="whole volumes, for a patch network")
    how.add_argument("--recipe", choices=list(STEP_RECIPES), help="what it is to be made for")
    add("--self-train", type=Path, metavar="RUN", help="run folder or file of a tumor network")
    add("--every-mm", type=float, metavar="MM", help="thin whole CTs to slices so far apart")
    add("--pixel-mm", type=float, metavar="MM", help="of a tumor network's boxes (1.25)")
    add("--size-px", type=int, help="side of a slice; published: 256")
    add("--phantoms", type=int, default=0, help="synthetic training cases to add")
    add("--workers", type=int, default=1)
    slices = parser.add_argument_group("slices")
    slices.add_argument("--preset", choices=PRESETS, default=OF_SLICES["preset"])
    slices.add_argument(
        "--without",
        choices=("clahe", "gamma"),
        nargs="+",
        default=OF_SLICES["without"],
        help="leave steps out, as the rows of the paper's Table 4 do",
    )
    slices.add_argument(
        "--windowed", action="store_true", help="keep slices before CLAHE too (for HU shifts)"
    )
    low, high = VolumePreprocessing().window_hu
    volumes = parser.add_argument_group("volumes")
    volumes.add_argument(
        "--window",
        type=int,
        nargs=2,
        metavar=("LOW", "HIGH"),
        help=f"HU that become 0 and 1 (default, published: {low} {high})",
    )
    return parser


def _refuse_unused(args: argparse.Namespace) -> None:
    """``ValueError`` for an option that would change nothing of what is asked for."""
    unused = {**OF_SLICES, **(OF_VOLUMES if args.recipe else {})}
    if not (args.volumes or args.recipe):
        unused = OF_VOLUMES
    for name, default in unused.items():
        if getattr(args, name) != default:
            raise ValueError(f"--{name} does not go with what is prepared here; leave it out.")
    if len(args.data) > 1 and not args.recipe:
        raise ValueError("Several folders are read with --recipe only; name one.")
    if args.every_mm is not None and not args.recipe:
        raise ValueError("--every-mm goes with --recipe only; leave it out.")
    if args.every_mm is not None and not 0 < args.every_mm < math.inf:
        raise ValueError("--every-mm is a distance over 0 mm.")
    if args.pixel_mm is not None and args.recipe != "tumor-boxes":
        raise ValueError("--pixel-mm goes with --recipe tumor-boxes only; leave it out.")
    if args.self_train and args.recipe != "tumor-boxes":
        raise ValueError("--self-train goes with --recipe tumor-boxes only; leave it out.")


def _prepare_for_steps(
    folders: Sequence[Path],
    recipe: str,
    output: Path,
    teacher: Path | None,
    every_mm: float | None,
    pixel_mm: float | None,
) -> None:
    steps = PREPROCESSING if pixel_mm is None else replace(PREPROCESSING, pixel_mm=pixel_mm)
    stacks = read_stacks(folders)
    if every_mm is not None:
        stacks = (stack.thinned(every_mm) for stack in stacks)
    if STEP_RECIPES[recipe].data != "boxes":
        names = prepare_slices(stacks, output)
    elif teacher is not None:
        names = prepare_boxes(stacks, output, SelfLabels.of(teacher), steps)
    else:
        names = prepare_boxes(stacks, output, steps=steps)
    print(f"{len(names)} CTs")


def _prepare_sets(args: argparse.Namespace) -> None:
    """Slices or volumes of the cases of all sets."""
    from tqdm import tqdm

    folder = args.data[0] if args.data else None
    split = splits.load_split(args.split_file) if args.split_file else None
    cases = cases_to_prepare(folder, args.table, args.phantoms, split)
    size: dict[str, Any] = {} if args.size_px is None else {"size_px": args.size_px}
    common: dict[str, Any] = {
        "workers": args.workers,
        "group_by": split.group_by if split else "patient",
        "progress": lambda items: tqdm(items, total=len(cases), unit="case"),
    }
    if args.volumes:
        volume = VolumePreprocessing(**size)
        if args.window is not None:
            volume = replace(volume, window_hu=tuple(args.window))
        manifest = prepare_volumes(cases, args.output, volume, **common)
    else:
        steps = SlicePreprocessing(
            preset=args.preset,
            use_clahe="clahe" not in args.without,
            use_gamma="gamma" not in args.without,
        )
        steps = replace(steps, **size)
        manifest = prepare(cases, args.output, steps, windowed=args.windowed, **common)
    print_sets(manifest, "scans" if args.volumes else "cases", split)


def main(arguments: Sequence[str] | None = None) -> int:
    def work(args: argparse.Namespace) -> None:
        _refuse_unused(args)
        if args.recipe is not None:
            _prepare_for_steps(
                args.data, args.recipe, args.output, args.self_train, args.every_mm, args.pixel_mm
            )
        else:
            _prepare_sets(args)

    return command.run(_parser(), work, arguments)


if __name__ == "__main__":
    sys.exit(main())

"""Turn CT cases into volumes for a patch network, with the very preprocessing of inference.

    python -m training.prepare_volumes LITS_FOLDER -o prepared3d
    python -m training.prepare_volumes LITS_FOLDER -o prepared3d --window -40 160 --size-px 128
    python -m training.prepare_volumes LITS_FOLDER -o prepared3d --split-file split.json

As :mod:`training.prepare` in all that is not said here. One folder a case: image.npy, float16
(k, size, size) in [0, 1] as VolumePreprocessing gives it; labels.npy, uint8 (k, size, size) with
the numbers of LiTS; case.json. Slices are in LPS order, from the feet up, and both trainings, of
the liver and of the tumor, read them. Context files hold single slices and are left out.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from LiverTumorSegLib.inference.preprocess_volume import VolumePreprocessing

from training import command
from training.cases import splits
from training.data.prepared import find_sources, print_sets
from training.data.prepared_volumes import prepare_volumes

PUBLISHED = VolumePreprocessing()


def _parser() -> argparse.ArgumentParser:
    parser = command.parser("prepare_volumes", __doc__)
    add = parser.add_argument
    low, high = PUBLISHED.window_hu
    command.add_cases(parser, nargs="?", split_file=True)
    command.add_output(parser, "folder to write")
    add(
        "--window",
        type=int,
        nargs=2,
        metavar=("LOW", "HIGH"),
        default=(low, high),
        help=f"HU that become 0 and 1 (default, published: {low} {high})",
    )
    add(
        "--size-px",
        type=int,
        default=PUBLISHED.size_px,
        help=f"pixels of a slice's side (default, published: {PUBLISHED.size_px})",
    )
    add("--phantoms", type=int, default=0, help="synthetic training cases to add")
    add("--workers", type=int, default=1)
    return parser


def _prepare(given: argparse.Namespace) -> None:
    from tqdm import tqdm

    preprocessing = VolumePreprocessing(
        window_hu=(given.window[0], given.window[1]), size_px=given.size_px
    )
    split = splits.load_split(given.split_file) if given.split_file else None
    sources = find_sources(given.data, given.table, given.phantoms, split)
    manifest = prepare_volumes(
        sources,
        given.output,
        preprocessing,
        workers=given.workers,
        group_by=split.group_by if split else "patient",
        progress=lambda items: tqdm(items, unit="case"),
    )
    print_sets(manifest, "scans", split)


def main(arguments: Sequence[str] | None = None) -> int:
    return command.run(_parser(), _prepare, arguments)


if __name__ == "__main__":
    sys.exit(main())

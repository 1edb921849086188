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
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from LiverTumorSegLib.inference.preprocess_volume import VolumePreprocessing
from LiverTumorSegLib.labels import Label
from LiverTumorSegLib.volume import CtVolume
from numpy.typing import NDArray

from training import splits
from training.prepare import (
    Bytes,
    CaseJob,
    Source,
    find_sources,
    hu_range,
    print_sets,
    run_jobs,
    slice_facts,
    write_json,
)

PUBLISHED = VolumePreprocessing()


@dataclass(frozen=True)
class VolumeJob(CaseJob):
    """A case as one volume for a 3D net."""

    preprocessing: VolumePreprocessing

    @property
    def settings(self) -> dict[str, Any]:
        return {"preprocessing": self.preprocessing.to_dict()}

    @property
    def kinds(self) -> tuple[str, ...]:
        return ("image", "labels")

    def arrays(self, ct: CtVolume, labels: Bytes) -> dict[str, NDArray[Any]]:
        spacing = ct.spacing_kji_mm
        return {
            "image": self.preprocessing(ct.hu, spacing),
            "labels": self.preprocessing.place_labels(labels, spacing),
        }

    def facts(self, ct: CtVolume, labels: Bytes) -> dict[str, Any]:
        grid_mm = self.preprocessing.grid_spacing_kji_mm(ct.spacing_kji_mm, ct.shape_kji)
        tumor_voxels = int(np.count_nonzero(labels == Label.TUMOR))
        return {
            **slice_facts(ct, labels),
            "shape_kji": list(ct.shape_kji),
            "grid_spacing_kji_mm": list(grid_mm),
            "tumor_ml": round(tumor_voxels * float(np.prod(grid_mm)) / 1000, 3),
        }


def prepare_volumes(
    sources: Sequence[Source],
    folder: Path,
    preprocessing: VolumePreprocessing = PUBLISHED,
    *,
    workers: int = 1,
    group_by: splits.GroupBy = "patient",
    progress: Callable[[Iterable[Any]], Iterable[Any]] = iter,
) -> dict[str, Any]:
    """Prepare every scan and write ``manifest.json`` last; returns the manifest.

    group_by: as in :func:`training.prepare.prepare`. Raises ``ValueError`` when there are only
    context files.
    """
    scans = [source for source in sources if source.kind != "context"]
    if not scans:
        raise ValueError("These are single slices, not scans; a patch network needs whole scans.")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "manifest.json").unlink(missing_ok=True)  # it vouches for arrays written below
    jobs = [VolumeJob(source, folder, preprocessing) for source in scans]
    records = run_jobs(jobs, workers, progress)
    manifest = {
        "format": 1,
        "preprocessing": preprocessing.to_dict(),
        "group_by": group_by,
        "hu_range": hu_range(records),
        "cases": records,
    }
    write_json(folder / "manifest.json", manifest)
    return manifest


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m training.prepare_volumes",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    low, high = PUBLISHED.window_hu
    add("data", type=Path, nargs="?", help="LiTS, MSD or 3D-IRCADb folder")
    add("-o", "--output", type=Path, required=True, help="folder to write")
    add("--table", type=Path, help="CSV: file, patient_group, split")
    add("--split-file", type=Path, help="JSON of training.splits: its sets, not the table's")
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


def main(arguments: Sequence[str] | None = None) -> int:
    from tqdm import tqdm

    given = _parser().parse_args(arguments)
    try:
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
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    print_sets(manifest, "scans", split)
    return 0


if __name__ == "__main__":
    sys.exit(main())

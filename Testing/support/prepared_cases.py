"""Cases as files in LiTS layout, and what preparing them has written."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
from LiverTumorSegLib.ct.nifti import write_ct, write_labels
from LiverTumorSegLib.volume import CtVolume, Reorientation
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
SHAPE_KJI, SPACING_MM = (4, 48, 40), (6.0, 6.0, 7.0)  # of the small patients that are prepared


def write_case(folder: Path, name: str, ct: CtVolume, labels: Bytes) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    write_ct(folder / f"volume-{name}.nii.gz", ct)
    write_labels(folder / f"segmentation-{name}.nii.gz", labels, like=ct)


def write_manifest(folder: Path, splits: dict[str, str]) -> None:
    """The columns of a data folder's manifest.csv that are read."""
    with open(folder / "manifest.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "patient_group", "split", "kind"])
        for name, split in splits.items():
            kind = "context" if name.endswith("context") else "case"
            group = f"patient{name.split('-')[0]}"
            writer.writerow([f"volume-{name}.nii.gz", group, split, kind])


def arrays(folder: Path, name: str) -> dict[str, Bytes]:
    return {path.stem: np.load(path) for path in sorted((folder / name).glob("*.npy"))}


def file_times(folder: Path) -> dict[str, int]:
    paths = [p for p in folder.rglob("*") if p.is_file() and p.name != "manifest.json"]
    return {str(p.relative_to(folder)): p.stat().st_mtime_ns for p in paths}


def turned(ct: CtVolume, labels: Bytes, order: tuple[int, ...], flips: tuple[bool, ...]) -> Any:
    """The same patient with array axes permuted and flipped."""
    turn = Reorientation(order, flips, ct.shape_kji)  # type: ignore[arg-type]
    return CtVolume(turn.apply(ct.hu), turn.apply_affine(ct.ijk_to_ras)), turn.apply(labels)

"""Labeled axial slices, whether they are a whole CT or a few scattered ones with weak labels.

    for stack in read_stacks([Path("LiTS"), Path("LiTS-weak")]):
        stack.hu, stack.labels, stack.z_mm

A folder of whole CTs is read by :mod:`training.cases.folder`. A folder with weak labels has a
``manifest.csv`` whose column ``kind`` says ``case``, ``case_weak`` (NIfTI) or ``slices2d_weak``:
an ``.npz`` with ``image`` (HU + 40 as uint8), ``label`` (0, 1 liver, 2 tumor, 254 and 255 not
known) and ``z_mm``; their pixel size stands in ``spacing_x_mm``, or is not known.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from LiverTumorSegLib.volume import CtVolume, Reorientation
from numpy.typing import NDArray

from training.cases.case import read_ct
from training.cases.folder import MANIFEST, find_cases
from training.cases.table import read_csv

IGNORE = 255
WEAK_KINDS = ("case_weak", "slices2d_weak")
GRAY_ZERO_HU = -40  # HU of gray value 0 in the .npz files
UNKNOWN_PIXEL_MM = 1.45  # usual for slices of 256 px whose header is not known


@dataclass(frozen=True)
class LabeledSlices:
    """Axial slices of one CT, rows toward posterior, columns toward the patient's left.

    hu: int16 (n, h, w). labels: uint8 (n, h, w), 0, 1 liver, 2 tumor, 255 not known which.
    z_mm: (n,), rising toward the head. spacing_mm: of rows and of columns.
    group: the patient. kind: "case", "context" (no liver) or "weak" (for training only).
    """

    name: str
    group: str
    kind: str
    hu: NDArray[np.int16]
    labels: NDArray[np.uint8]
    z_mm: NDArray[np.float64]
    spacing_mm: tuple[float, float]

    def every(self, distance_mm: float) -> LabeledSlices:
        """Fewer slices: those nearer than a distance are nearly copies of each other."""
        steps = np.diff(self.z_mm)
        usual = float(np.median(steps)) if steps.size else distance_mm
        step = max(1, int(np.ceil(distance_mm / max(usual, 1e-3))))
        part = slice(None, None, step)
        return replace(self, hu=self.hu[part], labels=self.labels[part], z_mm=self.z_mm[part])


def read_stacks(folders: Iterable[Path]) -> Iterator[LabeledSlices]:
    """Every labeled CT of the folders, one in memory at a time; ``ValueError`` in one sentence."""
    for folder in folders:
        table = folder / MANIFEST
        rows = read_csv(table)[1] if table.is_file() else []
        if any(row.get("kind") in WEAK_KINDS for row in rows):
            yield from (_weak(folder, row) for row in rows)
        else:
            yield from _whole(folder)


def _whole(folder: Path) -> Iterator[LabeledSlices]:
    for case in find_cases(folder):
        ct, _ = case.read_ct()
        labels, _ = case.read_labels()
        yield _stack(f"volume-{case.name}", case.group, case.kind, ct, labels)


def _weak(folder: Path, row: dict[str, str]) -> LabeledSlices:
    path = folder / row["file"]
    if row["kind"] == "slices2d_weak":
        return _scattered(path, row)
    ct, _ = read_ct(path)
    labels = _unknown_as_ignore(_raw_labels(folder / row["segmentation"]))
    kind = "weak" if row["kind"] == "case_weak" else "case"
    name = path.name.removesuffix(".gz").removesuffix(".nii")
    return _stack(name, row["patient_group"], kind, ct, labels)


def _raw_labels(path: Path) -> NDArray[np.uint8]:
    """Labels with values that are none: readers of labels refuse those, rightly."""
    import nibabel

    image: Any = nibabel.load(path)
    return np.asarray(image.dataobj).astype(np.uint8).transpose(2, 1, 0)  # nibabel has no types


def _unknown_as_ignore(labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.where(labels > 2, IGNORE, labels).astype(np.uint8)


def _scattered(path: Path, row: dict[str, str]) -> LabeledSlices:
    side = float(row["spacing_x_mm"] or UNKNOWN_PIXEL_MM)
    try:
        with np.load(path) as data:
            gray, labels, z_mm = data["image"], data["label"], data["z_mm"]
    except (OSError, KeyError, ValueError, BadZipFile):
        raise ValueError(f"{path.name} is no file of labeled slices; copy it anew.") from None
    return LabeledSlices(
        path.stem,
        row["patient_group"],
        "weak",
        gray.astype(np.int16) + np.int16(GRAY_ZERO_HU),
        _unknown_as_ignore(labels),
        z_mm.astype(np.float64),
        (side, side),
    )


def _stack(
    name: str, group: str, kind: str, ct: CtVolume, labels: NDArray[np.uint8]
) -> LabeledSlices:
    lps = Reorientation.to_lps(ct.ijk_to_ras, ct.shape_kji)
    hu, turned = lps.apply(ct.hu), lps.apply(labels)
    k, j, i = (ct.spacing_kji_mm[axis] for axis in lps.order_kji)
    z_mm = np.arange(len(hu), dtype=np.float64) * float(k)
    return LabeledSlices(name, group, kind, hu, turned, z_mm, (float(j), float(i)))

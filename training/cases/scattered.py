"""Labeled axial slices, whether they are a whole CT or a few scattered ones with weak labels.

    for stack in read_stacks([Path("LiTS"), Path("LiTS-weak")]):
        stack.hu, stack.labels, stack.z_mm

A folder of whole CTs is read by :mod:`training.cases.folder`. A folder with weak labels has a
``manifest.csv`` whose column ``kind`` says ``case``, ``case_weak`` (NIfTI) or ``slices2d_weak``:
an ``.npz`` with ``image`` (HU + 40 as uint8), ``label`` (0, 1 liver, 2 tumor, 254 and 255 not
known) and ``z_mm``; their pixel size stands in ``spacing_x_mm``, or is not known. ``weak``, in it
or as a file beside the segmentation, says where a square cell of the liver holds tumor (255).
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
CELL_SHARE = 10.24  # of a slice's side to a cell's
POSITIVE = 255  # in weak labels: liver in a cell with tumor
LEAST_TUMOR_SHARE = 0.02  # of a cell's area that is tumor where the cell holds any


@dataclass(frozen=True)
class LabeledSlices:
    """Axial slices of one CT, rows toward posterior, columns toward the patient's left.

    hu: int16 (n, h, w). labels: uint8 (n, h, w), 0, 1 liver, 2 tumor, 255 not known which.
    z_mm: (n,), rising toward the head. spacing_mm: of rows and of columns.
    group: the patient. kind: "case", "context" (no liver) or "weak" (for training only).
    cells: int32 (n, h, w), the number of each cell that holds tumor somewhere, 0 elsewhere; None
    where tumor is known by its outline.
    """

    name: str
    group: str
    kind: str
    hu: NDArray[np.int16]
    labels: NDArray[np.uint8]
    z_mm: NDArray[np.float64]
    spacing_mm: tuple[float, float]
    cells: NDArray[np.int32] | None = None

    @property
    def least_tumor_mm2(self) -> float:
        """Area of tumor that a cell which holds any has at least."""
        (_, height, width), (row_mm, column_mm) = self.hu.shape, self.spacing_mm
        cell_mm2 = (height * row_mm / CELL_SHARE) * (width * column_mm / CELL_SHARE)
        return float(LEAST_TUMOR_SHARE * cell_mm2)

    def thinned(self, distance_mm: float) -> LabeledSlices:
        """Fewer slices of a whole CT; scattered ones, of which there are few, stay."""
        return self if self.kind == "weak" else self.every(distance_mm)

    def every(self, distance_mm: float) -> LabeledSlices:
        """Fewer slices: those nearer than a distance are nearly copies of each other."""
        steps = np.diff(self.z_mm)
        usual = float(np.median(steps)) if steps.size else distance_mm
        step = max(1, int(np.ceil(distance_mm / max(usual, 1e-3))))
        part = slice(None, None, step)
        cells = None if self.cells is None else self.cells[part]
        return replace(
            self, hu=self.hu[part], labels=self.labels[part], z_mm=self.z_mm[part], cells=cells
        )


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
    cells = folder / row["segmentation"].replace("segmentation", "weak")
    weak = _raw_labels(cells) if kind == "weak" and cells.is_file() else None
    return _stack(name, row["patient_group"], kind, ct, labels, weak)


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
            cells = positive_cells(data["weak"]) if "weak" in data else None
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
        cells,
    )


def positive_cells(weak: NDArray[np.uint8]) -> NDArray[np.int32]:
    """Number the cells that hold tumor, from 1 on with gaps; 0 elsewhere.

    weak: (n, h, w) of squares whose sides end where liver with and without tumor meet; one grid
    of cells for all slices, which begins anywhere.
    """
    rows, columns = (_cell_of_each(weak, axis) for axis in (1, 2))
    square = rows[:, None] * (columns[-1] + 1) + columns[None, :]
    slices = np.arange(len(weak))[:, None, None] * (square[-1, -1] + 1)
    return np.where(weak == POSITIVE, slices + square + 1, 0).astype(np.int32)


def _cell_of_each(weak: NDArray[np.uint8], axis: int) -> NDArray[np.int64]:
    """For each row (axis 1) or column (2) which cell it lies in, from 0."""
    side = round(weak.shape[axis] / CELL_SHARE)
    slices = np.moveaxis(weak, axis, -1)
    before, after = slices[..., :-1], slices[..., 1:]
    ends = ((before == POSITIVE) != (after == POSITIVE)) & (before > 0) & (after > 0)
    at = np.nonzero(ends)[-1] + 1
    begin = int(np.bincount(at % side, minlength=side).argmax())
    return np.asarray((np.arange(weak.shape[axis]) + side - begin) // side, np.int64)


def _stack(
    name: str,
    group: str,
    kind: str,
    ct: CtVolume,
    labels: NDArray[np.uint8],
    weak: NDArray[np.uint8] | None = None,
) -> LabeledSlices:
    lps = Reorientation.to_lps(ct.ijk_to_ras, ct.shape_kji)
    hu, turned = lps.apply(ct.hu), lps.apply(labels)
    k, j, i = (ct.spacing_kji_mm[axis] for axis in lps.order_kji)
    z_mm = np.arange(len(hu), dtype=np.float64) * float(k)
    cells = None if weak is None else positive_cells(lps.apply(weak))
    return LabeledSlices(name, group, kind, hu, turned, z_mm, (float(j), float(i)), cells)

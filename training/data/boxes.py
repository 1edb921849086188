"""Liver boxes: what a tumor network is fed, each CT cut out around its liver on pixels of one size.

    python -m training.prepare LITS_FOLDER LITS_WEAK_FOLDER -o boxes --recipe tumor-boxes
    python -m training.prepare LITS_FOLDER LITS_WEAK_FOLDER -o again --recipe tumor-boxes \\
        --self-train runs/base

    boxes = load_boxes(Path("boxes"))

One ``.npz`` a CT, in which everything is numpy: a machine that trains needs no NIfTI reader.
Slices keep their own distances; ``neighbors`` names for each slice those about 4 mm below and
above, or the slice itself where none is that near (scattered slices, slices over 6 mm apart).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from LiverTumorSegLib.files import whole_file
from LiverTumorSegLib.inference.preprocess_liver_box import LiverBoxPreprocessing
from numpy.typing import NDArray

from training.cases.scattered import IGNORE, LabeledSlices
from training.files import opened_arrays

PREPROCESSING = LiverBoxPreprocessing()
BEYOND_MM = 25.0  # of slices below and above the liver
CELLS = cv2.INTER_NEAREST  # numbers have no means
WINDOW_HU = (float(PREPROCESSING.window_hu[0]), float(PREPROCESSING.window_hu[1]))


@dataclass(frozen=True)
class LiverBox:
    """A CT around its liver.

    group: the patient. kind: "case" or "weak" (tumor labels are a classifier's inside exact cells).
    image: uint8 (n, h, w), HU + 40, 0 to 200. label: uint8 (n, h, w), 0, 1 liver, 2 tumor, 255 not
    known. z_mm: (n,). neighbors: (n, 2) slices below and above. pixel_mm: of rows and columns.
    liver_hu: median of the liver without tumor. cells: int32 (n, h, w), the number of each cell
    that holds tumor somewhere, each at least ``least_tumor_mm2``, else 0; None once it is stored,
    and where tumor is known by its outline.
    """

    name: str
    group: str
    kind: str
    image: NDArray[np.uint8]
    label: NDArray[np.uint8]
    z_mm: NDArray[np.float64]
    neighbors: NDArray[np.int64]
    pixel_mm: float
    liver_hu: float
    cells: NDArray[np.int32] | None = None
    least_tumor_mm2: float = 0.0

    def hu(self, k: int) -> NDArray[np.float32]:
        """Slice k with its neighbors: HU (3, h, w), below, itself, above."""
        below, above = self.neighbors[k]
        return self.image[[below, k, above]].astype(np.float32) + WINDOW_HU[0]

    def heights_mm(self, k: int) -> NDArray[np.float64]:
        below, above = self.neighbors[k]
        return self.z_mm[[below, k, above]]


def box_of(stack: LabeledSlices, steps: LiverBoxPreprocessing = PREPROCESSING) -> LiverBox | None:
    """Cut out what lies around the liver, as inference does; ``None`` without any liver."""
    height, width = stack.hu.shape[1:]
    how = steps.interpolation((height, width), stack.spacing_mm)
    label = _resampled_labels(
        stack.labels, steps.resampled_ji((height, width), stack.spacing_mm), how
    )
    liver, z_mm = label > 0, stack.z_mm
    if not liver.any():
        return None
    grid = steps.box_grid(np.asarray(liver.any(axis=0)), (height, width))
    (top, left), (rows, columns) = grid.first_ji, grid.content_ji
    with_liver = np.flatnonzero(liver.any(axis=(1, 2)))
    low, high = z_mm[with_liver[0]] - BEYOND_MM, z_mm[with_liver[-1]] + BEYOND_MM
    near = np.flatnonzero((z_mm >= low) & (z_mm <= high))
    image = np.stack([grid.from_native(steps.to_gray(stack.hu[k]), how) for k in near])
    label, z_mm = label[near][:, top : top + rows, left : left + columns], z_mm[near]
    known = label == 1 if (label == 1).any() else label == IGNORE
    cells = None
    if stack.cells is not None:
        nearest = [grid.from_native(stack.cells[k].astype(np.float32), CELLS) for k in near]
        cells = np.stack(nearest).astype(np.int32)
    return LiverBox(
        stack.name,
        stack.group,
        stack.kind,
        image,
        label,
        z_mm,
        steps.neighbors(z_mm),
        steps.pixel_mm,
        float(np.median(image[known])) + WINDOW_HU[0],
        cells,
        stack.least_tumor_mm2,
    )


def _resampled_labels(
    labels: NDArray[np.uint8], size_ji: tuple[int, int], interpolation: int
) -> NDArray[np.uint8]:
    """Slices (n, h, w) on other pixels: of each the label with the largest share of it."""
    values, (rows, columns) = np.array([0, 1, 2, IGNORE], np.uint8), size_ji

    def share(mask: NDArray[np.bool_]) -> NDArray[np.float32]:
        shares = cv2.resize(mask.astype(np.float32), (columns, rows), interpolation=interpolation)
        return np.asarray(shares, np.float32)

    return np.stack(
        [values[np.argmax([share(one == value) for value in values], axis=0)] for one in labels]
    )


def prepare_boxes(
    stacks: Iterable[LabeledSlices],
    folder: Path,
    relabel: Callable[[LiverBox], LiverBox] = lambda box: box,
    steps: LiverBoxPreprocessing = PREPROCESSING,
) -> list[str]:
    """Write a box of every CT that shows a liver; their names. A box that is there stays.

    relabel: gives a box other labels before it is written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    names = []
    for stack in stacks:
        if stack.kind == "context":
            continue
        path = folder / f"{stack.name}.npz"
        if not path.exists():
            box = box_of(stack, steps)
            if box is None:
                continue
            save_box(relabel(box), path)
        names.append(stack.name)
    return names


def save_box(box: LiverBox, path: Path) -> None:
    """Write one box, whole or not at all."""
    with whole_file(path) as part, open(part, "wb") as file:
        np.savez_compressed(
            file,
            image=box.image,
            label=box.label,
            z_mm=box.z_mm,
            pixel_mm=box.pixel_mm,
            liver_hu=box.liver_hu,
            group=box.group,
            kind=box.kind,
        )


def load_boxes(folder: Path) -> list[LiverBox]:
    """All boxes of a folder, by name; ``ValueError`` where there is none."""
    paths = sorted(folder.glob("*.npz"))
    if not paths:
        raise ValueError(f"{folder.name} holds no liver boxes; make them with training.prepare.")
    return [_load_box(path) for path in paths]


def _load_box(path: Path) -> LiverBox:
    with opened_arrays(path, "run python -m training.prepare again") as data:
        return LiverBox(
            path.stem,
            str(data["group"]),
            str(data["kind"]),
            data["image"],
            data["label"],
            data["z_mm"],
            PREPROCESSING.neighbors(data["z_mm"]),
            float(data["pixel_mm"]),
            float(data["liver_hu"]),
        )

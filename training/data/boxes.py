"""Liver boxes: what a tumor network is fed. Each CT cut out around its liver, on pixels of one size.

    python -m training.data.boxes LITS_FOLDER [LITS_WEAK_FOLDER] -o boxes [--pixel-mm 1.25]

    boxes = load_boxes(Path("boxes"))

One ``.npz`` a CT, in which everything is numpy: a machine that trains needs no NIfTI reader. Slices keep
their own distances; ``neighbors`` names for each slice those about 4 mm below and above, or the slice
itself where there is none that near (scattered slices, slices more than 6 mm apart).
"""

from __future__ import annotations

import argparse
import csv
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

PIXEL_MM = 1.25
AROUND_MM = 40.0  # of what lies around the liver, in the plane
BEYOND_MM = 25.0  # of slices below and above the liver
WINDOW_HU = (-40.0, 160.0)
IGNORE = 255
NEIGHBOR_MM, NEAR_MM = 4.0, 6.0
UNKNOWN_PIXEL_MM = 1.45  # LITS_WEAK: of slices of 256 px whose header is not known


@dataclass(frozen=True)
class LiverBox:
    """A CT around its liver.

    group: the patient. image: uint8 (n, h, w), HU + 40, 0 to 200. label: uint8 (n, h, w), 0, 1 liver,
    2 tumor, 255 not known. z_mm: (n,). pixel_mm: of rows and columns. liver_hu: median of the liver
    without tumor. weak: tumor labels are a classifier's inside of exact cells.
    """

    name: str
    group: str
    image: NDArray[np.uint8]
    label: NDArray[np.uint8]
    z_mm: NDArray[np.float64]
    neighbors: NDArray[np.int64]
    pixel_mm: float
    liver_hu: float
    weak: bool

    def hu(self, k: int) -> NDArray[np.float32]:
        """Slice k with its neighbors: HU (3, h, w), below, itself, above."""
        below, above = self.neighbors[k]
        return self.image[[below, k, above]].astype(np.float32) + WINDOW_HU[0]

    def heights_mm(self, k: int) -> NDArray[np.float64]:
        below, above = self.neighbors[k]
        return self.z_mm[[below, k, above]]


def neighbors_of(z_mm: NDArray[np.float64]) -> NDArray[np.int64]:
    """For each slice the ones nearest to 4 mm below and above, (n, 2); itself where none is within 6."""
    n = len(z_mm)
    result = np.stack([np.arange(n), np.arange(n)], axis=1)
    for k in range(n):
        for column, sign in ((0, -1.0), (1, 1.0)):
            off = (z_mm - z_mm[k]) * sign
            candidates = np.nonzero((off > 0.1) & (off <= NEAR_MM))[0]
            if candidates.size:
                result[k, column] = candidates[np.argmin(np.abs(off[candidates] - NEIGHBOR_MM))]
    return result


def resampled(
    image: NDArray[np.uint8], label: NDArray[np.uint8], spacing_mm: tuple[float, float], to_mm: float
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Slices (n, h, w) of other pixels: means of gray values, and of each label the share that wins."""
    n, height, width = image.shape
    size = (round(width * spacing_mm[1] / to_mm), round(height * spacing_mm[0] / to_mm))
    shrinks = size[0] <= width
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    images, labels = [], []
    for k in range(n):
        images.append(cv2.resize(image[k], size, interpolation=how))
        shares = [
            cv2.resize((label[k] == value).astype(np.float32), size, interpolation=how)
            for value in (0, 1, 2, IGNORE)
        ]
        labels.append(np.array([0, 1, 2, IGNORE], np.uint8)[np.argmax(shares, axis=0)])
    return np.stack(images), np.stack(labels)


def box_of(
    name: str,
    group: str,
    image: NDArray[np.uint8],
    label: NDArray[np.uint8],
    z_mm: NDArray[np.float64],
    spacing_mm: tuple[float, float],
    *,
    pixel_mm: float,
    weak: bool,
) -> LiverBox | None:
    """Cut out what lies around the liver, on pixels of ``pixel_mm``; ``None`` without any liver."""
    image, label = resampled(image, label, spacing_mm, pixel_mm)
    liver = label > 0
    if not liver.any():
        return None
    high = np.nonzero(liver.any(axis=(1, 2)))[0]
    near = (z_mm >= z_mm[high[0]] - BEYOND_MM) & (z_mm <= z_mm[high[-1]] + BEYOND_MM)
    margin = round(AROUND_MM / pixel_mm)
    cuts = []
    for axis in (1, 2):
        at = np.nonzero(liver.any(axis=tuple({0, 1, 2} - {axis})))[0]
        cuts.append(slice(max(0, at[0] - margin), at[-1] + margin + 1))
    image, label = image[near][:, cuts[0], cuts[1]], label[near][:, cuts[0], cuts[1]]
    z_mm = z_mm[near]
    known = label == 1 if (label == 1).any() else label == IGNORE
    liver_hu = float(np.median(image[known])) + WINDOW_HU[0]
    return LiverBox(
        name, group, image, label, z_mm, neighbors_of(z_mm), pixel_mm, liver_hu, weak
    )


def save_box(box: LiverBox, folder: Path) -> None:
    np.savez_compressed(
        folder / f"{box.name}.npz",
        image=box.image,
        label=box.label,
        z_mm=box.z_mm,
        pixel_mm=box.pixel_mm,
        liver_hu=box.liver_hu,
        group=box.group,
        weak=box.weak,
    )


def load_boxes(folder: Path) -> list[LiverBox]:
    boxes = []
    for path in sorted(folder.glob("*.npz")):
        with np.load(path) as data:
            boxes.append(
                LiverBox(
                    path.stem,
                    str(data["group"]),
                    data["image"],
                    data["label"],
                    data["z_mm"],
                    neighbors_of(data["z_mm"]),
                    float(data["pixel_mm"]),
                    float(data["liver_hu"]),
                    bool(data["weak"]),
                )
            )
    return boxes


def _from_nifti(ct: Path, labels: Path, name: str, group: str, pixel_mm: float, *, weak: bool) -> LiverBox | None:
    import nibabel

    image = nibabel.load(ct)
    spacing = image.header.get_zooms()
    hu = np.clip(np.asarray(image.dataobj, np.float32), *WINDOW_HU)
    grays = np.rint(hu - WINDOW_HU[0]).astype(np.uint8).transpose(2, 1, 0)
    label = np.asarray(nibabel.load(labels).dataobj).astype(np.uint8).transpose(2, 1, 0)
    label[label == 254] = IGNORE
    z_mm = np.arange(grays.shape[0]) * float(spacing[2])
    return box_of(
        name, group, grays, label, z_mm, (float(spacing[1]), float(spacing[0])), pixel_mm=pixel_mm, weak=weak
    )


def _from_slices(path: Path, spacing_mm: float, group: str, pixel_mm: float) -> LiverBox | None:
    with np.load(path) as data:
        label = data["label"].copy()
        label[label == 254] = IGNORE
        return box_of(
            path.stem,
            group,
            data["image"],
            label,
            data["z_mm"].astype(np.float64),
            (spacing_mm, spacing_mm),
            pixel_mm=pixel_mm,
            weak=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--pixel-mm", type=float, default=PIXEL_MM)
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)
    for folder in args.folders:
        with open(folder / "manifest.csv", newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        for row in rows:
            path, group = folder / row["file"], row["patient_group"]
            if path.suffix == ".npz":
                spacing = float(row["spacing_x_mm"] or UNKNOWN_PIXEL_MM)
                box = _from_slices(path, spacing, group, args.pixel_mm)
            elif row["kind"].startswith("case"):
                name = row["file"].removesuffix(".nii.gz")
                labels = folder / row["segmentation"]
                weak = row["kind"] == "case_weak"
                box = _from_nifti(path, labels, name, group, args.pixel_mm, weak=weak)
            else:
                continue
            if box is not None:
                save_box(box, args.output)
                print(box.name, box.group, box.image.shape, f"{box.liver_hu:.0f} HU", flush=True)


if __name__ == "__main__":
    main()

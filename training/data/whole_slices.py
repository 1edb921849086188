"""Whole axial slices in HU: what a liver network is fed, with liver and tumor as one target.

    python -m training.data.whole_slices LITS_FOLDER [LITS_WEAK_FOLDER] -o slices

    sampler = SliceSampler(load_slices(Path("slices")), SlicePreprocessing(size_px=128), seed=0)
    batch = sampler.batch(16)

Synthetic lesions of up to 60 mm radius are drawn into the livers in HU, before the window and CLAHE: a
liver with a 10 cm tumor is still a liver.
"""

from __future__ import annotations

import argparse
import csv
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from LiverTumorSegLib.inference.preprocess import SlicePreprocessing
from numpy.typing import NDArray

from training.data.box_patches import Batch
from training.data.boxes import IGNORE, UNKNOWN_PIXEL_MM, WINDOW_HU
from training.data.lesions import add_lesions

THIN_MM = 2.0  # nearer slices are nearly copies
RADIUS_MM = (4.0, 60.0)


@dataclass(frozen=True)
class SliceStack:
    """Slices of one CT: image uint8 (n, h, w), HU + 40; label 0, 1 liver, 2 tumor, 255 liver or tumor."""

    name: str
    group: str
    image: NDArray[np.uint8]
    label: NDArray[np.uint8]
    spacing_mm: tuple[float, float]

    @property
    def weak(self) -> bool:
        return self.name.startswith("lits")


def load_slices(folder: Path) -> list[SliceStack]:
    stacks = []
    for path in sorted(folder.glob("*.npz")):
        with np.load(path) as data:
            spacing = data["spacing_mm"]
            stacks.append(
                SliceStack(
                    path.stem,
                    str(data["group"]),
                    data["image"],
                    data["label"],
                    (float(spacing[0]), float(spacing[1])),
                )
            )
    return stacks


class SliceSampler:
    """Draws slices: patients equally often, a share of them from scattered slices, some without liver."""

    def __init__(
        self,
        stacks: list[SliceStack],
        preprocessing: SlicePreprocessing,
        *,
        seed: int,
        weak_share: float = 0.4,
        context_share: float = 0.15,
        lesion_share: float = 0.45,
    ) -> None:
        self.preprocessing, self.seed, self.drawn = preprocessing, seed, 0
        self.weak_share, self.context_share = weak_share, context_share
        self.lesion_share = lesion_share
        groups: dict[tuple[str, str], list[SliceStack]] = {}
        for stack in stacks:
            kind = "weak" if stack.weak else "context" if "context" in stack.name else "case"
            groups.setdefault((kind, stack.group), []).append(stack)
        self.pools = {
            kind: [s for (k, _), s in groups.items() if k == kind]
            for kind in ("weak", "context", "case")
        }
        self.rng = np.random.default_rng((seed, 0))

    def batch(self, count: int) -> Batch:
        self.rng = np.random.default_rng((self.seed, self.drawn))
        self.drawn += 1
        parts = [self._one() for _ in range(count)]
        images, labels, weights = (np.stack(p) for p in zip(*parts, strict=True))
        return Batch(images, labels.astype(np.int64), weights)

    def _pool(self) -> list[list[SliceStack]]:
        draw = self.rng.random()
        if draw < self.weak_share and self.pools["weak"]:
            return self.pools["weak"]
        if draw > 1 - self.context_share and self.pools["context"]:
            return self.pools["context"]
        return self.pools["case"] or self.pools["weak"]

    def _one(self) -> tuple[NDArray[np.float32], NDArray[np.uint8], NDArray[np.float32]]:
        rng, pool = self.rng, self._pool()
        stacks = pool[int(rng.integers(len(pool)))]
        stack = stacks[int(rng.integers(len(stacks)))]
        k = int(rng.integers(len(stack.image)))
        hu = stack.image[k].astype(np.float32) + WINDOW_HU[0]
        label = stack.label[k]
        liver = label > 0
        if liver.sum() > 200 and rng.random() < self.lesion_share:
            pixel_mm = float(np.sqrt(stack.spacing_mm[0] * stack.spacing_mm[1]))
            hu = add_lesions(
                hu[None],
                free=(label == 1)[None],
                z_mm=np.zeros(1),
                pixel_mm=pixel_mm,
                rng=rng,
                radius_mm=RADIUS_MM,
            )[0][0]
        hu = self._gray(hu, liver)
        gray = self.preprocessing(np.rint(hu).astype(np.int16), stack.spacing_mm)
        target = self.preprocessing.place_labels(liver.astype(np.uint8), stack.spacing_mm)
        gray, target = self._turned(gray, target)
        image = gray.astype(np.float32)[None] / 255
        if rng.random() < 0.3:
            image = image + rng.normal(0, rng.uniform(0.005, 0.03), image.shape).astype(np.float32)
        return image.astype(np.float32), target, np.ones(target.shape, np.float32)

    def _gray(self, hu: NDArray[np.float32], liver: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Other phases and patients: brighter, darker, steeper, and livers darkened by fat."""
        rng = self.rng
        if liver.any() and rng.random() < 0.15:
            middle = float(np.median(hu[liver]))
            soft = cv2.GaussianBlur(liver.astype(np.float32), (0, 0), 1.5)
            hu = hu - soft * rng.uniform(10, 60) * np.exp(-(((hu - middle) / 30) ** 2))
        if rng.random() < 0.6:
            hu = np.where(hu > WINDOW_HU[0], (hu - 60) * rng.uniform(0.8, 1.25) + 60 + rng.normal(0, 10), hu)
        return np.clip(hu, *WINDOW_HU)

    def _turned(
        self, gray: NDArray[np.uint8], target: NDArray[np.uint8]
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        rng, size = self.rng, gray.shape[0]
        turn, scale = np.deg2rad(rng.normal(0, 7)), float(np.exp(rng.normal(0, 0.12)))
        matrix = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]) / scale
        middle = np.array([size / 2, size / 2])
        source = middle + rng.normal(0, size * 0.05, 2) - matrix @ middle
        warp = np.column_stack([matrix, source])
        back = cv2.WARP_INVERSE_MAP
        gray = cv2.warpAffine(gray, warp, (size, size), flags=cv2.INTER_LINEAR | back)
        target = cv2.warpAffine(target, warp, (size, size), flags=cv2.INTER_NEAREST | back)
        return gray, target


def main() -> None:
    import nibabel

    parser = argparse.ArgumentParser()
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("-o", "--output", type=Path, required=True)
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)
    for folder in args.folders:
        with open(folder / "manifest.csv", newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        for row in rows:
            path = folder / row["file"]
            if row["lits_id"] == "117" and path.suffix != ".npz":
                continue  # cut at the sides
            if path.suffix == ".npz":
                with np.load(path) as data:
                    image, label = data["image"], data["label"].copy()
                label[label == 254] = IGNORE
                side = float(row["spacing_x_mm"] or UNKNOWN_PIXEL_MM)
                spacing, name = (side, side), path.stem
            else:
                loaded = nibabel.load(path)
                zooms = loaded.header.get_zooms()
                hu = np.clip(np.asarray(loaded.dataobj, np.float32), *WINDOW_HU)
                image = np.rint(hu - WINDOW_HU[0]).astype(np.uint8).transpose(2, 1, 0)
                label = np.asarray(nibabel.load(folder / row["segmentation"]).dataobj)
                label = label.astype(np.uint8).transpose(2, 1, 0)
                label[label == 254] = IGNORE
                step = max(1, int(np.ceil(THIN_MM / float(zooms[2]))))
                if "context" in path.name:
                    step = 1
                image, label = image[::step], label[::step]
                spacing = (float(zooms[1]), float(zooms[0]))
                name = row["file"].removesuffix(".nii.gz")
            np.savez_compressed(
                args.output / f"{name}.npz",
                image=image,
                label=label,
                spacing_mm=np.array(spacing),
                group=row["patient_group"],
            )
            print(name, image.shape, flush=True)


if __name__ == "__main__":
    main()

"""Whole axial slices in HU: what a liver network is fed, liver and tumor as one target.

    python -m training.prepare LITS_FOLDER LITS_WEAK_FOLDER -o slices --recipe liver-slices

    sampler = SliceSampler(load_slices(Path("slices")), SlicePreprocessing(size_px=128), seed=0)
    batch = sampler.batch(16)

Synthetic lesions of up to 60 mm radius are drawn into the livers in HU, before the window and
CLAHE: a liver with a 10 cm tumor is still a liver.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
from LiverTumorSegLib.files import whole_file
from LiverTumorSegLib.inference.preprocess import SlicePreprocessing
from numpy.typing import NDArray

from training.cases.scattered import LabeledSlices
from training.data.box_patches import Batch
from training.data.boxes import WINDOW_HU
from training.data.lesions import add_lesions
from training.files import opened_arrays

THIN_MM = 2.0  # nearer slices are nearly copies
RADIUS_MM = (4.0, 60.0)
FATTY_SHARE = 0.15  # of the slices with a liver: darkened, its vessels less
BRIGHT_SHARE = 0.2  # of the others of these: much contrast, up to the end of the window
CUT_AT_THE_SIDES = ("volume-117",)  # a liver in no whole body


def prepare_slices(stacks: Iterable[LabeledSlices], folder: Path) -> list[str]:
    """Write the slices of every CT, thinned; their names. Files that are there stay."""
    folder.mkdir(parents=True, exist_ok=True)
    names = []
    for stack in stacks:
        if stack.name in CUT_AT_THE_SIDES:
            continue
        path = folder / f"{stack.name}.npz"
        if not path.exists():
            save_slices(stack if stack.kind == "context" else stack.every(THIN_MM), path)
        names.append(stack.name)
    return names


def save_slices(stack: LabeledSlices, path: Path) -> None:
    """Write slices with HU as 8 bits over the window, whole or not at all."""
    gray = np.rint(np.clip(stack.hu, *WINDOW_HU) - WINDOW_HU[0]).astype(np.uint8)
    with whole_file(path) as part, open(part, "wb") as file:
        np.savez_compressed(
            file,
            image=gray,
            label=stack.labels,
            z_mm=stack.z_mm,
            spacing_mm=np.array(stack.spacing_mm),
            group=stack.group,
            kind=stack.kind,
        )


def load_slices(folder: Path) -> list[LabeledSlices]:
    """All stacks of a folder, by name; ``ValueError`` where there is none."""
    paths = sorted(folder.glob("*.npz"))
    if not paths:
        raise ValueError(f"{folder.name} holds no slices; make them with training.prepare.")
    return [_load(path) for path in paths]


def _load(path: Path) -> LabeledSlices:
    with opened_arrays(path, "run python -m training.prepare again") as data:
        rows, columns = data["spacing_mm"]
        return LabeledSlices(
            path.stem,
            str(data["group"]),
            str(data["kind"]),
            data["image"].astype(np.int16) + np.int16(WINDOW_HU[0]),
            data["label"],
            data["z_mm"],
            (float(rows), float(columns)),
        )


class SliceSampler:
    """Draws slices: patients equally often, some with weak labels, some without a liver.

    The stream is a function of the seed and of how many batches were drawn.
    """

    def __init__(
        self,
        stacks: list[LabeledSlices],
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
        groups: dict[tuple[str, str], list[LabeledSlices]] = {}
        for stack in stacks:
            groups.setdefault((stack.kind, stack.group), []).append(stack)
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

    def _pool(self) -> list[list[LabeledSlices]]:
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
        k = int(rng.integers(len(stack.hu)))
        hu = stack.hu[k].astype(np.float32)
        label = stack.labels[k]
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
        """Other phases and patients: brighter, darker, steeper; fatty and very bright livers."""
        rng = self.rng
        if liver.any():
            soft = cv2.GaussianBlur(liver.astype(np.float32), (0, 0), 1.5)
            if rng.random() < FATTY_SHARE:
                middle = float(np.median(hu[liver]))
                hu = hu - soft * rng.uniform(10, 60) * np.exp(-(((hu - middle) / 30) ** 2))
            elif rng.random() < BRIGHT_SHARE:
                steepness = 1 + rng.uniform(0, 0.6) * (hu > 0)
                hu = hu * steepness + soft * rng.uniform(0, 70)
        if rng.random() < 0.6:
            hu = np.where(
                hu > WINDOW_HU[0], (hu - 60) * rng.uniform(0.8, 1.25) + 60 + rng.normal(0, 10), hu
            )
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
        grays = cv2.warpAffine(gray, warp, (size, size), flags=cv2.INTER_LINEAR | back)
        targets = cv2.warpAffine(target, warp, (size, size), flags=cv2.INTER_NEAREST | back)
        return grays.astype(np.uint8), targets.astype(np.uint8)

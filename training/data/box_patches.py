"""Patches of liver boxes to train a tumor network: augmented, some with synthetic lesions.

sampler = PatchSampler(boxes, PatchSettings(), seed=0)
batch = sampler.batch(16)      # Batch of images (16, 3, 128, 128), labels, weights
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from training.cases.scattered import IGNORE
from training.data.boxes import PREPROCESSING, WINDOW_HU, LiverBox
from training.data.lesions import add_lesions

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class PatchSettings:
    """Settings of patch sampling.

    tumor_share: of patches centered on a real tumor, where a patient has one.
    lesions_without, lesions_beside: share of patches with synthetic lesions, of those without and
        with real tumor.
    weak_share: of patches from scattered slices with weak labels.
    fatty_share: of patches with a darkened liver. single_share: of slices without neighbors.
    gray: how gray values are shown, as in LiverBoxPreprocessing.
    """

    size_px: int = 128
    tumor_share: float = 0.5
    lesions_without: float = 0.6
    lesions_beside: float = 0.15
    weak_share: float = 0.4
    fatty_share: float = 0.12
    single_share: float = 0.2
    gray: str = "liver"


@dataclass(frozen=True)
class Batch:
    """A training batch.

    images: float32 (B, channels, H, W). labels: int64 (B, H, W), 0, 1, 2 and 255, not known.
    weights: float32 (B, H, W), 0 where the loss leaves a pixel out.
    """

    images: Floats
    labels: NDArray[np.int64]
    weights: Floats


@dataclass(frozen=True)
class _Place:
    k: int
    lesions: list[NDArray[np.int64]]  # pixels (n, 2) of each tumor of the slice


class _Patient:
    """The boxes of one patient, and where its tumors and livers lie."""

    def __init__(self, boxes: list[LiverBox]) -> None:
        self.boxes = boxes
        self.tumors: list[tuple[LiverBox, int, NDArray[np.int64]]] = []
        self.slices = [(box, k) for box in boxes for k in range(len(box.image))]
        for box in boxes:
            for k in np.nonzero((box.label == 2).any(axis=(1, 2)))[0]:
                marks, count = ndimage.label(box.label[k] == 2)
                for n in range(1, count + 1):
                    pixels = np.argwhere(marks == n)
                    if len(pixels) * box.pixel_mm**2 >= 12:
                        self.tumors.append((box, int(k), pixels))


class PatchSampler:
    """Draws patches: patients equally often, then tumors equally often, then places.

    The stream is a function of the seed and of how many batches were drawn.
    """

    def __init__(self, boxes: list[LiverBox], settings: PatchSettings, *, seed: int) -> None:
        self.settings, self.seed, self.drawn = settings, seed, 0
        self.steps = replace(PREPROCESSING, gray=settings.gray)
        self.rng = np.random.default_rng((seed, 0))
        groups: dict[tuple[bool, str], list[LiverBox]] = {}
        for box in boxes:
            groups.setdefault((box.kind == "weak", box.group), []).append(box)
        self.weak = [_Patient(b) for (weak, _), b in groups.items() if weak]
        self.whole = [_Patient(b) for (weak, _), b in groups.items() if not weak]

    @property
    def pixel_mm(self) -> float:
        """Of the boxes' rows and columns; ``ValueError`` where they differ."""
        sizes = {box.pixel_mm for patient in (*self.weak, *self.whole) for box in patient.boxes}
        if len(sizes) > 1:
            raise ValueError("These boxes have pixels of different sizes; prepare them together.")
        return sizes.pop()

    def batch(self, count: int) -> Batch:
        self.rng = np.random.default_rng((self.seed, self.drawn))
        self.drawn += 1
        patches = [self._patch() for _ in range(count)]
        images, labels, weights = (np.stack(part) for part in zip(*patches, strict=True))
        return Batch(images, labels.astype(np.int64), weights)

    def _patient(self) -> _Patient:
        from_weak = self.rng.random() < self.settings.weak_share
        pool = self.weak if (from_weak and self.weak) or not self.whole else self.whole
        return pool[int(self.rng.integers(len(pool)))]

    def _patch(self) -> tuple[Floats, NDArray[np.uint8], Floats]:
        rng, patient = self.rng, self._patient()
        if patient.tumors and rng.random() < self.settings.tumor_share:
            box, k, pixels = patient.tumors[int(rng.integers(len(patient.tumors)))]
            center = pixels[int(rng.integers(len(pixels)))] + rng.normal(0, 18, 2)
        else:
            box, k = patient.slices[int(rng.integers(len(patient.slices)))]
            center = self._somewhere(box, k)
        hu, label, pixel_mm = self._cut(box, k, center)
        real = label == 2
        weights = lesion_weights(label, pixel_mm)
        if rng.random() < (
            self.settings.lesions_beside if real.any() else self.settings.lesions_without
        ):
            hu, label, weights = self._with_lesions(hu, label, weights, box, k, pixel_mm)
        image = self._gray(hu, label, box)
        return image, label, weights

    def _somewhere(self, box: LiverBox, k: int) -> NDArray[np.float64]:
        """A pixel of the liver mostly, sometimes around it; near the middle without a liver."""
        liver = box.label[k] > 0
        if self.rng.random() < 0.3:
            liver = cv2.dilate(liver.astype(np.uint8), np.ones((33, 33), np.uint8)) > 0
        found = np.flatnonzero(liver)
        if not found.size:
            height, width = liver.shape
            return np.array([height, width]) * self.rng.uniform(0.25, 0.75, 2)
        pixel = found[int(self.rng.integers(found.size))]
        return np.array(np.unravel_index(pixel, liver.shape), float)

    def _cut(
        self, box: LiverBox, k: int, center: NDArray[np.float64]
    ) -> tuple[Floats, NDArray[np.uint8], float]:
        """A turned, scaled, mirrored patch: HU (3, s, s), label (s, s), and its pixel in mm."""
        rng, size = self.rng, self.settings.size_px
        angle, scale = rng.uniform(-30, 30), float(np.exp(rng.uniform(-0.22, 0.22)))
        shear = rng.normal(0, 0.05)
        turn = np.deg2rad(angle)
        matrix = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]) / scale
        matrix = matrix @ np.array([[1, shear], [0, 1]])
        if rng.random() < 0.5:
            matrix = matrix @ np.diag([-1, 1])
        if rng.random() < 0.5:
            matrix = matrix @ np.diag([1, -1])
        middle = np.array([size / 2, size / 2])
        source = center[::-1] - matrix @ middle
        warp = np.column_stack([matrix, source])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        planes = box.hu(k)
        if rng.random() < self.settings.single_share:
            planes = planes[[1, 1, 1]]
        elif rng.random() < 0.5:
            planes = planes[::-1]
        side, air = (size, size), WINDOW_HU[0]
        turned = np.stack(
            [cv2.warpAffine(p, warp, side, flags=flags, borderValue=air) for p in planes]
        )
        nearest = cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
        label = cv2.warpAffine(box.label[k], warp, side, flags=nearest)
        return turned.astype(np.float32), label.astype(np.uint8), box.pixel_mm / scale

    def _with_lesions(
        self,
        hu: Floats,
        label: NDArray[np.uint8],
        weights: Floats,
        box: LiverBox,
        k: int,
        pixel_mm: float,
    ) -> tuple[Floats, NDArray[np.uint8], Floats]:
        free = label == 1
        if (label == 2).any() or (label == IGNORE).any():
            taken = ((label == 2) | (label == IGNORE)).astype(np.uint8)
            free &= cv2.dilate(taken, np.ones((9, 9), np.uint8)) == 0
        z_mm = box.heights_mm(k)
        if np.array_equal(hu[0], hu[1]):
            z_mm = z_mm[[1, 1, 1]]
        painted, tumor, radius_mm = add_lesions(
            hu, free=np.stack([free] * 3), z_mm=z_mm, pixel_mm=pixel_mm, rng=self.rng
        )
        label, weights = label.copy(), weights.copy()
        label[tumor[1]] = 2
        small = tumor[1] & (radius_mm[1] > 0)
        weights[small] = np.clip(10 / radius_mm[1][small], 1, 3)
        return np.clip(painted, *WINDOW_HU), label, weights

    def _gray(self, hu: Floats, label: NDArray[np.uint8], box: LiverBox) -> Floats:
        """As a network sees it, with what scanners, phases and fatty livers change."""
        rng = self.rng
        relative = hu - (box.liver_hu + rng.normal(0, 4))
        if rng.random() < self.settings.fatty_share:
            # tissue near the liver's own gray value darkens; then all else is brighter beside it
            drop = rng.uniform(15, 60)
            liver = cv2.GaussianBlur((label > 0).astype(np.float32), (0, 0), 1.0)
            relative = relative + drop * (1 - liver * np.exp(-((relative / 25) ** 2)))
        if rng.random() < 0.5:
            relative = relative * rng.uniform(0.75, 1.3)
        if rng.random() < 0.3:
            relative = relative + rng.normal(0, rng.uniform(2, 12), relative.shape)
        if rng.random() < 0.25:
            sigma = rng.uniform(0.4, 1.1)
            relative = np.stack([cv2.GaussianBlur(p, (0, 0), sigma) for p in relative])
        if self.settings.gray == "liver":
            return (relative / self.steps.hu_scale).astype(np.float32)
        shown = np.clip(relative + box.liver_hu, *WINDOW_HU).astype(np.float32)
        return replace(self.steps, pixel_mm=box.pixel_mm).seen(shown, box.liver_hu)


def lesion_weights(label: NDArray[np.uint8], pixel_mm: float) -> Floats:
    """Weight of each pixel (h, w): 1, on small tumors up to 3, by their area; 0 where not known."""
    weights = np.ones(label.shape, np.float32)
    weights[label == IGNORE] = 0
    if (label == 2).any():
        marks, count = ndimage.label(label == 2)
        areas = np.bincount(marks.ravel(), minlength=count + 1) * pixel_mm**2
        by_mark = np.clip(np.sqrt(300 / np.maximum(areas, 1)), 1, 3)
        weights[marks > 0] = by_mark[marks[marks > 0]]
    return weights

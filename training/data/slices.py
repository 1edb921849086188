"""Prepared slices in memory, and which of them make up an epoch.

Needs only numpy, OpenCV and torch, so that a training machine needs nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from LiverTumorSegLib.inference.preprocess import SlicePreprocessing
from LiverTumorSegLib.labels import Label
from numpy.typing import NDArray
from torch import Tensor

from training.files import map_array, read_record

Bytes = NDArray[np.uint8]
PREPARE_AGAIN = "run python -m training.prepare again"


@dataclass(frozen=True, eq=False)
class SliceSet:
    """All slices of one split.

    images: (N, size, size) preprocessed grays. labels: the same shape, LiTS numbers.
    windowed: (N, grid, grid) grays before CLAHE, memory-mapped by case, or None.
    case_index: (N,) which case of ``cases`` a slice is from.
    """

    images: Bytes
    labels: Bytes
    windowed: tuple[Bytes, ...] | None
    case_index: NDArray[np.int64]
    slice_index: NDArray[np.int64]
    cases: tuple[str, ...]
    preprocessing: SlicePreprocessing

    def __len__(self) -> int:
        return len(self.images)

    @property
    def has_liver(self) -> NDArray[np.bool_]:
        found = (self.labels >= Label.LIVER).any(axis=(1, 2))
        return np.asarray(found, np.bool_)

    @property
    def has_tumor(self) -> NDArray[np.bool_]:
        found = (self.labels == Label.TUMOR).any(axis=(1, 2))
        return np.asarray(found, np.bool_)

    def shifted(
        self, rows: NDArray[np.int64], random: np.random.Generator, hu: float, share: float = 1.0
    ) -> Bytes:
        """Images of ``rows`` as if the scanner had read up to ``hu`` HU higher or lower.

        An offset and a gain (scaled so that neither moves a gray by more than ``hu``) are applied
        before CLAHE; pixels at the window's ends stay there, since what lies beyond them (air, fat,
        bone) would not come into the window.
        """
        images = self.images[rows].copy()
        if self.windowed is None or hu <= 0:
            return images
        for n in np.flatnonzero(random.random(len(rows)) < share):
            row = rows[n]
            square = self.windowed[self.case_index[row]][self.slice_index[row]]
            images[n] = self.preprocessing.enhance(self._shift(square, random, hu))
        return images

    def _shift(self, square: Bytes, random: np.random.Generator, hu: float) -> Bytes:
        low, high = self.preprocessing.window_hu
        grays_per_hu = 255.0 / (high - low)
        offset, gain = random.uniform(-hu, hu, 2) * grays_per_hu
        grays = np.arange(256)
        table = np.rint(grays + offset + gain * (grays - 127.5) / 127.5).clip(1, 254)
        table[0], table[255] = 0, 255
        shifted: Bytes = table.astype(np.uint8)[square]
        return shifted


def load_split(folder: Path, split: str, *, with_windowed: bool = False) -> SliceSet:
    """The slices that ``prepare`` wrote for "train", "val" or "test"."""
    manifest = read_manifest(folder)
    if manifest["preprocessing"].get("kind") == "volume":
        raise ValueError(
            f"{folder.name} holds volumes; a slice network needs slices: run python -m"
            " training.prepare, or choose a recipe of a cascade."
        )
    cases = [c for c in manifest["cases"] if c["split"] == split]
    if not cases:
        raise ValueError(f"{folder.name} holds no case of split {split!r}; prepare data with it.")
    if with_windowed and not manifest["windowed"]:
        raise ValueError("These data were prepared without --windowed; HU shifts need it.")
    images = [_array(folder, c, "images") for c in cases]
    counts = [len(i) for i in images]
    return SliceSet(
        images=np.concatenate(images),
        labels=np.concatenate([_array(folder, c, "labels") for c in cases]),
        windowed=tuple(_array(folder, c, "windowed") for c in cases) if with_windowed else None,
        case_index=np.repeat(np.arange(len(cases)), counts),
        slice_index=np.concatenate([np.arange(n) for n in counts]),
        cases=tuple(c["name"] for c in cases),
        preprocessing=SlicePreprocessing.from_dict(manifest["preprocessing"]),
    )


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a folder of ``training.prepare``."""
    path = folder / "manifest.json"
    if not path.is_file():
        raise ValueError(
            f"{folder.name} holds no prepared data; run python -m training.prepare first."
        )
    manifest = read_record(path, PREPARE_AGAIN)
    cases = manifest.get("cases")
    if not isinstance(cases, list) or not all(_is_case(case) for case in cases):
        raise ValueError(f"{path.name} in {folder.name} lists no cases; {PREPARE_AGAIN}.")
    return manifest


def _is_case(case: object) -> bool:
    """Whether a manifest's entry names a plain folder and its set."""
    if not isinstance(case, dict):
        return False
    name = case.get("name")
    is_plain = isinstance(name, str) and name != "" and name == Path(name).name
    return is_plain and isinstance(case.get("split"), str)


def _array(folder: Path, case: dict[str, Any], kind: str) -> Bytes:
    array: Bytes = map_array(folder / case["name"] / f"{kind}.npy", PREPARE_AGAIN)
    slices = case.get("slices", len(array) if array.ndim else 0)
    if array.dtype != np.uint8 or array.ndim != 3 or len(array) != slices:
        raise ValueError(
            f"{kind}.npy of {case['name']} holds no {slices} slices of bytes; {PREPARE_AGAIN}."
        )
    if kind == "labels" and array.max() > max(Label):
        raise ValueError(
            f"labels.npy of {case['name']} holds the label {array.max()}; {PREPARE_AGAIN}."
        )
    return array


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """Which slices a batch is made of.

    liver_free_share: slices without liver in a batch; the paper leaves them out (0), which makes
        false positives above and below the liver.
    tumor_share: slices with tumor in a batch; None draws as the data have it.
    case_balance: 0 draws slices evenly, 1 cases evenly; a case of 240 tumor slices would
        otherwise be a third of all that the net sees of tumors.
    epoch_slices: slices an epoch; None is the number of slices with liver.
    """

    liver_free_share: float = 0.0
    tumor_share: float | None = None
    case_balance: float = 0.0
    epoch_slices: int | None = None

    def batches(
        self, data: SliceSet, batch: int, random: np.random.Generator
    ) -> Iterator[NDArray[np.int64]]:
        """Row numbers batch by batch for one epoch; the last batch may be smaller.

        Raises ``ValueError`` when no slice shows liver.
        """
        free, liver = np.flatnonzero(~data.has_liver), np.flatnonzero(data.has_liver)
        if len(liver) == 0:
            raise ValueError("No training slice shows liver; add labeled cases to the split train.")
        total = self.epoch_slices or len(liver)
        free_count = round(total * self.liver_free_share / (1 - self.liver_free_share))
        chosen_free = self._draw(data, free, free_count, random)
        if self.tumor_share is None:
            chosen = self._draw(data, liver, total, random)
        else:
            tumor_count = round(self.tumor_share * (total + len(chosen_free)))
            chosen = self._draw_by_kind(data, liver, total, tumor_count, random)
        rows = random.permutation(np.concatenate([chosen, chosen_free]))
        for start in range(0, len(rows), batch):
            yield rows[start : start + batch]

    def _draw_by_kind(
        self,
        data: SliceSet,
        liver: NDArray[np.int64],
        count: int,
        tumor_count: int,
        random: np.random.Generator,
    ) -> NDArray[np.int64]:
        """``count`` slices with liver, ``tumor_count`` of them with tumor where there are both."""
        tumor = np.flatnonzero(data.has_tumor)
        plain = np.setdiff1d(liver, tumor)
        if len(tumor) == 0:
            tumor_count = 0
        elif len(plain) == 0:
            tumor_count = count
        n_tumor = min(tumor_count, count)
        drawn = self._draw(data, tumor, n_tumor, random)
        return np.concatenate([drawn, self._draw(data, plain, count - n_tumor, random)])

    def _draw(
        self, data: SliceSet, rows: NDArray[np.int64], count: int, random: np.random.Generator
    ) -> NDArray[np.int64]:
        """``count`` of ``rows``: each equally often, or by case_balance with replacement."""
        if count == 0 or len(rows) == 0:
            return rows[:0]
        if self.case_balance == 0:
            rounds = -(-count // len(rows))
            return np.concatenate([random.permutation(rows) for _ in range(rounds)])[:count]
        per_case = np.bincount(data.case_index[rows], minlength=len(data.cases))
        weight = 1.0 / per_case[data.case_index[rows]] ** self.case_balance
        return random.choice(rows, count, p=weight / weight.sum())


def to_batch(images: Bytes, labels: Bytes, size_px: int, device: str) -> tuple[Tensor, Tensor]:
    """Bytes to a batch: images (B, 1, size, size) float in [0, 1], labels (B, size, size) int64.

    A size below the data's takes block means of the images and the nearest labels.
    """
    grays = torch.from_numpy(images).to(device, non_blocking=True)
    classes = torch.from_numpy(labels).to(device, non_blocking=True)
    return resize_batch(grays, classes, size_px)


def shrink_step(from_px: int, size_px: int) -> int:
    """How many pixels become one; ``ValueError`` where that is not a whole number."""
    if size_px < 1 or from_px % size_px:
        raise ValueError(
            f"Slices of {from_px} px cannot be shrunk evenly to {size_px}; train on a size that"
            " divides theirs (--size-px), or prepare them at another."
        )
    return from_px // size_px


def resize_batch(grays: Tensor, classes: Tensor, size_px: int) -> tuple[Tensor, Tensor]:
    """uint8 (B, H, W) grays and labels to floats and int64 of another, dividing size."""
    step = shrink_step(grays.shape[-1], size_px)
    image = grays[:, None].float() / 255
    if step > 1:
        image = torch.nn.functional.avg_pool2d(image, step)
    return image, classes[:, step // 2 :: step, step // 2 :: step].long()

"""A training run of one stage of the G-UNETR++ cascade.

    data = load_volumes(folder, "train", "liver")
    trainer = PatchTrainer(VOLUME_RECIPES["gunetrpp-liver"], data)

Called as :class:`training.learn.trainer.SliceTrainer` is.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from LiverTumorSegLib.inference.sliding_window import SlidingWindow
from numpy.typing import NDArray
from torch import Tensor, nn

from training.data.folds import fold_groups
from training.data.patches import PatchBatches, Volume, VolumeSet, load_volumes
from training.data.slices import read_manifest
from training.learn.losses import Reduce
from training.learn.recipes3d import PatchRecipe
from training.learn.trainer import Facts, Rows, Trainer, adamw

EPSILON = 1e-6  # what a probability of 0 counts as in the cross-entropy, which would be infinite
CHECK_SEED = 7  # of the patches that validation draws, the same in every epoch


class PatchTrainer(Trainer[PatchRecipe, VolumeSet]):
    """A run on patches."""

    samples = "patches"
    layout = torch.channels_last_3d

    def load(self) -> None:
        self.batches = PatchBatches(self.data, self.device)
        patch_kji = self.recipe.patch_kji
        self.reach_kji = self.recipe.augmentation.reach_kji(patch_kji)

    def make_optimizer(self) -> torch.optim.Optimizer:
        recipe = self.recipe
        if recipe.optimizer == "adamw":
            return adamw(self.net, recipe, self.device)
        return torch.optim.SGD(
            self.net.parameters(),
            lr=recipe.learning_rate,
            momentum=recipe.momentum,
            nesterov=True,
            weight_decay=recipe.weight_decay,
        )

    def epoch_rows(self, random: np.random.Generator) -> list[Rows]:
        recipe = self.recipe
        return list(recipe.sampling.batches(self.data, recipe.batch, recipe.patch_kji, random))

    def batch(
        self, rows: Rows, random: np.random.Generator, generator: torch.Generator, size_px: int
    ) -> tuple[Tensor, Tensor]:
        recipe = self.recipe
        images, maps = self.batches.cut(rows, recipe.patch_kji, self.reach_kji)
        if recipe.mask_first:
            images = images * maps[:, 1:]
        images, maps = recipe.augmentation(images, maps, generator, patch_kji=recipe.patch_kji)
        target = maps[:, 0] if recipe.mask_first else maps[:, 0] * maps[:, 1]
        return self._seen(images, maps), target.long()  # what the net does not see is background

    def _seen(self, images: Tensor, maps: Tensor) -> Tensor:
        """The net's input: (B, 1 or 2, k, j, i), as ``VolumePreprocessing.channels``."""
        if not self.data.preprocessing.needs_liver or self.recipe.mask_first:
            return images
        if self.recipe.mask_as_channel:
            return torch.cat([images, maps[:, 1:].float()], dim=1)
        return images * maps[:, 1:]

    def loss(self, logits: Any, labels: Tensor, reduce: Reduce) -> Tensor:
        return self.recipe.loss(logits, labels, reduce, progress=self.progress)

    @torch.no_grad()
    def validate(self, data: VolumeSet, size_px: int) -> Facts:
        """Cross-entropy and pooled Dice over all voxels of ``data``, or over drawn patches.

        A tumor that the liver mask leaves out counts as missed: the mask's voxels are all that the
        net is asked about. Processes take volumes, or batches, in turn.
        """
        self.eval_model.eval()
        sums = torch.zeros(5, dtype=torch.float64)  # cross-entropy, voxels; shared, predicted, true
        parts = self._by_patches(data) if self.recipe.check.patches else self._by_windows(data)
        for foreground, target in parts:
            sums += _counts(foreground, target)
        loss, voxels, shared, predicted, true = self.processes.all_reduce(sums).tolist()
        return {
            "val_loss": loss / voxels,
            f"val_{data.stage}_dice": 2 * shared / max(predicted + true, 1),
        }

    def _by_windows(self, data: VolumeSet) -> Iterator[tuple[Tensor, Tensor]]:
        window = SlidingWindow(patch_kji=self.recipe.patch_kji, overlap=self.recipe.check.overlap)
        for volume in data.volumes[self.processes.rank :: self.processes.count]:
            foreground = self.foreground(volume, data, window)
            yield torch.from_numpy(foreground), torch.from_numpy(volume.target)

    def foreground(
        self, volume: Volume, data: VolumeSet, window: SlidingWindow
    ) -> NDArray[np.float32]:
        """Probability of the class in each voxel (k, j, i); 0 outside of the region."""
        self.eval_model.eval()
        channels = data.preprocessing.channels(volume.image, volume.region)
        result = np.zeros(volume.shape_kji, np.float32)
        if volume.region is not None and not volume.region.any():
            return result
        predictor = _Predictor(self)
        for first, slab in window.slabs(channels, predictor, where=volume.region):
            result[first : first + slab.shape[1]] = slab[0]
        return result if volume.region is None else result * volume.region

    def _by_patches(self, data: VolumeSet) -> Iterator[tuple[Tensor, Tensor]]:
        recipe, batches = self.recipe, PatchBatches(data, self.device)
        random = np.random.default_rng(CHECK_SEED)
        rows = [
            row
            for batch in recipe.sampling.batches(data, recipe.batch, recipe.patch_kji, random)
            for row in np.split(batch, len(batch))
        ][: recipe.check.patches]
        for row in rows[self.processes.rank :: self.processes.count]:
            images, maps = batches.cut(row, recipe.patch_kji, recipe.patch_kji)
            foreground = self.predict(self._seen(images, maps))[:, 0]
            yield foreground.cpu(), maps[:, 0].cpu()

    @torch.no_grad()
    def predict(self, patches: Tensor) -> Tensor:
        """Foreground probabilities (B, 1, k, j, i) of the net that is evaluated."""
        with self.autocast():
            logits: Tensor = self.eval_model(patches.contiguous(memory_format=self.layout))
        return logits.float().softmax(1)[:, 1:]


class _Predictor:
    """The net under training as ``sliding_window`` calls it."""

    def __init__(self, trainer: PatchTrainer) -> None:
        self.trainer, self.batch = trainer, trainer.recipe.batch

    def __call__(self, patches: NDArray[np.float32]) -> NDArray[np.float32]:
        batch = torch.from_numpy(patches).to(self.trainer.device)
        result: NDArray[np.float32] = self.trainer.predict(batch).cpu().numpy()
        return result


def _counts(foreground: Tensor, target: Tensor) -> Tensor:
    """Sums of cross-entropy and of voxels; voxels shared, predicted and true; of (k, j, i)."""
    truth = target.float()
    clamped = foreground.float().clamp(EPSILON, 1 - EPSILON)
    entropy = nn.functional.binary_cross_entropy(clamped, truth, reduction="sum")
    found = foreground > 0.5
    counts = entropy, truth.numel(), (found & (target > 0)).sum(), found.sum(), truth.sum()
    return torch.tensor([float(count) for count in counts], dtype=torch.float64)


def load_for(
    recipe: PatchRecipe, prepared: Path, masks: Path | None = None, fold: str | None = None
) -> tuple[VolumeSet, VolumeSet]:
    """Training and validation volumes as a recipe needs them.

    fold: "N/K": without part N of K of the training patients. Raises ``ValueError`` for a fold that
    is none, and as :func:`load_volumes_for`.
    """
    train, val = (load_volumes_for(recipe, prepared, s, masks) for s in ("train", "val"))
    if fold is not None:
        number, count = _parsed(fold)
        train = train.without(fold_groups(read_manifest(prepared), count)[number - 1])
    return train, val


def load_volumes_for(
    recipe: PatchRecipe, prepared: Path, split: str, masks: Path | None = None
) -> VolumeSet:
    """One set as a recipe wants it; ``ValueError`` for masks that nothing would look at."""
    if masks is not None and recipe.liver_margin_mm is None:
        raise ValueError("The liver network sees the whole image; leave out --masks.")
    return load_volumes(
        prepared,
        split,
        recipe.stage,
        masks=masks,
        margin_mm=recipe.liver_margin_mm,
        mask_as_channel=recipe.mask_as_channel,
    )


def _parsed(fold: str) -> tuple[int, int]:
    number, _, count = fold.partition("/")
    if not (number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
        raise ValueError(f"The fold {fold!r} is none; give part and number of parts, as 1/2.")
    return int(number), int(count)

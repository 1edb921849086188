"""How a slice network is trained: the paper's recipes and ours, as data.

    python -m training.train prepared -o runs/mine --recipe paper
    python -m training.train prepared -o runs/found --recipe recall --init model.safetensors

Take "recall" where a missed tumor is worse than a false one: it is "cpu" with a loss to which what
is missed costs more than twice what is marked wrongly. Dice may fall while more lesions are found.
Those of patch networks are in :mod:`training.learn.recipes3d`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from typing import Any

from training.data.augment import NONE, PAPER, STRONG, Augmentation
from training.data.slices import Sampling
from training.learn.losses import CombinedLoss


@dataclass(frozen=True, kw_only=True)
class SizePhase:
    """A slice size and the share of the training that uses it."""

    size_px: int
    share: float


@dataclass(frozen=True, kw_only=True)
class BaseRecipe(ABC):
    """The settings that every training has, on slices or on patches.

    schedule: how the learning rate goes, a key of ``trainer.RATES``; "plateau" halves it when the
        validation loss stalls.
    select: what the best epoch is: "loss" (smallest), "dice" (largest, the mean over what the net
        finds) or "last".
    ema: decay of the running average of the weights, which is then validated and saved in place
        of the weights themselves; 0 for none.
    """

    net: str
    net_args: dict[str, Any] = field(default_factory=dict)
    learning_rate: float
    weight_decay: float
    batch: int
    epochs: int
    schedule: str
    plateau_factor: float = 0.5
    plateau_patience: int = 5
    warmup_share: float = 0.02
    clip_norm: float
    select: str
    seed: int = 42
    ema: float = 0.0

    @abstractmethod
    def size_at(self, progress: float) -> int:
        """Pixels of a sample's side at a share of the run, 0 to 1."""


@dataclass(frozen=True, kw_only=True)
class SliceRecipe(BaseRecipe):
    """One training run on slices. The defaults are the hybrid2d paper's (III.A, III.C).

    schedule: "plateau" (the paper) or "cosine" (one warm-up and fall over the whole run,
        whose length may be in minutes).
    hu_shift: HU by which a training slice is randomly brightened or darkened before the window.
    """

    net: str = "hybrid2d"
    loss: CombinedLoss = field(default_factory=CombinedLoss)
    augmentation: Augmentation = PAPER
    sampling: Sampling = field(default_factory=Sampling)
    stages: tuple[SizePhase, ...] = (SizePhase(size_px=256, share=1.0),)
    learning_rate: float = 1e-4
    weight_decay: float = 1e-5
    batch: int = 8
    epochs: int = 100
    schedule: str = "plateau"
    clip_norm: float = 1.0
    select: str = "loss"
    hu_shift: float = 0.0

    def size_at(self, progress: float) -> int:
        reached = 0.0
        for stage in self.stages:
            reached += stage.share
            if progress < reached - 1e-9:
                return stage.size_px
        return self.stages[-1].size_px


# half the channels, most of the time on half-size slices: hours of two CPU cores
CPU = SliceRecipe(
    net_args={"width": 32, "attention_dropout": 0.0},
    augmentation=STRONG,
    sampling=Sampling(liver_free_share=0.25, tumor_share=0.4, case_balance=0.5),
    stages=(SizePhase(size_px=128, share=0.4), SizePhase(size_px=256, share=0.6)),
    learning_rate=5e-4,
    weight_decay=1e-2,
    epochs=40,
    schedule="cosine",
    select="dice",
    hu_shift=25.0,
)

RECIPES: dict[str, SliceRecipe] = {
    # Bader & Jarjees III.C: slices without a mask left out
    "paper": SliceRecipe(),
    # the paper's, with the slices above and below the liver that a whole scan has
    "whole-scan": SliceRecipe(sampling=Sampling(liver_free_share=0.25)),
    "cpu": CPU,
    # Salehi et al. 2017: a term to which what is missed costs more than what is marked wrongly
    "recall": replace(CPU, loss=CombinedLoss(tversky=1.0)),
    # seconds: shows that every step works, not a model
    "tour": SliceRecipe(
        net_args={"width": 8, "attention_dropout": 0.0},
        augmentation=NONE,
        sampling=Sampling(liver_free_share=0.25),
        stages=(SizePhase(size_px=64, share=1.0),),
        learning_rate=2e-3,
        epochs=2,
        schedule="cosine",
    ),
}

"""How the two networks of the G-UNETR++ cascade are trained, as data.

    python -m training.train prepared3d -o runs/liver --recipe gunetrpp-liver
    python -m training.train prepared3d -o runs/tumor --recipe gunetrpp-tumor --masks masks

Numbers without a word are those of the authors' code (Shin et al. 2026, and its base nnU-Net v1).
Each recipe has a ``-reference`` twin that follows that code to the letter where ours departs from
it: the Hausdorff term that trains nothing, the scrambled attention, patches drawn evenly, the liver
mask put on before the augmentation and not dilated.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from inspect import signature
from typing import Any

from LiverTumorSegLib.nets.gunetrpp import GUnetrpp

from training.data.augment3d import PAPER, VolumeAugmentation
from training.data.patches import Kji, PatchSampling
from training.learn.losses3d import REFERENCE, VolumeLoss
from training.learn.recipes import BaseRecipe

OPTIMIZERS = ("sgd", "adamw")


@dataclass(frozen=True, kw_only=True)
class Validation:
    """How a net is validated: pooled Dice over whole volumes, by windows.

    overlap: of the windows, a share of the patch; inference takes a half, and none is faster.
    patches: draw so many patches instead, the same every time (published: 50 batches).
    """

    overlap: float = 0.0
    patches: int | None = None


@dataclass(frozen=True, kw_only=True)
class PatchRecipe(BaseRecipe):
    """One training of one stage.

    stage: "liver" or "tumor". optimizer: "sgd" (Nesterov) or "adamw". momentum: of SGD.
    liver_margin_mm: by how much the liver mask is dilated for the tumor's net; None for a net that
        sees all.
    mask_as_channel: see ``VolumePreprocessing``. mask_first: put the mask on before the
        augmentation, which may then brighten the outside.
    """

    net: str = "gunetrpp"
    stage: str
    loss: VolumeLoss = field(default_factory=VolumeLoss)
    augmentation: VolumeAugmentation = PAPER
    sampling: PatchSampling = field(default_factory=PatchSampling)
    check: Validation = field(default_factory=Validation)
    optimizer: str = "sgd"
    momentum: float = 0.99
    learning_rate: float = 0.01
    weight_decay: float = 3e-5
    batch: int = 2  # of UNETR++; the released G-UNETR++ code has 8
    epochs: int = 1000
    schedule: str = "poly"
    clip_norm: float = 12.0
    select: str = "dice"
    liver_margin_mm: float | None = None
    mask_as_channel: bool = False
    mask_first: bool = False

    def __post_init__(self) -> None:
        if self.optimizer not in OPTIMIZERS:
            raise ValueError(
                f"optimizer is {self.optimizer!r}; use one of {', '.join(OPTIMIZERS)}."
            )
        if (self.stage == "tumor") != (self.liver_margin_mm is not None):
            raise ValueError("The tumor's recipe needs liver_margin_mm, and the liver's has none.")
        if self.mask_as_channel and (self.mask_first or self.liver_margin_mm is None):
            raise ValueError("mask_as_channel is for a tumor net whose mask is not put on first.")

    @property
    def patch_kji(self) -> Kji:
        """The net's patch size."""
        default = signature(GUnetrpp).parameters["patch_kji"].default
        k, j, i = self.net_args.get("patch_kji", default)
        return k, j, i

    def size_at(self, progress: float) -> int:
        return self.patch_kji[2]


SMALL_NET: dict[str, Any] = {
    "patch_kji": (32, 64, 64),
    # not 128 in the deepest stage: of its 8 tokens that would make 4 of 10 of all parameters, and
    # a cascade's file more than 10 MB
    "dims": (16, 32, 64, 64),
    "depth": 1,
    # with a few hundred steps there is nothing to forget, and random numbers take a sixth of a step
    "dropout": 0.0,
    "attention_dropout": 0.0,
}

LIVER = PatchRecipe(stage="liver")
TUMOR = PatchRecipe(
    stage="tumor",
    liver_margin_mm=5.0,
    sampling=PatchSampling(foreground_share=1 / 3),
)
# minutes of a processor. Measured after 60 steps on volumes of 128 pixels a side, validation Dice
# of the liver: 0.71 with AdamW at 3e-3, 0.45 at 1e-3, 0.50 with the published SGD.
SMALL_LIVER = replace(
    LIVER,
    net_args=SMALL_NET,
    loss=VolumeLoss(hausdorff_warm_up=0.3),
    augmentation=replace(PAPER, mirror_p=(0.0, 0.0, 0.0), rotation_deg=(15.0, 15.0, 15.0)),
    sampling=PatchSampling(iterations=100, foreground_share=0.5),
    optimizer="adamw",
    learning_rate=3e-3,
    weight_decay=1e-2,
    epochs=20,
    schedule="cosine",
    warmup_share=0.05,
)
SMALL_TUMOR = replace(
    SMALL_LIVER,
    stage="tumor",
    liver_margin_mm=10.0,  # masks of small nets miss more at the rim
    mask_as_channel=True,  # else the mask's edge is all that the derivatives show
    augmentation=PAPER,
    sampling=PatchSampling(
        iterations=100, foreground_share=0.5, region_share=0.5, jitter=0.25, case_balance=0.5
    ),
    select="last",  # as published; a few validation tumors cannot choose an epoch
)


def reference(recipe: PatchRecipe) -> PatchRecipe:
    """The recipe as the authors' code has it."""
    tumor = recipe.stage == "tumor"
    return replace(
        recipe,
        net_args={**recipe.net_args, "spatial_layout": "reference"},
        loss=REFERENCE,
        sampling=PatchSampling(iterations=recipe.sampling.iterations),
        batch=8,
        check=Validation(patches=400),
        select="last" if tumor else "dice",
        liver_margin_mm=0.0 if tumor else None,
        mask_first=tumor,
    )


VOLUME_RECIPES: dict[str, PatchRecipe] = {
    "gunetrpp-liver": LIVER,
    "gunetrpp-tumor": TUMOR,
    "gunetrpp-liver-reference": reference(LIVER),
    "gunetrpp-tumor-reference": reference(TUMOR),
    "gunetrpp-small-liver": SMALL_LIVER,
    "gunetrpp-small-tumor": SMALL_TUMOR,
}

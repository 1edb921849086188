"""Train the two networks of the liver-then-tumor model, step by step, stoppable at any step.

    python -m training.train boxes -o runs/base --recipe tumor-boxes --weak-only --constant
    python -m training.train boxes -o runs/fold1 --recipe tumor-boxes --init runs/base \\
        --hold-out fold1.json --steps 1000

A base is trained on patients who are never scored (weak labels), at a constant rate, and can be
prolonged. From it branches go off, one a fold and one for the product, whose rate falls to nothing.
A run goes on from its own checkpoint when it is started again, and ends with ``best.safetensors``,
its running average as a model file, which :mod:`training.export` joins with the other network's.
"""

from __future__ import annotations

import csv
import json
import math
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from LiverTumorSegLib.files import read_json, whole_file
from LiverTumorSegLib.inference.postprocess import Postprocessing
from LiverTumorSegLib.inference.preprocess import SlicePreprocessing
from LiverTumorSegLib.labels import Label
from LiverTumorSegLib.model.file import ModelFile
from LiverTumorSegLib.model.spec import STAGES, ModelSpec
from LiverTumorSegLib.nets.hybrid2d import Hybrid2d
from torch import Tensor, nn
from torch.nn import functional

from training.cases.scattered import IGNORE
from training.data.box_patches import Batch, PatchSampler, PatchSettings
from training.data.boxes import PREPROCESSING, WINDOW_HU, load_boxes
from training.data.whole_slices import SliceSampler, load_slices
from training.learn.losses import CombinedLoss
from training.learn.tensorboard_log import Log, no_log
from training.learn.trainer import WeightAverage

CHECKPOINT_S = 600.0
LOG_STEPS = 20
WEAK_AND_NEVER_SCORED = ("lits13", "lits117")
CHECKPOINT, LOG, RECORD, MODEL = "checkpoint.pt", "log.csv", "run.json", "best.safetensors"


@dataclass(frozen=True, kw_only=True)
class StepRecipe:
    """A training recipe that counts in steps, of the liver-then-tumor model's networks.

    data: "boxes" (tumor, three channels) or "slices" (liver with tumor, one channel).
    dice_weights: of the classes after background in the loss. constant: keep the rate after the
    warm-up. ema: decay of the running average of the weights, which is what is saved. paper_loss:
    the hybrid2d paper's (II.E) over the pixels that are known, in place of the weighted one.
    """

    data: str
    net_args: dict[str, Any]
    dice_weights: tuple[float, ...]
    patches: PatchSettings = field(default_factory=PatchSettings)
    size_px: int = 128
    steps: int = 2000
    batch: int = 16
    learning_rate: float = 1e-3
    weight_decay: float = 1e-4
    warmup: int = 100
    constant: bool = False
    ema: float = 0.998
    paper_loss: bool = False
    clip: float = 1.0
    seed: int = 0


STEP_RECIPES = {
    # no position embedding: a box lies anywhere; attention_dropout 0 for a CPU's fused attention
    "tumor-boxes": StepRecipe(
        data="boxes",
        net_args={
            "width": 24,
            "channels": 3,
            "position": "none",
            "norm": "pre",
            "attention_dropout": 0.0,
            "size_px": 128,
        },
        dice_weights=(0.3, 0.7),
    ),
    "liver-slices": StepRecipe(
        data="slices",
        net_args={
            "width": 24,
            "classes": 2,
            "norm": "pre",
            "attention_dropout": 0.0,
            "size_px": 128,
        },
        dice_weights=(1.0,),
    ),
}


def weighted_loss(
    logits: Tensor, labels: Tensor, weights: Tensor, dice_weights: Sequence[float]
) -> tuple[Tensor, dict[str, float]]:
    """Weighted cross-entropy plus the batch's soft Dice; pixels not known are left out.

    logits: (B, classes, H, W). labels: (B, H, W), 255 not known. weights: (B, H, W).
    """
    known = labels != IGNORE
    target = labels.masked_fill(~known, 0)
    cross = functional.cross_entropy(logits, target, reduction="none")
    weights = weights * known
    entropy = (cross * weights).sum() / weights.sum().clamp(min=1)
    mask = known.unsqueeze(1)
    predicted = logits.softmax(1) * mask
    truth = functional.one_hot(target, logits.shape[1]).permute(0, 3, 1, 2) * mask
    axes = (0, 2, 3)
    dice = (2 * (predicted * truth).sum(axes) + 1) / (predicted.sum(axes) + truth.sum(axes) + 1)
    total = entropy
    for weight, of_class in zip(dice_weights, dice[1:], strict=True):
        total = total + weight * (1 - of_class)
    return total, {
        "loss": float(total.detach()),
        "cross_entropy": float(entropy.detach()),
        "liver_dice": float(dice[1].detach()),
        "tumor_dice": float(dice[-1].detach()),
    }


def paper_loss(logits: Tensor, labels: Tensor) -> tuple[Tensor, dict[str, float]]:
    """The hybrid2d paper's loss of the pixels that are known; shapes as in weighted_loss."""
    known = labels != IGNORE
    columns = logits.permute(1, 0, 2, 3)[:, known][None, :, :, None]  # (1, classes, n, 1)
    loss = CombinedLoss()(columns, labels[known][None, :, None])
    _, parts = weighted_loss(logits.detach(), labels, known.float(), (1.0,) * (logits.shape[1] - 1))
    return loss, {**parts, "loss": float(loss.detach())}


def learning_rate(step: int, recipe: StepRecipe) -> float:
    """The rate of a step: a linear warm-up, then constant or half a cosine to nothing."""
    if step < recipe.warmup:
        return recipe.learning_rate * (step + 1) / recipe.warmup
    if recipe.constant:
        return recipe.learning_rate
    done = (step - recipe.warmup) / max(1, recipe.steps - recipe.warmup)
    return recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


def new_sampler(
    recipe: StepRecipe, prepared: Path, *, hold_out: Collection[str], weak_only: bool
) -> tuple[PatchSampler | SliceSampler, dict[str, str]]:
    """The batch sampler, and the patient of each CT that it draws from.

    hold_out: patient groups that are left out. weak_only: none but those who are never scored.
    """
    cases: Any = load_boxes(prepared) if recipe.data == "boxes" else load_slices(prepared)
    cases = [case for case in cases if case.group not in hold_out]
    if weak_only:
        cases = [c for c in cases if c.kind == "weak" or c.group in WEAK_AND_NEVER_SCORED]
    if not cases:
        raise ValueError(f"{prepared.name} holds no patients but those who are left out.")
    groups = {case.name: case.group for case in cases}
    if recipe.data == "boxes":
        return PatchSampler(cases, recipe.patches, seed=recipe.seed), groups
    preprocessing = SlicePreprocessing(size_px=recipe.size_px)
    share = recipe.patches.weak_share
    return SliceSampler(cases, preprocessing, seed=recipe.seed, weak_share=share), groups


class StepTrainer:
    """A training that can be stopped after any step and goes on from its checkpoint.

    bf16: compute in bfloat16 where that is faster (GPUs; processors with AMX or AVX512-BF16).
    init: a run folder, or a model file, whose weights this one begins with.
    """

    def __init__(
        self,
        recipe: StepRecipe,
        folder: Path,
        *,
        device: torch.device,
        bf16: bool = False,
        init: Path | None = None,
    ) -> None:
        self.recipe, self.folder, self.device, self.bf16 = recipe, folder, device, bf16
        folder.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(recipe.seed)
        self.net = self._new_net()
        if init is not None:
            _begin_with(self.net, init, device)
        # a net of its own and no copy: making it draws random numbers, as it always has
        self.average = WeightAverage(
            self._new_net(), recipe.ema, whole_first=False, average_statistics=True
        )
        self.average.net.load_state_dict(self.net.state_dict())
        self.optimizer = torch.optim.AdamW(
            self.net.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay
        )
        self.step, self.seconds = 0, 0.0
        if (folder / CHECKPOINT).exists():
            self._restore(folder / CHECKPOINT)

    def _new_net(self) -> nn.Module:
        net = Hybrid2d(**self.recipe.net_args).to(self.device)
        return net.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]

    def _restore(self, checkpoint: Path) -> None:
        state = _load(checkpoint, self.device)
        try:
            self.net.load_state_dict(state["net"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.step, self.seconds = int(state["step"]), float(state["seconds"])
            self.average.restore({"net": state["ema"], "steps": self.step})
        except Exception as error:  # whatever torch says of a file of another run, or of none
            raise ValueError(
                f"{checkpoint.parent.name}/{checkpoint.name} is no checkpoint of this run; name a"
                " new folder."
            ) from error

    def save(self) -> None:
        """Write the checkpoint, whole or not at all."""
        state = {
            "net": self.net.state_dict(),
            "ema": self.average.net.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "seconds": self.seconds,
        }
        with whole_file(self.folder / CHECKPOINT) as part:
            torch.save(state, part)

    def train(
        self,
        sampler: PatchSampler | SliceSampler,
        minutes: float | None = None,
        watch: Log = no_log,
    ) -> None:
        """Take the steps that are left, or those of so many minutes.

        watch: receives what the log says, too.
        """
        sampler.drawn = self.step
        began = saved = time.monotonic()
        before = self.seconds
        log: list[dict[str, float]] = []
        while self.step < self.recipe.steps:
            log.append(self.one_step(sampler.batch(self.recipe.batch)))
            now = time.monotonic()
            self.seconds = before + now - began
            if self.step % LOG_STEPS == 0:
                watch(self.step, self._write_log(log))
                log = []
            if minutes is not None and now - began > 60 * minutes:
                break
            if now - saved > CHECKPOINT_S:
                self.save()
                saved = now
        self.save()

    def one_step(self, batch: Batch) -> dict[str, float]:
        """One step of the optimizer and of the running average; what the loss was made of."""
        images = torch.from_numpy(batch.images).to(self.device)
        images = images.contiguous(memory_format=torch.channels_last)
        labels = torch.from_numpy(batch.labels).to(self.device)
        weights = torch.from_numpy(batch.weights).to(self.device)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.step, self.recipe)
        self.net.train()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            logits = self.net(images)
        if self.recipe.paper_loss:
            loss, parts = paper_loss(logits.float(), labels)
        else:
            loss, parts = weighted_loss(logits.float(), labels, weights, self.recipe.dice_weights)
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(self.net.parameters(), self.recipe.clip)
        self.optimizer.step()
        self.average.update(self.net)
        self.step += 1
        return parts

    def _write_log(self, log: list[dict[str, float]]) -> dict[str, float]:
        """A row of means, which is what comes back."""
        path = self.folder / LOG
        means = {name: sum(row[name] for row in log) / len(log) for name in log[0]}
        row: dict[str, float] = {"step": self.step, "seconds": round(self.seconds)}
        row |= {name: round(value, 4) for name, value in means.items()}
        new = not path.exists()
        with open(path, "a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, row.keys())
            if new:
                writer.writeheader()
            writer.writerow(row)
        return row


def train_steps(
    recipe: StepRecipe,
    prepared: Path,
    folder: Path,
    *,
    device: str,
    bf16: bool = False,
    init: Path | None = None,
    hold_out: Collection[str] = (),
    weak_only: bool = False,
    minutes: float | None = None,
    log: Log = no_log,
) -> None:
    """Begin or go on with a run; its folder gets checkpoint.pt, log.csv, run.json and the model.

    Who trained the weights that it begins with counts as training data too.
    """
    sampler, groups = new_sampler(recipe, prepared, hold_out=hold_out, weak_only=weak_only)
    trainer = StepTrainer(recipe, folder, device=torch.device(device), bf16=bf16, init=init)
    patients = {**_groups_of(init), **groups}
    record = {
        "recipe": asdict(recipe),
        "init": init.name if init else None,
        "held_out": sorted(hold_out),
        "cases": sorted(groups),
        "groups": patients,
    }
    with whole_file(folder / RECORD) as part:
        part.write_text(json.dumps(record, indent=1), encoding="utf-8")
    trainer.train(sampler, minutes, log)
    spec = step_spec(
        recipe,
        patients,
        steps=trainer.step,
        hours=trainer.seconds / 3600,
        pixel_mm=sampler.pixel_mm if isinstance(sampler, PatchSampler) else None,
    )
    ModelFile(spec, dict(trainer.average.net.state_dict())).save(folder / MODEL)


def step_spec(
    recipe: StepRecipe,
    groups: Mapping[str, str],
    *,
    steps: int,
    hours: float,
    pixel_mm: float | None = None,
) -> ModelSpec:
    """The description of the model file that a run gives.

    groups: patient of each CT trained on. pixel_mm: of its boxes; None for the usual.
    """
    boxes = recipe.data == "boxes"
    low, high = WINDOW_HU
    around = replace(PREPROCESSING, gray=recipe.patches.gray)
    if pixel_mm is not None:
        around = replace(around, pixel_mm=pixel_mm)
    if recipe.patches.single_share == 1:  # it has learned without neighbors, and gets none
        around = replace(around, near_mm=0.0)
    return ModelSpec(
        name="hybrid2d-tumor" if boxes else "hybrid2d-liver",
        version="0",
        net="hybrid2d",
        net_args=recipe.net_args,
        preprocessing=(around if boxes else SlicePreprocessing(size_px=recipe.size_px)).to_dict(),
        labels={label.name.lower(): int(label) for label in Label} if boxes else STAGES["liver"],
        training_hu_range=(low, high),
        postprocessing=Postprocessing().to_dict(),
        provenance={
            "train": sorted({_number(name) for name in groups}),
            "train_groups": sorted(set(groups.values())),
            "val": [],
            "recipe": json.loads(json.dumps(asdict(recipe))),
            "steps": steps,
            "hours": round(hours, 2),
        },
        storage="fp32",
    )


def _number(name: str) -> str:
    """The LiTS number in the name of a box or stack: of whole CTs and of scattered slices."""
    return name.removeprefix("volume-").removeprefix("lits")


def _groups_of(init: Path | None) -> dict[str, str]:
    """The patient of each CT that trained what a run begins with."""
    if init is None:
        return {}
    if init.is_dir():
        groups: dict[str, str] = read_json(init / RECORD).get("groups", {})
        return groups
    known = ModelFile.load(init).spec.provenance
    return {group: group for group in known.get("train_groups", [])} | {
        name: name for name in known.get("train", [])
    }


def trained_network(init: Path, recipe: StepRecipe, device: torch.device) -> nn.Module:
    """The network of a run folder or model file, its running average, ready to predict."""
    net = Hybrid2d(**recipe.net_args).to(device)
    _begin_with(net, init, device)
    return net.eval()


def _begin_with(net: nn.Module, init: Path, device: torch.device) -> None:
    try:
        net.load_state_dict(_weights_of(init, device))
    except (RuntimeError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"The weights of {init.name} do not fit this net; begin with another run or file."
        ) from error


def _weights_of(init: Path, device: torch.device) -> dict[str, Any]:
    if init.is_dir():
        weights: dict[str, Any] = _load(init / CHECKPOINT, device)["ema"]
        return weights
    return ModelFile.load(init).state


def _load(path: Path, device: torch.device) -> dict[str, Any]:
    try:
        state: dict[str, Any] = torch.load(path, weights_only=True, map_location=device)
    except FileNotFoundError:
        raise ValueError(f"{path.parent.name} holds no {path.name}; name a run folder.") from None
    except Exception as error:  # whatever a torn or foreign file raises
        raise ValueError(f"{path.parent.name}/{path.name} cannot be read; train anew.") from error
    return state

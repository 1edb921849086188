"""One training run: the net, its optimizer, and where in the recipe it is.

    trainer = SliceTrainer(recipe, data, device="cpu")
    while not trainer.finished:
        facts = trainer.run_epoch()
        facts |= trainer.validate(validation, int(facts["size_px"]))
        best = trainer.finish_epoch(facts)

With several ``processes`` (training.learn.distributed) each calls the same: a batch is shared out
over them, and losses, gradients, scores and the clock are those of all together.
"""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import nullcontext
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from LiverTumorSegLib.labels import Label
from LiverTumorSegLib.nets import NETS
from numpy.typing import NDArray
from torch import Tensor, nn

from training.data.slices import SliceSet, resize_batch, to_batch
from training.learn.distributed import ALONE, Processes, lone_norms
from training.learn.losses import Reduce
from training.learn.recipes import BaseRecipe, SliceRecipe

Facts = dict[str, float]
Rows = NDArray[np.int64]  # of a batch, one entry a sample
RecipeT = TypeVar("RecipeT", bound=BaseRecipe)
DataT = TypeVar("DataT")
PROCESS_SEEDS = 10**9  # apart: no epoch of one process has the random numbers of another's


class WeightAverage:
    """Exponential average of the parameters, in a net of its own that is always in eval mode.

    decay: what of the average stays at each step, 0 to 1; after n steps not more than
        (1 + n) / (10 + n), so that the first, poor weights are soon forgotten.
        Raises ``ValueError`` outside of [0, 1).
    whole_first: take the weights of the first step whole.
    average_statistics: of batch norms too, at each step; else see :meth:`take_statistics`.
    """

    def __init__(
        self,
        net: nn.Module,
        decay: float,
        *,
        whole_first: bool = True,
        average_statistics: bool = False,
    ) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"ema is {decay}; give a decay from 0 to less than 1, as 0.995.")
        self.net = deepcopy(net).requires_grad_(False).eval()
        self.decay, self.steps = decay, 0
        self.whole_first, self.average_statistics = whole_first, average_statistics

    @torch.no_grad()
    def update(self, net: nn.Module) -> None:
        """Move toward the parameters that ``net`` has after a step."""
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        if self.whole_first and self.steps == 0:
            decay = 0.0
        own, new = ([p.data for p in one.parameters()] for one in (self.net, net))
        torch._foreach_lerp_(own, new, 1 - decay)
        if self.average_statistics:
            for average, other in zip(self.net.buffers(), net.buffers(), strict=True):
                if average.is_floating_point():
                    average.lerp_(other, 1 - decay)
        self.steps += 1

    @torch.no_grad()
    def take_statistics(self, net: nn.Module) -> None:
        """Copy what is no parameter: the running statistics of batch norms are averages already."""
        for own, new in zip(self.net.buffers(), net.buffers(), strict=True):
            own.copy_(new)

    def state(self) -> dict[str, Any]:
        """Plain tensors and numbers, for a checkpoint."""
        return {"net": self.net.state_dict(), "steps": self.steps}

    def restore(self, state: dict[str, Any]) -> None:
        self.net.load_state_dict(state["net"])
        self.steps = state["steps"]


@dataclass
class Clock:
    """Seconds a run has taken, over all its sittings.

    Of several processes the first's counts, as it was when all last called ``agree``, so that all
    find the same learning rate and end with the same step.
    """

    before_s: float = 0.0
    processes: Processes = ALONE
    started: float = field(default_factory=time.monotonic)
    agreed_s: float | None = None

    @property
    def elapsed_s(self) -> float:
        if self.processes.count == 1:
            return self._now_s
        return self.before_s if self.agreed_s is None else self.agreed_s

    def agree(self) -> None:
        self.agreed_s = self.processes.broadcast(self._now_s)

    @property
    def _now_s(self) -> float:
        return self.before_s + time.monotonic() - self.started


def cosine_rate(recipe: BaseRecipe, done: float) -> float:
    """Warm-up, then half a cosine down to a hundredth."""
    warm = min(1.0, (done + 1e-3) / recipe.warmup_share) if recipe.warmup_share else 1.0
    return recipe.learning_rate * warm * (0.01 + 0.99 * (1 + math.cos(math.pi * done)) / 2)


def poly_rate(recipe: BaseRecipe, done: float) -> float:
    """nnU-Net's fall to nothing, nearly straight."""
    rate: float = recipe.learning_rate * max(1 - done, 0.0) ** 0.9
    return rate


# by BaseRecipe.schedule: the learning rate when a share ``done`` of the run is over; a schedule
# that is not here goes by the validation loss, between epochs
RATES: dict[str, Callable[[BaseRecipe, float], float]] = {"cosine": cosine_rate, "poly": poly_rate}


def _mean_dice(facts: Facts) -> float:
    """The mean Dice over what the net finds: liver, tumor or both."""
    found = [facts[key] for key in ("val_liver_dice", "val_tumor_dice") if key in facts]
    return sum(found) / len(found)


# by BaseRecipe.select: of two epochs the one with the smaller value is better
SELECTORS: dict[str, Callable[[Facts], float]] = {
    "loss": lambda facts: facts["val_loss"],
    "dice": lambda facts: -_mean_dice(facts),
    "last": lambda facts: -math.inf,
}


def adamw(net: nn.Module, recipe: BaseRecipe, device: str) -> torch.optim.Optimizer:
    return torch.optim.AdamW(
        net.parameters(),
        lr=recipe.learning_rate,
        weight_decay=recipe.weight_decay,
        fused=device.startswith("cuda"),
    )


class SliceBatches:
    """Slices as batches on the device: on CUDA all live there, once for each device.

    HU shifts are made on the host, batch by batch.
    """

    def __init__(self, data: SliceSet, device: str, hu_shift: float = 0.0) -> None:
        self.data, self.device, self.hu_shift = data, device, hu_shift
        self.images = torch.from_numpy(data.images).to(device)
        self.labels = torch.from_numpy(data.labels).to(device)

    def batch(
        self, rows: np.ndarray[Any, Any], random: np.random.Generator, size_px: int
    ) -> tuple[Tensor, Tensor]:
        """Images (B, 1, size, size) float in [0, 1] and labels (B, size, size) int64 of rows."""
        index = torch.from_numpy(rows).to(self.device)
        if self.hu_shift > 0:
            shifted = self.data.shifted(rows, random, self.hu_shift, share=0.7)
            grays = torch.from_numpy(shifted).to(self.device)
        else:
            grays = self.images[index]
        return resize_batch(grays, self.labels[index], size_px)


class Trainer(ABC, Generic[RecipeT, DataT]):
    """One run: the net, its optimizer, and where in the recipe it is; subclasses know the data.

    layout: of tensors in memory. batches: what :meth:`batch` takes samples from.
    Raises ``ValueError`` when a batch has fewer samples than there are processes.
    """

    layout: torch.memory_format = torch.contiguous_format
    samples = "samples"

    def __init__(
        self,
        recipe: RecipeT,
        data: DataT,
        *,
        device: str = "cpu",
        bf16: bool = False,
        minutes: float | None = None,
        processes: Processes = ALONE,
    ) -> None:
        if recipe.batch < processes.count:
            raise ValueError(
                f"A batch of {recipe.batch} {self.samples} cannot be shared out over"
                f" {processes.count} processes; start fewer."
            )
        torch.manual_seed(recipe.seed)
        self.recipe, self.data, self.device, self.bf16 = recipe, data, device, bf16
        self.minutes, self.processes = minutes, processes
        net = processes.sync_batch_norm(NETS[recipe.net](**recipe.net_args), device)
        self.net: nn.Module = net.to(device).to(memory_format=self.layout)  # type: ignore[call-overload]
        self.average = WeightAverage(self.net, recipe.ema) if recipe.ema else None
        self.optimizer = self.make_optimizer()
        self.plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(
            self.optimizer, factor=recipe.plateau_factor, patience=recipe.plateau_patience
        )
        self.epoch, self.best, self.best_size_px = 0, math.inf, 0
        self.load()
        self.clock = Clock(0.0, processes)  # last: none of the minutes goes into imports and copies

    @abstractmethod
    def load(self) -> None:
        """Bring ``data`` to where batches are made of it."""

    @abstractmethod
    def make_optimizer(self) -> torch.optim.Optimizer: ...

    @abstractmethod
    def epoch_rows(self, random: np.random.Generator) -> list[Rows]:
        """The samples of each batch of an epoch, the same in all processes."""

    @abstractmethod
    def batch(
        self, rows: Rows, random: np.random.Generator, generator: torch.Generator, size_px: int
    ) -> tuple[Tensor, Tensor]:
        """Augmented images and labels of this process's part of a batch, on the device."""

    @abstractmethod
    def loss(self, logits: Any, labels: Tensor, reduce: Reduce) -> Tensor:
        """The loss of the whole batch, from this process's part."""

    @abstractmethod
    def validate(self, data: DataT, size_px: int) -> Facts:
        """``val_loss`` and ``val_..._dice`` of what ``eval_model`` finds; changes nothing."""

    @property
    def eval_model(self) -> nn.Module:
        """The net that is validated and saved: the averaged one, from the first step on, if any.

        The average is of no use before, for the weights to begin with may have come after it.
        """
        return self.average.net if self.average and self.average.steps else self.net

    @cached_property
    def parallel(self) -> nn.Module:
        """The net as it is called to train; made at the first step, when all weights are loaded."""
        return self.processes.wrap_ddp(self.net, self.device)

    @property
    def progress(self) -> float:
        """Share of the run that is over, 0 to 1: of its minutes if limited, else of its epochs."""
        if self.minutes is not None:
            return min(1.0, self.clock.elapsed_s / (60 * self.minutes))
        return min(1.0, self.epoch / self.recipe.epochs)

    @property
    def finished(self) -> bool:
        return self.progress >= 1.0

    @property
    def normalizes_alone(self) -> bool:
        """Whether batch norms of several processes see but their own part of each batch."""
        return self.processes.count > 1 and any(True for _ in lone_norms(self.net))

    def autocast(self) -> Any:
        kind = self.device.split(":")[0]
        return torch.autocast(kind, torch.bfloat16) if self.bf16 else nullcontext()

    def run_epoch(self, show: Any = iter) -> Facts:
        """One pass over the sampled batches; the mean loss, the size and the steps."""
        recipe, processes = self.recipe, self.processes
        order, shifts, generator = self._random_numbers()
        size = recipe.size_at(self.progress)
        batches = self.epoch_rows(order)
        total = torch.zeros((), device=self.device)
        self.net.train()
        steps = 0
        for step, rows in enumerate(show(batches)):
            if self.minutes is not None:
                self.clock.agree()
                if self.finished:
                    break
            self.set_learning_rate(step / len(batches))
            own_rows, weight = processes.share(rows)
            images, labels = self.batch(own_rows, shifts, generator, size)
            total += self.step(images, labels, weight)
            steps += 1
        processes.average_statistics(self.net)
        if self.average:
            self.average.take_statistics(self.net)
        return {"train_loss": float(total) / max(steps, 1), "size_px": size, "steps": steps}

    def _random_numbers(self) -> tuple[np.random.Generator, np.random.Generator, torch.Generator]:
        """For the order of samples, the same in all processes; for HU shifts; for augmentation.

        Every epoch seeds its own: a continued run needs no stored generator.
        """
        seed, epoch, rank = self.recipe.seed, self.epoch, self.processes.rank
        order = np.random.default_rng((seed, epoch))
        shifts = np.random.default_rng((seed, epoch, rank)) if rank else order
        torch.manual_seed(seed * 100_003 + epoch + rank * PROCESS_SEEDS)  # dropout
        generator = torch.Generator(self.device)
        generator.manual_seed(seed * 7 + epoch + rank * PROCESS_SEEDS)
        return order, shifts, generator

    def step(self, images: Tensor, labels: Tensor, weight: float = 1.0) -> Tensor:
        """One update; the loss, left on the device so that the host need not wait.

        weight: what each sample counts, as ``Processes.share`` tells; the loss is of all of them.
        """
        reduce = partial(self.processes.all_reduce, weight=weight)
        with self.autocast():
            logits = self.parallel(images.contiguous(memory_format=self.layout))
        loss = self.loss(logits, labels, reduce)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.net.parameters(), self.recipe.clip_norm)
        self.optimizer.step()
        if self.average:
            self.average.update(self.net)
        return loss.detach()

    def set_learning_rate(self, within_epoch: float) -> None:
        """Step by step where the schedule says so; the plateau's changes between epochs."""
        rate_at = RATES.get(self.recipe.schedule)
        if rate_at is None:
            return
        done = self.progress
        if self.minutes is None:
            done += within_epoch / self.recipe.epochs
        rate = rate_at(self.recipe, done)
        for group in self.optimizer.param_groups:
            group["lr"] = rate

    def finish_epoch(self, facts: Facts) -> bool:
        """Step the schedule, count the epoch; whether it is the best so far at its slice size."""
        self.clock.agree()
        if self.recipe.schedule not in RATES:
            self.plateau.step(facts["val_loss"])
        self.epoch += 1
        value, size_px = SELECTORS[self.recipe.select](facts), int(facts["size_px"])
        last = self.recipe.select == "last"
        better = last or value < self.best or size_px != self.best_size_px
        if better:
            self.best, self.best_size_px = value, size_px
        return better

    def state(self) -> dict[str, Any]:
        """Everything a continued run needs, as plain tensors and numbers."""
        return {
            "net": self.net.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "plateau": self.plateau.state_dict(),
            "epoch": self.epoch,
            "best": self.best,
            "best_size_px": self.best_size_px,
            "elapsed_s": self.clock.elapsed_s,
            **({"average": self.average.state()} if self.average else {}),
        }

    def restore(self, state: dict[str, Any]) -> None:
        self.net.load_state_dict(state["net"])
        if self.average:
            self.average.restore(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.plateau.load_state_dict(state["plateau"])
        self.epoch = state["epoch"]
        self.best, self.best_size_px = state["best"], state["best_size_px"]
        self.clock = Clock(state["elapsed_s"], self.processes)


class SliceTrainer(Trainer[SliceRecipe, SliceSet]):
    """A run on slices, with AdamW."""

    layout = torch.channels_last
    samples = "slices"

    def load(self) -> None:
        self.batches = SliceBatches(self.data, self.device, self.recipe.hu_shift)

    def make_optimizer(self) -> torch.optim.Optimizer:
        return adamw(self.net, self.recipe, self.device)

    def epoch_rows(self, random: np.random.Generator) -> list[Rows]:
        return list(self.recipe.sampling.batches(self.data, self.recipe.batch, random))

    def batch(
        self, rows: Rows, random: np.random.Generator, generator: torch.Generator, size_px: int
    ) -> tuple[Tensor, Tensor]:
        images, labels = self.batches.batch(rows, random, size_px)
        return self.recipe.augmentation(images, labels, generator)

    def loss(self, logits: Any, labels: Tensor, reduce: Reduce) -> Tensor:
        return self.recipe.loss(logits, labels, reduce)

    @torch.no_grad()
    def validate(self, data: SliceSet, size_px: int) -> Facts:
        """Loss and pooled Dice of liver (with tumor) and tumor over all slices of ``data``.

        Processes take whole batches in turn, so that the loss does not depend on their number.
        """
        net = self.eval_model.eval()
        loss = torch.zeros((), device=self.device)
        counts = torch.zeros(2, 3, device=self.device)  # (liver, tumor) x (shared, predicted, true)
        starts = range(0, len(data), self.recipe.batch)
        for start in starts[self.processes.rank :: self.processes.count]:
            part = slice(start, start + self.recipe.batch)
            images, labels = to_batch(data.images[part], data.labels[part], size_px, self.device)
            with self.autocast():
                logits = net(images.contiguous(memory_format=torch.channels_last))
            loss += self.recipe.loss(logits, labels) * len(labels)
            counts += _overlap(logits.argmax(1), labels)
        loss, counts = self.processes.all_reduce(loss), self.processes.all_reduce(counts)
        shared, predicted, true = counts.cpu().double().T
        dice = (2 * shared / (predicted + true).clamp(min=1)).tolist()
        return {
            "val_loss": float(loss) / len(data),
            "val_liver_dice": dice[0],
            "val_tumor_dice": dice[1],
        }


def _overlap(predicted: Tensor, true: Tensor) -> Tensor:
    """Pixel counts [shared, predicted, true] of liver (label >= 1) and tumor: (2, 3)."""
    rows = []
    for p, t in (
        (predicted >= Label.LIVER, true >= Label.LIVER),
        (predicted == Label.TUMOR, true == Label.TUMOR),
    ):
        rows.append(torch.stack([(p & t).sum(), p.sum(), t.sum()]))
    return torch.stack(rows).float()

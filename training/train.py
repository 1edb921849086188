"""Train a network on prepared slices.

    python -m training.train prepared -o runs/paper --recipe paper
    python -m training.train prepared -o runs/small --recipe cpu --minutes 90
    python -m training.train prepared -o runs/more --init model.safetensors --epochs 20

The run folder gets recipe.json, history.jsonl (a line an epoch), last.pt (to go on from, by calling
the same command again) and best.safetensors (the best epoch as a model file). On a CPU, a run that
was stopped after an epoch and continued gives the same bits as one that was not.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from LiverTumorSegLib.bundle import BundleError, ModelBundle, ModelSpec
from LiverTumorSegLib.labels import Label
from LiverTumorSegLib.nets import NETS
from LiverTumorSegLib.postprocess import Postprocessing
from torch import Tensor, nn

from training.datasets import SliceSet, load_split, read_manifest, resize_batch
from training.recipes import RECIPES, Recipe


def pick_device(wanted: str) -> str:
    """CUDA where there is a device for "auto", else the CPU."""
    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return wanted


def pick_bf16(wanted: str, device: str) -> bool:
    """bf16 on CUDA and on processors with matrix tiles for it; elsewhere it is far slower."""
    if wanted != "auto":
        return wanted == "bf16"
    if device.startswith("cuda"):
        return True
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()  # torch 2.10 on
    return bool(capabilities.get("amx_bf16", False))


@dataclass
class Clock:
    """Seconds a run has taken, over all its sittings."""

    before_s: float = 0.0
    started: float = field(default_factory=time.monotonic)

    @property
    def elapsed_s(self) -> float:
        return self.before_s + time.monotonic() - self.started


class Trainer:
    """One run: the net, its optimizer, and where in the recipe it is."""

    def __init__(
        self,
        recipe: Recipe,
        data: SliceSet,
        *,
        device: str = "cpu",
        bf16: bool = False,
        minutes: float | None = None,
    ) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe, self.data, self.device, self.bf16 = recipe, data, device, bf16
        self.minutes, self.clock = minutes, Clock()
        net = NETS[recipe.net](**recipe.net_args)
        self.net: nn.Module = net.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizer = torch.optim.AdamW(
            self.net.parameters(),
            lr=recipe.learning_rate,
            weight_decay=recipe.weight_decay,
            fused=device.startswith("cuda"),
        )
        self.plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(
            self.optimizer, factor=recipe.plateau_factor, patience=recipe.plateau_patience
        )
        self.epoch, self.best, self.best_size_px = 0, math.inf, 0
        # on CUDA all slices live on the device; HU shifts are made on the host, batch by batch
        self.images = torch.from_numpy(data.images).to(device)
        self.labels = torch.from_numpy(data.labels).to(device)

    @property
    def progress(self) -> float:
        """Share of the run that is over, 0 to 1: of its minutes if given, else of its epochs."""
        if self.minutes is not None:
            return min(1.0, self.clock.elapsed_s / (60 * self.minutes))
        return min(1.0, self.epoch / self.recipe.epochs)

    @property
    def finished(self) -> bool:
        return self.progress >= 1.0

    def autocast(self) -> Any:
        kind = self.device.split(":")[0]
        return torch.autocast(kind, torch.bfloat16) if self.bf16 else nullcontext()

    def run_epoch(self, show: Any = iter) -> dict[str, float]:
        """One pass over the sampled slices; the mean loss and learning rate."""
        recipe = self.recipe
        # every epoch seeds its own numbers: a continued run needs no stored generator
        random = np.random.default_rng((recipe.seed, self.epoch))
        torch.manual_seed(recipe.seed * 100_003 + self.epoch)
        generator = torch.Generator(self.device).manual_seed(recipe.seed * 7 + self.epoch)
        size = recipe.size_at(self.progress)
        batches = list(recipe.sampling.batches(self.data, recipe.batch, random))
        total = torch.zeros((), device=self.device)
        self.net.train()
        steps = 0
        for step, rows in enumerate(show(batches)):
            if self.minutes is not None and self.finished:
                break
            self.set_learning_rate(step / len(batches))
            images, labels = self.batch(rows, random, size)
            images, labels = recipe.augmentation(images, labels, generator)
            total += self.step(images, labels)
            steps += 1
        return {"train_loss": float(total) / max(steps, 1), "size_px": size, "steps": steps}

    def batch(
        self, rows: np.ndarray[Any, Any], random: np.random.Generator, size_px: int
    ) -> tuple[Tensor, Tensor]:
        index = torch.from_numpy(rows).to(self.device)
        if self.recipe.hu_shift > 0:
            shifted = self.data.shifted(rows, random, self.recipe.hu_shift, share=0.7)
            grays = torch.from_numpy(shifted).to(self.device)
        else:
            grays = self.images[index]
        return resize_batch(grays, self.labels[index], size_px)

    def step(self, images: Tensor, labels: Tensor) -> Tensor:
        """One update; the loss, left on the device so that the host need not wait."""
        with self.autocast():
            logits = self.net(images.contiguous(memory_format=torch.channels_last))
        loss = self.recipe.loss(logits, labels)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.net.parameters(), self.recipe.clip_norm)
        self.optimizer.step()
        return loss.detach()

    def set_learning_rate(self, within_epoch: float) -> None:
        """Warm-up and cosine fall; the plateau schedule changes only between epochs."""
        recipe = self.recipe
        if recipe.schedule != "cosine":
            return
        done = self.progress
        if self.minutes is None:
            done += within_epoch / recipe.epochs
        warm = min(1.0, (done + 1e-3) / recipe.warmup_share) if recipe.warmup_share else 1.0
        rate = recipe.learning_rate * warm * (0.01 + 0.99 * (1 + math.cos(math.pi * done)) / 2)
        for group in self.optimizer.param_groups:
            group["lr"] = rate

    @torch.no_grad()
    def validate(self, data: SliceSet, size_px: int) -> dict[str, float]:
        """Loss and pooled Dice of liver (with tumor) and tumor over all slices of ``data``."""
        self.net.eval()
        loss = torch.zeros((), device=self.device)
        counts = torch.zeros(2, 3, device=self.device)  # (liver, tumor) x (shared, predicted, true)
        for start in range(0, len(data), self.recipe.batch):
            part = slice(start, start + self.recipe.batch)
            grays = torch.from_numpy(data.images[part]).to(self.device)
            truth = torch.from_numpy(data.labels[part]).to(self.device)
            images, labels = resize_batch(grays, truth, size_px)
            with self.autocast():
                logits = self.net(images.contiguous(memory_format=torch.channels_last))
            loss += self.recipe.loss(logits, labels) * len(labels)
            counts += _overlap(logits.argmax(1), labels)
        shared, predicted, true = counts.cpu().double().T
        dice = (2 * shared / (predicted + true).clamp(min=1)).tolist()
        return {
            "val_loss": float(loss) / len(data),
            "val_liver_dice": dice[0],
            "val_tumor_dice": dice[1],
        }

    def finish_epoch(self, facts: dict[str, float]) -> bool:
        """Step the schedule, count the epoch; whether it is the best so far at its slice size."""
        if self.recipe.schedule == "plateau":
            self.plateau.step(facts["val_loss"])
        self.epoch += 1
        value = facts["val_loss"]
        if self.recipe.select == "dice":
            value = -(facts["val_liver_dice"] + facts["val_tumor_dice"]) / 2
        size_px = int(facts["size_px"])
        better = value < self.best or size_px != self.best_size_px
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
        }

    def restore(self, state: dict[str, Any]) -> None:
        self.net.load_state_dict(state["net"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.plateau.load_state_dict(state["plateau"])
        self.epoch = state["epoch"]
        self.best, self.best_size_px = state["best"], state["best_size_px"]
        self.clock = Clock(before_s=state["elapsed_s"])


def _overlap(predicted: Tensor, true: Tensor) -> Tensor:
    """Pixel counts [shared, predicted, true] of liver (label >= 1) and tumor: (2, 3)."""
    rows = []
    for p, t in (
        (predicted >= Label.LIVER, true >= Label.LIVER),
        (predicted == Label.TUMOR, true == Label.TUMOR),
    ):
        rows.append(torch.stack([(p & t).sum(), p.sum(), t.sum()]))
    return torch.stack(rows).float()


def train(trainer: Trainer, validation: SliceSet, folder: Path, spec: ModelSpec) -> None:
    """Run epochs until the recipe is done; files in ``folder`` as the module says."""
    from tqdm import tqdm

    checkpoint = folder / "last.pt"
    if checkpoint.is_file():
        state = torch.load(checkpoint, map_location=trainer.device, weights_only=True)
        trainer.restore(state)
    while not trainer.finished:
        started = time.monotonic()
        epoch = trainer.epoch

        def show(batches: Sequence[Any], epoch: int = epoch) -> Iterator[Any]:
            bar = tqdm(batches, desc=f"epoch {epoch}", unit="batch", leave=False, mininterval=5)
            return iter(bar)

        facts = trainer.run_epoch(show)
        facts |= trainer.validate(validation, int(facts["size_px"]))
        rate = trainer.optimizer.param_groups[0]["lr"]
        better = trainer.finish_epoch(facts)
        facts |= {"epoch": epoch, "learning_rate": rate, "seconds": time.monotonic() - started}
        if better:
            ModelBundle(spec, dict(trainer.net.state_dict())).save(folder / "best.safetensors")
        _save_checkpoint(checkpoint, trainer.state())
        with open(folder / "history.jsonl", "a") as history:
            history.write(json.dumps({k: _six_digits(v) for k, v in facts.items()}) + "\n")


def _six_digits(value: float) -> float:
    """Six significant digits: a late learning rate is far below one millionth."""
    return value if isinstance(value, int) else float(f"{value:.6g}")


def new_spec(recipe: Recipe, prepared: Path, validation: SliceSet, data: SliceSet) -> ModelSpec:
    """The description of what this run will give; scores are added by ``training.export``."""
    manifest = read_manifest(prepared)
    groups = {c["group"] for c in manifest["cases"] if c["split"] == "train"}
    return ModelSpec(
        name=recipe.net,
        version="0",
        net=recipe.net,
        net_args=recipe.net_args,
        preprocessing=manifest["preprocessing"],
        labels={label.name.lower(): int(label) for label in Label},
        training_hu_range=(manifest["hu_range"][0], manifest["hu_range"][1]),
        postprocessing=Postprocessing().to_dict(),
        provenance={
            "train": list(data.cases),
            "train_groups": sorted(groups),
            "val": list(validation.cases),
            "recipe": _as_dict(recipe),
        },
        storage="fp32",
    )


def _as_dict(recipe: Recipe) -> dict[str, Any]:
    stored: dict[str, Any] = json.loads(json.dumps(asdict(recipe)))
    return stored


def _save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    part = path.with_suffix(".part")
    torch.save(state, part)
    os.replace(part, path)


def _choose_recipe(given: argparse.Namespace) -> Recipe:
    recipe = RECIPES[given.recipe]
    if given.epochs is not None:
        recipe = replace(recipe, epochs=given.epochs)
    if given.seed is not None:
        recipe = replace(recipe, seed=given.seed)
    if given.learning_rate is not None:
        recipe = replace(recipe, learning_rate=given.learning_rate)
    if given.init is not None:
        recipe = _with_net_of(recipe, ModelBundle.load(given.init).spec)
    if given.width is not None:
        recipe = replace(recipe, net_args={**recipe.net_args, "width": given.width})
    return recipe


def _with_net_of(recipe: Recipe, spec: ModelSpec) -> Recipe:
    """The recipe with the net that a model file was made for; how it drops out stays its own."""
    dropout = {k: v for k, v in recipe.net_args.items() if k in ("dropout", "attention_dropout")}
    return replace(recipe, net=spec.net, net_args={**spec.net_args, **dropout})


def _begin_with(net: nn.Module, bundle: ModelBundle) -> None:
    try:
        net.load_state_dict(bundle.state)
    except RuntimeError as error:
        raise ValueError(
            f"The weights of {bundle.spec.name} do not fit this net; leave out --width."
        ) from error


def _start_folder(folder: Path, recipe: Recipe) -> None:
    """Make the run folder, or check that it holds a run of the same recipe."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "recipe.json"
    if not path.is_file():
        path.write_text(json.dumps(_as_dict(recipe), indent=1))
    elif json.loads(path.read_text()) != _as_dict(recipe):
        raise ValueError(
            f"{folder.name} holds a run of another recipe; name a new folder with -o, or call it"
            " with the options it was begun with."
        )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m training.train",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("prepared", type=Path, help="folder written by training.prepare")
    parser.add_argument("-o", "--output", type=Path, required=True, help="run folder")
    parser.add_argument("--recipe", choices=sorted(RECIPES), default="paper")
    parser.add_argument("--init", type=Path, help="model file whose weights to begin with")
    parser.add_argument("--minutes", type=float, help="stop, annealed, after so many minutes")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--width", type=int, help="channels of the first level")
    parser.add_argument("--learning-rate", type=float)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", choices=("auto", "fp32", "bf16"), default="auto")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    given = _parser().parse_args(arguments)
    try:
        recipe = _choose_recipe(given)
        data = load_split(given.prepared, "train", with_windowed=recipe.hu_shift > 0)
        validation = load_split(given.prepared, "val")
        device = pick_device(given.device)
        trainer = Trainer(
            recipe,
            data,
            device=device,
            bf16=pick_bf16(given.precision, device),
            minutes=given.minutes,
        )
        if given.init is not None:
            _begin_with(trainer.net, ModelBundle.load(given.init))
        spec = new_spec(recipe, given.prepared, validation, data)
        _start_folder(given.output, recipe)
        train(trainer, validation, given.output, spec)
    except (ValueError, OSError, BundleError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())

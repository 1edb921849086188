"""Train a tumor network on liver boxes: a base on all who are not scored, branches for folds and product.

    python -m training.learn.boxes_trainer boxes -o runs/base --only-weak --steps 3000 --constant
    python -m training.learn.boxes_trainer boxes -o runs/fold0 --init runs/base --hold-out lits16 lits4

A run goes on from its own checkpoint when it is started again. ``--constant`` keeps the learning rate
after the warm-up, so that a base can be prolonged; a branch lets it fall to nothing along a cosine.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import os
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from LiverTumorSegLib.inference.preprocess import SlicePreprocessing
from LiverTumorSegLib.nets.hybrid2d import Hybrid2d
from torch import Tensor
from torch.nn import functional

from training.data.box_patches import Batch, PatchSampler, PatchSettings
from training.data.boxes import IGNORE, load_boxes
from training.data.whole_slices import SliceSampler, load_slices

CHECKPOINT_S = 600.0
LOG_STEPS = 20


def new_net(task: str, width: int) -> Hybrid2d:
    """Tumor: three slices in, no position embedding, since a box may lie anywhere. Liver: one slice in,
    liver and tumor are one class, and the place in the body is known."""
    if task == "liver":
        return Hybrid2d(
            width=width, channels=1, classes=2, norm="pre", attention_dropout=0.0, size_px=128
        )
    return Hybrid2d(
        width=width,
        channels=3,
        position="none",
        norm="pre",
        dropout=0.1,
        attention_dropout=0.0,
        size_px=128,
    )


def loss_of(logits: Tensor, labels: Tensor, weights: Tensor) -> tuple[Tensor, dict[str, float]]:
    """Weighted cross-entropy plus batch Dice of liver and tumor; pixels of weight 0 are left out."""
    known = labels != IGNORE
    target = labels.masked_fill(~known, 0)
    cross = functional.cross_entropy(logits, target, reduction="none")
    weights = weights * known
    entropy = (cross * weights).sum() / weights.sum().clamp(min=1)
    shares = logits.softmax(1)
    truth = functional.one_hot(target, logits.shape[1]).permute(0, 3, 1, 2).to(shares.dtype)
    mask = known.unsqueeze(1)
    shares, truth = shares * mask, truth * mask
    both = (shares * truth).sum((0, 2, 3))
    dice = (2 * both + 1) / (shares.sum((0, 2, 3)) + truth.sum((0, 2, 3)) + 1)
    # with a tumor class the liver is the lesser part; without one it is all
    shares_of_loss = {2: (1.0,), 3: (0.3, 0.7)}[logits.shape[1]]
    total = entropy + sum(w * (1 - d) for w, d in zip(shares_of_loss, dice[1:], strict=True))
    return total, {
        "loss": float(total.detach()),
        "cross_entropy": float(entropy.detach()),
        "liver_dice": float(dice[1].detach()),
        "tumor_dice": float(dice[-1].detach()),
    }


def learning_rate(step: int, args: argparse.Namespace) -> float:
    if step < args.warmup:
        return float(args.learning_rate * (step + 1) / args.warmup)
    if args.constant:
        return float(args.learning_rate)
    done = (step - args.warmup) / max(1, args.steps - args.warmup)
    return float(args.learning_rate * 0.5 * (1 + math.cos(math.pi * min(1.0, done))))


def to_tensors(batch: Batch, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    images = torch.from_numpy(batch.images).to(device, memory_format=torch.channels_last)
    return (
        images,
        torch.from_numpy(batch.labels).to(device),
        torch.from_numpy(batch.weights).to(device),
    )


class Run:
    """A training that can be stopped anywhere and goes on from its checkpoint."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args, self.folder = args, args.output
        self.folder.mkdir(parents=True, exist_ok=True)
        self.device = torch.device(args.device)
        torch.manual_seed(args.seed)
        self.net = new_net(args.task, args.width).to(self.device, memory_format=torch.channels_last)
        if args.init:
            state = torch.load(args.init / "checkpoint.pt", weights_only=True)
            self.net.load_state_dict(state["net"])
        self.ema = new_net(args.task, args.width).to(self.device).requires_grad_(False).eval()
        self.ema.load_state_dict(self.net.state_dict())
        self.optimizer = torch.optim.AdamW(
            self.net.parameters(), args.learning_rate, weight_decay=args.weight_decay
        )
        self.step, self.seconds = 0, 0.0
        if (self.folder / "checkpoint.pt").exists():
            self._restore()

    def _restore(self) -> None:
        state: dict[str, Any] = torch.load(
            self.folder / "checkpoint.pt", weights_only=True, map_location=self.device
        )
        self.net.load_state_dict(state["net"])
        self.ema.load_state_dict(state["ema"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.seconds = int(state["step"]), float(state["seconds"])

    def save(self) -> None:
        state = {
            "net": self.net.state_dict(),
            "ema": self.ema.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "seconds": self.seconds,
        }
        part = self.folder / "checkpoint.pt.part"
        torch.save(state, part)
        os.replace(part, self.folder / "checkpoint.pt")

    def train(self, sampler: PatchSampler | SliceSampler) -> None:
        sampler.drawn = self.step
        began = saved = time.monotonic()
        before = self.seconds
        log: list[dict[str, float]] = []
        while self.step < self.args.steps:
            log.append(self.one_step(sampler))
            now = time.monotonic()
            self.seconds = before + now - began
            if self.step % LOG_STEPS == 0:
                self._write_log(log)
                log = []
            out_of_time = self.args.minutes and now - began > 60 * self.args.minutes
            if now - saved > CHECKPOINT_S or out_of_time:
                self.save()
                saved = now
            if out_of_time:
                break
        self.save()

    def one_step(self, sampler: PatchSampler | SliceSampler) -> dict[str, float]:
        images, labels, weights = to_tensors(sampler.batch(self.args.batch), self.device)
        rate = learning_rate(self.step, self.args)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.net.train()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.args.bf16):
            logits = self.net(images)
        loss, parts = loss_of(logits.float(), labels, weights)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
        self.optimizer.step()
        self._average()
        self.step += 1
        return parts

    @torch.no_grad()
    def _average(self) -> None:
        decay = min(self.args.ema, (1 + self.step) / (10 + self.step))
        mine, new = list(self.ema.parameters()), list(self.net.parameters())
        torch._foreach_lerp_([p.data for p in mine], [p.data for p in new], 1 - decay)
        for own, other in zip(self.ema.buffers(), self.net.buffers(), strict=True):
            if own.is_floating_point():
                own.lerp_(other, 1 - decay)

    def _write_log(self, log: list[dict[str, float]]) -> None:
        path = self.folder / "log.csv"
        mean = {name: sum(row[name] for row in log) / len(log) for name in log[0]}
        row = {"step": self.step, "seconds": round(self.seconds)} | {
            name: round(value, 4) for name, value in mean.items()
        }
        new = not path.exists()
        with open(path, "a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, row.keys())
            if new:
                writer.writeheader()
            writer.writerow(row)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("boxes", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--task", choices=("tumor", "liver"), default="tumor")
    parser.add_argument("--init", type=Path)
    parser.add_argument("--hold-out", nargs="*", default=[])
    parser.add_argument("--only-weak", action="store_true")
    parser.add_argument("--weak-share", type=float, default=0.4)
    parser.add_argument("--lesions-without", type=float, default=0.6)
    parser.add_argument("--lesions-beside", type=float, default=0.15)
    parser.add_argument("--width", type=int, default=24)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--minutes", type=float, default=0.0)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--weight-decay", type=float, default=1e-4)
    parser.add_argument("--warmup", type=int, default=100)
    parser.add_argument("--constant", action="store_true")
    parser.add_argument("--ema", type=float, default=0.998)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    settings = PatchSettings(
        weak_share=args.weak_share,
        lesions_without=args.lesions_without,
        lesions_beside=args.lesions_beside,
    )
    cases: list[Any] = (load_boxes if args.task == "tumor" else load_slices)(args.boxes)
    cases = [case for case in cases if case.group not in args.hold_out]
    if args.only_weak:
        cases = [case for case in cases if case.weak or case.group in ("lits117", "lits13")]
    run = Run(args)
    record = {
        "arguments": {name: str(value) for name, value in vars(args).items()},
        "patches": asdict(settings),
        "cases": [case.name for case in cases],
    }
    (run.folder / "run.json").write_text(json.dumps(record, indent=1), encoding="utf-8")
    if args.task == "tumor":
        run.train(PatchSampler(cases, settings, seed=args.seed))
    else:
        preprocessing = SlicePreprocessing(size_px=128)
        run.train(
            SliceSampler(cases, preprocessing, seed=args.seed, weak_share=args.weak_share)
        )


if __name__ == "__main__":
    main()

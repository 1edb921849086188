"""What a run of ``training.train`` has left, for the tests to compare."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch


def history(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]


def same_bits(one: Any, other: Any) -> bool:
    """Whether two checkpoints, or parts of them, are alike to the last bit."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same_bits(one[k], other[k]) for k in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same_bits, one, other))
    return bool(one == other)

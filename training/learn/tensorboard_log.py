"""The numbers of a run for TensorBoard, beside those in its own files.

log = tensorboard_log(Path("runs/mine"))
log(epoch, {"loss": 0.4, "val_tumor_dice": 0.5})

tensorboard --logdir runs
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

FOLDER = "tensorboard"
Log = Callable[[int, Mapping[str, float]], None]


def no_log(step: int, values: Mapping[str, float]) -> None:
    """Log nothing: for a run that is not watched."""


def tensorboard_log(run: Path) -> Log:
    """Writes each number under its name at an epoch or step; the first one makes the folder.

    Raises ``ValueError`` with what to install where TensorBoard is missing.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise ValueError(
            "--tensorboard needs the package tensorboard, which is missing; get it with: pip"
            " install tensorboard, or leave the option out."
        ) from None
    new_writer = cache(lambda: SummaryWriter(str(run / FOLDER)))

    def log(step: int, values: Mapping[str, float]) -> None:
        writer = new_writer()
        for name, value in values.items():
            writer.add_scalar(_grouped(name), value, step)
        writer.flush()

    return log


def _grouped(name: str) -> str:
    """val_tumor_dice is shown among validation/..., the others among training/..."""
    kind, _, rest = name.partition("_")
    return f"validation/{rest}" if kind == "val" and rest else f"training/{name}"

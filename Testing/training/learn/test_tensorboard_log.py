"""The log for TensorBoard: every number of every epoch, read back by TensorBoard's own reader."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from training.learn.tensorboard_log import tensorboard_log


def test_what_is_written_is_what_tensorboard_reads(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    log = tensorboard_log(tmp_path)
    assert not any(tmp_path.iterdir())  # a run that is refused leaves nothing
    for epoch in range(3):
        log(epoch, {"train_loss": 1.0 / (epoch + 1), "val_tumor_dice": 0.25 * epoch})
    reader = accumulator.EventAccumulator(str(tmp_path / "tensorboard"))
    reader.Reload()
    assert set(reader.Tags()["scalars"]) == {"training/train_loss", "validation/tumor_dice"}
    dice = [(event.step, event.value) for event in reader.Scalars("validation/tumor_dice")]
    assert dice == [(0, 0.0), (1, 0.25), (2, 0.5)]


def test_without_the_package_one_sentence_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ValueError, match="pip install tensorboard, or leave the option out"):
        tensorboard_log(tmp_path)

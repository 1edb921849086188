"""Self-training asks a network only where tumor is known to be, and believes cells without it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from training import prepare
from training.cases.scattered import IGNORE, LabeledSlices, positive_cells
from training.data.boxes import box_of, load_boxes, prepare_boxes
from training.learn.self_labels import SelfLabels, relabeled
from training.learn.step_trainer import STEP_RECIPES, StepTrainer

SIDE = 25


def test_in_a_cell_with_tumor_the_network_decides_and_elsewhere_nothing_changes() -> None:
    label = np.ones((60, 60), np.uint8)
    label[:5], label[10, 10], label[40, 40] = 0, 2, IGNORE
    cells = np.zeros((60, 60), np.int32)
    cells[:25, :25], cells[25:50, 25:50] = 1, 7
    tumor = np.full((60, 60), 0.1, np.float32)
    tumor[12:16, 12:20], tumor[50:55, 50:55], tumor[:5] = 0.9, 0.9, 0.95
    tumor[30, 30:33] = 0.3, 0.4, 0.2
    new = relabeled(label, cells, tumor, least_px=2)
    assert (new[12:16, 12:20] == 2).all()
    assert new[10, 10] == IGNORE  # the classifier saw tumor, the network does not
    assert np.flatnonzero(new[25:50, 25:50] == 2).tolist() == [5 * 25 + 5, 5 * 25 + 6]
    assert new[40, 40] == 1
    outside = (cells == 0) | (label == 0)
    np.testing.assert_array_equal(new[outside], label[outside])


class DarkIsTumor(nn.Module):
    """Calls tumor what is darker than the liver by more than 20 HU."""

    def forward(self, images: Tensor) -> Tensor:
        dark = (images[:, 1:2] < -0.5).float() * 20 - 10
        return torch.cat([torch.full_like(dark, -50), -dark, dark], dim=1)


def scattered() -> tuple[LabeledSlices, np.ndarray]:
    """Two slices far apart with a dark lesion each, its cell known; and the lesions' outlines."""
    hu = np.full((2, 256, 256), 60, np.int16)
    truth = np.zeros(hu.shape, bool)
    truth[0, 80:95, 90:110], truth[1, 150:160, 120:140] = True, True
    hu[truth] = 20
    hu[0, 120:130, 120:130] = 20  # a dark gallbladder in a cell without tumor
    labels, weak = np.zeros((2, *hu.shape), np.uint8)
    labels[:, 50:200, 50:200] = 1
    weak[:, 50:200, 50:200] = 1
    for k, row, column in np.unique(np.argwhere(truth) // [1, SIDE, SIDE], axis=0):
        cell = (k, slice(row * SIDE, (row + 1) * SIDE), slice(column * SIDE, (column + 1) * SIDE))
        weak[cell] = np.where(weak[cell] > 0, 255, 0)
    labels[weak == 255] = IGNORE
    stack = LabeledSlices("lits7", "lits7", "weak", hu, labels, np.array([0.0, 40.0]), (1.4, 1.4))
    return replace(stack, cells=positive_cells(weak)), truth


def test_boxes_get_the_outline_a_network_sees_and_no_tumor_in_a_cell_without(
    tmp_path: Path,
) -> None:
    stack, truth = scattered()
    prepare_boxes([stack], tmp_path, SelfLabels(DarkIsTumor()))
    (box,) = load_boxes(tmp_path)
    area_mm2 = (box.label == 2).sum() * box.pixel_mm**2
    assert area_mm2 == pytest.approx(truth.sum() * 1.4**2, rel=0.1)  # edges between pixels
    plain = box_of(stack)
    assert plain is not None
    assert (box.label == IGNORE).sum() < 0.1 * (plain.label == IGNORE).sum()  # edges of cells
    assert not ((box.label == 2) & (plain.cells == 0)).any()


def test_a_run_teaches_and_a_file_that_is_none_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(0)
    trainer = StepTrainer(STEP_RECIPES["tumor-boxes"], tmp_path / "run", device=torch.device("cpu"))
    trainer.save()
    stack, _ = scattered()
    box = box_of(stack)
    assert box is not None
    taught = SelfLabels.of(tmp_path / "run")(box)
    for number in np.unique(box.cells[box.cells > 0]):
        cell = taught.label[box.cells == number]
        assert (cell == 2).sum() >= min(round(box.least_tumor_mm2 / 1.25**2), cell.size)
    (tmp_path / "weak").mkdir()
    arguments = [str(tmp_path / "weak"), "-o", str(tmp_path / "out"), "--recipe"]
    for recipe, teacher in (("tumor-boxes", "nothing"), ("liver-slices", "run")):
        teach = ["--self-train", str(tmp_path / teacher)]
        assert prepare.main([*arguments, recipe, *teach]) == 2
        assert len(capsys.readouterr().err.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()

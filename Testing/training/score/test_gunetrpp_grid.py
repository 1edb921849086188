"""The G-UNETR++ authors' measures: their own printed numbers again, MONAI, and cases by hand."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from LiverTumorSegLib.ct.nifti import read_labels
from LiverTumorSegLib.volume import Reorientation
from looped import looped
from numpy.typing import NDArray
from scipy import ndimage

from training.reports.tables_gunetrpp import (
    COLUMNS,
    PUBLISHED,
    PUBLISHED_CASES,
    PUBLISHED_TUMOR_DICE,
    cases_table,
    grid_table,
)
from training.score.gunetrpp_grid import (
    GRID_MASKS,
    GridScores,
    grid_record,
    grid_scores,
    on_grid,
)
from training.score.summary import json_able

Labels = NDArray[np.uint8]
MM = (2.0, 0.7, 0.7)


def masks_of(tp: int, fp: int, fn: int, shape: tuple[int, int, int]) -> tuple[Any, Any]:
    """Prediction and truth with so many pixels."""
    predicted, true = (np.zeros(np.prod(shape), np.bool_) for _ in range(2))
    predicted[: tp + fp] = True
    true[:tp] = true[tp + fp : tp + fp + fn] = True
    return predicted.reshape(shape), true.reshape(shape)


def test_the_notebook_s_own_line_for_lits_3() -> None:
    """The fractions that it prints are those of 512 shared pixels, 635 predicted and 577 true, and
    its SPE, a float32, is that of 534 slices only if truth and prediction are exchanged."""
    predicted, true = masks_of(512, 123, 65, (534, 256, 256))
    scores = GridScores.of(predicted[:3], true[:3])
    assert scores.dice == pytest.approx(0.8448844884488449, abs=1e-12)
    assert scores.jaccard == pytest.approx(0.7314285714285714, abs=1e-12)
    assert scores.voe == pytest.approx(0.26857142857142857, abs=1e-12)
    assert scores.ravd == pytest.approx(0.10051993067590988, abs=1e-12)
    assert np.float32(scores.precision) == np.float32(0.8062992095947266)
    background = true.size - 512 - 123 - 65
    assert np.float32(background / (background + 65)) == np.float32(0.999998152256012)
    assert np.float32(background / (background + 123)) != np.float32(0.999998152256012)
    of_three = true[:3].size - 512 - 123 - 65
    assert scores.npv == pytest.approx(of_three / (of_three + 65))
    assert scores.specificity == pytest.approx(of_three / (of_three + 123))
    assert scores.recall == pytest.approx(512 / 577)


def test_lits_3_has_as_many_pixels_of_tumor_as_the_notebook_found(shared_data: Path) -> None:
    path = shared_data / "lits-subset" / "segmentation-3.nii.gz"
    if not path.is_file():
        pytest.skip("LiTS 3 is not among the cases")
    labels, ijk_to_ras = read_labels(path)
    k, j, i = labels.shape
    lps = Reorientation.to_lps(ijk_to_ras, (k, j, i)).apply(labels)
    assert np.count_nonzero(on_grid(lps, MM) == 2) == 577


def test_a_pixel_has_the_label_that_all_of_it_has() -> None:
    labels = np.zeros((2, 512, 512), np.uint8)
    labels[0, 10:21, 10:20] = 1  # eleven rows: half a pixel is lost
    labels[0, 12:16, 12:16] = 2
    labels[0, 14, 14] = 1
    labels[1, 0:2, 0:2] = [[0, 0], [2, 2]]  # two of four: their mean is liver
    placed = on_grid(labels, MM)
    assert placed.shape == (2, 256, 256)
    assert np.count_nonzero(placed[0]) == 5 * 5
    assert np.count_nonzero(placed[0] == 2) == 3
    assert placed[1, 0, 0] == 1


@looped("shape_ji", [(256, 256), (300, 200), (64, 64)])
def test_other_grids_keep_their_shape(shape_ji: tuple[int, int]) -> None:
    labels = np.zeros((1, *shape_ji), np.uint8)
    j, i = shape_ji[0] // 4, shape_ji[1] // 4
    labels[0, j : 3 * j, i : 3 * i] = 1
    placed = on_grid(labels, (2.0, 1.0, 1.0))
    share = 256 / max(shape_ji)
    assert np.count_nonzero(placed) == pytest.approx(4 * j * i * share**2, rel=0.05)


def blobs(seed: int) -> NDArray[np.bool_]:
    values = np.random.default_rng(seed).normal(size=(16, 40, 40))
    return np.asarray(ndimage.gaussian_filter(values, 2.0) > 0.05)


@pytest.mark.filterwarnings("ignore:.*always_return_as_numpy")
def test_distances_are_monai_s() -> None:
    """Its ASSD as the notebook calls it, and the others from its edges."""
    import torch
    from monai.metrics import compute_average_surface_distance
    from monai.metrics.utils import get_mask_edges, get_surface_distance

    predicted, true = blobs(0), blobs(1)
    scores = GridScores.of(predicted, true)
    ours, theirs = (torch.tensor(m)[None, None].float() for m in (predicted, true))
    whole = compute_average_surface_distance(ours, theirs, include_background=True, symmetric=True)
    assert scores.assd_px == pytest.approx(float(whole), abs=1e-4)
    a, b = get_mask_edges(predicted, true)
    distances = np.concatenate([get_surface_distance(a, b), get_surface_distance(b, a)])
    assert scores.rmsd_px == pytest.approx(np.sqrt((distances**2).mean()), abs=1e-4)
    assert scores.mssd_px == pytest.approx(distances.max(), abs=1e-4)


def test_distances_and_masks_of_the_published_grid() -> None:
    # distances know no millimeters
    labels = np.zeros((8, 512, 512), np.uint8)
    labels[2:6, 100:140, 100:140] = 2
    moved = np.roll(labels, (1, 4), (0, 1))
    thin, thick = (grid_scores(moved, labels, (k, 0.7, 0.7))["tumor"] for k in (1.0, 5.0))
    assert thin == thick
    assert thin.mssd_px == pytest.approx(5**0.5)

    # liver holds its tumor
    labels = np.zeros((4, 512, 512), np.uint8)
    labels[1:3, 100:140, 100:140] = 1
    labels[1:3, 110:120, 110:120] = 2
    scores = grid_scores(np.minimum(labels, 1), labels, MM)
    assert scores["liver"].dice == 1.0
    assert scores["tumor"].dice == 0.0
    assert (scores["liver"].true_px, scores["tumor"].true_px) == (2 * 20 * 20, 2 * 5 * 5)

    # all of it has no background
    scores = GridScores.of(*[np.ones((2, 4, 4), np.bool_)] * 2)
    assert scores.dice == 1.0
    assert np.isnan([scores.npv, scores.specificity]).all()


@looped(("predicted", "true"), [(False, False), (True, False), (False, True)])
def test_empty_masks_have_no_distances(predicted: bool, true: bool) -> None:
    there, nothing = blobs(0), np.zeros((16, 40, 40), np.bool_)
    scores = GridScores.of(there if predicted else nothing, there if true else nothing)
    assert np.isnan([scores.assd_px, scores.rmsd_px, scores.mssd_px]).all()
    assert np.isnan(scores.dice) == (not predicted and not true)
    assert np.isnan(scores.ravd) == (not true)


@pytest.fixture(scope="module")
def record() -> Any:
    """A hit under a LiTS number of the authors', a miss, and a volume without tumor."""
    hit, miss, free = (np.zeros((4, 512, 512), np.uint8) for _ in range(3))
    for labels in (hit, miss, free):
        labels[1:3, 100:180, 100:180] = 1
    hit[1:3, 110:130, 110:130] = miss[1:3, 110:130, 110:130] = 2
    pairs = {"100": (hit, hit), "7": (free, miss), "9": (free, free)}
    cases = [(name, grid_scores(made, true, MM)) for name, (made, true) in pairs.items()]
    return json_able(grid_record(cases))


def test_a_miss_is_left_out_as_published_and_counted_beside_it(record: Any) -> None:
    dice = record["tumor"]["dice"]
    assert (dice["all"]["n"], dice["all"]["mean"]) == (2, 0.5)
    assert (dice["published"]["n"], dice["published"]["mean"]) == (1, 1.0)
    assert record["liver"]["dice"]["all"]["n"] == 3
    assert record["tumor"]["assd_px"]["all"]["n"] == 1
    assert [case["case"] for case in record["cases"]] == ["100", "7", "9"]


def test_tables(record: Any) -> None:
    for mask in GRID_MASKS:
        table = grid_table(mask, record, "here")
        assert [row[0] for row in table.rows] == list(COLUMNS.values())
        assert str(PUBLISHED[mask]["dice"])[:6] in table.rows[0][3]
        assert f"n = {PUBLISHED_CASES[mask]}" in table.columns[3]
    table = cases_table(record, "here")
    assert [(row[0], row[1], row[4]) for row in table.rows] == [
        ("100", "1.000", "0.900"),
        ("7", "0.000", "n/a"),
    ]
    assert "Over the 1 that the authors show too: 1.000 here and 0.900 there" in table.notes[0]
    assert "here" in table.html()


def test_no_case_in_common_is_said(record: Any) -> None:
    others = {**record, "cases": record["cases"][1:]}
    assert cases_table(others, "").notes[0].startswith("None of these volumes")


def test_the_published_numbers_fit_each_other() -> None:
    dice = np.array(list(PUBLISHED_TUMOR_DICE.values()))
    assert len(dice) == PUBLISHED_CASES["tumor"] == 16
    assert dice.mean() == pytest.approx(0.8435, abs=5e-5)
    assert dice.std(ddof=1) == pytest.approx(0.078, abs=5e-4)
    for mask in GRID_MASKS:
        voe, jaccard = PUBLISHED[mask]["voe"], PUBLISHED[mask]["jaccard"]
        assert voe == pytest.approx(1 - jaccard, abs=1e-3)
        assert set(PUBLISHED[mask]) <= set(COLUMNS)
    assert set(COLUMNS) <= set(asdict(GridScores.of(blobs(0), blobs(1))))

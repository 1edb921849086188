"""One case's score: numbers by hand, and the same whatever way the file lies."""

from __future__ import annotations

from itertools import permutations, product
from pathlib import Path

import numpy as np
import pytest
from LiverTumorSegLib.ct.nifti import write_ct, write_labels
from LiverTumorSegLib.volume import CtVolume
from score_material import case, certainty, labels, score

from training.cases.case import Case
from training.score.case import Run, read_pair, score_run

HU_KJI = np.random.default_rng(0).integers(-900, 200, (5, 8, 8)).astype(np.int16)


def test_row_by_hand() -> None:
    row = score("b", labels(tumors=[(3, 28)]), labels(tumors=[(4, 10)])).row()
    assert row["case"] == row["patient"] == "b"
    assert (row["slices"], row["slices_run"]) == (10, 8)
    assert row["liver_dice"] == 1.0
    assert row["tumor_dice"] == 0.0
    assert row["tumor_true_ml"] == pytest.approx(32 * 5 / 1000)
    assert row["liver_true_ml"] == pytest.approx(6 * 900 * 5 / 1000)
    assert (row["lesions_true"], row["lesions_found_over_0"]) == (1, 0)
    assert row["false_lesions_over_0"] == 1
    assert row["false_tumor_ml"] == pytest.approx(0.16)
    # of its two slices one shows the true tumor too
    assert row["false_tumor_on_tumor_free_slices_ml"] == pytest.approx(0.08)
    assert row["burden_true_percent"] == pytest.approx(100 * 32 / 5400, abs=1e-4)
    assert row["liver_assd_mm"] == 0.0
    # the nearest slices of the two are one and the same, 18 columns apart; the others 5 mm more
    assert row["tumor_msd_mm"] > 18


def test_rows_of_volumes_lesions_and_slices_hold_what_was_measured() -> None:
    # what is not defined is an empty cell
    row = score("c", labels(), labels()).row()
    assert row["tumor_dice"] == 1.0
    assert row["tumor_hd95_mm"] is None
    assert row["tumor_rvd"] is None

    # lesion rows name both sides
    rows = score("b", labels(tumors=[(3, 28)]), labels(tumors=[(4, 10)])).lesion_rows()
    assert [row["side"] for row in rows] == ["true", "predicted"]
    assert not any(row["detected_over_0"] for row in rows)

    # slice rows count every voxel once
    rows = score("b", labels(tumors=[(3, 28)]), labels(tumors=[(4, 10)])).slice_rows()
    counts = [sum(v for k, v in row.items() if k.startswith("true_")) for row in rows]
    assert counts == [1600] * 10
    assert rows[4]["true_tumor_predicted_liver"] == 16
    assert rows[4]["true_liver_predicted_tumor"] == 16


def test_only_predicted_lesions_have_confidence_and_true_share() -> None:
    true, made = labels(tumors=[(3, 10)]), labels(tumors=[(3, 12)])
    sure = certainty(made, 51)
    sure[3, 10:14, 12:16] = 255
    of_true, of_predicted = score("a", made, true, certainty=sure).lesion_rows()
    assert of_predicted["confidence"] == pytest.approx((255 + 51) / 2 / 255)
    assert of_predicted["true_share"] == of_predicted["overlap_fraction"] == 0.5
    assert of_true["confidence"] is of_true["true_share"] is None
    _, unsure = score("a", made, true).lesion_rows()
    assert unsure["confidence"] is None
    assert unsure["true_share"] == 0.5


def test_same_score_in_all_48_orientations() -> None:
    """The file's axes are turned and flipped; patient, slices and numbers stay."""
    true, made = labels(tumors=[(3, 10), (5, 25)]), labels(tumors=[(3, 11)], liver=slice(1, 8))
    affine = np.diag([-1.0, -1.0, 5.0, 1.0])
    sure = np.random.default_rng(0).integers(0, 256, made.shape).astype(np.uint8)
    expected = score("a", made, true, certainty=sure)
    for order in permutations(range(3)):
        for flips in product((False, True), repeat=3):
            turned = [_turn(array, order, flips) for array in (true, made, sure)]
            ct = CtVolume(
                np.zeros(turned[0].shape, np.int16),
                _turned_affine(affine, true.shape, order, flips),
            )
            run = Run(turned[1], "cpu", 10, 8, 1.5, tumor_probability_kji=turned[2])
            got = score_run(case("a"), ct, run, turned[0])
            assert got.row() == expected.row()
            assert got.lesion_rows() == expected.lesion_rows()
            np.testing.assert_array_equal(got.matrices, expected.matrices)


def _turn(array: np.ndarray, order: tuple[int, ...], flips: tuple[bool, ...]) -> np.ndarray:
    """Axes (k, j, i) in another order, some of them backward."""
    axes = tuple(axis for axis, flipped in enumerate(flips) if flipped)
    return np.ascontiguousarray(np.flip(array.transpose(order), axes))


def _turned_affine(
    affine: np.ndarray, shape_kji: tuple[int, ...], order: tuple[int, ...], flips: tuple[bool, ...]
) -> np.ndarray:
    """Where the voxels of the turned array lie."""
    to_old = np.zeros((4, 4))
    to_old[3, 3] = 1
    for new, (old, flipped) in enumerate(zip(order, flips, strict=True)):
        to_old[2 - old, 2 - new] = -1 if flipped else 1
        to_old[2 - old, 3] = shape_kji[old] - 1 if flipped else 0
    return affine @ to_old


def test_read_pair_refuses_another_grid(tmp_path: Path) -> None:
    ct = CtVolume(HU_KJI[:4], np.eye(4))
    other = CtVolume(HU_KJI, np.eye(4))
    write_ct(tmp_path / "volume-1.nii.gz", ct)
    write_labels(tmp_path / "segmentation-1.nii.gz", np.ones((5, 8, 8), np.uint8), other)
    one = Case(
        "1",
        tmp_path / "volume-1.nii.gz",
        tmp_path / "segmentation-1.nii.gz",
        "1",
        "val",
        "case",
    )
    with pytest.raises(ValueError, match="own grid"):
        read_pair(one)


def test_calibration_comes_with_probabilities_only() -> None:
    true = labels(tumors=[(3, 10)])
    probabilities = np.zeros((3, *true.shape), np.float16)
    probabilities[2] = true == 2
    with_bins = score("a", true, true, probabilities=probabilities)
    assert with_bins.calibration is not None
    assert with_bins.calibration.counts.sum() == (true > 0).sum()
    assert score("a", true, true).calibration is None

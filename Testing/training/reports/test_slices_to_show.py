"""Slices are chosen by rule, read as the reader sees them, and kept so that they draw again."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from evaluated_folder import write_cases
from LiverTumorSegLib.ct.nifti import write_labels
from LiverTumorSegLib.labels import Label
from LiverTumorSegLib.result.agreement import dice
from toy_figures import NO_SLICES, toy_slices, toy_view, toy_views

from training.cases.case import Case
from training.cases.folder import find_cases
from training.reports.slices_to_show import (
    RANKS,
    NotDrawn,
    SliceChoice,
    Slices,
    SliceView,
    choose_failures,
    choose_ranked,
    choose_views,
    collect,
    ranked_slices,
)
from training.score.case import Run, read_pair, score_run
from training.score.voxels import Overlap


def tumor(*slices: tuple[int, int, int]) -> Overlap:
    """(shared, predicted, true) pixels of each slice of a case."""
    shared, predicted, true = np.array(slices, np.int64).T
    return Overlap(shared, predicted - shared, true - shared, np.full(len(slices), 1000))


def test_each_case_shows_its_largest_tumor_and_many_are_spread_evenly() -> None:
    # each case shows its largest tumor the best case first
    cases = {
        "poor": tumor((0, 0, 0), (1, 10, 10), (0, 3, 5)),
        "free": tumor((0, 4, 0), (0, 0, 0)),
        "good": tumor((9, 10, 10), (18, 20, 20), (5, 5, 5)),
    }
    assert choose_views(cases, 6) == [SliceChoice("good", 1), SliceChoice("poor", 1)]

    # many cases are spread evenly with both ends
    cases = {str(n): tumor((n, 10, 10)) for n in range(11)}
    chosen = choose_views(cases, 3)
    assert [choice.case for choice in chosen] == ["10", "5", "0"]
    assert len(choose_views(cases, 6)) == 6


def test_ranks_are_the_quantiles_of_slices_with_tumor() -> None:
    # ranks are the quantiles of all slices with tumor
    case = tumor(*[(n, 100, 100) for n in range(101)], (0, 50, 0))
    ranked = choose_ranked({"a": case})
    assert list(ranked) == list(RANKS)
    assert [choice.slice_index for choice in ranked.values()] == [100, 75, 50, 25, 0]
    assert len(ranked_slices({"a": case})) == 101  # the slice without true tumor does not count

    # among equals the larger tumor is shown
    cases = {"a": tumor((0, 0, 5), (0, 0, 80)), "b": tumor((5, 5, 5), (30, 30, 30), (1, 2, 9))}
    ranked = choose_ranked(cases)
    assert ranked["worst"] == SliceChoice("a", 1)
    assert ranked["best"] == SliceChoice("b", 1)

    # few slices give few ranks and no tumor none
    assert list(choose_ranked({"a": tumor((5, 10, 10))}).values()) == [SliceChoice("a", 0)]
    two = choose_ranked({"a": tumor((5, 10, 10), (9, 10, 10))})
    assert sorted(choice.slice_index for choice in two.values()) == [0, 1]
    assert choose_ranked({"a": tumor((0, 3, 0))}) == {}
    assert choose_views({}, 6) == []


def test_failures_are_the_worst_volumes_each_by_its_most_wrong_slice() -> None:
    cases = {
        "good": tumor((9, 10, 10), (18, 20, 20)),
        "missed": tumor((0, 0, 5), (0, 0, 80)),
        "perfect": tumor((9, 9, 9)),
        "marked though free": tumor((0, 4, 0), (0, 9, 0)),
        "empty": tumor((0, 0, 0)),
    }
    every = [SliceChoice("missed", 1), SliceChoice("marked though free", 1)]
    assert choose_failures(cases, 6)[:2] == every
    assert [choice.case for choice in choose_failures(cases, 6)][2:] == ["good"]
    assert choose_failures(cases, 1) == every[:1]


def test_dice_of_a_view_is_that_of_its_masks_and_none_of_empty_ones() -> None:
    # dice of a view is that of its masks
    view = toy_view(shift_px=3)
    assert view.dice("liver") == pytest.approx(
        dice(view.predicted >= Label.LIVER, view.true >= Label.LIVER)
    )
    assert view.dice("tumor") == pytest.approx(
        dice(view.predicted == Label.TUMOR, view.true == Label.TUMOR)
    )

    # a mask empty on both sides has no dice
    empty = np.zeros((4, 5), np.uint8)
    view = SliceView("1", 0, np.zeros((4, 5), np.int16), empty, empty, (1.0, 1.0))
    assert math.isnan(view.dice("tumor"))

    # arrays of different shapes are refused
    view = toy_view()
    with pytest.raises(ValueError, match=r"Slice \d+ of 7: CT .* must be 2D and of one shape"):
        replace(view, true=view.true[:-1])
    with pytest.raises(ValueError, match="above 0"):
        replace(view, spacing_ji_mm=(0.0, 1.0))


def test_some_views_are_spread_from_the_first_to_the_last() -> None:
    slices = toy_slices(toy_views(6))
    assert [v.case for v in slices.some_views(3)] == ["case-0", "case-2", "case-5"]
    assert len(slices.some_views(9)) == 6
    with pytest.raises(NotDrawn, match="none of the scored volumes has a tumor"):
        NO_SLICES.some_views(3)


def test_the_sample_shows_both_liver_and_tumor() -> None:
    view = toy_view("both")
    tumor_alone = replace(view, case="tumor", true=np.where(view.true > 0, 2, 0).astype(np.uint8))
    assert toy_slices([tumor_alone, view]).sample().case == "both"


def test_a_long_case_name_loses_its_middle() -> None:
    assert toy_view("7").label(11) == f"case 7\nslice {toy_view().slice_index}"
    short, _ = toy_view("hospital-a-scan-0123").label(11).split("\n")
    assert short == "case hosp...0123"


@pytest.fixture
def collected(tmp_path: Path) -> tuple[Slices, list[Case]]:
    """LiTS 3 found but for one slice, LiTS 47 without tumor."""
    cases = [c for c in find_cases(write_cases(tmp_path / "d")) if c.split != "train"]
    scores = []
    (tmp_path / "labels").mkdir()
    for case in cases:
        ct, true = read_pair(case)
        made = true.copy()
        made[2][made[2] == 2] = 1
        write_labels(tmp_path / "labels" / f"{case.name}.nii.gz", made, ct)
        scores.append(score_run(case, ct, Run(made, "cpu", 4, 4, 1.0), true))
    return collect(scores, cases, tmp_path / "labels"), cases


def test_views_are_the_slices_of_the_files(collected: tuple[Slices, list[Case]]) -> None:
    slices, cases = collected
    assert [view.case for view in slices.views] == ["3"]  # the tumor-free one has none to show
    view = slices.views[0]
    ct, true = read_pair(cases[0])
    np.testing.assert_array_equal(view.hu, ct.hu[view.slice_index])
    np.testing.assert_array_equal(view.true, true[view.slice_index])
    assert view.spacing_ji_mm == (8.0, 8.0)


def test_ranked_slices_are_the_found_and_the_missed_one(
    collected: tuple[Slices, list[Case]],
) -> None:
    dice_of = {rank: view.dice("tumor") for rank, view in collected[0].ranked.items()}
    assert collected[0].ranked_of == 2
    assert dice_of["best"] == 1.0
    assert min(dice_of.values()) == 0.0


def test_slices_come_back_from_their_file(tmp_path: Path) -> None:
    path = tmp_path / "slices.npz"
    for slices in (toy_slices(), toy_slices(toy_views(2)), NO_SLICES):
        slices.save(path)
        back = Slices.load(path)
        assert list(back.ranked) == list(slices.ranked)
        assert back.ranked_of == slices.ranked_of
        pairs = [*zip(slices.views, back.views, strict=True)]
        pairs += zip(slices.ranked.values(), back.ranked.values(), strict=True)
        for before, after in pairs:
            assert (before.case, before.slice_index) == (after.case, after.slice_index)
            assert before.spacing_ji_mm == after.spacing_ji_mm
            for name in ("hu", "true", "predicted"):
                one, two = getattr(before, name), getattr(after, name)
                np.testing.assert_array_equal(one, two)
                assert one.dtype == two.dtype


def test_a_damaged_file_of_slices_is_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "slices.npz"
    toy_slices().save(path)
    whole = path.read_bytes()
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    other = (tmp_path / "other.npz").read_bytes()
    for content in (b"", whole[: len(whole) // 2], b"no zip", other):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="holds no slices of"):
            Slices.load(path)

"""Slices are chosen by rule: spread from best to worst, and the worst is the largest miss."""

from __future__ import annotations

import numpy as np

from training.reports.material import (
    RANKS,
    SliceChoice,
    choose_ranked,
    choose_views,
    ranked_slices,
)
from training.score.voxels import Overlap


def tumor(*slices: tuple[int, int, int]) -> Overlap:
    """(shared, predicted, true) pixels of each slice of a case."""
    shared, predicted, true = np.array(slices, np.int64).T
    return Overlap(shared, predicted - shared, true - shared, np.full(len(slices), 1000))


def test_each_case_shows_its_largest_tumor_the_best_case_first() -> None:
    cases = {
        "poor": tumor((0, 0, 0), (1, 10, 10), (0, 3, 5)),
        "free": tumor((0, 4, 0), (0, 0, 0)),
        "good": tumor((9, 10, 10), (18, 20, 20), (5, 5, 5)),
    }
    assert choose_views(cases, 6) == [SliceChoice("good", 1), SliceChoice("poor", 1)]


def test_many_cases_are_spread_evenly_with_both_ends() -> None:
    cases = {str(n): tumor((n, 10, 10)) for n in range(11)}
    chosen = choose_views(cases, 3)
    assert [choice.case for choice in chosen] == ["10", "5", "0"]
    assert len(choose_views(cases, 6)) == 6


def test_ranks_are_the_quantiles_of_all_slices_with_tumor() -> None:
    case = tumor(*[(n, 100, 100) for n in range(101)], (0, 50, 0))
    ranked = choose_ranked({"a": case})
    assert list(ranked) == list(RANKS)
    assert [choice.slice_index for choice in ranked.values()] == [100, 75, 50, 25, 0]
    assert len(ranked_slices({"a": case})) == 101  # the slice without true tumor does not count


def test_among_equals_the_larger_tumor_is_shown() -> None:
    cases = {"a": tumor((0, 0, 5), (0, 0, 80)), "b": tumor((5, 5, 5), (30, 30, 30), (1, 2, 9))}
    ranked = choose_ranked(cases)
    assert ranked["worst"] == SliceChoice("a", 1)
    assert ranked["best"] == SliceChoice("b", 1)


def test_few_slices_give_few_ranks_and_no_tumor_none() -> None:
    assert list(choose_ranked({"a": tumor((5, 10, 10))}).values()) == [SliceChoice("a", 0)]
    two = choose_ranked({"a": tumor((5, 10, 10), (9, 10, 10))})
    assert sorted(choice.slice_index for choice in two.values()) == [0, 1]
    assert choose_ranked({"a": tumor((0, 3, 0))}) == {}
    assert choose_views({}, 6) == []

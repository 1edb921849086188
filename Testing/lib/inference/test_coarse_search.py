"""The scan plan over many simulated livers: what it runs, what it leaves out, what it foretells."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from LiverTumorSegLib.inference.coarse_search import SHORT_CT, CoarseSearch
from looped import looped

GRIDS = [
    (40, 5.0),
    (41, 2.5),
    (77, 3.0),
    (120, 1.25),
    (150, 5.0),
    (64, 0.1),
    (43, 30.0),
    (400, 0.8),
]


@dataclass
class Told:
    """What a plan asked for: slices in order, and what it expected after each."""

    order: list[int]
    expected: list[int]


def carry_out(plan: CoarseSearch, hit: np.ndarray, empty: np.ndarray) -> Told:
    told = Told([], [plan.expected])
    for group in plan.groups():
        for k in group:
            told.order.append(k)
            plan.record(k, hit=bool(hit[k]), empty=bool(empty[k]))
            told.expected.append(plan.expected)
    told.expected.append(plan.expected)
    return told


def between(count: int, *intervals: tuple[int, int]) -> np.ndarray:
    """True from first to last slice of each interval, as far as there are such slices."""
    inside = np.zeros(count, bool)
    for first, last in intervals:
        inside[max(0, first) : max(0, last + 1)] = True
    return inside


def simulated(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(hit, empty) of none, one or two livers, also cut by the ends, with thin ends and specks."""
    rng = np.random.default_rng([count, seed])
    starts = rng.integers(-count // 4, count, size=seed % 3)
    livers = [(int(a), int(a + rng.integers(0, count // 2))) for a in starts]
    thin = [(a - int(rng.integers(0, 4)), b + int(rng.integers(0, 4))) for a, b in livers]
    specks = rng.random(count) < rng.choice([0, 0.05, 0.3])
    return between(count, *livers), ~(between(count, *thin) | specks)


@pytest.fixture(params=GRIDS, ids=str)
def grid(request: pytest.FixtureRequest) -> tuple[int, float]:
    return request.param


def test_on_any_liver(grid: tuple[int, float]) -> None:
    count, spacing_mm = grid
    for seed in range(60):
        hit, empty = simulated(count, seed)
        plan = CoarseSearch(count, spacing_mm)
        told = carry_out(plan, hit, empty)
        ran = set(told.order)
        assert len(ran) == len(told.order) <= count
        assert ran <= set(range(count))
        assert ran == wanted(plan.step, hit, empty)
        hits = [k for k in ran if hit[k]]
        assert not hits or ran >= set(range(min(hits), max(hits) + 1))
        foretold(told, count)


def wanted(step: int, hit: np.ndarray, empty: np.ndarray) -> set[int]:
    """The rule in other words: scan, hull of its hits, outward up to the first empty pair."""
    count = len(hit)
    scan = range(0, count, step)
    hits = [k for k in scan if hit[k]]
    if not hits:
        return set(range(count))
    signs = "".join("e" if value else "n" for value in empty)
    up, down = signs[max(hits) + 1 :], signs[: min(hits)][::-1]
    last, first = max(hits) + up_to_pair(up), min(hits) - up_to_pair(down)
    return set(scan) | set(range(first, last + 1))


def up_to_pair(signs: str) -> int:
    pair = signs.find("ee")
    return len(signs) if pair < 0 else pair + 2


def foretold(told: Told, count: int) -> None:
    """Never less than what is done, never more than there is, and right in the end."""
    assert all(done <= expected <= count for done, expected in enumerate(told.expected[:-1]))
    assert told.expected[-1] == len(told.order)


def test_one_liver_longer_than_the_step_is_found_whole(grid: tuple[int, float]) -> None:
    count, spacing_mm = grid
    step = CoarseSearch(count, spacing_mm).step
    for first in range(0, count, max(1, count // 23)):
        for length in (step, step + 1, 2 * step + 1, count):
            liver = between(count, (first, first + length - 1))
            ran = carry_out(CoarseSearch(count, spacing_mm), liver, ~liver).order
            assert {k for k in ran if liver[k]} == set(np.flatnonzero(liver))


def test_two_neighboring_empty_slices_end_it_and_one_does_not() -> None:
    liver = between(100, (40, 60))
    liver[[39, 62]] = True, True  # one gap, at 61, is crossed
    ran = carry_out(CoarseSearch(100, 5.0), liver, ~liver).order
    beside = set(ran) - set(range(0, 100, 4))
    assert {61, 62, 63, 38, 37} <= beside
    assert not beside & {65, 66, 67, 35, 34, 33}


@looped("ends", [(0, 3), (96, 99), (0, 99)])
def test_a_liver_cut_by_the_end_of_the_scan(ends: tuple[int, int]) -> None:
    liver = between(100, ends)
    ran = carry_out(CoarseSearch(100, 5.0), liver, ~liver).order
    assert set(np.flatnonzero(liver)) <= set(ran) <= set(range(100))


def test_a_scan_saves_most_of_a_long_ct() -> None:
    liver = between(400, (150, 230))
    ran = carry_out(CoarseSearch(400, 2.0), liver, ~liver).order
    assert len(ran) <= 81 + 4 + 400 / 10


def test_without_hits_every_slice_is_run(grid: tuple[int, float]) -> None:
    count, spacing_mm = grid
    nothing = np.zeros(count, bool)
    for empty in (~nothing, nothing):
        told = carry_out(CoarseSearch(count, spacing_mm), nothing, empty)
        assert sorted(told.order) == list(range(count))
        assert told.expected[-1] == count


@looped(("count", "scan"), [(1, True), (39, True), (40, False), (300, False)])
def test_short_or_unscanned_is_run_in_order(count: int, scan: bool) -> None:
    plan = CoarseSearch(count, 5.0, coarse=scan)
    told = carry_out(plan, between(count, (3, 9)), ~between(count, (3, 9)))
    assert told.order == list(range(count))
    assert set(told.expected) == {count}
    assert SHORT_CT == 40


@looped(("spacing_mm", "step"), [(20.0, 4), (5.0, 4), (2.5, 8), (1.0, 20), (0.5, 40)])
def test_step_is_20_mm_and_at_least_four_slices(spacing_mm: float, step: int) -> None:
    assert next(CoarseSearch(200, spacing_mm).groups()) == list(range(0, 200, step))

"""Tables of volumes and burden; the comparison of two models."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
from looped import looped
from score_material import labels, score, three_scores

from training.reports import tables_lits
from training.reports.page import Table
from training.score.summary import Record, summarize

EVERY = (
    tables_lits.volume_table,
    tables_lits.volume_dice_table,
    tables_lits.surface_table,
    tables_lits.challenge_table,
    tables_lits.burden_table,
    tables_lits.cases_table,
)


@cache
def some_summary() -> Record:
    return {**summarize(three_scores()), "model": "mine 1"}


def column(table: Table, name: str) -> dict[str, str]:
    n = list(table.columns).index(name)
    return {row[0]: row[n] for row in table.rows}


def test_volumes_challenge_columns_and_cases_are_those_of_the_summary() -> None:
    # volumes under each rule
    table = tables_lits.volume_table(some_summary(), "")
    assert column(table, "rule “agree”")["Dice, tumor"] == "0.667 ± 0.577 (n = 3)"
    assert column(table, "rule “present”")["Dice, tumor"] == "0.500 ± 0.707 (n = 2)"

    # tumor free volumes are named
    notes = tables_lits.volume_dice_table(some_summary(), "").notes
    assert "1.000 (1 of 1)" in notes[0]
    assert "c: 0.00 mL" in notes[1]

    # challenge columns
    table = tables_lits.challenge_table(some_summary(), "")
    assert column(table, "clean")["Dice, detected lesions"] == "1.000 (n = 2)"
    assert column(table, "official script")["Dice per case, tumor"] == "0.667 (n = 3)"

    # cases have a row each
    table = tables_lits.cases_table(some_summary(), "")
    assert column(table, "tumor in truth") == {"a": "yes", "b": "yes", "c": "no"}
    assert column(table, "tumor Dice") == {"a": "1.000", "b": "0.000", "c": "n/a"}


@looped("make", EVERY)
def test_no_tumor_anywhere_is_no_error(make: Any) -> None:
    empty = {**summarize([score("a", labels(), labels())]), "model": "m"}
    assert make(empty, "grid").context == "grid"


def test_comparison_by_patient() -> None:
    worse = summarize(
        [
            score("a", labels(tumors=[(3, 12), (5, 25)]), labels(tumors=[(3, 10), (5, 25)])),
            score("b", labels(), labels(tumors=[(4, 10)])),
            score("c", labels(liver=slice(2, 9)), labels()),
        ]
    )
    table = tables_lits.comparison_table(some_summary(), {**worse, "model": "theirs 1"}, "")
    assert table.title == "Against theirs 1"
    test = column(table, "Wilcoxon by patient")["Dice per volume, tumor"]
    assert test.endswith("(n = 2 patients)")
    difference = float(column(table, "mean difference")["Dice per volume, tumor"])
    assert difference == pytest.approx((1 - worse["cases"][0]["dice"]["tumor"]) / 2, abs=1e-4)
    assert any("unreliable" in note for note in table.notes)


def test_comparison_of_other_volumes_is_refused() -> None:
    other = {**summarize([score("z", labels(), labels())]), "model": "m"}
    with pytest.raises(ValueError, match="other volumes"):
        tables_lits.comparison_table(some_summary(), other, "")

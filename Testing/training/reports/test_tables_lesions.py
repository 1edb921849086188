"""Tables of lesions: rates with their counts, a row a volume, confidence against the truth."""

from __future__ import annotations

from functools import cache
from typing import Any

from looped import looped
from score_material import labels, score, three_scores
from test_tables_lits import column

from training.reports import tables_lits
from training.score.summary import Record, summarize


@cache
def some_summary() -> Record:
    return summarize(three_scores(sure=204))


def test_every_rate_has_its_counts_and_false_ones_beside_large_ones() -> None:
    # every rate has its counts
    table = tables_lits.detection_table(some_summary(), "")
    recall = column(table, "recall (found of true)")
    assert recall["any overlap, clean"] == "0.667 (2 of 3)"
    assert all(" of " in cell for cell in recall.values())
    false = column(table, "false a volume")["any overlap, clean"]
    assert false == "0.33 (1 in 3)"

    # large lesions have the false ones beside them: All lesions here are of 6.8 mm, the false one
    # too.
    table = tables_lits.large_lesions_table(some_summary(), "")
    assert table.title == "Lesions of 10 mm and more"
    assert column(table, "recall (found of true)")["any overlap"] == "n/a (0 of 0)"
    assert column(table, "false a volume, any size")["any overlap"] == "0.33 (1 in 3)"
    assert column(table, "false a volume, 10 mm and more")["any overlap"] == "0.00 (0 in 3)"


def test_false_tumor_of_every_volume_and_its_mean() -> None:
    table = tables_lits.false_tumor_table(some_summary(), "")
    # b marks two slices, one of which shows the true tumor too
    assert column(table, "false tumor, mL") == {
        "a": "0.00",
        "b": "0.16",
        "c": "0.00",
        "mean ± SD": "0.05 ± 0.09 (n = 3)",
    }
    on_free = column(table, "false tumor on them, mL")
    assert (on_free["b"], on_free["mean ± SD"]) == ("0.08", "0.03 ± 0.05 (n = 3)")
    assert column(table, "tumor-free slices")["b"] == "8 of 10"


def test_confidence_beside_what_came_true() -> None:
    table = tables_lits.confidence_table(some_summary(), "")
    names = [row[0] for row in table.rows]
    assert names[0] == "0.00 to under 0.25"
    assert names[3:] == ["0.75 to 1.00", "all"]
    assert table.rows[0][1:] == ("0", "n/a", "n/a", "n/a (0 of 0)")
    for row in table.rows[3:]:
        assert row[1:] == ("3", "0.800", "0.667", "0.667 (2 of 3)")
    assert any("Only 2 patients" in note for note in table.notes)


@looped(
    "make",
    [
        tables_lits.detection_table,
        tables_lits.large_lesions_table,
        tables_lits.false_tumor_table,
        tables_lits.confidence_table,
    ],
)
def test_no_tumor_anywhere_is_no_error(make: Any) -> None:
    nothing = labels()
    empty = summarize([score("a", nothing, nothing, certainty=nothing * 0)])
    assert make(empty, "grid").context == "grid"

"""The paper's tables: what stands in them is what was measured, and the rest is marked."""

from __future__ import annotations

from functools import cache
from typing import Any

from looped import looped
from score_material import labels, score, three_scores

from training.reports.page import Table
from training.reports.tables_paper import (
    ablation_table,
    data_table,
    history_table,
    literature_table,
    slice_table,
    statistics_table,
    validation_table,
)
from training.score.cases import SetFacts
from training.score.summary import Record, summarize


@cache
def some_summary() -> Record:
    return summarize(three_scores())


def column(table: Table, name: str) -> dict[str, str]:
    """A column by the rows' heads."""
    n = list(table.columns).index(name)
    return {row[0]: row[n] for row in table.rows}


def test_tables_3_to_5_hold_sets_evaluations_and_epochs() -> None:
    # table 3 counts and shares
    sets = [
        SetFacts("train", 8, 8, 900, 700, 300, [1.0, 20.0], ["1", "2"]),
        SetFacts("val", 1, 1, 100, 80, 20, [3.0], ["3"]),
        SetFacts("test", 2, 2, 200, 150, 50, [], ["4", "5"]),
    ]
    table = data_table(sets, "")
    assert column(table, "volumes") == {"train": "8 (73%)", "val": "1 (9%)", "test": "2 (18%)"}
    assert column(table, "tumor mL, least to most")["train"] == "1.0 to 20.0"
    assert "270 of 1200 slices" in table.notes[0]

    # table 4 has a row an evaluation
    other = summarize([score("a", labels(), labels(tumors=[(3, 10)]))])
    table = ablation_table({"neither": other, "both": some_summary()}, "")
    assert [row[0] for row in table.rows] == ["neither", "both"]
    assert column(table, "paper: tumor") == {"neither": ".746", "both": ".810"}
    assert column(table, "tumor Dice")["neither"].startswith("0.667")  # 4 of 6 slices agree

    # table 5 shows every tenth epoch and the best
    losses = [1 - 0.01 * n for n in range(30)]
    losses[26] = 0.1
    table = history_table(history(losses), "")
    assert [row[0] for row in table.rows] == ["1", "10", "20", "27 (least loss)", "30"]
    assert column(table, "validation loss")["27 (least loss)"] == "0.1000"


def history(losses: list[float]) -> list[dict[str, Any]]:
    return [
        {
            "train_loss": loss,
            "val_loss": loss,
            "val_liver_dice": 0.9,
            "val_tumor_dice": 0.5,
            "learning_rate": 1e-4,
        }
        for loss in losses
    ]


def test_tables_6_to_8_hold_rules_differences_and_the_literature() -> None:
    # table 6 has all rules side by side
    table = slice_table(some_summary(), "grid")
    assert column(table, "rule “agree”")["Dice, tumor"].startswith("0.833")
    assert column(table, "rule “present”")["Dice, tumor"].endswith("(n = 6)")
    assert column(table, "rule “skip”")["Dice, tumor"].endswith("(n = 7)")
    assert column(table, "paper")["Dice, tumor"] == ".8103 ± .3037"
    assert column(table, "rule “present”")["Specificity, tumor"] == ""
    assert any("5 in truth and prediction, 1 only in truth" in note for note in table.notes)
    assert table.context == "grid"

    # table 6 of all slices counts more
    table = slice_table(some_summary(), "", labeled=False)
    assert "30 all slices" in table.title
    assert column(table, "rule “agree”")["Dice, liver with tumor (LiTS)"].startswith("0.967")

    # table 7 has signed differences
    worse = summarize([score("a", labels(), labels(tumors=[(3, 10)]))])
    table = validation_table(some_summary(), worse, "")
    assert column(table, "test - validation")["Dice, tumor"] == "-0.167"
    assert column(table, "test - validation")["Dice, liver with tumor (LiTS)"] == "+0.000"

    # table 8 ends with this model and its caution
    table = literature_table(some_summary(), "")
    assert table.rows[-1][2] == "83.33"
    assert "cannot be ranked" in table.notes[0]


def test_statistics_show_both_intervals() -> None:
    table = statistics_table(some_summary(), "")
    by_slice = column(table, "slices drawn (paper)")["tumor, “present”"]
    by_patient = column(table, "patients drawn")["tumor, “present”"]
    assert by_slice.startswith("[")
    assert by_patient == "[0.000, 1.000]"


@looped("make", [slice_table, statistics_table, literature_table])
def test_no_tumor_anywhere_is_no_error(make: Any) -> None:
    empty = summarize([score("a", labels(), labels())])
    assert len(make(empty, "").rows) == len(make(some_summary(), "").rows)


def test_what_no_slice_defines_is_said() -> None:
    empty = summarize([score("a", labels(), labels())])
    assert column(slice_table(empty, ""), "rule “present”")["Dice, tumor"] == "n/a (n = 0)"

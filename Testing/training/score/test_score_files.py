"""Tables that may travel alone, a command that anyone can repeat, a log of test uses."""

from __future__ import annotations

import csv
from pathlib import Path

from LiverTumorSegLib.result.files import NOTICE
from score_material import labels, score, three_scores

from training.score.files import log_test_use, shown_command, write_tables
from training.score.summary import summarize


def test_tables_have_a_row_each_and_the_notice(tmp_path: Path) -> None:
    write_tables(tmp_path, three_scores())
    counts = {}
    for name in ("cases", "lesions", "slices"):
        rows = list(csv.DictReader((tmp_path / f"{name}.csv").open()))
        counts[name] = len(rows)
        assert {row["notice"] for row in rows} == {NOTICE}
    assert counts == {"cases": 3, "lesions": 3 + 3, "slices": 30}


def test_no_lesion_gives_an_empty_table(tmp_path: Path) -> None:
    write_tables(tmp_path, [score("a", labels(), labels())])
    assert list(csv.DictReader((tmp_path / "lesions.csv").open())) == []


def test_the_command_names_files_and_no_folder_of_this_machine() -> None:
    shown = shown_command(
        ["/home/anna/m.safetensors", "/data/LiTS", "-o", "out dir", "--no-coarse-search"]
    )
    assert shown == "python -m training.evaluate m.safetensors LiTS -o 'out dir' --no-coarse-search"
    assert "anna" not in shown_command(["--ablation=a=/home/anna/scores"])
    assert shown_command(["/data/LiTS"], "tune") == "python -m training.tune LiTS"


def test_each_test_use_is_a_line(tmp_path: Path) -> None:
    log = tmp_path / "cards" / "log.csv"
    summary = {
        **summarize(three_scores()),
        "date": "2026-01-01",
        "commit": "abc",
        "model": "m 1",
        "sha256": "0" * 64,
    }
    for _ in range(2):
        log_test_use(log, summary)
    rows = list(csv.DictReader(log.open()))
    assert [row["commit"] for row in rows] == ["abc", "abc"]
    assert rows[0]["tumor_dice"] == "0.5"  # of the two volumes with tumor

"""A report made again from its folder, with what other runs add."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from evaluated_folder import history_lines
from score_material import labels, score, three_scores

from training.report import main, read_summary
from training.summary import summarize

HEADER: dict[str, Any] = {
    "notice": "For research only, not for diagnosis.",
    "model": "mine 1",
    "sha256": "ab" * 32,
    "split": "test",
    "date": "2026-01-01",
    "commit": "abc",
    "code": "0 (abc)",
    "device": "cpu",
    "conditions": "Measured on the CT's own grid.",
    "command": "python -m training.evaluate mine",
    "training_range": "Preset window.",
    "sets": [],
    "figures_not_drawn": {"fig06-loss": "No run was named."},
}


def write_scores(folder: Path, **changes: Any) -> Path:
    folder.mkdir()
    summary = {**HEADER, **summarize(three_scores()), **changes}
    (folder / "summary.json").write_text(json.dumps(summary))
    return folder


def test_is_made_from_the_summary_alone(tmp_path: Path) -> None:
    scores = write_scores(tmp_path / "scores")
    assert main([str(scores)]) == 0
    text = (scores / "report.html").read_text()
    assert "mine 1: test split" in text
    assert "Only 3 patients" in text
    assert "fig06-loss: No run was named." in text
    assert text.count("Measured on the CT&#x27;s own grid.") > 5  # over every table


def test_a_run_adds_its_table_and_figures(tmp_path: Path) -> None:
    scores, run = write_scores(tmp_path / "scores"), tmp_path / "run"
    run.mkdir()
    (run / "history.jsonl").write_text(history_lines(12))
    assert main([str(scores), "--run", str(run)]) == 0
    text = (scores / "report.html").read_text()
    assert '<section id="table-5">' in text
    assert sorted(path.name for path in (scores / "figures").iterdir()) == [
        "fig06-loss.png",
        "fig07-dice.png",
    ]
    assert "No run was named" not in text
    assert main([str(scores), "--run", str(run)]) == 0  # the figures that are there stay


def test_validation_ablation_and_baseline_are_tables(tmp_path: Path) -> None:
    scores = write_scores(tmp_path / "scores")
    other = write_scores(tmp_path / "other", model="theirs 2")
    more = ["--validation", str(other), "--baseline", str(other), "--ablation", f"neither={other}"]
    assert main([str(scores), *more]) == 0
    text = (scores / "report.html").read_text()
    assert "Against theirs 2" in text
    assert '<section id="table-4">' in text
    assert '<section id="table-7">' in text


def test_two_evaluations_of_other_cases_are_not_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scores = write_scores(tmp_path / "scores")
    other = write_scores(tmp_path / "other", **summarize([score("z", labels(), labels())]))
    assert main([str(scores), "--baseline", str(other)]) == 2
    assert "other volumes" in capsys.readouterr().err
    assert not (scores / "report.html").exists()


@pytest.mark.parametrize("content", [None, "{}", "no json"])
def test_a_folder_without_an_evaluation(
    tmp_path: Path, content: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    if content is not None:
        (tmp_path / "summary.json").write_text(content)
    assert main([str(tmp_path)]) == 2
    assert tmp_path.name in capsys.readouterr().err


def test_an_ablation_without_a_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scores = write_scores(tmp_path / "scores")
    assert main([str(scores), "--ablation", str(scores)]) == 2
    assert "NAME=SCORES" in capsys.readouterr().err


def test_read_summary_gives_what_was_written(tmp_path: Path) -> None:
    assert read_summary(write_scores(tmp_path / "scores"))["counts"]["volumes"] == 3

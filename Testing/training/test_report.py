"""A report made again from its folder, with what other runs add."""

from __future__ import annotations

import csv
import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from evaluated_folder import history_lines
from LiverTumorSegLib.inference.decision import Decision
from looped import looped
from score_material import labels, score, three_scores
from toy_figures import NET_ARGS, PREPROCESSING, toy_slices

from training.report import main
from training.reports import figures, style
from training.reports.evaluation import read_summary
from training.score.summary import summarize

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
    "decision": Decision().to_dict(),
    "cascade": False,
    "tta": False,
    "network": {
        "net": "hybrid2d",
        "net_args": NET_ARGS,
        "preprocessing": PREPROCESSING.to_dict(),
        "recipe": None,
    },
    "history": [],
}
QUICK = "--no-figures"


@cache
def three_summarized(sure: int | None = None) -> dict[str, Any]:
    return summarize(three_scores(sure=sure))


def write_scores(folder: Path, **changes: Any) -> Path:
    folder.mkdir()
    summary = {**HEADER, **three_summarized(), **changes}
    (folder / "summary.json").write_text(json.dumps(summary))
    toy_slices().save(folder / "slices.npz")
    return folder


def test_is_made_from_the_summary_alone(tmp_path: Path) -> None:
    scores = write_scores(tmp_path / "scores")
    assert main([str(scores), QUICK]) == 0
    text = (scores / "report.html").read_text()
    assert "mine 1: test split" in text
    assert "Only 3 patients" in text
    assert not (scores / "figures").exists()
    assert text.count("Measured on the CT&#x27;s own grid.") > 5  # over every table


@pytest.mark.slow
def test_every_figure_is_made_again_from_the_folder_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(style, "DPI", 50)
    scores, run = write_scores(tmp_path / "scores", **three_summarized(sure=204)), tmp_path / "run"
    run.mkdir()
    (run / "history.jsonl").write_text(history_lines(12))
    assert main([str(scores), "--run", str(run), "--figures", "svg", "--plain"]) == 0
    without = {"fig01-workflow", "calibration"}  # of sets and probabilities that nobody measured
    left = {kind.name for kind in figures.FIGURES} - without
    names = {f"{name}.{ending}" for name in left for ending in ("png", "svg")}
    assert {path.name for path in (scores / "figures").iterdir()} == names
    text = (scores / "report.html").read_text()
    assert text.count("data:image/png;base64,") == len(left)
    for name in without:
        assert f"<p>{name}: " in text
    assert '<section id="table-5">' in text


def test_papers_are_quoted_only_where_somebody_asks(tmp_path: Path) -> None:
    scores = write_scores(tmp_path / "scores")
    quotes = ('<section id="table-6">', '<section id="table-8">', "ResU-Net", "The paper drops")
    assert main([str(scores), QUICK]) == 0
    plain = (scores / "report.html").read_text()
    assert not [quote for quote in quotes if quote in plain]
    assert main([str(scores), QUICK, "--papers"]) == 0
    text = (scores / "report.html").read_text()
    assert all(quote in text for quote in quotes)


def test_every_table_is_a_csv_and_latex_of_the_same_cells(tmp_path: Path) -> None:
    scores = write_scores(tmp_path / "scores", model='50% _odd_ & "so"')
    assert main([str(scores), QUICK, "--papers"]) == 0
    tables = scores / "tables"
    assert (tables / "table-8.csv").is_file()
    assert not [*tables.glob("*.tex")]
    assert main([str(scores), QUICK, "--latex"]) == 0
    assert not (tables / "table-8.csv").exists()  # nothing of an earlier report is left
    text = (scores / "report.html").read_text()
    keys = re.findall(r'<section id="([^"]+)">', text)
    assert {path.stem for path in tables.glob("*.csv")} == set(keys)
    assert {path.stem for path in tables.glob("*.tex")} == set(keys)
    for key in keys:
        rows = list(csv.reader((tables / f"{key}.csv").open(newline="", encoding="utf-8")))
        latex = (tables / f"{key}.tex").read_text(encoding="utf-8")
        lines = [line for line in latex.splitlines() if line.endswith(r" \\")]
        assert [len(re.split(r"(?<!\\)&", line)) for line in lines] == [len(row) for row in rows]
        assert not re.search(r"(?<!\\)[%_#]", latex)
        assert latex.count("\\begin{") == latex.count("\\end{") == 2


def test_confidence_of_lesions_is_a_table_or_a_sentence(tmp_path: Path) -> None:
    without = write_scores(tmp_path / "without")
    sure = write_scores(tmp_path / "sure", **three_summarized(sure=204))
    for folder in (without, sure):
        assert main([str(folder), QUICK]) == 0
    sentence, table = "this model gives none", '<section id="lesion-confidence">'
    text = (without / "report.html").read_text()
    assert sentence in text
    assert table not in text
    text = (sure / "report.html").read_text()
    assert sentence not in text
    assert table in text
    assert '<section id="large-lesions">' in text
    assert '<section id="false-tumor">' in text


@looped(
    ("smoothing_mm", "tta", "shown"),
    [
        (5.0, True, "over 0.7, averaged over neighboring slices by a Gaussian of 5 mm"),
        (0.0, False, "over 0.7, slice by slice"),
    ],
)
def test_says_how_the_labels_were_decided(
    tmp_path: Path, smoothing_mm: float, tta: bool, shown: str
) -> None:
    decision = Decision(tumor_threshold=0.7, smoothing_mm=smoothing_mm).to_dict()
    scores = write_scores(tmp_path / "scores", decision=decision, tta=tta)
    assert main([str(scores), QUICK]) == 0
    text = (scores / "report.html").read_text()
    assert shown in text
    assert ("mirrored copies" in text) == tta


def test_a_figure_that_fails_is_named_and_the_page_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = write_scores(tmp_path / "scores")
    monkeypatch.setattr(figures, "save", lambda *_: 1 / 0)
    assert main([str(scores)]) == 0
    text = (scores / "report.html").read_text()
    assert "fig08-confusion: An error in its drawing: ZeroDivisionError" in text
    assert "fig06-loss: No epoch of a training is known" in text


def test_validation_ablation_and_baseline_are_tables(tmp_path: Path) -> None:
    scores = write_scores(tmp_path / "scores")
    other = write_scores(tmp_path / "other", model="theirs 2")
    more = [
        "--validation",
        str(other),
        "--baseline",
        str(other),
        "--ablation",
        f"neither={other}",
        QUICK,
    ]
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
    assert main([str(scores), "--baseline", str(other), QUICK]) == 2
    assert "other volumes" in capsys.readouterr().err
    assert not (scores / "report.html").exists()


OLD = '{"slices": {}, "volumes": {}, "detection": {}, "cases": []}'


@looped("content", [None, "{}", "no json", OLD])
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

"""All figures of a synthetic run: each file is there, whole, readable, and says what it is for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import matplotlib
import pytest
from LiverTumorSegLib.result.files import NOTICE
from looped import looped
from matplotlib.figure import Figure
from toy_figures import NO_SLICES, check_readable, toy_slices, toy_summary, toy_views

from training.learn.provenance import as_dict
from training.learn.recipes import RECIPES
from training.reports import figures
from training.reports import style as figures_style
from training.reports.figures import FIGURES, FigureKind, Look, draw_all, reasons
from training.reports.style import our_style

OF_THE_TRAINING = ("fig06-loss", "fig07-dice")
NAMES = [kind.name for kind in FIGURES]


@pytest.mark.slow
def test_a_synthetic_run_gives_every_figure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(figures_style, "DPI", 50)  # a third of the size, a tenth of the time
    folder = tmp_path / "run" / "figures"
    made = draw_all(folder, toy_summary(), toy_slices())
    assert made == {name: folder / f"{name}.png" for name in NAMES}
    for name in NAMES:
        image = cv2.imread(str(folder / f"{name}.png"))
        assert image is not None, name
        assert image.shape[1] == 500
        assert image.std() > 5, f"{name} is blank"
    assert sorted(path.name for path in folder.iterdir()) == sorted(f"{n}.png" for n in NAMES)


@looped("kind", FIGURES)
def test_every_figure_is_readable_and_says_what_it_is_for(kind: FigureKind) -> None:
    summary = toy_summary(network={"recipe": as_dict(RECIPES["cpu"])})
    with our_style():
        figure = kind.draw(summary, toy_slices()) if kind.slices else kind.draw(summary)
        texts = check_readable(figure)
    assert NOTICE in texts
    scored = "9 volumes scored (test split, 3 patients)."
    assert ("30 epochs" if kind.name in OF_THE_TRAINING else scored) in " ".join(texts)
    if kind.name.startswith("fig"):
        number = f"Figure {int(kind.name[3:5])}. "
        assert any(text.startswith(number) for text in texts)


def test_the_paper_has_eleven_figures() -> None:
    numbers = [name[3:5] for name in NAMES if name.startswith("fig")]
    assert numbers == [f"{n:02}" for n in range(1, 12)]
    assert len(set(NAMES)) == len(NAMES)


def test_what_cannot_be_drawn_is_a_sentence_not_a_file(tmp_path: Path) -> None:
    bare = toy_summary(
        history=[], sets=[], lesions={"true": [], "predicted": []}, lesion_confidence=None
    )
    made = draw_all(tmp_path / "figures", {**bare, "calibration": None}, NO_SLICES)
    drawn = {name for name, value in made.items() if isinstance(value, Path)}
    assert drawn == {"fig05-network", "fig08-confusion", "bland-altman", "patients"}
    assert "--run RUN" in str(made["fig06-loss"])
    for reason in made.values():
        if isinstance(reason, str):
            assert reason.endswith(".")
            assert ": " in reason, "it says what to do, too"
    assert {p.stem for p in (tmp_path / "figures").iterdir()} == drawn


@looped("file_format", ["pdf", "svg"])
def test_figures_for_print_lie_beside_those_of_the_report(tmp_path: Path, file_format: str) -> None:
    look = Look(file_format, plain=True)
    draw_all(tmp_path, toy_summary(), toy_slices(), look=look, only=["fig08-confusion"])
    names = ["fig08-confusion.pdf", "fig08-confusion.png", "fig08-confusion.svg"]
    left = [name for name in names if name.endswith(("png", file_format))]
    assert sorted(path.name for path in tmp_path.iterdir()) == left
    with pytest.raises(ValueError, match="not 'gif'"):
        Look("gif")


def fail(error: BaseException) -> Callable[..., Figure]:
    def draw(_: object) -> Figure:
        raise error

    return draw


def with_a_failing_one(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    kinds = [FigureKind("broken", "It fails", fail(error)), *FIGURES]
    monkeypatch.setattr(figures, "FIGURES", tuple(kinds))


@looped(
    ("error", "shown"),
    [
        (ZeroDivisionError("division by zero"), "ZeroDivisionError, division by zero in test_fi"),
        (MemoryError(), "MemoryError in test_figures.py, line"),
        (ValueError("two\nlines"), "ValueError, two lines in test_figures.py"),
        (FileNotFoundError(2, "No such file", "/home/anna/ct.nii"), "FileNotFoundError in test_f"),
    ],
)
def test_an_error_in_one_figure_is_a_sentence_and_costs_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, shown: str
) -> None:
    with_a_failing_one(monkeypatch, error)
    made = draw_all(tmp_path, toy_summary(), toy_slices(), only=["broken", "fig08-confusion"])
    assert shown in str(made["broken"])
    assert "anna" not in str(made["broken"])
    assert reasons(made) == {"broken": made["broken"]}
    assert [path.name for path in tmp_path.iterdir()] == ["fig08-confusion.png"]


def test_whoever_stops_the_drawing_is_obeyed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_a_failing_one(monkeypatch, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        draw_all(tmp_path, toy_summary(), toy_slices(), only=["broken"])


def test_some_figures_alone(tmp_path: Path) -> None:
    made = draw_all(tmp_path, toy_summary(), toy_slices(), only=["fig08-confusion"])
    assert made == {"fig08-confusion": tmp_path / "fig08-confusion.png"}
    with pytest.raises(ValueError, match="no figure fig99"):
        draw_all(tmp_path, toy_summary(), NO_SLICES, only=["fig99"])


def test_a_figure_drawn_again_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    for name in ("fig06-loss.png", "fig06-loss.svg", "fig08-confusion.png", "mine.txt"):
        (tmp_path / name).write_text("old")
    only = ["fig08-confusion", "fig06-loss"]
    draw_all(tmp_path, toy_summary(history=[]), toy_slices(), only=only)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["fig08-confusion.png", "mine.txt"]
    assert (tmp_path / "fig08-confusion.png").read_bytes() != b"old"


def test_the_users_own_style_neither_shows_nor_changes(tmp_path: Path) -> None:
    only = ["fig08-confusion"]
    ours = draw_all(tmp_path / "ours", toy_summary(), NO_SLICES, only=only)
    with matplotlib.rc_context({"font.size": 30, "savefig.bbox": "tight", "axes.grid": False}):
        before = dict(matplotlib.rcParams)
        theirs = draw_all(tmp_path / "theirs", toy_summary(), NO_SLICES, only=only)
        assert dict(matplotlib.rcParams) == before
    files = [Path(made["fig08-confusion"]) for made in (ours, theirs)]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_names_of_cases_are_printed_as_they_are(tmp_path: Path) -> None:
    """A dollar sign would otherwise begin a formula."""
    slices = toy_slices([replace(view, case="a_$x^2$") for view in toy_views(1)])
    made = draw_all(tmp_path, toy_summary(), slices, only=["fig09-masks"])
    assert made == {"fig09-masks": tmp_path / "fig09-masks.png"}

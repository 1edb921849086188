"""All figures of a synthetic run: each file is there, whole, readable, and says what it is for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import matplotlib
import pytest
from LiverTumorSegLib.result.files import NOTICE
from matplotlib.figure import Figure
from toy_figures import PLAIN, check_readable, toy_material

from training.learn.model_spec import as_dict
from training.learn.recipes import RECIPES
from training.reports import figures
from training.reports import style as figures_style
from training.reports.figures import FIGURES, FigureKind, draw_all, reasons
from training.reports.material import FigureMaterial
from training.reports.style import Draw

OF_THE_TRAINING = ("fig06-loss", "fig07-dice")
NAMES = [kind.name for kind in FIGURES]


@pytest.mark.slow
def test_a_synthetic_run_gives_every_figure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(figures_style, "DPI", 50)  # a third of the size, a tenth of the time
    folder = tmp_path / "run" / "figures"
    made = draw_all(folder, toy_material())
    assert made == {name: folder / f"{name}.png" for name in NAMES}
    for name in NAMES:
        image = cv2.imread(str(folder / f"{name}.png"))
        assert image is not None, name
        assert image.shape[1] == 500
        assert image.std() > 5, f"{name} is blank"
    assert sorted(path.name for path in folder.iterdir()) == sorted(f"{n}.png" for n in NAMES)


@pytest.mark.parametrize("kind", FIGURES, ids=lambda kind: kind.name)
def test_every_figure_is_readable_and_says_what_it_is_for(kind: FigureKind) -> None:
    texts = check_readable(kind.draw(toy_material(recipe=as_dict(RECIPES["cpu"]))))
    assert NOTICE in texts
    scored = "9 volumes scored (test split, 3 patients)."
    assert ("30 epochs" if kind.name in OF_THE_TRAINING else scored) in " ".join(texts)


def test_the_paper_has_eleven_figures() -> None:
    numbers = [name[3:5] for name in NAMES if name.startswith("fig")]
    assert numbers == [f"{n:02}" for n in range(1, 12)]
    assert len(set(NAMES)) == len(NAMES)


def test_what_was_not_handed_over_is_a_sentence_not_a_file(tmp_path: Path) -> None:
    made = draw_all(tmp_path / "figures", PLAIN)
    assert [name for name, value in made.items() if isinstance(value, Path)] == ["fig05-network"]
    assert "--run RUN" in str(made["fig06-loss"])
    for reason in made.values():
        if isinstance(reason, str):
            assert reason.endswith(".")
            assert ": " in reason, "it says what to do, too"
    assert [p.name for p in (tmp_path / "figures").iterdir()] == ["fig05-network.png"]


def fail(error: BaseException) -> Draw:
    def draw(_: FigureMaterial) -> Figure:
        raise error

    return draw


def with_a_failing_one(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    kinds = [FigureKind("broken", "It fails", fail(error)), *FIGURES]
    monkeypatch.setattr(figures, "FIGURES", tuple(kinds))


@pytest.mark.parametrize(
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
    made = draw_all(tmp_path, toy_material(), only=["broken", "fig08-confusion"])
    assert shown in str(made["broken"])
    assert "anna" not in str(made["broken"])
    assert reasons(made) == {"broken": made["broken"]}
    assert [path.name for path in tmp_path.iterdir()] == ["fig08-confusion.png"]


def test_whoever_stops_the_drawing_is_obeyed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_a_failing_one(monkeypatch, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        draw_all(tmp_path, toy_material(), only=["broken"])


def test_some_figures_alone(tmp_path: Path) -> None:
    made = draw_all(tmp_path, toy_material(), only=["fig08-confusion"])
    assert made == {"fig08-confusion": tmp_path / "fig08-confusion.png"}
    with pytest.raises(ValueError, match="no figure fig99"):
        draw_all(tmp_path, PLAIN, only=["fig99"])


def test_present_files_are_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "fig08-confusion.png").write_text("mine")
    with pytest.raises(ValueError, match=r"holds fig08-confusion\.png already"):
        draw_all(tmp_path, toy_material())
    assert [path.name for path in tmp_path.iterdir()] == ["fig08-confusion.png"]
    assert (tmp_path / "fig08-confusion.png").read_text() == "mine"


def test_the_users_own_style_neither_shows_nor_changes(tmp_path: Path) -> None:
    only = ["fig08-confusion"]
    ours = draw_all(tmp_path / "ours", toy_material(), only)
    with matplotlib.rc_context({"font.size": 30, "savefig.bbox": "tight", "axes.grid": False}):
        before = dict(matplotlib.rcParams)
        theirs = draw_all(tmp_path / "theirs", toy_material(), only)
        assert dict(matplotlib.rcParams) == before
    files = [Path(made["fig08-confusion"]) for made in (ours, theirs)]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_names_of_cases_are_printed_as_they_are(tmp_path: Path) -> None:
    """A dollar sign would otherwise begin a formula."""
    material = toy_material()
    views = [replace(view, case="a_$x^2$") for view in material.views[:1]]
    made = draw_all(tmp_path, replace(material, views=views), only=["fig09-masks"])
    assert made == {"fig09-masks": tmp_path / "fig09-masks.png"}

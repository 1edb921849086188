"""Pages are as wide as promised and readable; files appear whole or not at all."""

from __future__ import annotations

from pathlib import Path

import cv2
import matplotlib
import pytest
from LiverTumorSegLib.labels import Label
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from toy_figures import PLAIN, check_readable, complaints, read, texts_of

from training.reports.material import FigureMaterial
from training.reports.style import (
    DPI,
    LIVER,
    SMALL,
    TEXT_IN,
    TUMOR,
    counted,
    foot_legend,
    page,
    save_png,
    short,
    styled,
    wrapped,
)

LONG = "The quick brown fox jumps over the lazy dog, again and again, and a WIDE one. " * 6


@styled
def a_page(material: FigureMaterial) -> Figure:
    figure = page("A title", LONG, LONG + material.basis, 3.0, legend_rows=1)
    axes = figure.subplots()
    axes.set_xlabel("an axis")
    foot_legend(figure, [Patch(label="one"), Patch(label="two")], 2)
    return figure


def test_a_page_is_1600_pixels_wide_and_grows_with_its_text(tmp_path: Path) -> None:
    figure = a_page(PLAIN)
    assert figure.get_size_inches()[0] * DPI == 1600
    assert figure.get_size_inches()[1] > 3.0 + 2.0
    check_readable(figure)
    joined = " ".join(texts_of(figure)).replace("\n", " ")
    assert "For research only, not for diagnosis." in joined
    assert joined.count("quick brown fox") == 12


def test_the_readers_eye_sees_what_is_wrong() -> None:
    """The check that all figures pass must be able to fail."""
    figure = a_page(PLAIN)
    for x, text, size in ((0.5, "one text", 12), (0.51, "another", 12), (0.99, "beyond", 12)):
        figure.text(x, 0.5, text, size=size)
    figure.text(0.2, 0.5, "tiny", size=5)
    wrong = complaints(figure, read(figure))
    assert "'one text' lies on 'another'" in wrong
    assert "'beyond' is cut off" in wrong
    assert "'tiny' is too small" in wrong


def test_lines_fit_and_lose_no_word() -> None:
    lines = wrapped(LONG, SMALL)
    assert " ".join(lines).split() == LONG.split()
    assert 3 <= len(lines) <= 5
    narrow = wrapped(LONG, SMALL, TEXT_IN / 4, indent="   ")
    assert len(narrow) > 3 * len(lines)
    assert all(line.startswith("   ") for line in narrow[1:])
    assert wrapped("", SMALL) == [""]


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    figure = a_page(PLAIN)
    target = tmp_path / "figure.png"
    target.mkdir()  # cannot be replaced by a file
    (target / "kept").touch()
    with pytest.raises(ValueError, match=r"figure\.png cannot be written"):
        save_png(figure, target)
    assert [path.name for path in tmp_path.iterdir()] == ["figure.png"]


def test_the_same_figure_gives_the_same_bytes(tmp_path: Path) -> None:
    files = [save_png(a_page(PLAIN), tmp_path / f"{n}.png") for n in range(2)]
    assert files[0].read_bytes() == files[1].read_bytes()
    image = cv2.imread(str(files[0]))
    assert image is not None
    assert image.shape[1] == 1600


def test_settings_are_back_after_drawing_even_when_it_fails() -> None:
    @styled
    def broken(material: FigureMaterial) -> Figure:
        assert matplotlib.rcParams["axes.titlelocation"] == "left"
        raise KeyError(material.net)

    with matplotlib.rc_context({"font.size": 23}):
        with pytest.raises(KeyError):
            broken(PLAIN)
        assert matplotlib.rcParams["font.size"] == 23


def test_colors_are_those_of_the_labels() -> None:
    assert tuple(round(255 * c) for c in LIVER) == Label.LIVER.color_rgb
    assert tuple(round(255 * c) for c in TUMOR) == Label.TUMOR.color_rgb


def test_numbers_in_words() -> None:
    assert counted(1234567) == "1,234,567"
    assert [short(v) for v in (7, 1500, 2e6, 3e9)] == ["7", "1.5 k", "2 M", "3 G"]

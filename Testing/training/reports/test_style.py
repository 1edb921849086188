"""Pages are as wide as promised and readable; files appear whole or not at all."""

from __future__ import annotations

from pathlib import Path

import cv2
import matplotlib
import pytest
from LiverTumorSegLib.labels import Label
from LiverTumorSegLib.result.files import NOTICE
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from toy_figures import check_readable, complaints, read, texts_of

from training.reports.style import (
    DPI,
    FORMATS,
    LIVER,
    SMALL,
    TEXT_IN,
    TUMOR,
    counted,
    foot_legend,
    our_style,
    page,
    save,
    short,
    wrapped,
)

pytestmark = pytest.mark.usefixtures("figure_style")

BEGINNINGS = {"png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<?xml"}
LONG = "The quick brown fox jumps over the lazy dog, again and again, and a WIDE one. " * 6


def a_page(number: int | None = None) -> Figure:
    figure = page("A title", LONG, LONG, 3.0, number=number, legend_rows=1)
    axes = figure.subplots()
    axes.set_xlabel("an axis")
    foot_legend(figure, [Patch(label="one"), Patch(label="two")], 2)
    return figure


def test_a_page_is_1600_pixels_wide_and_grows_with_its_text(tmp_path: Path) -> None:
    figure = a_page()
    assert figure.get_size_inches()[0] * DPI == 1600
    assert figure.get_size_inches()[1] > 3.0 + 2.0
    check_readable(figure)
    joined = " ".join(texts_of(figure)).replace("\n", " ")
    assert "For research only, not for diagnosis." in joined
    assert joined.count("quick brown fox") == 12


def test_the_readers_eye_sees_what_is_wrong() -> None:
    """The check that all figures pass must be able to fail."""
    figure = a_page()
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
    figure = a_page()
    target = tmp_path / "figure.png"
    target.mkdir()  # cannot be replaced by a file
    (target / "kept").touch()
    with pytest.raises(ValueError, match=r"figure\.png cannot be written"):
        save(figure, target)
    assert [path.name for path in tmp_path.iterdir()] == ["figure.png"]


def test_the_same_figure_gives_the_same_bytes(tmp_path: Path) -> None:
    for ending in FORMATS:
        files = [save(a_page(), tmp_path / f"{n}.{ending}") for n in range(2)]
        assert files[0].read_bytes() == files[1].read_bytes(), ending
        assert files[0].read_bytes().startswith(BEGINNINGS[ending])
    image = cv2.imread(str(tmp_path / "0.png"))
    assert image is not None
    assert image.shape[1] == 1600


def test_settings_are_back_after_drawing_even_when_it_fails() -> None:
    with matplotlib.rc_context({"font.size": 23}):
        try:
            with our_style():
                assert matplotlib.rcParams["axes.titlelocation"] == "left"
                raise KeyError
        except KeyError:
            pass
        assert matplotlib.rcParams["font.size"] == 23


def test_a_plain_page_bears_no_number_and_no_notice() -> None:
    for plain in (False, True):
        with our_style(plain=plain):
            texts = check_readable(a_page(number=5))
        assert ("Figure 5. A title" in texts) is not plain
        assert (NOTICE in texts) is not plain
        assert any("quick brown fox" in text for text in texts)


def test_colors_are_those_of_the_labels_and_numbers_in_words() -> None:
    # colors are those of the labels
    assert tuple(round(255 * c) for c in LIVER) == Label.LIVER.color_rgb
    assert tuple(round(255 * c) for c in TUMOR) == Label.TUMOR.color_rgb

    # numbers in words
    assert counted(1234567) == "1,234,567"
    assert [short(v) for v in (7, 1500, 2e6, 3e9)] == ["7", "1.5 k", "2 M", "3 G"]

"""The overview picture: complete for any result, right way round, and never without its warning."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest
from LiverTumorSegLib.labels import Label
from LiverTumorSegLib.phantom.phantom import Phantom, make_phantom
from LiverTumorSegLib.result.lesions import LiverMeasures, measure
from LiverTumorSegLib.result.overview import drawing
from LiverTumorSegLib.result.overview import page as overview
from LiverTumorSegLib.result.overview import panel as overview_panel
from LiverTumorSegLib.result.overview import surface as overview_surface
from LiverTumorSegLib.result.overview import views as overview_views
from LiverTumorSegLib.result.overview.drawing import FINE, Page, Tags
from LiverTumorSegLib.result.overview.page import draw_overview, png_bytes
from LiverTumorSegLib.result.overview.panel import AMBER, HEIGHT, LIVER, TUMOR, WIDTH, milliliters
from LiverTumorSegLib.result.overview.views import Frame, choose_slices
from LiverTumorSegLib.volume import CtVolume, Reorientation
from looped import FOUR_AXES, looped
from numpy.typing import NDArray

Image = NDArray[np.uint8]
PICTURES_END = 1160  # columns left of it show CT, the others text
FOOTER = HEIGHT - 40


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    return make_phantom(seed=5, shape_kji=(30, 64, 64), spacing_kji_mm=(7.0, 6.0, 6.0))


def drawn(ct: CtVolume, labels: NDArray[np.uint8], **more: Any) -> Image:
    more = {"title": "Liver and liver tumors", "footer": "a model", **more}
    return draw_overview(ct, labels, measure(labels, ct), **more)


def count(image: Image, color: tuple[int, int, int], near: int = 30) -> int:
    """Pixels of about a color."""
    return int((np.abs(image.astype(int) - color).max(axis=2) <= near).sum())


def axial_cell(image: Image, n: int) -> Image:
    left, top, right, bottom = (round(v) for v in overview._cell(*divmod(n, 3)))
    return image[top:bottom, left:right]


def no_liver(phantom: Phantom) -> tuple[CtVolume, NDArray[np.uint8]]:
    return phantom.ct, np.zeros_like(phantom.labels)


def eighty_lesions(phantom: Phantom) -> tuple[CtVolume, NDArray[np.uint8]]:
    labels = np.zeros(phantom.labels.shape, np.uint8)
    labels[5:25, 8:56, 8:56] = Label.LIVER
    labels[6:24:4, 10:50:10, 10:50:10] = Label.TUMOR
    return phantom.ct, labels


def anisotropic(phantom: Phantom) -> tuple[CtVolume, NDArray[np.uint8]]:
    thick = make_phantom(seed=3, shape_kji=(120, 20, 90), spacing_kji_mm=(2.0, 15.0, 4.0))
    return thick.ct, thick.labels


def two_slices(phantom: Phantom) -> tuple[CtVolume, NDArray[np.uint8]]:
    ct = CtVolume(phantom.ct.hu[15:17].copy(), phantom.ct.ijk_to_ras)
    return ct, phantom.labels[15:17].copy()


def tumor_without_liver(phantom: Phantom) -> tuple[CtVolume, NDArray[np.uint8]]:
    labels = np.zeros(phantom.labels.shape, np.uint8)
    labels[0, 0, 0] = labels[-1, -1, -1] = Label.TUMOR
    return phantom.ct, labels


def constant_ct(phantom: Phantom) -> tuple[CtVolume, NDArray[np.uint8]]:
    return CtVolume(np.full_like(phantom.ct.hu, 40), phantom.ct.ijk_to_ras), phantom.labels


@looped(
    "case",
    [no_liver, eighty_lesions, anisotropic, two_slices, tumor_without_liver, constant_ct],
)
def test_every_result_gives_a_whole_picture(phantom: Phantom, case: Any) -> None:
    ct, labels = case(phantom)
    image = drawn(ct, labels)
    assert image.shape == (HEIGHT, WIDTH, 3)
    assert image.dtype == np.uint8
    pictures = image[:FOOTER, :PICTURES_END]
    assert (count(pictures, TUMOR) > 0) == bool((labels == Label.TUMOR).any())
    assert (count(pictures, LIVER) > 0) == bool((labels == Label.LIVER).any())
    assert count(image[FOOTER:], AMBER) > 200


def test_no_liver_is_said_in_words(phantom: Phantom, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    real = Page.text
    monkeypatch.setattr(
        Page, "text", lambda page, text, *a, **k: (said.append(text), real(page, text, *a, **k))
    )
    drawn(*no_liver(phantom))
    assert "No liver found" in said
    assert "For research only, not for diagnosis" in said


@pytest.fixture(scope="module")
def plain_pictures() -> dict[bool, Image]:
    """Pictures of the upright scan, with (True) and without slice numbers, once drawn."""
    return {}


@looped(axes_to_ras=FOUR_AXES)
def test_an_orientation_changes_nothing(
    phantom: Phantom,
    axes_to_ras: NDArray[np.float64],
    plain_pictures: dict[bool, Image],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All 48: the same pixels, but for slice numbers, which count in the file's own direction."""
    for module in (drawing, overview_views, overview_surface):  # coarse, to be quick
        monkeypatch.setattr(module, "FINE", 1)
    ct, turn = turned(phantom.ct, axes_to_ras)
    numbered = not turn.flipped_kji[0]
    if not numbered:
        monkeypatch.setattr(overview, "_slice_number", _without_slice(overview._slice_number))
        monkeypatch.setattr(overview_panel, "_values", _without_slice(overview_panel._values))
    if numbered not in plain_pictures:
        plain_pictures[numbered] = drawn(phantom.ct, phantom.labels)
    assert np.array_equal(drawn(ct, turn.undo(phantom.labels)), plain_pictures[numbered])


def turned(lps: CtVolume, axes_to_ras: NDArray[np.float64]) -> tuple[CtVolume, Reorientation]:
    """The same scan on a grid that lies another way, and the turn from that grid to LPS."""
    affine = np.eye(4)
    affine[:3, :3] = axes_to_ras
    turn = Reorientation.to_lps(affine, (1, 1, 1))
    k, j, i = np.array(lps.shape_kji)[np.argsort(turn.order_kji)]
    turn = replace(turn, shape_kji=(int(k), int(j), int(i)))
    from_lps = np.linalg.inv(turn.apply_affine(np.eye(4)))
    return CtVolume(turn.undo(lps.hu), lps.ijk_to_ras @ from_lps), turn


def _without_slice(function: Any) -> Any:
    """The same function with every slice number left out."""

    def changed(*args: Any) -> Any:
        result = function(*args)
        return "" if isinstance(result, str) else (*result[:3], "", result[4])

    return changed


def test_the_patients_right_is_on_the_left_and_anterior_is_up() -> None:
    hu = np.full((20, 60, 60), 0, np.int16)
    labels = np.zeros(hu.shape, np.uint8)
    labels[:, 10:20, 5:15] = Label.LIVER  # LPS: toward the right and anterior
    image = drawn(CtVolume(hu, np.diag([-5.0, -5.0, 5.0, 1.0])), labels)
    green = np.abs(axial_cell(image, 0).astype(int) - LIVER).max(axis=2) < 30
    rows, columns = np.nonzero(green)
    assert columns.max() < green.shape[1] / 2
    assert rows.max() < green.shape[0] / 2


@looped("spacing_mm", [(1.0, 1.0), (5.0, 1.0), (1.0, 3.0), (3.0, 3.0)])
def test_outlines_keep_their_size_in_mm(spacing_mm: tuple[float, float]) -> None:
    """A disk of 40 mm radius, on pixels of any shape, is drawn as a disk of 40 mm radius."""
    rows, columns = (np.arange(round(120 / mm)) * mm + mm / 2 for mm in spacing_mm)
    disk = (rows[:, None] - 60) ** 2 + (columns[None] - 60) ** 2 <= 40**2
    frame = Frame.around((0.0, 0.0, 120.0, 120.0), 240.0, 240.0)
    inside = frame.inside(disk, spacing_mm)
    fine = frame.scale * FINE
    assert np.sqrt(inside.sum() / np.pi) / fine == pytest.approx(40, abs=0.2 * max(spacing_mm))
    y, x = (axis.mean() for axis in np.nonzero(inside))
    middle = np.array([x, y]) + 0.5
    assert middle / fine == pytest.approx([60, 60], abs=0.2 * max(spacing_mm))


@looped("spacing_mm", [(1.0, 1.0), (5.0, 0.7), (0.7, 5.0)])
def test_a_single_voxel_keeps_its_outline(spacing_mm: tuple[float, float]) -> None:
    mask = np.zeros((30, 30), bool)
    mask[12, 17] = True
    frame = Frame.around((0.0, 0.0, 30 * spacing_mm[1], 30 * spacing_mm[0]), 360.0, 290.0)
    y, x = (axis.mean() + 0.5 for axis in np.nonzero(frame.inside(mask, spacing_mm)))
    expected = frame.to_cell(17.5 * spacing_mm[1], 12.5 * spacing_mm[0])
    assert (x / FINE, y / FINE) == pytest.approx(expected, abs=1.0)


def test_the_footer_never_hides_what_the_picture_is_for(phantom: Phantom) -> None:
    ct, labels = no_liver(phantom)
    short = drawn(ct, labels)
    wordy = drawn(ct, labels, title="T " * 500, footer="model\n" * 300)
    page = Page(1, 1, (0, 0, 0))
    width = page.text_width("For research only, not for diagnosis", 16, bold=True)
    place = np.s_[FOOTER:, WIDTH - 24 - int(width) :]
    assert np.array_equal(short[place], wordy[place])
    assert not np.array_equal(short[FOOTER:, :PICTURES_END], wordy[FOOTER:, :PICTURES_END])


def test_the_warning_is_the_text_in_the_footer(
    phantom: Phantom, monkeypatch: pytest.MonkeyPatch
) -> None:
    ct, labels = no_liver(phantom)
    whole = drawn(ct, labels)
    monkeypatch.setattr(overview_panel, "PURPOSE", "")
    without = drawn(ct, labels)
    assert np.array_equal(whole[:FOOTER], without[:FOOTER])
    assert count(without[FOOTER:], AMBER) == 0


def test_a_reference_is_drawn_and_compared(phantom: Phantom) -> None:
    shifted = np.roll(phantom.labels, 2, axis=2)
    image = drawn(phantom.ct, phantom.labels, truth_kji=shifted)
    plain = drawn(phantom.ct, phantom.labels)
    assert not np.array_equal(axial_cell(image, 0), axial_cell(plain, 0))
    liver, tumor = overview._dice(phantom.labels, shifted)
    for value, least in ((liver, 1), (tumor, 2)):
        a, b = phantom.labels >= least, shifted >= least
        assert value == pytest.approx(2 * (a & b).sum() / (a.sum() + b.sum()))
    assert overview._dice(shifted * 0, shifted * 0) == (None, None)
    drawn(phantom.ct, shifted * 0, truth_kji=phantom.labels)


def test_older_opencv_draws_the_same_page(
    phantom: Phantom, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a typeface in OpenCV only the text differs; letters it cannot draw do no harm."""
    ct, labels = no_liver(phantom)
    here = drawn(ct, labels)
    monkeypatch.setattr(drawing, "default_typeface", drawing._Hershey)
    there = drawn(ct, labels, title="M\u00fcller \u809d\u81d3")
    assert there.shape == here.shape
    assert count(there[FOOTER:], AMBER) > 200
    assert np.mean(here != there) < 0.1


def test_slices_hold_the_largest_lesions_and_spread_over_the_liver() -> None:
    rng = np.random.default_rng(4)
    for _ in range(300):
        slices = int(rng.integers(1, 120))
        first, end = sorted(int(v) for v in rng.integers(0, slices, 2))
        voxels = np.zeros(slices, int)
        voxels[first : end + 1] = rng.integers(0, 900, end - first + 1)
        lesions = [int(v) for v in rng.integers(first, end + 1, int(rng.integers(0, 9)))]
        chosen = choose_slices(voxels, lesions, float(rng.uniform(0.5, 6)), 6)
        assert len(chosen) == min(6, slices)
        assert chosen == sorted(set(chosen), reverse=True)
        assert 0 <= chosen[-1] <= chosen[0] < slices
        assert not lesions or lesions[0] in chosen
    even = choose_slices(np.full(120, 50), [], 1.0, 6)
    assert set(np.diff(even)) <= {-19, -20, -21}


def test_tags_stay_in_their_cell_and_off_each_other() -> None:
    page, cell = Page(400, 300, (0, 0, 0)), (20.0, 20.0, 380.0, 280.0)
    tags = Tags(page, cell, [(20.0, 20.0, 110.0, 60.0)])
    rng = np.random.default_rng(2)
    for n in range(60):
        x, y = rng.uniform(20, 380), rng.uniform(20, 280)
        tags.add(str(n), (x - 5, y - 5, x + 5, y + 5), (0, 0, 255), [])
    boxes = tags._taken
    assert len(boxes) > 20
    for n, a in enumerate(boxes):
        assert a[0] >= cell[0]
        assert a[3] <= cell[3]
        for b in boxes[n + 1 :]:
            assert a[0] >= b[2] or b[0] >= a[2] or a[1] >= b[3] or b[1] >= a[3]


@looped(
    ("volume_ml", "shown"),
    [
        (0, "0"),
        (0.004, "<0.01"),
        (0.127, "0.13"),
        (9.994, "9.99"),
        (9.996, "10.0"),
        (1706.3, "1706"),
    ],
)
def test_volumes_carry_three_figures(volume_ml: float, shown: str) -> None:
    assert milliliters(volume_ml) == shown


def test_confidence_is_a_column_when_there_is_one(
    phantom: Phantom, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []
    text = Page.text

    def listen(page: Page, words: str, *more: Any, **options: Any) -> None:
        written.append(words)
        text(page, words, *more, **options)

    monkeypatch.setattr(Page, "text", listen)
    measures = measure(phantom.labels, phantom.ct)
    first, *others = measures.lesions
    sure: LiverMeasures = replace(measures, lesions=(replace(first, confidence=0.874), *others))
    words = {"title": "", "footer": ""}
    draw_overview(phantom.ct, phantom.labels, measures, **words)
    assert "mean HU" in written
    assert "confidence" not in written
    written.clear()
    draw_overview(phantom.ct, phantom.labels, sure, **words)
    assert {"mean HU", "confidence", "87 %", "-"} <= set(written)


def test_warnings_are_written_below_the_picture_and_change_nothing_in_it(
    phantom: Phantom, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []
    text = Page.text

    def listen(page: Page, words: str, *more: Any, **options: Any) -> None:
        written.append(words)
        text(page, words, *more, **options)

    ct, labels = no_liver(phantom)
    plain = drawn(ct, labels)
    monkeypatch.setattr(Page, "text", listen)
    warnings = ("Look here.", "A long sentence. " * 20)
    warned = drawn(ct, labels, warnings=warnings)
    assert np.array_equal(warned[:HEIGHT], plain)
    assert warned.shape[0] > HEIGHT
    assert "Look here." in written
    assert " ".join(warnings[1].split()) in " ".join(written)


def test_what_is_hardly_a_tumor_stands_out_in_the_list(phantom: Phantom) -> None:
    measures = measure(phantom.labels, phantom.ct)
    first, *others = measures.lesions
    flagged = replace(measures, lesions=(replace(first, implausible="5 HU, a cyst"), *others))
    amber = [
        count(draw_overview(phantom.ct, phantom.labels, one, title="", footer="")[:FOOTER], AMBER)
        for one in (measures, flagged)
    ]
    assert amber[1] > amber[0] + 50


def test_wrong_arrays_are_refused_with_advice(phantom: Phantom) -> None:
    measures = measure(phantom.labels, phantom.ct)
    words = {"title": "", "footer": ""}
    with pytest.raises(ValueError, match="own grid"):
        draw_overview(phantom.ct, phantom.labels[1:], measures, **words)
    truth: Any = phantom.labels.astype(np.int64)
    with pytest.raises(ValueError, match="truth are int64"):
        draw_overview(phantom.ct, phantom.labels, measures, truth_kji=truth, **words)
    other: LiverMeasures = replace(measures, lesions=())
    with pytest.raises(ValueError, match="measure these labels"):
        draw_overview(phantom.ct, phantom.labels, other, **words)


def test_a_png_holds_the_picture_pixel_by_pixel() -> None:
    image = np.random.default_rng(0).integers(0, 255, (30, 40, 3)).astype(np.uint8)
    assert np.array_equal(cv2.imdecode(np.frombuffer(png_bytes(image), np.uint8), 1), image)


def test_no_float_copy_of_the_volume(phantom: Phantom) -> None:
    """Beyond the volume itself less memory than its float32 copy would take."""
    repeats = np.arange(150) * 30 // 150
    hu = np.repeat(np.repeat(phantom.ct.hu[repeats], 7, axis=1), 7, axis=2)
    labels = np.repeat(np.repeat(phantom.labels[repeats], 7, axis=1), 7, axis=2)
    ct = CtVolume(hu, np.diag([-0.85, -0.85, 1.4, 1.0]))
    measures = measure(labels, ct)
    tracemalloc.start()
    try:
        draw_overview(ct, labels, measures, title="", footer="")
        assert tracemalloc.get_traced_memory()[1] < 3 * hu.size
    finally:
        tracemalloc.stop()


def test_a_picture_without_tumor_says_how_much_the_model_is_known_to_find(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In the panel beside the slices; with a tumor, or where nothing is known, it is not there."""
    said = list[str]()
    draw_text = Page.text

    def noted(page: Page, text: str, *args: Any, **options: Any) -> None:
        said.append(text)
        draw_text(page, text, *args, **options)

    monkeypatch.setattr(Page, "text", noted)
    phantom = make_phantom(seed=5, shape_kji=(20, 64, 64), spacing_kji_mm=(12.0, 6.0, 6.0))
    recall = "As tested, this model finds 58 of 71 lesions of 10 mm and more."
    for labels in (phantom.labels, np.minimum(phantom.labels, 1), np.zeros_like(phantom.labels)):
        said.clear()
        measures = measure(labels, phantom.ct)
        draw_overview(phantom.ct, labels, measures, title="T", footer="F", recall=recall)
        assert (recall in " ".join(said)) == (not measures.lesions)

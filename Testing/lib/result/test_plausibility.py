"""What is said of a result: nothing of a good one, one sentence for each thing that is wrong."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
from LiverTumorSegLib.ct.nifti import read_ct, read_labels
from LiverTumorSegLib.inference.segmenter import load_segmenter
from LiverTumorSegLib.labels import Label
from LiverTumorSegLib.phantom.phantom import Phantom, make_phantom
from LiverTumorSegLib.phantom.trunk import Patient
from LiverTumorSegLib.result.lesions import measure
from LiverTumorSegLib.result.plausibility import check
from LiverTumorSegLib.settings import RunSettings
from LiverTumorSegLib.volume import CtVolume, Reorientation
from looped import looped
from scipy import ndimage

COARSE = {"shape_kji": (56, 128, 128), "spacing_kji_mm": (4.5, 3.0, 3.0)}
TURNS = [np.eye(3), np.eye(3)[[2, 0, 1]], np.diag([-1, 1, -1]), -np.eye(3)[[1, 0, 2]]]
WINDOW_HU = (-40, 160)


@lru_cache(maxsize=8)
def patient(seed: int, n_tumors: int = 2) -> Phantom:
    return make_phantom(seed=seed, n_tumors=n_tumors, **COARSE)


def sentences(ct: CtVolume, labels: np.ndarray) -> str:
    return "\n".join(check(ct, labels).warnings)


def windowed(ct: CtVolume) -> CtVolume:
    return CtVolume(np.clip(ct.hu, *WINDOW_HU), ct.ijk_to_ras)


def ball(ct: CtVolume, center_kji: tuple[float, ...], radius_mm: float) -> np.ndarray:
    axes = [
        (np.arange(n) - c) * mm
        for n, c, mm in zip(ct.shape_kji, center_kji, ct.spacing_kji_mm, strict=True)
    ]
    k, j, i = np.meshgrid(*axes, indexing="ij", sparse=True)
    return np.asarray(k**2 + j**2 + i**2 <= radius_mm**2)


def deepest(mask: np.ndarray) -> tuple[int, ...]:
    """The voxel farthest from the edge of a mask."""
    away = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1, 1:-1]
    return tuple(int(n) for n in np.unravel_index(away.argmax(), away.shape))


def slices(ct: CtVolume, first: int, stop: int) -> CtVolume:
    affine = ct.ijk_to_ras.copy()
    affine[:3, 3] += first * affine[:3, 2]
    return CtVolume(np.ascontiguousarray(ct.hu[first:stop]), affine)


# A good result


def test_nothing_is_said_of_a_whole_liver_with_its_tumors_and_nothing_is_changed() -> None:
    for seed in range(3):
        truth = patient(seed, 4)
        for ct in (truth.ct, windowed(truth.ct)):
            before = truth.labels.copy()
            checked = check(ct, truth.labels)
            assert checked.warnings == (), seed
            assert np.array_equal(checked.labels_kji, truth.labels)
            assert np.array_equal(truth.labels, before)
            assert checked.measures == measure(truth.labels, ct)


def test_an_empty_result_needs_no_further_words() -> None:
    ct = patient(0).ct
    checked = check(ct, np.zeros(ct.shape_kji, np.uint8))
    assert checked.warnings == ()
    assert checked.measures.lesions == ()


def test_the_same_is_said_in_every_orientation() -> None:
    truth = patient(1)
    labels = truth.labels.copy()
    labels[ball(truth.ct, deepest(truth.ct.hu < -80), 9.0) & (labels == 0)] = Label.TUMOR
    cut = slices(truth.ct, 0, int(np.flatnonzero(labels.any(axis=(1, 2)))[-1]) - 4)
    labels = labels[: len(cut.hu)]
    expected = check(cut, labels)
    assert len(expected.warnings) >= 2
    for axes in TURNS:
        affine = np.eye(4)
        affine[:3, :3] = axes
        turn = Reorientation.to_lps(affine, (1, 1, 1))
        k, j, i = np.array(cut.shape_kji)[np.argsort(turn.order_kji)]
        turn = replace(turn, shape_kji=(int(k), int(j), int(i)))
        from_lps = np.linalg.inv(turn.apply_affine(np.eye(4)))
        turned = CtVolume(turn.undo(cut.hu), cut.ijk_to_ras @ from_lps)
        checked = check(turned, turn.undo(labels))
        assert checked.warnings == expected.warnings
        assert np.array_equal(checked.labels_kji, turn.undo(expected.labels_kji))


# Lesions


def filled(hu: float) -> tuple[CtVolume, np.ndarray]:
    """A liver whose only lesion, deep inside, has these CT numbers."""
    truth = patient(2, 0)
    lesion = ball(truth.ct, deepest(truth.labels == Label.LIVER), 13.0)
    ct = CtVolume(np.where(lesion, np.int16(hu), truth.ct.hu), truth.ct.ijk_to_ras)
    return ct, np.where(lesion, np.uint8(Label.TUMOR), truth.labels)


@looped(
    ("hu", "reason"),
    [(-90, "fat or gas"), (-700, "fat or gas"), (5, "cyst"), (400, "calcium"), (45, None)],
)
def test_a_lesion_inside_the_liver_is_never_dropped_but_flagged(
    hu: float, reason: str | None
) -> None:
    """After treatment gas, fat and lipiodol are where a tumor was."""
    ct, labels = filled(hu)
    checked = check(ct, labels)
    assert np.array_equal(checked.labels_kji, labels)
    (found,) = checked.measures.lesions
    if reason is None:
        assert found.implausible is None
        assert checked.warnings == ()
    else:
        assert found.implausible is not None
        assert reason in found.implausible
        assert len(checked.warnings) == 1
        assert found.implausible in checked.warnings[0]


@looped("seen", [lambda ct: ct, windowed])
def test_marks_in_fat_or_bowel_gas_are_dropped_and_real_tumors_stay(
    seen: Callable[[CtVolume], CtVolume],
) -> None:
    truth = patient(3, 3)
    body = ndimage.binary_fill_holes(truth.ct.hu > -300)
    fat = (truth.ct.hu < -80) & (truth.ct.hu > -200) & ndimage.binary_erosion(body, iterations=3)
    fat &= ~ndimage.binary_dilation(truth.labels > 0, iterations=3)
    mark = ball(truth.ct, deepest(fat), 8.0) & (truth.labels == 0)
    assert seen(truth.ct).hu[mark].mean() < -10
    labels = np.where(mark, np.uint8(Label.TUMOR), truth.labels)
    certainty = np.where(labels == Label.TUMOR, np.uint8(200), np.uint8(0))
    checked = check(seen(truth.ct), labels, certainty)
    assert np.array_equal(checked.labels_kji, truth.labels)
    assert checked.tumor_probability_kji is not None
    assert np.array_equal(checked.tumor_probability_kji > 0, truth.labels == Label.TUMOR)
    assert [lesion.implausible for lesion in checked.measures.lesions] == [None] * 3
    assert ["dropped" in sentence for sentence in checked.warnings] == [True]


def test_soft_tissue_in_the_fat_outside_the_liver_is_flagged() -> None:
    """A loop of bowel: its CT numbers alone are those of a tumor."""
    truth = patient(3, 1)
    place = ball(truth.ct, (8, 70, 95), 14.0)
    assert not (truth.labels[place] > 0).any()
    hu = truth.ct.hu.copy()
    hu[place] = -100
    loop = ball(truth.ct, (8, 70, 95), 7.0)
    hu[loop] = 50
    labels = np.where(loop, np.uint8(Label.TUMOR), truth.labels)
    checked = check(CtVolume(hu, truth.ct.ijk_to_ras), labels)
    assert np.array_equal(checked.labels_kji, labels)
    reasons = {one.mean_hu == 50: one.implausible for one in checked.measures.lesions}
    assert reasons[True] == "mostly outside the liver, in fat or bowel"
    assert reasons[False] is None


# The scan and the liver


def test_a_liver_that_the_scan_or_its_field_of_view_cuts_off_is_told_with_the_end() -> None:
    # a liver that the scan cuts off is told with the end it is cut at
    truth = patient(0)
    held = np.flatnonzero(truth.labels.any(axis=(1, 2)))
    middle = int(held.mean())
    for first, stop, ends in (
        (0, middle, {"top"}),
        (middle, len(truth.labels), {"bottom"}),
        (held[0] + 3, held[-1] - 3, {"top", "bottom"}),
        (0, len(truth.labels), set()),
    ):
        text = sentences(slices(truth.ct, first, stop), truth.labels[first:stop])
        assert {end for end in ("top", "bottom") if f"at the {end} of the scan" in text} == ends
        assert "adult's" not in text  # the cut explains the volume

    # and one that ends so near the end that it may go on there, which is said with the distance
    held = np.flatnonzero((truth.labels > 0).sum(axis=(1, 2)) * 0.09 > 5)  # of 3 mm pixels, in cm2
    short = slices(truth.ct, 0, int(held[-1]) + 2)
    thin = short.ijk_to_ras.copy()
    for slice_mm, told in ((2.9, True), (3.1, False)):
        thin[:, 2] *= slice_mm / np.linalg.norm(thin[:, 2])
        labels = truth.labels[: len(short.hu)].copy()
        labels[-1] = 0
        text = sentences(CtVolume(short.hu, thin), labels)
        assert ("up to 2.9 mm from the top of the scan" in text) == told

    # a field of view that cuts the liver is told
    truth = patient(0)
    columns = np.flatnonzero(truth.labels.any(axis=(0, 1)))
    narrow = slice(int(columns[0]) + 8, None)
    cut = CtVolume(np.ascontiguousarray(truth.ct.hu[:, :, narrow]), truth.ct.ijk_to_ras)
    assert "field of view" in sentences(cut, truth.labels[:, :, narrow])
    round_hu = truth.ct.hu.copy()
    y, x = np.mgrid[: round_hu.shape[1], : round_hu.shape[2]]
    for radius, told in ((34, True), (64, False)):
        round_hu = np.where(np.hypot(y - 64, x - 64) < radius, truth.ct.hu, np.int16(-2000))
        labels = np.where(round_hu > -2000, truth.labels, np.uint8(0))
        scan = CtVolume(round_hu, truth.ct.ijk_to_ras)
        assert ("field of view" in sentences(scan, labels)) == told


def test_thick_slices_and_a_short_scan_are_told() -> None:
    thick = make_phantom(seed=0, shape_kji=(30, 96, 96), spacing_kji_mm=(8.0, 4.0, 4.0))
    assert "8.0 mm apart" in sentences(thick.ct, thick.labels)
    truth = patient(0)
    short = slices(truth.ct, 20, 40)
    assert "only 90 mm of the body" in sentences(short, truth.labels[20:40])


def test_a_liver_of_an_unusual_size_or_in_pieces_is_told() -> None:
    truth = patient(1, 0)
    for factor, told in ((0.6, True), (1.0, False), (1.5, True)):
        scaled = np.diag([factor, factor, factor, 1.0])
        ct = CtVolume(truth.ct.hu, truth.ct.ijk_to_ras @ scaled)
        assert ("an adult's" in sentences(ct, truth.labels)) == told
    labels = truth.labels.copy()
    for k in range(*np.flatnonzero(labels.any(axis=(1, 2)))[[0, -1]], 8):
        labels[k : k + 2] = 0
    assert "separate pieces" in sentences(truth.ct, labels)


def test_bowel_full_of_contrast_that_was_taken_for_liver_is_told_with_its_volume() -> None:
    """Neither vessels are told, nor calcium in a tumor, nor what a display window has cut off."""
    truth = patient(0)
    ct, labels = truth.ct, truth.labels.copy()
    bowel = ball(ct, deepest((labels == 0) & (ct.hu > 0)), 16.0)
    ml = np.count_nonzero(bowel) * ct.voxel_ml
    full = CtVolume(np.where(bowel, np.int16(400), ct.hu), ct.ijk_to_ras)
    assert "brighter than 250 HU" not in sentences(full, labels)
    labels[bowel] = Label.LIVER
    told = re.search(r"([0-9]+) mL of what is marked as liver is brighter", sentences(full, labels))
    assert told is not None
    assert float(told[1]) == pytest.approx(ml, rel=0.2)
    assert "brighter than 250 HU" not in sentences(windowed(full), labels)
    k, j, i = deepest(truth.labels == Label.LIVER)
    vessel = np.zeros(ct.shape_kji, np.bool_)
    vessel[k - 6 : k + 6, j : j + 2, i : i + 2] = True  # 6 x 6 mm
    calcium = truth.labels == Label.TUMOR
    bright = CtVolume(np.where(vessel | calcium, np.int16(400), ct.hu), ct.ijk_to_ras)
    assert "brighter than 250 HU" not in sentences(bright, truth.labels)


def test_the_wrong_side_of_the_body_is_told() -> None:
    truth = patient(0)
    mirrored = CtVolume(np.ascontiguousarray(truth.ct.hu[:, :, ::-1]), truth.ct.ijk_to_ras)
    assert "patient's left" in sentences(mirrored, truth.labels[:, :, ::-1])


def enhanced(monkeypatch: pytest.MonkeyPatch, liver_hu: float, vein_hu: float) -> Phantom:
    """A patient without tumors whose liver and vessels have these CT numbers."""
    drawn = replace(Patient.draw(0), liver_hu=liver_hu, vein_hu=vein_hu)
    with monkeypatch.context() as patch:
        patch.setattr(Patient, "draw", lambda seed: drawn)
        return make_phantom(seed=0, n_tumors=0, **COARSE)


@looped(
    ("liver_hu", "vein_hu", "trained", "told"),
    [
        (105, 145, (64.0, 160.0), None),
        (85, 110, (64.0, 160.0), None),
        (215, 250, (64.0, 160.0), "brighter than those that the model has learned from (64 to 160"),
        (105, 145, (115.0, 130.0), "darker than those that the model has learned from (115 to 130"),
        (105, 145, (108.0, 130.0), None),  # by little
        (215, 250, None, None),
    ],
)
def test_a_liver_unlike_those_that_the_model_s_own_file_tells_of_is_told(
    liver_hu: float,
    vein_hu: float,
    trained: tuple[float, float] | None,
    told: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scan = enhanced(monkeypatch, liver_hu, vein_hu)
    warnings = check(scan.ct, scan.labels, trained_liver_hu=trained).warnings
    assert len(warnings) == (told is not None)
    assert told is None or told in warnings[0]


def test_an_unenhanced_ct_is_told_by_its_spleen_and_blood(monkeypatch: pytest.MonkeyPatch) -> None:
    scan = enhanced(monkeypatch, 55, 42)
    hu = scan.ct.hu.copy()
    # the phantom's kidneys are enhanced whatever its veins are
    soft = ~ndimage.binary_dilation(hu > 600, iterations=4) & (hu > 75) & (hu < 250)
    hu[soft & (scan.labels == 0)] = 40
    for ct in (CtVolume(hu, scan.ct.ijk_to_ras), windowed(CtVolume(hu, scan.ct.ijk_to_ras))):
        (sentence,) = check(ct, scan.labels).warnings
        assert "looks unenhanced" in sentence


def test_an_arterial_ct_is_told_by_its_aorta(monkeypatch: pytest.MonkeyPatch) -> None:
    """Veins on the right have no contrast yet; a CT cut to a window does not show the phase."""
    early, late = enhanced(monkeypatch, 70, 330), enhanced(monkeypatch, 70, 80)
    hu = late.ct.hu.copy()
    hu[:, :, 64:] = early.ct.hu[:, :, 64:]
    ct = CtVolume(hu, late.ct.ijk_to_ras)
    (sentence,) = check(ct, late.labels).warnings
    assert "looks of the arterial phase" in sentence
    assert check(windowed(ct), late.labels).warnings == ()


# No liver


def on_grid(shape: tuple[int, ...], mm: float) -> tuple[np.ndarray, ...]:
    axes = [(np.arange(n) - n / 2) * mm for n in shape]
    z, y, x = np.meshgrid(*axes, indexing="ij", sparse=True)
    return z, y, x


def head() -> tuple[np.ndarray, np.ndarray]:
    z, y, x = on_grid((70, 90, 90), 3.0)
    radius = np.sqrt((x / 75) ** 2 + (y / 95) ** 2 + (z / 90) ** 2)
    hu = np.select([radius < 0.88, radius < 0.96, radius < 1], [37, 900, 20], -1000)
    return hu, (radius < 0.7).astype(np.uint8)


def half_a_brain() -> tuple[np.ndarray, np.ndarray]:
    """On the right, as a model marks it."""
    hu, brain = head()
    brain[:, :, 48:] = 0
    return hu, brain


def legs() -> tuple[np.ndarray, np.ndarray]:
    z, y, x = on_grid((60, 90, 140), 3.0)
    radius = np.hypot(np.abs(x) - 95, y) + 0 * z
    hu = np.select([radius < 14, radius < 65, radius < 85], [900, 60, -100], -1000)
    return hu, ((hu == 60) & (x < 0)).astype(np.uint8)


def touching_thighs() -> tuple[np.ndarray, np.ndarray]:
    z, y, x = on_grid((60, 90, 140), 3.0)
    radius = np.hypot(np.abs(x) - 80, y) + 0 * z
    hu = np.select([radius < 14, radius < 65, radius < 88], [900, 60, -100], -1000)
    return hu, ((hu == 60) & (x < 0)).astype(np.uint8)


def pelvis() -> tuple[np.ndarray, np.ndarray]:
    """A loop of bowel on the right, in an abdomen."""
    truth = patient(0)
    place = ball(truth.ct, (8, 60, 45), 26.0)
    return truth.ct.hu, place.astype(np.uint8)


@looped("part", [head, half_a_brain, legs, touching_thighs, pelvis])
def test_what_was_marked_where_there_is_no_liver_is_dropped_with_the_reason(
    part: Callable[[], tuple[np.ndarray, np.ndarray]],
) -> None:
    hu, labels = part()
    spacing = COARSE["spacing_kji_mm"] if part is pelvis else (3.0, 3.0, 3.0)
    affine = np.diag([-spacing[2], -spacing[1], spacing[0], 1.0])
    ct = CtVolume(hu.astype(np.int16), affine)
    for scan in (ct, windowed(ct)):
        checked = check(scan, labels)
        assert not checked.labels_kji.any()
        assert checked.measures.lesions == ()
        assert len(checked.warnings) == 1
        assert "marked as liver and dropped, because" in checked.warnings[0]


def test_a_kidney_full_of_contrast_is_no_part_of_a_liver() -> None:
    """Where a scan ends below the liver; a dark piece there may be its lowest part."""
    truth = patient(0)
    end = int(np.flatnonzero(truth.labels.any(axis=(1, 2)))[0])
    place = ball(truth.ct, (end, 70, 45), 26.0)[:end]
    scan = slices(truth.ct, 0, end)
    for hu, kept in ((205, False), (150, True)):
        ct = CtVolume(np.where(place, np.int16(hu), scan.hu), scan.ijk_to_ras)
        checked = check(ct, place.astype(np.uint8))
        assert checked.labels_kji.any() == kept
        assert ("those of a kidney" in checked.warnings[0]) != kept


def test_a_ct_that_was_cut_out_around_the_liver_keeps_it() -> None:
    """No sides of the body, perhaps no spine: nothing can be told from where the liver lies."""
    truth = patient(4)
    where = np.nonzero(truth.labels)
    box = tuple(slice(int(n.min()) - 1, int(n.max()) + 2) for n in where)
    ct = CtVolume(np.ascontiguousarray(truth.ct.hu[box]), truth.ct.ijk_to_ras)
    for scan in (ct, windowed(ct)):
        assert check(scan, truth.labels[box]).labels_kji.any()


@pytest.mark.slow
def test_the_default_model_finds_no_liver_where_there_is_none() -> None:
    """In head, chest, pelvis and legs, after the check as users get it."""
    segmenter = load_segmenter(RunSettings(device="cpu"))
    tall = make_phantom(
        seed=5, n_tumors=0, shape_kji=(130, 128, 128), spacing_kji_mm=(5.0, 3.0, 3.0)
    )
    held = np.flatnonzero(tall.labels.any(axis=(1, 2)))
    scans = [slices(tall.ct, 0, int(held[0])), slices(tall.ct, int(held[-1]) + 1, 130)]
    for part in (head, legs, touching_thighs):
        hu = part()[0] + np.random.default_rng(0).normal(0, 12, part()[0].shape)
        scans.append(CtVolume(hu.round().astype(np.int16), np.diag([-3.0, -3.0, 3.0, 1.0])))
    for number, scan in enumerate(scans):
        made = segmenter.segment(scan)
        checked = check(scan, made.labels_kji, made.tumor_probability_kji)
        assert not checked.labels_kji.any(), number


# Real CTs


@pytest.mark.slow
def test_a_real_unenhanced_ct_that_ends_in_the_liver(shared_data: Path) -> None:
    """Marks in the colon and the falciform ligament are gone or flagged, and the rest is told."""
    ct, _ = read_ct(shared_data / "fixtures" / "example_ct.nii.gz")
    made = load_segmenter(RunSettings(device="cpu")).segment(ct)
    checked = check(ct, made.labels_kji, made.tumor_probability_kji)
    assert all(lesion.implausible for lesion in checked.measures.lesions if lesion.volume_ml > 1)
    text = "\n".join(checked.warnings)
    assert "cut off at the top of the scan" in text
    assert "at the bottom" not in text
    assert "looks unenhanced" in text
    reference, _ = read_labels(shared_data / "fixtures" / "example_liver_reference.nii.gz")
    reference_ml = np.count_nonzero(reference) * ct.voxel_ml
    assert checked.measures.liver_volume_ml == pytest.approx(reference_ml, rel=0.1)


@pytest.mark.slow
def test_nothing_is_said_of_the_true_labels_of_whole_scans(shared_data: Path) -> None:
    for number in (29, 30, 32, 35, 36, 39, 41, 42, 47):
        folder = shared_data / "lits-subset"
        ct, _ = read_ct(folder / f"volume-{number}.nii.gz")
        truth, _ = read_labels(folder / f"segmentation-{number}.nii.gz")
        checked = check(ct, truth)
        assert checked.warnings == (), number


@pytest.mark.slow
def test_no_liver_is_found_below_and_above_it_in_whole_scans(shared_data: Path) -> None:
    """The belly and the chest of real CTs, each cut off where the liver ends."""
    segmenter = load_segmenter(RunSettings(device="cpu"))
    for number in (16, 18, 29, 30, 36, 47):
        folder = shared_data / "lits-subset"
        ct, _ = read_ct(folder / f"volume-{number}.nii.gz")
        truth, _ = read_labels(folder / f"segmentation-{number}.nii.gz")
        held = np.flatnonzero(truth.any(axis=(1, 2)))
        for part in (slices(ct, 0, int(held[0])), slices(ct, int(held[-1]) + 1, len(truth))):
            made = segmenter.segment(part)
            assert not check(part, made.labels_kji).labels_kji.any(), number

"""Lesion measures against closed forms (ellipsoids, boxes) and brute force over all pixel pairs."""

from __future__ import annotations

import json
from itertools import permutations, product
from math import cos, radians, sin
from typing import Any

import numpy as np
import pytest
from LiverTumorSegLib.labels import Label
from LiverTumorSegLib.result.lesions import (
    LESION_COLUMNS,
    label_lesions,
    lesion_rows,
    measure,
    measure_labels,
    measures_to_dict,
)
from LiverTumorSegLib.volume import CtVolume
from looped import looped
from numpy.typing import NDArray
from scipy import ndimage

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def affine(spacing_ijk: tuple[float, float, float], turn: NDArray[Any] | None = None) -> Any:
    """An LPS affine with this spacing, optionally turned by a 3 x 3 rotation or shear."""
    matrix = LPS @ np.diag([*spacing_ijk, 1.0])
    if turn is not None:
        matrix[:3, :3] = turn @ matrix[:3, :3]
    matrix[:3, 3] = (12.5, -30.0, 400.0)
    return matrix


def ellipse_rows(a_mm: float, b_mm: float, degrees: float) -> NDArray[Any]:
    """Quadratic form of an ellipse with half axes a, b whose long axis is turned by ``degrees``."""
    c, s = cos(radians(degrees)), sin(radians(degrees))
    turn = np.array([[c, s], [-s, c]])
    return turn.T @ np.diag([1 / a_mm**2, 1 / b_mm**2]) @ turn


def ellipsoid(
    a_mm: float, b_mm: float, c_mm: float, degrees: float, matrix: Any, off: float = 0.3
) -> NDArray[np.uint8]:
    """A tumor ellipsoid in the middle of a grid made to fit; a, b in the slice plane's own mm."""
    axes = matrix[:3, :3]
    half = np.ceil(np.abs(np.linalg.inv(axes)).sum(axis=1) * max(a_mm, b_mm, c_mm)) + 2
    i, j, k = (np.arange(-n, n + 1) - off for n in half)
    kk, jj, ii = np.meshgrid(k, j, i, indexing="ij")
    in_plane, normal = np.linalg.qr(axes)[1][:2, :2], np.linalg.qr(axes)[1]
    x = in_plane[0, 0] * ii + in_plane[0, 1] * jj + normal[0, 2] * kk
    y = in_plane[1, 0] * ii + in_plane[1, 1] * jj + normal[1, 2] * kk
    z = normal[2, 2] * kk
    form = ellipse_rows(a_mm, b_mm, degrees)
    level = form[0, 0] * x * x + 2 * form[0, 1] * x * y + form[1, 1] * y * y + (z / c_mm) ** 2
    return np.where(level <= 1.0, Label.TUMOR, 0).astype(np.uint8)


def brute_force_mm(labels: NDArray[np.uint8], matrix: Any) -> float:
    """Largest distance between two pixel centers on one slice, over all pairs."""
    best = 0.0
    for plane in labels == Label.TUMOR:
        ji = np.argwhere(plane)
        points = ji[:, ::-1] @ matrix[:3, :2].T
        if len(points):
            best = max(best, float(np.linalg.norm(points[:, None] - points[None], axis=2).max()))
    return best


SHEAR = np.array([[1.0, 0.25, 0.1], [0.0, 1.0, 0.2], [0.0, 0.0, 1.0]])


def rotation() -> NDArray[Any]:
    x, z = radians(17), radians(-25)
    about_x = np.array([[1, 0, 0], [0, cos(x), -sin(x)], [0, sin(x), cos(x)]])
    about_z = np.array([[cos(z), -sin(z), 0], [sin(z), cos(z), 0], [0, 0, 1]])
    return about_x @ about_z


@looped("spacing", [(1.0, 1.0, 1.0), (0.7, 0.7, 5.0), (1.5, 0.8, 2.5)])
@looped("turn", [None, "oblique", "shear"])
@looped("half_axes_mm", [(14.0, 6.0, 9.0), (9.0, 8.0, 12.0), (4.0, 3.0, 4.0)])
def test_ellipsoid_diameters_within_a_voxel(
    spacing: tuple[float, float, float],
    turn: str | None,
    half_axes_mm: tuple[float, float, float],
) -> None:
    matrix = affine(spacing, {"oblique": rotation(), "shear": SHEAR}.get(turn or ""))
    pixel_mm = float(np.linalg.norm(matrix[:3, :2], axis=0).max()) + 1e-9
    a, b, c = half_axes_mm
    for degrees in (0, 20, 45, 70, 90):
        labels = ellipsoid(a, b, c, degrees, matrix)
        (lesion,) = measure_labels(labels, matrix).lesions
        assert abs(lesion.longest_axial_diameter_mm - brute_force_mm(labels, matrix)) <= pixel_mm
        # The middle slice is up to half a slice off the center, where the ellipse is smaller.
        assert abs(lesion.longest_axial_diameter_mm - 2 * a) <= pixel_mm
        assert abs(lesion.perpendicular_diameter_mm - 2 * b) <= pixel_mm
        assert lesion.perpendicular_diameter_mm <= lesion.longest_axial_diameter_mm


def test_diameters_are_unbiased_over_directions() -> None:
    matrix = affine((1.0, 1.0, 1.0))
    errors = []
    for degrees in range(0, 180, 15):
        (lesion,) = measure_labels(ellipsoid(15, 8, 10, degrees, matrix), matrix).lesions
        errors.append(
            (lesion.longest_axial_diameter_mm - 30, lesion.perpendicular_diameter_mm - 16)
        )
    assert np.abs(np.mean(errors, axis=0)).max() < 0.5


def test_diameters_can_be_drawn_on_any_grid() -> None:
    """Their lines are as long as they say, at right angles, on the slice, and end at an outline."""
    for matrix in (affine((1.5, 0.8, 2.5)), affine((0.7, 0.7, 5.0), rotation())):
        labels = ellipsoid(14, 6, 9, 20, matrix)
        for turned, axes in (
            (labels, matrix),
            (labels[::-1, :, ::-1], _flipped_ki(labels, matrix)),
        ):
            (lesion,) = measure_labels(np.ascontiguousarray(turned), axes).lesions
            lines = np.array(lesion.diameter_lines_ras_mm)
            along = lines[:, 1] - lines[:, 0]
            lengths = np.linalg.norm(along, axis=1)
            assert lengths[0] == pytest.approx(lesion.longest_axial_diameter_mm)
            assert lengths[1] == pytest.approx(lesion.perpendicular_diameter_mm)
            assert abs(along[0] @ along[1]) < 1e-6 * lengths.prod()
            ends_ijk = (lines.reshape(4, 3) - axes[:3, 3]) @ np.linalg.inv(axes[:3, :3]).T
            np.testing.assert_allclose(ends_ijk[:, 2], lesion.slice_index, atol=1e-6)
            tumor_ji = np.argwhere(turned[lesion.slice_index] == Label.TUMOR)
            for end_ij in ends_ijk[:, :2]:  # half a pixel beyond one of the lesion's
                assert 0.25 < np.abs(tumor_ji[:, ::-1] - end_ij).max(axis=1).min() < 0.8


def _flipped_ki(labels: NDArray[np.uint8], matrix: Any) -> Any:
    """The affine of the same voxels, k and i counted from the other end."""
    flip = np.diag([-1.0, 1.0, -1.0, 1.0])
    flip[0, 3], flip[2, 3] = labels.shape[2] - 1, labels.shape[0] - 1
    return matrix @ flip


def test_diameters_of_boxes_and_crescents_are_their_real_ones() -> None:
    # box and single pixel have their real width
    labels = np.zeros((5, 20, 30), np.uint8)
    labels[1, 4, 3:23] = Label.TUMOR  # 20 pixels in a row
    labels[3, 10, 10] = Label.TUMOR
    row, dot = measure_labels(labels, affine((0.5, 2.0, 3.0))).lesions
    assert (row.voxels, dot.voxels) == (20, 1)
    assert row.longest_axial_diameter_mm == pytest.approx(10.0)
    assert row.perpendicular_diameter_mm == pytest.approx(2.0, abs=0.3)
    assert dot.longest_axial_diameter_mm == pytest.approx(2.0)
    assert dot.perpendicular_diameter_mm == pytest.approx(0.5, abs=0.3)
    assert dot.volume_ml == pytest.approx(0.003)

    # longest slice is taken and perpendicular is on it
    labels = np.zeros((6, 60, 60), np.uint8)
    labels[1, 10:30, 10:30] = Label.TUMOR  # diagonal 28
    labels[2, 10:13, 10:50] = Label.TUMOR  # 40 long, 3 wide
    (lesion,) = measure_labels(labels, affine((1.0, 1.0, 1.0))).lesions
    assert lesion.slice_index == 2
    assert lesion.longest_axial_diameter_mm == pytest.approx(40, abs=0.5)
    assert lesion.perpendicular_diameter_mm == pytest.approx(3, abs=0.5)

    # crescent is as wide as it is thick
    jj, ii = np.mgrid[-40:41, -40:41]
    radius = np.hypot(ii, jj)
    labels = np.zeros((1, 81, 81), np.uint8)
    labels[0][(radius <= 35) & (radius >= 28) & (jj < -15)] = Label.TUMOR
    (lesion,) = measure_labels(labels, affine((1.0, 1.0, 1.0))).lesions
    hull_thickness = 35 - 15
    assert lesion.perpendicular_diameter_mm < 0.75 * hull_thickness


def test_volumes_burden_hu_and_order() -> None:
    hu = np.full((8, 30, 30), 100, np.int16)
    labels = np.zeros(hu.shape, np.uint8)
    labels[1:7, 2:28, 2:28] = Label.LIVER
    labels[2:4, 4:6, 4:6] = Label.TUMOR
    hu[2:4, 4:6, 4:6] = 40
    labels[2:6, 10:20, 10:20] = Label.TUMOR
    hu[2:6, 10:20, 10:20] = 61
    hu[2, 10, 10] = 60
    matrix = affine((0.5, 2.0, 3.0))  # 3 mm3 a voxel
    measures = measure(labels, CtVolume(hu, matrix))
    liver, tumor = 6 * 26 * 26, 8 + 400
    assert measures.liver_volume_ml == pytest.approx(liver * 0.003)
    assert measures.tumor_volume_ml == pytest.approx(tumor * 0.003)
    assert measures.burden_percent == pytest.approx(100 * tumor / liver)
    assert [lesion.voxels for lesion in measures.lesions] == [400, 8]
    assert [lesion.number for lesion in measures.lesions] == [1, 2]
    assert measures.lesions[0].mean_hu == pytest.approx(61 - 1 / 400)
    assert measures.lesions[1].mean_hu == pytest.approx(40)
    center_ijk = np.array([4.5, 4.5, 2.5, 1.0])
    assert measures.lesions[1].centroid_ras_mm == pytest.approx((matrix @ center_ijk)[:3])
    total = sum(lesion.volume_ml for lesion in measures.lesions)
    assert total == pytest.approx(measures.tumor_volume_ml)


@looped(("second", "count"), [((1, 1, 2), 1), ((1, 2, 2), 1), ((2, 2, 2), 1), ((3, 1, 1), 2)])
def test_lesions_join_at_faces_edges_and_corners(second: tuple[int, int, int], count: int) -> None:
    labels = np.ones((5, 5, 5), np.uint8)
    labels[1, 1, 1] = labels[second] = Label.TUMOR
    components, found = label_lesions(labels)
    assert found == count
    assert components.dtype == np.int32
    assert (components > 0).sum() == 2


def test_empty_liver_and_tumor_alone() -> None:
    labels = np.zeros((4, 5, 6), np.uint8)
    matrix = affine((1.0, 1.0, 1.0))
    empty = measure_labels(labels, matrix)
    assert (empty.liver_volume_ml, empty.tumor_volume_ml, empty.burden_percent) == (0, 0, None)
    assert empty.lesions == ()
    assert lesion_rows(empty) == []
    labels[1, 2, 3] = Label.TUMOR
    alone = measure_labels(labels, matrix)
    assert alone.burden_percent is None
    assert alone.lesions[0].mean_hu is None
    labels[labels == 0] = Label.LIVER
    assert measure_labels(labels, matrix).burden_percent == pytest.approx(100 / 120)


def test_measures_do_not_depend_on_the_48_orientations() -> None:
    matrix = affine((0.9, 1.3, 2.0), rotation())
    rng = np.random.default_rng(4)
    blobs = ndimage.gaussian_filter(rng.normal(size=(14, 18, 22)), 1.7)
    labels = np.where(blobs > 0.12, Label.TUMOR, Label.LIVER).astype(np.uint8)
    hu = rng.integers(-40, 160, labels.shape).astype(np.int16)
    reference = measure(labels, CtVolume(hu, matrix))
    assert len(reference.lesions) > 3
    for order, flips in product(permutations(range(3)), product((1, -1), repeat=3)):
        old_to_new = np.zeros((4, 4))  # index change, in (k, j, i, 1), new to old
        old_to_new[3, 3] = 1
        for new, (old, flip) in enumerate(zip(order, flips, strict=True)):
            old_to_new[old, new] = flip
            old_to_new[old, 3] = 0 if flip == 1 else labels.shape[old] - 1
        swap = np.eye(4)[[2, 1, 0, 3]]
        turned_affine = matrix @ swap @ old_to_new @ swap
        steps = tuple(slice(None, None, f) for f in flips)
        turned = np.ascontiguousarray(labels.transpose(order)[steps])
        turned_hu = np.ascontiguousarray(hu.transpose(order)[steps])
        result = measure(turned, CtVolume(turned_hu, turned_affine))
        axis = order.index(0)
        assert result.slice_axis == "kji"[axis]
        for mine, theirs in zip(result.lesions, reference.lesions, strict=True):
            assert mine.longest_axial_diameter_mm == pytest.approx(theirs.longest_axial_diameter_mm)
            assert mine.centroid_ras_mm == pytest.approx(theirs.centroid_ras_mm)
            assert mine.mean_hu == pytest.approx(theirs.mean_hu)
            k = mine.slice_index
            k = k if flips[axis] == 1 else labels.shape[0] - 1 - k
            assert k == theirs.slice_index


def test_confidence_is_the_mean_certainty_of_a_lesion() -> None:
    """Whichever way the axes run, and without the voxels that the model has not marked."""
    labels = np.ones((8, 12, 14), np.uint8)
    labels[1:4, 2:6, 2:7] = labels[6, 9:11, 9:12] = labels[6, 2, 12] = Label.TUMOR
    certainty = np.random.default_rng(2).integers(1, 256, labels.shape).astype(np.uint8)
    certainty[(labels != Label.TUMOR) | (np.indices(labels.shape)[2] < 3)] = 0
    certainty[6, 2, 12] = 0
    large, middle = certainty[1:4, 2:6, 3:7], certainty[6, 9:11, 9:12]
    for order in permutations(range(3)):
        grid = np.block([[np.eye(3)[:, list(order)], np.zeros((3, 1))], [np.eye(4)[3]]])
        axes = tuple(2 - axis for axis in order[::-1])
        turned, sure = labels.transpose(axes), certainty.transpose(axes)[:, ::-1]
        turned, sure = (np.ascontiguousarray(array) for array in (turned[:, ::-1], sure))
        measures = measure(turned, CtVolume(np.zeros(turned.shape, np.int16), grid), sure)
        assert [one.confidence for one in measures.lesions] == pytest.approx(
            [large.mean() / 255, middle.mean() / 255, None]
        )


def test_confidence_is_told_only_if_there_is_one() -> None:
    labels = np.ones((4, 6, 6), np.uint8)
    labels[1:3, 2:4, 2:4] = Label.TUMOR
    ct = CtVolume(np.zeros(labels.shape, np.int16), LPS)
    sure = np.where(labels == Label.TUMOR, 204, 0).astype(np.uint8)
    with_it, without = measure(labels, ct, sure), measure(labels, ct)
    assert (with_it.has_confidence, without.has_confidence) == (True, False)
    assert [lesion_rows(one)[0]["confidence"] for one in (with_it, without)] == [0.8, None]
    assert "share of a lesion's voxels" in measures_to_dict(with_it)["confidence_meaning"]
    assert "confidence_meaning" not in measures_to_dict(without)
    with pytest.raises(ValueError, match=r"tumor probability .* own grid"):
        measure(labels, ct, sure[1:])


def test_rows_and_json_have_stable_columns() -> None:
    labels = np.ones((6, 9, 9), np.uint8)
    labels[2:4, 3:6, 3:6] = Label.TUMOR
    measures = measure_labels(labels, affine((1.0, 1.0, 2.0)))
    (row,) = lesion_rows(measures)
    assert tuple(row) == LESION_COLUMNS
    assert LESION_COLUMNS[-2:] == ("confidence", "implausible")
    assert row["mean_hu"] is row["confidence"] is None
    values = json.loads(json.dumps(measures_to_dict(measures)))
    assert values["connectivity"] == "26-neighborhood"
    assert values["slice_axis"] == "k"
    assert values["lesions"] == [row]
    assert values["burden_percent"] == pytest.approx(measures.burden_percent, abs=1e-3)


def test_wrong_input_is_refused_with_the_fix() -> None:
    ct = CtVolume(np.zeros((3, 4, 5), np.int16), LPS)
    with pytest.raises(ValueError, match="own grid"):
        measure(np.zeros((3, 4, 4), np.uint8), ct)
    with pytest.raises(ValueError, match="uint8"):
        measure_labels(np.zeros((3, 4, 5), np.int16), LPS)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="found 7"):
        measure(np.full((3, 4, 5), 7, np.uint8), ct)


def test_many_lesions_are_all_measured() -> None:
    labels = np.zeros((100, 256, 256), np.uint8)
    labels[5:95, 20:236, 20:236] = Label.LIVER
    ball = ellipsoid(9, 7, 8, 30, affine((1.0, 1.0, 1.0)))
    depth, height, width = ball.shape
    for k, j, i in product((10, 40, 70), range(25, 206, 36), range(25, 206, 45)):
        view = labels[k : k + depth, j : j + height, i : i + width]
        view[ball > 0] = Label.TUMOR
    measures = measure_labels(labels, affine((0.8, 0.8, 2.0)))
    assert len(measures.lesions) == 90

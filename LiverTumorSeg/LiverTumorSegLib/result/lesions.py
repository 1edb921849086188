"""Measures a label map: liver volume, tumor burden, each lesion with its diameters.

    measures = measure(labels_kji, ct, tumor_probability_kji)
    for row in lesion_rows(measures): ...

A lesion is a 26-neighborhood component of the tumor label: voxels that share a face, an edge or a
corner belong together.

Diameters are taken the way RECIST 1.1 takes them, on an axial slice (the grid axis nearest to the
patient's superior-inferior direction), in millimeters of the real, possibly oblique, grid. The
outline of a lesion on a slice runs halfway between the centers of its pixels and of the pixels
beside them, as marching squares draws it. So one pixel is one pixel wide, and a digitized disk is
neither a pixel too small (center to center) nor up to 1.4 pixels too large (corner to corner).
Both diameters therefore lie within one pixel of either convention.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from LiverTumorSegLib.inference.decision import FULL_SCALE
from LiverTumorSegLib.labels import Label
from LiverTumorSegLib.volume import CtVolume, Reorientation, bounding_box

Mask = NDArray[np.bool_]
Points = NDArray[np.float64]
Point = tuple[float, float, float]
Line = tuple[Point, Point]

CONNECTIVITY = 26
LESION_COLUMNS = (
    "number",
    "volume_ml",
    "longest_axial_diameter_mm",
    "perpendicular_diameter_mm",
    "slice_index",
    "centroid_r_mm",
    "centroid_a_mm",
    "centroid_s_mm",
    "mean_hu",
    "confidence",
    "implausible",
)
CONFIDENCE_MEANING = (
    "the share of a lesion's voxels expected to be tumor, by the model's own probability as"
    " calibrated on its validation patients"
)
TIE_MM = 1e-6  # two slices this close are equally long; the one with more pixels is taken
SAMPLES_PER_PIXEL = 4  # along the lines that look for the perpendicular diameter
MAX_SAMPLES = 1024  # along one axis of that search: bounds its time for extreme spacings


@dataclass(frozen=True)
class Lesion:
    """One tumor. Lengths in mm, centroid in RAS (right, anterior, superior) mm.

    number: from 1, largest volume first.
    longest_axial_diameter_mm: largest distance between two points of the outline on one axial
        slice, on the slice where it is longest; it may bridge a notch or a hole, as a caliper does.
    perpendicular_diameter_mm: the longest line at a right angle to it on that slice, from
        outline to outline of this lesion; never longer than the longest diameter.
    slice_index: that slice, from 0, in the labelmap's own grid along ``LiverMeasures.slice_axis``.
    mean_hu: None without a CT.
    confidence: 0 to 1, the mean tumor probability of its voxels (:data:`CONFIDENCE_MEANING`).
        Voxels that somebody else added, whose probability is 0, do not count; None when there is
        no other, or no probabilities were passed.
    diameter_lines_ras_mm: both ends of the longest diameter, then those of its perpendicular.
    implausible: why it is hardly a liver tumor, in short (``plausibility``); None when nothing
        speaks against it, or nobody has looked.
    """

    number: int
    volume_ml: float
    longest_axial_diameter_mm: float
    perpendicular_diameter_mm: float
    centroid_ras_mm: tuple[float, float, float]
    slice_index: int
    mean_hu: float | None
    voxels: int
    confidence: float | None = None
    diameter_lines_ras_mm: tuple[Line, ...] = ()
    implausible: str | None = None


@dataclass(frozen=True)
class LiverMeasures:
    """The case in numbers.

    liver_volume_ml: labels liver and tumor together, as LiTS counts the liver.
    burden_percent: tumor over that volume; None when no voxel is labeled liver.
    slice_axis: the grid axis ("i", "j" or "k") across axial slices.
    """

    liver_volume_ml: float
    tumor_volume_ml: float
    burden_percent: float | None
    lesions: tuple[Lesion, ...]
    slice_axis: str = "k"
    connectivity: int = CONNECTIVITY

    @property
    def has_confidence(self) -> bool:
        """Whether the confidence of any lesion is known."""
        return any(lesion.confidence is not None for lesion in self.lesions)


@dataclass(frozen=True)
class _Diameters:
    """The two diameters of a lesion, the slice they were taken on, and their ends as indices."""

    longest_mm: float
    perpendicular_mm: float
    slice_index: int
    lines_ij: tuple[Points, Points]  # each (2, 2): two ends

    def lines_ras_mm(
        self, start_kji: NDArray[np.intp], ijk_to_ras: NDArray[np.float64]
    ) -> tuple[Line, ...]:
        """The ends in the patient; ``start_kji``: where the measured box lies in its grid."""
        lines = []
        for ends_ij in self.lines_ij:
            ends_ijk = np.column_stack([ends_ij, [self.slice_index] * 2]) + start_kji[::-1]
            ends_mm = ends_ijk @ ijk_to_ras[:3, :3].T + ijk_to_ras[:3, 3]
            (r, a, s), (r2, a2, s2) = ends_mm.tolist()
            lines.append(((r, a, s), (r2, a2, s2)))
        return tuple(lines)


def measure(
    labels_kji: NDArray[np.uint8],
    ct: CtVolume,
    tumor_probability_kji: NDArray[np.uint8] | None = None,
) -> LiverMeasures:
    """Measure labels (0, 1, 2) on the CT's own grid; all ``(k, j, i)``.

    tumor_probability_kji: see ``segmenter.Segmentation``.
    An empty label map gives volumes of 0, burden None and no lesions. Raises ``ValueError`` when
    the labels are not uint8 of the CT's shape or hold other values.
    """
    return measure_labels(labels_kji, ct.ijk_to_ras, ct.hu, tumor_probability_kji)


def measure_labels(
    labels_kji: NDArray[np.uint8],
    ijk_to_ras: NDArray[np.float64],
    hu_kji: NDArray[np.int16] | None = None,
    tumor_probability_kji: NDArray[np.uint8] | None = None,
) -> LiverMeasures:
    """Like :func:`measure`, for labels without a CT (mean HU None) on the grid of an affine."""
    _check_labels(labels_kji)
    for name, array in (("CT", hu_kji), ("tumor probability", tumor_probability_kji)):
        if array is not None and array.shape != labels_kji.shape:
            raise ValueError(
                f"The labels have shape {labels_kji.shape} and the {name} {array.shape}; "
                "give both on the CT's own grid."
            )
    voxel_ml = float(abs(np.linalg.det(ijk_to_ras[:3, :3])) / 1000.0)
    held = labels_kji[box] if (box := bounding_box(labels_kji)) else labels_kji[:0]
    liver = int(np.count_nonzero(held == Label.LIVER))
    tumor = int(np.count_nonzero(held == Label.TUMOR))
    shape = (labels_kji.shape[0], labels_kji.shape[1], labels_kji.shape[2])
    turn = Reorientation.to_lps(ijk_to_ras, shape)
    lesions = _find_lesions(labels_kji, ijk_to_ras, hu_kji, tumor_probability_kji) if tumor else []
    return LiverMeasures(
        liver_volume_ml=(liver + tumor) * voxel_ml,
        tumor_volume_ml=tumor * voxel_ml,
        burden_percent=100.0 * tumor / (liver + tumor) if liver else None,
        lesions=tuple(lesions),
        slice_axis="kji"[turn.order_kji[0]],
    )


def label_lesions(labels: NDArray[np.uint8]) -> tuple[NDArray[np.int32], int]:
    """Number the lesions of a label map, any axis order: (components, 0 elsewhere; their count).

    26-neighborhood. The numbers follow the array's order, not the size.
    """
    from scipy import ndimage

    components = np.zeros(labels.shape, dtype=np.int32)
    structure = np.ones((3, 3, 3), dtype=bool)
    count = int(ndimage.label(labels == Label.TUMOR, structure=structure, output=components))
    return components, count


def separate_lesions(
    labels_kji: NDArray[np.uint8], ijk_to_ras: NDArray[np.float64]
) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """1 for liver and 1 + n for the lesion of number n, as :func:`measure` numbers them.

    uint8, or uint16 where there are more than 254 lesions.
    """
    box = bounding_box(labels_kji, Label.TUMOR)
    if box is None:
        return labels_kji
    inside = labels_kji[box]
    turn = Reorientation.to_lps(ijk_to_ras, (inside.shape[0], inside.shape[1], inside.shape[2]))
    components, count = label_lesions(turn.apply(inside))
    voxels = np.bincount(components.ravel(), minlength=count + 1)[1:]
    numbers = np.zeros(count + 1, np.uint8 if count < 255 else np.uint16)
    numbers[1 + np.argsort(-voxels, kind="stable")] = Label.TUMOR + np.arange(count)
    separate = labels_kji.astype(numbers.dtype)
    lesions = turn.undo(numbers[components])
    separate[box][lesions > 0] = lesions[lesions > 0]
    return separate


def labels_sha256(labels_kji: NDArray[np.uint8]) -> str:
    """The hash of a label map, by which later edits are noticed."""
    return hashlib.sha256(np.ascontiguousarray(labels_kji).data).hexdigest()


def lesion_rows(measures: LiverMeasures) -> list[dict[str, int | float | str | None]]:
    """One row a lesion with the columns LESION_COLUMNS, rounded as far as the numbers carry."""
    return [_row(lesion) for lesion in measures.lesions]


def measures_to_dict(measures: LiverMeasures) -> dict[str, Any]:
    """The measures as plain JSON values; names the connectivity and what a confidence is."""
    burden = measures.burden_percent
    values = {
        "liver_volume_ml": round(measures.liver_volume_ml, 4),
        "tumor_volume_ml": round(measures.tumor_volume_ml, 4),
        "burden_percent": None if burden is None else round(burden, 4),
        "connectivity": f"{measures.connectivity}-neighborhood",
        "slice_axis": measures.slice_axis,
        "lesions": lesion_rows(measures),
    }
    if measures.has_confidence:
        values["confidence_meaning"] = CONFIDENCE_MEANING
    return values


def _row(lesion: Lesion) -> dict[str, int | float | str | None]:
    r, a, s = lesion.centroid_ras_mm
    values = (
        lesion.number,
        round(lesion.volume_ml, 4),
        round(lesion.longest_axial_diameter_mm, 2),
        round(lesion.perpendicular_diameter_mm, 2),
        lesion.slice_index,
        round(r, 2),
        round(a, 2),
        round(s, 2),
        None if lesion.mean_hu is None else round(lesion.mean_hu, 1),
        None if lesion.confidence is None else round(lesion.confidence, 4),
        lesion.implausible,
    )
    return dict(zip(LESION_COLUMNS, values, strict=True))


def _check_labels(labels: NDArray[np.uint8]) -> None:
    if labels.ndim != 3 or labels.dtype != np.uint8:
        raise ValueError(
            f"Labels are a 3D uint8 array; this one is {labels.dtype} with shape {labels.shape}."
        )
    if labels.size and labels.max() > Label.TUMOR:
        raise ValueError(
            f"Labels are 0 (background), 1 (liver) and 2 (tumor); found {labels.max()}. "
            "Map other structures to one of these first."
        )


def _find_lesions(
    labels: NDArray[np.uint8],
    ijk_to_ras: NDArray[np.float64],
    hu: NDArray[np.int16] | None,
    tumor_probability: NDArray[np.uint8] | None,
) -> list[Lesion]:
    """The lesions, largest first. Works on the box around all tumor, turned to LPS."""
    box = bounding_box(labels, Label.TUMOR)
    if box is None:
        return []
    start_kji = np.array([part.start for part in box])
    affine = ijk_to_ras.copy()
    affine[:3, 3] += ijk_to_ras[:3, :3] @ start_kji[::-1]
    cropped = labels[box]
    turn = Reorientation.to_lps(affine, (cropped.shape[0], cropped.shape[1], cropped.shape[2]))
    components, _ = label_lesions(turn.apply(cropped))
    found = list(
        _measure_components(
            components,
            turn.apply_affine(affine),
            None if hu is None else turn.apply(hu[box]),
            None if tumor_probability is None else turn.apply(tumor_probability[box]),
        )
    )
    found.sort(key=lambda lesion: -lesion.voxels)
    return [
        _renumbered(lesion, number, turn, int(start_kji[turn.order_kji[0]]))
        for number, lesion in enumerate(found, start=1)
    ]


def _renumbered(lesion: Lesion, number: int, turn: Reorientation, start: int) -> Lesion:
    """The lesion with its number, and its slice counted in the input's grid."""
    k = lesion.slice_index
    if turn.flipped_kji[0]:
        k = turn.shape_kji[turn.order_kji[0]] - 1 - k
    return replace(lesion, number=number, slice_index=start + k)


def _measure_components(
    components: NDArray[np.int32],
    ijk_to_ras: NDArray[np.float64],
    hu: NDArray[np.int16] | None,
    tumor_probability: NDArray[np.uint8] | None,
) -> Iterator[Lesion]:
    """Each numbered component of an LPS grid as a Lesion; slices counted in that grid."""
    from scipy import ndimage

    voxel_ml = float(abs(np.linalg.det(ijk_to_ras[:3, :3])) / 1000.0)
    plane_mm = _plane_axes_mm(ijk_to_ras)
    for number, box in enumerate(ndimage.find_objects(components), start=1):
        mask = components[box] == number
        start_kji = np.array([part.start for part in box])
        voxels = int(np.count_nonzero(mask))
        center_kji = start_kji + _center(mask)
        r, a, s = ijk_to_ras[:3, :3] @ center_kji[::-1] + ijk_to_ras[:3, 3]
        diameters = _diameters(mask, plane_mm)
        yield Lesion(
            number=number,
            volume_ml=voxels * voxel_ml,
            longest_axial_diameter_mm=diameters.longest_mm,
            perpendicular_diameter_mm=diameters.perpendicular_mm,
            centroid_ras_mm=(float(r), float(a), float(s)),
            slice_index=diameters.slice_index + int(start_kji[0]),
            mean_hu=None if hu is None else float(hu[box][mask].mean()),
            voxels=voxels,
            confidence=None
            if tumor_probability is None
            else _confidence(tumor_probability[box][mask]),
            diameter_lines_ras_mm=diameters.lines_ras_mm(start_kji, ijk_to_ras),
        )


def _confidence(certainties: NDArray[np.uint8]) -> float | None:
    """Mean, 0 to 1, over the voxels that a model has marked."""
    by_model = certainties[certainties > 0]
    return float(by_model.mean()) / FULL_SCALE if len(by_model) else None


def _center(mask: Mask) -> NDArray[np.float64]:
    """Mean index along each axis, from counts per plane: a list of all voxels can be a gigabyte."""
    counts = (mask.sum(axis=(1, 2)), mask.sum(axis=(0, 2)), mask.sum(axis=(0, 1)))
    return np.array([np.average(np.arange(len(count)), weights=count) for count in counts])


def _plane_axes_mm(ijk_to_ras: NDArray[np.float64]) -> Points:
    """``(2, 2)``: steps along i and j (columns) in mm, in an orthonormal frame of the slice plane.

    The R of a QR factorization keeps lengths and the angle between the steps, so diameters are
    right on oblique and sheared grids too.
    """
    axes: Points = np.linalg.qr(ijk_to_ras[:3, :2])[1]
    return axes


def _diameters(mask: Mask, plane_mm: Points) -> _Diameters:
    """Longest axial diameter over all slices of ``(k, j, i)``, and its perpendicular."""
    best: tuple[float, int] = (0.0, 0)
    best_k, best_line = 0, np.zeros((2, 2))
    areas = mask.sum(axis=(1, 2))
    bounds_mm = np.array([_box_diagonal_mm(pixels, plane_mm) for pixels in mask])
    for k in np.argsort(-bounds_mm, kind="stable"):
        if bounds_mm[k] < best[0] - TIE_MM:
            break  # no later slice can be longer: its bounding box is too small
        line_mm = _longest_line_mm(mask[k], plane_mm)
        length_mm = float(np.linalg.norm(line_mm[1] - line_mm[0]))
        longer = length_mm > best[0] + TIE_MM
        if longer or (length_mm > best[0] - TIE_MM and areas[k] > best[1]):
            best, best_k, best_line = (length_mm, int(areas[k])), int(k), line_mm
    across = _perpendicular_line_mm(mask[best_k], best_line, plane_mm)
    across_mm = float(np.linalg.norm(across[1] - across[0]))
    to_ij = np.linalg.inv(plane_mm).T
    return _Diameters(best[0], min(across_mm, best[0]), best_k, (best_line @ to_ij, across @ to_ij))


def _box_diagonal_mm(pixels: Mask, plane_mm: Points) -> float:
    """An upper bound of the diameter: the longer diagonal of the pixels' bounding box."""
    rows, columns = np.flatnonzero(pixels.any(axis=1)), np.flatnonzero(pixels.any(axis=0))
    if len(rows) == 0:
        return 0.0
    along_i = plane_mm[:, 0] * (columns[-1] - columns[0] + 1)
    along_j = plane_mm[:, 1] * (rows[-1] - rows[0] + 1)
    return float(max(np.linalg.norm(along_i + along_j), np.linalg.norm(along_i - along_j)))


def _longest_line_mm(pixels: Mask, plane_mm: Points) -> Points:
    """``(2, 2)``: both ends, in mm, of the longest line between two points of the outline."""
    from scipy.spatial import ConvexHull

    points_mm = _outline_points_ij(pixels) @ plane_mm.T
    # Never flat: even one pixel has four outline points. Farthest points are corners of the hull.
    corners_mm = points_mm[ConvexHull(points_mm).vertices]
    squared = ((corners_mm[:, None] - corners_mm[None]) ** 2).sum(axis=2)
    first, second = np.unravel_index(np.argmax(squared), squared.shape)
    return np.stack([corners_mm[first], corners_mm[second]])


def _outline_points_ij(pixels: Mask) -> Points:
    """``(N, 2)`` outline points (i, j) that can be corners of the hull.

    Half a pixel beyond the first and the last pixel of every row and of every column.
    """
    rows, left, right = _first_and_last(pixels)
    columns, top, bottom = _first_and_last(pixels.T)
    ends = [(left - 0.5, rows), (right + 0.5, rows), (columns, top - 0.5), (columns, bottom + 0.5)]
    return np.concatenate([np.stack(pair, axis=1).astype(np.float64) for pair in ends])


def _first_and_last(pixels: Mask) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
    """Rows that hold a pixel, and the first and last pixel of each."""
    rows = np.flatnonzero(pixels.any(axis=1))
    first = pixels[rows].argmax(axis=1)
    last = pixels.shape[1] - 1 - pixels[rows, ::-1].argmax(axis=1)
    return rows, first, last


def _perpendicular_line_mm(pixels: Mask, line_mm: Points, plane_mm: Points) -> Points:
    """``(2, 2)``: both ends of the pixels' longest extent on a line perpendicular to ``line_mm``.

    Lines a fraction of a pixel apart are sampled in the linearly interpolated mask, whose half
    level is the outline. Ends lie on the same line, so the hollow of a crescent does not count.
    """
    from scipy import ndimage

    along = line_mm[1] - line_mm[0]
    along = along / np.linalg.norm(along)
    frame = np.stack([along, np.array([-along[1], along[0]])])  # (2, 2): rows are unit vectors
    extent_mm = _outline_points_ij(pixels) @ plane_mm.T @ frame.T
    low, high = extent_mm.min(axis=0), extent_mm.max(axis=0)
    step_mm = max(
        float(np.linalg.norm(plane_mm, axis=0).min()) / SAMPLES_PER_PIXEL,
        float((high - low).max()) / MAX_SAMPLES,
    )
    along_mm, across_mm = (np.arange(low[a], high[a] + step_mm, step_mm) for a in (0, 1))
    grid_mm = np.stack(np.meshgrid(along_mm, across_mm, indexing="ij"), axis=-1)  # (A, B, 2)
    grid_ij = grid_mm @ frame @ np.linalg.inv(plane_mm).T
    coordinates_ji = np.moveaxis(grid_ij, -1, 0)[::-1]
    # "grid-constant" is 0 beyond the box and fades to it over the last pixel, as the outline does
    levels = ndimage.map_coordinates(
        pixels.astype(np.float32), coordinates_ji, order=1, mode="grid-constant"
    )
    inside = levels >= 0.5
    hit, first, last = _first_and_last(inside)
    if len(hit) == 0:
        n, ends_mm = len(along_mm) // 2, across_mm.mean() + np.array([-0.5, 0.5]) * step_mm
    else:
        best = int((last - first).argmax())
        # half a step more: where the outline lies, on average, beyond the samples at both ends
        ends_mm = across_mm[[first[best], last[best]]] + np.array([-0.5, 0.5]) * step_mm
        n = int(hit[best])
    line: Points = np.column_stack([along_mm[[n, n]], ends_mm]) @ frame
    return line

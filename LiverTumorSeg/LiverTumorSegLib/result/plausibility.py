"""Plausibility of a result, checked before it is shown: is this a liver, are these tumors?

    checked = check(ct, labels_kji, tumor_probability_kji)
    checked.labels_kji, checked.measures, checked.warnings

Two things are taken out of the labels, because they are certain: what was marked as liver where
there is no liver (head, legs, bowel), and marks of tumor in fat or gas that goes on around them.
Everything else stays, with a warning: a lesion that looks unlike a tumor may be one after treatment
(gas after ablation, lipiodol) or may matter to somebody (a cyst), so its ``Lesion.implausible``
holds the reason, and only a person removes it.

The rules hold for CTs that were cut to a window, whose fat and gas are both at its floor. Those on
anatomy are in ``trunk`` and ``contrast``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import prod

import numpy as np
from numpy.typing import NDArray

from LiverTumorSegLib.labels import Label
from LiverTumorSegLib.sentences import sentence
from LiverTumorSegLib.volume import Box, CtVolume, bounding_box

from .contrast import contrast_of
from .lesions import Lesion, LiverMeasures, label_lesions, measure
from .trunk import Trunk

Labels = NDArray[np.uint8]
Mask = NDArray[np.bool_]

# Lesions
FAT_HU = -10.0  # a lesion with less is fat or gas
FLUID_HU = 20.0  # and with less fluid (Bosniak 2019: -9 to 20 HU)
DENSE_HU = 250.0
LOOKS_FAT_HU = -20  # a voxel of fat or gas; a CT cut at -40 HU still has such voxels
AROUND_MM = 5.0
FAT_GOES_ON = 0.1  # share of what is around a lesion
MOSTLY = 0.5
IN_FAT = 0.4  # share of what is around a lesion that lies outside the liver
HULL_MM = 3.0  # grid of the points it is made of
LESION_POINTS = 2000  # of a lesion that are looked at
LARGE_SIDE = 96  # voxels of a lesion's box from which on it is thinned
LISTED = 5

# No liver
LEAST_WHOLE_LIVER_ML = 150.0  # a child of one year has 250
LEAST_SOLID_LIVER_ML = 300.0  # smaller ones, cut off or not, must be solid
KIDNEY_HU = 180.0  # and more; no liver is that bright, with any contrast
NARROW_MM = 220.0  # heads and single legs are narrower than this
CENTRAL = (0.3, 0.62)  # share of the liver on the right of the body's middle: livers have 0.75 to 1
LEAST_SPINE_MM2 = 60.0

# The scan and the liver
CUT_CM2 = 1.0
NEAR_END_MM, NEAR_END_CM2 = 3.0, 5.0  # a wide liver this near an end of the scan may go on there
SIDE_CUT_CM2 = 2.0
THICK_SLICES_MM = 5.05
SHORT_SCAN_MM = 100.0
ADULT_LIVER_ML = (600.0, 3500.0)
PIECE_ML, MANY_PIECES = 0.1, 4
SOLID_MM, SOLID_ML = 4.0, 3.0  # radius and volume from which on what is dense is no vessel
BEYOND_TRAINED_HU = 5.0  # that a liver may lie outside of the range that a model knows


@dataclass(frozen=True, eq=False)
class Checked:
    """A result that may be shown.

    labels_kji: on the CT's own grid, without what cannot be. tumor_probability_kji: see
        ``segmentation.Segmentation``. measures: of these labels, with ``Lesion.implausible``.
    warnings: one sentence each. look: at the liver, for other labels of this CT.
    """

    labels_kji: Labels
    tumor_probability_kji: Labels | None
    measures: LiverMeasures
    warnings: tuple[str, ...]
    look: LiverLook


@dataclass(frozen=True, eq=False)
class LiverLook:
    """What is seen of a liver whatever of it is tumor.

    outline: bool (k, j, i) in LPS order, liver and tumor. trunk: None where all is tumor.
    why_none: why it is no liver.
    """

    outline: Mask
    trunk: Trunk | None
    why_none: str | None

    @classmethod
    def at(cls, lps: CtVolume, labels: Labels, seen: LiverLook | None) -> LiverLook:
        """seen: an earlier look at this CT, which holds where the liver has the same outline."""
        outline, has_liver = labels > 0, _has_liver(labels)
        holds = seen is not None and (seen.trunk is not None) == has_liver
        if seen is not None and holds and np.array_equal(seen.outline, outline):
            return seen
        trunk = Trunk.around_liver(lps, labels) if has_liver else None
        why_none = _why_no_liver(lps, labels, trunk) if outline.any() else None
        return cls(outline, trunk, why_none)


def check(
    ct: CtVolume,
    labels_kji: Labels,
    tumor_probability_kji: Labels | None = None,
    *,
    by_model: bool = True,
    trained_liver_hu: tuple[float, float] | None = None,
    seen: LiverLook | None = None,
) -> Checked:
    """Check labels (0, 1, 2) of a CT; all ``(k, j, i)``. The arrays that come in stay as they are.

    A pure function of the CT's numbers, its grid and the labels. by_model: False for labels that a
    person may have drawn, of which nothing is dropped. trained_liver_hu: as the model's file says
    (``ModelSpec``); None where that is unknown, and nothing is said of it. seen: of
    other labels of this CT, to save a second look at the same liver.
    """
    lps, turn = ct.to_lps(copy=False)
    labels, pieces = turn.apply(labels_kji), list[_Piece]()
    sentences, dropped = list[str](), list[_Piece]()
    look = LiverLook.at(lps, labels, seen)
    trunk, reason = look.trunk, look.why_none if by_model else None
    if reason is not None:
        labels, sentences = np.zeros_like(labels), [reason]
    else:
        pieces = _pieces(lps, labels)
        dropped = [piece for piece in pieces if by_model and piece.is_in_open_fat]
        pieces = [piece for piece in pieces if piece not in dropped]
        labels = _without(labels, dropped)
        if trunk is not None:
            sentences = [*_liver_sentences(lps, labels, trunk)]
            sentences += _brightness_sentences(trunk, trained_liver_hu) if by_model else ()
        sentences += _dropped_sentence(dropped)
    is_same = reason is None and not dropped
    native = labels_kji if is_same else turn.undo(labels)
    probability = tumor_probability_kji
    if probability is not None and not is_same:
        probability = _where_tumor(native, probability)
    measures = measure(native, ct, probability)
    lesions = tuple(
        replace(lesion, implausible=piece.implausible)
        for lesion, piece in zip(measures.lesions, pieces, strict=True)
    )
    sentences += [*_lesion_sentences(lesions), *_scan_sentences(lps)]
    return Checked(native, probability, replace(measures, lesions=lesions), tuple(sentences), look)


def _where_tumor(labels: Labels, probability: Labels) -> Labels:
    """A copy that is 0 outside of tumor; a CT is mostly that."""
    result, box = np.zeros_like(probability), bounding_box(labels, Label.TUMOR)
    if box is not None:
        result[box] = np.where(labels[box] == Label.TUMOR, probability[box], np.uint8(0))
    return result


def _without(labels: Labels, dropped: list[_Piece]) -> Labels:
    """A copy in which these are background; the same where there are none."""
    result = labels.copy() if dropped else labels
    for piece in dropped:
        result[piece.box][piece.mask] = Label.BACKGROUND
    return result


def _has_liver(labels: Labels) -> bool:
    return any((plane == Label.LIVER).any() for plane in labels)


# Is it a liver?


def _why_no_liver(lps: CtVolume, labels: Labels, trunk: Trunk | None) -> str | None:
    """Why what was marked is no liver, as one sentence; None for what may be one.

    Too small for a liver that the scan shows whole; or small and of fluid, gas or fat, or as bright
    as a kidney; or in a body without a spine; or in the middle of a narrow body, as brain and
    muscles of the thigh lie and as no liver does; or within a skull.
    """
    volume_ml = np.count_nonzero(labels) * lps.voxel_ml
    complete = max(_cut_cm2(lps, labels)) < CUT_CM2
    why = None
    if trunk is None:
        why = "it is tumor without any liver"
    elif complete and volume_ml < LEAST_WHOLE_LIVER_ML:
        why = "no whole liver is that small"
    elif volume_ml < LEAST_SOLID_LIVER_ML and trunk.liver_hu < FLUID_HU:
        why = sentence("its {liver_hu:.0f} HU are those of fluid or bowel", liver_hu=trunk.liver_hu)
    elif volume_ml < LEAST_SOLID_LIVER_ML and trunk.liver_hu > KIDNEY_HU:
        why = sentence("its {liver_hu:.0f} HU are those of a kidney", liver_hu=trunk.liver_hu)
    elif trunk.within_bone > MOSTLY:
        why = "bone closes around it, as a skull does"
    elif trunk.seen_whole and trunk.spine_mm2 < LEAST_SPINE_MM2:
        why = "no spine lies behind it"
    elif trunk.seen_whole and trunk.width_mm < NARROW_MM and _is_central(trunk):
        why = "it lies in the middle of a narrow part of the body"
    if why is None:
        return None
    return sentence(
        "{volume_ml:.0f} mL were marked as liver and dropped, because {why}: "
        "the scan seems not to show the liver.",
        volume_ml=volume_ml,
        why=why,
    )


def _is_central(trunk: Trunk) -> bool:
    return CENTRAL[0] < trunk.right_share < CENTRAL[1]


def _cut_cm2(lps: CtVolume, labels: Labels) -> tuple[float, float]:
    """Area of liver on the first and on the last slice."""
    bottom, top = (float(_areas_cm2(lps, labels[[k]])[0]) for k in (0, -1))
    return bottom, top


def _areas_cm2(lps: CtVolume, labels: Labels) -> NDArray[np.float64]:
    """Area of liver on each slice."""
    _, row_mm, column_mm = lps.spacing_kji_mm
    areas: NDArray[np.float64] = (labels > 0).sum(axis=(1, 2)) * (row_mm * column_mm / 100)
    return areas


# Sentences on the scan and on the liver


def _scan_sentences(lps: CtVolume) -> Iterator[str]:
    slice_mm = lps.spacing_kji_mm[0]
    height_mm = slice_mm * len(lps.hu)
    if slice_mm > THICK_SLICES_MM:
        yield (
            sentence(
                "The slices are {slice_mm:.1f} mm apart: lesions smaller than that can "
                "be missed, and volumes and diameters are rough.",
                slice_mm=slice_mm,
            )
        )
    if height_mm < SHORT_SCAN_MM:
        yield (
            sentence(
                "The scan shows only {height_mm:.0f} mm of the body: it may lack parts "
                "of the liver.",
                height_mm=height_mm,
            )
        )


def _liver_sentences(lps: CtVolume, labels: Labels, trunk: Trunk) -> Iterator[str]:
    """One sentence each for what is unusual."""
    cut = [*_cut_sentences(lps, labels)]
    yield from cut
    yield from _size_sentences(lps, labels, trunk, cut_off=bool(cut))
    yield from _place_sentences(trunk)
    yield from _dense_sentences(lps, labels)


def _dense_sentences(lps: CtVolume, labels: Labels) -> Iterator[str]:
    """Through a model's window, bowel full of contrast is like a very bright liver."""
    from scipy import ndimage

    box = bounding_box(labels)
    dense = (labels[box] == Label.LIVER) & (lps.hu[box] > DENSE_HU)
    if not dense.any():
        return
    _, row_mm, column_mm = lps.spacing_kji_mm
    j, i = (np.arange(-n, n + 1) for n in (int(SOLID_MM / row_mm), int(SOLID_MM / column_mm)))
    disk = np.hypot(j[:, None] * row_mm, i * column_mm) <= SOLID_MM
    solid = ndimage.binary_opening(dense, disk[None])
    dense_ml = np.count_nonzero(solid) * lps.voxel_ml
    if dense_ml >= SOLID_ML:
        yield sentence(
            "{dense_ml:.0f} mL of what is marked as liver is brighter than {dense_hu:.0f} HU, as "
            "bowel full of contrast, lipiodol or metal is: look at it, and erase what is no liver.",
            dense_ml=dense_ml,
            dense_hu=DENSE_HU,
        )


def _cut_sentences(lps: CtVolume, labels: Labels) -> Iterator[str]:
    slice_mm = lps.spacing_kji_mm[0]
    near = (
        labels[: 1 + int(NEAR_END_MM / slice_mm)],
        labels[: -2 - int(NEAR_END_MM / slice_mm) : -1],
    )
    for where, slices in zip(("bottom", "top"), near, strict=True):
        areas_cm2 = _areas_cm2(lps, slices)
        area_cm2, wide = float(areas_cm2[0]), np.flatnonzero(areas_cm2 >= NEAR_END_CM2)
        if area_cm2 >= CUT_CM2:
            yield (
                sentence(
                    "The liver is cut off at the {where} of the scan, where it has "
                    "{area_cm2:.0f} cm2: its volume is that of a part.",
                    where=where,
                    area_cm2=area_cm2,
                )
            )
        elif wide.size:  # a network hesitates on the last slices, which have no neighbors
            yield (
                sentence(
                    "The liver is marked up to {gap_mm:.1f} mm from the {where} of the scan: look "
                    "whether a part of it lies beyond.",
                    gap_mm=float(wide[0]) * slice_mm,
                    where=where,
                )
            )
    if _side_cut_cm2(lps, labels) >= SIDE_CUT_CM2:
        yield "The field of view cuts off the liver at a side: its volume is that of a part."


def _side_cut_cm2(lps: CtVolume, labels: Labels) -> float:
    """Surface of the liver on the sides of the image, or on the padding of a round field of view.

    Padding is the CT's least value, where the corners of the image have it.
    """
    slice_mm, row_mm, column_mm = lps.spacing_kji_mm
    row_cm2, column_cm2 = slice_mm * row_mm / 100, slice_mm * column_mm / 100
    at_sides: float = np.count_nonzero(labels[:, :, [0, -1]]) * row_cm2
    at_sides += np.count_nonzero(labels[:, [0, -1]]) * column_cm2
    least = lps.hu.min()
    if least > -1000 or not (lps.hu[:, [0, 0, -1, -1], [0, -1, 0, -1]] == least).all():
        return at_sides
    held = np.flatnonzero(labels.any(axis=(1, 2)))
    faces = np.zeros(2)
    for liver, padded in zip(labels[held] > 0, lps.hu[held] == least, strict=True):
        for axis in (0, 1):
            first, second = _neighbors(liver, axis), _neighbors(padded, axis)
            faces[axis] += np.count_nonzero(first[0] & second[1] | first[1] & second[0])
    return at_sides + float(faces[0] * column_cm2 + faces[1] * row_cm2)


def _neighbors(pixels: Mask, axis: int) -> tuple[Mask, Mask]:
    """All pairs of neighbors along an axis: the first ones and the second ones."""
    count = pixels.shape[axis]
    return pixels.take(range(count - 1), axis), pixels.take(range(1, count), axis)


def _size_sentences(lps: CtVolume, labels: Labels, trunk: Trunk, *, cut_off: bool) -> Iterator[str]:
    from scipy import ndimage

    volume_ml = np.count_nonzero(labels) * lps.voxel_ml
    least, most = ADULT_LIVER_ML
    if volume_ml > most or (volume_ml < least and not cut_off):
        yield (
            sentence(
                "The liver has {volume_ml:.0f} mL and an adult's mostly {least:.0f} to "
                "{most:.0f}: look whether all of it is marked and nothing else.",
                volume_ml=volume_ml,
                least=least,
                most=most,
            )
        )
    pieces, _ = ndimage.label(trunk.liver, structure=np.ones((3, 3, 3)))
    sizes_ml = np.bincount(pieces.ravel())[1:] * prod(trunk.spacing_kji_mm) / 1000
    count = np.count_nonzero(sizes_ml >= PIECE_ML)
    if count >= MANY_PIECES:
        yield sentence(
            "Liver and tumors are marked in {count} separate pieces: look at each.", count=count
        )


def _place_sentences(trunk: Trunk) -> Iterator[str]:
    if not trunk.seen_whole:
        return
    share = trunk.right_share
    if share <= CENTRAL[0]:
        yield (
            "The liver lies on the patient's left: the scan may be mirrored, or the organs are"
            " (situs inversus)."
        )
    elif _is_central(trunk):
        yield (
            "The liver lies in the middle of the body and not on the right: look whether it is the"
            " liver."
        )


def _brightness_sentences(
    trunk: Trunk, trained_liver_hu: tuple[float, float] | None
) -> Iterator[str]:
    """The phase, or else a brightness that the model has not seen."""
    if not trunk.found:
        return
    contrast = contrast_of(trunk)
    if contrast.phase in ("unenhanced", "arterial"):
        kind = {"unenhanced": "unenhanced", "arterial": "of the arterial phase"}[contrast.phase]
        yield (
            sentence(
                "The scan looks {kind} (liver {liver_hu:.0f} HU), and the model has "
                "learned from portal-venous CT: expect missed tumors and false ones.",
                kind=kind,
                liver_hu=contrast.liver_hu,
            )
        )
        return
    if trained_liver_hu is None:
        return
    low, high = trained_liver_hu
    if not low - BEYOND_TRAINED_HU <= contrast.liver_hu <= high + BEYOND_TRAINED_HU:
        unlike = "darker" if contrast.liver_hu < low else "brighter"
        yield (
            sentence(
                "The liver has {liver_hu:.0f} HU, {unlike} than those that the model "
                "has learned from ({low:.0f} to {high:.0f} HU): expect missed tumors "
                "and false ones.",
                liver_hu=contrast.liver_hu,
                unlike=unlike,
                low=low,
                high=high,
            )
        )


# Lesions


@dataclass(frozen=True, eq=False)
class _Piece:
    """A lesion in LPS order.

    box, mask: where it is, and which voxels of the box are its own. fat_around: share of what lies
    within AROUND_MM of it that is fat or gas. outside: share of it outside the liver's convex hull.
    """

    box: Box
    mask: Mask
    mean_hu: float
    fat_around: float
    outside: float

    @property
    def is_in_open_fat(self) -> bool:
        """Fat in a tumor and gas in an abscess end at its edge, those in the colon do not."""
        return self.mean_hu < FAT_HU and self.fat_around >= FAT_GOES_ON

    @property
    def implausible(self) -> str | None:
        """Why it is hardly a liver tumor."""
        if self.mean_hu < FAT_HU:
            return sentence("{mean_hu:.0f} HU, as fat or gas", mean_hu=self.mean_hu)
        if self.outside > MOSTLY and self.fat_around >= IN_FAT:
            return "mostly outside the liver, in fat or bowel"
        if self.mean_hu < FLUID_HU:
            return sentence(
                "{mean_hu:.0f} HU, as a cyst, the gallbladder or bowel", mean_hu=self.mean_hu
            )
        if self.mean_hu > DENSE_HU:
            return sentence("{mean_hu:.0f} HU, as calcium, metal or lipiodol", mean_hu=self.mean_hu)
        return None


def _pieces(lps: CtVolume, labels: Labels) -> list[_Piece]:
    """The lesions, in the order of ``lesions.measure``: largest first."""
    from scipy import ndimage

    whole = bounding_box(labels, Label.TUMOR)
    if whole is None:
        return []
    start = [side.start for side in whole]
    components, _ = label_lesions(labels[whole])
    hull = _liver_hull(lps, labels)
    pieces = []
    for number, box in enumerate(ndimage.find_objects(components), start=1):
        mask = components[box] == number
        k, j, i = (slice(s.start + n, s.stop + n) for s, n in zip(box, start, strict=True))
        pieces.append(_piece(lps, (k, j, i), mask, hull))
    return sorted(pieces, key=lambda piece: -np.count_nonzero(piece.mask))


def _piece(lps: CtVolume, box: Box, mask: Mask, hull: NDArray[np.float64]) -> _Piece:
    kji = np.argwhere(mask)
    some_mm = kji[:: len(kji) // LESION_POINTS + 1] + [side.start for side in box]
    some_mm = some_mm * np.array(lps.spacing_kji_mm)
    outside = (some_mm @ hull[:, :3].T + hull[:, 3] > HULL_MM).any(axis=1)
    return _Piece(
        box=box,
        mask=mask,
        mean_hu=float(lps.hu[box][mask].mean()),
        fat_around=_fat_around(lps, box, mask),
        outside=float(outside.mean()),
    )


def _fat_around(lps: CtVolume, box: Box, mask: Mask) -> float:
    """Share of fat and gas around a lesion; a large one is looked at on a coarser grid."""
    from scipy import ndimage

    pads = [int(np.ceil(AROUND_MM / mm)) for mm in lps.spacing_kji_mm]
    wide = tuple(
        slice(max(0, side.start - pad), side.stop + pad)
        for side, pad in zip(box, pads, strict=True)
    )
    inner = tuple(
        slice(side.start - outer.start, side.stop - outer.start)
        for side, outer in zip(box, wide, strict=True)
    )
    hu = lps.hu[wide]
    own: Mask = np.zeros(hu.shape, bool)
    own[inner] = mask
    steps = [1 + length // LARGE_SIDE for length in own.shape]
    thin = tuple(slice(None, None, step) for step in steps)
    away_mm = ndimage.distance_transform_edt(
        ~own[thin], sampling=np.multiply(lps.spacing_kji_mm, steps)
    )
    around = hu[thin][(away_mm > 0) & (away_mm <= AROUND_MM)]
    return float((around < LOOKS_FAT_HU).mean()) if len(around) else 0.0


def _liver_hull(lps: CtVolume, labels: Labels) -> NDArray[np.float64]:
    """Half spaces (n, 4) of the convex hull of the liver without its tumors, in mm along k, j, i.

    None (0, 4) when the liver is flat: nothing is then outside.
    """
    from scipy.spatial import ConvexHull, QhullError

    steps = [max(1, round(HULL_MM / mm)) for mm in lps.spacing_kji_mm]
    thinned = labels[tuple(slice(None, None, step) for step in steps)] == Label.LIVER
    ends_mm = _row_ends(thinned) * np.multiply(steps, lps.spacing_kji_mm)
    try:
        return np.asarray(ConvexHull(ends_mm).equations)
    except (QhullError, ValueError):
        return np.zeros((0, 4))


def _row_ends(mask: Mask) -> NDArray[np.intp]:
    """(n, 3) first and last voxel of each row along i: all corners of a hull are among them."""
    k, j = np.nonzero(mask.any(axis=2))
    rows = mask[k, j]
    first, last = rows.argmax(axis=1), mask.shape[2] - 1 - rows[:, ::-1].argmax(axis=1)
    return np.concatenate([np.stack([k, j, first], axis=1), np.stack([k, j, last], axis=1)])


def _dropped_sentence(dropped: list[_Piece]) -> Iterator[str]:
    if dropped:
        marks = "1 mark" if len(dropped) == 1 else f"{len(dropped)} marks"
        values = ", ".join(f"{piece.mean_hu:.0f}" for piece in dropped[:LISTED])
        yield (
            sentence(
                "{marks} of tumor in fat or gas that goes on around ({values} HU): "
                "dropped, as no tumor is like that.",
                marks=marks,
                values=values,
            )
        )


def _lesion_sentences(lesions: tuple[Lesion, ...]) -> Iterator[str]:
    """The implausible ones in one sentence, the first few with their reasons."""
    listed = [f"{one.number} ({one.implausible})" for one in lesions if one.implausible]
    if not listed:
        return
    more = f", and {len(listed) - LISTED} more" if len(listed) > LISTED else ""
    several = "Lesion" if len(listed) == 1 else "Lesions"
    yield sentence(
        "{several} hardly a liver tumor: {listed}{more}.",
        several=several,
        listed=", ".join(listed[:LISTED]),
        more=more,
    )

"""Is this a CT? Shape, numbers and geometry, before a minute is lost on it.

    refuse_huge(name, shape_kji)                             # before memory is asked for
    warnings = check_geometry(name, shape_kji, ijk_to_ras)   # before a voxel is read
    warnings = check_ct(name, ct, least, greatest)

``name`` is how the scan is called in the sentences: a file's own name, never its folders. Warnings
go into results and leave it out, for it may name the patient. The ranges here hold for every
way in: NIfTI, DICOM, NRRD, and arrays that another program hands over.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from LiverTumorSegLib.sentences import sentence
from LiverTumorSegLib.volume import CtVolume

from .body import check_body
from .gray_values import check_rim, refuse_other_units

INT16_RANGE = (-32768, 32767)
AIR_AT_MOST_HU = -400  # a CT that was not windowed holds lung, bowel gas or the air around the body
NARROWEST_HU = 20  # fat against liver alone is more; masks, z-scores and fractions are less

VOXEL_MM = (0.1, 10.0)  # along each axis; the distance of slices may be more, with a warning
SLICES_APART_AT_MOST_MM = 50.0  # pictures for training, say, that skip the liver
FIELD_MM = (100.0, 2500.0)  # what a slice shows, and how long a scan is
FEWEST_PIXELS_OF_A_SLICE = 96  # of a whole slice; fewer are a part of one, which may be small
MIXED_UP = {  # what spacing would have to be multiplied by
    1000.0: "a thousand times too small, its unit being meters or wrongly micrometers",
    10.0: "ten times too small, its unit being centimeters",
    0.001: "a thousand times too large, its unit being micrometers or wrongly meters",
}
NO_ORIENTATION = (
    "This CT does not say how the patient lies; "
    "check left and right, or export the scan with its orientation."
)
AXIS_AT_MOST = 4096
VOXELS_AT_MOST = 2_000_000_000  # 4 GB; a CT of 512 x 512 with 7,600 slices


def refuse_wrong_shape(name: str, shape_ijk: tuple[int, ...]) -> None:
    """``ValueError`` unless a scan has three axes; further ones of length 1 do no harm."""
    if any(n < 1 for n in shape_ijk):
        raise ValueError(
            sentence("{name} is empty (one of its axes has no voxels); export it again.", name=name)
        )
    if len(shape_ijk) < 3:
        raise ValueError(
            sentence("{name} is a single 2D picture; give the whole 3D scan.", name=name)
        )
    if any(n != 1 for n in shape_ijk[3:]):
        raise ValueError(
            sentence(
                "{name} has more than three axes (several time points or channels); "
                "give one 3D scan of it.",
                name=name,
            )
        )


def refuse_one_slice(name: str, shape_kji: tuple[int, int, int]) -> None:
    """``ValueError`` for a scan with an axis of length 1, whichever it is."""
    if 1 in shape_kji:
        raise ValueError(
            sentence("{name} holds one slice only; give the whole 3D scan.", name=name)
        )


def refuse_colors(name: str, dtype: np.dtype[Any]) -> None:
    """``ValueError`` for voxels that are not one real number each."""
    if dtype.fields:
        what = "is a color (RGB) picture"
    elif dtype.kind == "c":
        what = "holds complex numbers"
    elif dtype.kind not in "iuf":
        what = "holds voxels of an unknown type"
    else:
        return
    raise ValueError(
        sentence(
            "{name} {what}; give the CT itself, with one number a voxel.", name=name, what=what
        )
    )


def refuse_huge(name: str, shape: tuple[int, ...]) -> None:
    """``ValueError`` for more voxels than a CT has, whatever a header promises."""
    if max(shape) > AXIS_AT_MOST or math.prod(shape) > VOXELS_AT_MOST:
        raise ValueError(
            sentence(
                "{name} would have {shape} voxels, more than any CT; its header is "
                "damaged, or it is no CT: give the CT itself.",
                name=name,
                shape=" x ".join(map(str, shape)),
            )
        )


def check_geometry(
    name: str, shape_kji: tuple[int, int, int], ijk_to_ras: NDArray[np.float64]
) -> tuple[str, ...]:
    """Warnings about a grid that is unusual; ``ValueError`` for one that no CT has."""
    spacing_kji_mm = np.linalg.norm(ijk_to_ras[:3, :3], axis=0)[::-1]
    if not np.isfinite(ijk_to_ras).all() or (spacing_kji_mm <= 0).any():
        raise ValueError(
            sentence(
                "{name} gives no voxel spacing (zero or not a number); export it again "
                "with its spacing in mm.",
                name=name,
            )
        )
    _refuse_implausible(name, np.array(shape_kji), spacing_kji_mm)
    slices = int(spacing_kji_mm.argmax())
    return (
        *_thick_warning(float(spacing_kji_mm[slices])),
        *_field_warning(np.delete(shape_kji, slices), np.delete(spacing_kji_mm, slices)),
        *_identity_warning(ijk_to_ras),
    )


def _refuse_implausible(
    name: str, shape_kji: NDArray[Any], spacing_kji_mm: NDArray[np.float64]
) -> None:
    if _is_plausible(shape_kji, spacing_kji_mm):
        return
    voxel = " x ".join(f"{mm:.4g}" for mm in spacing_kji_mm[::-1])
    raise ValueError(
        sentence(
            "{name} has voxels of {voxel} mm and would be {length} "
            "long{likely_unit}; export it again with its spacing in mm.",
            name=name,
            voxel=voxel,
            length=_length(shape_kji * spacing_kji_mm),
            likely_unit=_likely_unit(shape_kji, spacing_kji_mm),
        )
    )


def _likely_unit(shape_kji: NDArray[Any], spacing_kji_mm: NDArray[np.float64]) -> str:
    """The wrong unit that would explain an impossible spacing."""
    for factor, what in MIXED_UP.items():
        if _is_plausible(shape_kji, spacing_kji_mm * factor):
            return f" ({what}, probably)"
    return ""


def _is_plausible(shape_kji: NDArray[Any], spacing_kji_mm: NDArray[np.float64]) -> bool:
    *in_slice_mm, slices_mm = np.sort(spacing_kji_mm)
    return bool(
        in_slice_mm[0] >= VOXEL_MM[0]
        and in_slice_mm[-1] <= VOXEL_MM[1]
        and slices_mm <= SLICES_APART_AT_MOST_MM
        and (shape_kji * spacing_kji_mm).max() <= FIELD_MM[1]
    )


def _length(extent_mm: NDArray[np.float64]) -> str:
    longest_mm = float(extent_mm.max())
    return f"{longest_mm:.3g} mm" if longest_mm < 1000 else f"{longest_mm / 1000:.3g} m"


def _thick_warning(slices_mm: float) -> tuple[str, ...]:
    if slices_mm <= VOXEL_MM[1]:
        return ()
    return (
        sentence(
            "The slices of this CT lie {slices_mm:.3g} mm apart; small tumors "
            "between them are not seen and volumes are rough.",
            slices_mm=slices_mm,
        ),
    )


def _field_warning(pixels: NDArray[Any], spacing_mm: NDArray[np.float64]) -> tuple[str, ...]:
    extent_mm = pixels * spacing_mm
    if extent_mm.max() >= FIELD_MM[0] or pixels.max() < FEWEST_PIXELS_OF_A_SLICE:
        return ()
    return (
        sentence(
            "The slices of this CT would be {width_mm:.0f} x {height_mm:.0f} mm,"
            " too small for a body; check the voxel spacing, or use the whole scan.",
            width_mm=extent_mm[1],
            height_mm=extent_mm[0],
        ),
    )


def is_bare(ijk_to_ras: NDArray[np.float64]) -> bool:
    """Whether an affine says neither spacing nor direction: the identity, up to a shift."""
    return np.array_equal(np.abs(ijk_to_ras[:3, :3]), np.eye(3))


def _identity_warning(ijk_to_ras: NDArray[np.float64]) -> tuple[str, ...]:
    """Programs that drop a scan's geometry leave 1 mm along the axes, and the corner at 0, or at a
    whole number where they have cut or padded; a scanner's corner lies at some fraction."""
    corner_mm = ijk_to_ras[:3, 3]
    if not is_bare(ijk_to_ras) or not np.array_equal(corner_mm, np.rint(corner_mm)):
        return ()
    return (
        "This CT's header holds no real spacing or orientation (its affine is the identity), so"
        " millimeters, volumes, left and right may be wrong; use the scan with its own geometry.",
    )


def check_ct(name: str, ct: CtVolume, low: float, high: float) -> tuple[str, ...]:
    """Warnings, one sentence each, about a scan's numbers and the body in it.

    low, high: the least and the greatest value before they were clipped to int16.
    Raises ``ValueError`` with what is wrong and what to do when these are no Hounsfield units.
    """
    if high - low >= NARROWEST_HU:
        refuse_other_units(name, ct.hu)
    return (*check_ct_values(name, low, high), *check_rim(name, ct.hu), *check_body(ct))


def check_ct_values(name: str, low: float, high: float) -> tuple[str, ...]:
    """Warnings, one sentence each, about a scan whose least and greatest values are low and high.

    Warnings go into results and leave ``name`` out, which may name the patient.

    Raises ``ValueError`` with what is wrong and what to do when these cannot be Hounsfield units.
    """
    if low == high:
        raise ValueError(
            sentence(
                "{name} has the same value, {low:g}, in every voxel; export the scan again.",
                name=name,
                low=low,
            )
        )
    if low >= 0 and high <= 1:
        raise ValueError(
            sentence(
                "{name} holds fractions or a mask, values between 0 and 1; give the CT "
                "itself, in Hounsfield units.",
                name=name,
            )
        )
    if high - low < NARROWEST_HU:
        raise ValueError(
            sentence(
                "{name} holds values from {low:g} to {high:g} only, like a label map or"
                " a normalized scan; give the CT itself, in Hounsfield units.",
                name=name,
                low=low,
                high=high,
            )
        )
    if low > -1:
        raise ValueError(
            sentence(
                "{name} has nothing below 0, so it is a picture, an MR or a CT without "
                "its offset; give a CT in Hounsfield units (air is -1000).",
                name=name,
            )
        )
    return (*_window_warning(low), *_clip_warning(low, high))


def _window_warning(low: float) -> tuple[str, ...]:
    if low < AIR_AT_MOST_HU:
        return ()
    return (
        sentence(
            "This CT has nothing below {low:.0f} HU, as if it had been cut to a "
            "display window; use the original scan if there is one.",
            low=low,
        ),
    )


def _clip_warning(low: float, high: float) -> tuple[str, ...]:
    if low >= INT16_RANGE[0] and high <= INT16_RANGE[1]:
        return ()
    return (
        sentence(
            "This CT holds values outside {least} to {most} HU, "
            "which were clipped to that range; check that the scan is in Hounsfield"
            " units.",
            least=INT16_RANGE[0],
            most=INT16_RANGE[1],
        ),
    )

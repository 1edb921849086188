"""Is this a CT? What shape, type and range of the numbers tell before a minute is lost on it.

``name`` is how the scan is called in the sentences: a file's own name, never its folders.
"""

from __future__ import annotations

from typing import Any

import numpy as np

INT16_RANGE = (-32768, 32767)
AIR_AT_MOST_HU = -400  # a CT that was not windowed holds lung, bowel gas or the air around the body
NARROWEST_HU = 20  # fat against liver alone is more; masks, z-scores and fractions are less


def refuse_wrong_shape(name: str, shape_ijk: tuple[int, ...]) -> None:
    """``ValueError`` unless a scan has three axes; further ones of length 1 do no harm."""
    if any(n < 1 for n in shape_ijk):
        raise ValueError(f"{name} is empty (one of its axes has no voxels); export it again.")
    if len(shape_ijk) < 3:
        raise ValueError(f"{name} is a single 2D picture; give the whole 3D scan.")
    if any(n != 1 for n in shape_ijk[3:]):
        raise ValueError(
            f"{name} has more than three axes (several time points or channels); "
            "give one 3D scan of it."
        )


def refuse_one_slice(name: str, shape_kji: tuple[int, int, int]) -> None:
    """``ValueError`` for a scan with an axis of length 1, whichever it is."""
    if 1 in shape_kji:
        raise ValueError(f"{name} holds one slice only; give the whole 3D scan.")


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
    raise ValueError(f"{name} {what}; give the CT itself, with one number a voxel.")


def check_ct_values(name: str, low: float, high: float) -> tuple[str, ...]:
    """Warnings, one sentence each, about a scan whose least and greatest values are low and high.

    Warnings go into results and leave ``name`` out, which may tell who the patient is.

    Raises ``ValueError`` with what is wrong and what to do when these cannot be Hounsfield units.
    """
    if low == high:
        raise ValueError(
            f"{name} has the same value, {low:g}, in every voxel; export the scan again."
        )
    if low >= 0 and high <= 1:
        raise ValueError(
            f"{name} holds fractions or a mask, values between 0 and 1; "
            "give the CT itself, in Hounsfield units."
        )
    if high - low < NARROWEST_HU:
        raise ValueError(
            f"{name} holds values from {low:g} to {high:g} only, like a label map or a normalized "
            "scan; give the CT itself, in Hounsfield units."
        )
    if low > -1:
        raise ValueError(
            f"{name} has nothing below 0, so it is a picture, an MR or a CT without its offset; "
            "give a CT in Hounsfield units (air is -1000)."
        )
    return (*_window_warning(low), *_clip_warning(low, high))


def _window_warning(low: float) -> tuple[str, ...]:
    if low < AIR_AT_MOST_HU:
        return ()
    return (
        f"This CT has nothing below {low:.0f} HU, as if it had been cut to a display window; "
        "use the original scan if there is one.",
    )


def _clip_warning(low: float, high: float) -> tuple[str, ...]:
    if low >= INT16_RANGE[0] and high <= INT16_RANGE[1]:
        return ()
    return (
        f"This CT holds values outside {INT16_RANGE[0]} to {INT16_RANGE[1]} HU, "
        "which were clipped to that range; check that the scan is in Hounsfield units.",
    )

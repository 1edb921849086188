"""Where the images of a DICOM series lie in the patient: one regular grid, or a sentence why not.

    order, ijk_to_ras, warnings = find_grid(positions_lps_mm, orientations, spacings_ji_mm)

Slices are ordered along the normal of their own plane, so for a usual axial CT i runs to the left,
j to the back, k to the head. Distances are those between the stated positions, never a thickness.
A tilted gantry moves each slice within its plane: the grid is then a sheared one, on which every
voxel still has its true place.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from LiverTumorSegLib.sentences import sentence
from LiverTumorSegLib.volume import LPS_SIGNS

Array = NDArray[np.float64]
SAME_DIRECTION = 1e-3  # of direction cosines, which scanners round
SAME_SPACING = 1e-3  # relative
SAME_PLACE_MM = 0.01
UNEVEN = 0.25  # of a slice distance: more than that off is no regular grid
NOTED_MM, NOTED = 0.1, 0.02  # off by less, in mm or of a slice distance, is rounding
TILT_DEGREES = 0.5
PLANNED_RUN, PLANNED_ALIKE = 3, 0.05  # equal distances in a row, at least; relative
PLANNED_AT_MOST_MM = 12.5


def find_grid(
    positions_lps_mm: Array, orientations: Array, spacings_ji_mm: Array
) -> tuple[list[int], Array, tuple[str, ...]]:
    """The images' order along k, 4 x 4 ijk_to_ras in mm, and warnings of one sentence each.

    positions_lps_mm ``(n, 3)``: centers of the first pixels; orientations ``(n, 2, 3)``: directions
    of i and j; spacings_ji_mm ``(n, 2)``: between rows, between columns. n is at least 2.
    Raises ``ValueError`` with what is wrong and what to do when they are no single regular stack.
    """
    _refuse_mixed(orientations, spacings_ji_mm)
    along_i, along_j = _unit_axes(orientations[0])
    normal = np.cross(along_i, along_j)
    heights_mm = positions_lps_mm @ normal
    order = np.argsort(heights_mm, kind="stable")
    gaps_mm = np.diff(heights_mm[order])
    _refuse_uneven(gaps_mm)
    corners = positions_lps_mm[order]
    step = (corners[-1] - corners[0]) / (len(corners) - 1)
    ideal = corners[0] + np.arange(len(corners))[:, None] * step
    off_mm = float(np.linalg.norm(corners - ideal, axis=1).max())
    if off_mm > UNEVEN * float(np.linalg.norm(step)):
        raise ValueError(_uneven(gaps_mm))
    lps = np.eye(4)
    lps[:3, 0] = along_i * spacings_ji_mm[0, 1]
    lps[:3, 1] = along_j * spacings_ji_mm[0, 0]
    lps[:3, 2], lps[:3, 3] = step, corners[0]
    ijk_to_ras = np.diag([*LPS_SIGNS, 1.0]) @ lps
    warnings = (*_tilt_warning(step, normal), *_off_warning(off_mm, gaps_mm))
    return order.tolist(), ijk_to_ras, warnings


@dataclass(frozen=True)
class Spread:
    """A stack whose distances change by plan (finer through a target, say), on an even grid.

    order: of the images along k. steps: where each slice of the grid lies, in images of that order.
    """

    order: list[int]
    steps: Array
    ijk_to_ras: Array
    warning: str

    def fill(self, hu: NDArray[np.int16]) -> NDArray[np.int16]:
        """The slices of the grid, ``(k, j, i)``: those of the stack, or what lies between two."""
        filled = np.empty((len(self.steps), *hu.shape[1:]), dtype=np.int16)
        for k, step in enumerate(self.steps):
            below = min(int(step), len(hu) - 2)
            share = step - below
            filled[k] = np.rint((1 - share) * hu[below] + share * hu[below + 1])
        return filled


def spread_planned(
    positions_lps_mm: Array, orientations: Array, spacings_ji_mm: Array
) -> Spread | None:
    """An even grid for a stack of several planned distances; None for any other stack.

    Planned is what comes in runs: a slice that is missing makes one wide distance alone.
    Arguments and errors as of :func:`find_grid`.
    """
    _refuse_mixed(orientations, spacings_ji_mm)
    along_i, along_j = _unit_axes(orientations[0])
    heights_mm = positions_lps_mm @ np.cross(along_i, along_j)
    order = np.argsort(heights_mm, kind="stable")
    heights_mm = heights_mm[order]
    gaps_mm = np.diff(heights_mm)
    if not _are_planned(gaps_mm):
        return None
    step_mm = float(gaps_mm.min())
    count = int((heights_mm[-1] - heights_mm[0]) / step_mm + 1e-3) + 1
    grid_mm = heights_mm[0] + step_mm * np.arange(count)
    first, last = positions_lps_mm[order[0]], positions_lps_mm[order[-1]]
    lps = np.eye(4)
    lps[:3, 0] = along_i * spacings_ji_mm[0, 1]
    lps[:3, 1] = along_j * spacings_ji_mm[0, 0]
    lps[:3, 2] = (last - first) * step_mm / (heights_mm[-1] - heights_mm[0])
    lps[:3, 3] = first
    return Spread(
        order.tolist(),
        np.interp(grid_mm, heights_mm, np.arange(len(heights_mm))),
        np.diag([*LPS_SIGNS, 1.0]) @ lps,
        sentence(
            "The slices of this CT lie {least_mm:.3g} to {most_mm:.3g} mm apart by plan; slices"
            " every {step_mm:.3g} mm were computed between them, and the labels have these.",
            least_mm=float(gaps_mm.min()),
            most_mm=float(gaps_mm.max()),
            step_mm=step_mm,
        ),
    )


def _are_planned(gaps_mm: Array) -> bool:
    if gaps_mm.min() < SAME_PLACE_MM or gaps_mm.max() > PLANNED_AT_MOST_MM:
        return False
    changes = np.flatnonzero(np.abs(np.diff(gaps_mm)) > PLANNED_ALIKE * gaps_mm[:-1]) + 1
    runs = np.split(gaps_mm, changes)
    return len(runs) > 1 and min(map(len, runs)) >= PLANNED_RUN


def _refuse_mixed(orientations: Array, spacings_ji_mm: Array) -> None:
    if np.abs(orientations - orientations[0]).max() > SAME_DIRECTION:
        raise ValueError(
            "The images of this series lie in different planes, as if two scans were mixed;"
            " export the axial one alone."
        )
    if (spacings_ji_mm <= 0).any():
        raise ValueError(
            "This series gives no pixel spacing (zero or less); export it again with its spacing."
        )
    if np.abs(spacings_ji_mm / spacings_ji_mm[0] - 1).max() > SAME_SPACING:
        raise ValueError(
            "The images of this series have different pixel spacings, as if two scans were mixed;"
            " export one alone."
        )


def _unit_axes(orientation: Array) -> Array:
    lengths = np.linalg.norm(orientation, axis=1, keepdims=True)
    if (np.abs(lengths - 1) > 0.01).any() or abs(orientation[0] @ orientation[1]) > 0.01:
        raise ValueError(
            "This series has a broken orientation in its header; export the series again."
        )
    axes: Array = orientation / lengths
    return axes


def _refuse_uneven(gaps_mm: Array) -> None:
    if gaps_mm.min() < SAME_PLACE_MM:
        raise ValueError(
            "This series holds more than one image at the same place (several phases, or a scan"
            " sent twice); export one phase alone."
        )
    usual_mm, widest_mm = float(np.median(gaps_mm)), float(gaps_mm.max())
    if np.abs(gaps_mm / usual_mm - 1).max() <= UNEVEN:
        return
    holes = gaps_mm / gaps_mm.min()
    if widest_mm > 1.5 * gaps_mm.min() and np.abs(holes - np.rint(holes)).max() <= UNEVEN:
        raise ValueError(
            sentence(
                "Slices are missing from this series: there is a gap of {widest_mm:g} mm where"
                " others lie {least_mm:g} mm apart; copy or export the whole series again.",
                widest_mm=widest_mm,
                least_mm=float(gaps_mm.min()),
            )
        )
    raise ValueError(_uneven(gaps_mm))


def _uneven(gaps_mm: Array) -> str:
    return sentence(
        "The slices of this series lie {least_mm:.3g} to {most_mm:.3g} mm apart, which is no"
        " regular scan; export a reconstruction with equal distances.",
        least_mm=float(gaps_mm.min()),
        most_mm=float(gaps_mm.max()),
    )


def _tilt_warning(step: Array, normal: Array) -> tuple[str, ...]:
    tilt = np.degrees(np.arccos(min(1.0, float(step @ normal / np.linalg.norm(step)))))
    if tilt < TILT_DEGREES:
        return ()
    return (
        sentence(
            "This CT was made with its gantry tilted by {tilt_degrees:.0f} degrees; its slices were"
            " taken as they lie, and diameters are those within them.",
            tilt_degrees=float(tilt),
        ),
    )


def _off_warning(off_mm: float, gaps_mm: Array) -> tuple[str, ...]:
    if off_mm <= max(NOTED_MM, NOTED * float(np.median(gaps_mm))):
        return ()
    return (
        sentence(
            "The slices of this CT lie {least_mm:.3g} to {most_mm:.3g} mm apart and were taken as"
            " evenly spaced, which moves some by up to {off_mm:.1f} mm; check the result there.",
            least_mm=float(gaps_mm.min()),
            most_mm=float(gaps_mm.max()),
            off_mm=off_mm,
        ),
    )

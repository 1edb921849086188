"""CT series from folders of DICOM files, of any file name, to the volumes that ``nifti`` gives too.

    series = find_series("study")               # every CT series below the folder, by phases
    ct, warnings = read_series(series[0])

Files are read by pydicom, and compressed ones unpacked by GDCM (the extra ``[dicom]``). The series
is put together here, because what can be wrong with one wants a sentence: highdicom's
``get_volume_from_series`` holds all pixels twice, refuses tilted gantries and rounded distances,
and says of anything else only that it is no volume; SimpleITK's reader stacks missing slices,
double ones and mixed planes without a word. Sentences and results hold no name, number or UID.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from LiverTumorSegLib.sentences import sentence
from LiverTumorSegLib.volume import CtVolume

from .checks import INT16_RANGE, check_ct, check_geometry, refuse_huge, refuse_one_slice
from .dicom_grid import find_grid, spread_planned
from .dicom_headers import (
    DicomImage,
    decode,
    looks_like_dicom,
    read_images,
    refuse_unreadable,
    require_pydicom,
    silenced_pydicom,
)
from .dicom_stacks import FEWEST_SLICES, Stack, find_stacks, places_of

NAME = "This series"
HOUNSFIELD = ("", "HU", "US", "HUMOD", "H", "UH", "HE")  # US: unspecified; UH, HE: other languages
HOUNSFIELD_HOLDS = ("HOUN", "HUNS", "CTN")  # Hounsfield unit, Unités Houndsfield, CT-Number
OTHER_UNITS = ("OD", "MGML", "Z_EFF", "ED", "EDW", "PCT")  # DICOM PS3.3 C.11.1.1.2
AIR_HU = -1024.0
AIR_OR_METAL_HU = (-1000.0, 3071.0)  # between them padding would be tissue: then it is none


@dataclass(frozen=True)
class Series:
    """One CT series, or one phase of a series that holds several.

    folder: that holds all its files. files: sorted by name. number: as the scanner counted them,
    None where not stated. shape_kji: images, rows, columns. stack: its images, without those that
    do not count. damaged: files beside them that cannot be read.
    """

    folder: Path
    files: tuple[Path, ...]
    number: int | None
    shape_kji: tuple[int, int, int]
    thickness_mm: float | None
    stack: Stack = field(repr=False)
    damaged: tuple[Path, ...] = ()

    def describe(self) -> str:
        """A line to choose it by."""
        k, j, i = self.shape_kji
        number = "" if self.number is None else f"series number {self.number}, "
        thickness = "" if self.thickness_mm is None else f", {self.thickness_mm:g} mm thick"
        phase = f", {self.stack.phase}" if self.stack.phase else ""
        return f"{number}{k} slices of {i} x {j}{thickness}{phase}"


def find_series(folder: str | Path, leave_out: Collection[Path] = ()) -> list[Series]:
    """The CT series in a folder and those below it, by folder, number and file name.

    Files of other kinds, hidden ones, a DICOMDIR, overview pictures and series of fewer than 3
    images do not count; a series of several phases counts as one each. A damaged file belongs to
    the series beside it, which cannot be read then.
    leave_out: folders that are not looked into.
    Raises ``ValueError`` where pydicom is needed and missing, or all is damaged.
    """
    files = [path for path in list_files(Path(folder), leave_out) if looks_like_dicom(path)]
    if files:
        require_pydicom()
    groups: dict[tuple[str, ...], list[DicomImage]] = {}
    damaged: dict[Path, ValueError] = {}
    with silenced_pydicom():
        for path in files:
            try:
                images = read_images(path)
            except ValueError as error:
                damaged[path] = error
                continue
            for image in images:
                # an anonymizer may have blanked what tells series apart: then the folder does
                key = image.series if image.series[1] else (*image.series, str(path.parent))
                groups.setdefault(key, []).append(image)
        stacks = [stack for images in groups.values() for stack in find_stacks(images)]
    found = [_series(stack, damaged) for stack in stacks if len(stack.images) >= FEWEST_SLICES]
    if damaged and not found:
        raise next(iter(damaged.values()))
    return sorted(found, key=_order)


def _order(series: Series) -> tuple[object, ...]:
    return series.folder, series.number or 0, series.stack.number, series.files


def read_series(source: Series | Sequence[str | Path]) -> tuple[CtVolume, tuple[str, ...]]:
    """The scan of a series, or in the files of one, in any order, and warnings of one sentence.

    Hounsfield units are rounded to whole numbers and clipped to int16; what the header calls
    padding becomes air. k runs along the normal of the slices, distances are those of the stated
    positions. Overview pictures and copies are left out.
    Raises ``ValueError``, one sentence with what to do, for what is no single, whole CT.
    """
    require_pydicom()
    with silenced_pydicom():
        stack = _only_stack(source)
        images = list(stack.images)
        _refuse_unlike(images)
        refuse_unreadable(images)
        refuse_one_slice(NAME, (len(images), *images[0].shape_ji))
        hu, low, high, ijk_to_ras, grid_warnings = _stacked(images)
    ct = CtVolume(hu, ijk_to_ras)
    warnings = (
        *stack.notes,
        *_header_warnings(images),
        *grid_warnings,
        *check_ct(NAME, ct, low, high),
    )
    return ct, warnings


def _stacked(
    images: list[DicomImage],
) -> tuple[NDArray[np.int16], float, float, NDArray[np.float64], tuple[str, ...]]:
    """Hounsfield units ``(k, j, i)`` on a regular grid, their range, the grid and its warnings."""
    spread = spread_planned(*places_of(images))
    if spread is None:
        order, ijk_to_ras, warnings = find_grid(*places_of(images))
    else:
        order, ijk_to_ras, warnings = spread.order, spread.ijk_to_ras, (spread.warning,)
    count = len(images) if spread is None else len(spread.steps)
    shape_kji = (count, *images[0].shape_ji)
    refuse_huge(NAME, shape_kji)
    warnings += check_geometry(NAME, shape_kji, ijk_to_ras)
    hu, low, high = _read_hu([images[n] for n in order])
    return hu if spread is None else spread.fill(hu), low, high, ijk_to_ras, warnings


def slices_of(series: Series) -> list[DicomImage]:
    """The image that each slice k of :func:`read_series` is; ``ValueError`` where some are none.

    Those are the slices that were computed between images of several planned distances. A series
    with a damaged file, or without the places of its images, is refused as there.
    """
    with silenced_pydicom():
        images = list(_only_stack(series).images)
    _refuse_unplaced(images)
    if spread_planned(*places_of(images)) is not None:
        raise ValueError(
            "The slices of this CT were computed between images of several distances, so no DICOM"
            " can refer to its images slice by slice; leave out --dicom."
        )
    order, _, _ = find_grid(*places_of(images))
    return [images[n] for n in order]


def _only_stack(source: Series | Sequence[str | Path]) -> Stack:
    if isinstance(source, Series):
        for path in source.damaged:
            read_images(path)  # says what is wrong
        return source.stack
    stacks = find_stacks([image for file in source for image in read_images(Path(file))])
    if len(stacks) > 1 and len({stack.phase for stack in stacks}) > 1:
        raise ValueError(
            sentence(
                "This series holds {count} phases; choose one with --phase (`livertumorseg info`"
                " on its folder lists them), or export one alone.",
                count=len(stacks),
            )
        )
    if not stacks:
        return Stack(())
    return Stack(tuple(image for stack in stacks for image in stack.images), notes=stacks[0].notes)


def _read_hu(images: list[DicomImage]) -> tuple[NDArray[np.int16], float, float]:
    """Hounsfield units ``(k, j, i)`` of images in their order, least and greatest before clipping.

    One image at a time: no float copy of the whole exists.
    """
    hu = np.empty((len(images), *images[0].shape_ji), dtype=np.int16)
    low, high = np.inf, -np.inf
    by_file: dict[Path, list[int]] = {}
    for k, image in enumerate(images):
        by_file.setdefault(image.path, []).append(k)
    for numbers in by_file.values():
        for k, stored in zip(numbers, decode([images[k] for k in numbers]), strict=True):
            slope, intercept = _rescale(images[k])
            plane = stored.astype(np.float64) * slope + intercept  # (j, i)
            if (padding := images[k].padding) is not None:
                _fill_padding(plane, stored, padding)
            low, high = min(low, float(plane.min())), max(high, float(plane.max()))
            hu[k] = np.rint(np.clip(plane, *INT16_RANGE))
    return hu, low, high


def _fill_padding(
    plane: NDArray[np.float64], stored: NDArray[Any], padding: tuple[int, int]
) -> None:
    """Air where there is no image; numbers that tissue may have are none, whatever is said."""
    is_padding = (stored >= padding[0]) & (stored <= padding[1])
    low, high = AIR_OR_METAL_HU
    plane[is_padding & ((plane < low) | (plane >= high))] = AIR_HU


def list_files(
    folder: Path,
    leave_out: Collection[Path] = (),
    closed: Callable[[OSError], object] | None = None,
) -> Iterator[Path]:
    """Every file below a folder in the order of their names; hidden ones do not count.

    Folders that are links are followed, each real folder once. closed: is told of each folder that
    may not be looked into.
    """
    seen = {os.path.realpath(path) for path in leave_out}
    for home, folders, files in os.walk(folder, onerror=closed, followlinks=True):
        place = os.path.realpath(home)
        if place in seen:
            folders.clear()
            continue
        seen.add(place)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(home, name) for name in sorted(files) if not name.startswith("."))


def _series(stack: Stack, damaged: Collection[Path]) -> Series:
    folders = {image.path.parent for image in stack.images}
    spoilt = tuple(sorted(path for path in damaged if path.parent in folders))
    first = stack.images[0]
    return Series(
        folder=Path(os.path.commonpath(folders)),
        files=tuple(sorted({image.path for image in stack.images} | set(spoilt))),
        number=first.number,
        shape_kji=(len(stack.images), *first.shape_ji),
        thickness_mm=first.thickness_mm,
        stack=stack,
        damaged=spoilt,
    )


def _refuse_unlike(images: list[DicomImage]) -> None:
    """``ValueError`` unless the images can be one CT, as far as their headers say."""
    if not images:
        raise ValueError("This series holds no CT image; give a CT series.")
    if any(image.samples != 1 for image in images):
        raise ValueError("This series holds color pictures; give the CT itself.")
    _refuse_unplaced(images)
    if any(image.unit in OTHER_UNITS for image in images):
        raise ValueError(
            "This series holds other numbers than Hounsfield units (a dual-energy map, perhaps);"
            " give the CT itself."
        )
    _refuse_half_rescaled(images)


def _refuse_unplaced(images: list[DicomImage]) -> None:
    """``ValueError`` unless each image says where it lies, and all are of one size."""
    if len({image.shape_ji for image in images}) > 1:
        raise ValueError(
            "This series holds images of different sizes, as if two scans were mixed; export one"
            " alone."
        )
    if any(image.position_lps_mm is None or image.orientation is None for image in images):
        raise ValueError(
            "This series does not say where its images lie in the patient; export it again with"
            " their positions."
        )
    if any(image.spacing_ji_mm is None for image in images):
        raise ValueError("This series gives no pixel spacing; export it again with its spacing.")


def _refuse_half_rescaled(images: list[DicomImage]) -> None:
    without = sum(_lacks_rescale(image) for image in images)
    if 0 < without < len(images):
        raise ValueError(
            sentence(
                "{without} of the {count} images of this series do not say how their numbers"
                " become Hounsfield units; export the series again.",
                without=without,
                count=len(images),
            )
        )
    if any(image.slope == 0 for image in images):
        raise ValueError("This series has a rescale slope of 0 in its header; export it again.")


def _is_hounsfield(unit: str) -> bool:
    """The field is free text, and programs spell it in many ways."""
    letters = "".join(letter for letter in unit if letter.isalpha())
    return letters in HOUNSFIELD or any(part in letters for part in HOUNSFIELD_HOLDS)


def _lacks_rescale(image: DicomImage) -> bool:
    return image.slope is None or image.intercept is None


def _rescale(image: DicomImage) -> tuple[float, float]:
    """Slope and intercept; what is not stated changes nothing."""
    slope = 1.0 if image.slope is None else image.slope
    return slope, 0.0 if image.intercept is None else image.intercept


def _header_warnings(images: list[DicomImage]) -> Iterator[str]:
    if any(not _is_hounsfield(image.unit) for image in images):
        yield (
            "This CT names a unit of its numbers that is not known; they were taken for Hounsfield"
            " units, so check that it is no map of something else."
        )
    if _lacks_rescale(images[0]):
        yield (
            "This CT does not say how its numbers become Hounsfield units and they were taken as"
            " they are; check that air is near -1000."
        )
    if any(image.is_lossy for image in images):
        yield "The images of this CT were compressed with loss; fine detail may be missing."

"""Liver parts out of files that other programs wrote, on a CT's grid.

    for name, mask_kji in read_parts(Path("liver_segments"), ct): ...

A folder of masks, as TotalSegmentator leaves it (``liver_segment_1.nii.gz`` to ``_8``), or one
label map: a .seg.nrrd with names, a NIfTI with a table of labels (TotalSegmentator's ``--ml``), or
numbers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from LiverTumorSegLib.ct.dicom_headers import shown_name
from LiverTumorSegLib.ct.label_map import read_label_names, read_numbers
from LiverTumorSegLib.ct.read import is_folder
from LiverTumorSegLib.volume import CtVolume

from .lesions import separate_lesions
from .parts import PART_NAME, Mask, PartMeasures, measure_parts

ENDINGS = (".nii.gz", ".nii", ".seg.nrrd", ".nrrd", ".mha", ".mhd")
NO_PART = re.compile(r"background|liver|.*(?:tumou?r|lesion|neoplasm|metasta).*", re.IGNORECASE)
NONE_INSIDE = "No liver part lies mostly in this liver; give the parts of this CT."
OUTSIDE_ML = 1.0  # of parts beside the liver, from which it is said


def parts_in(ct: CtVolume, labels_kji: NDArray[np.uint8], path: Path) -> PartMeasures:
    """The parts that a file or folder holds, within the liver of labels 0, 1, 2 on the CT's grid.

    Raises ``ValueError`` with one sentence as :func:`read_parts`.
    """
    separate = separate_lesions(labels_kji, ct.ijk_to_ras)
    lesions = np.where(separate > 1, separate - 1, 0)
    return measure_parts(labels_kji, lesions, read_parts(path, ct), ct.voxel_ml)


def remarks_on(parts: PartMeasures) -> tuple[str, ...]:
    """What a reader has to know of the numbers, one sentence each; empty when nothing is odd."""
    if not parts.parts:
        return (NONE_INSIDE,)
    outside_ml = sum(part.outside_ml for part in parts.parts)
    if outside_ml < OUTSIDE_ML:
        return ()
    return (f"{outside_ml:.0f} mL of the liver parts lie outside of this liver and do not count.",)


def read_parts(path: Path, ct: CtVolume) -> Iterator[tuple[str, Mask]]:
    """Each part with its name and mask ``(k, j, i)``; what is empty is left out.

    Raises ``ValueError`` with one sentence for what is no label map, lies elsewhere than the CT,
    or holds no part.
    """
    found = 0
    for name, mask in _masks_of_folder(path, ct) if is_folder(path) else _masks_of_map(path, ct):
        if mask.any():
            found += 1
            yield name, mask
    if not found:
        raise ValueError(f"{shown_name(path)} holds no liver part; every mask is empty.")


def _masks_of_folder(folder: Path, ct: CtVolume) -> Iterator[tuple[str, Mask]]:
    """Files whose names are those of parts; others lie beside them, whole organs say."""
    files = {
        stem: path
        for path in sorted(folder.iterdir())
        if (stem := _stem(path.name)) and PART_NAME.fullmatch(stem)
    }
    if not files:
        raise ValueError(
            f"{shown_name(folder)} holds no mask of a liver part; its files are to be named as"
            " liver_segment_1.nii.gz or left_lobe.nii.gz."
        )
    for name, path in files.items():
        yield name, read_numbers(path, ct) > 0


def _stem(name: str) -> str:
    """The name of a label map without its ending; empty for other files."""
    ending = next((end for end in ENDINGS if name.lower().endswith(end)), "")
    return name[: -len(ending)] if ending and not name.startswith(".") else ""


def _masks_of_map(path: Path, ct: CtVolume) -> Iterator[tuple[str, Mask]]:
    """The labels that are called as parts are or, where none is, all but liver and tumors."""
    numbers_kji = read_numbers(path, ct)
    there = np.flatnonzero(np.bincount(numbers_kji.ravel(), minlength=256)[1:]) + 1
    names = read_label_names(path)
    called = {int(number): names.get(int(number), f"part {number}") for number in there}
    parts = {n: name for n, name in called.items() if PART_NAME.fullmatch(name)}
    others = {n: name for n, name in called.items() if not NO_PART.fullmatch(name)}
    for number, name in (parts or others).items():
        yield name, numbers_kji == number

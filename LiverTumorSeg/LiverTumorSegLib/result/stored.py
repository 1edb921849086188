"""A result folder read back, with the CT that it was made of.

    stored = read_result(folder, ct_path=Path("ct.nii.gz"))
    stored.measures, stored.warnings, stored.edited

The labels are measured anew: somebody may have corrected them since.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import isclose
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from LiverTumorSegLib.ct.dicom_headers import shown_name
from LiverTumorSegLib.ct.label_map import LabelNumbers, read_label_map
from LiverTumorSegLib.ct.read import read_input
from LiverTumorSegLib.ct.study import ANY_SERIES, WantedSeries
from LiverTumorSegLib.files import read_json
from LiverTumorSegLib.volume import CtVolume

from .files import DEMO_CT, LABELS, RECORD, scan_record
from .lesions import Lesion, LiverMeasures, labels_sha256, lesion_rows, measure
from .parts import PartMeasures
from .plausibility import check

EDITED = (
    "The labels were changed after the run: they were measured anew, and what is said of a lesion's"
    " confidence or review holds for unchanged lesions alone."
)
PLACE = (
    "volume_ml",
    "longest_axial_diameter_mm",
    "centroid_r_mm",
    "centroid_a_mm",
    "centroid_s_mm",
)
MOST = 1e15  # of any number in a record
ROUNDING = 0.02  # mL and mm: how far apart the same numbers may lie in two records
# What a record holds, where it holds it; somebody else's JSON of that name must not be believed.
RECORD_TYPES: dict[str, tuple[type, ...]] = {
    "lesions": (list,),
    "warnings": (list,),
    "liver_volume_ml": (int, float),
    "model": (dict, type(None)),
    "scan": (dict,),
    "liver_parts": (dict,),
    "run": (dict,),
}
LESION_TYPES: dict[str, tuple[type, ...]] = {
    "confidence": (int, float, type(None)),
    "implausible": (str, type(None)),
    "review": (str, type(None)),
}
MODEL_TYPES: dict[str, tuple[type, ...]] = {"model": (str,), "version": (str,), "stages": (dict,)}
RUN_TYPES: dict[str, tuple[type, ...]] = {"seconds": (int, float), "device": (str,)}


@dataclass(frozen=True, eq=False)
class StoredResult:
    """A CT with its labels, measured now.

    labels_kji: uint8 0, 1, 2 on the CT's grid. warnings: one sentence each. record: what
    ``lesions.json`` says, empty for a CT and a label map without one. edited: the labels are not
    those that the record is of. review: of each lesion, "" where nobody has looked. parts: of the
    liver, where the record has them of these very labels.
    """

    ct: CtVolume
    labels_kji: NDArray[np.uint8]
    measures: LiverMeasures
    warnings: tuple[str, ...]
    record: Mapping[str, Any] = field(default_factory=dict)
    edited: bool = False
    review: tuple[str, ...] = ()
    parts: PartMeasures | None = None

    @property
    def model(self) -> Mapping[str, Any]:
        """What the record says of the model; empty when no model is known."""
        return self.record.get("model") or {}


def read_result(
    folder: Path,
    ct_path: Path | None = None,
    series: WantedSeries = ANY_SERIES,
    *,
    option: str = "--ct",
) -> StoredResult:
    """Read a folder that ``segment``, ``demo``, ``batch`` or ``measure`` has written.

    ct_path: the CT that it was made of; needed unless the folder holds it, as the demo's does.
    option: how a person names that CT.
    Raises ``ValueError`` with one sentence for a folder without a result, a damaged one, a CT that
    cannot be read, and one that is another CT.
    """
    for name in (LABELS, RECORD):
        if not (folder / name).is_file():
            raise ValueError(
                f"{shown_name(folder)} holds no {name}; name a folder with a result in it"
                " (`livertumorseg measure` makes one of any label map)."
            )
    record = read_json(folder / RECORD)
    _refuse_foreign(record)
    if ct_path is None:
        ct_path = folder / DEMO_CT
        if not ct_path.is_file():
            raise ValueError(
                f"{shown_name(folder)} does not hold the CT that it was made of; name it with"
                f" {option}."
            )
    ct, notes = read_input(ct_path, series)
    _refuse_another_ct(folder, record, ct)
    labels_kji, _ = read_label_map(folder / LABELS, ct)
    return stored_result(ct, labels_kji, record, notes)


def stored_result(
    ct: CtVolume,
    labels_kji: NDArray[np.uint8],
    record: Mapping[str, Any],
    notes: tuple[str, ...] = (),
) -> StoredResult:
    """Labels on a CT's grid with what a record says of them; measured anew where that is older.

    notes: what speaks against the CT. ``ValueError`` for a record that no run has written.
    """
    _refuse_foreign(record)
    if _is_unchanged(record, labels_kji, measures := measure(labels_kji, ct)):
        measures, review = _with_remarks(measures, record)
        warnings = tuple(str(text) for text in record.get("warnings", ()))
        parts = _parts(record, labels_kji, measures)
        return StoredResult(ct, labels_kji, measures, warnings, record, False, review, parts)
    checked = check(ct, labels_kji, by_model=False)
    measures, review = _with_remarks(checked.measures, record)
    is_of_a_run = "labels_sha256" in record or bool(record.get("model"))
    warnings = (*((EDITED,) if is_of_a_run else ()), *notes, *checked.warnings)
    parts = _parts(record, labels_kji, measures)
    return StoredResult(ct, labels_kji, measures, warnings, record, is_of_a_run, review, parts)


def read_pair(
    ct_path: Path,
    labels_path: Path,
    numbers: LabelNumbers | None = None,
    *,
    trust_voxels: bool = False,
) -> StoredResult:
    """The same of a CT and any program's label map; errors as of what reads them."""
    ct, notes = read_input(ct_path)
    labels_kji, more = read_label_map(labels_path, ct, numbers, trust_voxels=trust_voxels)
    checked = check(ct, labels_kji, by_model=False)
    warnings = (*notes, *more, *checked.warnings)
    review = ("",) * len(checked.measures.lesions)
    return StoredResult(ct, labels_kji, checked.measures, warnings, review=review)


def _refuse_foreign(record: Mapping[str, Any]) -> None:
    """``ValueError`` for JSON that no run has written."""
    lesions, model = record.get("lesions", []), record.get("model") or {}
    is_ours = (
        _has_types(record, RECORD_TYPES)
        and _has_types(model, MODEL_TYPES)
        and (not model or {"model", "version"} <= set(model))
        and _has_types(record.get("run", {}), RUN_TYPES)
        and all(isinstance(row, dict) and _has_types(row, LESION_TYPES) for row in lesions)
    )
    if not is_ours:
        raise ValueError(
            f"{RECORD} is damaged or was written by another program; run `livertumorseg measure`"
            " on the CT and the labels to make it anew."
        )


def _has_types(values: Mapping[str, Any], types: Mapping[str, tuple[type, ...]]) -> bool:
    return all(
        isinstance(values[key], types[key]) and _is_of_this_world(values[key])
        for key in types
        if key in values
    )


def _is_of_this_world(value: object) -> bool:
    """Whether a number is one that a measurement can have; whole ones of JSON know no end."""
    return not isinstance(value, int | float) or abs(value) < MOST


def _refuse_another_ct(folder: Path, record: Mapping[str, Any], ct: CtVolume) -> None:
    """The same grid and, where the record knows them, the same gray values."""
    scan, made_of = scan_record(ct), record.get("scan") or {}
    if all(made_of.get(key, scan[key]) == scan[key] for key in scan):
        return
    raise ValueError(
        f"This is not the CT that {shown_name(folder)} was made of: its size, spacing or gray"
        " values differ; give that very CT."
    )


def _is_unchanged(
    record: Mapping[str, Any], labels_kji: NDArray[np.uint8], measures: LiverMeasures
) -> bool:
    """Whether the labels are those of the record; an old one without their hash has its numbers."""
    if record.get("rejected"):
        return False
    if "labels_sha256" in record:
        return bool(record["labels_sha256"] == labels_sha256(labels_kji))
    said, rows = record.get("lesions", []), lesion_rows(measures)
    volume_ml = record.get("liver_volume_ml", -1.0)
    return (
        isclose(volume_ml, measures.liver_volume_ml, abs_tol=ROUNDING)
        and len(said) == len(rows)
        and all(map(_is_same, rows, said))
    )


def _with_remarks(
    measures: LiverMeasures, record: Mapping[str, Any]
) -> tuple[LiverMeasures, tuple[str, ...]]:
    """What the record says of each lesion that is still the same; and the review of each."""
    said: list[dict[str, Any]] = record.get("lesions", [])
    lesions, review = list[Lesion](), list[str]()
    for lesion, row in zip(measures.lesions, lesion_rows(measures), strict=True):
        same = next((other for other in said if _is_same(row, other)), {})
        lesions.append(
            replace(
                lesion,
                confidence=same.get("confidence", lesion.confidence),
                implausible=same.get("implausible") or lesion.implausible,
            )
        )
        review.append(str(same.get("review") or ""))
    return replace(measures, lesions=tuple(lesions)), tuple(review)


def _parts(
    record: Mapping[str, Any], labels_kji: NDArray[np.uint8], measures: LiverMeasures
) -> PartMeasures | None:
    """What the record says of liver parts, where it says so of these very labels."""
    parts = record.get("liver_parts") or {}
    if parts.get("labels_sha256") != labels_sha256(labels_kji):
        return None
    said = [row for row in record.get("lesions", []) if row.get("part")]
    held = {
        int(row["number"]): str(other["part"])
        for row in lesion_rows(measures)
        if row["number"] is not None
        for other in said
        if _is_same(row, other)
    }
    return PartMeasures.from_dict(parts, held)


def _is_same(row: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    try:
        return all(isclose(row[key], other[key], abs_tol=ROUNDING) for key in PLACE)
    except (KeyError, TypeError, OverflowError):
        return False

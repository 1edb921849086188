"""``livertumorseg measure``: what a label map of any program says in numbers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from LiverTumorSegLib.ct.study import ANY_SERIES, WantedSeries
from LiverTumorSegLib.settings import Exports

from .progress import Reporter
from .segment import NO_EXPORTS, summary_of_measures

if TYPE_CHECKING:
    from LiverTumorSegLib.result.parts import PartMeasures


def measure_label_map(
    ct_path: Path,
    labels_path: Path,
    output: Path,
    reporter: Reporter,
    *,
    numbers: str | None = None,
    trust_voxels: bool = False,
    series: WantedSeries = ANY_SERIES,
    overwrite: bool = False,
    exports: Exports = NO_EXPORTS,
    parts: Path | None = None,
) -> int:
    """``livertumorseg measure``: table, record and picture of a label map, all or nothing.

    numbers: which of the map mean liver and tumor, as LabelNumbers.parse takes it. trust_voxels:
    as ``read_label_map`` takes it. parts: liver parts that another program outlined.
    """
    from LiverTumorSegLib.ct.label_map import LabelNumbers, read_label_map
    from LiverTumorSegLib.ct.read import dicom_series, read_input
    from LiverTumorSegLib.result.export.export import Export
    from LiverTumorSegLib.result.files import NOTICE, result_folder
    from LiverTumorSegLib.result.measured import MeasuredLabels
    from LiverTumorSegLib.result.parts_files import parts_in, remarks_on

    meaning = None if numbers is None else LabelNumbers.parse(numbers)
    reporter.started()
    source = dicom_series(ct_path, series) if exports.dicom else None
    export = Export.prepared(exports, source)
    sources = [path for path in (ct_path, labels_path, parts) if path is not None]
    with result_folder(output, overwrite=overwrite, sources=sources) as part:
        reporter.progress(0.0, "Reading the CT")
        ct, warnings = read_input(ct_path, series)
        reporter.progress(0.3, "Reading the label map")
        labels_kji, notes = read_label_map(labels_path, ct, meaning, trust_voxels=trust_voxels)
        reporter.progress(0.5, "Checking and measuring")
        result = MeasuredLabels.of(ct, labels_kji, (*warnings, *notes))
        if parts is not None:
            reporter.progress(0.7, "Measuring the liver parts")
            held = parts_in(ct, labels_kji, parts)
            result = replace(result, parts=held, warnings=(*result.warnings, *remarks_on(held)))
        for warning in result.warnings:
            reporter.warning(warning)
        reporter.progress(0.8, "Drawing and writing")
        measured = result.warnings
        result = replace(result, export=export).write(part)
        for warning in result.warnings[len(measured) :]:
            reporter.warning(warning)
    lines = [*summary_of_measures(result.measures), *_parts_lines(result.parts)]
    lines += [f"Results in {output}", NOTICE]
    reporter.finished("\n".join(lines), result.to_dict())
    return 0


def _parts_lines(parts: PartMeasures | None) -> list[str]:
    """The table of liver parts, printed at the end."""
    if parts is None:
        return []
    return [
        f"  {part.name}: {part.volume_ml:.0f} mL, {part.without_tumor_ml:.0f} mL without tumor"
        + (f" ({part.share_percent:.0f} % of the liver)" if part.share_percent is not None else "")
        for part in parts.parts
    ]

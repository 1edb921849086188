"""``livertumorseg measure``: what a label map of any program says in numbers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from LiverTumorSegLib.ct.study import ANY_SERIES, WantedSeries
from LiverTumorSegLib.settings import Exports

from .progress import Reporter
from .segment import NO_EXPORTS, summary_of_measures


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
) -> int:
    """``livertumorseg measure``: table, record and picture of a label map, all or nothing.

    numbers: which of the map mean liver and tumor, as LabelNumbers.parse takes it. trust_voxels:
    as ``read_label_map`` takes it.
    """
    from LiverTumorSegLib.ct.label_map import LabelNumbers, read_label_map
    from LiverTumorSegLib.ct.read import dicom_series, read_input
    from LiverTumorSegLib.result.export.export import Export
    from LiverTumorSegLib.result.files import NOTICE, result_folder
    from LiverTumorSegLib.result.measured import MeasuredLabels

    meaning = None if numbers is None else LabelNumbers.parse(numbers)
    reporter.started()
    source = dicom_series(ct_path, series) if exports.dicom else None
    export = Export.prepared(exports, source)
    with result_folder(output, overwrite=overwrite, sources=[ct_path, labels_path]) as part:
        reporter.progress(0.0, "Reading the CT")
        ct, warnings = read_input(ct_path, series)
        reporter.progress(0.3, "Reading the label map")
        labels_kji, notes = read_label_map(labels_path, ct, meaning, trust_voxels=trust_voxels)
        reporter.progress(0.5, "Checking and measuring")
        result = MeasuredLabels.of(ct, labels_kji, (*warnings, *notes))
        for warning in result.warnings:
            reporter.warning(warning)
        reporter.progress(0.8, "Drawing and writing")
        measured = result.warnings
        result = replace(result, export=export).write(part)
        for warning in result.warnings[len(measured) :]:
            reporter.warning(warning)
    lines = [*summary_of_measures(result.measures), f"Results in {output}", NOTICE]
    reporter.finished("\n".join(lines), result.to_dict())
    return 0

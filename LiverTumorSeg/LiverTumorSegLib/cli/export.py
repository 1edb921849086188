"""``livertumorseg export``: a result that is there already, in the formats of other programs."""

from __future__ import annotations

from pathlib import Path

from LiverTumorSegLib.ct.study import ANY_SERIES, WantedSeries
from LiverTumorSegLib.settings import Exports

from .progress import Reporter


def export_result(
    folder: Path,
    output: Path,
    reporter: Reporter,
    *,
    exports: Exports,
    ct: Path | None = None,
    series: WantedSeries = ANY_SERIES,
    overwrite: bool = False,
) -> int:
    """Write DICOM, .seg.nrrd or surfaces of a stored result, all of them or none.

    folder: as ``report`` takes it. ct: the CT that it was made of; DICOM refers to its images.
    """
    from LiverTumorSegLib.ct.read import dicom_series
    from LiverTumorSegLib.files import whole_folder
    from LiverTumorSegLib.result.export.export import ALL_EXPORTS, Export
    from LiverTumorSegLib.result.files import NOTICE

    from .exchange import read_stored

    reporter.started()
    if not exports.what_counts():
        raise ValueError("Say what to write: --dicom, --seg-nrrd, --stl or --obj.")
    source = dicom_series(ct, series) if exports.dicom and ct is not None else None
    export = Export.prepared(exports, source)
    with whole_folder(output, known=ALL_EXPORTS, overwrite=overwrite) as part:
        reporter.progress(0.1, "Reading the CT and the labels")
        stored = read_stored(folder, ct, series)
        if export.source is not None:
            export.source.refuse_another(stored.ct)
        for warning in stored.warnings:
            reporter.warning(warning)
        reporter.progress(0.6, "Writing files for other programs")
        lost = export.write(
            part,
            stored.labels_kji,
            stored.ct.ijk_to_ras,
            stored.measures,
            stored.model or None,
            edited=stored.edited,
        )
        if lost:
            raise ValueError(lost[0])
        files = sorted(path.name for path in part.iterdir())
    reporter.progress(1.0, "Done")
    summary = f"Wrote {', '.join(files)}\nResults in {output}\n{NOTICE}"
    reporter.finished(summary, {"files": files, "edited": stored.edited})
    return 0

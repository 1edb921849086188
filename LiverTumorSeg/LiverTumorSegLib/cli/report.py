"""``livertumorseg report``: a result folder as one page to read, print and file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from LiverTumorSegLib.ct.study import ANY_SERIES, WantedSeries

from .progress import Reporter


def report(
    folder: Path,
    reporter: Reporter,
    *,
    ct: Path | None = None,
    series: WantedSeries = ANY_SERIES,
    output: Path | None = None,
    reader: str = "",
    with_patient: bool = False,
    overwrite: bool = False,
    model_folder: Path | None = None,
    parts: Path | None = None,
) -> int:
    """Write ``report.html``, into the result folder where ``output`` is None.

    parts: liver parts that another program outlined.
    """
    from LiverTumorSegLib.ct.patient import read_patient
    from LiverTumorSegLib.files import refuse_existing, whole_file
    from LiverTumorSegLib.result.files import NOTICE, REPORT
    from LiverTumorSegLib.result.parts_files import parts_in, remarks_on
    from LiverTumorSegLib.result.report import model_entry, render_report

    from .exchange import read_stored

    reporter.started()
    target = output or folder / REPORT
    if target.suffix.lower() not in (".html", ".htm"):
        raise ValueError(f"{target.name} is no name of a report; let it end in .html.")
    refuse_existing(target, overwrite=overwrite)
    if with_patient and ct is None:
        raise ValueError(
            "Who the patient is stands in the DICOM folder of the CT; name it by --ct."
        )
    patient = read_patient(ct, series) if with_patient and ct is not None else {}
    reporter.progress(0.1, "Reading the CT and the labels")
    stored = read_stored(folder, ct, series)
    if parts is not None:
        reporter.progress(0.4, "Measuring the liver parts")
        held = parts_in(stored.ct, stored.labels_kji, parts)
        stored = replace(stored, parts=held, warnings=(*stored.warnings, *remarks_on(held)))
    for warning in stored.warnings:
        reporter.warning(warning)
    reporter.progress(0.6, "Drawing the lesions")
    model = model_entry(stored, model_folder)
    page = render_report(stored, reader=reader, patient=patient, model=model)
    with whole_file(target) as part:
        part.write_text(page, encoding="utf-8")
    reporter.progress(1.0, "Done")
    lesions = len(stored.measures.lesions)
    summary = f"Report of {lesions} lesion{'' if lesions == 1 else 's'} in {target}\n{NOTICE}"
    reporter.finished(summary, {"report": target.name, "edited": stored.edited})
    return 0

"""``livertumorseg compare``: two dates of one patient, lesion by lesion."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from .progress import Reporter

if TYPE_CHECKING:
    from LiverTumorSegLib.result.followup.comparison import Comparison
    from LiverTumorSegLib.result.stored import StoredResult

TABLE, RECORD, PAGE = "comparison.csv", "comparison.json", "report.html"


def compare(
    baseline: Path,
    followup: Path,
    output: Path,
    reporter: Reporter,
    *,
    baseline_ct: Path | None = None,
    followup_ct: Path | None = None,
    numbers: str | None = None,
    trust_voxels: bool = False,
    match: str | None = None,
    no_match: str | None = None,
    reader: str = "",
    overwrite: bool = False,
    model_folder: Path | None = None,
) -> int:
    """Table, record and page of the change, all or nothing.

    baseline, followup: result folders, or label maps, for which both CTs must be named.
    numbers: which of a label map mean liver and tumor, as LabelNumbers.parse takes it.
    trust_voxels: as ``read_label_map`` takes it.
    match, no_match: what the reader corrects, as Corrections.parse takes it.
    """
    from LiverTumorSegLib.files import whole_folder
    from LiverTumorSegLib.result.files import NOTICE
    from LiverTumorSegLib.result.followup.change import COLUMNS
    from LiverTumorSegLib.result.followup.comparison import compare_dates
    from LiverTumorSegLib.result.followup.corrections import Corrections
    from LiverTumorSegLib.result.followup.page import comparison_page
    from LiverTumorSegLib.result.report import model_entry, render_report
    from LiverTumorSegLib.tables import csv_text

    corrections = Corrections.parse(match, no_match)
    reporter.started()
    with whole_folder(output, known=(TABLE, RECORD, PAGE), overwrite=overwrite) as part:
        reporter.progress(0.0, "Reading the baseline")
        before = _read(baseline, baseline_ct, "--baseline-ct", numbers, trust_voxels)
        reporter.progress(0.2, "Reading the follow-up")
        after = _read(followup, followup_ct, "--followup-ct", numbers, trust_voxels)
        reporter.progress(0.4, "Laying the livers onto each other")
        found = compare_dates(before, after, corrections)
        reporter.progress(0.7, "Drawing and writing")
        rows = ({**row.to_dict(), "notice": NOTICE} for row in found.rows)
        page = render_report(
            after,
            reader=reader,
            model=model_entry(after, model_folder),
            comparison=comparison_page(found),
        )
        (part / TABLE).write_text(csv_text([*COLUMNS, "notice"], rows), "utf-8", newline="")
        (part / RECORD).write_text(json.dumps(found.to_dict(), indent=1) + "\n", "utf-8")
        (part / PAGE).write_text(page, "utf-8")
    reporter.progress(1.0, "Done")
    reporter.finished(
        "\n".join([*_summary(found), f"Results in {output}", NOTICE]), found.to_dict()
    )
    return 0


def _read(
    path: Path, ct: Path | None, option: str, numbers: str | None, trust_voxels: bool
) -> StoredResult:
    from LiverTumorSegLib.ct.label_map import LabelNumbers
    from LiverTumorSegLib.ct.read import is_folder
    from LiverTumorSegLib.ct.study import ANY_SERIES
    from LiverTumorSegLib.result.stored import read_pair

    from .exchange import read_stored

    if is_folder(path):
        return read_stored(path, ct, ANY_SERIES, option=option)
    if ct is None:
        raise ValueError(
            f"{path.name} is a label map; name the CT that it was made of by {option}."
        )
    meaning = None if numbers is None else LabelNumbers.parse(numbers)
    return read_pair(ct, path, meaning, trust_voxels=trust_voxels)


def _summary(found: Comparison) -> list[str]:
    """The change in a few lines, printed at the end."""
    lines = [
        f"  {'+'.join(map(str, row.baseline)) or '-':>5} to"
        f" {'+'.join(map(str, row.followup)) or '-':<5}"
        f"  {row.baseline_ml:7.2f} to {row.followup_ml:7.2f} mL"
        f"  {row.baseline_mm:5.1f} to {row.followup_mm:5.1f} mm  {row.change}"
        for row in found.rows
    ]
    response = found.response
    if response.category:
        lines.append(
            f"Targets, as an aid: {response.baseline_mm} to {response.followup_mm} mm,"
            f" {response.category} if the reader agrees"
        )
    fit = f"The livers fit within {found.registration.error_mm:.0f} mm (95 % of their surfaces)"
    return [fit, *lines]

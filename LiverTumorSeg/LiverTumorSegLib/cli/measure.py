"""``livertumorseg measure``: what a label map of any program says in numbers."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .arguments import add_command
from .progress import Reporter
from .segment import summary_of_measures

if TYPE_CHECKING:
    from LiverTumorSegLib.ct.label_map import LabelNumbers

MEASURE_HELP = """Measure a label map: TotalSegmentator's, nnU-Net's, or one corrected by hand.

LABELS is a NIfTI file on the CT's own grid, or on another grid of the same place (then it is
brought to the CT's by nearest voxels, and the record says so). The result folder receives what
`segment` writes: seg.nii.gz, lesions.csv, lesions.json and overview.png.

  livertumorseg measure ct.nii.gz corrected.nii.gz -o result
  livertumorseg measure ct.nii.gz total.nii.gz -o result --labels liver=5
  livertumorseg measure ct.nii.gz nnunet.nii.gz -o result --labels liver=1+3,tumor=2

For research only, not for diagnosis."""


def add_measure(commands: Any) -> None:
    """Add the command to the parser."""
    summary = "measure the lesions of any label map"
    parser = add_command(commands, "measure", _measure, summary, MEASURE_HELP)
    parser.add_argument("ct", type=Path, metavar="CT", help="NIfTI file or DICOM folder")
    parser.add_argument("labels", type=Path, metavar="LABELS", help="label map, a NIfTI file")
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="FOLDER", help="where results go"
    )
    parser.add_argument(
        "--labels",
        dest="numbers",
        metavar="liver=1,tumor=2",
        help="which numbers of the map mean liver and tumor (default: as shown)",
    )
    parser.add_argument("--series", type=int, metavar="N", help="one series of a DICOM folder")
    parser.add_argument(
        "--overwrite", action="store_true", help="replace results that are in the folder"
    )


def _measure(given: argparse.Namespace, reporter: Reporter) -> int:
    from LiverTumorSegLib.ct.label_map import LabelNumbers

    measure_label_map(
        given.ct,
        given.labels,
        given.output,
        reporter,
        numbers=None if given.numbers is None else LabelNumbers.parse(given.numbers),
        series=given.series,
        overwrite=given.overwrite,
    )
    return 0


def measure_label_map(
    ct_path: Path,
    labels_path: Path,
    output: Path,
    reporter: Reporter,
    *,
    numbers: LabelNumbers | None = None,
    series: int | None = None,
    overwrite: bool = False,
) -> None:
    """Write table, record and picture of a label map into a folder, all or nothing."""
    from LiverTumorSegLib.ct.label_map import read_label_map
    from LiverTumorSegLib.ct.read import read_input
    from LiverTumorSegLib.result.files import NOTICE, result_folder
    from LiverTumorSegLib.result.measured import MeasuredLabels

    reporter.started()
    with result_folder(output, overwrite=overwrite, sources=[ct_path, labels_path]) as part:
        reporter.progress(0.0, "Reading the CT")
        ct, warnings = read_input(ct_path, series)
        reporter.progress(0.3, "Reading the label map")
        labels_kji, notes = read_label_map(labels_path, ct, numbers)
        reporter.progress(0.5, "Checking and measuring")
        result = MeasuredLabels.of(ct, labels_kji, (*warnings, *notes))
        for warning in result.warnings:
            reporter.warning(warning)
        reporter.progress(0.8, "Drawing and writing")
        result.write(part)
    lines = [*summary_of_measures(result.measures), f"Results in {output}", NOTICE]
    reporter.finished("\n".join(lines), result.to_dict())

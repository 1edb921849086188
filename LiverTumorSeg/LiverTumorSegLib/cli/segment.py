"""One case on the command line: model, run, measures, files. ``segment``, ``demo``, ``batch`` and
programs (``child``) all come through here.

    segmenter = load_asked(given)
    result = run_case(segmenter, given, reporter, ct, notes)
    result = write_case(result, folder, reporter)
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from .progress import CaseReporter, Reporter

if TYPE_CHECKING:
    from LiverTumorSegLib.inference.segmenter import Segmenter
    from LiverTumorSegLib.result.files import CaseResult
    from LiverTumorSegLib.result.lesions import LiverMeasures
    from LiverTumorSegLib.volume import CtVolume

SEGMENTED = 0.94  # of the progress bar; the rest is measuring, drawing and writing
LISTED_LESIONS = 10


def load_asked(given: argparse.Namespace) -> Segmenter:
    """The segmenter that the options ask for; errors as of ``load_segmenter``."""
    from LiverTumorSegLib.inference.segmenter import load_segmenter

    return load_segmenter(
        given.model,
        given.device,
        folder=given.model_folder,
        scan=not given.no_scan,
        smallest_lesion_mm=given.smallest_lesion_mm,
    )


def load_and_run(
    given: argparse.Namespace, reporter: Reporter, ct: CtVolume, notes: tuple[str, ...]
) -> CaseResult:
    """:func:`run_case` with a model of its own."""
    reporter.progress(0.0, "Loading the model")
    return run_case(load_asked(given), given, reporter, ct, notes)


def run_case(
    segmenter: Segmenter,
    given: argparse.Namespace,
    reporter: CaseReporter,
    ct: CtVolume,
    notes: tuple[str, ...],
) -> CaseResult:
    """Segment, check and measure; warnings are reported as they are known."""
    from LiverTumorSegLib.inference.segmenter import Cancelled, describe
    from LiverTumorSegLib.result.files import CaseResult
    from LiverTumorSegLib.result.plausibility import check

    try:
        done = segmenter.segment(
            ct,
            lambda fraction, phrase: reporter.progress(SEGMENTED * fraction, phrase),
            probabilities=given.probabilities,
            slices=given.slices,
        )
    except Cancelled:
        raise KeyboardInterrupt from None
    reporter.progress(SEGMENTED, "Checking and measuring")
    checked = check(ct, done.labels_kji, done.certainty_kji, whole=done.slice_range is None)
    warnings = (*done.warnings, *checked.warnings)
    for warning in warnings:
        reporter.warning(warning)
    return CaseResult(
        ct=ct,
        segmentation=replace(
            done, labels_kji=checked.labels_kji, certainty_kji=checked.certainty_kji
        ),
        measures=checked.measures,
        model=describe(segmenter),
        warnings=(*notes, *warnings),
        seconds=reporter.seconds,
    )


def write_case(result: CaseResult, folder: Path, reporter: CaseReporter) -> CaseResult:
    """Draw and write every file into an existing folder; the result as it was written."""
    reporter.progress((SEGMENTED + 1) / 2, "Drawing and writing")
    written = result.write(folder)
    for warning in written.warnings[len(result.warnings) :]:
        reporter.warning(warning)
    reporter.progress(1.0, "Done")
    return written


def summary_of(result: CaseResult, folder: Path, seconds: float) -> str:
    """What a person wants to read at the end. seconds: that they have waited."""
    from LiverTumorSegLib.result.files import NOTICE

    lines = summary_of_measures(result.measures)
    if result.agreement is not None:
        a = result.agreement
        lines.append(
            f"Against the known truth: liver Dice {a.liver_dice:.3f}, tumor Dice"
            f" {a.tumor_dice:.3f}, {a.lesions_found} of {_tumors(a.lesions_true)} found,"
            f" {a.false_lesions} false"
        )
    device = result.segmentation.device
    lines.append(f"{seconds:.0f} s on {device}; results in {folder}")
    return "\n".join([*lines, NOTICE])


def summary_of_measures(measures: LiverMeasures) -> list[str]:
    """Liver, tumors and burden on one line, then a line a lesion."""
    from LiverTumorSegLib.result.files import NO_LIVER

    if measures.liver_volume_ml == 0:
        return [NO_LIVER]
    burden = measures.burden_percent or 0.0
    headline = (
        f"Liver {measures.liver_volume_ml:.0f} mL, {_tumors(len(measures.lesions))} with"
        f" {measures.tumor_volume_ml:.1f} mL, burden {burden:.1f} %"
    )
    return [headline, *_lesion_lines(measures)]


def _lesion_lines(measures: LiverMeasures) -> list[str]:
    lines = [
        f"  {lesion.number:2d}  {lesion.volume_ml:7.2f} mL"
        f"  {lesion.longest_axial_diameter_mm:5.1f} x"
        f" {lesion.perpendicular_diameter_mm:.1f} mm  slice {lesion.slice_index}"
        + ("" if lesion.confidence is None else f"  confidence {100 * lesion.confidence:.0f} %")
        + ("" if lesion.implausible is None else f"  hardly a tumor: {lesion.implausible}")
        for lesion in measures.lesions[:LISTED_LESIONS]
    ]
    more = len(measures.lesions) - LISTED_LESIONS
    return [*lines, f"  and {more} more in lesions.csv"] if more > 0 else lines


def _tumors(count: int) -> str:
    return "1 tumor" if count == 1 else f"{count} tumors"

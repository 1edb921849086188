"""One CT on the command line: ``segment`` and ``demo``, and the steps that ``batch`` and programs
(``child``) take too.

    segmenter = load_model(settings, None)
    result = segment_case(segmenter, settings, reporter, ct, notes)
    result = write_case(result, folder, reporter)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from LiverTumorSegLib.ct.study import ANY_SERIES, WantedSeries
from LiverTumorSegLib.settings import Exports, RunSettings

from .interrupts import raise_if_interrupted
from .progress import CaseReporter, Reporter

if TYPE_CHECKING:
    from LiverTumorSegLib.ct.dicom import Series
    from LiverTumorSegLib.ct.phase import Phase
    from LiverTumorSegLib.inference.segmenter import Segmenter
    from LiverTumorSegLib.result.files import CaseResult
    from LiverTumorSegLib.result.lesions import LiverMeasures
    from LiverTumorSegLib.settings import RunSettings
    from LiverTumorSegLib.volume import CtVolume

SEGMENTED = 0.94  # of the progress bar; the rest is measuring, drawing and writing
LISTED_LESIONS = 10
NO_EXPORTS = Exports()


def segment(
    ct: Path,
    output: Path,
    settings: RunSettings,
    reporter: Reporter,
    *,
    series: WantedSeries = ANY_SERIES,
    overwrite: bool = False,
    model_folder: Path | None = None,
    exports: Exports = NO_EXPORTS,
) -> int:
    """``livertumorseg segment``"""
    from LiverTumorSegLib.result.export.export import Export
    from LiverTumorSegLib.result.files import result_folder

    reporter.started()
    with result_folder(output, overwrite=overwrite, sources=[ct]) as part:
        reporter.progress(0.0, "Reading the CT")
        load = cache(partial(load_model, settings, model_folder))
        volume, notes, source = _read_or_propose(ct, series, load, reporter)
        export = Export.prepared(exports, source)
        for note in notes:
            reporter.warning(note)
        reporter.progress(0.0, "Loading the model")
        result = segment_case(load(), settings, reporter, volume, notes)
        result = write_case(replace(result, export=export), part, reporter)
    reporter.finished(summary_of(result, output, reporter.seconds), result.to_dict())
    return 0


def _read_or_propose(
    path: Path, series: WantedSeries, load: Callable[[], Segmenter], reporter: Reporter
) -> tuple[CtVolume, tuple[str, ...], Series | None]:
    """The CT, its warnings and its series; of a study the one that is likely meant, and why.

    load: the model, which is needed here where no header names the phase.
    """
    from LiverTumorSegLib.ct.dicom import read_series
    from LiverTumorSegLib.ct.read import is_folder, read_input
    from LiverTumorSegLib.ct.study import StudySeries, matching, propose_series, read_study

    from .phase_of_series import phase_of_series

    def look(entry: StudySeries) -> Phase:
        reporter.progress(0.0, "Looking which phase a series shows")
        return phase_of_series(entry, load())

    if not is_folder(path):
        return *read_input(path, series), None
    entries = read_study(path)
    chosen, why = propose_series(entries, matching(entries, series), look)
    ct, notes = read_series(chosen.series)
    return ct, ((why, *notes) if why else notes), chosen.series


def demo(
    seed: int,
    output: Path,
    settings: RunSettings,
    reporter: Reporter,
    *,
    overwrite: bool = False,
    model_folder: Path | None = None,
) -> int:
    """``livertumorseg demo``"""
    from LiverTumorSegLib.phantom.phantom import make_phantom
    from LiverTumorSegLib.result.agreement import compare
    from LiverTumorSegLib.result.files import result_folder

    reporter.started()
    with result_folder(output, overwrite=overwrite) as part:
        reporter.progress(0.0, "Making a synthetic abdomen")
        phantom = make_phantom(seed=seed, shape_kji=(72, 320, 320), spacing_kji_mm=(4.0, 1.2, 1.2))
        reporter.progress(0.0, "Loading the model")
        segmenter = load_model(settings, model_folder)
        result = segment_case(segmenter, settings, reporter, phantom.ct, ())
        result = replace(
            result,
            truth_kji=phantom.labels,
            agreement=compare(result.segmentation.labels_kji, phantom.labels),
        )
        result = write_case(result, part, reporter)
    reporter.finished(summary_of(result, output, reporter.seconds), result.to_dict())
    return 0


def load_model(settings: RunSettings, folder: Path | None) -> Segmenter:
    """The segmenter that the settings ask for; errors as of ``load_segmenter``."""
    from LiverTumorSegLib.inference.segmenter import load_segmenter

    return load_segmenter(settings, folder=folder)


def model_sha256(settings: RunSettings, folder: Path | None) -> str:
    """The hash of the model's file, without loading it; errors as of ``find_model``."""
    from LiverTumorSegLib.model.catalog import find_model
    from LiverTumorSegLib.model.spec import file_sha256

    file = find_model(settings.model, folder).file
    return file.sha256 or file_sha256(file.path)


def segment_case(
    segmenter: Segmenter,
    settings: RunSettings,
    reporter: CaseReporter,
    ct: CtVolume,
    notes: tuple[str, ...],
    *,
    keep_prediction: bool = False,
) -> CaseResult:
    """Segment, check and measure; warnings are reported as they are known.

    keep_prediction: also where no probabilities are asked for.
    """
    from LiverTumorSegLib.inference.progress import Cancelled
    from LiverTumorSegLib.result.files import CaseResult
    from LiverTumorSegLib.result.plausibility import check

    def progress(fraction: float, phrase: str) -> None:
        raise_if_interrupted()
        reporter.progress(SEGMENTED * fraction, phrase)

    try:
        done = segmenter.segment(
            ct, progress, keep_prediction=keep_prediction or settings.probabilities
        )
    except Cancelled:
        raise KeyboardInterrupt from None
    reporter.progress(SEGMENTED, "Checking and measuring")
    checked = check(
        ct,
        done.labels_kji,
        done.tumor_probability_kji,
        trained_liver_hu=segmenter.spec.trained_liver_hu,
    )
    warnings = (*done.warnings, *checked.warnings)
    for warning in warnings:
        reporter.warning(warning)
    return CaseResult(
        ct=ct,
        segmentation=replace(
            done,
            labels_kji=checked.labels_kji,
            tumor_probability_kji=checked.tumor_probability_kji,
        ),
        measures=checked.measures,
        model=segmenter.describe(),
        recall=segmenter.recall,
        settings=settings,
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
    """The result in a few lines, printed at the end. seconds: that the run took."""
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

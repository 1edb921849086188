"""The command line as another program's child: raw arrays in and out, and never left alone.

    python -m LiverTumorSegLib segment --raw FOLDER --events --with-parent

The program keeps the child's standard input open. When it closes, because the program wants so or
has died, the child ends.
"""

from __future__ import annotations

import _thread
import os
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from LiverTumorSegLib.sentences import key_and_values, sentence
from LiverTumorSegLib.settings import RunSettings

from .interrupts import raise_if_interrupted
from .progress import Reporter
from .segment import SEGMENTED, load_model, segment_case

if TYPE_CHECKING:
    from LiverTumorSegLib.inference.segmenter import Segmenter
    from LiverTumorSegLib.result.files import CaseResult
    from LiverTumorSegLib.result.step_labels import StepLabels

HANDING_OVER = 0.97  # of the progress, after all computing
SCAN_NAME = "The volume"  # in sentences: the scan has no file name here
EXIT_ORPHANED = 130  # as if it had been cancelled
GRACE_SECONDS = 2.0  # to clean up, before the child ends in the midst of it
POLL_SECONDS = 0.5


def segment_raw(
    folder: Path, settings: RunSettings, reporter: Reporter, model_folder: Path | None
) -> int:
    """``livertumorseg segment --raw FOLDER``: exchange.py says what the folder holds."""
    from LiverTumorSegLib.ct.checks import check_ct, check_geometry, refuse_one_slice
    from LiverTumorSegLib.result.steps import tumor_seen

    from .exchange import Answer, read_request, write_answer

    reporter.started()
    reporter.progress(0.0, "Reading the CT")
    ct = read_request(folder)
    refuse_one_slice(SCAN_NAME, ct.shape_kji)
    notes = (
        *check_geometry(SCAN_NAME, ct.shape_kji, ct.ijk_to_ras),
        *check_ct(SCAN_NAME, ct, float(ct.hu.min()), float(ct.hu.max())),
    )
    for note in notes:
        reporter.warning(note)
    reporter.progress(0.0, "Loading the model")
    segmenter = load_model(settings, model_folder)
    result = segment_case(segmenter, settings, reporter, ct, notes, keep_prediction=True)
    seen, steps = tumor_seen(result.segmentation), _at_steps(segmenter, result, reporter)
    reporter.progress(HANDING_OVER, "Handing over the labels")
    done = result.segmentation
    record = {**result.to_dict(), "said": [key_and_values(warning) for warning in result.warnings]}
    probabilities = done.probabilities if settings.probabilities else None
    try:
        write_answer(folder, Answer(done.labels_kji, record, probabilities, seen, steps))
    except OSError as error:
        raise ValueError(
            sentence(
                "The labels cannot be handed over: {reason}. Free some space on the disk of the "
                "temporary folder.",
                reason=error.strerror or str(error),
            )
        ) from error
    reporter.finished("The labels are in the folder.", result.to_dict())
    return 0


def _at_steps(segmenter: Segmenter, result: CaseResult, reporter: Reporter) -> StepLabels | None:
    """The labels at the model's other sensitivities; None where it knows of none."""
    from LiverTumorSegLib.inference.sensitivity import Sensitivity
    from LiverTumorSegLib.result.steps import labels_at_steps

    sensitivity = Sensitivity.of(segmenter.spec)
    if sensitivity is None or not result.segmentation.found_liver:
        return None

    def between(done: int, count: int) -> None:
        raise_if_interrupted()
        share = done / count
        fraction = SEGMENTED + (HANDING_OVER - SEGMENTED) * share
        reporter.progress(fraction, "Deciding at other sensitivities")

    return labels_at_steps(result.ct, segmenter.decision, result.segmentation, sensitivity, between)


def end_with_parent() -> None:
    """End this process when its standard input closes, as it does when the parent is gone."""
    stream = sys.stdin
    if stream is None:  # a process without console and pipes: nothing tells it about its parent
        return
    watch = threading.Thread(target=_end_when_closed, args=(stream.fileno(),), daemon=True)
    watch.start()


def _end_when_closed(descriptor: int) -> None:
    _wait_until_closed(descriptor)
    _thread.interrupt_main()  # as Ctrl-C does: files that were begun are removed
    time.sleep(GRACE_SECONDS)
    os._exit(EXIT_ORPHANED)


if sys.platform == "win32":
    import _winapi
    import msvcrt

    def _wait_until_closed(descriptor: int) -> None:
        """Looks instead of reading: a pending read of standard input blocks Windows from loading
        DLLs that ask for the kind of that pipe, numpy's and SciPy's among them."""
        handle = msvcrt.get_osfhandle(descriptor)
        while True:
            try:
                _winapi.PeekNamedPipe(handle, 0)
            except OSError:
                return
            time.sleep(POLL_SECONDS)

else:

    def _wait_until_closed(descriptor: int) -> None:
        while True:
            try:
                if not os.read(descriptor, 4096):
                    return
            except OSError:
                return

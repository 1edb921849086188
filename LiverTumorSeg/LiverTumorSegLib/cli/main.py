"""Find the liver and its tumors in a CT, from the command line.

  livertumorseg segment my_ct.nii.gz -o result     labels, lesion table and a picture
  livertumorseg batch my_cts results               the same for every CT in a folder, and a summary
  livertumorseg demo -o result                     the same on a synthetic CT with known truth
  livertumorseg measure ct.nii.gz labels.nii.gz -o result     the same numbers of any label map
  livertumorseg models list                        which models there are
  livertumorseg info my_ct.nii.gz                  what a CT or a model file holds

A CT is a NIfTI file, or a folder that holds a DICOM series.

For research only, not for diagnosis.
"""

from __future__ import annotations

import argparse
import errno
import io
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from LiverTumorSegLib import __version__
from LiverTumorSegLib.model.spec import BundleError
from LiverTumorSegLib.sentences import sentence_of

from .arguments import add_command, add_folder_option, add_run_options, with_joined_models
from .batch import add_batch
from .child import add_ways_in_and_out, called_by_program, segment_raw
from .measure import add_measure
from .models import add_models
from .progress import (
    Console,
    JsonLines,
    Reporter,
    say,
    stand_in_for_closed_streams,
)
from .segment import load_and_run, summary_of, write_case

EXIT_BAD_INPUT = 2
EXIT_CANCELLED = 130
OUTPUT_FAILS = "Standard output cannot be written; check where it goes"
DEMO_SEED = 7
REPLACE = "replace results that are in the folder"
SEGMENT_HELP = """Find the liver and its tumors in a CT.

The CT is a NIfTI file in Hounsfield units, of any orientation and spacing, or a folder that holds a
DICOM series (pip install 'livertumorseg[dicom]'); portal-venous contrast is what the model knows
best. Where a folder holds several series, `livertumorseg info` lists them and --series chooses one.
The result folder receives

  seg.nii.gz      labels on the CT's own grid: 1 liver, 2 tumor
  lesions.csv     a row a tumor: volume, longest axial diameter and perpendicular, place, mean HU,
                  and what speaks against its being one
  lesions.json    the same with liver volume, tumor burden, model, settings and warnings
  overview.png    slices with outlines, and the lesion list

Nothing that exists is replaced without --overwrite, and a run that fails or is stopped (Ctrl-C)
leaves nothing. Exit code: 0 done, 2 refused (one sentence says why), 130 stopped.

For research only, not for diagnosis."""
DEMO_HELP = """Make a synthetic CT whose truth is known, segment it, and compare.

A quick check that everything works, without any CT of your own. The folder receives what
`segment` writes, and

  phantom_ct.nii.gz      the synthetic CT
  phantom_truth.nii.gz   its true labels: 1 liver, 2 tumor

How well a model does on it proves nothing about patients. For research only, not for diagnosis."""
INFO_HELP = """What a CT or a model holds.

Of a NIfTI file or a DICOM series the grid and the CT numbers; of a DICOM folder its series; of a
.safetensors file, or of a model in `livertumorseg models list`, the network, settings, training
data and scores."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; the exit code: 0 done, 1 some cases of a batch failed, 2 bad input (one
    sentence says what), 130 cancelled."""
    stand_in_for_closed_streams()
    reporter: Reporter = Console()
    try:
        words = with_joined_models(sys.argv[1:] if arguments is None else arguments)
        given = build_parser().parse_args(words)
        if getattr(given, "events", False):
            reporter = JsonLines()
        with _prepared_process():
            code: int = given.command(given, reporter)
            return code
    except ValueError as error:
        reporter.failed("input", sentence_of(error))
    except BundleError as error:
        reporter.failed("model", sentence_of(error))
    except MemoryError:
        reporter.failed("memory", "The memory does not hold this CT; close other programs.")
    except KeyboardInterrupt as stop:
        reporter.failed("cancelled", str(stop) or "Cancelled; nothing was written.")
        return EXIT_CANCELLED
    except BrokenPipeError as error:
        if error.errno == errno.EPIPE:  # nobody reads on (`| head`), so there is nobody to tell
            return EXIT_CANCELLED
        Console().failed("output", f"{OUTPUT_FAILS} ({error.strerror}).")
    except Exception as error:
        reporter.failed("fault", f"LiverTumorSeg failed ({error!r}); please report it.")
        raise
    return EXIT_BAD_INPUT


@contextmanager
def _prepared_process() -> Iterator[None]:
    """A request to end cleans up as Ctrl-C does; letters that a terminal lacks stop nothing."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    if threading.current_thread() is not threading.main_thread():
        yield  # where signals cannot be handled
        return
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def segment(given: argparse.Namespace, reporter: Reporter) -> int:
    """``livertumorseg segment``"""
    if called_by_program(given):
        return segment_raw(given, reporter, load_and_run)
    from LiverTumorSegLib.ct.read import read_input
    from LiverTumorSegLib.result.files import result_folder

    reporter.started()
    with result_folder(given.output, overwrite=given.overwrite, sources=[given.ct]) as part:
        reporter.progress(0.0, "Reading the CT")
        ct, notes = read_input(given.ct, given.series)
        for note in notes:
            reporter.warning(note)
        result = load_and_run(given, reporter, ct, notes)
        result = write_case(result, part, reporter)
    reporter.finished(summary_of(result, given.output, reporter.seconds), result.to_dict())
    return 0


def demo(given: argparse.Namespace, reporter: Reporter) -> int:
    """``livertumorseg demo``"""
    from LiverTumorSegLib.phantom.phantom import make_phantom
    from LiverTumorSegLib.result.agreement import compare
    from LiverTumorSegLib.result.files import result_folder

    reporter.started()
    with result_folder(given.output, overwrite=given.overwrite) as part:
        reporter.progress(0.0, "Making a synthetic abdomen")
        phantom = make_phantom(
            seed=given.seed, shape_kji=(72, 320, 320), spacing_kji_mm=(4.0, 1.2, 1.2)
        )
        result = load_and_run(given, reporter, phantom.ct, ())
        result = replace(
            result,
            truth_kji=phantom.labels,
            agreement=compare(result.segmentation.labels_kji, phantom.labels),
        )
        result = write_case(result, part, reporter)
    reporter.finished(summary_of(result, given.output, reporter.seconds), result.to_dict())
    return 0


def info(given: argparse.Namespace, reporter: Reporter) -> int:
    """``livertumorseg info``"""
    from .info import describe_file

    say(describe_file(given.file, given.series, given.model_folder))
    return 0


def build_parser() -> argparse.ArgumentParser:
    """All commands with their help."""
    parser = argparse.ArgumentParser(
        prog="livertumorseg",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"livertumorseg {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    run = add_command(commands, "segment", segment, "find liver and tumors in a CT", SEGMENT_HELP)
    add_ways_in_and_out(run)
    add_run_options(run, REPLACE)
    add_batch(commands)
    _add_demo(commands)
    add_measure(commands)
    add_models(commands)
    tell = add_command(commands, "info", info, "what a CT or a model holds", INFO_HELP)
    tell.add_argument(
        "file",
        type=Path,
        metavar="FILE",
        help=".nii, .nii.gz or .safetensors, a DICOM folder, or a model's name",
    )
    tell.add_argument("--series", type=int, metavar="N", help="one series of a DICOM folder")
    add_folder_option(tell)
    return parser


def _add_demo(commands: Any) -> None:
    summary = "make a synthetic CT, segment it, compare with its truth"
    show = add_command(commands, "demo", demo, summary, DEMO_HELP)
    show.add_argument(
        "--seed", type=int, default=DEMO_SEED, help=f"which abdomen (default {DEMO_SEED})"
    )
    where = "where results go"
    show.add_argument("-o", "--output", type=Path, required=True, metavar="FOLDER", help=where)
    add_run_options(show, REPLACE)


if __name__ == "__main__":
    sys.exit(main())

"""Find the liver and its tumors in a CT, from the command line.

  livertumorseg segment my_ct.nii.gz -o result     labels, lesion table and a picture
  livertumorseg demo -o result                     the same on a synthetic CT with known truth
  livertumorseg models list                        which models there are
  livertumorseg info my_ct.nii.gz                  what a CT or a model file holds

For research only, not for diagnosis.
"""

from __future__ import annotations

import argparse
import io
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import __version__
from .child import add_part_options, add_ways_in_and_out, called_by_program, segment_raw
from .events import Console, JsonLines, Reporter
from .spec import BundleError

if TYPE_CHECKING:
    from .results import CaseResult

EXIT_BAD_INPUT = 2
EXIT_CANCELLED = 130
DEMO_SEED = 7
SEGMENTED = 0.94  # of the progress bar; the rest is measuring, drawing and writing
SEGMENT_HELP = """Find the liver and its tumors in a CT.

The CT is a NIfTI file in Hounsfield units, of any orientation and spacing; portal-venous contrast
is what the model knows best. The folder receives

  seg.nii.gz      labels on the CT's own grid: 1 liver, 2 tumor
  lesions.csv     a row a tumor: volume, longest axial diameter and perpendicular, place, mean HU
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
MODELS_HELP = """List, check, import and remove models.

  livertumorseg models list                      what --model can name
  livertumorseg models import mine.safetensors   copy a model file into your model folder
  livertumorseg models verify                    is every file as it was?
  livertumorseg models remove mine               delete an imported model
  livertumorseg models where                     print your model folder

Nothing is ever fetched from a network."""
INFO_HELP = """What a CT or a model file holds: the grid and CT numbers of a NIfTI file, or the
network, settings, training data and scores of a .safetensors file."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; the exit code: 0 done, 2 bad input (one sentence says what), 130 cancelled."""
    given = build_parser().parse_args(arguments)
    reporter: Reporter = JsonLines() if getattr(given, "events", False) else Console()
    try:
        with _prepared_process():
            code: int = given.command(given, reporter)
            sys.stdout.flush()  # here, where a reader that has gone is noticed
            return code
    except ValueError as error:
        reporter.failed("input", str(error))
    except BundleError as error:
        reporter.failed("model", str(error))
    except MemoryError:
        reporter.failed("memory", "The memory does not hold this CT; close other programs.")
    except KeyboardInterrupt:
        reporter.failed("cancelled", "Cancelled; nothing was written.")
        return EXIT_CANCELLED
    except BrokenPipeError:  # nobody reads on (`| head`), so there is nobody to tell
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_CANCELLED
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
        return segment_raw(given, reporter, _run)
    from .nifti import read_ct
    from .results import result_folder

    reporter.started()
    with result_folder(given.output, overwrite=given.overwrite, source=given.ct) as part:
        reporter.progress(0.0, "Reading the CT")
        ct, notes = read_ct(given.ct)
        for note in notes:
            reporter.warning(note)
        result = _run(given, reporter, ct, notes)
        _write(result, part, reporter)
    reporter.finished(_summary(result, given.output), result.to_dict())
    return 0


def demo(given: argparse.Namespace, reporter: Reporter) -> int:
    """``livertumorseg demo``"""
    from .agreement import compare
    from .phantom import make_phantom
    from .results import result_folder

    reporter.started()
    with result_folder(given.output, overwrite=given.overwrite) as part:
        reporter.progress(0.0, "Making a synthetic abdomen")
        phantom = make_phantom(
            seed=given.seed, shape_kji=(72, 320, 320), spacing_kji_mm=(4.0, 1.2, 1.2)
        )
        result = _run(given, reporter, phantom.ct, ())
        result = replace(
            result,
            truth_kji=phantom.labels,
            agreement=compare(result.segmentation.labels_kji, phantom.labels),
        )
        _write(result, part, reporter)
    reporter.finished(_summary(result, given.output), result.to_dict())
    return 0


def _run(
    given: argparse.Namespace, reporter: Reporter, ct: Any, notes: tuple[str, ...]
) -> CaseResult:
    """Segment and measure; warnings of the run are reported as they are known."""
    from .lesions import measure
    from .results import CaseResult
    from .segment import Cancelled, describe, load_segmenter

    reporter.progress(0.0, "Loading the model")
    segmenter = load_segmenter(
        given.model,
        given.device,
        folder=given.model_folder,
        scan=not given.no_scan,
        smallest_lesion_mm=given.smallest_lesion_mm,
    )
    try:
        done = segmenter.segment(
            ct,
            lambda fraction, phrase: reporter.progress(SEGMENTED * fraction, phrase),
            probabilities=given.probabilities,
            slices=given.slices,
        )
    except Cancelled:
        raise KeyboardInterrupt from None
    reporter.progress(SEGMENTED, "Measuring the tumors")
    for warning in done.warnings:
        reporter.warning(warning)
    return CaseResult(
        ct=ct,
        segmentation=done,
        measures=measure(done.labels_kji, ct),
        model=describe(segmenter),
        warnings=(*notes, *done.warnings),
    )


def _write(result: CaseResult, part: Path, reporter: Reporter) -> None:
    reporter.progress((SEGMENTED + 1) / 2, "Drawing and writing")
    result.write(part)
    reporter.progress(1.0, "Done")


def _summary(result: CaseResult, folder: Path) -> str:
    """What a person wants to read at the end."""
    from .results import NO_LIVER, NOTICE

    measures = result.measures
    lines = []
    if not result.segmentation.found_liver:
        lines.append(NO_LIVER)
    else:
        burden = measures.burden_percent or 0.0
        lines.append(
            f"Liver {measures.liver_volume_ml:.0f} mL, {_tumors(len(measures.lesions))} with"
            f" {measures.tumor_volume_ml:.1f} mL, burden {burden:.1f} %"
        )
        for lesion in measures.lesions[:10]:
            lines.append(
                f"  {lesion.number:2d}  {lesion.volume_ml:7.2f} mL"
                f"  {lesion.longest_axial_diameter_mm:5.1f} x"
                f" {lesion.perpendicular_diameter_mm:.1f} mm  slice {lesion.slice_index}"
            )
        if len(measures.lesions) > 10:
            lines.append(f"  and {len(measures.lesions) - 10} more in lesions.csv")
    if result.agreement is not None:
        a = result.agreement
        lines.append(
            f"Against the known truth: liver Dice {a.liver_dice:.3f}, tumor Dice"
            f" {a.tumor_dice:.3f}, {a.lesions_found} of {_tumors(a.lesions_true)} found,"
            f" {a.false_lesions} false"
        )
    run = result.segmentation
    lines.append(f"{run.seconds:.0f} s on {run.device}; results in {folder}")
    return "\n".join([*lines, NOTICE])


def _tumors(count: int) -> str:
    return "1 tumor" if count == 1 else f"{count} tumors"


def info(given: argparse.Namespace, reporter: Reporter) -> int:
    """``livertumorseg info``"""
    from .describe_file import describe_file

    print(describe_file(given.file))
    return 0


def models_list(given: argparse.Namespace, reporter: Reporter) -> int:
    """``livertumorseg models list``"""
    from .catalog import installed_models

    entries = installed_models(given.model_folder)
    for entry in entries:
        mark = "*" if entry.default else " "
        size = f"{entry.size_bytes / 1e6:.1f} MB"
        print(f"{mark} {entry.name:<20} {entry.version:<8} {size:>8}  {entry.licence}")
        print(f"    {entry.title}. {entry.summary}")
        for name, value in entry.scores.items():
            print(f"    {name}: {value}")
    if not entries:
        print("There are no models; add one with `livertumorseg models import FILE`.")
    print("* is used where no model is named. For research only, not for diagnosis.")
    return 0


def models_verify(given: argparse.Namespace, reporter: Reporter) -> int:
    """``livertumorseg models verify``"""
    from .catalog import find_model, installed_models, verify

    chosen = [find_model(given.name, given.model_folder)] if given.name else None
    for entry in chosen or installed_models(given.model_folder):
        verify(entry)
        print(f"{entry.name}: whole")
    return 0


def models_import(given: argparse.Namespace, reporter: Reporter) -> int:
    """``livertumorseg models import``"""
    from .catalog import import_model

    entry = import_model(given.file, given.model_folder, name=given.name, overwrite=given.overwrite)
    print(f"Imported as {entry.name}; use it with --model {entry.name}.")
    return 0


def models_remove(given: argparse.Namespace, reporter: Reporter) -> int:
    """``livertumorseg models remove``"""
    from .catalog import remove_model

    remove_model(given.name, given.model_folder)
    print(f"Removed {given.name}.")
    return 0


def models_where(given: argparse.Namespace, reporter: Reporter) -> int:
    """``livertumorseg models where``"""
    from .catalog import default_model_folder

    print(default_model_folder(given.model_folder))
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
    run = _add(commands, "segment", segment, "find liver and tumors in a CT", SEGMENT_HELP)
    add_ways_in_and_out(run)
    _add_run_options(run)
    show = _add(
        commands, "demo", demo, "make a synthetic CT, segment it, compare with its truth", DEMO_HELP
    )
    show.add_argument(
        "--seed", type=int, default=DEMO_SEED, help=f"which abdomen (default {DEMO_SEED})"
    )
    where = "where results go"
    show.add_argument("-o", "--output", type=Path, required=True, metavar="FOLDER", help=where)
    _add_run_options(show)
    _add_models(commands)
    tell = _add(commands, "info", info, "what a CT or a model file holds", INFO_HELP)
    tell.add_argument("file", type=Path, metavar="FILE", help=".nii, .nii.gz or .safetensors")
    return parser


def _add_run_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--model", metavar="NAME|FILE", help="from `models list`, or a .safetensors file")
    add("--device", default="auto", help="auto (a CUDA GPU if there is one), cpu, cuda, cuda:1")
    add("--probabilities", action="store_true", help="also write probabilities.nii.gz")
    add("--no-scan", action="store_true", help="run every slice, also far from the liver")
    add_part_options(parser)
    add("--overwrite", action="store_true", help="replace results that are in the folder")
    add("--events", action="store_true", help="JSON lines instead of text, for programs")
    _add_folder_option(parser)


def _add_folder_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model-folder",
        type=Path,
        metavar="FOLDER",
        help="imported models (default: LIVERTUMORSEG_MODELS, else the user's data folder)",
    )


def _add_models(commands: Any) -> None:
    parser = commands.add_parser(
        "models",
        help="list, check, import and remove models",
        description=MODELS_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(title="actions", required=True, metavar="ACTION")
    _add_folder_option(_add(actions, "list", models_list, "models that can be named"))
    check = _add(actions, "verify", models_verify, "compare files with their recorded SHA-256")
    check.add_argument("name", nargs="?", metavar="NAME", help="one model (default: all)")
    bring = _add(actions, "import", models_import, "copy a model file into the model folder")
    bring.add_argument("file", type=Path, metavar="FILE", help="a .safetensors model file")
    bring.add_argument("--name", help="what to call it (default: as the file says)")
    bring.add_argument(
        "--overwrite", action="store_true", help="replace an imported model of that name"
    )
    drop = _add(actions, "remove", models_remove, "delete an imported model")
    drop.add_argument("name", metavar="NAME", help="as `models list` shows it")
    where = _add(actions, "where", models_where, "print the model folder")
    for action in (check, bring, drop, where):
        _add_folder_option(action)


def _add(
    commands: Any,
    name: str,
    command: Callable[[argparse.Namespace, Reporter], int],
    summary: str,
    text: str | None = None,
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=summary,
        description=text or summary[0].upper() + summary[1:] + ".",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(command=command)
    return parser


if __name__ == "__main__":
    sys.exit(main())

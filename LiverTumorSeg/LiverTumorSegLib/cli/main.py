"""``livertumorseg``: parse the command line, run the command, end with its exit code.

main(["segment", "ct.nii.gz", "-o", "result"])        # the exit code
"""

from __future__ import annotations

import argparse
import errno
import io
import sys
from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import TYPE_CHECKING

from LiverTumorSegLib.importers.choices import ImportChoices
from LiverTumorSegLib.model.spec import BundleError
from LiverTumorSegLib.sentences import sentence, sentence_of
from LiverTumorSegLib.settings import Exports, RunSettings, Where

from .interrupts import interruptible
from .parser import build_parser
from .progress import Console, JsonLines, Reporter, say, stand_in_for_closed_streams

if TYPE_CHECKING:
    from LiverTumorSegLib.ct.phase import Phase
    from LiverTumorSegLib.ct.study import StudySeries, WantedSeries

Work = Callable[[], int]  # a parsed command, ready to run; returns the exit code
EXIT_BAD_INPUT = 2
EXIT_CANCELLED = 130
OUTPUT_FAILS = "Standard output cannot be written; check where it goes ({reason})."


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; the exit code: 0 done, 1 some cases of a batch failed, 2 bad input (one
    sentence says what), 130 cancelled."""
    stand_in_for_closed_streams()
    if isinstance(sys.stdout, io.TextIOWrapper):  # letters that a terminal lacks stop nothing
        sys.stdout.reconfigure(errors="backslashreplace")
    reporter: Reporter = Console()
    try:
        with interruptible():
            args = build_parser().parse_args(arguments)
            if getattr(args, "events", False):
                reporter = JsonLines()
            if getattr(args, "with_parent", False):
                _end_with_parent()
            work = COMMANDS[args.command](args, reporter)
            return work()
    except KeyboardInterrupt as stop:
        reporter.failed("cancelled", str(stop) or "Cancelled; nothing was written.")
        return EXIT_CANCELLED
    except BrokenPipeError as error:
        if error.errno == errno.EPIPE:  # nobody reads on (`| head`), so nothing is printed
            return EXIT_CANCELLED
        Console().failed("output", sentence(OUTPUT_FAILS, reason=error.strerror))
    except ValueError as error:
        reporter.failed("input", sentence_of(error))
    except BundleError as error:
        reporter.failed("model", sentence_of(error))
    except MemoryError:
        reporter.failed("memory", "The memory does not hold this CT; close other programs.")
    except OSError as error:
        reason = error.strerror or type(error).__name__
        unusable = sentence(
            "A file or folder cannot be used ({reason}); check its name, permissions and disk.",
            reason=reason,
        )
        reporter.failed("input", unusable)
    except Exception as error:
        fault = sentence("LiverTumorSeg failed ({problem}); please report it.", problem=repr(error))
        reporter.failed("fault", fault)
        raise
    return EXIT_BAD_INPUT


def _end_with_parent() -> None:
    from .child import end_with_parent

    end_with_parent()


def _segment(args: argparse.Namespace, reporter: Reporter) -> Work:
    from .child import segment_raw
    from .segment import segment

    if bool(args.ct) == bool(args.raw):
        raise ValueError("Name a CT and -o FOLDER, or --raw FOLDER alone; see segment --help.")
    settings = RunSettings.from_parsed(args)
    if args.raw:
        return partial(segment_raw, args.raw, settings, reporter, args.model_folder)
    return partial(
        segment,
        args.ct,
        args.output,
        settings,
        reporter,
        series=_wanted_series(args),
        overwrite=args.overwrite,
        model_folder=args.model_folder,
        exports=Exports.from_parsed(args),
    )


def _wanted_series(args: argparse.Namespace) -> WantedSeries:
    from LiverTumorSegLib.ct.study import WantedSeries

    return WantedSeries(args.series, args.phase)


def _batch(args: argparse.Namespace, reporter: Reporter) -> Work:
    from .batch import batch
    from .batch_choice import Choice

    choice = Choice(args.one_per_study, args.description, args.min_slices)
    return partial(
        batch,
        args.input,
        args.output,
        RunSettings.from_parsed(args),
        reporter,
        only=args.only,
        choice=choice,
        overwrite=args.overwrite,
        model_folder=args.model_folder,
        exports=Exports.from_parsed(args),
        where=Where.from_parsed(args),
    )


def _demo(args: argparse.Namespace, reporter: Reporter) -> Work:
    from .segment import demo

    return partial(
        demo,
        args.seed,
        args.output,
        RunSettings.from_parsed(args),
        reporter,
        overwrite=args.overwrite,
        model_folder=args.model_folder,
    )


def _measure(args: argparse.Namespace, reporter: Reporter) -> Work:
    from .measure import measure_label_map

    return partial(
        measure_label_map,
        args.ct,
        args.labels,
        args.output,
        reporter,
        numbers=args.numbers,
        trust_voxels=args.trust_voxels,
        series=_wanted_series(args),
        overwrite=args.overwrite,
        exports=Exports.from_parsed(args),
        parts=args.parts,
    )


def _report(args: argparse.Namespace, reporter: Reporter) -> Work:
    from .report import report

    return partial(
        report,
        args.folder,
        reporter,
        ct=args.ct,
        series=_wanted_series(args),
        output=args.output,
        reader=args.reader,
        with_patient=args.with_patient,
        overwrite=args.overwrite,
        model_folder=args.model_folder,
        parts=args.parts,
    )


def _export(args: argparse.Namespace, reporter: Reporter) -> Work:
    from .export import export_result

    return partial(
        export_result,
        args.folder,
        args.output,
        reporter,
        exports=Exports.from_parsed(args),
        ct=args.ct,
        series=_wanted_series(args),
        overwrite=args.overwrite,
    )


def _compare(args: argparse.Namespace, reporter: Reporter) -> Work:
    from .compare import compare

    return partial(
        compare,
        args.baseline,
        args.followup,
        args.output,
        reporter,
        baseline_ct=args.baseline_ct,
        followup_ct=args.followup_ct,
        numbers=args.numbers,
        trust_voxels=args.trust_voxels,
        match=args.match,
        no_match=args.no_match,
        reader=args.reader,
        overwrite=args.overwrite,
        model_folder=args.model_folder,
    )


def _models(args: argparse.Namespace, reporter: Reporter) -> Work:
    from . import models

    if args.action == "list":
        return partial(models.list_models, args.model_folder, reporter)
    if args.action == "verify":
        return partial(models.verify_models, args.name, args.model_folder)
    if args.action == "import":
        return partial(
            models.import_file,
            args.file,
            args.model_folder,
            name=args.name,
            overwrite=args.overwrite,
            choices=ImportChoices.from_parsed(args),
        )
    if args.action == "remove":
        return partial(models.remove, args.name, args.model_folder)
    return partial(models.print_folder, args.model_folder)


def _info(args: argparse.Namespace, reporter: Reporter) -> Work:
    from LiverTumorSegLib.ct.study import WantedSeries

    from .info import describe_file
    from .segment import load_model

    describe = partial(describe_file, args.file, WantedSeries(args.series), args.model_folder)
    load = cache(partial(load_model, RunSettings(), args.model_folder))

    def look(entry: StudySeries) -> Phase:
        from .phase_of_series import phase_of_series

        reporter.progress(0.0, "Looking which phases the series show")
        return phase_of_series(entry, load())

    def show() -> int:
        say(describe())
        return 0

    def show_with_phases() -> int:
        reporter.started()
        reporter.finished(describe(look), {})
        return 0

    return show_with_phases if args.phase else show


COMMANDS: dict[str, Callable[[argparse.Namespace, Reporter], Work]] = {
    "segment": _segment,
    "batch": _batch,
    "demo": _demo,
    "measure": _measure,
    "report": _report,
    "export": _export,
    "compare": _compare,
    "models": _models,
    "info": _info,
}


if __name__ == "__main__":
    sys.exit(main())

"""``livertumorseg batch IN OUT``: every CT in a folder, one result folder a case, and a summary.

    livertumorseg batch cts results
    livertumorseg batch lits results --only 'volume-*' --device cuda

The model is loaded once. The same command again goes on where a batch was stopped or killed.
``batch_cases`` finds and names the cases, ``batch_folder`` keeps OUT whole, ``batch_summary`` is
the table; each case runs through ``case_run`` as ``livertumorseg segment`` does.
"""

from __future__ import annotations

import argparse
import json
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .arguments import add_command, add_run_options
from .progress import Reporter, TimeLeft
from .segment import load_asked, run_case, write_case

if TYPE_CHECKING:
    from LiverTumorSegLib.inference.segmenter import Segmenter

    from .batch_cases import Case
    from .batch_folder import BatchFolder

EXIT_SOME_FAILED = 1
STOPPED = "Cancelled; finished cases stay, and the same command goes on from here."
BATCH_HELP = """Segment every CT in a folder.

IN is searched at any depth for NIfTI files (.nii, .nii.gz) and for DICOM series of CT (pip install
'livertumorseg[dicom]'); files and folders whose names begin with a dot do not count, nor does OUT
where it lies in IN. OUT receives

  CASE/          a folder for each CT, with what `livertumorseg segment` writes, and batch.json
                 (what it was made from and how)
  summary.csv    a row for each CT: done, skipped or failed and why, liver and tumor volume, burden,
                 lesions, largest diameter, warnings, seconds, device

CASE is the path of the file or of the series' folder below IN, with _ between its parts: the CT
site1/p7.nii.gz is site1_p7. Where two would be called alike, the second is site1_p7-2. Several
series in one folder are told apart by their number, as in p8_series3.

A CT that cannot be segmented is a failed row; the others go on. The same command again skips the
cases that are done, with the same model, settings and CT, and tries the rest. Results that were
made otherwise are left as they are and count as failed, unless --overwrite allows to make them
anew; other files in a case's folder stay. However a batch ends, OUT holds whole results only, and
two batches never write to one OUT at once.

Exit code: 0 all done or skipped, 1 some failed, 2 refused (one sentence says why), 130 stopped.

For research only, not for diagnosis."""


def add_batch(commands: Any) -> None:
    """The command and its options."""
    parser = add_command(commands, "batch", batch, "segment every CT in a folder", BATCH_HELP)
    parser.add_argument("input", type=Path, metavar="IN", help="folder that holds the CTs")
    parser.add_argument("output", type=Path, metavar="OUT", help="folder for the results")
    parser.add_argument(
        "--only",
        metavar="PATTERN",
        help="only files and series whose name, or path below IN, is like this: 'volume-*'",
    )
    add_run_options(parser, "make results anew that another model or other settings made")


def batch(given: argparse.Namespace, reporter: Reporter) -> int:
    """``livertumorseg batch``"""
    from .batch_cases import find_cases
    from .batch_folder import opened_batch_folder

    reporter.started()
    _refuse_nested(given.input, given.output)
    reporter.progress(0.0, "Looking for CTs")
    cases = find_cases(given.input, given.output, given.only)
    reporter.progress(0.0, "Loading the model")
    run = _Batch(given, reporter, len(cases))
    with opened_batch_folder(given.output) as folder:
        try:
            run.all_cases(cases, folder)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(STOPPED) from None
        folder.write_summary(run.rows)
    return run.finish()


def _refuse_nested(source: Path, target: Path) -> None:
    source, target = source.resolve(), target.resolve()
    if target == source or target in source.parents:
        raise ValueError(
            f"The results cannot go to {target.name}, which holds the CTs themselves; name another"
            " folder, a new one in it for example."
        )


class _Batch:
    """The state of one run: its model, and the rows of the cases that have ended."""

    def __init__(self, given: argparse.Namespace, reporter: Reporter, count: int) -> None:
        from LiverTumorSegLib.inference.segmenter import describe

        self.given, self.reporter, self.count = given, reporter, count
        self._segmenter: Segmenter | None = load_asked(given)
        settings = {
            "model": describe(self._segmenter),
            "scan": not given.no_scan,
            "slices": given.slices,
            "probabilities": given.probabilities,
        }
        self.settings = json.loads(json.dumps(settings))  # as it is read back
        self._rows: dict[int, dict[str, Any]] = {}

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Of the ended cases, in the cases' order."""
        return [self._rows[number] for number in sorted(self._rows)]

    def all_cases(self, cases: list[Case], folder: BatchFolder) -> None:
        """First those that are done, which is quick; then the others, each a part of the way."""
        from .batch_summary import SKIPPED, result_row

        waiting: list[tuple[int, Case]] = []
        for number, case in enumerate(cases, 1):
            voice = _OneOfMany(self.reporter, case.name, number, self.count)
            voice.progress(0.0, "Looking whether it is done")
            record = folder.finished_record(case.name, self.settings, case.sha256)
            if record is None:
                waiting.append((number, case))
            else:
                self._end(number, result_row(case.name, SKIPPED, record))
        self._try_summary(folder)
        for done, (number, case) in enumerate(waiting):
            voice = _OneOfMany(self.reporter, case.name, number, self.count, done, len(waiting))
            self._end(number, self._row_of(case, folder, voice))
            self._try_summary(folder)

    def finish(self) -> int:
        """Say how it ended; the exit code."""
        from LiverTumorSegLib.result.files import NOTICE

        from .batch_summary import DONE, FAILED, SKIPPED, SUMMARY

        statuses = [row["status"] for row in self.rows]
        counts = {status: statuses.count(status) for status in (DONE, SKIPPED, FAILED)}
        cases = "1 case" if self.count == 1 else f"{self.count} cases"
        told = ", ".join(f"{count} {status}" for status, count in counts.items())
        text = f"{cases}: {told}; {SUMMARY} and the results are in {self.given.output}\n{NOTICE}"
        record = {"notice": NOTICE, "cases": self.count, **counts, "table": SUMMARY}
        self.reporter.finished(text, record)
        return EXIT_SOME_FAILED if counts[FAILED] else 0

    def _row_of(self, case: Case, folder: BatchFolder, voice: _OneOfMany) -> dict[str, Any]:
        """Run one case; what goes wrong in it becomes its row."""
        from .batch_summary import DONE, failed_row, result_row

        try:
            with folder.result(case.name, overwrite=self.given.overwrite) as part:
                record = self._make(case, part, voice)
            return result_row(case.name, DONE, record)
        except BrokenPipeError:  # nobody listens to this batch any more
            raise
        except MemoryError:
            sentence = "The memory does not hold this CT; close other programs."
        except ValueError as error:
            sentence = " ".join(str(error).split())
        except Exception as error:  # a fault in one case is no reason to lose a night's others
            sentence = (
                f"LiverTumorSeg failed ({type(error).__name__}); try `livertumorseg segment` on"
                " this CT and report what it says."
            )
        return failed_row(case.name, sentence)

    def _make(self, case: Case, part: Path, voice: _OneOfMany) -> dict[str, Any]:
        """Write a case's files into a folder; their record."""
        from LiverTumorSegLib.inference.network import choose_device

        from .batch_folder import write_stamp

        segmenter = self._segmenter or load_asked(self.given)
        self._segmenter = segmenter
        voice.progress(0.0, "Reading the CT")
        ct, notes = case.read()
        source_sha256 = case.sha256()
        for note in notes:
            voice.warning(note)
        result = run_case(segmenter, self.given, voice, ct, notes)
        result = write_case(result, part, voice)
        write_stamp(part, self.settings, source_sha256)
        if result.segmentation.device != choose_device(self.given.device):
            self._segmenter = None  # too large for the GPU, which the next case may fit again
        return result.to_dict()

    def _end(self, number: int, row: dict[str, Any]) -> None:
        from .batch_summary import line_of

        self._rows[number] = row
        line = f"{number}/{self.count} {line_of(row)}"
        self.reporter.case_ended(line, {"number": number, "cases": self.count, **row})

    def _try_summary(self, folder: BatchFolder) -> None:
        """A table that a spreadsheet holds open is written after the next case, or at the end."""
        with suppress(ValueError):
            folder.write_summary(self.rows)


class _OneOfMany:
    """Reports what happens in one case as a part of the whole.

    done, waiting: how many of the cases to be run have ended, and how many there are.
    """

    def __init__(
        self, to: Reporter, name: str, number: int, cases: int, done: int = 0, waiting: int = 1
    ) -> None:
        self._to, self._name, self._done, self._waiting = to, name, done, waiting
        self._place = {"number": number, "cases": cases}
        self._left = TimeLeft()

    @property
    def seconds(self) -> float:
        return self._left.elapsed

    def progress(self, fraction: float, phrase: str, **place: int) -> None:
        text = "Case {number} of {cases}: ".format(**self._place) + phrase
        self._to.progress((self._done + fraction) / self._waiting, text, **self._place)

    def warning(self, text: str, **place: int) -> None:
        self._to.warning(f"{self._name}: {text}", **self._place)

"""``livertumorseg batch IN OUT``: every CT in a folder, one result folder a case, and a summary.

    livertumorseg batch cts results
    livertumorseg batch lits results --only 'volume-*' --device cuda

The model is loaded once, and not at all where everything is done. A case's folder appears whole,
stamped with what it was made from and how: so the same command again goes on where a batch was
stopped or killed. ``batch_cases`` finds and names the cases, ``batch_summary`` is the table; each
case runs as ``livertumorseg segment`` does.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from LiverTumorSegLib.files import disk_errors_as_sentences, settle
from LiverTumorSegLib.result.files import NOTICE
from LiverTumorSegLib.settings import Exports, RunSettings, Where

from .batch_cases import BatchItem, find_cases
from .batch_run import CaseRunner
from .batch_summary import (
    COHORT,
    DONE,
    FAILED,
    LEFT_OUT,
    SKIPPED,
    SUMMARY,
    failed_row,
    is_summary,
    line_of,
    write_summary,
    write_tables,
)
from .progress import OneOfMany, Reporter
from .segment import NO_EXPORTS, load_model, model_sha256

if TYPE_CHECKING:
    from LiverTumorSegLib.ct.phase import Phase
    from LiverTumorSegLib.ct.study import StudySeries

    from .batch_choice import Choice

EXIT_SOME_FAILED = 1
ONE_BY_ONE = Where()
AFTER_AN_ARRAY = "after all parts the same command without --array writes the tables"
SUMMARY_PAUSE = 20  # times as long as writing the table took, until it is written again
STOPPED = "Cancelled; finished cases stay, and the same command goes on from here."


def batch(
    source: Path,
    output: Path,
    settings: RunSettings,
    reporter: Reporter,
    *,
    only: str | None = None,
    choice: Choice | None = None,
    overwrite: bool = False,
    model_folder: Path | None = None,
    exports: Exports = NO_EXPORTS,
    where: Where = ONE_BY_ONE,
) -> int:
    """``livertumorseg batch``"""
    reporter.started()
    if where.ray is not None:
        from .cluster import require_ray

        require_ray()
        source = Path(os.path.abspath(source))  # workers stand in other folders
    _refuse_nested(source, output)
    reporter.progress(0.0, "Looking for CTs")
    out = Path(os.path.realpath(output))  # "." and ".." get a name
    cases = find_cases(source, output, only)
    made_by = {
        "model_sha256": model_sha256(settings, model_folder),
        **settings.what_counts(),
        **exports.what_counts(),
    }
    runner = CaseRunner(out, settings, exports, made_by, overwrite, model_folder)
    run = _Batch(cases, runner, output, reporter, where)
    if choice is not None:
        run.choose(choice)
    _refuse_foreign_summary(out)
    try:
        waiting = run.end_what_is_done()
        if waiting:
            reporter.progress(0.0, "Loading the model")
            run.look_at_model()  # what is wrong with it is said before anything is written
        with disk_errors_as_sentences(out.name):
            out.mkdir(parents=True, exist_ok=True)
        with _alone_in(out, with_others=where.array is not None):
            settle(out)  # what a batch that was killed had not finished
            run.all(waiting)
            if where.array is None and (lost := write_tables(out, run.sorted_rows())):
                reporter.warning(lost)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(STOPPED) from None
    return run.finish()


@dataclass(eq=False)
class _Batch:
    """The state of one run: its cases, and the rows of those that have ended, by number."""

    cases: list[BatchItem]
    runner: CaseRunner
    output: Path
    reporter: Reporter
    where: Where
    rows: dict[int, dict[str, Any]] = field(default_factory=dict)
    next_summary: float = 0.0

    def look_at_model(self) -> None:
        """Load it, where the cases run in this process for good."""
        if self.where.ray is None:
            self.runner.load()
        else:  # whose machines may have the GPUs that this one lacks
            load_model(replace(self.runner.settings, device="cpu"), self.runner.model_folder)

    def choose(self, choice: Choice) -> None:
        """Leave out cases by the options; the model is loaded only to see a contrast phase."""
        from .batch_choice import choose_cases
        from .phase_of_series import phase_of_series

        def look(entry: StudySeries) -> Phase:
            self.reporter.progress(0.0, "Looking which phases the series show")
            return phase_of_series(entry, self.runner.load())

        def is_done(case: BatchItem) -> bool:
            return self.runner.finished_row(case) is not None

        self.cases = choose_cases(self.cases, choice, look, is_done)

    def end_what_is_done(self) -> list[tuple[int, BatchItem]]:
        """Add the rows of cases that are done or left out; return the cases still to be run."""
        waiting = []
        for number, case in enumerate(self.cases, 1):
            if not self.where.has(number):
                continue
            if case.problem:
                self._end(number, failed_row(case.name, case.problem, LEFT_OUT))
                continue
            voice = OneOfMany(self.reporter, case.name, number, len(self.cases))
            voice.progress(0.0, "Looking whether it is done")
            if row := self.runner.finished_row(case):
                self._end(number, row)
            else:
                waiting.append((number, case))
        return waiting

    def all(self, waiting: list[tuple[int, BatchItem]]) -> None:
        """Run the cases; when that is stopped, the table has those that have ended."""
        try:
            if self.where.ray is None:
                self.all_here(waiting)
            else:
                self.all_on_ray(waiting)
                settle(self.runner.out)  # what lost workers had not finished
        except KeyboardInterrupt:
            self._try_summary(at_once=True)
            raise

    def all_here(self, waiting: list[tuple[int, BatchItem]]) -> None:
        """Run the cases one after the other; the summary table grows with them."""
        self._try_summary()
        for done, (number, case) in enumerate(waiting):
            count = len(self.cases)
            voice = OneOfMany(self.reporter, case.name, number, count, done, len(waiting))
            self._end(number, self.runner.row_of(case, voice))
            self._try_summary()

    def all_on_ray(self, waiting: list[tuple[int, BatchItem]]) -> None:
        """Run the cases on a Ray cluster; their rows come in the order in which they end."""
        from .cluster import run_on_ray

        before = len(self.rows)

        def end(number: int, row: dict[str, Any]) -> None:
            self._end(number, row)
            self._try_summary()
            ended = len(self.rows) - before
            phrase = f"{ended} of {len(waiting)} cases have ended"
            self.reporter.progress(ended / len(waiting), phrase, cases=len(self.cases))

        self._try_summary()
        run_on_ray(self.runner, waiting, self.where, end)

    def _try_summary(self, *, at_once: bool = False) -> None:
        began = time.monotonic()
        is_early = began < self.next_summary and not at_once
        if is_early or self.where.array is not None:
            return  # of an array the batch that follows it makes the tables
        with suppress(ValueError):  # a spreadsheet holds it open: later, or at the end
            write_summary(self.runner.out, self.sorted_rows())
        now = time.monotonic()  # a table of 100,000 rows is not written anew with each of them
        self.next_summary = now + SUMMARY_PAUSE * (now - began)

    def sorted_rows(self) -> list[dict[str, Any]]:
        """Rows in the order of their cases."""
        return [self.rows[number] for number in sorted(self.rows)]

    def finish(self) -> int:
        """Say how it ended; the exit code."""
        statuses = [row["status"] for row in self.rows.values()]
        said = (DONE, SKIPPED, FAILED, *([LEFT_OUT] if LEFT_OUT in statuses else ()))
        counts = {status: statuses.count(status) for status in said}
        cases = "1 case" if len(statuses) == 1 else f"{len(statuses)} cases"
        listed = ", ".join(f"{count} {status}" for status, count in counts.items())
        tables = f"{SUMMARY}, {COHORT} and the results are in {self.output}"
        if self.where.array is not None:
            tables = AFTER_AN_ARRAY
        text = f"{cases}: {listed}; {tables}\n{NOTICE}"
        record = {"notice": NOTICE, "cases": len(statuses), **counts, "table": SUMMARY}
        self.reporter.finished(text, record)
        return EXIT_SOME_FAILED if counts[FAILED] else 0

    def _end(self, number: int, row: dict[str, Any]) -> None:
        self.rows[number] = row
        count = len(self.cases)
        record = {"number": number, "cases": count, **row}
        self.reporter.case_ended(f"{number}/{count} {line_of(row)}", record)


def _refuse_nested(source: Path, target: Path) -> None:
    source, target = source.resolve(), target.resolve()
    if target == source or target in source.parents:
        raise ValueError(
            f"The results cannot go to {target.name}, which holds the CTs themselves; name another"
            " folder, a new one in it for example."
        )


def _refuse_foreign_summary(out: Path) -> None:
    with disk_errors_as_sentences(out.name):
        if out.exists() and not out.is_dir():
            raise ValueError(f"{out.name} is a file; name a folder for the results.")
    table, is_ours = out / SUMMARY, False
    with suppress(OSError):
        if not table.exists():
            return
        if table.is_file():  # a pipe would be waited for
            with table.open(encoding="utf-8", errors="replace") as file:
                is_ours = is_summary(file.readline())
    if not is_ours:
        raise ValueError(
            f"{out.name} holds a {SUMMARY} that no batch made; name another folder for the results."
        )


@contextmanager
def _alone_in(folder: Path, *, with_others: bool = False) -> Iterator[None]:
    """``ValueError`` while another batch writes there.

    with_others: but for those that are parts of one array, as this is.
    The end of the process, whatever it is, ends the hold. Where a disk knows no locks,
    ``whole_folder`` still lets no two mix their files.
    """
    held = None
    try:
        if sys.platform == "win32":  # no lock on a folder, but a file that goes with its process
            flags = os.O_CREAT | os.O_EXCL | os.O_TEMPORARY
            held = os.open(folder / ".livertumorseg-batch", flags)
        else:
            import fcntl

            held = os.open(folder, os.O_RDONLY)
            kind = fcntl.LOCK_SH if with_others else fcntl.LOCK_EX
            fcntl.flock(held, kind | fcntl.LOCK_NB)
    except (BlockingIOError, FileExistsError):
        raise ValueError(
            f"Another batch is writing to {folder.name}; wait for its end, or name another folder."
        ) from None
    except OSError:
        pass
    try:
        yield
    finally:
        if held is not None:
            os.close(held)

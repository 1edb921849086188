"""Make an evaluation's report.html and figures again, with what other runs can add to them.

    python -m training.report scores --run runs/mine --validation scores_val
    python -m training.report scores --baseline scores_of_another_model
    python -m training.report scores --ablation neither=scores_a --ablation both=scores
    python -m training.report scores --figures pdf --plain --latex
    python -m training.report scores --papers

``scores`` is a folder of training.evaluate, and no CT is needed. For print, --figures pdf or svg
draws them in that format too, and --plain without the paper's numbers and our notice. Every table
lies in scores/tables as CSV, with --latex as LaTeX too; --papers adds the hybrid2d paper's tables.
For research only, not for diagnosis.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from training import command
from training.files import write_text
from training.reports.evaluation import (
    REPORT,
    Extras,
    chapters_of,
    draw,
    read_history,
    read_summary,
    report_html,
    tables_of,
)
from training.reports.figures import Look
from training.reports.table_files import TABLE_FOLDER, save_tables


def report(
    scores: Path, extras: Extras, look: Look | None, run: Path | None, *, latex: bool = False
) -> Path:
    """Write the page and its tables; look: of the figures, None to leave those that are there."""
    summary = read_summary(scores)
    if run is not None:
        summary["history"] = read_history(run)
    undrawn = draw(scores, summary, look) if look is not None else {}
    chapters = chapters_of(summary, extras)
    save_tables(scores / TABLE_FOLDER, tables_of(chapters), latex=latex)
    write_text(scores / REPORT, report_html(scores, summary, chapters, undrawn))
    return scores / REPORT


def main(arguments: Sequence[str] | None = None) -> int:
    parser = command.parser("report", __doc__)
    parser.add_argument("scores", type=Path, help="folder written by training.evaluate")
    command.add_report(parser)

    def work(args: argparse.Namespace) -> None:
        extras = Extras.read(
            validation=args.validation,
            baseline=args.baseline,
            ablation=command.named_folders(args.ablation),
            papers=args.papers,
        )
        look = None if args.no_figures else Look(args.figures, args.plain)
        print(report(args.scores, extras, look, args.run, latex=args.latex))

    return command.run(parser, work, arguments)


if __name__ == "__main__":
    sys.exit(main())

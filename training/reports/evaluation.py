"""The report of an evaluation: everything that its folder of scores holds, on one page.

    undrawn = draw(folder, summary)
    chapters = chapters_of(summary, Extras())
    (folder / REPORT).write_text(report_html(folder, summary, chapters, undrawn))

Nothing is computed from CTs here: tables and figures come from summary.json, and the pictures of
slices from slices.npz beside it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from LiverTumorSegLib.files import read_json
from LiverTumorSegLib.inference.decision import Decision

from training.reports import tables_gunetrpp, tables_lits, tables_paper
from training.reports.figures import FIGURES, PNG, Look, draw_all, reasons
from training.reports.page import Chapter, Table, page
from training.reports.slices_to_show import Slices
from training.score.cases import SetFacts
from training.score.gunetrpp_grid import GRID_MASKS
from training.score.summary import set_of
from training.score.words import plural

Record = dict[str, Any]
SUMMARY, SLICES, REPORT, FIGURE_FOLDER = "summary.json", "slices.npz", "report.html", "figures"
HISTORY = "history.jsonl"
NEEDED = {"slices", "volumes", "detection", "cases", "lesions", "network", "history"}


@dataclass(frozen=True, kw_only=True)
class Extras:
    """Optional results of other evaluations, for a report.

    validation, baseline: summaries. ablation: name -> summary. papers: whether the hybrid2d paper's
    own tables stand beside, with its numbers and those that it quotes.
    """

    validation: Record | None = None
    baseline: Record | None = None
    ablation: Mapping[str, Record] = field(default_factory=dict)
    papers: bool = False

    @classmethod
    def read(
        cls,
        *,
        validation: Path | None,
        baseline: Path | None,
        ablation: Mapping[str, Path],
        papers: bool = False,
    ) -> Extras:
        """Read them from folders of scores; ``ValueError`` for what cannot be read."""
        return cls(
            validation=read_summary(validation) if validation else None,
            baseline=read_summary(baseline) if baseline else None,
            ablation={name: read_summary(folder) for name, folder in ablation.items()},
            papers=papers,
        )


def read_summary(folder: Path) -> Record:
    """The summary of ``training.evaluate``; ``ValueError`` when the folder holds none."""
    try:
        record: Record = read_json(folder / SUMMARY)
    except (OSError, ValueError):
        raise ValueError(
            f"{folder.name} holds no evaluation; name a folder written by training.evaluate."
        ) from None
    if not record.keys() >= NEEDED:
        raise ValueError(f"{folder.name} was written by an older version; evaluate again.")
    return record


def read_history(run: Path) -> list[dict[str, Any]]:
    """The epochs of a run folder's history.jsonl, in order; ``ValueError`` if it has none."""
    path = run / HISTORY
    if not path.is_file():
        raise ValueError(f"{run.name} holds no history.jsonl; name a folder of training.train.")
    try:
        epochs = [json.loads(line) for line in path.read_text().splitlines() if line.strip()]
    except (ValueError, RecursionError):
        epochs = [None]
    if not all(isinstance(epoch, dict) for epoch in epochs):
        raise ValueError(f"history.jsonl of {run.name} is damaged; draw without --run.")
    return epochs


def draw(folder: Path, summary: Record, look: Look = PNG) -> dict[str, str]:
    """Draw all figures of a folder of scores (again); why the others are missing, by name."""
    slices = Slices.load(folder / SLICES)
    return reasons(draw_all(folder / FIGURE_FOLDER, summary, slices, look=look))


def chapters_of(summary: Record, extras: Extras) -> list[Chapter]:
    """The chapters of the report: its tables."""
    return [
        Chapter(key="volumes-and-lesions", title="Volumes", tables=_volumes(summary, extras)),
        Chapter(
            key="lesions",
            title="Lesions and burden",
            text=[] if summary["lesion_confidence"] else [tables_lits.NO_CONFIDENCE],
            tables=_lesions(summary),
        ),
        _paper_chapter(summary, extras) if extras.papers else _run_chapter(summary, extras),
        *_grid_chapter(summary),
    ]


def tables_of(chapters: Sequence[Chapter]) -> list[Table]:
    """The tables of all chapters, in their order."""
    return [table for chapter in chapters for table in chapter.tables]


def report_html(
    folder: Path, summary: Record, chapters: Sequence[Chapter], undrawn: Mapping[str, str]
) -> str:
    """The page, with the figures that lie in the folder. undrawn: why others are missing."""
    figures = Chapter(
        key="figures",
        title="Figures",
        text=[f"{name}: {reason}" for name, reason in undrawn.items()],
        figures=_drawn(folder),
    )
    return page(
        f"{summary['model']}: {set_of(summary)}",
        _facts(summary),
        summary["warnings"],
        [*chapters, figures],
    )


def context_of(summary: Record) -> str:
    """The conditions, in one line for every table."""
    return (
        f"{summary['model']} (SHA-256 {(summary['sha256'] or 'unknown')[:12]}), {set_of(summary)},"
        f" code {summary['code']}. {summary['conditions']}"
    )


def _facts(summary: Record) -> list[str]:
    counts = summary["counts"]
    return [
        f"{plural(counts['volumes'], 'volume')} of {plural(counts['patients'], 'patient')},"
        f" {counts['tumor_volumes']}"
        f" of them with tumor; {counts['slices']} slices, {counts['labeled_slices']} with liver or"
        f" tumor. Evaluated on {summary['date']}, on {summary['device']}.",
        context_of(summary),
        summary["training_range"],
        *_decided(summary),
        f"Command: {summary['command']}",
    ]


def _decided(summary: Record) -> list[str]:
    """How the network's probabilities became labels."""
    facts = []
    decision = Decision.from_dict(summary["decision"])
    if summary["cascade"]:
        threshold = decision.tumor_threshold
        facts.append(f"Decision: tumor is where the tumor network says more than {threshold:g}.")
    else:
        smoothing_mm = decision.smoothing_mm
        through = f", averaged over neighboring slices by a Gaussian of {smoothing_mm:g} mm"
        facts.append(
            "Decision: a voxel of the liver is tumor where p(tumor) / (p(liver) + p(tumor)) is over"
            f" {decision.tumor_threshold:g}{through if smoothing_mm else ', slice by slice'}."
        )
    if decision.has_seeds:
        facts.append(f"A lesion stays where one of its voxels is over {decision.seed_threshold:g}.")
    if decision.least_liver_share:
        least = decision.least_liver_share
        facts.append(
            f"And where the liver network's mean probability over it is {least:g} at least."
        )
    if folds := summary.get("decisions"):
        chosen = [Decision.from_dict(one) for one in folds.values()]
        values = ", ".join(
            f"{one.tumor_threshold:g} / {one.seed_threshold:g} / {one.least_liver_share:g}"
            for one in chosen
        )
        facts.append(
            f"Chosen for each fold on the others, outline / surest voxel / liver's share: {values}."
        )
    if summary["tta"]:
        facts.append("Probabilities are averaged with those of mirrored copies (--tta).")
    return facts


def _volumes(summary: Record, extras: Extras) -> list[Table]:
    context = context_of(summary)
    tables = [
        tables_lits.volume_dice_table(summary, context),
        tables_lits.volume_table(summary, context),
        tables_lits.surface_table(summary, context),
        tables_lits.cases_table(summary, context),
    ]
    if extras.baseline is not None:
        tables.insert(1, tables_lits.comparison_table(summary, extras.baseline, context))
    return tables


def _lesions(summary: Record) -> list[Table]:
    context = context_of(summary)
    tables = [
        tables_lits.large_lesions_table(summary, context),
        tables_lits.detection_table(summary, context),
        tables_lits.false_tumor_table(summary, context),
        tables_lits.burden_table(summary, context),
        tables_lits.challenge_table(summary, context),
    ]
    if summary["lesion_confidence"]:
        tables.insert(2, tables_lits.confidence_table(summary, context))
    return tables


def _run_chapter(summary: Record, extras: Extras) -> Chapter:
    """The data, the training and what was asked for, without any paper's numbering."""
    tables = [
        replace(table, title=table.title.partition(". ")[2] or table.title, paper_notes=())
        for table in _run_tables(summary, extras)
    ]
    return Chapter(key="run", title="Data and training", tables=tables)


def _run_tables(summary: Record, extras: Extras) -> list[Table]:
    context = context_of(summary)
    sets = [SetFacts(**facts) for facts in summary["sets"]]
    tables = [tables_paper.data_table(sets, context)]
    if extras.ablation:
        tables.append(tables_paper.ablation_table(extras.ablation, context))
    if summary["history"]:
        tables.append(tables_paper.history_table(summary["history"], context))
    tables.append(tables_paper.statistics_table(summary, context))
    if extras.validation is not None:
        tables.append(tables_paper.validation_table(extras.validation, summary, context))
    return tables


def _paper_chapter(summary: Record, extras: Extras) -> Chapter:
    context = context_of(summary)
    tables = [
        *_run_tables(summary, extras),
        tables_paper.slice_table(summary, context),
        tables_paper.slice_table(summary, context, labeled=False),
        tables_paper.literature_table(summary, context),
    ]
    return Chapter(
        key="paper",
        title="The hybrid2d paper's tables",
        text=("Numbered as in Bader & Jarjees (2026), with what the paper leaves open.",),
        tables=tables,
    )


def _grid_chapter(summary: Record) -> list[Chapter]:
    """Only where it was asked for."""
    record = summary["published_grid"]
    if record is None:
        return []
    context = f"{summary['model']}, {set_of(summary)}, code {summary['code']}."
    tables = [tables_gunetrpp.grid_table(mask, record, context) for mask in GRID_MASKS]
    return [
        Chapter(
            key="published-grid",
            title="The G-UNETR++ paper's measures",
            text=("In pixels of its grid, to stand beside the numbers of Shin et al. (2026).",),
            tables=[*tables, tables_gunetrpp.cases_table(record, context)],
        )
    ]


def _drawn(folder: Path) -> list[tuple[Path, str]]:
    paths = [(folder / FIGURE_FOLDER / f"{kind.name}.png", kind.caption) for kind in FIGURES]
    return [(path, caption) for path, caption in paths if path.is_file()]

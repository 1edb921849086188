"""Make an evaluation's report.html (again), with what other runs can add to it.

    python -m training.report scores --run runs/mine --validation scores_val
    python -m training.report scores --baseline scores_of_another_model
    python -m training.report scores --ablation neither=scores_a --ablation both=scores

``scores`` is a folder of training.evaluate. Nothing is computed from CTs here: tables come from
summary.json files and figures from the folder, but for those of the training, drawn from --run.
For research only, not for diagnosis.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from LiverTumorSegLib.files import read_json
from LiverTumorSegLib.inference.decision import Decision
from LiverTumorSegLib.inference.preprocess import SlicePreprocessing

from training import command
from training.files import write_text
from training.reports import tables_gunetrpp, tables_lits, tables_paper
from training.reports.figures import FIGURES, draw_all, reasons
from training.reports.figures_training import read_history
from training.reports.material import FigureMaterial
from training.reports.page import Chapter, Table, page
from training.reproduce.gunetrpp_grid import GRID_MASKS
from training.score.cases import SetFacts
from training.score.words import plural

Record = dict[str, Any]
SUMMARY, REPORT, FIGURE_FOLDER = "summary.json", "report.html", "figures"
OF_THE_TRAINING = ("fig06-loss", "fig07-dice")


@dataclass(frozen=True, kw_only=True)
class Extras:
    """What stands beside the evaluation itself; all of it may be missing.

    history: epochs of a run. validation, baseline: summaries. ablation: name -> summary.
    """

    history: Sequence[Mapping[str, Any]] = ()
    validation: Record | None = None
    baseline: Record | None = None
    ablation: Mapping[str, Record] = field(default_factory=dict)


def read_summary(folder: Path) -> Record:
    """What ``training.evaluate`` wrote; ``ValueError`` when the folder holds no such thing."""
    path = folder / SUMMARY
    try:
        record: Record = read_json(path)
    except (OSError, ValueError):
        raise ValueError(
            f"{folder.name} holds no evaluation; name a folder written by training.evaluate."
        ) from None
    if not {"slices", "volumes", "detection", "cases"} <= record.keys():
        raise ValueError(f"{folder.name} was written by an older version; evaluate again.")
    return record


def add_extra_options(parser: argparse.ArgumentParser) -> None:
    """The options that evaluate and report share."""
    add = parser.add_argument
    add("--run", type=Path, help="run folder of the model: Table 5, Figures 6 and 7")
    add("--validation", type=Path, metavar="SCORES", help="its validation scores, for Table 7")
    add("--baseline", type=Path, metavar="SCORES", help="another model's scores on the same cases")
    add(
        "--ablation",
        action="append",
        default=[],
        metavar="NAME=SCORES",
        help="a row of Table 4, such as neither=FOLDER; may be given several times",
    )


def read_extras(given: argparse.Namespace) -> Extras:
    """What the options name; ``ValueError`` for what cannot be read."""
    return Extras(
        history=read_history(given.run) if given.run else (),
        validation=read_summary(given.validation) if given.validation else None,
        baseline=read_summary(given.baseline) if given.baseline else None,
        ablation=dict(_named(item) for item in given.ablation),
    )


def _named(item: str) -> tuple[str, Record]:
    name, equals, folder = item.partition("=")
    if not (name and equals and folder):
        raise ValueError(f'--ablation wants NAME=SCORES, not "{item}".')
    return name, read_summary(Path(folder))


def report_html(summary: Record, folder: Path, extras: Extras) -> str:
    """The page; figures are taken from ``folder``."""
    return page(
        f"{summary['model']}: {summary['split']} split",
        _facts(summary),
        summary["warnings"],
        [
            Chapter(key="volumes-and-lesions", title="Volumes", tables=_volumes(summary, extras)),
            Chapter(
                key="lesions",
                title="Lesions and burden",
                text=[] if summary.get("lesion_confidence") else [tables_lits.NO_CONFIDENCE],
                tables=_lesions(summary),
            ),
            Chapter(
                key="paper",
                title="The hybrid2d paper's tables",
                text=("Numbered as in Bader & Jarjees (2026), with what the paper leaves open.",),
                tables=_paper(summary, extras),
            ),
            *_grid_chapter(summary),
            Chapter(
                key="figures",
                title="Figures",
                text=_undrawn(summary, folder),
                figures=_drawn(folder),
            ),
        ],
    )


def context_of(summary: Record) -> str:
    """The conditions, in one line for every table."""
    return (
        f"{summary['model']} (SHA-256 {(summary['sha256'] or 'unknown')[:12]}), {summary['split']}"
        f" split, code {summary['code']}. {summary['conditions']}"
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
    """How the network's answers became labels; summaries of older versions do not say."""
    facts = []
    decision = Decision.from_dict(summary["decision"]) if summary.get("decision") else None
    if decision and summary.get("cascade"):
        threshold = decision.tumor_threshold
        facts.append(f"Decision: tumor is where the tumor network says more than {threshold:g}.")
    elif decision:
        smoothing_mm = decision.smoothing_mm
        through = f", averaged over neighboring slices by a Gaussian of {smoothing_mm:g} mm"
        facts.append(
            "Decision: a voxel of the liver is tumor where p(tumor) / (p(liver) + p(tumor)) is over"
            f" {decision.tumor_threshold:g}{through if smoothing_mm else ', slice by slice'}."
        )
    if summary.get("tta", summary.get("mirror")):
        facts.append("The answers are averaged with those to mirrored copies (--tta).")
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
        tables_lits.detection_table(summary, context),
        tables_lits.burden_table(summary, context),
        tables_lits.challenge_table(summary, context),
    ]
    if "large" in summary["detection"]:  # summaries of older versions have neither
        tables.insert(0, tables_lits.large_lesions_table(summary, context))
        tables.insert(2, tables_lits.false_tumor_table(summary, context))
    if summary.get("lesion_confidence"):
        tables.insert(2, tables_lits.confidence_table(summary, context))
    return tables


def _paper(summary: Record, extras: Extras) -> list[Table]:
    context = context_of(summary)
    sets = [SetFacts(**facts) for facts in summary["sets"]]
    tables = [tables_paper.data_table(sets, context)]
    if extras.ablation:
        tables.append(tables_paper.ablation_table(extras.ablation, context))
    if extras.history:
        tables.append(tables_paper.history_table(extras.history, context))
    tables.append(tables_paper.slice_table(summary, context))
    tables.append(tables_paper.slice_table(summary, context, labeled=False))
    tables.append(tables_paper.statistics_table(summary, context))
    if extras.validation is not None:
        tables.append(tables_paper.validation_table(extras.validation, summary, context))
    tables.append(tables_paper.literature_table(summary, context))
    return tables


def _grid_chapter(summary: Record) -> list[Chapter]:
    """Summaries of older versions have none."""
    record = summary.get("published_grid")
    if record is None:
        return []
    context = f"{summary['model']}, {summary['split']} split, code {summary['code']}."
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


def _undrawn(summary: Record, folder: Path) -> list[str]:
    """Why a figure is missing."""
    reasons: Mapping[str, str] = summary["figures_not_drawn"]
    return [
        f"{name}: {reason}"
        for name, reason in reasons.items()
        if not (folder / FIGURE_FOLDER / f"{name}.png").is_file()
    ]


def draw_training(
    folder: Path, summary: Record, history: Sequence[Mapping[str, Any]]
) -> dict[str, str]:
    """Figures 6 and 7 of an evaluation that was made without its run; present ones stay.

    Why one could not be drawn, by its name.
    """
    missing = [n for n in OF_THE_TRAINING if not (folder / FIGURE_FOLDER / f"{n}.png").exists()]
    if not history or not missing:
        return {}
    material = FigureMaterial(
        scope=f"{summary['split']} split",
        volumes=summary["counts"]["volumes"],
        preprocessing=SlicePreprocessing(),
        net="",
        net_args={},
        history=history,
    )
    return reasons(draw_all(folder / FIGURE_FOLDER, material, only=missing))


def _parser() -> argparse.ArgumentParser:
    parser = command.parser("report", __doc__)
    parser.add_argument("scores", type=Path, help="folder written by training.evaluate")
    add_extra_options(parser)
    return parser


def _report(given: argparse.Namespace) -> None:
    summary, extras = read_summary(given.scores), read_extras(given)
    summary["figures_not_drawn"] |= draw_training(given.scores, summary, extras.history)
    write_text(given.scores / REPORT, report_html(summary, given.scores, extras))
    print(given.scores / REPORT)


def main(arguments: Sequence[str] | None = None) -> int:
    return command.run(_parser(), _report, arguments)


if __name__ == "__main__":
    sys.exit(main())

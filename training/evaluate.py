"""Score a model on whole cases of a split, through the same inference that users run.

    python -m training.evaluate gunetrpp-small LITS_FOLDER --split val -o scores
    python -m training.evaluate model.safetensors LITS_FOLDER --split test -o scores --run runs/mine
    python -m training.evaluate model.safetensors LITS_FOLDER --split-file split.json -o scores

    python -m training.evaluate folds LITS_FOLDER -o scores --choice choice/choice.json

In place of a model there may be a folder with a cross-validation, fold1.safetensors beside
fold1.json and so on: each model is scored on the test cases of its fold, whose patients it has not
seen, and with --choice by what training.tune has chosen on the other folds. --predictions keeps
what the networks said, so that they are not run twice.

What is scored is what users get: labels after the model's decision, its postprocessing and the
check of the result (LiverTumorSegLib.result.plausibility), which --no-check leaves out.

The folder receives, all together or not at all,

  report.html     tables and figures with their conditions, in one file
  cases.csv       a row a volume: overlap, surfaces, lesions, burden, false tumor, time
  lesions.csv     a row a lesion, true or predicted: place, size, found or false, confidence
  slices.csv      a row a slice: the nine counts of its confusion matrix
  doubts.csv      a row a sentence of the check, as users read it beside the result
  summary.json    everything the tables are made from
  slices.npz      the slices that figures show: training.report draws all of them again from here
  figures/        the paper's figures and some more
  labels/         the predicted label maps

training.report adds what other runs know (another model, the validation scores, an ablation).

The test split is to be touched rarely, so each time is logged in Resources/ModelCards/test-log.csv
with date, commit and the model's hash. Never score a model on cases that share a patient with its
training: the model file names its training cases and this command refuses them.
For research only, not for diagnosis.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from LiverTumorSegLib.ct.nifti import write_labels
from LiverTumorSegLib.files import whole_folder
from LiverTumorSegLib.inference.prediction import Prediction
from LiverTumorSegLib.inference.segmenter import Segmenter, load_segmenter
from LiverTumorSegLib.result.files import NOTICE
from LiverTumorSegLib.settings import RunSettings

from training import command
from training.cases import folder
from training.cases.case import Case
from training.reports.evaluation import (
    FIGURE_FOLDER,
    REPORT,
    SLICES,
    SUMMARY,
    Extras,
    chapters_of,
    draw,
    read_history,
    report_html,
    tables_of,
)
from training.reports.figures import Look, failure
from training.reports.slices_to_show import Slices, collect
from training.reports.table_files import TABLE_FOLDER, save_tables
from training.reproduce.gunetrpp import published_labels
from training.score.case import CaseScore, Labels, read_pair, run_model, score_run
from training.score.cases import (
    chosen_cases,
    find_cases,
    refuse_training_cases,
    set_facts,
    shared_with_training,
)
from training.score.files import TABLES, header, log_test_use, shown_command, write_tables
from training.score.folds import (
    OUT_OF_FOLD,
    Judged,
    described,
    is_cross_validation,
    joint_sha256,
    judge_folds,
)
from training.score.predictions import Predictions
from training.score.summary import Record, json_able, summarize
from training.score.words import plural
from training.tuning.record import RECORD, StoredChoice, read_choice

TEST_LOG = Path("Resources/ModelCards/test-log.csv")
LABEL_FOLDER = "labels"
SCORE_FILES = (
    SUMMARY,
    SLICES,
    REPORT,
    *TABLES,
    f"{TABLE_FOLDER}/",
    f"{LABEL_FOLDER}/",
    f"{FIGURE_FOLDER}/",
)
PUBLISHED_STEPS = (
    "Labels were made by the published steps of G-UNETR++ and not by the model's own decision and"
    " postprocessing."
)
UNKNOWN_TRAINING = (
    "The network comes from elsewhere: whether it has trained on patients of these cases is not"
    " known here, and its scores mean nothing where it has."
)
CHOSEN_HERE = (
    "Model, epoch and thresholds were chosen on the validation split, so its scores are too good."
)
CHOSEN_ON_OTHERS = (
    "Each fold's decision was chosen on the other folds, whose models have seen this fold's"
    " patients in training."
)
TOY = (
    "This network was trained for a few seconds, as the recipe tour does to show that every step"
    " works: its scores mean nothing."
)
TOY_EPOCHS = 2
Show = Callable[[Sequence[Case]], Iterable[Case]]
Score = Callable[[Case, Path], CaseScore]  # its labels are written into the folder


@dataclass(frozen=True)
class Selection:
    """cases: to be scored. every: all cases of all sets. warnings: what must be said of them."""

    cases: list[Case]
    every: list[Case]
    warnings: list[str]


def select(segmenter: Segmenter, every: list[Case], split: str, warning: str = "") -> Selection:
    """The cases of a split; ``ValueError`` when the model has seen one of their patients.

    warning: what the split file says of itself.
    """
    cases = chosen_cases(every, split)
    warnings = [warning] if warning else []
    if "imported" in segmenter.spec.provenance:
        warnings.append(UNKNOWN_TRAINING)
    if segmenter.spec.provenance.get("split_group_by") != "volume":
        refuse_training_cases(segmenter, cases)
    elif shared := shared_with_training(segmenter, cases):
        names = ", ".join(case.name for case in shared)
        warnings.append(f"LEAKING: the model was trained on other scans of these cases: {names}.")
    if split == "val":
        warnings.append(CHOSEN_HERE)
    return Selection(cases, every, warnings)


def _is_toy(segmenter: Segmenter) -> bool:
    recipe = segmenter.spec.provenance.get("recipe")
    return isinstance(recipe, dict) and recipe.get("epochs", TOY_EPOCHS + 1) <= TOY_EPOCHS


def evaluate(output: Path, selection: Selection, about: Record, score: Score, show: Show) -> Record:
    """Score cases into an empty folder: labels, tables, summary, and the slices to show.

    about: what the summary says of the model and the conditions.
    """
    (output / LABEL_FOLDER).mkdir()
    scores = [score(case, output / LABEL_FOLDER) for case in show(selection.cases)]
    write_tables(output, scores)
    summary = {**about, **summarize(scores)}
    summary["sets"] = [json_able(vars(facts)) for facts in set_facts(selection.every)]
    summary["warnings"] = [*selection.warnings, *summary["warnings"]]
    slices = Slices()
    try:
        slices = collect(scores, selection.cases, output / LABEL_FOLDER)
    except Exception as error:  # hours may lie behind the scores
        summary["warnings"].append(f"No slice could be chosen for the figures. {failure(error)}")
    slices.save(output / SLICES)
    (output / SUMMARY).write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    return summary


def select_folds(parts: Sequence[Judged], choice: StoredChoice | None) -> Selection:
    """All cases of a cross-validation; choice: of training.tune, by which each fold decides."""
    warnings = [] if choice is None else [CHOSEN_ON_OTHERS]
    if choice is not None:
        if choice.how["sha256"] != joint_sha256(parts):
            raise ValueError(
                "This choice was made for other models; run training.tune on these folds."
            )
        for part in parts:
            part.segmenter.decision, part.segmenter.postprocessing = choice.of_fold(part.fold)
    return Selection([case for part in parts for case in part.cases], [], warnings)


def about_folds(parts: Sequence[Judged]) -> Record:
    """The summary's header of a cross-validation."""
    return {
        "split": OUT_OF_FOLD,
        "sha256": joint_sha256(parts),
        "decisions": {part.fold: part.segmenter.decision.to_dict() for part in parts},
        **described(parts),
    }


def scored_by(
    parts: Sequence[Judged],
    predictions: Predictions,
    relabel: Callable[[Prediction], Labels] | None = None,
    *,
    checked: bool = True,
    published_grid: bool = False,
) -> Score:
    """How a case is scored by its model. relabel: makes labels in place of the model's own steps.

    predictions: where they are looked for and left. checked: as users' results are.
    """
    models = {case.name: part.segmenter for part in parts for case in part.cases}

    def score(case: Case, labels: Path) -> CaseScore:
        ct, true = read_pair(case)
        segmenter = models[case.name]
        run = run_model(
            segmenter, ct, predictions.of(segmenter, case, ct), relabel, checked=checked
        )
        write_labels(labels / f"{case.name}.nii.gz", run.labels_kji, ct)
        return score_run(case, ct, run, true, published_grid=published_grid)

    return score


def shown_summary(summary: Record) -> str:
    """The scores in a few lines, printed at the end."""
    volumes, pooled = summary["volumes"], summary["pooled"]
    found, counts = summary["detection"]["clean"]["0.0"], summary["counts"]
    large = summary["detection"]["large"]
    liver, tumor = volumes["liver"]["dice"]["agree"], volumes["tumor"]["dice"]["present"]
    tumor_text = "no volume has tumor" if tumor["mean"] is None else f"{tumor['mean']:.3f}"
    pooled_tumor = pooled["tumor"]["dice"]
    return "\n".join(
        [
            *(f"Warning: {warning}" for warning in summary["warnings"]),
            f"{plural(counts['volumes'], 'volume')} of {plural(counts['patients'], 'patient')}",
            f"Liver Dice per volume {liver['mean']:.3f}",
            f"Tumor Dice per tumor volume {tumor_text} (n = {tumor['n']}), pooled"
            f" {'n/a' if pooled_tumor is None else format(pooled_tumor, '.3f')}",
            f"Lesions touched: {found['tp']} of {found['true']}, of those of"
            f" {large['from_mm']:g} mm and more {large['0.0']['tp']} of {large['0.0']['true']};"
            f" false: {found['fp']} in {plural(found['volumes'], 'volume')}",
            NOTICE,
        ]
    )


def _parser() -> argparse.ArgumentParser:
    parser = command.parser("evaluate", __doc__)
    add = parser.add_argument
    add("model", help="model name or file, or a folder with the folds of a cross-validation")
    add(
        "--tta",
        action="store_true",
        help="average with the probabilities of mirrored copies: of a model of slices with that of"
        " each slice mirrored left to right (twice as slow), of a cascade over all eight, as"
        " published (eight times as slow)",
    )
    command.add_cases(parser, split_file=True)
    add("--split", choices=("val", "test"), default="val")
    command.add_output(parser, "folder to write", replaces="scores that are in the folder")
    command.add_device(parser)
    add("--no-coarse-search", action="store_true", help="run every slice, also far from the liver")
    add(
        "--published-postprocessing",
        action="store_true",
        help="of a cascade: labels as the G-UNETR++ authors make them",
    )
    add("--published-grid", action="store_true", help="measure as the G-UNETR++ authors do, too")
    add("--no-check", action="store_true", help="score labels as they are before the last check")
    add("--choice", type=Path, help=f"{RECORD} of training.tune on these very folds")
    add("--predictions", type=Path, metavar="FOLDER", help="keep what the networks say, or read it")
    add("--log", type=Path, default=TEST_LOG, help="where test uses are logged")
    command.add_report(parser)
    return parser


def _evaluate(args: argparse.Namespace, called: str) -> None:
    """Read what the arguments name, refuse what would mislead, score, write, print."""
    from tqdm import tqdm

    look = None if args.no_figures else Look(args.figures, args.plain)
    extras = Extras.read(
        validation=args.validation,
        baseline=args.baseline,
        ablation=command.named_folders(args.ablation),
        papers=args.papers,
    )
    history = read_history(args.run) if args.run else []
    parts, selection = _judged(args)
    if _is_toy(parts[0].segmenter):
        selection.warnings.append(TOY)
    relabel = published_labels if args.published_postprocessing else None
    if relabel is not None:
        selection.warnings.append(PUBLISHED_STEPS)
    about = header(parts[0].segmenter, split=args.split, tta=args.tta, command=called)
    about |= about_folds(parts) if parts[0].fold else {}
    predictions = Predictions(args.predictions, tta=args.tta, every_slice=args.no_coarse_search)
    score = scored_by(
        parts, predictions, relabel, checked=not args.no_check, published_grid=args.published_grid
    )
    with whole_folder(args.output, known=SCORE_FILES, overwrite=args.overwrite) as part:
        summary = evaluate(
            part,
            selection,
            {**about, "history": history},
            score,
            lambda cases: tqdm(cases, unit="case"),
        )
        undrawn = draw(part, summary, look) if look is not None else {}
        chapters = chapters_of(summary, extras)
        save_tables(part / TABLE_FOLDER, tables_of(chapters), latex=args.latex)
        page = report_html(part, summary, chapters, undrawn)
        (part / REPORT).write_text(page, encoding="utf-8")
    if args.split == "test" and not parts[0].fold:
        log_test_use(args.log, summary)
    print(shown_summary(summary))
    print(args.output / REPORT)


def _judged(args: argparse.Namespace) -> tuple[list[Judged], Selection]:
    """The models that the arguments name, and their cases."""

    def load(model: str | Path) -> Segmenter:
        settings = RunSettings(
            model=str(model), device=args.device, coarse_search=not args.no_coarse_search
        )
        return load_segmenter(settings, tta=args.tta)

    choice = None if args.choice is None else read_choice(args.choice)
    if is_cross_validation(args.model):
        every = folder.find_cases(args.data, table=args.table)
        parts = judge_folds(Path(args.model), every, load)
        return parts, select_folds(parts, choice)
    if choice is not None:
        raise ValueError("--choice is for a cross-validation; a model file holds its own.")
    segmenter = load(args.model)
    every, warning = find_cases(args.data, args.table, args.split_file)
    selection = select(segmenter, every, args.split, warning)
    return [Judged(segmenter, selection.cases)], selection


def main(arguments: Sequence[str] | None = None) -> int:
    argv = list(sys.argv[1:] if arguments is None else arguments)
    called = shown_command(argv)
    return command.run(_parser(), lambda args: _evaluate(args, called), argv)


if __name__ == "__main__":
    sys.exit(main())

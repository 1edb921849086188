"""Score a model on whole cases of a split, through the same inference that users run.

    python -m training.evaluate hybrid2d-w32 LITS_FOLDER --split val -o scores
    python -m training.evaluate model.safetensors LITS_FOLDER --split test -o scores --run runs/mine
    python -m training.evaluate model.safetensors LITS_FOLDER --split-file split.json -o scores

The folder receives, all together or not at all,

  report.html     tables and figures with their conditions, in one file
  cases.csv       a row a volume: overlap, surfaces, lesions, burden, false tumor, time
  lesions.csv     a row a lesion, true or predicted: place, size, found or false, confidence
  slices.csv      a row a slice: the nine counts of its confusion matrix
  summary.json    everything the tables are made from
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
from pathlib import Path

from LiverTumorSegLib.ct.nifti import write_labels
from LiverTumorSegLib.files import whole_folder
from LiverTumorSegLib.inference.prediction import Prediction
from LiverTumorSegLib.inference.segmenter import Segmenter, load_segmenter
from LiverTumorSegLib.result.files import NOTICE

from training import command
from training.cases.case import Case
from training.report import (
    FIGURE_FOLDER,
    REPORT,
    SUMMARY,
    Extras,
    add_extra_options,
    read_extras,
    report_html,
)
from training.reports.evaluation_figures import figure_material, undrawable
from training.reports.figures import FIGURES, draw_all, failure, reasons
from training.reproduce.gunetrpp import published_labels
from training.score.case import CaseScore, Labels, read_pair, run_model, score_run
from training.score.cases import (
    SetFacts,
    chosen_cases,
    find_cases,
    refuse_training_cases,
    set_facts,
    shared_with_training,
)
from training.score.files import TABLES, header, log_test_use, shown_command, write_tables
from training.score.summary import Record, json_able, summarize
from training.score.words import plural

TEST_LOG = Path("Resources/ModelCards/test-log.csv")
LABEL_FOLDER = "labels"
SCORE_FILES = (SUMMARY, REPORT, *TABLES, f"{LABEL_FOLDER}/", f"{FIGURE_FOLDER}/")
PUBLISHED_STEPS = (
    "Labels were made by the published steps of G-UNETR++ and not by the model's own decision and"
    " postprocessing."
)
CHOSEN_HERE = (
    "Model, epoch and thresholds were chosen on the validation split, so its scores are too good."
)
Show = Callable[[Sequence[Case]], Iterable[Case]]


def evaluate(given: argparse.Namespace, called: str, show: Show) -> Record:
    """Score the split, write the files, log a test use; the summary."""
    extras = read_extras(given)
    segmenter = _load(given)
    every, split_warning = find_cases(given)
    cases = chosen_cases(every, given.split)
    warnings = [split_warning] if split_warning else []
    if segmenter.spec.provenance.get("split_group_by") != "volume":
        refuse_training_cases(segmenter, cases)
    elif shared := shared_with_training(segmenter, cases):
        names = ", ".join(case.name for case in shared)
        warnings.append(f"LEAKING: the model was trained on other scans of these cases: {names}.")
    if given.split == "val":
        warnings.append(CHOSEN_HERE)
    relabel = published_labels if given.published_postprocessing else None
    if relabel is not None:
        warnings.append(PUBLISHED_STEPS)
    with whole_folder(given.output, known=SCORE_FILES, overwrite=given.overwrite) as part:
        scores = [_score(segmenter, case, part / LABEL_FOLDER, relabel) for case in show(cases)]
        write_tables(part, scores)
        sets = set_facts(every)
        summary = {**header(segmenter, given, called), **summarize(scores)}
        summary["sets"] = [json_able(vars(facts)) for facts in sets]
        summary["warnings"] = [*warnings, *summary["warnings"]]
        summary["figures_not_drawn"] = _draw(part, segmenter, scores, cases, sets, extras, given)
        (part / SUMMARY).write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
        (part / REPORT).write_text(report_html(summary, part, extras), encoding="utf-8")
    if given.split == "test":
        log_test_use(given.log, summary)
    return summary


def _load(given: argparse.Namespace) -> Segmenter:
    return load_segmenter(
        given.model,
        given.device,
        coarse_search=not given.no_scan,
        tta=given.tta,
    )


def _score(
    segmenter: Segmenter,
    case: Case,
    folder: Path,
    relabel: Callable[[Prediction], Labels] | None,
) -> CaseScore:
    """Score one case and keep its labels."""
    folder.mkdir(exist_ok=True)
    ct, true = read_pair(case)
    run = run_model(segmenter, ct, relabel)
    write_labels(folder / f"{case.name}.nii.gz", run.labels_kji, ct)
    return score_run(case, ct, run, true)


def _draw(
    part: Path,
    segmenter: Segmenter,
    scores: Sequence[CaseScore],
    cases: Sequence[Case],
    sets: Sequence[SetFacts],
    extras: Extras,
    given: argparse.Namespace,
) -> dict[str, str]:
    """Draw what can be drawn; why the others are missing. No error costs the scores."""
    if given.no_figures:
        return {}
    left_out = undrawable(segmenter)
    names = [kind.name for kind in FIGURES if kind.name not in left_out]
    try:
        material = figure_material(
            segmenter,
            scores,
            cases,
            part / LABEL_FOLDER,
            scope=f"{given.split} split, {plural(len({s.group for s in scores}), 'patient')}",
            sets=sets,
            history=extras.history,
        )
        return left_out | reasons(draw_all(part / FIGURE_FOLDER, material, names))
    except Exception as error:
        return left_out | dict.fromkeys(names, failure(error))


def shown_summary(summary: Record) -> str:
    """What a person wants to read at the end."""
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
    add("model", help="model name or file")
    add(
        "--tta",
        action="store_true",
        help="average the answers to mirrored copies: of a model of slices with that to each slice"
        " mirrored left to right (twice as slow), of a cascade over all eight, as published (eight"
        " times as slow)",
    )
    command.add_cases(parser, split_file=True)
    add("--split", choices=("val", "test"), default="val")
    command.add_output(parser, "folder to write", replaces="scores that are in the folder")
    command.add_device(parser)
    add("--no-scan", action="store_true")
    add("--no-figures", action="store_true")
    add(
        "--published-postprocessing",
        action="store_true",
        help="of a cascade: labels as the G-UNETR++ authors make them",
    )
    add("--log", type=Path, default=TEST_LOG, help="where test uses are logged")
    add_extra_options(parser)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    from tqdm import tqdm

    words = list(sys.argv[1:] if arguments is None else arguments)

    def work(given: argparse.Namespace) -> None:
        summary = evaluate(given, shown_command(words), lambda cases: tqdm(cases, unit="case"))
        print(shown_summary(summary))
        print(given.output / REPORT)

    return command.run(_parser(), work, words)


if __name__ == "__main__":
    sys.exit(main())

"""Choose how a model's probabilities become labels, on validation patients.

    python -m training.tune runs/mine/best.safetensors LITS_FOLDER -o choice
    python -m training.tune best.safetensors LITS_FOLDER -o choice --split-file split.json
    python -m training.export runs/mine -o mine.safetensors --name mine --choice choice/choice.json

    python -m training.tune folds LITS_FOLDER -o choice --predictions kept --least-recall 0.8

The network runs once over every validation volume; then settings are tried without it: how much of
a voxel must be tumor, how far that is smoothed through the plane, the smallest lesion, the margin
around the liver, and, of two networks, how much of a lesion must be liver to the first. With what
is chosen, a lesion's confidence is calibrated. A patch network sees neighboring slices itself and
has no smoothing. --region-mm says by how much the liver is dilated for a cascade's patch network,
in place of what it was trained with: a liver network may leave out the very tumors that are looked
for.
In place of a model there may be a folder with a cross-validation, fold1.safetensors beside
fold1.json and so on (training.split --folds): each model predicts the test cases of its fold,
whose patients it has not seen, and the choice is made on all of them. What is chosen on the other
folds is stored for each fold, for training.evaluate to score it by. --least-recall 0.8 chooses
among settings that find that share of the lesions from 10 mm. --predictions keeps what the
networks predict, so that no network runs twice.

The folder receives, all together or not at all,

  choice.json    decision and postprocessing for the model file, and how they came about
  choice.csv     a row a setting that was tried, with its scores
  choice.md      the chosen setting beside the one before, for a model card

A choice on few patients fits these patients. So everything is also reported for each patient
by a choice, or a calibration, on the others.
For research only, not for diagnosis.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from LiverTumorSegLib.files import whole_folder
from LiverTumorSegLib.inference.cascade import Cascade, StageNetwork
from LiverTumorSegLib.inference.patches import PatchNetwork
from LiverTumorSegLib.inference.preprocess import SlicePreprocessing
from LiverTumorSegLib.inference.segmenter import Segmenter, load_segmenter
from LiverTumorSegLib.inference.slices import SliceNetwork
from LiverTumorSegLib.inference.whole_volume import VolumeNetwork
from LiverTumorSegLib.settings import RunSettings
from LiverTumorSegLib.volume import Reorientation

from training import command
from training.cases import folder
from training.cases.case import Case
from training.score.case import read_pair
from training.score.cases import chosen_cases, find_cases, refuse_training_cases
from training.score.files import header, shown_command
from training.score.folds import (
    OUT_OF_FOLD,
    Judged,
    described,
    is_cross_validation,
    joint_sha256,
    judge_folds,
)
from training.score.predictions import Predictions
from training.tuning.platt import (
    FEWEST_PATIENTS,
    Confidence,
    Evidence,
    fit_confidence,
    left_out,
)
from training.tuning.record import CHOICE_FILES, REGION, Choice, choice_text, write_choice
from training.tuning.search import CroppedPrediction, LeftOut, PredictedCase, Search, Setting

HEADER = ("model", "sha256", "split", "date", "code", "device", "tta", "command")
SPLIT = "val"
Show = Callable[[Sequence[Any]], Iterable[Any]]


@dataclass(frozen=True, kw_only=True)
class TuneOptions:
    """Which model's decision is chosen, on which cases.

    model: a name or file, or the folder of a cross-validation. data, table, split_file: the cases.
    region_mm: by which the liver is dilated for a cascade's tumor network; None as trained.
    least_recall: share of the lesions from 10 mm that is to be found, 0 to 1.
    predictions: folder that keeps the networks' predictions.
    """

    model: str
    data: Path
    table: Path | None
    split_file: Path | None
    output: Path
    overwrite: bool
    region_mm: float | None
    split: str
    tta: bool
    least_recall: float
    predictions: Path | None
    device: str


def choose(options: TuneOptions, called: str, show: Show) -> str:
    """Predict all cases, try settings on them, write the choice; its text for a model card.

    called: the command, for the record. show: a progress bar around an iterable.
    """
    if options.split != SPLIT:
        raise ValueError(
            f"A decision is chosen on the validation split alone; on {options.split!r} it would"
            " make the scores there worthless. Leave out --split."
        )
    if not 0 <= options.least_recall <= 1:
        raise ValueError("--least-recall is a share of the lesions, from 0 to 1.")
    parts, split_warning = _judged(options)
    first = parts[0].segmenter
    predictions = Predictions(options.predictions, tta=options.tta, region_mm=options.region_mm)
    with whole_folder(options.output, known=CHOICE_FILES, overwrite=options.overwrite) as part:
        pairs = [(one.segmenter, case) for one in parts for case in one.cases]
        volumes = [_predicted(model, case, predictions) for model, case in show(pairs)]
        default = Setting(
            first.decision,
            first.postprocessing,
            smoothing=sees_single_slices(first),
            two_networks=isinstance(first.network, Cascade),
        ).without_confidence()
        folds = {one.fold: [case.group for case in one.cases] for one in parts if one.fold}
        choice = best_choice(
            Search(volumes, default, show, folds=folds, least_recall=options.least_recall)
        )
        head = header(first, split=options.split, tta=options.tta, command=called)
        record = {name: head[name] for name in HEADER} | _region(first)
        if folds:
            record |= {"split": OUT_OF_FOLD, "sha256": joint_sha256(parts), **described(parts)}
        write_choice(part, choice, record)
    return f"{split_warning}\n\n{choice_text(choice, record)}".lstrip()


def _judged(options: TuneOptions) -> tuple[list[Judged], str]:
    """Each model with the cases to choose on, and what must be said of the split, if anything."""
    if is_cross_validation(options.model):
        cases = folder.find_cases(options.data, table=options.table)
        return judge_folds(Path(options.model), cases, lambda model: _load(options, model)), ""
    segmenter = _load(options, options.model)
    every, split_warning = find_cases(options.data, options.table, options.split_file)
    cases = chosen_cases(every, options.split)
    refuse_training_cases(segmenter, cases)
    return [Judged(segmenter, cases)], split_warning


def best_choice(search: Search) -> Choice:
    """The best setting with its confidence, and how both do on patients they have not seen."""
    best, tried = search.best(), search.tried()
    evidence = search.evidence(best)
    enough = len(evidence) >= FEWEST_PATIENTS
    confidence = _confidence(evidence)
    apart = search.leave_one_out()
    return Choice(
        default=search.default,
        chosen=_confident(best, confidence),
        tried={setting: search.scores(setting) for setting in tried},
        left_out=[_with_confidence(search, left) for left in apart] if search.by_fold else apart,
        left_out_by="fold" if search.by_fold else "patient",
        curve=search.curve(best),
        cases=[volume.case for volume in search.volumes],
        patients=len(search.patients),
        confident=len(evidence),
        lesions=left_out(evidence) if enough else [],
        least_recall=search.least_recall,
    )


def _confidence(evidence: Sequence[Evidence]) -> Confidence | None:
    """The fitted calibration; None from too few patients, or where it would be the same for every
    lesion."""
    if len(evidence) < FEWEST_PATIENTS:
        return None
    fitted = fit_confidence(evidence)
    return None if fitted[0] == 0 else fitted


def _confident(setting: Setting, confidence: Confidence | None) -> Setting:
    return replace(setting, decision=replace(setting.decision, calibration=confidence))


def _with_confidence(search: Search, left: LeftOut) -> LeftOut:
    """The setting with a confidence that was fitted on the other patients."""
    others = [name for name in search.patients if name not in search.parts[left.name]]
    confidence = _confidence(search.evidence(left.setting, others))
    return replace(left, setting=_confident(left.setting, confidence))


def tumor_network(segmenter: Segmenter) -> StageNetwork | SliceNetwork | VolumeNetwork:
    """The network that finds tumors."""
    network = segmenter.network
    return network.tumor if isinstance(network, Cascade) else network


def sees_single_slices(segmenter: Segmenter) -> bool:
    """Whether the network that finds tumors sees no neighbors, so that smoothing may help it."""
    steps = tumor_network(segmenter).preprocessing
    return isinstance(steps, SlicePreprocessing)


def _load(options: TuneOptions, model: str | Path) -> Segmenter:
    settings = RunSettings(model=str(model), device=options.device)
    segmenter = load_segmenter(settings, tta=options.tta)
    if options.region_mm is None:
        return segmenter
    network = tumor_network(segmenter)
    if not isinstance(network, PatchNetwork) or not network.preprocessing.needs_liver:
        raise ValueError("--region-mm is for a cascade whose patch network sees the liver alone.")
    network.preprocessing = replace(network.preprocessing, liver_margin_mm=options.region_mm)
    return segmenter


def _region(segmenter: Segmenter) -> dict[str, Any]:
    """For the record: how far the liver was dilated for a patch network."""
    network = tumor_network(segmenter)
    if not isinstance(network, PatchNetwork):
        return {}
    return {REGION: network.preprocessing.liver_margin_mm}


def _predicted(segmenter: Segmenter, case: Case, predictions: Predictions) -> PredictedCase:
    ct, true_kji = read_pair(case)
    turn = Reorientation.to_lps(ct.ijk_to_ras, ct.shape_kji)
    prediction, _ = predictions.of(segmenter, case, ct)
    true = turn.apply(true_kji)
    if sees_single_slices(segmenter):
        return PredictedCase(case.name, case.group, prediction, true)
    return PredictedCase(case.name, case.group, *CroppedPrediction.of(prediction, true))


def _parser() -> argparse.ArgumentParser:
    parser = command.parser("tune", __doc__)
    add = parser.add_argument
    add(
        "model",
        help="model name or file, for training.export the file that it is to go on with; or a"
        " folder with the folds of a cross-validation",
    )
    command.add_cases(parser, split_file=True)
    command.add_output(parser, "folder to write", replaces="a choice that is in the folder")
    add(
        "--region-mm",
        type=float,
        help="by which the liver is dilated for a cascade's tumor network",
    )
    add("--split", default=SPLIT, metavar=SPLIT, help="no other split is chosen on")
    add(
        "--least-recall",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="of the lesions from 10 mm that a setting must find to be chosen, if any does",
    )
    add("--tta", action="store_true", help="average with the mirrored slice: twice as slow")
    add("--predictions", type=Path, metavar="FOLDER", help="keep what the networks say, or read it")
    command.add_device(parser)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    from tqdm import tqdm

    argv = list(sys.argv[1:] if arguments is None else arguments)

    def work(args: argparse.Namespace) -> None:
        called = shown_command(argv, "tune")
        print(
            choose(
                TuneOptions(**vars(args)),
                called,
                lambda things: tqdm(things, leave=False, disable=None),
            )
        )
        print(args.output / CHOICE_FILES[0])

    return command.run(_parser(), work, argv)


if __name__ == "__main__":
    sys.exit(main())

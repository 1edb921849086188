"""Choose how a model's probabilities become labels, on validation patients.

    python -m training.tune runs/mine/best.safetensors LITS_FOLDER -o choice
    python -m training.tune best.safetensors LITS_FOLDER -o choice --split-file split.json
    python -m training.export runs/mine -o mine.safetensors --name mine --choice choice/choice.json

The network runs once over every validation volume; then settings are tried without it: how much of
a voxel must be tumor, how far that is smoothed through the plane, the smallest lesion, the margin
around the liver. With what is chosen, a lesion's confidence is calibrated. A patch network sees
neighboring slices itself and has no smoothing. --region-mm says by how much the liver is widened
for a cascade's patch network, in place of what it was trained with: a liver network may leave out
the very tumors that are looked for.
The folder receives, all together or not at all,

  choice.json    decision and postprocessing for the model file, and how they came about
  choice.csv     a row a setting that was tried, with its scores
  choice.md      the chosen setting beside the one before, for a model card

A choice on few patients fits these patients. So everything is told a second time for each patient
by a choice, or a calibration, on the others.
For research only, not for diagnosis.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

from LiverTumorSegLib.files import whole_folder
from LiverTumorSegLib.inference.cascade import Cascade, StageNetwork
from LiverTumorSegLib.inference.patches import PatchNetwork
from LiverTumorSegLib.inference.segmenter import Segmenter, load_segmenter
from LiverTumorSegLib.inference.slices import SliceNetwork
from LiverTumorSegLib.settings import RunSettings

from training import command
from training.cases.case import Case
from training.score.case import read_pair
from training.score.cases import chosen_cases, find_cases, refuse_training_cases
from training.score.files import header, shown_command
from training.tuning.platt import FEWEST_PATIENTS, by_patient, fit_confidence, left_out
from training.tuning.record import CHOICE_FILES, REGION, Choice, choice_text, write_choice
from training.tuning.search import PredictedCase, Search, Setting

HEADER = ("model", "sha256", "split", "date", "code", "device", "tta", "command")
SPLIT = "val"
Show = Callable[[Sequence[Any]], Iterable[Any]]


def choose(args: argparse.Namespace, called: str, show: Show) -> str:
    """Run, try, write the files; their text. show: a progress bar around what is gone through."""
    if args.split != SPLIT:
        raise ValueError(
            f"A decision is chosen on the validation split alone; on {args.split!r} it would make"
            " the scores there worthless. Leave out --split."
        )
    segmenter = _load(args)
    every, split_warning = find_cases(args.data, args.table, args.split_file)
    cases = chosen_cases(every, args.split)
    refuse_training_cases(segmenter, cases)
    with whole_folder(args.output, known=CHOICE_FILES, overwrite=args.overwrite) as part:
        volumes = [_predicted(segmenter, case) for case in show(cases)]
        default = Setting(
            segmenter.decision,
            segmenter.postprocessing,
            smoothing=not isinstance(tumor_network(segmenter), PatchNetwork),
        ).without_confidence()
        choice = best_choice(Search(volumes, default, show))
        head = header(segmenter, split=args.split, tta=args.tta, command=called)
        kept = {name: head[name] for name in HEADER} | _region(segmenter)
        write_choice(part, choice, kept)
    return f"{split_warning}\n\n{choice_text(choice, kept)}".lstrip()


def best_choice(search: Search) -> Choice:
    """The best setting with its confidence, and how both do on patients they have not seen."""
    best, tried = search.best(), search.tried()
    evidence = by_patient(volume.evidence(best) for volume in search.volumes)
    enough = len(evidence) >= FEWEST_PATIENTS
    confidence = fit_confidence(evidence) if enough else None
    if confidence is not None and confidence[0] == 0:
        confidence = None  # the same for every lesion: it would look like knowledge and be none
    return Choice(
        default=search.default,
        chosen=replace(best, decision=replace(best.decision, calibration=confidence)),
        tried={setting: search.scores(setting) for setting in tried},
        left_out=search.leave_one_patient_out(),
        cases=[volume.case for volume in search.volumes],
        patients=len(search.patients),
        confident=len(evidence),
        lesions=left_out(evidence) if enough else [],
    )


def tumor_network(segmenter: Segmenter) -> StageNetwork | SliceNetwork:
    """The one that finds tumors."""
    network = segmenter.network
    return network.tumor if isinstance(network, Cascade) else network


def _load(args: argparse.Namespace) -> Segmenter:
    segmenter = load_segmenter(RunSettings(model=args.model, device=args.device), tta=args.tta)
    if args.region_mm is None:
        return segmenter
    network = tumor_network(segmenter)
    if not isinstance(network, PatchNetwork) or not network.preprocessing.needs_liver:
        raise ValueError("--region-mm is for a cascade whose patch network sees the liver alone.")
    network.preprocessing = replace(network.preprocessing, liver_margin_mm=args.region_mm)
    return segmenter


def _region(segmenter: Segmenter) -> dict[str, Any]:
    """How much of the CT a patch network was shown."""
    network = tumor_network(segmenter)
    if not isinstance(network, PatchNetwork):
        return {}
    return {REGION: network.preprocessing.liver_margin_mm}


def _predicted(segmenter: Segmenter, case: Case) -> PredictedCase:
    ct, true_kji = read_pair(case)
    _, turn = ct.to_lps()
    return PredictedCase(case.name, case.group, segmenter.predict(ct), turn.apply(true_kji))


def _parser() -> argparse.ArgumentParser:
    parser = command.parser("tune", __doc__)
    add = parser.add_argument
    add("model", help="model name or file; for training.export the file that it is to go on with")
    command.add_cases(parser, split_file=True)
    command.add_output(parser, "folder to write", replaces="a choice that is in the folder")
    add(
        "--region-mm",
        type=float,
        help="by which the liver is widened for a cascade's tumor network",
    )
    add("--split", default=SPLIT, metavar=SPLIT, help="no other split is chosen on")
    add("--tta", action="store_true", help="average with the mirrored slice: twice as slow")
    command.add_device(parser)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    from tqdm import tqdm

    argv = list(sys.argv[1:] if arguments is None else arguments)

    def work(args: argparse.Namespace) -> None:
        called = shown_command(argv, "tune")
        print(choose(args, called, lambda things: tqdm(things, leave=False, disable=None)))
        print(args.output / CHOICE_FILES[0])

    return command.run(_parser(), work, argv)


if __name__ == "__main__":
    sys.exit(main())

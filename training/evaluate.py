"""Score a model on whole cases of a split, through the same inference that users run.

    python -m training.evaluate model.safetensors LITS_FOLDER --split val -o scores
    python -m training.evaluate hybrid2d-w32 LITS_FOLDER --split test -o scores

Writes cases.csv (a row a volume) and summary.json: Dice of liver (label >= 1) and tumor per volume
and pooled over all voxels, lesions found (any overlap), false lesions. The test split is to be
touched rarely, so each time is logged in Resources/ModelCards/test-log.csv with date, commit and
the model's hash. Never score a model on cases that share a patient with its training: the model
file names its training cases and this command refuses them.
"""

from __future__ import annotations

import argparse
import csv
import datetime
import json
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from LiverTumorSegLib.agreement import compare
from LiverTumorSegLib.labels import Label
from LiverTumorSegLib.nifti import read_ct, read_labels
from LiverTumorSegLib.segment import SliceSegmenter, load_segmenter
from LiverTumorSegLib.spec import BundleError
from numpy.typing import NDArray

from training import lits
from training.lits import Case

TEST_LOG = Path("Resources/ModelCards/test-log.csv")
NOTICE = "For research only, not for diagnosis."
MASKS = {"liver": Label.LIVER, "tumor": Label.TUMOR}


@dataclass(frozen=True)
class CaseScore:
    """One volume's agreement with its reference.

    overlap: mask name -> (shared, predicted, true) voxels; liver includes tumor. A mask that is
    empty in both has Dice 1, in one of them 0; ``true`` tells which.
    """

    name: str
    overlap: dict[str, tuple[int, int, int]]
    lesions_true: int
    lesions_found: int
    false_lesions: int
    false_tumor_ml: float
    slices: int
    slices_run: int
    seconds: float

    def dice(self, mask: str) -> float:
        shared, predicted, true = self.overlap[mask]
        return 1.0 if predicted + true == 0 else 2 * shared / (predicted + true)

    def row(self) -> dict[str, Any]:
        """A line of cases.csv."""
        values: dict[str, Any] = {"case": self.name}
        for mask, (shared, predicted, true) in self.overlap.items():
            values |= {
                f"{mask}_dice": round(self.dice(mask), 4),
                f"{mask}_shared_voxels": shared,
                f"{mask}_predicted_voxels": predicted,
                f"{mask}_true_voxels": true,
            }
        return values | {
            "lesions_true": self.lesions_true,
            "lesions_found": self.lesions_found,
            "false_lesions": self.false_lesions,
            "false_tumor_ml": round(self.false_tumor_ml, 3),
            "slices": self.slices,
            "slices_run": self.slices_run,
            "seconds": round(self.seconds, 2),
        }


def score_case(segmenter: SliceSegmenter, case: Case) -> CaseScore:
    """Segment one case and compare; ``ValueError`` when its labels lie on another grid."""
    ct, _ = read_ct(case.ct)
    true, _ = read_labels(_labels_of(case))
    done = segmenter.segment(ct)
    predicted = done.labels_kji
    agreement = compare(predicted, true)
    false_tumor = (predicted == Label.TUMOR) & (true != Label.TUMOR)
    return CaseScore(
        name=case.name,
        overlap={mask: _overlap(predicted, true, label) for mask, label in MASKS.items()},
        lesions_true=agreement.lesions_true,
        lesions_found=agreement.lesions_found,
        false_lesions=agreement.false_lesions,
        false_tumor_ml=int(false_tumor.sum()) * ct.voxel_ml,
        slices=done.slices,
        slices_run=done.slices_run,
        seconds=done.seconds,
    )


def summarize(scores: Sequence[CaseScore]) -> dict[str, Any]:
    """Means over volumes and pooled values, each with how many volumes it stands on."""
    with_tumor = [s for s in scores if s.overlap["tumor"][2] > 0]
    without = [s for s in scores if s.overlap["tumor"][2] == 0]
    lesions = sum(s.lesions_true for s in scores)
    return {
        "volumes": len(scores),
        "liver_dice_per_volume": _mean_sd([s.dice("liver") for s in scores]),
        "liver_dice_pooled": _pooled(scores, "liver"),
        "tumor_dice_per_tumor_volume": _mean_sd([s.dice("tumor") for s in with_tumor]),
        "tumor_dice_pooled": _pooled(scores, "tumor"),
        "lesions_found": f"{sum(s.lesions_found for s in scores)} of {lesions}",
        "false_lesions": f"{sum(s.false_lesions for s in scores)} in {len(scores)} volumes",
        "tumor_free_volumes_without_false_tumor": (
            f"{sum(s.false_tumor_ml == 0 for s in without)} of {len(without)}"
        ),
        "seconds": round(sum(s.seconds for s in scores), 1),
        "slices_run": f"{sum(s.slices_run for s in scores)} of {sum(s.slices for s in scores)}",
    }


def refuse_training_cases(segmenter: SliceSegmenter, cases: Sequence[Case]) -> None:
    """``ValueError`` when the model was trained on a volume or on another scan of its patient."""
    stored = segmenter.spec.provenance
    trained = set(stored.get("train", []))
    groups = set(stored.get("train_groups", []))
    groups |= {lits.default_group(int(name)) for name in trained if name.isdigit()}
    for case in cases:
        if case.name in trained or {case.group, lits.default_group(case.number)} & groups:
            raise ValueError(
                f"Case {case.name} shares a patient with this model's training data; its score"
                " would say nothing. Choose a split the model has not seen."
            )


def write_scores(folder: Path, scores: Sequence[CaseScore], summary: dict[str, Any]) -> None:
    """cases.csv and summary.json."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [score.row() for score in scores]
    with open(folder / "cases.csv", "w", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)
    (folder / "summary.json").write_text(json.dumps(summary, indent=1) + "\n")


def log_test_use(path: Path, segmenter: SliceSegmenter, summary: dict[str, Any]) -> None:
    """A line about one look at the test split."""
    columns = ("date", "commit", "model", "sha256", "liver_dice", "tumor_dice", "tumor_dice_pooled")
    new = not path.is_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a", newline="") as file:
        table = csv.writer(file)
        if new:
            table.writerow(columns)
        table.writerow(
            [
                datetime.date.today().isoformat(),
                _commit(),
                f"{segmenter.spec.name} {segmenter.spec.version}",
                segmenter.sha256,
                summary["liver_dice_per_volume"]["mean"],
                summary["tumor_dice_per_tumor_volume"]["mean"],
                summary["tumor_dice_pooled"],
            ]
        )


def _labels_of(case: Case) -> Path:
    if case.labels is None:
        raise ValueError(f"Case {case.name} has no labels to compare with.")
    return case.labels


def _overlap(
    predicted: NDArray[np.uint8], true: NDArray[np.uint8], label: Label
) -> tuple[int, int, int]:
    p, t = (predicted >= label), (true >= label)
    return int((p & t).sum()), int(p.sum()), int(t.sum())


def _pooled(scores: Sequence[CaseScore], mask: str) -> float | None:
    shared, predicted, true = (sum(s.overlap[mask][n] for s in scores) for n in range(3))
    return round(2 * shared / (predicted + true), 4) if predicted + true else None


def _mean_sd(values: Sequence[float]) -> dict[str, Any]:
    if not values:
        return {"n": 0, "mean": None, "sd": None}
    return {
        "n": len(values),
        "mean": round(float(np.mean(values)), 4),
        "sd": round(float(np.std(values, ddof=1)), 4) if len(values) > 1 else None,
    }


def _commit() -> str:
    done = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or "unknown"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m training.evaluate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", help="model name or file")
    parser.add_argument("data", type=Path, help="folder in LiTS or MSD Task03 layout")
    parser.add_argument("--table", type=Path, help="CSV: file, patient_group, split")
    parser.add_argument("--split", choices=("val", "test"), default="val")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--no-scan", action="store_true")
    parser.add_argument("--log", type=Path, default=TEST_LOG, help="where test uses are logged")
    return parser


def evaluate(given: argparse.Namespace, show: Any) -> dict[str, Any]:
    """Score the split, write the files, log a test use; the summary."""
    segmenter = load_segmenter(given.model, given.device, scan=not given.no_scan)
    cases = [
        case
        for case in lits.find_cases(given.data, table=given.table)
        if case.split == given.split and case.kind == "case"
    ]
    if not cases:
        raise ValueError(f"No case of split {given.split!r} was found; check the table.")
    refuse_training_cases(segmenter, cases)
    scores = list(_scores(segmenter, show(cases)))
    summary = {
        "notice": NOTICE,
        "split": given.split,
        "cases": [case.name for case in cases],
        "model": f"{segmenter.spec.name} {segmenter.spec.version}",
        "sha256": segmenter.sha256,
        "device": segmenter.engine.device,
        **summarize(scores),
    }
    write_scores(given.output, scores, summary)
    if given.split == "test":
        log_test_use(given.log, segmenter, summary)
    return summary


def _scores(segmenter: SliceSegmenter, cases: Iterable[Case]) -> Iterator[CaseScore]:
    for case in cases:
        yield score_case(segmenter, case)


def main(arguments: Sequence[str] | None = None) -> int:
    from tqdm import tqdm

    given = _parser().parse_args(arguments)
    try:
        summary = evaluate(given, lambda cases: tqdm(cases, unit="case"))
    except (ValueError, OSError, BundleError) as error:
        print(error, file=sys.stderr)
        return 2
    print(json.dumps(summary, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())

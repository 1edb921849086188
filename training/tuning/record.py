"""Records of a choice of decision: for programs, for a table, for a model card.

write_choice(folder, choice, header)        # choice.json, choice.csv, choice.md
stored = read_choice(Path("choice/choice.json"))
stored.decision, stored.postprocessing, stored.how["cases"]
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from LiverTumorSegLib.files import read_json
from LiverTumorSegLib.inference.decision import Decision
from LiverTumorSegLib.inference.postprocess import Postprocessing
from LiverTumorSegLib.result.files import NOTICE
from LiverTumorSegLib.result.lesions import CONFIDENCE_MEANING
from LiverTumorSegLib.tables import csv_text

from training.score.calibration import reliability
from training.score.statistics import few_patients_warning
from training.score.words import number, plural
from training.tuning.platt import FEWEST_PATIENTS
from training.tuning.search import LeftOut, Scores, Setting

RECORD, TABLE, TEXT = CHOICE_FILES = "choice.json", "choice.csv", "choice.md"
# a cascade's alone, in ``StoredChoice.how`` as in its tumor network's preprocessing
REGION = "liver_margin_mm"
SCORE = (
    "the mean of the tumor Dice, all voxels of all volumes in one pot, and the F1 of lesions at any"
    " overlap (6-neighborhood)"
)
FLAT = (
    "No confidence is stored: on these patients a larger share did not mean tumor more often (the"
    " fitted slope is 0), so all lesions would get the same one. The bins show what it would have"
    " been for each patient's lesions by a fit on the others."
)
SINGLE = "With a single patient there is no other to choose on: the next may be unlike this one."
FOLDS = "folds"  # in ``StoredChoice.how``: of a cross-validation each fold's file and cases
Record = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Choice:
    """A decision that was chosen, and the evidence for it.

    default, chosen: how labels were made before, and are to be made; the confidence is chosen's.
    tried: each setting with its scores over all volumes; chosen's is there without a confidence.
    left_out: each patient, or each fold, by a choice on the others; empty for a single one.
    left_out_by: "patient" or "fold".
    curve: what the chosen setting would have scored with other thresholds, from many marks to few.
    cases: names of the volumes. patients: how many they are of.
    confident: how many patients have voxels labeled tumor. lesions: (confidence, true share) of
        each predicted lesion, by a calibration that has not seen its patient.
    least_recall: share of the lesions from 10 mm that a chosen setting had to find.
    """

    default: Setting
    chosen: Setting
    tried: Mapping[Setting, Scores]
    left_out: Sequence[LeftOut]
    left_out_by: str
    curve: Mapping[Decision, Scores]
    cases: Sequence[str]
    patients: int
    confident: int
    lesions: Sequence[tuple[float, float]]
    least_recall: float = 0.0

    @property
    def score_text(self) -> str:
        """The score that the choice was made by."""
        if not self.least_recall:
            return SCORE
        return (
            f"{SCORE}, among those that find at least {self.least_recall:.0%} of the lesions from"
            " 10 mm"
        )

    def scores(self, setting: Setting) -> Scores:
        return self.tried[setting.without_confidence()]

    @property
    def scores_left_out(self) -> Scores:
        """All patients, each part by a choice on the others, in one pot."""
        return Scores.of([one for left in self.left_out for one in left.counts])

    @property
    def few(self) -> str:
        """A sentence with the patients and lesions that the choice stands on."""
        scores = self.scores(self.default)
        return (
            f"Chosen on {plural(self.patients, 'patient')}:"
            f" {plural(len(self.cases), 'volume')}, {scores.tumor_dice_per_volume.n} with tumor,"
            f" {plural(scores.detection.true_lesions, 'true lesion')}."
        )

    @property
    def warnings(self) -> list[str]:
        warning = few_patients_warning(self.patients)
        return [self.few, *([warning] if warning else [])]

    @property
    def calibration_text(self) -> str:
        fitted = self.chosen.decision.calibration
        if fitted is None and self.confident >= FEWEST_PATIENTS:
            return FLAT
        if fitted is None:
            return (
                f"No confidence is stored: {plural(self.confident, 'patient')} had voxels labeled"
                f" tumor, and {FEWEST_PATIENTS} are needed, one to fit on and one to look at."
            )
        others = plural(self.confident - 1, "patient")
        return (
            f"Confidence is {CONFIDENCE_MEANING}, here {plural(self.confident, 'patient')}. The"
            f" bins show each patient's lesions by a fit on the others, {others}; the decision"
            " itself has seen them all."
        )


@dataclass(frozen=True, eq=False)
class StoredChoice:
    """choice.json, read back."""

    decision: Decision
    postprocessing: Postprocessing
    how: Record
    curve: Record

    def of_fold(self, name: str) -> tuple[Decision, Postprocessing]:
        """The decision chosen on the other folds, with the confidence that was fitted on them."""
        for part in self.how.get("leave_one_fold_out", {}).get("parts", []):
            if part["fold"] == name:
                return (
                    Decision.from_dict(part["decision"]),
                    Postprocessing.from_dict(part["postprocessing"]),
                )
        raise ValueError(f"This choice knows no {name}; choose on these very folds.")


def write_choice(folder: Path, choice: Choice, header: Mapping[str, Any]) -> None:
    """header: what was run, by which code: model, sha256, split, date and the like."""
    record = choice_record(choice, header)
    text = json.dumps(record, indent=1, allow_nan=False) + "\n"
    (folder / RECORD).write_text(text, encoding="utf-8")
    (folder / TEXT).write_text(choice_text(choice, header), encoding="utf-8")
    rows = _rows(choice)
    (folder / TABLE).write_text(csv_text(list(rows[0]), rows), encoding="utf-8")


def read_choice(path: Path) -> StoredChoice:
    """``ValueError`` when it is not what :func:`write_choice` has written or is newer."""
    try:
        stored = read_json(path)
        how = stored["how"]
        if not isinstance(how["sha256"], str) or not isinstance(how["cases"], list):
            raise TypeError
        parts = dict(stored["decision"]), dict(stored["postprocessing"])
    except OSError:
        raise ValueError(f"{path.name} cannot be read; check its name and folder.") from None
    except (ValueError, KeyError, TypeError):
        raise ValueError(
            f"{path.name} is no choice; give the {RECORD} that training.tune has written."
        ) from None
    try:
        decision, postprocessing = Decision.from_dict(parts[0]), Postprocessing.from_dict(parts[1])
        return StoredChoice(decision, postprocessing, how, dict(stored.get("curve", {})))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path.name}: {error} Choose again.") from error


def choice_record(choice: Choice, header: Mapping[str, Any]) -> Record:
    """JSON-able: the two settings as a model file keeps them, and how they came about."""
    left = choice.left_out
    return {
        "notice": NOTICE,
        **_settings(choice.chosen),
        "curve": curve_record(choice),
        "how": {
            **header,
            "cases": list(choice.cases),
            "patients": choice.patients,
            "warnings": choice.warnings,
            "score": choice.score_text,
            "least_recall": choice.least_recall,
            "tried": {name: list(values) for name, values in choice.default.tried.items()},
            "settings_tried": len(choice.tried),
            "scores": choice.scores(choice.chosen).row(),
            "before": {**_settings(choice.default), "scores": choice.scores(choice.default).row()},
            f"leave_one_{choice.left_out_by}_out": {
                "scores": choice.scores_left_out.row() if left else None,
                "parts": [_left_out_record(one, choice.left_out_by) for one in left],
            },
            "confidence": {
                "meaning": choice.calibration_text,
                "patients": choice.confident,
                "left_out": reliability(choice.lesions) if choice.lesions else None,
            },
        },
    }


def curve_record(choice: Choice) -> Record:
    """The curve for a model file: what thresholds trade on the patients they were chosen on."""
    scores = choice.scores(choice.chosen)
    return {
        "patients": choice.patients,
        "volumes": len(choice.cases),
        "volumes_without_tumor": scores.volumes_without_tumor,
        "points": [_point(decision, of) for decision, of in choice.curve.items()],
    }


def _point(decision: Decision, scores: Scores) -> Record:
    found = scores.detection
    return {
        "tumor_threshold": decision.tumor_threshold,
        "seed_threshold": decision.seed_threshold,
        "lesions_from_10_mm": [scores.large_found, scores.large_true],
        "lesions_under_10_mm": [
            found.tp - scores.large_found,
            found.true_lesions - scores.large_true,
        ],
        "false_lesions_per_volume": round(found.fp_per_volume, 3),
        "marked_without_tumor": scores.marked_without_tumor,
        "tumor_dice": None if np.isnan(scores.tumor_dice) else round(scores.tumor_dice, 3),
    }


def _settings(setting: Setting) -> Record:
    return {
        "decision": setting.decision.to_dict(),
        "postprocessing": setting.postprocessing.to_dict(),
    }


def _left_out_record(left: LeftOut, by: str) -> Record:
    return {
        by: left.name,
        "cases": [one.case for one in left.counts],
        "chosen_on_others": not left.blind,
        **_settings(left.setting),
        "scores": left.scores.row(),
    }


def _rows(choice: Choice) -> list[Record]:
    """A line a setting; each carries the notice, as a table may travel alone."""
    chosen = choice.chosen.without_confidence()
    return [
        {
            **setting.values,
            **scores.row(),
            "chosen": "yes" if setting == chosen else "no",
            "notice": NOTICE,
        }
        for setting, scores in choice.tried.items()
    ]


def choice_text(choice: Choice, header: Mapping[str, Any]) -> str:
    """Markdown for a model card, and what a person wants to read at the end."""
    parts = [
        f"## Decision of {header['model']}",
        f"**{NOTICE}**",
        " ".join(choice.warnings)
        + f" Cases of the {header['split']} split: {', '.join(choice.cases)}."
        + f" {len(choice.tried)} settings were tried and scored by {choice.score_text}, so the"
        f" scores of the chosen one are too good; those left out are of each {choice.left_out_by}"
        " by a choice on the others.",
        _scores_table(choice),
        _left_out_table(choice) if choice.left_out else SINGLE,
        _curve_table(choice),
        choice.calibration_text,
        *([_reliability_table(choice)] if choice.lesions else []),
        *_region_sentences(header),
        f"Weights: SHA-256 `{header['sha256']}`, {header['code']}, {header['date']}.",
    ]
    return "\n\n".join(parts) + "\n"


def _region_sentences(header: Mapping[str, Any]) -> list[str]:
    """The search region of a cascade; none of a single network."""
    if header.get(REGION) is None:
        return []
    return [f"The tumor network was shown the liver dilated by {header[REGION]:g} mm."]


def _scores_table(choice: Choice) -> str:
    before, chosen = (choice.scores(setting) for setting in (choice.default, choice.chosen))
    columns: list[tuple[str, Setting | None, Scores]]
    columns = [("before", choice.default, before), ("chosen", choice.chosen, chosen)]
    if choice.left_out:
        columns.append(("left out", None, choice.scores_left_out))
    rows = [
        [name.replace("_", " "), *(_setting_cell(setting, name) for _, setting, _ in columns)]
        for name in choice.default.tried
    ]
    cells = [_score_cells(scores) for _, _, scores in columns]
    rows += [[name, *(column[name] for column in cells)] for name in cells[0]]
    return _markdown(["", *(head for head, _, _ in columns)], rows)


def _setting_cell(setting: Setting | None, name: str) -> str:
    return "of each" if setting is None else f"{setting.values[name]:g}"


def _score_cells(scores: Scores) -> dict[str, str]:
    found, free = scores.detection, scores.volumes_without_tumor
    return {
        "tumor Dice, pooled": number(scores.tumor_dice),
        "tumor Dice, mean of tumor volumes": number(scores.tumor_dice_per_volume.value),
        "lesions found": f"{found.tp} of {found.true_lesions}",
        "lesions from 10 mm found": f"{scores.large_found} of {scores.large_true}",
        "false lesions": str(found.fp),
        "false lesions a volume": number(found.fp_per_volume),
        "false mL in volumes without tumor": f"{scores.false_ml_without_tumor:.1f} in {free}",
        "score": number(scores.score),
    }


def _left_out_table(choice: Choice) -> str:
    """A line a patient: chosen on the others, scored here."""
    tried = choice.default.tried
    head = [f"{choice.left_out_by} left out", *(name.replace("_", " ") for name in tried)]
    shown = ["tumor Dice, pooled", "lesions found", "false lesions"]
    head += shown
    rows = []
    for one in choice.left_out:
        cells, cases = _score_cells(one.scores), ", ".join(count.case for count in one.counts)
        rows.append(
            [
                f"{cases} (others without tumor: as before)" if one.blind else cases,
                *(_setting_cell(one.setting, name) for name in tried),
                *(cells[name] for name in shown),
            ]
        )
    return _markdown(head, rows)


def _curve_table(choice: Choice) -> str:
    """A line a pair of thresholds: what more or fewer marks would have meant."""
    rows = []
    for point in curve_record(choice)["points"]:
        large, small = point["lesions_from_10_mm"], point["lesions_under_10_mm"]
        dice = point["tumor_dice"]
        rows.append(
            [
                f"{point['tumor_threshold']:g}",
                f"{point['seed_threshold']:g}",
                f"{large[0]} of {large[1]}",
                f"{small[0]} of {small[1]}",
                f"{point['false_lesions_per_volume']:.2f}",
                "n/a" if dice is None else f"{dice:.3f}",
            ]
        )
    head = ["tumor threshold", "seed threshold", "lesions from 10 mm found", "under 10 mm found"]
    return _markdown([*head, "false lesions a volume", "tumor Dice, pooled"], rows)


def _reliability_table(choice: Choice) -> str:
    rows = [
        [
            f"{row['low']:g} to {row['high']:g}",
            str(row["lesions"]),
            number(row["mean_confidence"]),
            number(row["mean_true_share"]),
            str(row["touching"]),
        ]
        for row in reliability(choice.lesions)
    ]
    head = ["confidence", "lesions", "mean confidence", "mean true share", "touch a true lesion"]
    return _markdown(head, rows)


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)

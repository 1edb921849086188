"""Files of an evaluation: tables, its own record, and a line in the log of test uses."""

from __future__ import annotations

import datetime
import re
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from LiverTumorSegLib import __version__
from LiverTumorSegLib.inference.preprocess import SlicePreprocessing
from LiverTumorSegLib.inference.segmenter import Segmenter
from LiverTumorSegLib.result.files import NOTICE
from LiverTumorSegLib.tables import csv_text

from training.score.case import CaseScore
from training.score.summary import Record

TABLES = ("cases.csv", "lesions.csv", "slices.csv", "doubts.csv")
CONDITIONS = (
    "Measured on the CT's own grid in mm; lesions are 6-neighborhood components; liver includes its"
    " tumor unless “class 1 alone” is said. For research only, not for diagnosis."
)


def write_tables(folder: Path, scores: Sequence[CaseScore]) -> None:
    """The files of TABLES."""
    kinds = (
        [score.row() for score in scores],
        [row for score in scores for row in score.lesion_rows()],
        [row for score in scores for row in score.slice_rows()],
        [row for score in scores for row in score.doubt_rows()],
    )
    for name, rows in zip(TABLES, kinds, strict=True):
        _write_csv(folder / name, rows)


def _write_csv(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Every line carries the notice, as a table may travel alone."""
    columns = [*(rows[0] if rows else {"case": ""}), "notice"]
    text = csv_text(columns, ({**row, "notice": NOTICE} for row in rows))
    path.write_text(text, encoding="utf-8", newline="")


def log_test_use(path: Path, summary: Record) -> None:
    """A line about one look at the test split."""
    columns = ("date", "commit", "model", "sha256", "liver_dice", "tumor_dice", "tumor_dice_pooled")
    volumes = summary["volumes"]
    row = {name: summary[name] for name in columns[:4]} | {
        "liver_dice": _four_digits(volumes["liver"]["dice"]["agree"]["mean"]),
        "tumor_dice": _four_digits(volumes["tumor"]["dice"]["present"]["mean"]),
        "tumor_dice_pooled": _four_digits(summary["pooled"]["tumor"]["dice"]),
    }
    head, line = csv_text(columns, [row]).splitlines(keepends=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a", newline="", encoding="utf-8") as file:
        file.write(line if file.tell() else head + line)


def _four_digits(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def _commit() -> str:
    done = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or "unknown"


def header(segmenter: Segmenter, *, split: str, tta: bool, command: str) -> Record:
    """The head of a record: what was scored, by which code, under which conditions; no path of this
    machine.

    network: of a cascade the one that finds tumors.
    """
    network = list(segmenter.spec.networks.values())[-1]
    commit = _commit()
    return {
        "notice": NOTICE,
        "model": f"{segmenter.spec.name} {segmenter.spec.version}",
        "sha256": segmenter.sha256,
        "split": split,
        "date": datetime.date.today().isoformat(),
        "commit": commit,
        "code": f"{__version__} ({commit})",
        "device": segmenter.device,
        "conditions": CONDITIONS,
        "command": command,
        "training_range": _training_range(segmenter),
        "decision": segmenter.describe().get("decision"),
        "cascade": segmenter.spec.is_cascade,
        "tta": tta,
        "network": {
            "net": network.net,
            "net_args": network.net_args,
            "preprocessing": network.preprocessing,
            "recipe": network.provenance.get("recipe"),
        },
    }


def _training_range(segmenter: Segmenter) -> str:
    """How CT numbers reach the network, and which it has learned from."""
    steps, trained = segmenter.preprocessing, segmenter.spec.training_hu_range
    if isinstance(steps, SlicePreprocessing):
        text = f"Preset {steps.preset}"
    else:
        text = "Window from {} to {} HU".format(*steps.window_hu)
    if trained is None:
        return f"{text}."
    return f"{text}; the model was trained on CT numbers from {trained[0]} to {trained[1]} HU."


def shown_command(arguments: Sequence[str], tool: str = "evaluate") -> str:
    """The command as anyone can repeat it: file names, not this machine's folders."""
    shown = [re.sub(r"[^=]*[\\/]", "", word.rstrip("\\/")) for word in arguments]
    return f"python -m training.{tool} {shlex.join(shown)}"

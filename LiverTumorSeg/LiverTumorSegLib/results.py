"""The files a segmentation leaves in its folder, written whole or not at all."""

from __future__ import annotations

import csv
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from .agreement import Agreement
from .lesions import LESION_COLUMNS, LiverMeasures, lesion_rows, measures_to_dict
from .nifti import write_ct, write_labels, write_probabilities
from .overview import draw_overview, write_png
from .segment import Segmentation
from .volume import CtVolume

NOTICE = "For research only, not for diagnosis."
NO_LIVER = "No liver found."
LABELS, TABLE, RECORD, PICTURE = "seg.nii.gz", "lesions.csv", "lesions.json", "overview.png"
PROBABILITIES = "probabilities.nii.gz"
DEMO_CT, DEMO_TRUTH = "phantom_ct.nii.gz", "phantom_truth.nii.gz"
ALL_FILES = (LABELS, TABLE, RECORD, PICTURE, PROBABILITIES, DEMO_CT, DEMO_TRUTH)


@dataclass(frozen=True, eq=False)
class CaseResult:
    """All that is known of one segmented CT.

    model: from ``segment.describe``. truth_kji, agreement: of a phantom, whose truth is known.
    """

    ct: CtVolume
    segmentation: Segmentation
    measures: LiverMeasures
    model: dict[str, Any]
    warnings: tuple[str, ...] = ()
    truth_kji: NDArray[np.uint8] | None = None
    agreement: Agreement | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON-able; holds no name, path or header text of the scan."""
        done = self.segmentation
        record: dict[str, Any] = {
            "notice": NOTICE,
            "found_liver": done.found_liver,
            **measures_to_dict(self.measures),
            "model": self.model,
            "scan": {
                "shape_kji": list(self.ct.shape_kji),
                "spacing_kji_mm": [round(s, 4) for s in self.ct.spacing_kji_mm],
            },
            "run": {
                "device": done.device,
                "seconds": round(done.seconds, 2),
                "slices": done.slices,
                "slices_run": done.slices_run,
            },
            "warnings": list(self.warnings),
        }
        if self.agreement is not None:
            record["agreement_with_truth"] = self.agreement.to_dict()
        return record

    def write(self, folder: Path) -> None:
        """Write every file into an existing folder."""
        write_labels(folder / LABELS, self.segmentation.labels_kji, self.ct)
        _write_table(folder / TABLE, self.measures)
        (folder / RECORD).write_text(json.dumps(self.to_dict(), indent=1) + "\n")
        picture = draw_overview(
            self.ct,
            self.segmentation.labels_kji,
            self.measures,
            title="Liver and tumors",
            footer=self._footer(),
            truth_kji=self.truth_kji,
        )
        write_png(folder / PICTURE, picture)
        if self.segmentation.probabilities is not None:
            write_probabilities(folder / PROBABILITIES, self.segmentation.probabilities, self.ct)
        if self.truth_kji is not None:
            write_ct(folder / DEMO_CT, self.ct)
            write_labels(folder / DEMO_TRUTH, self.truth_kji, self.ct)

    def _footer(self) -> str:
        return f"{self.model['model']} {self.model['version']}, {self.segmentation.device}"


def _write_table(path: Path, measures: LiverMeasures) -> None:
    with open(path, "w", newline="") as file:
        table = csv.DictWriter(file, [*LESION_COLUMNS, "notice"])
        table.writeheader()
        table.writerows({**row, "notice": NOTICE} for row in lesion_rows(measures))


@contextmanager
def result_folder(target: Path, *, overwrite: bool) -> Iterator[Path]:
    """A temporary folder that becomes ``target`` when the block ends well, and vanishes otherwise.

    An existing folder keeps its other files. Raises ``ValueError`` with one sentence when results
    are there already and may not be overwritten, or the folder cannot be written.
    """
    existing = [name for name in ALL_FILES if (target / name).exists()]
    if target.exists() and not target.is_dir():
        raise ValueError(f"{target.name} is a file; name a folder for the results.")
    if existing and not overwrite:
        raise ValueError(
            f"{target.name} holds {existing[0]} already; name another folder or add --overwrite."
        )
    home = next(parent for parent in target.absolute().parents if parent.exists())
    part = home / f".{target.name}.{uuid4().hex[:8]}.part"
    try:
        part.mkdir()
        yield part
        _move(part, target)
    except OSError as error:
        raise ValueError(
            f"The results cannot be written to {target.name}: {error.strerror or error}. Free some"
            " space or choose a folder that you may write to."
        ) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _move(part: Path, target: Path) -> None:
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(part, target)
        return
    made = {path.name for path in part.iterdir()}
    for name in made:
        os.replace(part / name, target / name)
    for name in set(ALL_FILES) - made:  # of an earlier run: they would not belong to these labels
        (target / name).unlink(missing_ok=True)

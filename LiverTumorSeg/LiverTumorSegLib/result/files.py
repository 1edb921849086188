"""The files a segmentation leaves in its folder, written whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from LiverTumorSegLib import __version__
from LiverTumorSegLib.ct.nifti import write_ct, write_labels, write_probabilities
from LiverTumorSegLib.files import disk_errors_as_sentences, whole_folder
from LiverTumorSegLib.inference.segmenter import Segmentation
from LiverTumorSegLib.labels import Label
from LiverTumorSegLib.settings import RunSettings
from LiverTumorSegLib.tables import csv_text
from LiverTumorSegLib.volume import CtVolume

from .agreement import Agreement
from .export.export import ALL_EXPORTS, Export
from .lesions import LESION_COLUMNS, LiverMeasures, labels_sha256, measures_to_dict
from .overview.page import draw_overview, png_bytes

NOTICE = "For research only, not for diagnosis."
NO_LIVER = "No liver found."
LABELS, TABLE, RECORD, PICTURE = "seg.nii.gz", "lesions.csv", "lesions.json", "overview.png"
PROBABILITIES = "probabilities.nii.gz"
REPORT = "report.html"
DEMO_CT, DEMO_TRUTH = "phantom_ct.nii.gz", "phantom_truth.nii.gz"
ALL_FILES = (
    *(LABELS, TABLE, RECORD, PICTURE, REPORT, PROBABILITIES, DEMO_CT, DEMO_TRUTH),
    *ALL_EXPORTS,
)


@dataclass(frozen=True, eq=False)
class CaseResult:
    """All that is known of one segmented CT.

    seconds: from the start of the run, reading included, until the result was known. model: from
        ``segment.describe``. truth_kji, agreement: of a phantom, whose truth is known.
    settings: of the run. export: what is written beside. recall: how much the model is known to
        find, one sentence.
    """

    ct: CtVolume
    segmentation: Segmentation
    measures: LiverMeasures
    model: dict[str, Any]
    warnings: tuple[str, ...] = ()
    truth_kji: NDArray[np.uint8] | None = None
    agreement: Agreement | None = None
    seconds: float = 0.0
    settings: RunSettings = field(default_factory=RunSettings)
    export: Export = field(default_factory=Export)
    recall: str = ""

    def to_dict(self) -> dict[str, Any]:
        """JSON-able; holds no name, path or header text of the scan."""
        done = self.segmentation
        record: dict[str, Any] = {
            "notice": NOTICE,
            "made_with": f"LiverTumorSeg {__version__}",
            "found_liver": done.found_liver,
            **measures_to_dict(self.measures),
            "model": self.model,
            "scan": scan_record(self.ct),
            "labels_sha256": labels_sha256(done.labels_kji),
            "run": {
                "device": done.device,
                "seconds": round(self.seconds, 2),
                "slices": done.slices,
                "slices_run": done.slices_run,
            },
            "settings": {**self.settings.what_counts(), **self.export.requested.what_counts()},
            "warnings": list(self.warnings),
        }
        if self.agreement is not None:
            record["agreement_with_truth"] = self.agreement.to_dict()
        return record

    def write(self, folder: Path) -> CaseResult:
        """Write every file into an existing folder; ``ValueError`` when the disk refuses one.

        What comes back is this result, with a warning of each file that could not be made.
        """
        lost = write_measured(
            folder,
            self.ct,
            self.segmentation.labels_kji,
            self.measures,
            self.to_dict(),
            footer=f"{self.model['model']} {self.model['version']}, {self.segmentation.device}",
            truth_kji=self.truth_kji,
            warnings=self.warnings,
            export=self.export,
            recall=self.recall,
        )
        if self.segmentation.probabilities is not None:
            write_probabilities(folder / PROBABILITIES, self.segmentation.probabilities, self.ct)
        if self.truth_kji is not None:
            write_ct(folder / DEMO_CT, self.ct)
            write_labels(folder / DEMO_TRUTH, self.truth_kji, self.ct)
        return replace(self, warnings=(*self.warnings, *lost))


def write_measured(
    folder: Path,
    ct: CtVolume,
    labels_kji: NDArray[np.uint8],
    measures: LiverMeasures,
    record: Mapping[str, Any],
    *,
    footer: str,
    truth_kji: NDArray[np.uint8] | None = None,
    warnings: Sequence[str] = (),
    export: Export,
    recall: str = "",
) -> tuple[str, ...]:
    """Labels, lesion table, record, picture and what is exported, into an existing folder.

    A picture or table that cannot be made loses nothing else: the record has a warning of it, and
    these warnings come back. Raises ``ValueError`` when the disk refuses a file.
    """

    def table() -> bytes:
        rows = ({**row, "notice": NOTICE} for row in record["lesions"])
        part = ["part"] if "liver_parts" in record else []
        return csv_text([*LESION_COLUMNS, *part, "notice"], rows).encode()

    def picture() -> bytes:
        return png_bytes(
            draw_overview(
                ct,
                labels_kji,
                measures,
                title="Liver and tumors",
                footer=footer,
                truth_kji=truth_kji,
                warnings=warnings,
                recall=recall,
            )
        )

    write_labels(folder / LABELS, labels_kji, ct, _description(record["model"]))
    files, lost = {}, []
    for name, make in ((TABLE, table), (PICTURE, picture)):
        try:
            files[name] = make()
        except Exception as error:  # whatever it is, hours of computing are not lost for it
            lost.append(f"{name} could not be made ({type(error).__name__}); please report it.")
    lost += export.write(folder, labels_kji, ct.ijk_to_ras, measures, record["model"])
    if lost:
        record = {**record, "warnings": [*record["warnings"], *lost]}
    files[RECORD] = (json.dumps(record, indent=1) + "\n").encode()
    with disk_errors_as_sentences(folder.name):
        for name, data in files.items():
            (folder / name).write_bytes(data)
    return tuple(lost)


def _description(model: Mapping[str, Any] | None) -> str:
    """What the labels mean and who made them, for their header."""
    meaning = ", ".join(
        f"{int(label)} {label.name.lower()}" for label in (Label.LIVER, Label.TUMOR)
    )
    return f"{meaning}; {model['model']} {model['version']}" if model else meaning


def scan_record(ct: CtVolume) -> dict[str, Any]:
    """The grid and hash by which a CT is recognized; nothing that names the patient."""
    return {
        "shape_kji": list(ct.shape_kji),
        "spacing_kji_mm": [round(mm, 4) for mm in ct.spacing_kji_mm],
        "hu_sha256": hashlib.sha256(np.ascontiguousarray(ct.hu, dtype="<i2").data).hexdigest(),
    }


@contextmanager
def result_folder(target: Path, *, overwrite: bool, sources: Sequence[Path] = ()) -> Iterator[Path]:
    """Like :func:`whole_folder`, for the files of a result.

    sources: files that are read, which must not be among those to be replaced.
    """
    for source in sources:
        _refuse_own_source(Path(os.path.realpath(target)), source)
    with whole_folder(target, known=ALL_FILES, overwrite=overwrite) as part:
        yield part


def _refuse_own_source(place: Path, source: Path) -> None:
    """Replacing results must not delete what they are made from (a demo's CT, say)."""
    if source.name in ALL_FILES and Path(os.path.realpath(source.parent)) == place:
        raise ValueError(
            f"{source.name} lies in {place.name} itself, where results have that name; name"
            " another folder."
        )

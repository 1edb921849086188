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

from LiverTumorSegLib import __version__
from LiverTumorSegLib.ct.nifti import write_ct, write_labels, write_probabilities
from LiverTumorSegLib.inference.segmenter import Segmentation
from LiverTumorSegLib.volume import CtVolume

from .agreement import Agreement
from .lesions import LESION_COLUMNS, LiverMeasures, lesion_rows, measures_to_dict
from .overview.page import draw_overview, write_png

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
            "made_with": f"LiverTumorSeg {__version__}",
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
        if done.slice_range is not None:
            record["run"]["slice_range"] = list(done.slice_range)
        if self.agreement is not None:
            record["agreement_with_truth"] = self.agreement.to_dict()
        return record

    def write(self, folder: Path) -> None:
        """Write every file into an existing folder; ``ValueError`` when the disk refuses one."""
        write_labels(folder / LABELS, self.segmentation.labels_kji, self.ct)
        with _explained(folder):
            _write_table(folder / TABLE, self.measures)
            record = json.dumps(self.to_dict(), indent=1)
            (folder / RECORD).write_text(record + "\n", encoding="utf-8")
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
    with open(path, "w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, [*LESION_COLUMNS, "notice"])
        table.writeheader()
        table.writerows({**row, "notice": NOTICE} for row in lesion_rows(measures))


@contextmanager
def result_folder(target: Path, *, overwrite: bool, source: Path | None = None) -> Iterator[Path]:
    """An empty folder whose files become ``target``'s when the block ends well, and else vanish.

    Missing parents come into being with the results, in one rename, so a failure leaves none. An
    existing folder keeps its other files; an earlier run's are replaced all together or not at all.
    source: the CT that is read, which must not be among the files to be replaced.
    Raises ``ValueError`` with one sentence when results are there already and may not be
    overwritten, or the folder cannot be written. Errors of the block itself pass unchanged.
    """
    place = Path(os.path.realpath(target))  # "." and ".." get a name
    with _explained(place):
        _refuse_taken(place, overwrite)
        _refuse_own_source(place, source)
        home = _nearest_folder(place)
    # A folder that exists may be a file system of its own: only inside it is a rename certain.
    part = home / f".{uuid4().hex[:8]}.part"
    new = part / "new"
    fresh = new / (place.name if place == home else place.relative_to(home))
    try:
        with _explained(place):
            fresh.mkdir(parents=True)
        yield fresh
        with _explained(place):
            _refuse_taken(place, overwrite)  # again: another run may have ended meanwhile
            _publish(fresh, place, new, home)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _refuse_taken(place: Path, overwrite: bool) -> None:
    if os.path.lexists(place) and not place.is_dir():
        raise ValueError(f"{place.name} is a file; name a folder for the results.")
    for name in ALL_FILES:
        if (place / name).is_dir():
            raise ValueError(f"{place.name} holds a folder {name}; name another folder.")
        if os.path.lexists(place / name) and not overwrite:
            raise ValueError(
                f"{place.name} holds {name} already; name another folder or add --overwrite."
            )


def _refuse_own_source(place: Path, source: Path | None) -> None:
    """Replacing results must not delete what they are made from (a demo's CT, say)."""
    if source is None or source.name not in ALL_FILES:
        return
    if Path(os.path.realpath(source.parent)) == place:
        raise ValueError(
            f"{source.name} lies in {place.name} itself, where results have that name; name"
            " another folder."
        )


def _nearest_folder(place: Path) -> Path:
    """The folder itself, or the nearest one above it that exists."""
    return next(path for path in (place, *place.parents) if path.exists())


@contextmanager
def _explained(place: Path) -> Iterator[None]:
    """What the disk refuses becomes one sentence."""
    try:
        yield
    except OSError as error:
        raise ValueError(
            f"The results cannot be written to {place.name}: {error.strerror or error}; free some"
            " space or choose a folder that you may write to."
        ) from error


def _publish(fresh: Path, place: Path, new: Path, home: Path) -> None:
    """Give the results their names; ``new`` holds what will lie in ``home``."""
    above = _nearest_folder(place)  # anew: another run may have made some of the parents
    if above == place:
        _exchange(fresh, place, new.with_name("old"))
    else:
        first = above / place.relative_to(above).parts[0]
        os.replace(new / first.relative_to(home), first)


def _exchange(fresh: Path, place: Path, old: Path) -> None:
    """Move earlier results of any kind away and the new ones in, or leave all as it was."""
    old.mkdir()
    earlier = [place / name for name in ALL_FILES if os.path.lexists(place / name)]
    moves = [(path, old / path.name) for path in earlier]
    moves += [(path, place / path.name) for path in fresh.iterdir()]
    try:
        for source, target in moves:
            os.replace(source, target)
    except BaseException:
        for source, target in reversed(moves):
            if not os.path.lexists(source):
                os.replace(target, source)
        raise

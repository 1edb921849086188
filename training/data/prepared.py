"""Cases as memory-mapped slices: one folder a case, ``manifest.json`` last.

    cases = cases_to_prepare(folder, None, 0, split)
    manifest = prepare(cases, Path("prepared"), SlicePreprocessing())

A case's folder holds images.npy, labels.npy and case.json. A second call goes on where the first
stopped: cases whose files and settings have not changed stay, in whatever set they are now.
"""

from __future__ import annotations

import hashlib
import signal
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from LiverTumorSegLib.files import read_json
from LiverTumorSegLib.inference.preprocess import SlicePreprocessing
from LiverTumorSegLib.labels import Label
from LiverTumorSegLib.volume import CtVolume
from numpy.typing import NDArray

from training.cases import splits
from training.cases.case import SET_NAMES, Case, files_of, phantom_case
from training.cases.folder import find_cases
from training.files import write_array, write_json

Bytes = NDArray[np.uint8]
BOOKKEEPING = ("split", "group", "kind")  # of a case's record; its arrays do not depend on them


@dataclass(frozen=True)
class PrepareCase(ABC):
    """One case to be written as arrays; what they are is the subclass's business.

    settings: what the arrays depend on besides the case, JSON-able. kinds: names of the arrays.
    """

    case: Case
    folder: Path

    @property
    @abstractmethod
    def settings(self) -> dict[str, Any]: ...

    @property
    @abstractmethod
    def kinds(self) -> tuple[str, ...]: ...

    @abstractmethod
    def arrays(self, ct: CtVolume, labels: Bytes) -> dict[str, NDArray[Any]]:
        """The arrays by kind, from a CT in LPS order and its labels; one entry a slice."""

    def run(self) -> dict[str, Any]:
        """Write the case unless it is there already; its record."""
        target = self.folder / self.case.name
        expected = {
            **{k: v for k, v in asdict(self.case).items() if k not in ("ct", "labels")},
            **fingerprint(self.case),
            **self.settings,
        }
        done = _read_record(target / "case.json")
        whole = all((target / f"{kind}.npy").is_file() for kind in self.kinds)
        if done is not None and whole and _same_arrays(done, expected):
            record = {**done, **expected}
            if record != done:
                write_json(target / "case.json", record)
            return record
        target.mkdir(parents=True, exist_ok=True)
        (target / "case.json").unlink(missing_ok=True)
        record = {**expected, **self._write_arrays(target)}
        write_json(target / "case.json", record)
        return record

    def _write_arrays(self, target: Path) -> dict[str, Any]:
        ct, labels = self.case.read()
        if labels.shape != ct.shape_kji:
            raise ValueError(
                f"{self.case.name}: the labels are {labels.shape}, the CT {ct.shape_kji};"
                " give the two the same grid."
            )
        if labels.max() > max(Label):
            raise ValueError(
                f"{self.case.name}: the labels hold the label {labels.max()}; use only"
                " 0, 1 liver and 2 tumor."
            )
        ct, turn = ct.to_lps()
        made = self.arrays(ct, turn.apply(labels))
        for kind, array in made.items():
            write_array(target / f"{kind}.npy", array)
        return self.facts(ct, made["labels"])

    def facts(self, ct: CtVolume, labels: Bytes) -> dict[str, Any]:
        """The manifest's facts about a CT in LPS order and its prepared labels."""
        return slice_facts(ct, labels)


@dataclass(frozen=True)
class PrepareSlices(PrepareCase):
    """A case as slices for a 2D net."""

    preprocessing: SlicePreprocessing
    windowed: bool

    @property
    def settings(self) -> dict[str, Any]:
        return {"preprocessing": self.preprocessing.to_dict(), "windowed": self.windowed}

    @property
    def kinds(self) -> tuple[str, ...]:
        return ("images", "labels", "windowed") if self.windowed else ("images", "labels")

    def arrays(self, ct: CtVolume, labels: Bytes) -> dict[str, NDArray[Any]]:
        spacing = ct.spacing_kji_mm[1:]
        made: dict[str, list[Bytes]] = {kind: [] for kind in self.kinds}
        for hu, classes in zip(ct.hu, labels, strict=True):
            square = self.preprocessing.square(hu, spacing)
            made["images"].append(self.preprocessing.enhance(square))
            made["labels"].append(self.preprocessing.place_labels(classes, spacing))
            if self.windowed:
                made["windowed"].append(square)
        return {kind: np.stack(slices) for kind, slices in made.items()}


def run_jobs(
    jobs: Sequence[PrepareCase], workers: int, progress: Callable[[Iterable[Any]], Iterable[Any]]
) -> list[dict[str, Any]]:
    """The records of all jobs, in order; ``workers`` at a time."""
    if workers > 1:
        # Ctrl-C reaches these processes too: they finish their case, and end without a traceback.
        ignore_interrupt = signal.SIGINT, signal.SIG_IGN
        with ProcessPoolExecutor(
            workers, initializer=signal.signal, initargs=ignore_interrupt
        ) as pool:
            return list(progress(pool.map(PrepareCase.run, jobs)))
    return [job.run() for job in progress(jobs)]


def prepare(
    cases: Sequence[Case],
    folder: Path,
    preprocessing: SlicePreprocessing,
    *,
    windowed: bool = False,
    workers: int = 1,
    group_by: splits.GroupBy = "patient",
    progress: Callable[[Iterable[Any]], Iterable[Any]] = iter,
) -> dict[str, Any]:
    """Prepare every case and write ``manifest.json``; returns the manifest.

    group_by: "volume" marks sets that may share patients, in the manifest too: scores of a model
        trained on them are leaking.
    Raises ``ValueError`` when preset "paper" is asked for windowed data: its per-slice minimum and
    maximum would be the window's two ends in every slice, not the paper's raw range.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "manifest.json").unlink(missing_ok=True)  # it vouches for arrays written below
    jobs = [PrepareSlices(case, folder, preprocessing, windowed) for case in cases]
    records = run_jobs(jobs, workers, progress)
    if preprocessing.preset == "paper":
        refuse_windowed(records)
    manifest = {
        "format": 1,
        "preprocessing": preprocessing.to_dict(),
        "windowed": windowed,
        "group_by": group_by,
        "hu_range": hu_range(records),
        "cases": records,
    }
    write_json(folder / "manifest.json", manifest)
    return manifest


def hu_range(records: Sequence[dict[str, Any]]) -> list[int]:
    """Least and greatest HU of the patients; of the phantoms only where there is nothing else."""
    used = [r for r in records if r.get("phantom_seed") is None] or records
    return [min(r["hu_min"] for r in used), max(r["hu_max"] for r in used)]


def refuse_windowed(records: Sequence[dict[str, Any]]) -> None:
    """``ValueError`` when every slice of every real case ends at the same two values."""
    real = [r for r in records if r.get("phantom_seed") is None]
    ends = {(r["hu_min"], r["hu_max"]) for r in real}
    if len(ends) == 1 and all(r["same_ends"] for r in real):
        low, high = ends.pop()
        raise ValueError(
            f"Every slice of these data runs from {low} to {high} HU: they were windowed before, so"
            " the paper's min-max of raw HU cannot be made from them; use --preset window."
        )


def cases_to_prepare(
    data: Path | None, table: Path | None, phantoms: int, split: splits.Split | None = None
) -> list[Case]:
    """Labeled cases of a folder that belong to a set, and phantoms (seeds 1000 on, train).

    split: which case is in which set, instead of the table's column. Raises ``ValueError`` when
    there is nothing to prepare, or a case of ``split`` is missing or has no labels.
    """
    if split is not None and data is None:
        raise ValueError("A split file needs its cases; give the folder that it was made of.")
    cases = find_cases(data, table=table) if data else []
    if split is None:
        splits.assert_disjoint(cases)
    else:
        cases = splits.apply_split(split, cases)
    chosen = []
    for case in cases:
        if split is not None and case.labels is None:
            raise ValueError(f"{case.file} is in the split but has no labels; add its label file.")
        if case.split is not None and case.labels is not None:
            chosen.append(case)
    chosen += [phantom_case(seed) for seed in range(1000, 1000 + phantoms)]
    if not chosen:
        raise ValueError(
            "No case with labels and a split was found; give a split file (training.split) by"
            " --split-file, or a CSV with the columns file, patient_group and split by --table."
        )
    return chosen


def fingerprint(case: Case) -> dict[str, Any]:
    """Hashes of what the prepared arrays depend on, besides the preprocessing."""
    if case.phantom_seed is not None:
        return {"phantom_seed": case.phantom_seed}
    assert case.labels is not None
    return {"ct_sha256": _sha256(case.ct), "labels_sha256": _sha256(case.labels)}


def slice_facts(ct: CtVolume, labels: Bytes) -> dict[str, Any]:
    """Slices by what they show, the CT's spacing, and the ends of its HU."""
    ends = [(int(s.min()), int(s.max())) for s in ct.hu]
    return {
        "slices": len(labels),
        "liver_slices": int((labels >= Label.LIVER).any(axis=(1, 2)).sum()),
        "tumor_slices": int((labels == Label.TUMOR).any(axis=(1, 2)).sum()),
        "spacing_kji_mm": list(ct.spacing_kji_mm),
        "hu_min": min(e[0] for e in ends),
        "hu_max": max(e[1] for e in ends),
        "same_ends": len(set(ends)) == 1 and len(ends) > 1,
    }


def _sha256(path: Path) -> str:
    """The hash of a file, or of a folder's slices one after the other."""
    digest = hashlib.sha256()
    for part in files_of(path):
        with open(part, "rb") as file:
            for block in iter(lambda: file.read(1 << 20), b""):
                digest.update(block)
    return digest.hexdigest()


def _same_arrays(done: dict[str, Any], expected: dict[str, Any]) -> bool:
    return all(done.get(key) == expected[key] for key in expected.keys() - set(BOOKKEEPING))


def _read_record(path: Path) -> dict[str, Any] | None:
    """The record of a prepared case; None if it is missing or damaged."""
    try:
        return read_json(path)
    except (OSError, ValueError):
        return None


def print_sets(manifest: dict[str, Any], things: str, split: splits.Split | None) -> None:
    """Print how much each set holds, and the split's warning."""
    for set_name in SET_NAMES:
        chosen = [c for c in manifest["cases"] if c["split"] == set_name]
        print(f"{set_name}: {len(chosen)} {things}, {sum(c['slices'] for c in chosen)} slices")
    if split and split.warning:
        print(f"Warning: {split.warning}", file=sys.stderr)

"""Which cases an evaluation scores, which it refuses, and what the sets hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from LiverTumorSegLib.inference.segmenter import Segmenter
from LiverTumorSegLib.labels import Label
from LiverTumorSegLib.volume import Reorientation

from training.cases import folder, splits
from training.cases.case import SET_NAMES, Case, default_group


@dataclass(frozen=True)
class SetFacts:
    """Counts of one set of a split. tumor_ml: mL of tumor of each of its volumes."""

    name: str
    volumes: int
    patients: int
    slices: int
    labeled_slices: int
    tumor_slices: int
    tumor_ml: Sequence[float]
    names: Sequence[str]


def find_cases(data: Path, table: Path | None, split_file: Path | None) -> tuple[list[Case], str]:
    """All cases that belong to a set, and a warning about the split, if any."""
    cases = folder.find_cases(data, table=table)
    if split_file is None:
        splits.assert_disjoint(cases)
        return [case for case in cases if case.split is not None], ""
    split = splits.load_split(split_file)
    return splits.apply_split(split, cases), split.warning


def chosen_cases(cases: Sequence[Case], split: str) -> list[Case]:
    """The volumes to score; ``ValueError`` when there is none."""
    chosen = [case for case in cases if case.split == split and case.kind == "case"]
    if not chosen:
        raise ValueError(f"No case of split {split!r} was found; check the table.")
    return chosen


def refuse_training_cases(segmenter: Segmenter, cases: Sequence[Case]) -> None:
    """``ValueError`` when the model was trained on a volume or on another scan of its patient."""
    shared = shared_with_training(segmenter, cases)
    if shared:
        raise ValueError(
            f"Case {shared[0].name} shares a patient with this model's training data; its score"
            " would say nothing. Choose a split the model has not seen."
        )


def shared_with_training(segmenter: Segmenter, cases: Sequence[Case]) -> list[Case]:
    """Cases that are, or whose patient is, among the model's training data."""
    stored = segmenter.spec.provenance
    trained = set(stored.get("train", []))
    groups = set(stored.get("train_groups", []))
    groups |= {default_group(int(name)) for name in trained if name.isdigit()}
    return [
        case
        for case in cases
        if case.name in trained or {case.group, default_group(case.number)} & groups
    ]


def set_facts(cases: Sequence[Case]) -> list[SetFacts]:
    """Count what each set holds, from the label files; context slices count as slices."""
    return [_facts_of(name, [c for c in cases if c.split == name]) for name in SET_NAMES]


def _facts_of(name: str, cases: Sequence[Case]) -> SetFacts:
    slices = labeled = tumor_slices = 0
    tumor_ml = []
    for case in cases:
        labels, ijk_to_ras = case.read_labels()
        k, j, i = labels.shape
        axial = Reorientation.to_lps(ijk_to_ras, (k, j, i)).apply(labels)
        slices += len(axial)
        labeled += int((axial >= Label.LIVER).any(axis=(1, 2)).sum())
        tumor = axial == Label.TUMOR
        tumor_slices += int(tumor.any(axis=(1, 2)).sum())
        if case.kind == "case":
            voxel_ml = abs(float(np.linalg.det(ijk_to_ras[:3, :3]))) / 1000
            tumor_ml.append(int(np.count_nonzero(tumor)) * voxel_ml)
    volumes = [case for case in cases if case.kind == "case"]
    return SetFacts(
        name=name,
        volumes=len(volumes),
        patients=len({case.group for case in volumes}),
        slices=slices,
        labeled_slices=labeled,
        tumor_slices=tumor_slices,
        tumor_ml=tumor_ml,
        names=[case.name for case in volumes],
    )

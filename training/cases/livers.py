"""How bright the livers are that a model was trained on.

low, high = liver_hu_range(Path("LiTS"), spec.provenance["train"])
"""

from __future__ import annotations

from collections.abc import Collection
from math import floor
from pathlib import Path

import numpy as np
from LiverTumorSegLib.labels import Label

from training.cases.case import Case
from training.cases.folder import find_cases


def liver_hu_range(folder: Path, names: Collection[str]) -> tuple[float, float]:
    """The least and the greatest median HU of the labeled livers of these cases, in whole numbers.

    names: of the cases; those that the folder lacks are left out, and so are slices without liver.
    Raises ``ValueError`` where it holds none of them.
    """
    chosen = set(names)
    medians = [
        median
        for case in find_cases(folder)
        if case.name in chosen and case.labels is not None and case.kind == "case"
        if (median := _median_hu(case)) is not None
    ]
    if not medians:
        raise ValueError(
            f"{folder.name} holds no labeled liver that the model was trained on; give the folder"
            " of its training cases."
        )
    low, high = min(medians), max(medians)
    return float(floor(low)), float(floor(high) + 1)


def _median_hu(case: Case) -> float | None:
    """Of the liver without its tumors; None where no voxel is liver."""
    ct, labels = case.read()
    liver = ct.hu[labels == Label.LIVER]
    return float(np.median(liver)) if liver.size else None

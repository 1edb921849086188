"""The parts of the training patients that are left out in turn, so that a network cannot know them.

without_first = volumes.without(fold_groups(manifest, 2)[0])
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from training.cases.stratified import stratified_folds

FOLD_SEED = 42


def fold_groups(manifest: Mapping[str, Any], count: int) -> list[list[str]]:
    """The training patients in ``count`` parts with alike tumors, the same at every call.

    Raises ``ValueError`` when there are fewer patients than parts, or less than two parts.
    """
    sizes_ml: dict[str, float] = {}
    for case in manifest["cases"]:
        if case["split"] == "train":
            group = case["group"]
            sizes_ml[group] = max(sizes_ml.get(group, 0.0), float(case["tumor_ml"]))
    if not 2 <= count <= len(sizes_ml):
        raise ValueError(
            f"{count} folds of {len(sizes_ml)} training patients cannot be made; give a number from"
            " 2 up to that of the patients."
        )
    return stratified_folds(sizes_ml, count, FOLD_SEED)

"""How well labels agree with a reference on the same grid."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from LiverTumorSegLib.labels import Label

from .lesions import label_lesions

Labels = NDArray[np.uint8]


def dice(predicted: NDArray[np.bool_], true: NDArray[np.bool_]) -> float:
    """2|P G| / (|P| + |G|), 0 to 1; two empty masks agree fully (1), one empty gives 0."""
    total = int(np.count_nonzero(predicted)) + int(np.count_nonzero(true))
    if total == 0:
        return 1.0
    return 2 * int(np.count_nonzero(predicted & true)) / total


@dataclass(frozen=True)
class Agreement:
    """Dice of liver (with tumor) and tumor, and how many true lesions were touched.

    lesions_true, lesions_found: 26-neighborhood components of the reference; found is any overlap.
    false_lesions: predicted components that touch no true tumor voxel.
    """

    liver_dice: float
    tumor_dice: float
    lesions_true: int
    lesions_found: int
    false_lesions: int

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def compare(predicted: Labels, true: Labels) -> Agreement:
    """Agreement of two label maps (k, j, i) with LiTS numbers; ``ValueError`` if shapes differ."""
    if predicted.shape != true.shape:
        raise ValueError(f"Labels {predicted.shape} and reference {true.shape} differ in shape.")
    true_lesions, true_count = label_lesions(true)
    made_lesions, made_count = label_lesions(predicted)
    tumor_made, tumor_true = predicted == Label.TUMOR, true == Label.TUMOR
    found = np.unique(true_lesions[tumor_made & tumor_true])
    touching = np.unique(made_lesions[tumor_made & tumor_true])
    return Agreement(
        liver_dice=dice(predicted >= Label.LIVER, true >= Label.LIVER),
        tumor_dice=dice(tumor_made, tumor_true),
        lesions_true=true_count,
        lesions_found=len(found),
        false_lesions=made_count - len(touching),
    )

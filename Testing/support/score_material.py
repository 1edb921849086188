"""What the tests of evaluation share: cases without files, and label maps that are scored."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from LiverTumorSegLib.labels import Label
from LiverTumorSegLib.volume import CtVolume
from numpy.typing import NDArray

from training.cases.case import Case
from training.score.case import CaseScore, Run, score_run

Labels = NDArray[np.uint8]
SPACING_KJI_MM = (5.0, 1.0, 1.0)
SHAPE_KJI = (10, 40, 40)


def case(name: str, group: str = "") -> Case:
    return Case(name, Path(f"volume-{name}.nii.gz"), None, group or name, "val", "case")


def labels(*, liver: slice = slice(2, 8), tumors: Sequence[tuple[int, int]] = ()) -> Labels:
    """A square liver on slices ``liver``, and tumors of 4 x 4 pixels on two slices.

    tumors: (slice, column) of each one's corner.
    """
    array = np.zeros(SHAPE_KJI, np.uint8)
    array[liver, 5:35, 5:35] = Label.LIVER
    for k, i in tumors:
        array[k : k + 2, 10:14, i : i + 4] = Label.TUMOR
    return array


def score(
    name: str,
    predicted: Labels,
    true: Labels,
    *,
    group: str = "",
    probabilities: NDArray[np.float16] | None = None,
    certainty: Labels | None = None,
) -> CaseScore:
    k, j, i = SPACING_KJI_MM
    ct = CtVolume(np.zeros(true.shape, np.int16), np.diag([-i, -j, k, 1.0]))
    run = Run(predicted, "cpu", len(true), len(true) - 2, 1.5, probabilities, certainty)
    return score_run(case(name, group), ct, run, true)


def three_scores(*, sure: int | None = None) -> list[CaseScore]:
    """A good one, one that misses its tumor and marks another, and a tumor-free one.

    sure: certainty of every voxel that is marked tumor, 0 to 255; None for a model without.
    """
    two = labels(tumors=[(3, 10), (5, 25)])
    pairs = {
        "a": (two, two),
        "b": (labels(tumors=[(3, 28)]), labels(tumors=[(4, 10)])),
        "c": (labels(liver=slice(2, 9)), labels()),
    }
    return [
        score(name, made, true, certainty=None if sure is None else certainty(made, sure))
        for name, (made, true) in pairs.items()
    ]


def certainty(predicted: Labels, sure: int) -> Labels:
    """The same wherever tumor is marked."""
    return np.where(predicted == Label.TUMOR, sure, 0).astype(np.uint8)

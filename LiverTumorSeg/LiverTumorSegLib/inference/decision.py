"""Turns a slice network's probabilities into labels: what is tumor, and how sure the model is.

    decision = Decision(tumor_threshold=0.7, smoothing_mm=5.0, calibration=(1.1, -0.4))
    labels_lps, tumor_probability_lps = segmenter.predict(ct).decide(decision)

A slice network sees no neighbors, so a bright vessel on one slice looks to it as a lesion does. A
tumor goes on from slice to slice: its share of liver and tumor, averaged through the plane, tells
the two apart. Where liver or tumor is at all is each slice's own and does not depend on these
settings. They are chosen on a model's validation patients and lie in its file.

How far a tumor reaches and whether there is one are two questions, so there are two thresholds
(hysteresis, Canny 1986): a low one for the outline, and one that a lesion's surest voxel must pass.
Where a network of its own has found the liver, it has a say as well: what it says is no liver, such
as a gallbladder or the content of a stomach beside it, is no liver tumor either.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from LiverTumorSegLib.sentences import sentence
from LiverTumorSegLib.settings import Settings

Floats = NDArray[np.float32]

REACH_SD = 3.0  # the Gaussian is cut here
LEAST_SHARE = 1e-4  # what a share is clipped to, and 1 minus it, before its logit is taken
LARGEST_CALIBRATION = 1e6
FULL_SCALE = 255  # a tumor probability of 1, stored in eight bits


@dataclass(frozen=True, kw_only=True)
class Decision(Settings):
    """The settings; the defaults leave each voxel the likeliest of three classes.

    tumor_threshold: inside what is liver or tumor, a voxel is tumor where the share
        p_tumor / (p_liver + p_tumor) is above this.
    seed_threshold: a lesion stays, whole, only where one of its voxels has a share above this
        (lesions: the 26-neighborhood); 0 keeps all.
    least_liver_share: where a network of its own has found the liver, a lesion stays, whole, only
        where this network's probability of liver (tumor included), averaged over the lesion, is
        at least this; 0 keeps all. What goes is not liver either where that probability is under
        one half.
    smoothing_mm: standard deviation of a Gaussian through the plane, by which both sums of the
        share are averaged over neighboring slices; 0 leaves each slice to itself.
    calibration: (slope, offset) of the probability that a voxel is tumor,
        sigmoid(slope * logit(share) + offset) (Platt 1999); None when they are not known.
    Raises ``ValueError`` for values that are not of their kind.
    """

    NOUN: ClassVar[str] = "decision"
    RENAMED: ClassVar[Mapping[str, str]] = {
        "tumor_share": "tumor_threshold",
        "confidence": "calibration",
    }

    RANGES: ClassVar[Mapping[str, tuple[float, float]]] = {
        "smoothing_mm": (0.0, 100.0),
        "seed_threshold": (0.0, 1.0),
        "least_liver_share": (0.0, 1.0),
    }

    tumor_threshold: float = 0.5
    smoothing_mm: float = 0.0
    seed_threshold: float = 0.0
    least_liver_share: float = 0.0
    calibration: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.tumor_threshold < 1:
            raise ValueError(
                sentence(
                    "tumor_threshold is {tumor_threshold}; give one within 0 to 1.",
                    tumor_threshold=self.tumor_threshold,
                )
            )
        if self.calibration is not None:
            object.__setattr__(self, "calibration", _checked_pair(self.calibration))

    @property
    def reach_mm(self) -> float:
        """How far another slice may be and still count."""
        return REACH_SD * self.smoothing_mm

    def weights(self, distances_mm: NDArray[np.float64]) -> Floats:
        """Weights of slices so far away, signed or not; 1 for the slice itself, 0 out of reach."""
        away_mm = np.abs(np.asarray(distances_mm, np.float64))
        if self.smoothing_mm == 0:
            return np.equal(away_mm, 0).astype(np.float32)
        weights = np.exp(-0.5 * (away_mm / self.smoothing_mm) ** 2)
        # a slice that lies just at the reach is within it, whatever the rounding of its place
        weights[away_mm > self.reach_mm * (1 + 1e-6)] = 0
        return weights.astype(np.float32)

    @property
    def has_seeds(self) -> bool:
        """Whether a lesion needs a surer voxel than its outline has."""
        return self.seed_threshold > self.tumor_threshold

    def probability(self, share: Floats) -> Floats:
        """The calibrated probability that voxels with such shares of tumor are tumor; any shape.

        Raises ``ValueError`` when ``calibration`` is None.
        """
        if self.calibration is None:
            raise ValueError("This model's confidence is not calibrated; choose a decision first.")
        slope, offset = self.calibration
        known = np.clip(share, LEAST_SHARE, 1 - LEAST_SHARE).astype(np.float64)
        score = slope * np.log(known / (1 - known)) + offset
        return (0.5 * (1 + np.tanh(0.5 * score))).astype(np.float32)  # a sigmoid without overflow

    def stored_probability(self, share: Floats) -> NDArray[np.uint8]:
        """255 times the probability of voxels that are labeled tumor, rounded; at least 1.

        So that 0 means one thing only: the model has not labeled the voxel tumor.
        """
        return np.rint(FULL_SCALE * self.probability(share)).clip(1, FULL_SCALE).astype(np.uint8)


def _checked_pair(pair: object) -> tuple[float, float]:
    problem = sentence(
        "calibration is {pair!r}; give two numbers, a slope of 0 or more and an offset.", pair=pair
    )
    if not isinstance(pair, (tuple, list)) or len(pair) != 2:
        raise ValueError(problem)
    if any(isinstance(value, bool) or not isinstance(value, (int, float)) for value in pair):
        raise ValueError(problem)
    slope, offset = pair
    if not (0 <= slope <= LARGEST_CALIBRATION and abs(offset) <= LARGEST_CALIBRATION):
        raise ValueError(problem)
    return float(slope), float(offset)

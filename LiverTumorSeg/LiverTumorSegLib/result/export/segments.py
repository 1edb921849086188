"""A result as segments: the liver, and each lesion by itself, with names, colors and codes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from LiverTumorSegLib.labels import Label
from LiverTumorSegLib.result.lesions import Lesion, LiverMeasures, separate_lesions


@dataclass(frozen=True)
class Segment:
    """One structure. number: its voxels' value, from 1. lesion: None for the liver."""

    number: int
    name: str
    label: Label
    lesion: Lesion | None = None


@dataclass(frozen=True, eq=False)
class SegmentedCase:
    """Everything that files of other standards say about a result.

    values_kji: uint8 or uint16 on the CT's grid, a value a segment; no two overlap, so the liver's
    segment leaves out its tumors. model: from the segmenter's description; None where the labels
    are of unknown origin. edited: a person has changed what the model found.
    """

    values_kji: NDArray[np.uint8] | NDArray[np.uint16]
    ijk_to_ras: NDArray[np.float64]
    segments: tuple[Segment, ...]
    measures: LiverMeasures
    model: Mapping[str, Any] | None
    edited: bool = False

    @classmethod
    def of(
        cls,
        labels_kji: NDArray[np.uint8],
        ijk_to_ras: NDArray[np.float64],
        measures: LiverMeasures,
        model: Mapping[str, Any] | None,
        *,
        edited: bool = False,
    ) -> SegmentedCase:
        """Separate the lesions of labels 0, 1, 2, numbered as in their measures."""
        values = separate_lesions(labels_kji, ijk_to_ras)
        segments = [Segment(1, "Liver", Label.LIVER)] if (values == 1).any() else []
        if not segments and measures.lesions:
            values = values - np.where(values > 0, 1, 0).astype(values.dtype)
        for lesion in measures.lesions:
            number = len(segments) + 1
            segments.append(Segment(number, f"Tumor {lesion.number}", Label.TUMOR, lesion))
        return cls(values, ijk_to_ras, tuple(segments), measures, model, edited)

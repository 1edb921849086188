"""A label map that somebody else made, measured."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from LiverTumorSegLib import __version__
from LiverTumorSegLib.volume import CtVolume

from .export.export import Export
from .files import NOTICE, scan_record, write_measured
from .lesions import LiverMeasures, labels_sha256, measures_to_dict
from .parts import PartMeasures, with_parts
from .plausibility import check


@dataclass(frozen=True, eq=False)
class MeasuredLabels:
    """Labels 0, 1, 2 of unknown origin, ``(k, j, i)`` on the CT's grid, with their measures."""

    ct: CtVolume
    labels_kji: NDArray[np.uint8]
    measures: LiverMeasures
    warnings: tuple[str, ...]
    export: Export = field(default_factory=Export)
    parts: PartMeasures | None = None

    @classmethod
    def of(
        cls, ct: CtVolume, labels_kji: NDArray[np.uint8], warnings: tuple[str, ...]
    ) -> MeasuredLabels:
        """Measure them, and say what looks implausible; nothing is taken out of them.

        warnings: what is known of them already.
        """
        checked = check(ct, labels_kji, by_model=False)
        return cls(ct, labels_kji, checked.measures, (*warnings, *checked.warnings))

    def to_dict(self) -> dict[str, Any]:
        """JSON-able, as a segmentation's record but without model and run; names no file."""
        record = {
            "notice": NOTICE,
            "made_with": f"LiverTumorSeg {__version__}",
            "found_liver": self.measures.liver_volume_ml > 0,
            **measures_to_dict(self.measures),
            "model": None,
            "scan": scan_record(self.ct),
            "labels_sha256": labels_sha256(self.labels_kji),
            "warnings": list(self.warnings),
        }
        return with_parts(record, self.parts, self.labels_kji)

    def write(self, folder: Path) -> MeasuredLabels:
        """Write every file into an existing folder; ``ValueError`` when the disk refuses one.

        What comes back has a warning more of each file that could not be made.
        """
        lost = write_measured(
            folder,
            self.ct,
            self.labels_kji,
            self.measures,
            self.to_dict(),
            footer="Measured on a label map",
            warnings=self.warnings,
            export=self.export,
        )
        return replace(self, warnings=(*self.warnings, *lost))

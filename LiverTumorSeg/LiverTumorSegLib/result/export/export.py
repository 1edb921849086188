"""Exports of a result beside labels, table, record and picture: DICOM, .seg.nrrd, surfaces.

export = Export.prepared(Exports(dicom=True), series)     # what cannot be is said at once
warnings = export.write(folder, labels_kji, ct.ijk_to_ras, measures, model)
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from LiverTumorSegLib.ct.dicom import Series
from LiverTumorSegLib.ct.dicom_headers import silenced_pydicom
from LiverTumorSegLib.files import disk_errors_as_sentences
from LiverTumorSegLib.result.lesions import LiverMeasures
from LiverTumorSegLib.sentences import sentence
from LiverTumorSegLib.settings import Exports

from .dicom_seg import make_seg
from .dicom_source import DicomSource, require_highdicom
from .dicom_sr import make_sr
from .seg_nrrd import write_seg_nrrd
from .segments import SegmentedCase
from .surfaces import write_surfaces

SEG, SR = "seg.dcm", "sr.dcm"
SEG_NRRD, SURFACES = "segmentation.seg.nrrd", "surfaces"
ALL_EXPORTS = (SEG, SR, SEG_NRRD, f"{SURFACES}/")
NOTHING_TO_EXPORT = "No liver was found, so there is nothing to write as {what}."
NOT_MADE = "{what} could not be made ({problem}); please report it."


@dataclass(frozen=True, eq=False)
class Export:
    """Further files of a result: DICOM SEG and SR, seg.nrrd, surfaces."""

    requested: Exports = field(default_factory=Exports)
    source: DicomSource | None = None

    @classmethod
    def prepared(cls, requested: Exports, series: Series | None) -> Export:
        """Check that all can be written; ``ValueError`` with one sentence where it cannot.

        series: the CT's own; None where the CT is no DICOM.
        """
        if requested.seg_nrrd:
            require_formats("SimpleITK", SEG_NRRD)
        if requested.stl or requested.obj:
            require_formats("skimage", SURFACES)
        source = None
        if requested.dicom:
            require_highdicom()
            if series is None:
                raise ValueError(
                    "This CT is no DICOM, and DICOM results refer to the images that they were made"
                    " of; give it as a DICOM folder, or leave out --dicom."
                )
            source = DicomSource.read(series)
        return cls(requested, source)

    def write(
        self,
        folder: Path,
        labels_kji: NDArray[np.uint8],
        ijk_to_ras: NDArray[np.float64],
        measures: LiverMeasures,
        model: Mapping[str, Any] | None,
        *,
        edited: bool = False,
    ) -> tuple[str, ...]:
        """Write them into an existing folder; a warning of each that could not be made.

        edited: a person has changed what the model found.
        Raises ``ValueError`` when the disk refuses one.
        """
        makers = self._makers()
        if not makers:
            return ()
        case = SegmentedCase.of(labels_kji, ijk_to_ras, measures, model, edited=edited)
        if not case.segments:
            return tuple(sentence(NOTHING_TO_EXPORT, what=what) for what in makers)
        with disk_errors_as_sentences(folder.name):
            return self._written(folder, case, makers)

    @staticmethod
    def _written(
        folder: Path,
        case: SegmentedCase,
        makers: Mapping[str, Callable[[Path, SegmentedCase], None]],
    ) -> tuple[str, ...]:
        lost = []
        for what, make in makers.items():
            try:
                make(folder, case)
            except OSError:
                raise
            except Exception as error:  # whatever it is, hours of computing are not lost for it
                lost.append(sentence(NOT_MADE, what=what, problem=type(error).__name__))
        return tuple(lost)

    def _makers(self) -> dict[str, Callable[[Path, SegmentedCase], None]]:
        makers: dict[str, Callable[[Path, SegmentedCase], None]] = {}
        if self.requested.dicom:
            makers["DICOM"] = self._write_dicom
        if self.requested.seg_nrrd:
            makers[SEG_NRRD] = lambda folder, case: write_seg_nrrd(folder / SEG_NRRD, case)
        endings = [name for name in ("stl", "obj") if getattr(self.requested, name)]
        if endings:
            makers[SURFACES] = lambda folder, case: write_surfaces(folder / SURFACES, case, endings)
        return makers

    def _write_dicom(self, folder: Path, case: SegmentedCase) -> None:
        assert self.source is not None
        with silenced_pydicom():
            seg = make_seg(case, self.source)
            sr = make_sr(case, self.source, seg)
            seg.save_as(folder / SEG)
            sr.save_as(folder / SR)


def require_formats(package: str, what: str) -> None:
    """``ValueError`` with what to install where a package of the extra is missing."""
    try:
        importlib.import_module(package)
    except ImportError:
        raise ValueError(
            sentence(
                "Writing {what} needs a package that is missing ({package}); get it with: pip"
                " install 'livertumorseg[formats]'.",
                what=what,
                package=package,
            )
        ) from None

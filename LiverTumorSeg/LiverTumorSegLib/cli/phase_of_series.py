"""The phase of a series by its own gray values, seen on the liver that a model finds.

    phase_of_series(entry, segmenter)       # "arterial"

Only slices about 5 mm apart are read and run, so a thin series takes no longer than a thick one.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from LiverTumorSegLib.ct.dicom import Series, read_series
from LiverTumorSegLib.ct.phase import Phase
from LiverTumorSegLib.ct.study import StudySeries

from .interrupts import raise_if_interrupted

if TYPE_CHECKING:
    from LiverTumorSegLib.inference.segmenter import Segmenter

APART_MM = 5.0
LEAST_SLICES = 12  # of a short scan more are run


def phase_of_series(entry: StudySeries, segmenter: Segmenter) -> Phase:
    """ "unknown" too where no liver is found, or the series cannot be read."""
    from LiverTumorSegLib.inference.progress import Cancelled
    from LiverTumorSegLib.result.contrast import contrast_of
    from LiverTumorSegLib.result.trunk import Trunk

    try:
        ct, _ = read_series(_thinned(entry.series, entry.spacing_mm or APART_MM))
        done = segmenter.segment(ct, lambda fraction, phrase: raise_if_interrupted())
    except Cancelled:
        raise KeyboardInterrupt from None
    except ValueError:
        return "unknown"  # what is wrong is said when it is read to be segmented
    lps, turn = ct.to_lps(copy=False)
    if not done.found_liver:
        return "unknown"
    trunk = Trunk.around_liver(lps, turn.apply(done.labels_kji))
    return contrast_of(trunk).phase if trunk.found else "unknown"


def _thinned(series: Series, spacing_mm: float) -> Series:
    """Every so many of its images, from its first one on."""
    images = list(series.stack.images)
    step = max(1, min(round(APART_MM / spacing_mm), len(images) // LEAST_SLICES))
    orientation = images[0].orientation
    if step == 1 or orientation is None:
        return series
    normal = np.cross(*np.array(orientation).reshape(2, 3))
    images.sort(key=lambda image: float(np.dot(image.position_lps_mm or (0, 0, 0), normal)))
    return replace(series, stack=replace(series.stack, images=tuple(images[::step])))

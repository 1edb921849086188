"""However a CT's grid lies in the patient, whichever network is asked: the same labels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import threshold_cascade
import threshold_slices
from LiverTumorSegLib.inference.segmenter import Segmenter
from LiverTumorSegLib.volume import CtVolume
from looped import ALL_AXES, looped
from numpy.typing import NDArray
from threshold_slices import abdomen, oblique, turned


def of_a_cascade() -> Segmenter:
    return threshold_cascade.segmenter(threshold_cascade.CASCADE_STEPS)


@looped("make", [threshold_slices.segmenter, of_a_cascade])
def test_however_the_grid_lies_the_patient_gets_the_same_labels(
    make: Callable[[], Segmenter],
) -> None:
    for rotation in (None, oblique()):
        ct = abdomen(rotation=rotation)
        upright = make().segment(ct, keep_prediction=True)
        assert set(np.unique(upright.labels_kji)) == {0, 1, 2}
        for axes_to_ras in ALL_AXES:
            hu, new_to_old = turned(ct.hu, axes_to_ras)
            moved = CtVolume(hu, ct.ijk_to_ras @ new_to_old)
            result = make().segment(moved, keep_prediction=True)
            assert result.labels_kji.dtype == np.uint8
            assert_turned(result.labels_kji, upright.labels_kji, axes_to_ras)
            assert result.probabilities is not None
            assert upright.probabilities is not None
            for made, expected in zip(result.probabilities, upright.probabilities, strict=True):
                assert_turned(made, expected, axes_to_ras)


def assert_turned(made: NDArray[Any], upright: NDArray[Any], axes_to_ras: NDArray[Any]) -> None:
    np.testing.assert_array_equal(
        made, turned(upright, axes_to_ras)[0], err_msg=f"with axes {axes_to_ras.tolist()}"
    )

"""A run over some axial slices: the right ones in every orientation, and the rest background."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from LiverTumorSegLib.inference.postprocess import Postprocessing
from LiverTumorSegLib.inference.preprocess import SlicePreprocessing
from LiverTumorSegLib.inference.segmenter import Segmentation, SliceSegmenter
from LiverTumorSegLib.inference.slice_range import SliceRange
from LiverTumorSegLib.model.spec import ModelSpec
from LiverTumorSegLib.volume import CtVolume
from numpy.typing import NDArray

SIZE = 64
STEPS = SlicePreprocessing(size_px=SIZE, grid_px=SIZE, use_clahe=False, use_gamma=False)
SPEC = ModelSpec(
    name="bright",
    version="1",
    net="none",
    net_args={},
    preprocessing=STEPS.to_dict(),
    labels={"background": 0, "liver": 1, "tumor": 2},
    training_hu_range=None,
    postprocessing={},
    provenance={},
    storage="fp32",
)


class Bright:
    """In place of a network: what is bright is liver."""

    device, batch = "cpu", 2

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.seen = 0

    def __call__(self, grays: NDArray[np.uint8]) -> NDArray[np.float32]:
        self.seen += len(grays)
        return np.eye(3, dtype=np.float32)[(grays > 128).astype(int)]


def lps_ct(slices: int = 12, spacing_mm: float = 2.0) -> CtVolume:
    """A bright block on every slice, wider toward the head."""
    hu = np.full((slices, SIZE, SIZE), -1000, np.int16)
    for k in range(slices):
        hu[k, 20:44, 10 : 20 + 2 * k] = 120
    return CtVolume(hu, np.diag([-spacing_mm, -spacing_mm, spacing_mm, 1.0]))


def run(ct: CtVolume, postprocessing: Postprocessing | None = None, **options: Any) -> Segmentation:
    postprocessing = postprocessing or Postprocessing(smallest_liver_ml=0.0)
    return SliceSegmenter(Bright(), SPEC, STEPS, postprocessing).segment(ct, **options)


def test_only_the_slices_asked_for_are_run_and_labeled() -> None:
    whole, part = run(lps_ct()), run(lps_ct(), slices=(3, 6))
    assert (part.slices, part.slices_run, part.slice_range) == (12, 4, (3, 6))
    np.testing.assert_array_equal(part.labels_kji[3:7], whole.labels_kji[3:7])
    assert part.labels_kji[3:7].any()
    assert not part.labels_kji[:3].any()
    assert not part.labels_kji[7:].any()
    assert any("3 to 6" in warning for warning in part.warnings)


def test_all_slices_are_the_same_as_no_range() -> None:
    whole, same = run(lps_ct()), run(lps_ct(), slices=[0, 11])
    np.testing.assert_array_equal(whole.labels_kji, same.labels_kji)
    assert same.slice_range is None
    assert same.warnings == whole.warnings
    assert same.postprocessing == whole.postprocessing


def test_slices_count_from_the_feet_in_every_orientation(axes_to_ras: NDArray[np.float64]) -> None:
    lps = lps_ct()
    to_ras = np.eye(4)
    to_ras[:3, :3] = 2.0 * axes_to_ras
    # the axes of the new grid, (i, j, k), as axes of the LPS one
    order = [int(np.argmax(np.abs(axes_to_ras[:, axis]))) for axis in range(3)]
    turned = lps.hu.transpose([2 - order[2 - axis] for axis in range(3)])
    lps_signs = np.array([-1.0, -1.0, 1.0])
    flips = [
        axis
        for axis in range(3)
        if axes_to_ras[order[2 - axis], 2 - axis] * lps_signs[order[2 - axis]] < 0
    ]
    ct = CtVolume(np.ascontiguousarray(np.flip(turned, flips)), to_ras)
    back, turn = ct.to_lps()
    np.testing.assert_array_equal(back.hu, lps.hu)
    labels = run(ct, slices=(3, 6)).labels_kji
    np.testing.assert_array_equal(turn.apply(labels), run(lps, slices=(3, 6)).labels_kji)


def test_probabilities_outside_are_surely_background() -> None:
    part = run(lps_ct(), slices=(3, 6), probabilities=True)
    assert part.probabilities is not None
    outside = np.delete(part.probabilities, range(3, 7), axis=1)
    assert (outside[0] == 1).all()
    assert (outside[1:] == 0).all()
    assert (part.probabilities[1, 3:7] == 1).any()


def test_little_liver_in_few_slices_is_kept() -> None:
    """The least liver volume tells a liver from noise in a whole CT; one slice holds less."""
    strict = Postprocessing(smallest_liver_ml=50.0)
    part = run(lps_ct(), strict, slices=(6, 6))
    assert part.found_liver
    assert part.postprocessing.smallest_liver_ml == 0.0
    assert part.labels_kji[6].sum() * 0.008 < 50.0


@pytest.mark.parametrize("slices", [(-1, 3), (3, 12), (6, 3), (12, 12)])
def test_slices_that_are_not_there_are_refused(slices: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=r"0 \(feet\) to 11"):
        run(lps_ct(), slices=slices)


def test_the_part_lies_where_it_lay() -> None:
    ct = lps_ct()
    part = SliceRange.of((3, 6), 12).cut(ct)
    first = ct.ijk_to_ras @ (0, 0, 3, 1)
    np.testing.assert_allclose(part.ijk_to_ras @ (0, 0, 0, 1), first)
    np.testing.assert_array_equal(part.hu, ct.hu[3:7])

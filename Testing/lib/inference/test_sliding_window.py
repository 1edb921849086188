"""Sliding windows: MONAI as oracle, bounded memory, and what a predictor may do in between."""

from __future__ import annotations

import tracemalloc
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from LiverTumorSegLib.inference.progress import Cancelled
from LiverTumorSegLib.inference.sliding_window import Floats, SlidingWindow, gaussian_importance
from looped import looped
from numpy.typing import NDArray

PATCH = (6, 8, 10)
WINDOW = SlidingWindow(patch_kji=PATCH)
Shape = tuple[int, int, int]


class Uneven:
    """Answers that depend on a voxel, its neighbors and its place in the patch: (B, 3, k, j, i)."""

    def __init__(self, batch: int = 1, patch_kji: Shape = PATCH) -> None:
        self.batch, self.sizes = batch, list[int]()
        self.place = np.random.default_rng(1).random((3, *patch_kji), np.float32)

    def __call__(self, patches: Floats) -> Floats:
        self.sizes.append(len(patches))
        assert patches.dtype == np.float32
        both = patches[:, :1] + 0.5 * patches[:, -1:]
        return np.sin(3 * both * self.place) + np.roll(both, 1, axis=2)


def volume(shape: Shape, channels: int = 1) -> Floats:
    return np.random.default_rng(0).random((channels, *shape), np.float32)


def together(
    window: SlidingWindow, image: NDArray[Any], predictor: Any, **arguments: Any
) -> Floats:
    return np.concatenate([slab for _, slab in window.slabs(image, predictor, **arguments)], axis=1)


def monais(window: SlidingWindow, image: Floats, predictor: Any, batch: int = 1) -> Floats:
    inferers = pytest.importorskip("monai.inferers")
    torch = pytest.importorskip("torch")
    result = inferers.sliding_window_inference(
        torch.from_numpy(image)[None],
        window.patch_kji,
        batch,
        lambda patches: torch.from_numpy(predictor(patches.numpy())),
        overlap=window.overlap,
        mode="gaussian",
    )
    return np.asarray(result[0].numpy())


@looped(
    "shape",
    [
        PATCH,
        (12, 16, 20),
        (13, 15, 21),
        (23, 9, 10),
        (4, 16, 20),  # smaller than the patch, centered in zeros
        (5, 3, 4),
        (7, 7, 30),
    ],
)
@looped(("overlap", "channels"), [(0.5, 1), (0.5, 2), (0.25, 1), (0.0, 2)])
def test_equals_monai(shape: Shape, overlap: float, channels: int) -> None:
    window = SlidingWindow(patch_kji=PATCH, overlap=overlap)
    image, predictor = volume(shape, channels), Uneven()
    ours = together(window, image, predictor)
    calls = len(predictor.sizes)
    theirs = monais(window, image, predictor)
    assert ours.shape == (3, *shape)
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, theirs, atol=2e-6)
    assert len(predictor.sizes) == 2 * calls  # the same number of windows


@looped("patch", [PATCH, (64, 128, 128), (1, 5, 2)])
def test_importance_equals_monais(patch: Shape) -> None:
    utils = pytest.importorskip("monai.data.utils")
    theirs = utils.compute_importance_map(patch, mode="gaussian", sigma_scale=0.125).numpy()
    np.testing.assert_allclose(gaussian_importance(patch), theirs, rtol=1e-5)


@looped("batch", [1, 2, 5, 100])
def test_batches_do_not_change_the_values(batch: int) -> None:
    image = volume((20, 15, 21))
    predictor = Uneven(batch)
    np.testing.assert_allclose(
        together(WINDOW, image, predictor), together(WINDOW, image, Uneven()), atol=1e-6
    )
    assert set(predictor.sizes[:-1]) <= {batch}


def test_slabs_come_in_order_and_complete() -> None:
    image = volume((29, 15, 12))
    slabs = list(WINDOW.slabs(image, Uneven()))
    ends = [first + slab.shape[1] for first, slab in slabs]
    assert [first for first, _ in slabs] == [0, *ends[:-1]]
    assert ends[-1] == 29
    assert max(slab.shape[1] for _, slab in slabs) <= PATCH[0]
    whole = WINDOW(image, Uneven())
    assert whole.dtype == np.float16
    np.testing.assert_allclose(whole, np.concatenate([s for _, s in slabs], axis=1), atol=1e-3)


def test_memory_does_not_grow_with_the_number_of_slices() -> None:
    peaks = []
    window = SlidingWindow(patch_kji=(8, 32, 32))
    for slices in (40, 400):
        image, predictor = volume((slices, 48, 48)), Uneven(2, window.patch_kji)
        tracemalloc.start()
        for _ in window.slabs(image, predictor):
            pass
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    sums = (3 + 1) * 8 * 48 * 48 * 4
    assert peaks[0] > sums
    assert peaks[1] < 1.2 * peaks[0]  # the list of windows alone grows
    assert peaks[1] < 3 * 400 * 48 * 48 * 4 / 6  # a sixth of all values as float32


def test_a_prediction_that_knows_no_place_is_given_back() -> None:
    # a constant answer stays constant
    class Constant(Uneven):
        def __call__(self, patches: Floats) -> Floats:
            return np.full((len(patches), 2, *PATCH), 0.3, np.float32)

    result = together(WINDOW, volume((19, 11, 23)), Constant(3))
    np.testing.assert_allclose(result, 0.3, rtol=1e-6)

    # an answer that knows no place is given back
    class Same(Uneven):
        def __call__(self, patches: Floats) -> Floats:
            return patches

    image = volume((19, 11, 23), 2)
    for mirror in ((), (0, 1, 2)):
        window = SlidingWindow(patch_kji=PATCH, mirror_axes=mirror)
        np.testing.assert_allclose(together(window, image, Same(2)), image, atol=1e-6)


class Mirrored(Uneven):
    """Averages over the given combinations of axes by itself."""

    turns: tuple[tuple[int, ...], ...] = ()

    def __call__(self, patches: Floats) -> Floats:
        answers = [
            np.flip(super(Mirrored, self).__call__(np.flip(patches, turn).copy()), turn)
            for turn in self.turns
        ]
        return np.mean(answers, axis=0)


@looped(
    ("axes", "turns"),
    [
        ((1,), ((), (3,))),
        ((0, 2), ((), (2,), (4,), (2, 4))),
        ((0, 1, 2), ((), (2,), (3,), (4,), (2, 3), (2, 4), (3, 4), (2, 3, 4))),
    ],
)
def test_mirrored_windows_are_averaged(
    axes: tuple[int, ...], turns: tuple[tuple[int, ...], ...]
) -> None:
    image, by_hand = volume((9, 12, 13)), Mirrored(2)
    by_hand.turns = turns
    window = SlidingWindow(patch_kji=PATCH, mirror_axes=axes)
    ours = together(window, image, Uneven(2))
    np.testing.assert_allclose(ours, together(WINDOW, image, by_hand), atol=1e-6)
    assert np.abs(ours - together(WINDOW, image, Uneven(2))).max() > 0.05


def region(shape: Shape, *boxes: tuple[slice, slice, slice]) -> NDArray[np.bool_]:
    where = np.zeros(shape, bool)
    for box in boxes:
        where[box] = True
    return where


@looped(
    "boxes",
    [
        [np.s_[0:2, 0:3, 0:3]],
        [np.s_[25:30, 10:14, 5:9]],  # nothing in the first layers
        [np.s_[1:3, 2:5, 3:9], np.s_[38:40, 20:24, 20:22]],  # more than a patch between
        [np.s_[0:40, 0:24, 0:22]],
    ],
)
def test_a_region_has_the_values_of_the_whole(boxes: list[tuple[slice, slice, slice]]) -> None:
    shape = (40, 24, 22)
    image, where = volume(shape), region(shape, *boxes)
    everywhere, there = Uneven(3), Uneven(3)
    expected = together(WINDOW, image, everywhere)
    found = together(WINDOW, image, there, where=where)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found[:, where], expected[:, where], atol=1e-6)
    if not where.all():
        assert sum(there.sizes) < sum(everywhere.sizes) / 2
        assert (found == 0).any()


def test_a_region_in_a_small_volume() -> None:
    image, where = volume((4, 5, 30)), region((4, 5, 30), np.s_[3:, 4:, 29:])
    predictor = Uneven()
    found = together(WINDOW, image, predictor, where=where)
    assert predictor.sizes == [1]
    np.testing.assert_allclose(
        found[:, where], together(WINDOW, image, Uneven())[:, where], atol=1e-6
    )


@looped(("mirror", "runs"), [((), 1), ((0, 1, 2), 8)])
def test_progress_after_every_run_of_the_network(mirror: tuple[int, ...], runs: int) -> None:
    told: list[tuple[float, str]] = []
    window = SlidingWindow(patch_kji=PATCH, mirror_axes=mirror)
    predictor = Uneven()
    window(volume((9, 12, 10)), predictor, lambda fraction, phrase: told.append((fraction, phrase)))
    windows = 2 * 2 * 1
    assert len(told) == 1 + windows * runs == 1 + len(predictor.sizes)
    assert told[0] == (0.0, f"Window 1 of {windows}")
    assert told[-1] == (1.0, f"Window {windows} of {windows}")
    assert all(later > earlier for (earlier, _), (later, _) in pairwise(told))


@looped("after", [0, 1, 5])
def test_cancelled_within_one_window(after: int) -> None:
    predictor, told = Uneven(), [0]

    def stop(fraction: float, phrase: str) -> None:
        told[0] += 1
        if told[0] > after:
            raise Cancelled

    with pytest.raises(Cancelled):
        WINDOW(volume((30, 20, 20)), predictor, stop)
    assert len(predictor.sizes) == after


class Tight(Uneven):
    """An engine that halves its batch when it is given more than fits, as SliceRunner does."""

    def __init__(self, batch: int, room: int) -> None:
        super().__init__(batch)
        self.room, self.warnings = room, list[str]()

    def __call__(self, patches: Floats) -> Floats:
        while self.batch > self.room:
            self.batch //= 2
            self.warnings.append(f"GPU memory ran short: continued with {self.batch} at a time.")
        parts = [super(Tight, self).__call__(p[None]) for p in patches]
        return np.concatenate(parts)


def test_a_predictor_that_runs_short_of_memory_is_given_less() -> None:
    image, tight = volume((14, 16, 20)), Tight(16, room=4)
    given: list[int] = []

    class Watched(Tight):
        def __call__(self, patches: Floats) -> Floats:
            given.append(len(patches))
            return super().__call__(patches)

    watched = Watched(16, room=4)
    np.testing.assert_allclose(
        together(WINDOW, image, watched), together(WINDOW, image, tight), atol=1e-6
    )
    assert given[0] == 16
    assert set(given[1:-1]) == {4}
    assert len(watched.warnings) == 2  # kept for whoever tells them


def test_half_floats_are_read_as_they_are() -> None:
    image = volume((9, 12, 13)).astype(np.float16)
    expected = together(WINDOW, image.astype(np.float32), Uneven())
    assert np.array_equal(together(WINDOW, image, Uneven()), expected)


def test_what_cannot_work_is_refused_with_what_to_do() -> None:
    image = volume((9, 12, 13))
    for arguments, words in (
        ({"overlap": 1.0}, "below 1"),
        ({"patch_kji": (0, 8, 8)}, "above 0"),
        ({"mirror_axes": (0, 0)}, "each of 0, 1, 2 once"),
        ({"mirror_axes": (3,)}, "each of 0, 1, 2 once"),
    ):
        with pytest.raises(ValueError, match=words):
            SlidingWindow(**arguments)
    with pytest.raises(ValueError, match=r"\(channels, k, j, i\)"):
        WINDOW(image[0], Uneven())
    with pytest.raises(ValueError, match="one value for each voxel"):
        WINDOW(image, Uneven(), where=np.ones((9, 12, 12), bool))
    with pytest.raises(ValueError, match="nothing for the network"):
        WINDOW(image, Uneven(), where=np.zeros((9, 12, 13), bool))

    class Shrinking(Uneven):
        def __call__(self, patches: Floats) -> Floats:
            return patches[..., ::2]

    with pytest.raises(ValueError, match="as large as its patch"):
        WINDOW(image, Shrinking())

"""Which slices make up an epoch, and what may happen to them on the way to the net."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from LiverTumorSegLib.inference.preprocess import SlicePreprocessing
from looped import looped
from numpy.typing import NDArray

from training.data.slices import Sampling, SliceSet, load_split, resize_batch, to_batch

Rows = NDArray[np.int64]
PREPROCESSING = SlicePreprocessing(grid_px=64, size_px=32)
# Slices of each of three cases: without liver, with liver only, with tumor. The first is the
# large one with most of the tumors.
CASES = ((20, 30, 50), (30, 40, 4), (5, 10, 2))


def slices() -> SliceSet:
    """191 slices of 4 x 4 pixels whose label tells what they show."""
    labels, case_index = [], []
    for case, counts in enumerate(CASES):
        for label, count in enumerate(counts):
            labels += [np.full((4, 4), label, np.uint8)] * count
            case_index += [case] * count
    order = np.random.default_rng(9).permutation(len(labels))
    stacked = np.stack(labels)[order]
    return SliceSet(
        images=np.zeros_like(stacked),
        labels=stacked,
        windowed=None,
        case_index=np.array(case_index)[order],
        slice_index=np.arange(len(labels)),
        cases=("a", "b", "c"),
        preprocessing=PREPROCESSING,
    )


def epoch(sampling: Sampling, data: SliceSet, seed: int = 0, batch: int = 8) -> Rows:
    batches = list(sampling.batches(data, batch, np.random.default_rng(seed)))
    assert all(len(rows) == batch for rows in batches[:-1])
    assert 1 <= len(batches[-1]) <= batch
    return np.concatenate(batches)


def shares(data: SliceSet, rows: Rows) -> tuple[float, float, float]:
    """Of slices without liver, with liver only, with tumor."""
    free, tumor = (~data.has_liver)[rows].mean(), data.has_tumor[rows].mean()
    return float(free), float(1 - free - tumor), float(tumor)


def test_what_a_slice_shows() -> None:
    data = slices()
    assert len(data) == sum(sum(c) for c in CASES)
    assert data.has_liver.sum() == sum(c[1] + c[2] for c in CASES)
    assert data.has_tumor.sum() == sum(c[2] for c in CASES)
    assert (data.has_liver | ~data.has_tumor).all()


def test_the_papers_epoch_is_each_liver_slice_once() -> None:
    data = slices()
    rows = epoch(Sampling(), data)
    assert sorted(rows) == np.flatnonzero(data.has_liver).tolist()
    assert rows.tolist() != sorted(rows)


@looped("share", [0.2, 0.25, 0.3])
def test_liver_free_slices_are_a_share_of_all(share: float) -> None:
    data = slices()
    rows = epoch(Sampling(liver_free_share=share), data)
    liver = rows[data.has_liver[rows]]
    assert sorted(liver) == np.flatnonzero(data.has_liver).tolist()
    assert shares(data, rows)[0] == pytest.approx(share, abs=1 / len(rows))


def test_liver_free_slices_are_repeated_evenly_when_there_are_few() -> None:
    data = slices()
    few = np.flatnonzero(data.has_liver | (np.arange(len(data)) < 40))
    data = replace(
        data, images=data.images[few], labels=data.labels[few], case_index=data.case_index[few]
    )
    free = np.flatnonzero(~data.has_liver)
    rows = epoch(Sampling(liver_free_share=0.5), data)
    times = np.bincount(rows, minlength=len(data))[free]
    assert times.sum() == data.has_liver.sum()
    assert times.max() - times.min() <= 1


def test_every_batch_mixes_them() -> None:
    data = slices()
    sampling = Sampling(liver_free_share=0.25, epoch_slices=600)
    counts = [
        (~data.has_liver[rows]).sum()
        for rows in sampling.batches(data, 16, np.random.default_rng(0))
    ]
    assert np.mean(counts) == pytest.approx(4, abs=0.1)
    assert np.std(counts) < 3


@looped("share", [0.1, 0.4, 0.6])
@looped("case_balance", [0.0, 0.5, 1.0])
def test_tumor_share_is_of_all_slices(share: float, case_balance: float) -> None:
    data = slices()
    sampling = Sampling(
        liver_free_share=0.25, tumor_share=share, case_balance=case_balance, epoch_slices=400
    )
    rows = epoch(sampling, data)
    assert len(rows) == round(400 / 0.75)
    wanted = (0.25, 0.75 - share, share)
    assert shares(data, rows) == pytest.approx(wanted, abs=2 / len(rows))


def test_a_tumor_share_beyond_the_room_fills_all_of_it() -> None:
    data = slices()
    rows = epoch(Sampling(liver_free_share=0.25, tumor_share=0.9, epoch_slices=90), data)
    assert shares(data, rows) == pytest.approx((0.25, 0, 0.75), abs=0.01)


@looped("missing", [1, 2])
def test_an_epoch_keeps_its_length_when_one_kind_is_missing(missing: int) -> None:
    """All liver slices with tumor, or none."""
    data = slices()
    kept = np.flatnonzero(data.labels[:, 0, 0] != missing)
    data = replace(
        data, images=data.images[kept], labels=data.labels[kept], case_index=data.case_index[kept]
    )
    rows = epoch(Sampling(tumor_share=0.4, epoch_slices=100), data)
    assert len(rows) == 100
    assert shares(data, rows)[missing] == 0


def test_case_balance_gives_every_case_the_same_weight() -> None:
    data = slices()
    count = 60_000
    of_case = {}
    for balance in (0.0, 0.5, 1.0):
        rows = epoch(Sampling(case_balance=balance, epoch_slices=count), data)
        of_case[balance] = np.bincount(data.case_index[rows], minlength=3) / count
    liver_slices = np.array([c[1] + c[2] for c in CASES])
    for balance, found in of_case.items():
        weights = liver_slices ** (1 - balance)
        assert found == pytest.approx(weights / weights.sum(), abs=0.01)


def test_case_balance_holds_among_the_tumor_slices_too() -> None:
    data = slices()
    sampling = Sampling(tumor_share=0.5, case_balance=1.0, epoch_slices=60_000)
    rows = epoch(sampling, data)
    tumors = rows[data.has_tumor[rows]]
    found = np.bincount(data.case_index[tumors], minlength=3) / len(tumors)
    assert found == pytest.approx([1 / 3] * 3, abs=0.01)


@looped(
    "sampling",
    [
        Sampling(),
        Sampling(liver_free_share=0.25),
        Sampling(liver_free_share=0.25, tumor_share=0.4, case_balance=0.5),
    ],
)
def test_a_seed_gives_the_same_rows(sampling: Sampling) -> None:
    data = slices()
    assert np.array_equal(epoch(sampling, data, seed=3), epoch(sampling, data, seed=3))
    assert not np.array_equal(epoch(sampling, data, seed=3), epoch(sampling, data, seed=4))


def test_data_without_liver_are_refused() -> None:
    data = slices()
    empty = replace(data, labels=np.zeros_like(data.labels))
    with pytest.raises(ValueError, match="No training slice shows liver"):
        epoch(Sampling(), empty)


def test_a_batch_of_bytes_becomes_floats_from_0_to_1() -> None:
    grays = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    images, labels = to_batch(grays, (grays % 3).astype(np.uint8), 16, "cpu")
    assert (images.shape, images.dtype) == ((1, 1, 16, 16), torch.float32)
    assert torch.equal(images[0, 0], torch.arange(256.0).reshape(16, 16) / 255)
    assert (labels.shape, labels.dtype) == ((1, 16, 16), torch.int64)
    assert np.array_equal(labels.numpy(), grays % 3)


@looped("step", [2, 4])
def test_a_smaller_batch_takes_block_means_and_labels_of_the_same_place(step: int) -> None:
    random = np.random.default_rng(0)
    grays = random.integers(0, 256, (2, 32, 32)).astype(np.uint8)
    blocks = random.integers(0, 3, (2, 32 // step, 32 // step)).astype(np.uint8)
    labels = blocks.repeat(step, axis=1).repeat(step, axis=2)
    images, classes = resize_batch(torch.from_numpy(grays), torch.from_numpy(labels), 32 // step)
    means = grays.reshape(2, 32 // step, step, 32 // step, step).mean(axis=(2, 4)) / 255
    assert np.allclose(images[:, 0].numpy(), means, atol=1e-6)
    assert np.array_equal(classes.numpy(), blocks)


@looped("size_px", [24, 20, 64])
def test_a_size_that_does_not_divide_is_refused(size_px: int) -> None:
    grays = torch.zeros(1, 32, 32, dtype=torch.uint8)
    with pytest.raises(ValueError, match=f"evenly to {size_px}"):
        resize_batch(grays, grays, size_px)


def windowed_slices(count: int = 6) -> SliceSet:
    """Two cases of smooth slices with both ends of the window in them, kept before CLAHE too."""
    random = np.random.default_rng(1)
    rows = np.linspace(60, 200, 64)
    squares = rows[None, :, None] + random.normal(0, 6, (count, 64, 64))
    squares[:, :20] = 0
    squares[:, -8:] = 255
    grays = np.rint(squares.clip(0, 255)).astype(np.uint8)
    half = count // 2
    return SliceSet(
        images=np.stack([PREPROCESSING.enhance(g) for g in grays]),
        labels=np.ones((count, 32, 32), np.uint8),
        windowed=(grays[:half], grays[half:]),
        case_index=np.repeat([0, 1], half),
        slice_index=np.tile(np.arange(half), 2),
        cases=("a", "b"),
        preprocessing=PREPROCESSING,
    )


class Drawn:
    """A generator that draws what a test asks for: (offset, gain) in units of its limits."""

    def __init__(self, offset: float, gain: float = 0.0) -> None:
        self.values = np.array([offset, gain])

    def random(self, count: int) -> NDArray[np.float64]:
        return np.zeros(count)

    def uniform(self, low: float, high: float, count: int) -> NDArray[np.float64]:
        assert (low, count) == (-high, 2)
        return self.values * high


def shifted(data: SliceSet, random: Any, hu: float, share: float = 1.0) -> NDArray[np.uint8]:
    return data.shifted(np.arange(len(data)), random, hu, share)


def test_no_shift_leaves_every_byte() -> None:
    data = windowed_slices()
    assert np.array_equal(shifted(data, np.random.default_rng(0), 0.0), data.images)
    assert np.array_equal(shifted(data, np.random.default_rng(0), 15.0, share=0.0), data.images)
    assert np.array_equal(shifted(data, Drawn(0.0, 0.0), 15.0), data.images)


def test_a_shift_is_what_a_shifted_scan_would_give() -> None:
    """10 HU more in the scan, as far as they stay within the window."""
    hu = np.random.default_rng(0).integers(-20, 140, (64, 64)).astype(np.int16)
    data = replace(windowed_slices(2), windowed=(PREPROCESSING.to_gray(hu)[None],) * 2)
    plain = replace(data, preprocessing=replace(PREPROCESSING, use_clahe=False, use_gamma=False))
    brighter = shifted(plain, Drawn(1.0), 10.0)[0].astype(int)
    wanted = plain.preprocessing(hu + np.int16(10), (1.0, 1.0)).astype(int)
    assert np.abs(brighter - wanted).max() <= 1


def test_offset_and_gain_move_the_gray_their_way() -> None:
    data = windowed_slices()
    plain = replace(data, preprocessing=replace(PREPROCESSING, use_clahe=False, use_gamma=False))
    inner = np.s_[:, 12:26]
    start = shifted(plain, Drawn(0.0), 15.0)[inner].astype(float)
    brighter = shifted(plain, Drawn(1.0), 15.0)[inner].astype(float)
    darker = shifted(plain, Drawn(-1.0), 15.0)[inner].astype(float)
    assert brighter.mean() == pytest.approx(start.mean() + 15 * 255 / 200, abs=0.5)
    assert darker.mean() == pytest.approx(start.mean() - 15 * 255 / 200, abs=0.5)
    assert shifted(plain, Drawn(0.0, 1.0), 15.0)[inner].std() > start.std() * 1.05
    assert shifted(plain, Drawn(0.0, -1.0), 15.0)[inner].std() < start.std() * 0.95


@looped("drawn", [(1, 1), (-1, -1), (1, -1), (-1, 1), (0.3, 0.2)])
def test_the_windows_ends_stay_where_they_are(drawn: tuple[float, float]) -> None:
    data = windowed_slices()
    raw = replace(PREPROCESSING, use_clahe=False, use_gamma=False, size_px=64)
    after = replace(data, images=np.zeros((6, 64, 64), np.uint8), preprocessing=raw).shifted(
        np.arange(6), Drawn(*drawn), 25.0
    )
    assert data.windowed is not None
    before = np.concatenate(data.windowed)
    assert np.array_equal(after == 0, before == 0)
    assert np.array_equal(after == 255, before == 255)


def test_a_shift_keeps_the_order_of_grays() -> None:
    ramp = np.arange(4096, dtype=np.uint8).reshape(1, 64, 64)
    raw = replace(PREPROCESSING, use_clahe=False, use_gamma=False, size_px=64)
    data = replace(windowed_slices(2), windowed=(ramp, ramp), preprocessing=raw)
    data = replace(data, images=np.zeros((2, 64, 64), np.uint8))
    for drawn in ((1, 1), (-1, -1), (1, -1)):
        after = shifted(data, Drawn(*drawn), 25.0)[0].reshape(-1, 256)[0].astype(int)
        assert (np.diff(after) >= 0).all()


def test_shifts_touch_neither_labels_nor_the_data() -> None:
    data = windowed_slices()
    before = data.images.copy(), data.labels.copy()
    changed = shifted(data, np.random.default_rng(0), 25.0)
    assert not np.array_equal(changed, data.images)
    assert np.array_equal(data.images, before[0])
    assert np.array_equal(data.labels, before[1])


def test_rows_come_back_in_the_order_asked_and_the_share_is_kept() -> None:
    data = windowed_slices(200)
    rows = np.random.default_rng(0).permutation(200)
    same = data.shifted(rows, np.random.default_rng(1), 25.0, share=0.7) == data.images[rows]
    unchanged = same.all(axis=(1, 2)).mean()
    assert unchanged == pytest.approx(0.3, abs=0.1)


def write_prepared(folder: Path, splits: dict[str, str], *, windowed: bool = False) -> None:
    """Prepared data by hand: case name -> split; slice n of a case has the gray 10 * case + n."""
    cases = []
    for number, (name, split) in enumerate(splits.items()):
        grays = np.stack([np.full((32, 32), 10 * number + n, np.uint8) for n in range(number + 2)])
        (folder / name).mkdir(parents=True)
        np.save(folder / name / "images.npy", grays)
        np.save(folder / name / "labels.npy", grays % 3)
        if windowed:
            np.save(folder / name / "windowed.npy", grays.repeat(2, axis=1).repeat(2, axis=2))
        cases.append({"name": name, "split": split})
    manifest = {
        "preprocessing": PREPROCESSING.to_dict(),
        "windowed": windowed,
        "cases": cases,
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))


def test_a_split_holds_its_cases_slice_by_slice(tmp_path: Path) -> None:
    write_prepared(tmp_path, {"1": "train", "2": "val", "3": "train"}, windowed=True)
    data = load_split(tmp_path, "train", with_windowed=True)
    assert data.cases == ("1", "3")
    assert data.preprocessing == PREPROCESSING
    assert data.images[:, 0, 0].tolist() == [0, 1, 20, 21, 22, 23]
    assert data.case_index.tolist() == [0, 0, 1, 1, 1, 1]
    assert data.slice_index.tolist() == [0, 1, 0, 1, 2, 3]
    assert data.windowed is not None
    for row in range(len(data)):
        square = data.windowed[data.case_index[row]][data.slice_index[row]]
        assert square.shape == (64, 64)
        assert square[0, 0] == data.images[row, 0, 0]
    assert load_split(tmp_path, "val").windowed is None


@looped(
    ("split", "windowed", "said"),
    [("test", False, "no case of split 'test'"), ("train", True, "--windowed")],
)
def test_what_was_not_prepared_is_refused(
    tmp_path: Path, split: str, windowed: bool, said: str
) -> None:
    write_prepared(tmp_path, {"1": "train"})
    with pytest.raises(ValueError, match=said):
        load_split(tmp_path, split, with_windowed=windowed)


def test_a_folder_without_a_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"training\.prepare first"):
        load_split(tmp_path, "train")

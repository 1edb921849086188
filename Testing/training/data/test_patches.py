"""Patches: where they lie, that what they show is the volume, and what a stage is told."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from looped import looped
from toy_slices import write_toy
from toy_volumes import STEPS, write_toy_masks, write_toy_volumes

from training.data.augment3d import middle
from training.data.patches import (
    PatchBatches,
    PatchSampling,
    Volume,
    VolumeSet,
    load_volumes,
    patch_home,
)

PATCH = (8, 16, 16)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy_volumes(tmp_path_factory.mktemp("toy") / "prepared")


@pytest.fixture(scope="module")
def masks(prepared: Path) -> Path:
    return write_toy_masks(prepared, prepared.parent / "masks")


def volume_set(*shapes: tuple[int, int, int], stage: str = "liver") -> VolumeSet:
    """Volumes whose voxels all differ, with one voxel of the class in the middle."""
    volumes = []
    for n, shape in enumerate(shapes):
        image = (np.arange(np.prod(shape)) % 2039).reshape(shape).astype(np.float16)
        target = np.zeros(shape, np.uint8)
        target[tuple(side // 2 for side in shape)] = 1
        volumes.append(Volume(str(n), str(n), image, target, None))
    return VolumeSet(tuple(volumes), stage, STEPS)


def rows_of(sampling: PatchSampling, data: VolumeSet, batch: int = 3) -> list[np.ndarray]:
    return list(sampling.batches(data, batch, PATCH, np.random.default_rng(0)))


def test_stages_are_told_liver_with_its_tumors_or_tumors_alone(prepared: Path, masks: Path) -> None:
    liver = load_volumes(prepared, "train", "liver")
    tumor = load_volumes(prepared, "train", "tumor", masks=masks, margin_mm=0.0)
    assert liver.cases == tumor.cases == ("1", "2", "3", "4")
    assert liver.groups == ("a", "b", "c")
    for of_liver, of_tumor in zip(liver.volumes, tumor.volumes, strict=True):
        labels = np.load(prepared / of_liver.name / "labels.npy")
        assert np.array_equal(of_liver.target, labels >= 1)
        assert np.array_equal(of_tumor.target, labels == 2)
        assert of_liver.region is None
        assert np.array_equal(of_tumor.region, labels >= 1)
    assert not liver.preprocessing.needs_liver
    assert tumor.preprocessing.liver_margin_mm == 0.0


def test_the_margin_is_in_mm_and_put_on_when_masks_are_loaded(prepared: Path, masks: Path) -> None:
    """Slices are 3 mm apart, pixels 2 mm: 6 mm are two slices and three pixels."""
    plain, wide = (
        load_volumes(prepared, "val", "tumor", masks=masks, margin_mm=mm).volumes[0].region
        for mm in (0.0, 6.0)
    )
    assert plain is not None
    assert wide is not None
    reach = [np.flatnonzero(m.any(axis=axes)) for m in (plain, wide) for axes in ((1, 2), (0, 1))]
    assert (reach[0][0] - reach[2][0], reach[2][-1] - reach[0][-1]) == (2, 2)
    assert (reach[1][0] - reach[3][0], reach[3][-1] - reach[1][-1]) == (3, 3)


def test_masks_may_be_of_a_liver_network_with_another_grid(
    prepared: Path, masks: Path, tmp_path: Path
) -> None:
    coarse = shutil.copytree(masks, tmp_path / "coarse")
    for path in coarse.glob("*.npy"):
        np.save(path, np.load(path)[:, ::2, ::2])
    of_fine, of_coarse = (
        load_volumes(prepared, "val", "tumor", masks=folder, margin_mm=0.0).volumes[0].region
        for folder in (masks, coarse)
    )
    assert of_fine is not None
    assert of_coarse is not None
    assert of_coarse.shape == of_fine.shape
    shared = 2 * (of_fine & of_coarse).sum() / (of_fine.sum() + of_coarse.sum())
    assert 0.9 < shared < 1


def test_masks_of_other_slices_are_refused(prepared: Path, masks: Path, tmp_path: Path) -> None:
    short = shutil.copytree(masks, tmp_path / "short")
    np.save(short / "5.npy", np.load(short / "5.npy")[1:])
    with pytest.raises(ValueError, match="liver mask of 5 has 27 slices and its image 28"):
        load_volumes(prepared, "val", "tumor", masks=short, margin_mm=0.0)


@looped("fault", ["slices", "no split", "no masks", "other scan", "missing"])
def test_what_does_not_fit_is_refused(
    fault: str, tmp_path: Path, prepared: Path, masks: Path
) -> None:
    if fault == "slices":
        with pytest.raises(ValueError, match="run python -m training"):
            load_volumes(write_toy(tmp_path / "2d"), "train", "liver")
    elif fault == "no split":
        folder = write_toy_volumes(tmp_path / "p", [("1", "a", "train")])
        with pytest.raises(ValueError, match="no case of split 'val'"):
            load_volumes(folder, "val", "liver")
    elif fault == "no masks":
        with pytest.raises(ValueError, match="give them by --masks"):
            load_volumes(prepared, "train", "tumor", margin_mm=0.0)
    else:
        other = shutil.copytree(masks, tmp_path / "masks")
        content = json.loads((other / "manifest.json").read_text())
        if fault == "missing":
            del content["cases"]["1"]
        else:
            content["cases"]["1"]["ct_sha256"] = "another scan of that name"
        (other / "manifest.json").write_text(json.dumps(content))
        with pytest.raises(ValueError, match="no liver mask of 1 as it was prepared"):
            load_volumes(prepared, "train", "tumor", masks=other, margin_mm=0.0)


def test_a_cut_is_the_volume_and_nothing_beyond_it() -> None:
    data = volume_set((10, 20, 24), (4, 9, 10))
    rows = np.array([[0, 2, 4, 8], [1, -2, -3, -3]])
    images, maps = PatchBatches(data, "cpu").cut(rows, PATCH, PATCH)
    first = data.volumes[0].image[2:10, 4:20, 8:24].astype(np.float32)
    assert np.array_equal(images[0, 0].numpy(), first)
    padded = np.zeros(PATCH, np.float32)
    padded[2:6, 3:12, 3:13] = data.volumes[1].image
    assert np.array_equal(images[1, 0].numpy(), padded)
    assert maps[1, 0].sum() == 1
    assert maps[1, 1].sum() == 4 * 9 * 10  # no region: all that there is


def test_the_middle_of_a_larger_cut_is_the_patch() -> None:
    """Odd and even margins: a turned patch needs corners, and its middle must be the same place."""
    data = volume_set((30, 40, 44))
    batches = PatchBatches(data, "cpu")
    rows = np.array([[0, 2, 0, 20], [0, 9, 11, 13], [0, 22, 24, 28]])
    plain = batches.cut(rows, PATCH, PATCH)
    for reach in ((9, 21, 16), (14, 30, 33)):
        for small, large in zip(plain, batches.cut(rows, PATCH, reach), strict=True):
            assert large.shape[2:] == reach
            assert torch.equal(middle(large, PATCH), small)


def test_patches_lie_anywhere_inside() -> None:
    data = volume_set((12, 20, 24), (9, 30, 18))
    drawn = np.concatenate(rows_of(PatchSampling(iterations=300), data))
    assert set(drawn[:, 0]) == {0, 1}
    for n, volume in enumerate(data.volumes):
        first = drawn[drawn[:, 0] == n, 1:]
        ends = np.array(volume.shape_kji) - PATCH
        assert (first.min(axis=0) == 0).all()
        assert (first.max(axis=0) == ends).all()


def test_smaller_volumes_are_centered() -> None:
    drawn = np.concatenate(rows_of(PatchSampling(iterations=20), volume_set((5, 16, 40))))
    assert set(drawn[:, 1]) == {-1}  # 3 slices are missing: 1 before, 2 behind
    assert set(drawn[:, 2]) == {0}
    assert len(set(drawn[:, 3])) > 5


@looped(("batch", "share", "fewest"), [(2, 1 / 3, 1), (3, 1 / 3, 1), (8, 1 / 3, 3), (2, 0.5, 1)])
def test_a_share_of_every_batch_shows_the_class(batch: int, share: float, fewest: int) -> None:
    """One voxel among 60 x 60 x 60: chance alone shows it in one patch of fifty."""
    data = volume_set((60, 60, 60), (60, 60, 60))
    shown = []
    for rows in rows_of(PatchSampling(iterations=40, foreground_share=share), data, batch):
        _, maps = PatchBatches(data, "cpu").cut(rows, PATCH, PATCH)
        shown.append(int((maps[:, 0].sum((1, 2, 3)) > 0).sum()))
    assert min(shown) >= fewest
    assert np.mean(shown) < fewest + 0.5
    none = [
        PatchBatches(data, "cpu").cut(rows, PATCH, PATCH)[1][:, 0].sum()
        for rows in rows_of(PatchSampling(iterations=40), data, batch)
    ]
    assert np.mean([bool(n) for n in none]) < 0.5


def test_volumes_without_the_class_are_drawn_for_the_others_only() -> None:
    data = volume_set((20, 20, 20), (20, 20, 20))
    data.volumes[1].target[...] = 0
    everywhere = np.concatenate(rows_of(PatchSampling(iterations=50, foreground_share=1.0), data))
    assert set(everywhere[:, 0]) == {0}
    half = np.concatenate(rows_of(PatchSampling(iterations=50, foreground_share=0.5), data))
    assert set(half[:, 0]) == {0, 1}
    data.volumes[0].target[...] = 0
    empty = VolumeSet(
        tuple(Volume(v.name, v.group, v.image, v.target, None) for v in data.volumes),
        "tumor",
        STEPS,
    )
    with pytest.raises(ValueError, match="No training volume shows tumor"):
        rows_of(PatchSampling(foreground_share=0.5), empty)


def test_region_patches_have_their_middle_in_the_liver(prepared: Path, masks: Path) -> None:
    data = load_volumes(prepared, "train", "tumor", masks=masks, margin_mm=0.0)
    sampling = PatchSampling(iterations=60, region_share=1.0)
    batches = PatchBatches(data, "cpu")
    drawn = np.concatenate(rows_of(sampling, data))
    _, maps = batches.cut(drawn, PATCH, PATCH)
    assert (maps[:, 1].sum((1, 2, 3)) > 0).all()
    hits = int((maps[:, 1, 4, 8, 8] > 0).sum())
    assert hits > 0.9 * len(drawn)  # the others were moved into the volume


def test_the_same_seed_draws_the_same_and_another_not() -> None:
    data = volume_set((30, 40, 44), (20, 20, 20))
    sampling = PatchSampling(iterations=5, foreground_share=0.4)
    one, same = (np.stack(rows_of(sampling, data)) for _ in range(2))
    other = np.stack(list(sampling.batches(data, 3, PATCH, np.random.default_rng(1))))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


@looped(
    "wrong",
    [{"foreground_share": -0.1}, {"foreground_share": 0.7, "region_share": 0.5}, {"iterations": 0}],
)
def test_shares_that_cannot_be_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="give shares"):
        PatchSampling(**wrong)  # type: ignore[arg-type]


def test_patients_can_be_left_out(prepared: Path) -> None:
    data = load_volumes(prepared, "train", "liver")
    assert data.without(["a"]).cases == ("3", "4")
    with pytest.raises(ValueError, match="No volume is left"):
        data.without(["a", "b", "c"])


def test_volumes_live_on_the_gpu_only_where_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    data = volume_set((20, 20, 20))
    size_bytes = 3 * 20**3  # two bytes of image, one of target
    for free_bytes, home in ((2 * size_bytes, "cpu"), (2 * size_bytes + 2, "cuda:0")):
        answer = (free_bytes, 10**12)
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device, answer=answer: answer)
        assert patch_home(data, "cuda:0") == home
    assert patch_home(data, "cpu") == "cpu"


def test_jitter_moves_the_voxel_from_the_middle_but_not_out_of_the_patch() -> None:
    data = volume_set((80, 80, 80))
    places = []
    for jitter in (0.0, 0.25):
        sampling = PatchSampling(iterations=60, foreground_share=1.0, jitter=jitter)
        drawn = np.concatenate(rows_of(sampling, data))
        places.append((40 - drawn[:, 1:]) / PATCH)  # of the only voxel, as a share of the patch
    assert (places[0] == 0.5).all()
    assert np.abs(places[1] - 0.5).max() <= 0.25 + 0.5 / min(PATCH)
    assert (places[1].std(axis=0) > 0.1).all()


@looped(("balance", "share"), [(1.0, 0.5), (0.5, 0.75), (0.0, 0.9)])
def test_case_balance_weighs_volumes_by_the_class_they_show(balance: float, share: float) -> None:
    """Nine voxels in the first volume and one in the second."""
    data = volume_set((20, 20, 20), (20, 20, 20))
    data.volumes[0].target[5:8, 5:8, 5] = 1
    data.volumes[0].target[10, 10, 10] = 0
    sampling = PatchSampling(iterations=400, foreground_share=1.0, case_balance=balance)
    drawn = np.concatenate(rows_of(sampling, data))
    assert (drawn[:, 0] == 0).mean() == pytest.approx(share, abs=0.05)

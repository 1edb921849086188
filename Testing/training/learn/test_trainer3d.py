"""The trainer of patch nets: what the net is shown, how it is scored, and several processes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch_threads
import toy_volumes
from LiverTumorSegLib.inference.sliding_window import SlidingWindow
from looped import looped
from side_by_side import side_by_side
from torch.nn.modules.batchnorm import _BatchNorm
from toy_volumes import TINY_NET, tiny

from training.data.augment3d import NONE
from training.data.patches import PatchSampling, VolumeSet
from training.learn.distributed import ALONE, Processes, run_together
from training.learn.losses3d import VolumeLoss
from training.learn.recipes3d import PatchRecipe, Validation
from training.learn.trainer3d import PatchTrainer, load_for

one_thread, prepared = torch_threads.one_thread, toy_volumes.prepared
PATCH = TINY_NET["patch_kji"]


def sets(recipe: PatchRecipe, prepared: Path) -> tuple[VolumeSet, VolumeSet]:
    masks = prepared.parent / "masks" if recipe.stage == "tumor" else None
    return load_for(recipe, prepared, masks)


def batch_of(recipe: PatchRecipe, prepared: Path) -> tuple[PatchTrainer, Any, Any, Any]:
    """A trainer, and one batch with the rows that it was cut at."""
    trainer = PatchTrainer(recipe, sets(recipe, prepared)[0])
    random = np.random.default_rng(0)
    rows = trainer.epoch_rows(random)[0]
    generator = torch.Generator().manual_seed(0)
    return (trainer, rows, *trainer.batch(rows, random, generator, PATCH[2]))


def patch_at(array: Any, row: Any) -> Any:
    _, k, j, i = row
    return array[k : k + PATCH[0], j : j + PATCH[1], i : i + PATCH[2]]


def test_the_liver_net_sees_all_and_learns_the_liver(prepared: Path) -> None:
    trainer, rows, images, labels = batch_of(tiny("liver"), prepared)
    assert images.shape == (2, 1, *PATCH)
    assert labels.dtype == torch.int64
    for image, label, row in zip(images, labels, rows, strict=True):
        volume = trainer.data.volumes[row[0]]
        assert np.array_equal(image[0].numpy(), patch_at(volume.image, row).astype(np.float32))
        assert np.array_equal(label.numpy(), patch_at(volume.target, row))


@looped("as_channel", [False, True])
def test_the_tumor_net_sees_the_liver_alone(prepared: Path, as_channel: bool) -> None:
    recipe = tiny("tumor", liver_margin_mm=0.0, mask_as_channel=as_channel)
    trainer, rows, images, labels = batch_of(recipe, prepared)
    assert images.shape == (2, 2 if as_channel else 1, *PATCH)
    for image, label, row in zip(images, labels, rows, strict=True):
        volume = trainer.data.volumes[row[0]]
        wanted = trainer.data.preprocessing.channels(volume.image, volume.region)
        for channel, whole in zip(image, wanted, strict=True):
            assert np.array_equal(channel.numpy(), patch_at(whole, row).astype(np.float32))
        assert np.array_equal(label.numpy(), patch_at(volume.target, row))


def test_what_the_net_cannot_see_is_no_tumor_to_learn(prepared: Path) -> None:
    recipe = tiny("tumor", liver_margin_mm=0.0, mask_as_channel=False)
    data, _ = sets(recipe, prepared)
    for volume in data.volumes:
        assert volume.region is not None
        volume.region[...] = False
    trainer = PatchTrainer(recipe, data)
    images, maps = torch.rand(1, 1, *PATCH), torch.zeros(1, 2, *PATCH, dtype=torch.uint8)
    maps[:, 0] = 1
    trainer.batches.cut = lambda *_: (images, maps)  # type: ignore[method-assign]
    seen, labels = trainer.batch(
        np.zeros((1, 4), np.int64), np.random.default_rng(0), torch.Generator(), PATCH[2]
    )
    assert not seen.any()
    assert not labels.any()


def test_a_mask_put_on_first_is_augmented_with_the_image(prepared: Path) -> None:
    """Published: noise reaches the outside of the liver, which is 0 where the mask comes last."""
    noisy = replace(NONE, noise_p=1.0, noise_sd=(0.1, 0.1))
    for first in (False, True):
        plain: dict[str, Any] = {"liver_margin_mm": 0.0, "mask_as_channel": False}
        recipe = tiny("tumor", **plain, mask_first=first, augmentation=noisy)
        trainer, rows, images, _ = batch_of(recipe, prepared)
        outside = [
            torch.from_numpy(~patch_at(trainer.data.volumes[row[0]].region, row)) for row in rows
        ]
        blank = all(bool((i[0][o] == 0).all()) for i, o in zip(images, outside, strict=True))
        assert blank is not first


def test_turned_patches_have_no_empty_corners(prepared: Path) -> None:
    """In the middle of a volume of ones the patch is all ones, however it is turned."""
    recipe = tiny("liver", augmentation=replace(NONE, rotation_p=1.0, zoom_p=1.0))
    data, _ = sets(recipe, prepared)
    volume = replace(
        data.volumes[0],
        image=np.ones((120, 160, 160), np.float16),
        target=np.ones((120, 160, 160), np.uint8),
    )
    trainer = PatchTrainer(recipe, replace(data, volumes=(volume,)))
    rows = np.array([[0, 52, 64, 64]] * 8)
    images, labels = trainer.batch(rows, np.random.default_rng(0), torch.Generator(), PATCH[2])
    assert images.min() == pytest.approx(1.0, abs=1e-5)
    assert labels.all()


def test_validation_counts_all_voxels_by_windows(prepared: Path) -> None:
    """MONAI's windows, with the loss and Dice by hand."""
    inference = pytest.importorskip("monai.inferers")
    recipe = tiny("liver", check=Validation(overlap=0.5))
    data, validation = sets(recipe, prepared)
    trainer = PatchTrainer(recipe, data)
    trainer.run_epoch()
    found = trainer.validate(validation, PATCH[2])
    (volume,) = validation.volumes
    image = torch.from_numpy(volume.image.astype(np.float32))[None, None]
    with torch.no_grad():
        p = inference.sliding_window_inference(
            image, PATCH, 1, lambda x: trainer.net.eval()(x).softmax(1), 0.5, mode="gaussian"
        )[0, 1].numpy()
    true = volume.target > 0
    dice = 2 * ((p > 0.5) & true).sum() / max((p > 0.5).sum() + true.sum(), 1)
    assert found["val_liver_dice"] == pytest.approx(dice, abs=1e-3)
    entropy = -np.log(np.where(true, p, 1 - p).astype(np.float64)).mean()
    assert found["val_loss"] == pytest.approx(entropy, rel=1e-3)


def test_tumor_outside_the_mask_counts_as_missed(prepared: Path) -> None:
    recipe = tiny("tumor", liver_margin_mm=0.0)
    data, validation = sets(recipe, prepared)
    trainer = PatchTrainer(recipe, data)
    (volume,) = validation.volumes
    assert volume.region is not None
    nowhere = replace(volume, region=np.zeros_like(volume.region))
    found = trainer.validate(replace(validation, volumes=(nowhere,)), PATCH[2])
    assert found["val_tumor_dice"] == 0
    assert np.isfinite(found["val_loss"])
    assert found["val_loss"] > 5 * (volume.target > 0).mean()


def test_outside_the_region_nothing_is_found(prepared: Path) -> None:
    recipe = tiny("tumor", liver_margin_mm=0.0)
    data, validation = sets(recipe, prepared)
    trainer = PatchTrainer(recipe, data)
    (volume,) = validation.volumes
    found = trainer.foreground(volume, validation, SlidingWindow(patch_kji=PATCH, overlap=0.0))
    assert volume.region is not None
    assert not found[~volume.region].any()
    assert found[volume.region].all()


def test_validation_by_patches_draws_the_same_every_time(prepared: Path) -> None:
    recipe = tiny("liver", check=Validation(patches=5))
    data, validation = sets(recipe, prepared)
    trainer = PatchTrainer(recipe, data)
    before = {k: v.clone() for k, v in trainer.net.state_dict().items()}
    first = trainer.validate(validation, PATCH[2])
    assert trainer.validate(validation, PATCH[2]) == first
    assert set(first) == {"val_loss", "val_liver_dice"}
    for name, tensor in trainer.net.state_dict().items():
        assert torch.equal(before[name], tensor), name


@looped("patches", [None, 3])
def test_validation_asks_the_average(prepared: Path, patches: int | None) -> None:
    recipe = tiny("liver", check=Validation(patches=patches))
    data, validation = sets(recipe, prepared)
    trainer, plain = PatchTrainer(replace(recipe, ema=0.9), data), PatchTrainer(recipe, data)
    trainer.run_epoch()
    assert trainer.average is not None
    found = trainer.validate(validation, PATCH[2])
    plain.net.load_state_dict(trainer.net.state_dict())
    assert plain.validate(validation, PATCH[2]) != found
    plain.net.load_state_dict(trainer.average.net.state_dict())
    assert plain.validate(validation, PATCH[2]) == found


def test_the_published_optimizer(prepared: Path) -> None:
    recipe = replace(
        tiny("liver"),
        optimizer="sgd",
        schedule="poly",
        learning_rate=0.01,
        weight_decay=3e-5,
        epochs=1000,
    )
    trainer = PatchTrainer(recipe, sets(recipe, prepared)[0])
    group = trainer.optimizer.param_groups[0]
    assert isinstance(trainer.optimizer, torch.optim.SGD)
    assert (group["momentum"], group["nesterov"], group["weight_decay"]) == (0.99, True, 3e-5)
    rates = []
    for trainer.epoch in (0, 500, 999):
        trainer.set_learning_rate(0.0)
        rates.append(group["lr"])
    assert rates == pytest.approx([0.01 * (1 - e / 1000) ** 0.9 for e in (0, 500, 999)])


def test_the_hausdorff_term_warms_up_with_the_run(prepared: Path) -> None:
    recipe = replace(tiny("liver"), loss=VolumeLoss(hausdorff_warm_up=0.5), epochs=10)
    trainer = PatchTrainer(recipe, sets(recipe, prepared)[0])
    logits = torch.tensor([-3.0, 3.0]).view(1, 2, 1, 1, 1).expand(1, 2, *PATCH)
    labels = torch.zeros(1, *PATCH, dtype=torch.int64)
    losses = []
    for trainer.epoch in (0, 4, 5):
        losses.append(trainer.loss(logits, labels, lambda sums: sums).item())
    assert losses[0] == losses[1] < losses[2]


def test_it_learns(prepared: Path) -> None:
    sampling = PatchSampling(iterations=12, foreground_share=0.5)
    recipe = tiny("liver", sampling=sampling, learning_rate=1e-2)
    data, validation = sets(recipe, prepared)
    trainer = PatchTrainer(recipe, data)
    losses, scored = [], []
    while not trainer.finished:
        facts = trainer.run_epoch()
        facts |= trainer.validate(validation, PATCH[2])
        scored.append(trainer.finish_epoch(facts))
        losses.append(facts["train_loss"])
    assert scored[0]  # the first epoch is the best so far
    assert losses[1] < 0.7 * losses[0]


def one_step(folder: Path, processes: Processes) -> dict[str, Any]:
    """Loss and gradients of one update, and validation; batch norms see nothing of the batch."""
    recipe = tiny("liver", batch=3, loss=VolumeLoss(hausdorff_warm_up=0.0))
    data, _ = load_for(recipe, folder / "prepared")
    trainer = PatchTrainer(recipe, data, processes=processes)
    found = trainer.validate(data, PATCH[2])
    trainer.net.train()
    for module in trainer.net.modules():
        if isinstance(module, _BatchNorm):
            module.eval()
    random, generator = np.random.default_rng(0), torch.Generator().manual_seed(0)
    own, weight = processes.share(trainer.epoch_rows(random)[0])
    images, labels = trainer.batch(own, random, generator, PATCH[2])
    loss = trainer.step(images, labels, weight)
    named = trainer.net.named_parameters()
    gradients = {n: p.grad for n, p in named if p.grad is not None}
    return {"loss": loss, "gradients": gradients, "found": found}


def two_step(folder: Path) -> int:
    def work(processes: Processes) -> None:
        torch.save(one_step(folder, processes), folder / f"step{processes.rank}.pt")

    return run_together(work, ())


def test_two_processes_find_what_one_finds(prepared: Path) -> None:
    folder = prepared.parent
    codes, said = side_by_side(folder, two_step)
    assert codes == [0, 0], "".join(said)
    alone = one_step(folder, ALONE)
    for rank in range(2):
        together = torch.load(folder / f"step{rank}.pt", weights_only=True)
        assert together["loss"].item() == pytest.approx(alone["loss"].item(), abs=1e-5)
        assert together["found"] == pytest.approx(alone["found"], abs=1e-6)
        assert together["gradients"].keys() == alone["gradients"].keys()
        for name, gradient in alone["gradients"].items():
            assert torch.allclose(together["gradients"][name], gradient, rtol=1e-3, atol=1e-5), name


def test_a_batch_must_have_a_patch_for_each_process(prepared: Path) -> None:
    recipe = tiny("liver")
    with pytest.raises(ValueError, match="2 patches cannot be shared out over 3 processes"):
        PatchTrainer(recipe, sets(recipe, prepared)[0], processes=Processes(count=3))

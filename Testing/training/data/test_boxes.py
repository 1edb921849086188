"""Liver boxes keep what is known, and patches of them are a function of seed and step."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from LiverTumorSegLib.inference.preprocess_liver_box import LiverBoxPreprocessing
from LiverTumorSegLib.model.spec import read_spec
from looped import looped

from training import prepare, train
from training.cases.scattered import IGNORE, LabeledSlices
from training.data.box_patches import PatchSampler, PatchSettings, lesion_weights
from training.data.boxes import (
    PREPROCESSING,
    LiverBox,
    box_of,
    load_boxes,
    prepare_boxes,
    save_box,
)
from training.data.whole_slices import load_slices, save_slices
from training.learn.losses import CombinedLoss
from training.learn.step_trainer import (
    STEP_RECIPES,
    StepTrainer,
    learning_rate,
    paper_loss,
    weighted_loss,
)


def stack(name: str = "volume-1", kind: str = "case", slices: int = 12) -> LabeledSlices:
    rng = np.random.default_rng(len(name))
    hu = rng.integers(50, 70, (slices, 160, 170)).astype(np.int16)
    labels = np.zeros(hu.shape, np.uint8)
    labels[2:-2, 40:120, 30:130] = 1
    labels[4:7, 60:80, 60:80] = 2
    labels[5, 100:110, 100:110] = IGNORE
    hu[labels == 2] -= 40
    return LabeledSlices(name, name, kind, hu, labels, np.arange(slices) * 2.5, (0.8, 0.8))


def box(name: str = "volume-1", kind: str = "case") -> LiverBox:
    made = box_of(stack(name, kind))
    assert made is not None
    return made


def test_neighbors_lie_about_4_mm_away_and_a_lonely_slice_stands_for_itself() -> None:
    near = PREPROCESSING.neighbors(np.arange(10) * 1.0)
    assert list(near[5]) == [1, 9]
    np.testing.assert_array_equal(near[0], [0, 4])
    apart = PREPROCESSING.neighbors(np.arange(5) * 8.0)
    np.testing.assert_array_equal(apart, np.stack([np.arange(5)] * 2, axis=1))


def test_a_box_has_the_liver_its_volume_and_its_gray_value() -> None:
    made = box()
    liver_mm2 = (made.label > 0).sum() * made.pixel_mm**2
    assert liver_mm2 == pytest.approx(8 * 80 * 100 * 0.64, rel=0.03)
    assert made.liver_hu == pytest.approx(60, abs=1)
    assert made.image.dtype == np.uint8


def test_a_box_is_read_as_it_was_made_and_context_gives_none(tmp_path: Path) -> None:
    made, context = box(), stack("volume-1-context", "context")
    assert prepare_boxes([stack(), context], tmp_path) == ["volume-1"]
    (read,) = load_boxes(tmp_path)
    np.testing.assert_array_equal(read.image, made.image)
    np.testing.assert_array_equal(read.label, made.label)
    assert (read.group, read.liver_hu, read.kind) == (made.group, made.liver_hu, made.kind)


def test_patches_depend_on_seed_and_step_alone() -> None:
    boxes = [box("volume-1"), box("lits2", "weak")]
    first = PatchSampler(boxes, PatchSettings(), seed=3)
    for _ in range(3):
        last = first.batch(4)
    again = PatchSampler(boxes, PatchSettings(), seed=3)
    again.drawn = 2
    batch = again.batch(4)
    np.testing.assert_array_equal(batch.images, last.images)
    np.testing.assert_array_equal(batch.labels, last.labels)
    assert batch.images.shape == (4, 3, 128, 128)
    assert set(np.unique(batch.labels)) <= {0, 1, 2, IGNORE}


def test_small_tumors_weigh_more_and_unknown_pixels_nothing() -> None:
    label = np.ones((100, 100), np.uint8)
    label[10:14, 10:14] = 2
    label[40:90, 40:90] = 2
    label[0, 0] = IGNORE
    weights = lesion_weights(label, 1.25)
    assert weights[0, 0] == 0
    assert weights[11, 11] == 3
    assert weights[50, 50] == weights[20, 20] == 1


def test_what_is_not_known_does_not_move_the_loss() -> None:
    torch.manual_seed(0)
    logits = torch.randn(2, 3, 8, 8, requires_grad=True)
    labels = torch.randint(0, 3, (2, 8, 8))
    labels[0, :4] = IGNORE
    loss, _ = weighted_loss(logits, labels, torch.ones(2, 8, 8), (0.3, 0.7))
    (gradient,) = torch.autograd.grad(loss, logits)
    assert not gradient[0, :, :4].any()
    assert gradient[0, :, 4:].abs().sum() > 0


def test_a_perfect_answer_costs_nothing_and_a_wrong_one_much() -> None:
    labels = torch.randint(0, 3, (2, 16, 16), generator=torch.Generator().manual_seed(0))
    right = 30.0 * torch.nn.functional.one_hot(labels, 3).permute(0, 3, 1, 2).float()
    weights = torch.ones(labels.shape)
    assert weighted_loss(right, labels, weights, (0.3, 0.7))[0] < 1e-3
    assert weighted_loss(right.roll(1, dims=1), labels, weights, (0.3, 0.7))[0] > 5


def test_the_rate_rises_then_stays_or_falls_to_nothing() -> None:
    recipe = replace(STEP_RECIPES["tumor-boxes"], steps=1000, warmup=100)
    assert learning_rate(49, recipe) == pytest.approx(recipe.learning_rate / 2)
    assert learning_rate(550, recipe) == pytest.approx(recipe.learning_rate / 2)
    assert learning_rate(1000, recipe) == pytest.approx(0)
    assert learning_rate(900, replace(recipe, constant=True)) == recipe.learning_rate


@looped("kind", ["box", "stack"])
def test_damaged_arrays_are_one_sentence(tmp_path: Path, kind: str) -> None:
    save, load = (save_box, load_boxes) if kind == "box" else (save_slices, load_slices)
    path = tmp_path / "volume-1.npz"
    save(box() if kind == "box" else stack(), path)  # type: ignore[operator]
    whole, plain = path.read_bytes(), tmp_path / "x.npy"
    np.save(plain, np.zeros(3))
    np.savez(tmp_path / "other.npz", image=np.zeros(3))
    changed = bytearray(whole)
    changed[len(whole) // 3] ^= 255
    for content in (
        *(b"", b"text", whole[:-200], whole[: len(whole) // 2], bytes(changed)),
        *(plain.read_bytes(), (tmp_path / "other.npz").read_bytes()),
    ):
        (tmp_path / "other.npz").unlink(missing_ok=True)
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"^volume-1\.npz is missing or damaged; run .* again"):
            load(tmp_path)


def test_a_run_in_steps_goes_on_from_nothing_but_its_own_checkpoint(tmp_path: Path) -> None:
    recipe = STEP_RECIPES["tumor-boxes"]
    recipe = replace(recipe, net_args={**recipe.net_args, "width": 8})
    run, checkpoint = tmp_path / "run", tmp_path / "run" / "checkpoint.pt"
    start = partial(StepTrainer, recipe, device=torch.device("cpu"))
    start(run).save()
    whole = checkpoint.read_bytes()
    for n, state in enumerate(([1, 2], {"net": [1]}, {"net": {}, "ema": {}})):
        torch.save(state, tmp_path / f"{n}.pt")
    foreign = [(tmp_path / f"{n}.pt").read_bytes() for n in range(3)]
    for content in (b"", b"text", whole[:5000], *foreign):
        checkpoint.write_bytes(content)
        with pytest.raises(ValueError, match=r"^run/checkpoint\.pt (cannot be read|is no check)"):
            start(run)
        with pytest.raises(ValueError, match=r"cannot be read|do not fit"):
            start(tmp_path / "next", init=run)
    checkpoint.write_bytes(whole)
    assert start(run).step == 0


def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    tiny = STEP_RECIPES["tumor-boxes"]
    tiny = replace(
        tiny,
        net_args={**tiny.net_args, "width": 8, "dropout": 0.0},
        patches=PatchSettings(size_px=32),
        batch=2,
    )
    states = []
    for name, stops in (("whole", [3]), ("stopped", [2, 3])):
        for steps in stops:
            recipe = replace(tiny, steps=steps, constant=True)
            trainer = StepTrainer(recipe, tmp_path / name, device=torch.device("cpu"))
            trainer.train(PatchSampler([box()], recipe.patches, seed=1))
        states.append(trainer.average.net.state_dict())
    for name, value in states[0].items():
        torch.testing.assert_close(states[1][name], value, msg=name)


def test_a_share_of_synthetic_lesions_is_trained_with_and_recorded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prepare_boxes([stack()], tmp_path / "boxes")
    command = [str(tmp_path / "boxes"), "--recipe", "tumor-boxes", "--width", "8", "--steps", "1"]
    for share, name in (("0", "none"), ("0.3", "half")):
        out = ["-o", str(tmp_path / name), "--synthetic-share", share]
        assert train.main([*command, *out]) == 0
        patches = json.loads((tmp_path / name / "run.json").read_text())["recipe"]["patches"]
        assert patches["lesions_without"] == float(share)
        assert patches["lesions_beside"] == pytest.approx(float(share) / 4)
    assert train.main([*command, "-o", str(tmp_path / "one"), "--single-slices"]) == 0
    seen = read_spec(tmp_path / "one" / "best.safetensors").preprocessing
    neighbors = LiverBoxPreprocessing.from_dict(seen).neighbors(np.arange(5) * 1.0)
    np.testing.assert_array_equal(neighbors, np.stack([np.arange(5)] * 2, axis=1))
    for name, option in (("window", ["--gray", "window"]), ("paper", ["--paper-loss"])):
        assert train.main([*command, "-o", str(tmp_path / name), "--size-px", "64", *option]) == 0
        recipe = json.loads((tmp_path / name / "run.json").read_text())["recipe"]
        assert (recipe["batch"], recipe["paper_loss"]) == (64, name == "paper"), "as many pixels"
        gray = read_spec(tmp_path / name / "best.safetensors").preprocessing["gray"]
        assert gray == recipe["patches"]["gray"] == ("window" if name == "window" else "liver")
    for recipe, share in (("tumor-boxes", "1.5"), ("liver-slices", "0.5")):
        wrong = ["--recipe", recipe, "--synthetic-share", share, "-o", str(tmp_path / "no")]
        assert train.main([str(tmp_path / "boxes"), *wrong]) == 2
        assert "--synthetic-share" in capsys.readouterr().err
    assert not (tmp_path / "no").exists()


def test_a_network_learns_from_what_it_will_see(tmp_path: Path) -> None:
    """Boxes on other pixels, and each way to show gray values, as inference has them."""
    steps = replace(PREPROCESSING, pixel_mm=2.0)
    prepare_boxes([stack()], tmp_path / "boxes", steps=steps)
    (one,) = load_boxes(tmp_path / "boxes")
    assert PatchSampler([one], PatchSettings(), seed=0).pixel_mm == one.pixel_mm == 2.0
    with pytest.raises(ValueError, match="different sizes"):
        _ = PatchSampler([one, box()], PatchSettings(), seed=0).pixel_mm
    hu = one.hu(4)
    low, high = PREPROCESSING.window_hu
    for gray, middle in (("liver", one.liver_hu), ("window", 60.0)):
        seen = replace(steps, gray=gray).seen(hu, one.liver_hu)
        np.testing.assert_allclose(seen, (hu - middle) / 40, rtol=1e-6)
    seen = replace(steps, gray="enhanced").seen(hu, one.liver_hu)
    rows, columns = (max(1, round(side * 2.0 / 40)) for side in hu.shape[1:])
    lifted = cv2.createCLAHE(2.0, (columns, rows)).apply(
        np.rint((hu[1] - low) / (high - low) * 255).astype(np.uint8)
    )
    shown = 40 * seen[1] + 60
    np.testing.assert_allclose(shown, (lifted / 255) ** 1.2 * (high - low) + low, atol=1e-3)
    with pytest.raises(ValueError, match="gray is 'x'"):
        replace(steps, gray="x")
    plain = PatchSettings(fatty_share=0.0, size_px=64)
    for gray in ("window", "enhanced"):
        images = PatchSampler([one], replace(plain, gray=gray), seed=3).batch(4).images
        assert images.dtype == np.float32
        assert low <= (40 * images + 60).min() + 1e-3
        assert (40 * images + 60).max() <= high + 1e-3


def test_the_paper_s_loss_is_that_of_the_known_pixels() -> None:
    random = torch.Generator().manual_seed(0)
    logits = torch.randn((2, 3, 8, 8), generator=random, requires_grad=True)
    labels = torch.randint(0, 3, (2, 8, 8), generator=random)
    loss, parts = paper_loss(logits, labels)
    torch.testing.assert_close(loss, CombinedLoss()(logits, labels))
    assert parts["loss"] == pytest.approx(float(loss))
    labels[0] = IGNORE
    loss, _ = paper_loss(logits, labels)
    torch.testing.assert_close(loss, CombinedLoss()(logits[1:], labels[1:]))
    torch.autograd.backward(loss)
    assert logits.grad is not None
    assert not logits.grad[0].any()
    assert logits.grad[1].any()
    of_liver = paper_loss(logits.detach()[:, :2], labels.clamp(max=1))[0]
    assert torch.isfinite(of_liver), "two classes, as the liver network has"


def test_a_thinned_pack_keeps_scattered_slices_and_whole_cts_at_a_distance(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = stack(slices=20)
    scattered = replace(stack("lits2", "weak"), z_mm=np.arange(12) * 0.5)
    thin = whole.thinned(6.0)
    assert np.diff(thin.z_mm).min() >= 6.0
    assert len(thin.hu) == len(thin.labels) == 7
    np.testing.assert_array_equal(thin.hu, whole.hu[::3])
    assert scattered.thinned(6.0) is scattered
    (tmp_path / "data").mkdir()
    for how in (["--every-mm", "2"], ["--every-mm", "0", "--recipe", "tumor-boxes"]):
        assert prepare.main([str(tmp_path / "data"), "-o", str(tmp_path / "no"), *how]) == 2
        assert "--every-mm" in capsys.readouterr().err
    assert not (tmp_path / "no").exists()

"""An ensemble answers by the mean of its members' probabilities, in memory and from its file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from LiverTumorSegLib.inference.network import fold_batch_norm
from LiverTumorSegLib.inference.postprocess import Postprocessing
from LiverTumorSegLib.inference.preprocess_liver_box import LiverBoxPreprocessing
from LiverTumorSegLib.labels import Label
from LiverTumorSegLib.model.file import BundleError, ModelFile, join_members
from LiverTumorSegLib.model.spec import ModelSpec
from LiverTumorSegLib.nets.ensemble import MOST_MEMBERS, Hybrid2dEnsemble
from LiverTumorSegLib.nets.hybrid2d import Hybrid2d

ARGS = {"width": 8, "channels": 3, "position": "none", "norm": "pre", "size_px": 32}


def member(seed: int, **changes: object) -> ModelFile:
    """A tumor network with random weights, trained on the patients seed and 9."""
    args = {**ARGS, **changes}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = Hybrid2d(**args)  # type: ignore[arg-type]
        for module in net.modules():  # statistics of a net that has learned
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.uniform_(-0.5, 0.5)  # type: ignore[union-attr]
                module.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]
    spec = ModelSpec(
        name=f"member{seed}",
        version="1",
        net="hybrid2d",
        net_args=args,
        preprocessing=LiverBoxPreprocessing().to_dict(),
        labels={label.name.lower(): int(label) for label in Label},
        training_hu_range=(-40, 160),
        postprocessing=Postprocessing().to_dict(),
        provenance={"train": [str(seed), "9"], "steps": 100 * seed, "split_group_by": "patient"},
        storage="fp32",
    )
    return ModelFile(spec, dict(net.state_dict()))


@torch.no_grad()
def test_its_softmax_is_the_mean_of_its_members_softmax_before_and_after_its_file(
    tmp_path: Path,
) -> None:
    files, slices = [member(seed) for seed in (1, 2, 3)], torch.randn(2, 3, 32, 24) * 3
    mean = torch.stack([file.build_net()(slices).softmax(1) for file in files]).mean(0)
    together = join_members(files)
    together.save(tmp_path / "together.safetensors")
    stored = ModelFile.load(tmp_path / "together.safetensors")
    for net in (together.build_net(), fold_batch_norm(stored.build_net())):
        torch.testing.assert_close(net(slices).softmax(1), mean, atol=1e-5, rtol=1e-4)
    alone = join_members(files[:1]).build_net()(slices).softmax(1)
    torch.testing.assert_close(alone, files[0].build_net()(slices).softmax(1))
    assert stored.spec.provenance["train"] == ["1", "2", "3", "9"]
    assert [one["steps"] for one in stored.spec.provenance["members"]] == [100, 200, 300]


def test_only_networks_of_one_shape_answer_together(tmp_path: Path) -> None:
    one = member(1)
    seen_otherwise = replace(
        one.spec, preprocessing=LiverBoxPreprocessing(pixel_mm=1.0).to_dict(), name="finer"
    )
    others = (
        member(2, width=16),
        ModelFile(seen_otherwise, one.state),
        join_members([one, member(2)]),
    )
    for other in others:
        with pytest.raises(BundleError, match="differ in nothing but their weights"):
            join_members([one, other])
    for count in (0, MOST_MEMBERS + 1):
        with pytest.raises(ValueError, match="1 to 16 members"):
            Hybrid2dEnsemble(members=count, **ARGS)

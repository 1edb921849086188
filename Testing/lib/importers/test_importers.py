"""Networks of nnU-Net and MONAI become models of ours: what they say, and what is refused."""

from __future__ import annotations

import json
import pickle
import sys
from pathlib import Path
from typing import Any

import foreign_networks as foreign
import numpy as np
import pytest
import torch
from LiverTumorSegLib.importers.choices import ImportChoices
from LiverTumorSegLib.importers.read import read_network
from LiverTumorSegLib.inference.postprocess import Postprocessing
from LiverTumorSegLib.inference.preprocess_resampled import ResampledPreprocessing
from LiverTumorSegLib.inference.segmenter import Segmenter, load_segmenter
from LiverTumorSegLib.model.file import ModelFile
from LiverTumorSegLib.settings import RunSettings
from LiverTumorSegLib.volume import CtVolume
from looped import FOUR_AXES, looped
from safetensors.torch import save_file

AS_IT_IS = Postprocessing(
    largest_liver_component=False,
    tumor_inside_liver=False,
    smallest_lesion_mm=0.0,
    smallest_liver_ml=0.0,
)
OPENED = "opened"


def read(folder: Path, **choices: Any) -> ModelFile:
    return read_network(folder, ImportChoices(**choices))


def steps_of(file: ModelFile) -> ResampledPreprocessing:
    return ResampledPreprocessing.from_dict(file.spec.preprocessing)


def nnunet(folder: Path, net: torch.nn.Module | None = None, **of_plans: Any) -> Path:
    plans, dataset = foreign.plans(**of_plans), foreign.dataset()
    return foreign.write_nnunet(folder, net, plans=plans, dataset=dataset)


def segmenter_of(file: ModelFile, path: Path) -> Segmenter:
    """By way of a file, as the command line has it; what the network says is not cleaned."""
    file.save(path)
    segmenter = load_segmenter(RunSettings(model=str(path), device="cpu"))
    segmenter.postprocessing = AS_IT_IS
    return segmenter


def ct_of_balls(axes: np.ndarray) -> tuple[CtVolume, np.ndarray]:
    """A liver of 60 HU with a tumor of 160 HU, not in the middle; and its labels."""
    k, j, i = np.indices((18, 26, 30))
    mm = np.stack([3.0 * k - 22, 1.5 * j - 17, 1.2 * i - 20])
    labels = (np.sqrt((mm**2).sum(0)) < 14).astype(np.uint8)
    tumor_mm = mm - np.array([4.0, -3.0, 5.0]).reshape(3, 1, 1, 1)
    labels[np.sqrt((tumor_mm**2).sum(0)) < 6] = 2
    hu = np.array([-40, 60, 160], np.int16)[labels]
    affine = np.eye(4)
    affine[:3, :3] = axes @ np.diag([1.2, 1.5, 3.0])
    return CtVolume(hu, affine), labels


def dice(one: np.ndarray, other: np.ndarray) -> float:
    return float(2 * (one & other).sum() / (one.sum() + other.sum()))


def check_it_finds_the_balls(segmenter: Segmenter, axes: np.ndarray) -> None:
    ct, true = ct_of_balls(axes)
    labels = segmenter.segment(ct).labels_kji
    assert dice(labels > 0, true > 0) > 0.95
    assert dice(labels == 2, true == 2) > 0.85


@looped(axes_to_ras=FOUR_AXES)
def test_an_nnunet_finds_what_it_finds_in_every_orientation(
    tmp_path: Path, axes_to_ras: np.ndarray
) -> None:
    """From the folder to labels on the CT's own grid, with voxels of the network's own."""
    file = read(
        nnunet(tmp_path / "net", foreign.Thresholds()), fold="0", configuration="3d_fullres"
    )
    check_it_finds_the_balls(segmenter_of(file, tmp_path / "m.safetensors"), axes_to_ras)


@looped(axes_to_ras=FOUR_AXES)
def test_an_nnunet_in_2d_finds_it_slice_by_slice_in_every_orientation(
    tmp_path: Path, axes_to_ras: np.ndarray
) -> None:
    """The slices of its images, whatever they are in the CT: these were stored in LPS."""
    file = read(nnunet(tmp_path / "n__p__2d", foreign.Thresholds(axes=2)))
    assert steps_of(file).spacing_mm == (2.0, 1.5), "between slices the CT's own"
    assert file.spec.name == "dataset003_liver-2d"
    check_it_finds_the_balls(segmenter_of(file, tmp_path / "m.safetensors"), axes_to_ras)


@looped(axes_to_ras=FOUR_AXES)
def test_a_bundle_finds_the_same_with_softmax_and_with_sigmoid(
    tmp_path: Path, axes_to_ras: np.ndarray
) -> None:
    softmax = foreign.write_bundle(
        tmp_path / "softmax",
        foreign.bundle_config(),
        {"0": "background", "1": "liver", "2": "tumor"},
    )
    sigmoid = foreign.write_bundle(
        tmp_path / "sigmoid",
        foreign.bundle_config(
            postprocessing={
                "_target_": "Compose",
                "transforms": [{"_target_": "Activationsd", "keys": "pred", "sigmoid": True}],
            }
        ),
        {"0": "liver", "1": "tumor"},
    )
    for folder in (softmax, sigmoid):
        file = read(folder)
        assert file.spec.net_args["overlapping"] == (folder == sigmoid)
        check_it_finds_the_balls(segmenter_of(file, tmp_path / "m.safetensors"), axes_to_ras)


def test_a_network_as_onnx_answers_as_the_same_as_torchscript(tmp_path: Path) -> None:
    """In 3D and in 2D, in a bundle too, for any number of patches or for one at a time."""
    pytest.importorskip("onnxruntime")
    for axes, batch in ((3, "n"), (3, 1), (2, "n"), (2, 1)):
        net, home = foreign.Thresholds(axes=axes), tmp_path / f"{axes}{batch}"
        configuration = "2d" if axes == 2 else "3d_fullres"
        program = read(nnunet(home / "ts" / f"n__p__{configuration}", net))
        folder = nnunet(home / "onnx" / f"n__p__{configuration}")
        foreign.save_onnx(net, folder / "fold_0" / "checkpoint_final.onnx", batch=batch)
        file = read(folder)
        assert file.spec.net == "onnx"
        file.save(home / "m.safetensors")
        patches = torch.randn(3, 1, *program.spec.net_args["patch_kji"])
        with torch.inference_mode():
            answer = ModelFile.load(home / "m.safetensors").build_net()(patches)
            torch.testing.assert_close(answer, program.build_net()(patches))
    bundle = foreign.write_bundle(
        tmp_path / "bundle",
        foreign.bundle_config(),
        {"0": "background", "1": "liver", "2": "tumor"},
    )
    (bundle / "models" / "model.ts").unlink()
    foreign.save_onnx(foreign.Thresholds(), bundle / "models" / "model.onnx")
    segmenter = segmenter_of(read(bundle), tmp_path / "m.safetensors")
    check_it_finds_the_balls(segmenter, np.diag([-1.0, -1.0, 1.0]))


def test_an_onnx_that_cannot_be_run_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxruntime")
    folder = nnunet(tmp_path / "n__p__3d_fullres")
    weights = folder / "fold_0" / "checkpoint_final.onnx"
    for damaged in (b"", b"PK", pickle.dumps(Opened(tmp_path))):
        weights.write_bytes(damaged)
        assert "is no ONNX network" in refused(folder)
    foreign.save_onnx(foreign.Thresholds(axes=2), weights)
    assert "does not take one CT channel" in refused(folder)
    foreign.save_onnx(foreign.Thresholds(), weights)
    read(folder).save(tmp_path / "m.safetensors")
    assert not (tmp_path / OPENED).exists()
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert "needs onnxruntime" in refused(folder)
    with pytest.raises(ValueError, match="needs onnxruntime, which is missing"):
        ModelFile.load(tmp_path / "m.safetensors").build_net()(torch.zeros(1, 1, *foreign.PATCH))


def test_plans_become_preprocessing_and_patch(tmp_path: Path) -> None:
    folder = nnunet(tmp_path / "nnUNetTrainer__nnUNetPlans__3d_fullres", foreign.Thresholds())
    file = read(folder)
    assert steps_of(file) == ResampledPreprocessing(
        spacing_mm=(2.5, 2.0, 1.5),
        axcodes="SPL",
        clip_hu=(-200.0, 300.0),
        mean_std_hu=(0.0, 100.0),
        order=3,
        order_across=0,
    )
    assert file.spec.net_args["patch_kji"] == foreign.PATCH
    assert file.spec.name == "dataset003_liver-3d_fullres"
    assert file.spec.provenance["title"] == "nnU-Net, Dataset003_Liver, 3d_fullres, fold_0"
    assert str(tmp_path) not in file.spec.to_json(), "no path"
    lowres = read(folder, configuration="3d_lowres")
    assert steps_of(lowres).spacing_mm == (4.0, 4.0, 4.0), "inherits the rest from 3d_fullres"
    assert steps_of(read(folder, orientation="RAS")).axcodes == "SAR"


def test_how_images_were_read_and_transposed_is_in_the_axes(tmp_path: Path) -> None:
    plans = {
        **foreign.plans(),
        "image_reader_writer": "NibabelIOWithReorient",
        "transpose_forward": [1, 0, 2],
    }
    folder = foreign.write_nnunet(
        tmp_path / "n__p__3d_fullres", foreign.Thresholds(), plans=plans, dataset=foreign.dataset()
    )
    assert steps_of(read(folder)).axcodes == "ASR"


def test_other_labels_are_chosen_by_number_and_regions_by_name(tmp_path: Path) -> None:
    folder = nnunet(tmp_path / "n__p__3d_fullres", foreign.Thresholds())
    swapped = read(folder, labels="liver=2,tumor=1")
    assert (swapped.spec.net_args["liver"], swapped.spec.net_args["tumor"]) == ([2], [1])
    regions = foreign.write_nnunet(
        tmp_path / "r__p__3d_fullres",
        foreign.Thresholds(overlapping=True),
        plans=foreign.plans(),
        dataset=foreign.dataset(liver=[1, 2], tumor=2, ignore=3),
    )
    check_it_finds_the_balls(
        segmenter_of(read(regions), tmp_path / "m.safetensors"), np.diag([-1.0, -1.0, 1.0])
    )


def test_both_of_nnunets_networks_are_built_from_plans_and_their_tensors(tmp_path: Path) -> None:
    """As safetensors at once, as a pickle when trusted; old plans say the same in other words."""
    for kind in ("PlainConvUNet", "ResidualEncoderUNet"):
        net = foreign.random_nnunet(kind)
        folder = nnunet(
            tmp_path / f"{kind}__p__3d_fullres", architecture=foreign.architecture(kind)
        )
        state = {n: t.clone() for n, t in foreign.checkpoint_state(net).items()}
        assert len(state) > 2 * len(net.state_dict()), "most of its tensors twice"
        weights = folder / "fold_0" / "checkpoint_final.safetensors"
        save_file(state, weights)
        patches = torch.randn(1, 1, *foreign.PATCH)
        with torch.inference_mode():
            expected = net(patches)
            torch.testing.assert_close(read(folder).build_net()(patches), expected)
            weights.unlink()
            pickled = {"network_weights": {f"module.{n}": t for n, t in state.items()}, "epoch": 9}
            torch.save(pickled, folder / "fold_0" / "checkpoint_final.pth")
            torch.testing.assert_close(read(folder, trust=True).build_net()(patches), expected)


def test_an_nnunet_in_2d_answers_as_its_own_layers_do(tmp_path: Path) -> None:
    """Of PyTorch's 2D layers with the same tensors, for both architectures."""
    for kind in ("PlainConvUNet", "ResidualEncoderUNet"):
        net = foreign.random_nnunet(kind, axes=2)
        folder = nnunet(
            tmp_path / f"{kind}__p__2d", in_2d={"architecture": foreign.architecture_2d(kind)}
        )
        state = {n: t.clone() for n, t in foreign.checkpoint_state(net).items()}
        assert {t.ndim for t in state.values()} == {1, 4}
        save_file(state, folder / "fold_0" / "checkpoint_final.safetensors")
        file = read(folder)
        assert file.spec.net_args["patch_kji"] == [1, *foreign.PATCH_2D]
        slices = torch.randn(2, 1, *foreign.PATCH_2D)
        with torch.inference_mode():
            answer = file.build_net()(slices[:, :, None])
            torch.testing.assert_close(answer[:, :, 0], net(slices))


def test_plans_of_earlier_nnunets_describe_the_same_network(tmp_path: Path) -> None:
    old = {
        "architecture": None,
        "UNet_class_name": "PlainConvUNet",
        "UNet_base_num_features": 4,
        "unet_max_num_features": 8,
        "n_conv_per_stage_encoder": [1, 2, 2],
        "n_conv_per_stage_decoder": [2, 1],
        "pool_op_kernel_sizes": foreign.STAGES["strides"],
        "conv_kernel_sizes": foreign.STAGES["kernels"],
    }
    new = foreign.architecture()
    new["arch_kwargs"]["features_per_stage"] = [4, 8, 8]
    args = []
    for name, changes in (("old", old), ("new", {"architecture": new})):
        folder = nnunet(tmp_path / f"{name}__p__3d_fullres", **changes)
        net = foreign.NnUnet(
            patch_kji=foreign.PATCH,
            **{**foreign.STAGES, "features": [4, 8, 8]},
            counts=[1, 2, 2],
            classes=3,
            liver=[1],
            tumor=[2],
        )
        state = {n: t.clone() for n, t in foreign.checkpoint_state(net).items()}
        save_file(state, folder / "fold_0" / "checkpoint_final.safetensors")
        file = read(folder)
        file.save(tmp_path / "m.safetensors")
        args.append({"bias": True, **file.spec.net_args})
    assert args[0] == args[1]


class Opened:
    """Leaves a file where it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / OPENED

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.file,)


def test_no_pickle_is_opened_without_trust_whatever_it_is_called(tmp_path: Path) -> None:
    for name in ("checkpoint_final.pth", "net.ckpt", "net.ts", "net.pt", "net.safetensors"):
        folder = nnunet(tmp_path / f"{name}__p__3d_fullres")
        weights = folder / "fold_0" / name
        for save in (torch.save, lambda value, path: path.write_bytes(pickle.dumps(value))):
            save(Opened(tmp_path), weights)
            with pytest.raises(ValueError, match=r"pickle|no TorchScript|no whole safetensors"):
                read(folder)
            assert not (tmp_path / OPENED).exists()
    with pytest.raises(ValueError, match=r"cannot be opened|holds no network"):
        read(tmp_path / "checkpoint_final.pth__p__3d_fullres", trust=True)
    assert (tmp_path / OPENED).exists(), "which is what trust means"


def refused(folder: Path, **choices: Any) -> str:
    with pytest.raises(ValueError, match=r"^[^\n]{20,400}[.]$") as refusal:
        read(folder, **choices)
    return str(refusal.value)


def test_what_an_nnunet_folder_lacks_is_refused_in_one_sentence(tmp_path: Path) -> None:
    two_images = {**foreign.dataset(), "channel_names": {"0": "CT", "1": "PET"}}
    no_liver, no_tumor = foreign.dataset(spleen=1, cancer=2), foreign.dataset(liver=1, spleen=2)
    unknown = foreign.architecture("SwinUNETR")
    batch_norm = foreign.architecture()
    batch_norm["arch_kwargs"]["norm_op"] = "torch.nn.modules.batchnorm.BatchNorm3d"
    cases: list[tuple[str, dict[str, Any], dict[str, Any], dict[str, Any]]] = [
        ("neither of two nor of three sides", {"patch_size": [8]}, {}, {}),
        ("needs the answer of another network", {}, {}, {"configuration": "3d_cascade_fullres"}),
        ("plans.json has: 2d, 3d_lowres", {}, {}, {"configuration": "4d"}),
        ("takes several images", {}, two_images, {}),
        ("none of them is the liver", {}, no_liver, {}),
        ("none of them is the tumor", {}, no_tumor, {}),
        ("has no label 7", {}, {}, {"labels": "liver=1,tumor=7"}),
        ("normalization is ZScore", {"normalization_schemes": ["ZScoreNormalization"]}, {}, {}),
        ("The architecture SwinUNETR", {"architecture": unknown}, {}, {}),
        ("norm_op torch.nn.modules.batchnorm", {"architecture": batch_norm}, {}, {}),
        ("its folds are: 0", {}, {}, {"fold": "3"}),
        ("orientation 'XYZW'", {}, {}, {"orientation": "XYZW"}),
        ("plans.json lacks 'spacing'", {"spacing": KeyError}, {}, {}),
        ("not as nnU-Net v2 writes it", {"spacing": 3}, {}, {}),
    ]
    for number, (sentence, of_plans, dataset, choices) in enumerate(cases):
        plans = foreign.plans(**of_plans)
        fullres = plans["configurations"]["3d_fullres"]
        for key in [key for key, value in fullres.items() if value is KeyError]:
            del fullres[key]
        folder = foreign.write_nnunet(
            tmp_path / f"{number}__p__3d_fullres", plans=plans, dataset=dataset or foreign.dataset()
        )
        (folder / "fold_0" / "checkpoint_final.safetensors").touch()
        assert sentence in refused(folder, **choices)
    nothing = nnunet(tmp_path / "nothing__p__3d_fullres")
    assert "holds no weights" in refused(nothing)
    assert "Say which configuration" in refused(nnunet(tmp_path / "unnamed"))
    assert "neither an nnU-Net v2 model" in refused(tmp_path / "nothing__p__3d_fullres" / "fold_0")
    assert "Name one of the networks in the folder: 0__p__3d_fullres" in refused(tmp_path)
    (nothing / "plans.json").write_text("[1]")
    assert "plans.json is damaged" in refused(nothing)


def test_a_torchscript_that_does_not_fit_the_plans_is_refused(tmp_path: Path) -> None:
    two = foreign.Thresholds(overlapping=True)
    assert "answers with 2 channels" in refused(nnunet(tmp_path / "a__p__3d_fullres", two))
    larger = torch.nn.Sequential(foreign.Thresholds(), torch.nn.Upsample(scale_factor=2))
    assert "as large as its patch" in refused(nnunet(tmp_path / "b__p__3d_fullres", larger))
    folder = nnunet(tmp_path / "c__p__3d_fullres")
    wide = torch.jit.trace(torch.nn.Conv3d(4, 3, 1), torch.zeros(1, 4, 8, 8, 8))
    wide.save(str(folder / "fold_0" / "net.ts"))
    assert "does not take one CT channel" in refused(folder)


def test_what_a_bundle_does_otherwise_is_refused_in_one_sentence(tmp_path: Path) -> None:
    names = {"0": "background", "1": "liver", "2": "tumor"}
    transforms = foreign.bundle_config()["preprocessing"]["transforms"]

    def preparing(*more: dict[str, Any], without: str = "") -> dict[str, Any]:
        kept = [one for one in transforms if one["_target_"] != without]
        return foreign.bundle_config(
            preprocessing={"_target_": "Compose", "transforms": [*kept, *more]}
        )

    inferer = {"_target_": "SlidingWindowInferer", "roi_size": "$[96] * 3"}
    cases = [
        ("expressions are never run", foreign.bundle_config(inferer=inferer), names),
        ("with HistogramNormalized", preparing({"_target_": "HistogramNormalized"}), names),
        ("has no Spacingd", preparing(without="Spacingd"), names),
        ("has no Orientationd", preparing(without="Orientationd"), names),
        (
            "by its own numbers",
            preparing({"_target_": "NormalizeIntensityd"}, without="ScaleIntensityRanged"),
            names,
        ),
        ("scales CT numbers twice", preparing(transforms[4]), names),
        ("none of them is the tumor", foreign.bundle_config(), {**names, "2": "spleen"}),
        ("is not as a MONAI bundle", {"preprocessing": 3}, names),
    ]
    for number, (sentence, config, its_names) in enumerate(cases):
        folder = foreign.write_bundle(tmp_path / str(number), config, its_names)
        assert sentence in refused(folder)
    (folder / "models" / "model.ts").rename(folder / "models" / "model.pt")
    (folder / "configs" / "inference.json").write_text(json.dumps(foreign.bundle_config()))
    assert "ckpt_export" in refused(folder)

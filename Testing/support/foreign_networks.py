"""Networks as other programs leave them: an nnU-Net v2 folder, a MONAI bundle; exact thresholds.

The nets take HU / 100 for liver from 10 to 110 HU and for tumor above, so that what they say of a
CT is known. The plans have the keys of a real plans file of nnU-Net 2.5.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from LiverTumorSegLib.nets.nnunet import NnUnet

PATCH, PATCH_2D = [8, 16, 24], [16, 24]
SPACING_MM, SPACING_2D_MM = [2.5, 2.0, 1.5], [2.0, 1.5]
STATISTICS = {
    "max": 500.0, "mean": 0.0, "median": 100.0, "min": -400.0,
    "percentile_00_5": -200.0, "percentile_99_5": 300.0, "std": 100.0,
}  # fmt: skip
STAGES: dict[str, Any] = {
    "features": [4, 6, 8],
    "kernels": [[1, 3, 3], [3, 3, 3], [3, 3, 3]],
    "strides": [[1, 1, 1], [1, 2, 2], [2, 2, 2]],
    "decoder_counts": [2, 1],
}
BY_NAME = {"order": 3, "order_z": 0, "is_seg": False, "force_separate_z": None}


class Thresholds(torch.nn.Module):
    """Background, liver, tumor of HU / 100; also as two sigmoids, of liver with tumor and tumor."""

    def __init__(self, *, overlapping: bool = False, axes: int = 3) -> None:
        super().__init__()
        conv: Any = torch.nn.Conv3d if axes == 3 else torch.nn.Conv2d
        self.classes = conv(1, 2 if overlapping else 3, 1)
        weights, biases = ([1.0, 1.0], [-0.1, -1.1]) if overlapping else ([0.0, 1.0, 2.0],) * 2
        with torch.no_grad():
            if not overlapping:
                biases = [0.0, -0.1, -1.2]
            self.classes.weight[:] = 50 * torch.tensor(weights).view(-1, 1, *[1] * axes)
            self.classes.bias[:] = 50 * torch.tensor(biases)

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        answer: torch.Tensor = self.classes(patches)
        return answer


def save_torchscript(net: torch.nn.Module, path: Path, patch: list[int] = PATCH) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.jit.trace(net.eval(), torch.zeros(1, 1, *patch)).save(str(path))
    return path


def save_onnx(net: Thresholds, path: Path, *, batch: int | str = "n") -> Path:
    """The same as ONNX; batch: patches at a time, a name for any number."""
    import onnx
    from onnx import helper, numpy_helper

    weights = {name: tensor.numpy() for name, tensor in net.classes.state_dict().items()}
    axes = weights["weight"].ndim - 2
    kind = onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        [helper.make_node("Conv", ["image", "weight", "bias"], ["logits"])],
        "thresholds",
        [helper.make_tensor_value_info("image", kind, [batch, 1, *[None] * axes])],
        [helper.make_tensor_value_info("logits", kind, [batch, None, *[None] * axes])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    opset = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model.SerializeToString())
    return path


def architecture(kind: str = "PlainConvUNet") -> dict[str, Any]:
    """Of a configuration in plans of nnU-Net 2.3 and later."""
    counts = "n_blocks_per_stage" if kind == "ResidualEncoderUNet" else "n_conv_per_stage"
    return {
        "network_class_name": f"dynamic_network_architectures.architectures.unet.{kind}",
        "arch_kwargs": {
            "n_stages": 3,
            "features_per_stage": STAGES["features"],
            "conv_op": "torch.nn.modules.conv.Conv3d",
            "kernel_sizes": STAGES["kernels"],
            "strides": STAGES["strides"],
            counts: [1, 2, 2],
            "n_conv_per_stage_decoder": STAGES["decoder_counts"],
            "conv_bias": True,
            "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
            "norm_op_kwargs": {"eps": 1e-05, "affine": True},
            "dropout_op": None,
            "dropout_op_kwargs": None,
            "nonlin": "torch.nn.LeakyReLU",
            "nonlin_kwargs": {"inplace": True},
        },
        "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
    }


def architecture_2d(kind: str = "PlainConvUNet") -> dict[str, Any]:
    """The same of the configuration 2d, of the stages' last two axes."""
    made = architecture(kind)
    args = made["arch_kwargs"]
    for name in ("kernel_sizes", "strides"):
        args[name] = [side[1:] for side in args[name]]
    args["conv_op"] = "torch.nn.modules.conv.Conv2d"
    args["norm_op"] = "torch.nn.modules.instancenorm.InstanceNorm2d"
    return made


def plans(in_2d: Mapping[str, Any] = MappingProxyType({}), **changes: Any) -> dict[str, Any]:
    """changes: of the configuration 3d_fullres; in_2d: of 2d."""
    fullres = {
        "data_identifier": "nnUNetPlans_3d_fullres",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 2,
        "patch_size": PATCH,
        "median_image_size_in_voxels": [482.0, 512.0, 512.0],
        "spacing": SPACING_MM,
        "normalization_schemes": ["CTNormalization"],
        "use_mask_for_norm": [False],
        "resampling_fn_data": "resample_data_or_seg_to_shape",
        "resampling_fn_data_kwargs": BY_NAME,
        "resampling_fn_probabilities": "resample_data_or_seg_to_shape",
        "resampling_fn_probabilities_kwargs": {**BY_NAME, "order": 1},
        "architecture": architecture(),
        "batch_dice": True,
        **changes,
    }
    two = {
        **fullres,
        "data_identifier": "nnUNetPlans_2d",
        "batch_size": 12,
        "patch_size": PATCH_2D,
        "median_image_size_in_voxels": [512.0, 512.0],
        "spacing": SPACING_2D_MM,
        "architecture": architecture_2d(),
        "batch_dice": True,
        **in_2d,
    }
    cascade = {"inherits_from": "3d_fullres", "previous_stage": "3d_lowres"}
    return {
        "dataset_name": "Dataset003_Liver",
        "plans_name": "nnUNetPlans",
        "original_median_spacing_after_transp": SPACING_MM,
        "original_median_shape_after_transp": [432, 512, 512],
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "configurations": {
            "2d": two,
            "3d_lowres": {"inherits_from": "3d_fullres", "spacing": [4.0, 4.0, 4.0]},
            "3d_fullres": fullres,
            "3d_cascade_fullres": cascade,
        },
        "experiment_planner_used": "ExperimentPlanner",
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {"0": STATISTICS},
    }


def dataset(**labels: Any) -> dict[str, Any]:
    return {
        "channel_names": {"0": "CT"},
        "labels": {"background": 0, **(labels or {"liver": 1, "cancer": 2})},
        "numTraining": 131,
        "file_ending": ".nii.gz",
    }


def write_nnunet(
    folder: Path,
    net: torch.nn.Module | None = None,
    *,
    plans: dict[str, Any],
    dataset: dict[str, Any],
) -> Path:
    """net: as TorchScript in the first fold; None leaves the fold empty."""
    (folder / "fold_0").mkdir(parents=True)
    (folder / "plans.json").write_text(json.dumps(plans))
    (folder / "dataset.json").write_text(json.dumps(dataset))
    if net is not None:
        patch = PATCH_2D if folder.name.endswith("__2d") else PATCH
        save_torchscript(net, folder / "fold_0" / "checkpoint_final.ts", patch)
    return folder


def in_two_dimensions(net: torch.nn.Module) -> torch.nn.Module:
    """A net whose kernels are 1 along k, in PyTorch's own 2D layers, as nnU-Net builds it."""
    for name, layer in list(net.named_children()):
        setattr(
            net, name, _in_2d(layer) if not list(layer.children()) else in_two_dimensions(layer)
        )
    return net


def _in_2d(layer: Any) -> torch.nn.Module:
    kinds = {"Conv3d": torch.nn.Conv2d, "ConvTranspose3d": torch.nn.ConvTranspose2d}
    kind: Any = kinds.get(type(layer).__name__)
    if kind is not None:
        sizes = layer.kernel_size[1:], layer.stride[1:], layer.padding[1:]
        flat = kind(layer.in_channels, layer.out_channels, *sizes, bias=layer.bias is not None)
        flat.weight.data = layer.weight.data[:, :, 0]
        if layer.bias is not None:
            flat.bias.data = layer.bias.data
        return flat  # type: ignore[no-any-return]
    if isinstance(layer, torch.nn.InstanceNorm3d):
        norm = torch.nn.InstanceNorm2d(layer.num_features, affine=True)
        norm.load_state_dict(layer.state_dict())
        return norm
    if isinstance(layer, torch.nn.AvgPool3d):
        return torch.nn.AvgPool2d(layer.kernel_size[1:], layer.stride[1:])
    return layer  # type: ignore[no-any-return]


def checkpoint_state(net: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The net's tensors as nnU-Net's checkpoint names them: some twice, and an output a grid."""
    state: dict[str, torch.Tensor] = {}
    for name, tensor in net.state_dict().items():
        if name.startswith("head."):
            state[name.replace("head.", "decoder.seg_layers.1.")] = tensor
            state[name.replace("head.", "decoder.seg_layers.0.")] = tensor.clone()
            continue
        twice = name.replace(".conv.", ".all_modules.0.").replace(".norm.", ".all_modules.1.")
        for one in {name, twice}:
            state[one] = tensor
            if one.startswith("encoder."):
                state[f"decoder.{one}"] = tensor
    return state


def random_nnunet(kind: str, *, axes: int = 3) -> torch.nn.Module:
    torch.manual_seed(2)
    args = {**STAGES, "counts": [1, 2, 2], "classes": 3, "liver": [1], "tumor": [2]}
    patch = PATCH
    if axes == 2:
        patch = [1, *PATCH_2D]
        for name in ("kernels", "strides"):
            args[name] = [[1, *side[1:]] for side in STAGES[name]]
    net = NnUnet(patch_kji=patch, residual=kind == "ResidualEncoderUNet", **args).eval()
    return in_two_dimensions(net) if axes == 2 else net


def bundle_config(**changes: Any) -> dict[str, Any]:
    """configs/inference.json as bundles of the model zoo write it."""
    return {
        "bundle_root": ".",
        "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
        "roi": [24, 16, 8],
        "network_def": {"_target_": "UNet", "spatial_dims": 3, "in_channels": 1},
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "LoadImaged", "keys": "image"},
                {"_target_": "EnsureChannelFirstd", "keys": "image"},
                {"_target_": "Orientationd", "keys": "image", "axcodes": "RAS"},
                {
                    "_target_": "Spacingd",
                    "keys": "image",
                    "pixdim": [1.5, 2.0, 2.5],
                    "mode": "bilinear",
                },
                {
                    "_target_": "ScaleIntensityRanged",
                    "keys": "image",
                    "a_min": -100,
                    "a_max": 300,
                    "b_min": -1.0,
                    "b_max": 3.0,
                    "clip": True,
                },
                {"_target_": "EnsureTyped", "keys": "image"},
            ],
        },
        "inferer": {"_target_": "SlidingWindowInferer", "roi_size": "@roi", "overlap": 0.5},
        "postprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "Activationsd", "keys": "pred", "softmax": True},
                {"_target_": "AsDiscreted", "keys": "pred", "argmax": True},
            ],
        },
        **changes,
    }


def write_bundle(folder: Path, config: dict[str, Any], names: dict[str, str]) -> Path:
    (folder / "configs").mkdir(parents=True)
    image = {"type": "image", "format": "hounsfield", "num_channels": 1}
    metadata = {
        "version": "0.4.2",
        "name": "Liver tumor bundle",
        "network_data_format": {
            "inputs": {"image": {**image, "spatial_shape": [24, 16, 8]}},
            "outputs": {"pred": {"num_channels": len(names), "channel_def": names}},
        },
    }
    (folder / "configs" / "metadata.json").write_text(json.dumps(metadata))
    (folder / "configs" / "inference.json").write_text(json.dumps(config))
    overlapping = len(names) == 2
    save_torchscript(
        Thresholds(overlapping=overlapping), folder / "models" / "model.ts", [24, 16, 8]
    )
    return folder

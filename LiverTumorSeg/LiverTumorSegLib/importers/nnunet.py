"""An nnU-Net v2 model folder as a model of ours: plans.json, dataset.json, fold_*/.

    file = read_nnunet(Path("nnUNetTrainer__nnUNetPlans__3d_fullres"), ImportChoices())
    file.save("mine.safetensors")

Read as data: spacing, normalization, labels, patch and network come from the two JSON files, and
of the fold only tensors are taken. A 2D configuration sees the CT slice by slice.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from LiverTumorSegLib.inference.preprocess_resampled import ResampledPreprocessing
from LiverTumorSegLib.model.file import ModelFile
from LiverTumorSegLib.model.spec import file_sha256

from .choices import ImportChoices
from .labels import Channels, find_channels
from .networks import imported_spec, program_network
from .weights import (
    PICKLE_ENDINGS,
    PROGRAM_ENDINGS,
    State,
    read_description,
    read_safetensors,
    read_trusted_pickle,
)

Plans = Mapping[str, Any]
PLAIN, RESIDUAL = "PlainConvUNet", "ResidualEncoderUNet"
CUBIC = {"order": 3, "order_z": 0}  # what nnU-Net resamples images with where plans say nothing
FINAL = "checkpoint_final"
AT_FAULT = "plans.json lacks {}; it must be one that nnU-Net v2 has written."


def is_nnunet(folder: Path) -> bool:
    return (folder / "plans.json").is_file()


def read_nnunet(folder: Path, choices: ImportChoices) -> ModelFile:
    """The network of one fold; ``ValueError`` with one sentence for what cannot be used."""
    plans = read_description(folder / "plans.json")
    dataset = read_description(folder / "dataset.json")
    try:
        name = _configuration_name(folder, plans, choices)
        configuration = _configuration(plans, name)
        _refuse_inputs(name, configuration, dataset)
        channels = _channels(dataset, choices)
        preprocessing = _preprocessing(plans, configuration, choices)
        patch = [int(side) for side in configuration["patch_size"]]
        fold, weights = _weights_file(folder, choices)
        if weights.suffix in PROGRAM_ENDINGS:
            net, args, state = program_network(weights, patch, channels, "dataset.json")
        else:
            net, args = "nnunet", _net_args(configuration, patch, channels)
            state = _of_checkpoint(weights, len(args["features"]), choices)
            if len(patch) == 2:
                args, state = _as_one_layer(args), _with_a_layer(state)
    except KeyError as error:
        raise ValueError(AT_FAULT.format(error)) from error
    except (TypeError, AttributeError, IndexError, ArithmeticError) as error:
        raise ValueError("plans.json or dataset.json is not as nnU-Net v2 writes it.") from error
    dataset_name = str(plans.get("dataset_name", folder.name))
    spec = imported_spec(
        name=f"{dataset_name}-{name}",
        net=net,
        net_args=args,
        preprocessing=preprocessing,
        title=f"nnU-Net, {dataset_name}, {name}, {fold}",
        imported={"from": "nnU-Net v2", "fold": fold, "sha256": file_sha256(weights)},
    )
    return ModelFile(spec, state)


def _configuration_name(folder: Path, plans: Plans, choices: ImportChoices) -> str:
    """The one that was chosen, that the folder is named after, or the only one in 3D.

    In 2D only where that is said: most folders hold plans of one beside those in 3D.
    """
    known = list(plans.get("configurations", {}))
    named = [folder.resolve().name.rpartition("__")[2]]
    in_3d = [one for one in known if one != "2d"]
    chosen = [choices.configuration] if choices.configuration else named
    if not choices.configuration and named[0] not in known:
        chosen = in_3d if len(in_3d) == 1 else []
    if not chosen or chosen[0] not in known:
        raise ValueError(
            f"Say which configuration it is with --configuration; plans.json has:"
            f" {', '.join(known) or 'none'}."
        )
    return str(chosen[0])


def _configuration(plans: Plans, name: str) -> dict[str, Any]:
    """With what it inherits from others."""
    chain, seen = [plans["configurations"][name]], {name}
    while (parent := chain[-1].get("inherits_from")) is not None:
        if parent in seen:
            raise ValueError(
                "The configurations in plans.json inherit from each other in a circle."
            )
        seen.add(parent)
        chain.append(plans["configurations"][parent])
    return {key: value for one in reversed(chain) for key, value in one.items()}


def _refuse_inputs(name: str, configuration: Plans, dataset: Plans) -> None:
    if configuration.get("previous_stage"):
        raise ValueError(
            f"{name} needs the answer of another network as input; import 3d_fullres or 3d_lowres."
        )
    if len(configuration["patch_size"]) not in (2, 3):
        raise ValueError("The network's patch is neither of two nor of three sides.")
    inputs = dataset.get("channel_names", dataset.get("modality"))
    if not isinstance(inputs, dict) or len(inputs) != 1:
        raise ValueError("The network takes several images; only networks of one CT can be used.")


def _channels(dataset: Plans, choices: ImportChoices) -> Channels:
    """Of a network with regions each channel is one of them, in the order of dataset.json."""
    labels = {name: value for name, value in dataset["labels"].items() if name != "ignore"}
    if not any(isinstance(value, list) for value in labels.values()):
        names = {int(value): str(name) for name, value in labels.items()}
        return find_channels(names, choices.labels)
    if choices.labels is not None:
        raise ValueError("The network has overlapping regions: it is read by their names alone.")
    regions = [name for name, value in labels.items() if value != 0]
    return find_channels(dict(enumerate(map(str, regions))), None, overlapping=True)


def _preprocessing(
    plans: Plans, configuration: Plans, choices: ImportChoices
) -> ResampledPreprocessing:
    (scheme,) = configuration["normalization_schemes"]
    statistics = plans["foreground_intensity_properties_per_channel"]
    clip: tuple[float, float] | None = None
    mean_std = (0.0, 1.0)
    if scheme == "CTNormalization":
        of_ct = statistics["0"]
        clip = float(of_ct["percentile_00_5"]), float(of_ct["percentile_99_5"])
        mean_std = float(of_ct["mean"]), float(of_ct["std"])
    elif scheme != "NoNormalization":
        raise ValueError(
            f"The network's normalization is {scheme}; known are CTNormalization and"
            " NoNormalization. For a CT, plan it again with the channel name CT."
        )
    kwargs = configuration.get("resampling_fn_data_kwargs") or {}
    if configuration.get("resampling_fn_data", "resample_data_or_seg_to_shape").startswith(
        "resample_torch"
    ):
        kwargs = {"order": 1, "order_z": 1}
    orders = {**CUBIC, **{name: kwargs[name] for name in CUBIC if name in kwargs}}
    return ResampledPreprocessing(
        spacing_mm=tuple(float(side) for side in configuration["spacing"]),
        axcodes=_axcodes(plans, choices),
        clip_hu=clip,
        mean_std_hu=mean_std,
        order=int(orders["order"]),
        order_across=int(orders["order_z"]),
    )


def _axcodes(plans: Plans, choices: ImportChoices) -> str:
    """Slices, rows, columns of the images as they were read, in the plans' order."""
    turned = plans.get("image_reader_writer") == "NibabelIOWithReorient"
    stored = choices.orientation or ("RAS" if turned else "LPS")
    slices_first = stored.upper()[::-1]
    order = plans.get("transpose_forward", [0, 1, 2])
    if len(slices_first) != 3 or sorted(order) != [0, 1, 2]:
        raise ValueError(f"The orientation {stored!r} is unknown; write it as LPS or RAS.")
    return "".join(slices_first[axis] for axis in order)


def _weights_file(folder: Path, choices: ImportChoices) -> tuple[str, Path]:
    """The fold's name, and what of it is read: what runs no code comes first."""
    folds = sorted(path for path in folder.glob("fold_*") if path.is_dir())
    wanted = f"fold_{choices.fold}" if choices.fold is not None else "fold_all"
    chosen = [fold for fold in folds if fold.name == wanted]
    if not chosen and choices.fold is None:
        chosen = folds
    if not chosen:
        there = ", ".join(fold.name.removeprefix("fold_") for fold in folds) or "none"
        raise ValueError(f"The folder has no such fold; its folds are: {there}.")
    fold = chosen[0]
    for endings in ((".safetensors",), PROGRAM_ENDINGS, PICKLE_ENDINGS):
        files = sorted(path for path in fold.iterdir() if path.suffix in endings)
        final = [path for path in files if path.stem == FINAL]
        if len(final) == 1 or len(files) == 1:
            return fold.name, (final or files)[0]
        if files:
            raise ValueError(f"{fold.name} holds several networks and no {FINAL}; leave one there.")
    raise ValueError(
        f"{fold.name} holds no weights; put {FINAL}.safetensors, .ts, .onnx or .pth there."
    )


def _net_args(configuration: Plans, patch: list[int], channels: Channels) -> dict[str, Any]:
    """Of the U-Net that plans describe, in either of the two forms that nnU-Net has written."""
    architecture = configuration.get("architecture")
    if architecture is None:
        of_stages = _args_of_old_plans(configuration)
    else:
        of_stages = _args_of_architecture(architecture, len(patch))
    return {
        "patch_kji": patch,
        **of_stages,
        "classes": channels.count,
        "liver": list(channels.liver),
        "tumor": list(channels.tumor),
        "overlapping": channels.overlapping,
    }


def _args_of_old_plans(configuration: Plans) -> dict[str, Any]:
    """Of plans from before nnU-Net 2.3, which know features by the first and the most alone."""
    name = configuration["UNet_class_name"]
    _refuse_unknown(name)
    strides = configuration["pool_op_kernel_sizes"]
    first, most = configuration["UNet_base_num_features"], configuration["unet_max_num_features"]
    return {
        "features": [min(first * 2**stage, most) for stage in range(len(strides))],
        "kernels": configuration["conv_kernel_sizes"],
        "strides": strides,
        "counts": configuration["n_conv_per_stage_encoder"],
        "decoder_counts": configuration["n_conv_per_stage_decoder"],
        "residual": name == RESIDUAL,
    }


def _args_of_architecture(architecture: Plans, axes: int) -> dict[str, Any]:
    name = str(architecture["network_class_name"]).rpartition(".")[2]
    _refuse_unknown(name)
    args = architecture["arch_kwargs"]
    like_ours = {
        "conv_op": f"Conv{axes}d",
        "norm_op": f"InstanceNorm{axes}d",
        "nonlin": "LeakyReLU",
        "dropout_op": "None",
    }
    for key, wanted in like_ours.items():
        if str(args.get(key)).rpartition(".")[2] != wanted:
            raise ValueError(
                f"The network has the {key} {args.get(key)}, which is unknown here. Export it to"
                " TorchScript and put the .ts file into the fold."
            )
    residual = name == RESIDUAL
    return {
        "features": args["features_per_stage"],
        "kernels": args["kernel_sizes"],
        "strides": args["strides"],
        "counts": args["n_blocks_per_stage" if residual else "n_conv_per_stage"],
        "decoder_counts": args["n_conv_per_stage_decoder"],
        "residual": residual,
        "bias": bool(args["conv_bias"]),
    }


def _as_one_layer(args: dict[str, Any]) -> dict[str, Any]:
    """A 2D network as the 3D one of a single layer, which computes the same."""
    sides = {name: [[1, *pair] for pair in args[name]] for name in ("kernels", "strides")}
    return {**args, **sides, "patch_kji": [1, *args["patch_kji"]]}


def _with_a_layer(state: State) -> State:
    """The tensors of 2D convolutions for the 3D ones of a single layer."""
    return {name: t.unsqueeze(2) if t.ndim == 4 else t for name, t in state.items()}


def _refuse_unknown(name: str) -> None:
    if name not in (PLAIN, RESIDUAL):
        raise ValueError(
            f"The architecture {name} is unknown here (known: {PLAIN}, {RESIDUAL}). Export the"
            " network to TorchScript and put the .ts file into the fold."
        )


def _of_checkpoint(path: Path, stages: int, choices: ImportChoices) -> State:
    """The tensors by our names: without their duplicates and the outputs of coarser grids."""
    if path.suffix in PICKLE_ENDINGS:
        state = read_trusted_pickle(path, trust=choices.trust)
    else:
        state = read_safetensors(path)
    head = f"decoder.seg_layers.{stages - 2}."
    ours: State = {}
    for name, tensor in state.items():
        if ".all_modules." in name or name.startswith("decoder.encoder."):
            continue
        if name.startswith(head):
            ours[name.replace(head, "head.")] = tensor
        elif not name.startswith("decoder.seg_layers."):
            ours[name] = tensor
    return ours

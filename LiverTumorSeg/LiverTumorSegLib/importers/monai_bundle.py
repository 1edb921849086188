"""A MONAI bundle as a model of ours: configs/metadata.json and inference.json, models/*.ts, *.onnx.

    file = read_bundle(Path("liver_tumor_bundle"), ImportChoices())

Read as data: transforms that are known become our preprocessing, and no expression in a
configuration is evaluated.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from LiverTumorSegLib.inference.preprocess_resampled import ResampledPreprocessing
from LiverTumorSegLib.model.file import ModelFile
from LiverTumorSegLib.model.spec import file_sha256

from .choices import ImportChoices
from .labels import Channels, find_channels
from .networks import imported_spec, program_network
from .weights import ONNX_ENDINGS, read_description

Config = Mapping[str, Any]
SPLINES = {"nearest": 0, "bilinear": 1, "trilinear": 1, "bicubic": 3}
CHANGE_NOTHING = {  # of how a CT looks to the network
    "LoadImaged", "EnsureChannelFirstd", "EnsureTyped", "ToTensord", "CastToTyped",
    "CropForegroundd", "ToDeviced", "AddChanneld", "AsChannelFirstd",
}  # fmt: skip
DEEPEST_REFERENCE = 8
EXPORT = (
    "python -m monai.bundle ckpt_export network_def --filepath models/model.ts --ckpt_file"
    " models/model.pt --meta_file configs/metadata.json --config_file configs/inference.json"
)


def is_bundle(folder: Path) -> bool:
    return (folder / "configs").is_dir()


def read_bundle(folder: Path, choices: ImportChoices) -> ModelFile:
    """The bundle's network; ``ValueError`` with one sentence for what cannot be used."""
    configs = folder / "configs"
    metadata = read_description(configs / "metadata.json")
    config = _Literal(read_description(configs / "inference.json"))
    try:
        channels = _channels(metadata, config, choices)
        preprocessing = _preprocessing(config, choices)
        patch = [int(side) for side in config.of("inferer", "roi_size")]
        weights = _program_of(folder)
        net, args, state = program_network(weights, patch, channels, "metadata.json")
    except (KeyError, TypeError, AttributeError, IndexError, ArithmeticError) as error:
        raise ValueError(
            "metadata.json or inference.json is not as a MONAI bundle of segmentation has it."
        ) from error
    name = str(metadata.get("name", folder.resolve().name))
    spec = imported_spec(
        name=name,
        net=net,
        net_args=args,
        preprocessing=preprocessing,
        title=f"MONAI bundle, {name}, version {metadata.get('version', 'not stated')}",
        imported={"from": "MONAI bundle", "sha256": file_sha256(weights)},
    )
    return ModelFile(spec, state)


class _Literal:
    """A configuration of which only literal values are read."""

    def __init__(self, config: Config) -> None:
        self.config = config

    def of(self, *path: str) -> Any:
        value: Any = self.config
        for key in path:
            value = self.resolved(value[key])
        return self.resolved(value)

    def resolved(self, value: Any) -> Any:
        """What a reference such as @roi_size leads to; ``ValueError`` for an expression."""
        for _ in range(DEEPEST_REFERENCE):
            if not isinstance(value, str) or value[:1] not in ("@", "$"):
                return [self.resolved(one) for one in value] if isinstance(value, list) else value
            if value.startswith("$"):
                break
            keys = value[1:].replace("#", "::").split("::")
            value = self.config
            for key in keys:
                value = value[int(key)] if isinstance(value, list) else value[key]
        raise ValueError(
            f"inference.json says {value!r} where a plain value is needed; expressions are never"
            " run, so write the value there."
        )

    def transforms(self, key: str) -> Iterator[tuple[str, Config]]:
        """Name and values of each, also within another Compose."""
        waiting = [self.of(key)]
        while waiting:
            one = self.resolved(waiting.pop(0))
            name = str(one["_target_"]).rpartition(".")[2]
            if name == "Compose":
                waiting = [*self.resolved(one["transforms"]), *waiting]
            elif self.resolved(one.get("_disabled_", False)) is not True:
                yield name, one


def _channels(metadata: Config, config: _Literal, choices: ImportChoices) -> Channels:
    layout = metadata["network_data_format"]
    (image,) = layout["inputs"].values()
    if image["num_channels"] != 1:
        raise ValueError("The network takes several images; only networks of one CT can be used.")
    (output,) = layout["outputs"].values()
    names = {int(number): str(name) for number, name in output["channel_def"].items()}
    overlapping = any(
        name == "Activationsd" and config.resolved(values.get("sigmoid", False)) is True
        for name, values in config.transforms("postprocessing")
    )
    return find_channels(names, choices.labels, overlapping=overlapping)


def _preprocessing(config: _Literal, choices: ImportChoices) -> ResampledPreprocessing:
    found: dict[str, Any] = {}
    if choices.orientation:
        found["axcodes"] = choices.orientation.upper()
    for name, values in config.transforms("preprocessing"):
        read = {key: value for key, value in values.items() if not key.startswith("_")}
        if name == "Orientationd":
            found["axcodes"] = config.resolved(read["axcodes"])
        elif name == "Spacingd":
            found |= _spacing(config, read)
        elif name in ("ScaleIntensityRanged", "NormalizeIntensityd"):
            if "mean_std_hu" in found:
                raise ValueError("The bundle scales CT numbers twice, which is unknown here.")
            found |= _scale(name, {key: config.resolved(value) for key, value in read.items()})
        elif name not in CHANGE_NOTHING:
            raise ValueError(
                f"The bundle prepares CTs with {name}, which is unknown here (known: Orientationd,"
                " Spacingd, ScaleIntensityRanged, NormalizeIntensityd)."
            )
    for key, transform in (("spacing_mm", "Spacingd"), ("axcodes", "Orientationd")):
        if key not in found:
            raise ValueError(f"The bundle's preprocessing has no {transform}, so its CTs vary.")
    return ResampledPreprocessing(**found)


def _spacing(config: _Literal, values: Config) -> dict[str, Any]:
    x, y, z = (float(side) for side in config.resolved(values["pixdim"]))
    mode = config.resolved(values.get("mode", "bilinear"))
    mode = mode[0] if isinstance(mode, list) else mode
    if mode not in SPLINES:
        raise ValueError(f"The bundle resamples in the mode {mode!r}, which is unknown here.")
    return {"spacing_mm": (x, y, z), "order": SPLINES[mode], "order_across": SPLINES[mode]}


def _scale(name: str, values: Config) -> dict[str, Any]:
    """Both are (HU - mean) / std, with a clip or without."""
    if name == "NormalizeIntensityd":
        if "subtrahend" not in values or "divisor" not in values:
            raise ValueError("The bundle scales each CT by its own numbers, which is unknown here.")
        return {"mean_std_hu": (float(values["subtrahend"]), float(values["divisor"]))}
    low, high = float(values["a_min"]), float(values["a_max"])
    bottom, top = float(values.get("b_min", 0.0)), float(values.get("b_max", 1.0))
    std = (high - low) / (top - bottom)
    clip = {"clip_hu": (low, high)} if values.get("clip", False) else {}
    return {"mean_std_hu": (low - bottom * std, std), **clip}


def _program_of(folder: Path) -> Path:
    found = (folder / "models").glob("*")
    files = sorted(path for path in found if path.suffix in (".ts", *ONNX_ENDINGS))
    if len(files) == 1:
        return files[0]
    if files:
        raise ValueError("models/ holds several .ts or .onnx files; leave the one to be imported.")
    raise ValueError(
        "models/ holds no TorchScript (.ts) or ONNX (.onnx), and other weights of a bundle are not"
        f" read; `{EXPORT}` makes one."
    )

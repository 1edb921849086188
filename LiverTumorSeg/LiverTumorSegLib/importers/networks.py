"""The description of a network from elsewhere, as every model has one."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from LiverTumorSegLib.inference.postprocess import Postprocessing
from LiverTumorSegLib.inference.preprocess_resampled import ResampledPreprocessing
from LiverTumorSegLib.labels import Label
from LiverTumorSegLib.model.spec import ModelSpec

from .labels import Channels
from .weights import State, read_program

SUMMARY = (
    "Imported, with this program's own steps after it; what it was trained on is not known here"
)


def imported_spec(
    *,
    name: str,
    net: str,
    net_args: dict[str, Any],
    preprocessing: ResampledPreprocessing,
    title: str,
    imported: dict[str, Any],
) -> ModelSpec:
    """The specification of an imported network; fp32, so that its predictions stay the same."""
    return ModelSpec(
        name=_model_name(name),
        version="1",
        net=net,
        net_args=net_args,
        preprocessing=preprocessing.to_dict(),
        labels={label.name.lower(): int(label) for label in Label},
        training_hu_range=None,
        postprocessing=Postprocessing().to_dict(),
        provenance={"title": title, "summary": SUMMARY, "imported": imported},
        storage="fp32",
    )


def program_network(
    path: Path, patch: list[int], channels: Channels, description: str
) -> tuple[str, dict[str, Any], State]:
    """The net "torchscript" or "onnx", its arguments, and its archive as a state dict.

    patch: of two sides for a network of slices. description: the file that says which channels
    there are. ``ValueError`` where the network has another number of them.
    """
    net, state, count = read_program(path, patch)
    if count != channels.count:
        raise ValueError(
            f"The network answers with {count} channels, and {description} has {channels.count}."
        )
    args = {
        "archive_bytes": len(state["archive"]),
        "patch_kji": patch,
        "liver": list(channels.liver),
        "tumor": list(channels.tumor),
        "overlapping": channels.overlapping,
    }
    if len(patch) == 2:
        args |= {"patch_kji": [1, *patch], "of_slices": True}
    return net, args, state


def _model_name(text: str) -> str:
    """As a catalog's names are: small letters, digits, '.', '_' and '-'."""
    name = re.sub(r"[^a-z0-9._-]+", "-", text.lower()).strip("._-")
    return name[:64] or "imported"

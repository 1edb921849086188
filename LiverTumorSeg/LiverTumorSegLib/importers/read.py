"""A folder with a network from elsewhere: which kind it is, and the model that it becomes.

file = read_network(Path("nnUNetTrainer__nnUNetPlans__3d_fullres"), ImportChoices(fold="0"))
"""

from __future__ import annotations

from pathlib import Path

from LiverTumorSegLib.model.file import ModelFile

from .choices import ImportChoices
from .monai_bundle import is_bundle, read_bundle
from .nnunet import is_nnunet, read_nnunet


def read_network(folder: Path, choices: ImportChoices) -> ModelFile:
    """The network in an nnU-Net v2 folder or a MONAI bundle; ``ValueError`` for any other."""
    if is_nnunet(folder):
        return read_nnunet(folder, choices)
    if is_bundle(folder):
        return read_bundle(folder, choices)
    inside = ", ".join(sorted(path.name for path in folder.glob("*") if is_nnunet(path)))
    if inside:
        raise ValueError(f"Name one of the networks in the folder: {inside}.")
    raise ValueError(
        "The folder is neither an nnU-Net v2 model (plans.json, dataset.json, fold_0/) nor a MONAI"
        " bundle (configs/, models/)."
    )

"""A tiny cascade whose weights are random, as one file or as its two halves."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from LiverTumorSegLib.inference.postprocess import Postprocessing
from LiverTumorSegLib.inference.preprocess_volume import VolumePreprocessing
from LiverTumorSegLib.inference.region import CascadeSettings
from LiverTumorSegLib.model.file import ModelFile, join_files
from LiverTumorSegLib.model.spec import STAGES, ModelSpec
from LiverTumorSegLib.nets import NETS

CASCADE_STEPS = Postprocessing(clean_liver=True, smallest_lesion_mm=3.0)
PATCH_KJI = (16, 32, 32)  # the least that the net takes
NET_ARGS: dict[str, Any] = {
    "patch_kji": PATCH_KJI,
    "dims": (4, 8, 16, 32),
    "depth": 1,
    "projections": (4, 4, 4, 4),
}
LIVER_STEPS = VolumePreprocessing(window_hu=(-40, 160), size_px=64)
TUMOR_STEPS = replace(LIVER_STEPS, liver_margin_mm=5.0)
LIVER_SPEC = ModelSpec(
    name="small-liver",
    version="1",
    net="gunetrpp",
    net_args=NET_ARGS,
    preprocessing=LIVER_STEPS.to_dict(),
    labels=STAGES["liver"],
    training_hu_range=(-40, 160),
    postprocessing=CASCADE_STEPS.to_dict(),
    provenance={"title": "A liver network", "licence": "CC0", "train": ["1"]},
    storage="fp32",
)
TUMOR_SPEC = replace(
    LIVER_SPEC,
    name="small-tumor",
    preprocessing=TUMOR_STEPS.to_dict(),
    labels=STAGES["tumor"],
    postprocessing=replace(CASCADE_STEPS, smallest_liver_ml=0.0).to_dict(),
    provenance={"title": "A small cascade", "licence": "CC0", "train": ["2"], "scores": {"d": 0.5}},
)


def random_net(seed: int) -> Any:
    """A net that marks about half of what it sees, the same each time."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        net: Any = NETS["gunetrpp"](**NET_ARGS).eval()
        head = net.heads[0]
        torch.nn.init.normal_(head.weight, std=5.0)
        head.bias -= net(torch.rand(1, 1, *PATCH_KJI)).mean((0, 2, 3, 4))
    return net


def save_halves(folder: Path, **provenance: Any) -> tuple[Path, Path]:
    """The liver's file and the tumor's; provenance: of the tumor's, in place of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    tumor = replace(TUMOR_SPEC, provenance={**TUMOR_SPEC.provenance, **provenance})
    paths = folder / "liver.safetensors", folder / "tumor.safetensors"
    for seed, (path, spec) in enumerate(zip(paths, (LIVER_SPEC, tumor), strict=True)):
        ModelFile(spec, random_net(seed).state_dict()).save(path)
    return paths


def save_cascade(path: Path, **provenance: Any) -> Path:
    """Both in one file; provenance: of the tumor network, in place of its own."""
    with tempfile.TemporaryDirectory() as folder:
        liver, tumor = (ModelFile.load(half) for half in save_halves(Path(folder), **provenance))
    settings = CascadeSettings(smallest_liver_ml=0.0).to_dict()
    pair = join_files(liver, tumor, name=path.stem, version="1", cascade=settings)
    path.parent.mkdir(parents=True, exist_ok=True)
    pair.save(path)
    return path

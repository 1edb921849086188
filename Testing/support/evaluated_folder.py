"""Two tiny scans in LiTS layout and a tiny model, for the tests that evaluate from files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from LiverTumorSegLib.ct.nifti import write_ct, write_labels
from LiverTumorSegLib.inference.postprocess import Postprocessing
from LiverTumorSegLib.inference.preprocess import SlicePreprocessing
from LiverTumorSegLib.labels import Label
from LiverTumorSegLib.model.file import ModelFile
from LiverTumorSegLib.model.spec import ModelSpec
from LiverTumorSegLib.nets import NETS
from LiverTumorSegLib.volume import CtVolume


def write_cases(data: Path) -> Path:
    """LiTS 3 in val, with a tumor, and LiTS 47 in test, without; 0 in train."""
    data.mkdir()
    random = np.random.default_rng(0)
    for number in (0, 3, 47):
        hu = random.integers(-900, 200, (4, 24, 24)).astype(np.int16)
        ct = CtVolume(hu, np.diag([-8.0, -8.0, 5.0, 1.0]))
        labels = np.zeros(hu.shape, np.uint8)
        labels[1:3, 5:15, 5:15] = Label.LIVER
        if number != 47:
            labels[1:3, 6:9, 6:9] = Label.TUMOR
        write_ct(data / f"volume-{number}.nii.gz", ct)
        write_labels(data / f"segmentation-{number}.nii.gz", labels, ct)
    (data / "manifest.csv").write_text(
        "file,patient_group,split,kind\n"
        "volume-0.nii.gz,lits0,train,case\n"
        "volume-3.nii.gz,lits3,val,case\n"
        "volume-47.nii.gz,ircad20,test,case\n"
    )
    return data


def save_model(
    path: Path,
    trained_on: list[str],
    decision: Mapping[str, Any] | None = None,
    **provenance: Any,
) -> Path:
    net_args = {"width": 8, "size_px": 64}
    spec = ModelSpec(
        name="tiny",
        version="1",
        net="hybrid2d",
        net_args=net_args,
        preprocessing=SlicePreprocessing(grid_px=64, size_px=64).to_dict(),
        labels={label.name.lower(): int(label) for label in Label},
        training_hu_range=(-40, 160),
        postprocessing=Postprocessing().to_dict(),
        decision=dict(decision or {}),
        provenance={"train": trained_on, **provenance},
        storage="fp32",
    )
    ModelFile(spec, _random_state(net_args)).save(path)
    return path


def _random_state(net_args: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """The same weights each time; all three classes win somewhere."""
    size_px = net_args["size_px"]
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(1)
        net = NETS["hybrid2d"](**net_args).eval()
        torch.nn.init.normal_(net.head.weight, std=20.0)
        net.head.bias -= net(torch.rand(1, 1, size_px, size_px)).mean((0, 2, 3))
    return dict(net.state_dict())


def history_lines(epochs: int) -> str:
    """A run's history.jsonl."""
    return "".join(
        f'{{"epoch": {n}, "train_loss": {1 / (n + 1)}, "val_loss": {1.1 / (n + 1)},'
        f' "val_liver_dice": {0.9 - 0.1 / (n + 1)}, "val_tumor_dice": {0.5 - 0.1 / (n + 1)},'
        ' "learning_rate": 0.0001, "seconds": 1.0}\n'
        for n in range(epochs)
    )

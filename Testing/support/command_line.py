"""What the tests of the command line share: a tiny model, a small CT, a network that knows."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from LiverTumorSegLib.cli.main import main
from LiverTumorSegLib.inference.decision import Decision
from LiverTumorSegLib.inference.postprocess import Postprocessing
from LiverTumorSegLib.inference.preprocess import SlicePreprocessing
from LiverTumorSegLib.model.spec import ModelSpec
from numpy.typing import NDArray

PACKAGE_FOLDER = Path(__file__).resolve().parents[2] / "LiverTumorSeg"
PATIENT = "DOE_JANE_1234"
# what the networks below stand in for
ENGINE = "LiverTumorSegLib.inference.network.SliceRunner.__call__"
PICTURE = "LiverTumorSegLib.result.files.draw_overview"
TURN = np.array([[-0.98, 0.199, 0.0], [-0.199, -0.98, 0.0], [0.0, 0.0, 1.0]])
RESULTS = {"seg.nii.gz", "lesions.csv", "lesions.json", "overview.png"}
MODEL_SPEC = ModelSpec(
    name="tiny",
    version="0.3",
    net="hybrid2d",
    net_args={"width": 8},
    preprocessing=SlicePreprocessing().to_dict(),
    labels={"background": 0, "liver": 1, "tumor": 2},
    training_hu_range=(-1024, 3071),
    postprocessing=Postprocessing().to_dict(),
    provenance={"licence": "CC0", "data": "none: random weights"},
    storage="fp16",
    decision=Decision(calibration=(1.0, 0.0)).to_dict(),
)


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> Outcome:
    """The command line in this process."""
    capsys.readouterr()
    code = main([str(argument) for argument in arguments])
    return Outcome(code, *capsys.readouterr())


def start(*arguments: object) -> subprocess.Popen[str]:
    """A command line in a process of its own, its output to be read.

    It hears Ctrl-C even where the tests run in a shell's background, which ignores it.
    """
    hears = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    return subprocess.Popen(
        [sys.executable, "-u", "-m", "LiverTumorSegLib", *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(PACKAGE_FOLDER), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=hears if os.name == "posix" else None,
    )


def save_model(path: Path, name: str = "tiny") -> Path:
    """A whole model file whose weights are random."""
    import torch
    from LiverTumorSegLib.model.file import ModelFile
    from LiverTumorSegLib.nets import NETS

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = NETS["hybrid2d"](**MODEL_SPEC.net_args)
    ModelFile(replace(MODEL_SPEC, name=name), net.state_dict()).save(path)
    return path


def some_hu(shape_ijk: tuple[int, ...] = (64, 60, 10)) -> NDArray[np.int16]:
    """A body with a spine, in air."""
    hu = np.full(shape_ijk, -1000, np.int16)
    hu[8:-8, 8:-8] = np.random.default_rng(1).integers(20, 120, hu[8:-8, 8:-8].shape)
    middle = shape_ijk[0] // 2
    hu[middle - 3 : middle + 3, -16:-10] = 300
    return hu


def some_affine() -> NDArray[np.float64]:
    """Oblique, 5 x 5 x 4 mm."""
    affine = np.eye(4)
    affine[:3, :3] = TURN * (5.0, 5.0, 4.0)
    affine[:3, 3] = (150.0, 170.0, -60.0)
    return affine


def save_ct(
    path: Path,
    array_ijk: NDArray[Any] | None = None,
    affine: NDArray[np.float64] | None = None,
) -> Path:
    """A CT as another program writes it; its header carries a patient's name, as many do."""
    image = nibabel.Nifti1Image(
        some_hu() if array_ijk is None else array_ijk, some_affine() if affine is None else affine
    )
    image.header["descrip"] = PATIENT.encode()
    image.to_filename(path)
    return path


def patch_header(path: Path, offset: int, data: bytes) -> Path:
    """Change bytes of an uncompressed file's header."""
    whole = bytearray(path.read_bytes())
    whole[offset : offset + len(data)] = data
    path.write_bytes(whole)
    return path


def disks(engine: object, grays: NDArray[np.uint8]) -> NDArray[np.float32]:
    """In place of a network: on every slice a liver with a large and a small tumor."""
    count, rows, columns = grays.shape
    y, x = np.mgrid[:rows, :columns]
    labels = (np.hypot(y - 128, x - 128) < 70).astype(int)
    labels[np.hypot(y - 110, x - 100) < 14] = 2
    labels[np.hypot(y - 150, x - 150) < 9] = 2
    one = np.eye(3, dtype=np.float32)[labels]
    return np.broadcast_to(one, (count, *one.shape)).copy()


def nothing(engine: object, grays: NDArray[np.uint8]) -> NDArray[np.float32]:
    """A network that sees background only."""
    return np.broadcast_to(np.float32([1, 0, 0]), (*grays.shape, 3)).copy()


def dot(*arguments: object, **options: object) -> NDArray[np.uint8]:
    """In place of the picture, which takes its time."""
    return np.zeros((4, 4, 3), np.uint8)


def rows_of(out: Path) -> list[dict[str, str]]:
    """The rows of a batch's summary."""
    with (out / "summary.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def tree(folder: Path) -> dict[str, bytes | None]:
    """Every path below a folder, hidden ones too, with its bytes (None for a folder)."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }

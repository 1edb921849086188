"""A torch that was built for another NumPy: it refuses from_numpy() and numpy(), and all works."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
import torch
import torch_threads
from cascade_model import save_cascade
from LiverTumorSegLib.cli import selfcheck
from LiverTumorSegLib.inference.segmenter import load_segmenter
from LiverTumorSegLib.inference.tensors import to_array, to_tensor
from LiverTumorSegLib.phantom.phantom import make_phantom
from LiverTumorSegLib.settings import RunSettings
from random_model import save_random_model

one_thread = torch_threads.one_thread

DTYPES = ("bool", "uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64")


def refuse_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    """As torch 2.2 does beside NumPy 2."""

    def refuse(*_: Any, **__: Any) -> NoReturn:
        raise RuntimeError("Numpy is not available")

    monkeypatch.setattr(torch, "from_numpy", refuse)
    for name in ("numpy", "__array__"):
        monkeypatch.setattr(torch.Tensor, name, refuse)
    for name in ("tensor", "as_tensor", "asarray"):
        original = getattr(torch, name)

        def only_lists(data: Any, *a: Any, _original: Any = original, **o: Any) -> Any:
            return refuse() if isinstance(data, np.ndarray) else _original(data, *a, **o)

        monkeypatch.setattr(torch, name, only_lists)


def test_values_shape_and_type_survive_both_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    refuse_numpy(monkeypatch)
    for dtype in DTYPES:
        whole = (100 * random.random((4, 5, 6))).astype(dtype)
        readonly = whole.copy()
        readonly.flags.writeable = False
        for array in (whole, whole[::2, ::-1], whole.T, readonly, whole[:0], whole[0, 0, 0:1]):
            tensor = to_tensor(array)
            assert str(tensor.dtype) == f"torch.{dtype}"
            back = to_array(tensor)
            assert back.dtype == array.dtype
            np.testing.assert_array_equal(back, array)
            assert back.flags.writeable


def test_a_tensor_of_any_strides_becomes_an_array() -> None:
    tensor = torch.arange(24.0).reshape(2, 3, 4).permute(2, 0, 1)
    np.testing.assert_array_equal(to_array(tensor), tensor.numpy())


def test_nothing_in_a_run_needs_numpy_inside_torch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the slice model nor the cascade; and the labels are the same."""
    ct = make_phantom(seed=7, shape_kji=(6, 48, 48), spacing_kji_mm=(30.0, 8.0, 8.0)).ct
    models = [
        save_random_model(tmp_path / "m.safetensors"),
        save_cascade(tmp_path / "c.safetensors"),
    ]
    usual = [
        load_segmenter(RunSettings(model=str(files), device="cpu")).segment(ct).labels_kji
        for files in models
    ]
    refuse_numpy(monkeypatch)
    for files, labels in zip(models, usual, strict=True):
        np.testing.assert_array_equal(
            load_segmenter(RunSettings(model=str(files), device="cpu")).segment(ct).labels_kji,
            labels,
        )


def test_the_proof_finds_such_a_torch_well(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    refuse_numpy(monkeypatch)
    monkeypatch.setattr(selfcheck, "CHECKS", {"torch": selfcheck.CHECKS["torch"]})
    selfcheck.main()
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert last["ok"], last

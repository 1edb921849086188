"""What networks said is kept, and asked for again where a file of it is no longer whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from threshold_slices import abdomen, segmenter

from training.cases.case import Case
from training.score.predictions import Predictions


def test_networks_are_asked_once_and_again_for_a_damaged_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ct, worker, asked = abdomen(), segmenter(), []
    predict = worker.predict

    def count(*arguments: Any) -> Any:
        asked.append(1)
        return predict(*arguments)

    monkeypatch.setattr(worker, "predict", count)
    monkeypatch.setattr(worker, "sha256", "ab" * 32)
    case = Case("7", Path("volume-7.nii"), None, "7", None, "case")
    kept = Predictions(tmp_path / "kept")
    first, seconds = kept.of(worker, case, ct)
    assert kept.of(worker, case, ct)[1] == seconds
    assert len(asked) == 1
    files = {path.suffix: path for path in (tmp_path / "kept").iterdir()}
    whole = {path: path.read_bytes() for path in files.values()}
    changed = bytearray(whole[files[".npz"]])
    changed[len(changed) // 2] ^= 255
    for path, content in (
        (files[".npz"], whole[files[".npz"]][:-300]),
        (files[".npz"], bytes(changed)),
        (files[".npz"], b""),
        (files[".json"], b"{}"),
    ):
        path.write_bytes(content)
        asked.clear()
        again, _ = kept.of(worker, case, ct)
        assert len(asked) == 1
        assert (again.liver_lps == first.liver_lps).all()

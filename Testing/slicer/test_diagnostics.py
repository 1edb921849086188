"""Texts for bug reports: what a developer asks first, and nobody's name."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import slicer
from fake_environment import (
    FakePackages,
    environmentOf,
    shipSmallModel,
)
from LiverTumorSegLib.model import catalog
from LiverTumorSegSlicer.environment.packages import PackageCheck
from LiverTumorSegSlicer.privacy import withoutPersonalPaths
from looped import looped


@pytest.fixture(autouse=True)
def shippedModel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> catalog.ModelEntry:
    return shipSmallModel(tmp_path, monkeypatch)


def test_diagnostics_tell_what_a_developer_asks(
    scene: Any, tmp_path: Path, shippedModel: catalog.ModelEntry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://jane:secret@proxy:80")
    packages = FakePackages("safetensors", packageCheck=PackageCheck(gpu="NVIDIA RTX"))
    environment, _ = environmentOf(packages, tmp_path / "models")
    text = environment.diagnostics()
    rows = dict(line.split(": ", 1) for line in text.splitlines())
    assert rows["GPU"] == "not looked for yet"
    environment.checkInChild(lambda report: None)
    rows = dict(line.split(": ", 1) for line in environment.diagnostics().splitlines())
    assert rows["GPU"] == "NVIDIA RTX"
    assert rows["torch"] == "2.8.0+cu126"
    assert rows["safetensors"] == "missing"
    assert rows["Model"] == f"m 1.0 {shippedModel.file.sha256}"
    assert rows["Free for packages"].endswith(" GB")
    assert rows["Slicer"].startswith(f"{slicer.app.majorVersion}.")
    assert rows["Proxy settings"] == "HTTPS_PROXY"
    assert "safetensors" in rows["Problem"]
    assert "secret" not in text


def test_diagnostics_come_even_with_a_damaged_list_of_models(tmp_path: Path, scene: Any) -> None:
    (tmp_path / "bad.model.json").write_text("{")
    text = environmentOf(FakePackages(), tmp_path)[0].diagnostics()
    assert "cannot be read" in text


def test_diagnostics_name_nobody(
    tmp_path: Path, scene: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "jane.doe")
    monkeypatch.setattr("getpass.getuser", lambda: "jane.doe")
    folder = tmp_path / "jane.doe" / "models"
    rows = environmentOf(FakePackages(), folder)[0].diagnostics()
    assert "jane" not in rows
    assert f"~{os.sep}models" in rows


@looped(
    ("text", "expected"),
    [
        ("/home/jane/Slicer/a.py", "~/Slicer/a.py"),
        ('File "/home/jane/x", line 3', 'File "~/x", line 3'),
        ("/media/jane/disk/ct", "/media/<user>/disk/ct"),
        ("D:\\Users\\jane\\ct", "D:\\Users\\<user>\\ct"),
        ("/data/janet/ct", "/data/janet/ct"),
        ("jane is no path", "jane is no path"),
        ("/data/jane", "/data/<user>"),
    ],
)
def test_people_are_taken_out_of_paths(
    text: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "home", lambda: Path("/home/jane"))
    monkeypatch.setattr("getpass.getuser", lambda: "jane")
    assert withoutPersonalPaths(text) == expected


def test_a_short_name_and_no_name_change_no_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "home", lambda: Path("/"))
    for name in ("d", ""):
        monkeypatch.setattr("getpass.getuser", lambda name=name: name)
        assert withoutPersonalPaths("/d/a//b") == "/d/a//b"

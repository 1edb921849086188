"""Every package is tried, and what fails does not hide the rest."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from LiverTumorSegLib.cli import selfcheck
from looped import looped

PACKAGE_FOLDER = Path(selfcheck.__file__).resolve().parents[2]


def said(text: str) -> tuple[list[str], dict[str, dict[str, Any]]]:
    """What was tried, in order, and what came of it."""
    lines = [json.loads(line) for line in text.splitlines()]
    results = {line["name"]: line for line in lines if "name" in line}
    return [line["trying"] for line in lines if "trying" in line], results


def run_selfcheck(**environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "LiverTumorSegLib.cli.selfcheck"],
        env={**os.environ, "PYTHONPATH": str(PACKAGE_FOLDER), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_here_all_packages_work() -> None:
    done = run_selfcheck()
    tried, results = said(done.stdout)
    assert tried == list(results) == list(selfcheck.CHECKS)
    for name in ("numpy", "scipy", "cv2", "torch", "safetensors"):
        assert results[name]["ok"], results[name]
        assert results[name]["version"][0].isdigit()
    assert done.returncode == 0


@looped("name", ["torch", "cv2"])
def test_a_package_that_takes_python_down_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / f"{name}.py").write_text("import os; os._exit(3)")
    path = os.pathsep.join([str(tmp_path), str(PACKAGE_FOLDER)])
    done = run_selfcheck(PYTHONPATH=path)
    tried, results = said(done.stdout)
    assert done.returncode == 3
    assert tried[-1] == name
    assert name not in results


def test_a_package_in_part_is_told_and_the_rest_is_tried(tmp_path: Path) -> None:
    (tmp_path / "cv2").mkdir()
    (tmp_path / "cv2" / "__init__.py").write_text("")
    (tmp_path / "torch.py").write_text("raise OSError('[WinError 126] DLL not found')")
    path = os.pathsep.join([str(tmp_path), str(PACKAGE_FOLDER)])
    tried, results = said(run_selfcheck(PYTHONPATH=path).stdout)
    assert tried == list(selfcheck.CHECKS)
    assert "createCLAHE" in results["cv2"]["error"]
    assert results["torch"] == {
        "name": "torch",
        "ok": False,
        "kind": "OSError",
        "error": "[WinError 126] DLL not found",
    }
    assert results["scipy"]["ok"]


def test_a_model_that_was_changed_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from LiverTumorSegLib.model import catalog

    (tmp_path / "m.safetensors").write_bytes(b"changed")
    file = catalog.FileRecord(tmp_path / "m.safetensors", "0" * 64, 7)
    entry = catalog.ModelEntry("m", "M", "1", file, "CC0", {}, "", shipped=True)
    monkeypatch.setattr(catalog, "find_model", lambda: entry)
    monkeypatch.setattr(selfcheck, "CHECKS", {"model": selfcheck.CHECKS["model"]})
    selfcheck.main()
    _, results = said(capsys.readouterr().out)
    assert "SHA-256" in results["model"]["error"]
    assert results["model"]["kind"] == "BundleError"

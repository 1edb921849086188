"""The whole way with the real child process, in an application of its own (click_through.py)."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from LiverTumorSegLib.model.catalog import import_model, shipped_models
from random_model import save_random_model

SCRIPT = Path(__file__).with_name("click_through.py")
SCREEN = "1400x900x24"
SLICES = ("Red", "Green", "Yellow")


@contextlib.contextmanager
def screen() -> Iterator[dict[str, str]]:
    """A screen of its own, as environment variables: an X server where there is one to start."""
    if shutil.which("Xvfb") is None:
        yield {"QT_QPA_PLATFORM": "offscreen"}
        return
    command = ["Xvfb", "-displayfd", "1", "-screen", "0", SCREEN, "-nolisten", "tcp"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as server:
        assert server.stdout is not None
        number = server.stdout.readline().decode().strip()
        try:
            yield {"QT_QPA_PLATFORM": "xcb", "DISPLAY": f":{number}"}
        finally:
            server.terminate()


MODELS = [entry.name for entry in shipped_models()] or [""]


@pytest.fixture(scope="module", params=MODELS)
def told(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What the path left behind, with each of the shipped models."""
    folder = tmp_path_factory.mktemp("path")
    models = folder / "models"
    import_model(save_random_model(folder / "tiny.safetensors"), models)
    own = {"LIVERTUMORSEG_MODELS": str(models), "OMP_NUM_THREADS": "1"}
    with screen() as display:
        done = subprocess.run(
            [sys.executable, str(SCRIPT), str(folder), request.param],
            env={**{k: v for k, v in os.environ.items() if k != "DISPLAY"}, **own, **display},
            capture_output=True,
            text=True,
            check=False,
            timeout=280,
        )
    assert done.returncode == 0, done.stderr[-4000:]
    assert (folder / "window.png").stat().st_size > 10_000
    said = json.loads(done.stdout.splitlines()[-1])
    assert request.param in ("", said["model"])
    return said


@pytest.mark.slow
def test_the_mouse_starts_the_run_and_the_run_tells_its_steps(told: dict[str, Any]) -> None:
    hasX = shutil.which("Xvfb") is not None
    assert told["platform"] == ("xcb" if hasX else "offscreen")
    assert told["click"] == ("X" if hasX and shutil.which("xdotool") else "Qt")
    assert told["phrases"] >= 4
    assert told["status"].startswith("Done in ")
    assert told["errors"] == []


@pytest.mark.slow
def test_liver_and_tumors_appear_in_slices_and_3d(told: dict[str, Any]) -> None:
    assert all(count == [0, 0] for count in told["before"].values())
    after = told["after"]
    for number, color in ((0, "brown"), (1, "red")):
        assert sum(after[view][number] for view in SLICES) > 50, f"{color} in the slices"
    assert after["3D"][0] > 1000
    brown, red = told["tumors"]
    assert red > 20 * max(1, brown), "the tumors alone"
    assert told["voxels"][1] > 0
    assert told["voxels"][2] > 0
    assert told["rows"] > 0

"""An offline kit: saved from an index and installed without one, by a real pip."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from fake_runner import FakeRunner
from LiverTumorSegSlicer.environment.installer import InstallFailed
from LiverTumorSegSlicer.environment.kit import KitEnd, Kits
from LiverTumorSegSlicer.run.process import ProcessRunner
from panel_desk import waitUntil
from small_wheels import makeIndex

VERSIONS = {
    "torch": "2.9.0",
    "opencv-python-headless": "4.12",
    "safetensors": "0.6",
    "sympy": "1.14",
    "numpy": "2.1",
}
NEEDS = {"torch": ("sympy>=1",), "opencv-python-headless": ("numpy>=2",)}
REQUIREMENTS = ["torch==2.9.0", "opencv-python-headless>=4.8", "safetensors==0.6", "numpy==2.1"]
IN_KIT = {"torch", "opencv_python_headless", "safetensors", "sympy"}


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A Python of its own, with pip and nothing else."""
    folder = tmp_path_factory.mktemp("venv")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    return str(
        next(p for p in (folder / "bin/python", folder / "Scripts/python.exe") if p.exists())
    )


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scene: Any) -> Path:
    """The only place of packages."""
    index = makeIndex(tmp_path / "index", VERSIONS, NEEDS)
    for name in ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL", "PIP_CONSTRAINT"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", index.as_uri())
    return index


def ended(begin: Any, *arguments: Any) -> KitEnd:
    """What became of it."""
    ends: list[KitEnd] = []
    begin(*arguments, lambda line: None, ends.append)
    waitUntil(lambda: ends, 120)
    return ends[0]


def kitsOf(python: str) -> Kits:
    return Kits(lambda: ProcessRunner(python))


def installed(python: str) -> dict[str, str]:
    done = subprocess.run(
        [python, "-m", "pip", "list", "--format=json", "--disable-pip-version-check"],
        check=True,
        capture_output=True,
    )
    return {row["name"]: row["version"] for row in json.loads(done.stdout)}


@pytest.mark.usefixtures("index")
def test_a_kit_holds_what_is_needed_and_installs_without_a_network(
    python: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parent = tmp_path / "a folder with spaces"
    parent.mkdir()
    kits = kitsOf(python)
    end = ended(kits.save, parent, REQUIREMENTS)
    assert end.failure is None, end.failure and end.failure.log
    assert list(parent.iterdir()) == [end.folder], "and nothing half-made beside it"
    wheels = {wheel.name.split("-")[0]: wheel for wheel in (end.folder / "wheels").iterdir()}
    assert set(wheels) == IN_KIT, "NumPy is Slicer's own"
    listed = (end.folder / "requirements.txt").read_text().splitlines()
    for line in listed:
        name, digest = re.fullmatch(r"(\w+)==\S+ --hash=sha256:(\w{64})", line).groups()
        assert hashlib.sha256(wheels[name].read_bytes()).hexdigest() == digest
    assert len(listed) == len(wheels)

    with pytest.raises(InstallFailed, match="already"):
        kits.save(parent, REQUIREMENTS, print, print)

    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    assert ended(kits.install, end.folder).failure is None
    found = installed(python)
    assert {name: found[name] for name in VERSIONS if name != "numpy"} == {
        name: version for name, version in VERSIONS.items() if name != "numpy"
    }
    assert "numpy" not in found

    with open(wheels["safetensors"], "ab") as stream:
        stream.write(b"changed on its way")
    subprocess.run([python, "-m", "pip", "uninstall", "-yq", "safetensors"], check=True)
    failure = ended(kits.install, end.folder).failure
    assert failure is not None
    assert "damaged or was changed" in failure.sentence
    assert "safetensors" not in installed(python)


def test_without_a_network_no_kit_is_left_half_made(
    python: str, index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "1")
    parent = tmp_path / "kits"
    parent.mkdir()
    end = ended(kitsOf(python).save, parent, REQUIREMENTS)
    assert end.failure is not None
    assert end.failure.kind == "network"
    waitUntil(lambda: not list(parent.iterdir()))


def test_what_is_no_kit_or_one_for_another_slicer_is_refused(
    python: str, index: Path, tmp_path: Path
) -> None:
    kits = kitsOf(python)
    with pytest.raises(InstallFailed, match="no kit"):
        kits.install(tmp_path, print, print)
    folder = ended(kits.save, tmp_path, REQUIREMENTS).folder
    about = json.loads((folder / "kit.json").read_text())
    (folder / "kit.json").write_text(json.dumps({**about, "python": "py39"}))
    with pytest.raises(InstallFailed, match="py39"):
        kits.install(folder, print, print)
    with pytest.raises(InstallFailed, match="Nothing can be written"):
        kits.save(tmp_path / "absent", REQUIREMENTS, print, print)


def test_a_build_for_a_graphics_card_is_taken_from_its_own_place(
    scene: Any, tmp_path: Path
) -> None:
    runner = FakeRunner()
    kits = Kits(lambda: runner)
    kits.save(tmp_path, ["torch==2.8.0+cu126", "safetensors"], print, print)
    place = runner.arguments.index("--extra-index-url")
    assert runner.arguments[place + 1].endswith("pytorch.org/whl/cu126")

"""What would stand in the way of an installation is seen before it; a real pip asks the network."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from LiverTumorSegSlicer.environment import preflight as preflight_module
from LiverTumorSegSlicer.environment.installer import sentenceOf
from LiverTumorSegSlicer.environment.preflight import Preflight, Verdict, freeMemory, pathVerdict
from panel_desk import waitUntil
from small_wheels import makeIndex


def looked(*, torch: bool) -> tuple[Verdict, ...]:
    """The verdicts of this computer."""
    verdicts: list[Any] = []
    Preflight().look(torch, verdicts.append)
    waitUntil(lambda: verdicts, 60)
    return verdicts[0]


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scene: Any) -> Path:
    """The only place of packages, a folder of small wheels."""
    index = makeIndex(tmp_path / "index", {"safetensors": "0.9", "torch": "2.9"})
    for name in ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", index.as_uri())
    monkeypatch.setattr(preflight_module, "TORCH_INDEX", index.as_uri())
    return index


@pytest.mark.usefixtures("index")
def test_every_verdict_of_a_computer_that_has_all_is_good() -> None:
    for torch, count in ((False, 3), (True, 4)):
        verdicts = looked(torch=torch)
        assert len(verdicts) == count
        assert all(v.isGood and v.sentence.endswith(".") for v in verdicts), verdicts
        assert sum("can be downloaded" in v.sentence for v in verdicts) == 1 + torch


def test_a_network_that_lets_nothing_through_is_seen_with_its_reason(
    index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    packages, torch = looked(torch=True)[-2:]
    assert not packages.isGood
    assert sentenceOf("network") in packages.sentence
    assert torch.isGood, "each place is asked for itself"


@pytest.mark.usefixtures("index")
def test_a_full_disk_and_little_memory_are_bad_verdicts(monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(".")._replace(free=400_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    monkeypatch.setattr(preflight_module, "freeMemory", lambda: 300_000_000)
    disk, memory = looked(torch=True)[:2]
    assert not disk.isGood
    assert "0.4 GB free, 2.5 GB are needed" in disk.sentence
    assert not memory.isGood
    assert "close other programs" in memory.sentence


def test_the_memory_is_known_here() -> None:
    free = freeMemory()
    assert free is not None
    assert 10**7 < free < 10**14


def test_windows_and_the_length_of_its_paths() -> None:
    short, long = Path("C:/Slicer/lib/Python"), Path("C:/Users") / ("x" * 90) / "lib/Python"
    assert pathVerdict(short, hasLongPaths=False).isGood
    assert pathVerdict(long, hasLongPaths=True).isGood
    verdict = pathVerdict(long, hasLongPaths=False)
    assert not verdict.isGood
    assert "long paths" in verdict.sentence

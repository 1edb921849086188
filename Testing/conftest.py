"""What several test files share: the real cases, and for the tests of the command line a model, a
CT, and networks that know the answer."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

BESIDE_THE_CHECKOUT = Path(__file__).resolve().parents[1].parent / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of the real CT cases; it is never part of the repository, so tests skip without it."""
    folder = Path(os.environ.get("LIVERTUMORSEG_DATA") or BESIDE_THE_CHECKOUT)
    if not folder.is_dir():
        pytest.skip(f"real CT cases not found at {folder}")
    return folder


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole model file whose weights are random."""
    from command_line import save_model

    return save_model(tmp_path_factory.mktemp("model") / "tiny.safetensors")


@pytest.fixture
def ct(tmp_path: Path) -> Path:
    """A small CT that carries a patient's name."""
    from command_line import PATIENT, save_ct

    return save_ct(tmp_path / f"{PATIENT}.nii.gz")


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    """The network sees a liver with two tumors, whatever the CT."""
    from command_line import ENGINE, disks

    monkeypatch.setattr(ENGINE, disks)


@pytest.fixture
def no_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests of other files: a dot is drawn faster."""
    from command_line import PICTURE, dot

    monkeypatch.setattr(PICTURE, dot)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Where a batch puts its results."""
    return tmp_path / "out"


@pytest.fixture
def cts(tmp_path: Path) -> Path:
    """A folder of two CTs, one and two."""
    from command_line import save_ct

    (tmp_path / "cts").mkdir()
    for name in ("one", "two"):
        save_ct(tmp_path / "cts" / f"{name}.nii.gz")
    return tmp_path / "cts"


@pytest.fixture
def batch(
    cts: Path,
    out: Path,
    model: Path,
    capsys: pytest.CaptureFixture[str],
    known: None,
    no_picture: None,
) -> Callable[..., Any]:
    """Runs ``livertumorseg batch``, from cts to out unless told otherwise; its outcome."""
    from command_line import run

    def start(*options: object, source: Path = cts, target: Path = out) -> Any:
        return run(capsys, "batch", source, target, "--model", model, *options)

    return start


@pytest.fixture
def figure_style() -> Iterator[None]:
    """For tests that draw a figure themselves, without ``draw_all``."""
    from training.reports.style import our_style

    with our_style():
        yield

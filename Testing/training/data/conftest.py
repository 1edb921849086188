"""Two small patients in a folder, as the tests of slices and of volumes prepare them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from LiverTumorSegLib.phantom.phantom import Phantom, make_phantom
from prepared_cases import SHAPE_KJI, SPACING_MM, write_case, write_manifest


@pytest.fixture(scope="session")
def patients() -> tuple[Phantom, ...]:
    return tuple(
        make_phantom(seed=seed, shape_kji=SHAPE_KJI, spacing_kji_mm=SPACING_MM) for seed in (1, 2)
    )


@pytest.fixture
def data(tmp_path: Path, patients: tuple[Phantom, ...]) -> Path:
    """A folder in the LiTS style: case 0 for training with its context, case 1 for validation."""
    folder = tmp_path / "data"
    first, second = patients
    write_case(folder, "0", first.ct, first.labels)
    write_case(folder, "0-context", first.ct, np.zeros_like(first.labels))
    write_case(folder, "1", second.ct, second.labels)
    write_manifest(folder, {"0": "train", "0-context": "train", "1": "val"})
    return folder

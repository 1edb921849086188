"""What several test files share: the real cases, and the 48 ways a grid can lie in a patient."""

from __future__ import annotations

import os
from itertools import permutations, product
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

BESIDE_THE_CHECKOUT = Path(__file__).resolve().parents[1].parent / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of the real CT cases; it is never part of the repository, so tests skip without it."""
    folder = Path(os.environ.get("LIVERTUMORSEG_DATA") or BESIDE_THE_CHECKOUT)
    if not folder.is_dir():
        pytest.skip(f"real CT cases not found at {folder}")
    return folder


@pytest.fixture(params=product(permutations(range(3)), product((1, -1), repeat=3)), ids=str)
def axes_to_ras(request: pytest.FixtureRequest) -> NDArray[np.float64]:
    """Each of the 48 signed permutations, 3 x 3, of axes i, j, k to right, anterior, superior."""
    order, signs = request.param
    return np.eye(3)[:, list(order)] * signs

"""Many values in one test: a property that holds for all of them is one property, not forty items.

@looped("spacing_mm, count", [(1.0, 3), (2.5, 1)])
def test_lesions_are_counted(spacing_mm: float, count: int, tmp_path: Path) -> None: ...

@looped(seed=range(40))
def test_no_patient_is_in_two_sets(seed: int) -> None: ...

Each value finds what a test alone would find: ``tmp_path`` as the fixtures filled it, and a
``capsys`` and a ``monkeypatch`` that nothing was done with.
"""

from __future__ import annotations

import functools
import inspect
import shutil
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from itertools import permutations, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

# each of the 48 signed permutations, 3 x 3, of axes i, j, k to right, anterior, superior
ALL_AXES = [
    np.eye(3)[:, list(order)] * signs
    for order, signs in product(permutations(range(3)), product((1, -1), repeat=3))
]
# as RAS, two flips, permuted, all turned; test_volume and a test of each network go through all 48
FOUR_AXES = [ALL_AXES[n] for n in (0, 13, 38, 47)]
Test = Callable[..., None]


def looped(
    names: str | tuple[str, ...] = (), values: Iterable[Any] = (), **one: Iterable[Any]
) -> Callable[[Test], Test]:
    """Run a test for all values of its arguments ``names``; says with which it failed.

    names, values: as of ``pytest.mark.parametrize``. one: a single argument with its values.
    """
    if one:
        ((names, values),) = one.items()
    names = tuple(name.strip() for name in names.split(",")) if isinstance(names, str) else names
    rows = [dict(zip(names, row if len(names) > 1 else (row,), strict=True)) for row in values]

    def decorate(test: Test) -> Test:
        signature = inspect.signature(test)

        @functools.wraps(test)
        def run(*args: Any, request: pytest.FixtureRequest, **others: Any) -> None:
            if "request" in signature.parameters:  # of a loop in this one, too
                others["request"] = request
            restore = _restorer(request)
            for row in rows:
                with ExitStack() as stack:
                    try:
                        test(*args, **row, **_renewed(others, stack))
                    except BaseException:
                        print("with", ", ".join(f"{name} = {v!r}" for name, v in row.items()))
                        raise
                restore()

        left = [p for name, p in signature.parameters.items() if name not in (*names, "request")]
        left.append(inspect.Parameter("request", inspect.Parameter.KEYWORD_ONLY))
        run.__signature__ = signature.replace(parameters=left)  # type: ignore[attr-defined]
        del run.__wrapped__
        return run

    return decorate


def _restorer(request: pytest.FixtureRequest) -> Callable[[], None]:
    """What puts the test's temporary folder back as its fixtures left it."""
    if "tmp_path" not in request.fixturenames:
        return lambda: None
    folder: Path = request.getfixturevalue("tmp_path")
    before = request.getfixturevalue("tmp_path_factory").mktemp("before")
    shutil.copytree(folder, before, symlinks=True, dirs_exist_ok=True)

    def restore() -> None:
        for path in list(folder.glob("*")):
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        shutil.copytree(before, folder, symlinks=True, dirs_exist_ok=True)

    return restore


def _renewed(fixtures: dict[str, Any], stack: ExitStack) -> dict[str, Any]:
    """What a test listens to or changes, as if it had not been used by the values before."""
    new = dict(fixtures)
    if "capsys" in new:
        new["capsys"].readouterr()
    if "monkeypatch" in new:
        new["monkeypatch"] = stack.enter_context(new["monkeypatch"].context())
    return new

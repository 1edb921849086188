"""Many values in one test: a property that holds for all of them is one property, not forty items.

@looped("spacing_mm, count", [(1.0, 3), (2.5, 1)])
def test_lesions_are_counted(spacing_mm: float, count: int, tmp_path: Path) -> None: ...

@looped(seed=range(40))
def test_no_patient_is_in_two_sets(seed: int) -> None: ...

Each value gets a ``tmp_path``, a ``capsys`` and a ``monkeypatch`` as new as those of a test alone.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from itertools import permutations, product
from typing import Any

import numpy as np

# each of the 48 signed permutations, 3 x 3, of axes i, j, k to right, anterior, superior
ALL_AXES = [
    np.eye(3)[:, list(order)] * signs
    for order, signs in product(permutations(range(3)), product((1, -1), repeat=3))
]
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
        @functools.wraps(test)
        def run(*args: Any, **others: Any) -> None:
            for number, row in enumerate(rows):
                with ExitStack() as stack:
                    try:
                        test(*args, **row, **_renewed(others, number, stack))
                    except BaseException:
                        print("with", ", ".join(f"{name} = {v!r}" for name, v in row.items()))
                        raise

        signature = inspect.signature(test)
        left = [p for name, p in signature.parameters.items() if name not in names]
        run.__signature__ = signature.replace(parameters=left)  # type: ignore[attr-defined]
        del run.__wrapped__
        return run

    return decorate


def _renewed(fixtures: dict[str, Any], number: int, stack: ExitStack) -> dict[str, Any]:
    """What a test writes into or changes, as if it had not been used by the values before."""
    new = dict(fixtures)
    if "tmp_path" in new:
        new["tmp_path"] = new["tmp_path"] / f"value{number}"
        new["tmp_path"].mkdir()
    if "capsys" in new:
        new["capsys"].readouterr()
    if "monkeypatch" in new:
        new["monkeypatch"] = stack.enter_context(new["monkeypatch"].context())
    return new

"""Many values in one test: a property that holds for all of them is one property, not forty items.

@looped(seed=range(40))
def test_no_patient_is_in_two_sets(seed: int) -> None: ...
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from itertools import permutations, product
from typing import Any

import numpy as np

# each of the 48 signed permutations, 3 x 3, of axes i, j, k to right, anterior, superior
ALL_AXES = [
    np.eye(3)[:, list(order)] * signs
    for order, signs in product(permutations(range(3)), product((1, -1), repeat=3))
]


def looped(**values: Iterable[Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Run a test for every value of one argument; says on which it failed."""
    ((name, all_values),) = values.items()
    kept = list(all_values)

    def decorate(test: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(test)
        def run(*args: Any, **others: Any) -> None:
            for value in kept:
                try:
                    test(*args, **{name: value}, **others)
                except BaseException:
                    print(f"with {name} = {value!r}")
                    raise

        signature = inspect.signature(test)
        left = [p for n, p in signature.parameters.items() if n != name]
        run.__signature__ = signature.replace(parameters=left)  # type: ignore[attr-defined]
        del run.__wrapped__
        return run

    return decorate

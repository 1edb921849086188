"""Arrays to tensors and back through the memory they lie in, without NumPy's C interface.

A torch that was built for another major version of NumPy computes well and refuses
``from_numpy()`` and ``numpy()``: the last builds for macOS on Intel are of this kind. What is here
works with every pair of versions.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray


def to_tensor(array: NDArray[Any]) -> torch.Tensor:
    """A tensor of an array's values, on its memory where that is contiguous and writable."""
    dtype: torch.dtype = getattr(torch, array.dtype.name)
    if array.size == 0:  # there is no buffer to share
        return torch.empty(array.shape, dtype=dtype)
    flat: torch.Tensor = torch.frombuffer(np.require(array, requirements=("C", "W")), dtype=dtype)
    return flat.reshape(array.shape)


def to_array(tensor: torch.Tensor) -> NDArray[Any]:
    """A new array of a tensor's values, whichever device they are on."""
    array = np.empty(tuple(tensor.shape), str(tensor.dtype).removeprefix("torch."))
    to_tensor(array).copy_(tensor)
    return array

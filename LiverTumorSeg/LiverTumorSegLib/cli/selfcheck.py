"""Check that every package and the model work: imports and uses each, one JSON line a result.

    python -m LiverTumorSegLib.cli.selfcheck [--with-parent]

With --with-parent it ends when its standard input closes.
It runs in a process of its own, because a package that is half installed may take down the Python
that imports it. What was being tried when that happened is the last line.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

from LiverTumorSegLib.sentences import as_event, sentence, sentence_of

from .child import end_with_parent


def main() -> None:
    """Try each in turn."""
    for name, check in CHECKS.items():
        _say(trying=name)
        try:
            version = check()
        except Exception as error:
            text = sentence_of(error)
            _say(name=name, ok=False, kind=type(error).__name__, error=text, **as_event(text))
        else:
            _say(name=name, ok=True, version=version)


def _numpy() -> str:
    import numpy as np

    np.ones(2).sum()
    return np.__version__


def _scipy() -> str:
    import scipy
    from scipy import ndimage

    ndimage.label([0, 1])
    return str(scipy.__version__)


def _cv2() -> str:
    import cv2
    import numpy as np

    cv2.createCLAHE().apply(np.zeros((8, 8), np.uint8))
    return str(cv2.__version__)


def _safetensors() -> str:
    import numpy as np
    import safetensors
    import safetensors.numpy

    safetensors.numpy.load(safetensors.numpy.save({"ones": np.ones(2, np.float32)}))
    return str(safetensors.__version__)


def _torch() -> str:
    import numpy as np
    import torch

    from LiverTumorSegLib.inference.tensors import to_array, to_tensor

    image = to_tensor(np.ones((1, 1, 4, 4), np.float32))
    sums = to_array(torch.nn.functional.conv2d(image, torch.ones(1, 1, 3, 3)))
    if not (sums == 9).all():
        numbers = str(sums.ravel().tolist())
        raise ArithmeticError(sentence("it computes {numbers} instead of 9", numbers=numbers))
    return str(torch.__version__)


def _gpu() -> str:
    """The GPU's name; empty where there is none, an error where there is one that does not run."""
    import torch

    if torch.cuda.is_available():
        # a card too new or too old fails only here
        (torch.ones(8, device="cuda") * 2).sum().item()
        return torch.cuda.get_device_name()
    if not torch.backends.mps.is_available():
        return ""
    _compare_with_cpu("mps")
    return "Apple GPU (mps)"


def _compare_with_cpu(device: str) -> None:
    """``ArithmeticError`` where a GPU computes other numbers than the CPU."""
    import torch

    from LiverTumorSegLib.inference.tensors import to_array

    images, weights = torch.linspace(0, 1, 1024).reshape(1, 1, 32, 32), torch.ones(4, 1, 3, 3)
    predictions = [
        to_array(torch.nn.functional.conv2d(images.to(d), weights.to(d)).softmax(1))
        for d in ("cpu", device)
    ]
    if abs(predictions[0] - predictions[1]).max() > 1e-3:
        raise ArithmeticError("it computes other numbers than the CPU")


def _model() -> str:
    from LiverTumorSegLib.model.catalog import find_model, verify

    entry = find_model()
    verify(entry)
    return f"{entry.name} {entry.version}"


CHECKS: dict[str, Callable[[], str]] = {
    "numpy": _numpy,
    "scipy": _scipy,
    "cv2": _cv2,
    "torch": _torch,
    "safetensors": _safetensors,
    "gpu": _gpu,
    "model": _model,
}


def _say(**values: Any) -> None:
    print(json.dumps(values), flush=True)


if __name__ == "__main__":
    if "--with-parent" in sys.argv:
        end_with_parent()
    main()

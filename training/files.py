"""The files that training leaves: JSON, arrays and texts, each whole or not there.

write_json(Path("manifest.json"), {"cases": []})
read_record(Path("manifest.json"), "run python -m training.prepare again")
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal
from zipfile import BadZipFile

import numpy as np
from LiverTumorSegLib.files import read_json, whole_file
from numpy.typing import NDArray

# What numpy, zip and zlib say of arrays that are cut, changed, missing, or of another file's.
DAMAGED = (
    *(OSError, ValueError, TypeError, AttributeError, LookupError, EOFError),
    *(BadZipFile, zlib.error),
)


def write_text(path: Path, text: str) -> None:
    """UTF-8, line ends as they are; the folder is made when it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as part:
        part.write_text(text, encoding="utf-8", newline="")


def write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, indent=1) + "\n")


def write_array(path: Path, array: NDArray[Any]) -> None:
    """Write an array as ``numpy.load`` reads it."""
    with whole_file(path) as part, open(part, "wb") as file:
        np.save(file, array)


def map_array(path: Path, advice: str, mode: Literal["r", "c"] = "r") -> NDArray[Any]:
    """A memory-mapped array; ``ValueError`` that ends with the advice when it is damaged.

    mode: "r" to read, "c" where the array may be written to in memory.
    """
    try:
        array: NDArray[Any] = np.load(path, mmap_mode=mode, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        raise ValueError(
            f"{path.name} of {path.parent.name} is missing or damaged; {advice}."
        ) from None
    return array


@contextmanager
def opened_arrays(path: Path, advice: str) -> Iterator[Mapping[str, Any]]:
    """The arrays in an .npz file, by name.

    ``ValueError`` that ends with the advice when it, or what the block asks for, is damaged or
    missing.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            yield arrays
    except DAMAGED:
        raise ValueError(f"{path.name} is missing or damaged; {advice}.") from None


def error_sentence(error: BaseException) -> str:
    """The message of an error, without the folders of this machine."""
    if isinstance(error, OSError) and error.filename is not None:
        return f"{Path(error.filename).name}: {error.strerror}."
    return str(error)


def read_record(path: Path, advice: str) -> dict[str, Any]:
    """A JSON object; ``ValueError`` that ends with the advice when it is damaged or missing."""
    try:
        return read_json(path)
    except OSError as error:
        raise ValueError(f"{path.name} cannot be read ({error.strerror}); {advice}.") from None
    except ValueError as error:
        raise ValueError(f"{str(error).rstrip('.')}; {advice}.") from None

"""How another program hands over a CT and takes the labels back: plain arrays in a folder.

    write_request(folder, hu_kji, ijk_to_ras)              the program
    livertumorseg segment --raw FOLDER --events            the command line
    answer = read_answer(folder, hu_kji.shape)             the program

    ct.npy              int16 (k, j, i), Hounsfield units
    ct.json             {"ijk_to_ras": 4 x 4}, millimeters
    labels.npy          uint8 (k, j, i): 0 background, 1 liver, 2 tumor
    probabilities.npy   float16 (3, k, j, i), when asked for
    seen.npz            where tumor was seen, before any decision
    steps.npz           the labels at other steps of sensitivity, where the model knows of some
    record.json         what lesions.json holds

Raw arrays are written and read at the speed of the disk, and nothing of the patient but the voxels
is in them. ``ct.json`` and ``record.json`` are written last: where they are whole, the rest is.
numpy and the standard library only. A folder with both is a result that ``report`` and ``compare``
read like any other: see :func:`read_stored`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from LiverTumorSegLib.result.step_labels import StepLabels, TumorSeen
from LiverTumorSegLib.sentences import sentence
from LiverTumorSegLib.volume import CtVolume

if TYPE_CHECKING:
    from LiverTumorSegLib.ct.study import WantedSeries
    from LiverTumorSegLib.result.stored import StoredResult

CT_ARRAY, CT_GEOMETRY = "ct.npy", "ct.json"
LABELS, PROBABILITIES, RECORD = "labels.npy", "probabilities.npy", "record.json"
SEEN, STEPS = "seen.npz", "steps.npz"
CLASSES = 3
Rest = TypeVar("Rest", TumorSeen, StepLabels)
BLOCK_BYTES = 32_000_000  # written at once


@dataclass(frozen=True, eq=False)
class Answer:
    """The result of a segmentation for the program that asked for it.

    labels_kji: uint8. record: what lesions.json holds. probabilities: float16 (3, k, j, i) or None.
    seen: where the network for tumors saw how much of one. steps: labels at other sensitivities.
    """

    labels_kji: NDArray[np.uint8]
    record: dict[str, Any]
    probabilities: NDArray[np.float16] | None
    seen: TumorSeen | None = None
    steps: StepLabels | None = None


def write_request(
    folder: Path,
    hu_kji: NDArray[np.int16],
    ijk_to_ras: NDArray[np.float64],
    between_blocks: Callable[[], None] | None = None,
) -> None:
    """Write the CT. ``OSError`` as the disk raises it.

    between_blocks: called often; what it raises stops the writing.
    """
    _write_array(folder / CT_ARRAY, hu_kji, between_blocks)
    _write_json(folder / CT_GEOMETRY, {"ijk_to_ras": np.asarray(ijk_to_ras, float).tolist()})


def read_request(folder: Path) -> CtVolume:
    """The CT in a folder; ``ValueError`` when there is none, or not a whole one."""
    geometry = _read_json(folder / CT_GEOMETRY)
    hu = _read_array(folder / CT_ARRAY, np.dtype(np.int16), 3)
    try:
        ijk_to_ras = np.array(geometry["ijk_to_ras"], dtype=np.float64)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            sentence("{file} holds no 4 x 4 ijk_to_ras; write it anew.", file=CT_GEOMETRY)
        ) from error
    return CtVolume(hu, ijk_to_ras)


def write_answer(folder: Path, answer: Answer) -> None:
    """Write the labels and what is known of them. ``OSError`` as the disk raises it.

    An earlier answer in the folder is replaced; between the two there is none.
    """
    for name in (RECORD, PROBABILITIES, SEEN, STEPS):
        (folder / name).unlink(missing_ok=True)
    _write_array(folder / LABELS, answer.labels_kji)
    if answer.probabilities is not None:
        _write_array(folder / PROBABILITIES, answer.probabilities)
    if answer.seen is not None:
        answer.seen.save(folder / SEEN)
    if answer.steps is not None:
        answer.steps.save(folder / STEPS)
    _write_json(folder / RECORD, answer.record)


def read_answer(folder: Path, shape_kji: tuple[int, ...]) -> Answer:
    """Read the result for a CT of that shape; ``ValueError`` when it is missing or not whole."""
    record = _read_json(folder / RECORD)
    shape, classes = tuple(shape_kji), (CLASSES, *shape_kji)
    labels = _read_result(folder / LABELS, np.dtype(np.uint8), shape)
    probabilities = None
    if (folder / PROBABILITIES).exists():
        probabilities = _read_result(folder / PROBABILITIES, np.dtype(np.float16), classes)
    seen, steps = _read_rest(folder, SEEN, TumorSeen), _read_rest(folder, STEPS, StepLabels)
    return Answer(labels, record, probabilities, seen, steps)


def read_stored(
    folder: Path, ct: Path | None, series: WantedSeries, *, option: str = "--ct"
) -> StoredResult:
    """A result folder, or a CT and labels that were handed over; errors as of what reads them.

    ct, series, option: of a result folder, as ``read_result`` takes them.
    """
    from LiverTumorSegLib.result.stored import read_result, stored_result

    if not ((folder / CT_GEOMETRY).is_file() and (folder / RECORD).is_file()):
        return read_result(folder, ct, series, option=option)
    handed_over = read_request(folder)
    answer = read_answer(folder, handed_over.shape_kji)
    return stored_result(handed_over, answer.labels_kji, answer.record)


def _write_array(
    path: Path, array: NDArray[Any], between_blocks: Callable[[], None] | None = None
) -> None:
    """Write an array in few large blocks: in Slicer each write waits for the main thread.

    An array that is not contiguous is never copied as a whole.
    """
    header = {
        "descr": np.lib.format.dtype_to_descr(array.dtype),
        "fortran_order": False,
        "shape": array.shape,
    }
    slice_bytes = array.shape[-2] * array.shape[-1] * array.itemsize
    slices = max(1, BLOCK_BYTES // max(1, slice_bytes))
    with open(path, "wb") as stream:
        np.lib.format.write_array_header_1_0(stream, header)
        for index in np.ndindex(array.shape[:-3]):
            for first in range(0, array.shape[-3], slices):
                if between_blocks:
                    between_blocks()
                block = array[index][first : first + slices]
                stream.write(np.ascontiguousarray(block).data)


def _read_rest(folder: Path, name: str, kind: type[Rest]) -> Rest | None:
    """What a run may leave beside its labels; None where it has left none."""
    if not (folder / name).exists():
        return None
    try:
        return kind.load(folder / name)
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise ValueError(sentence("{file} is damaged; write it anew.", file=name)) from error


def _write_json(path: Path, values: dict[str, Any]) -> None:
    path.write_text(json.dumps(values), encoding="utf-8")


def _read_result(path: Path, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Any:
    array = _read_array(path, dtype, len(shape))
    if array.shape != shape:
        raise ValueError(
            sentence(
                "{file} has shape {other}, which for this CT is {wanted}; run it again.",
                file=path.name,
                other=str(array.shape),
                wanted=str(shape),
            )
        )
    return array


def _read_array(path: Path, dtype: np.dtype[Any], axes: int) -> Any:
    try:
        array = np.load(path, allow_pickle=False)
    except FileNotFoundError as error:
        raise ValueError(
            sentence("The folder holds no {file}; write it there first.", file=path.name)
        ) from error
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(sentence("{file} is damaged; write it anew.", file=path.name)) from error
    if not isinstance(array, np.ndarray) or array.dtype != dtype or array.ndim != axes:
        raise ValueError(
            sentence(
                "{file} is not a {kind} array of {axes} axes; write it anew.",
                file=path.name,
                kind=str(dtype),
                axes=axes,
            )
        )
    return array


def _read_json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ValueError(
            sentence("The folder holds no {file}; write it there first.", file=path.name)
        ) from error
    except (OSError, ValueError) as error:
        raise ValueError(sentence("{file} is damaged; write it anew.", file=path.name)) from error
    if not isinstance(values, dict):
        raise ValueError(sentence("{file} is not a JSON object; write it anew.", file=path.name))
    return values

"""What a model file says about itself, readable without torch: standard library only.

A model is one ``.safetensors`` file: 8 bytes (little endian) with the length of a JSON header, the
header, then the tensors. The description is ONE JSON string under ``__metadata__["spec"]``::

    spec = read_spec("hybrid2d-w32.safetensors")
    spec.net, spec.net_args, spec.provenance["scores"]
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, BinaryIO

FORMAT = 1
MOST_HU = 1e6  # either way
STORAGES = ("fp32", "fp16", "int8")
LONGEST_HEADER_BYTES = 100_000_000  # the safetensors library's own limit
GET_AGAIN = "Get the file again from where it came."
DICTIONARIES = (
    "net_args",
    "preprocessing",
    "labels",
    "postprocessing",
    "provenance",
    "decision",
)
STAGES = {  # of a cascade, in their order: the labels of each one's network
    "liver": {"background": 0, "liver": 1},
    "tumor": {"background": 0, "tumor": 1},
}


class BundleError(Exception):
    """A model file that cannot be used; the message says what to do about it."""


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """Everything needed to build a net, feed it and judge it, apart from its weights.

    name, version: what the model is called in lists and results.
    net, net_args: a key of ``nets.NETS`` and the keyword arguments that built it.
    preprocessing: ``SlicePreprocessing.to_dict()`` of the object that prepared the training data.
    labels: name of each class -> number in the label map; the background is 0.
    training_hu_range: least and greatest HU of the training data; None when unknown.
    postprocessing: the steps after the net that the scores were measured with.
    provenance: data, split ids, scores, licence, code version, commands.
    storage: how the weights lie in the file, one of :data:`STORAGES`.
    decision: ``Decision.to_dict()``; empty, and then not in the file, for a cascade's networks and
        where a voxel gets its likeliest class.
    Values are kept as JSON keeps them (a tuple becomes a list), so that a spec equals its copy from
    a file. ``ValueError`` when a value is not of its kind.
    """

    name: str
    version: str
    net: str
    net_args: dict[str, Any]
    preprocessing: dict[str, Any]
    labels: dict[str, int]
    training_hu_range: tuple[float, float] | None
    postprocessing: dict[str, Any]
    provenance: dict[str, Any]
    storage: str
    format: int = FORMAT
    decision: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for key in ("name", "version", "net"):
            if not isinstance(getattr(self, key), str) or not getattr(self, key):
                raise ValueError(f"The model's {key} must be a text that is not empty.")
        for key in DICTIONARIES:
            object.__setattr__(self, key, _as_json_keeps_it(key, getattr(self, key)))
        _check_labels(self.labels)
        object.__setattr__(self, "training_hu_range", _checked_range(self.training_hu_range))
        if self.storage not in STORAGES:
            raise ValueError(f"Storage {self.storage!r} is unknown; use {', '.join(STORAGES)}.")
        if self.format != FORMAT or isinstance(self.format, bool):
            raise ValueError(f"The model's format is {self.format!r}; only {FORMAT} is known.")

    def to_json(self) -> str:
        """One line; equal specs give equal text, which makes files and their hashes repeatable."""
        values = asdict(self)
        if not self.decision:  # a file without one is readable to versions that know of none
            del values["decision"]
        return json.dumps(values, sort_keys=True, separators=(",", ":"), allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> ModelSpec:
        """The inverse of :meth:`to_json`; ``BundleError`` when a key or a value is wrong."""
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise BundleError(f"The model's description is not valid JSON. {GET_AGAIN}") from error
        if not isinstance(values, dict):
            raise BundleError(f"The model's description is not a JSON object. {GET_AGAIN}")
        _check_keys(values)
        try:
            return cls(**values)
        except ValueError as error:
            raise BundleError(f"{error} Export the model again, or use another one.") from error


def read_spec(path: str | Path) -> ModelSpec:
    """The description in a model file's header. Of the tensors only the extent is checked."""
    path = Path(path)
    with explained(path), opened_model(path) as stream:
        return parse_spec(stream, path.stat().st_size)


def parse_spec(stream: BinaryIO, size_bytes: int) -> ModelSpec:
    """The description in a model file of ``size_bytes`` that starts where ``stream`` stands."""
    header = _read_header(stream, size_bytes)
    metadata = header.get("__metadata__")
    text = metadata.get("spec") if isinstance(metadata, dict) else None
    if not isinstance(text, str):
        raise BundleError(
            "The file holds weights but not what they are for. Use a file that LiverTumorSeg's "
            "training has written."
        )
    return ModelSpec.from_json(text)


def stage_of(spec: ModelSpec) -> str:
    """ "liver" or "tumor" for a network of a cascade; empty for a model that is whole."""
    if spec.preprocessing.get("kind") != "volume":
        return ""
    return next((stage for stage, labels in STAGES.items() if spec.labels == labels), "")


def file_sha256(path: str | Path) -> str:
    """SHA-256 of a file's bytes, 64 lower-case hexadecimal digits."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """Puts the file's name in front of a ``BundleError``; its path may name a patient."""
    try:
        yield
    except BundleError as error:
        raise BundleError(f"{path.name}: {error}") from error


@contextlib.contextmanager
def opened_model(path: Path) -> Iterator[BinaryIO]:
    """A model file open for reading; ``BundleError`` when there is none or it cannot be read."""
    try:
        is_there = path.is_file()
    except OSError:  # a name that is too long
        is_there = False
    if not is_there:
        raise BundleError(
            "There is no such model file. Check the path, or see `livertumorseg models list`."
        )
    try:
        with path.open("rb") as stream:
            yield stream
    except OSError as error:
        reason = error.strerror or error
        raise BundleError(f"The file cannot be read ({reason}). Check its permissions.") from error


def _read_header(stream: BinaryIO, size_bytes: int) -> dict[str, Any]:
    start = stream.read(9)
    _refuse_other_formats(start, getattr(stream, "name", ""))
    length = int.from_bytes(start[:8], "little")
    if length > LONGEST_HEADER_BYTES:
        raise BundleError(f"The file's header is damaged. {GET_AGAIN}")
    if 8 + length > size_bytes:
        raise BundleError(f"The file is cut off inside its header. {GET_AGAIN}")
    try:
        header = json.loads(start[8:] + stream.read(length - 1))
    except (ValueError, RecursionError) as error:
        raise BundleError(f"The file's header is damaged. {GET_AGAIN}") from error
    if not isinstance(header, dict):
        raise BundleError(f"The file's header is damaged. {GET_AGAIN}")
    _check_extent(header, size_bytes - 8 - length)
    return header


def _refuse_other_formats(start: bytes, name: object) -> None:
    """``start``: the first nine bytes; the ninth opens the JSON object of a safetensors file."""
    if start[8:] == b"{" and start[:8] != bytes(8):
        return
    pickled_name = str(name).lower().endswith((".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".bin"))
    if start.startswith((b"PK\x03\x04", b"\x80")) or pickled_name:
        raise BundleError(
            "The file is a pickled checkpoint, which can run code when it is opened and is "
            "therefore never read. Use the .safetensors file that training writes beside it."
        )
    raise BundleError("This is not a model file. Give a .safetensors file made by LiverTumorSeg.")


def _check_extent(header: Mapping[str, Any], data_bytes: int) -> None:
    """The tensors must end exactly where the file ends."""
    try:
        ends = [entry["data_offsets"][1] for key, entry in header.items() if key != "__metadata__"]
        end = max([0, *ends])
    except (TypeError, KeyError, IndexError) as error:
        raise BundleError(f"The file's header is damaged. {GET_AGAIN}") from error
    if end > data_bytes:
        raise BundleError(f"The file is cut off: {end - data_bytes} bytes are missing. {GET_AGAIN}")
    if end < data_bytes:
        raise BundleError(f"The file has {data_bytes - end} bytes too many. {GET_AGAIN}")


def _check_keys(values: Mapping[str, Any]) -> None:
    known = {one.name for one in fields(ModelSpec)}
    required = {one.name for one in fields(ModelSpec) if _is_required(one)}
    newer = "the file was made by a newer version of LiverTumorSeg. Update LiverTumorSeg."
    number = values.get("format", FORMAT)
    if isinstance(number, int) and number > FORMAT:
        raise BundleError(f"The model's format is {number} and {FORMAT} is known here: {newer}")
    if unknown := sorted(values.keys() - known):
        raise BundleError(f"The key {unknown[0]!r} in the model's description is unknown: {newer}")
    if missing := sorted(required - values.keys()):
        raise BundleError(f"The model's description lacks {', '.join(missing)}. {GET_AGAIN}")


def _is_required(one: Field[Any]) -> bool:
    return one.default is MISSING and one.default_factory is MISSING


def _as_json_keeps_it(key: str, value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"The model's {key} must be a dictionary.")
    try:
        kept: dict[str, Any] = json.loads(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(
            f"The model's {key} holds something that JSON cannot keep ({error}). Use plain finite "
            "numbers, texts, lists and dictionaries."
        ) from error
    return kept


def _check_labels(labels: Mapping[str, object]) -> None:
    numbers = list(labels.values())
    whole = all(type(number) is int for number in numbers)
    if not whole or set(numbers) != set(range(len(numbers))) or labels.get("background") != 0:
        raise ValueError(
            "The model's labels must number its classes 0, 1, 2, ... with background as 0; they "
            f"are {dict(labels)}."
        )


def _checked_range(hu_range: object) -> tuple[float, float] | None:
    if hu_range is None:
        return None
    problem = f"The model's training_hu_range must be two rising HU numbers; it is {hu_range!r}."
    if not isinstance(hu_range, (tuple, list)) or len(hu_range) != 2:
        raise ValueError(problem)
    if any(isinstance(value, bool) or not isinstance(value, (int, float)) for value in hu_range):
        raise ValueError(problem)
    low, high = hu_range
    if not -MOST_HU <= low < high <= MOST_HU:
        raise ValueError(problem)
    return float(low), float(high)

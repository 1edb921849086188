"""What a model file says about itself, readable without torch: standard library only.

A model is one ``.safetensors`` file: 8 bytes (little endian) with the length of a JSON header, the
header, then the tensors. The description is ONE JSON string under ``__metadata__["spec"]``::

    spec = read_spec("mine.safetensors")
    spec.net, spec.net_args, spec.provenance["scores"]
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, BinaryIO

from LiverTumorSegLib.sentences import sentence, sentence_of

FORMAT_ONE, FORMAT_PAIR = 1, 2  # of a model of one network, and of a cascade's two in one file
MOST_HU = 1e6  # either way
PROVENANCE_TYPES: dict[str, type] = {  # of what is read there, and not only shown
    **dict.fromkeys(("train", "train_groups", "val"), list),
    "split_group_by": str,
    "scores": dict,
}
LIVER_HU = "liver_hu"  # in the provenance, written by training.export; see ModelSpec
STORAGES = ("fp32", "fp16", "int8")
LONGEST_HEADER_BYTES = 100_000_000  # the safetensors library's own limit
GET_AGAIN = "Get the file again from where it came."
NEWER = "the file was made by a newer version of LiverTumorSeg. Update LiverTumorSeg."
DICTIONARIES = (
    "net_args",
    "preprocessing",
    "labels",
    "postprocessing",
    "provenance",
    "decision",
    "tuning",
    "cascade",
)
OF_ONE_NETWORK = ("net", "net_args", "preprocessing", "tta")
LEFT_OUT_IF_EMPTY = (
    "decision",
    "cascade",
    "tta",
    "tuning",
)  # so that older versions read what they can
JOIN_COMMAND = (
    "python -m training.export LIVER.safetensors TUMOR.safetensors -o PAIR.safetensors --name PAIR"
)
ALL = "all"  # the only network of a model that has one
STAGES = {  # of a cascade, in their order: the labels of each one's network
    "liver": {"background": 0, "liver": 1},
    "tumor": {"background": 0, "tumor": 1},
}


class BundleError(Exception):
    """A model file that cannot be used; the message says what to do about it."""


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """Everything needed to build a model's net or nets, feed and judge them, but the weights.

    name, version: what the model is called in lists and results.
    net, net_args: a key of ``nets.NETS`` and the keyword arguments that built it.
    preprocessing: ``to_dict()`` of the object that prepared the training data.
    tta: always average with the predictions of mirrored copies.
    pair: of a cascade its networks, "liver" and "tumor", each described as a model of its own; net,
        net_args, preprocessing and tta are then theirs, and empty here. See :attr:`networks`.
    cascade: ``CascadeSettings.to_dict()`` of a cascade.
    labels: name of each class -> number in the label map; the background is 0.
    training_hu_range: least and greatest HU of the training data; None when unknown.
    postprocessing: the steps after the net that the scores were measured with.
    provenance: data, split ids, scores, licence, code version, commands.
    storage: how the weights lie in the file, one of :data:`STORAGES`.
    decision: ``Decision.to_dict()``; empty where a voxel gets its likeliest class.
    tuning: what other tumor thresholds would find, on the patients it was chosen on, none of whom
        had trained the networks that were asked; see :mod:`training.tuning.record`. Empty if none.
    Values are stored as JSON stores them (a tuple becomes a list), so that a spec equals its copy
    from a file. ``ValueError`` when a value is not of its kind.
    """

    name: str
    version: str
    net: str = ""
    net_args: dict[str, Any] = field(default_factory=dict)
    preprocessing: dict[str, Any] = field(default_factory=dict)
    labels: dict[str, int]
    training_hu_range: tuple[float, float] | None
    postprocessing: dict[str, Any]
    provenance: dict[str, Any]
    storage: str
    decision: dict[str, Any] = field(default_factory=dict)
    tta: bool = False
    tuning: dict[str, Any] = field(default_factory=dict)
    pair: dict[str, ModelSpec] = field(default_factory=dict)
    cascade: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for key in ("name", "version") if self.pair else ("name", "version", "net"):
            if not isinstance(getattr(self, key), str) or not getattr(self, key):
                raise ValueError(
                    sentence("The model's {key} must be a text that is not empty.", key=key)
                )
        for key in DICTIONARIES:
            object.__setattr__(self, key, _as_json(key, getattr(self, key)))
        _check_labels(self.labels)
        hu_range = _checked_range("training_hu_range", self.training_hu_range)
        object.__setattr__(self, "training_hu_range", hu_range)
        _checked_range(LIVER_HU, self.provenance.get(LIVER_HU))
        _check_provenance(self.provenance)
        if self.storage not in STORAGES:
            raise ValueError(
                sentence(
                    "Storage {storage!r} is unknown; use {known}.",
                    storage=self.storage,
                    known=", ".join(STORAGES),
                )
            )
        if not isinstance(self.tta, bool):
            raise ValueError(
                sentence("The model's tta must be true or false; it is {tta!r}.", tta=self.tta)
            )
        if self.pair and self.pair.keys() != STAGES.keys():
            raise ValueError("A cascade's networks must be liver and tumor.")
        for place, one in self.pair.items():
            if one.labels not in (STAGES[place], self.labels):
                raise ValueError(
                    sentence(
                        "The {stage} network of a cascade has the labels {labels}.",
                        stage=place,
                        labels=str(one.labels),
                    )
                )

    @property
    def networks(self) -> dict[str, ModelSpec]:
        """One network, or a cascade's "liver" and "tumor"; their names begin the tensors' names."""
        return self.pair or {ALL: self}

    @property
    def trained_liver_hu(self) -> tuple[float, float] | None:
        """Between which HU the livers lie that it was trained on, each by its median; None when the
        file does not say."""
        return _checked_range(LIVER_HU, self.provenance.get(LIVER_HU))

    @property
    def is_cascade(self) -> bool:
        return bool(self.pair)

    @property
    def format(self) -> int:
        return FORMAT_PAIR if self.pair else FORMAT_ONE

    def to_json(self) -> str:
        """One line; equal specs give equal text, which makes files and their hashes repeatable."""
        values = {**self._to_dict(), "format": self.format}
        return json.dumps(values, sort_keys=True, separators=(",", ":"), allow_nan=False)

    def _to_dict(self) -> dict[str, Any]:
        pair = {name: one._to_dict() for name, one in self.pair.items()}
        empty = {key for key in LEFT_OUT_IF_EMPTY if not getattr(self, key)}
        left_out = {"pair", *empty, *(OF_ONE_NETWORK if pair else ())}
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in left_out}
        return {**values, "networks": pair} if pair else values

    @classmethod
    def from_json(cls, text: str) -> ModelSpec:
        """The inverse of :meth:`to_json`; ``BundleError`` when a key or a value is wrong."""
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise BundleError(
                sentence("The model's description is not valid JSON. {again}", again=GET_AGAIN)
            ) from error
        if not isinstance(values, dict):
            raise BundleError(
                sentence("The model's description is not a JSON object. {again}", again=GET_AGAIN)
            )
        _check_format(values)
        try:
            return cls._from_dict(values)
        except ValueError as error:
            raise BundleError(
                sentence(
                    "{problem} Export the model again, or use another one.",
                    problem=sentence_of(error),
                )
            ) from error

    @classmethod
    def _from_dict(cls, stored: Mapping[str, Any]) -> ModelSpec:
        values = {name: value for name, value in stored.items() if name != "format"}
        pair = values.pop("networks", {})
        _check_keys(values, pair)
        if not isinstance(pair, dict) or not all(isinstance(one, dict) for one in pair.values()):
            raise ValueError("The model's networks are not described by dictionaries.")
        return cls(**values, pair={name: cls._from_dict(one) for name, one in pair.items()})


def join_specs(
    name: str, version: str, liver: ModelSpec, tumor: ModelSpec, cascade: dict[str, Any]
) -> ModelSpec:
    """The description of the cascade of two networks, each described as a model of its own.

    A case that either network has seen is no test for the pair. The split counts as one by volume,
    which evaluation lets pass with a warning, only if it is that for both.
    """
    both = (liver, tumor)
    ranges = [spec.training_hu_range for spec in both if spec.training_hu_range is not None]
    livers = [spec.trained_liver_hu for spec in both if spec.trained_liver_hu is not None]
    scores = {n: v for spec in both for n, v in dict(spec.provenance.get("scores", {})).items()}
    return ModelSpec(
        name=name,
        version=version,
        labels={"background": 0, "liver": 1, "tumor": 2},
        training_hu_range=_around(ranges) if ranges else None,
        postprocessing=tumor.postprocessing,
        decision=tumor.decision,
        provenance={
            **{k: v for k, v in tumor.provenance.items() if k not in ("recipe", "init")},
            **joint_training([liver, tumor]),
            **({"scores": scores} if scores else {}),
            **({LIVER_HU: _around(livers)} if livers else {}),
        },
        storage=tumor.storage,
        pair={
            "liver": replace(liver, postprocessing={}, decision={}),
            "tumor": replace(tumor, postprocessing={}, decision={}),
        },
        cascade=cascade,
    )


def joint_training(specs: Sequence[ModelSpec]) -> dict[str, Any]:
    """Who trained any of several networks, for the provenance of a model that holds them all."""
    groups = {spec.provenance.get("split_group_by") for spec in specs}
    lists = {
        key: sorted({str(n) for spec in specs for n in spec.provenance.get(key, [])})
        for key in ("train", "train_groups", "val")
    }
    return {**lists, "split_group_by": "volume" if groups == {"volume"} else "patient"}


def _around(ranges: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """The range that holds all of these."""
    return min(low for low, _ in ranges), max(high for _, high in ranges)


def read_spec(path: str | Path) -> ModelSpec:
    """The description in a model file's header. Of the tensors only the extent is checked."""
    path = Path(path)
    with naming_file(path), opened_model(path) as stream:
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
    if spec.preprocessing.get("kind") == "liver_box":
        return "tumor"
    return next((stage for stage, labels in STAGES.items() if spec.labels == labels), "")


def file_sha256(path: str | Path) -> str:
    """SHA-256 of a file's bytes, 64 lower-case hexadecimal digits."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


@contextlib.contextmanager
def naming_file(path: Path) -> Iterator[None]:
    """Puts the file's name in front of a ``BundleError``; its path may name a patient."""
    try:
        yield
    except BundleError as error:
        raise BundleError(
            sentence("{file}: {problem}", file=path.name, problem=sentence_of(error))
        ) from error


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
        raise BundleError(
            sentence("The file cannot be read ({reason}). Check its permissions.", reason=reason)
        ) from error


def _read_header(stream: BinaryIO, size_bytes: int) -> dict[str, Any]:
    start = stream.read(9)
    _refuse_other_formats(start, getattr(stream, "name", ""))
    length = int.from_bytes(start[:8], "little")
    if length > LONGEST_HEADER_BYTES:
        raise BundleError(sentence("The file's header is damaged. {again}", again=GET_AGAIN))
    if 8 + length > size_bytes:
        raise BundleError(
            sentence("The file is cut off inside its header. {again}", again=GET_AGAIN)
        )
    try:
        header = json.loads(start[8:] + stream.read(length - 1))
    except (ValueError, RecursionError) as error:
        raise BundleError(
            sentence("The file's header is damaged. {again}", again=GET_AGAIN)
        ) from error
    if not isinstance(header, dict):
        raise BundleError(sentence("The file's header is damaged. {again}", again=GET_AGAIN))
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
        raise BundleError(
            sentence("The file's header is damaged. {again}", again=GET_AGAIN)
        ) from error
    if end > data_bytes:
        raise BundleError(
            sentence(
                "The file is cut off: {count} bytes are missing. {again}",
                count=end - data_bytes,
                again=GET_AGAIN,
            )
        )
    if end < data_bytes:
        raise BundleError(
            sentence(
                "The file has {count} bytes too many. {again}",
                count=data_bytes - end,
                again=GET_AGAIN,
            )
        )


def _check_format(values: Mapping[str, Any]) -> None:
    number, expected = values.get("format", FORMAT_ONE), FORMAT_ONE
    if isinstance(values.get("networks"), dict):
        expected = FORMAT_PAIR
    if isinstance(number, int) and number > FORMAT_PAIR:
        raise BundleError(
            sentence(
                "The model's format is {number} and {known} is known here: {newer}",
                number=number,
                known=FORMAT_PAIR,
                newer=NEWER,
            )
        )
    if number != expected or isinstance(number, bool):
        raise BundleError(
            sentence(
                "The model's format is {number!r}, not {expected}. {again}",
                number=number,
                expected=expected,
                again=GET_AGAIN,
            )
        )


def _check_keys(values: Mapping[str, Any], pair: object) -> None:
    known = {one.name for one in fields(ModelSpec)} - {"pair"}
    required = {one.name for one in fields(ModelSpec) if _is_required(one)}
    required |= set() if pair else {"net", "net_args", "preprocessing"}
    if unknown := sorted(values.keys() - known):
        raise BundleError(
            sentence(
                "The key {key!r} in the model's description is unknown: {newer}",
                key=unknown[0],
                newer=NEWER,
            )
        )
    if missing := sorted(required - values.keys()):
        raise BundleError(
            sentence(
                "The model's description lacks {missing}. {again}",
                missing=", ".join(missing),
                again=GET_AGAIN,
            )
        )


def _is_required(one: Field[Any]) -> bool:
    return one.default is MISSING and one.default_factory is MISSING


def _as_json(key: str, value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(sentence("The model's {key} must be a dictionary.", key=key))
    try:
        stored: dict[str, Any] = json.loads(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(
            sentence(
                "The model's {key} holds something that JSON cannot keep ({problem}). Use plain "
                "finite numbers, texts, lists and dictionaries.",
                key=key,
                problem=sentence_of(error),
            )
        ) from error
    return stored


def _check_provenance(provenance: Mapping[str, object]) -> None:
    for key, kind in PROVENANCE_TYPES.items():
        if key in provenance and not isinstance(provenance[key], kind):
            raise ValueError(
                sentence(
                    "The model's provenance says {value!r} of {key}, which is of another kind.",
                    value=provenance[key],
                    key=key,
                )
            )


def _check_labels(labels: Mapping[str, object]) -> None:
    numbers = list(labels.values())
    whole = all(type(number) is int for number in numbers)
    if not whole or set(numbers) != set(range(len(numbers))) or labels.get("background") != 0:
        raise ValueError(
            sentence(
                "The model's labels must number its classes 0, 1, 2, ... with background as 0; "
                "they are {labels}.",
                labels=str(dict(labels)),
            )
        )


def _checked_range(key: str, hu_range: object) -> tuple[float, float] | None:
    if hu_range is None:
        return None
    problem = sentence(
        "The model's {key} must be two rising HU numbers; it is {hu_range!r}.",
        key=key,
        hu_range=hu_range,
    )
    if not isinstance(hu_range, (tuple, list)) or len(hu_range) != 2:
        raise ValueError(problem)
    if any(isinstance(value, bool) or not isinstance(value, (int, float)) for value in hu_range):
        raise ValueError(problem)
    low, high = hu_range
    if not -MOST_HU <= low < high <= MOST_HU:
        raise ValueError(problem)
    return float(low), float(high)

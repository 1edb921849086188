"""Settings: the one base of those that are stored, and those of a run from its start to its record.

@dataclass(frozen=True, kw_only=True)
class Postprocessing(Settings):
    NOUN = "postprocessing"
    smallest_lesion_mm: float = 5.0

stored = Postprocessing(smallest_lesion_mm=3.0).to_dict()   # plain JSON values
Postprocessing.from_dict(stored)                            # the same; unknown keys are refused
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import Field, dataclass, field, fields
from math import inf
from typing import Any, ClassVar, TypeVar

from LiverTumorSegLib.sentences import sentence

AnySettings = TypeVar("AnySettings", bound="Settings")
MOST_STEPS = 50  # of sensitivity, either way: far more than a model knows
RAY_HERE = "here"  # no address: RAY_ADDRESS, else a small cluster of this machine's own
AnyOptions = TypeVar("AnyOptions", bound="Options")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """A frozen dataclass of settings, each with a default.

    NOUN: what they are settings of, in sentences. KIND: stored as "kind", where it is not empty.
    RENAMED: the key that an earlier version stored -> the field it is now.
    RANGES: the least and the greatest that a number, or each one of several, may be.
    Every bool must be true or false, and every plain number finite and, unless RANGES has it, 0 or
    more: else ``ValueError``. Subclasses check the rest in ``__post_init__``, after the base.
    """

    NOUN: ClassVar[str] = ""
    KIND: ClassVar[str] = ""
    RENAMED: ClassVar[Mapping[str, str]] = {}
    RANGES: ClassVar[Mapping[str, tuple[float, float]]] = {}

    def __post_init__(self) -> None:
        for one in fields(self):
            value = getattr(self, one.name)
            kinds = str(one.type).split(" | ")
            if value is None and "None" in kinds:
                continue
            if kinds[0] == "bool" and not isinstance(value, bool):
                raise ValueError(
                    sentence("{name} is {value!r}; give true or false.", name=one.name, value=value)
                )
            least, is_whole = -inf if one.name in self.RANGES else 0.0, kinds[0] == "int"
            if kinds[0] in ("float", "int") and not _is_number(value, least, whole=is_whole):
                number = "whole number" if kinds[0] == "int" else "number"
                raise ValueError(
                    sentence(
                        "{name} is {value!r}; give a {number} of 0 or more.",
                        name=one.name,
                        value=value,
                        number=number,
                    )
                )
            if one.name in self.RANGES:
                _refuse_outside(one.name, value, *self.RANGES[one.name])

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; the inverse of :meth:`from_dict`."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        plain = {n: list(v) if isinstance(v, tuple) else v for n, v in values.items()}
        return {"kind": self.KIND, **plain} if self.KIND else plain

    @classmethod
    def from_dict(cls: type[AnySettings], stored: Mapping[str, Any]) -> AnySettings:
        """Missing keys take their defaults; ``ValueError`` for another kind and for unknown keys.

        A setting of a later version must not be dropped in silence.
        """
        values = {cls.RENAMED.get(name, name): value for name, value in stored.items()}
        kind = values.pop("kind", cls.KIND)
        if kind != cls.KIND:
            raise ValueError(
                sentence(
                    "The kind of {noun} is {kind!r}, not {wanted!r}.",
                    noun=cls.NOUN,
                    kind=kind,
                    wanted=cls.KIND,
                )
            )
        known = {field.name for field in fields(cls)}
        if unknown := sorted(values.keys() - known):
            raise ValueError(
                sentence(
                    "Unknown {noun} settings: {unknown}. Known are: {known}.",
                    noun=cls.NOUN,
                    unknown=", ".join(unknown),
                    known=", ".join(sorted(known)),
                )
            )
        return cls(**{n: tuple(v) if isinstance(v, list) else v for n, v in values.items()})


def _refuse_outside(name: str, value: object, least: float, most: float) -> None:
    numbers = value if isinstance(value, tuple | list) else (value,)
    for number in numbers:
        is_one = isinstance(number, int | float) and not isinstance(number, bool)
        if not is_one or not least <= number <= most:
            raise ValueError(
                sentence(
                    "{name} is {value!r}; give {least:g} to {most:g}.",
                    name=name,
                    value=value,
                    least=least,
                    most=most,
                )
            )


@dataclass(frozen=True, kw_only=True)
class Options(Settings):
    """Settings of which each field is an option of the command line, with a line of help."""

    def to_arguments(self) -> list[str]:
        """Command-line arguments; those at their default are left out."""
        arguments: list[str] = []
        for one in fields(self):
            value = getattr(self, one.name)
            if value != one.default:
                arguments += (
                    [_option(one)] if isinstance(value, bool) else [_option(one), str(value)]
                )
        return arguments

    @classmethod
    def from_arguments(cls: type[AnyOptions], arguments: Sequence[str]) -> AnyOptions:
        """The inverse of :meth:`to_arguments`."""
        parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
        cls.add_options(parser)
        return cls.from_parsed(parser.parse_args(arguments))

    @classmethod
    def add_options(cls, parser: argparse.ArgumentParser) -> None:
        """An option for each field."""
        for one in fields(cls):
            if isinstance(one.default, bool):
                action = "store_false" if one.default else "store_true"
                parser.add_argument(
                    _option(one), dest=one.name, action=action, help=one.metadata["help"]
                )
            else:
                kind = {"float": float, "int": int}.get(str(one.type).split(" | ")[0], str)
                parser.add_argument(
                    _option(one), dest=one.name, default=one.default, type=kind, **one.metadata
                )

    @classmethod
    def from_parsed(cls: type[AnyOptions], parsed: argparse.Namespace) -> AnyOptions:
        """Take the options from what a parser with :meth:`add_options` has parsed."""
        return cls(**{one.name: getattr(parsed, one.name) for one in fields(cls)})


@dataclass(frozen=True, kw_only=True)
class RunSettings(Options):
    """How CTs are to be segmented: one object from the panel or the command line to the network.

    settings = RunSettings(model="liver-tumor", smallest_lesion_mm=5.0)
    settings.to_arguments()      # ["--model", "liver-tumor", "--smallest-lesion-mm", "5.0"]

    model: a name of the catalog or a model file; None: the default. device: auto, cpu, cuda:1.
    coarse_search: whether slices clearly outside the liver are skipped.
    probabilities: whether they are handed back too.
    smallest_lesion_mm: smaller tumors are dropped; None leaves it to the model.
    sensitivity: steps from what the model was tested with, above 0 to more marks, below to fewer.
    tumor_threshold: in place of the model's own, with every lesion above it; not tested.
    A further field needs a default and a line of help, and is an option of every command then.
    """

    NOUN = "run"
    RANGES: ClassVar[Mapping[str, tuple[float, float]]] = {
        "tumor_threshold": (0.01, 0.99),
        "sensitivity": (-MOST_STEPS, MOST_STEPS),
    }

    model: str | None = field(
        default=None,
        metadata={"help": "from `models list`, or a .safetensors file", "metavar": "NAME|FILE"},
    )
    device: str = field(
        default="auto",
        metadata={
            "help": "auto (a GPU if there is one), cpu, cuda, cuda:1, mps",
            "metavar": "DEVICE",
        },
    )
    coarse_search: bool = field(
        default=True, metadata={"help": "run every slice, also far from the liver"}
    )
    probabilities: bool = field(default=False, metadata={"help": "also write probabilities.nii.gz"})
    smallest_lesion_mm: float | None = field(
        default=None,
        metadata={
            "help": "drop tumors that are smaller than a ball of this diameter (default: the"
            " model's)",
            "metavar": "MM",
        },
    )
    sensitivity: int = field(
        default=0,
        metadata={
            "help": "mark more (1, 2, ...) or fewer (-1, -2, ...) tumors than the model as tested;"
            " `info NAME` lists what each step found where it was tuned",
            "metavar": "STEPS",
        },
    )
    tumor_threshold: float | None = field(
        default=None,
        metadata={
            "help": "mark as tumor what has at least this probability, 0.01 to 0.99 (default: the"
            " model's, which was tested)",
            "metavar": "P",
        },
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.sensitivity and self.tumor_threshold is not None:
            raise ValueError("Give a sensitivity or a tumor threshold, not both.")
        if self.model is not None and (not isinstance(self.model, str) or not self.model):
            raise ValueError(
                sentence("model is {model!r}; give a name or a file.", model=self.model)
            )
        if not isinstance(self.device, str) or not self.device:
            raise ValueError(
                sentence(
                    "device is {device!r}; give auto, cpu, cuda or cuda:1.", device=self.device
                )
            )

    def what_counts(self) -> dict[str, Any]:
        """The settings that change the labels, beside the model itself; for a result's record."""
        return {n: v for n, v in self.to_dict().items() if n not in ("model", "device")}


@dataclass(frozen=True, kw_only=True)
class Exports(Options):
    """Further files of a result, beside labels, table, record and picture; none by default."""

    NOUN = "export"

    dicom: bool = field(
        default=False,
        metadata={"help": "also write seg.dcm (DICOM SEG) and sr.dcm (measurements, TID 1500)"},
    )
    seg_nrrd: bool = field(
        default=False, metadata={"help": "also write segmentation.seg.nrrd, a segment a lesion"}
    )
    stl: bool = field(default=False, metadata={"help": "also write surfaces as STL, in LPS mm"})
    obj: bool = field(default=False, metadata={"help": "also write surfaces as OBJ, in LPS mm"})

    def what_counts(self) -> dict[str, Any]:
        """The names of the further files, for a result's record."""
        names = [name for name, is_wanted in self.to_dict().items() if is_wanted]
        return {"exports": names} if names else {}


@dataclass(frozen=True, kw_only=True)
class Where(Options):
    """Where the cases of a batch run: here one after the other, on Ray, or a part of an array."""

    NOUN = "cluster"
    RANGES: ClassVar[Mapping[str, tuple[float, float]]] = {
        "cpus_per_case": (0.1, 1024),
        "gpus_per_case": (0, 64),
    }

    ray: str | None = field(
        default=None,
        metadata={
            "help": "run the cases on Ray: at this address (auto, ray://HOST:10001, HOST:6379), or"
            " without one at RAY_ADDRESS, else on this machine",
            "metavar": "ADDRESS",
            "nargs": "?",
            "const": RAY_HERE,
        },
    )
    cpus_per_case: float = field(
        default=1.0, metadata={"help": "with --ray: processors a case takes", "metavar": "N"}
    )
    gpus_per_case: float = field(
        default=1.0,
        metadata={
            "help": "with --ray: GPUs a case takes where it runs on one; 0.5 lets two share it",
            "metavar": "N",
        },
    )
    array: str | None = field(
        default=None,
        metadata={
            "help": "run the I-th of N parts only, as one task of an array of jobs: 3/20",
            "metavar": "I/N",
        },
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.array is None:
            return
        index, _, count = self.array.partition("/")
        is_part = index.isdecimal() and count.isdecimal() and 1 <= int(index) <= int(count)
        if not is_part:
            raise ValueError(
                sentence(
                    "{array!r} is no part of an array; write I/N with I from 1 to N, as in 3/20.",
                    array=self.array,
                )
            )
        if self.ray is not None:
            raise ValueError("--array and --ray are two ways to share the work; use one of them.")

    def has(self, number: int) -> bool:
        """Whether the case of that number, from 1, belongs to this part."""
        if self.array is None:
            return True
        index, _, count = self.array.partition("/")
        return (number - 1) % int(count) == int(index) - 1


def _option(one: Field[Any]) -> str:
    """--device; of what is done by default, how to leave it: --no-coarse-search."""
    name = one.name.replace("_", "-")
    return f"--no-{name}" if one.default is True else f"--{name}"


def _is_number(value: object, least: float, *, whole: bool) -> bool:
    kinds = int if whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds):
        return False
    return least <= value < inf

"""The one base of settings that model files and result records store: checked, and read back whole.

@dataclass(frozen=True, kw_only=True)
class Postprocessing(Settings):
    NOUN = "postprocessing"
    smallest_lesion_mm: float = 5.0

stored = Postprocessing(smallest_lesion_mm=3.0).to_dict()   # plain JSON values
Postprocessing.from_dict(stored)                            # the same; unknown keys are refused
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from math import inf
from typing import Any, ClassVar, TypeVar

AnySettings = TypeVar("AnySettings", bound="Settings")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """A frozen dataclass of settings, each with a default.

    NOUN: what they are settings of, in sentences. KIND: stored as "kind", where it is not empty.
    RENAMED: the key that an earlier version stored -> the field it is now.
    RANGES: the least and the greatest that a number, or each one of several, may be.
    Every bool must be true or false, and every plain number finite and 0 or more: else
    ``ValueError``. Subclasses check the rest in ``__post_init__``, after the base.
    """

    NOUN: ClassVar[str] = ""
    KIND: ClassVar[str] = ""
    RENAMED: ClassVar[Mapping[str, str]] = {}
    RANGES: ClassVar[Mapping[str, tuple[float, float]]] = {}

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            kinds = str(field.type).split(" | ")
            if value is None and "None" in kinds:
                continue
            if kinds[0] == "bool" and not isinstance(value, bool):
                raise ValueError(f"{field.name} is {value!r}; give true or false.")
            if kinds[0] in ("float", "int") and not _is_number(value, whole=kinds[0] == "int"):
                number = "whole number" if kinds[0] == "int" else "number"
                raise ValueError(f"{field.name} is {value!r}; give a {number} of 0 or more.")
            if field.name in self.RANGES:
                _refuse_outside(field.name, value, *self.RANGES[field.name])

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
            raise ValueError(f"The kind of {cls.NOUN} is {kind!r}, not {cls.KIND!r}.")
        known = {field.name for field in fields(cls)}
        if unknown := sorted(values.keys() - known):
            raise ValueError(
                f"Unknown {cls.NOUN} settings: {', '.join(unknown)}. Known are:"
                f" {', '.join(sorted(known))}."
            )
        return cls(**{n: tuple(v) if isinstance(v, list) else v for n, v in values.items()})


def _refuse_outside(name: str, value: object, least: float, most: float) -> None:
    numbers = value if isinstance(value, tuple | list) else (value,)
    for number in numbers:
        is_one = isinstance(number, int | float) and not isinstance(number, bool)
        if not is_one or not least <= number <= most:
            raise ValueError(f"{name} is {value!r}; give {least:g} to {most:g}.")


def _is_number(value: object, *, whole: bool) -> bool:
    kinds = int if whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds):
        return False
    return 0 <= value < inf

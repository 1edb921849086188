"""Which channels of a network's output are liver and tumor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from LiverTumorSegLib.ct.label_map import LabelNumbers

LIVER_NAMES = {"liver", "liver parenchyma", "hepar"}
TUMOR_NAMES = {
    "tumor", "tumors", "tumour", "tumours", "cancer", "lesion", "lesions", "liver tumor",
    "liver tumors", "liver tumour", "liver tumours", "liver cancer", "liver lesion",
    "liver lesions", "hepatic tumor", "hepatic tumors", "hepatic tumour", "hepatic lesion", "hcc",
}  # fmt: skip
SAY_WHICH = "say which they are, as in --labels liver=1,tumor=2"


@dataclass(frozen=True)
class Channels:
    """Channels of liver and of tumor; count: of all. overlapping: each has its own sigmoid."""

    liver: tuple[int, ...]
    tumor: tuple[int, ...]
    count: int
    overlapping: bool = False


def find_channels(
    names: Mapping[int, str], choice: str | None, *, overlapping: bool = False
) -> Channels:
    """names: of each channel. choice: as ``liver=1,tumor=2``, in channels.

    ``ValueError`` where liver or tumor is not among them.
    """
    listed = ", ".join(f"{name}={number}" for number, name in sorted(names.items()))
    if choice is not None:
        numbers = LabelNumbers.parse(choice)
        liver, tumor = numbers.liver, numbers.tumor
        if unknown := sorted({*liver, *tumor} - names.keys()):
            raise ValueError(f"The network has no label {unknown[0]}; it has: {listed}.")
    else:
        liver, tumor = _named(names, LIVER_NAMES), _named(names, TUMOR_NAMES)
    for organ, found in (("liver", liver), ("tumor", tumor)):
        if not found:
            raise ValueError(
                f"The network's labels are {listed}: none of them is the {organ}. A network must"
                f" find both liver and tumor; {SAY_WHICH}."
            )
    if not overlapping and not names.keys() - {*liver, *tumor}:
        raise ValueError(f"The network's labels are {listed}: none of them is left as background.")
    return Channels(liver, tumor, len(names), overlapping)


def _named(names: Mapping[int, str], known: set[str]) -> tuple[int, ...]:
    return tuple(n for n, name in names.items() if " ".join(_words(name)) in known)


def _words(name: str) -> list[str]:
    return name.lower().replace("_", " ").replace("-", " ").split()

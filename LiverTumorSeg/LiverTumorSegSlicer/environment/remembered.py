"""What this computer remembers from one start of Slicer to the next, in Slicer's own settings.

An installation that waits for a restart, what was repaired in vain, and which licenses were agreed
to. No name of a person or patient is in it.
"""

from __future__ import annotations

from typing import Any

import slicer

GROUP = "LiverTumorSeg"
WAITS, REPAIRED, AGREED = (f"{GROUP}/{name}" for name in ("Waits", "Repaired", "Agreed"))


class Remembered:
    """Each question has its own key; the values are texts."""

    @property
    def installationWaits(self) -> bool:
        """Whether a person agreed to an installation that was to go on after a restart."""
        return _read(WAITS) == "yes"

    @installationWaits.setter
    def installationWaits(self, waits: bool) -> None:
        _write(WAITS, "yes" if waits else "")

    def repaired(self, name: str) -> str:
        """The version of a package that was put in anew because it did not work; empty if none."""
        return _read(f"{REPAIRED}/{name}")

    def noteRepair(self, name: str, version: str) -> None:
        """The empty version: it works, and the next repair is a first one again."""
        _write(f"{REPAIRED}/{name}", version)

    def hasAgreed(self, model: str, license: str) -> bool:
        """Whether a person agreed to this license for this model."""
        return _read(f"{AGREED}/{model}") == license

    def noteAgreement(self, model: str, license: str) -> None:
        _write(f"{AGREED}/{model}", license)


def _read(key: str) -> str:
    value = _settings().value(key)
    return "" if value is None else str(value)


def _write(key: str, value: str) -> None:
    if value:
        _settings().setValue(key, value)
    else:
        _settings().remove(key)


def _settings() -> Any:
    return slicer.app.userSettings()

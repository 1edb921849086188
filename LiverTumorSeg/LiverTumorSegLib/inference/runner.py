"""The interface of a network's runner, and what networks with one runner have in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar


class OnDevice(Protocol):
    """A runner of a network, as in :mod:`network`.

    warnings: what a run had to change; whoever shows them clears them.
    """

    device: str
    warnings: list[str]


RunnerT = TypeVar("RunnerT", bound=OnDevice)


@dataclass
class WithRunner(Generic[RunnerT]):
    """A network over a whole CT: where it runs, and what its runner had to change."""

    runner: RunnerT

    @property
    def device(self) -> str:
        return self.runner.device

    @property
    def warnings(self) -> list[str]:
        return self.runner.warnings

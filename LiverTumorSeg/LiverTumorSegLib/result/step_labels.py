"""What a run leaves for later: its labels at other sensitivities, and where tumor was seen at all.

    steps.labels_kji(labels_kji, +1)       # as a run with that sensitivity would have them
    seen.whole_kji(labels_kji.shape)       # 255 times the probability of tumor

Steps differ in few voxels, and tumor is seen in the liver: only these are kept. numpy and the
standard library only.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class StepLabels:
    """Labels at every step.

    fewest: the first step, 0 or less; the others follow one by one.
    voxels: int64 (n,), flat indices in C order of all voxels that are tumor at any step, or not the
        same at all of them. labels: uint8 (steps, n), theirs.
    records: of each step, JSON-able: ``sensitivity`` as of ``Stop.to_dict``, ``expected`` as of
        ``sentences.key_and_values``, ``decision``, and the rows of its ``lesions``.
    """

    fewest: int
    voxels: NDArray[np.int64]
    labels: Labels
    records: tuple[dict[str, Any], ...]

    @property
    def most(self) -> int:
        """The last step, 0 or more."""
        return self.fewest + len(self.records) - 1

    def at(self, step: int) -> tuple[Labels, dict[str, Any]]:
        """Labels of ``voxels`` at a step, and its record."""
        if not self.fewest <= step <= self.most:
            raise IndexError(f"{step} is not within {self.fewest} to {self.most}.")
        return self.labels[step - self.fewest], self.records[step - self.fewest]

    def labels_kji(self, labels_kji: Labels, step: int) -> Labels:
        """A copy of the labels at one step as they are at another."""
        result = labels_kji.copy()
        result.reshape(-1)[self.voxels] = self.at(step)[0]
        return result

    def save(self, path: Path) -> None:
        """``OSError`` as the disk raises it."""
        header = np.array(json.dumps({"fewest": self.fewest, "steps": self.records}))
        with open(path, "wb") as stream:
            np.savez(stream, header=header, voxels=self.voxels, labels=self.labels)

    @classmethod
    def load(cls, path: Path) -> StepLabels:
        """The inverse of :meth:`save`."""
        with np.load(path, allow_pickle=False) as stored:
            header = json.loads(str(stored["header"]))
            voxels, labels = stored["voxels"], stored["labels"]
        return cls(header["fewest"], voxels, labels, tuple(header["steps"]))


@dataclass(frozen=True, eq=False)
class TumorSeen:
    """255 times the networks' own probability of tumor, before any decision, around the liver.

    first_kji: index in the CT of the first voxel. values: uint8 (k, j, i).
    """

    first_kji: tuple[int, int, int]
    values: NDArray[np.uint8]

    def whole_kji(self, shape_kji: tuple[int, ...]) -> NDArray[np.uint8]:
        """The probabilities on the CT's whole grid, with 0 elsewhere."""
        whole = np.zeros(shape_kji, np.uint8)
        box = (slice(n, n + m) for n, m in zip(self.first_kji, self.values.shape, strict=True))
        whole[tuple(box)] = self.values
        return whole

    def save(self, path: Path) -> None:
        """``OSError`` as the disk raises it."""
        with open(path, "wb") as stream:
            np.savez(stream, first_kji=np.array(self.first_kji), values=self.values)

    @classmethod
    def load(cls, path: Path) -> TumorSeen:
        """The inverse of :meth:`save`."""
        with np.load(path, allow_pickle=False) as stored:
            k, j, i = (int(n) for n in stored["first_kji"])
            return cls((k, j, i), stored["values"])

"""The result of one pass of the networks over a CT, from which labels can be decided repeatedly.

    prediction = network.predict(lps)                           # the networks, once
    for threshold in (0.5, 0.7):                                # without them
        decided = prediction.decide(Decision(tumor_threshold=threshold), Postprocessing())
        decided.labels, decided.tumor_probability

Probabilities stay on the networks' own pixels and are decided on at the CT's, so that outlines have
no steps. Everything is in LPS order; arrays (k, j, i) are those of the CT.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from LiverTumorSegLib.files import whole_file
from LiverTumorSegLib.labels import Label
from LiverTumorSegLib.sentences import sentence
from LiverTumorSegLib.volume import Box

from .decision import Decision
from .grids import SliceGrid, grid_from_dict
from .postprocess import Postprocessing, label_lesions
from .progress import Progress, no_progress, subrange

CLEANING = 0.6  # of a decision's progress: before this each slice, then all of them at once
ROUNDING = 1e-4  # of a share: what is passed over as below a threshold is so at every pixel
HALF = 0.5
LEAST_SUM = np.float32(1e-6)  # of liver and tumor, where a share of them is asked for

Mask = NDArray[np.bool_]
Half = NDArray[np.float16]
Floats = NDArray[np.float32]
Voxels = NDArray[np.int64]
Labels = NDArray[np.uint8]
Spacing = tuple[float, float, float]


class Decided(NamedTuple):
    """Arrays (k, j, i), in LPS order.

    labels: uint8, after all steps. tumor_probability: uint8, 255 times the calibrated probability
    of tumor, 1 to 255, where the label is tumor and 0 elsewhere; None without a calibration.
    """

    labels: Labels
    tumor_probability: Labels | None


class Marks(NamedTuple):
    """What a decision marks, before any step.

    tumor: (k, j, i). outside: flat voxels of lesions that lie outside the liver and are not marked.
    """

    tumor: Mask
    outside: Voxels


@dataclass(frozen=True, eq=False)
class Candidates:
    """Voxels that may be tumor, with what is compared with the threshold.

    shape_kji: of the CT in LPS order. voxels: flat indices (n,) in C order. shares: (n,).
    liver: (n,), probability of liver, tumor included, by the network that looked for the liver;
        None where one network did both, or nobody asked.
    """

    shape_kji: tuple[int, ...]
    voxels: Voxels
    shares: Floats
    liver: Floats | None = None

    def within(self, box: Box) -> Candidates:
        """The same on the part of the CT that a box holds; all of them lie in it."""
        start_kji = np.array([side.start for side in box])
        kji = np.array(np.unravel_index(self.voxels, self.shape_kji)) - start_kji[:, None]
        shape_kji = tuple(side.stop - side.start for side in box)
        return Candidates(
            shape_kji, np.ravel_multi_index(tuple(kji), shape_kji), self.shares, self.liver
        )

    def marks(self, decision: Decision) -> Marks:
        """Where tumor is by a decision, lesion by lesion."""
        tumor = np.zeros(self.shape_kji, np.bool_)
        flat = tumor.reshape(-1)
        above = self.shares > decision.tumor_threshold
        voxels, outside = self.voxels[above], np.zeros(0, np.int64)
        flat[voxels] = True
        asks_liver = self.liver is not None and decision.least_liver_share > 0
        if not (decision.has_seeds or asks_liver):
            return Marks(tumor, outside)
        numbers, count = label_lesions(tumor, voxels)
        stays = np.ones(count + 1, np.bool_)
        if decision.has_seeds:
            stays[:] = False
            stays[numbers[self.shares[above] > decision.seed_threshold]] = True
        if self.liver is not None and asks_liver:
            liver = self.liver[above]
            is_outside = _means(numbers, liver, count) < decision.least_liver_share
            outside = voxels[is_outside[numbers] & (liver < HALF)]
            stays &= ~is_outside
        flat[voxels[~stays[numbers]]] = False
        return Marks(tumor, outside)

    def probability(self, decision: Decision, is_tumor: Mask) -> Labels | None:
        """Where tumor is in the end, its probability as in :class:`Decided`."""
        if decision.calibration is None:
            return None
        probability, held = np.zeros(self.shape_kji, np.uint8), is_tumor.reshape(-1)[self.voxels]
        stored = decision.stored_probability(self.shares[held])
        probability.reshape(-1)[self.voxels[held]] = stored
        return probability


@dataclass(frozen=True, eq=False)
class ClassMaps:
    """Probabilities of a network's classes on its own pixels.

    by_slice: by axial slice float16 (classes without background, J, I); a slice that is not there
        is background. Of two classes the second is tumor.
    """

    grid: SliceGrid
    by_slice: dict[int, Half] = field(default_factory=dict)

    @property
    def has_liver(self) -> bool:
        """Whether liver and tumor are two classes here, of which a voxel is one."""
        return any(len(layers) > 1 for layers in self.by_slice.values())

    def foreground_native(self, k: int) -> Floats:
        """Probability on slice k that a voxel is not background, (j, i)."""
        return self.grid.to_native(self.by_slice[k].astype(np.float32).sum(axis=0))

    def is_foreground_native(self, k: int) -> Mask:
        """Where one of the classes is likelier than background, (j, i)."""
        layers_last = np.ascontiguousarray(self.by_slice[k].astype(np.float32).transpose(1, 2, 0))
        native = self.grid.to_native(layers_last)
        mask: Mask = native.max(axis=2) > 1 - native.sum(axis=2)
        return mask

    def last_native(self, k: int) -> Floats:
        """Probability of the last class on slice k, (j, i)."""
        return self.grid.to_native(self.by_slice[k][-1].astype(np.float32))


@dataclass(frozen=True, eq=False)
class Prediction:
    """What the networks predicted for a CT.

    liver_lps: bool, where there is liver or tumor, whatever is decided.
    tumor_lps: bool, where tumor may be; None for everywhere.
    liver, tumor: of the network that looked for the liver and of the one that looked for tumors;
        the same object where one network did both. Where the latter tells tumor from liver, the
        share p_tumor / (p_liver + p_tumor) is compared with the threshold, and else p_tumor.
    slices_run: axial slices that a network saw. warnings: what had to be changed on the way.
    """

    liver_lps: Mask
    tumor_lps: Mask | None
    liver: ClassMaps
    tumor: ClassMaps
    spacing_kji_mm: Spacing
    slices_run: int
    warnings: tuple[str, ...] = ()

    @classmethod
    def of_one_network(
        cls,
        found_lps: Mask,
        maps: ClassMaps,
        spacing_kji_mm: Spacing,
        *,
        slices_run: int,
        warnings: tuple[str, ...],
    ) -> Prediction:
        """The prediction of one network that finds liver and tumors; found_lps: where either is."""
        return cls(found_lps, found_lps, maps, maps, spacing_kji_mm, slices_run, warnings)

    def decide(
        self,
        decision: Decision,
        postprocessing: Postprocessing,
        progress: Progress = no_progress,
    ) -> Decided:
        """Labels and tumor probability, without running any network.

        progress may raise ``Cancelled`` between two slices.
        """
        candidates = self.candidates(decision, subrange(progress, 0.0, CLEANING))
        progress(CLEANING, "Cleaning up")
        liver = postprocessing.liver(self.liver_lps)
        return self.decide_among(candidates, liver, decision, postprocessing)

    def decide_among(
        self,
        candidates: Candidates,
        liver: Mask,
        decision: Decision,
        postprocessing: Postprocessing,
    ) -> Decided:
        """The same with what does not depend on the thresholds found before.

        candidates: of a decision with the same smoothing and least share of liver, and a threshold
            that is not higher.
        liver: as ``postprocessing.liver`` makes it of ``liver_lps``; overwritten.
        """
        tumor, outside = candidates.marks(decision)
        liver.reshape(-1)[outside] = False
        labels = postprocessing.labels_in(liver, tumor, self.spacing_kji_mm)
        return Decided(labels, candidates.probability(decision, labels == Label.TUMOR))

    def marks(self, decision: Decision) -> Marks:
        """Where tumor is before any step."""
        return self.candidates(decision).marks(decision)

    def candidates(self, decision: Decision, progress: Progress = no_progress) -> Candidates:
        """Each voxel whose share is above the threshold; progress may raise between two slices."""
        slices = self._tumor_slices()
        width = int(np.prod(self.liver_lps.shape[1:]))
        voxels, shares = [np.zeros(0, np.int64)], [np.zeros(0, np.float32)]
        asks_liver = decision.least_liver_share > 0 and self.has_liver_network
        liver = [np.zeros(0, np.float32)]
        for n, (k, sums) in enumerate(self._sums(slices, decision)):
            progress(
                n / len(slices),
                sentence("Deciding on tumors, slice {n} of {count}", n=n + 1, count=len(slices)),
            )
            if not (sums[0] > (decision.tumor_threshold - ROUNDING) * sums[1]).any():
                continue  # nor anywhere between these pixels, for what is between them is linear
            share = self._share_native(sums)
            above = share > decision.tumor_threshold
            if self.tumor_lps is not None:
                above &= self.tumor_lps[k]
            pixels = np.flatnonzero(above)
            voxels.append(k * width + pixels)
            shares.append(share.reshape(-1)[pixels])
            if asks_liver:
                liver.append(self.liver_share(k).reshape(-1)[pixels])
        return Candidates(
            self.liver_lps.shape,
            np.concatenate(voxels),
            np.concatenate(shares),
            np.concatenate(liver) if asks_liver else None,
        )

    @property
    def has_liver_network(self) -> bool:
        """Whether a network of its own has found the liver."""
        return self.liver is not self.tumor

    def liver_share(self, k: int) -> Floats:
        """Probability of liver, tumor included, on slice k by the network that looked for it."""
        if k in self.liver.by_slice:
            return self.liver.foreground_native(k)
        return np.zeros(self.liver_lps.shape[1:], np.float32)

    def shares(self, smoothing_mm: float = 0.0) -> Iterator[tuple[int, Floats]]:
        """Each slice k on which tumor may be, with what is compared with the threshold, (j, i)."""
        for k, sums in self._sums(self._tumor_slices(), Decision(smoothing_mm=smoothing_mm)):
            yield k, self._share_native(sums)

    def probabilities(self) -> Half:
        """Background, liver and tumor, float16 (3, k, j, i), of the networks themselves."""
        result = np.zeros((len(Label), *self.liver_lps.shape), np.float16)
        result[Label.BACKGROUND] = 1
        for k in sorted(self.liver.by_slice.keys() | self.tumor.by_slice.keys()):
            found, tumor = self.liver_share(k), np.zeros(self.liver_lps.shape[1:], np.float32)
            if k in self.tumor.by_slice:
                tumor = self.tumor.last_native(k)
            if not self.has_liver_network:
                result[:, k] = 1 - found, found - tumor, tumor
            else:
                result[:, k] = (1 - tumor) * (1 - found), (1 - tumor) * found, tumor
        return result

    def save(self, path: Path) -> None:
        """Write it whole, for :meth:`load`; it holds none of the CT's own numbers."""
        header = {
            "shape": self.liver_lps.shape,
            "spacing_kji_mm": self.spacing_kji_mm,
            "slices_run": self.slices_run,
            "warnings": [str(warning) for warning in self.warnings],
            "grids": [maps.grid.to_dict() for maps in self._networks],
        }
        arrays: dict[str, Any] = {"liver_lps": np.packbits(self.liver_lps)}
        if self.tumor_lps is not None and self.tumor_lps is not self.liver_lps:
            arrays["tumor_lps"] = np.packbits(self.tumor_lps)
        header["tumor_anywhere"] = self.tumor_lps is None
        for n, maps in enumerate(self._networks):
            arrays[f"slices_{n}"] = np.array(sorted(maps.by_slice), np.int64)
            if maps.by_slice:
                arrays[f"maps_{n}"] = np.stack([maps.by_slice[k] for k in sorted(maps.by_slice)])
        with whole_file(path, durable=False) as part, open(part, "wb") as stream:
            np.savez_compressed(stream, told=np.array(json.dumps(header)), **arrays)

    @classmethod
    def load(cls, path: Path) -> Prediction:
        """The inverse of :meth:`save`."""
        with np.load(path, allow_pickle=False) as stored:
            header = json.loads(str(stored["told"]))
            shape, count = tuple(header["shape"]), int(np.prod(header["shape"]))

            def mask(name: str) -> Mask:
                bits: Mask = np.unpackbits(stored[name], count=count).reshape(shape).view(np.bool_)
                return bits

            networks = [
                ClassMaps(
                    grid_from_dict(grid),
                    _by_slice(stored, n),
                )
                for n, grid in enumerate(header["grids"])
            ]
            liver_lps = mask("liver_lps")
            tumor_lps = mask("tumor_lps") if "tumor_lps" in stored else liver_lps
        k, j, i = header["spacing_kji_mm"]
        return cls(
            liver_lps,
            None if header["tumor_anywhere"] else tumor_lps,
            networks[0],
            networks[-1],
            (k, j, i),
            header["slices_run"],
            tuple(header["warnings"]),
        )

    @property
    def _networks(self) -> list[ClassMaps]:
        return [self.liver, self.tumor] if self.has_liver_network else [self.liver]

    def _tumor_slices(self) -> list[int]:
        """Slices on which tumor may be. Others do not count: a search may have passed them over."""
        seen = sorted(self.tumor.by_slice)
        return [k for k in seen if self.tumor_lps is None or self.tumor_lps[k].any()]

    def _sums(self, slices: list[int], decision: Decision) -> Iterator[tuple[int, Floats]]:
        """Of each slice: k, and float32 (2, J, I) weighted sums of tumor and of what it is a share
        of, over the slices in reach."""
        numbers, wide = np.array(slices), dict[int, Floats]()
        for k in slices:
            weights = decision.weights((numbers - k) * self.spacing_kji_mm[0])
            near = {int(m): w for m, w in zip(numbers, weights, strict=True) if w > 0}
            wide = {m: wide[m] if m in wide else self._tumor_and_whole(m) for m in near}
            sums = np.zeros_like(wide[k])
            for m, weight in near.items():
                sums += weight * wide[m]
            yield k, sums

    def _tumor_and_whole(self, k: int) -> Floats:
        """p_tumor, and p_liver + p_tumor or 1; (2, J, I)."""
        maps = self.tumor.by_slice[k].astype(np.float32)
        has_liver = self.tumor.has_liver
        return np.stack([maps[-1], maps.sum(axis=0) if has_liver else np.ones_like(maps[-1])])

    def _share_native(self, sums: Floats) -> Floats:
        """The quotient of the two sums on the CT's own pixels."""
        if not self.tumor.has_liver:
            return self.tumor.grid.to_native(sums[0] / sums[1])
        layers_last = np.ascontiguousarray(sums.transpose(1, 2, 0))
        tumor, both = np.moveaxis(self.tumor.grid.to_native(layers_last), 2, 0)
        share: Floats = tumor / np.maximum(both, LEAST_SUM)
        return share


def _means(numbers: NDArray[np.int32], values: Floats, count: int) -> NDArray[np.float64]:
    """Means of the values of each lesion, (count + 1,); 0 for number 0, which is none."""
    sums = np.bincount(numbers, weights=values, minlength=count + 1)
    means: NDArray[np.float64] = sums / np.maximum(np.bincount(numbers, minlength=count + 1), 1)
    return means


def _by_slice(stored: Mapping[str, NDArray[Any]], n: int) -> dict[int, Half]:
    """Of the n-th network; each array is read once, as every look into the file unpacks it anew."""
    slices = stored[f"slices_{n}"]
    return dict(zip(slices.tolist(), stored[f"maps_{n}"], strict=True)) if len(slices) else {}

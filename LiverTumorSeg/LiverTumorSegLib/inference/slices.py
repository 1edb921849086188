"""One pass of a slice network over a CT, and what is kept of it to decide on labels afterwards.

    answers = segmenter.answers(ct)                         # the network, once
    for share in (0.5, 0.7):                                # any number of decisions, without it
        labels_lps, certainty_lps = answers.decide(Decision(tumor_threshold=share))

The decision is applied on the network's own grid, a quarter of the CT's pixels, and both sums of
the share are then brought to the CT's pixels and divided there.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from LiverTumorSegLib.labels import Label
from LiverTumorSegLib.sentences import sentence

from .coarse_search import SlicePlan
from .decision import Decision
from .preprocess import SliceGeometry, SlicePreprocessing
from .segmentation import Frame, Labels, Place, Progress, silent

HIT_PROBABILITY = 0.3  # of liver or tumor
HIT_AREA_MM2 = 100.0
LEAST_SUM = np.float32(1e-6)  # of liver and tumor, where a share of them is asked for

Floats = NDArray[np.float32]
Half = NDArray[np.float16]


class Engine(Protocol):
    """What a segmenter needs of a network: see :class:`engine.SliceEngine`.

    notes: what a run had to change, for its warnings; the segmenter clears it after every run.
    """

    device: str
    batch: int
    notes: list[str]

    def __call__(self, grays: NDArray[np.uint8], /) -> Floats: ...


@dataclass(frozen=True, eq=False)
class SliceAnswers:
    """What the network said of a CT; arrays (k, j, i) are those of the CT, or of the part of it
    that was asked for, in LPS order.

    likeliest_lps: uint8, the likeliest class of each voxel: the labels of ``Decision()``.
    maps: by axial slice, of those with liver or tumor in ``likeliest_lps``, float16
        (2, size_px, size_px) p_liver and p_tumor on the network's grid.
    probabilities: float16 (classes, k, j, i) of the network itself, or None.
    notes, slices_run: what the engine had to change, and the slices that the network saw.
    """

    likeliest_lps: Labels
    maps: dict[int, Half]
    preprocessing: SlicePreprocessing
    geometry: SliceGeometry
    spacing_kji_mm: tuple[float, float, float]
    place: Place
    probabilities: Half | None
    notes: tuple[str, ...]
    slices_run: int

    def on_ct(self, labels_lps: Labels) -> Labels:
        """Labels in LPS order, or a certainty, on the whole CT's own grid (k, j, i)."""
        return self.place.on_ct(labels_lps)

    def decide(
        self, decision: Decision, progress: Progress | None = None
    ) -> tuple[Labels, Labels | None]:
        """Labels (k, j, i) before any postprocessing, and the certainty of what is tumor.

        certainty: uint8, 255 times the calibrated probability of tumor, 1 to 255, where the label
            is tumor and 0 elsewhere; None when the decision has no ``calibration``.
        progress may raise ``Cancelled`` between two slices.
        """
        tell = progress or silent
        labels = self.likeliest_lps.copy()
        certainty = None if decision.calibration is None else np.zeros_like(labels)
        if decision == Decision():
            return labels, certainty
        for n, (k, sums, alone) in enumerate(self._sums(decision)):
            tell(
                n / len(self.maps),
                sentence("Deciding on tumors, slice {n} of {count}", n=n + 1, count=len(self.maps)),
            )
            keep = alone and decision.tumor_threshold == Decision.tumor_threshold
            share = self._decide_slice(labels[k], sums, None if keep else decision.tumor_threshold)
            if certainty is not None and share is not None:
                tumor = labels[k] == Label.TUMOR
                certainty[k][tumor] = decision.certainty(share[tumor])
        tell(1.0, "Deciding on tumors")
        return labels, certainty

    def shares(self, smoothing_mm: float = 0.0) -> Iterator[tuple[int, Floats]]:
        """Each slice k that has liver or tumor, with the tumor's share of the two, (j, i), 0 to 1.

        It means something only where ``likeliest_lps`` is not background; tumor is where it is
        above a decision's ``tumor_threshold``. For whoever tries many of these: the work is here.
        """
        for k, sums, _ in self._sums(Decision(smoothing_mm=smoothing_mm)):
            yield k, self._native_share(sums)

    def _decide_slice(self, labels: Labels, sums: Floats, threshold: float | None) -> Floats | None:
        """Relabel one slice, in place; the share of tumor, or None where there is none.

        threshold: None when the likeliest class stays. It was found in the network's own float32,
            which the halves kept here could miss by a voxel or two.
        """
        if threshold is None:
            return self._native_share(sums) if (labels == Label.TUMOR).any() else None
        foreground = labels > 0
        labels[foreground] = Label.LIVER
        if not (sums[0] > threshold * sums[1]).any():
            return None  # nor anywhere between these pixels, for what is between them is linear
        share = self._native_share(sums)
        labels[foreground & (share > threshold)] = Label.TUMOR
        return share

    def _sums(self, decision: Decision) -> Iterator[tuple[int, Floats, bool]]:
        """Of each slice: k, (2, size_px, size_px) weighted sums of p_tumor and of p_liver +
        p_tumor over the slices in reach, and whether it is alone there.

        Slices without liver or tumor do not count: the scan may have passed them over.
        """
        slices, wide = np.array(sorted(self.maps)), dict[int, Floats]()
        for k in slices.tolist():
            weights = decision.weights((slices - k) * self.spacing_kji_mm[0])
            near = {int(m): w for m, w in zip(slices, weights, strict=True) if w > 0}
            wide = {m: wide[m] if m in wide else _tumor_and_both(self.maps[m]) for m in near}
            sums = np.zeros_like(wide[k])
            for m, weight in near.items():
                sums += weight * wide[m]
            yield k, sums, len(near) == 1

    def _native_share(self, sums: Floats) -> Floats:
        """The quotient of the two sums on the CT's own pixels."""
        layers_last = np.ascontiguousarray(sums.transpose(1, 2, 0))
        tumor, both = np.moveaxis(self.preprocessing.undo(layers_last, self.geometry), 2, 0)
        share: Floats = tumor / np.maximum(both, LEAST_SUM)
        return share


def _tumor_and_both(liver_and_tumor: Half) -> Floats:
    liver, tumor = liver_and_tumor.astype(np.float32)
    return np.stack([tumor, liver + tumor])


class SliceRun:
    """The state of one pass of a network over a CT, whose answers it collects."""

    def __init__(
        self,
        engine: Engine,
        preprocessing: SlicePreprocessing,
        frame: Frame,
        tell: Progress,
        *,
        scan: bool,
        keep_probabilities: bool,
    ) -> None:
        self.engine, self.preprocessing, self.tell = engine, preprocessing, tell
        self.place, self.lps = frame.place, frame.lps
        spacing = self.lps.spacing_kji_mm
        self.spacing_ji_mm = spacing[1:]
        count, rows, columns = self.lps.shape_kji
        self.geometry = preprocessing.geometry((rows, columns), self.spacing_ji_mm)
        self.plan = SlicePlan(count, spacing[0], scan=scan)
        self.labels = np.zeros(self.lps.shape_kji, np.uint8)
        self.maps: dict[int, Half] = {}
        self.probabilities: Half | None = None
        if keep_probabilities:
            self.probabilities = np.zeros((len(Label), *self.lps.shape_kji), np.float16)
            self.probabilities[Label.BACKGROUND] = 1
        side_mm = max(rows * self.spacing_ji_mm[0], columns * self.spacing_ji_mm[1])
        self.pixel_mm2 = (side_mm / preprocessing.size_px) ** 2
        self.done = 0

    def answers(self) -> SliceAnswers:
        """Run the network on every slice that needs it."""
        try:
            self._all_slices()
            notes = tuple(self.engine.notes)
        finally:  # cancelled or not, what happened in this run is no news in the next
            self.engine.notes.clear()
        return SliceAnswers(
            likeliest_lps=self.labels,
            maps=self.maps,
            preprocessing=self.preprocessing,
            geometry=self.geometry,
            spacing_kji_mm=self.lps.spacing_kji_mm,
            place=self.place,
            probabilities=self.probabilities,
            notes=notes,
            slices_run=self.done,
        )

    def _all_slices(self) -> None:
        self.tell(0.0, "Looking for the liver")
        with ThreadPoolExecutor(1) as preparer:
            for group in self.plan.groups():
                for chunk, grays in self._prepared(group, preparer):
                    for k, probabilities in zip(chunk, self.engine(grays), strict=True):
                        self._take(k, probabilities)

    def _prepared(
        self, group: list[int], preparer: ThreadPoolExecutor
    ) -> Iterator[tuple[list[int], NDArray[np.uint8]]]:
        """Chunks of preprocessed slices; the next is made while the network works on this one."""
        size = self.engine.batch
        chunks = [group[start : start + size] for start in range(0, len(group), size)]
        upcoming = [preparer.submit(self._prepare, chunk) for chunk in chunks[:1]]
        for n, chunk in enumerate(chunks):
            grays = upcoming.pop().result()
            if n + 1 < len(chunks):
                upcoming.append(preparer.submit(self._prepare, chunks[n + 1]))
            yield chunk, grays

    def _prepare(self, chunk: list[int]) -> NDArray[np.uint8]:
        return np.stack([self.preprocessing(self.lps.hu[k], self.spacing_ji_mm) for k in chunk])

    def _take(self, k: int, probabilities: Floats) -> None:
        """Store one slice's answer (size, size, classes) and report it."""
        foreground = probabilities[..., 1:].max(axis=2)
        likely_mm2 = np.count_nonzero(foreground > HIT_PROBABILITY) * self.pixel_mm2
        if likely_mm2 > 0 or self.probabilities is not None:
            native = self.preprocessing.undo(probabilities, self.geometry)
            self.labels[k] = _argmax(native)
            if self.probabilities is not None:
                self.probabilities[:, k] = np.moveaxis(native, 2, 0)
        found = bool(self.labels[k].any())
        if found:
            layers = (Label.LIVER, Label.TUMOR)
            self.maps[k] = np.stack([probabilities[..., n] for n in layers]).astype(np.float16)
        self.plan.tell(k, hit=bool(likely_mm2 >= HIT_AREA_MM2), empty=not found)
        self.done += 1
        self.tell(self.plan.fraction, self.plan.phrase)


def _argmax(probabilities: Floats) -> Labels:
    """The likeliest class of three, (j, i, 3) to (j, i); a tie goes to the lower number."""
    background, liver, tumor = (probabilities[..., n] for n in range(3))
    labels = (liver > background).astype(np.uint8)
    labels[tumor > np.maximum(background, liver)] = Label.TUMOR
    return labels

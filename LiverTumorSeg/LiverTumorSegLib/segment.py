"""A CT in, labels on the CT's own grid out: the one path of Slicer, command line and evaluation.

    segmenter = load_segmenter("hybrid2d-w32", device="auto")
    result = segmenter.segment(ct, progress=lambda fraction, phrase: None)

The segmenter knows volumes, its engine knows slices; only a real engine imports torch.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .catalog import find_model
from .labels import Label
from .postprocess import Postprocessing
from .preprocess import SliceGeometry, SlicePreprocessing
from .scan import SlicePlan
from .slice_range import SliceRange
from .spec import BundleError, ModelSpec
from .volume import CtVolume

HIT_PROBABILITY = 0.3  # of liver or tumor
HIT_AREA_MM2 = 100.0
WINDOWED_HU = -400  # a CT whose least value is not below this was cut to a window
SATURATED_SHARE = 0.10

Progress = Callable[[float, str], None]
Probabilities = NDArray[np.float32]


class Cancelled(Exception):
    """Raised by a progress callback to stop; nothing is left behind."""


class Engine(Protocol):
    """What a segmenter needs of a network: see :class:`engine.SliceEngine`.

    notes: what a run had to change, for its warnings; the segmenter clears it after every run.
    """

    device: str
    batch: int
    notes: list[str]

    def __call__(self, grays: NDArray[np.uint8]) -> Probabilities: ...


@dataclass(frozen=True, eq=False)
class Segmentation:
    """Labels and how they came about.

    labels_kji: uint8 on the CT's grid. probabilities: float16 (classes, k, j, i), or None.
    slices, slices_run: axial slices there are, and those that the network saw.
    device: where it ended.
    slice_range: first and last axial slice that was asked for, from 0 at the feet; None for all.
    """

    labels_kji: NDArray[np.uint8]
    probabilities: NDArray[np.float16] | None
    device: str
    slices: int
    slices_run: int
    seconds: float
    warnings: tuple[str, ...]
    postprocessing: Postprocessing
    slice_range: tuple[int, int] | None = None

    @property
    def found_liver(self) -> bool:
        return bool(self.labels_kji.any())


@dataclass
class SliceSegmenter:
    """Runs a slice network over a CT (design section 4).

    engine: the network. scan: skip slices that lie clearly outside the liver.
    """

    engine: Engine
    spec: ModelSpec
    preprocessing: SlicePreprocessing
    postprocessing: Postprocessing = field(default_factory=Postprocessing)
    scan: bool = True
    sha256: str | None = None

    def segment(
        self,
        ct: CtVolume,
        progress: Progress | None = None,
        *,
        probabilities: bool = False,
        slices: Sequence[int] | None = None,
    ) -> Segmentation:
        """Labels of ``ct`` on its own grid, in whatever orientation it has.

        progress(fraction 0-1, phrase) is called after every slice and may raise ``Cancelled``.
        slices: first and last axial slice to look at, from 0 at the feet; the others stay
            background. Few slices hold little liver, so the least liver volume does not apply.
        Raises ``ValueError`` when the model cannot be used with these CT numbers, or there are no
        such slices.
        """
        started = time.monotonic()
        tell = progress or _silent
        self._refuse_unlike_training(ct)
        whole, turn = ct.to_lps()
        part = SliceRange.of(slices, whole.shape_kji[0])
        lps, postprocessing = part.cut(whole), self.postprocessing
        if part.note:
            postprocessing = replace(postprocessing, smallest_liver_ml=0.0)
        run = _Run(self, lps, tell, probabilities)
        try:
            run.all_slices()
            notes = tuple(self.engine.notes)
        finally:  # cancelled or not, what happened in this run is no news in the next
            self.engine.notes.clear()
        tell(0.97, "Cleaning up")
        raw = run.labels
        labels = postprocessing(raw, lps.spacing_kji_mm)
        warnings = (*notes, *part.note, *self._saturation_warning(lps, labels))
        tell(1.0, "Done")
        return Segmentation(
            labels_kji=turn.undo(part.paste(labels)),
            probabilities=None
            if run.probabilities is None
            else turn.undo(part.paste_probabilities(run.probabilities)),
            device=self.engine.device,
            slices=part.count,
            slices_run=run.done,
            seconds=time.monotonic() - started,
            warnings=warnings,
            postprocessing=postprocessing,
            slice_range=(part.first, part.last) if part.note else None,
        )

    def _refuse_unlike_training(self, ct: CtVolume) -> None:
        """Per-slice min-max means one thing on raw CT numbers and another on windowed ones."""
        if self.preprocessing.preset != "paper" or self.spec.training_hu_range is None:
            return
        trained_windowed = self.spec.training_hu_range[0] >= WINDOWED_HU
        if trained_windowed != (int(ct.hu.min()) >= WINDOWED_HU):
            raise ValueError(
                "This model scales each slice by its own least and greatest value and was trained"
                f" on {'windowed' if trained_windowed else 'raw'} CT numbers, which this scan does"
                " not have; use a model with the window preset."
            )

    def _saturation_warning(self, lps: CtVolume, labels: NDArray[np.uint8]) -> list[str]:
        if self.preprocessing.preset != "window":
            return []
        liver = labels >= Label.LIVER
        total = int(np.count_nonzero(liver))
        top = self.preprocessing.window_hu[1]
        bright = int(np.count_nonzero(lps.hu[liver] >= top)) if total else 0
        if total == 0 or bright <= SATURATED_SHARE * total:
            return []
        return [
            f"{100 * bright / total:.0f} % of the liver is at or above {top} HU, the top of the"
            " model's window: bright lesions and vessels look alike there, so check it by eye."
        ]


class _Run:
    """The state of one pass over a CT in LPS order."""

    def __init__(
        self, owner: SliceSegmenter, lps: CtVolume, tell: Progress, keep_probabilities: bool
    ) -> None:
        self.owner, self.lps, self.tell = owner, lps, tell
        spacing = lps.spacing_kji_mm
        self.spacing_ji_mm = spacing[1:]
        count, rows, columns = lps.shape_kji
        self.geometry: SliceGeometry = owner.preprocessing.geometry(
            (rows, columns), self.spacing_ji_mm
        )
        self.plan = SlicePlan(count, spacing[0], scan=owner.scan)
        self.labels = np.zeros(lps.shape_kji, np.uint8)
        self.probabilities: NDArray[np.float16] | None = None
        if keep_probabilities:
            self.probabilities = np.zeros((len(Label), *lps.shape_kji), np.float16)
            self.probabilities[Label.BACKGROUND] = 1
        side_mm = max(rows * self.spacing_ji_mm[0], columns * self.spacing_ji_mm[1])
        self.pixel_mm2 = (side_mm / owner.preprocessing.size_px) ** 2
        self.done, self.fraction = 0, 0.0

    def all_slices(self) -> None:
        self.tell(0.0, "Looking for the liver")
        with ThreadPoolExecutor(1) as preparer:
            for group in self.plan.groups():
                for chunk, grays in self._prepared(group, preparer):
                    for k, probabilities in zip(chunk, self.owner.engine(grays), strict=True):
                        self._take(k, probabilities)

    def _prepared(
        self, group: list[int], preparer: ThreadPoolExecutor
    ) -> Iterator[tuple[list[int], NDArray[np.uint8]]]:
        """Chunks of preprocessed slices; the next is made while the network works on this one."""
        size = self.owner.engine.batch
        chunks = [group[start : start + size] for start in range(0, len(group), size)]
        upcoming = [preparer.submit(self._prepare, chunk) for chunk in chunks[:1]]
        for n, chunk in enumerate(chunks):
            grays = upcoming.pop().result()
            if n + 1 < len(chunks):
                upcoming.append(preparer.submit(self._prepare, chunks[n + 1]))
            yield chunk, grays

    def _prepare(self, chunk: list[int]) -> NDArray[np.uint8]:
        preprocess = self.owner.preprocessing
        return np.stack([preprocess(self.lps.hu[k], self.spacing_ji_mm) for k in chunk])

    def _take(self, k: int, probabilities: Probabilities) -> None:
        """Store one slice's answer (size, size, classes) and report it."""
        foreground = probabilities[..., 1:].max(axis=2)
        likely_mm2 = np.count_nonzero(foreground > HIT_PROBABILITY) * self.pixel_mm2
        if likely_mm2 > 0 or self.probabilities is not None:
            native = self.owner.preprocessing.undo(probabilities, self.geometry)
            self.labels[k] = _argmax(native)
            if self.probabilities is not None:
                self.probabilities[:, k] = np.moveaxis(native, 2, 0)
        self.plan.tell(k, hit=bool(likely_mm2 >= HIT_AREA_MM2), empty=not self.labels[k].any())
        self.done += 1
        self.fraction = max(self.fraction, 0.97 * min(1.0, self.done / self.plan.expected))
        self.tell(self.fraction, f"Slice {self.done} of about {self.plan.expected}")


def _argmax(probabilities: Probabilities) -> NDArray[np.uint8]:
    """The likeliest class of three, (j, i, 3) to (j, i); a tie goes to the lower number."""
    background, liver, tumor = (probabilities[..., n] for n in range(3))
    labels = (liver > background).astype(np.uint8)
    labels[tumor > np.maximum(background, liver)] = Label.TUMOR
    return labels


def _silent(fraction: float, phrase: str) -> None:
    """The progress of a caller that does not ask for it."""


def load_segmenter(
    model: str | Path | None = None,
    device: str = "auto",
    *,
    folder: Path | None = None,
    scan: bool = True,
    postprocessing: Postprocessing | None = None,
    smallest_lesion_mm: float | None = None,
) -> SliceSegmenter:
    """The segmenter of a catalog name, a model file, or (None) the shipped default.

    smallest_lesion_mm: in place of the postprocessing's own.
    Raises ``ValueError`` for an unknown name or device and ``BundleError`` for a broken file.
    """
    entry = find_model(None if model is None else str(model), folder)
    if len(entry.files) != 1:
        raise BundleError(f"{entry.name} has {len(entry.files)} files; this version runs one.")
    file = entry.files[0]
    segmenter = _load_slices(file.path, file.sha256, device, scan, postprocessing)
    if smallest_lesion_mm is not None:
        segmenter.postprocessing = replace(
            segmenter.postprocessing, smallest_lesion_mm=smallest_lesion_mm
        )
    return segmenter


def _load_slices(
    path: Path, sha256: str | None, device: str, scan: bool, chosen: Postprocessing | None
) -> SliceSegmenter:
    from .bundle import ModelBundle
    from .engine import SliceEngine

    bundle = ModelBundle.load(path, sha256=sha256)
    preprocessing, stored = _read_steps(bundle.spec)
    return SliceSegmenter(
        engine=SliceEngine(bundle.build_net(), device),
        spec=bundle.spec,
        preprocessing=preprocessing,
        postprocessing=chosen or stored,
        scan=scan,
        sha256=bundle.sha256,
    )


def _read_steps(spec: ModelSpec) -> tuple[SlicePreprocessing, Postprocessing]:
    """What a model file says is done before and after its network."""
    known = {label.name.lower(): int(label) for label in Label}
    if spec.labels != known:
        raise BundleError(f"The model's classes are {spec.labels}, not {known}; use another model.")
    try:
        return (
            SlicePreprocessing.from_dict(spec.preprocessing),
            Postprocessing.from_dict(spec.postprocessing),
        )
    except (ValueError, TypeError) as error:
        raise BundleError(f"{error} The model file needs a newer LiverTumorSeg.") from error


def describe(segmenter: SliceSegmenter) -> dict[str, Any]:
    """The model and its steps, JSON-able, for the result's own record."""
    return {
        "model": segmenter.spec.name,
        "version": segmenter.spec.version,
        "sha256": segmenter.sha256,
        "preprocessing": segmenter.preprocessing.to_dict(),
        "postprocessing": segmenter.postprocessing.to_dict(),
    }

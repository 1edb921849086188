"""A CT in, labels on the CT's own grid out: the one path of Slicer, command line and evaluation.

    segmenter = load_segmenter("hybrid2d-w32", device="auto")
    result = segmenter.segment(ct, progress=lambda fraction, phrase: None)

The segmenter knows volumes, its engine knows slices; only a real engine imports torch. A model of
two files is run by ``cascade``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .cascade import CascadeSegmenter, load_cascade
from .catalog import find_model
from .labels import Label
from .postprocess import Postprocessing
from .preprocess import SliceGeometry, SlicePreprocessing
from .scan import SlicePlan
from .segmentation import (
    WINDOWED_HU,
    Cancelled,
    Frame,
    Progress,
    Segmentation,
    Segmenter,
    Steps,
    saturation_warning,
    silent,
)
from .spec import BundleError, ModelSpec, stage_of
from .volume import CtVolume

__all__ = [
    "Cancelled",
    "CascadeSegmenter",
    "Progress",
    "Segmentation",
    "Segmenter",
    "SliceSegmenter",
    "describe",
    "load_segmenter",
]

HIT_PROBABILITY = 0.3  # of liver or tumor
HIT_AREA_MM2 = 100.0

Probabilities = NDArray[np.float32]


class Engine(Protocol):
    """What a segmenter needs of a network: see :class:`engine.SliceEngine`.

    notes: what a run had to change, for its warnings; the segmenter clears it after every run.
    """

    device: str
    batch: int
    notes: list[str]

    def __call__(self, grays: NDArray[np.uint8], /) -> Probabilities: ...


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
        """See :meth:`segmentation.Segmenter.segment`; progress is told after every slice."""
        tell = progress or silent
        self._refuse_unlike_training(ct)
        frame, postprocessing = Frame(ct, slices), self.postprocessing
        lps, note = frame.lps, frame.part.note
        if note:
            postprocessing = replace(postprocessing, smallest_liver_ml=0.0)
        run = _Run(self, lps, tell, probabilities)
        try:
            run.all_slices()
            notes = tuple(self.engine.notes)
        finally:  # cancelled or not, what happened in this run is no news in the next
            self.engine.notes.clear()
        tell(0.97, "Cleaning up")
        labels = postprocessing(run.labels, lps.spacing_kji_mm)
        bright = self._saturation_warning(lps, labels)
        tell(1.0, "Done")
        return frame.result(
            labels,
            run.probabilities,
            device=self.device,
            slices_run=run.done,
            warnings=(*notes, *note, *bright),
            postprocessing=postprocessing,
        )

    @property
    def device(self) -> str:
        """Where the network is now."""
        return self.engine.device

    def set_smallest_lesion(self, diameter_mm: float) -> None:
        """From now on drop smaller lesions, in place of the postprocessing's own."""
        self.postprocessing = replace(self.postprocessing, smallest_lesion_mm=diameter_mm)

    def describe(self) -> dict[str, Any]:
        """The model and its steps, JSON-able, for the result's own record."""
        return {
            "model": self.spec.name,
            "version": self.spec.version,
            "sha256": self.sha256,
            "preprocessing": self.preprocessing.to_dict(),
            "postprocessing": self.postprocessing.to_dict(),
        }

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
        return saturation_warning(lps.hu, labels, self.preprocessing.window_hu[1])


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


def load_segmenter(
    model: str | Path | Sequence[str | Path] | None = None,
    device: str = "auto",
    *,
    folder: Path | None = None,
    scan: bool = True,
    postprocessing: Steps | None = None,
    smallest_lesion_mm: float | None = None,
    mirror: bool = False,
) -> SliceSegmenter | CascadeSegmenter:
    """The segmenter of a catalog name, a model file, a cascade's two, or (None) the default.

    scan: skip slices that lie clearly outside the liver; a cascade's liver network sees them all.
    postprocessing: in place of the model's own, and of its kind.
    smallest_lesion_mm: in place of the postprocessing's own.
    mirror: a cascade's windows are seen in all eight mirrored copies and the answers averaged, as
        published; it takes eight times as long.
    Raises ``ValueError`` for an unknown name or device and ``BundleError`` for a broken file.
    """
    entry = find_model(model, folder)
    segmenter: SliceSegmenter | CascadeSegmenter
    if len(entry.files) > 1:
        segmenter = load_cascade(entry, device, postprocessing, mirror=mirror)
    elif mirror:
        raise ValueError(f"{entry.name} is no cascade; only a cascade averages mirrored copies.")
    else:
        file = entry.files[0]
        segmenter = _load_slices(file.path, file.sha256, device, scan, postprocessing)
    if smallest_lesion_mm is not None:
        segmenter.set_smallest_lesion(smallest_lesion_mm)
    return segmenter


def _load_slices(
    path: Path, sha256: str | None, device: str, scan: bool, chosen: Steps | None
) -> SliceSegmenter:
    from .bundle import ModelBundle
    from .engine import SliceEngine

    bundle = ModelBundle.load(path, sha256=sha256)
    preprocessing, stored = _read_steps(bundle.spec)
    if not isinstance(chosen, Postprocessing | None):
        raise ValueError(f"{bundle.spec.name} is no cascade: a cascade's steps do not fit it.")
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
    if stage := stage_of(spec):
        raise BundleError(
            f"{spec.name} is the {stage} network of a cascade; give both of its files, that of the"
            " liver and that of the tumor."
        )
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


def describe(segmenter: Segmenter) -> dict[str, Any]:
    """The model and its steps, JSON-able, for the result's own record."""
    return segmenter.describe()

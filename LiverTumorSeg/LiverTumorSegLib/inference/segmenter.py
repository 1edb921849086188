"""A CT in, labels on the CT's own grid out: the one path of Slicer, command line and evaluation.

    segmenter = load_segmenter("hybrid2d-w32", device="auto")
    result = segmenter.segment(ct, progress=lambda fraction, phrase: None)

The segmenter knows volumes, its engine knows slices; only a real engine imports torch. A model of
two files is run by ``cascade``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from LiverTumorSegLib.labels import Label
from LiverTumorSegLib.model.catalog import ModelFile, find_model
from LiverTumorSegLib.model.spec import BundleError, ModelSpec, stage_of
from LiverTumorSegLib.volume import CtVolume

from .cascade import CascadeSegmenter, load_cascade
from .decision import Decision
from .postprocess import Postprocessing
from .preprocess import SlicePreprocessing
from .segmentation import (
    WINDOWED_HU,
    Cancelled,
    Frame,
    Progress,
    Segmentation,
    Segmenter,
    part_of,
    saturation_warning,
    silent,
)
from .slices import Engine, SliceAnswers, SliceRun

__all__ = [
    "Cancelled",
    "CascadeSegmenter",
    "Progress",
    "Segmentation",
    "Segmenter",
    "SliceAnswers",
    "SliceSegmenter",
    "describe",
    "load_segmenter",
]

NETWORK_DONE, DECIDED = 0.95, 0.97  # of a run's progress


@dataclass
class SliceSegmenter:
    """Runs a slice network over a CT (design section 4).

    engine: the network. scan: skip slices that lie clearly outside the liver.
    decision: from the network's probabilities to labels.
    """

    engine: Engine
    spec: ModelSpec
    preprocessing: SlicePreprocessing
    postprocessing: Postprocessing = field(default_factory=Postprocessing)
    scan: bool = True
    sha256: str | None = None
    decision: Decision = field(default_factory=Decision)

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
        frame, postprocessing = self._frame(ct, slices), self.postprocessing
        lps, note = frame.lps, frame.part.note
        if note:
            postprocessing = replace(postprocessing, smallest_liver_ml=0.0)
        answers = self._answers(frame, part_of(tell, 0.0, NETWORK_DONE), probabilities)
        decided, certainty = answers.decide(self.decision, part_of(tell, NETWORK_DONE, DECIDED))
        tell(DECIDED, "Cleaning up")
        labels = postprocessing(decided, lps.spacing_kji_mm)
        if certainty is not None:
            certainty[labels != Label.TUMOR] = 0
        bright = self._saturation_warning(lps, labels)
        tell(1.0, "Done")
        return frame.result(
            labels,
            answers.probabilities,
            device=self.device,
            slices_run=answers.slices_run,
            warnings=(*answers.notes, *note, *bright),
            postprocessing=postprocessing,
            certainty=certainty,
        )

    def answers(
        self,
        ct: CtVolume,
        progress: Progress | None = None,
        *,
        probabilities: bool = False,
        slices: Sequence[int] | None = None,
    ) -> SliceAnswers:
        """What the network says of a CT, to be decided on later; arguments as of :meth:`segment`.

        It holds none of the CT's own numbers.
        """
        return self._answers(self._frame(ct, slices), progress or silent, probabilities)

    def _frame(self, ct: CtVolume, slices: Sequence[int] | None) -> Frame:
        self._refuse_unlike_training(ct)
        return Frame(ct, slices)

    def _answers(self, frame: Frame, tell: Progress, probabilities: bool) -> SliceAnswers:
        run = SliceRun(
            self.engine,
            self.preprocessing,
            frame,
            tell,
            scan=self.scan,
            keep_probabilities=probabilities,
        )
        return run.answers()

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
            "decision": self.decision.to_dict(),
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


def load_segmenter(
    model: str | Path | Sequence[str | Path] | None = None,
    device: str = "auto",
    *,
    folder: Path | None = None,
    scan: bool = True,
    postprocessing: Postprocessing | None = None,
    smallest_lesion_mm: float | None = None,
    mirror: bool = False,
) -> SliceSegmenter | CascadeSegmenter:
    """The segmenter of a catalog name, a model file, a cascade's two, or (None) the default.

    scan: skip slices that lie clearly outside the liver; a cascade's liver network sees them all.
    postprocessing: in place of the model's own.
    smallest_lesion_mm: in place of the postprocessing's own.
    mirror: average with the answers to mirrored copies. A slice model sees each slice and its
        left-right mirror image, in twice the time; a cascade each window in all eight copies, as
        published, in eight times.
    Raises ``ValueError`` for an unknown name or device and ``BundleError`` for a broken file.
    """
    entry = find_model(model, folder)
    segmenter: SliceSegmenter | CascadeSegmenter
    if len(entry.files) > 1:
        segmenter = load_cascade(entry, device, postprocessing, mirror=mirror)
    else:
        segmenter = _load_slices(entry.files[0], device, postprocessing, scan=scan, mirror=mirror)
    if smallest_lesion_mm is not None:
        segmenter.set_smallest_lesion(smallest_lesion_mm)
    return segmenter


def _load_slices(
    file: ModelFile, device: str, chosen: Postprocessing | None, *, scan: bool, mirror: bool
) -> SliceSegmenter:
    from LiverTumorSegLib.model.file import ModelBundle

    from .network import SliceEngine

    bundle = ModelBundle.load(file.path, sha256=file.sha256)
    preprocessing, decision, stored = _read_steps(bundle.spec)
    return SliceSegmenter(
        engine=SliceEngine(bundle.build_net(), device, mirror=mirror),
        spec=bundle.spec,
        preprocessing=preprocessing,
        postprocessing=chosen or stored,
        scan=scan,
        sha256=bundle.sha256,
        decision=decision,
    )


def _read_steps(spec: ModelSpec) -> tuple[SlicePreprocessing, Decision, Postprocessing]:
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
            Decision.from_dict(spec.decision),
            Postprocessing.from_dict(spec.postprocessing),
        )
    except (ValueError, TypeError) as error:
        raise BundleError(f"{error} The model file needs a newer LiverTumorSeg.") from error


def describe(segmenter: Segmenter) -> dict[str, Any]:
    """The model and its steps, JSON-able, for the result's own record."""
    return segmenter.describe()

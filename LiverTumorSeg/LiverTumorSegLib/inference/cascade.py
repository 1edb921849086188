"""Two patch networks one after the other: the liver in the whole CT, then the tumors in the liver.

    segmenter = load_cascade(find_model(["liver.safetensors", "tumor.safetensors"]), "auto")
    result = segmenter.segment(ct, progress=lambda fraction, phrase: None)

As in G-UNETR++ (Shin et al. 2026): both networks work on slices of 256 x 256 pixels, the second one
on the liver that the first one has found and nothing else. Each may have been trained on another
grid: a small liver network needs a wide view, and a tumor network fine pixels. Their answers are
brought back to the CT's own grid as probabilities and decided there: outlines have no steps.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from LiverTumorSegLib.labels import Label
from LiverTumorSegLib.model.catalog import ModelEntry, ModelFile
from LiverTumorSegLib.model.spec import STAGES, BundleError, ModelSpec, stage_of
from LiverTumorSegLib.volume import CtVolume

from .decision import Decision
from .postprocess import Postprocessing
from .prediction import HALF, CascadeAnswers
from .preprocess_volume import VolumePreprocessing, on_grid
from .segmentation import (
    WINDOWED_HU,
    Frame,
    Labels,
    Progress,
    Segmentation,
    part_of,
    saturation_warning,
    silent,
)
from .sliding_window import PatchPredictor, SlidingWindow

MIRROR_AXES = (0, 1, 2)
NETWORKS_DONE = 0.92  # of a run's progress
TUMOR_PART = 0.5  # of the CT, about, that the tumor network sees: the liver and what is around it

Mask = NDArray[np.bool_]
Half = NDArray[np.float16]
T = TypeVar("T")


class PatchNet(PatchPredictor, Protocol):
    """What a stage needs of its network: see :class:`patch_engine.PatchEngine`.

    It answers patches (B, channels, k, j, i) with the probability of its class (B, 1, k, j, i).
    """

    device: str
    notes: list[str]


@dataclass(frozen=True, eq=False)
class Stage:
    """One of the two networks, and how a volume is brought before it."""

    engine: PatchNet
    spec: ModelSpec
    preprocessing: VolumePreprocessing
    window: SlidingWindow
    sha256: str | None = None

    def probability(self, channels: Half, tell: Progress, where: Mask | None = None) -> Half:
        """Of the stage's class in each voxel; (channels, k, j, i) to (k, j, i).

        where: the voxels that it is wanted in; elsewhere it may be 0.
        """
        result = np.zeros(channels.shape[1:], np.float16)
        for first, slab in self.window.slabs(channels, self.engine, tell, where=where):
            result[first : first + slab.shape[1]] = slab[0]
        return result


@dataclass
class CascadeSegmenter:
    """Runs a liver and a tumor network over a CT; a ``segmentation.Segmenter``.

    spec: of both as one model, see :func:`joint_spec`.
    decision: above which answer of the tumor network a voxel is tumor, and how sure that is.
    """

    liver: Stage
    tumor: Stage
    spec: ModelSpec
    postprocessing: Postprocessing
    decision: Decision = field(default_factory=Decision)

    def __post_init__(self) -> None:
        if self.liver.preprocessing.needs_liver or not self.tumor.preprocessing.needs_liver:
            raise BundleError("The liver network must see all and the tumor network the liver.")
        if self.decision.smoothing_mm > 0:
            raise BundleError(
                "A cascade's tumor network sees neighboring slices itself: its decision has no"
                f" smoothing_mm, and here it is {self.decision.smoothing_mm:g}; use another model."
            )

    def segment(
        self,
        ct: CtVolume,
        progress: Progress | None = None,
        *,
        probabilities: bool = False,
        slices: Sequence[int] | None = None,
    ) -> Segmentation:
        """See :meth:`segmentation.Segmenter.segment`; progress is told after every window.

        The probabilities are the networks' own, before any step: the tumor network's p, and of what
        is left the liver network's p and 1 - p. A voxel is tumor where p is over the decision's
        share, which is not always the largest of the three.
        """
        tell = progress or silent
        frame = Frame(ct, slices)
        lps, note, steps = frame.lps, frame.part.note, self._steps(frame)
        answers = self._answers(frame, steps, part_of(tell, 0.0, NETWORKS_DONE))
        labels, certainty, kept = answers.decide(
            self.decision,
            steps,
            part_of(tell, NETWORKS_DONE, 1.0),
            keep_probabilities=probabilities,
        )
        warnings = (*answers.notes, *note, *self._window_warnings(lps, labels))
        tell(1.0, "Done")
        return frame.result(
            labels,
            kept,
            device=self.device,
            slices_run=len(lps.hu),
            warnings=warnings,
            postprocessing=steps,
            certainty=certainty,
        )

    def answers(
        self,
        ct: CtVolume,
        progress: Progress | None = None,
        *,
        slices: Sequence[int] | None = None,
    ) -> CascadeAnswers:
        """What both networks say of a CT, to be decided on later; arguments as of :meth:`segment`.

        It holds none of the CT's own numbers.
        """
        frame = Frame(ct, slices)
        return self._answers(frame, self._steps(frame), progress or silent)

    def _steps(self, frame: Frame) -> Postprocessing:
        """A few slices may hold little liver."""
        steps = self.postprocessing
        return replace(steps, smallest_liver_ml=0.0) if frame.part.note else steps

    def _answers(self, frame: Frame, steps: Postprocessing, tell: Progress) -> CascadeAnswers:
        """Both, one after the other; without a liver there is nothing to look for tumors in."""
        lps, liver, tumor = frame.lps, self.liver.preprocessing, self.tumor.preprocessing
        liver_done = liver.size_px**2 / (liver.size_px**2 + TUMOR_PART * tumor.size_px**2)
        try:
            tell(0.0, "Preparing the CT")
            image = liver(lps.hu, lps.spacing_kji_mm)
            told = _part(tell, 0.0, liver_done, "Liver")
            of_liver = self.liver.probability(liver.channels(image), told)
            found = steps.liver(of_liver > HALF)
            voxel_mm = liver.grid_spacing_kji_mm(lps.spacing_kji_mm, lps.shape_kji)
            liver_ml = int(np.count_nonzero(found)) * prod(voxel_mm) / 1000
            found = on_grid(found, tumor.size_px)
            of_tumor = np.zeros(found.shape, np.float16)
            if found.any() and liver_ml >= steps.smallest_liver_ml:
                tell(liver_done, "Preparing the liver")
                if _sees(self.tumor) != _sees(self.liver):
                    image = tumor(lps.hu, lps.spacing_kji_mm)
                region = tumor.liver_region(found, lps.spacing_kji_mm, lps.shape_kji)
                channels = tumor.channels(image, region)
                del image  # 40 MB of 300 slices, as each of these arrays
                told = _part(tell, liver_done, 1.0, "Tumor")
                of_tumor = self.tumor.probability(channels, told, where=region)
                of_tumor[~region] = 0
            notes = dict.fromkeys([*self.liver.engine.notes, *self.tumor.engine.notes])
        finally:  # cancelled or not, what happened in this run is no news in the next
            self.liver.engine.notes.clear()
            self.tumor.engine.notes.clear()
        return CascadeAnswers(
            of_liver,
            of_tumor,
            liver,
            tumor,
            lps.shape_kji,
            lps.spacing_kji_mm,
            frame.place,
            tuple(notes),
        )

    @property
    def preprocessing(self) -> VolumePreprocessing:
        """The tumor network's."""
        return self.tumor.preprocessing

    @property
    def device(self) -> str:
        """Where the networks are; the CPU if one of them had to go there."""
        devices = self.liver.engine.device, self.tumor.engine.device
        return "cpu" if "cpu" in devices else devices[1]

    @property
    def sha256(self) -> str | None:
        """One for both files: of their two SHA-256 in hexadecimal digits, the liver's first."""
        hashes = self.liver.sha256, self.tumor.sha256
        if None in hashes:
            return None
        return hashlib.sha256("".join(map(str, hashes)).encode()).hexdigest()

    def set_smallest_lesion(self, diameter_mm: float) -> None:
        """From now on drop smaller lesions, in place of the postprocessing's own."""
        self.postprocessing = replace(self.postprocessing, smallest_lesion_mm=diameter_mm)

    def describe(self) -> dict[str, Any]:
        """The model and its steps, JSON-able, for the result's own record."""
        stages = {"liver": self.liver, "tumor": self.tumor}
        return {
            "model": self.spec.name,
            "version": self.spec.version,
            "sha256": self.sha256,
            "stages": {
                name: {
                    "model": stage.spec.name,
                    "version": stage.spec.version,
                    "sha256": stage.sha256,
                    "preprocessing": stage.preprocessing.to_dict(),
                }
                for name, stage in stages.items()
            },
            "decision": self.decision.to_dict(),
            "postprocessing": self.postprocessing.to_dict(),
        }

    def _window_warnings(self, lps: CtVolume, labels: Labels) -> list[str]:
        low, high = self.preprocessing.window_hu
        warnings = saturation_warning(lps.hu, labels, high)
        trained, least = self.spec.training_hu_range, int(lps.hu.min())
        if trained is not None and trained[0] < WINDOWED_HU <= least and low < least:
            warnings.append(
                f"This scan holds nothing below {least} HU, and the model has learned from CTs that"
                f" do, down to {low} HU: use a model with a narrower window, or a CT that was not"
                " cut."
            )
        return warnings


def _sees(stage: Stage) -> tuple[tuple[int, int], int]:
    """What an image for the stage depends on."""
    return stage.preprocessing.window_hu, stage.preprocessing.size_px


def _part(tell: Progress, start: float, end: float, name: str) -> Progress:
    """A stage's own progress as a part of the whole."""

    whole = part_of(tell, start, end)
    return lambda fraction, phrase: whole(fraction, f"{name}: {phrase[0].lower()}{phrase[1:]}")


def joint_spec(name: str, version: str, liver: ModelSpec, tumor: ModelSpec) -> ModelSpec:
    """What two files say together: the tumor's words, the training cases of both.

    A case that either network has seen is no test for the pair. The split counts as one by volume,
    which evaluation lets pass with a warning, only if it is that for both.
    """
    told, groups = tumor.provenance, {s.provenance.get("split_group_by") for s in (liver, tumor)}
    lists = {
        key: sorted({str(n) for s in (liver, tumor) for n in s.provenance.get(key, [])})
        for key in ("train", "train_groups", "val")
    }
    ranges = [s.training_hu_range for s in (liver, tumor) if s.training_hu_range is not None]
    lows, highs = [low for low, _ in ranges], [high for _, high in ranges]
    by_volume = groups == {"volume"}
    return replace(
        tumor,
        name=name,
        version=version,
        labels={label.name.lower(): int(label) for label in Label},
        training_hu_range=(min(lows), max(highs)) if ranges else None,
        provenance={**told, **lists, "split_group_by": "volume" if by_volume else "patient"},
    )


def load_cascade(
    entry: ModelEntry, device: str, chosen: Postprocessing | None = None, *, mirror: bool = False
) -> CascadeSegmenter:
    """The segmenter of a catalog entry with two files, liver first.

    chosen: steps in place of those in the tumor's file. mirror: see ``segment.load_segmenter``.
    ``BundleError`` for files that do not make a cascade, ``ValueError`` for a device that is not
    there.
    """
    if len(entry.files) != len(STAGES):
        raise BundleError(f"{entry.name} has {len(entry.files)} files; a cascade has two.")
    mirror_axes = MIRROR_AXES if mirror else ()
    liver, tumor = (
        _load_stage(stage, file, device, mirror_axes)
        for stage, file in zip(STAGES, entry.files, strict=True)
    )
    stored = _understood(Postprocessing.from_dict, tumor.spec.postprocessing)
    decision = _understood(Decision.from_dict, tumor.spec.decision)
    spec = joint_spec(entry.name, entry.version, liver.spec, tumor.spec)
    return CascadeSegmenter(liver, tumor, spec, chosen or stored, decision)


def _load_stage(stage: str, file: ModelFile, device: str, mirror_axes: tuple[int, ...]) -> Stage:
    from LiverTumorSegLib.model.file import ModelBundle

    from .patch_network import PatchEngine

    bundle = ModelBundle.load(file.path, sha256=file.sha256)
    spec = bundle.spec
    if stage_of(spec) != stage:
        raise BundleError(f"{file.path.name} is not the {stage} network of a cascade.")
    net: Any = bundle.build_net()
    if not hasattr(net, "patch_kji"):
        raise BundleError(f"The net {spec.net!r} takes no patches; use another model.")
    if spec.decision and stage == "liver":
        raise BundleError(f"{file.path.name} decides on tumors, which its mate does; use another.")
    return Stage(
        engine=PatchEngine(net, device),
        spec=spec,
        preprocessing=_understood(VolumePreprocessing.from_dict, spec.preprocessing),
        window=SlidingWindow(patch_kji=net.patch_kji, mirror_axes=mirror_axes),
        sha256=bundle.sha256,
    )


def _understood(read: Callable[[dict[str, Any]], T], stored: dict[str, Any]) -> T:
    try:
        return read(stored)
    except (ValueError, TypeError) as error:
        raise BundleError(f"{error} The model file needs a newer LiverTumorSeg.") from error

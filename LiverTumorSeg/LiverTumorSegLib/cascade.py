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
from dataclasses import dataclass, replace
from math import prod
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from .catalog import ModelEntry, ModelFile
from .labels import Label
from .postprocess_cascade import CascadePostprocessing
from .preprocess_volume import VolumePreprocessing, on_grid
from .segmentation import (
    WINDOWED_HU,
    Frame,
    Labels,
    Progress,
    Segmentation,
    Steps,
    part_of,
    saturation_warning,
    silent,
)
from .sliding_window import PatchPredictor, SlidingWindow
from .spec import STAGES, BundleError, ModelSpec, stage_of
from .volume import CtVolume

MIRROR_AXES = (0, 1, 2)
HALF = 0.5  # a class is marked where it is likelier than not
# of the progress: the liver network sees the whole CT, the tumor network the liver's part of it
LIVER_DONE, TUMOR_DONE, NATIVE_DONE = 0.6, 0.92, 0.97

Mask = NDArray[np.bool_]
Half = NDArray[np.float16]
Floats = NDArray[np.float32]
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
    """

    liver: Stage
    tumor: Stage
    spec: ModelSpec
    postprocessing: CascadePostprocessing

    def __post_init__(self) -> None:
        if self.liver.preprocessing.needs_liver or not self.tumor.preprocessing.needs_liver:
            raise BundleError("The liver network must see all and the tumor network the liver.")

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
        is left the liver network's p and 1 - p. A voxel is tumor where p is over a half, which is
        not always the largest of the three.
        """
        tell = progress or silent
        frame, steps = Frame(ct, slices), self.postprocessing
        lps, note = frame.lps, frame.part.note
        if note:
            steps = replace(steps, smallest_liver_ml=0.0)
        run = _Run(self, lps, steps, tell)
        try:
            run.networks()
            notes = dict.fromkeys([*self.liver.engine.notes, *self.tumor.engine.notes])
        finally:  # cancelled or not, what happened in this run is no news in the next
            self.liver.engine.notes.clear()
            self.tumor.engine.notes.clear()
        labels, kept = run.native(keep_probabilities=probabilities)
        warnings = (*notes, *note, *self._window_warnings(lps, labels))
        tell(1.0, "Done")
        return frame.result(
            labels,
            kept,
            device=self.device,
            slices_run=len(lps.hu),
            warnings=warnings,
            postprocessing=steps,
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


class _Run:
    """The state of one pass over a CT in LPS order; arrays (k, j, i), each of its network's grid.

    of_liver, of_tumor: what the networks say. added, removed: tumor by the steps alone.
    """

    def __init__(
        self, owner: CascadeSegmenter, lps: CtVolume, steps: CascadePostprocessing, tell: Progress
    ) -> None:
        self.owner, self.lps, self.steps, self.tell = owner, lps, steps, tell
        self.of_liver = np.zeros(self._grid(owner.liver), np.float16)
        self.of_tumor = np.zeros(self._grid(owner.tumor), np.float16)
        self.added = np.zeros(self.of_tumor.shape, np.bool_)
        self.removed = np.zeros(self.of_tumor.shape, np.bool_)

    def _grid(self, stage: Stage) -> tuple[int, int, int]:
        size_px = stage.preprocessing.size_px
        return len(self.lps.hu), size_px, size_px

    def _voxel_mm(self, stage: Stage) -> tuple[float, float, float]:
        return stage.preprocessing.grid_spacing_kji_mm(self.lps.spacing_kji_mm, self.lps.shape_kji)

    def networks(self) -> None:
        """Both, one after the other; without a liver there is nothing to look for tumors in."""
        lps, liver, tumor = self.lps, self.owner.liver, self.owner.tumor
        self.tell(0.0, "Preparing the CT")
        image = liver.preprocessing(lps.hu, lps.spacing_kji_mm)
        tell = _part(self.tell, 0.0, LIVER_DONE, "Liver")
        self.of_liver = liver.probability(liver.preprocessing.channels(image), tell)
        found = self.steps.liver_on_grid(self.of_liver > HALF)
        liver_ml = int(np.count_nonzero(found)) * prod(self._voxel_mm(liver)) / 1000
        if liver_ml == 0 or liver_ml < self.steps.smallest_liver_ml:
            return
        self.tell(LIVER_DONE, "Preparing the liver")
        if _sees(tumor) != _sees(liver):
            image = tumor.preprocessing(lps.hu, lps.spacing_kji_mm)
        found = on_grid(found, tumor.preprocessing.size_px)
        region = tumor.preprocessing.liver_region(found, lps.spacing_kji_mm, lps.shape_kji)
        channels = tumor.preprocessing.channels(image, region)
        del image  # 40 MB of 300 slices, as each of these arrays
        tell = _part(self.tell, LIVER_DONE, TUMOR_DONE, "Tumor")
        self.of_tumor = tumor.probability(channels, tell, where=region)
        marked = self.of_tumor > HALF
        wanted = self.steps.tumor_on_grid(marked, found, self._voxel_mm(tumor))
        self.added, self.removed = wanted & ~marked, marked & ~wanted

    def native(self, *, keep_probabilities: bool) -> tuple[Labels, Half | None]:
        """Labels (k, j, i) and, if wanted, probabilities (3, k, j, i) on the CT's own grid."""
        shape = self.lps.shape_kji
        liver, tumor = np.zeros(shape, np.bool_), np.zeros(shape, np.bool_)
        kept = np.empty((len(Label), *shape), np.float16) if keep_probabilities else None
        of_liver, of_tumor = (self._way_back(s) for s in (self.owner.liver, self.owner.tumor))
        count = len(liver)
        for k in range(count):
            done = TUMOR_DONE + (NATIVE_DONE - TUMOR_DONE) * k / count
            self.tell(done, f"Back to the CT's own pixels, slice {k + 1} of {count}")
            decided = self._decided_tumor(k)
            if kept is None and max(self.of_liver[k].max(), decided.max()) <= HALF:
                continue
            native = of_liver(self.of_liver[k])
            liver[k], tumor[k] = native > HALF, of_tumor(decided) > HALF
            if kept is not None:
                kept[:, k] = _three_classes(native, of_tumor(self.of_tumor[k]))
        self.tell(NATIVE_DONE, "Cleaning up")
        return self.steps(liver, tumor, self.lps.spacing_kji_mm), kept

    def _way_back(self, stage: Stage) -> Callable[[Half], Floats]:
        """From a layer on the stage's grid (j, i) to the CT's own pixels."""
        shape, spacing = self.lps.shape_kji, self.lps.spacing_kji_mm
        geometry = stage.preprocessing.geometry(shape[1:], spacing[1:])
        undo = stage.preprocessing.undo
        return lambda layer: undo(layer[None], geometry)[0]

    def _decided_tumor(self, k: int) -> Half:
        """The tumor's layer of a slice, sure where the steps have added or removed something."""
        layer: Half = self.of_tumor[k]
        if self.added[k].any() or self.removed[k].any():
            layer = layer.copy()
            layer[self.added[k]], layer[self.removed[k]] = 1, 0
        return layer


def _sees(stage: Stage) -> tuple[tuple[int, int], int]:
    """What an image for the stage depends on."""
    return stage.preprocessing.window_hu, stage.preprocessing.size_px


def _three_classes(of_liver: Floats, of_tumor: Floats) -> Floats:
    """Background, liver, tumor, whose sum is 1; (j, i) each to (3, j, i)."""
    rest = 1 - of_tumor
    return np.stack([rest * (1 - of_liver), rest * of_liver, of_tumor])


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
    entry: ModelEntry, device: str, chosen: Steps | None = None, *, mirror: bool = False
) -> CascadeSegmenter:
    """The segmenter of a catalog entry with two files, liver first.

    chosen: steps in place of those in the tumor's file. mirror: see ``segment.load_segmenter``.
    ``BundleError`` for files that do not make a cascade, ``ValueError`` for a device that is not
    there and for steps of another kind.
    """
    if len(entry.files) != len(STAGES):
        raise BundleError(f"{entry.name} has {len(entry.files)} files; a cascade has two.")
    if not isinstance(chosen, CascadePostprocessing | None):
        raise ValueError(f"{entry.name} is a cascade: a slice model's steps do not fit it.")
    mirror_axes = MIRROR_AXES if mirror else ()
    liver, tumor = (
        _load_stage(stage, file, device, mirror_axes)
        for stage, file in zip(STAGES, entry.files, strict=True)
    )
    stored = _understood(CascadePostprocessing.from_dict, tumor.spec.postprocessing)
    spec = joint_spec(entry.name, entry.version, liver.spec, tumor.spec)
    return CascadeSegmenter(liver, tumor, spec, chosen or stored)


def _load_stage(stage: str, file: ModelFile, device: str, mirror_axes: tuple[int, ...]) -> Stage:
    from .bundle import ModelBundle
    from .patch_engine import PatchEngine

    bundle = ModelBundle.load(file.path, sha256=file.sha256)
    spec = bundle.spec
    if stage_of(spec) != stage:
        raise BundleError(f"{file.path.name} is not the {stage} network of a cascade.")
    net: Any = bundle.build_net()
    if not hasattr(net, "patch_kji"):
        raise BundleError(f"The net {spec.net!r} takes no patches; use another model.")
    if spec.decision:
        raise BundleError(f"{file.path.name} decides as a slice network does; use another model.")
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

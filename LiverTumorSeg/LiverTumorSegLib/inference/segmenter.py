"""A CT in, labels on the CT's own grid out: the one path of Slicer, command line and evaluation.

    segmenter = load_segmenter(RunSettings(model="liver-tumor"))
    result = segmenter.segment(ct, progress=lambda fraction, phrase: None)

The segmenter knows volumes in any orientation, its network knows volumes in LPS order. torch is
imported only when a network is loaded.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from LiverTumorSegLib.labels import Label
from LiverTumorSegLib.model.catalog import find_model
from LiverTumorSegLib.model.spec import JOIN_COMMAND, BundleError, ModelSpec, stage_of
from LiverTumorSegLib.sentences import sentence, sentence_of
from LiverTumorSegLib.settings import RunSettings, Settings
from LiverTumorSegLib.volume import CtVolume, Reorientation

from .cascade import Cascade, StageNetwork
from .decision import Decision
from .patches import ALL_AXES, PatchNetwork
from .postprocess import Postprocessing
from .prediction import Prediction
from .preprocess import SlicePreprocessing
from .preprocess_liver_box import LiverBoxPreprocessing
from .preprocess_resampled import ResampledPreprocessing
from .preprocess_volume import VolumePreprocessing
from .progress import Progress, no_progress, subrange
from .region import CascadeSettings
from .sensitivity import Sensitivity
from .slices import SliceNetwork
from .sliding_window import SlidingWindow
from .whole_volume import VolumeNetwork

PREDICTED = 0.95  # of a run's progress
WINDOWED_HU = -400  # a CT whose least value is not below this was cut to a window
SATURATED_SHARE = 0.10

Labels = NDArray[np.uint8]
Preprocessing = (
    SlicePreprocessing | VolumePreprocessing | LiverBoxPreprocessing | ResampledPreprocessing
)
PREPROCESSINGS: dict[str, type[Preprocessing]] = {
    kind.KIND: kind
    for kind in (
        SlicePreprocessing,
        VolumePreprocessing,
        LiverBoxPreprocessing,
        ResampledPreprocessing,
    )
}
AnySettings = TypeVar("AnySettings", bound=Settings)


@dataclass(frozen=True, eq=False)
class Segmentation:
    """Labels and how they came about.

    labels_kji: uint8 on the CT's grid.
    tumor_probability_kji: uint8 on the CT's grid, 255 times the calibrated probability of tumor, 1
        to 255, of each voxel labeled tumor and 0 elsewhere; None without a calibration.
    prediction: what the networks said, in LPS order, or None when nobody asked to keep it.
    reorientation: from the CT's grid to LPS order.
    device: where it ended. slices, slices_run: axial slices there are, and those a network saw.
    """

    labels_kji: Labels
    tumor_probability_kji: Labels | None
    prediction: Prediction | None
    reorientation: Reorientation
    device: str
    slices: int
    slices_run: int
    seconds: float
    warnings: tuple[str, ...]
    postprocessing: Postprocessing

    @property
    def found_liver(self) -> bool:
        return bool(self.labels_kji.any())

    @cached_property
    def probabilities(self) -> NDArray[np.float16] | None:
        """Probabilities of the networks themselves, before any decision or step: float16 (classes,
        k, j, i) on the CT's grid; None without ``keep_prediction``.
        """
        if self.prediction is None:
            return None
        return self.reorientation.undo(self.prediction.probabilities())


@dataclass
class Segmenter:
    """A model that is ready to run.

    network: one for liver and tumor, or a liver and a tumor network.
    decision, postprocessing: from its prediction to labels.
    spec, sha256: of the model's file; no hash for a model that is in no file.
    recall: how much it is known to find, one sentence.
    """

    network: SliceNetwork | Cascade | VolumeNetwork
    spec: ModelSpec
    decision: Decision = field(default_factory=Decision)
    postprocessing: Postprocessing = field(default_factory=Postprocessing)
    sha256: str | None = None
    recall: str = ""

    @property
    def device(self) -> str:
        """Where the network is now."""
        return self.network.device

    @property
    def preprocessing(self) -> Preprocessing:
        """The preprocessing of the network that finds tumors."""
        return self.network.preprocessing

    def segment(
        self,
        ct: CtVolume,
        progress: Progress | None = None,
        *,
        keep_prediction: bool = False,
        prediction: Prediction | None = None,
    ) -> Segmentation:
        """Labels of ``ct`` on its own grid, in whatever orientation it has.

        progress(fraction 0-1, phrase) is called after every piece of work and may raise
            ``Cancelled``.
        keep_prediction: give it back beside the labels, for other decisions and probabilities.
        prediction: of :meth:`predict` for this CT, so that no network is run.
        Raises ``ValueError`` when the model cannot be used with these CT numbers.
        """
        progress, started = progress or no_progress, time.monotonic()
        self._refuse_unlike_training(ct)
        reorientation = Reorientation.to_lps(ct.ijk_to_ras, ct.shape_kji)
        if prediction is None:
            lps = ct.to_lps()[0]
            prediction = self.network.predict(lps, subrange(progress, 0.0, PREDICTED))
        labels, tumor_probability = prediction.decide(
            self.decision, self.postprocessing, subrange(progress, PREDICTED, 1.0)
        )
        slices, slices_run = len(labels), prediction.slices_run
        returned = prediction if keep_prediction else None
        lps = ct.to_lps(copy=False)[0]  # a copy lasts no longer than the networks need it
        warnings = (*prediction.warnings, *self._window_warnings(lps, labels))
        del prediction  # which may be as large as all the rest
        progress(1.0, "Done")
        return Segmentation(
            labels_kji=reorientation.undo(labels),
            tumor_probability_kji=None
            if tumor_probability is None
            else reorientation.undo(tumor_probability),
            prediction=returned,
            reorientation=reorientation,
            device=self.device,
            slices=slices,
            slices_run=slices_run,
            seconds=time.monotonic() - started,
            warnings=warnings,
            postprocessing=self.postprocessing,
        )

    def predict(self, ct: CtVolume, progress: Progress | None = None) -> Prediction:
        """Run the networks on a CT; probabilities in LPS order, to be decided on later."""
        self._refuse_unlike_training(ct)
        return self.network.predict(ct.to_lps()[0], progress or no_progress)

    def set_smallest_lesion(self, diameter_mm: float) -> None:
        """Drop lesions below this diameter, in place of the postprocessing's own limit."""
        self.postprocessing = replace(self.postprocessing, smallest_lesion_mm=diameter_mm)

    def describe(self) -> dict[str, Any]:
        """The model and its steps, JSON-able, for the result's own record."""
        return {
            "model": self.spec.name,
            "version": self.spec.version,
            "sha256": self.sha256,
            "networks": {
                name: {"net": one.net, "preprocessing": one.preprocessing}
                for name, one in self.spec.networks.items()
            },
            **({"cascade": self.spec.cascade} if self.spec.is_cascade else {}),
            "decision": self.decision.to_dict(),
            "postprocessing": self.postprocessing.to_dict(),
        }

    def _refuse_unlike_training(self, ct: CtVolume) -> None:
        """Per-slice min-max means one thing on raw CT numbers and another on windowed ones."""
        trained, steps = self.spec.training_hu_range, self.preprocessing
        if trained is None or not isinstance(steps, SlicePreprocessing) or steps.preset != "paper":
            return
        trained_windowed = trained[0] >= WINDOWED_HU
        if trained_windowed != (int(ct.hu.min()) >= WINDOWED_HU):
            raise ValueError(
                sentence(
                    "This model scales each slice by its own least and greatest value and was"
                    " trained on {kind} CT numbers, which this scan does not have; use a model with"
                    " the window preset.",
                    kind="windowed" if trained_windowed else "raw",
                )
            )

    def _window_warnings(self, lps: CtVolume, labels: Labels) -> list[str]:
        """Sentences where the CT's numbers and the network's window do not fit."""
        steps = self.preprocessing
        if isinstance(steps, SlicePreprocessing) and steps.preset != "window":
            return []
        low, high = steps.window_hu
        warnings = saturation_warning(lps.hu, labels, high)
        if isinstance(steps, SlicePreprocessing):
            return warnings
        trained, least = self.spec.training_hu_range, int(lps.hu.min())
        if trained is not None and trained[0] < WINDOWED_HU <= least and low < least:
            warnings.append(
                sentence(
                    "This scan holds nothing below {least} HU, and the model has learned from CTs"
                    " that do, down to {low} HU: use a model with a narrower window, or a CT that"
                    " was not cut.",
                    least=least,
                    low=low,
                )
            )
        return warnings


def saturation_warning(hu: NDArray[np.int16], labels: Labels, top_hu: int) -> list[str]:
    """A sentence when much of the liver is at or above the top of the model's window."""
    total = bright = 0
    for plane, its_labels in zip(hu, labels, strict=True):  # no mask of the whole
        liver = its_labels >= Label.LIVER
        total += int(np.count_nonzero(liver))
        bright += int(np.count_nonzero(liver & (plane >= top_hu)))
    if total == 0 or bright <= SATURATED_SHARE * total:
        return []
    return [
        sentence(
            "{percent:.0f} % of the liver is at or above {top_hu} HU, the top of the model's"
            " window: bright lesions and vessels look alike there, so check it by eye.",
            percent=100 * bright / total,
            top_hu=top_hu,
        )
    ]


def load_segmenter(
    settings: RunSettings, *, folder: Path | None = None, tta: bool = False
) -> Segmenter:
    """The segmenter of a catalog name, a model file, or (None) the default.

    folder: of the catalog's imported models, in place of the usual one.
    tta: test-time augmentation, also where the model does not ask for it. A network of slices sees
        each slice and its left-right mirror image, in twice the time; a patch network each window
        in all eight mirrored copies, as published, in eight times.
    Raises ``ValueError`` for an unknown name or device and ``BundleError`` for a broken file.
    """
    from LiverTumorSegLib.model.file import ModelFile

    entry = find_model(settings.model, folder)
    record = entry.file
    file = ModelFile.load(record.path, sha256=record.sha256)
    spec = file.spec
    if not spec.is_cascade:
        _refuse_alone(spec)
    networks: dict[str, Any] = {}
    for name, net in file.build_nets().items():
        networks[name] = _network(spec.networks[name], net, settings, tta)
    network: Any
    if spec.is_cascade:
        _refuse_misplaced(networks)
        network = Cascade(**networks, settings=parse_settings(CascadeSettings, spec.cascade))
    else:
        (network,) = networks.values()
        if isinstance(network, PatchNetwork):
            raise BundleError("A patch network works only in a cascade of two; use another model.")
    segmenter = Segmenter(
        network,
        spec,
        _decision(spec, settings),
        parse_settings(Postprocessing, spec.postprocessing),
        file.sha256,
        entry.recall,
    )
    if settings.smallest_lesion_mm is not None:
        segmenter.set_smallest_lesion(settings.smallest_lesion_mm)
    return segmenter


def _decision(spec: ModelSpec, settings: RunSettings) -> Decision:
    """The model's own, or what is asked for in its place."""
    own = parse_settings(Decision, spec.decision)
    if settings.tumor_threshold is not None:
        return replace(own, tumor_threshold=settings.tumor_threshold, seed_threshold=0.0)
    if settings.sensitivity == 0:
        return own
    known = Sensitivity.of(spec)
    if known is None:
        raise ValueError(
            sentence(
                "The model {name} was tested with one decision only, so it has no steps of"
                " sensitivity; give a tumor threshold in place of them.",
                name=spec.name,
            )
        )
    return known.at(settings.sensitivity).decision


def _network(
    spec: ModelSpec, net: Any, settings: RunSettings, tta: bool
) -> StageNetwork | VolumeNetwork:
    """A net with what its description says is done around it."""
    from .network import PatchRunner, SliceRunner

    kind = spec.preprocessing.get("kind", SlicePreprocessing.KIND)
    if not isinstance(kind, str) or kind not in PREPROCESSINGS:
        known = ", ".join(PREPROCESSINGS)
        raise BundleError(
            sentence(
                "The preprocessing {kind!r} is unknown here (known: {known}). "
                "Update LiverTumorSeg.",
                kind=kind,
                known=known,
            )
        )
    steps = parse_settings(PREPROCESSINGS[kind], spec.preprocessing)
    takes_patches = hasattr(net, "patch_kji")
    if isinstance(steps, VolumePreprocessing | ResampledPreprocessing):
        if not takes_patches:
            raise BundleError(
                sentence("The net {net!r} takes no patches; use another model.", net=spec.net)
            )
        axes = [n for n in ALL_AXES if net.patch_kji[n] > 1] if tta or spec.tta else []
        window = SlidingWindow(patch_kji=net.patch_kji, mirror_axes=tuple(axes))
        runner = PatchRunner(net, settings.device)
        if isinstance(steps, ResampledPreprocessing):
            return VolumeNetwork(runner, steps, window)
        return PatchNetwork(runner, steps, window)
    if takes_patches:
        raise BundleError(
            sentence("The net {net!r} takes no slices; use another model.", net=spec.net)
        )
    of_slices = SliceRunner(net, settings.device, tta=tta or spec.tta)
    return SliceNetwork(of_slices, steps, coarse_search=settings.coarse_search)


def _refuse_misplaced(networks: dict[str, StageNetwork | VolumeNetwork]) -> None:
    """The liver network must not need a liver, and the tumor network must get what it needs."""
    if any(isinstance(network, VolumeNetwork) for network in networks.values()):
        raise BundleError("A network from elsewhere works alone, not in a cascade; use it so.")
    steps = networks["liver"].preprocessing
    if isinstance(steps, LiverBoxPreprocessing) or getattr(steps, "needs_liver", False):
        raise BundleError("The liver network needs to be shown the liver; join the files anew.")


def _refuse_alone(spec: ModelSpec) -> None:
    """One network alone must distinguish background, liver and tumor."""
    if place := stage_of(spec):
        raise BundleError(
            sentence(
                "{name} is the {stage} network of a cascade; join it with the other, by {command}.",
                name=spec.name,
                stage=place,
                command=JOIN_COMMAND,
            )
        )
    known = {label.name.lower(): int(label) for label in Label}
    if spec.labels != known:
        raise BundleError(
            sentence(
                "The model's classes are {labels}, not {known}; use another model.",
                labels=str(spec.labels),
                known=str(known),
            )
        )


def parse_settings(kind: type[AnySettings], stored: dict[str, Any]) -> AnySettings:
    """Settings from a model file; ``BundleError`` where this version does not understand them."""
    try:
        return kind.from_dict(stored)
    except (ValueError, TypeError) as error:
        raise BundleError(
            sentence(
                "{problem} The model file needs a newer LiverTumorSeg.", problem=sentence_of(error)
            )
        ) from error

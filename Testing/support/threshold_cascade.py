"""A cascade of two networks made of thresholds: exact, and without torch."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from LiverTumorSegLib.inference.cascade import CascadeSegmenter, Stage, joint_spec
from LiverTumorSegLib.inference.postprocess import Postprocessing
from LiverTumorSegLib.inference.preprocess_volume import VolumePreprocessing
from LiverTumorSegLib.inference.sliding_window import SlidingWindow
from LiverTumorSegLib.model.spec import STAGES, ModelSpec
from numpy.typing import NDArray

Floats = NDArray[np.float32]
SEES_ALL = VolumePreprocessing(window_hu=(-40, 160), size_px=64)  # liver 0.5, tumor 0.95
SEES_LIVER = replace(SEES_ALL, liver_margin_mm=5.0)
WINDOW = SlidingWindow(patch_kji=(8, 32, 32))
AS_IT_IS = Postprocessing(
    largest_liver_component=False,
    tumor_inside_liver=False,
    smallest_lesion_mm=0.0,
    smallest_liver_ml=0.0,
)
CASCADE_STEPS = Postprocessing(clean_liver=True, smallest_lesion_mm=3.0)


class Threshold:
    """Its class is as likely as the image is bright: p = gain x + offset, between 0 and 1."""

    def __init__(self, gain: float, offset: float) -> None:
        self.gain, self.offset = gain, offset
        self.device, self.batch = "cpu", 1
        self.notes: list[str] = []
        self.seen: list[Floats] = []

    def __call__(self, patches: Floats) -> Floats:
        self.seen.append(patches)
        return np.clip(self.gain * patches[:, :1] + self.offset, 0, 1)


def spec_of(stage: str, steps: VolumePreprocessing, **changes: Any) -> ModelSpec:
    spec = ModelSpec(
        name=f"pair-{stage}",
        version="1",
        net="gunetrpp",
        net_args={},
        preprocessing=steps.to_dict(),
        labels=STAGES[stage],
        training_hu_range=None,
        postprocessing={},
        provenance={},
        storage="fp32",
    )
    return replace(spec, **changes)


def stage_of(name: str, steps: VolumePreprocessing, engine: Threshold) -> Stage:
    return Stage(engine, spec_of(name, steps), steps, WINDOW, "ab" * 32)


def segmenter(
    steps: Postprocessing = AS_IT_IS,
    *,
    sees: VolumePreprocessing = SEES_LIVER,
    liver_px: int | None = None,
    trained: tuple[float, float] | None = None,
) -> CascadeSegmenter:
    """Liver from 10 HU, the middle between air's end of the window and liver; tumor from 110.

    sees: what the tumor network does. liver_px: of the liver network's slices, if not the same.
    """
    size_px = liver_px or sees.size_px
    sees_all = replace(sees, size_px=size_px, liver_margin_mm=None, mask_as_channel=False)
    liver = stage_of("liver", sees_all, Threshold(2.0, 0.0))
    tumor = stage_of("tumor", sees, Threshold(4.0, -2.5))
    spec = replace(joint_spec("pair", "1", liver.spec, tumor.spec), training_hu_range=trained)
    return CascadeSegmenter(liver, tumor, spec, steps)


class Blind:
    """A liver network that takes the brightest for no liver."""

    def __init__(self, inner: Threshold) -> None:
        self.inner, self.device, self.batch, self.notes = inner, "cpu", 1, inner.notes

    def __call__(self, patches: Floats) -> Floats:
        return self.inner(np.where(patches > 0.6, 0, patches))

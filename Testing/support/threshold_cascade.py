"""A cascade of two networks made of thresholds: exact, and without torch."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from LiverTumorSegLib.inference.cascade import Cascade
from LiverTumorSegLib.inference.decision import Decision
from LiverTumorSegLib.inference.patches import PatchNetwork
from LiverTumorSegLib.inference.postprocess import Postprocessing
from LiverTumorSegLib.inference.preprocess_volume import VolumePreprocessing
from LiverTumorSegLib.inference.region import CascadeSettings
from LiverTumorSegLib.inference.segmenter import Segmenter
from LiverTumorSegLib.inference.sliding_window import SlidingWindow
from LiverTumorSegLib.model.spec import STAGES, ModelSpec, join_specs
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
        self.warnings: list[str] = []
        self.seen: list[Floats] = []

    def __call__(self, patches: Floats) -> Floats:
        self.seen.append(patches)
        return np.clip(self.gain * patches[:, :1] + self.offset, 0, 1)


def spec_of(stage: str, steps: Any, **changes: Any) -> ModelSpec:
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


def cascade(
    sees: VolumePreprocessing = SEES_LIVER,
    *,
    liver_px: int | None = None,
    liver: Any = None,
    tumor: Any = None,
    **settings: Any,
) -> Cascade:
    """Liver from 10 HU, the middle between air's end of the window and liver; tumor from 110.

    sees: what the tumor network does. liver_px: of the liver network's slices, if not the same.
    liver, tumor: runners. settings: of the cascade; nothing is cleaned without them.
    """
    sees_all = replace(
        sees, size_px=liver_px or sees.size_px, liver_margin_mm=None, mask_as_channel=False
    )
    return Cascade(
        PatchNetwork(liver or Threshold(2.0, 0.0), sees_all, WINDOW),
        PatchNetwork(tumor or Threshold(4.0, -2.5), sees, WINDOW),
        CascadeSettings(**{"clean_liver": False, "smallest_liver_ml": 0.0, **settings}),
    )


def segmenter(
    steps: Postprocessing = AS_IT_IS,
    *,
    trained: tuple[float, float] | None = None,
    decision: Decision | None = None,
    **of_cascade: Any,
) -> Segmenter:
    """steps decide on the liver that is shown as well; of_cascade: see :func:`cascade`."""
    network = cascade(
        **{
            "clean_liver": steps.clean_liver,
            "smallest_liver_ml": steps.smallest_liver_ml,
            **of_cascade,
        }
    )
    parts = {
        "liver": spec_of("liver", network.liver.preprocessing),
        "tumor": spec_of("tumor", network.tumor.preprocessing),
    }
    spec = join_specs("pair", "1", **parts, cascade=network.settings.to_dict())
    spec = replace(spec, training_hu_range=trained)
    return Segmenter(network, spec, decision or Decision(), steps, "ab" * 32)


class Blind:
    """A liver network that takes the brightest for no liver."""

    def __init__(self, inner: Threshold) -> None:
        self.inner, self.device, self.batch, self.warnings = inner, "cpu", 1, inner.warnings

    def __call__(self, patches: Floats) -> Floats:
        return self.inner(np.where(patches > 0.6, 0, patches))

"""Labels at every step of sensitivity: what a run with that decision would have found."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from LiverTumorSegLib.inference.decision import Decision
from LiverTumorSegLib.inference.grids import BoxGrid
from LiverTumorSegLib.inference.postprocess import Postprocessing
from LiverTumorSegLib.inference.prediction import ClassMaps, Prediction
from LiverTumorSegLib.inference.segmenter import Segmentation
from LiverTumorSegLib.inference.sensitivity import Sensitivity, Stop
from LiverTumorSegLib.phantom.phantom import Phantom, make_phantom
from LiverTumorSegLib.result.lesions import lesion_rows
from LiverTumorSegLib.result.plausibility import check
from LiverTumorSegLib.result.steps import labels_at_steps
from LiverTumorSegLib.volume import CtVolume
from scipy import ndimage

THRESHOLDS = ((0.75, 0.9), (0.5, 0.8), (0.4, 0.0), (0.2, 0.3), (0.1, 0.15))


def predicted(phantom: Phantom, seed: int) -> Prediction:
    """As a network tells of it that is less and less sure away from a tumor, with noise, and that
    sees some tumor outside of the liver."""
    random = np.random.default_rng(seed)
    lps, turn = phantom.ct.to_lps()
    labels = turn.apply(phantom.labels)
    noise = ndimage.gaussian_filter(random.normal(size=labels.shape), 1.5)
    blurred = ndimage.gaussian_filter((labels == 2).astype(np.float32), 1.0)
    sureness = np.clip(blurred + 1.5 * noise, 0, 0.99)
    liver = labels > 0
    rows, columns = labels.shape[1:]
    grid = BoxGrid((rows, columns), (rows, columns), (0, 0), (rows, columns), (rows, columns))
    maps = ClassMaps(grid)
    near = ndimage.binary_dilation(liver, iterations=2)
    for k in np.flatnonzero(liver.any(axis=(1, 2))):
        tumor = np.where(near[k], sureness[k], 0).astype(np.float16)
        maps.by_slice[int(k)] = np.stack([(np.float16(0.99) - tumor) * near[k], tumor])
    return Prediction(liver, near, ClassMaps(grid), maps, lps.spacing_kji_mm, len(maps.by_slice))


def stops_of(**values: float) -> tuple[Stop, ...]:
    return tuple(
        Stop(
            steps=n - 2,
            decision=Decision(tumor_threshold=low, seed_threshold=high, calibration=(1.2, -0.3))
            if not values
            else replace(Decision(**values), tumor_threshold=low, seed_threshold=high),
            large=(n, 5),
            small=(n, 5),
            false_lesions_per_volume=float(n),
        )
        for n, (low, high) in enumerate(THRESHOLDS)
    )


@pytest.mark.parametrize("smoothing_mm", [0.0, 4.0])
def test_a_step_is_what_a_run_with_its_decision_would_have_found(smoothing_mm: float) -> None:
    """Share, liver and box are found once for all steps: each label and number stays the same."""
    phantom = make_phantom(seed=11, shape_kji=(36, 90, 90), spacing_kji_mm=(7.0, 4.2, 4.2))
    flipped = phantom.ct.ijk_to_ras @ np.diag([1.0, -1.0, 1.0, 1.0])  # so that the way back counts
    ct = CtVolume(phantom.ct.hu[:, ::-1].copy(), flipped)
    turned = Phantom(ct, phantom.labels[:, ::-1].copy(), phantom.tumors)
    prediction = predicted(turned, seed=3)
    steps = Postprocessing(clean_liver=True)
    stops = stops_of(smoothing_mm=smoothing_mm) if smoothing_mm else stops_of()
    undo = ct.to_lps()[1].undo
    expected = []
    for stop in stops:
        labels, probability = prediction.decide(stop.decision, steps)
        probability = None if probability is None else undo(probability)
        expected.append(check(ct, undo(labels), probability))
    done = Segmentation(
        labels_kji=expected[1].labels_kji,
        tumor_probability_kji=expected[1].tumor_probability_kji,
        prediction=prediction,
        reorientation=ct.to_lps()[1],
        device="cpu",
        slices=36,
        slices_run=36,
        seconds=0.0,
        warnings=(),
        postprocessing=steps,
    )
    found = labels_at_steps(ct, stops[1].decision, done, Sensitivity(stops))
    counts = [len(one.measures.lesions) for one in expected]
    assert len(set(counts)) > 2, f"the steps differ: {counts}"
    for stop, one in zip(stops, expected, strict=True):
        labels = found.labels_kji(done.labels_kji, stop.steps)
        np.testing.assert_array_equal(labels, one.labels_kji)
        assert found.at(stop.steps)[1]["lesions"] == lesion_rows(one.measures)

"""Cascades of any two networks, and the box around the liver that a network of slices is shown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cascade_model import save_halves
from LiverTumorSegLib.inference.cascade import Cascade
from LiverTumorSegLib.inference.decision import Decision
from LiverTumorSegLib.inference.grids import BoxGrid
from LiverTumorSegLib.inference.patches import PatchNetwork
from LiverTumorSegLib.inference.postprocess import Postprocessing
from LiverTumorSegLib.inference.prediction import Prediction
from LiverTumorSegLib.inference.preprocess import SlicePreprocessing
from LiverTumorSegLib.inference.preprocess_liver_box import LiverBoxPreprocessing
from LiverTumorSegLib.inference.progress import Cancelled
from LiverTumorSegLib.inference.region import (
    CascadeSettings,
    LiverRegion,
    close_and_dilate,
    find_region,
)
from LiverTumorSegLib.inference.segmenter import load_segmenter
from LiverTumorSegLib.inference.slices import SliceNetwork
from LiverTumorSegLib.model.file import ModelFile, join_files, join_members
from LiverTumorSegLib.model.spec import STAGES, ModelSpec
from LiverTumorSegLib.nets.hybrid2d import Hybrid2d
from LiverTumorSegLib.result.agreement import dice
from LiverTumorSegLib.settings import RunSettings
from LiverTumorSegLib.volume import CtVolume
from looped import ALL_AXES, looped
from numpy.typing import NDArray
from scipy import ndimage
from threshold_cascade import AS_IT_IS, SEES_LIVER, WINDOW, Threshold
from threshold_slices import (
    AIR_HU,
    FAST,
    LIVER_HU,
    TUMOR_HU,
    GrayRunner,
    abdomen,
    turned,
    volume,
)

from training.cases.scattered import LabeledSlices
from training.data.boxes import PREPROCESSING, box_of

Array = NDArray[Any]
BOX = LiverBoxPreprocessing()
SEES_ALL = replace(SEES_LIVER, liver_margin_mm=None)
LIVERS: dict[str, Callable[[], Any]] = {
    "slices": lambda: SliceNetwork(GrayRunner(), FAST),
    "patches": lambda: PatchNetwork(Threshold(2.0, 0.0), SEES_ALL, WINDOW),
}
TUMORS: dict[str, Callable[[], Any]] = {
    "slices": lambda: SliceNetwork(GrayRunner(), FAST),
    "box": lambda: SliceNetwork(RelativeRunner(), BOX),
    "patches": lambda: PatchNetwork(Threshold(4.0, -2.5), SEES_LIVER, WINDOW),
}


class RelativeRunner:
    """Takes what a box shows: tumor 30 HU above the liver, air far below is background."""

    def __init__(self) -> None:
        self.device, self.batch = "cpu", 2
        self.warnings: list[str] = []
        self.seen: list[Array] = []

    def __call__(self, inputs: Array) -> Array:
        self.seen.append(inputs)
        itself = inputs[:, 1]
        tumor = np.clip(itself / 1.5, 0, 1)  # in units of 40 HU: half at 30 HU above the liver
        liver = (itself > -1).astype(np.float32) * (1 - tumor)
        return np.stack([1 - liver - tumor, liver, tumor], axis=-1)


def pairs() -> list[tuple[str, str, Cascade]]:
    settings = CascadeSettings(smallest_liver_ml=0.0, join_liver=True)
    return [
        (first, second, Cascade(liver(), tumor(), settings))
        for first, liver in LIVERS.items()
        for second, tumor in TUMORS.items()
    ]


def test_any_liver_network_goes_with_any_tumor_network() -> None:
    """All find the same liver and tumors, up to the outlines of their pixels."""
    ct = abdomen()
    true = np.where(ct.hu == TUMOR_HU, 2, np.where(ct.hu == LIVER_HU, 1, 0))
    for first, second, cascade in pairs():
        labels = cascade.predict(ct.to_lps()[0]).decide(Decision(), AS_IT_IS).labels
        assert dice(labels > 0, true > 0) > 0.85, (first, second)
        assert dice(labels == 2, true == 2) > 0.75, (first, second)


@looped(axes_to_ras=ALL_AXES)
def test_however_the_grid_lies_the_patient_gets_the_same_labels(axes_to_ras: Array) -> None:
    ct = abdomen()
    hu, new_to_old = turned(ct.hu, axes_to_ras)
    (_, _, cascade) = pairs()[1]
    made = []
    for one in (ct, CtVolume(hu, ct.ijk_to_ras @ new_to_old)):
        lps, turn = one.to_lps()
        made.append(turn.undo(cascade.predict(lps).decide(Decision(), AS_IT_IS).labels))
    np.testing.assert_array_equal(made[1], turned(made[0], axes_to_ras)[0])


def test_beyond_the_search_region_there_is_no_tumor() -> None:
    """Nor liver of the second network; a bright thing apart is nobody's tumor."""
    hu = np.full((12, 48, 60), AIR_HU)
    hu[3:9, 8:24, 8:24] = LIVER_HU
    hu[4:8, 12:16, 24:26] = hu[4:8, 12:16, 40:50] = TUMOR_HU  # at the rim, and 60 mm away
    lps = volume(hu, (6.0, 4.0, 4.0)).to_lps()[0]
    settings = CascadeSettings(smallest_liver_ml=0.0, margin_mm=12.0)
    for name, tumor in TUMORS.items():
        cascade = Cascade(LIVERS["slices"](), tumor(), settings)
        prediction = cascade.predict(lps)
        labels = prediction.decide(Decision(), AS_IT_IS).labels
        assert (labels[5:7, 13:15, 24] == 2).all(), name
        assert not (labels[:, :, 36:] == 2).any(), name
        assert prediction.probabilities()[2, :, :, 38:].max() == 0, name


def test_both_networks_decide_on_the_liver_by_their_mean_when_the_settings_say_so() -> None:
    """The surer one has its way: here the second, of what the first misses and finds by mistake."""
    hu = np.full((12, 48, 60), AIR_HU)
    hu[3:9, 8:24, 8:24] = LIVER_HU
    lps = volume(hu, (6.0, 4.0, 4.0)).to_lps()[0]
    of_both = {}
    for name, first in (("misses", Narrow(0.6)), ("sure", Narrow(1.0))):
        for joins in (False, True):
            settings = CascadeSettings(smallest_liver_ml=0.0, join_liver=joins)
            cascade = Cascade(SliceNetwork(first, FAST), TUMORS["box"](), settings)
            labels = cascade.predict(lps).decide(Decision(), AS_IT_IS).labels
            of_both[name, joins] = labels[4:8, 10:22] > 0
    for name in ("misses", "sure"):
        assert not of_both[name, False][..., 21].any()
    assert of_both["misses", True][..., 21].all(), "0.4 and 1.0 are 0.7"
    assert not of_both["sure", True][..., 21].any(), "0.0 and 1.0 are no more than half"
    assert of_both["sure", True][..., 10:20].all()


class Narrow(GrayRunner):
    """Misses what lies on the right of a liver, more or less surely."""

    def __init__(self, sure: float) -> None:
        super().__init__()
        self.sure = sure

    def __call__(self, grays: NDArray[np.uint8]) -> NDArray[np.float32]:
        seen = super().__call__(grays)
        shown = seen[:, :, 22:]  # the slice's 60 pixels fill the grid's 64
        lost = self.sure * shown[..., 1:]
        shown[..., 1:] -= lost
        shown[..., 0] += lost.sum(axis=3)
        return seen


def test_a_box_is_what_the_tumor_network_was_trained_on() -> None:
    """Bit for bit, on CTs of all spacings, up to the slices that the training left out."""
    rng = np.random.default_rng(3)
    for shape, spacing in (
        ((14, 90, 110), (5.0, 0.9, 0.8)),
        ((30, 60, 50), (2.5, 1.6, 1.7)),
        ((9, 64, 64), (9.0, 1.25, 1.25)),
    ):
        hu = rng.integers(-300, 400, shape).astype(np.int16)
        labels = np.zeros(shape, np.uint8)
        labels[2:-2, 20:44, 18:40] = 1
        stack = LabeledSlices(
            name="x",
            group="x",
            kind="case",
            hu=hu,
            labels=labels,
            z_mm=np.arange(shape[0]) * spacing[0],
            spacing_mm=(spacing[1], spacing[2]),
        )
        trained = box_of(stack)
        assert trained is not None
        ct = volume(hu, spacing)
        region = exact_region(labels > 0, ct)
        box = BOX(ct, region)
        first = int(np.flatnonzero(stack.z_mm == trained.z_mm[0])[0])
        expected = np.stack(
            [
                (trained.hu(k) - trained.liver_hu) / PREPROCESSING.hu_scale
                for k in range(len(trained.image))
            ]
        )
        assert box.liver_hu == pytest.approx(trained.liver_hu, abs=8), "of native pixels here"
        box = replace(box, liver_hu=trained.liver_hu)
        inner = range(2, len(trained.image) - 2)  # whose neighbors the training has as well
        made = box.inputs([first + k for k in inner])
        height, width = trained.image.shape[1:]
        assert made.shape[2] % 8 == made.shape[3] % 8 == 0
        assert made.dtype == np.float32
        np.testing.assert_array_equal(
            made[:, :, :height, :width], expected[list(inner)].astype(np.float32)
        )
        padding = np.float32(-40 - trained.liver_hu) / np.float32(PREPROCESSING.hu_scale)
        assert (made[:, :, height:] == padding).all()
        assert (made[:, :, :, width:] == padding).all()


def exact_region(liver: Array, ct: CtVolume) -> LiverRegion:
    """As if the first network had found these very voxels."""

    class Exact(LiverRegion):
        def liver_native(self, k: int) -> Array:
            return liver[k]

    grid = FAST.grid(ct.shape_kji[1:], ct.spacing_kji_mm[1:])
    coarse = np.zeros((len(liver), *grid.shape_ji), np.bool_)
    coarse[liver.any(axis=(1, 2))] = True
    return Exact(coarse, coarse, grid, (1.0, 1.0, 1.0))


def test_the_liver_s_own_brightness_does_not_matter() -> None:
    """Nor a tenth of its voxels that are no liver: what is seen is relative to the median."""
    ct = abdomen()
    darker = CtVolume((ct.hu - 20).clip(AIR_HU, None).astype(np.int16), ct.ijk_to_ras)
    region = find_region(
        liver_on_grid(ct),
        FAST.grid(ct.shape_kji[1:], ct.spacing_kji_mm[1:]),
        (6.0, 3.0, 3.0),
        CascadeSettings(),
    )
    plain, dark = BOX(ct, region), BOX(darker, region)
    assert plain.liver_hu == LIVER_HU
    assert dark.liver_hu == LIVER_HU - 20
    liver = plain.inputs([6]) == 0
    assert liver.sum() > 1000
    assert (dark.inputs([6])[liver] == 0).all()


def liver_on_grid(ct: CtVolume) -> Array:
    """The liver with its tumors on the grid of FAST."""
    liver = (ct.hu >= LIVER_HU).astype(np.uint8)
    return np.stack([FAST.place_labels(plane, ct.spacing_kji_mm[1:]) for plane in liver]) > 0


def test_a_box_lies_where_it_was_cut_from() -> None:
    grid = BoxGrid((90, 110), (72, 70), (11, 5), (40, 50), (40, 56))
    j, i = np.mgrid[:90, :110].astype(np.float32)
    inside = np.zeros((40, 56, 2), np.float32)
    for layer, values in enumerate((j, i)):
        inside[:, :50, layer] = grid.from_native(values, 1)
    back = grid.to_native(inside)
    rows = slice(round(13 * 90 / 72), round(49 * 90 / 72))
    columns = slice(round(7 * 110 / 70), round(53 * 110 / 70))
    np.testing.assert_allclose(back[rows, columns, 0], j[rows, columns], atol=0.6)
    np.testing.assert_allclose(back[rows, columns, 1], i[rows, columns], atol=0.8)
    assert not back[:8].any()


def test_the_search_region_is_closed_filled_and_dilated() -> None:
    """Against the plain morphology on an array with room around it."""
    rng = np.random.default_rng(0)
    mask = ndimage.gaussian_filter(rng.normal(size=(14, 40, 40)), 2) > 0.12
    mask[5, 18:22, 18:22] = False
    spacing = (5.0, 2.0, 2.0)

    def ball(radius_mm: float) -> Array:
        n = [int(radius_mm / step) for step in spacing]
        k, j, i = np.mgrid[-n[0] : n[0] + 1, -n[1] : n[1] + 1, -n[2] : n[2] + 1]
        distance = (k * 5.0) ** 2 + (j * 2.0) ** 2 + (i * 2.0) ** 2
        return np.asarray(distance <= radius_mm**2 * (1 + 1e-9))

    wide = np.pad(mask, [(6, 6), (12, 12), (12, 12)])
    wide = ndimage.binary_erosion(ndimage.binary_dilation(wide, ball(10.0)), ball(10.0))
    wide = np.stack([ndimage.binary_fill_holes(plane) for plane in wide])
    expected = ndimage.binary_dilation(wide, ball(8.0))[6:-6, 12:-12, 12:-12]
    made = close_and_dilate(mask, spacing, closing_mm=10.0, margin_mm=8.0, fill_holes=True)
    np.testing.assert_array_equal(made, expected)
    nothing = np.zeros_like(mask)
    assert not close_and_dilate(
        nothing, spacing, closing_mm=20.0, margin_mm=10.0, fill_holes=True
    ).any()


def test_progress_rises_cancel_stops_and_warnings_are_said_once() -> None:
    lps = abdomen().to_lps()[0]
    for first, second, cascade in pairs():
        told: list[tuple[float, str]] = []
        cascade.liver.warnings.append("Went on smaller.")
        prediction = cascade.predict(lps, lambda *news, told=told: told.append(news))
        fractions = [fraction for fraction, _ in told]
        assert fractions == sorted(fractions), (first, second)
        assert 0 <= fractions[0] <= fractions[-1] <= 1
        assert prediction.warnings == ("Went on smaller.",)
        assert cascade.predict(lps).warnings == ()

        def stop(fraction: float, phrase: str) -> None:
            if phrase.startswith("Tumor:"):
                raise Cancelled

        with pytest.raises(Cancelled):
            cascade.predict(lps, stop)


def test_no_liver_is_a_plain_result() -> None:
    lps = volume(np.full((9, 30, 30), AIR_HU), (5.0, 2.0, 2.0)).to_lps()[0]
    for _, _, cascade in pairs():
        prediction = cascade.predict(lps)
        assert not prediction.decide(Decision(), Postprocessing()).labels.any()
        assert (prediction.probabilities()[0] == 1).all()


def test_a_stored_prediction_of_a_box_is_the_same(tmp_path: Path) -> None:
    (_, _, cascade) = pairs()[1]
    prediction = cascade.predict(abdomen().to_lps()[0])
    prediction.save(tmp_path / "p.npz")
    again = Prediction.load(tmp_path / "p.npz")
    decision = Decision(tumor_threshold=0.4, smoothing_mm=5.0, calibration=(1.0, 0.0))
    for made, expected in zip(
        again.decide(decision, AS_IT_IS), prediction.decide(decision, AS_IT_IS), strict=True
    ):
        np.testing.assert_array_equal(made, expected)


def hybrid_file(labels: dict[str, int], preprocessing: Any, **net_args: Any) -> ModelFile:
    """A network of slices whose weights are random."""
    args = {"width": 8, "size_px": 64, "norm": "pre", "attention_dropout": 0.0, **net_args}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = Hybrid2d(**args)
    spec = ModelSpec(
        name="half",
        version="1",
        net="hybrid2d",
        net_args=args,
        preprocessing=preprocessing.to_dict(),
        labels=labels,
        training_hu_range=(-40, 160),
        postprocessing=Postprocessing().to_dict(),
        provenance={"train": ["1"]},
        storage="fp16",
    )
    return ModelFile(spec, dict(net.state_dict()))


def test_hybrid2d_in_both_places_is_one_file(tmp_path: Path) -> None:
    """Liver by whole slices, tumor by boxes with neighbors; and mixed with patch networks."""
    steps = SlicePreprocessing(grid_px=128, size_px=64)
    liver = hybrid_file(STAGES["liver"], steps, classes=2)
    classes = {"background": 0, "liver": 1, "tumor": 2}
    tumor = hybrid_file(classes, BOX, channels=3, classes=3, position="none")
    patch_liver, patch_tumor = (ModelFile.load(path) for path in save_halves(tmp_path / "halves"))
    cascade = CascadeSettings(
        smallest_liver_ml=0.0, closing_mm=20.0, fill_holes=True, join_liver=True
    ).to_dict()
    ct = abdomen()
    two_tumors = join_members([tumor, tumor])
    for n, (first, second) in enumerate(
        [(liver, tumor), (patch_liver, tumor), (liver, patch_tumor), (liver, two_tumors)]
    ):
        path = tmp_path / f"{n}.safetensors"
        join_files(first, second, name="pair", version="1", cascade=cascade).save(path)
        worker = load_segmenter(RunSettings(model=str(path), device="cpu"))
        assert isinstance(worker.network, Cascade)
        result = worker.segment(ct, keep_prediction=True)
        assert result.labels_kji.shape == ct.shape_kji
        assert np.abs(result.probabilities.astype(np.float32).sum(0) - 1).max() < 4e-3
        assert set(ModelFile.load(path).build_nets()) == {"liver", "tumor"}

"""The model that users get: whole, readable, and good enough on phantoms and on a foreign CT."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from LiverTumorSegLib.ct.nifti import read_ct, read_labels
from LiverTumorSegLib.inference.decision import Decision
from LiverTumorSegLib.inference.preprocess import SlicePreprocessing
from LiverTumorSegLib.inference.preprocess_liver_box import LiverBoxPreprocessing
from LiverTumorSegLib.inference.preprocess_volume import VolumePreprocessing
from LiverTumorSegLib.inference.segmenter import Segmenter, load_segmenter
from LiverTumorSegLib.labels import Label
from LiverTumorSegLib.model.catalog import find_model, shipped_models, verify
from LiverTumorSegLib.model.spec import ModelSpec, read_spec, stage_of
from LiverTumorSegLib.phantom.phantom import make_phantom
from LiverTumorSegLib.result.agreement import compare, dice
from LiverTumorSegLib.result.lesions import label_lesions
from LiverTumorSegLib.settings import RunSettings
from looped import looped

PHANTOM_SEEDS = (7, 21)  # training uses seeds from 1000 on
CASCADE, PAIR = "gunetrpp-small", "liver-tumor"  # the last is the default
TEST_CASES = {"16", "18", "30", "36", "47"}  # of the data's own split column
STORAGE_COST = 0.002  # of pooled Dice, with the stored weights in place of those trained


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    return load_segmenter(RunSettings(device="cpu"))


@pytest.fixture(scope="module")
def cascade() -> Segmenter:
    return load_segmenter(RunSettings(model=CASCADE, device="cpu"))


def preprocessing_of(spec: ModelSpec) -> dict[str, Any]:
    """The usual one, at the size that the network was trained with."""
    if spec.preprocessing.get("kind") == LiverBoxPreprocessing.KIND:
        return LiverBoxPreprocessing().to_dict()
    size_px = spec.preprocessing["size_px"]
    if spec.preprocessing.get("kind", SlicePreprocessing.KIND) == SlicePreprocessing.KIND:
        return SlicePreprocessing(size_px=size_px).to_dict()
    margin_mm, masked = (spec.preprocessing[n] for n in ("liver_margin_mm", "mask_as_channel"))
    return VolumePreprocessing(
        window_hu=(-40, 160), size_px=size_px, liver_margin_mm=margin_mm, mask_as_channel=masked
    ).to_dict()


def test_every_shipped_model_is_whole_and_says_what_it_is() -> None:
    entries = shipped_models()
    assert sum(entry.default for entry in entries) == 1
    assert {entry.name for entry in entries} == {PAIR, CASCADE}
    assert next(entry.name for entry in entries if entry.default) == PAIR
    for entry in entries:
        verify(entry)
        spec = read_spec(entry.file.path)
        assert entry.file.path.stat().st_size <= 21_000_000
        assert spec.storage in ("int8", "fp16")
        for one in spec.networks.values():
            assert one.preprocessing == preprocessing_of(one)
        assert spec.provenance["licence"] == entry.licence == "CC BY-NC-SA 4.0"
        assert "not for diagnosis" in spec.provenance["notice"]


def test_the_cascades_are_small() -> None:
    for name in (CASCADE, PAIR):
        assert find_model(name).file.path.stat().st_size <= 12_000_000


def test_the_default_was_chosen_out_of_fold_and_knows_what_its_threshold_trades() -> None:
    """It is trained on all patients; each was judged once, by a fold that had not seen it."""
    spec = read_spec(find_model(None).file.path)
    chosen = spec.provenance["chosen"]
    judged = [case for fold in chosen["folds"].values() for case in fold["cases"]]
    assert len(judged) == len(set(judged)) == len(chosen["cases"]) == 30
    assert chosen["patients"] == 24
    assert set(judged) <= set(spec.provenance["train"])
    points = spec.tuning["points"]
    found = [point["lesions_from_10_mm"][0] for point in points]
    assert found == sorted(found, reverse=True), "a higher threshold finds less"
    assert points[0]["false_lesions_per_volume"] > points[-1]["false_lesions_per_volume"]
    pairs = [(point["tumor_threshold"], point.get("seed_threshold", 0)) for point in points]
    decision = Decision.from_dict(spec.decision)
    assert (decision.tumor_threshold, decision.seed_threshold) in pairs


def test_the_default_says_how_bright_the_livers_of_its_training_were() -> None:
    """By which a run tells of another one; ``training.export --livers`` puts it into the file."""
    assert read_spec(find_model(None).file.path).trained_liver_hu == (64.0, 161.0)


def test_the_cascade_was_trained_on_no_case_of_the_other_splits() -> None:
    spec = read_spec(find_model(CASCADE).file.path)
    for one in (spec, *spec.networks.values()):
        stored = one.provenance
        assert not TEST_CASES & set(stored["train"])
        assert not set(stored["val"]) & set(stored["train"])


def test_storage_costs_next_to_nothing() -> None:
    for spec in read_spec(find_model(CASCADE).file.path).networks.values():
        things = "volumes" if stage_of(spec) else "slices"
        measured = spec.provenance[f"validation_{things}_dice"]
        for organ, dice_fp32 in measured["fp32"].items():
            assert abs(dice_fp32 - measured[spec.storage][organ]) <= STORAGE_COST


@pytest.mark.slow
@looped("seed", PHANTOM_SEEDS)
def test_phantom_liver_and_tumors_are_found(segmenter: Segmenter, seed: int) -> None:
    phantom = make_phantom(seed=seed, shape_kji=(40, 256, 256), spacing_kji_mm=(6.5, 1.5, 1.5))
    labels = segmenter.segment(phantom.ct).labels_kji
    assert compare(labels, phantom.labels).liver_dice >= 0.85
    components, _ = label_lesions(phantom.labels)
    voxel_mm3 = 1000 * phantom.ct.voxel_ml
    for lesion in range(1, components.max() + 1):
        inside = components == lesion
        diameter_mm = np.cbrt(6 * inside.sum() * voxel_mm3 / np.pi)
        if diameter_mm >= 15:
            assert (labels[inside] == Label.TUMOR).any(), f"{diameter_mm:.0f} mm tumor missed"


@pytest.mark.slow
def test_the_cascade_finds_the_liver_of_a_phantom(cascade: Segmenter) -> None:
    """It has never seen one."""
    shape, spacing = (40, 256, 256), (6.5, 1.5, 1.5)
    phantom = make_phantom(seed=PHANTOM_SEEDS[0], shape_kji=shape, spacing_kji_mm=spacing)
    labels = cascade.segment(phantom.ct).labels_kji
    assert compare(labels, phantom.labels).liver_dice >= 0.85
    assert ((labels == Label.TUMOR) & (phantom.labels == Label.TUMOR)).any()


@pytest.mark.slow
@looped("name", [PAIR, CASCADE])
def test_a_ct_from_another_scanner(name: str | None, shared_data: Path) -> None:
    """Unenhanced, 3 mm, the upper liver outside the field of view; never in training."""
    ct, _ = read_ct(shared_data / "fixtures" / "example_ct.nii.gz")
    reference, _ = read_labels(shared_data / "fixtures" / "example_liver_reference.nii.gz")
    labels = load_segmenter(RunSettings(model=name, device="cpu")).segment(ct).labels_kji
    assert dice(labels >= Label.LIVER, reference >= Label.LIVER) >= 0.85

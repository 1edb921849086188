"""The model that users get: whole, readable, and good enough on phantoms and on a foreign CT."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from LiverTumorSegLib.agreement import compare, dice
from LiverTumorSegLib.catalog import find_model, shipped_models, verify
from LiverTumorSegLib.labels import Label
from LiverTumorSegLib.lesions import label_lesions
from LiverTumorSegLib.nifti import read_ct, read_labels
from LiverTumorSegLib.phantom import make_phantom
from LiverTumorSegLib.preprocess import SlicePreprocessing
from LiverTumorSegLib.segment import SliceSegmenter, load_segmenter
from LiverTumorSegLib.spec import read_spec

PHANTOM_SEEDS = (7, 21)  # training uses seeds from 1000 on


@pytest.fixture(scope="module")
def segmenter() -> SliceSegmenter:
    return load_segmenter(device="cpu")


def test_every_shipped_model_is_whole_and_says_what_it_is() -> None:
    entries = shipped_models()
    assert sum(entry.default for entry in entries) == 1
    for entry in entries:
        verify(entry)
        for path in entry.paths:
            spec = read_spec(path)
            assert path.stat().st_size <= 21_000_000
            assert spec.storage in ("int8", "fp16")
            size_px = spec.preprocessing["size_px"]
            assert spec.preprocessing == SlicePreprocessing(size_px=size_px).to_dict()
            assert spec.provenance["licence"] == entry.licence == "CC BY-NC-SA 4.0"
            assert "not for diagnosis" in spec.provenance["notice"]


def test_trained_on_no_case_of_the_other_splits() -> None:
    stored = read_spec(find_model().paths[0]).provenance
    test_cases = {"16", "18", "30", "36", "47"}  # of the data's own split column
    assert not test_cases & set(stored["train"])
    assert not set(stored["val"]) & set(stored["train"])


def test_storage_costs_next_to_nothing() -> None:
    spec = read_spec(find_model().paths[0])
    measured = spec.provenance["validation_slices_dice"]
    for organ in ("liver", "tumor"):
        assert abs(measured["fp32"][organ] - measured[spec.storage][organ]) <= 0.002


@pytest.mark.slow
@pytest.mark.parametrize("seed", PHANTOM_SEEDS)
def test_phantom_liver_and_tumors_are_found(segmenter: SliceSegmenter, seed: int) -> None:
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
def test_a_ct_from_another_scanner(segmenter: SliceSegmenter, shared_data: Path) -> None:
    """Unenhanced, 3 mm, the upper liver outside the field of view; never in training."""
    ct, _ = read_ct(shared_data / "fixtures" / "example_ct.nii.gz")
    reference, _ = read_labels(shared_data / "fixtures" / "example_liver_reference.nii.gz")
    labels = segmenter.segment(ct).labels_kji
    assert dice(labels >= Label.LIVER, reference >= Label.LIVER) >= 0.85

"""The contrast phase by gray values: on phantoms of each phase, and on real livers."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from dicom_files import save_series
from LiverTumorSegLib.cli.phase_of_series import phase_of_series
from LiverTumorSegLib.ct.nifti import read_ct, read_labels
from LiverTumorSegLib.ct.phase import Phase
from LiverTumorSegLib.ct.study import read_study
from LiverTumorSegLib.phantom.phantom import Phantom, make_phantom
from LiverTumorSegLib.phantom.trunk import Patient
from LiverTumorSegLib.result.contrast import contrast_of
from LiverTumorSegLib.result.trunk import Trunk
from LiverTumorSegLib.volume import CtVolume
from scipy import ndimage

COARSE = {"shape_kji": (60, 128, 128), "spacing_kji_mm": (4.0, 3.0, 3.0)}


def patient(monkeypatch: pytest.MonkeyPatch, seed: int, liver_hu: float, vein_hu: float) -> Phantom:
    drawn = replace(Patient.draw(seed), liver_hu=liver_hu, vein_hu=vein_hu)
    with monkeypatch.context() as patch:
        patch.setattr(Patient, "draw", lambda seed: drawn)
        return make_phantom(seed=seed, n_tumors=0, **COARSE)  # type: ignore[arg-type]


def phase(ct: CtVolume, labels: np.ndarray) -> Phase:
    lps, turn = ct.to_lps()
    return contrast_of(Trunk.around_liver(lps, turn.apply(labels))).phase


def duller(scan: Phantom, most_hu: int) -> CtVolume:
    """The phantom's kidneys are enhanced, and its bowel bright, whatever its veins are."""
    hu = scan.ct.hu.copy()
    soft = ~ndimage.binary_dilation(hu > 600, iterations=4) & (hu > most_hu) & (hu < 250)
    hu[soft & (scan.labels == 0)] = most_hu
    return CtVolume(hu, scan.ct.ijk_to_ras)


def test_phantoms_of_four_phases(monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in (0, 1):
        for liver_hu, vein_hu in ((105, 150), (85, 120), (120, 165)):
            scan = patient(monkeypatch, seed, liver_hu, vein_hu)
            assert phase(scan.ct, scan.labels) == "portal-venous", (seed, liver_hu)
        late = patient(monkeypatch, seed, 92, 94)
        assert phase(duller(late, 100), late.labels) == "late"
        plain = patient(monkeypatch, seed, 55, 42)
        assert phase(duller(plain, 50), plain.labels) == "unenhanced"
        early, veins = patient(monkeypatch, seed, 70, 330), patient(monkeypatch, seed, 70, 80)
        hu = veins.ct.hu.copy()
        hu[:, :, 64:] = early.ct.hu[:, :, 64:]  # no contrast yet on the right, where veins are
        assert phase(CtVolume(hu, veins.ct.ijk_to_ras), veins.labels) == "arterial"


def test_a_series_is_looked_at_through_the_liver_that_a_model_finds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan = patient(monkeypatch, 0, 105, 150)
    seen = []

    class Finds:
        """A model that marks what is as bright as the phantom's liver, where that lies."""

        def segment(self, ct: CtVolume, progress: object) -> object:
            seen.append(ct.shape_kji)
            assert ct.shape_kji[0] == len(scan.labels[::1])
            return type("Done", (), {"labels_kji": scan.labels, "found_liver": True})()

    save_series(tmp_path, scan.ct, names=lambda k: f"{k:03d}")
    (entry,) = read_study(tmp_path)
    assert phase_of_series(entry, Finds()) == "portal-venous"  # type: ignore[arg-type]
    thin = replace(entry, spacing_mm=1.25)
    with pytest.raises(AssertionError):
        phase_of_series(thin, Finds())  # type: ignore[arg-type]
    assert seen == [(60, 128, 128), (15, 128, 128)]


@pytest.mark.slow
def test_real_livers(shared_data: Path) -> None:
    """What ``contrast`` states of them."""
    found = Counter[Phase]()
    for path in sorted((shared_data / "lits-subset").glob("volume-*.nii.gz")):
        if "context" not in path.name:
            ct, _ = read_ct(path)
            labels = read_labels(path.with_name(path.name.replace("volume", "segmentation")))[0]
            found[phase(ct, labels)] += 1
    assert found == {"portal-venous": 28, "unknown": 2}
    ct, _ = read_ct(shared_data / "fixtures" / "example_ct.nii.gz")
    liver, _ = read_labels(shared_data / "fixtures" / "example_liver_reference.nii.gz")
    assert phase(ct, liver) == "unenhanced"

"""``livertumorseg measure``: any program's label map gives what a segmentation gives."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
from command_line import PATIENT, RESULTS, run, some_hu, tree
from LiverTumorSegLib.ct.label_map import LabelNumbers, read_label_map
from LiverTumorSegLib.ct.nifti import read_labels, write_ct, write_labels
from LiverTumorSegLib.phantom.phantom import Phantom, make_phantom
from LiverTumorSegLib.result.lesions import measures_to_dict
from LiverTumorSegLib.result.plausibility import check
from LiverTumorSegLib.volume import CtVolume, Reorientation
from numpy.typing import NDArray


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    return make_phantom(seed=7, shape_kji=(36, 80, 80), spacing_kji_mm=(8.0, 5.0, 5.0))


@pytest.fixture
def ct_file(phantom: Phantom, tmp_path: Path) -> Path:
    write_ct(tmp_path / f"{PATIENT}.nii.gz", phantom.ct)
    return tmp_path / f"{PATIENT}.nii.gz"


def test_numbers_of_another_program_give_the_same_result(
    phantom: Phantom, ct_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs = np.array([7, 5, 9], np.uint8)[phantom.labels]  # 7: an organ that does not matter
    write_labels(tmp_path / "total.nii.gz", theirs, phantom.ct)
    out = tmp_path / "out"
    refused = run(capsys, "measure", ct_file, tmp_path / "total.nii.gz", "-o", out)
    assert refused.code == 2
    assert "holds more labels than 1 (liver) and 2 (tumor), such as 5, 7, 9" in refused.err
    option = ("--labels", "liver=5,tumor=9")
    done = run(capsys, "measure", ct_file, tmp_path / "total.nii.gz", "-o", out, *option)
    assert done.code == 0, done.err
    assert tree(out).keys() == RESULTS
    labels, _ = read_labels(out / "seg.nii.gz")
    np.testing.assert_array_equal(labels, phantom.labels)
    record = json.loads((out / "lesions.json").read_text())
    expected = measures_to_dict(check(phantom.ct, phantom.labels).measures)
    assert {key: record[key] for key in expected} == expected
    assert record["model"] is None
    assert record["found_liver"]
    assert PATIENT not in done.out + done.err + (out / "lesions.json").read_text()


def test_a_map_stored_another_way_is_the_same_map(phantom: Phantom, tmp_path: Path) -> None:
    for order in ((0, 1, 2), (2, 0, 1), (1, 0, 2)):
        for flipped in ((True, False, False), (False, True, True)):
            turn = Reorientation(order, flipped, phantom.ct.shape_kji)
            place = turn.apply_affine(phantom.ct.ijk_to_ras)
            write_labels(tmp_path / "turned.nii.gz", turn.apply(phantom.labels), place)
            labels, notes = read_label_map(tmp_path / "turned.nii.gz", phantom.ct)
            np.testing.assert_array_equal(labels, phantom.labels)
            assert notes == ()


def test_a_map_on_another_grid_is_brought_to_the_ct_and_says_so(
    phantom: Phantom, tmp_path: Path
) -> None:
    """The same patient on finer, thinner, shifted and smaller grids: volumes agree within 6 %."""
    fine = make_phantom(seed=7, shape_kji=(90, 200, 200), spacing_kji_mm=(3.0, 2.0, 2.0))
    write_labels(tmp_path / "fine.nii.gz", fine.labels, fine.ct)
    labels, notes = read_label_map(tmp_path / "fine.nii.gz", phantom.ct)
    assert len(notes) == 1
    assert "another grid than the CT" in notes[0]
    for least in (1, 2):
        wanted = (fine.labels >= least).sum() * fine.ct.voxel_ml
        assert (labels >= least).sum() * phantom.ct.voxel_ml == pytest.approx(wanted, rel=0.06)
    part = CtVolume(phantom.ct.hu[:18], phantom.ct.ijk_to_ras)
    inside = (phantom.labels[:18] > 0).sum() / (phantom.labels > 0).sum()
    write_labels(tmp_path / "whole.nii.gz", phantom.labels, phantom.ct)
    if inside < 0.5:
        with pytest.raises(ValueError, match=r"whole.nii.gz labels does not lie in this CT"):
            read_label_map(tmp_path / "whole.nii.gz", part)
    upper = CtVolume(phantom.ct.hu[10:], shifted(phantom.ct, 10))
    cut, notes = read_label_map(tmp_path / "whole.nii.gz", upper)
    np.testing.assert_array_equal(cut, phantom.labels[10:])
    lost = 100 * (phantom.labels[:10] > 0).sum() / (phantom.labels > 0).sum()
    assert any(f"{lost:.0f} % of what is labeled lies outside this CT" in note for note in notes)


def shifted(ct: CtVolume, slices: int) -> NDArray[np.float64]:
    """The affine of the CT without its first slices."""
    place = ct.ijk_to_ras.copy()
    place[:3, 3] += slices * place[:3, 2]
    return place


def test_what_cannot_be_measured_is_one_sentence_and_leaves_nothing(
    phantom: Phantom, ct_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    far = phantom.ct.ijk_to_ras.copy()
    far[:3, 3] += 1000
    write_labels(tmp_path / "far.nii.gz", phantom.labels, far)
    write_labels(tmp_path / "good.nii.gz", phantom.labels, phantom.ct)
    nibabel.Nifti1Image(some_hu(), np.eye(4)).to_filename(tmp_path / "no_labels.nii.gz")
    out = tmp_path / "out"
    before = tree(tmp_path)
    for labels, options, sentence in (
        ("far.nii.gz", (), "does not lie in this CT"),
        ("no_labels.nii.gz", (), "no labels"),
        ("absent.nii.gz", (), "does not exist"),
        ("good.nii.gz", ("--labels", "liver=1,spleen=2"), "does not say which labels"),
        ("good.nii.gz", ("--labels", "liver=1,tumor=1"), "does not say which labels"),
        ("good.nii.gz", ("--labels", "liver=0"), "does not say which labels"),
        ("good.nii.gz", ("--labels", "liver=300"), "does not say which labels"),
    ):
        outcome = run(capsys, "measure", ct_file, tmp_path / labels, "-o", out, *options)
        assert outcome.code == 2
        assert sentence in outcome.err.splitlines()[-1]
        assert tree(tmp_path) == before


def test_a_map_that_lost_its_place_is_read_voxel_by_voxel_where_somebody_asks(
    phantom: Phantom, ct_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As LiTS 53 is: its affine is the identity, up to a shift, and its CT's is not."""
    bare = np.eye(4)
    bare[:3, 3] = 1
    far = phantom.ct.ijk_to_ras.copy()
    far[:3, 3] += 1000
    for name, place in (("bare", bare), ("far", far)):
        path, out = tmp_path / f"{name}.nii.gz", tmp_path / name
        write_labels(path, phantom.labels, place)
        refused = run(capsys, "measure", ct_file, path, "-o", out)
        assert (refused.code, out.exists()) == (2, False)
        assert ("--trust-voxels" in refused.err) == (name == "bare")
        done = run(capsys, "measure", ct_file, path, "-o", out, "--trust-voxels")
        assert done.code == 0
        assert "voxel by voxel, as asked" in (out / "lesions.json").read_text()
        labels, ijk_to_ras = read_labels(out / "seg.nii.gz")
        np.testing.assert_array_equal(labels, phantom.labels)
        np.testing.assert_allclose(ijk_to_ras, phantom.ct.ijk_to_ras, atol=1e-4)
    write_labels(tmp_path / "air.nii.gz", (phantom.ct.hu < -900).astype(np.uint8), bare)
    write_labels(tmp_path / "part.nii.gz", phantom.labels[1:], bare)
    for name, sentence in (
        ("air", "HU on average, which is no liver"),
        ("part", "voxels (k, j, i"),
    ):
        path, out = tmp_path / f"{name}.nii.gz", tmp_path / "none"
        refused = run(capsys, "measure", ct_file, path, "-o", out, "--trust-voxels")
        assert (refused.code, out.exists()) == (2, False)
        assert sentence in refused.err


def test_a_map_corrected_in_its_own_folder_is_not_replaced(
    phantom: Phantom, ct_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "result"
    place.mkdir()
    write_labels(place / "seg.nii.gz", phantom.labels, phantom.ct)
    before = tree(place)
    outcome = run(capsys, "measure", ct_file, place / "seg.nii.gz", "-o", place, "--overwrite")
    assert outcome.code == 2
    assert "seg.nii.gz lies in result itself" in outcome.err
    assert tree(place) == before


def test_several_numbers_may_mean_liver() -> None:
    numbers = LabelNumbers.parse("liver=1+3+4, tumor=2")
    assert numbers == LabelNumbers((1, 3, 4), (2,))
    np.testing.assert_array_equal(numbers.apply(np.arange(6, dtype=np.uint8)), [0, 1, 2, 1, 1, 0])
    assert LabelNumbers.parse("tumor=1") == LabelNumbers((), (1,))

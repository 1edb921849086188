"""``--dicom``: a DICOM SEG and a structured report that say what the labels and the record say."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from command_line import PATIENT, rows_of, run, save_ct, tree
from dicom_files import changed, save_enhanced, save_series
from LiverTumorSegLib.ct.dicom import find_series, read_series
from LiverTumorSegLib.ct.nifti import read_labels, write_labels
from LiverTumorSegLib.phantom.phantom import Phantom, make_phantom
from LiverTumorSegLib.result.export.dicom_seg import make_seg
from LiverTumorSegLib.result.export.dicom_source import DicomSource
from LiverTumorSegLib.result.export.dicom_sr import make_sr
from LiverTumorSegLib.result.export.segments import SegmentedCase
from LiverTumorSegLib.result.lesions import measure
from LiverTumorSegLib.volume import LPS_SIGNS, CtVolume

pytestmark = pytest.mark.skipif(
    find_spec("highdicom") is None, reason="highdicom, of the extra [dicom], is missing"
)

MODEL = {"model": "tiny", "version": "0.3", "sha256": "ab" * 32}
WHOSE = {"PatientName": "Doe^Jane", "PatientID": "p-17", "PatientBirthDate": "19600102"}
NOBODY_NEEDS = {
    "InstitutionName": "SECRET",
    "ReferringPhysicianName": "SECRET",
    "OperatorsName": "SECRET",
    "StudyDescription": "SECRET",
    "SeriesDescription": "SECRET",
    "PatientAddress": "SECRET",
    "PatientComments": "SECRET",
    "AdditionalPatientHistory": "SECRET",
}


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    return make_phantom(seed=7, shape_kji=(36, 80, 80), spacing_kji_mm=(8.0, 5.0, 5.0))


@pytest.fixture(scope="module")
def result(phantom: Phantom, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a CT in DICOM, its labels, and what ``measure --dicom`` made of them."""
    from LiverTumorSegLib.cli.main import main

    home = tmp_path_factory.mktemp("dicom")
    save_series(home / "ct", phantom.ct, change=changed(**WHOSE, **NOBODY_NEEDS), number=4)
    write_labels(home / "labels.nii.gz", phantom.labels, phantom.ct)
    words = ["measure", home / "ct", home / "labels.nii.gz", "-o", home / "out", "--dicom"]
    assert main([str(word) for word in words]) == 0
    return home


def sr_numbers(group: Any) -> dict[str, float]:
    """Name -> number of all measurements in a group's content items, as pydicom has them."""
    return {
        item.ConceptNameCodeSequence[0].CodeMeaning: float(
            item.MeasuredValueSequence[0].NumericValue
        )
        for item in group.ContentSequence
        if item.ValueType == "NUM"
    }


def sr_groups(sr: Any) -> list[Any]:
    holder = next(
        item
        for item in sr.ContentSequence
        if item.ConceptNameCodeSequence[0].CodeMeaning == "Imaging Measurements"
    )
    return list(holder.ContentSequence)


def test_the_segments_hold_the_very_voxels_of_the_labels(result: Path) -> None:
    from highdicom.seg import segread

    seg = segread(result / "out" / "seg.dcm")
    labels, ijk_to_ras = read_labels(result / "out" / "seg.nii.gz")
    volume = seg.get_volume(combine_segments=True)  # LPS, (k, i, j) axes by their affine
    whole = np.zeros(labels.shape, np.uint8)
    to_ijk = np.linalg.inv(ijk_to_ras) @ np.diag([*LPS_SIGNS, 1.0]) @ volume.affine
    places = np.argwhere(volume.array > 0)
    ijk = places @ to_ijk[:3, :3].T + to_ijk[:3, 3]
    np.testing.assert_allclose(ijk, np.rint(ijk), atol=1e-3)
    i, j, k = np.rint(ijk).astype(int).T
    whole[k, j, i] = volume.array[tuple(places.T)]
    np.testing.assert_array_equal(np.minimum(whole, 2), labels)
    record = json.loads((result / "out" / "lesions.json").read_text())
    voxel_ml = abs(np.linalg.det(ijk_to_ras[:3, :3])) / 1000
    for lesion in record["lesions"]:
        volume_ml = (whole == lesion["number"] + 1).sum() * voxel_ml
        assert volume_ml == pytest.approx(lesion["volume_ml"], abs=1e-3)


def test_each_segment_says_what_it_is_and_who_made_it(result: Path) -> None:
    seg = pydicom.dcmread(result / "out" / "seg.dcm")
    liver, *tumors = seg.SegmentSequence
    assert liver.SegmentedPropertyTypeCodeSequence[0].CodeValue == "10200004"
    assert len(tumors) >= 2
    for number, tumor in enumerate(tumors, 1):
        assert tumor.SegmentLabel == f"Tumor {number}"
        assert tumor.SegmentedPropertyTypeCodeSequence[0].CodeValue == "108369006"
        assert tumor.AnatomicRegionSequence[0].CodeValue == "10200004"
    assert "for research only, not for diagnosis" in seg.SeriesDescription


def test_a_models_segments_name_it_with_version_and_hash(phantom: Phantom, result: Path) -> None:
    series = find_series(result / "ct")[0]
    measures = measure(phantom.labels, phantom.ct)
    case = SegmentedCase.of(phantom.labels, phantom.ct.ijk_to_ras, measures, MODEL)
    source = DicomSource.read(series)
    seg = make_seg(case, source)
    for segment in seg.SegmentSequence:
        assert segment.SegmentAlgorithmType == "AUTOMATIC"
        (algorithm,) = segment.SegmentationAlgorithmIdentificationSequence
        assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == ("tiny", "0.3")
        assert MODEL["sha256"] in str(algorithm.AlgorithmParameters)
    assert MODEL["sha256"] in str(make_sr(case, source, seg))


def test_the_report_has_the_records_numbers_and_refers_to_segments_and_images(
    result: Path,
) -> None:
    record = json.loads((result / "out" / "lesions.json").read_text())
    sr = pydicom.dcmread(result / "out" / "sr.dcm")
    seg = pydicom.dcmread(result / "out" / "seg.dcm")
    organ, *lesions = sr_groups(sr)
    assert list(sr_numbers(organ).values()) == [
        record[name] for name in ("liver_volume_ml", "tumor_volume_ml", "burden_percent")
    ]
    assert len(lesions) == len(record["lesions"])
    names = ("volume_ml", "longest_axial_diameter_mm", "perpendicular_diameter_mm", "mean_hu")
    images = {pydicom.dcmread(p).SOPInstanceUID for p in (result / "ct").iterdir()}
    for lesion, row in zip(lesions, record["lesions"], strict=True):
        assert list(sr_numbers(lesion).values()) == [row[name] for name in names]
        referred = [
            item.ReferencedSOPSequence[0]
            for item in lesion.ContentSequence
            if item.ValueType == "IMAGE"
        ]
        by_class = {item.ReferencedSOPInstanceUID for item in referred}
        assert by_class <= images | {seg.SOPInstanceUID}
        assert seg.SOPInstanceUID in by_class
        segment = next(item for item in referred if "ReferencedSegmentNumber" in item)
        label = seg.SegmentSequence[segment.ReferencedSegmentNumber - 1].SegmentLabel
        assert label == f"Tumor {row['number']}"
    from highdicom.sr import srread

    again = srread(result / "out" / "sr.dcm")
    assert len(again.content.get_volumetric_roi_measurement_groups()) == len(lesions)


def test_only_what_an_archive_files_by_is_taken_from_the_ct(result: Path) -> None:
    source = pydicom.dcmread(next((result / "ct").iterdir()))
    for name in ("seg.dcm", "sr.dcm"):
        made = pydicom.dcmread(result / "out" / name)
        for tag in (*WHOSE, "StudyInstanceUID"):
            assert made[tag].value == source[tag].value
        assert "SECRET" not in str(made)
        assert made.SeriesInstanceUID != source.SeriesInstanceUID
    for name in ("lesions.json", "lesions.csv"):
        text = (result / "out" / name).read_text()
        assert not any(word in text for word in ("SECRET", "Doe", "p-17"))


def test_a_name_that_a_library_warns_of_is_not_repeated(
    phantom: Phantom, result: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_series(tmp_path / "ct", phantom.ct)  # its patient's name has one part only
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        labels = result / "labels.nii.gz"
        done = run(capsys, "measure", tmp_path / "ct", labels, "-o", tmp_path / "o", "--dicom")
    assert done.code == 0
    assert PATIENT not in done.out + done.err + "".join(str(w.message) for w in heard)
    assert pydicom.dcmread(tmp_path / "o" / "seg.dcm").PatientName == PATIENT


def test_a_batch_writes_dicom_of_dicom_and_says_where_it_cannot(
    batch: Callable[..., Any], out: Path, tmp_path: Path
) -> None:
    cts = tmp_path / "mixed"
    save_series(cts / "p1")
    save_ct(cts / "p2.nii.gz")
    assert batch("--dicom", source=cts).code == 1
    series, nifti = rows_of(out)
    assert series["status"] == "done"
    stamp = json.loads((out / "p1" / "batch.json").read_text())
    assert {"seg.dcm", "sr.dcm"} <= set(stamp["files"])
    algorithm = pydicom.dcmread(out / "p1" / "seg.dcm").SegmentSequence[0]
    assert algorithm.SegmentationAlgorithmIdentificationSequence[0].AlgorithmName == "tiny"
    assert nifti["status"] == "failed"
    assert "This CT is no DICOM" in nifti["reason"]
    assert not (out / "p2").exists()
    batch("--dicom", source=cts)
    assert rows_of(out)[0]["status"] == "skipped"


def test_both_files_pass_the_standards_own_checker(result: Path) -> None:
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy is not installed (Debian has it in dicom3tools)")
    for name in ("seg.dcm", "sr.dcm"):
        checked = subprocess.run(
            ["dciodvfy", "-new", str(result / "out" / name)],
            capture_output=True,
            text=True,
            check=False,
        )
        errors = [line for line in checked.stderr.splitlines() if line.startswith("Error")]
        assert not errors, f"{name}: {errors}"


def test_every_frame_of_a_multi_frame_ct_lies_where_its_labels_do(
    phantom: Phantom, tmp_path: Path
) -> None:
    count = phantom.ct.shape_kji[0]
    order = [(7 * n + 3) % count for n in range(count)]
    save_enhanced(tmp_path / "ct" / "all.dcm", phantom.ct, order, rescale_shared=True)
    ct, _ = read_series(series := find_series(tmp_path / "ct")[0])
    measures = measure(phantom.labels, ct)
    case = SegmentedCase.of(phantom.labels, ct.ijk_to_ras, measures, None)
    source = DicomSource.read(series)
    seg = make_seg(case, source)
    make_sr(case, source, seg).save_as(tmp_path / "sr.dcm")
    first = ct.ijk_to_ras[:3, 3] * LPS_SIGNS
    along = ct.ijk_to_ras[:3, 2] * LPS_SIGNS
    for frame, pixels in zip(seg.PerFrameFunctionalGroupsSequence, seg.pixel_array, strict=True):
        position = np.array(frame.PlanePositionSequence[0].ImagePositionPatient, float)
        k = round(float((position - first) @ along / (along @ along)))
        number = frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        np.testing.assert_array_equal(pixels, case.values_kji[k] == number)
        derived = frame.DerivationImageSequence[0].SourceImageSequence[0]
        assert order[int(derived.ReferencedFrameNumber) - 1] == k


def test_no_liver_is_no_file_and_a_sentence(
    phantom: Phantom, result: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_labels(tmp_path / "none.nii.gz", np.zeros_like(phantom.labels), phantom.ct)
    out = tmp_path / "out"
    done = run(capsys, "measure", result / "ct", tmp_path / "none.nii.gz", "-o", out, "--dicom")
    assert done.code == 0
    assert "nothing to write as DICOM" in done.err
    assert not (out / "seg.dcm").exists()


def test_what_no_dicom_can_refer_to_is_one_sentence_and_leaves_nothing(
    phantom: Phantom,
    result: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    labels = result / "labels.nii.gz"
    write_labels(tmp_path / f"{PATIENT}.nii.gz", phantom.labels, phantom.ct)
    save_series(tmp_path / "nameless", phantom.ct, change=changed(FrameOfReferenceUID=None))
    save_series(tmp_path / "alike", phantom.ct, change=changed(SOPInstanceUID="1.2.3"))
    before = tree(tmp_path)
    for ct, sentence in (
        (tmp_path / f"{PATIENT}.nii.gz", "This CT is no DICOM"),
        (tmp_path / "nameless", "lack their FrameOfReferenceUID"),
        (tmp_path / "alike", "lack their own SOPInstanceUID"),
    ):
        outcome = run(capsys, "measure", ct, labels, "-o", tmp_path / "out", "--dicom")
        assert outcome.code == 2
        assert sentence in outcome.err.splitlines()[-1]
        assert tree(tmp_path) == before
    monkeypatch.setitem(sys.modules, "highdicom", None)
    outcome = run(capsys, "measure", result / "ct", labels, "-o", tmp_path / "out", "--dicom")
    assert outcome.code == 2
    assert "pip install 'livertumorseg[dicom]'" in outcome.err
    assert tree(tmp_path) == before


def test_a_doubt_about_a_lesion_stands_in_the_report(phantom: Phantom, result: Path) -> None:
    source = DicomSource.read(find_series(result / "ct")[0])
    measures = measure(phantom.labels, phantom.ct)
    first = replace(measures.lesions[0], implausible="as dark as fat")
    measures = replace(measures, lesions=(first, *measures.lesions[1:]))
    case = SegmentedCase.of(phantom.labels, phantom.ct.ijk_to_ras, measures, MODEL)
    sr = make_sr(case, source, make_seg(case, source))
    assert "Hardly a tumor: as dark as fat" in str(sr_groups(sr)[1])
    assert "Hardly a tumor" not in str(sr_groups(sr)[2])


def test_a_stored_result_is_exported_as_it_is_now(
    phantom: Phantom, result: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same segments and numbers as at once; after a correction the model's, semi-automatic."""
    out, stored = tmp_path / "out", tmp_path / "stored"
    shutil.copytree(result / "out", stored)
    record = json.loads((stored / "lesions.json").read_text())
    (stored / "lesions.json").write_text(json.dumps({**record, "model": MODEL}))
    words = ("export", stored, "--ct", result / "ct", "--dicom", "-o")
    before = tree(stored)
    assert run(capsys, *words, out).code == 0
    assert tree(out).keys() == {"seg.dcm", "sr.dcm"}
    made, earlier = (pydicom.dcmread(home / "seg.dcm") for home in (out, result / "out"))
    assert made.PixelData == earlier.PixelData
    assert {segment.SegmentAlgorithmType for segment in made.SegmentSequence} == {"AUTOMATIC"}
    groups = [sr_groups(pydicom.dcmread(home / "sr.dcm")) for home in (out, result / "out")]
    assert list(map(sr_numbers, groups[0])) == list(map(sr_numbers, groups[1]))
    again = run(capsys, *words, out)
    assert (again.code, "--overwrite" in again.err) == (2, True)
    assert tree(stored) == before
    write_labels(stored / "seg.nii.gz", np.minimum(phantom.labels, 1), phantom.ct)
    assert run(capsys, *words, out, "--overwrite").code == 0
    (liver,) = pydicom.dcmread(out / "seg.dcm").SegmentSequence
    assert liver.SegmentAlgorithmType == "SEMIAUTOMATIC"
    (algorithm,) = liver.SegmentationAlgorithmIdentificationSequence
    assert MODEL["sha256"] in str(algorithm.AlgorithmParameters)


def test_what_cannot_be_exported_is_one_sentence_and_leaves_nothing(
    phantom: Phantom, result: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    empty = tmp_path / "empty.nii.gz"
    write_labels(empty, np.zeros_like(phantom.labels), phantom.ct)
    assert run(capsys, "measure", result / "ct", empty, "-o", tmp_path / "none").code == 0
    ct = ("--ct", result / "ct")
    for folder, options, sentence in (
        (result / "out", ct, "Say what to write"),
        (result / "out", ("--dicom",), "This CT is no DICOM"),
        (tmp_path / "none", (*ct, "--dicom"), "nothing to write as DICOM"),
        (result / "ct", (*ct, "--stl"), "holds no seg.nii.gz"),
    ):
        outcome = run(capsys, "export", folder, *options, "-o", tmp_path / "out")
        assert outcome.code == 2
        assert sentence in outcome.err.splitlines()[-1]
        assert not (tmp_path / "out").exists()


def test_images_of_another_grid_are_not_the_ct_s(phantom: Phantom, result: Path) -> None:
    """Whatever moves, shrinks or turns it; a gantry's tilt, which Slicer keeps apart, does not."""
    source = DicomSource.read(find_series(result / "ct")[0])
    whole = phantom.ct
    source.refuse_another(whole)
    tilted = whole.ijk_to_ras.copy()
    tilted[1, 2] += 2
    source.refuse_another(CtVolume(whole.hu, tilted))
    moved, coarse = whole.ijk_to_ras.copy(), whole.ijk_to_ras.copy()
    moved[0, 3] += 3
    coarse[:3, 0] *= 1.1
    for hu, place in (
        (whole.hu[1:], whole.ijk_to_ras),
        (whole.hu, moved),
        (whole.hu, coarse),
        (whole.hu, whole.ijk_to_ras @ np.diag([1.0, 1.0, -1.0, 1.0])),
    ):
        with pytest.raises(ValueError, match="not the CT that this result lies on"):
            source.refuse_another(CtVolume(hu, place))

"""Liver parts from other programs' files: record, table and report say where each lesion lies."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from command_line import run, tree
from LiverTumorSegLib.ct.nifti import write_ct, write_labels
from LiverTumorSegLib.phantom.phantom import Phantom, make_phantom
from LiverTumorSegLib.result.lesions import measure, separate_lesions
from LiverTumorSegLib.result.parts_files import read_parts
from LiverTumorSegLib.volume import CtVolume
from numpy.typing import NDArray

SEGMENTS = [f"liver_segment_{number}" for number in range(1, 9)]


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    return make_phantom(seed=7, shape_kji=(40, 96, 96), spacing_kji_mm=(6.0, 4.0, 4.0))


def eighths(phantom: Phantom) -> NDArray[np.uint8]:
    """The liver cut in eight along i, of equal width; 0 elsewhere."""
    liver = phantom.labels > 0
    columns = np.flatnonzero(liver.any(axis=(0, 1)))
    edges = np.linspace(columns[0], columns[-1] + 1, 9)[1:-1]
    which = np.digitize(np.arange(liver.shape[2]), edges) + 1
    return np.where(liver, which, 0).astype(np.uint8)


def save(path: Path, values: NDArray[np.uint8], ct: CtVolume, names: list[str] | None) -> None:
    """As TotalSegmentator saves: uint8 on the input's grid, and with --ml a table of labels."""
    image: Any = nibabel.Nifti1Image(values.transpose(2, 1, 0), ct.ijk_to_ras)
    if names:
        labels = "\n".join(
            f'<Label Key="{n}" Red="{n / 9}" Green="0.0" Blue="1.0" Alpha="1">'
            f"<![CDATA[{name}]]></Label>"
            for n, name in enumerate(names, start=1)
        )
        text = (
            '<?xml version="1.0" encoding="UTF-8"?> <CaretExtension>  '
            "<Date><![CDATA[2013-07-14T05:45:09]]></Date>   "
            f'<VolumeInformation Index="0">   <LabelTable>\n{labels}\n  </LabelTable>  '
            "<StudyMetaDataLinkSet>  </StudyMetaDataLinkSet>  "
            "<VolumeType><![CDATA[Label]]></VolumeType>   </VolumeInformation></CaretExtension>"
        )
        image.header.extensions.append(nibabel.nifti1.Nifti1Extension(0, text.encode()))
    nibabel.save(image, path)


def write_folder(folder: Path, phantom: Phantom) -> Path:
    """All masks, some beside them that are no parts of the liver."""
    folder.mkdir()
    parts = eighths(phantom)
    for number, name in enumerate(SEGMENTS, start=1):
        save(folder / f"{name}.nii.gz", (parts == number).astype(np.uint8), phantom.ct, None)
    for name in ("liver", "spleen", "liver_vessels"):
        mask = np.ones(parts.shape, np.uint8)
        save(folder / f"{name}.nii.gz", mask, phantom.ct, None)
    return folder


def save_seg_nrrd(path: Path, values: NDArray[np.uint8], ct: CtVolume) -> None:
    """As Slicer saves a segmentation of one layer: a name and a number each segment."""
    import SimpleITK

    image = SimpleITK.GetImageFromArray(values)
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ ct.ijk_to_ras
    image.SetSpacing(ct.spacing_kji_mm[::-1])
    image.SetDirection((lps[:3, :3] / np.linalg.norm(lps[:3, :3], axis=0)).ravel().tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    for n, name in enumerate(SEGMENTS):
        image.SetMetaData(f"Segment{n}_Name", name)
        image.SetMetaData(f"Segment{n}_LabelValue", str(n + 1))
        image.SetMetaData(f"Segment{n}_Layer", "0")
    SimpleITK.WriteImage(image, str(path), True)


def test_a_folder_of_masks_one_file_and_bare_numbers_hold_the_same_parts(
    tmp_path: Path, phantom: Phantom
) -> None:
    parts = eighths(phantom)
    folder = write_folder(tmp_path / "liver_segments", phantom)
    save(tmp_path / "ml.nii.gz", parts, phantom.ct, SEGMENTS)
    save(tmp_path / "bare.nii.gz", parts, phantom.ct, None)
    save_seg_nrrd(tmp_path / "slicer.seg.nrrd", parts, phantom.ct)
    for path, names in (
        (tmp_path / "slicer.seg.nrrd", SEGMENTS),
        (folder, SEGMENTS),
        (tmp_path / "ml.nii.gz", SEGMENTS),
        (tmp_path / "bare.nii.gz", [f"part {number}" for number in range(1, 9)]),
    ):
        found = list(read_parts(path, phantom.ct))
        assert [name for name, _ in found] == names
        for number, (_, mask) in enumerate(found, start=1):
            np.testing.assert_array_equal(mask, parts == number)


def test_record_table_and_report_say_where_each_lesion_lies(
    tmp_path: Path, phantom: Phantom, capsys: pytest.CaptureFixture[str]
) -> None:
    ct, labels, out = tmp_path / "ct.nii.gz", tmp_path / "labels.nii.gz", tmp_path / "out"
    write_ct(ct, phantom.ct)
    write_labels(labels, phantom.labels, phantom.ct)
    folder = write_folder(tmp_path / "liver_segments", phantom)
    done = run(capsys, "measure", ct, labels, "-o", out, "--parts", folder)
    assert done.code == 0, done.err
    record = json.loads((out / "lesions.json").read_text())
    parts, voxel_ml = eighths(phantom), phantom.ct.voxel_ml
    healthy = int((phantom.labels == 1).sum())
    for number, (name, row) in enumerate(
        zip(SEGMENTS, record["liver_parts"]["parts"], strict=True), start=1
    ):
        spared = int(((parts == number) & (phantom.labels == 1)).sum())
        assert row["name"] == name
        assert row["volume_ml"] == pytest.approx((parts == number).sum() * voxel_ml, abs=1e-3)
        assert row["without_tumor_ml"] == pytest.approx(spared * voxel_ml, abs=1e-3)
        assert row["share_percent"] == pytest.approx(100 * spared / healthy, abs=1e-3)
    numbers = separate_lesions(phantom.labels, phantom.ct.ijk_to_ras)
    lesions = measure(phantom.labels, phantom.ct).lesions
    assert lesions
    held = {row["number"]: row["part"] for row in record["lesions"]}
    for lesion in lesions:
        most = np.bincount(parts[numbers == lesion.number + 1]).argmax()
        assert held[lesion.number] == SEGMENTS[most - 1]
    with (out / "lesions.csv").open(encoding="utf-8", newline="") as file:
        assert [row["part"] for row in csv.DictReader(file)] == list(held.values())
    assert "liver_segment_8:" in done.out
    pages = []
    for words in ((), ("--parts", folder, "-o", tmp_path / "again.html")):
        assert run(capsys, "report", out, "--ct", ct, *words).code == 0
        path = tmp_path / "again.html" if words else out / "report.html"
        pages.append(path.read_text(encoding="utf-8"))
    assert pages[0] == pages[1], "from the record, and measured anew"
    assert "Parts of the liver" in pages[0]
    assert f'<td class="text">{held[1]}</td>' in pages[0]
    edited = phantom.labels.copy()
    edited[edited == 2] = 1
    write_labels(out / "seg.nii.gz", edited, phantom.ct)
    assert run(capsys, "report", out, "--ct", ct, "--overwrite").code == 0
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "Parts of the liver" not in page, "these were the parts of other labels"


def test_what_holds_no_part_of_this_liver_is_one_sentence(
    tmp_path: Path, phantom: Phantom, capsys: pytest.CaptureFixture[str]
) -> None:
    ct, labels = tmp_path / "ct.nii.gz", tmp_path / "labels.nii.gz"
    write_ct(ct, phantom.ct)
    write_labels(labels, phantom.labels, phantom.ct)
    (tmp_path / "none").mkdir()
    zeros = np.zeros(phantom.labels.shape, np.uint8)
    save(tmp_path / "none" / "spleen.nii.gz", zeros + 1, phantom.ct, None)
    save(tmp_path / "empty.nii.gz", zeros, phantom.ct, SEGMENTS)
    far = phantom.ct.ijk_to_ras.copy()
    far[:3, 3] += 2000
    save(tmp_path / "far.nii.gz", eighths(phantom), CtVolume(phantom.ct.hu, far), SEGMENTS)
    (tmp_path / "text.nii.gz").write_text("liver_segment_1")
    before = tree(tmp_path)
    for name, sentence in (
        ("none", "holds no mask of a liver part"),
        ("empty.nii.gz", "holds no liver part"),
        ("far.nii.gz", "does not lie in this CT"),
        ("text.nii.gz", "text.nii.gz"),
        ("absent.nii.gz", "absent.nii.gz"),
    ):
        words = ["--parts", tmp_path / name, "-o", tmp_path / "out"]
        done = run(capsys, "measure", ct, labels, *words)
        assert done.code == 2
        assert sentence in done.err.splitlines()[-1]
        assert "Traceback" not in done.err
        assert tree(tmp_path) == before
    outside = np.zeros_like(zeros)
    outside[:3] = 1
    save(tmp_path / "left_lobe.nii.gz", outside, phantom.ct, ["left_lobe"])
    done = run(capsys, "measure", ct, labels, "--parts", tmp_path / "left_lobe.nii.gz", *words[2:])
    assert "No liver part lies mostly in this liver" in done.err + done.out

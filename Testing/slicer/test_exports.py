"""Files for others: what is in them, what is refused, and what the DICOM exporter is told."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import ct_scenes as toys
import nibabel as nib
import numpy as np
import pytest
import slicer
from LiverTumorSegLib.ct.label_map import read_label_map
from LiverTumorSegLib.result.export.seg_nrrd import write_seg_nrrd
from LiverTumorSegLib.result.export.segments import SegmentedCase
from LiverTumorSegLib.result.lesions import measure
from LiverTumorSegLib.volume import CtVolume
from LiverTumorSegSlicer.scene import exports, segments
from LiverTumorSegSlicer.scene.nodes import readLabels, writeSegmentation
from looped import looped

UIDS = "1.2.3.1 1.2.3.2 1.2.3.3"


@pytest.fixture
def result(scene) -> tuple[Any, Any]:
    """(segmentation, volume) with the toy labels."""
    volume = toys.addCt()
    return writeSegmentation(toys.toyLabels(), volume, toys.RECORD), volume


@looped("ending", [".nii.gz", ".nii"])
def test_nifti_holds_the_labels_on_the_cts_grid(result, tmp_path, ending):
    node, volume = result
    before, path = toys.sceneState(), tmp_path / f"labels{ending}"
    exports.exportNifti(node, volume, path)
    image = nib.nifti1.Nifti1Image.from_filename(path)
    assert np.array_equal(np.asarray(image.dataobj).T, toys.toyLabels())
    assert image.get_data_dtype() == np.uint8
    assert np.allclose(image.affine, toys.obliqueAffine(), atol=1e-4)
    assert list(tmp_path.iterdir()) == [path]
    assert toys.sceneState() == before


def test_nifti_of_a_transformed_ct_fits_the_cts_own_file(result, tmp_path):
    node, volume = result
    transform = toys.addTransform(toys.rotation(0, 20))
    for each in (node, volume):
        each.SetAndObserveTransformNodeID(transform.GetID())
    exports.exportNifti(node, volume, tmp_path / "labels.nii.gz")
    assert slicer.util.saveNode(volume, str(tmp_path / "ct.nii.gz"))
    load = nib.nifti1.Nifti1Image.from_filename
    labels, ct = load(tmp_path / "labels.nii.gz"), load(tmp_path / "ct.nii.gz")
    assert np.allclose(labels.affine, ct.affine, atol=1e-4)
    assert np.array_equal(np.asarray(labels.dataobj).T, toys.toyLabels())


def test_seg_nrrd_keeps_names_codes_and_voxels(result, tmp_path):
    node, volume = result
    exports.exportSegNrrd(node, tmp_path / "result.seg.nrrd")
    again = slicer.util.loadSegmentation(str(tmp_path / "result.seg.nrrd"))
    assert (readLabels(again, volume) == toys.toyLabels()).all()
    tumor = again.GetSegmentation().GetSegment("Tumor")
    assert "108369006" in segments.tagOf(tumor, "TerminologyEntry")
    assert node.GetStorageNode() is None or "result" not in str(node.GetStorageNode().GetFileName())


def test_slicer_opens_the_command_lines_seg_nrrd_and_it_reads_slicers(result, tmp_path):
    node, volume = result
    ct = CtVolume(np.zeros(toys.SHAPE_KJI, np.int16), toys.obliqueAffine())
    measures = measure(toys.toyLabels(), ct)
    case = SegmentedCase.of(toys.toyLabels(), ct.ijk_to_ras, measures, toys.RECORD["model"])
    write_seg_nrrd(tmp_path / "ours.seg.nrrd", case)
    ours = slicer.util.loadSegmentation(str(tmp_path / "ours.seg.nrrd"))
    assert (readLabels(ours, volume) == toys.toyLabels()).all()
    segmentation = ours.GetSegmentation()
    names = [segmentation.GetSegment(key).GetName() for key in segments.segmentIds(segmentation)]
    assert names == [segment.name for segment in case.segments]
    exports.exportSegNrrd(node, tmp_path / "theirs.seg.nrrd")
    theirs, notes = read_label_map(tmp_path / "theirs.seg.nrrd", ct)
    assert np.array_equal(theirs, toys.toyLabels())
    assert notes == ()


@looped("name", ["labels.nrrd", "labels", "labels.nii.gz.txt"])
def test_other_endings_are_refused(result, tmp_path, name):
    node, volume = result
    with pytest.raises(ValueError, match=r"must end in \.nii or \.nii\.gz"):
        exports.exportNifti(node, volume, tmp_path / name)
    with pytest.raises(ValueError, match=r"must end in \.seg\.nrrd"):
        exports.exportSegNrrd(node, tmp_path / name)


def test_files_are_replaced_only_when_asked(result, tmp_path):
    node, volume = result
    for name, export in (
        ("a.nii.gz", lambda path, **o: exports.exportNifti(node, volume, path, **o)),
        ("a.seg.nrrd", lambda path, **o: exports.exportSegNrrd(node, path, **o)),
    ):
        path = tmp_path / name
        path.write_text("mine")
        with pytest.raises(ValueError, match="is there already"):
            export(path)
        assert path.read_text() == "mine"
        export(path, overwrite=True)
        assert path.stat().st_size > 100


def test_a_disk_that_refuses_leaves_nothing_behind(result, tmp_path):
    node, volume = result
    with pytest.raises(ValueError, match="could not be written"):
        exports.exportNifti(node, volume, tmp_path / "none" / "a.nii.gz")
    with pytest.raises(ValueError, match="could not be written"):
        exports.exportSegNrrd(node, tmp_path / "none" / "a.seg.nrrd")
    assert list(tmp_path.iterdir()) == []


def test_gone_nodes_are_refused(result, scene, tmp_path):
    node, volume = result
    scene.RemoveNode(node)
    with pytest.raises(ValueError, match="not in the scene"):
        exports.exportNifti(node, volume, tmp_path / "a.nii.gz")
    with pytest.raises(ValueError, match="not in the scene"):
        exports.exportSegNrrd(node, tmp_path / "a.seg.nrrd")
    assert list(tmp_path.iterdir()) == []


class Exporter:
    """Stands for Slicer's ``DICOMSegmentationExporter``: same calls, writes a few bytes."""

    calls: ClassVar[list[dict[str, Any]]] = []
    problem: ClassVar[Exception | None] = None
    last: ClassVar[Any] = None

    def __init__(self, segmentationNode: Any) -> None:
        self._node, self.isClean = segmentationNode, False
        Exporter.last = self

    def export(
        self,
        outputDirectory: str,
        segFileName: str,
        metadata: dict[str, str],
        segmentIDs: list[str] | None = None,
        skipEmpty: bool = False,
    ) -> bool:
        path = Path(outputDirectory) / segFileName
        path.write_bytes(b"DICM")
        if Exporter.problem:
            raise Exporter.problem
        assert len(metadata["SeriesDescription"]) <= 64
        assert "research only" in metadata["SeriesDescription"]
        Exporter.calls.append({"ids": segmentIDs, "skipEmpty": skipEmpty})
        return True

    def cleanup(self) -> None:
        self.isClean = True


@pytest.fixture
def fromDicom(result, monkeypatch):
    """The CT as Slicer's DICOM module leaves it, and a database that has its files."""
    _node, volume = result
    volume.SetAttribute("DICOM.instanceUIDs", UIDS)
    files = {uid: f"{uid}.dcm" for uid in UIDS.split()}
    inserted: list[str] = []
    database = SimpleNamespace(fileForInstance=lambda u: files.get(u, ""), insert=inserted.append)
    monkeypatch.setattr(slicer, "dicomDatabase", database, raising=False)
    monkeypatch.setattr(Exporter, "calls", [])
    monkeypatch.setattr(Exporter, "problem", None)
    return SimpleNamespace(files=files, inserted=inserted)


def test_dicom_seg_holds_the_filled_segments_and_is_listed(result, fromDicom, tmp_path):
    node, volume = result
    path = exports.exportDicomSeg(node, volume, tmp_path, findExporter=lambda: Exporter)
    assert path.parent == tmp_path
    assert path.suffix == ".dcm"
    assert Exporter.calls == [{"ids": ["Liver", "Tumor"], "skipEmpty": True}]
    assert fromDicom.inserted == [str(path)]
    assert Exporter.last.isClean
    assert "CT" not in path.name


def test_empty_segments_are_left_out_of_dicom_seg(result, fromDicom, tmp_path):
    _node, volume = result
    noTumor = writeSegmentation(np.minimum(toys.toyLabels(), 1), volume, toys.RECORD)
    exports.exportDicomSeg(noTumor, volume, tmp_path, findExporter=lambda: Exporter)
    assert Exporter.calls[0]["ids"] == ["Liver"]
    nothing = writeSegmentation(np.zeros(toys.SHAPE_KJI, np.uint8), volume, toys.RECORD)
    with pytest.raises(ValueError, match="nothing to export"):
        exports.exportDicomSeg(nothing, volume, tmp_path, findExporter=lambda: Exporter)


def test_edited_segments_are_called_semi_automatic(result, fromDicom, tmp_path):
    node, volume = result
    mask = (toys.toyLabels() == 2).astype(np.uint8)
    mask[0, 0, 0] = 1
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask, node, "Tumor", volume)
    exports.exportDicomSeg(node, volume, tmp_path, findExporter=lambda: Exporter)
    kinds = [
        segments.tagOf(node.GetSegmentation().GetSegment(key), segments.ALGORITHM_TYPE)
        for key in ("Liver", "Tumor")
    ]
    assert kinds == ["AUTOMATIC", "SEMIAUTOMATIC"]


def test_a_ct_from_elsewhere_cannot_become_dicom_seg(result, tmp_path):
    node, volume = result
    with pytest.raises(ValueError, match="not loaded from Slicer's DICOM database") as caught:
        exports.exportDicomSeg(node, volume, tmp_path, findExporter=lambda: Exporter)
    assert exports.whyNoDicomSeg(volume) == str(caught.value)
    assert exports.whyNoDicomSeg(None)


def test_a_segmentation_of_another_volume_is_no_dicom_seg_of_this_one(result, fromDicom, tmp_path):
    _node, volume = result
    other = writeSegmentation(toys.toyLabels(), toys.addCt(name="Other"), toys.RECORD)
    with pytest.raises(ValueError, match="drawn on another volume"):
        exports.exportDicomSeg(other, volume, tmp_path, findExporter=lambda: Exporter)


def test_missing_dicom_files_are_counted(result, fromDicom, tmp_path):
    node, volume = result
    assert exports.whyNoDicomSeg(volume) == ""
    fromDicom.files.pop("1.2.3.2")
    with pytest.raises(ValueError, match="1 of the CT's 3 DICOM files"):
        exports.exportDicomSeg(node, volume, tmp_path, findExporter=lambda: Exporter)


def test_a_slicer_without_the_exporter_is_told(result, fromDicom, tmp_path):
    node, volume = result
    with pytest.raises(ValueError, match="no DICOM SEG exporter"):
        exports.exportDicomSeg(node, volume, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_exporter_that_stops_leaves_no_file(result, fromDicom, tmp_path, monkeypatch):
    node, volume = result
    monkeypatch.setattr(Exporter, "problem", RuntimeError("itkimage2segimage failed"))
    with pytest.raises(ValueError, match="itkimage2segimage failed"):
        exports.exportDicomSeg(node, volume, tmp_path, findExporter=lambda: Exporter)
    assert list(tmp_path.iterdir()) == []
    assert Exporter.last.isClean
    assert fromDicom.inserted == []

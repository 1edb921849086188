"""DICOM SEG and report from the panel: made by the real command line, of the CT's own files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import slicer
from dicom_files import save_series
from LiverTumorSegLib.volume import CtVolume
from LiverTumorSegSlicer.environment.installer import InstallFailed
from LiverTumorSegSlicer.environment.packages import DICOM_WRITER, DICOM_WRITER_LINE, Found
from LiverTumorSegSlicer.run.process import ProcessRunner
from LiverTumorSegSlicer.scene.exports import writeDicomPair
from LiverTumorSegSlicer.scene.geometry import toMatrix
from LiverTumorSegSlicer.scene.volumes import readVolume
from panel_desk import PanelDesk, waitUntil
from slicersim.dicom_database import DicomDatabase

pytest.importorskip("highdicom", reason="highdicom, of the extra [dicom], is missing")

GRID = np.diag([-1.45, -1.46, 4.9, 1.0])  # images have no sheared grids


@pytest.fixture
def files(desk: PanelDesk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """A result on a CT as Slicer's DICOM module leaves it, another series beside its files."""
    desk.volume = desk.loadCt("Scan")
    desk.volume.SetIJKToRASMatrix(toMatrix(GRID))
    ct = readVolume(desk.volume)
    series = save_series(tmp_path / "dicom", CtVolume(ct.hu, np.asarray(ct.ijk_to_ras)))
    other = save_series(tmp_path / "dicom", names=lambda k: f"other{k}")
    database = DicomDatabase([*series, *other])
    monkeypatch.setattr(slicer, "dicomDatabase", database, raising=False)
    uids = [str(pydicom.dcmread(path).SOPInstanceUID) for path in series]
    desk.volume.SetAttribute("DICOM.instanceUIDs", " ".join(uids))
    desk.packages.found[DICOM_WRITER] = Found("0.27", True)
    (tmp_path / "out").mkdir()
    desk.questions.path = tmp_path / "out"
    desk.answerWith()
    desk.run()
    desk.answer = None
    return series


def action(desk: PanelDesk) -> Any:
    (entry,) = (a for a in desk.ui.exportButton.menu().actions() if "(SR)" in a.text)
    return entry


def started(desk: PanelDesk) -> Any:
    """What runs the child, once it is there after a click on the entry."""
    before = len(desk.runners)
    action(desk).trigger()
    waitUntil(lambda: len(desk.runners) > before and desk.runners[-1].pid)
    return desk.runners[-1]


def exported(desk: PanelDesk) -> list[Path]:
    return sorted(desk.questions.path.iterdir())


@pytest.mark.slow
def test_segments_and_report_are_made_of_the_ct_s_own_images(
    desk: PanelDesk, files: list[Path]
) -> None:
    desk.click(desk.ui.rejectButton)  # the larger of two tumors is none
    desk.answer = ProcessRunner
    action(desk).trigger()
    assert not action(desk).enabled, "one at a time"
    waitUntil(lambda: desk.questions.failures or action(desk).enabled, 120)
    assert desk.questions.failures == []
    seg, report = (pydicom.dcmread(path) for path in exported(desk))
    assert slicer.dicomDatabase.inserted == [str(path) for path in exported(desk)]
    images = {str(pydicom.dcmread(path).SOPInstanceUID) for path in files}
    referred = {
        str(item.ReferencedSOPInstanceUID)
        for series in seg.ReferencedSeriesSequence
        for item in series.ReferencedInstanceSequence
    }
    assert referred <= images
    assert [segment.SegmentLabel for segment in seg.SegmentSequence] == ["Liver", "Tumor 1"]
    (algorithm,) = seg.SegmentSequence[0].SegmentationAlgorithmIdentificationSequence
    assert algorithm.AlgorithmName == "self-test"
    assert seg.SegmentSequence[0].SegmentAlgorithmType == "SEMIAUTOMATIC", "a tumor was taken out"
    assert report.Modality == "SR"
    assert str(seg.SOPInstanceUID) in str(report.CurrentRequestedProcedureEvidenceSequence)


@pytest.mark.usefixtures("files")
def test_a_ct_from_elsewhere_and_one_whose_files_are_gone_are_one_sentence(
    desk: PanelDesk,
) -> None:
    desk.volume.SetAttribute("DICOM.instanceUIDs", "1.2.3")
    action(desk).trigger()
    desk.volume.RemoveAttribute("DICOM.instanceUIDs")
    action(desk).trigger()
    gone, elsewhere = desk.questions.failures
    assert "1 of the CT's 1 DICOM files" in gone
    assert "not loaded from Slicer's DICOM database" in elsewhere
    assert exported(desk) == []


@pytest.mark.usefixtures("files")
def test_what_writes_dicom_is_installed_when_a_person_agrees(desk: PanelDesk) -> None:
    asked: list[list[str]] = []

    def install(requirements: list[str], **_how: bool) -> None:
        asked.append(requirements)
        if len(asked) == 1:
            raise InstallFailed("network", "The packages could not be downloaded; connect.")
        desk.packages.found[DICOM_WRITER] = Found("0.27", True)

    desk.installer.installPackages = install
    desk.packages.found[DICOM_WRITER] = None
    before = len(desk.runners)
    desk.questions.agrees = False
    action(desk).trigger()
    assert (asked, desk.questions.failures) == ([], [])
    desk.questions.agrees = True
    action(desk).trigger()
    assert desk.questions.failures == ["The packages could not be downloaded; connect."]
    assert len(desk.runners) == before
    assert started(desk).arguments[2] == "export"
    assert asked == [[DICOM_WRITER_LINE]] * 2


@pytest.mark.usefixtures("files")
def test_what_fails_in_the_child_is_a_sentence_and_leaves_nothing(desk: PanelDesk) -> None:
    for half in (False, True):
        runner = started(desk)
        source = Path(runner.arguments[runner.arguments.index("--ct") + 1])
        assert len(list(source.iterdir())) == desk.labelsKji.shape[0], "and no other series"
        if half:  # a child that ended well, and one of the two files is missing
            (source.parent / "dicom").mkdir()
            (source.parent / "dicom" / "seg.dcm").write_bytes(b"DICM")
            runner.exit(0)
        else:
            runner.print('{"event": "failed", "kind": "input", "text": "It is not that CT."}')
            runner.exit(2)
        assert action(desk).enabled
    assert desk.questions.failures[0] == "It is not that CT."
    assert len(desk.questions.failures) == 2
    assert exported(desk) == []
    assert slicer.dicomDatabase.inserted == []


@pytest.mark.usefixtures("files")
def test_the_two_files_come_together_or_not_at_all(desk: PanelDesk, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    mine = folder / "x_report.dcm"
    mine.write_text("mine")
    with pytest.raises(ValueError, match="is there already"):
        writeDicomPair(folder, "x", b"1", b"2")
    assert [path.read_text() for path in exported(desk)] == ["mine"]
    with pytest.raises(ValueError, match="no such folder"):
        writeDicomPair(folder / "none", "x", b"1", b"2")
    assert slicer.dicomDatabase.inserted == []

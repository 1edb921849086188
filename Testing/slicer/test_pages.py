"""Report and comparison from the panel: made by the real command line, with the reviews."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slicer
from LiverTumorSegLib.ct.nifti import write_ct
from LiverTumorSegLib.result.stored import read_result
from LiverTumorSegSlicer.run.process import ProcessRunner
from LiverTumorSegSlicer.scene.exports import exportResult
from LiverTumorSegSlicer.scene.geometry import toMatrix
from LiverTumorSegSlicer.scene.volumes import readVolume
from panel_desk import PanelDesk, waitUntil

GRID = np.diag([-1.45, -1.46, 4.9, 1.0])  # NIfTI has no sheared grids


@pytest.fixture
def reviewed(desk: PanelDesk, tmp_path: Path) -> Any:
    """The larger of two tumors was rejected, and the other accepted."""
    desk.volume = desk.loadCt("Scan")
    desk.volume.SetIJKToRASMatrix(toMatrix(GRID))
    desk.answerWith()
    node = desk.run()
    desk.click(desk.ui.rejectButton)
    desk.click(desk.ui.acceptButton)
    (tmp_path / "pages").mkdir()
    desk.questions.path = tmp_path / "pages"
    return node


@pytest.mark.slow
@pytest.mark.usefixtures("reviewed")
def test_the_report_is_made_by_the_command_line_and_opened(desk: PanelDesk) -> None:
    desk.answer = ProcessRunner
    desk.click(desk.ui.reportButton)
    assert not desk.ui.reportButton.enabled, "one at a time"
    path = desk.questions.path / "Scan liver and tumors report.html"
    waitUntil(lambda: path.exists() or desk.questions.failures, 120)
    assert desk.questions.failures == []
    page = path.read_text(encoding="utf-8")
    assert "accepted" in page
    assert "1 of the model" in page, "one was rejected and taken out"
    assert desk.questions.asked[-1] == path
    assert desk.ui.reportButton.enabled


@pytest.mark.slow
def test_two_dates_are_compared(desk: PanelDesk, reviewed: Any) -> None:
    assert not desk.ui.compareButton.enabled
    slicer.util.setSliceViewerLayers(background=desk.volume)
    desk.parameters.outputSegmentation = None
    desk.answerWith()
    baseline = desk.run()
    desk.parameters.outputSegmentation = reviewed
    desk.ui.baselineSelector.setCurrentNode(baseline)
    desk.answer = ProcessRunner
    desk.click(desk.ui.compareButton)
    waitUntil(lambda: desk.ui.matchesTable.rowCount or desk.questions.failures, 120)
    assert desk.questions.failures == []
    desk.ui.matchesTable.selectRow(0)
    desk.click(desk.ui.savePageButton)
    path = desk.questions.path / "Scan liver and tumors comparison.html"
    waitUntil(lambda: path.exists() or desk.questions.failures, 120)
    assert desk.questions.failures == []
    page = path.read_text(encoding="utf-8")
    assert "gone" in page, "the tumor that was rejected"


@pytest.mark.usefixtures("reviewed")
def test_a_page_that_cannot_be_made_is_a_sentence(desk: PanelDesk) -> None:
    desk.answer = None
    desk.click(desk.ui.reportButton)
    waitUntil(lambda: desk.runners[-1].pid)
    runner = desk.runners[-1]
    assert runner.arguments[2] == "report"
    runner.print('{"event": "failed", "kind": "input", "text": "There is no such thing."}')
    runner.exit(2)
    assert desk.questions.failures == ["There is no such thing."]
    assert not list(desk.questions.path.iterdir())
    assert desk.ui.reportButton.enabled


def test_a_result_folder_is_read_by_the_library_with_the_reviews(
    desk: PanelDesk, reviewed: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "pages"
    exportResult(reviewed, desk.volume, folder)
    write_ct(tmp_path / "ct.nii.gz", readVolume(desk.volume))
    stored = read_result(folder, tmp_path / "ct.nii.gz")
    assert stored.review == ("accepted",)
    record = json.loads((folder / "lesions.json").read_text(encoding="utf-8"))
    assert [row["review"] for row in record["rejected"]] == ["rejected"]
    with pytest.raises(ValueError, match="is there already"):
        exportResult(reviewed, desk.volume, folder)

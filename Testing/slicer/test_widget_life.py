"""What the panel survives: closed and loaded scenes, removed nodes, reloads, and being left."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import slicer
from LiverTumorSegSlicer.scene.nodes import readLabels
from panel_desk import PanelDesk, waitUntil


def nodeNames() -> set[str]:
    count = slicer.mrmlScene.GetNumberOfNodes()
    return {slicer.mrmlScene.GetNthNode(n).GetName() for n in range(count)}


def test_a_run_whose_ct_is_removed_ends_without_a_word(desk: PanelDesk) -> None:
    volume = desk.loadCt()
    runner = desk.start()
    runner.begin()
    slicer.mrmlScene.RemoveNode(volume)
    assert not desk.panel.logic.isRunning
    assert "terminate" in runner.calls
    runner.exit(130)
    slicer.app.processEvents()
    assert desk.questions.failures == []
    assert desk.ui.statusLabel.text == ""
    assert desk.ui.segmentButton.text == "Segment"
    assert desk.ui.segmentButton.toolTip.startswith("Load a CT;")
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0


def test_a_run_whose_scene_is_closed_ends_without_a_word(desk: PanelDesk) -> None:
    desk.loadCt()
    runner = desk.start()
    slicer.mrmlScene.Clear()
    assert not desk.panel.logic.isRunning
    runner.exit(130)
    slicer.app.processEvents()
    assert desk.questions.failures == []
    assert desk.ui.statusLabel.text == ""
    assert desk.parameters.inputVolume is None
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0
    desk.loadCt()
    desk.answerWith()
    assert desk.run() is not None


def test_closing_the_scene_empties_the_panel(desk: PanelDesk) -> None:
    desk.loadCt()
    desk.answerWith()
    desk.run()
    slicer.mrmlScene.Clear()
    slicer.app.processEvents()
    assert not desk.ui.resultCollapsibleButton.visible
    assert desk.ui.inputSelector.currentNode() is None
    assert desk.ui.outputSelector.currentNode() is None
    assert not desk.ui.segmentButton.enabled


def test_a_removed_result_is_no_longer_shown(desk: PanelDesk) -> None:
    desk.loadCt()
    desk.answerWith()
    slicer.mrmlScene.RemoveNode(desk.run())
    slicer.app.processEvents()
    assert desk.parameters.outputSegmentation is None
    assert not desk.ui.resultCollapsibleButton.visible
    assert desk.run() is not None


def test_a_result_without_its_ct_says_so(desk: PanelDesk) -> None:
    volume = desk.loadCt()
    desk.answerWith()
    node = desk.run()
    slicer.mrmlScene.RemoveNode(volume)
    slicer.app.processEvents()
    desk.parameters.outputSegmentation = node
    slicer.app.processEvents()
    assert "not in the scene" in desk.ui.resultLabel.text
    assert not desk.ui.exportButton.enabled
    assert not desk.ui.editButton.enabled
    assert not desk.ui.copyTableButton.enabled


def test_a_run_goes_on_while_another_module_is_open(desk: PanelDesk) -> None:
    volume = desk.loadCt()
    runner = desk.start()
    slicer.util.selectModule("SampleData")
    runner.answer(desk.labelsKji, run={"device": "cuda:0", "seconds": 3})
    runner.exit()
    waitUntil(lambda: not desk.panel.logic.isRunning)
    node = desk.parameters.outputSegmentation
    np.testing.assert_array_equal(readLabels(node, volume), desk.labelsKji)
    slicer.util.selectModule("LiverTumorSeg")
    assert desk.ui.statusLabel.text == "Done in 3 s on the GPU."
    assert desk.ui.lesionTable.rowCount == 2
    assert desk.ui.segmentButton.text == "Segment"


def test_coming_back_connects_the_parameters_once(desk: PanelDesk) -> None:
    """Slicer 5.10 leaves an observer behind each connection."""
    shown = desk.panel._parameterNode
    for _ in range(3):
        slicer.util.selectModule("SampleData")
        slicer.util.selectModule("LiverTumorSeg")
    assert desk.panel._parameterNode is shown


def test_a_reloaded_panel_looks_at_the_environment_without_being_entered(
    desk: PanelDesk,
) -> None:
    asked = len(desk.packages.asked)
    desk.panel.cleanup()
    desk.page.reload()
    assert len(desk.packages.asked) == asked + 1


def test_a_panel_in_a_window_of_its_own_is_set_up(desk: PanelDesk, module: ModuleType) -> None:
    panel = desk.panelWithoutPage()
    assert panel.ui.segmentButton.text == "Segment"
    assert panel.models.entry is not None
    panel.cleanup()
    panel.parent.deleteLater()


def test_coming_back_shows_a_run_that_still_goes_on(desk: PanelDesk) -> None:
    desk.loadCt()
    runner = desk.start()
    slicer.util.selectModule("SampleData")
    runner.say("progress", fraction=0.5, phrase="Slice 10 of about 20", seconds_left=9)
    slicer.util.selectModule("LiverTumorSeg")
    assert desk.ui.segmentButton.text == "Cancel"
    assert desk.ui.segmentButton.enabled
    assert desk.ui.progressBar.visible
    assert desk.ui.statusLabel.text == "Slice 10 of about 20, 9 s left"
    desk.click(desk.ui.segmentButton)


def test_the_scene_file_keeps_result_and_choices(desk: PanelDesk, tmp_path: Path) -> None:
    volume = desk.loadCt("Scan")
    desk.answerWith(warnings=["One sentence."])
    desk.run()
    parameters = desk.parameters
    parameters.smallestLesionMm, parameters.onePerLesion, parameters.scan = 7.5, True, False
    parameters.device = "cpu"
    table = [desk.ui.lesionTable.item(n, 1).text() for n in range(2)]
    resultText = desk.ui.resultLabel.text
    del volume, parameters
    slicer.util.saveScene(str(tmp_path / "case.mrb"))
    slicer.mrmlScene.Clear()
    slicer.app.processEvents()
    slicer.util.loadScene(str(tmp_path / "case.mrb"))
    slicer.app.processEvents()
    assert desk.ui.inputSelector.currentNode().GetName() == "Scan"
    assert desk.ui.outputSelector.currentNode() is desk.parameters.outputSegmentation
    assert [desk.ui.lesionTable.item(n, 1).text() for n in range(2)] == table
    assert desk.ui.resultLabel.text == resultText
    assert desk.ui.warningsLabel.text == "One sentence."
    assert desk.ui.deviceComboBox.currentText == "CPU"
    assert desk.ui.smallestLesionSpinBox.value == 7.5
    assert desk.ui.onePerLesionCheckBox.checked
    assert not desk.ui.scanCheckBox.checked
    assert desk.run() is desk.parameters.outputSegmentation


def test_a_scene_loaded_while_the_module_is_hidden(desk: PanelDesk, tmp_path: Path) -> None:
    desk.loadCt("Scan")
    desk.answerWith()
    desk.run()
    slicer.util.saveScene(str(tmp_path / "case.mrb"))
    slicer.util.selectModule("SampleData")
    slicer.util.loadScene(str(tmp_path / "case.mrb"))
    slicer.util.selectModule("LiverTumorSeg")
    assert desk.ui.inputSelector.currentNode().GetName() == "Scan"
    assert desk.ui.lesionTable.rowCount == 2


def test_a_reload_ends_the_run_and_reads_every_file_anew(
    desk: PanelDesk, module: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()  # the panel that Slicer makes is the module's own
    monkeypatch.setenv("LIVERTUMORSEG_MODELS", str(desk.models))
    ours = [n for n in sys.modules if n.partition(".")[0] in module.OUR_PACKAGES]
    before = {name: sys.modules[name] for name in [*ours, "LiverTumorSeg"]}
    desk.loadCt()
    runner = desk.start()
    oldPanel = desk.panel
    try:
        oldPanel.onReload()
        assert "kill" in runner.calls
        assert not oldPanel.logic.isRunning
        assert sys.modules["LiverTumorSeg"] is not module
        again = sys.modules["LiverTumorSegSlicer.scene.nodes"]
        assert again is not before["LiverTumorSegSlicer.scene.nodes"]
        assert desk.panel is not oldPanel
        assert desk.panel._makeParts.__func__.__globals__ is vars(sys.modules["LiverTumorSeg"])
        assert desk.ui.inputSelector.currentNode().GetName() == "4: Venous 3 mm", (
            "the scene is kept"
        )
        assert desk.ui.segmentButton.text == "Segment"
        assert slicer.modules.LiverTumorSegWidget is desk.panel
    finally:
        desk.panel.cleanup()
        sys.modules.update(before)


def test_a_panel_that_is_gone_hears_nothing(desk: PanelDesk) -> None:
    desk.loadCt()
    runner = desk.start()
    desk.panel.cleanup()
    assert "kill" in runner.calls
    desk.parameters.device = "cpu"
    desk.loadCt("Later")
    slicer.mrmlScene.Clear()
    slicer.app.processEvents()
    assert desk.questions.failures == []


def test_without_a_scene_nothing_fails(desk: PanelDesk) -> None:
    """What Slicer's generic module test does."""
    desk.page.setMRMLScene(None)
    desk.page.setMRMLScene(slicer.mrmlScene)
    desk.loadCt()
    desk.answerWith()
    assert desk.run() is not None


def test_import_into_the_open_scene_keeps_the_choice(desk: PanelDesk, tmp_path: Path) -> None:
    other = desk.loadCt("Other")
    path = tmp_path / "other.nrrd"
    slicer.util.saveNode(other, str(path))
    desk.answerWith()
    node: Any = desk.run()
    slicer.util.loadVolume(str(path))
    slicer.app.processEvents()
    assert desk.parameters.inputVolume is other
    assert desk.parameters.outputSegmentation is node
    assert "other" in nodeNames()


def test_nothing_is_followed_half_way_through_a_load(desk: PanelDesk) -> None:
    """A file's parameters arrive one by one; what belongs together is known at the end."""
    desk.loadCt("First")
    second = desk.loadCt("Second")
    scene, importing = slicer.mrmlScene, slicer.vtkMRMLScene.ImportState
    scene.StartState(importing)
    desk.parameters.smallestLesionMm = 3.0
    desk.parameters.inputVolume = second
    scene.EndState(importing)
    assert desk.parameters.smallestLesionMm == 3.0
    assert desk.ui.smallestLesionSpinBox.value == 3.0
    assert desk.ui.inputSelector.currentNode() is second

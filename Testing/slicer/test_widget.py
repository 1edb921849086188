"""The panel as a person uses it: a CT, a click, the wait, and what is there afterwards."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
from ct_scenes import sceneState
from LiverTumorSegSlicer.panel.dialogs import Replace
from LiverTumorSegSlicer.scene.nodes import hasResult, readLabels
from panel_desk import PanelDesk, waitUntil


def erodeTumor(segmentationNode: Any, volumeNode: Any) -> None:
    """What a person does with the eraser: half of the tumors goes."""
    voxels = slicer.util.arrayFromSegmentBinaryLabelmap(segmentationNode, "Tumor", volumeNode)
    edited = voxels.copy()
    edited[:12] = 0
    slicer.util.updateSegmentBinaryLabelmapFromArray(edited, segmentationNode, "Tumor", volumeNode)


def test_an_empty_scene_has_nothing_to_segment(desk: PanelDesk) -> None:
    assert not desk.ui.segmentButton.enabled
    hint = "Load a CT; File, Download Sample Data has a liver phantom to try."
    assert desk.ui.segmentButton.toolTip == desk.ui.obstacleLabel.text == hint
    assert desk.ui.obstacleLabel.visible
    assert not desk.ui.resultCollapsibleButton.visible
    assert not desk.ui.progressBar.visible
    assert not desk.ui.statusLabel.visible


def test_a_volume_that_is_loaded_later_is_taken_up(desk: PanelDesk) -> None:
    first = desk.loadCt("First")
    waitUntil(lambda: desk.parameters.inputVolume is first)
    assert desk.ui.inputSelector.currentNode() is first
    assert desk.ui.segmentButton.enabled
    assert not desk.ui.obstacleLabel.visible
    desk.ui.inputSelector.setCurrentNode(None)
    assert desk.ui.obstacleLabel.text == "Choose a CT volume."
    desk.ui.inputSelector.setCurrentNode(first)
    desk.loadCt("Second")
    assert desk.parameters.inputVolume is first, "a choice is kept"


def test_the_volume_on_the_screen_is_taken_first(desk: PanelDesk) -> None:
    slicer.util.selectModule("SampleData")
    desk.loadCt("First")
    shown = desk.loadCt("Second")
    assert desk.parameters.inputVolume is None, "nothing is chosen while the module is hidden"
    slicer.util.selectModule("LiverTumorSeg")
    assert desk.parameters.inputVolume is shown


def test_label_maps_and_vectors_are_not_offered(desk: PanelDesk) -> None:
    for kind in ("vtkMRMLLabelMapVolumeNode", "vtkMRMLVectorVolumeNode"):
        slicer.util.addVolumeFromArray(np.zeros((3, 4, 5), np.uint8), nodeClassName=kind)
    slicer.app.processEvents()
    assert desk.ui.inputSelector.nodeCount() == 0
    assert desk.parameters.inputVolume is None


def test_a_click_gives_the_segments_the_line_and_the_table(desk: PanelDesk) -> None:
    volume = desk.loadCt()
    desk.answerWith()
    node = desk.run()
    np.testing.assert_array_equal(readLabels(node, volume), desk.labelsKji)
    assert desk.ui.outputSelector.currentNode() is node
    assert desk.ui.resultCollapsibleButton.visible
    assert desk.ui.resultLabel.text.startswith("Liver ")
    assert ", 2 tumors " in desk.ui.resultLabel.text
    assert "burden" in desk.ui.resultLabel.text
    assert desk.ui.noticeLabel.text == "For research only, not for diagnosis."
    assert desk.ui.lesionTable.rowCount == 2
    assert desk.ui.statusLabel.text == "Done in 1 s on the CPU."
    assert desk.ui.segmentButton.text == "Segment"
    assert not desk.ui.progressBar.visible


def test_warnings_of_a_run_stand_beside_its_numbers(desk: PanelDesk) -> None:
    desk.loadCt()
    desk.answerWith(warnings=["Bright lesions and vessels look alike."])
    desk.run()
    assert desk.ui.warningsLabel.text == "Bright lesions and vessels look alike."
    desk.answerWith()
    desk.run()
    assert not desk.ui.warningsLabel.visible


def test_no_liver_is_said_in_words(desk: PanelDesk) -> None:
    volume = desk.loadCt()
    desk.answerWith(np.zeros_like(desk.labelsKji))
    node = desk.run()
    assert desk.ui.resultLabel.text == "No liver found."
    assert not desk.ui.lesionTable.visible
    assert not readLabels(node, volume).any()


def test_no_tumor_is_said_in_words(desk: PanelDesk) -> None:
    desk.loadCt()
    desk.answerWith((desk.labelsKji > 0).astype(np.uint8))
    desk.run()
    assert desk.ui.resultLabel.text.endswith(" mL, no tumor found.")
    assert not desk.ui.lesionTable.visible


def test_progress_tells_phrase_and_time_left(desk: PanelDesk) -> None:
    desk.loadCt()
    runner = desk.start()
    assert desk.ui.segmentButton.toolTip == "Stop; nothing in the scene changes."
    runner.begin()
    runner.say("progress", fraction=0.0, phrase="Loading the model", seconds_left=None)
    assert desk.ui.progressBar.maximum == 0  # Qt moves a block along
    runner.say("progress", fraction=0.25, phrase="Slice 5 of about 20", seconds_left=40.2)
    assert desk.ui.progressBar.maximum == 1000
    assert desk.ui.progressBar.visible
    assert desk.ui.progressBar.value == 250
    assert desk.ui.statusLabel.text == "Slice 5 of about 20, 40 s left"
    runner.say("progress", fraction=0.3, phrase="Slice 6 of about 20", seconds_left=400)
    assert desk.ui.statusLabel.text == "Slice 6 of about 20, 7 min left"
    runner.say("progress", fraction=0.3, phrase="Cleaning up", seconds_left=None)
    assert desk.ui.statusLabel.text == "Cleaning up"


def test_cancel_leaves_the_scene_as_it_was(desk: PanelDesk) -> None:
    desk.loadCt()
    before = sceneState()
    runner = desk.start()
    desk.click(desk.ui.segmentButton)
    assert desk.ui.segmentButton.text == "Segment"
    assert desk.ui.segmentButton.enabled
    assert desk.ui.statusLabel.text == "Canceled; the scene is as it was."
    assert not desk.ui.progressBar.visible
    assert "terminate" in runner.calls
    runner.exit(130)
    slicer.app.processEvents()
    assert sceneState() == before


def test_after_cancel_one_can_segment_again(desk: PanelDesk) -> None:
    volume = desk.loadCt()
    desk.start()
    desk.click(desk.ui.segmentButton)
    desk.answerWith()
    np.testing.assert_array_equal(readLabels(desk.run(), volume), desk.labelsKji)


def test_a_second_run_replaces_what_nobody_edited_without_a_question(desk: PanelDesk) -> None:
    volume = desk.loadCt()
    desk.answerWith()
    first = desk.run()
    onlyLiver = (desk.labelsKji > 0).astype(np.uint8)
    desk.answerWith(onlyLiver)
    assert desk.run() is first
    np.testing.assert_array_equal(readLabels(first, volume), onlyLiver)
    assert desk.questions.asked == []
    assert desk.ui.lesionTable.rowCount == 0, "the table is that of the second run"


def test_edited_segments_are_replaced_only_after_a_question(desk: PanelDesk) -> None:
    volume = desk.loadCt()
    desk.answerWith()
    first = desk.run()
    erodeTumor(first, volume)
    edited = readLabels(first, volume)

    desk.questions.replace = Replace.CANCEL
    desk.click(desk.ui.segmentButton)
    assert desk.questions.asked == [["Tumor"]]
    assert not desk.panel.logic.isRunning

    desk.questions.replace = Replace.KEEP
    second = desk.run()
    assert second is not first
    np.testing.assert_array_equal(readLabels(first, volume), edited)

    desk.parameters.outputSegmentation = first
    desk.questions.replace = Replace.REPLACE
    assert desk.run() is first
    np.testing.assert_array_equal(readLabels(first, volume), desk.labelsKji)


def test_edits_during_a_run_are_never_replaced(desk: PanelDesk) -> None:
    volume = desk.loadCt()
    desk.answerWith()
    first = desk.run()
    erodeTumor(first, volume)
    desk.questions.replace, desk.answer = Replace.REPLACE, None
    runner = desk.start()
    erodeTumor(first, volume)
    edited = readLabels(first, volume)
    runner.answer(desk.labelsKji)
    runner.exit()
    waitUntil(lambda: not desk.panel.logic.isRunning)
    assert desk.parameters.outputSegmentation is not first
    np.testing.assert_array_equal(readLabels(first, volume), edited)
    assert "edited meanwhile" in desk.ui.statusLabel.text


def test_a_changed_ct_is_told(desk: PanelDesk) -> None:
    volume = desk.loadCt()
    runner = desk.start()
    slicer.util.arrayFromVolume(volume)[0, 0, 0] = 7
    slicer.util.arrayFromVolumeModified(volume)
    runner.answer(desk.labelsKji)
    runner.exit()
    waitUntil(lambda: not desk.panel.logic.isRunning)
    assert "The CT was changed meanwhile" in desk.ui.statusLabel.text


def test_looking_at_a_ct_does_not_change_it(desk: PanelDesk) -> None:
    volume = desk.loadCt()
    runner = desk.start()
    volume.GetDisplayNode().SetAutoWindowLevel(False)
    volume.GetDisplayNode().SetWindowLevelMinMax(0, 90)
    slicer.vtkMRMLSliceNode.JumpAllSlices(slicer.mrmlScene, 0, 5, 9, 1)
    desk.window.refresh()
    slicer.util.arrayFromVolume(volume).max()
    runner.answer(desk.labelsKji, run={"device": "cpu", "seconds": 2})
    runner.exit()
    waitUntil(lambda: not desk.panel.logic.isRunning)
    assert desk.ui.statusLabel.text == "Done in 2 s on the CPU."


def test_a_crash_is_told_once_and_leaves_nothing(desk: PanelDesk) -> None:
    desk.loadCt()
    before = sceneState()
    runner = desk.start()
    runner.complain("Traceback\ntorch.cuda.OutOfMemoryError: CUDA out of memory\n")
    runner.exit(1)
    slicer.app.processEvents()
    assert len(desk.questions.failures) == 1
    assert "memory of the GPU" in desk.questions.failures[0]
    assert desk.ui.statusLabel.text == desk.questions.failures[0]
    assert "OutOfMemoryError" in desk.ui.logText.plainText
    assert desk.ui.segmentButton.enabled
    assert desk.ui.segmentButton.text == "Segment"
    assert sceneState() == before


def test_a_volume_that_is_no_ct_is_refused_in_one_sentence(desk: PanelDesk) -> None:
    flat = slicer.util.addVolumeFromArray(np.full((4, 5, 6), 7, np.int16), name="Flat")
    desk.parameters.inputVolume = flat
    desk.click(desk.ui.segmentButton)
    assert len(desk.questions.failures) == 1
    assert "same value" in desk.questions.failures[0]
    assert desk.runners[0].arguments == [], "nothing was started"
    assert desk.ui.segmentButton.text == "Segment"
    assert not desk.ui.progressBar.visible


def test_labels_that_do_not_fit_are_a_sentence(desk: PanelDesk) -> None:
    volume = desk.loadCt()
    runner = desk.start()
    slicer.util.updateVolumeFromArray(volume, np.zeros((3, 4, 5), np.int16))
    runner.answer(desk.labelsKji)
    runner.exit()
    waitUntil(lambda: not desk.panel.logic.isRunning)
    assert "another size" in desk.questions.failures[0]


def test_two_cts_keep_their_own_results(desk: PanelDesk) -> None:
    first = desk.loadCt("First")
    desk.answerWith()
    firstResult = desk.run()
    second = desk.loadCt("Second")
    desk.ui.inputSelector.setCurrentNode(second)
    assert desk.parameters.outputSegmentation is None, "another CT's result is not replaced"
    assert not desk.ui.resultCollapsibleButton.visible
    secondResult = desk.run()
    assert secondResult is not firstResult
    desk.ui.inputSelector.setCurrentNode(first)
    assert desk.parameters.outputSegmentation is firstResult
    desk.ui.inputSelector.setCurrentNode(second)
    assert desk.parameters.outputSegmentation is secondResult


def test_a_result_does_not_change_what_was_chosen_meanwhile(desk: PanelDesk) -> None:
    first, second = desk.loadCt("First"), desk.loadCt("Second")
    desk.parameters.inputVolume = first
    runner = desk.start()
    desk.ui.inputSelector.setCurrentNode(second)
    runner.answer(desk.labelsKji)
    runner.exit()
    waitUntil(lambda: not desk.panel.logic.isRunning)
    assert desk.parameters.outputSegmentation is None
    desk.ui.inputSelector.setCurrentNode(first)
    assert hasResult(desk.parameters.outputSegmentation)

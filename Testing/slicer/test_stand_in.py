"""The stand-in application itself: as strict as Slicer, and real where it says so."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import ctk
import numpy as np
import pytest
import qt
import slicer
import toy_module
import vtk
from looped import looped
from slicersim import dialogs, lint, packaging, pythonqt, scripted
from slicersim.load import load_module, open_window


def runEvents(milliseconds: int) -> None:
    """Slicer waits for events, and nobody runs Python meanwhile."""
    loop, timer = qt.QEventLoop(), qt.QTimer()
    timer.connect("timeout()", loop.quit)
    timer.start(milliseconds)
    loop.exec_()


def volume(name: str = "ct") -> Any:
    return slicer.util.addVolumeFromArray(np.zeros((3, 4, 5), np.int16), name=name)


def segmentation_of(node: Any) -> Any:
    made = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "lesions")
    made.SetReferenceImageGeometryParameterFromVolumeNode(node)
    for name in ("liver", "tumor"):
        made.GetSegmentation().AddEmptySegment(name, name)
        ones = np.ones((3, 4, 5), np.uint8)
        slicer.util.updateSegmentBinaryLabelmapFromArray(ones, made, name, node)
    return made


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    folder = tmp_path_factory.mktemp("toy")
    (folder / "Resources" / "UI").mkdir(parents=True)
    (folder / "Resources" / "UI" / "Toy.ui").write_text(toy_module.UI)
    (folder / "Toy.py").write_text(toy_module.MODULE)
    yield load_module(folder / "Toy.py")
    slicer.app.moduleManager().moduleAboutToBeUnloaded.emit("Toy")
    sys.path.remove(str(folder))


class TestQtHabits:
    """A test must not pass where Slicer would stumble."""

    def test_properties_are_attributes(self) -> None:
        button = qt.QPushButton("Go")
        assert button.text == "Go"
        with pytest.raises(TypeError):
            button.text()
        button.enabled = False
        assert not button.isEnabled()

    def test_unknown_attributes_are_refused(self) -> None:
        with pytest.raises(AttributeError, match="enabld"):
            qt.QPushButton().enabld = False
        with pytest.raises(AttributeError):
            slicer.qMRMLNodeComboBox().noSuchSlot()

    def test_unknown_signals_are_refused_with_the_close_ones(self) -> None:
        with pytest.raises(ValueError, match=r"clicked\(\)"):
            qt.QPushButton().connect("clickd()", print)

    def test_slots_get_as_many_arguments_as_they_take(self) -> None:
        button, seen = qt.QPushButton(), []
        button.connect("clicked(bool)", lambda: seen.append("none"))
        button.connect("clicked(bool)", seen.append)
        button.click()
        assert seen == ["none", False]

    def test_disconnected_slots_are_not_called(self) -> None:
        button, seen = qt.QPushButton(), []
        button.connect("clicked(bool)", seen.append)
        assert button.disconnect("clicked(bool)", seen.append)
        button.click()
        assert seen == []

    def test_a_timer_has_no_property_single_shot(self) -> None:
        timer = qt.QTimer()
        with pytest.raises(AttributeError, match="Slot 'singleShot' can not be overwritten"):
            timer.singleShot = True
        assert callable(timer.singleShot)
        timer.setSingleShot(True)
        assert timer.isSingleShot()
        assert lint.refused_properties("a = 1\nb.c.singleShot = True\nb.x = 2") == {"singleShot": 2}

    def test_single_shot_keeps_what_it_called_for_ever(self, scene: Any) -> None:
        class Big:
            def method(self) -> None:
                called.append(1)

        called: list[int] = []
        big = Big()
        there = weakref.ref(big)
        qt.QTimer.singleShot(0, big.method)
        del big
        runEvents(20)
        gc.collect()
        assert called
        assert there() is not None

    def test_a_thread_stands_still_while_slicer_waits_for_events(self, scene: Any) -> None:
        """Told by the longest pause between two steps of the thread: how many it does before and
        after the waiting is up to the computer."""
        steps, ended = [time.monotonic()], threading.Event()

        def work() -> None:
            while not ended.is_set():
                time.sleep(0.0005)
                steps.append(time.monotonic())

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        for _ in range(2):  # the stand-in lets threads run every ten seconds, so in one of them
            runEvents(300)
            time.sleep(0.01)
        ended.set()
        thread.join()
        assert max(np.diff(steps)) > 0.25

    def test_an_object_that_dies_in_its_own_signal_is_a_fault(self, scene: Any) -> None:
        for parent, faults in ((None, 1), (slicer.app, 0)):
            holder = [qt.QTimer() if parent is None else qt.QTimer(parent)]
            holder[0].connect("timeout()", lambda holder=holder: holder.pop().deleteLater())
            holder[0].start(0)
            runEvents(20)
            assert holder == []
            assert len(pythonqt.callback_errors) == faults
            pythonqt.callback_errors.clear()

    def test_what_came_with_qt_6_is_unknown(self) -> None:
        with pytest.raises(AttributeError, match="Qt 5"):
            qt.QFormLayout().setRowVisible(0, False)
        with pytest.raises(AttributeError):
            qt.QComboBox().labelDrawingMode  # noqa: B018
        with pytest.raises(ValueError, match="checkStateChanged"):
            qt.QCheckBox().connect("checkStateChanged(Qt::CheckState)", print)

    def test_a_file_name_that_windows_refuses_is_refused(self, scene: Any) -> None:
        dialog = qt.QFileDialog()
        with pytest.raises(ValueError, match="Windows"):
            dialog.selectFile("4: Venous 3 mm.nii.gz")
        name = slicer.app.coreIOManager().forceFileNameValidCharacters("4: Venous/3 mm.nii.gz ")
        assert name == "4 Venous3 mm.nii.gz"
        dialog.selectFile(name)

    def test_errors_in_slots_and_observers_are_kept(self, scene: Any) -> None:
        def fail(*_: Any) -> None:
            raise RuntimeError("on purpose")

        button = qt.QPushButton()
        button.connect("clicked()", fail)
        button.click()
        tag = scene.AddObserver(vtk.vtkCommand.ModifiedEvent, fail)
        scene.Modified()
        scene.RemoveObserver(tag)
        assert [str(e) for e in pythonqt.callback_errors] == ["on purpose"] * 2
        pythonqt.callback_errors.clear()

    def test_names_of_slicer_util_do_not_leak_into_slicer(self) -> None:
        assert not hasattr(slicer, "loadVolume")
        assert hasattr(slicer.util, "loadVolume")


class TestDialogs:
    def test_a_dialog_is_answered_and_read(self) -> None:
        with dialogs.answering("OK") as shown:
            assert slicer.util.confirmOkCancelDisplay("Replace the segments?")
        assert "Replace the segments?" in shown[0]

    def test_several_answers_are_given_in_turn(self) -> None:
        with dialogs.answering("Yes", "No"):
            answers = [slicer.util.confirmYesNoDisplay(text) for text in ("first?", "second?")]
        assert answers == [True, False]

    def test_a_dialog_that_never_comes_fails(self) -> None:
        with pytest.raises(AssertionError, match="no dialog"), dialogs.answering():
            pass

    def test_a_missing_button_fails(self) -> None:
        with pytest.raises(AssertionError, match="no button 'Maybe'"), dialogs.answering("Maybe"):
            slicer.util.confirmOkCancelDisplay("Sure?")


class TestModules:
    def test_select_enters_one_and_leaves_the_other(
        self, toy: ModuleType, main_window: Any
    ) -> None:
        slicer.util.selectModule("SegmentEditor")
        toy.calls.clear()
        open_window("Toy")
        assert slicer.util.selectedModule() == "Toy"
        assert toy.calls[-1] == "enter"
        assert slicer.modules.toy.widgetRepresentation().isEntered
        slicer.util.selectModule("SegmentEditor")
        assert toy.calls[-1] == "exit"
        assert slicer.modules.SegmentEditorWidget.editor is not None

    def test_reload_makes_a_new_panel_and_does_not_enter_it(
        self, toy: ModuleType, main_window: Any
    ) -> None:
        open_window("Toy")
        old = slicer.modules.ToyWidget
        again = slicer.util.reloadScriptedModule("Toy")
        assert slicer.modules.ToyWidget is not old
        assert toy.calls[-1] == "cleanup"
        assert again.calls == ["setup"]

    def test_self_test_runs(self, toy: ModuleType, scene: Any) -> None:
        slicer.modules.ToyInstance.runTest()
        assert sys.modules["Toy"].calls[-1] == "test"

    def test_a_module_without_help_is_refused(self, tmp_path: Path) -> None:
        text = toy_module.MODULE.replace("Toy", "Bare").replace('_("Nothing.")', '""')
        (tmp_path / "Bare.py").write_text(text)
        with pytest.raises(RuntimeError, match="helpText"):
            load_module(tmp_path / "Bare.py")


class TestParameterNode:
    def test_panel_and_node_follow_each_other(self, toy: ModuleType, main_window: Any) -> None:
        _, widget = open_window("Toy")
        ct = volume()
        assert widget.ui.volumeSelector.currentNode() is None  # as in Slicer: nobody chose it
        widget.ui.volumeSelector.setCurrentNode(ct)
        assert widget.node.volume is ct
        widget.node.loud = False
        assert widget.ui.loudCheckBox.checked is False

    def test_a_value_is_that_of_the_last_change(self, toy: ModuleType, scene: Any) -> None:
        """A node that has left the scene is given until the parameter node is modified."""
        node, ct = toy.ToyLogic().getParameterNode(), volume()
        node.volume = ct
        assert "volume" in node.parameterNode.GetParameterNames()
        node.parameterNode.DisableModifiedEventOn()
        scene.RemoveNode(ct)
        node.parameterNode.DisableModifiedEventOff()
        assert node.volume is ct
        node.parameterNode.Modified()
        assert node.volume is None

    def test_a_panel_of_its_own_is_set_up_before_its_init_goes_on(
        self, toy: ModuleType, scene: Any
    ) -> None:
        toy.calls.clear()
        panel = toy.ToyWidget()
        assert toy.calls == ["setup"]
        assert panel.tag is not None
        panel.cleanup()
        panel.parent.deleteLater()

    def test_only_the_very_widget_types_of_slicers_connectors_do(
        self, toy: ModuleType, scene: Any
    ) -> None:
        node = toy.ToyLogic().getParameterNode()
        with pytest.raises(RuntimeError, match="no connector"):
            node.connectParametersToGui({"loud": qt.QRadioButton()})

    def test_a_translation_with_other_placeholders_is_not_taken(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(scripted.translations, "{count} files", "{Zahl} Dateien")
        monkeypatch.setitem(scripted.translations, "Idle", "Ruhe")
        _ = slicer.i18n.tr  # by which name Slicer's tools find the texts
        assert _("{count} files") == "{count} files"
        assert _("Idle") == "Ruhe"

    def test_a_text_is_translated_in_the_file_alone_where_it_stands(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        elsewhere = "Cleaning up"
        monkeypatch.setitem(scripted.translations, elsewhere, "Aufräumen")
        assert slicer.i18n.tr(elsewhere) == elsewhere

    def test_wrong_types_are_refused(self, toy: ModuleType, scene: Any) -> None:
        node = toy.ToyLogic().getParameterNode()
        with pytest.raises(TypeError, match="loud"):
            node.loud = "yes"
        with pytest.raises(TypeError, match="volume"):
            node.volume = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")


class TestWidgets:
    def test_ui_files_with_unknown_things_are_refused(self, tmp_path: Path) -> None:
        file = tmp_path / "wrong.ui"
        for right, wrong in (("noneEnabled", "nonEnabled"), ("qMRMLNodeComboBox", "qMRMLNothing")):
            file.write_text(toy_module.UI.replace(right, wrong))
            with pytest.raises(RuntimeError, match=wrong):
                slicer.util.loadUI(str(file))

    def test_collapsed_contents_come_back_except_what_was_hidden(self, scene: Any) -> None:
        button = ctk.ctkCollapsibleButton()
        column = qt.QVBoxLayout(button)
        shown, hidden, shown_later = (qt.QLabel(text) for text in "abc")
        for label in (shown, hidden, shown_later):
            column.addWidget(label)
        button.show()
        hidden.hide()
        shown_later.hide()
        button.collapsed = True
        shown_later.setVisible(True)
        assert not any(w.isVisible() for w in (shown, hidden, shown_later))
        button.collapsed = False
        assert [w.isVisible() for w in (shown, hidden, shown_later)] == [True, False, True]

    def test_node_selector_offers_what_it_is_told_to(self, scene: Any) -> None:
        box = slicer.qMRMLNodeComboBox()
        box.nodeTypes = ["vtkMRMLSegmentationNode"]
        box.setMRMLScene(scene)
        node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
        volume()
        assert (box.nodeCount(), box.currentNode()) == (1, None)
        box.setCurrentNode(node)
        scene.RemoveNode(node)
        assert box.currentNode() is None

    def test_show_3d_button_makes_and_removes_surfaces(self, scene: Any) -> None:
        button = slicer.qMRMLSegmentationShow3DButton()
        assert not button.enabled
        node = segmentation_of(volume())
        button.setSegmentationNode(node)
        assert button.enabled
        button.click()
        assert node.GetClosedSurfaceInternalRepresentation("liver").GetNumberOfPoints() > 0
        button.click()
        assert node.GetClosedSurfaceInternalRepresentation("liver") is None

    def test_segments_table_follows_the_segmentation(self, scene: Any) -> None:
        table = slicer.qMRMLSegmentsTableView()
        node = segmentation_of(volume())
        table.setSegmentationNode(node)
        assert table.displayedSegmentIDs() == ("liver", "tumor")
        table.setSelectedSegmentIDs(["tumor"])
        assert table.selectedSegmentIDs() == ("tumor",)
        node.GetSegmentation().RemoveSegment("liver")
        assert table.segmentCount == 1

    def test_clipboard_keeps_text(self) -> None:
        slicer.app.clipboard().setText("1\t2")
        assert qt.QApplication.clipboard().text() == "1\t2"


class TestSegmentEditor:
    def test_hand_over_lands_in_the_real_parameter_node(self, main_window: Any) -> None:
        ct = volume()
        node = segmentation_of(ct)
        slicer.util.selectModule("SegmentEditor")
        editor = slicer.modules.SegmentEditorWidget.editor
        editor.setSegmentationNode(node)
        assert editor.sourceVolumeNode() is ct  # from the reference geometry
        editor.setCurrentSegmentID("tumor")
        editor.setActiveEffectByName("Paint")
        kept = editor.mrmlSegmentEditorNode()
        kept.SetMaskMode(slicer.vtkMRMLSegmentationNode.EditAllowedInsideSingleSegment)
        kept.SetMaskSegmentID("liver")
        assert kept.GetSegmentationNode() is node
        assert kept.GetSelectedSegmentID() == "tumor"
        assert kept.GetActiveEffectName() == "Paint"
        assert slicer.mrmlScene.GetSingletonNode("SegmentEditor", kept.GetClassName()) is kept

    def test_nothing_can_be_selected_before_the_parameter_node(self, scene: Any) -> None:
        with pytest.raises(RuntimeError, match="setMRMLSegmentEditorNode"):
            slicer.qMRMLSegmentEditorWidget().setSegmentationNode(segmentation_of(volume()))

    def test_it_survives_a_scene_that_is_closed(self, main_window: Any) -> None:
        slicer.util.selectModule("SegmentEditor")
        slicer.mrmlScene.Clear(False)
        editor = slicer.modules.SegmentEditorWidget.editor
        assert editor.mrmlSegmentEditorNode() is not None
        assert editor.segmentationNode() is None


class TestSampleData:
    def test_a_registered_sample_is_made_by_its_button(self, scene: Any) -> None:
        import SampleData

        made: list[str] = []
        for _ in range(2):  # the second time it is known already
            SampleData.SampleDataLogic.registerCustomSampleDataSource(
                category="Toys",
                sampleName="Ball",
                uris="",
                fileNames="",
                nodeNames="Ball",
                customDownloader=lambda source, made=made: made.append(source.sampleName),
            )
        (source, *_) = SampleData.SampleDataLogic.sampleDataSourcesByCategory("Toys")
        page = slicer.modules.sampledata.createNewWidgetRepresentation()
        slicer.util.findChild(page, "BallPushButton").click()
        assert made == [source.sampleName]

    def test_a_source_without_addresses_is_refused_as_in_slicer(self) -> None:
        import SampleData

        with pytest.raises(TypeError, match="uris"):
            SampleData.SampleDataLogic.registerCustomSampleDataSource(sampleName="x")

    def test_nothing_is_downloaded(self) -> None:
        import SampleData

        SampleData.SampleDataLogic.registerCustomSampleDataSource(
            category="Far", sampleName="Moon", uris="https://example.org/m", fileNames="m.nrrd"
        )
        with pytest.raises(RuntimeError, match="no network"):
            SampleData.SampleDataLogic().downloadSample("Moon")


class TestApplication:
    def test_volumes_and_segmentations_survive_a_bundle(self, scene: Any, tmp_path: Path) -> None:
        segmentation_of(volume())
        path = str(tmp_path / "case.mrb")
        assert slicer.util.saveScene(path)
        scene.Clear(False)
        slicer.util.loadScene(path)
        node = slicer.util.getNode("lesions")
        assert node.GetSegmentation().GetSegmentIDs() == ("liver", "tumor")

    def test_every_displayable_node_has_a_place_in_the_hierarchy(self, scene: Any) -> None:
        ct = volume()
        tree = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
        assert tree.GetItemByDataNode(ct)
        scene.RemoveNode(ct)
        assert not tree.GetItemByDataNode(ct)

    @looped(
        ("category", "kind"),
        [
            ("123037004^Anatomical Structure", "10200004^Liver"),
            ("49755003^Morphologically Altered Structure", "108369006^Neoplasm"),
        ],
    )
    def test_the_codes_we_use_are_in_the_terminology(self, category: str, kind: str) -> None:
        context = "Segmentation category and type - DICOM master list"
        text = f"{context}~SCT^{category}~SCT^{kind}~^^~Anatomic codes - DICOM master list~^^~^^"
        entry = slicer.vtkSlicerTerminologyEntry()
        logic = slicer.modules.terminologies.logic()
        assert logic.DeserializeTerminologyEntry(text, entry)
        assert entry.GetTypeObject().GetCodeMeaning() == kind.partition("^")[2]
        assert any(entry.GetTypeObject().GetRecommendedDisplayRGBValue())

    def test_python_slicer_runs_this_python(self) -> None:
        process = slicer.util.launchConsoleProcess(["PythonSlicer", "-c", "print(6 * 7)"])
        assert process.communicate()[0].strip() == "42"

    def test_the_launcher_ends_normally_when_its_python_falls(self) -> None:
        run = subprocess.run(
            ["PythonSlicer", "-c", "import os; print('up', flush=True); os.abort()"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert (run.returncode, run.stdout) == (1, "up\n")
        assert "exit abnormally - Report the problem." in run.stderr
        assert subprocess.call(["PythonSlicer", "-c", "raise SystemExit(130)"]) == 130

    def test_segments_of_a_node_that_has_no_item_are_an_error(self, scene: Any) -> None:
        hidden = slicer.vtkMRMLSegmentationNode()
        hidden.SetHideFromEditors(True)
        hidden.GetSegmentation().AddEmptySegment("early", "early")
        scene.AddNode(hidden)
        assert pythonqt.qt_warnings == []
        hidden.GetSegmentation().AddEmptySegment("late", "late")
        assert "subject hierarchy item" in pythonqt.qt_warnings[0]
        pythonqt.qt_warnings.clear()
        scene.AddNewNodeByClass("vtkMRMLSegmentationNode").GetSegmentation().AddEmptySegment("a")
        assert pythonqt.qt_warnings == []

    def test_installing_is_only_noted(self, scene: Any) -> None:
        packaging.requested.clear()
        slicer.util.pip_install("something")
        wanted = ["numpy>=1", "surely-not-there>=2"]
        slicer.packaging.pip_ensure(wanted)
        assert packaging.requested == ["something"], "in testing mode nothing else"
        with dialogs.answering("OK"):
            slicer.packaging.pip_ensure(wanted)
        assert packaging.requested == ["something", ["surely-not-there>=2"]]
        with pytest.raises(TypeError, match="prompt"):
            slicer.packaging.pip_ensure(wanted, prompt=True)

    def test_a_failing_pip_shows_its_own_box_and_serves_clicks_meanwhile(
        self, main_window: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(packaging.pip, "says", ("Collecting it", "ERROR: no"))
        monkeypatch.setattr(packaging.pip, "code", 1)
        with (
            dialogs.answering("OK") as shown,
            pytest.raises(subprocess.CalledProcessError),
        ):
            slicer.packaging.pip_ensure(["surely-not-there>=2"], prompt_install=False)
        assert "installation failed" in shown[0]
        timer, seen = qt.QTimer(), []
        timer.connect("timeout()", lambda: seen.append("a click"))
        timer.start(0)
        with packaging.offer_pytorch() as extension, pytest.raises(subprocess.CalledProcessError):
            extension.PyTorchUtilsLogic().installTorch(torchVersionRequirement=">=2.2")
        assert seen

    def test_views_draw_volume_and_segments(self, main_window: Any) -> None:
        ramp = np.broadcast_to(np.arange(40, dtype=np.int16), (8, 40, 40)).copy()
        ct = slicer.util.addVolumeFromArray(ramp)
        ct.CreateDefaultDisplayNodes()
        slicer.util.setSliceViewerLayers(background=ct, fit=True)
        red = slicer.app.layoutManager().sliceWidget("Red").sliceView()
        gray = red.image()
        assert gray.max() > 0
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
        node.CreateDefaultDisplayNodes()
        node.SetReferenceImageGeometryParameterFromVolumeNode(ct)
        node.GetSegmentation().AddEmptySegment("tumor", "tumor", (1.0, 0.0, 0.0))
        inside = np.zeros((8, 40, 40), np.uint8)
        inside[2:6, 10:30, 10:30] = 1
        slicer.util.updateSegmentBinaryLabelmapFromArray(inside, node, "tumor", ct)
        assert (red.image() != gray).any()

    def test_lint_names_what_slicer_does_not_have(self) -> None:
        text = "import slicer\nslicer.util.loadVolume\nslicer.app.fly()\nslicer.utl.x"
        assert lint.unknown_names(text) == {"slicer.app.fly": 3, "slicer.utl": 4}

    def test_our_module_uses_names_that_exist(self) -> None:
        """Also on roads that no test takes; two of them Slicer makes when first needed."""
        late = {"slicer.dicomDatabase", "slicer.modules.SegmentEditorWidget"}
        folder = Path(__file__).parents[2] / "LiverTumorSeg"
        files = [*folder.glob("*.py"), *(folder / "LiverTumorSegSlicer").rglob("*.py")]
        unknown = {(f.name, name) for f in files for name in lint.unknown_names(f.read_text())}
        assert {(file, name) for file, name in unknown if name not in late} == set()
        assert {f.name: r for f in files if (r := lint.refused_properties(f.read_text()))} == {}
        assert [f.name for f in files if "QTimer.singleShot(" in f.read_text()] == [], (
            "it keeps all"
        )

"""slicer.app, slicer.modules and slicer.mrmlScene on the real MRML libraries.

slicer-core brings the real scene, nodes, module logics and slicer.util; this package supplies the
parts of the Qt application that slicer.util and a scripted module reach for. What it lacks fails
loudly (AttributeError).
"""

import os
import shutil
import sys
import tempfile
import types
from pathlib import Path

import slicer
import vtk
from PySide6 import QtCore, QtWidgets

from . import pythonqt
from .pythonqt import native

pythonqt.install()  # before the widgets below are defined

from . import (  # noqa: E402
    ctk_widgets,  # noqa: F401
    files,
    home,
    modules,
    node_combo_box,  # noqa: F401
    packaging,
    parameter_node,
    sample_data,
    scripted,
    segment_editor,
    subject_hierarchy,
)
from .uiloader import UiLoader  # noqa: E402

# Logics that make sense without a window: the name for GetModuleLogic, and the class.
LOGICS = {
    "Colors": "vtkSlicerColorLogic",
    "Terminologies": "vtkSlicerTerminologiesModuleLogic",
    "Units": "vtkSlicerUnitsLogic",
    "Volumes": "vtkSlicerVolumesLogic",
    "SubjectHierarchy": "vtkSlicerSubjectHierarchyModuleLogic",
    "Segmentations": "vtkSlicerSegmentationsModuleLogic",
    "Markups": "vtkSlicerMarkupsLogic",
    "Models": "vtkSlicerModelsLogic",
    "Transforms": "vtkSlicerTransformLogic",
    "Tables": "vtkSlicerTablesLogic",
    "CropVolume": "vtkSlicerCropVolumeLogic",
    "Data": "vtkSlicerDataModuleLogic",
    "VolumeRendering": "vtkSlicerVolumeRenderingLogic",
    "Annotations": "vtkSlicerAnnotationModuleLogic",
}


class App(QtWidgets.QApplication):
    """slicer.app"""

    startupCompleted = QtCore.Signal()
    mrmlSceneChanged = QtCore.Signal(object)

    def __init__(self):
        super().__init__(["SlicerSim"])
        folder = tempfile.mkdtemp(prefix="slicersim-")
        self.__dict__.update(_folder=folder, _layout=None, _testing=True, _window=None, _kept=[])
        native(self, "setApplicationName")("SlicerSim")
        native(self, "setOrganizationName")("SlicerSim")
        settings = QtCore.QSettings
        settings.setDefaultFormat(settings.Format.IniFormat)
        settings.setPath(settings.Format.IniFormat, settings.Scope.UserScope, folder)
        self.__dict__.update(
            _io=files.IOManager(), _modules=modules.ModuleManager(), _settings=settings()
        )

    temporaryPath = property(lambda self: self._folder)
    slicerHome = property(lambda self: self._folder)
    majorVersion, minorVersion, revision = 5, 12, "simulated"
    documentationBaseUrl = "https://slicer.readthedocs.io/en/latest/"

    def moduleDocumentationUrl(self, name):
        return f"{self.documentationBaseUrl}user_guide/modules/{name.lower()}.html"

    def applicationLogic(self):
        return self._logic

    def mrmlScene(self):
        return slicer.mrmlScene

    def coreIOManager(self):
        return self._io

    ioManager = coreIOManager

    def moduleManager(self):
        return self._modules

    def layoutManager(self):
        return self._layout

    def userSettings(self):
        return self._settings

    settings = revisionUserSettings = userSettings

    def startupEnvironment(self):
        return QtCore.QProcessEnvironment.systemEnvironment()

    def testingEnabled(self):
        """Whether slicer.util answers its own message boxes; dialogs.answering() turns it off."""
        return self._testing

    def commandOptions(self):
        options = {"noMainWindow": False, "runPythonAndExit": False}
        return types.SimpleNamespace(testingEnabled=self._testing, **options)

    def mainWindow(self):
        return self._window

    def pauseRender(self):
        """Views are drawn only when asked here."""

    resumeRender = pauseRender


def boot():
    """Makes slicer.app, slicer.mrmlScene and slicer.modules. Returns slicer.app."""
    if getattr(slicer, "app", None):
        return slicer.app
    for name in ("modules", "moduleNames"):
        sys.modules["slicer." + name] = types.ModuleType("slicer." + name)
        setattr(slicer, name, sys.modules["slicer." + name])
    _alias_python_names()
    _drop_leaked_names()
    app = slicer.app = App()
    for part in (scripted, packaging, parameter_node, sample_data):
        part.register()
    _register_widgets()
    slicer.qSlicerScriptedLoadableModule = modules.ScriptedModule
    _print_vtk_messages()
    _make_scene(app)
    _make_logics(app)
    app._kept.append(home.enable_bundles(Path(app.temporaryPath)))
    home.provide_python_slicer(Path(app.temporaryPath))
    subject_hierarchy.follow(slicer.mrmlScene)
    app.moduleManager().add_scripted(segment_editor.SegmentEditor, segment_editor)
    app.moduleManager().add_scripted(sample_data.SampleData, sample_data)
    return app


def leave(status):
    """Ends the process: VTK, MRML and Qt objects do not survive Python's own order of teardown."""
    shutil.rmtree(slicer.app.temporaryPath, ignore_errors=True)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _alias_python_names():
    """Slicer's Python names of the VTK-wrapped libraries, e.g. vtkSegmentationCorePython."""
    import slicer_core

    for name in dir(slicer_core):
        module = sys.modules.get("slicer_core." + name)
        if module is not None:
            sys.modules.setdefault(name + "Python", module)
            if name in ("vtkITK", "vtkTeem", "vtkSegmentationCore"):
                sys.modules.setdefault(name, module)


def _drop_leaked_names():
    """slicer-core copies the names of slicer.util into slicer; in Slicer they are not there."""
    for name in dir(slicer.util):
        leaked = slicer.__dict__.get(name) is getattr(slicer.util, name)
        if leaked and not name.startswith("__"):
            delattr(slicer, name)


def _register_widgets():
    """The widgets' places: ctk, or slicer itself."""
    ctk = sys.modules["ctk"] = types.ModuleType("ctk")
    for name, cls in UiLoader.registry.items():
        setattr(ctk if name.startswith("ctk") else slicer, name, cls)


def _print_vtk_messages():
    output = vtk.vtkOutputWindow()
    output.SetDisplayModeToAlwaysStdErr()
    vtk.vtkOutputWindow.SetInstance(output)


def _make_scene(app):
    scene = slicer.mrmlScene = slicer.vtkMRMLScene()
    crosshair = slicer.vtkMRMLCrosshairNode()
    crosshair.SetCrosshairName("default")
    scene.AddNode(crosshair)
    for kind in (slicer.vtkMRMLSelectionNode, slicer.vtkMRMLInteractionNode):
        scene.AddNode(kind())  # singletons by themselves
    logic = app.__dict__["_logic"] = slicer.vtkSlicerApplicationLogic()
    logic.SetTemporaryPath(app.temporaryPath)
    logic.SetHomeDirectory(app.temporaryPath)
    logic.SetShareDirectory("share")  # relative to the home folder, or an error is logged
    home.write_color_file(Path(app.temporaryPath) / "share")
    logic.SetMRMLScene(scene)
    logic.SetSliceLogics(vtk.vtkCollection())
    logic.SetViewLogics(vtk.vtkCollection())
    slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(scene, True)


def _make_logics(app):
    scene, application = slicer.mrmlScene, app.applicationLogic()
    for name, class_name in LOGICS.items():
        logic = getattr(slicer, class_name)()
        if name == "Terminologies":
            logic.SetModuleShareDirectory(str(home.TERMINOLOGIES))
        logic.SetMRMLApplicationLogic(application)
        application.SetModuleLogic(name, logic)
        logic.SetMRMLScene(scene)
        app.moduleManager().add(modules.Module(name, logic))
    if not scene.GetNodeByID("vtkMRMLColorTableNodeGrey"):
        slicer.modules.colors.logic().AddDefaultColorNodes()

"""What Slicer looks for: the module, its panel, its logic and its test. From a script:

    from LiverTumorSeg import LiverTumorSegLogic
    segmentationNode = LiverTumorSegLogic().segment(slicer.util.getNode("CTLiver"))

The parts of the panel are in LiverTumorSegSlicer, what computes is in LiverTumorSegLib.
"""

import sys
from collections.abc import Callable
from typing import Annotated, Any

import slicer
import vtk
from LiverTumorSegSlicer.environment.requirements import Environment
from LiverTumorSegSlicer.module_tests import ModuleTests
from LiverTumorSegSlicer.panel.about import acknowledgementText, helpText
from LiverTumorSegSlicer.panel.comparison_panel import ComparisonPanel
from LiverTumorSegSlicer.panel.dialogs import Questions, Replace
from LiverTumorSegSlicer.panel.dicom_panel import DicomPanel
from LiverTumorSegSlicer.panel.environment_panel import (
    EnvironmentPanel,
    openWhereInstallationWaits,
)
from LiverTumorSegSlicer.panel.inputs import (
    matchingOutput,
    settingsOf,
    sourceVolume,
    suggestedVolume,
    volumeProblem,
    volumeWarning,
)
from LiverTumorSegSlicer.panel.lesion_panel import LesionPanel
from LiverTumorSegSlicer.panel.license import isAgreed
from LiverTumorSegSlicer.panel.models import DeviceChoice, ModelChoice
from LiverTumorSegSlicer.panel.page_maker import PageMaker
from LiverTumorSegSlicer.panel.parts_panel import PartsPanel
from LiverTumorSegSlicer.panel.report_panel import ReportPanel
from LiverTumorSegSlicer.panel.result_actions import ResultActions
from LiverTumorSegSlicer.panel.review_panel import ReviewPanel
from LiverTumorSegSlicer.panel.run_panel import RunPanel
from LiverTumorSegSlicer.panel.sensitivity_panel import SensitivityPanel
from LiverTumorSegSlicer.panel.uncertainty_panel import UncertaintyPanel
from LiverTumorSegSlicer.panel.views import showAbdomenWindow, showInstead
from LiverTumorSegSlicer.run.job import removeLeftovers
from LiverTumorSegSlicer.run.later import callLater
from LiverTumorSegSlicer.run.process import ProcessRunner, Runner
from LiverTumorSegSlicer.run.segmentation_run import (
    Outcome,
    ProgressCallback,
    RunEnd,
    RunSettings,
    SegmentationRun,
)
from LiverTumorSegSlicer.run.sentences import translatedError
from LiverTumorSegSlicer.run.waiting import segmentAndWait
from LiverTumorSegSlicer.scene.editing import is3DShown
from LiverTumorSegSlicer.scene.nodes import hasEditedSegments
from LiverTumorSegSlicer.scene.sample_data import registerSamples
from slicer import vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin

OUR_PACKAGES = ("LiverTumorSegLib", "LiverTumorSegSlicer")
ADVANCED = ("scan", "smallestLesionMm", "onePerLesion", "keepProbabilities")
PARAMETER_PROPERTY = "SlicerParameterName"  # in the .ui file: which parameter a widget shows


class LiverTumorSeg(ScriptedLoadableModule):
    """The module as Slicer lists it."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = _("Liver Tumor Segmentation")
        parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        parent.dependencies = ["Segmentations", "SegmentEditor"]
        parent.contributors = ["LiverTumorSeg maintainers"]
        parent.helpText = helpText()
        parent.acknowledgementText = acknowledgementText()
        slicer.app.connect("startupCompleted()", registerSamples)
        slicer.app.connect("startupCompleted()", openWhereInstallationWaits)


@parameterNodeWrapper
class LiverTumorSegParameterNode:
    """What the panel shows, stored in the scene.

    model: a name of the catalog; empty for the default one. device: "auto", "cuda", "mps" or "cpu".
    smallestLesionMm: 0 leaves it to the model. liverParts: of the result, outlined elsewhere.
    """

    inputVolume: vtkMRMLScalarVolumeNode
    outputSegmentation: vtkMRMLSegmentationNode
    liverParts: vtkMRMLSegmentationNode
    model: str = ""
    device: str = "auto"
    scan: bool = True
    smallestLesionMm: Annotated[float, WithinRange(0.0, 50.0)] = 0.0
    onePerLesion: bool = False
    keepProbabilities: bool = False


class LiverTumorSegWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel. Tests hand in the environment, the dialogs, and what runs."""

    def __init__(
        self,
        parent=None,
        *,
        environment: Environment | None = None,
        questions: Questions | None = None,
        makeRunner: Callable[[], Runner] = ProcessRunner,
    ):
        VTKObservationMixin.__init__(self)
        self.logic: Any = LiverTumorSegLogic(makeRunner)
        self._environment = environment or Environment()
        self._questions = questions or Questions()
        self._makeRunner = makeRunner
        self._parameterNode: Any = None
        self._guiTag: Any = None
        self._isFollowing = False
        self._shown: tuple[Any, Any] = (None, None)
        ScriptedLoadableModuleWidget.__init__(self, parent)  # calls setup where there is no parent

    def setup(self):
        """Slicer shows the panel for the first time, or again after a reload."""
        ScriptedLoadableModuleWidget.setup(self)
        uiWidget = slicer.util.loadUI(self.resourcePath("UI/LiverTumorSeg.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self._makeParts()
        self._showInputWarning(None)
        self.ui.restoreDefaultsButton.connect("clicked(bool)", self.onRestoreDefaults)
        self.ui.segmentButton.connect("clicked(bool)", self.onSegmentButton)
        scene, events = slicer.mrmlScene, slicer.vtkMRMLScene
        self.addObserver(scene, events.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(scene, events.EndCloseEvent, self.onSceneChanged)
        self.addObserver(scene, events.EndImportEvent, self.onSceneChanged)
        self.addObserver(scene, events.NodeAddedEvent, self.onNodeAdded)
        self.initializeParameterNode()
        if self._isEntered:  # after a reload Slicer does not enter again
            self.environmentPanel.look()
            self.reviewPanel.enter()

    def _makeParts(self):
        ui, questions = self.ui, self._questions
        self.runPanel = RunPanel(ui)
        self.models = ModelChoice(ui.modelComboBox, self._environment, self._onModelChosen)
        self.devices = DeviceChoice(ui.deviceComboBox, self._onDeviceChosen)
        self.environmentPanel = EnvironmentPanel(
            ui, self._environment, self.models, questions, self._updateButton
        )
        self.lesionPanel = LesionPanel(ui, questions, self.models.named)
        self.resultActions = ResultActions(ui, questions, self.lesionPanel, self._onResultRemoved)
        self.reviewPanel = ReviewPanel(ui, questions, self.lesionPanel)
        show3DAgain = self.resultActions.show3DAgain
        self.sensitivityPanel = SensitivityPanel(ui, questions, self.lesionPanel, show3DAgain)
        self.uncertaintyPanel = UncertaintyPanel(ui, questions, self.lesionPanel)
        self.pageMaker = PageMaker(questions, self._makeRunner)
        self.reportPanel = ReportPanel(ui, self.lesionPanel, self.pageMaker)
        self.comparisonPanel = ComparisonPanel(ui, questions, self.lesionPanel, self.pageMaker)
        self.pageMaker.onChanged = self._onSegmentationsChanged
        self.dicomPanel = DicomPanel(
            ui, self._environment, questions, self.lesionPanel, self._makeRunner
        )
        self.partsPanel = PartsPanel(ui, self.lesionPanel)
        self.lesionPanel.onChanged = self._onLesionsChanged

    def _onLesionsChanged(self):
        self.reviewPanel.update()
        self.sensitivityPanel.update()
        self.uncertaintyPanel.update()
        self._onSegmentationsChanged()

    def _onSegmentationsChanged(self):
        self.reportPanel.update()
        self.comparisonPanel.update()
        self.partsPanel.update()

    def cleanup(self):
        """The panel goes: Slicer quits, or the module is reloaded. A run ends with it."""
        self.logic.cleanUp()
        self.setParameterNode(None)
        self.removeObservers()
        self.environmentPanel.cleanUp()
        self.reviewPanel.cleanUp()
        self.sensitivityPanel.cleanUp()
        self.uncertaintyPanel.remove()
        self.pageMaker.cleanUp()
        self.comparisonPanel.cleanUp()
        self.dicomPanel.cleanUp()
        self.partsPanel.cleanUp()

    def enter(self):
        """The module is selected."""
        self.initializeParameterNode()
        self.resultActions.returned()
        self.reviewPanel.enter()
        self.environmentPanel.look()
        if self._environment.remembered.installationWaits:
            callLater(0, self.environmentPanel.goOnInstalling)

    def exit(self):
        """Another module is selected: a run goes on, and nothing is measured meanwhile."""
        self.reviewPanel.exit()
        self._showResult(None, None)

    @property
    def _isEntered(self):
        """A panel without the application's page is a window of its own: always."""
        return getattr(self.parent, "isEntered", True)

    def onReload(self):
        """Read the module's other files anew, too."""
        for name in [n for n in sys.modules if n.partition(".")[0] in OUR_PACKAGES]:
            del sys.modules[name]
        ScriptedLoadableModuleWidget.onReload(self)

    # --- the scene -------------------------------------------------------------------------------

    def onSceneStartClose(self, caller, event):
        self.setParameterNode(None)
        self.runPanel.say("")

    def onSceneChanged(self, caller, event):
        """After closing or loading: the parameters were exchanged unseen."""
        self.setParameterNode(self.logic.getParameterNode() if self._isEntered else None)
        self._fillInput()

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def onNodeAdded(self, caller, event, node):
        """The selector does not take up a volume that is loaded while it is empty."""
        if self._isEntered and node is not None and node.IsA("vtkMRMLScalarVolumeNode"):
            callLater(0, self._fillInput)
        elif self._isEntered and node is not None and node.IsA("vtkMRMLSegmentationNode"):
            callLater(0, self._onSegmentationsChanged)

    def initializeParameterNode(self):
        """Show the scene's own parameters; the CT on the screen if none was chosen.

        What is shown stays connected: Slicer 5.10 leaves an observer behind each connection.
        """
        parameters, shown = self.logic.getParameterNode(), self._parameterNode
        if shown is None or shown.parameterNode is not parameters.parameterNode:
            self.setParameterNode(parameters)
        else:
            self._follow()
        self._fillInput()

    def setParameterNode(self, parameterNode):
        """Link the widgets with this node, and with no other. None: with none."""
        if self._parameterNode is not None:
            self._parameterNode.disconnectGui(self._guiTag)
            self.removeObserver(self._parameterNode, vtk.vtkCommand.ModifiedEvent, self._follow)
        self._parameterNode, self._inputBefore = parameterNode, None
        if parameterNode is not None:
            widgets = (w for w in vars(self.ui).values() if w.property(PARAMETER_PROPERTY))
            names = {widget.property(PARAMETER_PROPERTY): widget for widget in widgets}
            self._guiTag = parameterNode.connectParametersToGui(names)
            # late: the wrapper's caches are observers too, and VTK calls the first of equals last
            modified = vtk.vtkCommand.ModifiedEvent
            self.addObserver(parameterNode, modified, self._follow, priority=-1.0)
            self._inputBefore = parameterNode.inputVolume
        self._follow()

    def _fillInput(self):
        parameters = self._parameterNode
        if parameters is not None and parameters.inputVolume is None:
            parameters.inputVolume = suggestedVolume()

    def _follow(self, caller=None, event=None):
        """Bring everything in line with the parameter node."""
        parameters = self._parameterNode
        if self._isFollowing or slicer.mrmlScene.IsImporting():
            return
        self._isFollowing = True  # what is set below tells of itself
        try:
            if parameters is not None and parameters.inputVolume is not self._inputBefore:
                self._onOtherInput(parameters)
            if parameters is not None:
                self.models.select(parameters.model)
                self.devices.select(parameters.device)
                self.environmentPanel.updateModel()
        finally:
            self._isFollowing = False
        segmentationNode = parameters.outputSegmentation if parameters is not None else None
        if not self._isEntered:
            segmentationNode = None
        self._showResult(segmentationNode, sourceVolume(segmentationNode))
        self._updateButton()

    def _onOtherInput(self, parameters):
        """The views follow only where there was a CT: one that is loaded shows itself."""
        volumeNode, outputBefore = parameters.inputVolume, parameters.outputSegmentation
        before, self._inputBefore = self._inputBefore, volumeNode
        if not self.logic.isRunning:
            self.runPanel.say("")  # it was about another CT
        self._showInputWarning(volumeNode)
        parameters.outputSegmentation = matchingOutput(volumeNode, outputBefore)
        if before is not None and volumeNode is not None and self._isEntered:
            showInstead(volumeNode, outputBefore, parameters.outputSegmentation)

    def _showInputWarning(self, volumeNode):
        warning = volumeWarning(volumeNode)
        self.ui.inputWarningLabel.text = warning
        self.ui.inputWarningLabel.setVisible(bool(warning))

    # --- the panel -------------------------------------------------------------------------------

    def _onModelChosen(self, name):
        if self._parameterNode is not None:
            self._parameterNode.model = name

    def _onDeviceChosen(self, device):
        if self._parameterNode is not None:
            self._parameterNode.device = device

    def onRestoreDefaults(self):
        """The settings of Advanced as they come; the CT, the model and the device stay."""
        for name in ADVANCED:
            setattr(self._parameterNode, name, self._parameterNode.default(name).value)

    def _onResultRemoved(self, segmentationNode):
        self._shown = (None, None)
        self._parameterNode.outputSegmentation = segmentationNode
        self._follow()
        self.runPanel.say(_("The result was removed."))

    def _showResult(self, segmentationNode, volumeNode, *, isNew=False):
        if (segmentationNode, volumeNode) != self._shown or isNew:
            self._shown = (segmentationNode, volumeNode)
            self.lesionPanel.show(segmentationNode, volumeNode)
            self.resultActions.show(segmentationNode, volumeNode)

    def _obstacles(self):
        """Why no run can start now, one sentence each."""
        parameters = self._parameterNode
        problems = [
            volumeProblem(parameters.inputVolume if parameters is not None else None),
            *self.environmentPanel.obstacles,
            self.devices.problem(self.environmentPanel.report),
        ]
        return [problem for problem in problems if problem]

    def _updateButton(self):
        if not self.logic.isRunning:
            self.runPanel.showIdle(self._obstacles())

    def onSegmentButton(self):
        """Segment, or Cancel while a run goes on."""
        if self.logic.isRunning:
            self.logic.cancel()
            return
        if not isAgreed(self.models.entry, self._environment.remembered, self._questions):
            return
        output = self._parameterNode.outputSegmentation
        edited = hasEditedSegments(output)
        choice = self._questions.replaceEdited(edited) if edited else None
        if choice is Replace.CANCEL:
            return
        if choice is Replace.KEEP:
            output = None
        self._start(output, discardEdits=choice is Replace.REPLACE)

    def _start(self, output, *, discardEdits):
        parameters, model = self._parameterNode, self.models.entry.name
        settings = settingsOf(parameters, model, discardEdits)
        volumeNode, was3D = parameters.inputVolume, is3DShown(output)
        self.runPanel.showRunning()
        try:
            self.logic.start(
                volumeNode,
                output,
                settings,
                onProgress=self.runPanel.showProgress,
                onEnd=lambda end: self._onEnd(end, volumeNode, was3D),
            )
        except ValueError as error:
            self._refuse(translatedError(error))
        except MemoryError:
            self._refuse(_("The memory does not hold a copy of this CT; close other programs."))
        else:
            showAbdomenWindow(volumeNode)

    def _refuse(self, sentence):
        self._updateButton()
        self.runPanel.say(sentence)
        self._questions.showFailure(sentence)

    def _onEnd(self, end: RunEnd, volumeNode, was3D):
        self._updateButton()
        self.runPanel.showEnd(end)
        if end.outcome is Outcome.DONE:
            parameters = self.logic.getParameterNode()
            if parameters.inputVolume is volumeNode:
                parameters.outputSegmentation = end.segmentationNode
            if self._isEntered and self._shown[0] is end.segmentationNode:
                self._showResult(*self._shown, isNew=True)
                self.lesionPanel.showFirst()
                if was3D:
                    self.resultActions.show3DAgain()
            slicer.util.showStatusMessage(self.ui.statusLabel.text, 5000)
        elif end.outcome is Outcome.FAILED and end.failure is not None:
            self._questions.showFailure(end.failure.sentence, end.log)


class LiverTumorSegLogic(ScriptedLoadableModuleLogic):
    """Segmentation without a window, one at a time. ``makeRunner``: what runs; for tests."""

    def __init__(self, makeRunner: Callable[[], Runner] = ProcessRunner):
        ScriptedLoadableModuleLogic.__init__(self)
        self._makeRunner = makeRunner
        self._run: SegmentationRun | None = None

    def getParameterNode(self):
        return LiverTumorSegParameterNode(super().getParameterNode())

    @property
    def isRunning(self) -> bool:
        return self._run is not None and self._run.isRunning

    def start(
        self,
        volumeNode: Any,
        segmentationNode: Any,
        settings: RunSettings,
        *,
        onProgress: ProgressCallback,
        onEnd: Callable[[RunEnd], None],
    ) -> None:
        """Begin; returns at once. ``ValueError`` for a volume that is no CT."""
        if self.isRunning:
            raise RuntimeError(_("A segmentation is running; wait for it, or cancel it."))
        removeLeftovers()
        self._run = SegmentationRun(
            volumeNode,
            segmentationNode,
            settings,
            self._makeRunner(),
            onProgress=onProgress,
            onEnd=onEnd,
        )
        self._run.start()

    def cancel(self) -> None:
        """End a run; the scene stays as it is."""
        if self._run is not None:
            self._run.cancel()

    def cleanUp(self) -> None:
        """End a run without calling back."""
        if self._run is not None:
            self._run.cleanUp()

    def segment(
        self,
        volumeNode: Any,
        segmentationNode: Any = None,
        model: str | None = None,
        device: str = "auto",
        progress: Callable[[float, str], None] | None = None,
        **settings: Any,
    ) -> Any:
        """Segment a CT, and return the segmentation node when it is done; Slicer stays alive.

        segmentationNode: whose liver and tumors are replaced; a new one by default.
        model: a name, or a file; the default model when None. device: "auto", "cpu", "cuda", "mps".
        progress(fraction, phrase): called now and then; what it raises ends the run.
        settings: the others of RunSettings.
        Raises ``ValueError`` for a volume that is no CT or segments that were edited (unless
        discardEdits=True), and ``RuntimeError`` with one sentence when the run fails.
        """
        chosen = RunSettings(model=model, device=device, **settings)
        return segmentAndWait(self, volumeNode, segmentationNode, chosen, progress)


class LiverTumorSegTest(ModuleTests, ScriptedLoadableModuleTest):
    """Runs in Slicer without network and torch; where all is installed, also the real thing."""

    def makeLogic(self, makeRunner=None):
        return LiverTumorSegLogic(makeRunner or ProcessRunner)

    def runTest(self):
        self.runAll()

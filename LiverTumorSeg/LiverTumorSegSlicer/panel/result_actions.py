"""What one does with a result: edit it, see it in 3D, export it, take it away."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from LiverTumorSegSlicer.run.sentences import translatedError
from LiverTumorSegSlicer.scene.editing import editInSegmentEditor, releaseMasking, style3D
from LiverTumorSegSlicer.scene.exports import (
    exportDicomSeg,
    exportNifti,
    exportResult,
    exportSegNrrd,
    whyNoDicomSeg,
)
from LiverTumorSegSlicer.scene.geometry import removeFromScene
from LiverTumorSegSlicer.scene.kept import forget
from LiverTumorSegSlicer.scene.nodes import EditedSegmentsError, hasResult, removeResult
from LiverTumorSegSlicer.scene.probability_volumes import probabilityVolumesOf

from .dialogs import Questions
from .lesion_panel import LesionPanel

NIFTI_FILTER = "NIfTI (*.nii.gz *.nii)"
SEG_NRRD_FILTER = "Segmentation (*.seg.nrrd)"


class ResultActions:
    """The buttons below the table. ``onRemoved(segmentationNode or None)``: what is left."""

    def __init__(
        self,
        ui: Any,
        questions: Questions,
        lesions: LesionPanel,
        onRemoved: Callable[[Any], None],
    ) -> None:
        self._ui, self._questions, self._lesions = ui, questions, lesions
        self._onRemoved = onRemoved
        self._segmentationNode: Any = None
        self._volumeNode: Any = None
        ui.editButton.connect("clicked(bool)", self._edit)
        ui.show3DButton.connect("toggled(bool)", self._style3D)
        ui.removeButton.connect("clicked(bool)", self._remove)
        self._menu = self._makeExportMenu()
        ui.exportButton.setMenu(self._menu)

    def show(self, segmentationNode: Any, volumeNode: Any) -> None:
        """The result that the buttons are about."""
        self._segmentationNode, self._volumeNode = segmentationNode, volumeNode
        ui = self._ui
        ui.show3DButton.setSegmentationNode(segmentationNode)
        hasVolume = volumeNode is not None
        ui.editButton.enabled = hasVolume
        ui.exportButton.enabled = hasVolume
        ui.removeButton.enabled = hasResult(segmentationNode)
        ui.removeButton.toolTip = (
            _("Takes the last run's segments away.")
            if ui.removeButton.enabled
            else _("No run of this module made these segments.")
        )

    def returned(self) -> None:
        """The person is back from Segment Editor, which may draw everywhere again."""
        if self._segmentationNode is not None:
            releaseMasking(self._segmentationNode)

    def _makeExportMenu(self) -> Any:
        menu = qt.QMenu(self._ui.exportButton)
        for text, export in (
            (_("NIfTI labels (.nii.gz)..."), self._exportNifti),
            (_("Segmentation (.seg.nrrd)..."), self._exportSegNrrd),
            (_("DICOM SEG..."), self._exportDicomSeg),
            (_("Result folder..."), self._exportFolder),
        ):
            menu.addAction(text).connect("triggered(bool)", export)
        return menu

    def _edit(self) -> None:
        nodes = self._segmentationNode, self._volumeNode
        self._try(lambda: editInSegmentEditor(*nodes, self._lesions.selectedSegmentId or None))

    def show3DAgain(self) -> None:
        """A run has put new segments in place of those that were shown in 3D."""
        with slicer.util.WaitCursor():
            self._ui.show3DButton.checked = True

    def _style3D(self, isShown: bool) -> None:
        """Slicer's button has made the surfaces; the liver must not hide its tumors."""
        if isShown and self._try(lambda: style3D(self._segmentationNode)):
            slicer.util.resetThreeDViews()

    def _exportNifti(self) -> None:
        path = self._savePath(".nii.gz", NIFTI_FILTER)
        if path is not None:
            nodes = self._segmentationNode, self._volumeNode
            self._export(lambda: exportNifti(*nodes, path, overwrite=True))

    def _exportSegNrrd(self) -> None:
        path = self._savePath(".seg.nrrd", SEG_NRRD_FILTER)
        if path is not None:
            self._export(lambda: exportSegNrrd(self._segmentationNode, path, overwrite=True))

    def _exportDicomSeg(self) -> None:
        if whyNot := whyNoDicomSeg(self._volumeNode):
            self._questions.showFailure(whyNot)
            return
        folder = self._questions.folder(_("Folder for the DICOM file"))
        if folder is not None:
            nodes = self._segmentationNode, self._volumeNode
            self._export(lambda: exportDicomSeg(*nodes, folder))

    def _exportFolder(self) -> None:
        folder = self._questions.folder(_("Result folder"))
        if folder is not None:
            nodes = self._segmentationNode, self._volumeNode
            self._export(lambda: exportResult(*nodes, folder, self._lesions.parts))

    def _savePath(self, ending: str, nameFilter: str) -> Any:
        name = self._segmentationNode.GetName() + ending
        return self._questions.savePath(_("Export"), name, nameFilter)

    def _export(self, action: Callable[[], Any]) -> None:
        if self._try(action):
            slicer.util.showStatusMessage(_("The segments were exported."), 3000)

    def _try(self, action: Callable[[], Any]) -> bool:
        """Whether an action succeeded; a failure is shown."""
        try:
            with slicer.util.WaitCursor():
                action()
        except ValueError as error:
            self._questions.showFailure(translatedError(error))
            return False
        return True

    def _remove(self) -> None:
        node = self._segmentationNode
        volumes = probabilityVolumesOf(node)
        try:
            left = removeResult(node)
        except EditedSegmentsError as error:
            question = _("You edited {names}; these edits go too. Remove the result?")
            if not self._questions.confirm(question.format(names=", ".join(error.names))):
                return
            left = removeResult(node, discardEdits=True)
        except ValueError as error:
            self._questions.showFailure(translatedError(error))
            return
        forget(node)
        for volume in volumes:
            removeFromScene(volume)
        self._onRemoved(left)

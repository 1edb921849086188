"""The inputs of a run: a CT that can be segmented, where its result goes, and the settings."""

from __future__ import annotations

from typing import Any

import slicer
from LiverTumorSegLib.ct.checks import check_ct_values
from LiverTumorSegLib.sentences import key_and_values
from slicer.i18n import tr as _

from LiverTumorSegSlicer.run.segmentation_run import RunSettings
from LiverTumorSegSlicer.run.sentences import translated, translatedError
from LiverTumorSegSlicer.scene.geometry import isInScene
from LiverTumorSegSlicer.scene.nodes import hasResult
from LiverTumorSegSlicer.scene.probability_volumes import isProbabilityVolume

CT = "CT"  # DICOM's word


def volumeProblem(volumeNode: Any) -> str:
    """Why a volume cannot be segmented, as far as is seen at once; empty when nothing is."""
    if volumeNode is None:
        if not slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode"):
            return _("Load a CT; File, Download Sample Data has a liver phantom to try.")
        return _("Choose a CT volume.")
    image = volumeNode.GetImageData()
    if image is None or not image.GetNumberOfPoints():
        return _("This volume holds no image; load the CT again.")
    if image.GetNumberOfScalarComponents() != 1:
        return _("This volume has several values in each voxel; choose a CT.")
    return ""


def volumeWarning(volumeNode: Any) -> str:
    """What speaks against a volume being a CT, before a run would refuse it; empty when nothing."""
    if volumeProblem(volumeNode):
        return ""
    modality = modalityOf(volumeNode)
    if modality not in ("", CT):
        sentence = _("This volume is {modality} by its DICOM data; the models know CT only.")
        return sentence.format(modality=modality)
    try:
        warnings = check_ct_values(_("This volume"), *volumeNode.GetImageData().GetScalarRange())
    except ValueError as error:
        return translatedError(error)
    return "\n".join(translated(key_and_values(warning)) for warning in warnings)


def modalityOf(volumeNode: Any) -> str:
    """DICOM's word for it, such as CT, MR or PT; empty for a volume that is not from DICOM."""
    tree = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    item = tree.GetItemByDataNode(volumeNode) if tree else 0
    name = slicer.vtkMRMLSubjectHierarchyConstants.GetDICOMSeriesModalityAttributeName()
    return (tree.GetItemAttribute(item, name) or "") if item else ""


def suggestedVolume() -> Any:
    """The volume that the slice views show, else the first one; None without any."""
    nodes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
    volumes = [node for node in nodes if _maybeCt(node)]
    views = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
    shownIds = {view.GetBackgroundVolumeID() for view in views}
    shown = [node for node in volumes if node.GetID() in shownIds]
    return next(iter(shown + volumes), None)


def sourceVolume(segmentationNode: Any) -> Any:
    """The CT that a segmentation was made from; None when it is not in the scene."""
    if not isInScene(segmentationNode):
        return None
    role = slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole()
    return segmentationNode.GetNodeReference(role)


def matchingOutput(volumeNode: Any, segmentationNode: Any) -> Any:
    """The output for a CT that was chosen just now: never another CT's segmentation.

    The present one if it goes with the CT (or with none), else the last result made of the CT,
    else None: a new one.
    """
    if isInScene(segmentationNode) and sourceVolume(segmentationNode) in (None, volumeNode):
        return segmentationNode
    every = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    results = [n for n in every if hasResult(n) and not n.GetHideFromEditors()]
    return next((n for n in reversed(results) if sourceVolume(n) is volumeNode), None)


def settingsOf(parameters: Any, model: str, discardEdits: bool) -> RunSettings:
    """What the panel's parameter node says about a run."""
    return RunSettings(
        model=model,
        device=parameters.device,
        scan=parameters.scan,
        smallestLesionMm=parameters.smallestLesionMm or None,
        onePerLesion=parameters.onePerLesion,
        keepProbabilities=parameters.keepProbabilities,
        discardEdits=discardEdits,
    )


def _maybeCt(node: Any) -> bool:
    """No label map, vector or hidden volume, and none of our own making."""
    isScalar = node.GetClassName() == "vtkMRMLScalarVolumeNode"
    return isScalar and not node.GetHideFromEditors() and not isProbabilityVolume(node)

"""Data to try the module with, in Slicer's Sample Data: a phantom that is made on this computer."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

from .geometry import toMatrix

CATEGORY = "LiverTumorSeg"
PHANTOM_NAME = "Liver phantom"
PHANTOM_SEED = 7
# The abdomen of the command line's demo: 290 x 380 x 380 mm.
PHANTOM_SHAPE_KJI, PHANTOM_SPACING_KJI_MM = (72, 320, 320), (4.0, 1.2, 1.2)
THUMBNAIL = Path(__file__).resolve().parents[2] / "Resources/Icons/LiverTumorSeg.png"
NO_ADDRESS = "livertumorseg:phantom"  # Sample Data wants one; the phantom comes from nowhere


def ctLiverNote() -> str:
    """What one should know of Slicer's own liver CT, as HTML for a help text."""
    return _(
        "Slicer's own sample <b>CTLiver</b> (File, Download Sample Data) is a real CT with tumors: "
        "case liver_100 of the Medical Segmentation Decathlon, CC BY-SA 4.0. No shipped model was "
        "trained on it. Downloading it needs a network; the <b>Liver phantom</b> does not."
    )


def registerSamples() -> None:
    """List the phantom in the Sample Data module; call it after Slicer's startup.

    Scripts call :func:`loadPhantom`: ``SampleData.downloadSample`` knows addresses only.
    """
    import SampleData

    logic = SampleData.SampleDataLogic
    if hasattr(logic, "registerCustomSampleDataCategory"):  # since Slicer 5.12
        logic.registerCustomSampleDataCategory(CATEGORY, title=_("Liver Tumor Segmentation"))
    logic.registerCustomSampleDataSource(
        category=CATEGORY,
        sampleName=PHANTOM_NAME,
        uris=NO_ADDRESS,
        fileNames="LiverPhantom.nrrd",
        nodeNames="LiverPhantom",
        thumbnailFileName=str(THUMBNAIL),
        customDownloader=loadPhantom,
    )


def loadPhantom(_source: Any = None) -> Any:
    """Make the phantom's CT, a volume node, and show it. Takes a few seconds; no network.

    It looks like portal-venous CT, is no model of any person, and proves no accuracy.
    """
    from LiverTumorSegLib.phantom.phantom import make_phantom

    with slicer.util.WaitCursor():
        phantom = make_phantom(
            seed=PHANTOM_SEED,
            shape_kji=PHANTOM_SHAPE_KJI,
            spacing_kji_mm=PHANTOM_SPACING_KJI_MM,
        )
    name = slicer.mrmlScene.GenerateUniqueName("LiverPhantom")
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    slicer.util.updateVolumeFromArray(node, phantom.ct.hu)
    node.SetIJKToRASMatrix(toMatrix(phantom.ct.ijk_to_ras))
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    display.SetAutoWindowLevel(False)
    display.SetWindowLevelMinMax(-40, 160)  # the window that the models see
    if slicer.app.layoutManager():
        slicer.util.setSliceViewerLayers(background=node, fit=True)
    logging.info("The liver phantom was made.")
    return node

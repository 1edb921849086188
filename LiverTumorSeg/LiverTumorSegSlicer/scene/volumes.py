"""A CT out of a volume node: what can be none is refused in a sentence, the rest is copied."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
from LiverTumorSegLib.ct import checks as ct_checks
from LiverTumorSegLib.volume import CtVolume
from slicer.i18n import tr as _

from .geometry import bentMm, isInScene, worldIjkToRas

NOTED_MM = 0.1  # rounded positions of slices bend a CT by less


def checkVolume(volumeNode: Any) -> tuple[str, ...]:
    """Refuse a volume node that can be no CT; else warnings, one sentence each, about it.

    Raises ``ValueError`` with what is wrong and what to do. About 0.1 s for a large CT the first
    time; VTK remembers the range of the values.
    """
    name = _("This volume")
    refuseWrongNode(volumeNode)
    image = volumeNode.GetImageData()
    ct_checks.refuse_wrong_shape(name, image.GetDimensions())
    shapeKji = image.GetDimensions()[::-1]
    ct_checks.refuse_one_slice(name, shapeKji)
    return (
        *ct_checks.check_geometry(name, shapeKji, worldIjkToRas(volumeNode)),
        *_bendWarning(volumeNode),
        *ct_checks.check_ct_values(name, *image.GetScalarRange()),
    )


def _bendWarning(volumeNode: Any) -> tuple[str, ...]:
    bent = bentMm(volumeNode)
    if bent <= NOTED_MM:
        return ()
    return (
        _(
            "The slices of this CT are not evenly spaced and were taken as if they were, which"
            " moves some by up to {bent:.1f} mm; check the result there."
        ).format(bent=bent),
    )


def refuseWrongNode(volumeNode: Any) -> None:
    """``ValueError`` unless this is a volume node of the scene with one number a voxel."""
    if not isInScene(volumeNode):
        raise ValueError(_("The CT is not in the scene (any more); load it and select it."))
    if volumeNode.IsA("vtkMRMLLabelMapVolumeNode"):
        raise ValueError(_("This volume is a label map; select the CT itself."))
    if not volumeNode.IsA("vtkMRMLScalarVolumeNode"):
        raise ValueError(_("This is no 3D volume; select a CT, or one frame of a sequence."))
    image = volumeNode.GetImageData()
    if image is None or image.GetPointData().GetScalars() is None:
        raise ValueError(_("This volume holds no image; load the CT again."))
    if image.GetNumberOfScalarComponents() != 1:
        raise ValueError(
            _(
                "This volume has several values in each voxel (color, vectors or time points); "
                "select a CT with one number a voxel."
            )
        )


def readVolume(volumeNode: Any) -> CtVolume:
    """A copy of a volume node as a CT: whole Hounsfield units as int16, and its place in mm.

    All linear transforms above the node count: ``ijk_to_ras`` leads to the world. One frame of a
    sequence is a volume like any other.
    Raises ``ValueError`` as :func:`checkVolume` does, and for values that are no numbers.
    """
    checkVolume(volumeNode)
    voxelsKji = slicer.util.arrayFromVolume(volumeNode)
    hu = voxelsKji.copy() if voxelsKji.dtype == np.int16 else _rounded(voxelsKji)
    return CtVolume(hu, worldIjkToRas(volumeNode))


def _rounded(voxelsKji: np.ndarray) -> np.ndarray:
    """To int16, a plane at a time: no float copy of the whole volume ever exists."""
    huKji = np.empty(voxelsKji.shape, np.int16)
    for k, plane in enumerate(voxelsKji):
        if not np.isfinite(plane).all():
            raise ValueError(
                _(
                    "This volume holds values that are no finite numbers (NaN or infinite); "
                    "replace them, by -1024 outside the body for example."
                )
            )
        huKji[k] = np.rint(np.clip(plane, *ct_checks.INT16_RANGE))
    return huKji

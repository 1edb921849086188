"""Any program's label map on a CT's own grid: nnU-Net's, TotalSegmentator's, one corrected by hand.

    labels_kji, notes = read_label_map("seg.nii.gz", ct, LabelNumbers.parse("liver=5,tumor=9"))

A map on another grid of the same place (other voxels, or the same stored the other way round) is
brought to the CT's grid by its nearest voxels. One whose program lost its place is read voxel by
voxel where somebody asks for that, and never by itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from LiverTumorSegLib.labels import Label
from LiverTumorSegLib.volume import CtVolume

from .checks import is_bare
from .dicom_headers import shown_name
from .formats import is_format, read_format_labels, read_segment_names
from .nifti import read_label_table, read_labels

Array = NDArray[Any]

SAME_PLACE = 0.1  # voxels: how far a voxel may lie off and still be the same; headers are rounded
LEAST_INSIDE = 0.5  # share of what is labeled that lies in the CT
LIVER_MEAN_HU = (-50.0, 300.0)  # fatty ones without contrast reach -20, bright late phases 200
VOXELS_TRUSTED = (
    "The label map was taken voxel by voxel, as asked, whatever its header says of its place; look"
    " whether it lies on the liver."
)
LISTED_NUMBERS = 8


@dataclass(frozen=True)
class LabelNumbers:
    """Which numbers of a label map mean liver and which tumor; all others are background."""

    liver: tuple[int, ...] = (int(Label.LIVER),)
    tumor: tuple[int, ...] = (int(Label.TUMOR),)

    @classmethod
    def parse(cls, text: str) -> LabelNumbers:
        """Read ``liver=1,tumor=2``; several numbers of one as ``liver=1+3+4``; either may lack."""
        found: dict[str, tuple[int, ...]] = {"liver": (), "tumor": ()}
        for part in text.split(","):
            name, _, numbers = part.strip().partition("=")
            if name not in found or found[name]:
                raise ValueError(_how_to_say(text))
            try:
                found[name] = tuple(int(number) for number in numbers.split("+"))
            except ValueError:
                raise ValueError(_how_to_say(text)) from None
        every = found["liver"] + found["tumor"]
        if len(set(every)) != len(every) or not all(0 < number < 256 for number in every):
            raise ValueError(_how_to_say(text))
        return cls(found["liver"], found["tumor"])

    def apply(self, labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The map in our own numbers: 1 liver, 2 tumor, 0 all else."""
        table = np.zeros(256, np.uint8)
        table[list(self.liver)] = Label.LIVER
        table[list(self.tumor)] = Label.TUMOR
        return table[labels]


OURS = LabelNumbers()


def read_label_map(
    path: str | Path,
    ct: CtVolume,
    numbers: LabelNumbers | None = None,
    *,
    trust_voxels: bool = False,
) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """Labels 0, 1, 2 as uint8 ``(k, j, i)`` on the CT's grid, and notes of one sentence each.

    numbers: None means what the codes of a .seg.nrrd say, and in other files that 1 is liver, 2 is
    tumor, and that there are no others. trust_voxels: the map marks the CT's own voxels, wherever
    its header puts them.
    Raises ``ValueError`` with one sentence for what is no label map, holds numbers that nobody
    explained, lies elsewhere than the CT, or says nothing of where it lies.
    """
    labels, ijk_to_ras, coded = _read(Path(path))
    name = shown_name(Path(path))
    numbers = coded if numbers is None else numbers
    if numbers is None:
        _refuse_other_numbers(name, labels)
    else:
        labels = numbers.apply(labels)
    if labels.shape == ct.shape_kji and same_grid(ijk_to_ras, ct.ijk_to_ras, ct.shape_kji):
        return labels, ()
    if trust_voxels:
        _refuse_other_voxels(name, labels, ct)
        return labels, (VOXELS_TRUSTED,)
    if labels.shape == ct.shape_kji and is_bare(ijk_to_ras):
        raise ValueError(
            f"{name} does not say where it lies (its affine is the identity); give it with the"
            " CT's geometry, or add --trust-voxels if its voxels are those of the CT."
        )
    return _on_grid_of(ct, name, labels, ijk_to_ras)


def read_numbers(path: Path, ct: CtVolume) -> NDArray[np.uint8]:
    """Whatever numbers 0 to 255 a label map holds, on the CT's grid; errors as read_label_map."""
    labels, ijk_to_ras, _ = _read(path)
    if labels.shape == ct.shape_kji and same_grid(ijk_to_ras, ct.ijk_to_ras, ct.shape_kji):
        return labels
    return _on_grid_of(ct, shown_name(path), labels, ijk_to_ras)[0]


def read_label_names(path: Path) -> dict[int, str]:
    """What a label map itself says of its numbers: a .seg.nrrd, or a NIfTI with a table of labels
    in its header, as TotalSegmentator writes it; empty where it says nothing."""
    return read_segment_names(path) if is_format(path) else read_label_table(path)


def _read(path: Path) -> tuple[NDArray[np.uint8], Array, LabelNumbers | None]:
    """Labels, their grid, and which of them its own codes call liver and tumor."""
    if not is_format(path):
        return *read_labels(path), None
    labels, ijk_to_ras, coded = read_format_labels(path)
    liver, tumor = (coded.get(label.snomed[0], ()) for label in (Label.LIVER, Label.TUMOR))
    return labels, ijk_to_ras, LabelNumbers(liver, tumor) if liver or tumor else None


def same_grid(one: Array, other: Array, shape_kji: tuple[int, int, int]) -> bool:
    """Whether two 4 x 4 affines put all voxels of a shape at the same place, but for rounding."""
    corners_ijk = np.array(np.meshgrid(*[(0, n - 1) for n in shape_kji[::-1]])).reshape(3, -1)
    apart_mm = (one[:3, :3] - other[:3, :3]) @ corners_ijk + (one[:3, 3:] - other[:3, 3:])
    voxel_mm = np.linalg.norm(other[:3, :3], axis=0).min()
    return bool(np.linalg.norm(apart_mm, axis=0).max() <= SAME_PLACE * voxel_mm)


def _refuse_other_voxels(name: str, labels: NDArray[np.uint8], ct: CtVolume) -> None:
    """``ValueError`` where the map cannot mark the CT's own voxels."""
    if labels.shape != ct.shape_kji:
        raise ValueError(
            f"{name} has {labels.shape} voxels (k, j, i) and the CT {ct.shape_kji}, so it does not"
            " mark the CT's voxels; leave out --trust-voxels."
        )
    if labels.any():
        mean_hu = ct.hu.mean(where=labels > 0, dtype=np.float64)
        if not LIVER_MEAN_HU[0] <= mean_hu <= LIVER_MEAN_HU[1]:
            raise ValueError(
                f"{name} marks voxels of {mean_hu:.0f} HU on average, which is no liver, so it does"
                " not mark the voxels of this CT; give the map with its own geometry."
            )


def _on_grid_of(
    ct: CtVolume, name: str, labels: NDArray[np.uint8], ijk_to_ras: Array
) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """The nearest voxel's label at each voxel of the CT; says how much was lost."""
    from scipy import ndimage

    ct_to_labels = np.linalg.inv(ijk_to_ras) @ ct.ijk_to_ras
    on_ct = np.zeros(ct.shape_kji, np.uint8)
    ndimage.affine_transform(
        labels,
        ct_to_labels[2::-1, 2::-1],
        offset=ct_to_labels[2::-1, 3],
        output_shape=ct.shape_kji,
        output=on_ct,
        order=0,
        mode="grid-constant",
    )
    inside = _share_inside(ct, labels, ijk_to_ras)
    if inside < LEAST_INSIDE:
        raise ValueError(
            f"What {name} labels does not lie in this CT; give the CT that it was made of."
        )
    notes = []
    turned = np.abs(ct_to_labels[:3, :3])
    if np.abs(turned - np.rint(turned)).max() > 1e-3 or inside < 1:
        notes.append(
            "The label map has another grid than the CT; it was brought to the CT's grid by nearest"
            " voxels, so volumes differ a little."
        )
    if inside < 0.999:
        notes.append(f"{100 * (1 - inside):.0f} % of what is labeled lies outside this CT.")
    return on_ct, tuple(notes)


def _share_inside(ct: CtVolume, labels: NDArray[np.uint8], ijk_to_ras: Array) -> float:
    """Share of the labeled voxels whose centers lie in the CT; 1 when there are none."""
    labels_to_ct = np.linalg.inv(ct.ijk_to_ras) @ ijk_to_ras
    last_ijk = np.array(ct.shape_kji[::-1]) - 0.5
    total = inside = 0
    for k, plane in enumerate(labels):  # slice by slice: no list of all voxels
        j, i = np.nonzero(plane)
        ijk = np.stack([i, j, np.full_like(i, k)])
        at = labels_to_ct[:3, :3] @ ijk + labels_to_ct[:3, 3:]
        total += len(i)
        inside += int(((at >= -0.5) & (at <= last_ijk[:, None])).all(axis=0).sum())
    return inside / total if total else 1.0


def _refuse_other_numbers(name: str, labels: NDArray[np.uint8]) -> None:
    if labels.max() > Label.TUMOR:
        counts = sum(np.bincount(plane.ravel(), minlength=256) for plane in labels)
        others = [int(n) for n in np.flatnonzero(counts) if n > Label.TUMOR]
        shown = ", ".join(map(str, others[:LISTED_NUMBERS]))
        raise ValueError(
            f"{name} holds more labels than 1 (liver) and 2 (tumor), such as {shown}; say which"
            " mean what with --labels liver=1,tumor=2."
        )


def _how_to_say(text: str) -> str:
    return (
        f"{text!r} does not say which labels mean what; write liver=1,tumor=2, or liver=1+3,tumor=2"
        " where several numbers are liver, each from 1 to 255 and once."
    )

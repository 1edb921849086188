"""DICOM series as scanners write them, for the tests that read them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from command_line import PATIENT, some_affine, some_hu
from LiverTumorSegLib.volume import LPS_SIGNS, CtVolume
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import CTImageStorage, EnhancedCTImageStorage, ExplicitVRLittleEndian, generate_uid

INTERCEPT = -1024.0
Change = Callable[[Dataset, int], None]


def some_ct() -> CtVolume:
    """The small CT of the other tests, oblique, its k along the normal of its slices."""
    return CtVolume(np.ascontiguousarray(some_hu().T), some_affine())


def _nothing(dataset: Dataset, k: int) -> None:
    """A slice as it is."""


def changed(**values: object) -> Change:
    """The same change in every slice; None deletes."""

    def change(dataset: Dataset, k: int) -> None:
        for name, value in values.items():
            if value is None:
                del dataset[name]
            else:
                setattr(dataset, name, value)

    return change


def slice_of(ct: CtVolume, k: int, series: str, number: int = 4) -> FileDataset:
    """One slice as a CT image, with a patient's name on it."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = CTImageStorage
    dataset = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    dataset.PatientName, dataset.PatientID = PATIENT, PATIENT
    dataset.SOPClassUID, dataset.Modality = CTImageStorage, "CT"
    dataset.SOPInstanceUID = meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset.StudyInstanceUID = generate_uid(entropy_srcs=[series])
    dataset.FrameOfReferenceUID = generate_uid(entropy_srcs=[series, "frame"])
    dataset.SeriesInstanceUID, dataset.SeriesNumber = series, number
    dataset.SeriesDescription = PATIENT
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    _place(dataset, ct, k)
    dataset.RescaleSlope, dataset.RescaleIntercept, dataset.RescaleType = 1, INTERCEPT, "HU"
    _fill(dataset, ct.hu[k])
    return dataset


def _place(dataset: Dataset, ct: CtVolume, k: int) -> None:
    lps = np.diag([*LPS_SIGNS, 1.0]) @ ct.ijk_to_ras
    lengths_mm = np.linalg.norm(lps[:3, :2], axis=0)
    directions = (lps[:3, :2] / lengths_mm).T
    dataset.ImagePositionPatient = [f"{x:.6f}" for x in (lps @ (0, 0, k, 1))[:3]]
    dataset.ImageOrientationPatient = [f"{x:.9f}" for x in directions.ravel()]
    dataset.PixelSpacing = [float(lengths_mm[1]), float(lengths_mm[0])]
    dataset.SliceThickness = 9.5  # not the distance, as in overlapping reconstructions


def _fill(dataset: Dataset, hu: np.ndarray[Any, Any]) -> None:
    dataset.Rows, dataset.Columns = hu.shape[-2:]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    dataset.PixelRepresentation = 0
    dataset.PixelData = (hu - INTERCEPT).astype("<u2").tobytes()


def save_series(
    folder: Path,
    ct: CtVolume | None = None,
    *,
    change: Change = _nothing,
    names: Callable[[int], str] = lambda k: f"IM{97 * (k + 1) % 101:03d}",
    only: Sequence[int] | None = None,
    series: str | None = None,
    number: int = 4,
) -> list[Path]:
    """Write a CT as a series whose file names tell nothing of the order; the paths by k.

    change: what to alter in slice k before it is written. only: which slices there are.
    """
    ct, series = ct or some_ct(), series or generate_uid()
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for k in range(ct.shape_kji[0]) if only is None else only:
        dataset = slice_of(ct, k, series, number)
        change(dataset, k)
        paths.append(folder / names(k))
        dataset.save_as(paths[-1], enforce_file_format=True)
    return paths


def save_enhanced(path: Path, ct: CtVolume, order: Sequence[int], rescale_shared: bool) -> Path:
    """The whole CT as one multi-frame file, its frames in some order."""
    first = slice_of(ct, 0, generate_uid())
    first.SOPClassUID = first.file_meta.MediaStorageSOPClassUID = EnhancedCTImageStorage
    frames = []
    for k in order:
        single, frame = slice_of(ct, k, "1.2"), Dataset()
        frame.PlanePositionSequence = _one(single, "ImagePositionPatient")
        frame.PlaneOrientationSequence = _one(single, "ImageOrientationPatient")
        if not rescale_shared:
            frame.PixelValueTransformationSequence = _one(single, *RESCALE)
        frames.append(frame)
    shared = Dataset()
    shared.PixelMeasuresSequence = _one(first, "PixelSpacing", "SliceThickness")
    if rescale_shared:
        shared.PixelValueTransformationSequence = _one(first, *RESCALE)
    for name in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", *RESCALE):
        del first[name]
    first.SharedFunctionalGroupsSequence = Items([shared])
    first.PerFrameFunctionalGroupsSequence = Items(frames)
    first.NumberOfFrames = len(frames)
    _fill(first, ct.hu[list(order)])
    path.parent.mkdir(parents=True, exist_ok=True)
    first.save_as(path, enforce_file_format=True)
    return path


RESCALE = ("RescaleSlope", "RescaleIntercept", "RescaleType")


def _one(source: Dataset, *names: str) -> Items:
    item = Dataset()
    for name in names:
        setattr(item, name, source[name].value)
    return Items([item])


def compress(path: Path, syntax: str) -> None:
    """Pack a file's image in place, by GDCM or, for RLE, by pydicom."""
    if syntax == "RLELossless":
        dataset = pydicom.dcmread(path)
        dataset.compress(pydicom.uid.RLELossless)
        dataset.save_as(path)
        return
    import gdcm

    reader = gdcm.ImageReader()
    reader.SetFileName(str(path))
    assert reader.Read()
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(getattr(gdcm.TransferSyntax, syntax)))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer = gdcm.ImageWriter()
    writer.SetFileName(str(path))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()

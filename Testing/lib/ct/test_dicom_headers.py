"""DICOM headers and images: which files count, how images are unpacked, what is never said."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest
from command_line import PATIENT
from dicom_files import INTERCEPT, compress, save_series, some_ct
from LiverTumorSegLib.ct.dicom_headers import (
    TAGS,
    DicomImage,
    decode,
    looks_like_dicom,
    read_images,
    refuse_unreadable,
    require_pydicom,
    silenced_pydicom,
)
from looped import looped
from pydicom.data import get_testdata_file
from pydicom.uid import UID


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The slice at k = 5."""
    return save_series(tmp_path / "series", only=[5])[0]


def alter(path: Path, **values: object) -> Path:
    dataset = pydicom.dcmread(path)
    for name, value in values.items():
        setattr(dataset, name, value)
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.save_as(path)
    return path


def test_what_a_header_says(file: Path) -> None:
    (image,) = read_images(file)
    assert (image.path, image.frame, image.number, image.samples) == (file, 0, 4, 1)
    assert image.shape_ji == (60, 64)
    assert image.spacing_ji_mm == pytest.approx((5, 5))
    assert image.position_lps_mm == pytest.approx((-150, -170, -40))
    assert image.orientation == pytest.approx((0.98, 0.199, 0, -0.199, 0.98, 0), abs=1e-3)
    assert (image.slope, image.intercept, image.unit) == (1, INTERCEPT, "HU")
    assert (image.is_localizer, image.is_lossy, image.thickness_mm) == (False, False, 9.5)


def test_no_tag_about_the_patient_is_read(file: Path) -> None:
    about = ("Patient", "Birth", "Name", "Accession", "Physician", "Institution", "Description")
    assert not [tag for tag in TAGS if any(word in tag for word in about) and "Image" not in tag]
    assert PATIENT not in repr(read_images(file))


def test_the_mark_tells_dicom_not_the_name(file: Path, tmp_path: Path) -> None:
    assert looks_like_dicom(file)
    (tmp_path / "text.dcm").write_text("no DICOM " * 30)
    (tmp_path / "short.dcm").write_bytes(b"DICM")
    assert not looks_like_dicom(tmp_path / "text.dcm")
    assert not looks_like_dicom(tmp_path / "short.dcm")
    assert not looks_like_dicom(tmp_path)


@looped(
    "values",
    [
        {"Modality": "MR"},
        {"Modality": "SEG"},
        {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7", "BitsAllocated": 8},
        {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7.2", "BitsAllocated": 8},
        {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.20", "Modality": ""},
    ],
)
def test_other_things_hold_no_ct_image(file: Path, values: dict[str, object]) -> None:
    assert read_images(alter(file, **values)) == []


def test_what_else_lies_on_a_disk() -> None:
    directory = next(Path(str(get_testdata_file("DICOMDIR"))).parent.rglob("DICOMDIR"))
    assert looks_like_dicom(directory)
    with silenced_pydicom():
        assert read_images(directory) == []
        for name in ("reportsi.dcm", "rtplan.dcm", "MR_small.dcm", "SC_rgb_rle.dcm"):
            path = Path(str(get_testdata_file(name)))
            assert looks_like_dicom(path)
            assert read_images(path) == []


@looped("left", [140, 400, 700])
def test_a_damaged_header_is_refused_by_name(file: Path, left: int) -> None:
    file.write_bytes(file.read_bytes()[:left])
    with pytest.raises(ValueError, match=f"{file.name} is a damaged DICOM file; copy"):
        read_images(file)


# Images


SYNTAXES = {
    "RLELossless": "RLE",
    "JPEGLosslessProcess14": "Process 14)",
    "JPEGLosslessProcess14_1": "Selection Value 1",
    "JPEGLSLossless": "JPEG-LS",
    "JPEG2000Lossless": "JPEG 2000",
}


@looped("syntax", SYNTAXES)
def test_compressed_images_are_the_same(file: Path, syntax: str) -> None:
    compress(file, syntax)
    (image,) = read_images(file)
    assert SYNTAXES[syntax] in UID(image.transfer_syntax).name
    refuse_unreadable([image])
    (stored,) = decode([image])
    np.testing.assert_array_equal(stored, some_ct().hu[5] - INTERCEPT)


@looped("syntax", [pydicom.uid.ImplicitVRLittleEndian, "1.2.840.10008.1.2.1.99"])
def test_other_plain_forms(file: Path, syntax: str) -> None:
    dataset = pydicom.dcmread(file)
    dataset.file_meta.TransferSyntaxUID = UID(syntax)
    dataset.save_as(file, enforce_file_format=True)
    (image,) = read_images(file)
    refuse_unreadable([image])
    np.testing.assert_array_equal(next(decode([image])), some_ct().hu[5] - INTERCEPT)


def test_signed_numbers_and_bits_that_mean_nothing(file: Path) -> None:
    """12 bits of 16 are the value; in old files the other 4 hold an overlay's dots."""
    hu = some_ct().hu[5]
    dotted = (hu.astype("<i2") & 0x0FFF) | 0x5000
    alter(file, PixelRepresentation=1, PixelData=dotted.astype("<i2").tobytes())
    np.testing.assert_array_equal(next(decode(read_images(file))), hu)


def test_an_image_that_is_cut_off(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-2000])
    images = read_images(file)
    with pytest.raises(ValueError, match=f"in {file.name} is cut off"):
        list(decode(images))


def _with_syntax(file: Path, syntax: str) -> DicomImage:
    (image,) = read_images(file)
    return type(image)(**{**vars(image), "transfer_syntax": syntax})


@looped("syntax", ["1.2.840.10008.1.2.4.100", "1.2.840.10008.1.2.4.201", "1.2.3.4"])
def test_what_nothing_can_unpack(file: Path, syntax: str) -> None:
    with pytest.raises(ValueError, match=r"cannot be read; export the series uncompressed\.$"):
        refuse_unreadable([_with_syntax(file, syntax)])


def test_gdcm_is_asked_for_where_it_is_missing(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pydicom.pixels.decoders.base import get_decoder

    decoder = get_decoder(pydicom.uid.JPEGLosslessSV1)
    monkeypatch.setattr(decoder, "_available", {})
    with pytest.raises(ValueError, match=r"needs python-gdcm; .*'livertumorseg\[dicom\]'"):
        refuse_unreadable([_with_syntax(file, pydicom.uid.JPEGLosslessSV1)])


def test_pydicom_is_asked_for_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    require_pydicom()
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(ValueError, match=r"pip install 'livertumorseg\[dicom\]'"):
        require_pydicom()


def test_pydicom_is_not_heard(
    file: Path,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    recwarn: pytest.WarningsRecorder,
) -> None:
    """It would quote a value that is too long for its kind, a name for example."""
    raw = file.read_bytes()
    at = raw.index(b"IS", raw.index(b"\x20\x00\x11\x00"))
    file.write_bytes(raw[: at + 2] + b"\x0c\x00" + b"DOE^JANE    " + raw[at + 6 :])
    with silenced_pydicom():
        logging.getLogger("pydicom.filereader").warning("DOE")
        assert read_images(file)[0].number is None
    assert not recwarn.list
    assert "DOE" not in caplog.text
    assert capfd.readouterr() == ("", "")
    logging.getLogger("pydicom.filereader").warning("DOE")
    assert "DOE" in caplog.text

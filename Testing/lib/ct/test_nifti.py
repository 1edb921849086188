"""NIfTI files come back voxel for voxel; what is no CT is refused in one helpful sentence."""

from __future__ import annotations

import errno
import gzip
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from LiverTumorSegLib.ct.nifti import read_ct, read_labels, write_ct, write_labels
from LiverTumorSegLib.ct.read import read_input
from LiverTumorSegLib.volume import CtVolume
from looped import FOUR_AXES, looped
from numpy.typing import NDArray

ADVICE = ("give ", "check ", "export ", "copy ", "convert ", "replace ", "ask ")
OBLIQUE = np.linalg.qr(np.array([[1.0, 0.1, -0.2], [-0.1, 1.0, 0.15], [0.2, -0.15, 1.0]]))[0]
SPACING_IJK_MM = np.array([0.703125, 0.91, 2.5])
MM_2 = np.diag([2.0, 2.0, 2.0, 1.0])
PATIENT_FOLDER = "Doe^Jane"


def affine_of(directions: NDArray[np.float64]) -> NDArray[np.float64]:
    affine = np.eye(4)
    affine[:3, :3] = directions * SPACING_IJK_MM
    affine[:3, 3] = (-181.25, 33.3, -900.5)
    return affine


def some_hu(shape_kji: tuple[int, int, int] = (4, 5, 6)) -> NDArray[np.int16]:
    hu = np.random.default_rng(42).integers(-1024, 3071, shape_kji, dtype=np.int16)
    hu.flat[:2] = (-1024, 3071)
    return hu


def save(
    path: Path, array_ijk: NDArray[Any], affine: NDArray[np.float64] | None = None, **fields: Any
) -> Path:
    """A file as nibabel alone makes it; fields are header fields set afterwards."""
    image = nibabel.Nifti1Image(array_ijk, MM_2 if affine is None else affine)
    image.to_filename(path)
    if not fields:
        return path
    header, data = image.header, path.read_bytes()
    for key, value in fields.items():
        header[key] = value
    path.write_bytes(header.binaryblock + data[348:])
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder named as a patient, which no sentence may show."""
    (tmp_path / PATIENT_FOLDER).mkdir()
    return tmp_path / PATIENT_FOLDER


@pytest.fixture
def refusal(capfd: pytest.CaptureFixture[str]) -> Callable[[Path], str]:
    """Read a file that must be refused, hold its sentence to the house rules, return it."""

    def read(path: Path, reader: Callable[[Path], Any] = read_ct) -> str:
        with pytest.raises(ValueError, match=r"\.$") as caught:
            reader(path)
        sentence = str(caught.value)
        assert len(sentence.splitlines()) == 1
        assert sentence.startswith(path.name)
        assert sentence.endswith(".")
        assert any(advice in sentence for advice in ADVICE), sentence
        assert PATIENT_FOLDER not in sentence
        assert capfd.readouterr() == ("", "")
        return sentence

    return read


# What is read


@looped("tilt", [np.eye(3), OBLIQUE])
@looped(axes_to_ras=FOUR_AXES)
def test_ct_round_trip(
    tmp_path: Path, axes_to_ras: NDArray[np.float64], tilt: NDArray[np.float64]
) -> None:
    ct = CtVolume(some_hu(), affine_of(tilt @ axes_to_ras))
    write_ct(tmp_path / "ct.nii.gz", ct)
    back, warnings = read_ct(tmp_path / "ct.nii.gz")
    np.testing.assert_array_equal(back.hu, ct.hu)
    np.testing.assert_allclose(back.ijk_to_ras, ct.ijk_to_ras, atol=1e-4)
    assert warnings == ()


@looped(axes_to_ras=FOUR_AXES)
def test_places_are_those_nibabel_gives(tmp_path: Path, axes_to_ras: NDArray[np.float64]) -> None:
    affine = affine_of(OBLIQUE @ axes_to_ras)
    array_ijk = some_hu().transpose(2, 1, 0)
    path = save(tmp_path / "ct.nii", array_ijk, affine)
    ct, _ = read_ct(path)
    image = nibabel.Nifti1Image.from_filename(path)
    np.testing.assert_array_equal(ct.ijk_to_ras, image.affine)
    assert ct.hu[1, 2, 3] == np.asarray(image.dataobj)[3, 2, 1]


@looped(axes_to_ras=FOUR_AXES)
def test_the_qform_alone_is_enough(tmp_path: Path, axes_to_ras: NDArray[np.float64]) -> None:
    affine = affine_of(OBLIQUE @ axes_to_ras)
    image = nibabel.Nifti1Image(some_hu().transpose(2, 1, 0), affine)
    image.set_qform(affine, 1)
    image.set_sform(None, 0)
    image.to_filename(tmp_path / "ct.nii")
    ct, warnings = read_ct(tmp_path / "ct.nii")
    np.testing.assert_allclose(ct.ijk_to_ras, affine, atol=1e-4)
    assert warnings == ()


def test_a_handedness_of_zero_means_one(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(some_hu(), None)
    image.set_qform(np.diag([1, 1, 2.5, 1]), 1)
    image.to_filename(tmp_path / "right.nii")
    data = bytearray((tmp_path / "right.nii").read_bytes())
    data[76:80] = bytes(4)  # pixdim[0]
    (tmp_path / "zero.nii").write_bytes(data)
    np.testing.assert_array_equal(
        read_ct(tmp_path / "zero.nii")[0].ijk_to_ras, np.diag([1, 1, 2.5, 1])
    )


@looped("stored", ["i2", "i4", "i8", "f4", "f8", ">i2", ">f4"])
def test_stored_types_and_byte_orders(tmp_path: Path, stored: str) -> None:
    hu = some_hu()
    header = nibabel.Nifti1Header(endianness=">" if stored[0] == ">" else "<")
    image = nibabel.Nifti1Image(hu.T.astype(stored), np.eye(4), header)
    image.set_data_dtype(stored)
    image.to_filename(tmp_path / "ct.nii.gz")
    np.testing.assert_array_equal(read_ct(tmp_path / "ct.nii.gz")[0].hu, hu)


def test_nifti2(tmp_path: Path) -> None:
    hu = some_hu()
    nibabel.Nifti2Image(hu.T, np.eye(4)).to_filename(tmp_path / "ct.nii.gz")
    np.testing.assert_array_equal(read_ct(tmp_path / "ct.nii.gz")[0].hu, hu)


def test_integer_scale_is_exact(tmp_path: Path) -> None:
    stored = np.arange(4096, dtype=np.uint16).reshape(16, 16, 16)
    path = save(tmp_path / "ct.nii", stored, scl_slope=1, scl_inter=-1024)
    np.testing.assert_array_equal(read_ct(path)[0].hu.T, stored.astype(np.int16) - 1024)


def test_fractions_are_rounded_to_the_nearest(tmp_path: Path) -> None:
    values = np.full((3, 3, 3), -1000.0, dtype=np.float32)
    values[0, 0] = (-0.6, 0.4, 39.7)
    path = save(tmp_path / "ct.nii", values)
    assert read_ct(path)[0].hu[:, 0, 0].tolist() == [-1, 0, 40]


def test_values_beyond_int16_are_clipped_with_a_warning(tmp_path: Path) -> None:
    values = np.full((3, 3, 3), -1000, dtype=np.int32)
    values[0, 0] = (70000, -70000, 40)
    ct, warnings = read_ct(save(tmp_path / "ct.nii", values))
    assert ct.hu[:, 0, 0].tolist() == [32767, -32768, 40]
    assert len(warnings) == 1
    assert "clipped" in warnings[0]


def test_gzip_inside_a_plain_name(tmp_path: Path) -> None:
    hu = some_hu()
    plain = save(tmp_path / "ct.nii", hu.T)
    plain.write_bytes(gzip.compress(plain.read_bytes()))
    np.testing.assert_array_equal(read_ct(plain)[0].hu, hu)


@looped("further", [(1,), (1, 1)])
def test_a_single_time_point_is_a_scan(tmp_path: Path, further: tuple[int, ...]) -> None:
    hu = some_hu()
    path = save(tmp_path / "ct.nii", hu.T.reshape(*hu.T.shape, *further))
    np.testing.assert_array_equal(read_ct(path)[0].hu, hu)


def test_spacing_in_other_units_becomes_mm(tmp_path: Path) -> None:
    for code, factor in ((0, 1.0), (1, 0.001), (2, 1.0), (3, 1000.0)):
        affine = np.diag([factor, factor, 2.5 * factor, 1])
        path = save(tmp_path / "ct.nii", some_hu(), affine, xyzt_units=code)
        assert read_ct(path)[0].spacing_kji_mm == pytest.approx((2.5, 1, 1))


def test_a_wrong_unit_or_none_is_refused_with_the_size(
    folder: Path, refusal: Callable[[Path], str]
) -> None:
    for code, mm, says in ((1, 3, "too large"), (3, 0.7, "too small")):
        affine = np.diag([mm, mm, mm, 1])
        assert says in refusal(save(folder / "ct.nii", some_hu(), affine, xyzt_units=code))
    for mm, says in ((0.003, "too small"), (700, "too large"), (0.05, "voxels of 0.05")):
        assert says in refusal(save(folder / "ct.nii", some_hu(), np.diag([mm, mm, mm, 1])))


@looped(("low", "expected"), [(-1024, 0), (-401, 0), (-400, 1), (-40, 1), (-1, 1)])
def test_one_warning_for_a_windowed_ct(tmp_path: Path, low: int, expected: int) -> None:
    _, warnings = read_ct(save(tmp_path / "ct.nii", np.maximum(some_hu(), low)))
    assert len(warnings) == expected
    assert all("window" in w and len(w.splitlines()) == 1 for w in warnings)


def test_unknown_orientation_is_a_warning(tmp_path: Path) -> None:
    path = save(tmp_path / "ct.nii", some_hu(), np.diag([1, 1, 2.5, 1]), sform_code=0, qform_code=0)
    ct, warnings = read_ct(path)
    assert len(warnings) == 1
    assert "left and right" in warnings[0]
    assert ct.spacing_kji_mm == (2.5, 1, 1)


def twice_told(path: Path, sform: NDArray[np.float64], qform: NDArray[np.float64]) -> Path:
    image = nibabel.Nifti1Image(some_hu(), None)
    image.set_sform(sform, 1)
    image.set_qform(qform, 1)
    image.to_filename(path)
    return path


def test_a_header_that_contradicts_itself_is_told_with_numbers(tmp_path: Path) -> None:
    right = affine_of(np.eye(3))
    moved, turned, mirrored = right.copy(), affine_of(OBLIQUE), right @ np.diag([-1, 1, 1, 1])
    moved[:3, 3] += (0, 30, 40)
    for other, says in (
        (right, None),
        (moved, "up to 50 mm"),
        (turned, "mm apart"),
        (mirrored, "mirror"),
        (right @ np.diag([2, 1, 1, 1]), "0.703 x 0.91 x 2.5 mm against 1.41 x 0.91 x 2.5 mm"),
    ):
        ct, warnings = read_ct(twice_told(tmp_path / "ct.nii", right, other))
        np.testing.assert_allclose(ct.ijk_to_ras, right, atol=1e-4)
        assert len(warnings) == (says is not None)
        assert says is None or says in warnings[0]


def test_an_sform_that_says_nothing_yields_to_the_qform(tmp_path: Path) -> None:
    right = affine_of(OBLIQUE)
    ct, warnings = read_ct(twice_told(tmp_path / "ct.nii", np.eye(4), right))
    np.testing.assert_allclose(ct.ijk_to_ras, right, atol=1e-4)
    assert warnings == ()


def test_an_identity_affine_is_told(tmp_path: Path) -> None:
    _, warnings = read_ct(save(tmp_path / "ct.nii", some_hu(), np.eye(4)))
    assert len(warnings) == 1
    assert "identity" in warnings[0]


def test_every_real_case_is_accepted(shared_data: Path) -> None:
    fixtures = [
        shared_data / "fixtures" / n for n in ("example_ct.nii.gz", "lits4_excerpt_ct.nii.gz")
    ]
    cases = sorted((shared_data / "lits-subset").glob("volume-*.nii.gz"))
    assert cases
    for path in fixtures + cases:
        ct, warnings = read_ct(path)
        assert ct.hu.min() < 0 < ct.hu.max(), path.name
        for text in warnings:
            is_true = "window" in text or ("apart" in text and "context" in path.name)
            assert is_true, (path.name, text)
        assert warnings == () or path.name != "example_ct.nii.gz"


def test_real_case_and_its_labels_share_a_grid(shared_data: Path) -> None:
    ct, _ = read_ct(shared_data / "fixtures" / "lits4_excerpt_ct.nii.gz")
    labels, affine = read_labels(shared_data / "fixtures" / "lits4_excerpt_seg.nii.gz")
    assert labels.shape == ct.shape_kji
    np.testing.assert_allclose(affine, ct.ijk_to_ras)
    assert np.unique(labels).tolist() == [0, 1, 2]


# What is refused


def test_what_is_no_image_file_is_refused_and_not_waited_for(
    folder: Path, refusal: Callable[[Path], str]
) -> None:
    # no such file
    assert "does not exist" in refusal(folder / "ct.nii.gz")

    # what is no file is not waited for
    os.mkfifo(folder / "pipe")
    assert "no file" in refusal(folder / "pipe")
    with pytest.raises(ValueError, match="too long; give a shorter one"):
        read_input(Path("x" * 5000))

    # folder
    (folder / "ct.nii").mkdir()
    assert "folder" in refusal(folder / "ct.nii")

    # header and image pair
    nibabel.Nifti1Pair(some_hu(), np.eye(4)).to_filename(folder / "ct.hdr")
    assert "pair" in refusal(folder / "ct.hdr")


def test_no_permission(
    folder: Path, refusal: Callable[[Path], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, *_: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    path = save(folder / "ct.nii", some_hu())
    monkeypatch.setattr(Path, "open", refuse)
    assert "permission" in refusal(path)


@looped(
    ("name", "content"),
    [
        ("ct.nii", b""),
        ("ct.nii.gz", b"these are notes, not a scan\n" * 40),
        ("ct.nii.gz", gzip.compress(b"zipped notes\n" * 100)),
        ("slice.dcm", bytes(128) + b"DICM" + bytes(400)),
        ("ct.nrrd", b"NRRD0004\n" + bytes(600)),
        ("ct.png", b"\x89PNG\r\n\x1a\n" + bytes(600)),
    ],
)
def test_not_nifti(folder: Path, refusal: Callable[[Path], str], name: str, content: bytes) -> None:
    (folder / name).write_bytes(content)
    assert "not a NIfTI" in refusal(folder / name)


@looped("name", ["ct.nii", "ct.nii.gz"])
@looped("kept", [0.0, 0.2, 0.7, 0.999])
def test_cut_off(folder: Path, refusal: Callable[[Path], str], name: str, kept: float) -> None:
    whole = save(folder / name, some_hu((20, 30, 40))).read_bytes()
    (folder / name).write_bytes(whole[: 400 + int(kept * (len(whole) - 400))])
    assert "cut off" in refusal(folder / name)


def test_what_is_damaged_or_promises_too_much_is_refused(
    folder: Path, refusal: Callable[[Path], str]
) -> None:
    # gzip cut off in the header
    path = save(folder / "ct.nii.gz", some_hu())
    path.write_bytes(path.read_bytes()[:40])
    assert "cut off" in refusal(path)

    # gzip with a wrong byte
    path = save(folder / "ct.nii.gz", some_hu((20, 30, 40)))
    data = bytearray(path.read_bytes())
    data[-8] ^= 1  # of the checksum
    path.write_bytes(data)
    assert "damaged" in refusal(path)

    # a header that promises terabytes
    path = save(folder / "ct.nii", some_hu(), dim=[3, 32000, 32000, 32000, 1, 1, 1, 1])
    assert "cut off" in refusal(path)
    path.write_bytes(gzip.compress(path.read_bytes()))
    assert "cut off" in refusal(path)

    # a small file that unpacks to gigabytes: Refused by what the header promises, before anything
    # is unpacked.
    for dim in ([3, 8000, 8000, 2], [3, 4000, 4000, 800]):
        path = save(folder / "ct.nii", some_hu(), dim=[*dim, 1, 1, 1, 1])
        path.write_bytes(gzip.compress(path.read_bytes() + bytes(26_000_000)))
        path.write_bytes(path.read_bytes() + bytes(25_000_000))  # enough for the promise
        assert "more than any CT" in refusal(path)


@looped(
    ("fields", "says"),
    [
        ({"pixdim": [1, 0, 1, 1, 0, 0, 0, 0], "sform_code": 0}, "spacing"),
        ({"pixdim": [1, 1, 1, np.nan, 0, 0, 0, 0], "sform_code": 0}, "spacing"),
        ({"pixdim": [1, 0, 1, 1, 0, 0, 0, 0], "sform_code": 0, "qform_code": 1}, "spacing"),
        ({"srow_z": [0, 0, 0, 0]}, "spacing"),
        ({"srow_x": [np.inf, 0, 0, 0]}, "spacing"),
        ({"srow_x": [1, 1, 0, 0], "srow_y": [0, 0, 0, 5]}, "singular"),
        ({"sform_code": 0, "qform_code": 1, "quatern_b": 3}, "orientation"),
        ({"dim": [3, 4, 0, 6, 1, 1, 1, 1]}, "empty"),
        ({"dim": [3, 4, -5, 6, 1, 1, 1, 1]}, "empty"),
        ({"datatype": 999}, "damaged"),
        ({"datatype": 1, "bitpix": 1}, "unknown type"),
        ({"vox_offset": np.inf}, "damaged"),
        ({"vox_offset": np.nan}, "damaged"),
        ({"vox_offset": 1e9}, "cut off"),
        ({"scl_slope": 1, "scl_inter": np.inf}, "damaged"),
        ({"scl_slope": 3e38, "scl_inter": 0, "datatype": 16, "bitpix": 32}, "cut off"),
    ],
)
def test_bad_headers(
    folder: Path, refusal: Callable[[Path], str], fields: dict[str, Any], says: str
) -> None:
    assert says in refusal(save(folder / "ct.nii", some_hu(), **fields))


RGB = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])
CT_LIKE = some_hu().astype(np.float32)


@looped(
    ("array_ijk", "says"),
    [
        (some_hu()[0], "2D"),
        (np.stack([some_hu()] * 2, axis=3), "time points"),
        (some_hu()[:, :, :1], "one slice"),
        (some_hu()[:1], "one slice"),
        (np.zeros((3, 4, 5), dtype=RGB), "RGB"),
        (CT_LIKE.astype(np.complex64), "complex"),
        (np.where(CT_LIKE > 3000, np.nan, CT_LIKE), "NaN"),
        (np.where(CT_LIKE > 3000, -np.inf, CT_LIKE), "infinite"),
        (np.full((3, 4, 5), -1000, np.int16), "same value"),
        (np.abs(CT_LIKE) / 4000, "fractions"),
        ((CT_LIKE > 0).astype(np.uint8), "fractions or a mask"),
        ((CT_LIKE > 0).astype(np.uint8) + (CT_LIKE > 90), "label map"),
        ((CT_LIKE - CT_LIKE.mean()) / CT_LIKE.std(), "normalized"),
        (CT_LIKE + 1024, "nothing below 0"),
        (np.maximum(CT_LIKE, -0.4), "nothing below 0"),
    ],
)
def test_what_is_no_ct(
    folder: Path, refusal: Callable[[Path], str], array_ijk: NDArray[Any], says: str
) -> None:
    assert says in refusal(save(folder / "ct.nii", array_ijk))


def test_a_name_with_a_line_break_stays_one_line(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="does not exist") as caught:
        read_ct(tmp_path / "two\nlines.nii")
    assert len(str(caught.value).splitlines()) == 1


# Labels


def test_labels_of_all_zero_are_read(tmp_path: Path) -> None:
    write_labels(tmp_path / "seg.nii", np.zeros((2, 3, 4), np.uint8), like=np.eye(4))
    assert not read_labels(tmp_path / "seg.nii")[0].any()


def test_labels_with_a_slope_or_nan_are_the_labels_that_were_meant(tmp_path: Path) -> None:
    """NaN outside; a slope that leaves fractions; the CT's own slope left in the header."""
    truth = np.random.default_rng(0).integers(0, 3, (4, 5, 6)).astype(np.uint8)
    outside = np.where(truth == 0, np.nan, truth).astype(np.float32)
    for stored, fields in (
        (outside, {}),
        ((truth * 127).astype(np.uint8), {"scl_slope": 1 / 127, "scl_inter": 0}),
        (truth, {"scl_slope": 1, "scl_inter": -1024}),
        (truth.astype(np.int16), {"scl_slope": 0.5, "scl_inter": 0}),
        (truth.astype(np.float32) + np.float32(1e-4), {}),
        (truth, {"scl_slope": 0, "scl_inter": 7}),
        (truth, {"scl_slope": np.nan, "scl_inter": np.nan}),
    ):
        read, _ = read_labels(save(tmp_path / "seg.nii", stored, **fields))
        np.testing.assert_array_equal(read.T, truth)


@looped("value", [-1, 256, 0.5])
def test_what_is_no_label_is_refused(
    folder: Path, refusal: Callable[..., str], value: float
) -> None:
    path = save(folder / "seg.nii", np.full((3, 4, 5), value, np.float32))
    assert "labels" in refusal(path, read_labels)


def test_importing_the_reader_does_not_load_nibabel() -> None:
    code = "import LiverTumorSegLib.ct.nifti, sys; sys.exit('nibabel' in sys.modules)"
    library = Path(__file__).resolve().parents[3] / "LiverTumorSeg"
    environment = {**os.environ, "PYTHONPATH": str(library)}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)

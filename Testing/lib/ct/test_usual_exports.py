"""What archives, scanners and anonymizers make of a series, and the CT that it still is."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from command_line import PATIENT, some_affine
from dicom_files import INTERCEPT, Change, changed, compress, save_series, slice_of, some_ct
from LiverTumorSegLib.ct.dicom import find_series, read_series
from LiverTumorSegLib.volume import CtVolume
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO, DicomFileLike
from pydicom.filewriter import write_dataset
from pydicom.uid import generate_uid

SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
LEGACY_ENHANCED = "1.2.840.10008.5.1.4.1.1.2.2"
IMPLICIT = b"1.2.840.10008.1.2\0"
EXPLICIT = b"1.2.840.10008.1.2.1\0"
BIG_ENDIAN = b"1.2.840.10008.1.2.2\0"


def _commas_between(dataset: Dataset, k: int) -> None:
    tag = dataset["PixelSpacing"].tag
    dataset["PixelSpacing"] = RawDataElement(tag, "DS", 8, b"5.0,5.0 ", 0, False, True)


def test_exports_without_the_usual_marks_are_read(tmp_path: Path) -> None:
    """Anonymizers, old archives and viewers leave things out that say nothing of the numbers."""
    exports: dict[str, Change] = {
        "no modality": changed(Modality=None),
        "modality OT": changed(Modality="OT"),
        "modality blanked": changed(Modality=""),
        "a CT that was made enhanced later": changed(SOPClassUID=LEGACY_ENHANCED, Modality=None),
        "spacing with a comma between": _commas_between,
        "unit in words": changed(RescaleType="Hounsfield Unit"),
        "unit misspelled": changed(RescaleType="Houndsfield"),
        "unit in brackets": changed(RescaleType="[HU]"),
        "unit in another language": changed(RescaleType="UH (Unidades Hounsfield)"),
        "unit of a dual-energy CT": changed(RescaleType="HU_MOD"),
        "no photometric interpretation": changed(PhotometricInterpretation=None),
        "no samples per pixel": changed(SamplesPerPixel=None),
        "secondary capture with its place": changed(SOPClassUID=SECONDARY_CAPTURE),
        "padding that tissue has": changed(PixelPaddingValue=1100),
    }
    for n, (name, change) in enumerate(exports.items()):
        save_series(tmp_path / str(n), change=change)
        (series,) = find_series(tmp_path / str(n))
        ct, warnings = read_series(series)
        assert np.array_equal(ct.hu, some_ct().hu), name
        assert warnings == (), name


def test_files_without_preamble_or_transfer_syntax_are_read(tmp_path: Path) -> None:
    for implicit in (True, False):
        for kept in ("dataset", "meta"):
            folder = tmp_path / f"{kept} {implicit}"
            for path in save_series(folder):
                dataset = pydicom.dcmread(path)
                if kept == "meta":
                    del dataset.file_meta.TransferSyntaxUID
                    dataset.save_as(
                        path, implicit_vr=implicit, little_endian=True, enforce_file_format=False
                    )
                else:
                    with path.open("wb") as file:
                        raw = DicomFileLike(file)
                        raw.is_little_endian, raw.is_implicit_VR = True, implicit
                        write_dataset(raw, dataset)
            (series,) = find_series(folder)
            ct, warnings = read_series(series)
            np.testing.assert_array_equal(ct.hu, some_ct().hu)
            assert warnings == ()


def _big_endian(data: bytes) -> bytes:
    """The file as old archives have it, its preamble and group 2 too."""
    dataset = pydicom.dcmread(io.BytesIO(data))
    dataset.PixelData = np.frombuffer(dataset.PixelData, "<u2").astype(">u2").tobytes()
    dataset["PixelData"].VR = "OW"
    written = DicomBytesIO()
    written.is_little_endian, written.is_implicit_VR = False, False
    write_dataset(written, dataset)
    rest = len(data) - len(_dataset(data))
    return _named(data[:rest], BIG_ENDIAN) + written.getvalue()


def test_files_that_begin_otherwise_or_are_encoded_otherwise_than_they_say(tmp_path: Path) -> None:
    """Gateways write one encoding and name another; anonymizers blank its name."""

    def group_length(data: bytes) -> bytes:
        return b"\x08\0\0\0UL\x04\0" + (500).to_bytes(4, "little") + _dataset(data)

    exports: dict[str, Callable[[bytes], bytes]] = {
        "no preamble, but group 2": lambda data: data[132:],
        "no preamble, and the group's length first": group_length,
        "a TIFF in the preamble": lambda data: b"II*\0" + data[4:],
        "explicit, said to be implicit": lambda data: _named(data, IMPLICIT),
        "blanked": lambda data: _named(data, b""),
        "big endian": _big_endian,
        "big endian without preamble": lambda data: _dataset(_big_endian(data)),
    }
    for name, change in exports.items():
        for path in save_series(tmp_path / name):
            path.write_bytes(change(path.read_bytes()))
        (series,) = find_series(tmp_path / name)
        ct, warnings = read_series(series)
        assert np.array_equal(ct.hu, some_ct().hu), name
        assert warnings == (), name


def _dataset(data: bytes) -> bytes:
    """A file without its preamble and group 2."""
    return data[144 + int.from_bytes(data[140:144], "little") :]


def _named(data: bytes, syntax: bytes) -> bytes:
    """A file of explicit encoding whose header names another, or none."""
    assert EXPLICIT in data[:400]
    length = int.from_bytes(data[140:144], "little") - len(EXPLICIT) + len(syntax)
    at = data.index(EXPLICIT)
    meta = data[144 : at - 2] + len(syntax).to_bytes(2, "little") + syntax
    rest = data[at + len(EXPLICIT) :]
    return data[:140] + length.to_bytes(4, "little") + meta + rest


def test_a_ct_without_modality_and_class_is_known_by_its_units_and_places(tmp_path: Path) -> None:
    for path in save_series(tmp_path):
        dataset = pydicom.dcmread(path)
        del dataset.Modality, dataset.SOPClassUID, dataset.file_meta.MediaStorageSOPClassUID
        dataset.save_as(path, enforce_file_format=False)
    (series,) = find_series(tmp_path)
    np.testing.assert_array_equal(read_series(series)[0].hu, some_ct().hu)


def test_numbers_with_a_decimal_comma_are_read(tmp_path: Path) -> None:
    for path in save_series(tmp_path):
        dataset = pydicom.dcmread(path)
        for name in ("PixelSpacing", "ImagePositionPatient", "RescaleIntercept", "RescaleSlope"):
            value = dataset[name].value
            values = value if isinstance(value, pydicom.multival.MultiValue) else [value]
            comma = "\\".join(str(float(v)).replace(".", ",") for v in values)
            tag, vr = dataset[name].tag, "DS"
            data = comma.encode() + b" " * (len(comma) % 2)
            dataset[name] = RawDataElement(tag, vr, len(data), data, 0, False, True)
        dataset.save_as(path, enforce_file_format=True)
    ct, _ = read_series(find_series(tmp_path)[0])
    np.testing.assert_array_equal(ct.hu, some_ct().hu)
    np.testing.assert_allclose(ct.ijk_to_ras, some_affine(), atol=1e-5)


def test_a_unit_that_nobody_knows_is_told_and_not_quoted(tmp_path: Path) -> None:
    ct, warnings = read_series(save_series(tmp_path, change=changed(RescaleType=PATIENT)))
    np.testing.assert_array_equal(ct.hu, some_ct().hu)
    assert len(warnings) == 1
    assert "unit" in warnings[0]
    assert PATIENT not in warnings[0]


def test_padding_becomes_air_signed_or_not(tmp_path: Path) -> None:
    """Outside a round field of view; the value's own sign is often written wrongly."""
    ct = some_ct()
    y, x = np.mgrid[:60, :64]
    outside = np.hypot(y - 30, x - 32) > 31
    truth = np.where(outside, -1024, ct.hu)
    for n, (stored, is_signed, said, limit) in enumerate(
        (
            (63536, 0, 63536, None),
            (-2000, 1, 63536, None),
            (-2000, 1, 63500, 63540),
            (65535, 0, 65535, 65000),
            (0, 0, 0, None),
            (4095, 0, 4095, None),  # where 12 bits end, as metal does
            (-32768, 1, 32768, None),
        )
    ):

        def change(dataset: Dataset, k: int) -> None:
            pixels = ct.hu[k].astype(np.int32) - INTERCEPT
            dataset.BitsStored, dataset.HighBit = 16, 15
            dataset.PixelRepresentation = is_signed  # noqa: B023
            dataset.add_new("PixelPaddingValue", "US", said)  # noqa: B023
            if limit is not None:  # noqa: B023
                dataset.add_new("PixelPaddingRangeLimit", "US", limit)  # noqa: B023
            pixels = np.where(outside, stored, pixels).astype(np.int64) % 65536  # noqa: B023
            dataset.PixelData = pixels.astype("<u2").tobytes()

        read, warnings = read_series(save_series(tmp_path / str(n), change=change))
        np.testing.assert_array_equal(read.hu, truth)
        assert warnings == ()


def test_a_series_sent_twice_counts_once(tmp_path: Path) -> None:
    """New identifiers, the same numbers, stored in one way or two; in one folder or two, or one
    slice alone."""

    def stored_otherwise(dataset: Dataset, k: int) -> None:
        dataset.RescaleIntercept, dataset.InstanceNumber = -2000, 500 - k
        pixels = dataset.pixel_array.astype(np.int32) + int(INTERCEPT) + 2000
        dataset.PixelData = pixels.astype("<u2").tobytes()

    uid = generate_uid()
    save_series(tmp_path / "all", series=uid)
    save_series(tmp_path / "all", series=uid, names=lambda k: f"again{k}")
    save_series(tmp_path / "one", series=uid)
    save_series(tmp_path / "one", series=uid, names=lambda k: f"again{k}", only=[4])
    save_series(tmp_path / "stored", series=uid)
    save_series(
        tmp_path / "stored", series=uid, names=lambda k: f"again{k}", change=stored_otherwise
    )
    save_series(tmp_path / "packed", series=uid)
    for path in save_series(tmp_path / "packed", series=uid, names=lambda k: f"again{k}"):
        compress(path, "JPEGLosslessProcess14_1")
    for n in range(3):
        save_series(tmp_path / "thrice", series=uid, names=lambda k, n=n: f"{n}-{k}")
    save_series(tmp_path / "two" / "a", series=uid)
    save_series(tmp_path / "two" / "b", series=uid)
    counts = {"all": "10", "one": "An image", "two": "10", "stored": "10", "packed": "10"}
    for name, count in (counts | {"thrice": "20 images were"}).items():
        (series,) = find_series(tmp_path / name)
        for source in (series, sorted((tmp_path / name).rglob("*[0-9]"))):
            ct, warnings = read_series(source)
            np.testing.assert_array_equal(ct.hu, some_ct().hu)
            assert len(warnings) == 1
            assert count in warnings[0]


def test_phases_of_a_series_are_offered_one_by_one(tmp_path: Path) -> None:
    """Told by the acquisition, a time, or the scanner's numbering alone."""
    ct = some_ct()
    later = CtVolume(ct.hu + np.int16(30), ct.ijk_to_ras)
    tags: tuple[dict[str, list[object]], ...] = (
        {"AcquisitionNumber": [1, 2]},
        {"ContentTime": ["101500", "101530"]},
        {"TriggerTime": [0, 400], "AcquisitionNumber": [1, 1]},
        {"ConvolutionKernel": ["B30f", "B60f"]},
        {"ImageType": [["DERIVED", "PRIMARY", "AXIAL", f"DE_{tube}"] for tube in "AB"]},
        {"ContrastBolusAgent": ["NONE", "IV"]},
        {"StackID": ["1", "2"]},
        {"KVP": [80, 140]},
        {"SliceThickness": [1.25, 5]},
        {},
        {"its numbers in turn": []},
    )
    for n, values in enumerate(tags):
        uid = generate_uid()
        for phase, volume in enumerate((ct, later)):

            def change(dataset: Dataset, k: int) -> None:
                dataset.InstanceNumber = 100 * phase + k + 1  # noqa: B023
                if "its numbers in turn" in values:  # noqa: B023
                    dataset.InstanceNumber = 2 * k + phase + 1  # noqa: B023
                    return
                changed(**{name: both[phase] for name, both in values.items()})(dataset, k)  # noqa: B023

            save_series(
                tmp_path / str(n),
                volume,
                series=uid,
                change=change,
                names=lambda k, phase=phase: f"{phase}-{k}",  # type: ignore[misc]
            )
        found = find_series(tmp_path / str(n))
        assert len(found) == 2
        for series, expected in zip(found, (ct, later), strict=True):
            read, warnings = read_series(series)
            np.testing.assert_array_equal(read.hu, expected.hu)
            assert warnings == ()
        assert [series.stack.phase[:12] for series in found] == ["phase 1 of 2", "phase 2 of 2"]
        assert PATIENT not in found[0].describe()
        with pytest.raises(ValueError, match="2 phases; choose one"):
            read_series(sorted((tmp_path / str(n)).iterdir()))


def test_what_comes_together_in_one_series_is_taken_apart(tmp_path: Path) -> None:
    """Three phases, the second a half slice higher, one image of the third sent twice, a scout."""
    ct, uid = some_ct(), generate_uid()
    higher = ct.ijk_to_ras.copy()
    higher[:3, 3] += higher[:3, 2] / 2
    volumes = [
        ct,
        CtVolume(ct.hu + np.int16(30), higher),
        CtVolume(ct.hu + np.int16(60), ct.ijk_to_ras),
    ]
    for phase, volume in enumerate(volumes, 1):
        number = changed(AcquisitionNumber=phase)
        for prefix, only in (("a", range(10)), ("b", [4] if phase == 3 else [])):
            save_series(
                tmp_path,
                volume,
                series=uid,
                change=number,
                only=only,
                names=lambda k, start=f"{phase}{prefix}": f"{start}{k}",  # type: ignore[misc]
            )
    scout = slice_of(ct, 0, uid)
    scout.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]
    scout.save_as(tmp_path / "scout", enforce_file_format=True)
    found = find_series(tmp_path)
    assert [series.stack.phase for series in found] == [
        f"phase {n} of 3, AcquisitionNumber {n}" for n in (1, 2, 3)
    ]
    for series, volume in zip(found, volumes, strict=True):
        read, warnings = read_series(series)
        np.testing.assert_array_equal(read.hu, volume.hu)
        np.testing.assert_allclose(read.ijk_to_ras, volume.ijk_to_ras, atol=1e-4)
        assert any("overview picture" in text for text in warnings)


def test_an_overview_picture_without_its_mark_is_left_out(tmp_path: Path) -> None:
    for size in (60, 30):
        folder, uid = tmp_path / str(size), generate_uid()
        save_series(folder, series=uid)
        for n in range(2):  # from the front and from the side
            scout = slice_of(some_ct(), 0, uid)
            scout.ImageOrientationPatient = [1 - n, n, 0, 0, 0, -1]
            scout.Rows = size
            scout.PixelData = scout.PixelData[: size * 64 * 2]
            scout.save_as(folder / f"A-scout{n}", enforce_file_format=True)
        (series,) = find_series(folder)
        assert series.shape_kji[0] == 10
        ct, warnings = read_series(sorted(folder.iterdir()))
        np.testing.assert_array_equal(ct.hu, some_ct().hu)
        assert len(warnings) == 1
        assert "2 overview pictures" in warnings[0]


def test_pictures_for_the_timing_of_the_contrast_are_left_out(tmp_path: Path) -> None:
    """Twenty at one place, with a field of view of their own; and a scout taken three times."""
    uid = generate_uid()
    save_series(tmp_path, series=uid)
    for n in range(23):
        picture = slice_of(some_ct(), 0, uid)
        if n < 20:
            picture.PixelSpacing = [4, 4]
        else:
            picture.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]
        picture.PixelData = (picture.pixel_array + n).astype("<u2").tobytes()
        picture.save_as(tmp_path / f"A-{n}", enforce_file_format=True)
    (series,) = find_series(tmp_path)
    ct, warnings = read_series(series)
    np.testing.assert_array_equal(ct.hu, some_ct().hu)
    assert len(warnings) == 1
    assert "23 overview pictures" in warnings[0]


def test_such_pictures_are_left_out_though_they_show_as_much_as_the_scan(tmp_path: Path) -> None:
    """Where a tag tells them or a place of their own, and they lie within the scan."""
    ct = some_ct()
    step_mm = ct.ijk_to_ras[:3, 2]

    def save(name: str, count: int, slices_up: float, tags: dict[str, object]) -> Path:
        uid = generate_uid()
        save_series(tmp_path / name, series=uid, change=changed(AcquisitionNumber=1))
        for n in range(count):
            picture = slice_of(ct, 4, uid)
            moved = step_mm * [-1, -1, 1] * slices_up
            picture.ImagePositionPatient = list(np.array(picture.ImagePositionPatient) + moved)
            picture.PixelData = (picture.pixel_array + n + 1).astype("<u2").tobytes()
            changed(**{"AcquisitionNumber": 1, "InstanceNumber": 100 + n, **tags})(picture, 4)
            picture.save_as(tmp_path / name / f"A-{n}", enforce_file_format=True)
        return tmp_path / name

    for name, count, slices_up, tags in (
        ("where a slice of the scan is", 12, 0, {"AcquisitionNumber": 2}),
        ("one alone, the one to plan by", 1, 0.25, {"AcquisitionNumber": 2}),
        ("between slices", 12, 0.25, {"AcquisitionTime": "101500"}),
        ("told by nothing but their place", 12, 0.25, {}),
        ("at both ends of the scan", 12, 5, {"AcquisitionNumber": 2}),
    ):
        (series,) = find_series(save(name, count, slices_up, tags))
        read, warnings = read_series(series)
        assert np.array_equal(read.hu, ct.hu), name
        np.testing.assert_allclose(read.ijk_to_ras, ct.ijk_to_ras, atol=1e-4)
        assert len(warnings) == 1, name
        assert "verview picture" in warnings[0]
    for name, slices_up, tags in (
        ("nothing tells which is the slice", 0, {}),
        ("above the scan they may be a part of it", 7, {"AcquisitionNumber": 2}),
    ):
        with pytest.raises(ValueError, match=r"same place|slices? (is|are) missing"):
            read_series(sorted(save(name, 2, slices_up, tags).iterdir()))
    # taken three by three, and one is missing: the two beside it are no pictures for the timing
    paths = save_series(
        tmp_path / "in steps", only=[0, 1, 2, 3, 5, 6, 7, 8], change=_three_by_three
    )
    with pytest.raises(ValueError, match="a gap of 8 mm"):
        read_series(paths)


def _three_by_three(dataset: Dataset, k: int) -> None:
    dataset.AcquisitionTime = f"1015{k // 3:02}"


def test_planned_distances_are_filled_and_a_missing_slice_is_not(tmp_path: Path) -> None:
    """Every second slice in part: the others are the middle of their neighbors, or nearly."""
    fine = CtVolume(np.repeat(some_ct().hu, 2, axis=0), some_affine())  # 20 slices, 4 mm
    kept = [0, 2, 4, 6, *range(7, 14), 16, 18]
    with pytest.raises(ValueError, match=r"apart|missing"):
        read_series(save_series(tmp_path / "broken", fine, only=kept))
    kept = [0, 2, 4, 6, *range(7, 14), 15, 17, 19]
    ct, warnings = read_series(save_series(tmp_path / "planned", fine, only=kept))
    assert ct.shape_kji == fine.shape_kji
    np.testing.assert_allclose(ct.ijk_to_ras, fine.ijk_to_ras, atol=1e-4)
    for k in range(20):
        expected = (
            fine.hu[k]
            if k in kept
            else np.rint((fine.hu[k - 1].astype(float) + fine.hu[k + 1]) / 2)
        )
        assert np.abs(ct.hu[k] - expected).max() <= 1
    assert len(warnings) == 1
    assert "4 to 8 mm apart by plan" in warnings[0]


def test_a_header_that_promises_more_than_its_file_is_refused_at_once(tmp_path: Path) -> None:
    for n, frames in enumerate((2, 100_000, 2**31 - 1)):
        paths = save_series(tmp_path / str(n), change=changed(NumberOfFrames=frames))
        with pytest.raises(ValueError, match=f"each of its {frames} images"):
            read_series(paths)
        with pytest.raises(ValueError, match="where each of its"):
            find_series(tmp_path / str(n))
    with pytest.raises(ValueError, match="more than any CT"):
        read_series(save_series(tmp_path / "wide", change=changed(Columns=20000)))


def test_a_header_that_says_less_than_its_file_holds_is_refused(tmp_path: Path) -> None:
    """Its upper part would be read without a word, or all rows askew."""
    whole = read_series(save_series(tmp_path / "whole"))[0]
    _, rows, columns = whole.shape_kji
    for n, change in enumerate(
        (changed(Rows=rows - 1), changed(Columns=columns // 2), changed(Rows=1, Columns=columns))
    ):
        for little in (True, False):
            paths = save_series(tmp_path / f"{n} {little}", change=change)
            for path in paths if not little else ():
                path.write_bytes(_big_endian(path.read_bytes()))
            with pytest.raises(ValueError, match="holds more pixels than its"):
                read_series(paths)

    def padded(dataset: Dataset, k: int) -> None:
        dataset.PixelData += b"\0\0"

    ct, _ = read_series(save_series(tmp_path / "padded", change=padded))
    np.testing.assert_array_equal(ct.hu, whole.hu)


def test_a_file_that_asks_for_more_memory_than_it_can_fill_is_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An element of four gigabytes in a file of kilobytes; a large file may want as much."""
    paths = save_series(tmp_path)

    def greedy(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr("pydicom.pixels.utils.iter_pixels", greedy)
    with pytest.raises(ValueError, match="damaged"):
        read_series(paths)
    monkeypatch.setattr("LiverTumorSegLib.ct.dicom_headers.LARGE_FILE_BYTES", 1)
    with pytest.raises(MemoryError):
        read_series(paths)


def test_a_deflated_file_that_unpacks_to_gigabytes_is_refused(tmp_path: Path) -> None:
    (path, *_) = save_series(tmp_path, only=[0])
    dataset = pydicom.dcmread(path)
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    dataset.PixelData = bytes(2**28)
    dataset.save_as(path)
    assert path.stat().st_size < 2**20
    with pytest.raises(ValueError, match="unpacks to far more"):
        read_series([path])


def test_a_pipe_is_no_image(tmp_path: Path) -> None:
    save_series(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    assert len(find_series(tmp_path)) == 1

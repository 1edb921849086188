"""NRRD and MetaImage files give the CT that NIfTI gives; what is none is refused in a sentence."""

from __future__ import annotations

import gzip
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK
from command_line import save_ct, some_affine
from dicom_files import save_series, some_ct
from LiverTumorSegLib.ct.formats import ENDINGS
from LiverTumorSegLib.ct.read import read_file, read_input
from looped import FOUR_AXES, looped
from numpy.typing import NDArray

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def image_of(hu_kji: NDArray[Any], ijk_to_ras: NDArray[np.float64]) -> Any:
    image = SimpleITK.GetImageFromArray(hu_kji)
    lps = LPS @ ijk_to_ras
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    return image


def _little(hu: NDArray[np.int16]) -> bytes:
    return hu.astype("<i2").tobytes()


def write_nrrd(
    path: Path,
    hu: NDArray[np.int16],
    ijk_to_ras: NDArray[np.float64],
    stored: Callable[[NDArray[np.int16]], bytes] = _little,
    **more: str,
) -> Path:
    """As a text header and raw numbers, by hand."""
    lps = LPS @ ijk_to_ras
    fields = {
        "type": "short",
        "dimension": "3",
        "space": "left-posterior-superior",
        "sizes": " ".join(map(str, hu.shape[::-1])),
        "space directions": " ".join(_vector(lps[:3, c]) for c in range(3)),
        "kinds": "domain domain domain",
        "endian": "little",
        "encoding": "raw",
        "space origin": _vector(lps[:3, 3]),
    }
    text = "".join(f"{key}: {value}\n" for key, value in (fields | more).items() if value)
    path.write_bytes(f"NRRD0004\n{text}\n".encode() + stored(hu))
    return path


def _vector(values: NDArray[np.float64]) -> str:
    return "(" + ",".join(f"{x:.9g}" for x in values) + ")"


@looped(axes_to_ras=FOUR_AXES)
def test_every_format_gives_the_same_ct(tmp_path: Path, axes_to_ras: NDArray[np.float64]) -> None:
    tilted = some_affine()
    tilted[:3, :3] = tilted[:3, :3] @ axes_to_ras
    for ending in ENDINGS:
        path = tmp_path / f"ct{ending}"
        SimpleITK.WriteImage(image_of(some_ct().hu, tilted), str(path), ending != ".mha")
        ct, warnings = read_input(path)
        np.testing.assert_array_equal(ct.hu, some_ct().hu)
        np.testing.assert_allclose(ct.ijk_to_ras, tilted, atol=1e-4)
        assert all("spine" in text for text in warnings)  # which is in front when turned over


def test_a_nrrd_written_by_hand_lies_where_the_nifti_does(tmp_path: Path) -> None:
    expected, _ = read_file(save_ct(tmp_path / "ct.nii.gz"))
    ct, warnings = read_file(write_nrrd(tmp_path / "CT.NRRD", some_ct().hu, some_affine()))
    np.testing.assert_array_equal(ct.hu, expected.hu)
    np.testing.assert_allclose(ct.ijk_to_ras, expected.ijk_to_ras, atol=1e-4)
    assert warnings == ()


def test_other_programs_nrrds_lie_where_the_nifti_does(tmp_path: Path) -> None:
    """Another space, byte order or encoding, and an axis for lists that holds one item."""
    hu, affine = some_ct().hu, some_affine()

    def placed(signs: tuple[int, int, int]) -> dict[str, str]:
        axes = np.diag([*signs, 1]) @ affine
        directions = " ".join(_vector(axes[:3, c]) for c in range(3))
        return {"space directions": directions, "space origin": _vector(axes[:3, 3])}

    sizes = " ".join(map(str, hu.shape[::-1]))
    directions = placed((-1, -1, 1))["space directions"]
    kinds: dict[str, tuple[Callable[[NDArray[np.int16]], bytes], dict[str, str]]] = {
        "ras": (_little, {"space": "right-anterior-superior", **placed((1, 1, 1))}),
        "las": (_little, {"space": "left-anterior-superior", **placed((-1, 1, 1))}),
        "big": (lambda hu: hu.astype(">i2").tobytes(), {"endian": "big"}),
        "text": (lambda hu: " ".join(map(str, hu.ravel())).encode(), {"encoding": "ascii"}),
        "gzip": (lambda hu: gzip.compress(_little(hu)), {"encoding": "gzip"}),
        "double": (lambda hu: hu.astype("<f8").tobytes(), {"type": "double"}),
        "list": (
            _little,
            {
                **{"dimension": "4", "sizes": f"1 {sizes}"},
                **{"kinds": "list domain domain domain", "space directions": f"none {directions}"},
            },
        ),
    }
    for name, (stored, fields) in kinds.items():
        path = write_nrrd(tmp_path / f"{name}.nrrd", hu, affine, stored, **fields)
        ct, warnings = read_file(path)
        assert np.array_equal(ct.hu, hu), name
        np.testing.assert_allclose(ct.ijk_to_ras, affine, atol=1e-4)
        assert warnings == (), name


def test_no_orientation_is_told(tmp_path: Path) -> None:
    nothing = {"space": "", "space directions": "", "space origin": "", "spacings": "5 5 4"}
    path = write_nrrd(tmp_path / "ct.nrrd", some_ct().hu, some_affine(), **nothing)
    ct, warnings = read_file(path)
    assert ct.spacing_kji_mm == (4, 5, 5)
    assert len(warnings) == 1
    assert "how the patient lies" in warnings[0]


def test_the_checks_are_those_of_nifti(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    hu, affine = some_ct().hu, some_affine()
    cut = write_nrrd(tmp_path / "cut.nrrd", hu, affine)
    cut.write_bytes(cut.read_bytes()[:-4000])
    SimpleITK.WriteImage(image_of(hu, affine), str(tmp_path / "cut.mha"))
    whole = (tmp_path / "cut.mha").read_bytes()
    (tmp_path / "cut.mha").write_bytes(whole[: len(whole) // 2])
    cases: dict[str, tuple[Callable[[Path], object], str]] = {
        "offset.nrrd": (lambda p: write_nrrd(p, hu + np.int16(1024), affine), "-1024 added"),
        "meters.nrrd": (
            lambda p: write_nrrd(p, hu, affine @ np.diag([0.001, 0.001, 0.001, 1])),
            "too small",
        ),
        "huge.nrrd": (lambda p: write_nrrd(p, hu, affine, sizes="9 9 99999"), "more than any CT"),
        "wide.nrrd": (
            lambda p: write_nrrd(
                p, np.zeros((3, 400, 400), np.int16), affine, type="double", sizes="999 999 600"
            ),
            "would take 5 GB of memory",
        ),
        "bomb.nrrd": (lambda p: write_nrrd(p, hu[:1], affine, sizes="4000 4000 100"), "cut off"),
        "text.mha": (lambda p: p.write_text("a letter, not a scan\n" * 40), "save it as"),
        "empty.nrrd": (lambda p: p.write_bytes(b""), "save it as"),
        "packed.nrrd": (lambda p: p.write_bytes(gzip.compress(b"NRRD0004\n" * 99)), "save it as"),
        "slice.mha": (
            lambda p: SimpleITK.WriteImage(image_of(hu[:1], affine), str(p)),
            "one slice",
        ),
        "color.mha": (
            lambda p: SimpleITK.WriteImage(
                SimpleITK.GetImageFromArray(np.zeros((5, 6, 7, 3), np.uint8), isVector=True), str(p)
            ),
            "several values",
        ),
        "labels.seg.nrrd": (lambda p: write_nrrd(p, (hu > 0) * np.int16(2), affine), "label map"),
        "nan.mha": (
            lambda p: SimpleITK.WriteImage(
                image_of(np.where(hu > 110, np.nan, hu).astype(np.float32), affine), str(p)
            ),
            "no finite numbers",
        ),
        "cut.nrrd": (lambda p: p, "cut off"),
        "cut.mha": (lambda p: p, "cut off"),
        "no-size.mha": (lambda p: p.write_bytes(whole.replace(b"DimSize", b"DimSixe")), "cut off"),
        "dicom.mha": (lambda p: save_series(tmp_path, only=[0])[0].replace(p), "save it as"),
        "nifti.mha": (lambda p: save_ct(tmp_path / "a.nii").replace(p), "save it as"),
        "none.nrrd": (lambda p: p, "does not exist"),
    }
    for name, (write, says) in cases.items():
        write(tmp_path / name)
        with pytest.raises(ValueError, match=says) as refused:
            read_file(tmp_path / name)
        sentence = str(refused.value)
        assert name in sentence
        assert len(sentence.splitlines()) == 1
        assert str(tmp_path) not in sentence
    assert capfd.readouterr() == ("", "")


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_nrrd(tmp_path / "ct.nrrd", some_ct().hu, some_affine())
    monkeypatch.setitem(sys.modules, "SimpleITK", None)
    with pytest.raises(ValueError, match=r"livertumorseg\[formats\].*save the scan as \.nii\.gz"):
        read_file(path)

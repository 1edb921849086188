"""``--seg-nrrd``, ``--stl``, ``--obj`` and the NIfTI header: other programs see the same result."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK
from command_line import run, tree
from LiverTumorSegLib.ct.nifti import read_labels, write_ct, write_labels
from LiverTumorSegLib.phantom.phantom import Phantom, make_phantom
from LiverTumorSegLib.result.export.segments import SegmentedCase
from LiverTumorSegLib.result.export.surfaces import enclosed_mm3, surface
from LiverTumorSegLib.result.lesions import measure, separate_lesions
from LiverTumorSegLib.volume import LPS_SIGNS
from looped import ALL_AXES
from numpy.typing import NDArray

FACET = [("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("unused", "<u2")]
EXPORTS = ("--seg-nrrd", "--stl", "--obj")


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    return make_phantom(seed=7, shape_kji=(36, 80, 80), spacing_kji_mm=(8.0, 5.0, 5.0))


@pytest.fixture(scope="module")
def result(phantom: Phantom, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a CT, its labels, and what ``measure`` made of them with every export."""
    from LiverTumorSegLib.cli.main import main

    home = tmp_path_factory.mktemp("formats")
    write_ct(home / "ct.nii.gz", phantom.ct)
    write_labels(home / "labels.nii.gz", phantom.labels, phantom.ct)
    words = ["measure", home / "ct.nii.gz", home / "labels.nii.gz", "-o", home / "out", *EXPORTS]
    assert main([str(word) for word in words]) == 0
    return home


def lps_of(image: Any) -> NDArray[np.float64]:
    lps = np.eye(4)
    lps[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    lps[:3, 3] = image.GetOrigin()
    return lps


def test_lesions_are_numbered_as_they_are_measured(phantom: Phantom) -> None:
    """In every orientation, also where two are equally large."""
    labels = phantom.labels.copy()
    labels[labels == 2] = 1
    k, j, i = (int(n) for n in np.argwhere(labels == 1)[len(np.argwhere(labels == 1)) // 2])
    for offset in (-6, -3, 0, 3, 6):
        labels[k, j, i + offset] = 2
    labels[k, j + 3, i : i + 2] = 2
    for axes in ALL_AXES[::7]:
        affine = np.diag([5.0, 5.0, 8.0, 1.0])
        affine[:3, :3] = axes @ affine[:3, :3]
        ct = type(phantom.ct)(phantom.ct.hu, affine)
        values = separate_lesions(labels, affine)
        np.testing.assert_array_equal(np.minimum(values, 2), labels)
        for lesion in measure(labels, ct).lesions:
            mine = np.argwhere(values == lesion.number + 1)
            assert len(mine) == lesion.voxels
            center = affine[:3, :3] @ mine.mean(axis=0)[::-1]
            np.testing.assert_allclose(center, lesion.centroid_ras_mm, atol=1e-6)


def test_seg_nrrd_has_voxels_place_names_and_codes(result: Path) -> None:
    image = SimpleITK.ReadImage(str(result / "out" / "segmentation.seg.nrrd"))
    labels, ijk_to_ras = read_labels(result / "out" / "seg.nii.gz")
    values = SimpleITK.GetArrayFromImage(image)
    np.testing.assert_array_equal(np.minimum(values, 2), labels)
    np.testing.assert_allclose(np.diag([*LPS_SIGNS, 1]) @ lps_of(image), ijk_to_ras, atol=1e-4)
    record = json.loads((result / "out" / "lesions.json").read_text())
    names = ["Liver", *(f"Tumor {row['number']}" for row in record["lesions"])]
    for n, name in enumerate(names):
        assert image.GetMetaData(f"Segment{n}_Name") == name
        assert int(image.GetMetaData(f"Segment{n}_LabelValue")) == n + 1
        code = "10200004^Liver" if n == 0 else "108369006^Neoplasm"
        assert f"~SCT^{code}~" in image.GetMetaData(f"Segment{n}_Tags")
        extent = [int(edge) for edge in image.GetMetaData(f"Segment{n}_Extent").split()]
        ijk = np.argwhere(values == n + 1)[:, ::-1]
        assert extent == np.stack([ijk.min(0), ijk.max(0)], axis=1).ravel().tolist()


def test_a_seg_nrrd_is_measured_by_its_own_codes(
    result: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ours = result / "out" / "segmentation.seg.nrrd"
    done = run(capsys, "measure", result / "ct.nii.gz", ours, "-o", tmp_path / "again")
    assert done.code == 0, done.err
    again, first = (
        json.loads((folder / "lesions.json").read_text())
        for folder in (tmp_path / "again", result / "out")
    )
    assert again["lesions"] == first["lesions"]
    assert again["labels_sha256"] == first["labels_sha256"]


def test_label_maps_of_other_formats_are_read_or_refused_in_a_sentence(
    phantom: Phantom, result: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = SimpleITK.ReadImage(str(result / "labels.nii.gz"))
    ct, out = result / "ct.nii.gz", tmp_path / "out"
    for n, name in enumerate(("labels.nrrd", "labels.mha")):
        SimpleITK.WriteImage(image, str(tmp_path / name), True)
        done = run(capsys, "measure", ct, tmp_path / name, "-o", tmp_path / str(n))
        assert done.code == 0, done.err
        made, _ = read_labels(tmp_path / str(n) / "seg.nii.gz")
        np.testing.assert_array_equal(made, phantom.labels)
    halves = SimpleITK.Cast(image, SimpleITK.sitkFloat32) * 0.5
    SimpleITK.WriteImage(halves, str(tmp_path / "halves.mha"))
    SimpleITK.WriteImage(SimpleITK.Compose(image, image), str(tmp_path / "layers.seg.nrrd"))
    (tmp_path / "cut.nrrd").write_bytes((tmp_path / "labels.nrrd").read_bytes()[:700])
    for name, says in (
        ("halves.mha", "no labels"),
        ("layers.seg.nrrd", "segments that overlap"),
        ("cut.nrrd", "cut off"),
        ("none.mha", "does not exist"),
    ):
        refused = run(capsys, "measure", ct, tmp_path / name, "-o", out)
        assert refused.code == 2
        assert says in refused.err.splitlines()[-1]
        assert not out.exists()


def test_surfaces_are_closed_lie_in_place_and_hold_the_measured_volumes(result: Path) -> None:
    record = json.loads((result / "out" / "lesions.json").read_text())
    labels, ijk_to_ras = read_labels(result / "out" / "seg.nii.gz")
    files = tree(result / "out" / "surfaces")
    names = ["liver", *(f"tumor-{row['number']}" for row in record["lesions"])]
    assert files.keys() == {f"{name}.{ending}" for name in names for ending in ("stl", "obj")}
    volumes = [record["liver_volume_ml"], *(row["volume_ml"] for row in record["lesions"])]
    for name, volume_ml in zip(names, volumes, strict=True):
        data = files[f"{name}.stl"]
        assert data is not None
        assert data.startswith(b"SPACE=LPS")
        count = int.from_bytes(data[80:84], "little")
        assert len(data) == 84 + 50 * count
        facets = np.frombuffer(data, FACET, offset=84)
        a, b, c = facets["corners"].astype(float).transpose(1, 0, 2)
        crossed = np.cross(b - a, c - a)
        assert np.abs(crossed.sum(axis=0)).max() < 1e-3 * np.abs(crossed).sum()  # closed
        inside_ml = np.einsum("ij,ij->i", a, np.cross(b, c)).sum() / 6000
        assert (0.95 if volume_ml > 100 else 0.5) < inside_ml / volume_ml < 1.05
        text = (files[f"{name}.obj"] or b"").decode()
        vertices = np.array([line.split()[1:] for line in text.splitlines() if line[0] == "v"])
        ras = vertices.astype(float) * LPS_SIGNS
        if name == "liver":
            ijk = np.argwhere(labels)[:, ::-1]
            mm = ijk @ ijk_to_ras[:3, :3].T + ijk_to_ras[:3, 3]
            np.testing.assert_allclose([ras.min(0), ras.max(0)], [mm.min(0), mm.max(0)], atol=5)
        else:
            row = record["lesions"][int(name.rpartition("-")[2]) - 1]
            center = [row[f"centroid_{axis}_mm"] for axis in "ras"]
            assert np.abs(ras.mean(axis=0) - center).max() < 5


def test_a_ball_keeps_its_volume_and_turns_outward_in_every_orientation() -> None:
    k, j, i = np.mgrid[:30, :30, :30] - 15
    ball = k**2 + j**2 + i**2 <= 10**2
    for axes in ALL_AXES[::5]:
        affine = np.eye(4)
        affine[:3, :3] = axes * (1.5, 1.5, 1.5)
        points, triangles = surface(ball, affine)
        assert enclosed_mm3(points, triangles) == pytest.approx(ball.sum() * 1.5**3, rel=0.02)
    one = np.zeros((3, 3, 3), bool)
    one[1, 1, 1] = True
    assert enclosed_mm3(*surface(one, np.eye(4))) > 0


def test_the_nifti_header_says_what_the_numbers_mean_and_who_made_them(
    result: Path, ct: Path, model: Path, known: None, tmp_path: Path, capsys: Any
) -> None:
    def said(path: Path) -> str:
        return bytes(nibabel.load(path).header["descrip"]).rstrip(b"\0").decode()

    assert said(result / "out" / "seg.nii.gz") == "1 liver, 2 tumor"
    run(capsys, "segment", ct, "-o", tmp_path / "out", "--model", model)
    assert said(tmp_path / "out" / "seg.nii.gz") == "1 liver, 2 tumor; tiny 0.3"


def test_tumors_without_a_liver_are_numbered_from_one(phantom: Phantom) -> None:
    labels = np.where(phantom.labels == 2, phantom.labels, 0).astype(np.uint8)
    measures = measure(labels, phantom.ct)
    case = SegmentedCase.of(labels, phantom.ct.ijk_to_ras, measures, None)
    assert [segment.number for segment in case.segments] == [*range(1, len(measures.lesions) + 1)]
    for segment in case.segments:
        assert segment.lesion is not None
        assert (case.values_kji == segment.number).sum() == segment.lesion.voxels


def test_overwriting_replaces_the_surfaces_folder_as_a_whole(
    result: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("measure", result / "ct.nii.gz", result / "labels.nii.gz", "-o", tmp_path / "out")
    assert run(capsys, *words, "--stl").code == 0
    refused = run(capsys, *words)
    assert refused.code == 2
    assert run(capsys, *words, "--obj", "--overwrite").code == 0
    names = tree(tmp_path / "out" / "surfaces").keys()
    assert names
    assert all(name.endswith(".obj") for name in names)

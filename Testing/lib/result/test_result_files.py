"""The result folder: whole or not there, earlier results replaced all together or not at all."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import nibabel
import numpy as np
import pytest
from command_line import some_affine, some_hu, tree
from LiverTumorSegLib.inference.postprocess import Postprocessing
from LiverTumorSegLib.inference.segmenter import Segmentation
from LiverTumorSegLib.result import files as results
from LiverTumorSegLib.result.agreement import compare
from LiverTumorSegLib.result.export.export import ALL_EXPORTS
from LiverTumorSegLib.result.files import ALL_FILES, NOTICE, REPORT, CaseResult, result_folder
from LiverTumorSegLib.result.lesions import measure
from LiverTumorSegLib.volume import CtVolume
from looped import looped


def fill(folder: Path) -> None:
    (folder / "seg.nii.gz").write_bytes(b"new labels")


@looped("name", ["phantom_ct.nii.gz", "seg.nii.gz"])
@looped("seen_from", ["there", "link", "there/../there"])
def test_the_ct_itself_is_never_replaced(tmp_path: Path, name: str, seen_from: str) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to("there")
    (tmp_path / "there" / name).write_bytes(b"the CT")
    before = tree(tmp_path)
    source = tmp_path / seen_from / name
    with (
        pytest.raises(ValueError, match="name another folder"),
        result_folder(tmp_path / "there", overwrite=True, sources=[source]),
    ):
        pytest.fail("the block must not run")
    assert tree(tmp_path) == before
    with result_folder(tmp_path / "result", overwrite=False, sources=[source]) as part:
        fill(part)


# What is written


@pytest.fixture
def case(monkeypatch: pytest.MonkeyPatch) -> CaseResult:
    """A liver with a tumor, and a picture that is drawn fast."""
    monkeypatch.setattr(results, "draw_overview", _remembered(pictures := []))
    ct = CtVolume(np.ascontiguousarray(some_hu().T), some_affine())
    labels = np.zeros(ct.shape_kji, np.uint8)
    labels[2:8, 20:40, 20:40] = 1
    labels[3:6, 25:30, 25:31] = 2
    segmentation = Segmentation(
        labels_kji=labels,
        tumor_probability_kji=None,
        prediction=None,
        reorientation=ct.to_lps()[1],
        device="cpu",
        slices=10,
        slices_run=9,
        seconds=1.2345,
        warnings=("Look twice.",),
        postprocessing=Postprocessing(),
    )
    model = {"model": "tiny", "version": "0.3", "sha256": "0" * 64}
    case = CaseResult(ct, segmentation, measure(labels, ct), model, ("Look twice.",), seconds=1.234)
    object.__setattr__(case, "pictures", pictures)
    return case


def _remembered(pictures: list[dict[str, Any]]) -> Callable[..., Any]:
    def draw(*args: object, **options: Any) -> Any:
        pictures.append(options)
        return np.zeros((4, 4, 3), np.uint8)

    return draw


def test_the_plain_four(case: CaseResult, tmp_path: Path) -> None:
    case.write(tmp_path)
    assert set(tree(tmp_path)) == {"seg.nii.gz", "lesions.csv", "lesions.json", "overview.png"}
    assert json.loads((tmp_path / "lesions.json").read_text()) == case.to_dict()
    with (tmp_path / "lesions.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["notice"] == NOTICE
    assert float(row["volume_ml"]) == pytest.approx(3 * 5 * 6 * 0.1)


def test_optional_files(case: CaseResult, tmp_path: Path) -> None:
    labels = case.segmentation.labels_kji
    probabilities = np.stack([labels == n for n in range(3)]).astype(np.float16)
    in_lps = case.segmentation.reorientation.apply(probabilities)
    prediction: Any = SimpleNamespace(probabilities=lambda: in_lps)
    case = replace(
        case,
        segmentation=replace(case.segmentation, prediction=prediction),
        truth_kji=labels,
        agreement=compare(labels, labels),
    )
    case.write(tmp_path)
    assert set(tree(tmp_path)) == set(ALL_FILES) - {REPORT, *ALL_EXPORTS}
    stored = nibabel.Nifti1Image.from_filename(tmp_path / "probabilities.nii.gz")
    np.testing.assert_allclose(np.asarray(stored.dataobj).T, probabilities, atol=0.01)
    agreement = case.to_dict()["agreement_with_truth"]
    assert (agreement["liver_dice"], agreement["tumor_dice"]) == (1, 1)
    assert (agreement["lesions_true"], agreement["lesions_found"]) == (1, 1)


def test_a_picture_or_table_that_cannot_be_made_loses_nothing_else(
    case: CaseResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever goes wrong in it: OpenCV's own errors and a full memory too."""
    for number, (what, name, error) in enumerate(
        [
            ("draw_overview", "overview.png", ZeroDivisionError("0")),
            ("draw_overview", "overview.png", MemoryError()),
            ("draw_overview", "overview.png", cv2.error("kernel")),
            ("csv_text", "lesions.csv", ValueError("odd")),
        ]
    ):
        folder = tmp_path / str(number)
        folder.mkdir()

        def fails(*_: object, error: Exception = error, **__: object) -> None:
            raise error

        with monkeypatch.context() as patch:
            patch.setattr(f"LiverTumorSegLib.result.files.{what}", fails)
            written = case.write(folder)
        record = json.loads((folder / "lesions.json").read_text())
        whole = {"seg.nii.gz", "lesions.csv", "lesions.json", "overview.png"}
        assert set(tree(folder)) == whole - {name}
        assert record["warnings"] == list(written.warnings)
        assert written.warnings[-1].startswith(f"{name} could not be made ({type(error).__name__})")


def test_the_picture_names_model_and_device(case: CaseResult, tmp_path: Path) -> None:
    case.write(tmp_path)
    (options,) = case.pictures  # type: ignore[attr-defined]
    for word in ("tiny", "0.3", "cpu"):
        assert word in options["footer"]


def test_the_record_is_strict_json(case: CaseResult) -> None:
    text = json.dumps(case.to_dict(), allow_nan=False)
    record = json.loads(text)
    assert record["notice"] == NOTICE
    assert record["warnings"] == ["Look twice."]
    assert record["run"] == {"device": "cpu", "seconds": 1.23, "slices": 10, "slices_run": 9}
    assert "agreement_with_truth" not in record


def test_the_last_axis_may_be_any(case: CaseResult, tmp_path: Path) -> None:
    """A CT stored slice by slice from front to back: the record names the axis of its slices."""
    turned = CtVolume(np.ascontiguousarray(case.ct.hu.transpose(1, 0, 2)), _swapped(some_affine()))
    labels = np.ascontiguousarray(case.segmentation.labels_kji.transpose(1, 0, 2))
    again = replace(case, ct=turned, measures=measure(labels, turned))
    assert case.to_dict()["slice_axis"] == "k"
    assert again.to_dict()["slice_axis"] == "j"
    ours, theirs = again.to_dict()["lesions"], case.to_dict()["lesions"]
    assert ours[0] == pytest.approx(theirs[0], abs=0.02)


def _swapped(affine: Any) -> Any:
    return affine[:, [0, 2, 1, 3]]

"""The result folder: whole or not there, earlier results replaced all together or not at all."""

from __future__ import annotations

import csv
import errno
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from command_line import some_affine, some_hu, tree
from LiverTumorSegLib.inference.postprocess import Postprocessing
from LiverTumorSegLib.inference.segmenter import Segmentation
from LiverTumorSegLib.result import files as results
from LiverTumorSegLib.result.agreement import compare
from LiverTumorSegLib.result.files import ALL_FILES, NOTICE, CaseResult, result_folder
from LiverTumorSegLib.result.lesions import measure
from LiverTumorSegLib.volume import CtVolume

EARLIER = {"seg.nii.gz": b"old labels", "probabilities.nii.gz": b"old", "notes.txt": b"mine"}


def fill(folder: Path) -> None:
    (folder / "seg.nii.gz").write_bytes(b"new labels")
    (folder / "lesions.csv").write_bytes(b"new table")


@pytest.fixture
def there(tmp_path: Path) -> Path:
    """A folder with an earlier run's results and a file that is none of ours."""
    folder = tmp_path / "there"
    folder.mkdir()
    for name, data in EARLIER.items():
        (folder / name).write_bytes(data)
    return folder


# Whole or not at all


@pytest.mark.parametrize("target", ["result", "a/result", "a/b/c/result"])
def test_nothing_shows_before_the_end(tmp_path: Path, target: str) -> None:
    with result_folder(tmp_path / target, overwrite=False) as part:
        fill(part)
        assert [path.name[0] for path in tmp_path.iterdir()] == ["."]
    assert {path.name for path in (tmp_path / target).iterdir()} == {"seg.nii.gz", "lesions.csv"}
    assert [path.name for path in tmp_path.iterdir()] == [target.split("/")[0]]


@pytest.mark.parametrize("error", [ValueError, OSError, KeyboardInterrupt, MemoryError])
@pytest.mark.parametrize("target", ["result", "a/b/result", "there", "there/deeper"])
def test_a_failing_block_leaves_all_as_it_was(
    tmp_path: Path, there: Path, target: str, error: type[BaseException]
) -> None:
    """Its error passes unchanged: an OSError of the block may have nothing to do with writing."""
    before = tree(tmp_path)
    raised = error("as it was")

    def fail() -> None:
        with result_folder(tmp_path / target, overwrite=True) as part:
            fill(part)
            raise raised

    with pytest.raises(error) as caught:
        fail()
    assert caught.value is raised
    assert tree(tmp_path) == before


def test_earlier_results_are_replaced_and_other_files_stay(there: Path) -> None:
    with result_folder(there, overwrite=True) as part:
        fill(part)
        assert tree(there).items() >= EARLIER.items()  # until the end
    assert tree(there) == {
        "seg.nii.gz": b"new labels",
        "lesions.csv": b"new table",
        "notes.txt": b"mine",
    }


@pytest.mark.parametrize("fails_at", range(4))
def test_a_failing_exchange_is_undone(
    there: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails_at: int
) -> None:
    """As on Windows, where a picture that is open in a viewer cannot be replaced."""
    before, rename, calls = tree(tmp_path), os.replace, []

    def fragile(source: Path, target: Path) -> None:
        calls.append(source)
        if len(calls) == fails_at + 1:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(target))
        rename(source, target)

    monkeypatch.setattr(os, "replace", fragile)
    with (
        pytest.raises(ValueError, match="cannot be written to there: Permission denied"),
        result_folder(there, overwrite=True) as part,
    ):
        fill(part)
    assert tree(tmp_path) == before


# Other runs at the same time


def test_a_neighbor_may_make_the_parents_meanwhile(tmp_path: Path) -> None:
    """Two runs of one cohort: whichever ends first makes the cohort's folder."""
    cohort = tmp_path / "study" / "cohort"
    with result_folder(cohort / "case1", overwrite=False) as part:
        with result_folder(cohort / "case2", overwrite=False) as other:
            fill(other)
        fill(part)
    files = {"seg.nii.gz": b"new labels", "lesions.csv": b"new table"}
    assert tree(cohort / "case1") == tree(cohort / "case2") == files
    assert [path.name for path in tmp_path.iterdir()] == ["study"]


def test_results_of_a_run_that_ended_meanwhile_stay(tmp_path: Path) -> None:
    target = tmp_path / "a" / "result"

    def twice() -> None:
        with result_folder(target, overwrite=False) as part:
            with result_folder(target, overwrite=False) as other:
                (other / "seg.nii.gz").write_bytes(b"the first to end")
            fill(part)

    with pytest.raises(ValueError, match="already"):
        twice()
    assert tree(tmp_path) == {
        "a": None,
        "a/result": None,
        "a/result/seg.nii.gz": b"the first to end",
    }


# Refusals


@pytest.mark.parametrize("name", ALL_FILES)
def test_every_file_of_ours_asks_for_overwrite(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"old")
    with (
        pytest.raises(ValueError, match=rf"holds {name} already; .* --overwrite"),
        result_folder(tmp_path, overwrite=False),
    ):
        pytest.fail("the block must not run")
    assert tree(tmp_path) == {name: b"old"}


@pytest.mark.parametrize("overwrite", [True, False])
def test_a_folder_with_a_result_s_name_is_never_deleted(tmp_path: Path, overwrite: bool) -> None:
    (tmp_path / "overview.png").mkdir()
    with (
        pytest.raises(ValueError, match="name another folder"),
        result_folder(tmp_path, overwrite=overwrite),
    ):
        pytest.fail("the block must not run")


def test_links_lead_where_they_point(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("far/away")
    with result_folder(tmp_path / "link", overwrite=False) as part:
        fill(part)
    assert set(tree(tmp_path / "far" / "away")) == {"seg.nii.gz", "lesions.csv"}
    assert (tmp_path / "link").is_symlink()


@pytest.mark.parametrize("name", ["phantom_ct.nii.gz", "seg.nii.gz"])
@pytest.mark.parametrize("seen_from", ["there", "link", "there/../there"])
def test_the_ct_itself_is_never_replaced(tmp_path: Path, name: str, seen_from: str) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to("there")
    (tmp_path / "there" / name).write_bytes(b"the CT")
    before = tree(tmp_path)
    source = tmp_path / seen_from / name
    with (
        pytest.raises(ValueError, match="name another folder"),
        result_folder(tmp_path / "there", overwrite=True, source=source),
    ):
        pytest.fail("the block must not run")
    assert tree(tmp_path) == before
    with result_folder(tmp_path / "result", overwrite=False, source=source) as part:
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
        probabilities=None,
        device="cpu",
        slices=10,
        slices_run=9,
        seconds=1.2345,
        warnings=("Look twice.",),
        postprocessing=Postprocessing(),
    )
    model = {"model": "tiny", "version": "0.3", "sha256": "0" * 64}
    case = CaseResult(ct, segmentation, measure(labels, ct), model, ("Look twice.",))
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
    case = replace(
        case,
        segmentation=replace(case.segmentation, probabilities=probabilities),
        truth_kji=labels,
        agreement=compare(labels, labels),
    )
    case.write(tmp_path)
    assert set(tree(tmp_path)) == set(ALL_FILES)
    stored = nibabel.Nifti1Image.from_filename(tmp_path / "probabilities.nii.gz")
    np.testing.assert_allclose(np.asarray(stored.dataobj).T, probabilities, atol=0.01)
    agreement = case.to_dict()["agreement_with_truth"]
    assert (agreement["liver_dice"], agreement["tumor_dice"]) == (1, 1)
    assert (agreement["lesions_true"], agreement["lesions_found"]) == (1, 1)


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

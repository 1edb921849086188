"""Cases to memory-mapped slices: the same bytes as the preprocessing, once, from any file."""

from __future__ import annotations

import json
from collections.abc import Iterable
from itertools import permutations, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from LiverTumorSegLib.ct.nifti import read_ct, write_labels
from LiverTumorSegLib.inference.preprocess import SlicePreprocessing
from LiverTumorSegLib.phantom.phantom import Phantom
from LiverTumorSegLib.volume import CtVolume
from looped import looped
from numpy.typing import NDArray
from prepared_cases import (
    SHAPE_KJI,
    SPACING_MM,
    arrays,
    file_times,
    turned,
    write_case,
    write_manifest,
)

from training.cases.case import Case
from training.data.prepared import cases_to_prepare, prepare
from training.data.slices import load_split
from training.prepare import main

Bytes = NDArray[np.uint8]
SMALL = SlicePreprocessing(grid_px=128, size_px=64)


def prepare_all(data: Path, folder: Path, **options: Any) -> dict[str, Any]:
    return prepare(cases_to_prepare(data, None, 0), folder, SMALL, **options)


def test_arrays_are_the_preprocessing_of_the_files_slices(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    prepare_all(data, out, windowed=True)
    for name in ("0", "0-context", "1"):
        ct, _ = read_ct(data / f"volume-{name}.nii.gz")
        spacing = ct.spacing_kji_mm[1:]
        found = arrays(out, name)
        assert set(found) == {"images", "labels", "windowed"}
        for k, hu in enumerate(ct.hu):
            assert np.array_equal(found["images"][k], SMALL(hu, spacing))
            assert np.array_equal(found["windowed"][k], SMALL.square(hu, spacing))
            assert np.array_equal(SMALL.enhance(found["windowed"][k]), found["images"][k])


def test_labels_are_placed_as_the_preprocessing_places_them(
    data: Path, tmp_path: Path, patients: tuple[Phantom, ...]
) -> None:
    prepare_all(data, tmp_path / "out")
    for name, patient in zip(("0", "1"), patients, strict=True):
        spacing = patient.ct.spacing_kji_mm[1:]
        wanted = [SMALL.place_labels(labels, spacing) for labels in patient.labels]
        assert np.array_equal(arrays(tmp_path / "out", name)["labels"], np.stack(wanted))
    assert not arrays(tmp_path / "out", "0-context")["labels"].any()


def test_any_orientation_of_the_file_gives_the_same_arrays(
    tmp_path: Path, patients: tuple[Phantom, ...]
) -> None:
    patient = patients[0]
    ways = list(product(permutations(range(3)), product((False, True), repeat=3)))
    cases = []
    for n, (order, flips) in enumerate(ways[::5]):
        ct, labels = turned(patient.ct, patient.labels, order, flips)
        write_case(tmp_path / "data", str(n), ct, labels)
        files = [tmp_path / "data" / f"{kind}-{n}.nii.gz" for kind in ("volume", "segmentation")]
        cases.append(Case(str(n), *files, str(n), "train", "case"))
    prepare(cases, tmp_path / "out", SMALL, windowed=True)
    straight = arrays(tmp_path / "out", "0")
    assert straight["labels"].any()
    for one in cases[1:]:
        for kind, array in arrays(tmp_path / "out", one.name).items():
            assert np.array_equal(array, straight[kind]), (one.name, kind)


def test_the_manifest_says_what_was_prepared(
    data: Path, tmp_path: Path, patients: tuple[Phantom, ...]
) -> None:
    manifest = prepare_all(data, tmp_path / "out")
    assert manifest == json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert SlicePreprocessing.from_dict(manifest["preprocessing"]) == SMALL
    assert manifest["windowed"] is False
    values = [patient.ct.hu for patient in patients]
    assert manifest["hu_range"] == [min(v.min() for v in values), max(v.max() for v in values)]
    by_name = {case["name"]: case for case in manifest["cases"]}
    assert list(by_name) == ["0", "0-context", "1"]
    assert [c["split"] for c in manifest["cases"]] == ["train", "train", "val"]
    assert [c["kind"] for c in manifest["cases"]] == ["case", "context", "case"]
    assert [c["group"] for c in manifest["cases"]] == ["patient0", "patient0", "patient1"]
    for name, case in by_name.items():
        labels = arrays(tmp_path / "out", name)["labels"]
        assert case["slices"] == SHAPE_KJI[0]
        assert case["liver_slices"] == sum(int((slice_ >= 1).any()) for slice_ in labels)
        assert case["tumor_slices"] == sum(int((slice_ == 2).any()) for slice_ in labels)
        assert case["spacing_kji_mm"] == pytest.approx(SPACING_MM)
    assert by_name["0"]["liver_slices"] > 0
    assert not any("/" in str(value) for value in by_name["0"].values())  # no path of this machine


def test_what_is_prepared_can_be_loaded(data: Path, tmp_path: Path) -> None:
    prepare_all(data, tmp_path / "out", windowed=True)
    train = load_split(tmp_path / "out", "train", with_windowed=True)
    assert train.cases == ("0", "0-context")
    assert train.preprocessing == SMALL
    assert train.images.shape == train.labels.shape == (2 * SHAPE_KJI[0], 64, 64)
    assert len(load_split(tmp_path / "out", "val")) == SHAPE_KJI[0]


def test_a_second_call_writes_no_case_again(data: Path, tmp_path: Path) -> None:
    first = prepare_all(data, tmp_path / "out")
    before = file_times(tmp_path / "out")
    assert prepare_all(data, tmp_path / "out") == first
    assert file_times(tmp_path / "out") == before
    assert not list((tmp_path / "out").rglob("*.part"))


def changed_cases(folder: Path, before: dict[str, int]) -> set[str]:
    after = file_times(folder)
    return {Path(name).parts[0] for name in after if after[name] != before.get(name)}


def test_a_changed_file_is_prepared_again_and_no_other(
    data: Path, tmp_path: Path, patients: tuple[Phantom, ...]
) -> None:
    prepare_all(data, tmp_path / "out")
    before = file_times(tmp_path / "out")
    old = arrays(tmp_path / "out", "1")
    write_case(data, "1", patients[0].ct, patients[0].labels)
    prepare_all(data, tmp_path / "out")
    assert changed_cases(tmp_path / "out", before) == {"1"}
    new = arrays(tmp_path / "out", "1")
    assert not np.array_equal(new["images"], old["images"])
    assert np.array_equal(new["images"], arrays(tmp_path / "out", "0")["images"])


def test_changed_labels_alone_are_noticed(
    data: Path, tmp_path: Path, patients: tuple[Phantom, ...]
) -> None:
    prepare_all(data, tmp_path / "out")
    before = file_times(tmp_path / "out")
    write_labels(data / "segmentation-0.nii.gz", patients[0].labels.clip(max=1), patients[0].ct)
    manifest = prepare_all(data, tmp_path / "out")
    assert changed_cases(tmp_path / "out", before) == {"0"}
    assert manifest["cases"][0]["tumor_slices"] == 0


def test_an_interrupted_case_is_prepared_again(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    prepare_all(data, out)
    whole, before = arrays(out, "0"), file_times(out)
    (out / "0" / "case.json").unlink()
    (out / "0" / "images.npy").write_bytes(b"half an array")
    prepare_all(data, out)
    assert changed_cases(out, before) == {"0"}
    assert np.array_equal(arrays(out, "0")["images"], whole["images"])


def test_a_lost_array_is_written_again(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    prepare_all(data, out)
    (out / "1" / "labels.npy").unlink()
    prepare_all(data, out)
    assert set(arrays(out, "1")) == {"images", "labels"}


def test_other_settings_prepare_every_case_again(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    prepare_all(data, out)
    before = file_times(out)
    prepare_all(data, out, windowed=True)
    assert changed_cases(out, before) == {"0", "0-context", "1"}


def test_a_run_that_stops_leaves_no_manifest(data: Path, tmp_path: Path) -> None:
    """Half of another preprocessing under the old manifest would be trained on unseen."""
    out = tmp_path / "out"
    prepare_all(data, out)

    def stop_after_one(jobs: Iterable[Any]) -> Iterable[Any]:
        yield next(iter(jobs))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare_all(data, out, windowed=True, progress=stop_after_one)
    with pytest.raises(ValueError, match=r"training\.prepare first"):
        load_split(out, "train")
    assert prepare_all(data, out, windowed=True)["windowed"] is True


def test_two_workers_give_what_one_gives(data: Path, tmp_path: Path) -> None:
    one = prepare_all(data, tmp_path / "one")
    assert prepare_all(data, tmp_path / "two", workers=2) == one
    for case in one["cases"]:
        first, second = (arrays(tmp_path / out, case["name"]) for out in ("one", "two"))
        assert all(np.array_equal(first[kind], second[kind]) for kind in first)


def windowed_data(folder: Path, patients: tuple[Phantom, ...]) -> None:
    for name, patient in zip(("0", "1"), patients, strict=True):
        hu = patient.ct.hu.clip(-40, 160)
        write_case(folder, name, CtVolume(hu, patient.ct.ijk_to_ras), patient.labels)
    write_manifest(folder, {"0": "train", "1": "val"})


def test_paper_is_refused_for_windowed_data(
    tmp_path: Path, patients: tuple[Phantom, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    windowed_data(tmp_path / "data", patients)
    command = [str(tmp_path / "data"), "-o", str(tmp_path / "out"), "--preset"]
    assert main([*command, "paper", "--phantoms", "0"]) == 2
    said = capsys.readouterr().err
    assert "-40 to 160 HU" in said
    assert "use --preset window" in said
    assert not (tmp_path / "out" / "manifest.json").exists()
    assert main([*command, "window"]) == 0
    assert capsys.readouterr().out.splitlines()[:2] == [
        "train: 1 cases, 4 slices",
        "val: 1 cases, 4 slices",
    ]


def test_paper_is_allowed_for_raw_data(data: Path, tmp_path: Path) -> None:
    paper = SlicePreprocessing(preset="paper", grid_px=128, size_px=64)
    manifest = prepare(cases_to_prepare(data, None, 0), tmp_path / "out", paper)
    assert manifest["preprocessing"]["preset"] == "paper"
    hu = read_ct(data / "volume-0.nii.gz")[0].hu[0]
    assert np.array_equal(arrays(tmp_path / "out", "0")["images"][0], paper(hu, SPACING_MM[1:]))


def test_steps_are_left_out_and_slices_made_smaller_as_asked(data: Path, tmp_path: Path) -> None:
    """The rows of the paper's Table 4."""
    hu = read_ct(data / "volume-0.nii.gz")[0].hu[0]
    made = []
    for left_out in ([], ["clahe"], ["gamma"], ["clahe", "gamma"]):
        out = tmp_path / "-".join(["out", *left_out])
        words = ["--size-px", "64", *(["--without", *left_out] if left_out else [])]
        assert main([str(data), "-o", str(out), *words]) == 0
        steps = SlicePreprocessing(
            size_px=64, use_clahe="clahe" not in left_out, use_gamma="gamma" not in left_out
        )
        manifest = json.loads((out / "manifest.json").read_text())
        assert SlicePreprocessing.from_dict(manifest["preprocessing"]) == steps
        made.append(arrays(out, "0")["images"][0])
        assert np.array_equal(made[-1], steps(hu, SPACING_MM[1:]))
    assert len({image.tobytes() for image in made}) == 4


@looped("size_px", ["20", "0", "-8"])
def test_a_size_that_is_none_ends_with_2(
    size_px: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(data), "-o", str(tmp_path / "out"), "--size-px", size_px]) == 2
    assert f"size_px is {size_px}" in capsys.readouterr().err
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_labels_of_another_shape_are_refused(
    data: Path, tmp_path: Path, patients: tuple[Phantom, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    labels = patients[1].labels[:-1]
    write_labels(data / "segmentation-1.nii.gz", labels, patients[1].ct.ijk_to_ras)
    with pytest.raises(ValueError, match="give the two the same grid"):
        prepare_all(data, tmp_path / "out")
    assert main([str(data), "-o", str(tmp_path / "out")]) == 2
    assert "1: the labels are (3, 48, 40), the CT (4, 48, 40)" in capsys.readouterr().err
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_labels_beyond_tumor_are_refused(
    data: Path, tmp_path: Path, patients: tuple[Phantom, ...]
) -> None:
    """A third class would end a training run hours later."""
    labels = patients[0].labels.copy()
    labels[labels == 1] = 7
    write_labels(data / "segmentation-0.nii.gz", labels, patients[0].ct)
    with pytest.raises(ValueError, match="label 7"):
        prepare_all(data, tmp_path / "out")


def test_cases_without_a_split_or_labels_are_left_out(data: Path) -> None:
    write_manifest(data, {"0": "train", "0-context": "train", "1": ""})
    (data / "segmentation-0-context.nii.gz").unlink()
    assert [case.name for case in cases_to_prepare(data, None, 0)] == ["0"]


def test_a_folder_without_any_split_is_refused(data: Path) -> None:
    (data / "manifest.csv").unlink()
    with pytest.raises(ValueError, match="--table"):
        cases_to_prepare(data, None, 0)


def test_phantoms_are_training_cases_of_their_own_patients() -> None:
    cases = cases_to_prepare(None, None, 3)
    assert len({case.group for case in cases}) == 3
    assert {(case.split, case.kind) for case in cases} == {("train", "phantom")}
    assert [case.phantom_seed for case in cases] == [1000, 1001, 1002]


@looped("what", ["no such folder", "empty"])
def test_a_folder_without_cases_ends_with_2(
    what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / what
    if what == "empty":
        folder.mkdir()
    assert main([str(folder), "-o", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert ("is not a folder" if what != "empty" else "holds no cases") in said

"""Slices with weak labels are read as they are: what is not known stays unknown."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
from LiverTumorSegLib.inference.segmenter import load_segmenter
from LiverTumorSegLib.model.spec import read_spec
from LiverTumorSegLib.settings import RunSettings
from LiverTumorSegLib.volume import CtVolume

from training import export, prepare, train
from training.cases.scattered import IGNORE, positive_cells, read_stacks
from training.cases.splits import Split, save_split
from training.data.whole_slices import load_slices, prepare_slices

HEADER = "file,segmentation,kind,patient_group,spacing_x_mm\n"


def weak_folder(folder: Path) -> Path:
    (folder / "slices").mkdir(parents=True)
    label = np.zeros((2, 16, 16), np.uint8)
    label[:, 4:8, 4:8] = 1
    label[0, 5, 5], label[1, 5, 5], label[1, 6, 6] = 2, 254, 255
    image = np.full((2, 16, 16), 100, np.uint8)
    values = {"image": image, "label": label, "z_mm": np.array([3.0, 30.0], np.float32)}
    for name in ("lits7", "lits8"):
        np.savez(folder / "slices" / f"{name}.npz", **values)
    affine = np.diag([-0.8, -0.8, 2.0, 1.0])
    hu = np.full((16, 12, 5), -100, np.int16)
    hu[3:6, 2:7] = 60
    weak = np.zeros(hu.shape, np.uint8)
    weak[3:6, 2:7, 1:4], weak[4, 4, 2] = 1, 255
    nibabel.save(nibabel.Nifti1Image(hu, affine), folder / "volume-13.nii.gz")
    nibabel.save(nibabel.Nifti1Image(weak, affine), folder / "segmentation-13.nii.gz")
    (folder / "manifest.csv").write_text(
        HEADER
        + "slices/lits7.npz,,slices2d_weak,lits7,1.5\n"
        + "slices/lits8.npz,,slices2d_weak,lits8,\n"
        + "volume-13.nii.gz,segmentation-13.nii.gz,case_weak,lits13,0.8\n"
    )
    return folder


def test_scattered_slices_keep_hu_places_and_what_is_not_known(tmp_path: Path) -> None:
    known, guessed, volume = read_stacks([weak_folder(tmp_path / "weak")])
    assert (known.name, known.group, known.kind) == ("lits7", "lits7", "weak")
    assert np.unique(known.hu) == [60]
    assert sorted(np.unique(known.labels)) == [0, 1, 2, IGNORE]
    assert (known.labels == IGNORE).sum() == 2
    np.testing.assert_allclose(known.z_mm, [3, 30])
    assert known.spacing_mm == (1.5, 1.5)
    assert guessed.spacing_mm == (1.45, 1.45)
    # the volume lies with rows toward posterior and columns toward the left, as all stacks do
    assert volume.hu.shape == (5, 12, 16)
    assert (volume.labels == IGNORE).sum() == 1
    assert volume.labels[2, 4, 4] == IGNORE
    assert volume.spacing_mm == pytest.approx((0.8, 0.8))


def test_prepared_slices_are_read_as_they_were(tmp_path: Path) -> None:
    stacks = list(read_stacks([weak_folder(tmp_path / "weak")]))
    names = prepare_slices(stacks, tmp_path / "slices")
    read = {stack.name: stack for stack in load_slices(tmp_path / "slices")}
    assert sorted(names) == sorted(read)
    np.testing.assert_array_equal(read["lits7"].hu, stacks[0].hu)
    np.testing.assert_array_equal(read["lits7"].labels, stacks[0].labels)


def test_a_torn_file_of_slices_is_refused_in_one_sentence(tmp_path: Path) -> None:
    folder = weak_folder(tmp_path / "weak")
    (folder / "slices" / "lits7.npz").write_bytes(b"PK\x03\x04torn")
    with pytest.raises(ValueError, match=r"lits7\.npz is no file of labeled slices"):
        list(read_stacks([folder]))


def test_the_commands_prepare_train_and_leave_out_a_fold(tmp_path: Path) -> None:
    folder, boxes, run = weak_folder(tmp_path / "weak"), tmp_path / "boxes", tmp_path / "run"
    assert prepare.main([str(folder), "-o", str(boxes), "--recipe", "tumor-boxes"]) == 0
    split = Split((), (), ("lits7",), groups={"lits7": "lits7"})
    save_split(split, tmp_path / "fold.json")
    options = ["--recipe", "tumor-boxes", "--width", "8", "--steps", "1", "--device", "cpu"]
    save_split(Split((), (), ("lits8",), groups={"lits8": "lits8"}), tmp_path / "next.json")
    both = ["--hold-out", str(tmp_path / "fold.json"), str(tmp_path / "next.json")]
    assert train.main([str(boxes), "-o", str(tmp_path / "less"), *options, *both]) == 0
    record = json.loads((tmp_path / "less" / "run.json").read_text())
    assert (record["cases"], record["held_out"]) == (["volume-13"], ["lits7", "lits8"])
    held_out = ["--hold-out", str(tmp_path / "fold.json")]
    assert train.main([str(boxes), "-o", str(run), *options, *held_out]) == 0
    record = json.loads((run / "run.json").read_text())
    assert record["cases"] == ["lits8", "volume-13"]
    assert record["held_out"] == ["lits7"]
    # what it gives is a model file that says whom it knows
    spec = read_spec(run / "best.safetensors")
    assert spec.provenance["train_groups"] == ["lits13", "lits8"]
    assert spec.provenance["train"] == ["13", "8"]
    assert spec.preprocessing["kind"] == "liver_box"
    # a branch begins with what the run came to
    branch = tmp_path / "branch"
    assert train.main([str(boxes), "-o", str(branch), *options, "--init", str(run)]) == 0
    assert json.loads((branch / "run.json").read_text())["init"] == "run"
    # and one that begins with a model file knows its patients too
    other, file = tmp_path / "other", str(run / "best.safetensors")
    assert train.main([str(boxes), "-o", str(other), *options, *held_out, "--init", file]) == 0
    known = read_spec(other / "best.safetensors").provenance["train_groups"]
    assert {"lits13", "lits8"} <= set(known)
    assert "lits7" not in known


def test_both_networks_become_one_model_that_segments(tmp_path: Path) -> None:
    folder = weak_folder(tmp_path / "weak")
    for recipe in ("tumor-boxes", "liver-slices"):
        prepared, run = tmp_path / recipe, tmp_path / f"run-{recipe}"
        assert prepare.main([str(folder), "-o", str(prepared), "--recipe", recipe]) == 0
        options = ["--recipe", recipe, "--width", "8", "--steps", "1", "--device", "cpu"]
        assert train.main([str(prepared), "-o", str(run), *options]) == 0
    pair = tmp_path / "pair.safetensors"
    runs = [str(tmp_path / f"run-{recipe}") for recipe in ("liver-slices", "tumor-boxes")]
    assert export.main([*runs, "-o", str(pair), "--name", "pair"]) == 0
    hu = np.full((4, 64, 64), 60, np.int16)
    ct = CtVolume(hu, np.diag([-3.0, -3.0, 3.0, 1.0]))
    labels = load_segmenter(RunSettings(model=str(pair), device="cpu")).segment(ct).labels_kji
    assert labels.shape == hu.shape
    assert set(np.unique(labels)) <= {0, 1, 2}


def test_a_folder_without_boxes_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    words = [str(tmp_path / "empty"), "-o", str(tmp_path / "run"), "--recipe", "tumor-boxes"]
    assert train.main(words) == 2
    assert "holds no liver boxes" in capsys.readouterr().err


def test_cells_with_tumor_are_numbered_one_by_one_wherever_their_grid_begins() -> None:
    liver = np.zeros((2, 256, 256), np.uint8)
    liver[:, 30:200, 40:220] = 1
    top, left, side = 7, 19, 25
    truth = {(0, 2, 3), (0, 2, 4), (1, 5, 1)}
    for k, row, column in truth:
        cell = liver[k, top + row * side :, left + column * side :][:side, :side]
        cell[cell > 0] = 255
    cells = positive_cells(liver)
    np.testing.assert_array_equal(cells > 0, liver == 255)
    for k, row, column in truth:
        inside = cells[k, top + row * side :, left + column * side :][:side, :side]
        assert len(np.unique(inside[inside > 0])) == 1
    assert len(np.unique(cells)) == len(truth) + 1

"""``python -m training.split``: what is asked for is what the written files say."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import nibabel
import numpy as np
import pytest
from looped import looped

from training.cases.case import SET_NAMES
from training.cases.splits import Split, load_split
from training.split import main, outputs, read_lists

NAMES = ("0", "1", "2", "3", "7", "7-context", "8", "11", "12", "16")  # seven patients


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small CTs; case n has n + 1 tumor voxels in a liver slice between empty ones."""
    folder = tmp_path_factory.mktemp("lits")
    affine = np.diag([-0.8, -0.8, 2.5, 1])
    for name in NAMES:
        labels = np.zeros((8, 8, 4), np.uint8)
        labels[..., 1:3] = 1
        hu = np.where(labels > 0, 100, -1000).astype(np.int16)
        labels.reshape(-1, 4)[: int(name.split("-")[0]) + 1, 1] = 2
        labels *= "context" not in name
        nibabel.Nifti1Image(hu, affine).to_filename(folder / f"volume-{name}.nii")
        nibabel.Nifti1Image(labels, affine).to_filename(folder / f"segmentation-{name}.nii")
    return folder


def run(folder: Path, output: Path, *options: str) -> int:
    return main([str(folder), "-o", str(output), *options])


def all_names(split: Split) -> list[str]:
    return sorted(name for set_name in SET_NAMES for name in split.names(set_name))


def test_counts_are_met_and_both_shares_are_printed(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "new" / "split.json"
    assert run(folder, path, "--counts", "4", "1", "2", "--seed", "3") == 0
    split = load_split(path)
    assert all_names(split) == sorted(NAMES)
    sizes = [len({split.groups[n] for n in split.names(set_name)}) for set_name in SET_NAMES]
    assert sizes == [4, 1, 2]
    assert split.seed == 3
    said = capsys.readouterr()
    assert said.out.splitlines()[0] == "split.json"
    assert "4 patients (57%)" in said.out
    assert said.err == ""


def test_the_default_is_shares_of_the_volumes_with_seed_42(folder: Path, tmp_path: Path) -> None:
    assert run(folder, tmp_path / "a.json") == 0
    assert run(folder, tmp_path / "b.json", "--shares", "0.8", "0.1", "0.1", "--seed", "42") == 0
    assert load_split(tmp_path / "a.json") == load_split(tmp_path / "b.json")


def test_folds_get_a_file_each_and_test_every_patient_once(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(folder, tmp_path / "split.json", "--folds", "3") == 0
    files = [f"split-fold{n}.json" for n in (1, 2, 3)]
    assert sorted(path.name for path in tmp_path.iterdir()) == files
    tested = [n for file in files for n in load_split(tmp_path / file).test]
    assert sorted(tested) == sorted(NAMES)
    assert [line for line in capsys.readouterr().out.splitlines() if line in files] == files
    assert outputs(Path("x.json"), 1) == [Path("x.json")]


LISTS = {
    "mine.json": '{"train": [0, "1"], "test": ["volume-7.nii"]}',
    "mine.csv": "name,split,note\n0,train,\n1,train,\n7,test,x\n8,,left out\n",
    "files.csv": "file,split\nvolume-0.nii,train\nvolume-1.nii,train\nvolume-7.nii,test\n",
}


@looped("name", LISTS)
def test_lists_of_names_are_taken_as_they_are(
    folder: Path, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / name).write_text(LISTS[name])
    assert run(folder, tmp_path / "split.json", "--lists", str(tmp_path / name)) == 0
    split = load_split(tmp_path / "split.json")
    assert (split.train, split.val, split.test) == (("0", "1"), (), ("7", "7-context"))
    assert split.seed is None
    assert "(leaves out 6 cases)" in capsys.readouterr().out


def test_a_split_file_will_do_for_lists(folder: Path, tmp_path: Path) -> None:
    assert run(folder, tmp_path / "a.json") == 0
    assert run(folder, tmp_path / "b.json", "--lists", str(tmp_path / "a.json")) == 0
    first, second = (load_split(tmp_path / name) for name in ("a.json", "b.json"))
    assert [first.names(s) for s in SET_NAMES] == [second.names(s) for s in SET_NAMES]


WRONG_LISTS = {
    "shared.json": ('{"train": ["0"], "test": ["1"]}', "group 0-1 is in train and in test"),
    "unknown.json": ('{"train": ["0"], "val": ["99"]}', "name 99, which is not in the folder"),
    "key.json": ('{"train": ["0"], "validation": ["2"]}', "must hold lists of names"),
    "nested.json": ('{"train": [["0"]]}', "must hold names in train"),
    "text.json": ('{"train": "0"}', "must hold names in train"),
    "half.json": ('{"train": ["0"', "no JSON object"),
    "set.csv": ("name,split\n0,dev\n", 'split "dev" for 0; use one of train, val, test'),
    "column.csv": ("name,set\n0,train\n", "needs file (or name) and split"),
}


@looped("name", WRONG_LISTS)
def test_wrong_lists_end_with_2_and_a_sentence(
    folder: Path, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text, expected = WRONG_LISTS[name]
    (tmp_path / name).write_text(text)
    assert run(folder, tmp_path / "split.json", "--lists", str(tmp_path / name)) == 2
    assert expected in capsys.readouterr().err
    assert not (tmp_path / "split.json").exists()
    with pytest.raises(ValueError, match=r"none\.json cannot be read"):
        read_lists(tmp_path / "none.json")


def test_the_tables_column_is_taken(folder: Path, tmp_path: Path) -> None:
    rows = [f"{n},patient{n.split('-')[0]},{'test' if n == '16' else 'train'}" for n in NAMES]
    table = tmp_path / "table.csv"
    table.write_text("\n".join(["name,patient_group,split", *rows]))
    assert run(folder, tmp_path / "s.json", "--table", str(table), "--from-table") == 0
    assert load_split(tmp_path / "s.json").test == ("16",)


def test_without_a_column_the_table_is_no_split(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(folder, tmp_path / "split.json", "--from-table") == 2
    assert "volume-0.nii has no split" in capsys.readouterr().err


def write_selection(path: Path, tumor_ml: bool = True) -> Path:
    """Cases 0 to 3 and 7 are in, the others out."""
    lines = ["name,included" + ",tumor_ml" * tumor_ml]
    for name in NAMES:
        if "context" not in name:
            lines.append(f"{name},{'yes' if int(name) < 8 else 'no'}" + f",{name}.5" * tumor_ml)
    path.write_text("\n".join(lines))
    return path


@looped("tumor_ml", [True, False])
def test_only_selected_cases_are_split(folder: Path, tmp_path: Path, tumor_ml: bool) -> None:
    selection = write_selection(tmp_path / "selection.csv", tumor_ml)
    options = ("--select", str(selection), "--counts", "2", "1", "1")
    assert run(folder, tmp_path / "split.json", *options) == 0
    split = load_split(tmp_path / "split.json")
    assert all_names(split) == ["0", "1", "2", "3", "7", "7-context"]


def test_by_volume_is_marked_in_the_file_and_warned_of(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "leaking.json"
    assert run(folder, path, "--group-by", "volume", "--folds", "3", "--seed", "1") == 0
    made = [load_split(tmp_path / f"leaking-fold{n}.json") for n in (1, 2, 3)]
    assert {split.group_by for split in made} == {"volume"}
    assert any(split.shared_groups for split in made)
    assert Counter(n for split in made for n in split.test) == Counter(NAMES)
    assert capsys.readouterr().err.count("Warning: Split by volume, not by patient") == 3


def test_nothing_is_replaced_unless_asked(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "split-fold2.json").write_text("mine")
    assert run(folder, tmp_path / "split.json", "--folds", "3") == 2
    assert "split-fold2.json exists; name another file or add --overwrite" in (
        capsys.readouterr().err
    )
    assert [path.name for path in tmp_path.iterdir()] == ["split-fold2.json"]
    assert run(folder, tmp_path / "split.json", "--folds", "3", "--overwrite") == 0
    assert load_split(tmp_path / "split-fold2.json").test


def test_a_draw_from_cases_that_cannot_be_read_is_refused(
    tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An unread tumor would count as none and be drawn as such."""
    data = tmp_path / "data"
    data.mkdir()
    for path in folder.iterdir():
        (data / path.name).symlink_to(path)
    (data / "segmentation-2.nii").unlink()
    assert run(data, tmp_path / "split.json") == 2
    assert "volume-2.nii has no label file" in capsys.readouterr().err


def test_the_module_can_be_run(folder: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "training.split", str(folder), "-o", str(tmp_path / "s.json")]
    root = Path(__file__).resolve().parents[2]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(root / "LiverTumorSeg"), str(root)]),
    }
    done = subprocess.run(
        command, cwd=root, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "volumes" in done.stdout
    assert json.loads((tmp_path / "s.json").read_text())["seed"] == 42


def test_a_split_that_overrides_the_table_says_so(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "table.csv"
    numbers = [name for name in NAMES if "context" not in name]
    sets = dict(zip(numbers, ["test", "test", "val", *["train"] * 6], strict=True))
    lines = [f"volume-{number}.nii,{number},{set_name}\n" for number, set_name in sets.items()]
    table.write_text("file,patient_group,split\n" + "".join(lines))
    own = tmp_path / "lists.json"
    moved = {**sets, "0": "train", "16": "test"}
    lists = {name: [n for n in moved if moved[n] == name] for name in SET_NAMES}
    own.write_text(json.dumps(lists))
    given = ("--table", str(table))
    assert run(folder, tmp_path / "a.json", *given, "--from-table") == 0
    assert capsys.readouterr().err == ""
    assert run(folder, tmp_path / "b.json", *given, "--lists", str(own)) == 0
    said = capsys.readouterr().err
    assert "overrides them for 2 of its 9 volumes; 1 of its 2 test volumes are for training" in said
    assert said.count("\n") == 1

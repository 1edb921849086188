"""A batch's folder: whole results only, other files kept, one batch at a time."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from command_line import PACKAGE_FOLDER, tree
from LiverTumorSegLib.cli import batch_folder
from LiverTumorSegLib.cli.batch_folder import BatchFolder, opened_batch_folder, write_stamp
from LiverTumorSegLib.cli.batch_summary import table_text

SETTINGS = {"model": "m", "slices": [1, 2]}


def fill(part: Path, text: str = "new") -> None:
    for name in ("seg.nii.gz", "lesions.csv", "overview.png"):
        (part / name).write_text(text)
    (part / "lesions.json").write_text(json.dumps({"made": text}))
    write_stamp(part, SETTINGS, "sum")


def made(folder: BatchFolder, name: str = "p1", text: str = "new", **options: bool) -> None:
    with folder.result(name, **{"overwrite": False, **options}) as part:
        fill(part, text)


def record(folder: BatchFolder, **changes: Any) -> Any:
    asked = {"name": "p1", "settings": SETTINGS, "source": "sum", **changes}
    return folder.finished_record(asked["name"], asked["settings"], lambda: asked["source"])


def test_a_result_appears_as_a_whole(tmp_path: Path) -> None:
    out = tmp_path / "a" / "out"
    with opened_batch_folder(out) as folder:
        with folder.result("p1", overwrite=False) as part:
            fill(part)
            assert [path.name for path in out.iterdir()] == [".batch"]
        assert {path.name for path in (out / "p1").iterdir()} == {
            *("seg.nii.gz", "lesions.csv", "lesions.json", "overview.png", "batch.json")
        }
        folder.write_summary([])
    assert {path.name for path in out.iterdir()} == {"p1", "summary.csv"}
    assert (out / "summary.csv").read_text() == table_text([])


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt(), RuntimeError()])
@pytest.mark.parametrize("before", [False, True])
def test_a_failure_changes_nothing(tmp_path: Path, error: BaseException, before: bool) -> None:
    with opened_batch_folder(tmp_path) as folder:
        if before:
            made(folder, text="old")
    state = tree(tmp_path)

    def fail(folder: BatchFolder) -> None:
        with folder.result("p1", overwrite=True) as part:
            fill(part)
            raise error

    with opened_batch_folder(tmp_path) as folder:
        with pytest.raises(type(error)):
            fail(folder)
        assert {key: value for key, value in tree(tmp_path).items() if ".batch" not in key} == state
    assert tree(tmp_path) == state


# What is done


def test_done_is_whole_with_these_settings_and_from_this_ct(tmp_path: Path) -> None:
    with opened_batch_folder(tmp_path) as folder:
        made(folder)
        assert record(folder) == {"made": "new"}
        assert record(folder, name="p2") is None
        assert record(folder, settings={**SETTINGS, "slices": None}) is None
        assert record(folder, source="another") is None
        (tmp_path / "p1" / "notes.txt").write_text("mine")
        assert record(folder) is not None


@pytest.mark.parametrize("name", ["seg.nii.gz", "lesions.json", "overview.png", "batch.json"])
def test_a_result_that_lost_a_file_is_not_done(tmp_path: Path, name: str) -> None:
    with opened_batch_folder(tmp_path) as folder:
        made(folder)
        (tmp_path / "p1" / name).unlink()
        assert record(folder) is None


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", '{"settings": 1}', "\udcff"])
def test_a_damaged_stamp_or_record_is_not_done(tmp_path: Path, text: str) -> None:
    with opened_batch_folder(tmp_path) as folder:
        for name in ("batch.json", "lesions.json"):
            made(folder, overwrite=True)
            (tmp_path / "p1" / name).write_text(text, errors="surrogateescape")
            assert record(folder) is None


def test_a_ct_that_cannot_be_read_is_not_done(tmp_path: Path) -> None:
    def unreadable() -> str:
        raise PermissionError

    with opened_batch_folder(tmp_path) as folder:
        made(folder)
        assert folder.finished_record("p1", SETTINGS, unreadable) is None


# What is there already


def test_results_are_replaced_only_when_asked_and_other_files_stay(tmp_path: Path) -> None:
    with opened_batch_folder(tmp_path) as folder:
        made(folder, text="old")
        (tmp_path / "p1" / "probabilities.nii.gz").write_text("old")
        (tmp_path / "p1" / "corrected.nii.gz").write_text("a day's work")
        (tmp_path / "p1" / "more").mkdir()
        (tmp_path / "p1" / "more" / "figure.png").write_text("mine")
        (tmp_path / "p1" / "link").symlink_to("nowhere")
        before = tree(tmp_path / "p1")
        with pytest.raises(ValueError, match=r"p1 holds results of another.*--overwrite"):
            made(folder)
        assert tree(tmp_path / "p1") == before
        made(folder, overwrite=True)
    after = tree(tmp_path / "p1")
    ours = {"seg.nii.gz", "lesions.csv", "lesions.json", "overview.png", "batch.json"}
    assert all(after[name] != before[name] for name in ours - {"batch.json"})
    kept = {"corrected.nii.gz", "more", str(Path("more/figure.png")), "link"}
    assert set(after) == ours | kept
    assert all(after[name] == before[name] for name in kept)
    assert (tmp_path / "p1" / "link").is_symlink()


def test_an_empty_folder_is_free(tmp_path: Path) -> None:
    (tmp_path / "p1").mkdir()
    (tmp_path / "p1" / "notes.txt").write_text("mine")
    with opened_batch_folder(tmp_path) as folder:
        made(folder)
    assert (tmp_path / "p1" / "notes.txt").read_text() == "mine"
    assert (tmp_path / "p1" / "seg.nii.gz").is_file()


def test_a_file_of_a_case_s_name(tmp_path: Path) -> None:
    (tmp_path / "p1").write_text("mine")
    with opened_batch_folder(tmp_path) as folder, pytest.raises(ValueError, match="p1 is a file"):
        made(folder, overwrite=True)
    assert (tmp_path / "p1").read_text() == "mine"


def test_refused_folders(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "summary.csv").write_text("name,value\nmine,1\n")
    before = tree(tmp_path)
    for path, says in ((tmp_path / "file", "is a file"), (tmp_path, r"summary\.csv that no batch")):
        with pytest.raises(ValueError, match=says), opened_batch_folder(path):
            pass
    with (
        pytest.raises(ValueError, match="cannot be written"),
        opened_batch_folder(tmp_path / "file" / "deeper"),
    ):
        pass
    assert tree(tmp_path) == before


# Killed at any moment


HERE = Path(__file__).resolve().parent
KILLED_AT_EACH_STEP = """
import os, shutil, signal, sys
from pathlib import Path
import test_batch_folder as t

def counted(module, name, at):
    step = getattr(module, name)
    def call(*arguments, **options):
        global count
        count += 1
        if count == at:
            os.kill(os.getpid(), signal.SIGKILL)
        return step(*arguments, **options)
    setattr(module, name, call)

def one_run(out, at):
    with t.opened_batch_folder(out) as folder:
        t.made(folder, text="old")
    (out / "p1" / "notes.txt").write_text("mine")
    with t.opened_batch_folder(out) as folder:
        for name in ("rename", "replace", "mkdir", "rmdir", "unlink"):
            counted(os, name, at)
        for name in ("rmtree", "copy2"):
            counted(shutil, name, at)
        t.made(folder, overwrite=True)
        t.made(folder, "p2")
        folder.write_summary([])

count, at, status = 0, 0, signal.SIGKILL
while status == signal.SIGKILL:
    at += 1
    if not os.fork():
        one_run(Path(sys.argv[1]) / str(at), at)
        os._exit(0)
    status = os.wait()[1]
assert status == 0
"""


@pytest.mark.skipif(sys.platform == "win32", reason="kills by SIGKILL")
def test_a_kill_between_any_two_steps_leaves_whole_results(tmp_path: Path) -> None:
    """Processes replace p1 and make p2, and die before their first, second, ... step."""
    folders = (PACKAGE_FOLDER, HERE, HERE.parent / "support")
    subprocess.run(
        [sys.executable, "-c", KILLED_AT_EACH_STEP, tmp_path],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, folders))},
        check=True,
    )
    outs = sorted(tmp_path.iterdir(), key=lambda path: int(path.name))
    assert len(outs) > 20
    was_old = [_killed(out) for out in outs]
    assert was_old == sorted(was_old, reverse=True)  # from some step on, p1 is the new one
    assert 3 < sum(was_old) < len(outs) - 3


def _killed(out: Path) -> bool:
    """Whether the old p1 was there after a kill; a new batch finds all in order and goes on."""
    assert {path.name for path in out.iterdir()} <= {"p1", "p2", "summary.csv", ".batch"}
    before = _whole(out)
    with opened_batch_folder(out) as folder:
        assert (out / "p1" / "notes.txt").read_text() == "mine"
        assert _whole(out) == before | {"p1"}
        was_old: bool = record(folder) == {"made": "old"}
        made(folder, overwrite=True)
        made(folder, "p2", overwrite=True)
    assert {path.name for path in out.iterdir()} - {"summary.csv"} == {"p1", "p2"}
    return was_old


def _whole(out: Path) -> set[str]:
    """The cases whose folders are there; each must be whole."""
    names = {path.name for path in out.iterdir() if path.is_dir() and path.name != ".batch"}
    for name in names:
        stamp = json.loads((out / name / "batch.json").read_text())
        assert all((out / name / file).is_file() for file in stamp["files"])
        assert record(BatchFolder(out), name=name) is not None
    return names


def test_what_killed_batches_left_is_put_right(tmp_path: Path) -> None:
    with opened_batch_folder(tmp_path) as folder:
        made(folder)
        made(folder, "p2")
    work = tmp_path / ".batch"
    for path in (".1234abcd.part/new/p3", "1234abcd/p4", "old"):
        (work / path).mkdir(parents=True)
    (work / "summary.csv").write_text("half")
    (work / "lock").touch()
    os.rename(tmp_path / "p1", work / "old" / "p1")  # its replacement had not come yet
    shutil.copytree(tmp_path / "p2", work / "old" / "p2")  # this one's had
    with opened_batch_folder(tmp_path) as folder:
        assert [path.name for path in work.iterdir()] == ["lock"]
        assert record(folder) == {"made": "new"}
    assert {path.name for path in tmp_path.iterdir()} == {"p1", "p2"}


def test_a_disk_that_refuses_the_exchange(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rename, fails = os.rename, iter((False, True, False))

    def full(source: Path, target: Path) -> None:
        if next(fails):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        rename(source, target)

    with opened_batch_folder(tmp_path) as folder:
        made(folder, text="old")
        monkeypatch.setattr(batch_folder.os, "rename", full)
        with pytest.raises(ValueError, match=r"p1 cannot be written: the disk is full"):
            made(folder, overwrite=True)
        monkeypatch.undo()
        assert record(folder) == {"made": "old"}
    assert {path.name for path in tmp_path.iterdir()} == {"p1"}


# Two at once


def test_a_second_batch_is_refused_and_harms_nothing(tmp_path: Path) -> None:
    with opened_batch_folder(tmp_path) as folder, folder.result("p1", overwrite=False) as part:
        fill(part)
        with (
            pytest.raises(ValueError, match="Another batch is writing"),
            opened_batch_folder(tmp_path),
        ):
            pass
        assert (part / "seg.nii.gz").is_file()
    assert {path.name for path in tmp_path.iterdir()} == {"p1"}
    with opened_batch_folder(tmp_path) as folder:
        assert record(folder) is not None


@pytest.mark.skipif(sys.platform == "win32", reason="an open file cannot be removed there")
def test_a_lock_that_was_just_removed_is_no_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its last holder removes it after we have opened it: then we hold nothing."""
    lock, calls = batch_folder._lock, []

    def late(file: Any) -> None:
        calls.append(file)
        lock(file)
        if len(calls) == 1:
            (tmp_path / ".batch" / "lock").unlink()
        elif len(calls) == 2:
            (tmp_path / ".batch" / "lock").unlink()
            (tmp_path / ".batch" / "lock").touch()

    monkeypatch.setattr(batch_folder, "_lock", late)
    with opened_batch_folder(tmp_path):
        assert len(calls) == 3
        monkeypatch.undo()
        with pytest.raises(ValueError, match="Another batch"), opened_batch_folder(tmp_path):
            pass

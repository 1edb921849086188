"""Whole files and folders: whatever fails or is killed, there is the old or the new, and what is
somebody else's stays."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import command_line
import pytest
from command_line import PACKAGE_FOLDER, tree
from LiverTumorSegLib import files
from LiverTumorSegLib.files import machine_key, settle, whole_file, whole_folder
from LiverTumorSegLib.tables import csv_text, csv_value
from looped import looped

KNOWN = ("seg.nii.gz", "lesions.csv", "extra.nii.gz", "figures/")
OLD = {"seg.nii.gz": b"old", "extra.nii.gz": b"old", "figures": None, "figures/a.png": b"old"}
NEW = {"seg.nii.gz": b"new", "lesions.csv": b"new", "figures": None, "figures/b.png": b"new"}
OTHERS = {"notes.txt": b"mine", "more": None, "more/deep": None, "more/deep/x": b"mine"}
DEAD = 99_999_999  # above the largest number that a process gets


def lay(folder: Path, content: dict[str, bytes | None]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in content.items():
        (folder / name).mkdir() if data is None else (folder / name).write_bytes(data)
    return folder


def write_new(target: Path, overwrite: bool = True) -> None:
    with whole_folder(target, known=KNOWN, overwrite=overwrite) as part:
        lay(part, NEW)


def write_one(folder: Path) -> None:
    with whole_file(folder / "extra.nii.gz") as part:
        part.write_bytes(b"new")


def visible(folder: Path) -> dict[str, bytes | None]:
    return {name: data for name, data in tree(folder).items() if name[0] != "."}


# Killed at every step


KILLED_AT_A_STEP = """
import os, shutil, signal, sys
from pathlib import Path
sys.path[:0] = [sys.argv[1], *sys.argv[2].split(os.pathsep)]
import test_files as t

def counted(module, name):
    step = getattr(module, name)
    def call(*arguments, **options):
        global count
        count += 1
        if count == at:
            os.kill(os.getpid(), signal.SIGKILL)
        return step(*arguments, **options)
    setattr(module, name, call)

for name in ("replace", "rename", "link", "mkdir", "unlink", "rmdir", "fsync"):
    counted(os, name)
counted(t.files, "_exchange")
if sys.argv[4] == "moved":
    t.files._may_be_exchanged = lambda place: False
for at in range(1, 500):
    count = 0
    child = os.fork()
    if child == 0:
        os.chdir(sys.argv[3])
        (t.write_one if sys.argv[4] == "one file" else t.write_new)(Path("result"))
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    print(at, flush=True)
    sys.stdin.readline()
    if status == 0:
        break
"""


@pytest.mark.skipif(sys.platform == "win32", reason="kills as POSIX does")
@looped("way", ["exchanged", "moved", "one file"])
def test_a_kill_at_any_step_leaves_the_old_or_the_new(tmp_path: Path, way: str) -> None:
    """Exchanged: at once. Moved one by one: once the next run has been there. Nothing stays."""
    place, state = tmp_path / "result", set()
    new = OLD | {"extra.nii.gz": b"new"} if way == "one file" else NEW
    lay(place, OLD | OTHERS)
    own = os.pathsep.join([str(Path(__file__).parent), str(Path(command_line.__file__).parent)])
    places = [str(PACKAGE_FOLDER), own, str(tmp_path)]
    with subprocess.Popen(
        [sys.executable, "-c", KILLED_AT_A_STEP, *places, way],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        for _ in child.stdout:
            if way == "moved":
                settle(tmp_path)
            found = visible(place)
            assert found in (OLD | OTHERS, new | OTHERS)
            state.add("new" if found == new | OTHERS else "old")
            settle(tmp_path)
            settle(place)
            assert tree(place) == found
            assert [path.name for path in tmp_path.iterdir()] == ["result"]
            shutil.rmtree(place)
            lay(place, OLD | OTHERS)
            child.stdin.write("\n")
            child.stdin.flush()
    assert child.returncode == 0
    assert state == {"old", "new"}


# Leftovers


def leftover(folder: Path, pid: int, key: str | None = None, ending: str = "") -> Path:
    return folder / f".livertumorseg-{key or machine_key()}-{pid}-0123abcd.part{ending}"


def test_only_what_dead_runs_of_ours_left_is_removed(tmp_path: Path) -> None:
    ours = lay(leftover(tmp_path, DEAD), {files.MARKER: b"", "new": None, "new/x": b""})
    lay(leftover(tmp_path, DEAD, ending=".x"), {})  # killed before its marker was written
    leftover(tmp_path, DEAD, ending=".csv").write_bytes(b"half")
    mine = lay(tmp_path / "mine", OTHERS)
    stays = [
        lay(leftover(tmp_path, DEAD, ending=".unmarked"), OTHERS),
        lay(leftover(tmp_path, os.getpid()), {files.MARKER: b""}),
        lay(leftover(tmp_path, DEAD, key="00000000"), {files.MARKER: b""}),
        lay(tmp_path / ".part", OTHERS),
    ]
    leftover(tmp_path, DEAD, ending=".link").symlink_to(mine)
    (ours / "new" / "link").symlink_to(mine)
    write_new(tmp_path / "result")
    names = {path.name for path in [*stays, mine]} | {"result", leftover(tmp_path, DEAD).name}
    names = names - {ours.name} | {leftover(tmp_path, DEAD, ending=".link").name}
    assert {path.name for path in tmp_path.iterdir()} == names
    assert tree(mine) == OTHERS


def test_a_run_that_ran_out_of_memory_leaves_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it was making is still held while it fails, and the first try to remove it may too."""
    remove, tries = shutil.rmtree, []

    def fails_once(path: Path, **options: object) -> None:
        tries.append(path)
        if len(tries) > 1:
            remove(path, **options)

    def run_out() -> None:
        with files.whole_folder(tmp_path / "result", known=("seg",), overwrite=False) as part:
            (part / "seg").write_bytes(b"half")
            raise MemoryError

    monkeypatch.setattr(shutil, "rmtree", fails_once)
    with pytest.raises(MemoryError):
        run_out()
    assert len(tries) == 2
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_marker_moves_nothing(tmp_path: Path) -> None:
    place = lay(tmp_path / "result", OLD)
    for marker in ("", "[]", '{"becomes": "../result"}', '{"becomes": 5}', "[" * 100_000):
        part = lay(leftover(tmp_path, DEAD), {"old": None, "old/seg.nii.gz": b"crafted"})
        (part / files.MARKER).write_text(marker)
        settle(tmp_path)
        assert not part.exists()
        assert tree(place) == OLD


# Failures


@looped("error", [ValueError, OSError, KeyboardInterrupt, MemoryError])
def test_a_failing_block_leaves_all_as_it_was(tmp_path: Path, error: type[BaseException]) -> None:
    """Its error passes unchanged: an OSError of the block may have nothing to do with writing."""
    lay(tmp_path / "there", OLD | OTHERS)
    before, raised = tree(tmp_path), error("as it was")

    def fail(target: Path) -> None:
        with whole_folder(target, known=KNOWN, overwrite=True) as part:
            lay(part, NEW)
            raise raised

    for target in ("result", "a/b/result", "there", "there/deeper"):
        with pytest.raises(error) as caught:
            fail(tmp_path / target)
        assert caught.value is raised
        assert tree(tmp_path) == before


def test_a_failing_move_is_undone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Windows, where a picture that is open in a viewer cannot be replaced."""
    place = lay(tmp_path / "result", OLD | OTHERS)
    monkeypatch.setattr(files, "_may_be_exchanged", lambda place: False)
    replace = os.replace
    for fails_at in range(1, 7):
        calls = []

        def fragile(source: Path, target: Path, calls=calls, fails_at=fails_at) -> None:
            calls.append(source)
            if len(calls) == fails_at:
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(target))
            replace(source, target)

        monkeypatch.setattr(os, "replace", fragile)
        with pytest.raises(ValueError, match=r"^result cannot be written: no permission"):
            write_new(place)
        assert tree(tmp_path / "result") == OLD | OTHERS
        assert [path.name for path in tmp_path.iterdir()] == ["result"]
    monkeypatch.setattr(os, "replace", replace)
    write_new(place)
    assert tree(place) == NEW | OTHERS


def test_a_disk_without_exchange_or_hard_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.ENOTSUP, "no")

    for module, name in ((files, "_exchange"), (os, "link")):
        place = lay(tmp_path / name / "result", OLD | OTHERS)
        with monkeypatch.context() as patch:
            patch.setattr(module, name, refuse)
            write_new(place)
        assert tree(place.parent / "result") == NEW | OTHERS
        assert [path.name for path in place.parent.iterdir()] == ["result"]


def test_the_folder_one_stands_in_stays_the_same_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = lay(tmp_path / "result", OLD | OTHERS)
    monkeypatch.chdir(place)
    number = place.stat().st_ino
    write_new(Path("."))
    assert place.stat().st_ino == number
    assert tree(place) == NEW | OTHERS


def test_what_is_put_into_the_folder_meanwhile_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, exchange = lay(tmp_path / "result", OLD), files._exchange

    def late(one: Path, other: Path) -> None:
        (place / "late.txt").write_bytes(b"mine")
        exchange(one, other)

    monkeypatch.setattr(files, "_exchange", late)
    write_new(place)
    assert tree(place) == {**NEW, "late.txt": b"mine"}


def test_refusals_change_nothing(tmp_path: Path) -> None:
    lay(tmp_path / "there", OLD)
    lay(tmp_path / "strange", {"seg.nii.gz": None})
    lay(tmp_path / "odd", {"figures": b"mine"})
    (tmp_path / "file").write_bytes(b"mine")
    before = tree(tmp_path)
    for target, overwrite, says in (
        ("there", False, "there holds seg.nii.gz already; name another folder or add --overwrite"),
        ("strange", True, "strange holds a folder seg.nii.gz; name another folder"),
        ("odd", True, "odd holds a file figures; name another folder"),
        ("file", True, "file is a file; name a folder"),
        ("file/deeper", True, "deeper cannot be written"),
        ("n" * 300, True, "the name is too long"),
    ):
        with pytest.raises(ValueError, match=says):
            write_new(tmp_path / target, overwrite)
        assert tree(tmp_path) == before


def test_results_of_a_run_that_ended_meanwhile_stay(tmp_path: Path) -> None:
    target = tmp_path / "a" / "result"

    def twice() -> None:
        with whole_folder(target, known=KNOWN, overwrite=False) as part:
            lay(part, NEW)
            with whole_folder(target, known=KNOWN, overwrite=False) as other:
                lay(other, OLD)

    with pytest.raises(ValueError, match="already"):
        twice()
    assert tree(target) == OLD
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


# One file


def test_a_file_is_whole_or_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "scan.nii.gz"
    for before in (None, b"old"):
        for error in (OSError(errno.ENOSPC, "full"), KeyboardInterrupt(), RuntimeError()):
            wanted = ValueError if isinstance(error, OSError) else type(error)

            def fail(error: BaseException = error) -> None:
                with whole_file(path) as part:
                    assert part.name.endswith(".nii.gz")
                    assert "scan" not in part.name
                    part.write_bytes(b"half")
                    raise error

            with pytest.raises(wanted) as caught:
                fail()
            if wanted is ValueError:
                assert str(caught.value).startswith("scan.nii.gz cannot be written: the disk is f")
            assert tree(tmp_path) == ({} if before is None else {path.name: before})
        with whole_file(path) as part:
            part.write_bytes(b"old")
    assert tree(tmp_path) == {path.name: b"old"}


# Tables


def test_no_cell_is_a_formula_and_each_can_be_read_back() -> None:
    for text in ("=cmd|' -C calc'!A0.nii.gz", "+1+1", "-2+3.nii", "@x", "\t=1", "plain", "'s"):
        cell = csv_text(("a", "b"), [{"a": text, "b": -1.5}]).splitlines()[1]
        assert cell.strip('"')[0] not in "=+-@\t"
        assert cell.endswith(",-1.5")
        assert csv_value(cell.removesuffix(",-1.5").strip('"')) == text

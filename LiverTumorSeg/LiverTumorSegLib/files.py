"""Files and folders that appear whole or not at all, also when the program is killed.

    with whole_file(Path("scores.json")) as part:
        part.write_text("{}")                        # part becomes scores.json

    with whole_folder(Path("result"), known=("seg.nii.gz",), overwrite=False) as part:
        (part / "seg.nii.gz").write_bytes(b"")       # what part holds becomes part of result

Unfinished work lies beside its target under a hidden name that tells whose it is. What a killed
process left there is finished or removed by the next one that writes to the same place; nothing
else is ever deleted, and no link is followed. Standard library only.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import functools
import gc
import hashlib
import json
import os
import platform
import re
import shutil
import sys
import time
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

from LiverTumorSegLib.sentences import sentence

PART_NAME = re.compile(r"\.livertumorseg-([0-9a-f]{8})-(\d{1,10})-[0-9a-f]{8}\.part(\..*)?")
ENDING = re.compile(r"(\.(nii|seg))?\.\w{1,10}$", re.IGNORECASE)
MARKER = "made-by-livertumorseg.json"  # in every unfinished folder of ours: what it is to become
NEW, OLD, REPLACED = "new", "old", "replaced"
LONGEST_SHOWN = 80
WEEK_SECONDS = 7 * 24 * 3600  # after which another machine's unfinished work counts as left behind


@contextlib.contextmanager
def whole_file(path: str | Path, *, durable: bool = True) -> Iterator[Path]:
    """A temporary path beside ``path`` to write to; it takes the place of ``path`` at the end.

    Its name ends as the target's does, for writers that choose a format by it. When anything fails,
    ``path`` is as it was and the temporary file is gone. A failing disk is a ``ValueError`` that
    names the target. durable: wait until the bytes are on the disk, so that even a power failure
    leaves no half a file.
    """
    path = Path(path)
    _settle_once(path.parent)
    ending = ENDING.search(path.name)
    part = path.with_name(_new_part_name() + (ending[0] if ending else ""))
    with disk_errors_as_sentences(path.name):
        try:
            yield part
            if durable:
                _flush(part)
            os.replace(part, path)
        finally:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)


@contextlib.contextmanager
def whole_folder(target: str | Path, *, known: Collection[str], overwrite: bool) -> Iterator[Path]:
    """An empty folder whose files become ``target``'s when the block ends well, and else vanish.

    Missing parents come into being with it. Where ``target`` exists, files of other names stay, and
    earlier ones of ours are replaced all together: on Linux and macOS both folders are exchanged in
    one step, elsewhere (or where the disk has no such step, or a shell may stand in the folder)
    the files are moved, and a run that is killed there is finished by the next one.

    known: names of all that the block may write; a folder's name ends in "/".
    Raises ``ValueError`` with one sentence when such names are there and may not be replaced, or
    the disk refuses. Errors of the block itself pass unchanged.
    """
    place = Path(os.path.realpath(target))  # "." and ".." get a name
    with disk_errors_as_sentences(place.name):
        home = _home_of(place)
        settle(home)
        if place.is_dir():
            settle(place)
        _refuse_taken(place, known, overwrite)
        part = _make_part(home, place)
    try:
        fresh = part / NEW / (place.name if home == place else place.relative_to(home))
        with disk_errors_as_sentences(place.name):
            fresh.mkdir(parents=True)
        yield fresh
        with disk_errors_as_sentences(place.name):
            for path in fresh.rglob("*"):
                if path.is_file():
                    _flush(path)
            _refuse_taken(place, known, overwrite)  # again: another run may have ended meanwhile
            _publish(part, fresh, place, known)
    finally:
        _remove(part)


def refuse_existing(path: Path, *, overwrite: bool) -> None:
    """``ValueError`` when the file is there already and nobody asked to replace it."""
    if os.path.lexists(path) and not overwrite:
        raise ValueError(
            sentence("{file} exists; name another file or add --overwrite.", file=path.name)
        )


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file; ``ValueError`` for anything else, ``OSError`` as the disk's."""
    is_pipe = path.exists() and not path.is_file()  # or a folder: nothing would come
    try:
        values = None if is_pipe else json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, dict):
        raise ValueError(sentence("{file} is damaged: it holds no JSON object.", file=path.name))
    return values


@contextlib.contextmanager
def disk_errors_as_sentences(name: str) -> Iterator[None]:
    """Turn a disk's error while ``name`` is written into a ``ValueError`` of one sentence."""
    try:
        yield
    except BrokenPipeError:  # not the disk: whoever reads our output has gone
        raise
    except OSError as error:
        raise ValueError(
            sentence(
                "{file} cannot be written: {advice}.", file=_shown(name), advice=_advice(error)
            )
        ) from error


def is_alive(pid: int) -> bool:
    """Whether a process of this machine has that number."""
    if sys.platform == "win32":  # os.kill would end it there
        return _is_alive_on_windows(pid)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):  # another user's, or no number of a process
        return True
    return True


@functools.cache
def machine_key() -> str:
    """Which machine (or container) a process number belongs to; it reveals nothing about it."""
    space = ""
    with contextlib.suppress(OSError):
        space = os.readlink("/proc/self/ns/pid")
    return hashlib.sha256(f"{platform.node()} {space}".encode()).hexdigest()[:8]


def settle(folder: Path) -> None:
    """Finish or remove what killed processes left in a folder.

    A move of files into a folder that had begun is taken back, or brought to its end when the
    earlier files were all out of the way; what was not yet published is removed.
    """
    try:
        leftovers = [path for path in folder.iterdir() if _is_leftover(path)]
    except OSError:  # may not be listed: whoever writes there will say so
        return
    for path in leftovers:
        with contextlib.suppress(OSError):
            if path.is_dir():
                _finish_moves(path)
                _remove(path)
            else:
                path.unlink()


def _shown(name: str) -> str:
    """A name on one line of a sentence."""
    text = "".join(letter if letter.isprintable() else "?" for letter in name)
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}..."


def _advice(error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return sentence("the disk is full; free some space and run again")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return sentence(
            "no permission to write there; close programs that use it, or choose another folder"
        )
    if error.errno == errno.ENOENT:
        return sentence("its folder does not exist; make it first")
    if error.errno == errno.ENOTDIR:
        return sentence("a file lies where its folder should be; choose another folder")
    if error.errno == errno.EISDIR:
        return sentence("a folder has that name; choose another name")
    if error.errno == errno.ENAMETOOLONG:
        return sentence("the name is too long; choose a shorter one")
    reason = error.strerror or type(error).__name__
    return sentence(
        "the disk refused it ({reason}); check the disk or choose another folder", reason=reason
    )


# Unfinished work


def _new_part_name() -> str:
    return f".livertumorseg-{machine_key()}-{os.getpid()}-{uuid4().hex[:8]}.part"


def _make_part(home: Path, place: Path) -> Path:
    """A folder for unfinished work that only its user may look into."""
    part = home / _new_part_name()
    part.mkdir(mode=0o700)
    become = "" if home == place else place.name
    try:
        (part / MARKER).write_text(json.dumps({"becomes": become}), encoding="utf-8")
    except BaseException:
        _remove(part)
        raise
    return part


def _is_leftover(path: Path) -> bool:
    """Ours, by name and, for a folder, by what is in it; and of a process that is no more."""
    match = PART_NAME.fullmatch(path.name)
    if match is None or path.is_symlink():
        return False
    if path.is_dir() and not (path / MARKER).is_file() and any(path.iterdir()):
        return False
    if match[1] == machine_key():
        return not is_alive(int(match[2]))
    return time.time() - path.lstat().st_mtime > WEEK_SECONDS


def _finish_moves(part: Path) -> None:
    """Finish moving files one by one (``_move_in``), or undo it: none or all are moved."""
    try:
        becomes = read_json(part / MARKER)["becomes"]
        place = part.parent / becomes
        is_ours = becomes == Path(becomes).name and place.is_dir() and not place.is_symlink()
    except (OSError, ValueError, KeyError, TypeError):
        return  # killed before there was anything to move
    if not is_ours:
        return
    fresh = part / NEW / place.name
    source = part / OLD if (part / OLD).is_dir() else fresh
    if source == fresh and not (part / REPLACED).is_dir():
        return
    for path in source.iterdir():
        os.replace(path, place / path.name)


def _remove(part: Path) -> None:
    for _ in range(2):  # the second time with the memory back that a failed run held
        shutil.rmtree(part, ignore_errors=True)
        if not os.path.lexists(part):
            return
        gc.collect()


@functools.cache
def _settle_once(folder: Path) -> None:
    """Settle a folder once a process, not for each of a thousand files."""
    settle(folder)


def _flush(path: Path) -> None:
    with path.open("rb+") as stream:
        os.fsync(stream.fileno())


# Publishing a folder


def _home_of(place: Path) -> Path:
    """The folder for a target's unfinished files, from where a rename moves them into place."""
    above = next(path for path in place.parents if path.exists())
    if not place.is_dir():
        return above
    is_within_reach = above.stat().st_dev == place.stat().st_dev and not os.path.ismount(place)
    return above if is_within_reach and os.access(above, os.W_OK | os.X_OK) else place


def _refuse_taken(place: Path, known: Collection[str], overwrite: bool) -> None:
    if os.path.lexists(place) and not place.is_dir():
        raise ValueError(
            sentence("{folder} is a file; name a folder for the results.", folder=place.name)
        )
    for entry in known:
        name = entry.removesuffix("/")
        path = place / name
        if not os.path.lexists(path):
            continue
        if (path.is_dir() and not path.is_symlink()) != entry.endswith("/"):
            there = (
                sentence("{folder} holds a folder {name}", folder=place.name, name=name)
                if path.is_dir()
                else sentence("{folder} holds a file {name}", folder=place.name, name=name)
            )
            raise ValueError(sentence("{there}; name another folder.", there=there))
        if not overwrite:
            raise ValueError(
                sentence(
                    "{folder} holds {name} already; name another folder or add --overwrite.",
                    folder=place.name,
                    name=name,
                )
            )


def _publish(part: Path, fresh: Path, place: Path, known: Collection[str]) -> None:
    """Give the results their names."""
    if not place.exists():
        # anew, for another run may have made some of the parents
        above = next(path for path in place.parents if path.exists())
        first = above / place.relative_to(above).parts[0]
        os.rename(part / NEW / first.relative_to(part.parent), first)
        return
    ours = {name.removesuffix("/") for name in known}
    made = sorted(os.listdir(fresh))
    if part.parent != place and _may_be_exchanged(place):
        try:
            _take_along(place, fresh, ours)
            _exchange(fresh, place)
        except OSError:
            pass  # a disk without hard links or without this step
        else:
            _bring_latecomers(fresh, place, ours)
            return
    _move_in(part, fresh, place, ours, made)


def _may_be_exchanged(place: Path) -> bool:
    """Whether a folder may be renamed: not a shell's own, somebody else's, or one in use."""
    here = os.path.realpath(os.getcwd())
    if os.path.commonpath([here, place]) == str(place):
        return False
    if hasattr(os, "geteuid") and place.stat().st_uid != os.geteuid():
        return False
    return not any(PART_NAME.fullmatch(name) for name in os.listdir(place))


def _take_along(place: Path, fresh: Path, ours: Collection[str]) -> None:
    """Hard-link the other files of a folder into its successor, so that none is ever missing."""
    shutil.copystat(place, fresh)
    for path in place.iterdir():
        if path.name in ours:
            continue
        if path.is_symlink():
            os.symlink(os.readlink(path), fresh / path.name)
        elif path.is_dir():
            (fresh / path.name).mkdir()
            _take_along(path, fresh / path.name, ())
        else:
            os.link(path, fresh / path.name)


def _bring_latecomers(old: Path, place: Path, ours: Collection[str]) -> None:
    """Move along files that appeared in the folder during its exchange."""
    for path in old.iterdir():
        if path.name not in ours and not os.path.lexists(place / path.name):
            with contextlib.suppress(OSError):
                os.rename(path, place / path.name)


def _exchange(one: Path, other: Path) -> None:
    """Give each of two folders the other's name in one step; ``OSError`` where that is not known.

    Python has no call for it.
    """
    if sys.platform == "win32":
        raise OSError(errno.ENOSYS, "Windows knows no such step")
    names = os.fsencode(one), os.fsencode(other)
    library = ctypes.CDLL(None, use_errno=True)
    if sys.platform == "darwin":
        swap = 2  # RENAME_SWAP
        failed = library.renamex_np(*names, swap)
    elif hasattr(library, "renameat2"):
        here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
        failed = library.renameat2(here, names[0], here, names[1], exchange)
    else:
        raise OSError(errno.ENOSYS, "the C library is too old")
    if failed:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _move_in(
    part: Path, fresh: Path, place: Path, ours: Collection[str], made: Sequence[str]
) -> None:
    """Move earlier results away and the new ones in, one by one; undone when one fails.

    As long as ``old`` is there, ``settle`` takes the moves back; once it is called ``replaced``, it
    brings them to their end.
    """
    (part / OLD).mkdir()
    earlier = [name for name in sorted(ours) if os.path.lexists(place / name)]
    moves = [(place / name, part / OLD / name) for name in earlier]
    moves.append((part / OLD, part / REPLACED))
    moves += [(fresh / name, place / name) for name in made]
    try:
        for source, target in moves:
            os.replace(source, target)
    except BaseException:
        for source, target in reversed(moves):
            if not os.path.lexists(source) and os.path.lexists(target):
                os.replace(target, source)
        raise


def _is_alive_on_windows(pid: int) -> bool:
    query_limited_information, still_active = 0x1000, 259
    kernel: Any = getattr(ctypes, "windll").kernel32  # noqa: B009 - Windows alone has it
    handle = kernel.OpenProcess(query_limited_information, False, pid)
    if not handle:
        return False
    code = ctypes.c_ulong()
    is_known = kernel.GetExitCodeProcess(handle, ctypes.byref(code))
    kernel.CloseHandle(handle)
    return bool(is_known) and code.value == still_active

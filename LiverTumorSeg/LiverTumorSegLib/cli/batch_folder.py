"""Where a batch puts its results: whole ones only, whatever happens and whenever it is killed.

    with opened_batch_folder(Path("results")) as folder:
        with folder.result("case1", overwrite=False) as part:
            ...                                  # write into part; it becomes results/case1

All that is unfinished lies in the hidden folder ``.batch``, which the process that holds its lock
alone may touch. What a killed batch left there is put right by the next one.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any
from uuid import uuid4

from LiverTumorSegLib.result.files import ALL_FILES, NOTICE, RECORD, result_folder

from .batch_summary import SUMMARY, table_text

WORK, LOCK, OLD = ".batch", "lock", "old"
STAMP = "batch.json"  # in each result: what it was made from and how
RESULT_FILES = (*ALL_FILES, STAMP)
BUSY = (errno.EACCES, errno.EAGAIN, errno.EDEADLK)


class BatchFolder:
    """Use :func:`opened_batch_folder`, which locks the folder and puts it in order."""

    def __init__(self, path: Path) -> None:
        self.path, self._work = path, path / WORK

    def settle(self) -> None:
        """Put back results whose replacement did not come, and remove what is unfinished."""
        for old in (self._work / OLD).glob("*"):
            if not os.path.lexists(self.path / old.name):
                os.rename(old, self.path / old.name)
        for path in self._work.glob("*"):
            if path.name != LOCK:
                shutil.rmtree(path, ignore_errors=True)
                path.unlink(missing_ok=True)

    def finished_record(
        self, name: str, settings: dict[str, Any], source_sha256: Callable[[], str]
    ) -> dict[str, Any] | None:
        """What ``lesions.json`` says of a case that is done: whole, made so, and from this CT."""
        place = self.path / name
        try:
            stamp = json.loads((place / STAMP).read_text(encoding="utf-8"))
            record_bytes = (place / RECORD).read_bytes()
            is_so = (
                stamp["settings"] == settings
                and stamp["record_sha256"] == hashlib.sha256(record_bytes).hexdigest()
                and all((place / file).is_file() for file in stamp["files"])
                and stamp["source_sha256"] == source_sha256()
            )
            record: dict[str, Any] = json.loads(record_bytes)
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return record if is_so else None

    @contextmanager
    def result(self, name: str, *, overwrite: bool) -> Iterator[Path]:
        """An empty folder that becomes the case's when the block ends well, and else vanishes.

        Other files that lie in the case's folder stay there. Raises ``ValueError`` when results are
        there and may not be overwritten, or the disk refuses; errors of the block pass unchanged.
        """
        place = self.path / name
        _refuse_taken(place, overwrite)
        fresh = self._work / uuid4().hex[:8] / name
        with result_folder(fresh, overwrite=False) as part:
            yield part
        with _explained(name):
            self._publish(fresh, place)

    def _publish(self, fresh: Path, place: Path) -> None:
        """Exchange whole folders: at any moment the old result or the new one is there, or in
        ``.batch`` to be put back, and never a mixture."""
        old = self._work / OLD / place.name
        if place.exists():
            _take_along(place, fresh)
            old.parent.mkdir(exist_ok=True)
            os.rename(place, old)
        try:
            os.rename(fresh, place)
        except BaseException:
            if old.exists():
                os.rename(old, place)
            raise
        if old.exists():
            os.rename(old, fresh)  # in one step, no longer to be put back
        shutil.rmtree(fresh.parent, ignore_errors=True)

    def write_summary(self, rows: list[dict[str, Any]]) -> None:
        """Replace the table as a whole; ``ValueError`` when the disk refuses."""
        part = self._work / SUMMARY
        with _explained(SUMMARY):
            part.write_text(table_text(rows), encoding="utf-8", newline="")
            os.replace(part, self.path / SUMMARY)


def write_stamp(folder: Path, settings: dict[str, Any], source_sha256: str) -> None:
    """The last file of a result, by which a later batch knows it: see ``finished_record``."""
    stamp = {
        "notice": NOTICE,
        "settings": settings,
        "source_sha256": source_sha256,
        "record_sha256": hashlib.sha256((folder / RECORD).read_bytes()).hexdigest(),
        "files": sorted(path.name for path in folder.iterdir()),
    }
    (folder / STAMP).write_text(json.dumps(stamp, indent=1) + "\n", encoding="utf-8")


@contextmanager
def opened_batch_folder(path: Path) -> Iterator[BatchFolder]:
    """The folder, made where it is missing, locked against other batches, in order.

    Raises ``ValueError`` when another batch writes there, or the folder cannot be used.
    """
    if os.path.lexists(path) and not path.is_dir():
        raise ValueError(f"{path.name} is a file; name a folder for the results.")
    path = path.resolve()
    _refuse_foreign_summary(path)
    with _explained(path.name):
        (path / WORK).mkdir(parents=True, exist_ok=True)
        lock = _locked(path / WORK / LOCK, path.name)
    folder = BatchFolder(path)
    try:
        with _explained(path.name):
            folder.settle()
        yield folder
    finally:
        with suppress(OSError):
            folder.settle()
        _release(lock, path / WORK / LOCK)
        with suppress(OSError):  # not empty: the next batch has come
            (path / WORK).rmdir()


def _refuse_foreign_summary(path: Path) -> None:
    try:
        with (path / SUMMARY).open(encoding="utf-8", errors="replace") as file:
            is_ours = file.readline() == table_text([])
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError:
        is_ours = False
    if not is_ours:
        raise ValueError(
            f"{path.name} holds a {SUMMARY} that no batch made; name another folder for the"
            " results."
        )


def _refuse_taken(place: Path, overwrite: bool) -> None:
    if os.path.lexists(place) and not place.is_dir():
        raise ValueError(f"{place.name} is a file; name another folder for the results.")
    if overwrite or not any(os.path.lexists(place / name) for name in RESULT_FILES):
        return
    raise ValueError(
        f"{place.name} holds results of another model, other settings or another CT, or not all of"
        " its files; name another folder or add --overwrite."
    )


def _take_along(place: Path, fresh: Path) -> None:
    """Copy what is not ours: it must be there in the very moment the folders are exchanged."""
    for path in place.iterdir():
        if path.name in RESULT_FILES:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.copytree(path, fresh / path.name, symlinks=True)
        else:
            shutil.copy2(path, fresh / path.name, follow_symlinks=False)


@contextmanager
def _explained(name: str) -> Iterator[None]:
    """What the disk refuses becomes one sentence."""
    try:
        yield
    except OSError as error:
        raise ValueError(
            f"{name} cannot be written: {error.strerror or error}; free some space, close programs"
            " that use it, or choose a folder that you may write to."
        ) from error


def _locked(path: Path, name: str) -> IO[bytes]:
    """The lock file, held until it is closed, which the end of the process does too."""
    while True:
        file = path.open("ab")
        try:
            _lock(file)
            if os.path.samestat(os.fstat(file.fileno()), os.stat(path)):
                return file
        except FileNotFoundError:
            pass  # its last holder has just removed it: once more
        except OSError as error:
            file.close()
            if error.errno in BUSY:
                raise ValueError(
                    f"Another batch is writing to {name}; wait for its end, or name another folder."
                ) from None
            raise
        file.close()


if sys.platform == "win32":
    import msvcrt

    def _lock(file: IO[bytes]) -> None:
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)

    def _release(file: IO[bytes], path: Path) -> None:
        file.close()  # first: Windows removes no open file
        with suppress(OSError):
            path.unlink()

else:
    import fcntl

    def _lock(file: IO[bytes]) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _release(file: IO[bytes], path: Path) -> None:
        with suppress(OSError):
            path.unlink()  # while it is held: a file of that name is another's from here on
        file.close()

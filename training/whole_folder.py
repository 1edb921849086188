"""A folder of results that appears whole or not at all.

with whole_folder(Path("scores"), mark="summary.json", overwrite=False) as part:
    (part / "summary.json").write_text(...)
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4


@contextmanager
def whole_folder(target: Path, *, mark: str, overwrite: bool) -> Iterator[Path]:
    """An empty folder that becomes ``target`` when the block ends well, and else vanishes.

    mark: a file that earlier results of the same kind hold; only such a folder is replaced, and
        only with ``overwrite``. Raises ``ValueError`` for one that holds anything else.
    """
    place = Path(os.path.realpath(target))
    _refuse_taken(place, mark, overwrite)
    above = next(folder for folder in place.parents if folder.exists())
    part = above / f".{place.name}.{uuid4().hex[:8]}.part"
    part.mkdir()
    try:
        yield part
        _refuse_taken(place, mark, overwrite)  # again: another run may have ended meanwhile
        _publish(part, place)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _refuse_taken(place: Path, mark: str, overwrite: bool) -> None:
    if place.is_file():
        raise ValueError(f"{place.name} is a file; name a folder.")
    if not place.is_dir() or not any(place.iterdir()):
        return
    if not (place / mark).is_file():
        raise ValueError(f"{place.name} holds other files; name a new folder.")
    if not overwrite:
        raise ValueError(
            f"{place.name} holds results already; name another folder or add --overwrite."
        )


def _publish(part: Path, place: Path) -> None:
    """Give the folder its name; earlier results go only when the new ones are in their place."""
    place.parent.mkdir(parents=True, exist_ok=True)
    if not place.exists():
        os.replace(part, place)
        return
    old = part.with_suffix(".old")
    os.replace(place, old)
    try:
        os.replace(part, place)
    except BaseException:
        os.replace(old, place)
        raise
    shutil.rmtree(old, ignore_errors=True)

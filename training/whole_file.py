"""A text file that appears whole or not at all.

refuse_taken(path, overwrite=False)      # before the work
write_whole(path, text)
"""

from __future__ import annotations

import os
from pathlib import Path


def refuse_taken(path: Path, *, overwrite: bool) -> None:
    """``ValueError`` when the file is there already and nobody asked to replace it."""
    if path.exists() and not overwrite:
        raise ValueError(f"{path.name} exists; name another file or add --overwrite.")


def write_whole(path: Path, text: str) -> None:
    """Write UTF-8 text under a temporary name, then give it its own; folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(text, encoding="utf-8", newline="")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)

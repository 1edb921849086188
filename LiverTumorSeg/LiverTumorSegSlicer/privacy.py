"""Texts that people copy into mails and bug reports, without the names of people in them."""

from __future__ import annotations

import getpass
import os
import re
from pathlib import Path

HOME_MARK, USER_MARK = "~", "<user>"
SHORTEST_USER_NAME = 3  # "a" is part of many paths, and names nobody


def withoutPersonalPaths(text: str) -> str:
    """The text with the home folder as ``~``, and the user's name hidden in every other path."""
    for home in _spellings(Path.home()):
        text = re.sub(re.escape(home), HOME_MARK, text, flags=_CASE)
    name = _userName()
    if len(name) >= SHORTEST_USER_NAME:
        inPath = rf"(?<=[\\/]){re.escape(name)}(?=[\\/\s\"'.,;:)]|$)"
        text = re.sub(inPath, USER_MARK, text, flags=_CASE | re.MULTILINE)
    return text


_CASE = re.IGNORECASE if os.name == "nt" else 0


def _spellings(folder: Path) -> list[str]:
    """The ways in which a folder is written; the root folder is nobody's."""
    paths = {str(folder), os.path.realpath(folder)}
    paths |= {path.replace("\\", "/") for path in paths} | {repr(path)[1:-1] for path in paths}
    return sorted((path for path in paths if len(path) > 1), key=len, reverse=True)


def _userName() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # no such user is known to the system
        return ""

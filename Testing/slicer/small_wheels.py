"""Wheels of a few bytes, and a folder that pip takes for an index of packages."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Mapping
from pathlib import Path

IMPORT_NAMES = {"opencv-python-headless": "cv2"}


def makeWheel(folder: Path, name: str, version: str, *needs: str) -> Path:
    """A package of one file with its version; needs: requirements of it."""
    folder.mkdir(parents=True, exist_ok=True)
    plain = name.replace("-", "_")
    wheel = folder / f"{plain}-{version}-py3-none-any.whl"
    about = f"{plain}-{version}.dist-info"
    requires = "".join(f"Requires-Dist: {need}\n" for need in needs)
    files = {
        f"{IMPORT_NAMES.get(name, plain)}/__init__.py": f"__version__ = {version!r}\n",
        f"{about}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{requires}",
        f"{about}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
        record = "".join(f"{path},,\n" for path in (*files, f"{about}/RECORD"))
        archive.writestr(f"{about}/RECORD", record)
    return wheel


def makeIndex(
    folder: Path, packages: Mapping[str, str], needs: Mapping[str, tuple[str, ...]] | None = None
) -> Path:
    """An index as pip reads it: a page for each package, with the hashes of its wheels."""
    for name, version in packages.items():
        wheel = makeWheel(folder / name, name, version, *(needs or {}).get(name, ()))
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
        link = f'<a href="{wheel.name}#sha256={digest}">{wheel.name}</a>\n'
        (folder / name / "index.html").write_text(f"<!DOCTYPE html>\n<body>\n{link}</body>\n")
    return folder

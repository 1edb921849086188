"""What a developer asks first, as text to be copied. No name of a person or patient is in it."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

import LiverTumorSegLib
import slicer
from LiverTumorSegLib.model.catalog import ModelEntry, damaged_records
from slicer.i18n import tr as _

from LiverTumorSegSlicer.privacy import withoutPersonalPaths

from .installer import packagesFolder
from .packages import Found

Rows = list[tuple[str, str]]


def systemRows() -> Rows:
    """This program, Slicer, the computer. Proxies by name only: their values hold passwords."""
    app = slicer.app
    proxies = sorted({name.upper() for name in os.environ if name.lower().endswith("_proxy")})
    return [
        ("LiverTumorSeg", str(getattr(LiverTumorSegLib, "__version__", _("unknown")))),
        ("Slicer", f"{app.majorVersion}.{app.minorVersion} {app.revision}"),
        ("Python", platform.python_version()),
        (_("System"), f"{platform.platform()}, {os.cpu_count()} CPU"),
        (_("Free for packages"), _freeSpace(packagesFolder())),
        (_("Free for temporary files"), _freeSpace(_temporaryFolder())),
        (_("Proxy settings"), ", ".join(proxies) or _("none")),
    ]


def packageRows(found: dict[str, Found | None]) -> Rows:
    """Versions."""
    rows = [("numpy", str(sys.modules["numpy"].__version__))]
    for name, package in found.items():
        partly = "" if package is None or package.isWhole else " " + _("(in part)")
        rows.append((name, package.version + partly if package else _("missing")))
    return rows


def modelRows(folder: Path, entries: Iterable[ModelEntry]) -> Rows:
    """Names and hashes: two files of one name may differ; and what cannot be listed."""
    rows = [(_("Model folder"), str(folder))]
    rows += [(_("Model"), problem) for problem in damaged_records(folder)]
    for entry in entries:
        rows.append((_("Model"), f"{entry.name} {entry.version} {entry.file.sha256 or ''}"))
    return rows


def asText(rows: Rows) -> str:
    """A line a row."""
    return withoutPersonalPaths("\n".join(f"{name}: {value}" for name, value in rows))


def _temporaryFolder() -> Path:
    folder = Path(slicer.app.temporaryPath)
    return folder if folder.is_dir() else Path(tempfile.gettempdir())


def _freeSpace(folder: Path) -> str:
    return f"{shutil.disk_usage(folder).free / 1e9:.1f} GB"

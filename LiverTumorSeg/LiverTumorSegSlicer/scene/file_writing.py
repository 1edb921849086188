"""Files for the user: never in place of another one unasked, whole or not at all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from LiverTumorSegLib.files import whole_file
from slicer.i18n import tr as _


def refuseExisting(target: Path, overwrite: bool) -> None:
    """``ValueError`` for a file that is there already and may not be replaced."""
    if target.exists() and not overwrite:
        raise ValueError(
            _("{name} is there already; choose another name, or agree to replace it.").format(
                name=target.name
            )
        )


def writeWhole(target: Path, write: Callable[[Path], None]) -> None:
    """Let ``write`` make a file beside the target, under a name that ends alike; then rename it.

    Raises ``ValueError`` with the reason when the folder is not there or the disk refuses.
    """
    if not target.parent.is_dir():  # some of Slicer's writers would make it
        raise ValueError(
            _("{name} could not be written (there is no such folder); choose another one.").format(
                name=target.name
            )
        )
    try:
        with whole_file(target) as part:
            write(part)
    except ValueError as error:
        if not isinstance(error.__cause__, OSError):
            raise
        raise ValueError(
            _("{name} could not be written ({reason}); choose another folder.").format(
                name=target.name, reason=error.__cause__.strerror or error.__cause__
            )
        ) from None


def writeBytesWhole(target: Path, content: bytes) -> None:
    """A file of these bytes, as ``writeWhole`` writes one."""

    def write(part: Path) -> None:
        part.write_bytes(content)

    writeWhole(target, write)

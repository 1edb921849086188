"""Files for the user: never in place of another one unasked, whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

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
    part = target.with_name(f".{uuid4().hex[:8]}-{target.name}")
    try:
        write(part)
        os.replace(part, target)
    except OSError as error:
        raise ValueError(
            _("{name} could not be written ({reason}); choose another folder.").format(
                name=target.name, reason=error.strerror or error
            )
        ) from None
    finally:
        part.unlink(missing_ok=True)

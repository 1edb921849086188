"""A stand-in for the 3D Slicer application, on the real MRML libraries of slicer-core."""

import os
import sys
from pathlib import Path

if "DISPLAY" not in os.environ:
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    # Else VTK looks for an X server first, and complains.
    os.environ.setdefault("VTK_DEFAULT_OPENGL_WINDOW", "vtkEGLRenderWindow")


def _import_slicer() -> None:
    """Imports slicer-core's package and nothing else of that name.

    The package slicer takes in every folder called slicer on sys.path and imports what lies there.
    Our folder of tests has that name (and so may the checkout itself), so those entries of sys.path
    step aside meanwhile.
    """
    everything = list(sys.path)
    sys.path[:] = [entry for entry in everything if not _holds_other_slicer(Path(entry or "."))]
    try:
        import slicer.util  # noqa: F401
    finally:
        sys.path[:] = everything


def _holds_other_slicer(folder: Path) -> bool:
    return (folder / "slicer").is_dir() and not (folder / "slicer" / "__init__.py").exists()


_import_slicer()

"""Loads a scripted module file as the application does, and shows its panel."""

import importlib.util
import sys
from pathlib import Path

import slicer

from .app import boot
from .modules import ScriptedModule


def load_module(path):
    """Imports <Name>.py, makes an instance of class <Name>, fills slicer.modules.

    Returns the Python module. What Slicer needs and would only complain about must be there.
    """
    boot()
    path = Path(path).resolve()
    source = _import(path)
    name = path.stem
    entry = ScriptedModule(name, path=str(path))
    entry.instance = getattr(source, name)(entry)
    empty = [
        n for n in ("title", "categories", "contributors", "helpText") if not getattr(entry, n)
    ]
    if empty:
        raise RuntimeError(f"{name}: parent.{empty[0]} is empty")
    setattr(slicer.modules, name + "Instance", entry.instance)
    slicer.app.moduleManager().add(entry)
    for other in entry.dependencies:
        if not hasattr(slicer.modules, other.lower()):
            raise RuntimeError(f"{name} depends on {other}, which the stand-in does not have")
    return source


def _import(path):
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    source = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = source
    spec.loader.exec_module(source)
    for suffix in ("", "Widget", "Logic", "Test"):
        if not hasattr(source, path.stem + suffix):
            raise RuntimeError(f"{path.name} has no class {path.stem + suffix}")
    return source


def main_window(view_size=(400, 300)):
    """The main window with its four views of so many pixels, made when it is first asked for."""
    from .main_window import MainWindow
    from .views import LayoutManager

    app = boot()
    if app.mainWindow() is None:
        app.__dict__["_layout"] = LayoutManager(view_size)
        app.__dict__["_window"] = MainWindow()
    return app.mainWindow()


def open_window(name):
    """Selects the module in the main window. Returns (window, module widget)."""
    window = main_window()
    window.show()
    slicer.util.selectModule(name)
    slicer.app.processEvents()
    return window, getattr(slicer.modules, name + "Widget")

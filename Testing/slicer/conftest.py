"""Runs the tests of this folder in a stand-in for the Slicer application, on real MRML.

Where slicer-core and PySide6 have no wheel (outside Linux) every file of this folder is skipped
with that reason. Each test runs inside a Qt event loop, as all module code does in Slicer.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

HERE = Path(__file__).resolve().parent
TESTING = HERE.parent
MODULE_FOLDER = TESTING.parent / "LiverTumorSeg"
NEEDED = ("slicer_core", "PySide6", "shiboken6")
MISSING = [name for name in NEEDED if importlib.util.find_spec(name) is None]
EXIT_STATUS = pytest.StashKey[int]()

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
sys.path[:0] = [str(p) for p in (TESTING, MODULE_FOLDER) if str(p) not in sys.path]

if not MISSING:
    # Before any test file is imported, because they import slicer, qt and ctk at the top.
    from slicersim.app import boot

    boot()


class SkippedFile(pytest.File):
    """A test file that cannot be imported here."""

    def collect(self) -> list[pytest.Item]:
        reason = f"needs {', '.join(MISSING)}: pip install '.[test]' on Linux"
        pytest.skip(reason, allow_module_level=True)


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> Any:
    """Stands in for the file's own tests where Slicer's libraries are missing."""
    return SkippedFile.from_parent(parent, path=module_path) if MISSING else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """One worker for all of this folder, since Qt objects do not survive others; and timeouts by a
    thread: a signal waits until Qt's event loop returns to Python."""
    for item in items:
        if HERE not in item.path.parents:
            continue
        item.add_marker(pytest.mark.xdist_group("slicer"))
        if not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(method="thread"))


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool:
    """Runs the test body inside a Qt event loop."""
    from slicersim.loop import in_event_loop

    names = pyfuncitem._fixtureinfo.argnames
    in_event_loop(pyfuncitem.obj, **{name: pyfuncitem.funcargs[name] for name in names})
    return True


@pytest.fixture
def scene() -> Iterator[Any]:
    """The empty scene; fails when a slot or an observer raised, or when Qt warned."""
    import slicer
    from slicersim import pythonqt

    slicer.mrmlScene.Clear(False)
    slicer.app.processEvents()
    pythonqt.callback_errors.clear()
    pythonqt.qt_warnings.clear()
    yield slicer.mrmlScene
    slicer.app.processEvents()
    assert not pythonqt.callback_errors, "a slot or an observer raised"
    assert not pythonqt.qt_warnings, "Qt warned"


@pytest.fixture(scope="session")
def module_source() -> ModuleType:
    """LiverTumorSeg.py, imported and registered as Slicer does at its start."""
    from slicersim.load import load_module

    return load_module(MODULE_FOLDER / "LiverTumorSeg.py")


@pytest.fixture
def module(module_source: ModuleType, scene: Any) -> ModuleType:
    """LiverTumorSeg.py with an empty scene."""
    return module_source


@pytest.fixture
def main_window(scene: Any) -> Any:
    """The main window with its four views, shown (off screen by default)."""
    from slicersim.load import main_window

    window = main_window()
    window.show()
    window.activateWindow()  # a dialog of an earlier test may have been the last; keys go there
    return window


@pytest.fixture
def desk(
    module: ModuleType, main_window: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Any]:
    """The open panel: packages there, one imported model, none shipped, an empty scene."""
    from panel_desk import PanelDesk

    (tmp_path / "models.json").write_text('{"models": []}')
    monkeypatch.setattr("LiverTumorSegLib.model.catalog.CATALOG_FILE", tmp_path / "models.json")

    desk = PanelDesk(module, tmp_path, monkeypatch, main_window)
    desk.open()
    yield desk
    desk.close()


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Keeps the status for the exit below."""
    session.config.stash[EXIT_STATUS] = int(exitstatus)


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """Ends the process, once everything is reported, before Qt and VTK are torn down."""
    if not MISSING and EXIT_STATUS in config.stash:
        from slicersim.app import leave

        leave(config.stash[EXIT_STATUS])

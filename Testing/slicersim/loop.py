"""Runs Qt's event loop as Slicer does: the main thread keeps the GIL while it waits for events.

Neither PythonQt nor Slicer lets other threads run meanwhile, so a Python thread gets on only when
the main thread runs Python, and waits again after each of its own system calls. PySide6 would let
it run freely. Here the loop is Qt's own, called without giving the GIL back.

Module code always runs inside an event loop. It matters: slicer.util calls deleteLater() on a
dialog before exec_(), which without an outer loop would delete the dialog before anyone sees it.
"""

import ctypes
import functools
import time
from pathlib import Path

import PySide6
import shiboken6
from PySide6 import QtCore, QtWidgets

# Now and then all threads run for a moment, or pytest could not end a test that hangs.
BREATH_EVERY_MS, BREATH_SECONDS = 10_000, 0.2


@functools.cache
def _library(name):
    folder = Path(PySide6.__file__).parent / "Qt" / "lib"
    return ctypes.PyDLL(str(folder / f"lib{name}.so.6"))


def call(library, symbol, *arguments):
    """Call a function of Qt's (its C++ symbol) without giving the GIL back."""
    return _library(library)[symbol](*map(_as_c, arguments))


def _as_c(argument):
    """An object's address, or a number."""
    if isinstance(argument, QtCore.QObject):
        return ctypes.c_void_p(shiboken6.getCppPointer(argument)[0])
    return ctypes.c_int(getattr(argument, "value", argument))


def keeping_the_gil(thing, name):
    """``exec`` or ``processEvents`` of a Qt object, without giving the GIL back; None of others."""
    if name == "processEvents":
        return _process_events if isinstance(thing, QtCore.QCoreApplication) else None
    if isinstance(thing, QtCore.QEventLoop):
        return lambda flags=0: _run_loop(thing, flags)
    if isinstance(thing, QtWidgets.QDialog):
        return lambda: call("Qt6Widgets", "_ZN7QDialog4execEv", thing)
    return None


def _run_loop(loop, flags=0):
    return call("Qt6Core", "_ZN10QEventLoop4execE6QFlagsINS_17ProcessEventsFlagEE", loop, flags)


def _process_events(flags=0, milliseconds=None):
    symbol = "_ZN16QCoreApplication13processEventsE6QFlagsIN10QEventLoop17ProcessEventsFlagEE"
    if milliseconds is None:
        call("Qt6Core", symbol, flags)
    else:
        call("Qt6Core", symbol + "i", flags, milliseconds)


def in_event_loop(function, *args, **kwargs):
    """What the function returns, or raises."""
    outcome = []
    loop, start, breath = QtCore.QEventLoop(), QtCore.QTimer(), QtCore.QTimer()

    def run():
        try:
            outcome.append((True, function(*args, **kwargs)))
        except BaseException as error:
            outcome.append((False, error))
        loop.quit()

    start.connect("timeout()", run)
    start.setSingleShot(True)
    start.start(0)
    breath.connect("timeout()", lambda: time.sleep(BREATH_SECONDS))
    breath.start(BREATH_EVERY_MS)
    _run_loop(loop)
    breath.stop()
    succeeded, value = outcome[0]
    if succeeded:
        return value
    raise value

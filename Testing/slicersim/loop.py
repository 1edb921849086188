"""Runs a function inside a Qt event loop, as all module code runs in Slicer.

It matters: slicer.util calls deleteLater() on a dialog before exec_(), which without an outer loop
would delete the dialog before anyone sees it.
"""

from PySide6 import QtCore

from .pythonqt import native


def in_event_loop(function, *args, **kwargs):
    """What the function returns, or raises."""
    outcome = []
    loop = QtCore.QEventLoop()

    def run():
        try:
            outcome.append((True, function(*args, **kwargs)))
        except BaseException as error:
            outcome.append((False, error))
        loop.quit()

    QtCore.QTimer.singleShot(0, run)
    native(loop, "exec")()
    succeeded, value = outcome[0]
    if succeeded:
        return value
    raise value

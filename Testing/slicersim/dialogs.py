"""Answers modal dialogs as a person would, so that a test neither hangs nor skips them."""

import contextlib

import slicer
from PySide6 import QtCore, QtWidgets

from .pythonqt import native

LOOK_EVERY_MS = 20


class _Answers:
    """Clicks one button after the other; the last one again for further dialogs."""

    def __init__(self, buttons):
        self.buttons, self.shown, self.wrong = list(buttons), [], []

    def look(self):
        box = QtWidgets.QApplication.activeModalWidget()
        if box is None or not box.findChildren(QtWidgets.QAbstractButton):
            return  # a window without buttons shows progress, and goes by itself
        labels = [native(w, "text")() for w in box.findChildren(QtWidgets.QLabel)]
        self.shown.append("\n".join(text for text in labels if text))
        button = self.buttons.pop(0) if len(self.buttons) > 1 else self.buttons[0]
        names = {_plain(b): b for b in box.findChildren(QtWidgets.QAbstractButton)}
        if button in names:
            names[button].click()
        else:
            self.wrong.append(f"no button {button!r}; the dialog has {sorted(names)}")
            box.reject()


def _plain(button):
    return native(button, "text")().replace("&", "")


@contextlib.contextmanager
def answering(*buttons):
    """Within the block, clicks the named button of each modal dialog that opens ("OK" by default).

    Several names are for several dialogs, in turn. Yields the list of texts shown. A dialog without
    that button is closed and the block fails, as it does when no dialog was shown.
    """
    answers = _Answers(buttons or ("OK",))
    timer = QtCore.QTimer()
    native(timer, "timeout").connect(answers.look)
    timer.start(LOOK_EVERY_MS)
    app = slicer.app.__dict__
    testing, app["_testing"] = app["_testing"], False  # else slicer.util answers by itself
    try:
        yield answers.shown
    finally:
        app["_testing"] = testing
        timer.stop()
    assert not answers.wrong, "; ".join(answers.wrong)
    assert answers.shown, "no dialog was shown"

"""Short ways to give a stand-in widget its Qt properties."""

from PySide6 import QtWidgets
from PySide6.QtCore import Property


def stored(kind, name, default=None, changed=None):
    """A Qt property kept in self._<name>; ``changed(self)`` is called when its value changes."""

    def read(self):
        return self.__dict__.get("_" + name, default)

    def write(self, value):
        if read(self) != value:
            self.__dict__["_" + name] = value
            if changed:
                changed(self)

    return Property(kind, read, write)


def passed_on(kind, child, name):
    """A Qt property that is the one of the same name of the widget in self.<child>."""

    def read(self):
        return getattr(getattr(self, child), name)

    def write(self, value):
        setattr(getattr(self, child), name, value)

    return Property(kind, read, write)


def row_layout(widget, *children):
    """Puts the children side by side into the widget, without margins; the first one stretches."""
    row = QtWidgets.QHBoxLayout(widget)
    row.setContentsMargins(0, 0, 0, 0)
    for number, child in enumerate(children):
        row.addWidget(child, 0 if number else 1)

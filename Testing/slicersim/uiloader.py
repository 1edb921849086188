"""Reads .ui files as Slicer does, and refuses what Slicer would not know."""

import functools
from typing import ClassVar
from xml.etree import ElementTree

from PySide6 import QtCore, QtUiTools, QtWidgets

from .pythonqt import native, ui_loading
from .signals import opaque

_keep_alive = []  # PySide6 would collect the Python half of a widget that only C++ holds


@functools.cache
def _property_names(cls):
    """Asked early, and once: PySide6 loses a class's meta object with a later instance of it."""
    meta = cls.staticMetaObject
    return {meta.property(number).name() for number in range(meta.propertyCount())}


def standin(cls):
    """Registers a class as the stand-in for the C++ widget of the same name.

    Unknown attributes then are an error, as they are in Slicer.
    """
    cls._cpp_standin = True
    UiLoader.registry[cls.__name__] = cls
    _property_names(cls)
    return cls


class UiLoader(QtUiTools.QUiLoader):
    """QUiLoader that knows the stand-ins; every class and every property must exist."""

    registry: ClassVar[dict] = {}

    def load(self, device, parent=None):
        """The root widget of an open .ui file."""
        text = bytes(device.readAll()).decode()
        self._check(ElementTree.fromstring(text))
        buffer = QtCore.QBuffer()
        buffer.setData(opaque(text).encode())
        buffer.open(QtCore.QIODevice.OpenModeFlag.ReadOnly)
        ui_loading.now = True
        try:
            return super().load(buffer, parent)
        finally:
            ui_loading.now = False

    def createWidget(self, class_name, parent=None, name=""):
        """Called by Qt for each widget of the file."""
        cls = self.registry.get(class_name)
        if cls is None:
            return super().createWidget(class_name, parent, name)
        widget = cls(parent)
        native(widget, "setObjectName")(name)
        _keep_alive.append(widget)
        return widget

    def _check(self, root):
        names, wrong = set(), []
        for widget in root.iter("widget"):
            if widget.get("name") in names:
                wrong.append(f"two widgets are called {widget.get('name')}")
            names.add(widget.get("name"))
            wrong += self._unknown_properties(widget)
        if wrong:
            raise RuntimeError(".ui file: " + "; ".join(wrong))

    def _unknown_properties(self, widget):
        """stdset="0" marks a dynamic property, which any class takes."""
        name = widget.get("class")
        cls = self.registry.get(name) or getattr(QtWidgets, name, None)
        if cls is None:
            raise RuntimeError(f"widget class {name} has no stand-in")
        known = _property_names(cls)
        asked = [p.get("name") for p in widget.findall("property") if p.get("stdset") != "0"]
        return [f"{name} {widget.get('name')} has no property {p}" for p in asked if p not in known]


for _name in dir(QtWidgets):
    _cls = getattr(QtWidgets, _name)
    if isinstance(_cls, type) and issubclass(_cls, QtWidgets.QWidget):
        _property_names(_cls)

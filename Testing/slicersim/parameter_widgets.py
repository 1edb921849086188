"""Which widgets connectGui can link with a parameter, and how."""

import enum
import pathlib

from PySide6 import QtWidgets as Qt

from .ctk_widgets import ctkPathLineEdit, ctkSliderWidget
from .node_combo_box import qMRMLNodeComboBox
from .pythonqt import read_property

NUMBER_WIDGETS = (Qt.QSpinBox, Qt.QDoubleSpinBox, Qt.QSlider, ctkSliderWidget)


def access(widget, parameter):
    """(read, write, signal signature) of a widget for a parameter; RuntimeError if none fits."""
    kind, widget_type = parameter.type, type(widget)  # Slicer compares types, a subclass is none
    is_enum = isinstance(kind, type) and issubclass(kind, enum.Enum)
    if parameter.is_node and widget_type is qMRMLNodeComboBox:
        widget.nodeTypes = [kind.__name__]  # Slicer's connector overrides the .ui file here
        return widget.currentNode, widget.setCurrentNode, "currentNodeChanged(vtkMRMLNode*)"
    if kind is bool and widget_type in (Qt.QCheckBox, Qt.QPushButton):
        return *_attribute(widget, "checked", bool), "toggled(bool)"
    if kind in (int, float) and widget_type in NUMBER_WIDGETS:
        return _number_access(widget, parameter)
    if widget_type is Qt.QComboBox and kind is str:
        return _choice_access(widget, parameter)
    if widget_type is Qt.QComboBox and is_enum:
        return _enum_access(widget, list(kind))
    if widget_type is Qt.QLineEdit and kind is str:
        return *_attribute(widget, "text", str), "textChanged(QString)"
    if widget_type is ctkPathLineEdit and kind in (str, pathlib.Path):
        return *_attribute(widget, "currentPath", kind), "currentPathChanged(QString)"
    name = type(widget).__name__
    raise RuntimeError(
        f"no connector between {name} and parameter {parameter.name}: {kind.__name__}"
    )


def _attribute(widget, name, convert):
    def write(value):
        setattr(widget, name, str(value) if isinstance(value, pathlib.Path) else value)

    return (lambda: convert(read_property(widget, name))), write


def _number_access(widget, parameter):
    integer = isinstance(widget, Qt.QSpinBox | Qt.QSlider)
    if integer != (parameter.type is int):
        kind, name = parameter.type.__name__, type(widget).__name__
        raise RuntimeError(f"{parameter.name}: {kind} does not go with {name}")
    limits = {
        end: getattr(note, end)
        for note in parameter.notes
        for end in ("minimum", "maximum")
        if hasattr(note, end)
    }
    if isinstance(widget, ctkSliderWidget) and len(limits) < 2:
        raise RuntimeError(f"{parameter.name}: Slicer refuses a slider for an unbounded number")
    for end, value in limits.items():
        setattr(widget, end, value)
    signal = f"valueChanged({'int' if integer else 'double'})"
    return *_attribute(widget, "value", parameter.type), signal


def _choice_access(widget, parameter):
    choices = next((note.choices for note in parameter.notes if hasattr(note, "choices")), None)
    if choices is None:
        raise RuntimeError(f"{parameter.name}: Slicer wants Choice for a QComboBox")
    widget.clear()
    for choice in choices:
        widget.addItem(choice)

    def write(value):
        widget.currentIndex = choices.index(value)

    return (lambda: choices[widget.currentIndex]), write, "currentIndexChanged(int)"


def _enum_access(widget, members):
    widget.clear()
    for member in members:
        widget.addItem(member.value if isinstance(member.value, str) else member.name)

    def write(value):
        widget.currentIndex = members.index(value)

    return (lambda: members[widget.currentIndex]), write, "currentIndexChanged(int)"

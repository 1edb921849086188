"""slicer.parameterNodeWrapper for the types that this project's module uses.

bool, int, float, str, pathlib.Path, enum.Enum and MRML node classes, with Default, WithinRange,
Choice, Minimum, Maximum; and connectGui for the usual widgets (parameter_widgets.py).
"""

import enum
import pathlib
import sys
import types
import typing
import weakref
from dataclasses import dataclass

import slicer
import vtk
from PySide6 import QtWidgets

from .parameter_widgets import access
from .pythonqt import read_property

PLAIN = (bool, int, float, str, pathlib.Path)


@dataclass
class WithinRange:
    minimum: float
    maximum: float

    def check(self, value):
        if not self.minimum <= value <= self.maximum:
            raise ValueError(f"{value} is not in range [{self.minimum}, {self.maximum}]")


@dataclass
class Minimum:
    minimum: float

    def check(self, value):
        if value < self.minimum:
            raise ValueError(f"{value} is below {self.minimum}")


@dataclass
class Maximum:
    maximum: float

    def check(self, value):
        if value > self.maximum:
            raise ValueError(f"{value} is above {self.maximum}")


@dataclass
class Choice:
    choices: list

    def check(self, value):
        if value not in self.choices:
            raise ValueError(f"{value} is not one of {self.choices}")


@dataclass
class Default:
    value: object


class Parameter:
    """One annotated name of a wrapped class, and how it is kept in the node."""

    def __init__(self, name, hint, default):
        self.name = name
        annotated = typing.get_origin(hint) is typing.Annotated
        self.type, *notes = typing.get_args(hint) if annotated else (hint,)
        kinds = [kind for kind in typing.get_args(self.type) if kind is not type(None)]
        self.type = kinds[0] if kinds else self.type
        self.is_node = isinstance(self.type, type) and issubclass(self.type, slicer.vtkMRMLNode)
        self.is_enum = isinstance(self.type, type) and issubclass(self.type, enum.Enum)
        if not (self.is_node or self.is_enum or self.type in PLAIN):
            raise TypeError(f"parameter {name}: the stand-in has no serializer for {self.type}")
        self.notes = [note for note in notes if hasattr(note, "check")]
        noted = [note.value for note in notes if isinstance(note, Default)]
        self.default = self._default(default, noted)

    def _default(self, given, noted):
        if given is not None or self.is_node:
            return given
        if noted:
            return noted[0]
        choices = [note.choices[0] for note in self.notes if isinstance(note, Choice)]
        if choices:
            return choices[0]
        return next(iter(self.type)) if self.is_enum else self.type()

    def write(self, node, value):
        if self.type is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if not isinstance(value, self.type) and not (self.is_node and value is None):
            given = type(value).__name__
            raise TypeError(f"{self.name}: expected {self.type.__name__}, got {given}")
        if self.is_node:
            node.SetParameter(self.name, "")  # by it Slicer knows that None was chosen
            node.SetNodeReferenceID(self.name, value.GetID() if value is not None else None)
            return
        for note in self.notes:
            note.check(value)
        node.SetParameter(self.name, value.name if self.is_enum else str(value))

    def read(self, node):
        if not self.present(node):  # closing the scene empties the node
            self.write(node, self.default)
        if self.is_node:
            return node.GetNodeReference(self.name)
        text = node.GetParameter(self.name)
        if self.type is bool:
            return text == "True"
        return self.type[text] if self.is_enum else self.type(text)

    def present(self, node):
        return self.name in (node.GetParameterNames() or ())


class _Cached:
    """A parameter's value as it was when the node was last modified.

    So a node that has left the scene is still given until something else modifies the node.
    """

    def __init__(self, parameter, node):
        self.parameter, self.node = parameter, node
        self.value, self._writing = parameter.read(node), False
        self_ref = weakref.ref(self)
        event = vtk.vtkCommand.ModifiedEvent
        self._tag = node.AddObserver(event, lambda *_: self_ref()._read_again())

    def __del__(self):
        self.node.RemoveObserver(self._tag)

    def _read_again(self):
        if not self._writing:
            self.value = self.parameter.read(self.node)

    def write(self, value):
        self._writing = True
        try:
            with slicer.util.NodeModify(self.node):
                self.parameter.write(self.node, value)
                self.value = self.parameter.read(self.node)
        finally:
            self._writing = False


class _Link:
    """One widget and the parameter it shows."""

    def __init__(self, owner, parameter, widget):
        self.owner, self.parameter, self.widget = owner, parameter, widget
        self.read, self.write, self.signal = access(widget, parameter)
        self.to_widget()
        widget.connect(self.signal, self.to_node)

    def to_widget(self):
        self.write(getattr(self.owner, self.parameter.name))

    def to_node(self):
        if not self.owner._busy:
            setattr(self.owner, self.parameter.name, self.read())


class _Wrapper:
    """The methods that a wrapped class is given."""

    def __init__(self, parameterNode, prefix=None):
        self.__dict__.update(parameterNode=parameterNode, _guis={}, _busy=False, _cached={})
        for parameter in self._parameters.values():
            if not parameter.present(parameterNode):
                parameter.write(parameterNode, parameter.default)
            self._cached[parameter.name] = _Cached(parameter, parameterNode)

    def connectGui(self, gui):
        """Links all widgets with a property SlicerParameterName; the tag to undo it."""
        is_widget = isinstance(gui, QtWidgets.QWidget)
        children = gui.findChildren(QtWidgets.QWidget) if is_widget else vars(gui).values()
        widgets = (c for c in children if isinstance(c, QtWidgets.QWidget))
        named = ((read_property(widget, "SlicerParameterName"), widget) for widget in widgets)
        return self.connectParametersToGui({name: widget for name, widget in named if name})

    def connectParametersToGui(self, mapping):
        """Links each named parameter with its widget; the tag to undo it."""
        if unknown := sorted(mapping.keys() - self._parameters.keys()):
            known = sorted(self._parameters)
            raise ValueError(f"the .ui file names a parameter {unknown[0]!r}; there are {known}")
        links = [_Link(self, self._parameters[name], w) for name, w in mapping.items()]

        def update(*_):
            if not self._busy:
                self.__dict__["_busy"] = True
                try:
                    for link in links:
                        link.to_widget()
                finally:
                    self.__dict__["_busy"] = False

        tag = len(self._guis) + 1
        observer = self.parameterNode.AddObserver(vtk.vtkCommand.ModifiedEvent, update)
        self._guis[tag] = links, observer
        return tag

    def disconnectGui(self, tag):
        links, observer = self._guis.pop(tag, ((), None))
        for link in links:
            link.widget.disconnect(link.signal, link.to_node)
        if observer is not None:
            self.parameterNode.RemoveObserver(observer)

    def default(self, name):
        return types.SimpleNamespace(value=self._parameters[name].default)

    def isDefault(self, name):
        return getattr(self, name) == self._parameters[name].default


def parameterNodeWrapper(cls=None):
    """Class decorator: annotated names become properties kept in a vtkMRMLScriptedModuleNode."""
    if cls is None:
        return parameterNodeWrapper
    hints = typing.get_type_hints(cls, include_extras=True)
    parameters = {n: Parameter(n, hint, cls.__dict__.get(n)) for n, hint in hints.items()}
    for name, member in vars(_Wrapper).items():
        if isinstance(member, types.FunctionType):
            setattr(cls, name, member)
    cls._parameters = parameters
    for parameter in parameters.values():
        setattr(cls, parameter.name, _property(parameter))
    for name in ("AddObserver", "RemoveObserver", "StartModify", "EndModify", "Modified"):
        setattr(cls, name, _passed_to_node(name))
    return cls


def _property(parameter):
    return property(
        lambda self: self._cached[parameter.name].value,
        lambda self, value: self._cached[parameter.name].write(value),
    )


def _passed_to_node(name):
    return lambda self, *arguments: getattr(self.parameterNode, name)(*arguments)


def register():
    """Makes slicer.parameterNodeWrapper importable."""
    module = types.ModuleType("slicer.parameterNodeWrapper")
    for item in (parameterNodeWrapper, WithinRange, Minimum, Maximum, Choice, Default):
        setattr(module, item.__name__, item)
    slicer.parameterNodeWrapper = sys.modules[module.__name__] = module

"""Makes PySide6 look like PythonQt, the Qt binding inside 3D Slicer.

PythonQt differs from PySide6 in ways that matter for a scripted module:

* a Qt property is an attribute, never a getter: ``button.text``, ``spin.value = 3``;
* ``obj.connect("clicked(bool)", f)``, and f gets only as many arguments as it takes;
* an unknown attribute cannot be set on a C++ object (PySide6 would silently make a Python
  attribute, so that a typo such as ``button.enabld = False`` passes);
* ``objectName`` is also called ``name``; a named child is an attribute of its parent;
* the GIL is kept while Qt's event loop runs (loop.py);
* official Slicer packages have Qt 5.15: what came with Qt 6 is unknown here too (qt6_names.json).

``install()`` patches the attribute access of QObject for the whole process, so that objects made
by C++ (``menu.addAction()``, header views, ...) behave the same way.
"""

import functools
import json
import math
import sys
import types
from pathlib import Path

import shiboken6
from PySide6 import QtCore, QtGui, QtNetwork, QtTest, QtUiTools, QtWidgets, QtXml

QObject = QtCore.QObject

callback_errors = []  # exceptions that escaped from slots and from VTK observers
qt_warnings = []  # e.g. a <connection> of a .ui file that names no such slot
kept_timers = []  # of qt.QTimer.singleShot
WRONG_IN_FILE_NAMES = set('<>:"/\\|?*')
ui_loading = types.SimpleNamespace(now=False)  # whether a .ui file is being read (uiloader.py)

_own_getters = {}  # class -> the attribute lookup PySide6 gave it (special for QFile.exists, ...)
_object_getter = QObject.__getattribute__
_object_setter = QObject.__mro__[1].__setattr__  # QObject's own slot is refused once patched
read_property, write_dynamic = QObject.property, QObject.setProperty
meta_object = QObject.metaObject
# Readers of these properties are virtual in C++: Shiboken looks the override up by attribute, so
# answering with a value here would recurse for ever.
_VIRTUAL_READERS = {"sizeHint", "minimumSizeHint"}
# Properties that PythonQt leaves out: the name is a slot's too, and stays the slot's.
NO_PROPERTIES = {"QTimer": {"singleShot"}}
# {class: members that it has had since Qt 6}, from the stubs of PySide2 5.15 against PySide6.
_QT6_NAMES = json.loads(Path(__file__).with_name("qt6_names.json").read_text())
_meta_properties = {}  # class -> {name: QMetaProperty}


def native(obj, name):
    """PySide6's own attribute access: ``native(button, "text")()`` calls the getter."""
    for cls in type(obj).__mro__:
        if cls in _own_getters:
            return _own_getters[cls](obj, name)
    return _object_getter(obj, name)


def _meta_property(obj, name):
    """The QMetaProperty of that name, or None; cached per Python class."""
    if name.startswith("_") or name in _VIRTUAL_READERS:
        return None
    table = _meta_properties.get(type(obj))
    if table is None:
        table = _meta_properties[type(obj)] = _all_properties(obj)
    return table.get("objectName" if name == "name" else name)


def _all_properties(obj):
    meta = meta_object(obj)
    unknown = unknown_names(type(obj))
    table = {p.name(): p for p in map(meta.property, range(meta.propertyCount()))}
    table = {name: p for name, p in table.items() if name not in unknown}
    if isinstance(obj, QtWidgets.QProgressBar):
        del table["text"]  # a virtual reader too
    if isinstance(obj, QtWidgets.QLayout):
        table.pop("spacing", None)  # and this one, since Qt 6
    return table


@functools.cache
def unknown_names(cls):
    """Members that Slicer's own binding does not show on objects of that class, as attributes."""
    names = set()
    for ancestor in cls.__mro__:
        names.update(NO_PROPERTIES.get(ancestor.__name__, ()))
        names.update(_QT6_NAMES.get(ancestor.__name__, ()))
    return names


def _refuse_qt6_name(obj, name):
    for cls in type(obj).__mro__:
        if cls.__module__.startswith("PySide6") and name in _QT6_NAMES.get(cls.__name__, ()):
            raise AttributeError(f"{cls.__name__}.{name} came with Qt 6; Slicer has Qt 5.15")


def _is_cpp_object(obj):
    """True for plain PySide6 instances and for the stand-ins of C++ widgets."""
    cls = type(obj)
    return cls.__module__.startswith("PySide6") or cls.__dict__.get("_cpp_standin", False)


def _getattribute(self, name):
    if name in ("connect", "disconnect"):
        from . import signals

        return types.MethodType(getattr(signals, name), self)
    if name in ("exec_", "exec", "processEvents"):
        from . import loop

        if runs_events := loop.keeping_the_gil(self, name.rstrip("_")):
            return runs_events
        name = name.rstrip("_")
    if name == "deleteLater" and shiboken6.ownedByPython(self):
        return lambda: _delete_later(self)
    _refuse_qt6_name(self, name)
    prop = _meta_property(self, name)
    if prop is not None:
        value = read_property(self, prop.name())
        return tuple(value) if isinstance(value, list) else value  # PythonQt gives tuples
    try:
        return native(self, name)
    except AttributeError:
        if name.startswith("_"):
            raise
        found, value = _pythonqt_extra(self, name)
        if found:
            return value
        raise


def _delete_later(obj):
    """An object without parent stays Python's: its last reference deletes it, at once.

    PySide6's own deleteLater() would let it live until then.
    """
    from . import loop

    loop.call("Qt6Core", "_ZN7QObject11deleteLaterEv", obj)


def _pythonqt_extra(obj, name):
    """What PythonQt offers beyond Qt's own members: (found, value)."""
    if name == "className":
        return True, lambda: meta_object(obj).className()
    if name == "delete":
        return True, lambda: shiboken6.delete(obj)
    value = read_property(obj, name)  # a dynamic property
    if value is not None:
        return True, value
    for child in native(obj, "children")():
        if native(child, "objectName")() == name:
            return True, child
    return False, None


def _converted(prop, value):
    """PythonQt's lenient conversions: truth for bool, str() for QString, floor for int."""
    kind = prop.typeName()
    if kind == "bool":
        return bool(value)
    if kind == "QString" and value is not None:
        return str(value)
    if kind in ("int", "uint") and isinstance(value, float):
        return math.floor(value)
    return list(value) if isinstance(value, tuple) else value


def _setattr(self, name, value):
    prop = _meta_property(self, name)
    if prop is not None:
        _write_property(self, prop, name, value)
    elif ui_loading.now and not name.startswith("_"):
        pass  # PySide6's loader hangs the children on the root; PythonQt finds them by name
    elif _is_refused(self, name, value):
        if name.encode() not in [bytes(n) for n in self.dynamicPropertyNames()]:
            if hasattr(self, name):
                raise AttributeError(
                    f"Slot '{name}' can not be overwritten on {type(self).__name__} object"
                )
            raise AttributeError(
                f"'{name}' does not exist on {type(self).__name__} "
                "and creating new attributes on C++ objects is not allowed"
            )
        write_dynamic(self, name, value)
    else:
        _object_setter(self, name, value)


def _is_refused(obj, name, value):
    private = name.startswith("_") or isinstance(value, QtCore.SignalInstance)
    return not private and _is_cpp_object(obj)


def _write_property(obj, prop, name, value):
    if not prop.isWritable():
        raise AttributeError(f"Property '{name}' of {type(obj).__name__} object is not writable")
    if not prop.write(obj, _converted(prop, value)):
        raise AttributeError(
            f"Property '{name}' of type '{prop.typeName()}' does not accept "
            f"an object of type {type(value).__name__} ({value!r})"
        )


def _record_qt_message(kind, context, message):
    if kind != QtCore.QtMsgType.QtDebugMsg and "propagateSizeHints" not in message:
        qt_warnings.append(message)
        print("Qt:", message, file=sys.stderr)


def _record_errors():
    """Qt and VTK print what a callback raises and go on; keep it, so that a test can fail."""
    print_error = sys.excepthook

    def hook(kind, error, traceback):
        callback_errors.append(error)
        print_error(kind, error, traceback)

    sys.excepthook = hook


def make_qt_module():
    """The module ``qt``: PySide6's classes, looked up when asked for (PySide6 makes them late)."""
    from .uiloader import UiLoader

    qt = types.ModuleType("qt", "PySide6 under the name and habits of Slicer's qt module")

    def find(name):
        for lib in (QtCore, QtGui, QtWidgets, QtNetwork, QtXml):
            if not name.startswith("__") and hasattr(lib, name):
                return getattr(lib, name)
        raise AttributeError(f"module 'qt' has no attribute '{name}'")

    qt.__getattr__ = find
    qt.QUiLoader = UiLoader
    qt.QTest = QtTest.QTest
    return qt


def install():
    """Patches QObject and registers the module qt. Safe to call twice."""
    if "qt" in sys.modules:
        return sys.modules["qt"]
    for lib in (QtCore, QtGui, QtWidgets, QtNetwork, QtTest, QtUiTools):
        for cls in (getattr(lib, name) for name in dir(lib)):
            if isinstance(cls, type) and issubclass(cls, QObject):
                _patch(cls)
    QObject.__getattribute__ = _getattribute
    QtCore.QTimer.singleShot = staticmethod(_single_shot)
    _refuse_file_names()
    QtCore.qInstallMessageHandler(_record_qt_message)
    _record_errors()
    sys.modules["qt"] = make_qt_module()
    return sys.modules["qt"]


def _single_shot(milliseconds, receiver, member=None):
    """Slicer's own (slicerqt.py): the timer, and so the receiver, lives until Slicer ends."""
    import slicer

    timer = QtCore.QTimer(slicer.app.moduleManager())
    native(timer, "setSingleShot")(True)
    timer.connect("timeout()", receiver, member)
    timer.start(milliseconds)
    kept_timers.append(timer)


def _refuse_file_names():
    """On Windows a file dialog does not take such a name (":" begins a stream of NTFS)."""
    select = QtWidgets.QFileDialog.selectFile

    def select_file(dialog, name):
        if wrong := sorted(WRONG_IN_FILE_NAMES & set(Path(name).name)):
            raise ValueError(f"{name!r}: Windows has no file names with {' '.join(wrong)}")
        select(dialog, name)

    QtWidgets.QFileDialog.selectFile = select_file


def _patch(cls):
    """PySide6 gives every class its own __setattr__, and some their own __getattribute__."""
    if "__getattribute__" in vars(cls):
        _own_getters[cls] = cls.__getattribute__
        cls.__getattribute__ = _getattribute
    if "__setattr__" in vars(cls):
        cls.__setattr__ = _setattr

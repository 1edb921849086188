"""PythonQt's ``sender.connect("signal(types)", receiver)`` and ``disconnect``, on PySide6."""

import difflib
import re
import sys
import types
import weakref

import shiboken6
from PySide6 import QtCore

from .pythonqt import QObject, callback_errors, meta_object, native, unknown_names

_connections = {}  # C++ address of the sender -> [(signature, receiver, wrapper)]


def opaque(signature):
    """The signature with pointers to VTK, CTK and MRML objects as PyObject, as they travel here."""
    return re.sub(r"(?:const )?\b(?:vtk|qMRML|qSlicer|ctk)\w+ ?\*", "PyObject", signature)


def _signal(obj, signature):
    """(bound signal, normalized signature) for "name(type,type)"."""
    text = re.sub(r"^2", "", signature.strip())
    match = re.fullmatch(r"(\w+)\((.*)\)", text)
    if not match:
        raise ValueError(f"Not a signal signature: {signature!r} (PythonQt needs 'name(types)')")
    wanted = QtCore.QMetaObject.normalizedSignature(opaque(text)).data().decode()
    known = _signal_signatures(obj)
    if wanted not in known:
        close = difflib.get_close_matches(wanted, known, 3) or known
        name = meta_object(obj).className()
        raise ValueError(f"signal '{signature}' does not exist on {name}; did you mean {close}?")
    name, arguments = match[1], wanted[len(match[1]) + 1 : -1]
    bound = native(obj, name)
    overloads = [s for s in known if s.startswith(name + "(")]
    return (bound[arguments] if arguments and len(overloads) > 1 else bound), wanted


def _signal_signatures(obj):
    meta = meta_object(obj)
    methods = (meta.method(i) for i in range(meta.methodCount()))
    kind = QtCore.QMetaMethod.Signal
    signatures = [m.methodSignature().data().decode() for m in methods if m.methodType() == kind]
    return [s for s in signatures if s.partition("(")[0] not in unknown_names(type(obj))]


def _trimmed(func, sender, signature):
    """Calls func with as many of the signal's arguments as PythonQt would give it.

    A sender without parent is deleted with its last Python reference, as in PythonQt. When that
    happens in a slot of its own, Qt goes on with an object that is no more.
    """
    code_owner = func.__func__ if isinstance(func, types.MethodType) else func
    count = None
    if isinstance(code_owner, types.FunctionType) and not code_owner.__code__.co_flags & 0x04:
        count = code_owner.__code__.co_argcount - isinstance(func, types.MethodType)

    wrapper, name = weakref.ref(sender), meta_object(sender).className()

    def call(*args):
        was_there = wrapper() is not None
        try:
            return func(*(args if count is None else args[:count]))
        except Exception:
            sys.excepthook(*sys.exc_info())  # as Qt does; pythonqt.callback_errors keeps it
        finally:
            if was_there and wrapper() is None:
                text = f"{name} was deleted within its own signal {signature}; give it a parent"
                callback_errors.append(RuntimeError(text))

    return call


def _slot(receiver, slot):
    """The receiver itself, or its method when the slot is given as text."""
    if slot is None:
        return receiver
    return native(receiver, re.match(r"1?(\w+)", slot)[1])


def connect(self, signature, receiver, slot=None, *rest):
    """``sender.connect(signature, callable)``, or with an object and the name of its slot."""
    if isinstance(signature, QObject):  # QObject.connect(sender, signal, ...)
        return connect(signature, receiver, slot, *rest)
    bound, key = _signal(self, signature)
    receiver = _slot(receiver, slot)
    if not callable(receiver):
        raise TypeError(f"connect: {receiver!r} is not callable")
    wrapper = _trimmed(receiver, self, key)
    bound.connect(wrapper)
    _table(self).append((key, receiver, wrapper))
    return True


def _table(sender):
    pointer = shiboken6.getCppPointer(sender)[0]
    if pointer not in _connections:
        _connections[pointer] = []
        native(sender, "destroyed").connect(lambda *_: _connections.pop(pointer, None))
    return _connections[pointer]


def disconnect(self, signature, receiver=None, slot=None):
    """Undoes ``connect``, or without a receiver all of the signal; whether there was any."""
    bound, key = _signal(self, signature)
    receiver = _slot(receiver, slot)
    table = _connections.get(shiboken6.getCppPointer(self)[0], [])
    hits = [c for c in table if c[0] == key and (receiver is None or c[1] == receiver)]
    for connection in hits:
        bound.disconnect(connection[2])
        table.remove(connection)
    return bool(hits)

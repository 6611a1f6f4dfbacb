"""``object.connect("signal(type)", function)`` with PythonQt's rules.

A Python function gets at most as many arguments as it takes. An exception in it is printed and swallowed. A signal
that does not exist is an error message and ``False``, not an exception; here both are remembered.
"""

import inspect
import sys

from PySide6 import QtCore

from Headless import errors

_connections = {}  # (id of the sender, signature) -> [(function, wrapper)]
_qt_connect, _qt_disconnect = QtCore.QObject.connect, QtCore.QObject.disconnect


def connect(sender, signature, receiver=None, slot=None, *rest):
    """``sender.connect("clicked(bool)", function)`` or ``sender.connect("clicked()", receiver, "slot()")``."""
    if type(signature) is not str:  # PySide6 calls source.connect(source, ...) inside signal.connect()
        return _qt_connect(signature, receiver, slot, *rest)
    signal = _bound_signal(sender, signature)
    if signal is None:
        errors.complain(f"QObject::connect() signal '{signature}' does not exist on {type(sender).__name__}")
        return False
    function = _function(receiver, slot)
    wrapper = guarded(function)
    signal.connect(wrapper)
    key = (id(sender), signature)
    if key not in _connections:
        sender.destroyed.connect(lambda *_: _connections.pop(key, None))  # the id may be given to another object
    _connections.setdefault(key, []).append((function, wrapper))
    return True


def disconnect(sender, signature, receiver=None, slot=None, *rest):
    """Undo :func:`connect`. Without a function PythonQt does nothing, so that is an error here."""
    if type(signature) is not str:
        return _qt_disconnect(signature, receiver, slot, *rest)
    if receiver is None:
        errors.complain(f"disconnect('{signature}') needs the connected function as second argument")
        return False
    function = _function(receiver, slot)
    entries = _connections.get((id(sender), signature), [])
    found = next((entry for entry in entries if entry[0] == function), None)
    if found is None:
        return False
    entries.remove(found)
    _bound_signal(sender, signature).disconnect(found[1])
    return True


def _function(receiver, slot):
    return receiver if slot is None else getattr(receiver, str(slot).partition("(")[0])


def _bound_signal(sender, signature):
    """The PySide6 signal of this C++ signature, or None.

    Signals of stand-ins carry Python types; they list the C++ signatures they stand for in ``CPP_SIGNALS``.
    """
    normalized = QtCore.QMetaObject.normalizedSignature(signature).data().decode()
    name, _, types = normalized.rstrip(")").partition("(")
    if any(normalized in getattr(cls, "CPP_SIGNALS", ()) for cls in type(sender).__mro__):
        return getattr(sender, name)
    if sender.metaObject().indexOfSignal(normalized) < 0:
        return None
    signal = getattr(sender, name)
    try:
        return signal[types]
    except (KeyError, IndexError, TypeError):
        return signal  # not overloaded


def guarded(function):
    """The function as a slot: it takes surplus arguments, and its exceptions are printed and remembered."""
    count = _argument_count(function)

    def call(*args):
        try:
            function(*(args if count is None else args[:count]))
        except Exception:
            sys.excepthook(*sys.exc_info())

    return call


def _argument_count(function):
    """How many arguments PythonQt passes: all of them to ``*args`` and to callables that are no functions."""
    code = getattr(getattr(function, "__func__", function), "__code__", None)
    if code is None or code.co_flags & inspect.CO_VARARGS:
        return None
    return code.co_argcount - (1 if hasattr(function, "__func__") else 0)

"""PySide6 under PythonQt's attribute rules, published as the module ``qt``.

PythonQt looks up ``widget.x`` as Qt property, then method, then dynamic property, then named child. So ``label.text``
is a value and ``label.text()`` an error, while ``label.setText()`` and ``label.isEnabled()`` stay methods. New
attributes on plain C++ objects are refused. A Qt class in ``isinstance`` matches only itself, and constructors
take no keyword arguments. Measured in Slicer 5.13 (PythonQt 4.1).
"""

import enum
import html
import sys
import types

from PySide6 import QtCore, QtGui, QtNetwork, QtUiTools, QtWidgets

from Headless import signals
from Headless.errors import NotProvided

NAMESPACES = (QtCore, QtGui, QtWidgets, QtNetwork, QtUiTools)
PYSIDE_ONLY = {"QEnum", "QFlag", "QSignalBlocker", "QtUiTools"}
BLOCKING = {
    "QDialog": ("exec", "exec_"),
    "QMenu": ("exec", "exec_"),
    "QFileDialog": ("getOpenFileName", "getOpenFileNames", "getSaveFileName", "getExistingDirectory"),
    "QMessageBox": ("information", "question", "warning", "critical", "about"),
    "QInputDialog": ("getText", "getInt", "getDouble", "getItem"),
}
VIRTUAL_GETTERS = {"sizeHint", "minimumSizeHint"}
NOT_PROPERTIES = {
    ("QTimer", "singleShot"),  # PythonQt exempts it: QTimer.singleShot(ms, function) is a static method
    ("QLayout", "contentsMargins"),  # a property since Qt 6 only
}

_Wrapped = type(QtCore.QObject)  # metaclass of every wrapped C++ class
_read_property = QtCore.QObject.property
_write_property = QtCore.QObject.setProperty
_patched_lookups = set()


class loading:
    """While a .ui file is loaded, PySide6 itself sets attributes on widgets."""

    active = False

    def __enter__(self):
        loading.active = True

    def __exit__(self, *_):
        loading.active = False


def is_cpp(cls):
    """True for classes that are plain C++ classes in Slicer: PySide6's own and the stand-ins of this package."""
    return cls.__module__.startswith(("PySide6.", "Headless."))


def is_a(instance, cls):
    """What ``isinstance`` means outside the harness's patched rules."""
    return issubclass(type(instance), cls)


def install():
    """Patch PySide6 in place and publish the module ``qt``. Repeated calls return the same module."""
    if "qt" in sys.modules:
        return sys.modules["qt"]
    qt = types.ModuleType("qt", "PySide6 under PythonQt rules (headless Slicer).")
    for namespace in NAMESPACES:
        for name in dir(namespace):
            value = getattr(namespace, name)
            if name[0] == "Q" and name not in PYSIDE_ONLY:
                setattr(qt, name, value)
            if type(value) is _Wrapped:
                _patch_class(value)
    _patch_qobject()
    _refuse_blocking_calls()
    _guard_single_shot()
    _Wrapped.__instancecheck__ = _exact_instance_check
    _Wrapped.__call__ = _without_keywords
    qt.__getattr__ = _missing_class
    sys.modules["qt"] = qt
    return qt


def plain(value):
    """A value as PythonQt hands it out: a QStringList is a tuple."""
    return tuple(value) if type(value) is list else value


def _missing_class(name):
    if name.startswith("__"):
        raise AttributeError(name)
    raise NotProvided(f"qt.{name} is not provided by the headless Slicer")


def _exact_instance_check(cls, instance):
    """PythonQt wraps a QPushButton in a class that does not inherit from the wrapper of QWidget."""
    kind = type(instance)
    if is_cpp(kind) and is_cpp(cls):
        return kind is cls
    return issubclass(kind, cls)


def _without_keywords(cls, *args, **kwargs):
    if kwargs and is_cpp(cls):
        raise TypeError(f"{cls.__name__}: PythonQt constructors take no keyword arguments, got {sorted(kwargs)}")
    return type.__call__(cls, *args, **kwargs)


def _patch_class(cls):
    if "__setattr__" in cls.__dict__ or not issubclass(cls, QtCore.QObject):
        cls.__setattr__ = _set_attribute if issubclass(cls, QtCore.QObject) else _set_plain_attribute
    if not issubclass(cls, QtCore.QObject):
        return
    # PySide6 answers "connect" before it looks at the class, so it is replaced at the lookup.
    for ancestor in cls.__mro__:
        if "__getattribute__" in ancestor.__dict__ and ancestor is not object and ancestor not in _patched_lookups:
            _patched_lookups.add(ancestor)
            ancestor.__getattribute__ = _lookup(ancestor.__dict__["__getattribute__"])
    meta = cls.staticMetaObject
    for index in range(meta.propertyOffset(), meta.propertyCount()):
        name = meta.property(index).name()
        if (cls.__name__, name) in NOT_PROPERTIES:
            continue
        if name in VIRTUAL_GETTERS:
            setattr(cls, name, property(getattr(cls, name)))
        else:
            setattr(cls, name, _qt_property(name))


def _lookup(original):
    def __getattribute__(self, name):
        if name == "connect":
            return types.MethodType(signals.connect, self)
        if name == "disconnect":
            return types.MethodType(signals.disconnect, self)
        return original(self, name)

    return __getattribute__


def _qt_property(name):
    def read(self):
        value = plain(_read_property(self, name))
        if name == "toolTip" and value and not QtGui.Qt.mightBeRichText(value):
            return f"<p>{html.escape(value, quote=False)}</p>"  # Slicer wraps tool tips so that long lines break
        return value

    return property(read, lambda self, value: write_property(self, name, value), doc=f"Qt property {name}")


def write_property(self, name, value):
    """Set a Qt property with PythonQt's silent conversion to bool; anything Qt cannot convert is an error."""
    kind = type(self).__name__
    meta = self.metaObject()
    index = meta.indexOfProperty(name)
    if index >= 0 and not meta.property(index).isWritable():
        raise AttributeError(f"Property '{name}' of {kind} object is not writable")
    if index >= 0 and meta.property(index).typeName() == "bool":
        value = bool(value)
    if issubclass(type(value), enum.Enum):
        value = int(value)
    if type(value) is tuple:
        value = list(value)
    if not _write_property(self, name, value) and index >= 0:
        raise AttributeError(f"Property '{name}' of {kind} does not accept {value!r}")


def _set_attribute(self, name, value):
    cls = type(self)
    if loading.active or type(value) is QtCore.SignalInstance:  # PySide6's own bookkeeping
        self.__dict__[name] = value
        return
    descriptor = next((c.__dict__[name] for c in cls.__mro__ if name in c.__dict__), None)
    if type(descriptor) is QtCore.Property:
        write_property(self, name, value)
    elif hasattr(type(descriptor), "__set__"):
        descriptor.__set__(self, value)
    elif not is_cpp(cls) or (name.startswith("_") and cls.__module__.startswith("Headless.")):
        self.__dict__[name] = value
    elif descriptor is not None:
        raise AttributeError(f"Slot '{name}' can not be overwritten on {cls.__name__} object")
    elif _read_property(self, name) is not None:
        write_property(self, name, value)
    else:
        raise _no_new_attributes(cls, name)


def _set_plain_attribute(self, name, value):
    """Attributes of C++ classes that are no QObjects, e.g. QTableWidgetItem or QColor: they have no properties."""
    if is_cpp(type(self)) and not loading.active:
        raise _no_new_attributes(type(self), name)
    object.__setattr__(self, name, value)


def _no_new_attributes(cls, name):
    return AttributeError(
        f"'{name}' does not exist on {cls.__name__} and creating new attributes on C++ objects is not allowed"
    )


def _get_missing(self, name):
    """Dynamic properties and named children, reached when the normal lookup failed."""
    if not name.startswith("__"):
        if name.endswith("_"):
            return getattr(self, name[:-1])
        value = _read_property(self, name)
        if value is not None:
            return plain(value)
        for child in QtCore.QObject.children(self):
            if _read_property(child, "objectName") == name:
                return child
    if type(self).__module__.startswith("Headless.") and not name.startswith("_"):
        raise NotProvided(f"{type(self).__name__}.{name} is not provided by the headless Slicer")
    raise AttributeError(f"{type(self).__name__} has no attribute named '{name}'")


def _patch_qobject():
    cls = QtCore.QObject
    cls.name = cls.objectName
    cls.className = lambda self: self.metaObject().className()
    cls.__getattr__ = _get_missing
    for owner, names in ((cls, ("findChildren",)),
                         (QtCore.QSettings, ("value", "allKeys", "childKeys", "childGroups"))):
        for name in names:
            setattr(owner, name, _with_tuples(getattr(owner, name)))


def _with_tuples(method):
    return lambda self, *args: plain(method(self, *args))


def _guard_single_shot():
    """PySide6 raises a timer function's exception in the caller of ``processEvents``; PythonQt swallows it."""
    single_shot = QtCore.QTimer.singleShot
    QtCore.QTimer.singleShot = staticmethod(lambda ms, function: single_shot(ms, signals.guarded(function)))


def _refuse_blocking_calls():
    """Modal dialogs would wait for ever in a test."""
    for class_name, methods in BLOCKING.items():
        for method in methods:
            setattr(getattr(QtWidgets, class_name), method, _refusal(f"{class_name}.{method}"))


def _refusal(what):
    def refuse(*_):
        raise NotProvided(f"{what} waits for a user; a test must replace the function that calls it")

    return staticmethod(refuse)

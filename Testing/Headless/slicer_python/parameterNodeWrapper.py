"""Stand-in for ``slicer.parameterNodeWrapper``: typed members of a parameter node, bound to widgets.

Members may be int, float, bool, str, Enum or MRML nodes, with WithinRange, Minimum, Maximum, Choice and Default.
Values are stored under the keys and in the text form that Slicer uses, so scenes can be exchanged. Anything else
(lists, packs, paths, own serializers) raises NotImplementedError.
"""

import enum
import typing

import qt
import slicer
import vtk

PROPERTY = "SlicerParameterName"


class Default:
    """The value of a member before anything sets it."""

    def __init__(self, value=None, *, generator=None):
        self._value, self._generator = value, generator

    @property
    def value(self):
        return self._generator() if self._generator is not None else self._value


class WithinRange:
    def __init__(self, minimum, maximum):
        self.minimum, self.maximum = minimum, maximum

    def validate(self, value):
        if not self.minimum <= value <= self.maximum:
            raise ValueError(f"Value must be within range [{self.minimum}, {self.maximum}], is {value}")


class Minimum(WithinRange):
    def __init__(self, minimum):
        super().__init__(minimum, float("inf"))


class Maximum(WithinRange):
    def __init__(self, maximum):
        super().__init__(float("-inf"), maximum)


class Choice:
    def __init__(self, choices):
        self.choices = choices

    def validate(self, value):
        if value not in self.choices:
            raise ValueError(f"Value is {value}, but must be in one of the following: {self.choices}")


class _Parameter:
    """One member: its type, its checks, its place in the parameter node."""

    def __init__(self, name, hint, default):
        self.name, self.hint = name, hint
        kind, *notes = typing.get_args(hint) if typing.get_origin(hint) is typing.Annotated else (hint,)
        self.kind = _supported(name, kind)
        self.isNode = issubclass(self.kind, slicer.vtkMRMLNode)
        self.validators = [note for note in notes if hasattr(note, "validate")]
        others = [note for note in notes if not hasattr(note, "validate")]
        if any(not isinstance(note, Default) for note in others):
            raise NotImplementedError(f"{name}: annotation {others} is not provided by the headless Slicer")
        self.default = default or (others[0] if others else Default(self._first_value()))

    def _first_value(self):
        if self.isNode:
            return None
        if self.validators and isinstance(self.validators[0], Choice):
            return self.validators[0].choices[0]
        return next(iter(self.kind)) if issubclass(self.kind, enum.Enum) else self.kind()

    def isIn(self, node, key):
        return self.isNode or key in node.GetParameterNames()

    def read(self, node, key):
        """The value; a missing one (the scene was closed) is first set to the default, as in Slicer."""
        if self.isNode:
            return node.GetNodeReference(key)
        if not self.isIn(node, key):
            self.write(node, key, self.default.value)
        text = node.GetParameter(key)
        if self.kind is bool:
            return text == "True"
        return self.kind[text] if issubclass(self.kind, enum.Enum) else self.kind(text)

    def write(self, node, key, value):
        self._check(value)
        if self.isNode:
            node.SetNodeReferenceID(key, value.GetID() if value is not None else None)
        else:
            node.SetParameter(key, value.name if isinstance(value, enum.Enum) else str(value))

    def _check(self, value):
        number = self.kind is float and isinstance(value, int)
        if not (number or isinstance(value, self.kind) or (self.isNode and value is None)):
            raise TypeError(f"{self.name}: expected {self.kind.__name__}, got {value!r}")
        for validator in self.validators:
            validator.validate(value)


def _supported(name, kind):
    alternatives = [part for part in typing.get_args(kind) if part is not type(None)]
    if len(alternatives) == 1 and typing.get_origin(kind) is not list:
        kind = alternatives[0]  # Optional[vtkMRMLSomeNode]
    if not isinstance(kind, type) or not issubclass(kind, (int, float, bool, str, enum.Enum, slicer.vtkMRMLNode)):
        raise NotImplementedError(f"{name}: parameters of type {kind} are not provided by the headless Slicer")
    return kind


class _Connector:
    """How one widget class shows and gives a value."""

    def __init__(self, signal, read, write):
        self.signal, self.read, self.write = signal, read, write


def _read_combo(widget, parameter):
    return parameter.kind[widget.currentText] if issubclass(parameter.kind, enum.Enum) else widget.currentText


def _write_combo(widget, value):
    widget.currentText = value.name if isinstance(value, enum.Enum) else value


def _write_text(widget, value):
    if widget.text != value:  # keeps the cursor where it is
        widget.text = value


def _attribute(signal, name):
    return _Connector(
        signal,
        lambda widget, parameter: parameter.kind(getattr(widget, name)),
        lambda widget, value: setattr(widget, name, value),
    )


CONNECTORS = {
    "qMRMLNodeComboBox": _Connector(
        "currentNodeChanged(vtkMRMLNode*)",
        lambda widget, parameter: widget.currentNode(),
        lambda widget, value: widget.setCurrentNode(value),
    ),
    "ctkSliderWidget": _attribute("valueChanged(double)", "value"),
    "QDoubleSpinBox": _attribute("valueChanged(double)", "value"),
    "QSpinBox": _attribute("valueChanged(int)", "value"),
    "QSlider": _attribute("valueChanged(int)", "value"),
    "QCheckBox": _attribute("toggled(bool)", "checked"),
    "QPushButton": _attribute("toggled(bool)", "checked"),
    "QLineEdit": _Connector("textChanged(QString)", lambda widget, parameter: widget.text, _write_text),
    "QComboBox": _Connector("currentIndexChanged(int)", _read_combo, _write_combo),
}


class _Binding:
    """One widget bound to one member."""

    def __init__(self, wrapper, name, widget):
        self._parameter = wrapper.allParameters[name]
        self._wrapper, self._name, self._widget = wrapper, name, widget
        kind = widget.className()
        if kind not in CONNECTORS:
            raise NotImplementedError(f"binding a {kind} to a parameter is not provided by the headless Slicer")
        self._connector = CONNECTORS[kind]
        self._prepare()
        self.show()
        widget.connect(self._connector.signal, self._on_changed)

    def _prepare(self):
        widget, parameter = self._widget, self._parameter
        for validator in parameter.validators:
            for side in ("minimum", "maximum"):
                if abs(getattr(validator, side, float("inf"))) != float("inf"):
                    setattr(widget, side, getattr(validator, side))
            if isinstance(validator, Choice) and widget.className() == "QComboBox":
                widget.clear()
                widget.addItems(validator.choices)
        if issubclass(parameter.kind, enum.Enum):
            widget.clear()
            widget.addItems([member.name for member in parameter.kind])
        if widget.className() == "qMRMLNodeComboBox":
            widget.nodeTypes = [parameter.kind.__name__]

    def show(self):
        self._connector.write(self._widget, self._wrapper.getValue(self._name))

    def _on_changed(self):
        if not self._wrapper._showing:
            self._wrapper.setValue(self._name, self._connector.read(self._widget, self._parameter))

    def release(self):
        self._widget.disconnect(self._connector.signal, self._on_changed)


class _Wrapper:
    """What the decorator adds to a class."""

    def __init__(self, parameterNode, prefix=None):
        self.parameterNode = parameterNode
        self._prefix = f"{prefix}." if prefix else ""
        self._guis, self._showing = {}, False
        for name, parameter in self.allParameters.items():
            if not parameter.isIn(parameterNode, self._prefix + name):
                self.setValue(name, parameter.default.value)

    def getValue(self, name):
        return self.allParameters[name].read(self.parameterNode, self._prefix + name)

    def setValue(self, name, value):
        self.allParameters[name].write(self.parameterNode, self._prefix + name, value)

    def default(self, name):
        return self.allParameters[name].default

    def dataType(self, name):
        return self.allParameters[name].hint

    def connectGui(self, gui):
        """Bind every widget with the property SlicerParameterName; returns the tag for :meth:`disconnectGui`."""
        widgets = gui.findChildren(qt.QWidget) if hasattr(gui, "isWidgetType") else vars(gui).values()
        named = {widget.property(PROPERTY): widget for widget in widgets if widget.property(PROPERTY)}
        bindings = [_Binding(self, name, widget) for name, widget in named.items()]
        observer = self.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: self._show(bindings))
        self._guis[observer] = bindings
        return observer

    def disconnectGui(self, tag):
        for binding in self._guis.pop(tag, ()):
            binding.release()
        self.RemoveObserver(tag)

    def _show(self, bindings):
        if self._showing:
            return
        self._showing = True
        try:
            for binding in bindings:
                binding.show()
        finally:
            self._showing = False

    def AddObserver(self, event, callback, priority=0.0):
        return self.parameterNode.AddObserver(event, callback, priority)

    def RemoveObserver(self, tag):
        self.parameterNode.RemoveObserver(tag)

    def StartModify(self):
        return self.parameterNode.StartModify()

    def EndModify(self, wasModified):
        return self.parameterNode.EndModify(wasModified)

    def Modified(self):
        self.parameterNode.Modified()


def parameterNodeWrapper(cls=None):
    """Class decorator, with or without parentheses."""
    return _wrap if cls is None else _wrap(cls)


def _wrap(cls):
    hints = typing.get_type_hints(cls, include_extras=True)
    cls.allParameters = {
        name: _Parameter(name, hint, Default(getattr(cls, name)) if hasattr(cls, name) else None)
        for name, hint in hints.items()
    }
    for name in hints:
        setattr(cls, name, _member(name))
    for name, method in vars(_Wrapper).items():
        if callable(method):
            setattr(cls, name, method)
    return cls


def _member(name):
    return property(lambda self: self.getValue(name), lambda self, value: self.setValue(name, value))

"""The ctk widgets that a scripted module's .ui file uses, published as the module ``ctk``. Look and feel are ours."""

import sys
import types

from PySide6 import QtCore, QtGui, QtWidgets
from PySide6.QtCore import Property, Qt, Signal

from Headless.errors import NotProvided
from Headless.pythonqt import is_a

HEADER_HEIGHT = 26
NO_LIMIT = 16777215  # QWIDGETSIZE_MAX


class ctkCollapsibleButton(QtWidgets.QWidget):
    """A header that folds its contents away."""

    CPP_SIGNALS = ("toggled(bool)", "clicked(bool)", "clicked()", "contentsCollapsed(bool)")
    toggled = Signal(bool)
    clicked = Signal(bool)
    contentsCollapsed = Signal(bool)

    def __init__(self, text="", parent=None):
        if not is_a(text, str):
            text, parent = "", text
        super().__init__(parent)
        self._text, self._collapsed, self._folded = text, False, []

    def event(self, event):
        # not ChildAdded: a child that Python sees before it is complete remains a QWidget
        relevant = (QtCore.QEvent.LayoutRequest, QtCore.QEvent.Show, QtCore.QEvent.Polish)
        if event.type() in relevant:
            self._make_room_for_header()
            self._fold()
        return super().event(event)

    def _make_room_for_header(self):
        layout = self.layout()
        if layout is not None and layout.contentsMargins().top() < HEADER_HEIGHT:
            margins = layout.contentsMargins()
            layout.setContentsMargins(margins.left(), HEADER_HEIGHT + 4, margins.right(), margins.bottom())

    def _fold(self):
        if self._collapsed:
            shown = [w for w in self.children() if is_a(w, QtWidgets.QWidget) and not w.isHidden()]
            self._folded += shown
            for widget in shown:
                widget.hide()
        else:
            for widget in self._folded:
                widget.show()
            self._folded = []
        self.setMaximumHeight(HEADER_HEIGHT + 2 if self._collapsed else NO_LIMIT)

    def paintEvent(self, event):
        painter, header = QtGui.QPainter(self), QtCore.QRect(0, 0, self.rect.width(), HEADER_HEIGHT)
        painter.fillRect(header, QtGui.QColor(225, 225, 225))
        painter.drawText(header.adjusted(6, 0, 0, 0), Qt.AlignVCenter,
                         ("\u25b8 " if self._collapsed else "\u25be ") + self._text)
        painter.end()

    def mouseReleaseEvent(self, event):
        if event.position().y() < HEADER_HEIGHT:
            self.click()

    def click(self):
        self.setCollapsed(not self._collapsed)
        self.clicked.emit(not self._collapsed)

    def setCollapsed(self, collapsed):
        if bool(collapsed) != self._collapsed:
            self._collapsed = bool(collapsed)
            self._fold()
            self.update()
            self.toggled.emit(not self._collapsed)
            self.contentsCollapsed.emit(self._collapsed)

    def setChecked(self, checked):
        self.setCollapsed(not checked)

    def setText(self, text):
        self._text = text
        self.update()

    text = Property(str, lambda self: self._text, setText)
    collapsed = Property(bool, lambda self: self._collapsed, setCollapsed)
    checked = Property(bool, lambda self: not self._collapsed, setChecked)


class ctkSliderWidget(QtWidgets.QWidget):
    """A slider and a spin box with one value; the spin box holds it."""

    CPP_SIGNALS = ("valueChanged(double)",)
    valueChanged = Signal(float)
    STEPS = 1000

    def __init__(self, parent=None):
        super().__init__(parent)
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        self._slider, self._spin = QtWidgets.QSlider(Qt.Horizontal), QtWidgets.QDoubleSpinBox()
        layout.addWidget(self._slider, 1)
        layout.addWidget(self._spin)
        self._slider.setRange(0, self.STEPS)
        self._spin.setRange(0, 99)
        self._spin.valueChanged.connect(self._on_spin)
        self._slider.valueChanged.connect(self._on_slider)

    def _on_spin(self, value):
        low, span = self._spin.minimum, self._spin.maximum - self._spin.minimum
        self._slider.blockSignals(True)
        self._slider.setValue(round(self.STEPS * (value - low) / span) if span > 0 else 0)
        self._slider.blockSignals(False)
        self.valueChanged.emit(value)

    def _on_slider(self, step):
        low, high = self._spin.minimum, self._spin.maximum
        self._spin.setValue(low + (high - low) * step / self.STEPS)

    def setValue(self, value):
        self._spin.setValue(value)

    def setRange(self, minimum, maximum):
        self._spin.setRange(minimum, maximum)

    value = Property(float, lambda self: self._spin.value, setValue)
    minimum = Property(float, lambda self: self._spin.minimum, lambda self, value: self._spin.setMinimum(value))
    maximum = Property(float, lambda self: self._spin.maximum, lambda self, value: self._spin.setMaximum(value))
    singleStep = Property(
        float, lambda self: self._spin.singleStep, lambda self, value: self._spin.setSingleStep(value)
    )
    decimals = Property(int, lambda self: self._spin.decimals, lambda self, value: self._spin.setDecimals(value))
    suffix = Property(str, lambda self: self._spin.suffix, lambda self, value: self._spin.setSuffix(value))
    prefix = Property(str, lambda self: self._spin.prefix, lambda self, value: self._spin.setPrefix(value))


WIDGETS = (ctkCollapsibleButton, ctkSliderWidget)


def missing_widget(name):
    """A class for a widget that is not provided: it can be named, but not made."""

    def refuse(self, *_):
        raise NotProvided(f"the widget {name} is not provided by the headless Slicer")

    return type(name, (), {"__init__": refuse})


def install():
    """Publish the module ``ctk``."""
    module = types.ModuleType("ctk", "Stand-ins for CTK widgets (headless Slicer).")
    for widget in WIDGETS:
        setattr(module, widget.__name__, widget)
    module.__getattr__ = _missing
    sys.modules["ctk"] = module


def _missing(name):
    if name.startswith("ctk"):
        return missing_widget(name)
    raise AttributeError(name)

"""Keys as a keyboard sends them: to the widget with the focus, shortcuts first. PythonQt has no QTest."""

from PySide6 import QtGui, QtTest, QtWidgets


def press(text):
    """Press and release a key such as ``A`` or ``Ctrl+Z`` in the active window."""
    combination = QtGui.QKeySequence(text)[0]
    target = QtWidgets.QApplication.focusWidget() or QtWidgets.QApplication.activeWindow()
    QtTest.QTest.keyClick(target, combination.key(), combination.keyboardModifiers())
    QtWidgets.QApplication.processEvents()


def type_text(text):
    """Type into the widget with the focus."""
    QtTest.QTest.keyClicks(QtWidgets.QApplication.focusWidget(), text)
    QtWidgets.QApplication.processEvents()

"""Static rules for the code that runs inside Slicer.

The headless Slicer has Qt 6, the released Slicer Qt 5 under PythonQt; what would only fail there is caught here.
"""

import ast
import sys
from pathlib import Path

import pytest

MODULE = Path(__file__).resolve().parents[2] / "CMBDetection"
SLICER_FILES = [MODULE / "CMBDetection.py", *sorted((MODULE / "CMBDetectionLib").rglob("*.py"))]

IN_SLICER = {"slicer", "vtk", "qt", "ctk", "numpy", "scipy", "SimpleITK", "PyTorchUtils", "SampleData"}
OURS = {"microbleeds", "CMBDetectionLib"}
REMOVED = {"imp", "distutils", "PythonQt", "PySide2", "PySide6", "PyQt5"}
NOT_IN_PYTHONQT = {"QtCore", "QtGui", "QtWidgets", "QTest", "QTextCodec", "Signal", "Slot", "Property"}
GUI_MODULES = {"qt", "ctk", "slicer", "vtk"}


def dotted(node):
    """Return the parts of ``a.b.c``, empty for anything else."""
    parts = []
    while isinstance(node, ast.Attribute):
        parts.insert(0, node.attr)
        node = node.value
    return [node.id, *parts] if isinstance(node, ast.Name) else []


def imported(tree):
    """Yield (top-level module, line) of every absolute import, those in functions included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name.partition(".")[0], node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module.partition(".")[0], node.lineno


def attribute_complaints(node):
    """Enums with their scope, names that PythonQt has not, subclasses of Qt models."""
    name = dotted(node)
    if not name or name[0] != "qt":
        return
    if name[1] in NOT_IN_PYTHONQT:
        yield f"qt.{name[1]} does not exist in PythonQt"
    if len(name) > 3 and name[2][0].isupper() and name[3][0].isupper():
        yield f"{'.'.join(name)}: PythonQt has no scoped enums, write {'.'.join([*name[:2], name[3]])}"


def call_complaints(node):
    """``isinstance`` with a Qt class, and keyword arguments of Qt constructors."""
    name = dotted(node.func)
    if name == ["isinstance"] and any(dotted(part)[:1] in (["qt"], ["ctk"]) for part in ast.walk(node.args[1])):
        yield "isinstance with a Qt class matches only that very class in PythonQt: use inherits()"
    if name[:1] in (["qt"], ["ctk"]) and len(name) == 2 and node.keywords:
        yield f"{'.'.join(name)}: PythonQt constructors take no keyword arguments"


def file_scope_complaints(tree):
    """Calls that run while Slicer only looks at the module."""
    for statement in ast.walk(ast.Module(body=_executed_at_import(tree.body), type_ignores=[])):
        if isinstance(statement, ast.Call) and dotted(statement.func)[:1] and dotted(statement.func)[0] in GUI_MODULES:
            yield statement.lineno, f"{'.'.join(dotted(statement.func))}() runs at import"
    for statement in tree.body:
        if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
            yield statement.lineno, "call at file scope"


def _executed_at_import(body):
    """Return the statements that run at import: not the bodies of functions, but those of classes."""
    executed = []
    for statement in body:
        if isinstance(statement, ast.ClassDef):
            executed += _executed_at_import(statement.body)
        elif not isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef)):
            executed.append(statement)
    return executed


def slicer_complaints(source):
    """Return what is wrong with a file that runs inside Slicer, as "line: text"."""
    tree = ast.parse(source)
    found = list(file_scope_complaints(tree))
    for module, line in imported(tree):
        if module not in IN_SLICER | OURS | set(sys.stdlib_module_names) or module in REMOVED:
            found.append((line, f"import of {module}"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            found += [(node.lineno, text) for text in attribute_complaints(node)]
        elif isinstance(node, ast.Call):
            found += [(node.lineno, text) for text in call_complaints(node)]
    return [f"{line}: {text}" for line, text in sorted(set(found))]


@pytest.mark.parametrize("path", SLICER_FILES, ids=lambda path: path.name)
def test_slicer_side(path):
    found = slicer_complaints(path.read_text(encoding="utf-8"))
    assert not found, f"{path.name}:\n" + "\n".join(found)


@pytest.mark.parametrize("source, complaint", [
    ("import torch", "1: import of torch"),
    ("def f():\n    import imp", "2: import of imp"),
    ("from PySide6 import QtCore", "1: import of PySide6"),
    ("import pydicom", "1: import of pydicom"),
    ("print('x')", "1: call at file scope"),
    ("COLOR = qt.QColor(1, 2, 3)", "1: qt.QColor() runs at import"),
    ("class A:\n    timer = qt.QTimer()", "2: qt.QTimer() runs at import"),
    ("def f():\n    isinstance(w, (str, qt.QWidget))", "2: isinstance with a Qt class matches only that very class in "
     "PythonQt: use inherits()"),
    ("def f():\n    qt.QLabel(text='x')", "2: qt.QLabel: PythonQt constructors take no keyword arguments"),
    ("def f():\n    return qt.Qt.ItemDataRole.UserRole", "2: qt.Qt.ItemDataRole.UserRole: PythonQt has no scoped "
     "enums, write qt.Qt.UserRole"),
    ("class A:\n    done = qt.Signal", "2: qt.Signal does not exist in PythonQt"),
])
def test_rules_find(source, complaint):
    assert slicer_complaints(source) == [complaint]


def test_rules_let_pass():
    source = """
import json
import numpy as np
import qt
from .review import verdict
LIMITS = dict(a=1)
class A:
    @vtk.calldata_type(vtk.VTK_OBJECT)
    def f(self, widget):
        label = qt.QLabel("x", widget)
        label.alignment = qt.Qt.AlignRight | qt.Qt.AlignVCenter
        return qt.QProcessEnvironment.systemEnvironment().keys(), isinstance(widget, str), qt.QTimer.singleShot(0, f)
"""
    assert slicer_complaints(source) == []

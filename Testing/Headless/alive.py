"""What is alive in this process: memory, nodes, observers, Qt objects, Python objects; for tests and scripts that look
for leaks. Linux only."""

import ctypes
import gc
import os
from collections.abc import Sequence
from dataclasses import dataclass

import shiboken6
import slicer
import vtk
from PySide6 import QtCore, QtWidgets

_ROUNDS = 3
"""Of letting go: what is deleted may have held something that can go then."""
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Alive:
    """What is alive, after the garbage was collected.

    Attributes
    ----------
    megabytes : float
        Resident memory, 10⁶ bytes, after free memory was given back to the system.
    nodes : int
        Of the scene.
    observers : int
        Python functions that observe a VTK object.
    qt_objects, timers : int
        QObjects with a parent, a window or a Python variable; QTimers among them.
    python_objects : int
        Instances of classes of the packages that were asked about.
    files : int
        That the process has open, pipes among them.
    """

    megabytes: float
    nodes: int
    observers: int
    qt_objects: int
    timers: int
    python_objects: int
    files: int


def alive(packages: Sequence[str], but: Sequence[type] = ()) -> Alive:
    """Return what is alive now; `but` are classes of the packages that are not counted."""
    for _ in range(_ROUNDS):
        slicer.app.processEvents()
        QtCore.QCoreApplication.sendPostedEvents(None, QtCore.QEvent.DeferredDelete)
        gc.collect()
    objects = gc.get_objects()
    qt_objects = _qt_objects(objects)
    counts = {"observers": sum(map(_observers, objects)), "qt_objects": len(qt_objects),
              "timers": sum(issubclass(type(one), QtCore.QTimer) for one in qt_objects),
              "python_objects": sum(_package(type(one)) in packages and type(one) not in but for one in objects)}
    del objects, qt_objects
    ctypes.CDLL(None).malloc_trim(0)
    with open("/proc/self/statm", encoding="ascii") as file:
        megabytes = int(file.read().split()[1]) * _PAGE_BYTES / 1e6
    return Alive(megabytes, slicer.mrmlScene.GetNumberOfNodes(), **counts, files=len(os.listdir("/proc/self/fd")))


def _package(cls) -> str:
    # a class may have a descriptor instead
    return str(cls.__module__).partition(".")[0]


def _observers(one) -> int:
    """Return how many Python functions observe an object: they are all that the garbage collector sees in it."""
    if not issubclass(type(one), vtk.vtkObject):
        return 0
    return sum(callable(referent) and not issubclass(type(referent), type) for referent in gc.get_referents(one))


def _qt_objects(objects) -> list:
    """Return the QObjects among Python's objects and all below them and below the windows, each once."""
    known = [one for one in objects if issubclass(type(one), QtCore.QObject) and shiboken6.isValid(one)]
    roots = [*known, slicer.app, *QtWidgets.QApplication.topLevelWidgets()]
    every = [*roots, *(child for root in roots if root.parent() is None for child in root.findChildren(QtCore.QObject))]
    return list({shiboken6.getCppPointer(one)[0]: one for one in every}.values())

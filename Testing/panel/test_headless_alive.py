"""What is counted as alive: each thing that can be left behind shows."""

import os
import tempfile
import unittest
from dataclasses import replace
from pathlib import Path

import numpy as np
import qt
import slicer
import vtk
from Headless.alive import alive


class Kept:
    """A class of this package."""


def count():
    return alive((__name__,))


def counts():
    """Return all but the memory, which is never the same."""
    return replace(count(), megabytes=0.0)


class AliveTest(unittest.TestCase):
    def test_nothingIsNothing(self):
        before = counts()
        self.assertEqual(counts(), before)

    def test_nodesAndObserversFromPython(self):
        before = count()
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTextNode")
        tags = [node.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: None) for _ in range(2)]
        with_both = count()
        self.assertEqual(with_both.nodes, before.nodes + 1)
        self.assertEqual(with_both.observers, before.observers + 2)
        node.RemoveObserver(tags[0])
        self.assertEqual(count().observers, before.observers + 1)

    def test_objectsOfQtAndOfAPackage(self):
        before = counts()
        parent, kept = qt.QWidget(), [Kept(), Kept()]
        qt.QTimer(parent)
        timer = qt.QTimer()
        after = counts()
        self.assertEqual((after.qt_objects - before.qt_objects, after.timers - before.timers), (3, 2))
        self.assertEqual(after.python_objects - before.python_objects, 2)
        del kept, timer
        parent.deleteLater()
        del parent
        self.assertEqual(counts(), before)

    def test_filesAndMemory(self):
        before = count()
        with tempfile.TemporaryDirectory() as folder:
            file = os.open(Path(folder) / "open", os.O_CREAT)
            values = np.ones(5_000_000)
            after = count()
            os.close(file)
        self.assertEqual(after.files, before.files + 1)
        self.assertGreater(after.megabytes - before.megabytes, 39.0)
        del values
        self.assertLess(count().megabytes - before.megabytes, 5.0)


if __name__ == "__main__":
    unittest.main()

"""What the panel's tests share: a panel on a fake engine, a small oblique volume, waiting for events.

Only ``slicer``, ``qt``, ``vtk``, numpy and the standard library, so that the tests run in a real Slicer too.
"""

import json
import os
import tempfile
import time
import unittest
from pathlib import Path
from unittest import mock

import numpy as np
import qt
import slicer
import vtk
from CMBDetectionLib import findingsMarkups, reviewStore
from CMBDetectionLib.engineProcess import EngineCommand, defaultCommand
from CMBDetectionLib.panel import Panel
from fakes.fakeEngine import FINDING_VOXELS
from microbleeds.review_log import replay

FAKE_ENGINE = Path(__file__).resolve().parent / "fakes" / "fakeEngine.py"
MODELS = [("first-model", "First model"), ("second-model", "Second model")]


class PanelTestCase(unittest.TestCase):
    """Gives each test an empty scene; ends its panels and checks that no temporary folder is left."""

    def setUp(self):
        slicer.mrmlScene.Clear(False)
        self.folder = tempfile.TemporaryDirectory()
        self.pidFile = Path(self.folder.name) / "pid"
        self.parents = []
        self.panels = []
        self.foldersBefore = _detectionFolders()
        self.reviews = Path(self.folder.name) / "reviews"
        patch = mock.patch.object(reviewStore, "ownFolder", lambda: self.reviews)
        patch.start()
        self.addCleanup(patch.stop)

    def tearDown(self):
        for panel in self.panels:
            panel.cleanup()
        for parent in self.parents:
            parent.hide()
            parent.deleteLater()
        slicer.mrmlScene.Clear(False)
        slicer.app.processEvents()
        self.folder.cleanup()
        self.assertEqual(_detectionFolders(), self.foldersBefore)

    def makePanel(self, scenario="normal", ensureTorch=lambda: "", command=None, models=MODELS):
        """Return a panel whose engine plays `scenario`."""
        command = command or EngineCommand(defaultCommand().program, (str(FAKE_ENGINE), scenario, str(self.pidFile)))
        parent = slicer.qMRMLWidget()
        parent.setLayout(qt.QVBoxLayout())
        parent.setMRMLScene(slicer.mrmlScene)
        panel = Panel(parent.layout(), command=command, models=models, ensureTorch=ensureTorch)
        self.parents.append(parent)
        self.panels.append(panel)
        return panel

    def launcherCommand(self, scenario):
        """Return a command that starts the engine as the child of another process, as PythonSlicer does."""
        return EngineCommand("/bin/sh", ("-c", '"$0" "$@"; exit $?', defaultCommand().program, str(FAKE_ENGINE),
                                         scenario, str(self.pidFile)))

    def deafCommand(self):
        """Return a command that does not notice when its stdin closes."""
        progress = '{"event": "progress", "message": "Candidates", "fraction": 0.34}'
        return EngineCommand("/bin/sh", ("-c", f"echo $$ > '{self.pidFile}'; echo '{progress}'; exec sleep 60"))

    def detect(self, panel, volume):
        """Choose the volume, click Detect, wait for the end."""
        panel.ui.inputSelector.setCurrentNode(volume)
        panel.ui.detectButton.click()
        self.waitForEnd(panel)

    def waitForEnd(self, panel):
        self.waitUntil(lambda: panel.ui.detectButton.text == "Detect", "the detection has not ended")

    def waitUntil(self, condition, message, seconds=20.0):
        """Keep the application alive until `condition()` is true."""
        end = time.monotonic() + seconds
        while not condition():
            slicer.app.processEvents()
            self.assertLess(time.monotonic(), end, message)
            time.sleep(0.005)

    def waitForProgress(self, panel, percent=34):
        self.waitUntil(lambda: panel.ui.progressBar.value == percent, "no progress was shown")

    def childIsAlive(self):
        """Whether the process that wrote the pid file is running (a zombie is not)."""
        pid = int(self.pidFile.read_text())
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        stat = Path(f"/proc/{pid}/stat")
        return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] != "Z"


def _detectionFolders():
    return sorted(path.name for path in Path(slicer.app.temporaryPath).glob("CMBDetection-*"))


def makeVolume(name="vol"):
    """Return a volume of 26 x 20 x 12 voxels, oblique, anisotropic and left-handed."""
    angle = np.deg2rad(20)
    turn = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    matrix = np.eye(4)
    matrix[:3, :3] = turn @ np.diag([-0.9, 0.8, 1.5])
    matrix[:3, 3] = [10, -7, 20]
    voxels = np.random.default_rng(1).normal(300, 10, (12, 20, 26)).astype(np.float32)
    return slicer.util.addVolumeFromArray(voxels, matrix, name)


def expectedPositions(volume):
    """Return the fake engine's positions in the volume's own RAS, shape (n, 3), mm."""
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    return np.array([matrix.MultiplyPoint((*voxel, 1))[:3] for voxel in FINDING_VOXELS])


def worldPositions(node):
    return np.array(list(findingsMarkups.worldPositions(node).values()))


def findingsNode():
    """Return the only findings node of the scene."""
    nodes = [node for node in slicer.util.getNodesByClass("vtkMRMLMarkupsFiducialNode")
             if node.GetAttribute(findingsMarkups.FINDINGS_ATTRIBUTE)]
    assert len(nodes) == 1, [node.GetName() for node in nodes]
    return nodes[0]


def provenance():
    """Return how the findings of the scene were made."""
    return replay(reviewStore.fromScene(findingsNode()).events).provenance


def verdicts(node):
    """Return the verdicts that the points of a node show."""
    return [json.loads(node.GetNthControlPointDescription(index))["verdict"]
            for index in range(node.GetNumberOfControlPoints())]


def column(panel, index):
    """Return the texts of a table column."""
    table = panel.ui.findingsTable
    return [table.item(row, index).text() for row in range(table.rowCount)]

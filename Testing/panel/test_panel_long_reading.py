"""A short version of the long reading (Testing/Benchmarks/long_reading.py): what must not grow does not."""

import unittest
from dataclasses import replace
from pathlib import Path

import qt
import slicer
from panelCase import PanelTestCase

try:
    from longReading import LongReading, aliveInReading
    from readingMaterial import writeFindings, writeScan
except ImportError:
    # it is driven by keys, and PythonQt has no QTest
    LongReading = None

SHAPE_IJK = (64, 64, 32)
SCAN_MB = 0.26
"""Of a label map on the grid of the scan it is twice as much."""


@unittest.skipIf(LongReading is None, "needs the headless Slicer's keyboard")
class LongReadingTest(PanelTestCase):
    def setUp(self):
        super().setUp()
        self.addCleanup(qt.QSettings().remove, "CMBDetection/order")
        self.panel = self.makePanel()
        window = self.panel.widget.window()
        window.show()
        window.activateWindow()
        slicer.app.processEvents()
        self.panel.enter()

    def begin(self, count):
        """Return the reading of a scan with so many findings."""
        folder = Path(self.folder.name)
        writeScan(folder / "scan.nii.gz", SHAPE_IJK)
        volume = slicer.util.loadVolume(str(folder / "scan.nii.gz"))
        self.panel.ui.inputSelector.setCurrentNode(volume)
        self.panel.showFiles(volume, writeFindings(volume, folder / "result", count))
        return LongReading(self.panel, folder / "scan.nii.gz", folder)

    def checkTheSame(self, alive, before, megabytes):
        self.assertEqual(replace(alive, megabytes=0), replace(before, megabytes=0))
        self.assertLess(alive.megabytes - before.megabytes, megabytes)

    def test_verdictsLeaveNothingButTheLog(self):
        reading = self.begin(60)
        self.panel.ui.tabs.setCurrentWidget(self.panel.ui.probeTab)
        reading.judge(50)
        before = aliveInReading()
        reading.judge(100)
        self.checkTheSame(aliveInReading(), before, megabytes=3)
        self.assertGreaterEqual(reading.verdictsInLog(), 150)
        self.assertEqual(len(self.panel.review.session.items), 60)

    def test_sceneLoadsLeaveNothing(self):
        reading = self.begin(60)
        reading.judge(5)
        points = []
        for _load in range(3):
            reading.saveAndLoadScene()
            reading.reloadScan()
            points.append(aliveInReading())
        self.checkTheSame(points[-1], points[0], megabytes=2 * SCAN_MB)

    def test_resultsOfTheEngineLeaveNothing(self):
        self.begin(10)
        files = writeFindings(self.panel.ui.inputSelector.currentNode(), Path(self.folder.name) / "again", 10)
        points = []
        for _detection in range(6):
            self.panel.showFiles(self.panel.ui.inputSelector.currentNode(), files)
            points.append(aliveInReading())
        self.assertEqual(points[-1].nodes, points[1].nodes)
        self.assertLess(points[-1].megabytes - points[1].megabytes, 2 * SCAN_MB)

    def test_anAddedFindingTakesAnOutlineAsLargeAsItself(self):
        reading = self.begin(10)
        reading.add()
        before, segmentation = aliveInReading(), self.outline().GetSegmentation()
        reading.add()
        self.assertEqual(aliveInReading().nodes, before.nodes)
        added = segmentation.GetNthSegment(segmentation.GetNumberOfSegments() - 1)
        voxels = added.GetRepresentation("Binary labelmap").GetNumberOfPoints()
        self.assertLess(voxels, SHAPE_IJK[0] * SHAPE_IJK[1] * SHAPE_IJK[2] / 10)

    def outline(self):
        return self.panel.review.session.node.GetNodeReference("outline")

    def test_casesLeaveNothing(self):
        folder = Path(self.folder.name) / "cases"
        folder.mkdir()
        for number in range(5):
            writeScan(folder / f"case-{number}.nrrd", SHAPE_IJK, number)
        reading = LongReading(self.panel, None, self.folder.name)
        reading.openList(folder)
        points = []
        for _case in range(4):
            reading.readCase()
            points.append(aliveInReading())
        self.checkTheSame(points[-1], points[1], megabytes=2)


if __name__ == "__main__":
    unittest.main()

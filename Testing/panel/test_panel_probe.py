"""The probe card: figures of the current finding with plain readings, also from other sequences."""

import unittest

import numpy as np
import slicer
from panelCase import PanelTestCase, makeVolume

NO_TILT = np.diag([0.8, 0.8, 2.0, 1.0])


def scan(name, spots, inside, background, noise=1.0):
    """Return a volume of 80 x 80 x 30 voxels with balls (i, j, k, radius mm); radius < 0 is a vessel."""
    k, j, i = np.indices((30, 80, 80))
    voxels = np.random.default_rng(3).normal(background, noise, k.shape)
    for ci, cj, ck, radius in spots:
        away = np.hypot((i - ci) * 0.8, (j - cj) * 0.8)
        if radius > 0:
            away = np.hypot(away, (k - ck) * 2.0)
        voxels[away <= abs(radius)] = inside
    return slicer.util.addVolumeFromArray(voxels.astype(np.float32), NO_TILT, name)


class ProbeTest(PanelTestCase):
    def setUp(self):
        super().setUp()
        self.panel = self.makePanel()
        self.ui = self.panel.ui

    def text(self):
        return self.ui.probeText.plainText

    def add(self, *voxel):
        self.panel.review.session.add((NO_TILT @ (*voxel, 1))[:3])

    def open(self, volume):
        self.detect(self.panel, volume)
        self.ui.tabs.setCurrentWidget(self.ui.probeTab)

    def test_withoutAFindingItSaysSo(self):
        self.ui.tabs.setCurrentWidget(self.ui.probeTab)
        self.assertIn("Select a finding", self.text())

    def test_aBallIsRoundAndAVesselRunsOn(self):
        self.open(scan("GRE", [(20, 20, 15, 2.2), (50, 50, 15, -1.0)], 40, 100))
        self.add(20, 20, 15)
        self.assertRegex(self.text(), r"slices? .*: compact")
        self.assertIn("60 % darker", self.text())
        self.assertIn("sphericity", self.text())
        self.add(50, 50, 15)
        self.assertRegex(self.text(), r"Continues over \d+ slices \([\d.]+ mm or more\).*: vessel likely")
        self.assertIn("Nearest finding", self.text())

    def test_theSignOnQsmTellsBloodFromCalcium(self):
        gre = scan("GRE", [(20, 20, 15, 2.2), (50, 50, 15, 2.2)], 40, 100)
        self.open(gre)
        self.add(20, 20, 15)
        self.assertIn("Load the QSM", self.text())
        susceptibility = scan("sub-1_Chimap", [(20, 20, 15, 2.2)], 0.4, 0.0, 0.02)
        voxels = slicer.util.arrayFromVolume(susceptibility)
        voxels[15, 49:52, 49:52] = -0.4
        self.panel.review.update()
        self.assertIn("sub-1_Chimap: +0.4", self.text())
        self.assertIn("paramagnetic: blood, a vein or iron", self.text())
        self.assertNotIn("Load the QSM", self.text())
        self.add(50, 50, 15)
        self.assertIn("diamagnetic: calcification likely", self.text())

    def test_findingsOfTheDetectorSayHowFarTheEdgeIs(self):
        self.open(makeVolume())
        self.ui.findingsTable.selectRow(0)
        self.assertIn("Edge of the brain 4.2 mm away: not at the surface", self.text())
        self.ui.findingsTable.selectRow(1)
        self.assertIn("10 mm or more away: far from the surface", self.text())

    def test_goingOnRenewsTheCardAndThePlot(self):
        self.open(makeVolume())
        self.ui.findingsTable.selectRow(0)
        first = self.text()
        plot = self.ui.probePlot.pixmap
        self.assertFalse(plot.isNull() if hasattr(plot, "isNull") else plot().isNull())
        self.ui.acceptButton.click()
        self.assertNotEqual(self.text(), first)

    def test_namesAreText(self):
        makeVolume("<b>T1</b> & more")
        self.open(makeVolume())
        self.ui.findingsTable.selectRow(0)
        self.assertIn("<b>T1</b> & more", self.text())

    def test_theKeyShowsAndHidesIt(self):
        self.detect(self.panel, makeVolume())
        for expected in (self.ui.probeTab, self.ui.findingsTab):
            self.panel.review.runCommand("probe")
            self.assertEqual(self.ui.tabs.currentWidget().objectName, expected.objectName)


if __name__ == "__main__":
    unittest.main()

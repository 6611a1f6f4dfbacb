"""The views of a review: acquisition plane largest, linked, window kept by sequence; order and filters of the list."""

import unittest

import numpy as np
import qt
import slicer
from panelCase import PanelTestCase, expectedPositions, makeVolume


class ViewsTest(PanelTestCase):
    def setUp(self):
        super().setUp()
        qt.QSettings().remove("CMBDetection/window")
        self.panel = self.makePanel()
        self.panel.enter()

    def red(self):
        return slicer.mrmlScene.GetNodeByID("vtkMRMLSliceNodeRed")

    def composites(self):
        return slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")

    def normal(self, node):
        return slicer.util.arrayFromVTKMatrix(node.GetSliceToRAS())[:3, 2]

    def test_theLargeViewShowsTheSlicesAsAcquired(self):
        for axis in range(3):
            voxels = np.random.default_rng(axis).normal(300, 10, (20, 22, 24)).astype(np.float32)
            spacing = [0.8, 0.8, 0.8]
            spacing[axis] = 3.0
            angle = np.deg2rad(12)
            turn = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
            matrix = np.eye(4)
            matrix[:3, :3] = turn @ np.diag(spacing)
            self.detect(self.panel, slicer.util.addVolumeFromArray(voxels, matrix, f"axis {axis}"))
            self.assertAlmostEqual(abs(float(self.normal(self.red()) @ turn[:, axis])), 1.0, 4, f"axis {axis}")
            planes = [self.normal(slicer.mrmlScene.GetNodeByID(f"vtkMRMLSliceNode{name}"))
                      for name in ("Red", "Yellow", "Green")]
            np.testing.assert_allclose(np.abs(np.array(planes) @ np.array(planes).T), np.eye(3), atol=1e-4)

    def test_theLayoutHasOneLargeView(self):
        self.detect(self.panel, makeVolume())
        node = slicer.app.layoutManager().layoutLogic().GetLayoutNode()
        description = node.GetLayoutDescription(node.GetViewArrangement())
        self.assertEqual([description.count(f'singletontag="{name}"') for name in ("Red", "Yellow", "Green")], [1] * 3)
        self.assertLess(description.index("Red"), description.index("Yellow"))

    def test_viewsAreNotArrangedBehindAnotherModule(self):
        node = slicer.app.layoutManager().layoutLogic().GetLayoutNode()
        self.panel.exit()
        node.SetViewArrangement(3)
        self.detect(self.panel, makeVolume())
        self.assertEqual(node.GetViewArrangement(), 3)
        self.panel.enter()
        self.assertNotEqual(node.GetViewArrangement(), 3)

    def test_slicesAreLinked(self):
        self.detect(self.panel, makeVolume())
        self.assertTrue(all(composite.GetLinkedControl() for composite in self.composites()))

    @unittest.skipUnless(hasattr(slicer.app, "withoutLayout"), "a real Slicer cannot lose its views")
    def test_aReviewWithoutViewsGoesOn(self):
        with slicer.app.withoutLayout():
            self.detect(self.panel, makeVolume())
        self.assertEqual(self.panel.ui.findingsTable.rowCount, 3)

    def test_theWindowIsKeptForScansOfTheSameSequence(self):
        first = makeVolume("first")
        self.detect(self.panel, first)
        display = first.GetScalarVolumeDisplayNode()
        display.SetAutoWindowLevel(False)
        display.SetWindowLevel(40, 290)
        second = slicer.util.addVolumeFromArray(2 * slicer.util.arrayFromVolume(first), name="twice as bright")
        self.detect(self.panel, second)
        kept = second.GetScalarVolumeDisplayNode()
        self.assertAlmostEqual(kept.GetWindow(), 80, 1)
        self.assertAlmostEqual(kept.GetLevel(), 580, 1)
        self.panel.ui.inputSelector.setCurrentNode(first)
        self.assertEqual((display.GetWindow(), display.GetLevel()), (40, 290))

    def test_aWindowThatNobodyChoseIsNotKept(self):
        self.detect(self.panel, makeVolume("first"))
        second = makeVolume("second")
        self.detect(self.panel, second)
        self.assertTrue(second.GetScalarVolumeDisplayNode().GetAutoWindowLevel())

    def test_theNextSequenceIsShownAtTheSamePlaceAndZoom(self):
        scan, other = makeVolume("GRE"), makeVolume("T1")
        elsewhere = slicer.util.addVolumeFromArray(np.zeros((5, 5, 5)), np.diag([1.0, 1, 1, 1]), "elsewhere")
        matrix = np.eye(4)
        matrix[:3, 3] = 1000
        elsewhere.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(matrix))
        self.detect(self.panel, scan)
        self.panel.ui.findingsTable.selectRow(1)
        before = slicer.util.arrayFromVTKMatrix(self.red().GetXYToRAS())
        for expected in (other, scan, other):
            self.panel.review.runCommand("sequence")
            self.assertEqual({composite.GetBackgroundVolumeID() for composite in self.composites()},
                             {expected.GetID()})
            self.assertIn(expected.GetName(), self.panel.ui.messageLabel.text)
        np.testing.assert_allclose(slicer.util.arrayFromVTKMatrix(self.red().GetXYToRAS()), before, atol=1e-9)
        self.panel.ui.findingsTable.selectRow(2)
        self.assertEqual(self.composites()[0].GetBackgroundVolumeID(), scan.GetID(), "findings are of the scan")


class OrderTest(PanelTestCase):
    def setUp(self):
        super().setUp()
        self.addCleanup(qt.QSettings().remove, "CMBDetection/order")
        self.panel, self.volume = self.makePanel(), makeVolume()
        self.detect(self.panel, self.volume)
        self.ui = self.panel.ui

    def ids(self):
        return [int(self.ui.findingsTable.item(row, 0).text()) for row in range(self.ui.findingsTable.rowCount)]

    def choose(self, combo, value):
        combo.setCurrentIndex(combo.findData(value))

    def test_bySliceFromTheLowerEnd(self):
        self.choose(self.ui.orderCombo, "slice")
        across = slicer.util.arrayFromVTKMatrix(self.red().GetSliceToRAS())[:3, 2]
        heights = expectedPositions(self.volume) @ (across * np.sign(across[2]))
        self.assertEqual(self.ids(), [int(number) + 1 for number in np.argsort(heights)])

    def red(self):
        return slicer.mrmlScene.GetNodeByID("vtkMRMLSliceNodeRed")

    def test_theOrderIsKeptForTheNextPanel(self):
        self.choose(self.ui.orderCombo, "size")
        self.assertEqual(self.makePanel().ui.orderCombo.currentIndex, self.ui.orderCombo.findData("size"))

    def test_aFilterListsAndTheCountsStayThoseOfAll(self):
        self.ui.findingsTable.selectRow(1)
        self.ui.acceptButton.click()
        summary = self.ui.summaryLabel.text
        for value, expected in (("accepted", [2]), ("undecided", [1, 3]), ("rejected", []), ("", [1, 2, 3])):
            self.choose(self.ui.verdictFilterCombo, value)
            self.assertEqual(self.ids(), expected, value)
            self.assertEqual(self.ui.summaryLabel.text, summary)

    def test_sizesShareAllFindings(self):
        listed = []
        for value in ("small", "medium", "large"):
            self.choose(self.ui.sizeFilterCombo, value)
            listed += self.ids()
        self.assertEqual(sorted(listed), [1, 2, 3])

    def test_whatAFilterHidesIsNotJudgedAndNotForgotten(self):
        self.choose(self.ui.verdictFilterCombo, "accepted")
        self.assertFalse(self.ui.acceptButton.isEnabled())
        self.choose(self.ui.verdictFilterCombo, "")
        self.choose(self.ui.sizeFilterCombo, "small")
        self.ui.findingsTable.selectRow(0)
        self.choose(self.ui.verdictFilterCombo, "undecided")
        for _finding in range(2):
            self.ui.acceptButton.click()
        self.choose(self.ui.verdictFilterCombo, "accepted")
        self.ui.findingsTable.selectRow(0)
        self.ui.acceptButton.click()
        self.assertIn("1 open finding is not in the list", self.panel.ui.messageLabel.text)

    def test_goingOnFollowsTheList(self):
        self.choose(self.ui.orderCombo, "slice")
        order = self.ids()
        self.choose(self.ui.verdictFilterCombo, "undecided")
        self.ui.findingsTable.selectRow(0)
        for count, number in enumerate(order, 1):
            self.assertEqual(self.panel.review.session.current, number)
            self.ui.acceptButton.click()
            self.assertEqual(self.ids(), order[count:])


if __name__ == "__main__":
    unittest.main()

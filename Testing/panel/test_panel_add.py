"""Adding, moving and removing findings: snapped to the focus, with an outline, never twice by accident."""

import unittest

import numpy as np
import slicer
import vtk
from CMBDetectionLib import findingsMarkups, reviewStore
from CMBDetectionLib.volumeNodes import ijkToRas
from microbleeds.read_write import read_labels
from microbleeds.review_log import replay
from panelCase import PanelTestCase, column, expectedPositions, findingsNode, makeVolume, verdicts

FOCUS = (8, 13, 7)
"""Voxel (i, j, k) of a dark focus that the detector did not find."""


class AddTest(PanelTestCase):
    def setUp(self):
        super().setUp()
        self.volume = makeVolume()
        voxels = slicer.util.arrayFromVolume(self.volume)
        i, j, k = FOCUS
        voxels[k, j - 1:j + 2, i - 1:i + 2] = 150
        voxels[k, j, i] = 60
        slicer.util.arrayFromVolumeModified(self.volume)
        self.panel = self.makePanel()
        self.detect(self.panel, self.volume)
        self.node = findingsNode()

    def place(self, voxel, aside=(0.0, 0.0, 0.0)):
        """Return the own RAS of a voxel, moved aside by mm."""
        return (ijkToRas(self.volume) @ [*voxel, 1])[:3] + aside

    def pointAt(self, worldRas):
        slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLCrosshairNode").SetCrosshairRAS(*map(float, worldRas))

    def items(self):
        return {item.id: item for item in replay(reviewStore.fromScene(self.node).events).items}

    def test_addedAtTheDarkestVoxelNearby(self):
        self.pointAt(self.place(FOCUS, (0.8, -0.6, 0.5)))
        self.panel.ui.addButton.click()
        item = self.items()[4]
        np.testing.assert_allclose(item.position_ras, self.place(FOCUS), atol=1e-6)
        self.assertEqual((item.verdict, item.added_by_reader), ("accepted", True))
        self.assertAlmostEqual(item.diameter_mm, (6 / np.pi * 9 * 0.9 * 0.8 * 1.5) ** (1 / 3), places=5)
        self.assertEqual(column(self.panel, 0), ["1", "2", "3", "4"])
        self.assertEqual(self.panel.ui.findingsTable.currentRow(), 3)
        self.assertEqual(self.panel.ui.summaryLabel.text, "4 findings: 1 accepted, 0 rejected, 3 open")

    def test_theOutlineIsGrownAndSaved(self):
        self.pointAt(self.place(FOCUS))
        self.panel.ui.addButton.click()
        path = next(self.reviews.rglob("*dseg.nii.gz"))
        labels = read_labels(path).data
        self.assertEqual(sorted(np.unique(labels)), [0, 1, 2, 3, 4])
        self.assertEqual((labels == 4).sum(), 9)
        outline = self.node.GetNodeReference(findingsMarkups.OUTLINE_ROLE)
        self.assertEqual(outline.GetSegmentation().GetNumberOfSegments(), 4)

    def test_underATransform(self):
        transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
        matrix = vtk.vtkMatrix4x4()
        matrix.SetElement(0, 3, 25.0)
        transform.SetMatrixTransformToParent(matrix)
        for node in (self.volume, self.node):
            node.SetAndObserveTransformNodeID(transform.GetID())
        self.pointAt(self.place(FOCUS) + [25, 0, 0])
        self.panel.ui.addButton.click()
        np.testing.assert_allclose(self.items()[4].position_ras, self.place(FOCUS), atol=1e-6)
        np.testing.assert_allclose(findingsMarkups.worldPositions(self.node)[4], self.place(FOCUS) + [25, 0, 0],
                                   atol=1e-5)

    def test_onAFindingOnlyWhenAskedTwice(self):
        self.pointAt(expectedPositions(self.volume)[1])
        self.panel.ui.addButton.click()
        self.assertEqual(len(self.items()), 3)
        self.assertRegex(self.panel.ui.messageLabel.text, "^Finding 2 is only .* mm away")
        self.panel.ui.addButton.click()
        self.assertEqual(len(self.items()), 4)
        self.panel.ui.addButton.click()
        self.assertEqual(len(self.items()), 4, "a third one needs asking twice again")

    def test_outsideTheVolume(self):
        self.pointAt((500, 0, 0))
        self.panel.ui.addButton.click()
        self.assertEqual(len(self.items()), 3)
        self.assertEqual(self.panel.ui.messageLabel.text, "The crosshair is outside the volume.")

    def test_notWhereTheCrosshairWasInAnotherScan(self):
        self.pointAt(self.place(FOCUS))
        self.detect(self.panel, makeVolume("other"))
        for way in (self.panel.ui.addButton.click, lambda: self.panel.review.runCommand("move")):
            way()
            self.assertIn("not placed in this scan yet", self.panel.ui.messageLabel.text)
            self.assertFalse(self.panel.ui.undoButton.isEnabled())
            self.panel.ui.messageLabel.setText("")
        self.pointAt(self.place(FOCUS, (0.5, 0.0, 0.0)))
        self.panel.ui.addButton.click()
        self.assertEqual(len(self.panel.review.session.items), 4)

    def test_whereTheCrosshairWasPlacedBeforeTheFirstDetection(self):
        other = makeVolume("other")
        slicer.util.updateVolumeFromArray(other, slicer.util.arrayFromVolume(self.volume))
        self.pointAt(self.place(FOCUS))
        self.panel.ui.inputSelector.setCurrentNode(other)
        self.pointAt(self.place(FOCUS, (0.5, 0.0, 0.0)))
        self.panel.ui.detectButton.click()
        self.waitForEnd(self.panel)
        self.panel.ui.addButton.click()
        np.testing.assert_allclose(self.panel.review.session.item(4).position_ras, self.place(FOCUS), atol=1e-6)

    def test_notAtTheOriginIfTheCrosshairWasNeverPlaced(self):
        self.panel.ui.addButton.click()
        self.assertEqual(len(self.items()), 3)
        self.assertIn("not placed in this scan yet", self.panel.ui.messageLabel.text)

    def test_onlyWhatWasAddedCanBeRemovedAndAllIsUndone(self):
        self.panel.ui.findingsTable.selectRow(0)
        self.assertFalse(self.panel.ui.removeButton.isEnabled())
        self.pointAt(self.place(FOCUS))
        self.panel.ui.addButton.click()
        self.panel.ui.removeButton.click()
        self.assertEqual(sorted(self.items()), [1, 2, 3])
        self.assertFalse(self.panel.ui.removeButton.isEnabled())
        self.assertEqual(self.panel.ui.findingsTable.currentRow(), 0, "it goes on to an open one")
        self.panel.ui.undoButton.click()
        self.assertEqual(verdicts(self.node), ["undecided"] * 3 + ["accepted"])
        self.panel.ui.undoButton.click()
        self.assertEqual(verdicts(self.node), ["undecided"] * 3)
        self.panel.ui.redoButton.click()
        self.assertEqual(self.panel.ui.findingsTable.currentRow(), 3)

    def test_aMovedFindingKeepsItsSource(self):
        self.panel.ui.findingsTable.selectRow(0)
        self.pointAt(self.place(FOCUS, (0.5, 0.5, 0.0)))
        self.panel.review.runCommand("move")
        item = self.items()[1]
        np.testing.assert_allclose(item.position_ras, self.place(FOCUS), atol=1e-6)
        np.testing.assert_allclose(item.detected_ras, expectedPositions(self.volume)[0], atol=1e-6)
        sliceNode = slicer.mrmlScene.GetNodeByID("vtkMRMLSliceNodeRed")
        self.assertAlmostEqual(sliceNode.GetSliceToRAS().GetElement(2, 3), self.place(FOCUS)[2], places=3)
        self.panel.ui.undoButton.click()
        np.testing.assert_allclose(self.items()[1].position_ras, expectedPositions(self.volume)[0], atol=1e-6)


if __name__ == "__main__":
    unittest.main()

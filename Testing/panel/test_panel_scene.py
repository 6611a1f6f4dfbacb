"""The panel and the scene: close, save and reload, parent transforms."""

import unittest
from pathlib import Path

import numpy as np
import slicer
import vtk
from CMBDetectionLib import findingsMarkups, reviewStore
from panelCase import PanelTestCase, expectedPositions, findingsNode, makeVolume, verdicts, worldPositions


class SceneTest(PanelTestCase):
    def startSlowRun(self):
        panel, volume = self.makePanel("slow"), makeVolume()
        panel.ui.inputSelector.setCurrentNode(volume)
        panel.ui.detectButton.click()
        self.waitForProgress(panel)
        return panel, volume

    def checkStopped(self, panel):
        self.assertFalse(self.childIsAlive())
        self.assertEqual(panel.ui.detectButton.text, "Detect")
        self.assertTrue(panel.ui.progressBar.isHidden())
        slicer.app.processEvents()
        self.assertEqual(slicer.util.getNodesByClass("vtkMRMLMarkupsFiducialNode"), [])

    def test_sceneCloseDuringDetection(self):
        panel, _volume = self.startSlowRun()
        slicer.mrmlScene.Clear(False)
        self.checkStopped(panel)
        self.assertEqual(panel.ui.messageLabel.text, "")
        self.assertFalse(panel.ui.detectButton.isEnabled())
        self.assertIsNone(panel.ui.inputSelector.currentNode())

    def test_volumeRemovedDuringDetection(self):
        panel, volume = self.startSlowRun()
        slicer.mrmlScene.RemoveNode(volume)
        self.checkStopped(panel)
        self.assertIn("removed from the scene", panel.ui.messageLabel.text)

    def test_volumeHardenedDuringDetection(self):
        panel, volume = self.makePanel(), makeVolume()
        panel.ui.inputSelector.setCurrentNode(volume)
        panel.ui.detectButton.click()
        matrix = vtk.vtkMatrix4x4()
        matrix.SetElement(0, 3, 5)
        volume.ApplyTransformMatrix(matrix)
        self.waitForEnd(panel)
        self.assertIn("transformed during detection", panel.ui.messageLabel.text)
        self.assertEqual(slicer.util.getNodesByClass("vtkMRMLMarkupsFiducialNode"), [])

    def test_sceneCloseEmptiesThePanel(self):
        panel = self.makePanel()
        self.detect(panel, makeVolume())
        panel.ui.findingsTable.selectRow(0)
        slicer.mrmlScene.Clear(False)
        self.assertEqual(panel.ui.findingsTable.rowCount, 0)
        self.assertFalse(panel.ui.acceptButton.isEnabled())
        self.assertIn("try it on a simulated scan", panel.ui.summaryLabel.text)
        self.detect(panel, makeVolume("next"))
        self.assertEqual(panel.ui.findingsTable.rowCount, 3)

    def test_saveClearReload(self):
        panel, volume = self.makePanel(), makeVolume()
        panel.ui.modalityCombo.setCurrentIndex(panel.ui.modalityCombo.findData("swi"))
        self.detect(panel, volume)
        panel.ui.findingsTable.selectRow(0)
        panel.ui.acceptButton.click()
        panel.ui.rejectButton.click()
        positions = worldPositions(findingsNode())
        events = reviewStore.fromScene(findingsNode()).events
        path = str(Path(self.folder.name) / "scene.mrb")
        self.assertTrue(slicer.util.saveScene(path))
        slicer.mrmlScene.Clear(False)
        slicer.util.loadScene(path)

        node = findingsNode()
        self.assertEqual(verdicts(node), ["accepted", "rejected", "undecided"])
        np.testing.assert_allclose(worldPositions(node), positions, atol=1e-3)
        self.assertEqual(reviewStore.fromScene(node).events, events)
        self.assertTrue(node.GetLocked() and node.GetNthControlPointLocked(0))
        volume = node.GetNodeReference(findingsMarkups.VOLUME_ROLE)
        self.assertEqual(volume.GetName(), "vol")
        outline = node.GetNodeReference(findingsMarkups.OUTLINE_ROLE)
        self.assertEqual(outline.GetSegmentation().GetNumberOfSegments(), 3)
        self.assertFalse(outline.GetDisplayNode().GetVisibility2DFill())
        self.assertIs(panel.ui.inputSelector.currentNode(), volume)
        self.assertIs(panel.ui.findingsSelector.currentNode(), node)
        self.assertEqual(panel.ui.modalityCombo.currentText, "SWI")
        self.assertEqual(panel.ui.summaryLabel.text, "3 findings: 1 accepted, 1 rejected, 1 open")

        panel.ui.findingsTable.selectRow(2)
        panel.ui.acceptButton.click()
        self.assertEqual(verdicts(node), ["accepted", "rejected", "accepted"])
        panel.ui.undoButton.click()
        panel.ui.undoButton.click()
        self.assertEqual(verdicts(node), ["accepted", "undecided", "undecided"], "undo goes on behind the reload")
        self.detect(panel, volume)
        self.assertIn("accepted", verdicts(node), "verdicts are kept after reload, too")

    def test_emptyResultSurvivesReload(self):
        panel = self.makePanel("empty")
        self.detect(panel, makeVolume())
        path = str(Path(self.folder.name) / "scene.mrb")
        slicer.util.saveScene(path)
        slicer.mrmlScene.Clear(False)
        slicer.util.loadScene(path)
        self.assertEqual(panel.ui.summaryLabel.text, "No microbleeds found.")

    def test_findingsThatAreDeletedInAnotherModuleLeaveNothing(self):
        panel, volume = self.makePanel(), makeVolume()
        self.detect(panel, volume)
        panel.enter()
        panel.ui.acceptButton.click()
        panel.exit()
        slicer.mrmlScene.RemoveNode(findingsNode())
        for name in ("MarkupsFiducial", "Segmentation", "Text"):
            self.assertEqual(slicer.util.getNodesByClass(f"vtkMRML{name}Node"), [])
        panel.enter()
        self.assertEqual(panel.ui.findingsTable.rowCount, 0)
        panel.ui.resumeButton.click()
        self.assertEqual(verdicts(findingsNode()), ["accepted", "undecided", "undecided"])

    def test_findingsWithoutTheirScanSaySoAndTakeItBack(self):
        panel, volume = self.makePanel(), makeVolume()
        self.detect(panel, volume)
        panel.ui.acceptButton.click()
        node = findingsNode()
        for path in self.reviews.rglob("*review.json"):
            path.unlink()
        slicer.mrmlScene.RemoveNode(volume)
        panel.ui.findingsSelector.setCurrentNode(node)
        self.assertIn("The scan of “vol microbleeds” is not in the scene", panel.ui.messageLabel.text)
        self.assertFalse(panel.ui.acceptButton.isEnabled())
        panel.ui.inputSelector.setCurrentNode(makeVolume("again"))
        self.assertEqual(panel.ui.summaryLabel.text, "3 findings: 1 accepted, 0 rejected, 2 open")
        slicer.app.processEvents()
        self.assertEqual(len(list(self.reviews.rglob("*review.json"))), 1)

    def test_findingsWhoseScanCannotBeLoadedAreNotJudged(self):
        panel = self.makePanel()
        image = Path(self.folder.name) / "scan.nrrd"
        slicer.util.exportNode(makeVolume(), str(image))
        slicer.mrmlScene.Clear(False)
        self.detect(panel, slicer.util.loadVolume(str(image)))
        scene = str(Path(self.folder.name) / "scene.mrml")
        slicer.util.saveScene(scene)
        slicer.mrmlScene.Clear(False)
        image.unlink()
        with self.assertRaises(RuntimeError):
            slicer.util.loadScene(scene)
        self.assertIn("is not in the scene", panel.ui.messageLabel.text)
        self.assertFalse(panel.ui.acceptButton.isEnabled())

    def test_newPanelShowsTheScene(self):
        panel, volume = self.makePanel(), makeVolume()
        self.detect(panel, volume)
        panel.cleanup()
        again = self.makePanel()
        self.assertIs(again.ui.inputSelector.currentNode(), volume)
        self.assertEqual(again.ui.findingsTable.rowCount, 3)

    def test_cleanedPanelLetsGoOfTheScene(self):
        panel = self.makePanel()
        self.detect(panel, makeVolume())
        panel.cleanup()
        findingsNode().RemoveAllControlPoints()
        slicer.mrmlScene.Clear(False)
        self.assertEqual(panel.ui.findingsTable.rowCount, 0)


class TransformTest(PanelTestCase):
    def checkUnder(self, transform, toWorld):
        panel, volume = self.makePanel(), makeVolume()
        volume.SetAndObserveTransformNodeID(transform.GetID())
        self.detect(panel, volume)
        node = findingsNode()
        expected = np.array([toWorld(position) for position in expectedPositions(volume)])
        np.testing.assert_allclose(worldPositions(node), expected, atol=1e-2)
        self.assertIs(volume.GetParentTransformNode(), transform, "the volume is not hardened")
        outline = node.GetNodeReference(findingsMarkups.OUTLINE_ROLE)
        segmentId = outline.GetSegmentation().GetNthSegmentID(0)
        np.testing.assert_allclose(outline.GetSegmentCenterRAS(segmentId), expected[0], atol=1.0)
        panel.ui.findingsTable.selectRow(1)
        sliceNode = slicer.mrmlScene.GetNodeByID("vtkMRMLSliceNodeRed")
        np.testing.assert_allclose([sliceNode.GetSliceToRAS().GetElement(axis, 3) for axis in range(3)],
                                   expected[1], atol=1e-2)
        return panel, node

    def test_linearParent(self):
        matrix = vtk.vtkMatrix4x4()
        transform = vtk.vtkTransform()
        transform.RotateZ(30)
        transform.Translate(5, -10, 15)
        matrix.DeepCopy(transform.GetMatrix())
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "pose")
        node.SetMatrixTransformToParent(matrix)
        panel, _findings = self.checkUnder(node, lambda position: matrix.MultiplyPoint((*position, 1))[:3])

        before = panel.ui.findingsTable.item(0, 3).text()
        matrix.SetElement(0, 3, matrix.GetElement(0, 3) + 40)
        node.SetMatrixTransformToParent(matrix)
        self.assertNotEqual(panel.ui.findingsTable.item(0, 3).text(), before, "the table follows the transform")

    def detectAndMove(self):
        """Return a panel with one verdict, its volume, and a transform by 25 mm."""
        panel, volume = self.makePanel(), makeVolume()
        self.detect(panel, volume)
        panel.ui.acceptButton.click()
        matrix = vtk.vtkMatrix4x4()
        matrix.SetElement(0, 3, 25.0)
        transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
        transform.SetMatrixTransformToParent(matrix)
        return panel, volume, transform

    def test_findingsGoWithTheirVolume(self):
        panel, volume, transform = self.detectAndMove()
        node, before = findingsNode(), worldPositions(findingsNode())
        volume.SetAndObserveTransformNodeID(transform.GetID())
        np.testing.assert_allclose(worldPositions(node), before + [25, 0, 0], atol=1e-5)
        self.assertIs(node.GetNodeReference(findingsMarkups.OUTLINE_ROLE).GetParentTransformNode(), transform)
        node.HardenTransform()
        np.testing.assert_allclose(worldPositions(node), before + [25, 0, 0], atol=1e-5)
        volume.SetAndObserveTransformNodeID(None)
        np.testing.assert_allclose(worldPositions(node), before, atol=1e-5)
        self.assertEqual([event.action for event in reviewStore.fromScene(node).events], ["detected", "verdict"])

    def test_hardeningIsNoMoveOfAReaderWithASingleFindingToo(self):
        panel, volume, transform = self.detectAndMove()
        panel.ui.thresholdSlider.value = 1.0
        node, before = findingsNode(), worldPositions(findingsNode())
        self.assertEqual(len(before), 1)
        volume.SetAndObserveTransformNodeID(transform.GetID())
        node.HardenTransform()
        np.testing.assert_allclose(worldPositions(node), before + [25, 0, 0], atol=1e-5)
        self.assertEqual([event.action for event in reviewStore.fromScene(node).events], ["detected", "verdict"])
        node.SetNthControlPointPosition(0, *(before[0] + [0, 2, 0]))
        np.testing.assert_allclose(worldPositions(node), before + [25, 2, 0], atol=1e-5)
        self.assertEqual(reviewStore.fromScene(node).events[-1].action, "moved")

    def test_findingsAreNotThoseOfAHardenedVolumeUntilItIsAsBefore(self):
        panel, volume, transform = self.detectAndMove()
        node, origin = findingsNode(), volume.GetOrigin()
        volume.SetAndObserveTransformNodeID(transform.GetID())
        volume.HardenTransform()
        self.assertEqual(panel.ui.findingsTable.rowCount, 0)
        self.assertIn("“vol” was hardened, centered or resampled", panel.ui.messageLabel.text)
        panel.ui.findingsSelector.setCurrentNode(node)
        self.assertFalse(panel.ui.acceptButton.isEnabled())
        volume.SetOrigin(*origin)
        self.assertEqual(panel.ui.summaryLabel.text, "3 findings: 1 accepted, 0 rejected, 2 open")
        volume.SetOrigin(0, 0, 0)
        self.detect(panel, volume)
        self.assertEqual(panel.ui.summaryLabel.text, "3 findings: 0 accepted, 0 rejected, 3 open")
        self.assertIsNot(panel.ui.findingsSelector.currentNode(), node)
        self.assertEqual(verdicts(node), ["accepted", "undecided", "undecided"])

    def test_nonLinearParent(self):
        spline = vtk.vtkThinPlateSplineTransform()
        spline.SetBasisToR()
        source, target = vtk.vtkPoints(), vtk.vtkPoints()
        for corner in np.ndindex(2, 2, 2):
            point = np.array(corner) * 60.0 - 30
            source.InsertNextPoint(point)
            target.InsertNextPoint(point * 1.1 + [0, 3 * corner[0], 2 * corner[1]])
        spline.SetSourceLandmarks(source)
        spline.SetTargetLandmarks(target)
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTransformNode", "warp")
        node.SetAndObserveTransformToParent(spline)
        self.checkUnder(node, spline.TransformPoint)


class DisplayTest(PanelTestCase):
    """Rays and outlines in the views, of several reviews in one scene."""

    def setUp(self):
        super().setUp()
        self.panel = self.makePanel("improbable")
        for name in ("first", "second"):
            self.detect(self.panel, makeVolume(name))

    def select(self, name):
        self.panel.ui.inputSelector.setCurrentNode(slicer.util.getNode(name) if name else None)

    def findings(self, name):
        return findingsMarkups.findingsNodeOf(slicer.util.getNode(name))

    def outline(self, name):
        return self.findings(name).GetNodeReference(findingsMarkups.OUTLINE_ROLE)

    def shown(self):
        """Return the names of what is visible."""
        nodes = [node for findings in findingsMarkups.findingsNodes()
                 for node in (findings, findings.GetNodeReference(findingsMarkups.OUTLINE_ROLE))]
        return [node.GetName() for node in nodes if node.GetDisplayVisibility()]

    def both(self, name):
        return [f"{name} microbleeds", f"{name} microbleeds outline"]

    def test_onlyTheReviewThatIsOpenIsShown(self):
        self.assertEqual(self.shown(), self.both("second"))
        self.select("first")
        self.assertEqual(self.shown(), self.both("first"))
        self.panel.ui.findingsSelector.setCurrentNode(self.findings("second"))
        self.assertEqual(self.shown(), self.both("second"))
        makeVolume("third")
        self.select("third")
        self.assertEqual(self.shown(), [], "it has no review")
        self.select("first")
        self.assertEqual(self.shown(), self.both("first"))

    def test_aDetectionThatEndsForAnotherVolumeShowsNothingOfIt(self):
        makeVolume("third")
        self.select("third")
        self.panel.ui.detectButton.click()
        self.select("first")
        self.waitForEnd(self.panel)
        self.assertIsNotNone(self.findings("third"))
        self.assertEqual(self.shown(), self.both("first"))

    def test_whatTheUserHasHiddenStaysHidden(self):
        self.panel.review.runCommand("outline")
        self.select("first")
        self.outline("first").SetDisplayVisibility(False)
        self.select("second")
        self.assertEqual(self.shown(), [])
        self.select("first")
        self.assertEqual(self.shown(), ["first microbleeds"])
        self.select("second")
        self.panel.review.runCommand("outline")
        self.assertEqual(self.shown(), self.both("second"))

    def test_aSavedSceneComesBackAsItWas(self):
        self.select("first")
        self.panel.review.runCommand("outline")
        self.select("second")
        path = str(Path(self.folder.name) / "scene.mrb")
        slicer.util.saveScene(path)
        slicer.mrmlScene.Clear(False)
        slicer.util.loadScene(path)
        self.assertEqual(self.shown(), self.both("second"))
        self.select("first")
        self.assertEqual(self.shown(), [], "hidden by the user before")
        self.select("second")
        self.assertEqual(self.shown(), self.both("second"))

    def test_aPanelThatIsClosedLeavesTheViewsAsTheyAre(self):
        self.panel.cleanup()
        self.assertEqual(self.shown(), self.both("second"))
        self.makePanel()
        self.assertEqual(self.shown(), self.both("second"))

    def deleteDisplays(self, name):
        for node in (self.findings(name), self.outline(name)):
            slicer.mrmlScene.RemoveNode(node.GetDisplayNode())
            self.assertIsNone(node.GetDisplayNode())

    def checkDisplays(self, name):
        self.assertEqual(self.shown(), self.both(name))
        self.assertEqual(self.findings(name).GetDisplayNode().GetGlyphTypeAsString(), "StarBurst2D")
        outline, display = self.outline(name), self.outline(name).GetDisplayNode()
        self.assertFalse(display.GetVisibility2DFill())
        segmentIds = outline.GetSegmentation().GetSegmentIDs()
        self.assertEqual(sum(map(bool, map(display.GetSegmentVisibility, segmentIds))), 3, "of 15")

    def test_deletedDisplayNodesAreMadeAnew(self):
        self.deleteDisplays("second")
        self.detect(self.panel, slicer.util.getNode("second"))
        self.checkDisplays("second")
        self.deleteDisplays("second")
        self.panel.ui.acceptButton.click()
        self.checkDisplays("second")
        self.deleteDisplays("first")
        self.findings("first").CreateDefaultDisplayNodes()
        self.select("first")
        self.checkDisplays("first")


if __name__ == "__main__":
    unittest.main()

"""Review in the panel: jump, accept, reject, reset; the table is only a view of the markups node."""

import json
import unittest

import numpy as np
import slicer
import vtk
from CMBDetectionLib import findingsMarkups, reviewStore
from CMBDetectionLib.widgets import selectValue
from panelCase import PanelTestCase, column, expectedPositions, findingsNode, makeVolume, verdicts


class ReviewTest(PanelTestCase):
    def setUp(self):
        super().setUp()
        self.panel, self.volume = self.makePanel(), makeVolume()
        self.detect(self.panel, self.volume)
        self.node, self.table = findingsNode(), self.panel.ui.findingsTable

    def segmentColors(self):
        segmentation = self.node.GetNodeReference(findingsMarkups.OUTLINE_ROLE).GetSegmentation()
        return [tuple(segmentation.GetNthSegment(index).GetColor())
                for index in range(segmentation.GetNumberOfSegments())]

    def test_selectingARowCentersAllSlicesAt60Mm(self):
        for sliceNode in slicer.util.getNodesByClass("vtkMRMLSliceNode"):
            sliceNode.SetXYZOrigin(13, -7, 0)  # as after panning
        slicer.mrmlScene.GetNodeByID("vtkMRMLSliceNodeRed").SetDimensions(600, 350, 1)
        self.table.selectRow(2)
        position = expectedPositions(self.volume)[2]
        sliceNodes = slicer.util.getNodesByClass("vtkMRMLSliceNode")
        self.assertGreaterEqual(len(sliceNodes), 3)
        for sliceNode in sliceNodes:
            width, height = sliceNode.GetDimensions()[:2]
            center = sliceNode.GetXYToRAS().MultiplyPoint((width / 2, height / 2, 0, 1))[:3]
            np.testing.assert_allclose(center, position, atol=0.2)
            fieldOfView = sliceNode.GetFieldOfView()
            self.assertAlmostEqual(min(fieldOfView[:2]), 60, places=3)
            self.assertAlmostEqual(fieldOfView[0] / fieldOfView[1], width / height, places=3)

    def test_clickingTheSelectedRowJumpsAgain(self):
        self.table.selectRow(0)
        sliceNode = slicer.mrmlScene.GetNodeByID("vtkMRMLSliceNodeRed")
        sliceNode.SetSliceOffset(-50)
        # as the signal cellClicked does; Qt offers no click that works everywhere
        self.panel.review._onRowSelected(0, 0)
        self.assertAlmostEqual(sliceNode.GetSliceToRAS().GetElement(2, 3), expectedPositions(self.volume)[0][2], 3)

    def test_jumpShowsTheVolumeIfNoViewDoes(self):
        slicer.util.setSliceViewerLayers(background=makeVolume("other"))
        self.table.selectRow(1)
        composite = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")[0]
        self.assertEqual(composite.GetBackgroundVolumeID(), self.volume.GetID())

    def test_jumpKeepsViewsThatShowTheVolumeInFront(self):
        other = makeVolume("other")
        slicer.util.setSliceViewerLayers(background=other, foreground=self.volume)
        self.table.selectRow(1)
        composite = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")[0]
        self.assertEqual(composite.GetBackgroundVolumeID(), other.GetID())

    def test_countsTellHowTheFindingsWereMade(self):
        self.assertIn("auto (given)", self.panel.ui.summaryLabel.toolTip)
        self.assertIn("first-model", self.panel.ui.summaryLabel.toolTip)

    def test_aNewResultStartsAtTheMostProbableFinding(self):
        self.assertEqual(self.table.currentRow(), 0)
        sliceNode = slicer.mrmlScene.GetNodeByID("vtkMRMLSliceNodeRed")
        self.assertAlmostEqual(sliceNode.GetSliceToRAS().GetElement(2, 3), expectedPositions(self.volume)[0][2], 3)

    def test_verdictButtonsNeedARow(self):
        ui = self.panel.ui
        self.table.clearSelection()
        self.assertFalse(ui.acceptButton.isEnabled() or ui.rejectButton.isEnabled() or ui.resetButton.isEnabled())
        self.table.selectRow(0)
        self.assertTrue(ui.acceptButton.isEnabled() and ui.rejectButton.isEnabled())
        self.assertFalse(ui.resetButton.isEnabled())

    def test_acceptStoresAndGoesOn(self):
        self.table.selectRow(0)
        self.panel.ui.acceptButton.click()
        self.assertEqual(verdicts(self.node), ["accepted", "undecided", "undecided"])
        self.assertEqual(json.loads(self.node.GetNthControlPointDescription(0))["probability"], 0.9)
        self.assertTrue(self.node.GetNthControlPointSelected(0))
        self.assertEqual(self.table.currentRow(), 1)
        self.assertIn("accepted", column(self.panel, 4)[0])
        self.assertEqual(self.panel.ui.summaryLabel.text, "3 findings: 1 accepted, 0 rejected, 2 open")
        self.assertNotEqual(self.segmentColors()[0], self.segmentColors()[1])
        sliceNode = slicer.mrmlScene.GetNodeByID("vtkMRMLSliceNodeRed")
        self.assertAlmostEqual(sliceNode.GetSliceToRAS().GetElement(2, 3), expectedPositions(self.volume)[1][2], 3)

    def test_rejectStoresAndGoesOn(self):
        self.table.selectRow(1)
        self.panel.ui.rejectButton.click()
        self.assertEqual(verdicts(self.node), ["undecided", "rejected", "undecided"])
        self.assertFalse(self.node.GetNthControlPointSelected(1))
        self.assertEqual(self.table.currentRow(), 2)

    def test_advanceGoesRoundAndStopsAtTheEnd(self):
        self.table.selectRow(1)
        self.panel.ui.acceptButton.click()
        self.panel.ui.rejectButton.click()
        self.assertEqual(self.table.currentRow(), 0)
        self.panel.ui.acceptButton.click()
        self.assertEqual(verdicts(self.node), ["accepted", "accepted", "rejected"])
        self.assertEqual(self.table.currentRow(), 0)
        self.assertEqual(self.panel.ui.summaryLabel.text, "3 findings: 2 accepted, 1 rejected, 0 open")

    def test_resetTakesTheVerdictBack(self):
        self.table.selectRow(2)
        self.panel.ui.rejectButton.click()
        self.table.selectRow(2)
        self.panel.ui.resetButton.click()
        self.assertEqual(verdicts(self.node), ["undecided", "undecided", "undecided"])
        self.assertTrue(self.node.GetNthControlPointSelected(2))
        self.assertEqual(self.table.currentRow(), 2)
        self.assertFalse(self.panel.ui.resetButton.isEnabled())
        self.assertEqual(len(set(self.segmentColors())), 1)

    def test_aFindingDeletedElsewhereIsRejectedNotLost(self):
        self.table.selectRow(2)
        self.node.RemoveNthControlPoint(0)
        self.assertEqual(column(self.panel, 0), ["1", "2", "3"])
        self.assertEqual(verdicts(self.node), ["rejected", "undecided", "undecided"])
        self.assertEqual(self.table.currentRow(), 2, "the selected finding stays selected")
        self.panel.ui.undoButton.click()
        self.assertEqual(verdicts(self.node), ["undecided"] * 3)
        self.node.RemoveAllControlPoints()
        self.assertEqual(verdicts(self.node), ["rejected"] * 3)

    def test_aPointAddedElsewhereIsAFinding(self):
        self.node.AddControlPointWorld(vtk.vtkVector3d(1, -2, 3), "mine")
        self.assertEqual(column(self.panel, 0), ["1", "2", "3", "4"])
        self.assertEqual(column(self.panel, 1)[3], "–")
        self.assertEqual(column(self.panel, 3)[3], "R 1  P 2  S 3")
        self.assertEqual(verdicts(self.node)[3], "accepted")
        self.node.RemoveNthControlPoint(3)
        self.assertEqual(column(self.panel, 0), ["1", "2", "3"], "what the reader added can be deleted")
        self.panel.ui.undoButton.click()
        np.testing.assert_allclose(self.node.GetNthControlPointPositionWorld(3), (1, -2, 3), atol=1e-6)

    def test_aPointMovedElsewhereIsMovedAndBackAgain(self):
        before = np.array(self.node.GetNthControlPointPosition(1))
        self.node.SetNthControlPointPosition(1, *(before + [2, 0, 0]))
        self.panel.ui.undoButton.click()
        np.testing.assert_allclose(self.node.GetNthControlPointPosition(1), before, atol=1e-6)
        self.panel.ui.redoButton.click()
        np.testing.assert_allclose(self.node.GetNthControlPointPosition(1), before + [2, 0, 0], atol=1e-6)

    def test_whatWasOnScreenAndIsDeletedElsewhereLeavesAnotherOne(self):
        self.node.AddControlPointWorld(vtk.vtkVector3d(1, -2, 3), "mine")
        self.table.selectRow(3)
        self.node.RemoveNthControlPoint(3)
        self.assertEqual(self.table.currentRow(), 0)
        self.panel.review.runCommand("accept")
        self.assertEqual(verdicts(self.node), ["accepted", "undecided", "undecided"])

    def test_aReviewWhoseTextIsDeletedOrDamagedElsewhereGoesOn(self):
        self.panel.ui.acceptButton.click()
        for spoil in (slicer.mrmlScene.RemoveNode, lambda text: text.SetText("{ half")):
            spoil(self.node.GetNodeReference(findingsMarkups.LOG_ROLE))
            before = np.array(self.node.GetNthControlPointPosition(1))
            self.node.SetNthControlPointPosition(1, *(before + [2, 0, 0]))
            session = self.panel.review.session
            np.testing.assert_allclose(session.item(2).position_ras, before + [2, 0, 0], atol=1e-6)
            self.assertEqual(verdicts(self.node), ["accepted", "undecided", "undecided"])
            self.assertEqual(reviewStore.fromScene(self.node).events[-1].action, "moved")
            self.panel.ui.undoButton.click()
            np.testing.assert_allclose(session.item(2).position_ras, before, atol=1e-6)

    def reopenWithoutTheText(self):
        """Open the scene in a new panel after the text of its review was deleted."""
        self.panel.cleanup()
        self.panels.remove(self.panel)
        slicer.mrmlScene.RemoveNode(self.node.GetNodeReference(findingsMarkups.LOG_ROLE))
        self.panel = self.makePanel()
        self.panel.ui.inputSelector.setCurrentNode(self.volume)

    def test_aSceneThatHasLostTheTextGoesOnFromTheFile(self):
        self.panel.ui.acceptButton.click()
        self.reopenWithoutTheText()
        self.assertEqual(verdicts(self.node), ["accepted", "undecided", "undecided"])
        self.panel.review.runCommand("reject")
        self.assertEqual(verdicts(self.node), ["accepted", "rejected", "undecided"])
        self.assertEqual(len(findingsMarkups.findingsNodes()), 1)

    def test_aSceneThatHasLostTheTextAndHasNoFileSaysWhatToDo(self):
        self.reopenWithoutTheText()
        self.assertIn("is missing from the scene or damaged; delete “vol microbleeds”", self.panel.ui.messageLabel.text)
        slicer.mrmlScene.RemoveNode(self.node)
        self.detect(self.panel, self.volume)
        self.assertEqual(self.panel.ui.summaryLabel.text, "3 findings: 0 accepted, 0 rejected, 3 open")

    def test_aDragIsOneMove(self):
        self.node.SetLocked(False)
        self.node.SetNthControlPointLocked(1, False)
        self.table.selectRow(1)
        before = np.array(self.node.GetNthControlPointPosition(1))
        view = slicer.app.layoutManager().sliceWidget("Red").sliceView()
        interactor = view.interactor()
        self.addCleanup(interactor.LeaveEvent)
        x, y = (size // 2 for size in interactor.GetSize())

        def mouseTo(*place):
            interactor.SetEventInformation(*place, 0, 0, chr(0), 0, None)
            interactor.MouseMoveEvent()
            view.forceRender()

        for place in ((x + 40, y + 40), (x + 1, y), (x, y)):
            mouseTo(*place)
        interactor.LeftButtonPressEvent()
        for step in range(1, 8):
            mouseTo(x + 3 * step, y)
            self.assertFalse(self.panel.ui.undoButton.isEnabled(), "not yet")
        interactor.LeftButtonReleaseEvent()
        after = np.array(self.node.GetNthControlPointPosition(1))
        self.assertGreater(np.linalg.norm(after - before), 1.0)
        np.testing.assert_allclose(self.panel.review.session.item(2).position_ras, after, atol=1e-6)
        self.panel.ui.undoButton.click()
        np.testing.assert_allclose(self.node.GetNthControlPointPosition(1), before, atol=1e-6)
        self.assertFalse(self.panel.ui.undoButton.isEnabled())
        self.node.SetNthControlPointPosition(1, *(before + [2, 0, 0]))
        self.assertTrue(self.panel.ui.undoButton.isEnabled(), "a move by code counts at once")

    def test_undoAndRedoShowTheirFinding(self):
        undo, redo = self.panel.ui.undoButton, self.panel.ui.redoButton
        self.assertFalse(undo.isEnabled() or redo.isEnabled())
        self.table.selectRow(0)
        self.panel.ui.acceptButton.click()
        self.panel.ui.rejectButton.click()
        self.assertEqual(self.table.currentRow(), 2)
        undo.click()
        self.assertEqual(verdicts(self.node), ["accepted", "undecided", "undecided"])
        self.assertEqual(self.table.currentRow(), 1)
        sliceNode = slicer.mrmlScene.GetNodeByID("vtkMRMLSliceNodeRed")
        self.assertAlmostEqual(sliceNode.GetSliceToRAS().GetElement(2, 3), expectedPositions(self.volume)[1][2], 3)
        undo.click()
        self.assertEqual(verdicts(self.node), ["undecided"] * 3)
        self.assertFalse(undo.isEnabled())
        redo.click()
        redo.click()
        self.assertEqual(verdicts(self.node), ["accepted", "rejected", "undecided"])
        self.assertFalse(redo.isEnabled())

    def test_nodeRemovedBehindThePanel(self):
        self.table.selectRow(0)
        slicer.mrmlScene.RemoveNode(self.node)
        self.assertEqual(self.table.rowCount, 0)
        self.assertFalse(self.panel.ui.acceptButton.isEnabled())
        self.assertIsNone(self.panel.ui.findingsSelector.currentNode())
        self.assertEqual(self.panel.ui.summaryLabel.text, "No detection yet.")

    def test_eachVolumeHasItsFindings(self):
        other = makeVolume("other")
        self.panel.ui.inputSelector.setCurrentNode(other)
        self.assertEqual(self.table.rowCount, 0)
        self.panel.ui.findingsSelector.setCurrentNode(self.node)
        self.assertIs(self.panel.ui.inputSelector.currentNode(), self.volume)
        self.panel.ui.inputSelector.setCurrentNode(other)
        self.panel.ui.inputSelector.setCurrentNode(self.volume)
        self.assertEqual(self.table.rowCount, 3)


class ThresholdTest(PanelTestCase):
    """Twelve candidates with .48, .46 ... .26 below the three findings; the threshold is .5."""

    def setUp(self):
        super().setUp()
        self.panel = self.makePanel("improbable")
        self.detect(self.panel, makeVolume())
        self.node, self.slider = findingsNode(), self.panel.ui.thresholdSlider

    def visibleOutlines(self):
        outline = self.node.GetNodeReference(findingsMarkups.OUTLINE_ROLE)
        names = outline.GetSegmentation().GetSegmentIDs()
        return sum(bool(outline.GetDisplayNode().GetSegmentVisibility(name)) for name in names)

    def test_theSliderShowsAndHidesUndecidedOnes(self):
        self.assertEqual(self.slider.value, 0.5)
        for threshold, expected in ((0.41, 7), (0.0, 15), (0.85, 1), (0.5, 3)):
            self.slider.value = threshold
            self.assertEqual(self.panel.ui.findingsTable.rowCount, expected)
            self.assertEqual(self.node.GetNumberOfControlPoints(), expected)
            self.assertEqual(self.visibleOutlines(), expected)
            self.assertIn(f"{expected} finding", self.panel.ui.summaryLabel.text)

    def test_whatWasJudgedNeverVanishes(self):
        self.slider.value = 0.41
        self.panel.ui.findingsTable.selectRow(5)
        self.panel.ui.rejectButton.click()
        self.panel.ui.findingsTable.selectRow(0)
        self.panel.ui.acceptButton.click()
        self.slider.value = 0.99
        self.assertEqual(column(self.panel, 0), ["1", "6"])
        self.assertEqual(self.panel.ui.summaryLabel.text, "2 findings: 1 accepted, 1 rejected, 0 open")

    def checkOnScreen(self, number):
        """Check that a finding is the one that the buttons and the views are on."""
        self.assertEqual(self.panel.review.session.current, number)
        table = self.panel.ui.findingsTable
        self.assertEqual(table.item(table.currentRow(), 0).text(), str(number))
        self.assertTrue(self.panel.ui.acceptButton.isEnabled())
        sliceNode = slicer.mrmlScene.GetNodeByID("vtkMRMLSliceNodeRed")
        self.assertAlmostEqual(sliceNode.GetSliceToRAS().GetElement(2, 3),
                               findingsMarkups.worldPositions(self.node)[number][2], 3)

    def rejectAnImprobableOne(self):
        self.slider.value = 0.41
        self.panel.ui.findingsTable.selectRow(5)
        self.panel.ui.rejectButton.click()
        self.slider.value = 0.5

    def test_whatGoesBelowTheThresholdLeavesAnotherFindingOnScreen(self):
        self.rejectAnImprobableOne()
        self.panel.ui.undoButton.click()
        self.assertEqual(column(self.panel, 0), ["1", "2", "3"])
        self.checkOnScreen(1)
        self.assertIn("Finding 6 is open again and below the threshold", self.panel.ui.messageLabel.text)
        self.panel.ui.redoButton.click()
        self.checkOnScreen(6)
        self.panel.ui.resetButton.click()
        self.checkOnScreen(1)

    def test_thatIsAJudgedOneIfNoneIsOpen(self):
        self.panel.ui.findingsTable.selectRow(0)
        for _finding in range(3):
            self.panel.ui.acceptButton.click()
        self.rejectAnImprobableOne()
        self.panel.ui.undoButton.click()
        self.checkOnScreen(1)

    def test_aFindingThatTheSliderHidesLeavesTheNextOpenOneOnScreen(self):
        self.slider.value = 0.41
        table = self.panel.ui.findingsTable
        table.selectRow(0)
        self.panel.ui.acceptButton.click()
        table.selectRow(5)
        self.slider.value = 0.5
        self.checkOnScreen(2)
        self.panel.review.runCommand("reject")
        self.assertEqual(verdicts(self.node), ["accepted", "rejected", "undecided"])
        self.checkOnScreen(3)
        self.slider.value = 0.41
        self.checkOnScreen(3)

    def test_thatIsTheNextOneInTheOrderOfTheTable(self):
        self.slider.value = 0.41
        combo = self.panel.ui.orderCombo
        self.addCleanup(combo.setCurrentIndex, combo.currentIndex)
        selectValue(combo, "slice")
        order = [int(number) for number in column(self.panel, 0)]
        row = next(row for row, number in enumerate(order[:-1]) if number > 3 and order[row + 1] <= 3)
        self.panel.ui.findingsTable.selectRow(row)
        self.slider.value = 0.5
        self.checkOnScreen(order[row + 1])

    def test_aSliderThatHidesNothingLeavesTheViewsAlone(self):
        self.panel.ui.findingsTable.selectRow(1)
        sliceNode = slicer.mrmlScene.GetNodeByID("vtkMRMLSliceNodeRed")
        sliceNode.SetSliceOffset(-50)
        self.slider.value = 0.41
        self.assertEqual(sliceNode.GetSliceOffset(), -50)

    def test_aSliderThatShowsTheFirstFindingsOfACleanScanTurnsToOne(self):
        self.panel.ui.findingsTable.clearSelection()
        self.slider.value = 1.0
        self.assertEqual(self.panel.ui.findingsTable.rowCount, 0)
        self.slider.value = 0.85
        self.checkOnScreen(1)

    def test_searchForMissesShowsTheNextRing(self):
        self.panel.ui.findingsTable.selectRow(0)
        for _finding in range(3):
            self.panel.ui.rejectButton.click()
        self.assertIn("M shows the next less probable ones", self.panel.ui.messageLabel.text)
        self.panel.review.runCommand("misses")
        self.assertEqual(self.panel.ui.messageLabel.text, "")
        self.assertEqual(self.panel.ui.findingsTable.rowCount, 13)
        self.assertEqual(self.panel.ui.findingsTable.currentRow(), 3)
        self.panel.ui.acceptButton.click()
        self.panel.review.runCommand("misses")
        self.assertEqual(self.panel.ui.findingsTable.rowCount, 15)
        self.panel.review.runCommand("misses")
        self.assertEqual(self.panel.ui.messageLabel.text, "All candidates are on screen.")

    def test_twoPanelsOnOneReviewAgree(self):
        other = self.makePanel()
        other.ui.findingsTable.selectRow(1)
        self.slider.value = 0.85
        self.assertEqual(verdicts(self.node), ["undecided"])
        self.assertEqual(other.ui.findingsTable.rowCount, 1)
        self.assertEqual(other.review.session.current, 1, "what was on screen there is hidden")
        self.slider.value = 0.5
        other.ui.findingsTable.selectRow(2)
        other.ui.rejectButton.click()
        self.assertEqual(verdicts(self.node), ["undecided", "undecided", "rejected"])
        self.assertEqual(column(self.panel, 4)[2], "✗ rejected")

    def test_aSecondDetectionStartsAtItsOwnThreshold(self):
        self.slider.value = 0.2
        self.detect(self.panel, self.panel.ui.inputSelector.currentNode())
        self.assertEqual((self.slider.value, self.panel.ui.findingsTable.rowCount), (0.5, 3))


class FirstStepsTest(PanelTestCase):
    def test_threeClicksLeadToAReviewedScan(self):
        panel = self.makePanel()
        self.assertIn("simulated scan", panel.ui.summaryLabel.text)
        panel.ui.sampleButton.click()
        self.assertTrue(panel.ui.sampleButton.isHidden())
        panel.ui.detectButton.click()
        self.waitForEnd(panel)
        panel.ui.acceptButton.click()
        self.assertIn("1 accepted", panel.ui.summaryLabel.text)
        self.assertTrue(panel.review.session.place.is_relative_to(self.reviews), "the module's own folder stays clean")

    def test_theLogIsWrittenAsATable(self):
        panel = self.makePanel()
        self.detect(panel, makeVolume())
        panel.ui.acceptButton.click()
        panel.ui.logButton.click()
        path = panel.ui.messageLabel.text.split(" in ")[-1]
        with open(path, encoding="utf-8") as file:
            rows = [line.split("\t") for line in file]
        self.assertEqual([row[2] for row in rows], ["action", "detected", "verdict"])


if __name__ == "__main__":
    unittest.main()

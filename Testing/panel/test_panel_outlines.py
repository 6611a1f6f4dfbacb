"""Outlines changed in Slicer's Segment Editor and taken back."""

import unittest
from unittest import mock

import numpy as np
import slicer
from CMBDetectionLib import findingsMarkups, findingsOutline, outlineEditing
from microbleeds.read_write import read_labels
from microbleeds.review_sidecar import labels_beside, read_sidecar
from panelCase import PanelTestCase, column, findingsNode, makeVolume


class OutlinesTest(PanelTestCase):
    def setUp(self):
        super().setUp()
        self.panel, self.volume = self.makePanel(), makeVolume()
        self.detect(self.panel, self.volume)
        self.panel.enter()
        self.node = findingsNode()
        self.panel.ui.findingsTable.selectRow(1)

    def regions(self):
        return findingsOutline.regionsOf(self.node, [1, 2, 3])

    def repaint(self, number, grow):
        """Change an outline as the Segment Editor does, in another module."""
        self.panel.exit()
        inside = self.paint(number, grow)
        self.panel.enter()
        return inside

    def paint(self, number, grow=True):
        outline = self.node.GetNodeReference(findingsMarkups.OUTLINE_ROLE)
        inside = (self.regions() == number).astype(np.uint8)
        k, j, i = np.argwhere(inside)[0]
        if grow:
            inside[k, j:j + 5, i:i + 4] = 1
        else:
            inside[:] = 0
        slicer.util.updateSegmentBinaryLabelmapFromArray(
            inside, outline, findingsOutline.segmentIdOf(self.node, number), self.volume)
        return inside.astype(bool)

    def item(self, number):
        return self.panel.review.session.item(number)

    def test_theButtonOpensTheSegmentEditorOnTheOutline(self):
        editor = mock.Mock()
        util = slicer.util
        with mock.patch.object(util, "selectModule") as select, \
                mock.patch.object(util, "getModuleWidget", lambda name: mock.Mock(editor=editor)):
            self.panel.ui.outlineButton.click()
        select.assert_called_once_with("SegmentEditor")
        editor.setCurrentSegmentID.assert_called_once_with(findingsOutline.segmentIdOf(self.node, 2))
        editor.setSourceVolumeNode.assert_called_once_with(self.volume)
        self.assertIn("come back", self.panel.ui.messageLabel.text)

    def test_aFindingWithoutOutlineGetsAnEmptyOne(self):
        self.node.GetNodeReference(findingsMarkups.OUTLINE_ROLE).GetSegmentation().RemoveAllSegments()
        with mock.patch.object(slicer.util, "selectModule"), mock.patch.object(slicer.util, "getModuleWidget"):
            outlineEditing.openEditor(self.node, 3)
        self.assertIsNotNone(findingsOutline.segmentIdOf(self.node, 3))
        self.assertEqual(np.count_nonzero(self.regions()), 0)

    def test_aChangedOutlineIsTakenBackSavedAndUndone(self):
        before = self.regions()
        wanted = self.repaint(2, grow=True)
        volumeMm3 = wanted.sum() * 0.9 * 0.8 * 1.5
        self.assertAlmostEqual(self.item(2).volume_mm3, volumeMm3, 4)
        self.assertEqual(column(self.panel, 2)[1], f"{(6 * volumeMm3 / np.pi) ** (1 / 3):.1f}")
        session = self.panel.review.session
        self.assertEqual(session.state.to_undo.action, "outlined")
        kept = read_labels(labels_beside(session.place)).data
        self.assertEqual(np.count_nonzero(kept == 2), wanted.sum())
        self.panel.ui.undoButton.click()
        np.testing.assert_array_equal(self.regions(), before)
        self.assertFalse(self.item(2).outlined)
        self.panel.ui.redoButton.click()
        np.testing.assert_array_equal(self.regions() == 2, wanted)
        self.assertEqual(np.count_nonzero(read_labels(labels_beside(session.place)).data == 2),
                         wanted.sum())

    def test_anOutlineMayBeErased(self):
        self.repaint(2, grow=False)
        self.assertEqual(self.item(2).diameter_mm, 0)
        self.panel.ui.undoButton.click()
        self.assertGreater(np.count_nonzero(self.regions() == 2), 0)

    def test_readingOutlinesLeavesNothingInTheScene(self):
        before = slicer.mrmlScene.GetNumberOfNodes()
        self.regions()
        self.assertEqual(slicer.mrmlScene.GetNumberOfNodes(), before)

    def test_comingBackWithoutAChangeIsNoEvent(self):
        self.panel.exit()
        self.panel.enter()
        self.assertIsNone(self.panel.review.session.state.to_undo)

    def test_aNewDetectionKeepsTheCorrectedOutline(self):
        wanted = self.repaint(2, grow=True)
        self.detect(self.panel, self.volume)
        np.testing.assert_array_equal(self.regions() == 2, wanted)
        self.assertTrue(self.item(2).outlined)
        self.assertAlmostEqual(self.item(2).volume_mm3, wanted.sum() * 0.9 * 0.8 * 1.5, 4)

    def test_outlinesAreTakenBackBeforeADetectionEndsOrTheSceneCloses(self):
        self.panel.exit()
        self.paint(2)
        self.detect(self.panel, self.volume)
        self.assertTrue(self.item(2).outlined, "a detection that ends meanwhile does not overwrite it")
        place = self.panel.review.session.place
        self.panel.exit()
        self.paint(3)
        slicer.mrmlScene.Clear(False)
        self.assertEqual([event.finding for event in read_sidecar(place).events if event.action == "outlined"], [2, 3])

    def test_anOutlineNodeThatIsDeletedComesBack(self):
        before = self.regions()
        self.panel.exit()
        slicer.mrmlScene.RemoveNode(self.node.GetNodeReference(findingsMarkups.OUTLINE_ROLE))
        self.panel.enter()
        np.testing.assert_array_equal(self.regions(), before)
        self.assertIsNone(self.panel.review.session.state.to_undo)

    def test_undoneRemovalsAndAdditionsBringTheirOutlinesBack(self):
        session = self.panel.review.session
        place = findingsMarkups.worldPositions(self.node)[3]
        session.add((place[0] + 6, place[1], place[2]))
        number = session.current
        region = findingsOutline.regionsOf(self.node, [number])
        self.assertGreater(np.count_nonzero(region), 0)
        self.panel.ui.removeButton.click()
        session.add((place[0], place[1] - 5, place[2]))
        self.assertNotEqual(session.current, number, "a number means one finding in the whole log")
        for _action in range(2):
            self.panel.ui.undoButton.click()
        np.testing.assert_array_equal(findingsOutline.regionsOf(self.node, [number]), region)

    def test_aNewFindingTakesNoVoxelsOfAnother(self):
        before = self.regions() == 1
        place = findingsMarkups.worldPositions(self.node)[1]
        self.panel.review.session.add((place[0] + 1, place[1], place[2]))
        self.panel.ui.undoButton.click()
        np.testing.assert_array_equal(self.regions() == 1, before)
        kept = read_labels(labels_beside(self.panel.review.session.place)).data
        self.assertEqual(np.count_nonzero(kept == 1), np.count_nonzero(before))

    def test_aSegmentOfSomebodyElseIsLeftAlone(self):
        self.panel.exit()
        outline = self.node.GetNodeReference(findingsMarkups.OUTLINE_ROLE)
        own = outline.GetSegmentation().AddEmptySegment("edema", "edema")
        self.panel.enter()
        self.panel.ui.acceptButton.click()
        self.assertTrue(outline.GetDisplayNode().GetSegmentVisibility(own))
        self.assertIsNotNone(outline.GetSegmentation().GetSegment(own))


if __name__ == "__main__":
    unittest.main()

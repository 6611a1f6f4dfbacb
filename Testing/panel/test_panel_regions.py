"""Regions of the brain in the panel: shown, in the order and filter, corrected by a reader, found for what is added."""

import unittest

import qt
import slicer
from CMBDetectionLib import reviewStore
from CMBDetectionLib.volumeNodes import ijkToRas
from microbleeds.review_log import place_of, replay
from panelCase import PanelTestCase, column, findingsNode, makeVolume


class RegionsTest(PanelTestCase):
    def setUp(self):
        super().setUp()
        self.addCleanup(qt.QSettings().remove, "CMBDetection/order")
        self.volume = makeVolume()
        self.panel = self.makePanel("regions")
        self.detect(self.panel, self.volume)
        self.node, self.ui = findingsNode(), self.panel.ui

    def choose(self, combo, value):
        combo.setCurrentIndex(combo.findData(value))

    def chooseRegion(self, value):
        """Choose as a click does: a program's choice sends no "activated"."""
        index = self.ui.regionCombo.findData(value)
        self.ui.regionCombo.setCurrentIndex(index)
        self.panel.review.qualifiers._onRegionChosen(index)

    def state(self):
        return replay(reviewStore.fromScene(self.node).events)

    def regionOf(self, number):
        place = place_of(self.state(), self.state().item(number))
        return (place.side, place.region) if place else None

    def test_theTableSaysWhereAndHowSure(self):
        self.assertEqual(column(self.panel, 3)[:2], ["R parietal", "L thalamus?"])
        self.assertRegex(column(self.panel, 3)[2], "^[RL] [0-9]+  [AP] [0-9]+  [SI] [0-9]+$")
        toolTip = self.ui.findingsTable.item(0, 3).toolTip()
        self.assertIn("R parietal, lobar: region 93% sure", toolTip)
        self.assertIn("mm", toolTip)
        self.assertIn("not known", self.ui.findingsTable.item(2, 3).toolTip())

    def test_orderByRegionIsThatOfTheScale(self):
        self.choose(self.ui.orderCombo, "region")
        self.assertEqual(column(self.panel, 0), ["2", "1", "3"])

    def test_filterByPartOfTheBrain(self):
        summary = self.ui.summaryLabel.text
        for value, expected in (("lobar", ["1"]), ("deep", ["2"]), ("infratentorial", []), ("unknown", ["3"]),
                                ("", ["1", "2", "3"])):
            self.choose(self.ui.regionFilterCombo, value)
            self.assertEqual(column(self.panel, 0), expected, value)
            self.assertEqual(self.ui.summaryLabel.text, summary)

    def test_aReaderCorrectsARegionAndUndoesIt(self):
        self.ui.findingsTable.selectRow(1)
        self.assertFalse(self.ui.regionCombo.isEnabled(), "it belongs to a judged finding")
        self.ui.acceptButton.click()
        self.ui.findingsTable.selectRow(1)
        self.assertEqual(self.ui.regionCombo.itemText(0), "L thalamus?")
        self.chooseRegion("left basal ganglia")
        self.assertEqual(self.regionOf(2), ("left", "basal ganglia"))
        self.assertEqual(column(self.panel, 3)[1], "L basal ganglia")
        self.assertIn("chosen by a reader", self.ui.findingsTable.item(1, 3).toolTip())
        self.ui.undoButton.click()
        self.assertEqual(self.regionOf(2), ("left", "thalamus"))
        self.assertEqual(self.ui.regionCombo.currentIndex, 0)
        self.ui.redoButton.click()
        self.chooseRegion("")
        self.assertEqual(self.regionOf(2), ("left", "thalamus"))

    def test_whatAReaderAddsGetsItsRegionFromTheMap(self):
        place = (ijkToRas(self.volume) @ [8, 13, 7, 1])[:3]
        slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLCrosshairNode").SetCrosshairRAS(*map(float, place))
        self.ui.addButton.click()
        self.assertEqual(self.regionOf(4), ("left", "frontal"))
        self.assertEqual(column(self.panel, 3)[3], "L frontal")

    def test_whatIsMovedGetsTheRegionOfItsNewPlace(self):
        self.assertEqual(self.regionOf(1), ("right", "parietal"))
        place = (ijkToRas(self.volume) @ [8, 13, 7, 1])[:3]
        self.panel.review.session.move(1, place)
        self.assertEqual(self.regionOf(1), ("left", "frontal"))

    def test_theReviewFileHoldsTheRegions(self):
        self.ui.findingsTable.selectRow(0)
        self.ui.acceptButton.click()
        content = next(self.reviews.rglob("*review.json")).read_text(encoding="utf-8")
        self.assertIn('"region": "parietal", "side": "right"', content)


if __name__ == "__main__":
    unittest.main()

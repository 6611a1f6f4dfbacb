"""Work lists: opening, going on, coming back, detection and loading ahead."""

import shutil
import unittest
from pathlib import Path
from unittest import mock

import slicer
from CMBDetectionLib import reviewSession
from microbleeds.review_sidecar import read_sidecar
from panelCase import PanelTestCase, column, makeVolume


class WorkListTest(PanelTestCase):
    def setUp(self):
        super().setUp()
        self.addCleanup(reviewSession.setReaderName, "")
        reviewSession.setReaderName("AB")
        self.data = Path(self.folder.name) / "data"
        self.data.mkdir()
        for name in ("one", "two", "three"):
            volume = makeVolume(name)
            voxels = slicer.util.arrayFromVolume(volume)
            voxels += len(name) + 7 * (name == "two")
            self.assertTrue(slicer.util.exportNode(volume, str(self.data / f"{name}.nrrd")))
            slicer.mrmlScene.RemoveNode(volume)

    def openList(self, scenario="normal"):
        self.panel = self.makePanel(scenario)
        self.list = self.panel.workList
        self.list.open(self.data)
        return self.panel

    def texts(self, index):
        table = self.panel.ui.casesTable
        return [table.item(row, index).text() for row in range(table.rowCount)]

    def next(self):
        self.panel.ui.nextCaseButton.click()

    def waitForFindings(self, count=3):
        self.waitUntil(lambda: self.panel.review.session is not None
                       and len(self.panel.review.session.items) == count, "no findings")

    def waitForAhead(self, count):
        done = [self.data / "derivatives" / "CMBDetection" / name for name in ("one", "three", "two")][:count]
        self.waitUntil(lambda: all(list(folder.glob("*_report.html")) for folder in done)
                       and self.list._detection.case is None, "not detected ahead")

    def acceptAll(self):
        for _finding in range(3):
            self.panel.ui.acceptButton.click()

    def shown(self):
        return self.panel.ui.inputSelector.currentNode().GetName()

    def test_aListShowsItsCases(self):
        self.openList()
        self.assertEqual(self.texts(0), ["one", "three", "two"])
        self.assertEqual(self.texts(1), ["○ open"] * 3)
        self.assertIn("0 of 3 done", self.panel.ui.casesLabel.text)

    def test_aListGoesOnFromTheCaseThatIsOnScreen(self):
        panel = self.makePanel()
        self.detect(panel, slicer.util.loadVolume(str(self.data / "three.nrrd")))
        self.panel, self.list = panel, panel.workList
        self.acceptAll()
        self.list.open(self.data)
        self.assertEqual(self.texts(1), ["○ open", "◐ in progress", "○ open"])
        self.next()
        self.assertEqual(self.texts(1), ["○ open", "✓ done", "○ open"])
        self.assertEqual(self.shown(), "two")

    def test_whatIsNoListIsSaid(self):
        panel = self.openList()
        panel.workList.open(self.data / "nothing")
        self.assertIn("nothing", panel.ui.messageLabel.text)
        self.assertEqual(self.texts(0), ["one", "three", "two"], "the list that was open stays")

    def test_casesAreReadOneAfterTheOther(self):
        self.openList()
        self.next()
        self.waitForFindings()
        self.assertEqual(self.shown(), "one")
        self.acceptAll()
        self.waitForAhead(3)
        self.panel.review.runCommand("case")
        self.assertEqual(self.shown(), "three")
        self.assertEqual(len(self.panel.review.session.items), 3, "it was detected ahead, so nobody waits")
        self.assertEqual(self.texts(1), ["✓ done", "○ open", "○ open"])
        self.assertEqual((self.texts(2)[0], self.texts(3)[0], self.texts(4)[0]), ("AB", "3", "0"))
        self.assertIn("1 of 3 done · AB 1", self.panel.ui.casesLabel.text)
        state = read_sidecar(self.data / "one_desc-cmb_review.json").events[-1]
        self.assertEqual((state.action, state.value, state.reader), ("finished", True, "AB"))

    def test_aCaseThatIsLeftIsOutOfTheScene(self):
        self.openList()
        self.next()
        self.waitForFindings()
        self.acceptAll()
        self.waitForAhead(3)
        before = slicer.mrmlScene.GetNumberOfNodes()
        self.next()
        names = [node.GetName() for node in slicer.util.getNodesByClass("vtkMRMLNode")]
        self.assertEqual([name for name in names if name.startswith("one")], [])
        self.assertLessEqual(slicer.mrmlScene.GetNumberOfNodes(), before)

    def test_openFindingsAreAskedAboutOnce(self):
        self.openList()
        self.next()
        self.waitForFindings()
        self.panel.ui.rejectButton.click()
        self.next()
        self.assertEqual(self.shown(), "one")
        self.assertIn("2 findings are still open", self.panel.ui.messageLabel.text)
        self.next()
        self.assertEqual(self.shown(), "three")
        self.assertEqual(self.texts(1)[0], "◐ in progress")

    def test_aCaseIsComeBackToAsItWasLeft(self):
        self.openList()
        self.next()
        self.waitForFindings()
        self.panel.ui.rejectButton.click()
        for _asked in range(2):
            self.next()
        self.waitForFindings()
        self.list.openCase(self.list.cases[0])
        self.assertEqual(column(self.panel, 4), ["✗ rejected", "open", "open"])
        self.assertEqual(self.panel.review.session.current, 2, "at the finding where it stopped")

    def test_afterTheLastCaseTheFirstOpenOneComesAgainThenNone(self):
        self.openList()
        self.next()
        self.waitForFindings()
        self.next()
        for _case in range(2):
            self.next()
            self.waitForFindings()
            self.acceptAll()
        self.next()
        self.assertEqual(self.shown(), "one")
        self.waitForFindings()
        self.acceptAll()
        self.next()
        self.assertIn("No other case is open", self.panel.ui.messageLabel.text)
        self.assertEqual(self.texts(1), ["✓ done"] * 3)

    def test_aScanWithoutFindingsIsDoneToo(self):
        self.openList("empty")
        self.next()
        self.waitForFindings(0)
        self.next()
        self.assertEqual(self.texts(1)[0], "✓ done")
        self.assertTrue((self.data / "one_desc-cmb_review.json").exists())

    def test_resultsOfACohortAreTakenUp(self):
        self.openList()
        self.next()
        self.waitForFindings()
        self.waitForAhead(3)
        self.panel.cleanup()
        slicer.mrmlScene.Clear(0)
        results = self.data / "derivatives" / "CMBDetection"
        (results / "sub-one").mkdir()
        (results / "one").rename(results / "sub-one" / "anat")
        self.openList("slow")
        self.next()
        self.waitForFindings()
        self.assertEqual(self.shown(), "one")
        self.assertFalse((results / "one").exists(), "detected once more")

    def test_aFailedDetectionIsARowAndTheListGoesOn(self):
        self.openList("badInput")
        with self.assertLogs(level="ERROR"):
            self.next()
            self.waitUntil(lambda: self.texts(1) == ["✗ failed"] * 3, "no failure was shown", seconds=30)
        self.assertIn("4 dimensions", self.panel.ui.casesTable.item(0, 1).toolTip())
        self.assertIn("4 dimensions", self.panel.ui.messageLabel.text)

    def test_aFileThatCannotBeLoadedIsARow(self):
        self.openList()
        (self.data / "one.nrrd").write_bytes(b"damaged")
        with self.assertLogs(level="ERROR"):
            self.next()
        self.assertEqual(self.texts(1)[0], "✗ failed")
        self.next()
        self.assertEqual(self.shown(), "three")

    def test_closingThePanelEndsTheDetection(self):
        self.openList("slow")
        self.next()
        self.waitUntil(lambda: "34 %" in self.panel.ui.messageLabel.text, "no progress was shown")
        self.assertTrue(self.childIsAlive())
        self.panel.cleanup()
        self.waitUntil(lambda: not self.childIsAlive(), "the engine still runs")
        shutil.rmtree(self.data / "derivatives", ignore_errors=True)

    def test_aReviewThatCannotBeSavedIsNotLeft(self):
        self.openList()
        self.next()
        self.waitForFindings()
        with mock.patch("CMBDetectionLib.reviewSession.write_text", side_effect=OSError(28, "No space left on device")):
            with self.assertLogs(level="WARNING"):
                self.acceptAll()
                self.next()
            self.assertEqual(self.shown(), "one")
            self.assertIn("No space left", self.panel.ui.messageLabel.text)
        self.next()
        self.assertEqual(self.shown(), "three")
        self.assertEqual(self.texts(1)[0], "✓ done")

    def test_anotherListWithTheSameNamesHasItsOwnVolumes(self):
        self.openList()
        self.next()
        self.waitForFindings()
        other = Path(self.folder.name) / "other"
        other.mkdir()
        shutil.copy(self.data / "two.nrrd", other / "one.nrrd")
        self.list.open(other)
        self.next()
        self.waitForFindings()
        volume = self.panel.ui.inputSelector.currentNode()
        self.assertEqual(Path(volume.GetStorageNode().GetFileName()), other / "one.nrrd")
        self.panel.ui.acceptButton.click()
        self.assertTrue((other / "one_desc-cmb_review.json").exists())

    def test_theNextCaseIsNotAnotherSequenceOfThisOne(self):
        self.openList()
        self.next()
        self.waitForFindings()
        self.waitUntil(lambda: len(self.list._volumes) == 2, "the next case was not loaded ahead")
        self.panel.review.runCommand("sequence")
        self.assertIn("one", self.panel.ui.messageLabel.text)

    def test_aDetectionThatEndsAfterItsVolumeIsGoneShowsNothing(self):
        self.openList()
        self.next()
        slicer.mrmlScene.RemoveNode(self.panel.ui.inputSelector.currentNode())
        self.waitUntil(lambda: self.list._detection.case is not self.list.cases[0], "the detection has not ended")
        self.assertEqual(slicer.util.getNodesByClass("vtkMRMLMarkupsFiducialNode"), [])

    def test_memoryThatRanOutDoesNotFailTheWholeList(self):
        self.openList("memory")
        with self.assertLogs(level="ERROR"):
            self.next()
            self.waitUntil(lambda: self.texts(1)[0] == "✗ failed", "no failure was shown")
        self.assertEqual(self.texts(1), ["✗ failed", "○ open", "○ open"])

    def test_jumpingAboutLeavesNoVolumesBehind(self):
        self.openList()
        for index in (0, 2, 1, 0):
            self.list.openCase(self.list.cases[index])
            self.waitForFindings()
        self.assertLessEqual(len(slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")), 2)

    def test_aSceneThatIsClosedDoesNotEndTheList(self):
        self.openList()
        self.next()
        self.waitForFindings()
        self.panel.ui.acceptButton.click()
        slicer.mrmlScene.Clear(False)
        self.next()
        self.waitForFindings()
        self.assertEqual(self.texts(1)[0], "◐ in progress")


if __name__ == "__main__":
    unittest.main()

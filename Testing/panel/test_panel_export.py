"""Export from the panel with the real engine: what is ticked, nothing overwritten, nothing unreviewed by accident."""

import csv
import json
import unittest
from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np
import qt
import slicer
from CMBDetectionLib import exportControls, findingsMarkups, reviewSession
from CMBDetectionLib.engineProcess import EngineCommand, defaultCommand
from CMBDetectionLib.volumeNodes import ijkToRas
from CMBDetectionLib.widgets import selectValue
from microbleeds.export.pair_answers import FILE_NAME as PAIRS_NAME
from microbleeds.export.pair_answers import read_questions, table_beside, write_questions
from microbleeds.read_write import read_labels
from microbleeds.review_files import FILE_NAME, Review, ReviewedFinding, write_review
from microbleeds.review_log import REGION
from panelCase import PanelTestCase, column, makeVolume


class ExportTest(PanelTestCase):
    def setUp(self):
        super().setUp()
        for key in ("CMBDetection/exportFormats", "CMBDetection/exportFolder"):
            qt.QSettings().remove(key)
            self.addCleanup(qt.QSettings().remove, key)
        self.volume = makeVolume("sub-07_swi")
        self.panel = self.makePanel("regions")
        self.detect(self.panel, self.volume)
        self.panel.export._command = defaultCommand()
        self.ui = self.panel.ui
        self.target = Path(self.folder.name) / "exported"
        self.target.mkdir()

    def tick(self, *names):
        for row in range(self.ui.exportList.count):
            item = self.ui.exportList.item(row)
            item.setCheckState(qt.Qt.Checked if item.data(qt.Qt.UserRole) in names else qt.Qt.Unchecked)

    def chooseFolder(self):
        with mock.patch.object(qt.QFileDialog, "getExistingDirectory", lambda *rest: str(self.target)):
            self.ui.exportFolderButton.click()

    def export(self):
        self.ui.exportButton.click()
        self.waitUntil(lambda: self.ui.exportButton.text == "Export", "the export has not ended", 60)

    def judge(self):
        self.ui.findingsTable.selectRow(0)
        self.ui.acceptButton.click()
        self.ui.rejectButton.click()

    def files(self):
        return sorted(path.name for path in self.target.rglob("*") if path.is_file())

    def test_whatIsTickedIsWritten(self):
        self.judge()
        self.tick("page", "tables", "labels", "segmentation", "cohort")
        self.assertFalse(self.ui.exportButton.isEnabled(), "no folder yet")
        self.chooseFolder()
        self.export()
        self.assertIn("Exported to", self.ui.messageLabel.text)
        stem = "sub-07_swi_desc-cmb"
        for name in (f"{stem}_reading.html", "cmb_findings.tsv", "cmb_subjects.csv", f"{stem}_labels.nii.gz",
                     f"{stem}.seg.nrrd", "cmb_cohort.tsv"):
            self.assertIn(name, self.files())
        with open(self.target / "cmb_findings.tsv", encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file, delimiter="\t"))
        self.assertEqual([row["verdict"] for row in rows], ["accepted", "rejected", "undecided"])
        self.assertEqual((rows[0]["region"], rows[0]["side"], rows[0]["subject"]), ("parietal", "right", "07"))
        world = self.panel.review.session.items[0].position_ras
        np.testing.assert_allclose([float(rows[0][f"{axis}_mm"]) for axis in "RAS"], world, atol=1e-6)
        self.assertEqual(set(np.unique(read_labels(self.target / f"{stem}_labels.nii.gz").data)), {0, 1})
        segmentation = slicer.util.loadSegmentation(str(self.target / f"{stem}.seg.nrrd"))
        self.assertEqual(segmentation.GetSegmentation().GetNumberOfSegments(), 1)

    def test_nothingIsReplacedUnlessAsked(self):
        self.judge()
        self.tick("page")
        self.chooseFolder()
        self.export()
        page = self.target / "sub-07_swi_desc-cmb_reading.html"
        page.write_text("mine", encoding="utf-8")
        self.tick("tables", "page", "cohort")
        self.export()
        self.assertIn("reading.html exists already", self.ui.messageLabel.text)
        self.assertEqual(page.read_text(encoding="utf-8"), "mine")
        self.assertEqual(self.files(), [page.name], "nor is anything else written")
        self.ui.exportOverwriteCheck.setChecked(True)
        self.export()
        self.assertIn("not for clinical use", page.read_text(encoding="utf-8"))

    def test_aScanThatNobodyHasReviewedIsExportedOnlyWhenAsked(self):
        self.tick("page")
        self.chooseFolder()
        self.export()
        self.assertIn("not reviewed", self.ui.messageLabel.text)
        self.assertEqual(self.files(), [])
        self.ui.exportUnreviewedCheck.setChecked(True)
        self.export()
        self.assertIn("nreviewed", (self.target / "sub-07_swi_desc-cmb_reading.html").read_text(encoding="utf-8"))

    def test_dicomNeedsAScanFromDicom(self):
        self.judge()
        self.tick("dicom")
        self.chooseFolder()
        self.ui.exportButton.click()
        self.assertIn("not loaded from DICOM", self.ui.messageLabel.text)
        self.assertEqual(self.ui.exportButton.text, "Export")

    def test_aRunningExportIsCancelled(self):
        self.judge()
        self.tick("page")
        self.chooseFolder()
        self.panel.export._command = self.deafCommand()
        self.ui.exportButton.click()
        self.waitUntil(self.pidFile.exists, "the engine has not started")
        self.assertEqual(self.ui.exportButton.text, "Cancel")
        self.export()
        self.assertIn("cancelled", self.ui.messageLabel.text)
        self.assertFalse(self.childIsAlive())

    def test_theChoiceIsKept(self):
        self.tick("bids", "points")
        other = self.makePanel().export
        self.assertEqual(sorted(other._chosen()), ["bids", "points"])

    def test_aBaselineBelongsToOneReview(self):
        with mock.patch.object(qt.QFileDialog, "getOpenFileName", lambda *rest: ("/data/early.nii.gz", "")):
            self.ui.exportBaselineButton.click()
        self.assertEqual(self.ui.exportBaselineLabel.text, "early.nii.gz")
        self.detect(self.panel, makeVolume("other"))
        self.assertEqual(self.ui.exportBaselineLabel.text, "Not compared")

    def chooseBaseline(self, modality="swi", apartMm=3.5):
        """An earlier scan with finding 1 some mm away from where it is now, on the same voxels but one."""
        earlier = Path(self.folder.name) / "earlier.nrrd"
        node = slicer.modules.volumes.logic().CloneVolume(slicer.mrmlScene, self.volume, "earlier")
        slicer.util.arrayFromVolume(node)[0, 0, 0] += 1
        slicer.util.saveNode(node, str(earlier))
        slicer.mrmlScene.RemoveNode(node)
        place = np.add(self.panel.review.session.items[0].position_ras, (apartMm, 0, 0))
        write_review(earlier.with_name(FILE_NAME.format("earlier")), Review(earlier.name, "", modality, "Bo", (
            ReviewedFinding(7, tuple(place.tolist()), 0.0, "accepted", True),)))
        with mock.patch.object(qt.QFileDialog, "getOpenFileName", lambda *rest: (str(earlier), "")):
            self.ui.exportBaselineButton.click()
        # voxels of noise cannot be registered: this engine takes them as they lie
        code = ("import numpy, sys; from microbleeds import cli, longitudinal; "
                "from microbleeds.rigid_registration import Registration; "
                "longitudinal.register = lambda fixed, moving: Registration(numpy.eye(4), 1.0); "
                "sys.exit(cli.main(sys.argv[1:]))")
        self.panel.export._command = EngineCommand(defaultCommand().program, ("-c", code))

    def report(self):
        return (self.target / "sub-07_swi_desc-cmb_reading.html").read_text(encoding="utf-8")

    def questions(self):
        table = self.ui.pairsTable
        return [[table.item(row, column).text() for column in range(3)] for row in range(table.rowCount)]

    def test_anAmbiguousPairIsAskedOnceAndTheAnswerIsInTheReport(self):
        reviewSession.setReaderName("Ada")
        self.addCleanup(qt.QSettings().remove, "CMBDetection/reader")
        self.judge()
        self.tick("page")
        self.chooseFolder()
        self.chooseBaseline()
        self.assertTrue(self.ui.pairsTable.isHidden())
        self.export()
        self.assertIn("No. 1 may have been 7", self.report())
        self.assertIn("1 of the microbleeds may be new or not: answer below", self.ui.messageLabel.text)
        self.assertIn("sequence of the follow-up is not known", self.ui.messageLabel.toolTip)
        self.assertFalse(self.ui.pairsTable.isHidden())
        self.assertEqual(self.questions(), [["1", "7 (3.5 mm)", "not sure"]])

        for sliceNode in slicer.util.getNodesByClass("vtkMRMLSliceNode"):
            sliceNode.JumpSliceByCentering(0, 0, 0)
        self.ui.pairsTable.selectRow(0)
        place = findingsMarkups.worldPositions(self.panel.review.session.node)[1]
        for sliceNode in slicer.util.getNodesByClass("vtkMRMLSliceNode"):
            toRas = sliceNode.GetSliceToRAS()
            np.testing.assert_allclose([toRas.GetElement(row, 3) for row in range(3)], place, atol=1e-6)
        choices = self.ui.pairAnswerSelector
        self.assertEqual([choices.itemText(index) for index in range(choices.count)],
                         ["Not sure", "New", "Same as 7 of the baseline"])

        choices.setCurrentIndex(2)
        self.assertEqual(self.questions()[0][2], "same as 7")
        kept = table_beside(self.panel.review.session.place)
        self.assertIn("\t7\tAda\t", kept.read_text(encoding="utf-8"))
        self.ui.exportOverwriteCheck.setChecked(True)
        self.export()
        self.assertIn("No. 1 was 7 (3.5 mm apart), answered by Ada", self.report())
        self.assertNotIn("answer below", self.ui.messageLabel.text)
        self.assertEqual(self.questions()[0][2], "same as 7", "it can still be changed")

        choices.setCurrentIndex(1)
        self.export()
        self.assertIn("1: No. 1, answered by Ada", self.report())
        choices.setCurrentIndex(0)
        self.assertNotIn("Ada", kept.read_text(encoding="utf-8"), "an answer can be taken back")
        choices.setCurrentIndex(2)

        self.ui.exportBaselineButton.click()
        self.assertTrue(self.ui.pairsTable.isHidden(), "another baseline has other questions")
        other = self.makePanel("regions")
        self.assertEqual(other.review.session.place, self.panel.review.session.place)
        self.assertTrue(other.export._questions.answersFile(), "the answers stay with the review")

    def test_onlyTheQuestionsOfThisComparisonAreAsked(self):
        self.judge()
        self.tick("page")
        self.chooseFolder()
        self.chooseBaseline()
        self.export()
        table = self.target / PAIRS_NAME.format("sub-07_swi")
        asked, = read_questions(table)
        others = replace(asked, baseline="b.nrrd", baseline_sha256="1")
        write_questions(table, (replace(asked, finding=2), others, asked))
        self.ui.exportOverwriteCheck.setChecked(True)
        self.export()
        self.assertEqual(len(read_questions(table)), 3)
        self.assertEqual(self.questions(), [["1", "7 (3.5 mm)", "not sure"]])
        self.ui.pairsTable.selectRow(0)
        self.ui.pairAnswerSelector.setCurrentIndex(1)
        self.assertEqual(self.panel.export._questions.openCount, 0)
        self.export()
        self.assertNotIn("answer below", self.ui.messageLabel.text)

        self.ui.pairsTable.selectRow(0)
        self.ui.pairAnswerSelector.setCurrentIndex(0)
        self.export()
        self.assertEqual(self.questions(), [["1", "7 (3.5 mm)", "not sure"]], "what is taken back does not return")
        self.assertIn("No. 1 may have been 7", self.report())
        self.assertEqual([one.answer for one in read_questions(table)], ["", "", ""])

    def test_anAnswerThatCannotBeKeptIsTold(self):
        self.judge()
        self.tick("page")
        self.chooseFolder()
        self.chooseBaseline()
        self.export()
        self.ui.pairsTable.selectRow(0)
        kept = table_beside(self.panel.review.session.place)
        kept.mkdir(parents=True)
        self.ui.pairAnswerSelector.setCurrentIndex(1)
        self.assertIn(kept.name, self.ui.messageLabel.text)
        self.assertEqual((self.questions()[0][2], self.ui.pairAnswerSelector.currentIndex), ("not sure", 0))

    def test_aBaselineOfAnotherSequenceIsRefusedWithTheReason(self):
        selectValue(self.ui.modalityCombo, "swi")
        self.detect(self.panel, self.volume)
        self.judge()
        self.tick("page", "tables")
        self.chooseFolder()
        self.chooseBaseline(modality="qsm")
        self.export()
        message = self.ui.messageLabel.text
        self.assertIn("earlier.nrrd and sub-07_swi", message)
        self.assertIn("cannot be compared: The baseline is QSM and the follow-up is SWI", message)
        self.assertEqual(self.files(), [])

    def importing(self, path, takeTheirs=False):
        with mock.patch.object(qt.QFileDialog, "getOpenFileName", lambda *rest: (str(path), "")), \
                mock.patch.object(slicer.util, "confirmYesNoDisplay", return_value=takeTheirs) as asked:
            self.ui.importButton.click()
        return asked

    def foreignTable(self):
        """A table with finding 1 rejected, 2 accepted, and a point that is not there."""
        places = [item.position_ras for item in self.panel.review.session.items[:2]]
        places.append((ijkToRas(self.volume) @ [8, 13, 7, 1])[:3])
        rows = [[*map(repr, map(float, place)), verdict, comment] for place, verdict, comment in zip(
            places, ("rejected", "accepted", ""), ("", "„klein“ 小", "new one"), strict=True)]
        path = Path(self.folder.name) / "theirs.tsv"
        path.write_text("\n".join("\t".join(row) for row in [["R_mm", "A_mm", "S_mm", "verdict", "comment"], *rows]),
                        encoding="utf-8")
        return path

    def test_aForeignReviewIsTakenOverAndContradictionsAreAsked(self):
        self.ui.findingsTable.selectRow(0)
        self.ui.acceptButton.click()
        asked = self.importing(self.foreignTable())
        self.assertEqual(asked.call_count, 1)
        self.assertIn("2 matched, 1 added, 1 of yours not in the file, 1 conflicts", self.ui.messageLabel.text)
        items = {item.id: item for item in self.panel.review.session.items}
        self.assertEqual([items[n].verdict for n in (1, 2, 3, 4)], ["accepted", "accepted", "undecided", "accepted"])
        self.assertEqual((items[2].comment, items[4].comment), ("„klein“ 小", "new one"))
        self.importing(self.foreignTable(), takeTheirs=True)
        items = {item.id: item for item in self.panel.review.session.items}
        self.assertEqual((items[1].verdict, len(items)), ("rejected", 4))

    def test_regionsThatAReaderHasCorrectedComeOver(self):
        session = self.panel.review.session
        session.act(REGION, 1, {"region": "insula", "side": "left"})
        session.act(REGION, 2, {"region": "cerebellum", "side": "right"})
        path = Path(self.folder.name) / "theirs_review.json"
        path.write_text(session.text(), encoding="utf-8")
        session.undo()
        session.undo()
        self.assertEqual(self.importing(path).call_count, 0)
        self.assertEqual([item.chosen_region for item in session.items],
                         [("insula", "left"), ("cerebellum", "right"), None])
        self.assertIn("L insula", column(self.panel, 3))

        session.act(REGION, 1, {"region": "frontal", "side": "right"})
        asked = self.importing(path)
        self.assertIn("Finding 1 lies in “frontal, right” here, and in “insula, left” by their “CMB-1”.",
                      asked.call_args[0][0])
        self.assertEqual(session.item(1).chosen_region, ("frontal", "right"))
        self.importing(path, takeTheirs=True)
        self.assertEqual(session.item(1).chosen_region, ("insula", "left"))
        session.undo()
        self.assertEqual(session.item(1).chosen_region, ("frontal", "right"))

    def test_aFileThatIsNoReviewChangesNothing(self):
        path = Path(self.folder.name) / "nothing.fcsv"
        path.write_text("", encoding="utf-8")
        before = self.panel.review.session.text()
        self.importing(path)
        self.assertIn("nothing.fcsv is empty", self.ui.messageLabel.text)
        self.assertEqual(self.panel.review.session.text(), before)

    def test_theListNamesWhatTheEngineCanWrite(self):
        from microbleeds.export_commands import FORMATS

        self.assertEqual(set(exportControls.formatTexts()) - {"cohort"}, set(FORMATS))

    def test_theReviewThatIsExportedIsTheOneOnScreen(self):
        self.judge()
        self.tick("training")
        self.chooseFolder()
        self.export()
        review = next(self.target.rglob("*_review.json"))
        content = json.loads(review.read_text(encoding="utf-8"))
        self.assertEqual([finding["verdict"] for finding in content["findings"]],
                         ["accepted", "rejected", "undecided"])


if __name__ == "__main__":
    unittest.main()

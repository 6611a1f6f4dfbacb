"""Export from the panel with the real engine: what is ticked, nothing overwritten, nothing unreviewed by accident."""

import csv
import json
import unittest
from pathlib import Path
from unittest import mock

import numpy as np
import qt
import slicer
from CMBDetectionLib import exportControls
from CMBDetectionLib.engineProcess import defaultCommand
from CMBDetectionLib.volumeNodes import ijkToRas
from microbleeds.read_write import read_labels
from panelCase import PanelTestCase, makeVolume


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
        self.export()
        self.assertIn("reading.html", self.ui.messageLabel.text)
        self.assertEqual(page.read_text(encoding="utf-8"), "mine")
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

"""A reading in the panel with the network refused: in this process, in the engine's, and in that of the export."""

import sys
import tempfile
import unittest
from pathlib import Path
from unittest import mock

import qt
import slicer
from CMBDetectionLib import reviewStore
from CMBDetectionLib.engineProcess import EngineCommand, defaultCommand
from panelCase import PanelTestCase, findingsNode, makeVolume, verdicts

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import network_guard


class NoNetworkTest(PanelTestCase):
    def setUp(self):
        super().setUp()
        for key in ("CMBDetection/exportFormats", "CMBDetection/exportFolder"):
            qt.QSettings().remove(key)
            self.addCleanup(qt.QSettings().remove, key)
        guarded = tempfile.TemporaryDirectory()
        self.addCleanup(guarded.cleanup)
        self.attempts = Path(guarded.name) / "attempts"

    def test_aReadingFromDetectionToExportReachesNobody(self):
        target = Path(self.folder.name) / "exported"
        target.mkdir()
        with network_guard.refused(self.attempts):
            panel = self.makePanel("regions")
            ui = panel.ui
            self.detect(panel, makeVolume("sub-07_swi"))
            ui.findingsTable.selectRow(0)
            ui.acceptButton.click()
            ui.rejectButton.click()
            self.assertEqual(verdicts(findingsNode()), ["accepted", "rejected", "undecided"])
            self.assertEqual(len(reviewStore.fromScene(findingsNode()).events), 3)
            panel.export._command = defaultCommand()
            wanted = ("page", "tables", "points", "segmentation", "labels", "bids", "training")
            for row in range(ui.exportList.count):
                item = ui.exportList.item(row)
                item.setCheckState(qt.Qt.Checked if item.data(qt.Qt.UserRole) in wanted else qt.Qt.Unchecked)
            with mock.patch.object(qt.QFileDialog, "getExistingDirectory", lambda *rest: str(target)):
                ui.exportFolderButton.click()
            ui.exportButton.click()
            self.waitUntil(lambda: ui.exportButton.text == "Export", "the export has not ended", 60)
            slicer.app.processEvents()
        self.assertIn("Exported to", ui.messageLabel.text)
        written = {str(path.relative_to(target)) for path in target.rglob("*") if path.is_file()}
        stem = "sub-07_swi_desc-cmb"
        for name in (f"{stem}_reading.html", "cmb_findings.tsv", f"{stem}_points.fcsv", f"{stem}.seg.nrrd",
                     f"{stem}_labels.nii.gz", "bids/dataset_description.json", "training/splits.json"):
            self.assertIn(name, written)
        self.assertFalse(self.attempts.exists(), self._told())

    def test_theGuardHoldsInTheProcessesOfThePanelToo(self):
        """Else the test above would prove nothing: an engine that asks for a socket is refused, and it is noted."""
        code = "import socket; socket.create_connection(('192.0.2.1', 80))"
        with network_guard.refused(self.attempts):
            panel = self.makePanel(command=EngineCommand(defaultCommand().program, ("-c", code)))
            self.detect(panel, makeVolume())
        self.assertIn("socket.", self._told())
        self.assertIn("192.0.2.1", self._told())

    def _told(self):
        return self.attempts.read_text(encoding="utf-8") if self.attempts.exists() else ""


if __name__ == "__main__":
    unittest.main()

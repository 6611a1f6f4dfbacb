"""A reader's Slicer is killed in the middle of a review; the next one goes on from its last verdict."""

import os
import signal
import subprocess
import sys
import unittest
from pathlib import Path

import slicer
from microbleeds.review_log import replay
from microbleeds.review_sidecar import read_sidecar
from panelCase import PanelTestCase, findingsNode, makeVolume, verdicts

TESTING = Path(__file__).resolve().parents[1]


class KilledTest(PanelTestCase):
    def test_nothingIsLost(self):
        image = Path(self.folder.name) / "sub-1_swi.nii.gz"
        volume = makeVolume()
        slicer.util.exportNode(volume, str(image))
        slicer.mrmlScene.Clear(False)
        paths = os.pathsep.join([str(TESTING), str(TESTING.parent / "CMBDetection")])
        ended = subprocess.run(
            [sys.executable, "-m", "Headless", "--python-script", str(TESTING / "panel" / "fakes" / "reading.py")],
            env={**os.environ, "PYTHONPATH": paths, "READING_IMAGE": str(image)}, check=False, timeout=60)
        self.assertEqual(ended.returncode, -signal.SIGKILL)

        sidecar = read_sidecar(image.with_name("sub-1_swi_desc-cmb_review.json"))
        self.assertEqual([event.action for event in sidecar.events],
                         ["detected", "verdict", "verdict", "undone", "verdict", "mimic_kind"])
        self.assertEqual(replay(sidecar.events).item(2).mimic_kind, "vessel")
        panel = self.makePanel()
        panel.ui.inputSelector.setCurrentNode(slicer.util.loadVolume(str(image)))
        self.assertIn("2 judged", panel.ui.summaryLabel.text)
        panel.ui.resumeButton.click()
        self.assertEqual(verdicts(findingsNode()), ["accepted", "rejected", "undecided"])
        self.assertEqual(panel.ui.findingsTable.currentRow(), 2)
        panel.ui.undoButton.click()
        panel.ui.undoButton.click()
        self.assertEqual(verdicts(findingsNode()), ["accepted", "undecided", "undecided"])


if __name__ == "__main__":
    unittest.main()

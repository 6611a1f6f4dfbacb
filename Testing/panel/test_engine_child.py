"""The panel on the true engine: child interpreter, module path, exchange of files. Skipped where that cannot run."""

import importlib.util
import sys
import time
import unittest

import numpy as np
import slicer
from CMBDetectionLib import dependencies, findingsMarkups
from CMBDetectionLib.engineProcess import defaultCommand
from microbleeds.model_folders import detection_models
from panelCase import PanelTestCase, findingsNode, provenance

ENGINE_IS_COMPLETE = importlib.util.find_spec("microbleeds.pipeline") is not None
TIMEOUT_S = 180.0


def _headVolume(name="true engine"):
    """Return a bright ellipsoid with two dark spheres, 1 x 1 x 2 mm."""
    k, j, i = np.indices((32, 72, 64)).astype(float)
    x, y, z = i - 32, j - 36, 2 * (k - 16)
    voxels = np.where((x / 28) ** 2 + (y / 32) ** 2 + (z / 28) ** 2 < 1, 300.0, 5.0)
    for center in ((8, 6, 0), (-10, -8, 4)):
        voxels[(x - center[0]) ** 2 + (y - center[1]) ** 2 + (z - center[2]) ** 2 < 6] = 60
    voxels += np.random.default_rng(0).normal(0, 5, voxels.shape)
    matrix = np.diag([1.0, 1.0, 2.0, 1.0])
    matrix[:3, 3] = [-32, -36, -32]
    return slicer.util.addVolumeFromArray(voxels.astype(np.float32), matrix, name)


@unittest.skipUnless(dependencies.torchIsInstalled(), "PyTorch is not installed")
@unittest.skipUnless(ENGINE_IS_COMPLETE and detection_models(), "the engine or its model is missing")
class EngineChildTest(PanelTestCase):
    def makeTruePanel(self):
        return self.makePanel(command=defaultCommand(), models=detection_models(),
                              ensureTorch=dependencies.ensureTorch)

    def start(self, panel, volume):
        panel.ui.inputSelector.setCurrentNode(volume)
        panel.ui.modalityCombo.setCurrentIndex(panel.ui.modalityCombo.findData("gre"))
        panel.ui.detectButton.click()

    def waitForEnd(self, panel):
        self.waitUntil(lambda: panel.ui.detectButton.text == "Detect", "the detection has not ended", TIMEOUT_S)

    def test_detect(self):
        panel, texts = self.makeTruePanel(), set()
        torchWasLoaded = "torch" in sys.modules  # by the engine's tests, when pytest runs them first
        volume = _headVolume()
        self.start(panel, volume)
        self.waitUntil(lambda: texts.add(panel.ui.progressBar.format) or panel.ui.detectButton.text == "Detect",
                       "the detection has not ended", TIMEOUT_S)
        self.assertEqual("torch" in sys.modules, torchWasLoaded)
        node = findingsNode()
        told = provenance()
        self.assertEqual(told["input_name"], "true_engine.nrrd")
        self.assertEqual(told["modality"], "gre")
        self.assertEqual(panel.ui.findingsTable.rowCount, node.GetNumberOfControlPoints())
        outline = node.GetNodeReference(findingsMarkups.OUTLINE_ROLE)
        segments = outline.GetSegmentation().GetNumberOfSegments() if outline is not None else 0
        self.assertEqual(segments, node.GetNumberOfControlPoints())
        self.assertGreater(len(texts), 2, f"progress was shown: {texts}")

    def test_badInput(self):
        volume = slicer.util.addVolumeFromArray(np.full((20, 30, 40), 7, np.int16), np.eye(4), "constant")
        panel = self.makeTruePanel()
        with self.assertLogs(level="ERROR"):
            self.start(panel, volume)
            self.waitForEnd(panel)
        self.assertIn("constant", panel.ui.messageLabel.text)
        self.assertNotIn("unexpectedly", panel.ui.messageLabel.text)

    def test_cancel(self):
        panel = self.makeTruePanel()
        self.start(panel, _headVolume())
        self.waitUntil(lambda: panel.ui.progressBar.value > 0, "no progress was shown", TIMEOUT_S)
        start = time.monotonic()
        panel.ui.detectButton.click()
        self.waitForEnd(panel)
        self.assertLess(time.monotonic() - start, 2)
        self.assertEqual(panel.ui.messageLabel.text, "Detection cancelled.")


if __name__ == "__main__":
    unittest.main()

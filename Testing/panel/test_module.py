"""The module as Slicer loads it."""

import sys
import unittest
from unittest import mock

import slicer
from CMBDetectionLib import sampleScan


class ModuleTest(unittest.TestCase):
    def setUp(self):
        slicer.mrmlScene.Clear(False)

    def test_moduleShowsThePanel(self):
        torchWasLoaded = "torch" in sys.modules
        ui = slicer.util.getModuleWidget("CMBDetection").panel.ui
        self.assertFalse(ui.detectButton.isEnabled())
        self.assertIn("not for clinical use", ui.disclaimerLabel.text)
        self.assertEqual("torch" in sys.modules, torchWasLoaded)

    def test_moduleSaysWhatItIs(self):
        module = slicer.modules.cmbdetection
        self.assertEqual(module.title, "Cerebral Microbleed Detection")
        self.assertIn("not for clinical use", module.helpText)

    def test_theSampleScanIsInTheSampleDataModule(self):
        registered = []
        logic = mock.Mock(registerCustomSampleDataSource=lambda **source: registered.append(source))
        with mock.patch.dict(sys.modules, {"SampleData": mock.Mock(SampleDataLogic=logic)}):
            sampleScan.register()
        source = registered[0]
        self.assertEqual(source["uris"].split("/")[-1], source["fileNames"])
        node = source["customDownloader"](source)
        self.assertEqual(node.GetImageData().GetDimensions()[0] > 100, True)


if __name__ == "__main__":
    unittest.main()

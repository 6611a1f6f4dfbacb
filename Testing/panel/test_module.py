"""The module as Slicer loads it."""

import sys
import unittest

import slicer


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


if __name__ == "__main__":
    unittest.main()

"""The module in other Slicers: works in 5.10; in 5.8 and older, whose Python is 3.9, it says what to install; and one
that was just installed, without PyTorch, opens the panel."""

import ast
import os
import subprocess
import sys
import unittest
from pathlib import Path
from unittest import mock

import slicer
from CMBDetectionLib import dependencies
from Headless.modules import qSlicerScriptedLoadableModule
from Headless.older_slicer import python_of_slicer_5_8, slicer_5_10
from panelCase import PanelTestCase, findingsNode, makeVolume, verdicts

WITHOUT_PACKAGES = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "highdicom", "pydicom", "reportlab"):
            raise ModuleNotFoundError(f"No module named '{name}'", name=name)
sys.meta_path.insert(0, Missing())
from Headless import start
start.start(["CMBDetection"])
import slicer
print("button:", slicer.util.getModuleWidget("CMBDetection").panel.ui.detectButton.text)
start.stop()
"""
MODULE_FILE = Path(__file__).resolve().parents[2] / "CMBDetection" / "CMBDetection.py"


class Slicer510Test(PanelTestCase):
    def test_detectionAndVerdictWithoutTheNewPythonInterface(self):
        with slicer_5_10() as old, mock.patch("CMBDetectionLib.dependencies.torchIsInstalled", return_value=True):
            panel = self.makePanel(ensureTorch=dependencies.ensureTorch)
            self.detect(panel, makeVolume())
            self.assertEqual(panel.ui.findingsTable.rowCount, 3)
            panel.ui.acceptButton.click()
            self.assertEqual(sorted(verdicts(findingsNode())), ["accepted", "undecided", "undecided"])
        old.pip_install.assert_not_called()

    def test_smallPackagesAreInstalledByUtil(self):
        with slicer_5_10() as old, mock.patch("importlib.util.find_spec", return_value=None), \
                mock.patch("slicer.util.confirmOkCancelDisplay", return_value=True):
            self.assertIn("reportlab", dependencies.ensurePackage("reportlab"))
        old.pip_install.assert_called_once_with("reportlab>=4.2")

    def test_pydicomOfSlicerIsNotReplaced(self):
        with slicer_5_10() as old, mock.patch("importlib.util.find_spec", return_value=None), \
                mock.patch("importlib.metadata.version", return_value="2.4.4"), \
                mock.patch("slicer.util.confirmOkCancelDisplay") as confirm:
            self.assertIn("pydicom 3, and this Slicer comes with 2.4.4", dependencies.ensurePackage("highdicom"))
        confirm.assert_not_called()
        old.pip_install.assert_not_called()


class Slicer58Test(unittest.TestCase):
    def makeWidget(self):
        """Return the module's widget as a Slicer with Python 3.9 shows it, and what was imported of ours."""
        module = qSlicerScriptedLoadableModule(MODULE_FILE)
        with python_of_slicer_5_8():
            self.addCleanup(setattr, slicer.modules, "CMBDetectionInstance", slicer.modules.CMBDetectionInstance)
            self.addCleanup(setattr, slicer.modules, "cmbdetection", slicer.modules.cmbdetection)
            module.load()
            widget = module.createNewWidgetRepresentation()
            imported = [name for name in sys.modules if name.partition(".")[0] in ("CMBDetectionLib", "microbleeds")]
        self.addCleanup(widget.deleteLater)
        return widget, imported

    def test_oneSentenceInsteadOfThePanel(self):
        widget, imported = self.makeWidget()
        self.assertEqual(imported, [])
        widget.enter()
        texts = [label.text for label in slicer.util.findChildren(widget, className="QLabel")]
        self.assertEqual(len(texts), 1)
        self.assertIn("needs Slicer 5.10 or newer: this Slicer has Python 3.9", texts[0])
        widget.exit()
        widget.self().cleanup()

    def test_theModuleFileIsPython39(self):
        ast.parse(MODULE_FILE.read_text(encoding="utf-8"), feature_version=(3, 9))


class NewSlicerTest(unittest.TestCase):
    def test_thePanelOpensWithoutPyTorchAndTheOptionalPackages(self):
        root = MODULE_FILE.parents[1]
        ended = subprocess.run([sys.executable, "-c", WITHOUT_PACKAGES], cwd=root, capture_output=True, text=True,
                               timeout=60, env={**os.environ, "PYTHONPATH": str(root / "Testing")})
        self.assertIn("button: Detect", ended.stdout, ended.stderr[-2000:])


if __name__ == "__main__":
    unittest.main()

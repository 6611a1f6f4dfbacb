"""``Testing/run_in_slicer.py`` and the command line that imitates Slicer's, on small test files."""

import os
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

TESTING = Path(__file__).resolve().parents[1]

HEAD = "import unittest\nimport qt\nimport slicer\nclass T(unittest.TestCase):\n    def test_it(self):\n        "
FILES = {
    "good": HEAD + "self.assertTrue(slicer.app.testingEnabled())\n",
    "bad": HEAD + "self.assertTrue(False)\n",
    "slot": HEAD + "b = qt.QPushButton(); b.connect('clicked()', lambda: 1 / 0); b.click()\n",
    "unimportable": "import no_such_module\n",
    "headless_own": HEAD + "self.assertTrue(False)\n",
}


def runSlicer(script, **environment):
    command = [sys.executable, "-m", "Headless", "--testing", "--no-splash", "--python-script", str(script)]
    return subprocess.run(command, cwd=TESTING, env={**os.environ, **environment}, capture_output=True, text=True,
                          timeout=120)


class CommandLineTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def runTests(self, *names):
        testing = self.folder / "Testing"
        (testing / "panel").mkdir(parents=True)
        shutil.copy(TESTING / "run_in_slicer.py", testing)
        for name in names:
            (testing / "panel" / f"test_{name}.py").write_text(FILES[name], encoding="utf-8")
        return runSlicer(testing / "run_in_slicer.py")

    def test_passingFiles(self):
        run = self.runTests("good", "headless_own")
        self.assertEqual(run.returncode, 0, run.stderr)
        self.assertIn("Panel tests: 1 of 1 files passed.", run.stdout)

    def test_failingFiles(self):
        run = self.runTests("good", "bad", "slot", "unimportable")
        self.assertEqual(run.returncode, 1, run.stderr)
        self.assertIn("Panel tests: 1 of 4 files passed.", run.stdout)
        for line in ("FAILED  test_bad  a test failed", "passed  test_good", "FAILED  test_unimportable",
                     "FAILED  test_slot  exceptions in slots or observers: [ZeroDivisionError"):
            self.assertIn(line, run.stdout)

    def test_noFilesIsAFailure(self):
        self.assertEqual(self.runTests().returncode, 1)

    def test_exitCodes(self):
        for text, code in (("1 / 0", 1), ("import slicer; slicer.util.exit(3)", 3)):
            script = self.folder / "script.py"
            script.write_text(text, encoding="utf-8")
            self.assertEqual(runSlicer(script).returncode, code, text)

    def test_pythonLayerOfASlicerIsUsed(self):
        (self.folder / "i18n.py").write_text("def tr(text):\n    return 'real ' + text\n", encoding="utf-8")
        script = self.folder / "script.py"
        script.write_text("from slicer.i18n import tr; print(tr('text'))", encoding="utf-8")
        self.assertIn("real text", runSlicer(script, SLICER_PYTHON_DIR=str(self.folder)).stdout)

"""The scripted reading of the sample scan with the real engine."""

import subprocess
import sys
import unittest
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[1] / "read_sample.py"


class ReadingTest(unittest.TestCase):
    def test_theScriptedReadingEndsInTheExpectedCounts(self):
        ended = subprocess.run([sys.executable, str(SCRIPT)], capture_output=True, text=True, check=False)
        self.assertEqual(ended.returncode, 0, ended.stdout + ended.stderr)
        self.assertIn("11 findings: 7 accepted (1 possible), 4 rejected, 0 open", ended.stdout)

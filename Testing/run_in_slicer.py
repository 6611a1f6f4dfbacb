"""Runs the panel tests inside a real Slicer, which exits with 1 if any of them fails:

    Slicer --testing --no-splash --additional-module-paths CMBDetection --python-script Testing/run_in_slicer.py
"""

import sys
import traceback
from pathlib import Path

import slicer
import slicer.testing

PANEL_TESTS = Path(__file__).resolve().parent / "panel"


def runAll():
    """Run each test file; return the names of those that failed or left an exception in a slot."""
    swallowed = []
    sys.excepthook = lambda *error: swallowed.append("".join(traceback.format_exception(*error)))
    failed = []
    for path in sorted(PANEL_TESTS.glob("test_*.py")):
        swallowed.clear()
        try:
            slicer.testing.runUnitTest([str(PANEL_TESTS)], path.stem)
        except Exception as error:
            print(f"{path.name}: {error}")
            failed.append(path.name)
        if swallowed:
            print(f"{path.name}: exceptions in slots\n" + "\n".join(swallowed))
            failed.append(path.name)
    return failed


failedFiles = runAll()
print("Panel tests failed: " + ", ".join(failedFiles) if failedFiles else "All panel tests passed.")
slicer.util.exit(1 if failedFiles else 0)

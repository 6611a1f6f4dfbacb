"""Runs the panel tests inside a real Slicer, which exits with 1 if any of them fails:

    Slicer --testing --no-splash --additional-module-paths CMBDetection --python-script Testing/run_in_slicer.py

An exception that Qt or VTK swallowed fails its file too, if code of this repository took part in it.
"""

import sys
import traceback
from pathlib import Path

import slicer
import slicer.testing

TESTING = Path(__file__).resolve().parent


def isOurs(errorTraceback):
    """Return whether a file of this repository is in the traceback."""
    names = (frame.filename for frame in traceback.extract_tb(errorTraceback))
    return any(TESTING.parent in Path(name).parents for name in names)


def runFile(name, swallowed):
    """Run one test file and return what went wrong in one line, empty if nothing."""
    swallowed.clear()
    try:
        slicer.testing.runUnitTest([], name)
    except Exception as error:
        return f"a test failed {error}".strip()
    return f"exceptions in slots or observers: {swallowed}" if swallowed else ""


def runAll():
    """Run every file but the headless Slicer's own tests; return the exit code."""
    swallowed = []
    printError = sys.excepthook

    def rememberError(kind, error, errorTraceback):
        printError(kind, error, errorTraceback)
        if isOurs(errorTraceback):
            swallowed.append(error)

    sys.excepthook = rememberError
    sys.path.insert(0, str(TESTING / "panel"))
    names = sorted(path.stem for path in (TESTING / "panel").glob("test_*.py"))
    names = [name for name in names if not name.startswith("test_headless_")]
    problems = {name: runFile(name, swallowed) for name in names}
    sys.excepthook = printError
    failed = [name for name in names if problems[name]]
    for name in names:
        print(f"{'FAILED' if problems[name] else 'passed'}  {name}  {problems[name]}".rstrip())
    print(f"Panel tests: {len(names) - len(failed)} of {len(names)} files passed.")
    return 1 if failed or not names else 0


slicer.util.exit(runAll())

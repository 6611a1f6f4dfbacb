"""Stand-in for ``slicer.testing``: plain unittest by module name, an exception on failure."""

import sys
import unittest


def runUnitTest(path, testname):
    """Run the tests of an importable module, with `path` (one or several folders) added to ``sys.path``."""
    sys.path.extend([path] if isinstance(path, str) else path)
    print("-" * 43, f"path: {path}\ntestname: {testname}", "-" * 43, sep="\n")
    suite = unittest.TestLoader().loadTestsFromName(testname)
    if not unittest.TextTestRunner(verbosity=2).run(suite).wasSuccessful():
        raise Exception("")

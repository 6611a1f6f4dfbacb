"""Older Slicers as far as their Python interface differs, to be used with ``with``. The C++ stays that of 5.12."""

import contextlib
import sys
from types import SimpleNamespace
from unittest import mock

import slicer.util


@contextlib.contextmanager
def slicer_5_10():
    """No ``slicer.packaging`` (new in 5.11), and none of what 5.12's ``slicer.util`` has added.

    Yields
    ------
    SimpleNamespace
        `pip_install`: the mock in place of ``slicer.util.pip_install``.
    """
    added = [name for name in ("LazyImport",) if hasattr(slicer.util, name)]
    hidden = {name: getattr(slicer.util, name) for name in added}
    with mock.patch.dict(sys.modules, {"slicer.packaging": None}), \
            mock.patch("slicer.util.pip_install", create=True) as pip_install, \
            mock.patch("slicer.util.launchConsoleProcess", side_effect=_launch_console_process, create=True):
        for name in added:
            delattr(slicer.util, name)
        try:
            yield SimpleNamespace(pip_install=pip_install)
        finally:
            for name, value in hidden.items():
                setattr(slicer.util, name, value)


@contextlib.contextmanager
def python_of_slicer_5_8():
    """``sys.version_info`` of Python 3.9.10, and nothing of the extension imported yet."""
    packages = ("CMBDetection", "CMBDetectionLib", "microbleeds")
    ours = [name for name in sys.modules if name.partition(".")[0] in packages]
    with mock.patch.dict(sys.modules), mock.patch.object(sys, "version_info", (3, 9, 10, "final", 0)):
        for name in ours:
            del sys.modules[name]
        yield


def _launch_console_process(args, useStartupEnvironment=True, updateEnvironment=None, cwd=None):
    raise AssertionError("slicer.util.launchConsoleProcess waits for the process before Slicer 5.12")

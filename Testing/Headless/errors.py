"""Errors that Slicer prints and forgets, remembered here, and the error for what the harness does not provide."""

import sys


class NotProvided(NotImplementedError, AttributeError):
    """The real Slicer may have this, the harness has not. Also an AttributeError, so that ``hasattr`` stays usable."""


swallowed: list[BaseException] = []
"""Exceptions of Qt slots and VTK observers, in the order they came. Slicer prints them and goes on; a test fails."""


def remember(kind, error, traceback):
    """Print an exception that nobody will catch, as Slicer does, and keep it for the test that caused it."""
    swallowed.append(error)
    sys.__excepthook__(kind, error, traceback)


def complain(message):
    """Print and keep an error that Slicer reports without raising."""
    try:
        raise RuntimeError(message)
    except RuntimeError:
        sys.excepthook(*sys.exc_info())


def install():
    """Catch what PySide6 and VTK print: both end in ``sys.excepthook``."""
    sys.excepthook = remember

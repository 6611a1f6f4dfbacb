"""A headless Slicer: real MRML from the ``slicer-core`` wheel, PySide6 under PythonQt's rules.

Enough of the application to load an unmodified scripted module and to drive its panel in tests. What is real and what
is a stand-in is written in the README beside this file. Whatever is not provided raises
:class:`Headless.errors.NotProvided`, so that nothing passes by being ignored.
"""

import os
import sys
from pathlib import Path

# Both must be known before Qt and VTK are loaded. Enum option 7: members are plain ints and reachable without their
# scope, as under PythonQt.
os.environ.setdefault("PYSIDE6_OPTION_PYTHON_ENUM", "7")
if not os.environ.get("DISPLAY"):
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    os.environ.setdefault("VTK_DEFAULT_OPENGL_WINDOW", "vtkEGLRenderWindow")


def _import_slicer():
    """The wheel's ``slicer`` imports every folder "slicer" on the path into itself; ours holds tests."""
    testing = Path(__file__).resolve().parents[1]
    path = sys.path[:]
    sys.path[:] = [folder for folder in path if Path(folder or ".").resolve() != testing]
    try:
        import slicer  # noqa: F401
    finally:
        sys.path[:] = path


_import_slicer()

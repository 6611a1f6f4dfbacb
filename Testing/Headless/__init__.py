"""A headless Slicer: real MRML from the ``slicer-core`` wheel, PySide6 under PythonQt's rules.

Enough of the application to load an unmodified scripted module and to drive its panel in tests. What is real and what
is a stand-in is written in the README beside this file. Whatever is not provided raises
:class:`Headless.errors.NotProvided`, so that nothing passes by being ignored.
"""

import os

# Both must be known before Qt and VTK are loaded. Enum option 7: members are plain ints and reachable without their
# scope, as under PythonQt.
os.environ.setdefault("PYSIDE6_OPTION_PYTHON_ENUM", "7")
if not os.environ.get("DISPLAY"):
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    os.environ.setdefault("VTK_DEFAULT_OPENGL_WINDOW", "vtkEGLRenderWindow")

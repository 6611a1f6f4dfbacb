"""Runs the panel tests under pytest on the headless Slicer. In a real Slicer ``run_in_slicer.py`` takes its place.

The tests are plain ``unittest`` and use only ``slicer``, ``qt`` and ``vtk``. Each starts with an empty scene and
fails on any exception that a Qt slot or a VTK observer swallowed.
"""

from pathlib import Path

import pytest

MODULE_FOLDER = Path(__file__).resolve().parents[2] / "CMBDetection"

try:
    from Headless import errors, start
except ImportError as error:
    raise pytest.UsageError(
        f"The panel tests need the headless Slicer ({error}). Install it with `pip install slicer-core==5.12.4.0 "
        "'PySide6-Essentials==6.8.*' packaging requests`, or run `pytest Testing/engine` only."
    ) from error

# At import, because the test files import slicer and qt.
start.start([MODULE_FOLDER])

import qt  # noqa: E402
import slicer  # noqa: E402


def pytest_sessionfinish():
    start.stop()


@pytest.fixture(autouse=True)
def _nothing_swallowed():
    errors.swallowed.clear()
    slicer.mrmlScene.Clear(False)
    yield
    slicer.app.processEvents()
    qt.QCoreApplication.sendPostedEvents(None, qt.QEvent.DeferredDelete)  # processEvents leaves deleteLater() waiting
    assert not errors.swallowed, f"swallowed by a slot or an observer: {errors.swallowed!r}"

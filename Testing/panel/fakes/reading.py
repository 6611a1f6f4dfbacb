"""A reading of the image in READING_IMAGE, in a process of its own that ends as a crash does.

Detects with the fake engine, accepts finding 1, rejects 2 as a vessel, undoes that, rejects it again, and is killed.
"""

import os
import signal
import sys
from pathlib import Path

import qt
import slicer

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent)]

from CMBDetectionLib.engineProcess import EngineCommand, defaultCommand  # noqa: E402
from CMBDetectionLib.panel import Panel  # noqa: E402


def main(image):
    parent = slicer.qMRMLWidget()
    parent.setLayout(qt.QVBoxLayout())
    parent.setMRMLScene(slicer.mrmlScene)
    command = EngineCommand(defaultCommand().program,
                            (str(HERE / "fakeEngine.py"), "normal", str(Path(image).with_suffix(".pid"))))
    panel = Panel(parent.layout(), command=command, models=[("first-model", "First model")], ensureTorch=lambda: "")
    panel.ui.inputSelector.setCurrentNode(slicer.util.loadVolume(image))
    panel.ui.detectButton.click()
    while panel.ui.detectButton.text != "Detect":
        slicer.app.processEvents()
    panel.ui.acceptButton.click()
    panel.ui.rejectButton.click()
    panel.ui.undoButton.click()
    panel.ui.rejectButton.click()
    panel.ui.mimicCombo.setCurrentIndex(panel.ui.mimicCombo.findData("vessel"))
    panel.review.qualifiers._onMimicChosen(panel.ui.mimicCombo.currentIndex)
    os.kill(os.getpid(), signal.SIGKILL)


main(os.environ["READING_IMAGE"])

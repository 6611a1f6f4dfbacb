"""A long reading, driven by keys: verdicts with all that goes with them, scenes saved and loaded, a list of cases.

Needs the headless Slicer, for its keyboard and to count what is alive.
"""

import time
from pathlib import Path

import numpy as np
import slicer
from CMBDetectionLib import reviewStore
from Headless import keyboard
from Headless.alive import alive
from microbleeds import review_log
from microbleeds.review_files import UNDECIDED

_DEADLINE_SECONDS = 60.0
_REASONS, _CERTAINTIES = "12345678", "DO"
_AT_FIRST = 0
"""Entry of the order and of each filter with which a reading begins."""


def aliveInReading():
    """Return what is alive in this process, without the events of the log, which only grows."""
    return alive(("CMBDetectionLib", "microbleeds"), but=(review_log.Event,))


class LongReading:
    """Presses keys in the window of a panel that shows the scan of an image file, if any; `folder` is for its scene.

    Attributes
    ----------
    given : int
        Verdicts so far.
    """

    def __init__(self, panel, image, folder):
        self.panel = panel
        self.given = 0
        self._image = image
        self._scene = Path(folder) / "reading.mrb"
        self._chance = np.random.default_rng(3)
        self._turns = ((self._judge, 60), (self._qualify, 10), (self._comment, 4), (self._undoAndRedo, 6),
                       (self._lookAround, 10), (self._reopen, 4), (self._order, 2), (self._filter, 4))

    @property
    def session(self):
        return self.panel.review.session

    # Verdicts

    def judge(self, count):
        """Give so many more verdicts; in between everything else that a reader does."""
        until = self.given + count
        turns, weights = zip(*self._turns, strict=True)
        while self.given < until:
            turns[self._chance.choice(len(turns), p=np.array(weights) / sum(weights))]()

    def verdictsInLog(self):
        """Return how many verdicts the log has, taken back or not."""
        events = reviewStore.fromScene(self.session.node).events
        return sum(event.action == review_log.VERDICT and event.value != UNDECIDED for event in events)

    def logBytes(self):
        """Return the length of the review as it is kept."""
        return len(self.session.text())

    def _press(self, *keys):
        for key in keys:
            keyboard.press(key)

    def _any(self, choices):
        return choices[self._chance.integers(len(choices))]

    def _judge(self, key=None):
        if not self.session.undecidedCount:
            # accepting would stay where it is
            self._press("N")
        self.given += bool(self.panel.ui.acceptButton.isEnabled())
        self._press(key or self._any("AAX"))

    def _qualify(self):
        self._judge("X")
        self._press(self._any(_REASONS), self._any(_CERTAINTIES))

    def _comment(self):
        self._judge()
        self._press("C")
        keyboard.type_text(self._any(("by a vein", "see the QSM", "twice?")))
        self._press("Return")
        self.panel.ui.findingsTable.setFocus()

    def _undoAndRedo(self):
        self._press(*self._any(("Z", "ZZZY", "ZY", "ZZYY")))

    def _lookAround(self):
        self._press(self._any("NPSEJMQ"))

    def _reopen(self):
        self._press("P", "U")

    def _order(self):
        combo = self.panel.ui.orderCombo
        combo.setCurrentIndex(int(self._chance.integers(combo.count)))

    def _filter(self):
        """Judge two in a filtered list, and see all of them again."""
        ui = self.panel.ui
        combo = self._any((ui.verdictFilterCombo, ui.sizeFilterCombo, ui.regionFilterCombo))
        combo.setCurrentIndex(int(self._chance.integers(combo.count)))
        self._press("N")
        self._judge()
        self._judge()
        combo.setCurrentIndex(_AT_FIRST)

    # Missed findings

    def add(self):
        """Add a finding at a place by chance, take it back, add it again, take it back."""
        bounds = np.zeros(6)
        self.session.volumeNode.GetRASBounds(bounds)
        crosshair = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLCrosshairNode")
        while True:
            crosshair.SetCrosshairRAS(*self._chance.uniform(bounds[::2], bounds[1::2]))
            if self.session.near(crosshair.GetCrosshairRAS()) is None:
                break
        self._press("I", "Z", "Y", "Z")

    # Scenes

    def saveAndLoadScene(self):
        """Save the scene, close it, and open it again; a verdict is given and taken back.

        Raises
        ------
        AssertionError
            If the review is not as it was.
        """
        before = self.panel.ui.summaryLabel.text
        assert slicer.util.saveScene(str(self._scene)), f"{self._scene} was not saved"
        slicer.mrmlScene.Clear(False)
        slicer.util.loadScene(str(self._scene))
        self._goOn(before)

    def reloadScan(self):
        """Save nothing, close the scene, open the scan, and go on with the review that was kept beside it.

        Raises
        ------
        AssertionError
            If the review is not as it was.
        """
        before, ui = self.panel.ui.summaryLabel.text, self.panel.ui
        slicer.mrmlScene.Clear(False)
        ui.inputSelector.setCurrentNode(slicer.util.loadVolume(str(self._image)))
        ui.resumeButton.click()
        self._goOn(before)

    def _goOn(self, before):
        slicer.app.processEvents()
        assert self.session is not None, self.panel.ui.messageLabel.text
        shown = self.panel.ui.summaryLabel.text
        assert shown == before, f"the review is {shown!r}, was {before!r}"
        self._press("N", "A", "Z", "Z", "Y")
        self._press(*"Z" * (self.panel.ui.summaryLabel.text != before))

    # Cases

    def openList(self, folder):
        self.panel.workList.open(folder)

    def readCase(self):
        """Open the next case of the list, wait for its findings and for those to come, and judge all of them."""
        review, cases = self.panel.review, self.panel.workList
        former = self.session
        self._press("W")
        self._wait(lambda: review.session is not None and review.session is not former and review.session.items)
        while self.session.undecidedCount:
            self._press("A")
        self._wait(lambda: not cases._timer.isActive() and cases._detection.case is None)

    def _wait(self, condition):
        end = time.monotonic() + _DEADLINE_SECONDS
        while not condition():
            slicer.app.processEvents()
            assert time.monotonic() < end, f"nothing came: {self.panel.ui.messageLabel.text!r}"
            time.sleep(0.005)

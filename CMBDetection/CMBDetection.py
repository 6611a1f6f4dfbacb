"""The scripted module CMBDetection: registration only. The panel is in CMBDetectionLib, the engine in microbleeds.

Slicer 5.8 and older have Python 3.9, in which neither can be imported. This file can, and says what to install.
"""

import sys

import qt
import slicer
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)

SLICER_IS_TOO_OLD = sys.version_info < (3, 10)

if SLICER_IS_TOO_OLD:
    CMBDetectionLogic = ScriptedLoadableModuleLogic
else:
    from CMBDetectionLib import readingViews, sampleScan
    from CMBDetectionLib.panel import Panel
    from CMBDetectionLib.parameters import CMBDetectionLogic

__all__ = ["CMBDetection", "CMBDetectionLogic", "CMBDetectionTest", "CMBDetectionWidget"]


class CMBDetection(ScriptedLoadableModule):
    """What Slicer shows about the module."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("Cerebral Microbleed Detection")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Neuroimaging")]
        self.parent.dependencies = ["Markups", "Segmentations", "Terminologies"]
        self.parent.contributors = ["CMBDetection contributors"]
        self.parent.helpText = _(
            "Finds cerebral microbleeds on a T2*-weighted gradient echo, SWI or QSM volume and lists them for review. "
            "Choose a volume, click Detect, then accept or reject each finding.<br><br>"
            "<b>Research tool, not for clinical use.</b>")
        self.parent.acknowledgementText = _(
            "The method is that of Sundaresan et al., Automated detection of cerebral microbleeds on MR images using "
            "knowledge distillation framework, Frontiers in Neuroinformatics 17:1204186 (2023).")
        if not SLICER_IS_TOO_OLD:
            slicer.app.connect("startupCompleted()", sampleScan.register)
            slicer.app.connect("startupCompleted()", readingViews.registerLayout)


class CMBDetectionWidget(ScriptedLoadableModuleWidget):
    """Puts the panel into the module's place, in an old Slicer one sentence instead."""

    def __init__(self, parent=None):
        self.panel = None
        ScriptedLoadableModuleWidget.__init__(self, parent)

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        if SLICER_IS_TOO_OLD:
            self.layout.addWidget(_tooOldLabel())
        else:
            self.panel = Panel(self.layout)

    def enter(self):
        if self.panel is not None:
            self.panel.enter()

    def exit(self):
        if self.panel is not None:
            self.panel.exit()

    def cleanup(self):
        if self.panel is not None:
            self.panel.cleanup()


def _tooOldLabel():
    """Return a label that says what to install."""
    label = qt.QLabel(_("CMBDetection needs Slicer 5.10 or newer: this Slicer has Python {found}, and Python 3.10 or "
                        "newer is needed. Install the current version from https://download.slicer.org.").format(
                            found=f"{sys.version_info[0]}.{sys.version_info[1]}"))
    label.setWordWrap(True)
    return label


class CMBDetectionTest(ScriptedLoadableModuleTest):
    """A smoke test for Slicer's own test runner; the real tests are in Testing/panel."""

    def setUp(self):
        slicer.mrmlScene.Clear()

    def test_detectNeedsAVolume(self):
        widget = slicer.util.getModuleWidget("CMBDetection")
        self.assertFalse(widget.panel.ui.detectButton.isEnabled())
        self.assertEqual(widget.panel.ui.findingsTable.rowCount, 0)

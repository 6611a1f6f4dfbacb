"""The scripted module CMBDetection: registration only. The panel is in CMBDetectionLib, the engine in microbleeds."""

import slicer
from CMBDetectionLib import readingViews, sampleScan
from CMBDetectionLib.panel import Panel
from CMBDetectionLib.parameters import CMBDetectionLogic
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)

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
        slicer.app.connect("startupCompleted()", sampleScan.register)
        slicer.app.connect("startupCompleted()", readingViews.registerLayout)


class CMBDetectionWidget(ScriptedLoadableModuleWidget):
    """Puts the panel into the module's place."""

    def __init__(self, parent=None):
        self.panel = None
        ScriptedLoadableModuleWidget.__init__(self, parent)

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        self.panel = Panel(self.layout)

    def enter(self):
        self.panel.enter()

    def exit(self):
        self.panel.exit()

    def cleanup(self):
        if self.panel is not None:
            self.panel.cleanup()


class CMBDetectionTest(ScriptedLoadableModuleTest):
    """A smoke test for Slicer's own test runner; the real tests are in Testing/panel."""

    def setUp(self):
        slicer.mrmlScene.Clear()

    def test_detectNeedsAVolume(self):
        widget = slicer.util.getModuleWidget("CMBDetection")
        self.assertFalse(widget.panel.ui.detectButton.isEnabled())
        self.assertEqual(widget.panel.ui.findingsTable.rowCount, 0)

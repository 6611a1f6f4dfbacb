"""The panel as it is seen: size, tool tips, the line that it is not for clinical use."""

import unittest

import qt
import slicer
from panelCase import PanelTestCase, makeVolume

WIDTH, HEIGHT = 380, 520
CONTROLS = ("inputSelector", "modelCombo", "modalityCombo", "operatingPointCombo", "detectButton", "progressBar",
            "thresholdSlider", "orderCombo", "verdictFilterCombo", "sizeFilterCombo", "regionFilterCombo",
            "findingsTable", "acceptButton", "rejectButton", "resetButton", "addButton", "removeButton",
            "outlineButton", "undoButton", "redoButton", "certaintyCombo", "mimicCombo", "regionCombo", "commentEdit",
            "summaryLabel", "saveLabel")
UNSEEN = ("resumeButton", "sampleButton", "probeText", "probePlot", "casesFolderButton", "casesTableButton",
          "nextCaseButton", "casesTable", "casesLabel", "findingsSelector", "readerEdit", "logButton",
          "resetKeysButton", "keysTable")
"""Not shown unless there is something to resume or their tab is open."""


class LayoutTest(PanelTestCase):
    def test_everythingFitsWithoutScrolling(self):
        panel = self.makePanel("badInput")
        with self.assertLogs(level="ERROR"):
            self.detect(panel, makeVolume("a volume with quite a long name, as they often have in the clinic"))
        panel.ui.messageLabel.setText("A long message that needs three lines. " * 3)
        parent = self.parents[-1]
        parent.resize(WIDTH, HEIGHT)
        parent.show()
        slicer.app.processEvents()
        self.assertEqual((parent.width, parent.height), (WIDTH, HEIGHT), "the panel asks for more room")
        for name in (*CONTROLS, "messageLabel", "disclaimerLabel"):
            widget = getattr(panel.ui, name)
            corner = widget.mapTo(parent, qt.QPoint(widget.width, widget.height))
            self.assertLessEqual(corner.x(), WIDTH, name)
            self.assertLessEqual(corner.y(), HEIGHT, name)
            if widget.inherits("QComboBox") or widget.inherits("QPushButton"):
                self.assertGreaterEqual(widget.width, 70, name)
        table = panel.ui.findingsTable
        self.assertGreaterEqual(table.height, 5 * table.verticalHeader().defaultSectionSize, "five rows are in sight")

    def test_everyControlHasAToolTip(self):
        panel = self.makePanel()
        for name in (*CONTROLS, *UNSEEN):
            self.assertTrue(getattr(panel.ui, name).toolTip, name)

    def test_notForClinicalUseIsAlwaysThere(self):
        panel = self.makePanel()
        self.assertIn("not for clinical use", panel.ui.disclaimerLabel.text)
        self.assertFalse(panel.ui.disclaimerLabel.isHidden())

    def test_choices(self):
        ui = self.makePanel().ui
        values = {name: [combo.itemData(index) for index in range(combo.count)]
                  for name, combo in (("modality", ui.modalityCombo), ("point", ui.operatingPointCombo),
                                      ("model", ui.modelCombo))}
        self.assertEqual(values, {"modality": ["auto", "gre", "swi", "qsm"], "point": ["balanced", "sensitive"],
                                  "model": ["first-model", "second-model"]})


if __name__ == "__main__":
    unittest.main()

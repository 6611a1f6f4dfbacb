"""The panel as it is seen: size, tool tips, the line that it is not for clinical use."""

import unittest

import slicer
from panelCase import PanelTestCase, makeVolume

WIDTH, HEIGHT = 380, 520
CONTROLS = ("inputSelector", "modelCombo", "modalityCombo", "operatingPointCombo", "detectButton", "progressBar",
            "findingsSelector", "findingsTable", "acceptButton", "rejectButton", "resetButton", "summaryLabel")


class LayoutTest(PanelTestCase):
    def test_everythingFitsWithoutScrolling(self):
        panel = self.makePanel("badInput")
        with self.assertLogs(level="ERROR"):
            self.detect(panel, makeVolume("a volume with quite a long name, as they often have in the clinic"))
        panel.ui.messageLabel.setText("A long message that needs three lines. " * 3)
        hint = panel.widget.minimumSizeHint
        self.assertLessEqual(hint.width(), WIDTH)
        self.assertLessEqual(hint.height(), HEIGHT)
        panel.widget.resize(WIDTH, HEIGHT)
        panel.widget.show()
        slicer.app.processEvents()
        for name in (*CONTROLS, "messageLabel", "disclaimerLabel"):
            widget = getattr(panel.ui, name)
            self.assertLessEqual(widget.x + widget.width, WIDTH, name)
            self.assertLessEqual(widget.y + widget.height, HEIGHT, name)
        table = panel.ui.findingsTable
        self.assertGreaterEqual(table.height, 5 * table.verticalHeader().defaultSectionSize, "five rows are in sight")

    def test_everyControlHasAToolTip(self):
        panel = self.makePanel()
        for name in CONTROLS:
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

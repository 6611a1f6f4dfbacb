"""The review by keyboard, with key events as the window system sends them."""

import unittest

import qt
import slicer
from CMBDetectionLib import reviewStore
from CMBDetectionLib.reviewKeys import KeyMap, commands
from microbleeds.review_log import replay
from panelCase import PanelTestCase, findingsNode, makeVolume, verdicts

try:
    from Headless import keyboard
except ImportError:
    # PythonQt has no QTest: in a real Slicer keys are pressed from outside
    keyboard = None


@unittest.skipIf(keyboard is None, "needs the headless Slicer's keyboard")
class KeysTest(PanelTestCase):
    def setUp(self):
        super().setUp()
        self.addCleanup(KeyMap().reset)
        self.panel = self.makePanel()
        self.window = self.panel.widget.window()
        self.detect(self.panel, makeVolume())
        self.show(self.window)
        self.panel.enter()
        self.node = findingsNode()

    def show(self, window):
        window.show()
        window.activateWindow()
        slicer.app.processEvents()

    def press(self, *keys):
        for key in keys:
            keyboard.press(key)

    def items(self):
        return {item.id: item for item in replay(reviewStore.fromScene(self.node).events).items}

    def row(self):
        return self.panel.ui.findingsTable.currentRow()

    def test_oneKeyIsAVerdictAndGoesOn(self):
        self.assertEqual(self.row(), 0)
        self.press("A", "X", "A")
        self.assertEqual(verdicts(self.node), ["accepted", "rejected", "accepted"])
        self.press("Z", "Z")
        self.assertEqual(verdicts(self.node), ["accepted", "undecided", "undecided"])
        self.assertEqual(self.row(), 1)
        self.press("Y")
        self.assertEqual(verdicts(self.node), ["accepted", "rejected", "undecided"])

    def test_skipGoesOnAndIsLogged(self):
        self.press("S")
        self.assertEqual((self.row(), verdicts(self.node)), (1, ["undecided"] * 3))
        self.assertEqual(reviewStore.fromScene(self.node).events[-1].action, "skipped")

    def test_nextAndPreviousGoRound(self):
        rows = []
        for key in ("N", "N", "N", "P", "P"):
            self.press(key)
            rows.append(self.row())
        self.assertEqual(rows, [1, 2, 0, 2, 1])

    def test_aCommentStaysWithTheFindingItWasBegunFor(self):
        self.press("A", "C")
        keyboard.type_text("by a vein")
        # a click on a button that takes no focus
        self.panel.ui.rejectButton.click()
        self.assertEqual([self.items()[number].comment for number in (1, 2, 3)], ["by a vein", "", ""])

    def test_aCommentGoesOnWhileADetectionEnds(self):
        self.press("A", "C")
        keyboard.type_text("by a")
        self.detect(self.panel, self.panel.ui.inputSelector.currentNode())
        self.assertTrue(self.panel.ui.commentEdit.hasFocus())
        keyboard.type_text(" vein")
        self.press("Return")
        self.assertEqual([self.items()[number].comment for number in (1, 2, 3)], ["by a vein", "", ""])
        self.press("D")
        self.assertEqual(self.items()[1].certainty, "definite", "it is still the one judged last")

    def test_aCommentIsKeptThoughItsFindingsAreDeleted(self):
        self.press("A", "C")
        keyboard.type_text("by a vein")
        slicer.mrmlScene.RemoveNode(self.node)
        self.assertEqual(slicer.util.getNodesByClass("vtkMRMLTextNode"), [])
        self.panel.ui.resumeButton.click()
        self.node = findingsNode()
        self.assertEqual(self.items()[1].comment, "by a vein")

    def test_qualifiersBelongToTheFindingJustJudged(self):
        self.press("X", "1", "O", "A", "D")
        items = self.items()
        self.assertEqual((items[1].mimic_kind, items[1].certainty), ("vessel", "possible"))
        self.assertEqual((items[2].mimic_kind, items[2].certainty), ("", "definite"))
        self.assertEqual(self.panel.ui.qualifiedLabel.text, "No. 2 ✓")
        self.press("5")
        self.assertIn("rejected", self.panel.ui.messageLabel.text)
        self.assertEqual(self.items()[2].mimic_kind, "")
        self.press("P", "P", "8")
        self.assertEqual(self.items()[1].mimic_kind, "other", "a judged finding that is selected comes first")

    def test_everyReasonHasItsKey(self):
        for command in commands():
            if command.name.startswith("mimic: "):
                self.press("P", "X", command.key)
                self.assertIn(command.name.removeprefix("mimic: "), [item.mimic_kind for item in self.items().values()])

    def test_keysAreTextWhileOneTypes(self):
        self.press("X", "C")
        self.assertTrue(self.panel.ui.commentEdit.hasFocus())
        keyboard.type_text("axz 1, \"vein\"")
        self.assertEqual(verdicts(self.node), ["rejected", "undecided", "undecided"])
        self.press("Return")
        self.assertEqual(self.items()[1].comment, "axz 1, \"vein\"")
        self.press("A")
        self.assertEqual(verdicts(self.node), ["rejected", "accepted", "undecided"], "the comment is done")
        self.assertEqual(self.items()[1].comment, "axz 1, \"vein\"")
        self.panel.ui.readerEdit.setFocus()
        self.press("Return", "X")
        self.assertEqual(verdicts(self.node), ["rejected", "accepted", "rejected"])

    def test_keysActInTheWholeWindowAndAreGivenBack(self):
        other = qt.QPushButton("elsewhere", self.window)
        other.show()
        other.setFocus()
        self.press("A")
        self.assertEqual(verdicts(self.node)[0], "accepted")
        self.panel.exit()
        self.press("A")
        self.assertEqual(verdicts(self.node), ["accepted", "undecided", "undecided"])
        self.panel.enter()
        self.press("A")
        self.assertEqual(verdicts(self.node)[1], "accepted")
        self.panel.cleanup()
        self.press("A", "Z")
        self.assertEqual(verdicts(self.node), ["accepted", "accepted", "undecided"])

    def test_raysAndOutlinesGoAndComeBack(self):
        outline = self.node.GetNodeReference("outline")
        self.press("E")
        self.assertFalse(self.node.GetDisplayVisibility() or outline.GetDisplayVisibility())
        self.press("E")
        self.assertTrue(self.node.GetDisplayVisibility() and outline.GetDisplayVisibility())

    def test_keysWithoutFindingsDoNothing(self):
        slicer.mrmlScene.Clear(False)
        self.press(*(command.key for command in commands()))
        self.assertEqual(self.panel.ui.findingsTable.rowCount, 0)

    def editKey(self, name, key):
        row = [command.name for command in commands()].index(name)
        self.panel.ui.keysTable.item(row, 0).setText(key)
        return self.panel.ui.keysTable.item(row, 0).text()

    def test_keysCanBeChanged(self):
        self.assertEqual(self.editKey("accept", "Ctrl+Shift+k"), "Ctrl+Shift+K")
        self.press("A")
        self.assertEqual(verdicts(self.node), ["undecided"] * 3)
        self.press("Ctrl+Shift+K")
        self.assertEqual(verdicts(self.node)[0], "accepted")
        self.assertEqual(KeyMap().key("accept"), "Ctrl+Shift+K", "and are remembered")
        self.assertEqual(self.panel.ui.acceptButton.text, "✓ Accept (Ctrl+Shift+K)")
        self.panel.ui.resetKeysButton.click()
        self.assertEqual(self.panel.ui.acceptButton.text, "✓ Accept (A)")
        self.press("A")
        self.assertEqual(verdicts(self.node)[1], "accepted")

    def test_duplicatesAndSlicersOwnKeysAreRefused(self):
        for key, reason in (("X", "reject"), ("R", "Slicer"), ("Left", "Slicer"), ("A, B", "no key"), ("?!", "no key")):
            self.assertEqual(self.editKey("accept", key), "A", key)
            self.assertIn(reason, self.panel.ui.messageLabel.text)
        self.assertEqual(self.editKey("accept", ""), "", "a command may have no key")


class KeyMapTest(unittest.TestCase):
    def test_firstKeysAreDifferentAndNotSlicers(self):
        KeyMap().reset()
        keys = [command.key for command in commands()]
        self.assertEqual(len(set(keys)), len(keys))
        for command in commands():
            KeyMap().change(command.name, command.key)
        KeyMap().reset()


if __name__ == "__main__":
    unittest.main()

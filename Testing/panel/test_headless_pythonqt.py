"""The headless Slicer itself: PythonQt's rules, each as measured in Slicer 5.13."""

import sys
import unittest

import qt
from Headless import errors
from Headless.errors import NotProvided


class AttributeTest(unittest.TestCase):
    def test_propertiesAreValues(self):
        button = qt.QPushButton("Detect")
        self.assertEqual(button.text, "Detect")
        button.text = "Cancel"
        self.assertEqual(button.text, "Cancel")
        with self.assertRaises(TypeError):
            button.text()

    def test_methodsStayMethods(self):
        button = qt.QPushButton("Detect")
        button.setText("Cancel")
        button.setEnabled(False)
        self.assertEqual((button.text, button.isEnabled(), button.enabled), ("Cancel", False, False))

    def test_propertiesOfQt6AreMethodsAsInQt5(self):
        self.assertEqual(qt.QVBoxLayout().contentsMargins().top(), qt.QHBoxLayout().contentsMargins().top())

    def test_newAttributesAreRefused(self):
        with self.assertRaisesRegex(AttributeError, "not allowed"):
            qt.QPushButton().tolTip = "x"
        with self.assertRaisesRegex(AttributeError, "not allowed"):
            qt.QTableWidgetItem("x").txt = "y"

    def test_methodsCannotBeOverwritten(self):
        with self.assertRaisesRegex(AttributeError, "overwritten"):
            qt.QPushButton().click = None

    def test_readOnlyPropertiesAreRefused(self):
        with self.assertRaisesRegex(AttributeError, "not writable"):
            qt.QWidget().width = 3

    def test_pythonSubclassesMayHaveAttributes(self):
        class Table(qt.QTableWidget):
            def __init__(self, rows=0):
                qt.QTableWidget.__init__(self)
                self.wanted = rows
                self.rowCount = rows

        table = Table(rows=3)
        self.assertEqual((table.wanted, table.rowCount), (3, 3))

    def test_boolPropertiesConvertSilently(self):
        button = qt.QPushButton()
        button.enabled = None
        self.assertFalse(button.enabled)
        button.enabled = object()
        self.assertTrue(button.enabled)

    def test_impossibleValuesAreRefused(self):
        with self.assertRaisesRegex(AttributeError, "does not accept"):
            qt.QProgressBar().value = "many"

    def test_stringListsAreTuples(self):
        dialog = qt.QFileDialog()
        self.assertIsInstance(dialog.history(), list)
        settings = qt.QSettings()
        settings.setValue("names", ["a", "b"])
        self.assertEqual(settings.value("names"), ("a", "b"))
        parent = qt.QWidget()
        child = qt.QLabel(parent)
        self.assertEqual(parent.findChildren(qt.QLabel), (child,))
        self.assertEqual(parent.children(), [child])

    def test_namedChildrenAndDynamicPropertiesAreAttributes(self):
        parent = qt.QWidget()
        child = qt.QLabel(parent)
        child.objectName = "summary"
        parent.setProperty("SlicerParameterName", "threshold")
        self.assertIs(parent.summary, child)
        self.assertEqual((child.name, parent.SlicerParameterName), ("summary", "threshold"))
        with self.assertRaises(AttributeError):
            parent.other  # noqa: B018

    def test_toolTipsAreWrapped(self):
        button = qt.QPushButton()
        button.toolTip = "size < 10 mm"
        self.assertEqual(button.toolTip, "<p>size &lt; 10 mm</p>")
        button.toolTip = "<b>bold</b>"
        self.assertEqual(button.toolTip, "<b>bold</b>")


class ClassTest(unittest.TestCase):
    def test_isinstanceMatchesOnlyTheClassItself(self):
        button = qt.QPushButton()
        self.assertIsInstance(button, qt.QPushButton)
        self.assertNotIsInstance(button, qt.QWidget)
        self.assertTrue(button.inherits("QWidget"))
        self.assertEqual(button.className(), "QPushButton")

    def test_constructorsTakeNoKeywords(self):
        with self.assertRaisesRegex(TypeError, "keyword"):
            qt.QPushButton(text="x")
        with self.assertRaisesRegex(TypeError, "keyword"):
            qt.QColor(name="red")

    def test_enumsAreInts(self):
        self.assertIsInstance(qt.Qt.UserRole, int)
        self.assertEqual(qt.Qt.AlignRight | qt.Qt.AlignVCenter, 0x82)
        label = qt.QLabel()
        label.alignment = qt.Qt.AlignCenter
        self.assertEqual(label.alignment, 0x84)

    def test_namespaceIsFlat(self):
        for name in ("QtWidgets", "QTest", "Signal", "Slot", "QSignalBlocker", "QNoSuchClass"):
            with self.assertRaises(NotProvided):
                getattr(qt, name)

    def test_blockingCallsAreRefused(self):
        with self.assertRaisesRegex(NotProvided, "waits for a user"):
            qt.QMessageBox.question(None, "title", "text")
        with self.assertRaisesRegex(NotProvided, "waits for a user"):
            qt.QDialog().exec_()


class SignalTest(unittest.TestCase):
    def tearDown(self):
        errors.swallowed.clear()

    def test_functionsGetAsManyArgumentsAsTheyTake(self):
        button, calls = qt.QPushButton(), []
        self.assertTrue(button.connect("clicked(bool)", lambda: calls.append("none")))
        button.connect("clicked(bool)", lambda checked: calls.append(checked))
        button.connect("clicked(bool)", lambda *all: calls.append(all))
        button.clicked.connect(lambda: calls.append("attribute"))
        button.click()
        self.assertEqual(calls, ["none", False, (False,), "attribute"])

    def test_unknownSignalIsReported(self):
        self.assertFalse(qt.QPushButton().connect("clickd(bool)", print))
        self.assertFalse(qt.QComboBox().connect("currentIndexChanged(QWidget*)", print))
        self.assertEqual(len(errors.swallowed), 2)

    def test_overloadsAreToldApart(self):
        spin, values = qt.QSpinBox(), []
        spin.connect("valueChanged(int)", values.append)
        spin.connect("textChanged(QString)", values.append)
        spin.value = 3
        self.assertEqual(set(values), {3, "3"})

    def test_disconnectNeedsTheFunction(self):
        button, calls = qt.QPushButton(), []
        count = calls.append
        button.connect("clicked(bool)", count)
        self.assertTrue(button.disconnect("clicked(bool)", count))
        self.assertFalse(button.disconnect("clicked(bool)", count))
        button.click()
        self.assertEqual(calls, [])
        button.disconnect("clicked(bool)")
        self.assertEqual(len(errors.swallowed), 1)

    def test_exceptionsInSlotsAreSwallowedAndRemembered(self):
        button = qt.QPushButton()
        button.connect("clicked()", lambda: 1 / 0)
        button.clicked.connect(lambda: {}["missing"])
        button.click()
        self.assertEqual([type(error) for error in errors.swallowed], [ZeroDivisionError, KeyError])

    def test_exceptionsInTimersAreRemembered(self):
        qt.QTimer.singleShot(0, lambda: [].pop())
        qt.QApplication.processEvents()
        self.assertEqual([type(error) for error in errors.swallowed], [IndexError])

    def test_processFinishes(self):
        process, codes = qt.QProcess(), []
        process.connect("finished(int,QProcess::ExitStatus)", lambda code, status: codes.append((code, status)))
        process.start(sys.executable, ["-c", "print('out'); raise SystemExit(3)"])
        self.assertTrue(process.waitForFinished(20000))
        self.assertEqual(codes, [(3, qt.QProcess.NormalExit)])
        self.assertEqual(process.readAllStandardOutput().data().strip(), b"out")

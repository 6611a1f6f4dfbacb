"""The headless Slicer itself: widgets, .ui files, modules and their panels, pictures."""

import tempfile
import unittest
from pathlib import Path

import ctk
import qt
import slicer
from Headless import errors
from Headless.errors import NotProvided
from Headless.screenshot import PANEL_WIDTH, SlicerWindow

UI = """<ui version="4.0"><class>Panel</class>
 <widget class="qMRMLWidget" name="Panel"><layout class="QVBoxLayout" name="layout">
  <item><widget class="qMRMLNodeComboBox" name="selector">
   <property name="nodeTypes"><stringlist><string>vtkMRMLScalarVolumeNode</string></stringlist></property>
   <property name="noneEnabled"><bool>true</bool></property>{property}</widget></item>
  <item><widget class="ctkCollapsibleButton" name="section"><property name="text"><string>Section</string></property>
   <layout class="QVBoxLayout" name="inner"><item><widget class="QTableWidget" name="table"/></item></layout>
  </widget></item>
 </layout></widget>
 <customwidgets>
  <customwidget><class>{custom}</class><extends>QWidget</extends></customwidget>
  <customwidget><class>qMRMLWidget</class><extends>QWidget</extends><container>1</container></customwidget>
  <customwidget><class>ctkCollapsibleButton</class><extends>QWidget</extends><container>1</container></customwidget>
 </customwidgets>
 <connections><connection><sender>Panel</sender><signal>mrmlSceneChanged(vtkMRMLScene*)</signal>
  <receiver>selector</receiver><slot>setMRMLScene(vtkMRMLScene*)</slot></connection></connections>
</ui>"""


def loadUI(custom="qMRMLNodeComboBox", property=""):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "panel.ui"
        path.write_text(UI.format(custom=custom, property=property), encoding="utf-8")
        return slicer.util.loadUI(str(path))


def addVolume(name):
    return slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)


def makeSelector(**properties):
    selector = slicer.qMRMLNodeComboBox()
    selector.nodeTypes = ["vtkMRMLScalarVolumeNode"]
    selector.addEnabled = False
    for name, value in properties.items():
        setattr(selector, name, value)
    selector.setMRMLScene(slicer.mrmlScene)
    return selector


def shown(selector):
    combo = selector.findChild(qt.QComboBox)
    return [combo.itemText(index) for index in range(combo.count)]


class LoadUiTest(unittest.TestCase):
    def setUp(self):
        slicer.mrmlScene.Clear(False)

    def test_widgetsAndSceneConnection(self):
        volume, widget = addVolume("scan"), loadUI()
        ui = slicer.util.childWidgetVariables(widget)
        widget.setMRMLScene(slicer.mrmlScene)
        self.assertIs(ui.selector.nodeFromIndex(0), volume)
        self.assertEqual((ui.section.text, ui.section.collapsed), ("Section", False))
        self.assertEqual(ui.table.rowCount, 0)

    def test_unknownWidgetsAndPropertiesAreNotProvided(self):
        with self.assertRaisesRegex(NotProvided, "qMRMLTreeView"):
            loadUI(custom="qMRMLTreeView")
        with self.assertRaisesRegex(NotProvided, "sortFilter"):
            loadUI(property='<property name="sortFilter"><string>x</string></property>')

    def test_missingFileIsAnError(self):
        with self.assertRaisesRegex(RuntimeError, "Could not load UI file"):
            slicer.util.loadUI("missing.ui")


class NodeSelectorTest(unittest.TestCase):
    def setUp(self):
        slicer.mrmlScene.Clear(False)
        self.changes = []

    def test_followsTheScene(self):
        selector, first = makeSelector(), addVolume("first")
        second = addVolume("second")
        slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "points")
        self.assertEqual(shown(selector), ["first", "second"])
        first.SetName("renamed")
        self.assertEqual(shown(selector), ["renamed", "second"])
        slicer.mrmlScene.RemoveNode(second)
        self.assertEqual(shown(selector), ["renamed"])

    def test_selectsNothingByItself(self):
        selector = makeSelector(noneEnabled=True)
        selector.connect("currentNodeChanged(vtkMRMLNode*)", self.changes.append)
        volume = addVolume("scan")
        self.assertIsNone(selector.currentNode())
        selector.setCurrentNode(volume)
        slicer.mrmlScene.Clear(False)
        self.assertEqual(self.changes, [volume, None])

    def test_removedNodeLeavesNoneOrTheLast(self):
        for noneEnabled in (True, False):
            slicer.mrmlScene.Clear(False)
            selector = makeSelector(noneEnabled=noneEnabled)
            first, second = addVolume("first"), addVolume("second")
            selector.setCurrentNode(second)
            slicer.mrmlScene.RemoveNode(second)
            self.assertIs(selector.currentNode(), None if noneEnabled else first)

    def test_filtersByClassAndAttribute(self):
        selector = makeSelector()
        selector.addAttribute("vtkMRMLScalarVolumeNode", "kind", "scan")
        first = addVolume("first")
        labels = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "labels")
        for node, kind in ((first, "scan"), (labels, "scan"), (addVolume("other"), "other")):
            node.SetAttribute("kind", kind)
        selector.showChildNodeTypes = True
        self.assertEqual(shown(selector), ["first", "labels"])
        selector.showChildNodeTypes = False
        self.assertEqual(shown(selector), ["first"])

    def test_createsANode(self):
        selector = makeSelector(addEnabled=True, baseName="scan")
        combo = selector.findChild(qt.QComboBox)
        combo.activated.emit(combo.count - 1)
        self.assertEqual(selector.currentNode().GetName(), "scan")

    def test_deletedSelectorLetsGoOfTheScene(self):
        selector = makeSelector()
        selector.deleteLater()
        qt.QCoreApplication.sendPostedEvents(None, qt.QEvent.DeferredDelete)
        addVolume("scan").SetName("renamed")
        self.assertEqual(errors.swallowed, [])


class CtkTest(unittest.TestCase):
    def test_collapsibleButtonFolds(self):
        button, toggled = ctk.ctkCollapsibleButton(), []
        layout = qt.QVBoxLayout(button)
        label, hidden = qt.QLabel("text"), qt.QLabel("hidden")
        layout.addWidget(label)
        layout.addWidget(hidden)
        hidden.hide()
        button.connect("toggled(bool)", toggled.append)
        button.show()
        button.collapsed = True
        self.assertTrue(label.isHidden())
        button.collapsed = False
        self.assertEqual((label.isHidden(), hidden.isHidden(), toggled), (False, True, [False, True]))
        button.hide()

    def test_sliderAndSpinBoxHoldOneValue(self):
        slider, values = ctk.ctkSliderWidget(), []
        slider.maximum, slider.singleStep, slider.decimals = 1.0, 0.01, 2
        slider.connect("valueChanged(double)", values.append)
        slider.value = 0.25
        self.assertEqual((slider.value, values), (0.25, [0.25]))
        self.assertEqual(slider.findChild(qt.QSlider).value, 250)


class ModuleTest(unittest.TestCase):
    def setUp(self):
        slicer.mrmlScene.Clear(False)
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        path = Path(self.folder.name) / "HeadlessSample.py"
        path.write_text(
            "from slicer.ScriptedLoadableModule import *\n"
            "class HeadlessSample(ScriptedLoadableModule):\n"
            "    def __init__(self, parent):\n"
            "        super().__init__(parent)\n"
            "        parent.title = 'Sample'\n"
            "class HeadlessSampleWidget(ScriptedLoadableModuleWidget):\n"
            "    calls = []\n"
            "    def setup(self): self.calls.append('setup')\n"
            "    def enter(self): self.calls.append('enter')\n"
            "    def exit(self): self.calls.append('exit')\n"
            "    def cleanup(self): self.calls.append('cleanup')\n",
            encoding="utf-8",
        )
        self.module = slicer.app.moduleManager().load(path)
        self.addCleanup(slicer.app.moduleManager().unload, "HeadlessSample")

    def test_widgetIsMadeWhenAskedFor(self):
        widget = slicer.util.getModuleWidget("HeadlessSample")
        self.assertEqual(widget.calls, ["setup"])
        self.assertIs(slicer.modules.HeadlessSampleWidget, widget)
        slicer.util.selectModule("HeadlessSample")
        slicer.app.moduleManager().unload("HeadlessSample")
        self.assertEqual(widget.calls, ["setup", "enter", "exit", "cleanup"])
        self.assertFalse(hasattr(slicer.modules, "headlesssample"))

    def test_moduleRefusesMisspeltFields(self):
        self.assertEqual(slicer.modules.headlesssample.title, "Sample")
        with self.assertRaises(AttributeError):
            self.module.helptext = "x"

    def test_panelWorksWithoutLayout(self):
        """Slicer's generic module test runs with --no-main-window, where there is no layout manager."""
        with slicer.app.withoutLayout():
            self.assertIsNone(slicer.app.layoutManager())
            slicer.util.getNewModuleWidget("CMBDetection").cleanup()
        self.assertIsNotNone(slicer.app.layoutManager())


class ScreenshotTest(unittest.TestCase):
    def test_pictureHasPanelAndViews(self):
        panel = qt.QLabel("panel")
        panel.setStyleSheet("background: rgb(10, 200, 10)")
        window = SlicerWindow(slicer.app, panel)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "window.png"
            window.save(path)
            picture = qt.QImage(str(path))
            with self.assertRaisesRegex(OSError, "cannot be written"):
                window.save(Path(folder) / "missing" / "window.png")
        window.close()
        self.assertEqual((picture.width(), picture.height()), (1240, 640))
        self.assertEqual(picture.pixelColor(PANEL_WIDTH // 2, 600).green(), 200)
        self.assertEqual(picture.pixelColor(700, 200).green(), 0)

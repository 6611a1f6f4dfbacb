"""The headless Slicer itself: ``slicer.parameterNodeWrapper`` and the other modules of Slicer's Python layer."""

import enum
import tempfile
import unittest
from pathlib import Path
from typing import Annotated

import ctk
import qt
import slicer
from slicer.i18n import tr, translate
from slicer.packaging import load_requirements, pip_check, pip_ensure
from slicer.parameterNodeWrapper import Choice, Default, WithinRange, parameterNodeWrapper
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleLogic


class Mode(enum.Enum):
    FAST = 1
    EXACT = 2


@parameterNodeWrapper
class Parameters:
    scan: slicer.vtkMRMLScalarVolumeNode
    threshold: Annotated[float, WithinRange(0, 1)] = 0.5
    count: Annotated[int, Default(3)]
    active: bool = True
    name: str = "x"
    mode: Mode = Mode.EXACT
    size: Annotated[str, Choice(["small", "large"])]


class SampleLogic(ScriptedLoadableModuleLogic):
    pass


def widgetFor(widget, name):
    widget.setProperty("SlicerParameterName", name)
    return widget


class ParameterTest(unittest.TestCase):
    def setUp(self):
        slicer.mrmlScene.Clear(False)
        self.node = SampleLogic().getParameterNode()
        self.parameters = Parameters(self.node)

    def values(self):
        return {name: getattr(self.parameters, name) for name in self.parameters.allParameters}

    def test_defaults(self):
        expected = {"scan": None, "threshold": 0.5, "count": 3, "active": True, "name": "x", "mode": Mode.EXACT,
                    "size": "small"}
        self.assertEqual(self.values(), expected)
        slicer.mrmlScene.Clear(False)
        self.assertEqual(self.values(), expected)

    def test_valuesAreStoredAsInSlicer(self):
        self.parameters.threshold, self.parameters.active, self.parameters.mode = 0.25, False, Mode.FAST
        stored = {name: self.node.GetParameter(name) for name in ("threshold", "active", "mode", "count")}
        self.assertEqual(stored, {"threshold": "0.25", "active": "False", "mode": "FAST", "count": "3"})
        self.assertEqual(Parameters(self.node).mode, Mode.FAST)

    def test_nodesAreReferences(self):
        volume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
        self.parameters.scan = volume
        self.assertIs(self.node.GetNodeReference("scan"), volume)
        slicer.mrmlScene.RemoveNode(volume)
        self.assertIsNone(self.parameters.scan)

    def test_wrongValuesAreRefused(self):
        for name, value, error in (("threshold", 2.0, ValueError), ("size", "medium", ValueError),
                                   ("count", "3", TypeError), ("scan", self.node, TypeError)):
            with self.subTest(name), self.assertRaises(error):
                setattr(self.parameters, name, value)

    def test_unknownTypesAreNotProvided(self):
        class Lists:
            names: list[str]

        with self.assertRaises(NotImplementedError):
            parameterNodeWrapper(Lists)

    def test_logicHasOneParameterNode(self):
        self.assertIs(SampleLogic().getParameterNode(), self.node)
        self.assertEqual(SampleLogic().getAllParameterNodes(), [self.node])


class GuiTest(unittest.TestCase):
    def setUp(self):
        slicer.mrmlScene.Clear(False)
        self.parameters = Parameters(SampleLogic().getParameterNode())
        self.selector = widgetFor(slicer.qMRMLNodeComboBox(), "scan")
        self.selector.noneEnabled = True
        self.selector.setMRMLScene(slicer.mrmlScene)
        self.slider = widgetFor(ctk.ctkSliderWidget(), "threshold")
        self.spin, self.check = widgetFor(qt.QSpinBox(), "count"), widgetFor(qt.QCheckBox(), "active")
        self.line, self.combo = widgetFor(qt.QLineEdit(), "name"), widgetFor(qt.QComboBox(), "mode")
        parent = self.parent = qt.QWidget()
        layout = qt.QVBoxLayout(parent)
        for widget in (self.selector, self.slider, self.spin, self.check, self.line, self.combo):
            layout.addWidget(widget)
        self.tag = self.parameters.connectGui(parent)
        self.addCleanup(self.parameters.disconnectGui, self.tag)

    def shown(self):
        return (self.selector.currentNode(), self.slider.value, self.spin.value, self.check.checked, self.line.text,
                self.combo.currentText)

    def test_widgetsShowTheParameters(self):
        self.assertEqual(self.shown(), (None, 0.5, 3, True, "x", "EXACT"))
        self.assertEqual((self.slider.maximum, self.combo.count), (1.0, 2))
        volume = self.parameters.scan = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
        self.parameters.threshold, self.parameters.count, self.parameters.mode = 0.75, 4, Mode.FAST
        self.assertEqual(self.shown(), (volume, 0.75, 4, True, "x", "FAST"))

    def test_widgetsSetTheParameters(self):
        volume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
        self.selector.setCurrentNode(volume)
        self.slider.value, self.spin.value, self.line.text, self.combo.currentText = 0.25, 9, "new", "FAST"
        self.check.click()
        found = [getattr(self.parameters, name) for name in ("scan", "threshold", "count", "active", "name", "mode")]
        self.assertEqual(found, [volume, 0.25, 9, False, "new", Mode.FAST])

    def test_disconnectEndsBoth(self):
        self.parameters.disconnectGui(self.tag)
        self.spin.value = 9
        self.parameters.threshold = 0.25
        self.assertEqual((self.parameters.count, self.slider.value), (3, 0.5))


class PythonLayerTest(unittest.TestCase):
    def test_textsStay(self):
        self.assertEqual((tr("a"), translate("context", "b")), ("a", "b"))

    def test_requirementsAreCheckedNotInstalled(self):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "requirements.txt"
            path.write_text("numpy>=1  # comment\n\nno-such-package>=2\n", encoding="utf-8")
            numpy, missing = load_requirements(path)
        self.assertTrue(pip_check(numpy))
        self.assertFalse(pip_check([numpy, missing]))
        self.assertFalse(pip_check("numpy<1"))
        self.assertTrue(pip_check('no-such-package; python_version < "3"'))
        with self.assertRaisesRegex(RuntimeError, "no-such-package>=2"):
            pip_ensure([numpy, missing])

"""Detection from the panel: result, progress, cancel, and every way in which the child can fail."""

import json
import os
import time
import unittest
from pathlib import Path
from unittest import mock

import numpy as np
import slicer
import vtk
from CMBDetectionLib import findingsMarkups
from CMBDetectionLib.engineProcess import EngineCommand
from panelCase import (
    PanelTestCase,
    column,
    expectedPositions,
    findingsNode,
    makeVolume,
    provenance,
    verdicts,
    worldPositions,
)


class DetectionTest(PanelTestCase):
    def test_detectNeedsAVolumeAndAModel(self):
        panel = self.makePanel()
        self.assertFalse(panel.ui.detectButton.isEnabled())
        panel.ui.inputSelector.setCurrentNode(makeVolume())
        self.assertTrue(panel.ui.detectButton.isEnabled())
        self.assertFalse(self.makePanel(models=[]).ui.detectButton.isEnabled())

    def test_modelsOfTheUserAreOfferedAfterTheBundledOne(self):
        card = Path(self.folder.name) / "site" / "model.json"
        card.parent.mkdir()
        card.write_text(json.dumps({"kind": "detection", "title": "Our site"}))
        with mock.patch.dict(os.environ, {"CMBDETECT_MODELS": self.folder.name}):
            combo = self.makePanel(models=None).ui.modelCombo
        self.assertEqual(combo.findText("Our site"), combo.count - 1)
        self.assertEqual(combo.findData("site"), combo.count - 1)
        self.assertGreater(combo.count, 1)

    def test_theVolumeInViewIsOffered(self):
        panel, volume = self.makePanel(), makeVolume()
        slicer.util.setSliceViewerLayers(background=volume)
        slicer.app.applicationLogic().GetSelectionNode().SetActiveVolumeID(volume.GetID())
        panel.enter()
        self.assertIs(panel.ui.inputSelector.currentNode(), volume)

    def test_detectFillsSceneAndTable(self):
        panel, volume = self.makePanel(), makeVolume("sub-01 T2*")
        self.detect(panel, volume)
        node = findingsNode()
        self.assertEqual(node.GetName(), "sub-01 T2* microbleeds")
        np.testing.assert_allclose(worldPositions(node), expectedPositions(volume), atol=1e-3)
        self.assertTrue(node.GetLocked())
        self.assertFalse(node.GetDisplayNode().GetPointLabelsVisibility())
        self.assertEqual(verdicts(node), ["undecided"] * 3)
        self.assertEqual(json.loads(node.GetNthControlPointDescription(1)),
                         {"id": 2, "verdict": "undecided", "probability": 0.8, "diameter_mm": 2.95})
        self.assertEqual(column(panel, 0), ["1", "2", "3"])
        self.assertEqual(column(panel, 1), ["0.90", "0.80", "0.70"])
        self.assertEqual(panel.ui.summaryLabel.text, "3 findings: 0 accepted, 0 rejected, 3 open")
        self.assertEqual(panel.ui.messageLabel.text, "")
        self.assertTrue(panel.ui.inputSelector.isEnabled())

    def test_outlineFollowsTheLabelMap(self):
        panel, volume = self.makePanel(), makeVolume()
        self.detect(panel, volume)
        outline = findingsNode().GetNodeReference(findingsMarkups.OUTLINE_ROLE)
        display = outline.GetDisplayNode()
        self.assertFalse(display.GetVisibility2DFill())
        self.assertTrue(display.GetVisibility2DOutline())
        segmentation = outline.GetSegmentation()
        self.assertEqual(segmentation.GetNumberOfSegments(), 3)
        for index, voxel in enumerate(expectedPositions(volume)):
            segmentId = segmentation.GetNthSegmentID(index)
            self.assertIn("50960005^Hemorrhage", _tag(segmentation.GetSegment(segmentId), "TerminologyEntry"))
            np.testing.assert_allclose(outline.GetSegmentCenterRAS(segmentId), voxel, atol=1.0)

    def test_optionsReachTheEngineAndTheRecord(self):
        panel = self.makePanel()
        panel.ui.modalityCombo.setCurrentIndex(panel.ui.modalityCombo.findData("qsm"))
        panel.ui.operatingPointCombo.setCurrentIndex(panel.ui.operatingPointCombo.findData("sensitive"))
        panel.ui.modelCombo.setCurrentIndex(1)
        self.detect(panel, makeVolume("a b/ü*"))
        told = provenance()
        self.assertEqual(told["modality"], "qsm")
        self.assertEqual(told["operating_point"], "sensitive")
        self.assertEqual(told["model_name"], "second-model")
        self.assertEqual(told["model_sha256"], "1" * 64)
        self.assertEqual(told["input_name"], "a_b.nrrd")
        folders = told["parameters"]["fake"]["python_path"].split(os.pathsep)
        self.assertTrue(any((Path(folder) / "microbleeds").is_dir() for folder in folders), folders)

    def test_progressShowsTheStep(self):
        panel = self.makePanel("slow")
        panel.ui.inputSelector.setCurrentNode(makeVolume())
        self.assertTrue(panel.ui.progressBar.isHidden())
        panel.ui.detectButton.click()
        self.waitForProgress(panel)
        self.assertFalse(panel.ui.progressBar.isHidden())
        self.assertIn("Candidates", panel.ui.progressBar.format)
        self.assertEqual(panel.ui.detectButton.text, "Cancel")
        self.assertFalse(panel.ui.inputSelector.isEnabled())

    def test_otherOutputIsIgnoredAndWarningsAreShown(self):
        panel = self.makePanel("chatty")
        self.detect(panel, makeVolume())
        self.assertEqual(findingsNode().GetNumberOfControlPoints(), 3)
        self.assertEqual(panel.ui.messageLabel.text, "The slices are 6 mm thick.")

    def test_emptyResultIsNormal(self):
        panel = self.makePanel("empty")
        self.detect(panel, makeVolume())
        self.assertEqual(findingsNode().GetNumberOfControlPoints(), 0)
        self.assertEqual(panel.ui.findingsTable.rowCount, 0)
        self.assertEqual(panel.ui.summaryLabel.text, "No microbleeds found.")
        self.assertEqual(panel.ui.messageLabel.text, "")

    def test_repeatReplacesFindingsThatNobodyReviewed(self):
        panel, volume = self.makePanel(), makeVolume()
        self.detect(panel, volume)
        self.detect(panel, volume)
        self.assertEqual(findingsNode().GetNumberOfControlPoints(), 3)
        self.assertEqual(len(slicer.util.getNodesByClass("vtkMRMLSegmentationNode")), 1)
        self.assertEqual(panel.ui.findingsTable.rowCount, 3)

    def test_repeatKeepsVerdicts(self):
        panel, volume = self.makePanel(), makeVolume()
        self.detect(panel, volume)
        panel.ui.findingsTable.selectRow(0)
        panel.ui.rejectButton.click()
        self.detect(panel, volume)
        self.assertEqual(verdicts(findingsNode()), ["rejected", "undecided", "undecided"])
        self.assertEqual(panel.ui.summaryLabel.text, "3 findings: 0 accepted, 1 rejected, 2 open")
        self.assertEqual(panel.ui.messageLabel.text, "")

    def test_whatIsNotFoundAgainIsTheReaders(self):
        panel, volume = self.makePanel(), makeVolume()
        self.detect(panel, volume)
        panel.ui.findingsTable.selectRow(2)
        panel.ui.acceptButton.click()
        empty = self.makePanel("empty")
        self.detect(empty, volume)
        self.assertEqual(verdicts(findingsNode()), ["accepted"])
        self.assertEqual(empty.ui.messageLabel.text, "Not found again, kept as the reader's: 3.")
        outline = findingsNode().GetNodeReference(findingsMarkups.OUTLINE_ROLE)
        segment = outline.GetSegmentation().GetNthSegment(0)
        self.assertEqual((outline.GetSegmentation().GetNumberOfSegments(), segment.GetName()), (1, "Microbleed 3"))


class CancelTest(PanelTestCase):
    def cancelAndCheck(self, panel, seconds=2.0):
        panel.ui.inputSelector.setCurrentNode(makeVolume())
        panel.ui.detectButton.click()
        self.waitForProgress(panel)
        self.assertTrue(self.childIsAlive())
        start = time.monotonic()
        panel.ui.detectButton.click()
        self.waitForEnd(panel)
        self.waitUntil(lambda: not self.childIsAlive(), "the child outlived the cancel", seconds)
        self.assertLess(time.monotonic() - start, seconds)
        self.assertEqual(panel.ui.messageLabel.text, "Detection cancelled.")
        self.assertEqual(slicer.util.getNodesByClass("vtkMRMLMarkupsFiducialNode"), [])
        self.assertTrue(panel.ui.detectButton.isEnabled())

    def test_cancelEndsTheChild(self):
        self.cancelAndCheck(self.makePanel("slow"), seconds=1.2)  # before it would be killed

    def test_cancelKillsADeafChild(self):
        self.cancelAndCheck(self.makePanel(command=self.deafCommand()))

    def test_cancelReachesTheChildBehindALauncher(self):
        self.cancelAndCheck(self.makePanel(command=self.launcherCommand("slow")))

    def test_detectAgainAfterCancel(self):
        panel = self.makePanel("slow")
        self.cancelAndCheck(panel)
        panel.ui.detectButton.click()
        self.waitForProgress(panel)
        self.assertEqual(panel.ui.detectButton.text, "Cancel")

    def test_cleanupEndsTheChild(self):
        self.cleanUpAndCheck(self.makePanel("slow"))

    def test_cleanupKillsADeafChild(self):
        self.cleanUpAndCheck(self.makePanel(command=self.deafCommand()))

    def cleanUpAndCheck(self, panel):
        panel.ui.inputSelector.setCurrentNode(makeVolume())
        panel.ui.detectButton.click()
        self.waitForProgress(panel)
        panel.cleanup()
        self.assertFalse(self.childIsAlive())


class FailureTest(PanelTestCase):
    def failAndCheck(self, scenario, *words, **options):
        panel = self.makePanel(scenario, **options)
        self.detect(panel, makeVolume())
        for word in words:
            self.assertIn(word, panel.ui.messageLabel.text)
        self.assertNotIn("Traceback", panel.ui.messageLabel.text)
        self.assertFalse(panel.ui.messageLabel.isHidden())
        self.assertEqual(slicer.util.getNodesByClass("vtkMRMLMarkupsFiducialNode"), [])
        self.assertTrue(panel.ui.detectButton.isEnabled())
        self.assertTrue(panel.ui.progressBar.isHidden())

    def test_crash(self):
        with self.assertLogs(level="ERROR") as logs:
            self.failAndCheck("crash", "ended unexpectedly", "error log")
        self.assertIn("something in the engine broke", "".join(logs.output))

    def test_killedBySystem(self):
        with self.assertLogs(level="ERROR"):
            self.failAndCheck("killed", "memory ran out")

    def test_killedBehindALauncher(self):
        with self.assertLogs(level="ERROR"):
            self.failAndCheck("killed", "memory ran out", command=self.launcherCommand("killed"))

    def test_crashSeenByTheLauncher(self):
        command = EngineCommand("/bin/sh", ("-c", "echo '[python-real] exit abnormally - Report it.' >&2; exit 1"))
        with self.assertLogs(level="ERROR"):
            self.failAndCheck("killed", "memory ran out", command=command)

    def test_outOfMemory(self):
        with self.assertLogs(level="ERROR"):
            self.failAndCheck("memory", "Memory ran out during step 1")

    def test_badInput(self):
        with self.assertLogs(level="ERROR"):
            self.failAndCheck("badInput", "choose one echo first")

    def test_noResult(self):
        with self.assertLogs(level="ERROR"):
            self.failAndCheck("noResult", "ended unexpectedly")

    def test_interpreterMissing(self):
        with self.assertLogs(level="ERROR"):
            self.failAndCheck("normal", "/nonexistent/python", command=EngineCommand("/nonexistent/python"))

    def test_volumeCannotBeWritten(self):
        with mock.patch("slicer.util.exportNode", return_value=False), self.assertLogs(level="ERROR"):
            self.failAndCheck("normal", "disk is not full")

    def test_resultOfAnotherVersion(self):
        with self.assertLogs(level="ERROR"):
            self.failAndCheck("nextVersion", "version 2.0")

    def test_damagedLabelMapLeavesNothingHalfDone(self):
        with self.assertLogs(level="ERROR"):
            self.failAndCheck("damagedLabels", "cannot be read")
        self.assertEqual(slicer.util.getNodesByClass("vtkMRMLSegmentationNode"), [])

    def test_cudaMemoryIsTriedAgainOnTheCpu(self):
        panel = self.makePanel("cudaMemory")
        self.detect(panel, makeVolume())
        self.assertEqual(provenance()["parameters"]["fake"]["device"], "cpu")

    def test_torchMissing(self):
        calls = []
        panel = self.makePanel("normal", ensureTorch=lambda: calls.append(1) or "Detection needs PyTorch.")
        self.detect(panel, makeVolume())
        self.assertEqual(calls, [1])
        self.assertEqual(panel.ui.messageLabel.text, "Detection needs PyTorch.")
        self.assertFalse(self.pidFile.exists())
        self.assertTrue(panel.ui.detectButton.isEnabled())


def _tag(segment, name):
    value = vtk.reference("")
    segment.GetTag(name, value)
    return str(value)


if __name__ == "__main__":
    unittest.main()

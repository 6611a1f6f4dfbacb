"""A review goes on where it stopped: sidecars beside the scan, known by the voxels, never lost and never mixed up."""

import json
import shutil
import unittest
from contextlib import suppress
from pathlib import Path
from unittest import mock

import numpy as np
import slicer
from CMBDetectionLib import findingsMarkups, reviewStore
from CMBDetectionLib.volumeNodes import ijkToRas
from microbleeds import review_log
from microbleeds.cli import main
from microbleeds.image_files import read_image
from microbleeds.read_write import read_labels, write_image
from microbleeds.review_files import read_review
from microbleeds.review_log import Event
from microbleeds.review_sidecar import read_sidecar
from panelCase import PanelTestCase, column, findingsNode, makeVolume, verdicts


class ResumeTest(PanelTestCase):
    def setUp(self):
        super().setUp()
        self.scans = Path(self.folder.name) / "scans"
        self.scans.mkdir()
        self.image = self.saveVolume(makeVolume(), "sub-1_T2starw.nii.gz")
        self.sidecar = self.scans / "sub-1_T2starw_desc-cmb_review.json"

    def saveVolume(self, volume, name):
        path = self.scans / name
        slicer.util.exportNode(volume, str(path))
        slicer.mrmlScene.RemoveNode(volume)
        return path

    def review(self, panel):
        """Detect on the image, accept 1, reject 2; return the volume."""
        volume = slicer.util.loadVolume(str(self.image))
        self.detect(panel, volume)
        panel.ui.findingsTable.selectRow(0)
        panel.ui.acceptButton.click()
        panel.ui.rejectButton.click()
        return volume

    def reviewInSavedScene(self):
        """Review and save the scene; return the panel and the scene's path."""
        panel = self.makePanel()
        self.review(panel)
        scene = str(Path(self.folder.name) / "scene.mrml")
        slicer.util.saveScene(scene)
        return panel, scene

    def openAgain(self, image=None):
        """Empty the scene, as a new start of Slicer; return a new panel on the image."""
        slicer.mrmlScene.Clear(False)
        panel = self.makePanel()
        panel.ui.inputSelector.setCurrentNode(slicer.util.loadVolume(str(image or self.image)))
        return panel

    def test_everyVerdictIsInTheSidecarAtOnce(self):
        panel = self.makePanel()
        volume = slicer.util.loadVolume(str(self.image))
        self.detect(panel, volume)
        self.assertFalse(self.sidecar.exists(), "a detection alone writes nothing beside the scan")
        panel.ui.findingsTable.selectRow(0)
        panel.ui.acceptButton.click()
        review = read_review(self.sidecar)
        self.assertEqual([finding.verdict for finding in review.findings], ["accepted", "undecided", "undecided"])
        self.assertEqual(review.input_name, "sub-1_T2starw.nii.gz")
        self.assertTrue(panel.ui.saveLabel.text.endswith("saved"))
        self.assertIn("sub-1_T2starw_desc-cmb_review.json", panel.ui.saveLabel.toolTip)
        self.assertEqual(sorted(path.name for path in self.scans.iterdir()), [
            "sub-1_T2starw.nii.gz", "sub-1_T2starw_desc-cmb_dseg.nii.gz", "sub-1_T2starw_desc-cmb_review.json"])
        panel.ui.undoButton.click()
        self.assertEqual({finding.verdict for finding in read_review(self.sidecar).findings}, {"undecided"})

    def test_reopeningOffersToGoOnWhereItStopped(self):
        self.review(self.makePanel())
        outlines = findingsNode().GetNodeReference(findingsMarkups.OUTLINE_ROLE)
        centers = [outlines.GetSegmentCenterRAS(name) for name in outlines.GetSegmentation().GetSegmentIDs()]
        panel = self.openAgain()
        self.assertFalse(panel.ui.resumeButton.isHidden())
        self.assertIn("2 judged", panel.ui.summaryLabel.text)
        panel.ui.resumeButton.click()
        self.assertTrue(panel.ui.resumeButton.isHidden())
        self.assertEqual(verdicts(findingsNode()), ["accepted", "rejected", "undecided"])
        self.assertEqual(panel.ui.findingsTable.currentRow(), 2, "the finding that was on screen")
        self.assertEqual(panel.ui.summaryLabel.text, "3 findings: 1 accepted, 1 rejected, 1 open")
        outlines = findingsNode().GetNodeReference(findingsMarkups.OUTLINE_ROLE)
        np.testing.assert_allclose(
            [outlines.GetSegmentCenterRAS(name) for name in outlines.GetSegmentation().GetSegmentIDs()], centers,
            atol=1e-3)
        panel.ui.undoButton.click()
        panel.ui.undoButton.click()
        self.assertEqual(verdicts(findingsNode()), ["undecided"] * 3)
        panel.ui.redoButton.click()
        self.assertEqual(json.loads(self.sidecar.read_text())["findings"][0]["verdict"], "accepted")

    def test_aReviewThatTheCommandHasImportedIsGoneOnWith(self):
        theirs, volume = self.scans / "theirs.nii.gz", read_image(self.image).volume
        self.assertLess(np.linalg.det(volume.affine[:3, :3]), 0, "Slicer loads its slices in reversed order")
        outline = np.zeros(volume.shape, np.float32)
        outline[4:7, 5:8, 2:4] = 1
        write_image(theirs, volume.with_data(outline))
        self.assertEqual(main(["import", str(self.image), str(theirs), "--progress", "none"]), 0)
        place = volume.affine @ [5, 6, 2.5, 1]
        panel = self.openAgain()
        panel.ui.resumeButton.click()
        self.assertEqual(verdicts(findingsNode()), ["accepted"])
        session = panel.review.session
        np.testing.assert_allclose(session.item(1).position_ras, place[:3], atol=1e-3)
        for _ in range(2):
            voxels = np.argwhere(session.labels().data == 1)
            matrix = ijkToRas(session.volumeNode)
            np.testing.assert_allclose(matrix[:3, :3] @ voxels.mean(axis=0) + matrix[:3, 3], place[:3], atol=1e-3)
            session.undo()
            self.assertEqual(session.items, [])
            session.redo()

    def test_aRenamedCopyIsTheSameScanOnlyWithItsSidecar(self):
        self.review(self.makePanel())
        copy = self.scans / "other.nii.gz"
        shutil.copy(self.image, copy)
        self.assertTrue(self.openAgain(copy).ui.resumeButton.isHidden())
        shutil.copy(self.sidecar, self.scans / "other_desc-cmb_review.json")
        self.assertFalse(self.openAgain(copy).ui.resumeButton.isHidden())

    def test_anotherScanOfTheSameNameHasItsOwnReview(self):
        self.review(self.makePanel())
        before = self.sidecar.read_bytes()
        slicer.mrmlScene.Clear(False)
        other = makeVolume()
        slicer.util.updateVolumeFromArray(other, slicer.util.arrayFromVolume(other) + 1)
        self.saveVolume(other, self.image.name)
        panel = self.openAgain()
        self.assertTrue(panel.ui.resumeButton.isHidden())
        self.review(panel)
        self.assertEqual(self.sidecar.read_bytes(), before)
        names = [path.name for path in self.scans.glob("*review.json") if path != self.sidecar]
        self.assertEqual(len(names), 1)
        self.assertRegex(names[0], "^sub-1_T2starw-[0-9a-f]{8}_desc-cmb_review.json$")
        self.assertFalse(self.openAgain().ui.resumeButton.isHidden())

    def test_detectingAgainInsteadOfGoingOnKeepsTheReview(self):
        self.review(self.makePanel())
        panel = self.openAgain()
        self.detect(panel, panel.ui.inputSelector.currentNode())
        self.assertEqual(verdicts(findingsNode()), ["accepted", "rejected", "undecided"])
        self.assertEqual([finding.verdict for finding in read_review(self.sidecar).findings],
                         ["accepted", "rejected", "undecided"])

    def test_aReviewWithADamagedLabelMapIsGoneOnWithWithoutOutlines(self):
        self.review(self.makePanel())
        labels = self.scans / "sub-1_T2starw_desc-cmb_dseg.nii.gz"
        labels.write_bytes(b"damaged")
        panel = self.openAgain()
        with self.assertLogs(level="WARNING"):
            panel.ui.resumeButton.click()
        self.assertEqual(verdicts(findingsNode()), ["accepted", "rejected", "undecided"])
        panel.ui.acceptButton.click()
        self.assertEqual(labels.with_name(labels.name + ".damaged").read_bytes(), b"damaged")

    def test_whatWasJudgedInAnotherReviewIsNotQualifiedHere(self):
        panel, first = self.makePanel(), makeVolume("first")
        self.detect(panel, first)
        panel.ui.acceptButton.click()
        second = makeVolume("second")
        slicer.util.updateVolumeFromArray(second, slicer.util.arrayFromVolume(second) + 1)
        self.detect(panel, second)
        panel.ui.acceptButton.click()
        panel.ui.inputSelector.setCurrentNode(first)
        self.assertEqual(panel.ui.qualifiedLabel.text, "–")

    def test_aDamagedSidecarIsNeverOverwritten(self):
        self.sidecar.write_text("{ half")
        panel = self.openAgain()
        self.assertTrue(panel.ui.resumeButton.isHidden())
        self.review(panel)
        self.assertEqual(self.sidecar.read_text(), "{ half")
        self.assertEqual(len(list(self.scans.glob("sub-1_T2starw-*_desc-cmb_review.json"))), 1)

    def test_aVolumeWithoutFileIsKeptWithTheSettings(self):
        panel, volume = self.makePanel(), makeVolume("no file")
        self.detect(panel, volume)
        panel.ui.findingsTable.selectRow(0)
        panel.ui.acceptButton.click()
        self.assertEqual(len(list(self.reviews.rglob("*review.json"))), 1)
        slicer.mrmlScene.Clear(False)
        panel = self.makePanel()
        panel.ui.inputSelector.setCurrentNode(makeVolume("another name"))
        panel.ui.resumeButton.click()
        self.assertEqual(verdicts(findingsNode()), ["accepted", "undecided", "undecided"])

    def test_ofTwoReviewsOfAScanTheLatestIsGoneOnWith(self):
        volume = self.review(self.makePanel())
        # as after a session on a saved scene, whose volume has no file
        kept = self.reviews / reviewStore.digestOf(volume) / "scan_desc-cmb_review.json"
        kept.parent.mkdir(parents=True)
        shutil.copy(self.sidecar, kept)
        older = json.loads(self.sidecar.read_text())
        older["log"] = [{**event, "at": "2020-01-01T00:00:00+00:00"} for event in older["log"][:-1]]
        self.sidecar.write_text(json.dumps(older))
        before = self.sidecar.read_bytes()
        panel = self.openAgain()
        panel.ui.resumeButton.click()
        self.assertEqual(verdicts(findingsNode()), ["accepted", "rejected", "undecided"])
        panel.ui.undoButton.click()
        self.assertEqual([finding.verdict for finding in read_review(kept).findings][1], "undecided")
        self.assertEqual(self.sidecar.read_bytes(), before)

    def test_aDamagedFileWithTheSettingsIsLeftAloneToo(self):
        panel, volume = self.makePanel(), makeVolume("no file")
        self.detect(panel, volume)
        panel.ui.acceptButton.click()
        kept = next(self.reviews.rglob("*review.json"))
        kept.write_text("{ half")
        slicer.mrmlScene.Clear(False)
        for expected in (True, False):
            panel = self.makePanel()
            volume = makeVolume("no file")
            panel.ui.inputSelector.setCurrentNode(volume)
            self.assertEqual(panel.ui.resumeButton.isHidden(), expected)
            self.detect(panel, volume)
            panel.ui.rejectButton.click()
            self.assertEqual(kept.read_text(), "{ half")
            slicer.mrmlScene.Clear(False)

    def test_aFolderThatCannotBeWrittenTo(self):
        with mock.patch("CMBDetectionLib.reviewStore.os.access", return_value=False):
            self.review(self.makePanel())
        self.assertFalse(self.sidecar.exists())
        self.assertEqual(len(list(self.reviews.rglob("*review.json"))), 1)

    def test_aReviewInAFolderThatCannotBeWrittenToIsGoneOnWithElsewhere(self):
        self.review(self.makePanel())
        before = self.sidecar.read_bytes()
        with mock.patch("CMBDetectionLib.reviewStore.os.access", return_value=False):
            panel = self.openAgain()
            panel.ui.resumeButton.click()
            self.assertEqual(verdicts(findingsNode()), ["accepted", "rejected", "undecided"])
            outlines = findingsNode().GetNodeReference(findingsMarkups.OUTLINE_ROLE)
            self.assertEqual(outlines.GetSegmentation().GetNumberOfSegments(), 3)
            panel.ui.acceptButton.click()
            self.assertEqual(self.sidecar.read_bytes(), before)
            panel = self.openAgain()
            panel.ui.resumeButton.click()
            self.assertEqual(verdicts(findingsNode()), ["accepted", "rejected", "accepted"])

    def test_whatOnlyTheSceneHoldsIsSavedWhenItsVolumeIsChosenAgain(self):
        panel = self.makePanel()
        volume = self.review(panel)
        full = OSError(28, "No space left on device")
        with mock.patch("CMBDetectionLib.reviewSession.write_text", side_effect=full), self.assertLogs(level="WARNING"):
            panel.ui.acceptButton.click()
            panel.ui.inputSelector.setCurrentNode(makeVolume("other"))
        self.assertEqual([finding.verdict for finding in read_review(self.sidecar).findings][2], "undecided")
        panel.ui.inputSelector.setCurrentNode(volume)
        slicer.app.processEvents()
        self.assertEqual([finding.verdict for finding in read_review(self.sidecar).findings][2], "accepted")

    def test_anOlderSceneTakesNothingBack(self):
        panel, scene = self.reviewInSavedScene()
        panel.ui.acceptButton.click()
        panel.review.session.takeEvents([Event("", "", review_log.OUTLINED, 1, review_log.outline_value(
            np.zeros((0, 3), int), np.array([[5, 6, 4]]), 1.0))])
        panel.review.session._setRegion(1, np.array([[5, 6, 4]]))
        panel.review.session.save()
        slicer.mrmlScene.Clear(False)
        slicer.util.loadScene(scene)
        self.assertEqual(verdicts(findingsNode()), ["accepted", "rejected", "accepted"])
        self.assertEqual(reviewStore.fromScene(findingsNode()).events, read_sidecar(self.sidecar).events)
        self.assertEqual((panel.review.session.labels().data == 1).sum(), 1, "the outlines are those of the file too")
        panel.ui.undoButton.click()
        panel.ui.undoButton.click()
        self.assertEqual([finding.verdict for finding in read_review(self.sidecar).findings],
                         ["accepted", "rejected", "undecided"])

    def test_aSceneWithoutTheFilesOfItsOutlinesTakesThemFromTheReview(self):
        panel, scene = self.reviewInSavedScene()
        slicer.mrmlScene.Clear(False)
        for path in Path(self.folder.name).rglob("*.seg.nrrd"):
            path.unlink()
        with suppress(RuntimeError):
            slicer.util.loadScene(scene)
        panel.ui.acceptButton.click()
        labels = read_labels(self.scans / "sub-1_T2starw_desc-cmb_dseg.nii.gz")
        self.assertEqual(np.unique(labels.data).tolist(), [0, 1, 2, 3])

    def test_aSceneThatSaysSomethingElseIsAReviewOfItsOwn(self):
        panel, scene = self.reviewInSavedScene()
        panel.ui.undoButton.click()
        other = self.sidecar.read_bytes()
        self.sidecar.write_text(json.dumps({**json.loads(other), "log": [
            {**event, "reader": "somebody else"} for event in json.loads(other)["log"]]}))
        other = self.sidecar.read_bytes()
        slicer.mrmlScene.Clear(False)
        slicer.util.loadScene(scene)
        self.assertEqual(verdicts(findingsNode()), ["accepted", "rejected", "undecided"])
        panel.ui.acceptButton.click()
        self.assertEqual(self.sidecar.read_bytes(), other)
        own = next(path for path in self.scans.glob("*review.json") if path != self.sidecar)
        self.assertEqual([finding.verdict for finding in read_review(own).findings],
                         ["accepted", "rejected", "accepted"])

    def test_aFailedSaveIsToldAndTheSceneKeepsTheReview(self):
        panel = self.makePanel()
        self.detect(panel, slicer.util.loadVolume(str(self.image)))
        shutil.rmtree(self.scans)
        self.scans.write_text("a file where the folder was")
        panel.ui.findingsTable.selectRow(0)
        with self.assertLogs(level="WARNING"):
            panel.ui.acceptButton.click()
        self.assertIn("NOT SAVED", panel.ui.saveLabel.text)
        self.assertIn("Not saved", panel.ui.messageLabel.text)
        kept = reviewStore.fromScene(findingsNode())
        self.assertEqual(kept.events[-1].value, "accepted")

    def test_deletingTheNodeLosesNoVerdict(self):
        panel = self.makePanel()
        self.review(panel)
        slicer.mrmlScene.RemoveNode(findingsNode())
        self.assertEqual(panel.ui.findingsTable.rowCount, 0)
        panel.ui.resumeButton.click()
        self.assertEqual(verdicts(findingsNode()), ["accepted", "rejected", "undecided"])
        self.assertEqual(column(panel, 0), ["1", "2", "3"])

    def test_removingTheVolumeBehindTheReview(self):
        panel = self.makePanel()
        volume = self.review(panel)
        slicer.mrmlScene.RemoveNode(volume)
        self.assertEqual(read_review(self.sidecar).findings[1].verdict, "rejected")
        panel.ui.inputSelector.setCurrentNode(slicer.util.loadVolume(str(self.image)))
        self.assertEqual(panel.ui.summaryLabel.text, "3 findings: 1 accepted, 1 rejected, 1 open")
        self.assertEqual(len(slicer.util.getNodesByClass("vtkMRMLSegmentationNode")), 1)

    def test_changingTheVolumeAndBack(self):
        panel = self.makePanel()
        volume = self.review(panel)
        panel.ui.inputSelector.setCurrentNode(makeVolume("other"))
        self.assertEqual(panel.ui.findingsTable.rowCount, 0)
        panel.ui.inputSelector.setCurrentNode(volume)
        self.assertEqual(panel.ui.summaryLabel.text, "3 findings: 1 accepted, 1 rejected, 1 open")
        self.assertTrue(panel.ui.undoButton.isEnabled())


if __name__ == "__main__":
    unittest.main()

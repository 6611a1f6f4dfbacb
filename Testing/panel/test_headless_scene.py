"""The headless Slicer itself: files, scenes, subject hierarchy and slice views on real MRML."""

import tempfile
import unittest
from pathlib import Path

import numpy as np
import slicer
import vtk
from Headless import errors
from Headless.errors import NotProvided


def addVolume(name="scan"):
    """Return an oblique, anisotropic, left-handed volume with one bright box."""
    angle = np.deg2rad(15)
    matrix = np.eye(4)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    matrix[:3, :3] = turn @ np.diag([-0.9, 0.8, 2.0])
    matrix[:3, 3] = [20, -10, 5]
    voxels = np.full((12, 40, 50), 100, np.int16)
    voxels[5:7, 15:25, 20:30] = 1000
    return slicer.util.addVolumeFromArray(voxels, matrix, name)


def ijkToRas(volume):
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    return slicer.util.arrayFromVTKMatrix(matrix)


class FilesTest(unittest.TestCase):
    def setUp(self):
        slicer.mrmlScene.Clear(False)
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)

    def path(self, name):
        return str(Path(self.folder.name) / name)

    def test_volumeRoundTrip(self):
        volume = addVolume()
        self.assertTrue(slicer.util.exportNode(volume, self.path("scan.nii.gz")))
        loaded = slicer.util.loadVolume(self.path("scan.nii.gz"), {"name": "again"})
        self.assertEqual(loaded.GetName(), "again")
        bright = [slicer.util.arrayFromVolume(node) == 1000 for node in (volume, loaded)]
        centers = [ijkToRas(node) @ [*np.argwhere(mask).mean(axis=0)[::-1], 1]
                   for node, mask in zip((volume, loaded), bright, strict=True)]
        np.testing.assert_allclose(centers[1], centers[0], atol=1e-4)

    def test_exportHonoursTheTransformOnlyIfAsked(self):
        volume = addVolume()
        shift = vtk.vtkMatrix4x4()
        shift.SetElement(0, 3, 7)
        transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
        transform.SetMatrixTransformToParent(shift)
        volume.SetAndObserveTransformNodeID(transform.GetID())
        shifts = []
        for world in (False, True):
            slicer.util.exportNode(volume, self.path(f"{world}.nrrd"), {}, world)
            loaded = slicer.util.loadVolume(self.path(f"{world}.nrrd"))
            center = np.array(loaded.GetImageData().GetCenter())
            original = np.array(volume.GetImageData().GetCenter())
            shifts.append((ijkToRas(loaded) @ [*center, 1] - ijkToRas(volume) @ [*original, 1])[:3])
        np.testing.assert_allclose(shifts, [[0, 0, 0], [7, 0, 0]], atol=1e-4)
        self.assertIs(volume.GetParentTransformNode(), transform)

    def test_markupsTableTextSegmentation(self):
        points = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "points")
        points.AddControlPointWorld(vtk.vtkVector3d(1, 2, 3), "a")
        points.SetNthControlPointDescription(0, '{"status": "accepted", "note": "\u00b5 \\"x\\""}')
        self.assertTrue(slicer.util.saveNode(points, self.path("points.mrk.json")))
        loaded = slicer.util.loadMarkups(self.path("points.mrk.json"))
        self.assertEqual(loaded.GetNthControlPointDescription(0), points.GetNthControlPointDescription(0))
        Path(self.path("note.txt")).write_text("text", encoding="utf-8")
        self.assertEqual(slicer.util.loadText(self.path("note.txt")).GetText(), "text")
        Path(self.path("rows.csv")).write_text("a,b\n1,2\n", encoding="utf-8")
        self.assertEqual(slicer.util.loadTable(self.path("rows.csv")).GetNumberOfColumns(), 2)
        segmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "outline")
        segmentation.GetSegmentation().AddEmptySegment("one")
        self.assertTrue(slicer.util.saveNode(segmentation, self.path("outline.seg.nrrd")))

    def test_missingFileIsAnError(self):
        for load in (slicer.util.loadVolume, slicer.util.loadMarkups, slicer.util.loadScene):
            with self.assertRaises(RuntimeError):
                load(self.path("missing.mrb"))

    def test_unknownKindsAreNotProvided(self):
        with self.assertRaises(NotProvided):
            slicer.util.loadNodeFromFile(self.path("x.unknown"))
        with self.assertRaises(NotProvided):
            slicer.util.loadNodeFromFile(self.path("x.vtk"), "ModelFile")
        with self.assertRaises(NotProvided):
            slicer.util.saveScene(self.path("folder"))

    def test_bundleRoundTrip(self):
        volume = addVolume()
        points = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "points")
        points.AddControlPointWorld(vtk.vtkVector3d(1, 2, 3), "a")
        points.SetNodeReferenceID("scan", volume.GetID())
        self.assertTrue(slicer.util.saveScene(self.path("scene.mrb")))
        slicer.mrmlScene.Clear(False)
        self.assertEqual(slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode"), [])
        slicer.util.loadScene(self.path("scene.mrb"))
        loaded = slicer.util.getNode("points")
        self.assertEqual(tuple(loaded.GetNthControlPointPositionWorld(0)), (1, 2, 3))
        self.assertEqual(slicer.util.arrayFromVolume(loaded.GetNodeReference("scan")).max(), 1000)


class SceneTest(unittest.TestCase):
    def setUp(self):
        slicer.mrmlScene.Clear(False)

    def tearDown(self):
        errors.swallowed.clear()

    def test_dataNodesHaveSubjectHierarchyItems(self):
        volume = addVolume()
        hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
        item = hierarchy.GetItemByDataNode(volume)
        self.assertEqual(hierarchy.GetItemName(item), "scan")
        slicer.mrmlScene.RemoveNode(volume)
        self.assertEqual(hierarchy.GetNumberOfItems(), 0)

    def test_exceptionsInObserversAreRemembered(self):
        volume = addVolume()
        tag = volume.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: [].pop())
        volume.Modified()
        volume.RemoveObserver(tag)
        self.assertEqual([type(error) for error in errors.swallowed], [IndexError])

    def test_messagesAnswerAsWithTesting(self):
        self.assertIsNone(slicer.util.mainWindow())
        self.assertTrue(slicer.app.testingEnabled())
        self.assertFalse(slicer.util.confirmOkCancelDisplay("question"))
        slicer.util.errorDisplay("error")
        slicer.util.warningDisplay("warning")
        self.assertEqual(slicer.util.messageBox("text"), slicer.util.messageBox("text", windowTitle="title"))
        with self.assertRaises(ValueError), slicer.util.tryWithErrorDisplay("message", waitCursor=True):
            raise ValueError

    def test_unknownNamesAreNotProvided(self):
        import ctk

        for make in (lambda: slicer.qMRMLTreeView(), lambda: ctk.ctkRangeWidget(), lambda: slicer.app.logToFile(),
                     lambda: slicer.modules.markups.widgetRepresentation(),
                     lambda: slicer.app.layoutManager().threeDWidget(0)):
            with self.assertRaises(NotProvided):
                make()
        self.assertFalse(hasattr(slicer.modules, "pytorchutils"))


class SliceViewTest(unittest.TestCase):
    def setUp(self):
        slicer.mrmlScene.Clear(False)
        self.volume = addVolume()
        slicer.util.setSliceViewerLayers(background=self.volume, fit=True)

    def picture(self, name="Red"):
        return slicer.app.layoutManager().sliceWidget(name).sliceView()._view.pixels()

    def test_imageIsDrawn(self):
        for name in slicer.app.layoutManager().sliceViewNames():
            self.assertGreater(self.picture(name).std(), 5)
        slicer.util.setSliceViewerLayers(background=None)
        self.assertEqual(self.picture().max(), self.picture().min())

    def test_jumpCentersThePoint(self):
        points = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode")
        points.AddControlPointWorld(vtk.vtkVector3d(-3, 4, 15), "a")
        slicer.modules.markups.logic().JumpSlicesToNthPointInMarkup(points.GetID(), 0, True)
        for name, axis in (("Red", 2), ("Yellow", 0), ("Green", 1)):
            node = slicer.app.layoutManager().sliceWidget(name).mrmlSliceNode()
            toRas = slicer.util.arrayFromVTKMatrix(node.GetSliceToRAS())
            self.assertAlmostEqual(toRas[axis, 3], (-3, 4, 15)[axis], places=4)

    def test_markupsAreDrawn(self):
        before = self.picture()
        points = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode")
        points.CreateDefaultDisplayNodes()
        points.AddControlPointWorld(vtk.vtkVector3d(-3, 4, 15), "a")
        slicer.modules.markups.logic().JumpSlicesToNthPointInMarkup(points.GetID(), 0, True)
        slicer.util.setSliceViewerLayers(background=None)
        after = self.picture()
        self.assertEqual(before.shape, after.shape)
        self.assertGreater(after.std(), 1)

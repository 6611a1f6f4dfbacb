"""A slice view: Slicer's slice logic, displayable managers and interactor style, rendered offscreen by VTK.

qMRMLSliceView and qMRMLSliceWidget set this up in C++. The image layer is ours, because CTK's light box renderer is
not in the wheel; lines, markups and outlines are drawn by Slicer's own displayable managers.
"""

import slicer
import vtk
from vtkmodules.util.numpy_support import vtk_to_numpy

DISPLAYABLE_MANAGERS = (
    "vtkMRMLVolumeGlyphSliceDisplayableManager",
    "vtkMRMLModelSliceDisplayableManager",
    "vtkMRMLCrosshairDisplayableManager",
    "vtkMRMLOrientationMarkerDisplayableManager",
    "vtkMRMLRulerDisplayableManager",
    "vtkMRMLScalarBarDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager2D",
    "vtkMRMLMarkupsDisplayableManager",
    "vtkMRMLTransformsDisplayableManager2D",
    "vtkMRMLLinearTransformsDisplayableManager",
)

COLORS = {"Red": (0.95, 0.29, 0.27), "Yellow": (0.93, 0.84, 0.30), "Green": (0.43, 0.69, 0.29)}


class SliceView:
    """One slice view of the layout; `name` is its MRML layout name ("Red")."""

    def __init__(self, mrml, name, orientation, size=(400, 400)):
        self.name = name
        self._add_renderers(size)
        self._add_logic(mrml, name, orientation)
        self._add_displayable_managers()
        self._add_image_layer()
        self.resize(*size)

    def _add_renderers(self, size):
        self.window = vtk.vtkRenderWindow()
        self.window.SetOffScreenRendering(1)
        self.window.SetMultiSamples(0)
        self.window.SetNumberOfLayers(2)
        self.window.SetSize(*size)
        self.renderers = [vtk.vtkRenderer(), vtk.vtkRenderer()]
        for layer, renderer in enumerate(self.renderers):
            renderer.SetLayer(layer)
            renderer.GetActiveCamera().ParallelProjectionOn()
            self.window.AddRenderer(renderer)
        self.interactor = vtk.vtkGenericRenderWindowInteractor()
        self.interactor.SetRenderWindow(self.window)
        self.interactor.Initialize()

    def _add_logic(self, mrml, name, orientation):
        self.logic = slicer.vtkMRMLSliceLogic()
        self.logic.SetMRMLApplicationLogic(mrml.logic)
        mrml.logic.GetSliceLogics().AddItem(self.logic)
        self.logic.SetMRMLScene(mrml.scene)
        self.node = self.logic.AddSliceNode(name)
        self.node.SetOrientation(orientation)
        self.node.SetLayoutColor(*COLORS[name])

    def _add_displayable_managers(self):
        factory = slicer.vtkMRMLSliceViewDisplayableManagerFactory.GetInstance()
        for manager in DISPLAYABLE_MANAGERS:
            if not factory.IsDisplayableManagerRegistered(manager):
                factory.RegisterDisplayableManager(manager)
        self.managers = slicer.vtkMRMLDisplayableManagerGroup()
        self.managers.Initialize(factory, self.renderers[0])
        self.managers.SetMRMLDisplayableNode(self.node)
        self._style = slicer.vtkMRMLSliceViewInteractorStyle()
        self._style.SetSliceLogic(self.logic)
        self._style.SetDisplayableManagers(self.managers)
        self.interactor.SetInteractorStyle(vtk.vtkInteractorStyleUser())
        self._style.SetInteractor(self.interactor)

    def _add_image_layer(self):
        self._mapper = vtk.vtkImageMapper()
        self._mapper.SetColorWindow(255)
        self._mapper.SetColorLevel(127.5)
        self._image = vtk.vtkActor2D()
        self._image.SetMapper(self._mapper)
        self._image.GetProperty().SetDisplayLocationToBackground()
        self._image.VisibilityOff()
        self.renderers[0].AddViewProp(self._image)
        self.logic.AddObserver(vtk.vtkCommand.ModifiedEvent, self._update_image)

    def _update_image(self, *_):
        connection = self.logic.GetImageDataConnection()
        self._mapper.SetInputConnection(connection)
        self._image.SetVisibility(bool(connection))

    def resize(self, width, height):
        self.window.SetSize(width, height)
        self.interactor.SetSize(width, height)
        self.logic.ResizeSliceNode(width, height)

    def pixels(self):
        """Render and return the RGB picture, shape (height, width, 3), uint8, top row first."""
        self.window.Render()
        grabber = vtk.vtkWindowToImageFilter()
        grabber.SetInput(self.window)
        grabber.ReadFrontBufferOff()
        grabber.ShouldRerenderOff()
        grabber.Update()
        picture = grabber.GetOutput()
        width, height, _ = picture.GetDimensions()
        return vtk_to_numpy(picture.GetPointData().GetScalars()).reshape(height, width, -1)[::-1, :, :3].copy()

    def close(self):
        self.managers.SetMRMLDisplayableNode(None)
        self.window.Finalize()

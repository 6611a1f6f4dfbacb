"""Notices when a volume is moved, or its voxels are no longer where they were."""

import slicer
import vtk
from slicer.util import VTKObservationMixin

from .volumeNodes import gridOf


class VolumeWatch(VTKObservationMixin):
    """Watches one volume at a time; `onChanged(gridIsOther)` is called when it was changed or transformed."""

    def __init__(self, onChanged):
        VTKObservationMixin.__init__(self)
        self._onChanged = onChanged
        self._volume = None
        self._grid = None

    def watch(self, volume):
        """Watch this volume from now on (None: none)."""
        if volume is self._volume:
            return
        # all of them: the mixin keeps a node alive whose observers are removed one by one
        self.removeObservers()
        self._volume, self._grid = volume, gridOf(volume) if volume is not None else None
        if volume is not None:
            for event in (vtk.vtkCommand.ModifiedEvent, slicer.vtkMRMLTransformableNode.TransformModifiedEvent):
                self.addObserver(volume, event, self._onVolumeChanged)

    def _onVolumeChanged(self, caller, event):
        former, self._grid = self._grid, gridOf(self._volume)
        self._onChanged(self._grid != former)

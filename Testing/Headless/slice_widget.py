"""Stand-ins for qMRMLSliceWidget and qMRMLSliceView: a Qt frame around :class:`Headless.slice_view.SliceView`.

Mouse events go to Slicer's own vtkMRMLSliceViewInteractorStyle.
"""

import vtk
from PySide6 import QtGui, QtWidgets
from PySide6.QtCore import Property, Qt

BUTTONS = {Qt.LeftButton: "LeftButton", Qt.RightButton: "RightButton", Qt.MiddleButton: "MiddleButton"}
SMALLEST = 16  # pixels; VTK cannot render an empty window


class qMRMLSliceView(QtWidgets.QWidget):
    """The picture of one slice view."""

    def __init__(self, view):
        super().__init__()
        self._view = view
        self.setMouseTracking(True)
        view.managers.AddObserver(vtk.vtkCommand.UpdateEvent, lambda *_: self.update())

    def mrmlSliceNode(self):
        return self._view.node

    def renderWindow(self):
        return self._view.window

    def interactor(self):
        return self._view.interactor

    def scheduleRender(self):
        self.update()

    def forceRender(self):
        self._view.window.Render()

    def resizeEvent(self, event):
        self._view.resize(max(event.size().width(), SMALLEST), max(event.size().height(), SMALLEST))

    def paintEvent(self, event):
        pixels = self._view.pixels()
        height, width, _ = pixels.shape
        picture = QtGui.QImage(pixels.data, width, height, 3 * width, QtGui.QImage.Format_RGB888)
        QtGui.QPainter(self).drawImage(0, 0, picture)

    def mousePressEvent(self, event):
        self._forward(event, BUTTONS[event.button()] + "PressEvent")

    def mouseReleaseEvent(self, event):
        self._forward(event, BUTTONS[event.button()] + "ReleaseEvent")

    def mouseMoveEvent(self, event):
        self._forward(event, "MouseMoveEvent")

    def wheelEvent(self, event):
        self._forward(event, f"MouseWheel{'Forward' if event.angleDelta().y() > 0 else 'Backward'}Event")

    def _forward(self, event, name):
        control, shift = (int(bool(event.modifiers() & key)) for key in (Qt.ControlModifier, Qt.ShiftModifier))
        position = event.position()
        x, y = int(position.x()), int(self.rect.height() - 1 - position.y())
        self._view.interactor.SetEventInformation(x, y, control, shift, chr(0), 0, None)
        self._view.interactor.InvokeEvent(name)
        self.update()


class qMRMLSliceWidget(QtWidgets.QWidget):
    """A slice view with its colored bar."""

    def __init__(self, view):
        super().__init__()
        self._view = view
        self.setMinimumSize(120, 120)
        self._bar = QtWidgets.QLabel()
        self._bar.setFixedHeight(20)
        red, green, blue = (int(255 * part) for part in view.node.GetLayoutColor())
        self._bar.setStyleSheet(f"background: rgb({red}, {green}, {blue}); color: black; padding-left: 4px")
        self._canvas = qMRMLSliceView(view)
        layout = QtWidgets.QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(self._bar)
        layout.addWidget(self._canvas, 1)
        for vtk_object in (view.logic, view.node):
            vtk_object.AddObserver(vtk.vtkCommand.ModifiedEvent, self._on_modified)
        self._on_modified()

    def _on_modified(self, *_):
        offset = self._view.logic.GetSliceOffset()
        self._bar.setText(f"{self._view.name[0]}   {self._view.node.GetOrientationString()} {offset:.2f} mm")
        self._canvas.update()

    def sliceLogic(self):
        return self._view.logic

    def mrmlSliceNode(self):
        return self._view.node

    def mrmlSliceCompositeNode(self):
        return self._view.logic.GetSliceCompositeNode()

    def sliceView(self):
        return self._canvas

    def setSliceOrientation(self, orientation):
        self._view.node.SetOrientation(orientation)

    def fitSliceToBackground(self):
        self._view.logic.FitSliceToBackground()

    def close_view(self):
        self._view.close()

    sliceOrientation = Property(str, lambda self: self._view.node.GetOrientationString(), setSliceOrientation)

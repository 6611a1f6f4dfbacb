"""A window laid out as Slicer's: a panel at the left, the three slice views beside it, for pictures."""

from PySide6 import QtWidgets

PANEL_WIDTH = 400  # what Slicer's default window leaves for a module
WINDOW_SIZE = (1240, 640)
ROUNDS = 5  # of events, until layouts and views have settled


class SlicerWindow:
    """Shows `panel` (any widget) beside the slice views until :meth:`close`, which gives both back."""

    def __init__(self, application, panel, size=WINDOW_SIZE):
        self._application, self._panel = application, panel
        self._window = QtWidgets.QWidget()
        row = QtWidgets.QHBoxLayout(self._window)
        self._scroll = QtWidgets.QScrollArea()
        self._scroll.setWidgetResizable(True)
        self._scroll.setFixedWidth(PANEL_WIDTH)
        self._scroll.setWidget(panel)
        row.addWidget(self._scroll)
        grid = QtWidgets.QGridLayout()
        row.addLayout(grid, 1)
        layout_manager = application.layoutManager()
        self._views = [layout_manager.sliceWidget(name) for name in layout_manager.sliceViewNames()]
        largest, *others = self._views
        grid.addWidget(largest, 0, 0, len(others), 1)
        for index, view in enumerate(others):
            grid.addWidget(view, index, 1)
        grid.setColumnStretch(0, 3)
        grid.setColumnStretch(1, 2)
        self._window.resize(*size)
        self._window.show()
        self._settle()

    def save(self, path):
        """Write the picture (PNG by its name).

        Raises
        ------
        OSError
            If the file cannot be written.
        """
        self._settle()
        if not self._window.grab().save(str(path)):
            raise OSError(f"{path} cannot be written")

    def close(self):
        self._window.hide()
        self._scroll.takeWidget()
        for widget in (self._panel, *self._views):
            widget.setParent(None)

    def _settle(self):
        for _ in range(ROUNDS):
            self._application.processEvents()

"""The findings table: a view of the markups node, row = point; it stores nothing."""

import qt
from slicer.i18n import tr as _

from .findingsMarkups import ACCEPTED, REJECTED, pointRecord, worldPosition

_POINT_ID_ROLE = qt.Qt.UserRole
_STATUS_COLORS = {ACCEPTED: "#2e9e4f", REJECTED: "#c0504d"}


def setUpTable(table):
    """Give the table its columns."""
    columns = ((_("#"), _("Number of the finding, by falling probability")),
               (_("Prob."), _("Probability of being a microbleed, by the second network")),
               (_("Ø mm"), _("Diameter of the sphere of equal volume")),
               (_("Position mm"), _("World position: right/left, anterior/posterior, superior/inferior")),
               (_("Status"), _("Your verdict")))
    table.setColumnCount(len(columns))
    for column, (title, toolTip) in enumerate(columns):
        item = qt.QTableWidgetItem(title)
        item.setToolTip(toolTip)
        table.setHorizontalHeaderItem(column, item)
    header = table.horizontalHeader()
    header.setSectionResizeMode(qt.QHeaderView.ResizeToContents)
    header.setSectionResizeMode(3, qt.QHeaderView.Stretch)
    table.verticalHeader().setVisible(False)


def fillTable(table, node):
    """Show the points of `node` (None: nothing); the selected point stays selected if it still exists."""
    row = selectedRow(table)
    selected = table.item(row, 0).data(_POINT_ID_ROLE) if row >= 0 else None
    table.blockSignals(True)
    try:
        count = node.GetNumberOfControlPoints() if node is not None else 0
        table.setRowCount(count)
        for row in range(count):
            _fillRow(table, node, row)
        pointIds = [node.GetNthControlPointID(row) for row in range(count)]
        table.clearSelection()
        table.setCurrentCell(pointIds.index(selected) if selected in pointIds else -1, 0)
    finally:
        table.blockSignals(False)


def selectedRow(table) -> int:
    """Return the selected row, -1 if there is none.

    Not the table's current row, which lags behind inside the signal and survives when the selection is cleared.
    """
    items = table.selectedItems()
    return items[0].row() if items else -1


def _fillRow(table, node, row):
    record = pointRecord(node, row)
    statusTexts = {ACCEPTED: _("✓ accepted"), REJECTED: _("✗ rejected")}
    texts = (str(record.get("id", "–")), _number(record.get("probability"), 2), _number(record.get("diameter_mm"), 1),
             _positionText(worldPosition(node, row)), statusTexts.get(record["status"], _("open")))
    for column, text in enumerate(texts):
        item = table.item(row, column)
        if item is None:
            item = qt.QTableWidgetItem()
            item.setFlags(qt.Qt.ItemIsEnabled | qt.Qt.ItemIsSelectable)
            item.setTextAlignment(qt.Qt.AlignVCenter | (qt.Qt.AlignRight if column < 3 else qt.Qt.AlignLeft))
            table.setItem(row, column, item)
        item.setText(text)
    table.item(row, 0).setData(_POINT_ID_ROLE, node.GetNthControlPointID(row))
    color = _STATUS_COLORS.get(record["status"])
    if color:
        table.item(row, 4).setForeground(qt.QBrush(qt.QColor(color)))
    else:
        table.item(row, 4).setData(qt.Qt.ForegroundRole, None)


def _number(value, decimals) -> str:
    return f"{value:.{decimals}f}" if isinstance(value, int | float) else "–"


def _positionText(positionRas) -> str:
    letters = (("R", "L"), ("A", "P"), ("S", "I"))
    return "  ".join(f"{names[0] if value >= 0 else names[1]} {abs(value):.0f}"
                     for names, value in zip(letters, positionRas, strict=True))

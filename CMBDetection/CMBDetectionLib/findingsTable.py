"""The findings table: a view of the review, row = item; it stores nothing."""

import qt
from microbleeds.review_files import ACCEPTED, POSSIBLE, REJECTED
from slicer.i18n import tr as _

from . import findingsMarkups
from .regionTexts import placeText, placeToolTip
from .widgets import setColumns

_ID_ROLE = qt.Qt.UserRole
_STATUS_COLORS = {ACCEPTED: "#2e9e4f", REJECTED: "#c0504d"}


def setUpTable(table):
    """Give the table its columns."""
    columns = ((_("#"), _("Number of the finding, by falling probability")),
               (_("Prob."), _("Probability of being a microbleed, by the second network")),
               (_("Ø mm"), _("Diameter of the sphere of equal volume")),
               (_("Where"), _("Region of the brain, with a question mark where it is unsure; where none is known the "
                              "world position in mm")),
               (_("Verdict"), _("Your verdict")))
    setColumns(table, columns, stretched=3)
    table.verticalHeader().setVisible(False)


def fillTable(table, session, items, regions):
    """Show items of a session (None: there are none) with their regions by id, and select the current one."""
    table.blockSignals(True)
    try:
        table.setRowCount(len(items))
        places = findingsMarkups.worldPositions(session.node) if items else {}
        for row, item in enumerate(items):
            _fillRow(table, row, item, places.get(item.id, item.position_ras), regions.get(item.id))
        numbers = [item.id for item in items]
        table.clearSelection()
        current = session.current if session is not None else 0
        table.setCurrentCell(numbers.index(current) if current in numbers else -1, 0)
    finally:
        table.blockSignals(False)


def selectedNumber(table) -> int:
    """Return the id of the item in the selected row, 0 if there is none.

    Not that of the table's current row, which lags behind inside the signal and survives when the selection is cleared.
    """
    items = table.selectedItems()
    return table.item(items[0].row(), 0).data(_ID_ROLE) if items else 0


def _fillRow(table, row, item, positionRas, place):
    statusTexts = {ACCEPTED: _("✓ possible") if item.certainty == POSSIBLE else _("✓ accepted"),
                   REJECTED: _("✗ rejected")}
    texts = (str(item.id), _number(item.probability, 2), _number(item.diameter_mm or None, 1),
             placeText(place) if place else _positionText(positionRas), statusTexts.get(item.verdict, _("open")))
    for column, text in enumerate(texts):
        cell = table.item(row, column)
        if cell is None:
            cell = qt.QTableWidgetItem()
            cell.setFlags(qt.Qt.ItemIsEnabled | qt.Qt.ItemIsSelectable)
            cell.setTextAlignment(qt.Qt.AlignVCenter | (qt.Qt.AlignRight if column < 3 else qt.Qt.AlignLeft))
            table.setItem(row, column, cell)
        cell.setText(text)
    table.item(row, 0).setData(_ID_ROLE, item.id)
    told = [placeToolTip(place, item.chosen_region is not None)] if place else [_("The region is not known")]
    table.item(row, 3).setToolTip("\n".join([*told, _("{position} mm").format(position=_positionText(positionRas))]))
    color = _STATUS_COLORS.get(item.verdict)
    if color:
        table.item(row, 4).setForeground(qt.QBrush(qt.QColor(color)))
    else:
        table.item(row, 4).setData(qt.Qt.ForegroundRole, None)


def _number(value, decimals) -> str:
    return "–" if value is None else f"{value:.{decimals}f}"


def _positionText(positionRas) -> str:
    letters = (("R", "L"), ("A", "P"), ("S", "I"))
    return "  ".join(f"{names[0] if value >= 0 else names[1]} {abs(value):.0f}"
                     for names, value in zip(letters, positionRas, strict=True))

"""The legend of the keys, in which they can be changed."""

import qt
from slicer.i18n import tr as _

from .reviewKeys import commands


def fill(table, keyMap):
    """Show every command and its key."""
    table.blockSignals(True)
    try:
        table.setColumnCount(2)
        for column, title in enumerate((_("Key"), _("What it does"))):
            table.setHorizontalHeaderItem(column, qt.QTableWidgetItem(title))
        table.horizontalHeader().setStretchLastSection(True)
        table.setRowCount(len(commands()))
        for row, command in enumerate(commands()):
            table.setItem(row, 0, qt.QTableWidgetItem(keyMap.key(command.name)))
            text = qt.QTableWidgetItem(command.text)
            text.setFlags(qt.Qt.ItemIsEnabled)
            table.setItem(row, 1, text)
    finally:
        table.blockSignals(False)


def take(table, row, keyMap) -> str:
    """Take over the key that was typed into a row; return why it cannot be, "" if it can."""
    try:
        keyMap.change(commands()[row].name, table.item(row, 0).text().strip())
    except ValueError as error:
        return str(error)
    return ""

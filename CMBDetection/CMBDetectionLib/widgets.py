"""Combo boxes whose entries carry values, and tables whose columns explain themselves."""

import qt


def fillCombo(combo, choices):
    """Add (value, text) pairs."""
    for value, text in choices:
        combo.addItem(text, value)


def selectedValue(combo) -> str:
    """Return the value of the entry that is chosen."""
    return combo.itemData(combo.currentIndex)


def selectValue(combo, value):
    """Choose the entry of a value, the first one if there is none."""
    combo.setCurrentIndex(max(combo.findData(value), 0))


def setColumns(table, columns, stretched):
    """Give a table columns of (title, tool tip) as wide as their texts; one of them takes what is left."""
    table.setColumnCount(len(columns))
    for column, (title, toolTip) in enumerate(columns):
        item = qt.QTableWidgetItem(title)
        item.setToolTip(toolTip)
        table.setHorizontalHeaderItem(column, item)
    header = table.horizontalHeader()
    header.setSectionResizeMode(qt.QHeaderView.ResizeToContents)
    header.setSectionResizeMode(stretched, qt.QHeaderView.Stretch)

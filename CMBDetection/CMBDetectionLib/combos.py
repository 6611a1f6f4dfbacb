"""Combo boxes whose entries carry values."""


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

"""Which findings the table lists, and in which order; the keys go through them in that order."""

import numpy as np
from microbleeds.review_files import VERDICTS
from slicer.i18n import tr as _

from .volumeNodes import sliceAxis

PROBABILITY, SLICE, SIZE = "probability", "slice", "size"
_SIZES_MM = {"": (0.0, np.inf), "small": (0.0, 3.0), "medium": (3.0, 5.0), "large": (5.0, np.inf)}


def orderChoices() -> list[tuple[str, str]]:
    """Return (value, text) pairs."""
    return [(PROBABILITY, _("By probability")), (SLICE, _("By slice")), (SIZE, _("By size"))]


def verdictChoices() -> list[tuple[str, str]]:
    """Return (value, text) pairs; "" is every verdict."""
    texts = {"undecided": _("Open"), "accepted": _("Accepted"), "rejected": _("Rejected")}
    return [("", _("All")), *((value, texts[value]) for value in VERDICTS)]


def sizeChoices() -> list[tuple[str, str]]:
    """Return (value, text) pairs; "" is every size."""
    return [("", _("Any size")), ("small", _("< 3 mm")), ("medium", _("3 to 5 mm")), ("large", _("≥ 5 mm"))]


def listed(items, volumeNode, order, verdict, size):
    """Return the items of a verdict and size in an order: a finding without probability or size comes last.

    "slice" is from one end of the volume to the other along its slice axis, as one reads it: the lower end first.
    """
    low, high = _SIZES_MM[size]
    chosen = [item for item in items if verdict in ("", item.verdict) and low <= item.diameter_mm < high]
    if order == SLICE and volumeNode is not None:
        axis = sliceAxis(volumeNode)
        # along the world's positive direction, whichever way the file counts
        axis = axis * np.sign(axis[np.argmax(np.abs(axis))])
        return sorted(chosen, key=lambda item: (round(float(np.dot(item.position_ras, axis)), 3), item.id))
    if order == SIZE:
        return sorted(chosen, key=lambda item: (-item.diameter_mm, item.id))
    return sorted(chosen, key=lambda item: (item.probability is None, -(item.probability or 0.0), item.id))

"""Which findings the table lists, and in which order; the keys go through them in that order."""

from dataclasses import dataclass

import numpy as np
from microbleeds.regions import REGIONS, SIDES
from microbleeds.review_files import VERDICTS
from slicer.i18n import tr as _

from .regionTexts import categoryOf
from .volumeNodes import sliceAxis

PROBABILITY, SLICE, SIZE, REGION = "probability", "slice", "size", "region"
_SIZES_MM = {"": (0.0, np.inf), "small": (0.0, 3.0), "medium": (3.0, 5.0), "large": (5.0, np.inf)}


def orderChoices() -> list[tuple[str, str]]:
    """Return (value, text) pairs."""
    return [(PROBABILITY, _("By probability")), (SLICE, _("By slice")), (SIZE, _("By size")),
            (REGION, _("By region"))]


def verdictChoices() -> list[tuple[str, str]]:
    """Return (value, text) pairs; "" is every verdict."""
    texts = {"undecided": _("Open"), "accepted": _("Accepted"), "rejected": _("Rejected")}
    return [("", _("All")), *((value, texts[value]) for value in VERDICTS)]


def sizeChoices() -> list[tuple[str, str]]:
    """Return (value, text) pairs; "" is every size."""
    return [("", _("Any size")), ("small", _("< 3 mm")), ("medium", _("3 to 5 mm")), ("large", _("≥ 5 mm"))]


@dataclass(frozen=True)
class Listing:
    """What is chosen: the order, and the verdict, size and category of region ("" is any)."""

    order: str = PROBABILITY
    verdict: str = ""
    size: str = ""
    category: str = ""


def listed(items, places, volumeNode, listing):
    """Return the items that a listing shows, in its order: what has no probability, size or region comes last.

    "slice" is from one end of the volume to the other along its slice axis, as one reads it: the lower end first;
    "region" as on the MARS sheet, left before right.

    Parameters
    ----------
    items : sequence of ReviewItem
    places : dict
        `microbleeds.regions.Place` or None by id.
    volumeNode : node or None
    listing : Listing
    """
    low, high = _SIZES_MM[listing.size]
    chosen = [item for item in items if listing.verdict in ("", item.verdict) and low <= item.diameter_mm < high
              and listing.category in ("", categoryOf(places.get(item.id)))]
    if listing.order == SLICE and volumeNode is not None:
        axis = sliceAxis(volumeNode)
        # along the world's positive direction, whichever way the file counts
        axis = axis * np.sign(axis[np.argmax(np.abs(axis))])
        return sorted(chosen, key=lambda item: (round(float(np.dot(item.position_ras, axis)), 3), item.id))
    if listing.order == SIZE:
        return sorted(chosen, key=lambda item: (-item.diameter_mm, item.id))
    byProbability = sorted(chosen, key=lambda item: (item.probability is None, -(item.probability or 0.0), item.id))
    if listing.order == REGION:
        return sorted(byProbability, key=lambda item: _rank(places.get(item.id)))
    return byProbability


def _rank(place):
    return (REGIONS.index(place.region), SIDES.index(place.side)) if place is not None else (len(REGIONS), 0)

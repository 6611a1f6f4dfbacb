"""Where a finding lies: the regions of the Microbleed Anatomical Rating Scale, their categories and the sides.

Source: Gregoire et al. 2009 (MARS), Neurology 73:1759.
"""

from dataclasses import dataclass

REGIONS = ("brainstem", "cerebellum", "basal ganglia", "thalamus", "internal capsule", "external capsule",
           "corpus callosum", "deep and periventricular white matter", "frontal", "parietal", "temporal", "occipital",
           "insula")
"""Names by number; the number in a region map is the place here plus 1, 0 is no region."""

(BRAINSTEM, CEREBELLUM, BASAL_GANGLIA, THALAMUS, INTERNAL_CAPSULE, EXTERNAL_CAPSULE, CORPUS_CALLOSUM,
 DEEP_WHITE_MATTER, FRONTAL, PARIETAL, TEMPORAL, OCCIPITAL, INSULA) = range(1, len(REGIONS) + 1)

INFRATENTORIAL, DEEP, LOBAR = "infratentorial", "deep", "lobar"
CATEGORIES = (INFRATENTORIAL, DEEP, LOBAR)
LEFT, RIGHT = "left", "right"
SIDES = (LEFT, RIGHT)


UNSURE = 0.6
"""A region of a lower confidence is marked as unsure wherever it is shown."""


@dataclass(frozen=True)
class Place:
    """Where a point lies.

    Attributes
    ----------
    region : str
        One of `REGIONS`.
    side : "left" or "right"
    confidence, category_confidence, side_confidence : float in [0, 1]
        That the region, its category (lobar, deep, infratentorial) and the side are right; see
        `region_lookup.locate`.
    """

    region: str
    side: str
    confidence: float
    category_confidence: float
    side_confidence: float


def category_of(region: str) -> str:
    """Return infratentorial, deep or lobar for one of `REGIONS`.

    Raises
    ------
    ValueError
        If there is no such region.
    """
    number = REGIONS.index(region) + 1
    if number <= CEREBELLUM:
        return INFRATENTORIAL
    return DEEP if number <= DEEP_WHITE_MATTER else LOBAR

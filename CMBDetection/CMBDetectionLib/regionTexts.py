"""Regions of the brain in words: in the table, in its filter, and for a reader who corrects one."""

from microbleeds import regions
from slicer.i18n import tr as _

UNKNOWN = "unknown"


def regionTexts() -> dict[str, str]:
    """Return the short name of every region."""
    return {"brainstem": _("brainstem"), "cerebellum": _("cerebellum"), "basal ganglia": _("basal ganglia"),
            "thalamus": _("thalamus"), "internal capsule": _("internal capsule"),
            "external capsule": _("external capsule"), "corpus callosum": _("corpus callosum"),
            "deep and periventricular white matter": _("deep white matter"), "frontal": _("frontal"),
            "parietal": _("parietal"), "temporal": _("temporal"), "occipital": _("occipital"), "insula": _("insula")}


def placeText(place) -> str:
    """Return a place in a few letters, "L frontal"; what is unsure has a question mark."""
    mark = "?" if place.confidence < regions.UNSURE else ""
    return f"{_sideText(place.side)} {regionTexts()[place.region]}{mark}"


def placeToolTip(place, chosen) -> str:
    """Return a place in full, with how sure it is; `chosen` says that a reader has chosen it."""
    categories = {regions.LOBAR: _("lobar"), regions.DEEP: _("deep"), regions.INFRATENTORIAL: _("infratentorial")}
    text = f"{placeText(place).rstrip('?')}, {categories[regions.category_of(place.region)]}"
    if chosen:
        return _("{place}: chosen by a reader").format(place=text)
    return _("{place}: region {region:.0%} sure, lobar/deep/infratentorial {category:.0%}, side {side:.0%}").format(
        place=text, region=place.confidence, category=place.category_confidence, side=place.side_confidence)


def categoryChoices() -> list[tuple[str, str]]:
    """Return (value, text) pairs; "" is every place."""
    return [("", _("Any region")), (regions.LOBAR, _("Lobar")), (regions.DEEP, _("Deep")),
            (regions.INFRATENTORIAL, _("Infratentorial")), (UNKNOWN, _("Unknown"))]


def categoryOf(place) -> str:
    """Return the category of a place, `UNKNOWN` if there is none."""
    return UNKNOWN if place is None else regions.category_of(place.region)


def choices() -> list[tuple[str, str]]:
    """Return (value, text) pairs for a reader who corrects a region; "" is that of the region map."""
    pairs = [(f"{side} {region}", f"{_sideText(side)} {text}")
             for region, text in regionTexts().items() for side in regions.SIDES]
    return [("", _("Region: automatic")), *pairs]


def valueOf(choice) -> dict[str, str] | None:
    """Return the value of the event that a reader has chosen a region."""
    if not choice:
        return None
    side, _space, region = choice.partition(" ")
    return {"region": region, "side": side}


def choiceOf(item) -> str:
    """Return what a reader has chosen for an item, "" if nothing."""
    return f"{item.chosen_region[1]} {item.chosen_region[0]}" if item.chosen_region else ""


def _sideText(side) -> str:
    return {regions.LEFT: _("L"), regions.RIGHT: _("R")}[side]

"""What the panel says about a review in words."""

from microbleeds.review_files import ACCEPTED, REJECTED, UNDECIDED
from microbleeds.review_log import replay
from slicer.i18n import tr as _


def summary(items) -> str:
    """Return the counts of the items on screen."""
    if not items:
        return _("No microbleeds found.")
    verdicts = [item.verdict for item in items]
    parts = {"findings": len(items), "accepted": verdicts.count(ACCEPTED), "rejected": verdicts.count(REJECTED),
             "open": verdicts.count(UNDECIDED)}
    if len(items) == 1:
        return _("1 finding: {accepted} accepted, {rejected} rejected, {open} open").format(**parts)
    return _("{findings} findings: {accepted} accepted, {rejected} rejected, {open} open").format(**parts)


def howFound(provenance) -> str:
    """Return one line per choice that led to the findings."""
    return _("Image: {input_name}\nModality: {modality} ({modality_reason})\nModel: {model_name}\n"
             "Threshold: {operating_point}").format_map(provenance)


def resumeOffer(sidecar) -> str:
    """Return what can be gone on with."""
    judged = sum(item.verdict != UNDECIDED for item in replay(sidecar.events).items)
    return _("A review of this scan was begun ({judged} judged, {when}{reader}).").format(
        judged=judged, when=sidecar.events[-1].at[:16].replace("T", " ") if sidecar.events else "",
        reader=f", {sidecar.reader}" if sidecar.reader else "")

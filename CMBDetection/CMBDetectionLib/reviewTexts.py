"""What the panel says about a review in words."""

from datetime import datetime

from microbleeds.review_files import ACCEPTED, POSSIBLE, REJECTED, UNDECIDED
from microbleeds.review_log import replay
from slicer.i18n import tr as _

from .parameters import modalityChoices
from .reviewSession import readerName


def firstSteps() -> str:
    """Return what to do when there is no volume yet."""
    return _("Load a T2*-GRE, SWI or QSM volume, choose it above and click Detect; or try it on a simulated scan.")


def summary(items) -> str:
    """Return the counts of the items on screen."""
    if not items:
        return _("No microbleeds found.")
    verdicts = [item.verdict for item in items]
    possible = sum(item.verdict == ACCEPTED and item.certainty == POSSIBLE for item in items)
    accepted = (_("{accepted} accepted ({possible} possible)") if possible else _("{accepted} accepted")).format(
        accepted=verdicts.count(ACCEPTED), possible=possible)
    parts = {"findings": len(items), "accepted": accepted, "rejected": verdicts.count(REJECTED),
             "open": verdicts.count(UNDECIDED)}
    if len(items) == 1:
        return _("1 finding: {accepted}, {rejected} rejected, {open} open").format(**parts)
    return _("{findings} findings: {accepted}, {rejected} rejected, {open} open").format(**parts)


def circumstances(session) -> str:
    """Return what the counts come from, who reads, and whether the review is saved, in one line."""
    sequences, provenance = dict(modalityChoices()), session.state.provenance
    parts = [sequences.get(session.modality, _("sequence unknown")),
             provenance["model_name"] if provenance is not None else _("no model"),
             _("p ≥ {threshold:.2f}").format(threshold=session.threshold), readerName() or _("no reader named")]
    if session.problem:
        parts.insert(0, _("NOT SAVED"))
    else:
        parts.append(_("saved") if session.place.exists() else _("nothing to save yet"))
    return " · ".join(parts)


def howFound(provenance) -> str:
    """Return one line per choice that led to the findings."""
    return _("Image: {input_name}\nModality: {modality} ({modality_reason})\nModel: {model_name}\n"
             "Threshold: {operating_point}").format_map(provenance)


def movedAway(name) -> str:
    """Return what to do when a volume is no longer where it was when its findings were made."""
    return _("“{name}” was hardened, centered or resampled after its findings were made. Undo that, or load the scan "
             "again, to go on with the review; Detect begins a new one.").format(name=name)


def resumeOffer(sidecar) -> str:
    """Return what can be gone on with."""
    judged = sum(item.verdict != UNDECIDED for item in replay(sidecar.events).items)
    when = datetime.fromisoformat(sidecar.events[-1].at).astimezone() if sidecar.events else None
    return _("There is a review of this scan ({judged} judged, {when}{reader}).").format(
        judged=judged, when=f"{when:%Y-%m-%d %H:%M}" if when is not None else "",
        reader=f", {sidecar.reader}" if sidecar.reader else "")

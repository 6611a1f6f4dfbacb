"""A review made elsewhere, taken over into the one on screen; what contradicts it is asked, not guessed."""

import slicer
from microbleeds.import_files import read_foreign, with_grown_regions
from microbleeds.import_review import events_of, match_foreign
from microbleeds.review_log import now
from slicer.i18n import tr as _

from .reviewSession import readerName
from .volumeNodes import volumeOf

_MOST_TOLD = 12


def importReview(session, path) -> str:
    """Take over the findings in a file; return what was done, in one sentence.

    Raises
    ------
    InputError
        If the file cannot be read or belongs to another scan; nothing has changed.
    """
    volume = volumeOf(session.volumeNode)
    name, digest = session.image
    foreign = with_grown_regions(read_foreign(path, volume, name, scan_sha256=digest), volume, session.isBright())
    plan = match_foreign(session.state.items, foreign, session.labels())
    take = plan.conflicts if plan.conflicts and _theirsShallWin(plan.conflicts) else ()
    session.takeEvents(events_of(plan, readerName(), now(), session.state.next_id, take))
    told = _("{matched} matched, {added} added, {kept} of yours not in the file, {conflicts} conflicts ({whose}).")
    return told.format(matched=len(plan.matched), added=len(plan.additions), kept=len(plan.missing),
                       conflicts=len(plan.conflicts), whose=_("theirs taken") if take else _("yours kept"))


def _theirsShallWin(conflicts) -> bool:
    sentences = [conflict.sentence for conflict in conflicts[:_MOST_TOLD]]
    if len(conflicts) > _MOST_TOLD:
        sentences.append(_("and {count} more").format(count=len(conflicts) - _MOST_TOLD))
    return slicer.util.confirmYesNoDisplay("\n".join([*sentences, "", _("Take theirs? No keeps what is said here.")]),
                                           _("Import of a review"))

"""The probe of the finding on screen: figures with readings, and profiles."""

import numpy as np
from microbleeds.probe import PHASE, QSM, kind_of_name, probe_other, probe_scan, profiles
from slicer.i18n import tr as _

from . import findingsMarkups, probeTexts, profilePlot, readingViews
from .volumeNodes import ownRas, volumeOf

_MOST_OTHERS = 5


def show(textEdit, plotLabel, session):
    """Show the probe of a session's current item (None: no session)."""
    item = session.item(session.current) if session is not None else None
    if item is None or session.volumeNode is None or session.volumeNode.GetImageData() is None:
        textEdit.setHtml(_("Select a finding to see what it looks like."))
        plotLabel.clear()
        return
    volume = volumeOf(session.volumeNode)
    figures = probe_scan(volume, item.position_ras, session.isBright())
    textEdit.setHtml("<br>".join([
        probeTexts.shapeLine(figures), probeTexts.contrastLine(figures, session.isBright()),
        probeTexts.sphericityLine(figures), probeTexts.edgeLine(item),
        probeTexts.neighboursLine(_distances(session, item)), *_otherLines(session, item)]))
    plotLabel.setPixmap(profilePlot.draw(profiles(volume, figures.focus_ras), max(plotLabel.width, 240),
                                         max(plotLabel.height, 60)))


def _distances(session, item):
    return sorted((float(np.linalg.norm(np.subtract(other.position_ras, item.position_ras))), other.id)
                  for other in session.items if other.id != item.id)


def _otherLines(session, item):
    place = findingsMarkups.worldPositions(session.node).get(item.id)
    others = [node for node in readingViews.sequences(session.volumeNode) if node is not session.volumeNode]
    kinds = [kind_of_name(node.GetName()) for node in others]
    lines = [probeTexts.otherLine(node.GetName(), kind, probe_other(volumeOf(node), ownRas(node, place), kind))
             for node, kind in list(zip(others, kinds, strict=True))[:_MOST_OTHERS]]
    if session.modality != QSM and QSM not in kinds and PHASE not in kinds:
        lines.append(probeTexts.signHint())
    return lines

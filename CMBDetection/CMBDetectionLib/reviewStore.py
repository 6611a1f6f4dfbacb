"""Where a review is kept: in the scene, and as a sidecar beside the scan or, where that is impossible, with the
user's settings."""

import json
import os
from dataclasses import dataclass
from pathlib import Path

import slicer
from microbleeds.errors import InputError
from microbleeds.review_files import FILE_NAME
from microbleeds.review_log import DETECTED, SKIPPED
from microbleeds.review_sidecar import Sidecar, read_sidecar, sidecar_from_json, sidecar_places
from slicer.i18n import tr as _

from .findingsMarkups import LOG_ROLE, VOLUME_ROLE, findingsNodes
from .volumeNodes import digestOf, imageFileOf


@dataclass(frozen=True)
class Kept:
    """Where a review is saved, and the file that it goes on from (None: there is none yet) with what is in it.

    They are two files where that one cannot be written to.
    """

    place: Path
    source: Path | None = None
    sidecar: Sidecar | None = None


def ownFolder() -> Path:
    """Return the folder of reviews that cannot be kept beside their scans."""
    return Path(slicer.app.slicerUserSettingsFilePath).parent / "CMBDetection reviews"


def find(volumeNode) -> Kept:
    """Return what is kept of the review of a volume.

    A file of another scan, or one that cannot be read, is never overwritten. Of several, which come about when a scene
    is opened whose volume has no file, it is the one that was added to last.
    """
    return _kept(volumeNode, digestOf(volumeNode), lambda sidecar: True)


def withoutScan(volumeNode):
    """Return the findings node of the scene whose scan was missing and is this volume, None if there is none."""
    nodes = [node for node in findingsNodes() if not _hasScan(node)]
    digest = digestOf(volumeNode) if nodes else ""
    return next((node for node in nodes if _digestInScene(node) == digest), None)


def _hasScan(node) -> bool:
    volumeNode = node.GetNodeReference(VOLUME_ROLE)
    return volumeNode is not None and volumeNode.GetImageData() is not None


def _digestInScene(node) -> str | None:
    try:
        return fromScene(node).voxels_sha256
    except InputError:
        return None


def ofScene(volumeNode, sidecar) -> Kept:
    """Return what is kept in files of a review that a scene holds: a file that says something else is another review.

    Parameters
    ----------
    volumeNode : vtkMRMLScalarVolumeNode
    sidecar : Sidecar
        As the scene has it; a scene that was saved a while ago says less than the file.
    """
    return _kept(volumeNode, sidecar.voxels_sha256, lambda other: goesOnFrom(other, sidecar)
                 or goesOnFrom(sidecar, other))


def goesOnFrom(later, earlier) -> bool:
    """Whether a review says all that an earlier one does; detections alone say nothing that could be lost."""
    return later.events[:len(earlier.events)] == earlier.events or not _lastSaid(earlier)


def _kept(volumeNode, digest, isThisReview) -> Kept:
    image = imageFileOf(volumeNode)
    beside = sidecar_places(image, digest) if image is not None else ()
    # numbered, because a damaged file there is left alone too
    folder = ownFolder() / digest
    places = (*beside, *(folder / FILE_NAME.format(name)
                         for name in ("scan", *(f"scan-{number}" for number in range(2, 100)))))
    there = [path for path in places if path.exists()]
    own = [(path, sidecar) for path in there
           if (sidecar := _ofScan(path, digest)) is not None and isThisReview(sidecar)]
    source, sidecar = max(own, key=lambda found: (_lastSaid(found[1]), len(found[1].events)), default=(None, None))
    canWrite = image is not None and os.access(image.parent, os.W_OK)
    if source is not None and (canWrite or source not in beside):
        return Kept(source, source, sidecar)
    return Kept(next(path for path in places if path not in there and (canWrite or path not in beside)), source,
                sidecar)


def keepInScene(node, text):
    """Keep the text of a sidecar in the scene with its findings node, so that it is saved with it."""
    textNode = node.GetNodeReference(LOG_ROLE)
    if textNode is None:
        textNode = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTextNode", f"{node.GetName()} review")
        textNode.SetHideFromEditors(True)
        node.SetNodeReferenceID(LOG_ROLE, textNode.GetID())
    textNode.SetText(text)


def fromScene(node):
    """Return the sidecar that is kept in the scene with a findings node.

    Raises
    ------
    InputError
        If there is none, or it is damaged.
    """
    textNode = node.GetNodeReference(LOG_ROLE)
    try:
        content = json.loads(textNode.GetText()) if textNode is not None else None
    except ValueError:
        content = None
    if content is None:
        raise InputError(_("The review of “{name}” is missing from the scene or damaged; delete “{name}”, then detect "
                           "again.").format(name=node.GetName()))
    return sidecar_from_json(content, node.GetName())


def _lastSaid(sidecar):
    """Return when a reader said something last; all times are in UTC and to the second, so they sort as text."""
    return max((event.at for event in sidecar.events if event.action not in (DETECTED, SKIPPED)), default="")


def _ofScan(path, digest):
    """Return the sidecar in a file, None if it is another scan's or cannot be read."""
    try:
        sidecar = read_sidecar(path)
    except InputError:
        return None
    return sidecar if sidecar.voxels_sha256 == digest else None

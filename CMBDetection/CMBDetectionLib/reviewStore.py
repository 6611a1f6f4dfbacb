"""Where a review is kept: in the scene, and as a sidecar beside the scan or, where that is impossible, with the
user's settings."""

import json
import os
from pathlib import Path

import slicer
from microbleeds.errors import InputError
from microbleeds.review_files import FILE_NAME
from microbleeds.review_log import DETECTED, SKIPPED
from microbleeds.review_sidecar import read_sidecar, sidecar_from_json, sidecar_places

from .findingsMarkups import LOG_ROLE
from .volumeNodes import digestOf, imageFileOf


def ownFolder() -> Path:
    """Return the folder of reviews that cannot be kept beside their scans."""
    return Path(slicer.app.slicerUserSettingsFilePath).parent / "CMBDetection reviews"


def placeOf(volumeNode, digest) -> Path:
    """Return the path of the sidecar of a volume: the one that is there, or where it shall be.

    A file of another scan, or one that cannot be read, is never overwritten. Of several, which come about when a scene
    is opened whose volume has no file, it is the one that was added to last.
    """
    return _placeAndSidecar(volumeNode, digest)[0]


def find(volumeNode):
    """Return the sidecar of a volume, None if it has none."""
    return _placeAndSidecar(volumeNode, digestOf(volumeNode))[1]


def _placeAndSidecar(volumeNode, digest):
    image, places = imageFileOf(volumeNode), []
    if image is not None and os.access(image.parent, os.W_OK):
        places += sidecar_places(image, digest)
    # numbered, because a damaged file there is left alone too
    folder = ownFolder() / digest
    places += [folder / FILE_NAME.format(name) for name in ("scan", *(f"scan-{number}" for number in range(2, 100)))]
    there = [path for path in places if path.exists()]
    own = [(path, sidecar) for path in there if (sidecar := _ofScan(path, digest)) is not None]
    if own:
        return max(own, key=lambda found: _lastSaid(found[1]))
    return next(path for path in places if path not in there), None


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

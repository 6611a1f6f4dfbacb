"""Where a review is kept: in the scene, and as a sidecar beside the scan or, where that is impossible, with the
user's settings."""

import json
import os
from pathlib import Path

import slicer
from microbleeds.errors import InputError
from microbleeds.outputs import FILE_NAMES
from microbleeds.review_files import FILE_NAME
from microbleeds.review_sidecar import read_sidecar, sidecar_from_json, sidecar_places

from .findingsMarkups import LOG_ROLE
from .volumeNodes import digestOf, imageFileOf


def ownFolder() -> Path:
    """Return the folder of reviews that cannot be kept beside their scans."""
    return Path(slicer.app.slicerUserSettingsFilePath).parent / "CMBDetection reviews"


def placeOf(volumeNode, digest) -> Path:
    """Return the path of the sidecar of a volume: the one that is there, or where it shall be.

    A file of another scan, or one that cannot be read, is never overwritten.
    """
    places = [ownFolder() / digest / FILE_NAME.format("scan")]
    image = imageFileOf(volumeNode)
    if image is not None and os.access(image.parent, os.W_OK):
        places = [*sidecar_places(image, digest), *places]
    there = [path for path in places if path.exists()]
    return next((path for path in there if _isOf(path, digest)),
                next((path for path in places if path not in there), places[-1]))


def find(volumeNode):
    """Return the sidecar of a volume, None if it has none."""
    path = placeOf(volumeNode, digestOf(volumeNode))
    return read_sidecar(path) if path.exists() else None


def labelsBeside(path) -> Path:
    """Return the path of the label map that belongs to a sidecar."""
    return path.with_name(path.name.removesuffix(FILE_NAME.format("")) + FILE_NAMES["labels"].format(""))


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


def _isOf(path, digest) -> bool:
    try:
        return read_sidecar(path).voxels_sha256 == digest
    except InputError:
        return False

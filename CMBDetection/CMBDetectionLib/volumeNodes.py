"""What the review needs to know of a volume node."""

from pathlib import Path

import numpy as np
import slicer
import vtk
from microbleeds.image_files import IMAGE_SUFFIXES
from microbleeds.review_sidecar import voxels_sha256
from microbleeds.volume import Volume

CASE_ATTRIBUTE = "CMBDetection.case"
"""Of a volume that a work list has loaded: the case it belongs to."""
_ISOTROPIC = 1.1
"""Voxel sides within this ratio count as equal."""
_SAME_MM = 1e-3
"""Files of scenes round."""


def ijkToRas(volumeNode) -> np.ndarray:
    """Return the (4, 4) matrix from voxels to the volume's own RAS mm, parent transforms not applied."""
    matrix = vtk.vtkMatrix4x4()
    volumeNode.GetIJKToRASMatrix(matrix)
    return slicer.util.arrayFromVTKMatrix(matrix)


def gridOf(volumeNode) -> dict | None:
    """Return the numbers of voxels and `ijkToRas` of a volume, ready for JSON; None if it has no voxels."""
    image = volumeNode.GetImageData()
    if image is None:
        return None
    return {"shape": list(image.GetDimensions()), "affine": ijkToRas(volumeNode).tolist()}


def isSameGrid(first, second) -> bool:
    """Whether two grids have the same voxels, whichever way each axis counts them: Slicer turns files on loading."""
    affine, other = np.array(first["affine"]), np.array(second["affine"])
    middle = np.append((np.array(first["shape"]) - 1) / 2, 1)
    turns = np.where((affine[:3, :3] * other[:3, :3]).sum(axis=0) < 0, -1, 1)
    return first["shape"] == second["shape"] and np.allclose(affine[:3, :3] * turns, other[:3, :3], atol=_SAME_MM) \
        and np.allclose(affine @ middle, other @ middle, atol=_SAME_MM)


def volumeOf(volumeNode) -> Volume:
    """Return the voxels (i, j, k) and their place in the volume's own RAS, without a copy."""
    return Volume(slicer.util.arrayFromVolume(volumeNode).T, ijkToRas(volumeNode))


def ownRas(volumeNode, positionRas) -> tuple[float, float, float]:
    """Return a world position (RAS mm) in the volume's own RAS, parent transforms taken off."""
    return _between(None, volumeNode.GetParentTransformNode(), positionRas)


def worldRas(volumeNode, positionRas) -> tuple[float, float, float]:
    """Return a position in the volume's own RAS (mm) in the world, parent transforms applied."""
    return _between(volumeNode.GetParentTransformNode(), None, positionRas)


def _between(source, target, position) -> tuple[float, float, float]:
    general = vtk.vtkGeneralTransform()
    slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(source, target, general)
    return tuple(general.TransformPoint(position))


def digestOf(volumeNode) -> str:
    """Return the digest of the voxels and their place, by which a scan is known again."""
    return voxels_sha256(slicer.util.arrayFromVolume(volumeNode), ijkToRas(volumeNode))


def imageFileOf(volumeNode) -> Path | None:
    """Return the image file that a volume was loaded from; None for DICOM and volumes without a file."""
    storage = volumeNode.GetStorageNode()
    path = Path(storage.GetFileName()) if storage is not None and storage.GetFileName() else None
    return path if path is not None and path.is_file() and path.name.lower().endswith(IMAGE_SUFFIXES) else None


def removeWithOwn(node):
    """Remove a node and what only it uses: display and storage."""
    own = [node.GetNthDisplayNode(index) for index in range(node.GetNumberOfDisplayNodes())]
    # the node first: a view that shows it would give it another display node
    for one in [node, *own, node.GetStorageNode()]:
        if one is not None:
            slicer.mrmlScene.RemoveNode(one)


def sliceAxis(volumeNode) -> np.ndarray:
    """Return the direction (3,) across the slices as acquired, in the volume's own RAS, length 1.

    That is the axis of the thickest voxels; where all are about as thick, the file's own slice axis.
    """
    matrix = ijkToRas(volumeNode)[:3, :3]
    spacing = np.linalg.norm(matrix, axis=0)
    axis = int(np.argmax(spacing)) if spacing.max() > _ISOTROPIC * spacing.min() else 2
    return matrix[:, axis] / spacing[axis]

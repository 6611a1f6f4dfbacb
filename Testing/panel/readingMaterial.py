"""What long readings are made of: a panel, scans of noise, a detection with any number of findings and a region map."""

import numpy as np
import qt
import slicer
from CMBDetectionLib.engineProcess import EngineCommand, defaultCommand
from CMBDetectionLib.panel import Panel
from CMBDetectionLib.volumeNodes import ijkToRas, removeWithOwn
from microbleeds.findings import DetectionResult, Extrema, Finding, Provenance
from microbleeds.outputs import write_result
from microbleeds.region_lookup import locate
from microbleeds.regions import REGIONS
from microbleeds.volume import Volume
from panelCase import FAKE_ENGINE

SPACING_MM = (0.9, 0.9, 2.0)
MAP_SPACING_MM = 1.25
THRESHOLD = 0.3
_BOX_MM = 35
_PITCH = 4


def openPanel(pidFile):
    """Return a frame, to be kept, and the panel in it; its engine is the tests' stand-in."""
    parent = slicer.qMRMLWidget()
    parent.setLayout(qt.QVBoxLayout())
    parent.setMRMLScene(slicer.mrmlScene)
    command = EngineCommand(defaultCommand().program, (str(FAKE_ENGINE), "normal", str(pidFile)))
    panel = Panel(parent.layout(), command=command, models=[("none", "none")], ensureTorch=lambda: "")
    parent.show()
    parent.activateWindow()
    slicer.app.processEvents()
    return parent, panel


def writeScan(path, shape, seed=1):
    """Write a scan of noise, shape (i, j, k), to an image file."""
    voxels = np.random.default_rng(seed).normal(300, 20, shape[::-1]).astype(np.int16)
    volume = slicer.util.addVolumeFromArray(voxels, np.diag([*SPACING_MM, 1.0]), path.name.split(".")[0])
    slicer.util.exportNode(volume, str(path))
    removeWithOwn(volume)


def writeFindings(volumeNode, folder, count):
    """Write the files of a detection in a volume to a folder; return their paths by role.

    Each finding is a cube of 3 x 3 x 3 voxels, and none touches another; the probabilities fall from .99 to .39.

    Raises
    ------
    ValueError
        If the volume has no room for so many.
    """
    shape, spacingMm = volumeNode.GetImageData().GetDimensions(), volumeNode.GetSpacing()
    labels = np.zeros(shape, np.int32)
    findings, affine = [], ijkToRas(volumeNode)
    regionMap = _regionMap(affine, shape, spacingMm)
    for number, voxel in enumerate(_voxels(shape, count), start=1):
        labels[tuple(slice(at - 1, at + 2) for at in voxel)] = number
        place = tuple((affine @ [*voxel, 1])[:3].tolist())
        findings.append(Finding(number, place, 0.99 - 0.6 * number / count, 0.9, 43.7, 4.4, (place, place),
                                Extrema(0.0, 0.0, place, place), place=locate(regionMap, place)))
    provenance = Provenance("scan.nii.gz", "", "gre", "given", "none", "", "balanced", shape, spacingMm,
                            {"classify": {"threshold": THRESHOLD}}, {}, {})
    result = DetectionResult(tuple(findings), provenance, regionMap)
    grid = Volume(labels, affine)
    files = write_result(result, grid, grid, "scan", folder, "<html></html>")
    return {role: str(path) for role, path in files.items()}


def _voxels(shape, count):
    """Return the middles of the findings, (count, 3) indices (i, j, k), by chance from a grid."""
    axes = [np.arange(_PITCH, side - _PITCH, _PITCH) for side in shape]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    if len(grid) < count:
        raise ValueError(f"a volume of {shape} voxels has no room for {count} findings")
    return np.random.default_rng(2).permutation(grid)[:count]


def _regionMap(affine, shape, spacingMm):
    """Return a map with voxels of 1.25 mm, of boxes that are cut in halves."""
    mapShape = np.ceil(np.array(shape) * spacingMm / MAP_SPACING_MM).astype(int)
    places = np.indices(mapShape) * MAP_SPACING_MM // _BOX_MM
    data = (1 + places.sum(axis=0) % len(REGIONS) + 16 * (np.indices(mapShape)[0] > mapShape[0] // 2)).astype(np.uint8)
    matrix = affine @ np.diag([*(MAP_SPACING_MM / np.array(spacingMm)), 1.0])
    return Volume(data, matrix)

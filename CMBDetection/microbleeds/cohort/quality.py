"""Figures of one scan by which odd ones are found among many, and its thumbnail.

Noise: the difference operator of Immerkær (1996, Comput Vis Image Underst 64:300) in the plane of the slices, which
takes out what is linear in the image; its spread inside the brain by the median absolute deviation, so that vessels
and edges do not count. It is told as a share of the brain's range of intensities (5th to 95th percentile), which is
in the same units for GRE, SWI and QSM.
"""

from typing import Any

import numpy as np
from scipy import ndimage

from ..findings import DetectionResult
from ..geometry import to_canonical
from ..snapshots import PLANES, png
from ..volume import Volume

PIXEL_MM = 2.0
"""Of a thumbnail."""
PLANE_PIXELS = 96
"""Width and height of each of its three planes."""

_MASK = np.outer([1, -2, 1], [1, -2, 1]).astype(np.float32)
_MASK_NORM = 6.0
_TO_SIGMA = 1.4826
"""Of a median absolute deviation, for a normal distribution."""
_OUTLINE = 255


def measure(volume: Volume, brain: Volume, result: DetectionResult) -> dict[str, Any]:
    """Return the figures of a scan.

    Parameters
    ----------
    volume, brain : Volume
        The scan as it was read, and its brain mask (bool) on the same grid, not empty.
    result : DetectionResult

    Returns
    -------
    dict
        "brain_ml"; "in_plane_mm" and "slice_mm", voxel sizes; "noise_share", see above, None where the brain is too
        flat to tell; "candidates" and "findings", numbers of them; "has_regions", "simulated"; "warnings", sentences.
    """
    slices = volume.slice_axis
    in_plane = [float(size) for axis, size in enumerate(volume.spacing) if axis != slices]
    return {"brain_ml": round(float(np.count_nonzero(brain.data)) * volume.voxel_volume_mm3 / 1000, 1),
            "in_plane_mm": round(float(np.sqrt(in_plane[0] * in_plane[1])), 4),
            "slice_mm": round(float(volume.spacing[slices]), 4), "noise_share": noise_share(volume, brain),
            "candidates": len(result.candidates), "findings": len(result.findings),
            "has_regions": result.regions is not None, "simulated": result.provenance.simulated,
            "warnings": list(result.provenance.warnings)}


def noise_share(volume: Volume, brain: Volume) -> float | None:
    """Return the noise inside the brain as a share of its range of intensities, None where it has none."""
    box = ndimage.find_objects(brain.data.astype(np.int8))[0]
    image = np.moveaxis(np.nan_to_num(volume.data[box], posinf=0, neginf=0), volume.slice_axis, 0)
    inside = np.moveaxis(brain.data[box], volume.slice_axis, 0)
    differences = np.concatenate([ndimage.convolve(plane, _MASK, mode="nearest")[where]
                                  for plane, where in zip(image, inside, strict=True)])
    low, high = np.percentile(image[inside], (5, 95))
    if not high > low:
        return None
    sigma = _TO_SIGMA * np.median(np.abs(differences - np.median(differences))) / _MASK_NORM
    return round(float(sigma / (high - low)), 5)


def thumbnail(volume: Volume, brain: Volume) -> bytes:
    """Return an axial, a coronal and a sagittal slice through the middle of the brain side by side, as PNG.

    The outline of the brain mask is white. Radiological convention, see `snapshots`.
    """
    canonical, mask = to_canonical(volume), to_canonical(brain)
    middle = ndimage.center_of_mass(mask.data)
    low, high = np.percentile(canonical.data[mask.data], (0.5, 99.5))
    pictures = []
    for plane in PLANES:
        offsets = (PLANE_PIXELS / 2 - 0.5 - np.arange(PLANE_PIXELS)) * PIXEL_MM
        places = np.empty((3, PLANE_PIXELS, PLANE_PIXELS))
        places[:] = np.reshape(middle, (3, 1, 1))
        places[plane.across] = middle[plane.across] + offsets[None, :] / canonical.spacing[plane.across]
        places[plane.down] = middle[plane.down] + offsets[:, None] / canonical.spacing[plane.down]
        values = ndimage.map_coordinates(canonical.data, places, order=1, output=np.float32, cval=low)
        inside = ndimage.map_coordinates(mask.data.astype(np.uint8), places, order=0, cval=0) > 0
        grey = (np.clip((values - low) / max(high - low, np.finfo(np.float32).tiny), 0, 1) * (_OUTLINE - 35)).round()
        grey[inside & ~ndimage.binary_erosion(inside)] = _OUTLINE
        pictures.append(np.nan_to_num(grey).astype(np.uint8))
    return png(np.concatenate(pictures, axis=1))

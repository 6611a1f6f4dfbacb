"""Where a point lies in a region map, and how sure that is; without a network, so that the panel can ask too.

A region map is a uint8 label map on a coarse grid: the number of the region (`regions`), plus 16 on the right; 0 is no
region.
"""

import base64
import zlib
from typing import Any

import numpy as np

from .geometry import ras_to_voxel
from .regions import LEFT, REGIONS, RIGHT, Place, category_of
from .volume import Volume

ON_THE_RIGHT = 16
_REGION_BITS = ON_THE_RIGHT - 1
BORDER_ERROR_MM = 2.5
"""Standard deviation of a border of the map."""
NAMED_RIGHT = 0.97
"""Share of the places far from any border that the map names right. With both numbers confidences are as often right
as they say, on held-out heads (`Testing/Benchmarks/region_choice.py`)."""
_REACH_ERRORS = 3.0
"""A border is not further off than this many standard deviations."""
_LARGEST = 20_000_000


def locate(regions: Volume, position_ras: tuple[float, float, float]) -> Place | None:
    """Return where a point lies, None if the map says nothing about it.

    Parameters
    ----------
    regions : Volume
        Region map, uint8.
    position_ras : (R, A, S) in mm

    Notes
    -----
    The confidences are the shares of what lies around the point, weighted by how likely a border is that far off (a
    Gaussian with `BORDER_ERROR_MM`); those of region and category times `NAMED_RIGHT`.
    """
    centre = ras_to_voxel(regions, np.array([position_ras], float))[0]
    reach_mm = _REACH_ERRORS * BORDER_ERROR_MM
    reach = np.ceil(reach_mm / regions.spacing).astype(int)
    first = np.maximum(np.rint(centre).astype(int) - reach, 0)
    last = np.minimum(np.rint(centre).astype(int) + reach + 1, regions.shape)
    if (first >= last).any():
        return None
    around = regions.data[tuple(map(slice, first, last))]
    steps = np.meshgrid(*((np.arange(a, b) - c) * size for a, b, c, size
                          in zip(first, last, centre, regions.spacing, strict=True)), indexing="ij", sparse=True)
    distance_squared = sum(step**2 for step in steps)
    weights = np.where((around > 0) & (distance_squared <= reach_mm**2),
                       np.exp(-distance_squared / (2 * BORDER_ERROR_MM**2)), 0)
    if weights.sum() <= 0:
        return None
    weights /= weights.sum()
    numbers = np.bincount((around & _REGION_BITS).ravel(), weights.ravel(), len(REGIONS) + 1)[1:]
    right = float(weights[around >= ON_THE_RIGHT].sum())
    region = REGIONS[int(np.argmax(numbers))]
    category = sum(share for name, share in zip(REGIONS, numbers, strict=True)
                   if category_of(name) == category_of(region))
    # four digits are more than is known, and no share is above 1
    shares = (round(float(share), 4) for share in (NAMED_RIGHT * numbers.max(), NAMED_RIGHT * category,
                                                   max(right, 1 - right)))
    return Place(region, RIGHT if right > 0.5 else LEFT, *shares)


def region_map_to_json(regions: Volume) -> dict[str, Any]:
    """Return a region map as JSON: ``shape``, ``affine`` (voxel to RAS mm), ``values`` (C order, zlib, base64)."""
    packed = zlib.compress(np.ascontiguousarray(regions.data, np.uint8).tobytes(), 9)
    return {"shape": list(regions.shape), "affine": regions.affine.tolist(),
            "values": base64.b64encode(packed).decode("ascii")}


def region_map_from_json(content: dict[str, Any]) -> Volume:
    """Return the region map that `region_map_to_json` made `content` from.

    Raises
    ------
    ValueError
        If it is not of that form.
    """
    try:
        shape, affine = tuple(int(side) for side in content["shape"]), np.array(content["affine"], float)
        size = int(np.prod(shape, dtype=float))
        if len(shape) != 3 or not 0 < size <= _LARGEST or affine.shape != (4, 4) or not np.isfinite(affine).all():
            raise ValueError("no grid")
        values = zlib.decompressobj().decompress(base64.b64decode(content["values"], validate=True), size + 1)
        if len(values) != size:
            raise ValueError("grid and values do not go together")
        data = np.frombuffer(values, np.uint8).reshape(shape)
        if ((data & _REGION_BITS) > len(REGIONS)).any() or (data >= 2 * ON_THE_RIGHT).any():
            raise ValueError("a value is no region")
        return Volume(data, affine)
    except (KeyError, TypeError, ValueError, OverflowError, zlib.error) as error:
        raise ValueError(f"a region map is not as documented ({error})") from None

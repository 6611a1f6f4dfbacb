"""A small region of voxels as JSON, so that the log of a review can undo a change of an outline."""

import base64
import math
import zlib
from typing import Any

import numpy as np

_LARGEST = 1_000_000_000
"""Voxels of a box: any volume's, because a mistake of the Segment Editor's threshold must be undone too."""


def region_to_json(voxels: np.ndarray) -> dict[str, Any] | None:
    """Return the voxels (n, 3) of a region as plain JSON: its box and which voxels of that; None if there are none."""
    if not len(voxels):
        return None
    corner, shape = voxels.min(axis=0), np.ptp(voxels, axis=0) + 1
    inside = np.zeros(shape, bool)
    inside[tuple((voxels - corner).T)] = True
    bits = base64.b64encode(zlib.compress(np.packbits(inside).tobytes())).decode("ascii")
    return {"corner": corner.tolist(), "shape": shape.tolist(), "bits": bits}


def region_from_json(content: dict[str, Any] | None) -> np.ndarray:
    """Return the voxels (n, 3) that `region_to_json` made `content` from, in the order of the array.

    Raises
    ------
    ValueError
        If it is not of that form.
    """
    if content is None:
        return np.empty((0, 3), int)
    try:
        shape = tuple(int(side) for side in content["shape"])
        corner = np.array([int(start) for start in content["corner"]])
        count = math.prod(shape)
        if len(shape) != 3 or corner.shape != (3,) or not 0 < count <= _LARGEST:
            raise ValueError("no box of a microbleed")
        size = -(-count // 8)
        # one byte more, to see whether there is more; a hostile file may unpack to any size
        packed = zlib.decompressobj().decompress(base64.b64decode(content["bits"], validate=True), size + 1)
        if len(packed) != size:
            raise ValueError("box and voxels do not go together")
        inside = np.unpackbits(np.frombuffer(packed, np.uint8), count=count)
        return np.argwhere(inside.reshape(shape)) + corner
    except (KeyError, TypeError, ValueError, zlib.error) as error:
        raise ValueError(f"a region is not as documented ({error})") from None

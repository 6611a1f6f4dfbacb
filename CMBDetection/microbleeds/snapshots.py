"""Small pictures of a scan for the report: orthogonal planes through a point, in grey, as PNG.

Planes follow the scan's own axes, each called by the anatomical plane nearest to it, because a thick-slice scan is
only sharp in the plane it was acquired in. Radiological convention: the patient's right is on the left of axial and
coronal planes, anterior on the left of sagittal ones, superior or anterior at the top.
"""

import struct
import zlib
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from .geometry import ras_to_voxel
from .volume import Volume

CROP_MM = 30.0
"""Side of a crop."""
CROP_PIXELS = 120
LOCATOR_PIXEL_MM = 1.0
DARK = 25
"""Grey value of 255 up to which the rim of a locator is cut off."""
NEIGHBOURHOOD_MM = 40.0
"""Side of the cube whose grey values set the window of a crop."""


@dataclass(frozen=True)
class Plane:
    """An anatomical plane: the canonical axes that run along its rows and columns, and the letters at its edges."""

    name: str
    across: int
    down: int
    left: str
    right: str
    top: str
    bottom: str


PLANES = (
    Plane("Axial", 0, 1, "R", "L", "A", "P"),
    Plane("Coronal", 0, 2, "R", "L", "S", "I"),
    Plane("Sagittal", 1, 2, "A", "P", "S", "I"),
)


@dataclass(frozen=True)
class Locator:
    """An axial slice of the whole head, and where a point lies on it, in pixels from the upper left corner."""

    pixels: np.ndarray
    x: float
    y: float


def grey_window(canonical: Volume, position_ras: tuple[float, float, float]) -> tuple[float, float]:
    """Return the values shown black and white around a point: median of the tissue +- 5 robust deviations.

    Cut to the values that occur there; bright fluid may saturate, so that tissue and lesion keep their contrast.
    Background, exactly zero in masked scans, is left out.
    """
    centre = ras_to_voxel(canonical, position_ras)
    reach = NEIGHBOURHOOD_MM / 2 / canonical.spacing
    first = np.clip(np.floor(centre - reach), 0, np.array(canonical.shape) - 1).astype(int)
    last = np.clip(np.ceil(centre + reach) + 1, 1, canonical.shape).astype(int)
    values = canonical.data[tuple(slice(a, b) for a, b in zip(first, last, strict=True))]
    values = values[np.isfinite(values) & (values != 0)]
    if values.size == 0:
        return 0.0, 1.0
    lowest, middle, highest = np.percentile(values, (0.5, 50, 99.5))
    deviation = 1.4826 * np.median(np.abs(values - middle))
    low, high = max(lowest, middle - 5 * deviation), min(highest, middle + 5 * deviation)
    return (float(low), float(high)) if low < high else (float(lowest), float(lowest) + 1.0)


def crop(canonical: Volume, position_ras: tuple[float, float, float], plane: Plane,
         window: tuple[float, float]) -> np.ndarray:
    """Return a square of `CROP_MM` centred on a point, (`CROP_PIXELS`, `CROP_PIXELS`) uint8.

    Parameters
    ----------
    canonical : Volume
        With its axes nearest to R, A and S (see `geometry.to_canonical`).
    position_ras : (R, A, S) mm
    plane : Plane
    window : values shown black and white
    """
    # from most right, anterior or superior to the opposite side
    offsets_mm = (0.5 - (np.arange(CROP_PIXELS) + 0.5) / CROP_PIXELS) * CROP_MM
    centre = ras_to_voxel(canonical, position_ras)
    across = centre[plane.across] + offsets_mm / canonical.spacing[plane.across]
    down = centre[plane.down] + offsets_mm / canonical.spacing[plane.down]
    return _grey(_sample(canonical, centre, plane, across, down), window)


def axial_locator(canonical: Volume, position_ras: tuple[float, float, float], window: tuple[float, float]) -> Locator:
    """Return the axial slice through a point, cut to what is not dark; parameters as for `crop`."""
    plane = PLANES[0]
    centre = ras_to_voxel(canonical, position_ras)
    step = LOCATOR_PIXEL_MM / canonical.spacing
    across, down = (np.arange(canonical.shape[axis] - 1, -0.5, -step[axis]) for axis in (plane.across, plane.down))
    pixels = _grey(_sample(canonical, centre, plane, across, down), window)
    x, y = (across[0] - centre[plane.across]) / step[plane.across], (down[0] - centre[plane.down]) / step[plane.down]
    visible = pixels > DARK
    visible[min(max(int(y), 0), down.size - 1), min(max(int(x), 0), across.size - 1)] = True
    rows, columns = np.flatnonzero(visible.any(axis=1)), np.flatnonzero(visible.any(axis=0))
    pixels = pixels[rows[0]:rows[-1] + 1, columns[0]:columns[-1] + 1]
    return Locator(pixels, float(x - columns[0]), float(y - rows[0]))


def png(pixels: np.ndarray) -> bytes:
    """Return (height, width) uint8 grey values as a PNG file (ISO/IEC 15948), each row stored as change from the last.

    Examples
    --------
    >>> png(np.zeros((2, 3), np.uint8))[1:4]
    b'PNG'
    """
    height, width = pixels.shape
    change = np.diff(pixels, axis=0, prepend=np.zeros((1, width), np.uint8))
    rows = np.concatenate([np.full((height, 1), 2, np.uint8), change], axis=1)
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = _chunk(b"IHDR", header), _chunk(b"IDAT", zlib.compress(rows.tobytes(), 9)), _chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def _sample(canonical: Volume, centre: np.ndarray, plane: Plane, across: np.ndarray, down: np.ndarray) -> np.ndarray:
    """Return linearly interpolated values at voxel coordinates along the two axes of a plane.

    NaN outside the scan and in its background, exactly zero in masked scans; grey there would be mistaken for tissue.
    """
    grid = np.empty((3, down.size, across.size))
    grid[:] = centre[:, None, None]
    grid[plane.across], grid[plane.down] = across[None, :], down[:, None]
    last = np.array(canonical.shape)[:, None, None] - 1
    inside = ((grid > -0.5) & (grid < last + 0.5)).all(axis=0)
    values = ndimage.map_coordinates(canonical.data, np.clip(grid, 0, last), output=np.float32, order=1)
    return np.where(inside & (values != 0), values, np.nan)


def _grey(values: np.ndarray, window: tuple[float, float]) -> np.ndarray:
    low, high = window
    return (np.clip(np.nan_to_num((values - low) / (high - low)), 0, 1) * 255).round().astype(np.uint8)


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

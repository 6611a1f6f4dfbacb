"""Label maps of microbleeds that other programs made: grids, values, and lesions apart from each other."""

from pathlib import Path

import numpy as np
from scipy import ndimage

from ..components import label_components
from ..errors import InputError
from ..image_files import IMAGE_SUFFIXES, read_image
from ..read_write import LARGEST_LABEL, in_order_of, lies_on, scan_stem
from ..volume import Volume

BRAIN_NAMES = ("_desc-brain_mask", "_brain_mask", "_brainmask")
"""What follows the stem in the name of a brain mask beside an image."""


def image_files(folder: Path, recursive: bool = False) -> list[Path]:
    """Return the image files in a folder, sorted; hidden ones are left out. A folder that is missing holds none."""
    files = folder.rglob("*") if recursive else folder.glob("*")
    return sorted(path for path in files if path.name.lower().endswith(IMAGE_SUFFIXES) and path.is_file()
                  and not path.name.startswith("."))


def brain_beside(image: Path) -> Path | None:
    """Return the brain mask that lies beside an image, None if there is none."""
    names = [f"{scan_stem(image)}{ending}{suffix}" for ending in BRAIN_NAMES for suffix in IMAGE_SUFFIXES]
    return next((path for path in map(image.with_name, names) if path.exists()), None)


def read_map(path: Path, grid: Volume, image: Path) -> np.ndarray:
    """Read a map on the grid of an image.

    Parameters
    ----------
    path : Path
    grid, image : Volume, Path
        The image, and where it was read.

    Returns
    -------
    (i, j, k) float32 array
        0 where the file has NaN: some exports write it outside the brain.

    Raises
    ------
    InputError
        If the file cannot be read or lies on another grid.
    """
    values = read_image(path).volume
    if not lies_on(values, grid):
        raise InputError(f"{path} (shape {values.shape}) is not on the grid of {image} (shape {grid.shape}); resample "
                         "it to the scan.")
    return np.nan_to_num(in_order_of(grid, values).data, nan=0.0, posinf=0.0, neginf=0.0)


def read_lesions(path: Path, grid: Volume, image: Path) -> np.ndarray:
    """Read a map of microbleeds.

    Returns
    -------
    (i, j, k) int32 array
        The numbers of the map, or, where it has one value only, of its 26-connected regions. Where one of several
        values marks regions that do not touch, it is a kind ("possible") and no number of a lesion: all but the first
        get numbers of their own.

    Raises
    ------
    InputError
        If a value is negative, too large or not a whole number, or see `read_map`.
    """
    values = read_map(path, grid, image)
    whole = np.rint(values)
    if not np.allclose(whole, values, rtol=0, atol=1e-3) or values.min() < -0.5:
        raise InputError(f"{path} holds values that are negative or not whole numbers; give a label map with 0 for "
                         "background and 1 or more for microbleeds.")
    if whole.max() > LARGEST_LABEL:
        raise InputError(f"{path} holds values of more than {LARGEST_LABEL}; give a label map.")
    numbers = np.unique(whole[whole > 0])
    return label_components(whole > 0)[0] if numbers.size == 1 else _apart(whole.astype(np.int32), numbers)


def _apart(lesions: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Return lesions (i, j, k), which have these numbers (n,), so that each is one 26-connected region."""
    places = np.where(lesions > 0, np.searchsorted(numbers, lesions) + 1, 0)
    result, free = lesions.copy(), int(lesions.max(initial=0)) + 1
    for place, box in enumerate(ndimage.find_objects(places), 1):
        regions, count = label_components(places[box] == place)
        result[box] = np.where(regions > 1, regions - 2 + free, result[box])
        free += count - 1
    return result

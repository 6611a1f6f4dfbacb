"""How far a lesion stands out of its surroundings."""

import numpy as np
from scipy import ndimage

_RING_MM = (1.5, 5.0)
_FEWEST_AROUND = 20
_APART_MM = 1e3


def conspicuity(image: np.ndarray, lesion: np.ndarray, usable: np.ndarray, spacing_mm: np.ndarray) -> float:
    """Return ``|mean inside - median around| · √n / s`` of a lesion of n voxels; NaN if too little lies around it.

    s is the standard deviation around it, so this is the signal-to-noise ratio of the lesion's sum over voxels, were
    all that surrounds it white noise. "Around" is the ring from 1.5 to 5 mm in the slices that the lesion lies on.
    Among the 10⁵ or so places of a brain a blob with a ratio under 4 or 5 has equals by chance alone, so no reader and
    no program finds it without false positives.

    Parameters
    ----------
    image : (i, j, k) array
        Slice axis last.
    lesion : (n, 3) int array
        Its voxels, n >= 1.
    usable : (i, j, k) bool array
        What may count as surroundings: brain without lesions and mimics.
    spacing_mm : (3,)
    """
    reach = np.append(np.ceil(_RING_MM[1] / np.asarray(spacing_mm)[:2]).astype(int), 0)
    low, high = np.maximum(lesion.min(axis=0) - reach, 0), lesion.max(axis=0) + reach + 1
    box = tuple(slice(start, stop) for start, stop in zip(low, high, strict=True))
    values = image[box].astype(np.float64)
    inside = np.zeros(values.shape, bool)
    inside[tuple((lesion - low).T)] = True
    away_mm = ndimage.distance_transform_edt(~inside, sampling=[*spacing_mm[:2], _APART_MM])
    around = values[(away_mm > _RING_MM[0]) & (away_mm <= _RING_MM[1]) & usable[box] & ~inside]
    if len(around) < _FEWEST_AROUND or not around.std():
        return float("nan")
    return float(abs(values[inside].mean() - np.median(around)) * np.sqrt(len(lesion)) / around.std())

"""The working intensity scale: tissue at 0, microbleeds bright, whatever the scanner's units.

============  =====================================  ==========================================================
modality      value                                  what that gives
============  =====================================  ==========================================================
GRE, SWI      ``(m - x) / m`` in [-1, 1]             tissue 0, no signal 1, twice the tissue -1 (CSF about -.5);
              m = median of the brain                a lesion of .75 of its surroundings is .25
QSM           ``(x - m) / (10 s)`` in [-1, 1]        tissue 0, calcification negative; s is .03 to .05 ppm, so .3
              s = interquartile range of the brain   to .5 ppm become 1; ppm, ppb and radians look the same
============  =====================================  ==========================================================

Outside the brain the value is 0, that of tissue, so that neither the mask's edge nor zero padding looks like a lesion.
Medians and quartiles are used because one hot voxel must not change the scale.
"""

import numpy as np

from .errors import InputError
from .settings import MODALITIES
from .volume import Volume

_QSM_SPREADS_AT_ONE = 10.0
# The floor only acts on heavy-tailed maps (a normal distribution has .29), for example strongly smoothed ones.
_QSM_SPREAD_FLOOR = 0.1


def normalise(volume: Volume, brain: Volume, modality: str) -> Volume:
    """Bring an image to the working scale described on top of this file.

    Parameters
    ----------
    volume : Volume
        Image in any units; NaN and infinite voxels become 0.
    brain : Volume
        Bool mask on the same grid.
    modality : {"gre", "swi", "qsm"}

    Returns
    -------
    Volume
        float32 in [-1, 1], on the same grid. Multiplying the image by a power of two changes no bit of it.

    Raises
    ------
    InputError
        If the mask holds no voxel with signal.
    ValueError
        For another modality, or a mask on another grid.
    """
    if modality not in MODALITIES:
        raise ValueError(f"modality must be one of {MODALITIES}, got {modality!r}")
    if not volume.same_grid(brain):
        raise ValueError("the brain mask is not on the grid of the image")
    inside = np.asarray(brain.data, bool) & np.isfinite(volume.data)
    values = volume.data[inside].astype(np.float64)
    scaled = _susceptibility(values) if modality == "qsm" else _darkness(values)
    result = np.zeros(volume.shape, np.float32)
    result[inside] = np.clip(scaled, -1, 1)
    return volume.with_data(result)


def _darkness(values: np.ndarray) -> np.ndarray:
    # Zeros are holes left by masking, not tissue.
    signal = values[values > 0]
    if signal.size == 0:
        raise InputError("The brain mask holds no voxel with signal; check the mask and the image.")
    median = np.median(signal)
    return (median - values) / median


def _susceptibility(values: np.ndarray) -> np.ndarray:
    signal = values[values != 0]
    if signal.size == 0:
        raise InputError("The brain mask holds no voxel with signal; check the mask and the image.")
    p1, p25, median, p75, p99 = np.percentile(signal, [1, 25, 50, 75, 99])
    spread = max(p75 - p25, _QSM_SPREAD_FLOOR * (p99 - p1))
    if spread == 0:
        return np.zeros_like(values)
    scaled = (values - median) / (_QSM_SPREADS_AT_ONE * spread)
    # Holes left by masking stay at the value of tissue.
    scaled[values == 0] = 0
    return scaled

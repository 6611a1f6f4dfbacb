"""Step 0: the brain, and the two images that the networks see, on one working grid.

The working grid keeps the voxels of the scan wherever it can. Its axes are those of the scan in the order and direction
nearest to R, A, S, with the slice axis last; it is cropped to the brain; only voxels finer or coarser than the networks
have seen are resampled. Positions are told in RAS by its affine, so nothing has to be turned back.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .bias_field import correct_bias
from .brain_mask import brain_mask
from .errors import InputError
from .geometry import bounding_box, crop, resample_like, resample_to_spacing, to_canonical
from .intensity import normalise
from .radial_symmetry import radial_symmetry
from .settings import PrepareSettings
from .volume import Volume

_MARGIN_MM = 6.0
"""Left around the brain, so that the largest radial symmetry kernel and lesions at the edge are not cut."""

Progress = Callable[[str, float], None]
"""Called with a short text for the user and the finished fraction of the step."""


def silent(message: str, fraction: float) -> None:
    """Tell nobody."""


@dataclass(frozen=True, eq=False)
class Prepared:
    """What the networks see. All three volumes share the working grid, whose last axis is the slice axis.

    Attributes
    ----------
    image : Volume
        float32 in [-1, 1]: tissue 0, microbleeds bright, 0 outside the brain (see `intensity`).
    symmetry : Volume
        float32 radial symmetry of `image`.
    brain : Volume
        Bool.
    """

    image: Volume
    symmetry: Volume
    brain: Volume


def find_brain(volume: Volume, mask: Volume | None = None, device: str = "cpu") -> Volume:
    """Return the given brain mask as bool, or find the brain with the mask network.

    Raises
    ------
    InputError
        If the mask is empty or no brain is found.
    """
    if mask is None:
        brain = brain_mask(volume, device)
        remedy = "no brain was found in it; give a brain mask with --mask"
    else:
        brain = mask.with_data(mask.data > 0)
        remedy = "the brain mask is empty; mark the brain in it or leave it out"
    if not brain.data.any():
        raise InputError(f"The image cannot be used, {remedy}.")
    return brain


def prepare(volume: Volume, brain: Volume, modality: str, settings: PrepareSettings,
            progress: Progress = silent) -> Prepared:
    """Bring a scan to the working grid and intensity scale, and compute its radial symmetry.

    Parameters
    ----------
    volume : Volume
        Raw intensities in any orientation.
    brain : Volume
        Bool mask on the same grid, not empty.
    modality : {"gre", "swi", "qsm"}
    settings : PrepareSettings
    progress : callable

    Raises
    ------
    InputError
        If the mask holds no voxel with signal.
    ValueError
        If the mask is on another grid or empty.
    """
    if not volume.same_grid(brain):
        raise ValueError("the brain mask is not on the grid of the image")
    box = bounding_box(brain.data, _MARGIN_MM, volume.spacing)
    volume, brain = (_slices_last(crop(part, box)) for part in (volume, brain))
    if settings.correct_bias and modality != "qsm":
        progress("Bias field", 0.0)
        volume = correct_bias(volume, brain, settings.bias_grid_mm)
    progress("Intensities", 0.5)
    image, brain = _to_working_grid(normalise(volume, brain, modality), brain, settings)
    progress("Radial symmetry", 0.6)
    symmetry = radial_symmetry(image.data, image.spacing, settings.symmetry_radii_mm, brain.data)
    return Prepared(image=image, symmetry=image.with_data(symmetry.astype(np.float32, copy=False)), brain=brain)


def _slices_last(volume: Volume) -> Volume:
    """Turn the axes nearest to R, A, S, then move the slice axis to the end."""
    volume = to_canonical(volume)
    order = [axis for axis in range(3) if axis != volume.slice_axis] + [volume.slice_axis]
    data = np.ascontiguousarray(volume.data.transpose(order))
    return Volume(data, volume.affine[:, [*order, 3]])


def _to_working_grid(image: Volume, brain: Volume, settings: PrepareSettings) -> tuple[Volume, Volume]:
    """Resample voxels out of the range of the networks; the image is on its final scale, on which air is tissue."""
    in_plane = np.clip(image.spacing[:2], settings.in_plane_min_mm, settings.in_plane_max_mm)
    slices = max(image.spacing[2], settings.slice_min_mm)
    resampled = resample_to_spacing(image, np.array([*in_plane, slices]))
    if resampled is image:
        return image, brain
    brain = resample_like(brain, resampled, order=0)
    return resampled.with_data(np.where(brain.data, resampled.data, 0).astype(np.float32)), brain

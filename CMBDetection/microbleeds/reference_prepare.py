"""Step 0 for the weights of MicrobleedNet: the images that its networks were trained on, instead of ours.

What its ``preprocess`` and ``evaluate`` do, in our parts where theirs are not sound:

======================  ===============================================================================================
theirs                  here
======================  ===============================================================================================
reorient to MNI         axes nearest to L, A, S, slices along S; voxels as they are
BET                     the brain mask of `brain_mask`, or the user's
FAST bias field         N4 (`bias_field`), GRE and SWI
brain = voxels > 0      the mask; voxels of no signal inside it stay, they may be microbleeds
vessel inpainting       none: it paints over microbleeds, and the code of 2021 and 2023 had none
``1 - x / max``         the same, for GRE and SWI. QSM ``x / max``, negative 0, as in the paper: their code inverts it
                        too, which makes tissue bright
radial symmetry         the same (`reference_symmetry`), of the image before inversion; of QSM for bright centres
tight crop              the same: the box around the brain
======================  ===============================================================================================

Of `PrepareSettings` only the bias field's apply.
"""

import numpy as np

from .bias_field import correct_bias
from .errors import InputError
from .geometry import bounding_box, crop, to_canonical
from .reference_symmetry import reference_symmetry
from .settings import PrepareSettings
from .step0_prepare import Prepared, Progress, silent
from .volume import Volume


def prepare_as_reference(volume: Volume, brain: Volume, modality: str, settings: PrepareSettings,
                         progress: Progress = silent) -> Prepared:
    """Do for the reference's networks what `step0_prepare.prepare` does for ours, with the same arguments and errors.

    Returns
    -------
    Prepared
        `image` is in [0, 1]: no signal 1, the brightest voxel of the brain 0 (QSM: the reverse), 0 outside the brain.
        `symmetry` is in [0, 1], 0 outside the brain. The axes run towards L, A and S.
    """
    if not volume.same_grid(brain):
        raise ValueError("the brain mask is not on the grid of the image")
    box = bounding_box(brain.data, 0, volume.spacing)
    volume, brain = (_towards_las(crop(part, box)) for part in (volume, brain))
    if settings.correct_bias and modality != "qsm":
        progress("Bias field", 0.0)
        volume = correct_bias(volume, brain, settings.bias_grid_mm)
    progress("Intensities", 0.5)
    inside = np.asarray(brain.data, bool)
    values = np.where(inside & np.isfinite(volume.data), volume.data, 0).astype(np.float32)
    largest = values.max()
    if largest <= 0:
        raise InputError("The brain mask holds no voxel with signal; check the mask and the image.")
    scaled = np.clip(values / largest, 0, 1)
    image = np.where(inside, scaled if modality == "qsm" else 1 - scaled, 0)
    progress("Radial symmetry", 0.6)
    symmetry = np.where(inside, reference_symmetry(values if modality == "qsm" else -values), 0)
    return Prepared(image=volume.with_data(image.astype(np.float32)),
                    symmetry=volume.with_data(symmetry.astype(np.float32)), brain=brain)


def _towards_las(volume: Volume) -> Volume:
    """Turn the axes nearest to L, A, S: MNI templates and most converted scans are stored so."""
    volume = to_canonical(volume)
    to_input = np.diag([-1.0, 1, 1, 1])
    to_input[0, 3] = volume.shape[0] - 1
    return Volume(np.ascontiguousarray(volume.data[::-1]), volume.affine @ to_input)

"""The region map of a scan by a small network on a coarse grid.

The network was trained on randomised images of label maps only, with the regions of ``simulation/region_rules.py``.
Where it is not more certain of the scan as its header says than of the scan upside down or back to front, the header
lies or there is nothing to see, and there is no map: no region is better than a wrong one.
"""

import numpy as np
import torch

from .coarse_network import (
    WORKING_SPACING_MM,
    CoarseNetwork,
    bundled_network,
    cuts_of,
    normalise,
    to_working_grid,
    window_along,
)
from .geometry import to_canonical
from .region_lookup import ON_THE_RIGHT
from .regions import BASAL_GANGLIA, DEEP_WHITE_MATTER, REGIONS, THALAMUS
from .volume import Volume

MODEL = "Models/region-map"
PARTS = tuple(np.ndindex(2, 2, 2))
"""Eighths of a voxel of the working grid, the voxels of the map: which half along i, j, k."""
INPUTS, OUTPUTS = 5, len(PARTS) * len(REGIONS) + 1
"""Image, mask, and the place along R, A, S; a logit per eighth and region, and one of lying on the right."""
RAISED = {BASAL_GANGLIA: 1.0, THALAMUS: 1.0, DEEP_WHITE_MATTER: 1.0}
"""Log-odds that are added to regions (by number) which the network names too seldom, on held-out heads
(`Testing/Benchmarks/region_choice.py`)."""
LEAST_MARGIN = 0.01
"""By how much the mean probability of what the network chose must be larger than on the mirrored scan."""
_SMALLEST_SIZE, _LARGEST_SIZE = 32, 112
_MARGIN_VOXELS = 3
_ONE_WAY_AXES = (1, 2)
"""Back to front and bottom to top; left and right look alike."""
_DECIMETRE_MM = 100.0


def find_regions(volume: Volume, brain: Volume, device: str = "cpu") -> tuple[Volume | None, float]:
    """Find which MARS region every part of the brain belongs to.

    Parameters
    ----------
    volume : Volume
        Raw intensities of any MR contrast; QSM keeps its sign.
    brain : Volume
        Brain mask on its grid.
    device : str
        A torch device.

    Returns
    -------
    Volume or None, float
        A region map as `region_lookup` reads it, at 1.25 mm along the scan's axes, None where the network has not known
        its way; and by how much it was more certain (mean probability) than on the scan back to front or upside down.

    Raises
    ------
    ModelError
        If the model folder is missing, damaged or not what its card says.
    """
    network = bundled_network(MODEL, device)
    canonical, image, share = on_working_grid(volume, brain)
    inside = share >= 0.5
    if not inside.any():
        return None, 0.0
    regions, certainty = predict_regions(network, image, inside, device)
    mirrored = (_logits(network, np.flip(image, axis).copy(), np.flip(inside, axis).copy(), device)
                for axis in _ONE_WAY_AXES)
    margin = certainty - max(_certainty(logits) for logits, _, _ in mirrored)
    return Volume(regions, map_affine(canonical, regions.shape)) if margin >= LEAST_MARGIN else None, margin


def on_working_grid(volume: Volume, brain: Volume) -> tuple[Volume, np.ndarray, np.ndarray]:
    """Return a scan in canonical orientation, and its intensities and shares of its mask on the working grid.

    Both are (i, j, k) float32; what is not finite counts as 0.
    """
    canonical = to_canonical(volume)
    image, share = (to_working_grid(np.nan_to_num(data.astype(np.float32), posinf=0, neginf=0), canonical.spacing)
                    for data in (canonical.data, to_canonical(brain).data))
    return canonical, image, share


def network_input(image: torch.Tensor, brain: torch.Tensor) -> torch.Tensor:
    """Return what the network sees, (5, i, j, k), of intensities and a mask (bool) on the working grid.

    Places are decimetres from the middle of the mask, about -1 to 1 in a brain.
    """
    inside = torch.nonzero(brain).float()
    centre = inside.mean(dim=0) if len(inside) else torch.zeros(3)
    places = torch.meshgrid(*((torch.arange(n) - middle) * (WORKING_SPACING_MM / _DECIMETRE_MM)
                              for n, middle in zip(image.shape, centre.tolist(), strict=True)), indexing="ij")
    return torch.stack([normalise(image * brain), brain.float(), *places])


def region_logits(logits: torch.Tensor) -> torch.Tensor:
    """Return what the network gives for one image, (outputs, ...), as logits (regions, 8 parts, ...)."""
    return logits[:-1].unflatten(0, (len(PARTS), len(REGIONS))).transpose(0, 1)


def predict_regions(network: CoarseNetwork, image: np.ndarray, inside: np.ndarray,
                    device: str = "cpu") -> tuple[np.ndarray, float]:
    """Return the regions of an image and a mask (i, j, k) on the working grid, and the mean probability of them.

    Returns
    -------
    (2 i, 2 j, 2 k) uint8 array, float
    """
    logits, own_brain, (seen, within) = _logits(network, image, inside, device)
    certainty = _certainty(logits)
    named = region_logits(logits)
    for number, more in RAISED.items():
        named[number - 1] += more
    numbers = torch.zeros((len(PARTS), *own_brain.shape), dtype=torch.uint8)
    numbers[:, own_brain] = (named.argmax(dim=0) + 1 + ON_THE_RIGHT * (logits[-1] > 0)).to(torch.uint8)
    regions = np.zeros([2 * side for side in image.shape], np.uint8)
    for part, own in zip(PARTS, numbers.numpy(), strict=True):
        regions[tuple(slice(half, None, 2) for half in part)][seen] = own[within]
    return regions, certainty


def _logits(network: CoarseNetwork, image: np.ndarray, inside: np.ndarray, device: str):
    """Return the logits (outputs, n) of the brain in the window that the network sees, that brain, and the cuts."""
    windows = [window_along(inside.any(axis=others), _MARGIN_VOXELS, _SMALLEST_SIZE, _LARGEST_SIZE)
               for others in ((1, 2), (0, 2), (0, 1))]
    seen, within = cuts_of(windows, image.shape)
    own_image = torch.zeros([size for _, size in windows])
    own_brain = torch.zeros_like(own_image, dtype=torch.bool)
    own_image[within], own_brain[within] = torch.from_numpy(image[seen]), torch.from_numpy(inside[seen])
    with torch.inference_mode():
        logits = network(network_input(own_image, own_brain)[None].to(device))[0].cpu()
    return logits[:, own_brain].float(), own_brain, (seen, within)


def _certainty(logits: torch.Tensor) -> float:
    """Return the mean probability of what was chosen; one of the eighths is enough for that."""
    return float(torch.softmax(region_logits(logits)[:, 0], dim=0).amax(dim=0).mean())


def map_affine(canonical: Volume, shape: tuple[int, ...]) -> np.ndarray:
    """Return the affine of a map of `shape`, 1.25 mm, whose centre is that of a scan in canonical orientation."""
    affine = canonical.affine.copy()
    centre = affine[:3, :3] @ ((np.array(canonical.shape) - 1) / 2) + affine[:3, 3]
    affine[:3, :3] *= WORKING_SPACING_MM / 2 / canonical.spacing
    affine[:3, 3] = centre - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return affine

"""The region map of a scan by a small network on a coarse grid, and an atlas.

The network was trained on images of label maps only, with the regions of ``simulation/region_rules.py``. Its map is
enough to bring the scan to an atlas, and what that and the tissues say (`region_anatomy`) counts beside it.
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
from .head_atlas import HeadAtlas, read_atlas
from .region_anatomy import anatomical_logs
from .region_lookup import ON_THE_RIGHT
from .regions import BASAL_GANGLIA, DEEP_WHITE_MATTER, REGIONS, THALAMUS
from .resources import resource_path
from .volume import Volume

MODEL = "Models/region-map"
PARTS = tuple(np.ndindex(2, 2, 2))
"""Eighths of a voxel of the working grid, the voxels of the map: which half along i, j, k."""
INPUTS, OUTPUTS = 5, len(PARTS) * len(REGIONS) + 1
"""Image, mask, and the place along R, A, S; a logit per eighth and region, and one of lying on the right."""
RAISED = {BASAL_GANGLIA: 1.0, THALAMUS: 1.0, DEEP_WHITE_MATTER: 1.0}
"""Log-odds that are added to regions (by number) which the network names too seldom, on held-out heads
(`Testing/Benchmarks/region_choice.py`)."""
NETWORK_COUNTS = 0.4
"""Weight of the network's logarithms beside those of anatomy, by a logistic fit on the held-out heads 16 and 17."""
LEAST_MARGIN = 0.035
"""Of `upright_margin`. Of 61 simulated scans it is .05 to .14; of the same scans back to front, upside down or both at
most .03. It was chosen with 27 of them."""
_SMALLEST_SIZE, _LARGEST_SIZE = 32, 112
_MARGIN_VOXELS = 3
_ONE_WAY_AXES = (1, 2)
"""Back to front and bottom to top; left and right look alike."""
_MIDDLE = 32
"""Voxels from left to right, 80 mm; with 16 the network does not know its way."""
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
        A region map as `region_lookup` reads it, at 1.25 mm along the scan's axes, None where the network does not know
        its way; and the `upright_margin`.

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
    margin = upright_margin(network, image, inside, device)
    if margin < LEAST_MARGIN:
        return None, margin
    regions = predict_regions(network, image, inside, device, read_atlas(resource_path(MODEL)))
    return Volume(regions, map_affine(canonical, regions.shape)), margin


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


def predict_regions(network: CoarseNetwork, image: np.ndarray, inside: np.ndarray, device: str = "cpu",
                    atlas: HeadAtlas | None = None) -> np.ndarray:
    """Return the regions of an image and a mask (i, j, k) on the working grid, (2 i, 2 j, 2 k) uint8.

    Without an atlas they are those of the network alone.
    """
    own_image, own_brain, (seen, within) = _window(image, inside)
    with torch.inference_mode():
        features = network.features(network_input(own_image, own_brain)[None].to(device))[0]
        logits = _logits(network.head, features, own_brain).cpu()
        named = region_logits(logits)
        if atlas is not None:
            shares = torch.softmax(named, dim=0).mean(dim=1).numpy()
            anatomy = anatomical_logs(atlas, own_image.numpy(), own_brain.numpy(), shares,
                                      torch.sigmoid(logits[-1]).numpy())
            named = NETWORK_COUNTS * torch.log_softmax(named, dim=0) + torch.from_numpy(anatomy)[:, None]
        for number, more in RAISED.items():
            named[number - 1] += more
        numbers = torch.zeros((len(PARTS), *own_brain.shape), dtype=torch.uint8)
        numbers[:, own_brain] = (named.argmax(dim=0) + 1 + ON_THE_RIGHT * (logits[-1] > 0)).to(torch.uint8)
    regions = np.zeros([2 * side for side in image.shape], np.uint8)
    for part, own in zip(PARTS, numbers.numpy(), strict=True):
        regions[tuple(slice(half, None, 2) for half in part)][seen] = own[within]
    return regions


def upright_margin(network: CoarseNetwork, image: np.ndarray, inside: np.ndarray, device: str = "cpu") -> float:
    """Return by how much the network is more certain of a head than of the same head back to front or upside down.

    Certainty is the mean probability of what is chosen. The middle slices from left to right are enough, and differ
    more than the rest: brainstem, cerebellum and corpus callosum lie there. It is 0 where no brain is in the middle.

    Parameters
    ----------
    network : CoarseNetwork
    image, inside : (i, j, k) arrays
        Intensities, and a mask that is not empty, on the working grid.
    device : str
    """
    inputs, brains = [], []
    for axes in ((), *_ONE_WAY_AXES):
        own_image, own_brain, _ = _window(np.flip(image, axes), np.flip(inside, axes))
        places = torch.nonzero(own_brain.any(dim=2).any(dim=1))
        first = min(max(int(places[0] + places[-1] + 1 - _MIDDLE) // 2, 0), len(own_brain) - _MIDDLE)
        inputs.append(network_input(own_image, own_brain)[:, first:first + _MIDDLE])
        brains.append(own_brain[first:first + _MIDDLE])
    if not brains[0].any():
        return 0.0
    with torch.inference_mode():
        features = network.features(torch.stack(inputs).to(device))
        # one of the eighths is enough
        own, *turned = (float(torch.softmax(_logits(network.head, one, brain, len(REGIONS)), dim=0).amax(dim=0).mean())
                        for one, brain in zip(features, brains, strict=True))
    return own - max(turned)


def _window(image: np.ndarray, inside: np.ndarray):
    """Return intensities and mask in the window that the network sees, and the cuts to it and in it."""
    windows = [window_along(inside.any(axis=others), _MARGIN_VOXELS, _SMALLEST_SIZE, _LARGEST_SIZE)
               for others in ((1, 2), (0, 2), (0, 1))]
    seen, within = cuts_of(windows, image.shape)
    own_image = torch.zeros([size for _, size in windows])
    own_brain = torch.zeros_like(own_image, dtype=torch.bool)
    for own, whole in ((own_image, image), (own_brain, inside)):
        # a copy, because torch takes no axis that runs backwards
        own[within] = torch.from_numpy(np.array(whole[seen]))
    return own_image, own_brain, (seen, within)


def _logits(head: torch.nn.Conv3d, features: torch.Tensor, brain: torch.Tensor, count: int = OUTPUTS) -> torch.Tensor:
    """Return the first `count` logits (count, n) of the n voxels in a mask, of the features (channels, i, j, k)."""
    weight, bias = head.weight[:count].flatten(1), head.bias[:count, None]
    return torch.addmm(bias, weight, features[:, brain.to(features.device)])


def map_affine(canonical: Volume, shape: tuple[int, ...]) -> np.ndarray:
    """Return the affine of a map of `shape`, 1.25 mm, whose centre is that of a scan in canonical orientation."""
    affine = canonical.affine.copy()
    centre = affine[:3, :3] @ ((np.array(canonical.shape) - 1) / 2) + affine[:3, 3]
    affine[:3, :3] *= WORKING_SPACING_MM / 2 / canonical.spacing
    affine[:3, 3] = centre - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return affine

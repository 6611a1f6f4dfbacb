"""Random images of heads made from label maps, for the brain mask network: contrasts, artefacts, cuts, stripping.

A geometry is one random deformation of one map at 1.25 mm; an image is one random contrast of it at 2.5 mm.
"""

import numpy as np
import torch
from torch.nn import functional

TISSUES = {
    name: number
    for number, name in enumerate(
        (
            "air", "white matter", "cortex", "ventricle", "cerebellar white matter", "cerebellar cortex", "thalamus",
            "caudate", "putamen", "pallidum", "brainstem", "hippocampus", "csf", "ventral", "other brain", "artery",
            "eye", "mucosa", "skin", "cord", "vein", "cortical bone", "marrow", "soft tissue",
        )
    )
}  # fmt: skip
IN_BRAIN = 128
SIZES = ((64, 80, 64), (64, 96, 80), (80, 96, 96))
SIZE_CHANCE = (0.5, 0.35, 0.15)

# Lowest and highest mean of each tissue, in units of bright tissue.
T2_STAR = {
    "air": (0, 0.04), "white matter": (0.4, 0.6), "cortex": (0.5, 0.8), "ventricle": (0.6, 1.4),
    "cerebellar white matter": (0.4, 0.6), "cerebellar cortex": (0.45, 0.75), "thalamus": (0.4, 0.6),
    "caudate": (0.35, 0.6), "putamen": (0.3, 0.55), "pallidum": (0.1, 0.4), "brainstem": (0.35, 0.6),
    "hippocampus": (0.5, 0.8), "csf": (0.5, 1.4), "ventral": (0.3, 0.55), "other brain": (0.3, 0.8),
    "artery": (0.1, 1.5), "eye": (0.4, 1.3), "mucosa": (0.1, 1.0), "skin": (0.1, 1.2), "cord": (0.3, 0.6),
    "vein": (0.05, 0.8), "cortical bone": (0, 0.2), "marrow": (0.02, 0.8), "soft tissue": (0.1, 0.9),
}  # fmt: skip
SWI = {
    **T2_STAR,
    "white matter": (0.5, 0.65), "cortex": (0.5, 0.7), "cerebellar white matter": (0.45, 0.65),
    "cerebellar cortex": (0.45, 0.7), "csf": (0.35, 1.0), "ventricle": (0.4, 1.0), "vein": (0.02, 0.3),
    "pallidum": (0.05, 0.35),
}  # fmt: skip
QSM_PPM = {
    "white matter": -0.03, "cortex": 0.02, "ventricle": 0.01, "csf": 0.02, "caudate": 0.044, "putamen": 0.038,
    "pallidum": 0.131, "vein": 0.19, "artery": 0.05, "ventral": 0.1, "cortical bone": -0.2, "air": 0.0,
}  # fmt: skip


def random_geometry(tissue: np.ndarray, random: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a map (i, j, k) of 1 mm codes, moved, scaled and bent at random, at 1.25 mm: codes and brain (0 or 1)."""
    codes = take_places(tissue, *random_places(tissue, random))
    return torch.from_numpy(codes & 127), torch.from_numpy((codes >= IN_BRAIN).astype(np.float32))


def take_places(volume: np.ndarray, index: np.ndarray, outside: np.ndarray) -> np.ndarray:
    """Return the values of a map (i, j, k) at places from `random_places`, 0 outside."""
    values = volume.reshape(-1).take(index.reshape(-1)).reshape(index.shape)
    values[outside] = 0
    return values


def random_places(tissue: np.ndarray, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return for a random geometry at 1.25 mm the flat index into a map of 1 mm, and what lies outside of it."""
    size = np.array(SIZES[random.choice(len(SIZES), p=SIZE_CHANCE)]) * 2
    profiles = [(tissue >= IN_BRAIN).any(axis=others) for others in ((1, 2), (0, 2), (0, 1))]
    middle = np.array([np.flatnonzero(profile)[[0, -1]].mean() for profile in profiles])
    centre = middle + random.uniform(-1, 1, 3) * (10, 20, 20) - (0, 0, random.choice((0, 20)))
    matrix = random_matrix(random) * 1.25
    bend = torch.from_numpy(random.normal(0, 1, (1, 3, 5, 6, 5)).astype(np.float32) * random.uniform(0, 4))
    bend = functional.interpolate(bend, tuple(size), mode="trilinear", align_corners=True)[0].numpy()
    steps = [np.arange(n, dtype=np.float32) - (n - 1) / 2 for n in size]
    index = np.zeros(tuple(size), np.int64)
    outside = np.zeros(tuple(size), bool)
    for axis in range(3):
        parts = [(matrix[axis, other] * steps[other]).astype(np.float32) for other in range(3)]
        place = bend[axis]
        place += (parts[0][:, None, None] + np.float32(centre[axis])) + parts[1][:, None]
        place += parts[2]
        whole = place.round().astype(np.int32)
        outside |= (whole < 0) | (whole >= tissue.shape[axis])
        index *= tissue.shape[axis]
        index += np.clip(whole, 0, tissue.shape[axis] - 1)
    return index, outside


def random_matrix(random: np.random.Generator) -> np.ndarray:
    """Return a (3, 3) matrix: rotations to 25 degrees, sizes .84 to 1.21, a little shear."""
    matrix = np.diag(1 / (random.uniform(0.88, 1.15) * random.uniform(0.95, 1.05, 3)))
    for axis, angle in enumerate(np.deg2rad(random.uniform(-25, 25, 3))):
        turn = np.eye(3)
        first, second = [other for other in range(3) if other != axis]
        turn[first, first] = turn[second, second] = np.cos(angle)
        turn[first, second], turn[second, first] = -np.sin(angle), np.sin(angle)
        matrix = turn @ matrix
    return matrix @ (np.eye(3) + random.uniform(-0.06, 0.06, (3, 3)) * (1 - np.eye(3)))


def random_image(
    codes: torch.Tensor, brain: torch.Tensor, random: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return one image of a geometry and the brain fraction of its voxels, (i, j, k) at 2.5 mm, maybe mirrored."""
    image, target = upright_image(codes, brain, random)
    axes = [axis for axis in range(3) if random.uniform() < (0.5, 0.3, 0.15)[axis]]
    return image.flip(axes).contiguous(), target.flip(axes).contiguous()


def upright_image(
    codes: torch.Tensor, brain: torch.Tensor, random: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return one image of a geometry and the brain fraction of its voxels, both (i, j, k) at 2.5 mm."""
    noise = torch.Generator().manual_seed(int(random.integers(2**62)))
    kind = random.choice(("random", "t2star", "swi", "qsm"), p=(0.4, 0.3, 0.12, 0.18))
    target = functional.avg_pool3d(brain[None, None], 2)[0, 0]
    image = thick_slices(tissue_means(kind, random)[codes.int()], random)
    sites = torch.nonzero(functional.max_pool3d((codes == TISSUES["mucosa"]).float()[None, None], 2)[0, 0])
    if kind == "qsm":
        image = image + smooth_field(image.shape, noise, random.integers(3, 9)) * random.uniform(0, 0.05)
        image = image + torch.randn(image.shape, generator=noise) * random.uniform(0.005, 0.06)
        image, target = strip(image, target, noise, random, erode=random.uniform() < 0.6)
        if random.uniform() < 0.15:
            image = image + torch.randn(image.shape, generator=noise) * random.uniform(0, 0.004)
    else:
        image = image * torch.exp(smooth_field(image.shape, noise, random.integers(2, 5)) * random.uniform(0, 0.5))
        image = signal_loss(image, sites, random)
        image = add_noise(image, noise, random)
        if random.uniform() < 0.35:
            image, target = strip(image, target, noise, random, erode=random.uniform() < 0.2)
        elif random.uniform() < 0.3:
            image = torch.where(image < random.uniform(0.02, 0.15), 0, image)
        image = image.clamp(min=0) ** np.exp(random.normal(0, 0.25))
    return cut(image, target, random)


def tissue_means(kind: str, random: np.random.Generator) -> torch.Tensor:
    """Return one value per tissue."""
    count = len(TISSUES)
    if kind == "random":
        means = random.uniform(0, 1, count)
        if random.uniform() < 0.5:  # few different grey values: neighbours that look the same
            means = random.uniform(0, 1, 5)[random.integers(0, 5, count)] + random.normal(0, 0.03, count)
        means[TISSUES["air"]] = random.choice((0, random.uniform(0, 0.1)))
    elif kind == "qsm":
        share = random.uniform(0.3, 1.5)
        means = share * np.array([QSM_PPM.get(name, 0) for name in TISSUES]) + random.normal(0, 0.015, count)
    else:
        low, high = np.array([(T2_STAR if kind == "t2star" else SWI)[name] for name in TISSUES]).T
        means = random.uniform(low, high)
        if random.uniform() < 0.3:
            means[TISSUES["air"]] = 0
    return torch.from_numpy(np.clip(means, -1, 2).astype(np.float32))


def thick_slices(fine: torch.Tensor, random: np.random.Generator) -> torch.Tensor:
    """Return the image at 2.5 mm; mostly through thick slices along one axis, most often the third."""
    if random.uniform() < 0.3:
        return functional.avg_pool3d(fine[None, None], 2)[0, 0]
    axis = random.choice(3, p=(0.15, 0.15, 0.7))
    pool = [2, 2, 2]
    pool[axis] = int(random.choice((1, 2, 3, 4, 5), p=(0.1, 0.15, 0.35, 0.3, 0.1)))
    thick = functional.avg_pool3d(fine[None, None], pool)
    return functional.interpolate(thick, [n // 2 for n in fine.shape], mode="trilinear")[0, 0]


def smooth_field(shape: torch.Size, noise: torch.Generator, knots: int) -> torch.Tensor:
    """Return a smooth field of about unit standard deviation."""
    field = torch.randn((1, 1, knots, knots, knots), generator=noise)
    return functional.interpolate(field, tuple(shape), mode="trilinear", align_corners=True)[0, 0]


def signal_loss(image: torch.Tensor, sites: torch.Tensor, random: np.random.Generator) -> torch.Tensor:
    """Return the image with dark round holes near the air of nose and sinuses."""
    for _ in range(random.integers(0, 4) if len(sites) else 0):
        site = sites[random.integers(len(sites))].numpy() + random.normal(0, 4, 3)
        width = random.uniform(1.5, 7, 3)
        squares = [torch.from_numpy(((np.arange(n) - c) / w) ** 2).float()
                   for n, c, w in zip(image.shape, site, width, strict=True)]  # fmt: skip
        distance = squares[0][:, None, None] + squares[1][:, None] + squares[2]
        image = image * (1 - random.uniform(0.5, 1) * torch.exp(-(distance**2)))
    return image


def add_noise(image: torch.Tensor, noise: torch.Generator, random: np.random.Generator) -> torch.Tensor:
    """Return the image with coarse texture, Gaussian or Rician noise, and sometimes blur."""
    half = [n // 2 for n in image.shape]
    texture = functional.interpolate(torch.randn((1, 1, *half), generator=noise), tuple(image.shape), mode="trilinear")
    image = image * (1 + random.uniform(0, 0.2) * texture[0, 0])
    if random.uniform() < 0.2:
        image = functional.avg_pool3d(image[None, None], 3, stride=1, padding=1)[0, 0]
    real = image + torch.randn(image.shape, generator=noise) * random.uniform(0, 0.08)
    if random.uniform() < 0.5:
        return real.abs()
    return real.clamp(min=0)


def strip(
    image: torch.Tensor, target: torch.Tensor, noise: torch.Generator, random: np.random.Generator, erode: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """Set everything outside a mask near the brain to 0, as another tool would; what it took away is not brain."""
    kernel = int(random.choice((3, 5)))
    blurred = target[None, None]
    for _ in range(2):
        blurred = functional.avg_pool3d(blurred, kernel, stride=1, padding=kernel // 2)
    level = random.uniform(0.5, 0.8) if erode else random.uniform(0.25, 0.5)
    level = level + random.uniform(0, 0.12) * smooth_field(image.shape, noise, random.integers(4, 16))
    level = level.clamp(0.15, 0.85)
    mask = ((blurred[0, 0] - level) * kernel * random.uniform(1, 3) + 0.5).clamp(0, 1)
    mask = torch.where(mask < 0.05, 0, mask)
    return image * mask, torch.minimum(target, mask)


def cut(image: torch.Tensor, target: torch.Tensor, random: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Cut the field of view: oblique cuts that spare the brain (face, neck), slabs, missing ends."""
    if random.uniform() < 0.3:
        axes = [torch.linspace(-1, 1, n) * d for n, d in zip(image.shape, random.normal(0, 1, 3), strict=True)]
        distance = axes[0][:, None, None] + axes[1][:, None] + axes[2]
        limit = distance[target > 0.5].max() + random.uniform(0.02, 0.3)
        image = torch.where(distance > limit, 0, image)
    start, stop = np.zeros(3, int), np.array(image.shape)
    if random.uniform() < 0.3:
        thickness = random.integers(6, 33)
        filled = np.flatnonzero((target > 0.5).any(0).any(0).numpy())
        start[2] = random.integers(filled[0], max(filled[0] + 1, filled[-1] - thickness + 2))
        stop[2] = start[2] + thickness
    elif random.uniform() < 0.4:
        axis = random.integers(3)
        start[axis], stop[axis] = random.integers(0, 12), image.shape[axis] - random.integers(0, 12)
    inside = torch.zeros_like(image)
    inside[start[0] : stop[0], start[1] : stop[1], start[2] : stop[2]] = 1
    return image * inside, target * inside

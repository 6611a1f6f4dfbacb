"""Small prepared cases with two microbleeds, a mimic and an ignored region, for the tests of training."""

import numpy as np
from microbleeds.training.cases import Case
from microbleeds.training.labelled_scans import IGNORED, MICROBLEED, MIMIC


def drawn_case(name="case", subject="subject", seed=0, lesions=((20, 20, 10), (40, 30, 12)), kinds_known=True) -> Case:
    """Return a case of 60 × 60 × 24 voxels of 1 × 1 × 2 mm; lesions are bright cubes of 3³ voxels.

    A mimic of half the contrast lies at (12, 45, 12), an ignored bright cube at (48, 48, 16).
    """
    rng = np.random.default_rng(seed)
    shape = (60, 60, 24)
    image = rng.normal(0, 0.05, shape)
    numbers, classes = np.zeros(shape, np.int16), np.zeros(shape, np.uint8)
    for number, centre in enumerate(lesions, 1):
        numbers[cube(centre)] = number
        classes[cube(centre)] = MICROBLEED
    classes[cube((12, 45, 12))] = MIMIC
    classes[cube((48, 48, 16))] = IGNORED
    image += 0.5 * (numbers > 0) + 0.25 * (classes == MIMIC) + 0.4 * (classes == IGNORED)
    symmetry = np.abs(rng.normal(0, 0.01, shape)) + 0.2 * (image > 0.3)
    return Case(name, subject, "gre", np.array([1.0, 1.0, 2.0]), np.stack([image, symmetry]).astype(np.float16),
                np.ones(shape, bool), numbers, classes, kinds_known)


def cube(centre) -> tuple[slice, ...]:
    """Return the 3³ voxels around a voxel."""
    return tuple(slice(middle - 1, middle + 2) for middle in centre)

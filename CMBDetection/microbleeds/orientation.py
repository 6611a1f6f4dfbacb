"""Which axis of a grid is which in space: the order and direction of its axes nearest to R, A, S."""

from itertools import permutations

import numpy as np


def canonical_axes(affine: np.ndarray) -> tuple[tuple[int, int, int], tuple[bool, bool, bool]]:
    """Return the axis order and flips that bring a grid closest to R, A, S.

    It does not matter in which order and direction the axes are stored: the same ones in space become R, A and S.

    Returns
    -------
    permutation : voxel axis that becomes axis 0 (R), 1 (A) and 2 (S)
    flips : whether that axis runs towards L, P or I and has to be reversed
    """
    directions = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)

    def nearness(order: tuple[int, ...]) -> tuple[float, list[float]]:
        turned = directions[:, order]
        turned = np.round(turned * np.where(np.diag(turned) < 0, -1, 1), 6)
        # at 45 degrees two orders are as near; where the axes then point decides, not which of them is stored first
        return round(float(np.trace(turned)), 6), turned.ravel().tolist()

    best = max(permutations(range(3)), key=nearness)
    flips = tuple(bool(directions[row, best[row]] < 0) for row in range(3))
    return best, flips

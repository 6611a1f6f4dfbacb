"""The volume record: an array that never travels without its affine."""

from dataclasses import dataclass

import numpy as np

from .orientation import canonical_axes


@dataclass(frozen=True, eq=False)
class Volume:
    """A 3-D image on its grid.

    Attributes
    ----------
    data : (i, j, k) array
        Voxel values; made read-only on creation.
    affine : (4, 4) float64 array
        Voxel indices (i, j, k, 1) to RAS millimetres; made read-only on creation.

    Raises
    ------
    ValueError
        If the array is not 3-D, or the affine is not an invertible 4x4 matrix.
    """

    data: np.ndarray
    affine: np.ndarray

    def __post_init__(self):
        data = np.asarray(self.data).view()
        affine = np.array(self.affine, dtype=np.float64)
        if data.ndim != 3:
            raise ValueError(f"Volume must be 3-D, got shape {data.shape}")
        if affine.shape != (4, 4) or not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-12:
            raise ValueError(f"affine must be an invertible 4x4 matrix, got {affine.tolist()}")
        data.flags.writeable = False
        affine.flags.writeable = False
        object.__setattr__(self, "data", data)
        object.__setattr__(self, "affine", affine)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of voxels along i, j, k."""
        return self.data.shape

    @property
    def spacing(self) -> np.ndarray:
        """Voxel size along i, j, k in mm, shape (3,)."""
        return np.linalg.norm(self.affine[:3, :3], axis=0)

    @property
    def voxel_volume_mm3(self) -> float:
        """Volume of one voxel in mm³."""
        return float(abs(np.linalg.det(self.affine[:3, :3])))

    @property
    def slice_axis(self) -> int:
        """The through-plane axis: the one with the largest spacing, of equal ones that nearest to S, else to A."""
        sizes = [round(size, 3) for size in self.spacing.tolist()]
        if sizes.count(max(sizes)) == 1:
            return sizes.index(max(sizes))
        # so the slices of a scan are the same ones in whatever order its axes are stored
        return max(reversed(canonical_axes(self.affine)[0]), key=lambda axis: sizes[axis])

    def with_data(self, data: np.ndarray) -> "Volume":
        """Return another array of the same shape on this grid.

        Raises
        ------
        ValueError
            If the shape differs.
        """
        if np.shape(data) != self.shape:
            raise ValueError(f"data of shape {np.shape(data)} does not fit a grid of shape {self.shape}")
        return Volume(data, self.affine)

    def same_grid(self, other: "Volume", tolerance_mm: float = 1e-3) -> bool:
        """Whether every voxel of both volumes lies at the same place, to `tolerance_mm`."""
        if self.shape != other.shape:
            return False
        corners = np.array([(i, j, k, 1) for i in (0, 1) for j in (0, 1) for k in (0, 1)], float)
        corners[:, :3] *= np.array(self.shape) - 1
        return bool(np.abs(corners @ (self.affine - other.affine).T).max() <= tolerance_mm)

"""Shared pieces of the engine tests: random grids, images and results."""

from collections.abc import Callable

import numpy as np
import pytest
import SimpleITK as sitk
from microbleeds.findings import KEPT, REMOVED, DetectionResult, Extrema, Finding, Provenance
from microbleeds.volume import Volume
from scipy.spatial.transform import Rotation


def _draw_affine(rng: np.random.Generator, left_handed: bool = False, spacing=None) -> np.ndarray:
    spacing = rng.uniform(0.4, 5, 3) if spacing is None else np.asarray(spacing, float)
    affine = np.eye(4)
    affine[:3, :3] = Rotation.random(random_state=int(rng.integers(2**31))).as_matrix() * spacing
    if left_handed:
        affine[:3, 0] *= -1
    affine[:3, 3] = rng.uniform(-120, 120, 3)
    return affine


def _draw_volume(rng: np.random.Generator, shape=(20, 18, 7), **grid) -> Volume:
    return Volume(rng.normal(500, 100, shape).astype(np.float32), _draw_affine(rng, **grid))


def _itk_image(volume: Volume) -> sitk.Image:
    lps = np.diag([-1, -1, 1, 1]) @ volume.affine
    image = sitk.GetImageFromArray(np.ascontiguousarray(volume.data.T))
    image.SetSpacing(volume.spacing.tolist())
    image.SetDirection((lps[:3, :3] / volume.spacing).ravel().tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    return image


def _draw_result(rng: np.random.Generator, count: int = 5) -> DetectionResult:
    candidates = []
    for number in range(1, count + 1):
        position = rng.normal(0, 50, 3)
        removed = number % 2 == 0
        candidates.append(Finding(
            id=number, position_ras=tuple(position.tolist()), probability=float(rng.uniform()),
            detector_probability=float(rng.uniform()), volume_mm3=float(rng.uniform(2, 30)),
            diameter_mm=float(rng.uniform(2, 8)), box_ras=(tuple((position - 2).tolist()),
                                                          tuple((position + 2).tolist())),
            extrema=Extrema(float(rng.normal()), float(rng.normal()), tuple((position - 1).tolist()),
                            tuple((position + 1).tolist())),
            status=REMOVED if removed else KEPT, removed_by="step3_cleanup: volume" if removed else None))
    provenance = Provenance("scan.nii.gz", "0" * 64, "gre", "given", "model", "1" * 64, "balanced", (20, 18, 7),
                            (0.45, 0.45, 4.0), {"cleanup": {"min_volume_mm3": 2.5}}, {"numpy": np.__version__},
                            {"prepare": 1.25}, ("Slices are thick.", "µ."), True)
    return DetectionResult(tuple(candidates), provenance)


@pytest.fixture
def draw_affine() -> Callable[..., np.ndarray]:
    """Draw an oblique affine: ``draw_affine(rng, left_handed=False, spacing=None)``."""
    return _draw_affine


@pytest.fixture
def draw_volume() -> Callable[..., Volume]:
    """Draw an oblique float32 volume of noise: ``draw_volume(rng, shape=..., left_handed=..., spacing=...)``."""
    return _draw_volume


@pytest.fixture
def itk_image() -> Callable[[Volume], sitk.Image]:
    """Turn a volume into a SimpleITK image, without the engine."""
    return _itk_image


@pytest.fixture
def draw_result() -> Callable[..., DetectionResult]:
    """Draw a result with kept (odd ids) and removed (even ids) candidates: ``draw_result(rng, count=5)``."""
    return _draw_result

"""Tissue properties of one subject, and their maps on the fine grid.

Sources. Proton density: Tofts 2003 (Quantitative MRI of the brain). T2* at 3 T: Péran et al. 2007 (J Magn Reson
Imaging 26:1413), Krebs et al. 2016. Susceptibility: figures of published phantoms (Marques et al. 2021, Magn Reson
Med 86:526). Iron by age: Hallgren & Sourander 1958 (J Neurochem 3:41).
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from . import anatomy as tissues
from .anatomy import Anatomy
from .image_formation import TissueMaps
from .protocol import Grids, Protocol

# class: proton density (1 is water), T2* in ms at 3 T and 70 years, susceptibility in ppm
_REFERENCE = {
    tissues.AIR: (0.0, 1000, 0.0), tissues.WHITE: (0.70, 48, -0.03), tissues.CORTEX: (0.80, 58, 0.02),
    tissues.CSF: (0.95, 500, 0.019), tissues.VENTRICLE: (0.95, 500, 0.019), tissues.CHOROID: (0.90, 80, 0.03),
    tissues.CAUDATE: (0.80, 38, 0.044), tissues.PUTAMEN: (0.80, 31, 0.060), tissues.PALLIDUM: (0.72, 21, 0.131),
    tissues.THALAMUS: (0.76, 45, 0.02), tissues.HIPPOCAMPUS: (0.82, 58, 0.0), tissues.VENTRAL_DC: (0.72, 42, 0.02),
    tissues.BRAINSTEM: (0.72, 48, 0.0), tissues.CEREBELLAR_WHITE: (0.72, 48, -0.02),
    tissues.CEREBELLAR_CORTEX: (0.80, 55, 0.01), tissues.SKULL: (0.06, 5, 0.0), tissues.SCALP: (0.70, 30, 0.0)}

# iron in mg per 100 g at an age, a·(1 - exp(-b·age)) + c
_IRON = {tissues.PALLIDUM: (21.41, 0.09, 0.37), tissues.PUTAMEN: (14.62, 0.04, 0.46),
         tissues.CAUDATE: (9.66, 0.05, 0.33)}
_REFERENCE_AGE = 70
_IRON_SHARE_OF_R2STAR = 0.6
_FLUID = (tissues.CSF, tissues.VENTRICLE)
_EDGE_MM = 0.45
_DENSITY, _R2STAR = 0, 1
"""Places among the maps; R2* does not fade where tissue ends, the density does."""


@dataclass(frozen=True)
class TissueValues:
    """Drawn properties of one subject, one entry per class of `anatomy`; T2* as R2* at 3 T.

    `iron` is the factor of the deep nuclei (1 for an average 70-year-old), `texture` the relative standard deviation of
    density and R2* within a tissue, `texture_mm` its correlation length.
    """

    density: tuple[float, ...]
    r2star_hz: tuple[float, ...]
    susceptibility_ppm: tuple[float, ...]
    iron: float
    texture: float
    texture_mm: float
    seed: int


def iron_of(tissue: int, age: float) -> float:
    """Return the iron (mg per 100 g) of pallidum, putamen or caudate at an age in years."""
    a, b, c = _IRON[tissue]
    return float(a * (1 - np.exp(-b * age)) + c)


def draw_tissue(rng: np.random.Generator, age: float) -> TissueValues:
    """Draw the properties of a subject: about 5 % around the reference, iron by age and subject."""
    subject_iron = float(np.exp(rng.normal(0, 0.25)))
    table = []
    for tissue, (density, t2star_ms, susceptibility) in _REFERENCE.items():
        r2star = 1000 / t2star_ms * np.clip(rng.normal(1, 0.07), 0.8, 1.2)
        if tissue in _IRON:
            iron = subject_iron * iron_of(tissue, age) / iron_of(tissue, _REFERENCE_AGE)
            susceptibility *= iron
            r2star *= 1 + _IRON_SHARE_OF_R2STAR * (iron - 1)
        susceptibility += rng.normal(0, 0.005) * (tissue != tissues.AIR)
        table.append((density * np.clip(rng.normal(1, 0.05), 0.85, 1.15), r2star, susceptibility))
    columns = [tuple(float(value) for value in column) for column in zip(*table, strict=True)]
    return TissueValues(*columns, subject_iron, float(rng.uniform(0.015, 0.05)), float(rng.uniform(0.6, 1.5)),
                        int(rng.integers(2**31)))


def field_factor(field_tesla: float) -> float:
    """Return by how much R2* grows from 3 T to another field; about linear with an offset (Yao et al. 2009)."""
    return (field_tesla / 3) ** 0.8


def fine_maps(anatomy: Anatomy, values: TissueValues, protocol: Protocol, grids: Grids, whole_head: bool,
              threads: int) -> TissueMaps:
    """Return the maps of a subject without vessels and foci on the fine grid.

    Borders between tissues are gradual (partial volume of about 1 mm); those to fluid and air are drawn sharper than
    the label map, from the half height of the interpolated share. Without the whole head only the brain is left.
    """
    classes = anatomy.classes.data
    shown = classes > 0 if whole_head else anatomy.brain
    fluid = np.isin(classes, _FLUID)
    solid = shown & ~fluid
    sigma = _EDGE_MM / anatomy.classes.spacing
    weight = ndimage.gaussian_filter(solid.astype(np.float32), sigma)
    noise = _texture(classes.shape, values)
    tables = [np.array(table, np.float32) for table in (
        values.density, np.array(values.r2star_hz) * field_factor(protocol.field_tesla), values.susceptibility_ppm)]
    tables[_DENSITY][list(_FLUID)] *= protocol.fluid_weight

    def border(mask: np.ndarray) -> np.ndarray:
        share = ndimage.gaussian_filter(mask.astype(np.float32), sigma)
        return _sharpened(sample_linear(share, anatomy.classes.affine, grids.fine_shape, grids.fine_affine))

    def property_map(number: int) -> np.ndarray:
        table = tables[number]
        # the mean of solid tissue only, so that fluid and air do not fade into their neighbours twice
        tissue = ndimage.gaussian_filter(np.where(solid, table[classes], 0), sigma) / np.maximum(weight, 1e-3)
        tissue = np.where(weight > 1e-3, tissue, table[tissues.WHITE])
        if number < len(noise):
            tissue *= 1 + noise[number]
        fine = sample_linear(tissue, anatomy.classes.affine, grids.fine_shape, grids.fine_affine)
        fine += fluid_share * (table[tissues.CSF] - fine)
        if number != _R2STAR:
            fine *= shown_share
        return fine

    with ThreadPoolExecutor(threads) as pool:
        fluid_share, shown_share = pool.map(border, (fluid, shown))
        return TissueMaps(*pool.map(property_map, range(len(tables))))


def _sharpened(share: np.ndarray) -> np.ndarray:
    share -= np.float32(0.5)
    share *= np.float32(2.5)
    share += np.float32(0.5)
    return np.clip(share, 0, 1, out=share)


def _texture(shape: tuple[int, ...], values: TissueValues) -> np.ndarray:
    """Return relative variations of density and R2*, (2, i, j, k) float32: fine grain on unevenness of 4 and 10 mm."""
    rng = np.random.default_rng(values.seed)
    maps = []
    for _ in range(2):
        fine = ndimage.gaussian_filter(rng.standard_normal(shape, np.float32), values.texture_mm)
        total = fine / fine.std()
        for step, weight in ((4, 0.8), (10, 0.8)):
            knots = [n // step + 2 for n in shape]
            coarse = rng.standard_normal(knots, np.float32)
            total += weight * ndimage.zoom(coarse, step, order=1)[tuple(slice(n) for n in shape)]
        maps.append(values.texture * total)
    return np.array(maps, np.float32)


def sample_linear(data: np.ndarray, affine: np.ndarray, shape: tuple[int, int, int],
                  target: np.ndarray) -> np.ndarray:
    """Return data (i, j, k) with an affine at the voxels of another grid, float32, linear, 0 outside.

    SimpleITK, because it interpolates in parallel; both grids are taken to its coordinates through RAS mm.
    """
    image = sitk.GetImageFromArray(np.ascontiguousarray(data.T.astype(np.float32, copy=False)))
    to_data = np.linalg.inv(affine) @ target
    transform = sitk.AffineTransform(to_data[:3, :3].ravel().tolist(), to_data[:3, 3].tolist())
    sampled = sitk.Resample(image, list(map(int, shape)), transform, sitk.sitkLinear, (0.0,) * 3, (1.0,) * 3,
                            np.eye(3).ravel().tolist(), 0.0, sitk.sitkFloat32)
    return sitk.GetArrayFromImage(sampled).T

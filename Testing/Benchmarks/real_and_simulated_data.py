"""Real and simulated scans with the places of their foci, as one kind of record."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from microbleeds.brain_mask import brain_mask
from microbleeds.components import equivalent_diameter_mm, label_components, principal_axes_mm, region_voxels
from microbleeds.errors import InputError
from microbleeds.geometry import apply_affine, to_canonical
from microbleeds.image_files import volume_from_itk
from microbleeds.read_write import read_labels, read_mask, read_scan
from microbleeds.simulation.weighted_images import phase_mask
from microbleeds.volume import Volume
from scipy import ndimage

STEMS = {"gre": "T2starw", "swi": "swi", "qsm": "Chimap"}
BODY_PPM, BODY_MM, BODY_LONG = 0.25, (1.5, 10.0), 2.0
"""Bodies brighter than this, of such a diameter and no longer than so many times their width stand in for microbleeds
on the real QSM; some are bends and cross-sections of veins."""
_HIGH_PASS_MM = 3.0
_WHOLE_HEAD = "sub-3"
"""These VALDO subjects are not skull-stripped, in spite of the name of the file."""


@dataclass(frozen=True, eq=False)
class Labelled:
    """A scan and its foci.

    Attributes
    ----------
    name, modality : str
    volume : Volume
        Axes nearest to R, A, S.
    brain : (i, j, k) bool array
    centres_ras : (n, 3) mm
    voxel_counts : (n,) int
        Size of each focus in its truth, 0 if not known.
    real : bool
    permissive : bool
        Pictures of it may be shown to anybody.
    """

    name: str
    modality: str
    volume: Volume
    brain: np.ndarray
    centres_ras: np.ndarray
    voxel_counts: np.ndarray
    real: bool
    permissive: bool


def real_scans(folder: Path) -> list[Labelled]:
    """Return the labelled T2* scans, the unlabelled one and the two QSM of ``shared/data/real`` (evaluation only).

    Raises
    ------
    InputError
        If the table of centres is missing.
    """
    table = folder / "valdo_t2star" / "expert_centres.csv"
    if not table.is_file():
        raise InputError(f"{table} is missing; give the folder that holds valdo_t2star, qsm and unlabelled.")
    with table.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    scans = []
    for subject in sorted({row["subject"] for row in rows}):
        own = [row for row in rows if row["subject"] == subject]
        image = table.parent / subject / f"{subject}_space-T2S_desc-masked_T2S.nii.gz"
        scans.append(replace(_real(image, "gre", whole_head=subject.startswith(_WHOLE_HEAD)), centres_ras=_centres(own),
                             voxel_counts=np.array([int(row["expert_voxels"]) for row in own])))
    scans += [_real(image, "gre") for image in sorted((folder / "unlabelled").glob("*.nii.gz"))]
    haemorrhage = _real(folder / "qsm" / "haemorrhage_qsm.nii.gz", "qsm")
    centres, counts = bright_bodies(haemorrhage.volume, haemorrhage.brain)
    scans.append(replace(haemorrhage, centres_ras=centres, voxel_counts=counts))
    scans.append(_real(folder / "qsm" / "healthy_cosmos_chi.nii.gz", "qsm"))
    return scans


def permissive_scans(folder: Path) -> list[Labelled]:
    """Return the last echo of the crop in ``shared/data/permissive/mriresearchtools`` as SWI and as magnitude.

    The crops of clearswi and romeo are pieces of the same scan (their correlation with it is over .98) and left out.

    Raises
    ------
    InputError
        If the crop is missing.
    """
    crop = folder / "mriresearchtools"
    files = [next(crop.glob(f"{part}.nii*"), None) for part in ("Mag", "Phase")]
    if files[0] is None or files[1] is None:
        raise InputError(f"{crop} lacks Mag.nii or Phase.nii; give the folder of the permissive crops.")
    magnitude, phase = _last_echo(files[0]), _last_echo(files[1])
    weighted = magnitude.with_data(susceptibility_weighted(magnitude, phase.data))
    return [_without_foci("crop", modality, to_canonical(volume), np.ones(volume.shape, bool), permissive=True)
            for modality, volume in (("swi", weighted), ("gre", magnitude))]


def simulated_scans(folder: Path, modality: str) -> Iterator[Labelled]:
    """Yield the scans of one modality of a simulated data set with their visible microbleeds.

    Raises
    ------
    InputError
        If there is none.
    """
    subjects = sorted(folder.glob("sub-*"))
    named = [subject / "anat" / f"{subject.name}_{STEMS[modality]}.nii.gz" for subject in subjects]
    images = [image for image in named if image.is_file()]
    if not images:
        raise InputError(f"{folder} holds no sub-*/anat/*_{STEMS[modality]}.nii.gz; give a simulated data set.")
    for image in images:
        stem = image.name.removesuffix(".nii.gz")
        subject = image.parents[1].name
        scan = read_scan(image).volume
        brain = read_mask(image.with_name(f"{subject}_desc-brain_mask.nii.gz"), scan)
        table = image.with_name(f"{stem}_desc-truth.tsv")
        if not table.is_file():
            raise InputError(f"{table} is missing; simulate the data set again.")
        with table.open(newline="", encoding="utf-8") as file:
            rows = [row for row in csv.DictReader(file, delimiter="\t")
                    if row["kind"] == "microbleed" and row["visible"] in ("1", "True", "true")]
        truth = read_labels(image.with_name(f"{stem}_desc-cmb_truth.nii.gz")).data
        sizes = np.bincount(truth.ravel().astype(int), minlength=1 + max((int(row["id"]) for row in rows), default=0))
        yield Labelled(subject, modality, to_canonical(scan), to_canonical(brain).data, _centres(rows),
                       np.array([sizes[int(row["id"])] for row in rows], int), real=False, permissive=True)


def bright_bodies(volume: Volume, brain: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return centres (n, 3) RAS mm and voxel counts (n,) of small compact bodies above `BODY_PPM`."""
    labels, count = label_components((volume.data > BODY_PPM) & brain)
    regions = [voxels for voxels in region_voxels(labels, count)
               if BODY_MM[0] <= equivalent_diameter_mm(len(voxels) * volume.voxel_volume_mm3) <= BODY_MM[1]
               and np.divide(*principal_axes_mm(voxels, volume.affine)[[0, 2]]) <= BODY_LONG]
    centres = np.array([apply_affine(volume.affine, voxels.mean(axis=0)) for voxels in regions]).reshape(-1, 3)
    return centres, np.array([len(voxels) for voxels in regions], int)


def susceptibility_weighted(magnitude: Volume, phase: np.ndarray) -> np.ndarray:
    """Return SWI of a crop: magnitude times the fourth power of its phase mask (Haacke 2004), (i, j, k).

    The phase may be stored on any scale that covers its full turn. Which sign means paramagnetic is read off the crop:
    veins are dark on the magnitude too.
    """
    turn = phase * (np.pi / np.abs(phase).max())
    signal = magnitude.data * np.exp(1j * turn)
    sigma = (*(_HIGH_PASS_MM / magnitude.spacing[:2]), 0)
    smooth = ndimage.gaussian_filter(signal.real, sigma) + 1j * ndimage.gaussian_filter(signal.imag, sigma)
    local = np.angle(signal * np.conj(smooth))
    lightness = magnitude.data - ndimage.gaussian_filter(magnitude.data, sigma)
    if np.corrcoef(local.ravel(), lightness.ravel())[0, 1] > 0:
        local = -local
    return (magnitude.data * phase_mask(local)).astype(np.float32)


def _centres(rows: list[dict[str, str]]) -> np.ndarray:
    """Return (n, 3) RAS mm of the rows of a table."""
    return np.array([[float(row[f"{axis}_mm"]) for axis in "RAS"] for row in rows]).reshape(-1, 3)


def _real(image: Path, modality: str, whole_head: bool = False) -> Labelled:
    """Return an image of the evaluation folder; its brain is found, or what is not zero and the holes of that."""
    volume = read_scan(image).volume
    if whole_head:
        brain = brain_mask(volume)
    else:
        pad = 3
        closed = ndimage.binary_closing(np.pad(volume.data != 0, pad), iterations=pad)[(slice(pad, -pad),) * 3]
        brain = volume.with_data(closed)
    return _without_foci(image.name.split(".")[0].split("_space")[0], modality, to_canonical(volume),
                         to_canonical(brain).data, permissive=False)


def _without_foci(name: str, modality: str, volume: Volume, brain: np.ndarray, permissive: bool) -> Labelled:
    return Labelled(name, modality, volume, brain, np.zeros((0, 3)), np.zeros(0, int), True, permissive)


def _last_echo(path: Path) -> Volume:
    """Read a (i, j, k, echo) file and return its last echo, float32."""
    image = sitk.ReadImage(str(path), sitk.sitkFloat32)
    return volume_from_itk(image[:, :, :, image.GetSize()[3] - 1])

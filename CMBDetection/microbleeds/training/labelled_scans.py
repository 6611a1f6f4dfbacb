"""A labelled scan of any data set, and its truth in one form: numbered microbleeds and a class for every voxel."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..volume import Volume

TISSUE, MICROBLEED, VESSEL, MIMIC, IGNORED = 0, 1, 2, 3, 255
"""Classes of a voxel. What is ignored may be a microbleed or not; nothing must be learned there."""


@dataclass(frozen=True, eq=False)
class ScanTruth:
    """The truth of one scan, on the grid of its image.

    Attributes
    ----------
    lesions : (i, j, k) int32 array
        Number of each microbleed, 0 elsewhere.
    classes : (i, j, k) uint8 array
        `TISSUE`, `MICROBLEED` (exactly where `lesions` is not 0), `VESSEL`, `MIMIC` or `IGNORED`.
    kinds_known : bool
        Tissue really holds neither vessel nor mimic; False where they were not all marked.
    """

    lesions: np.ndarray
    classes: np.ndarray
    kinds_known: bool


@dataclass(frozen=True)
class LabelledScan:
    """Where one scan of a data set and its truth lie. Files may be missing; `check_data_set` tells.

    Attributes
    ----------
    name : str
        Unique within a data set.
    subject : str
        Unit of every split: two scans that share a person or a simulated anatomy have the same. "" if unknown.
    image : Path
        A file, or the folder of a DICOM series.
    modality : "gre", "swi", "qsm" or "auto"
    brain : Path or None
        Brain mask on the grid of the image.
    truth : Path
        What says where the microbleeds are.
    layout : str
    reader : callable
        Makes the truth from the scan and its image.
    maps : tuple of Path
        Label maps that the reader reads; they lie on the grid of the image.
    described_by : tuple of Path
        Other files that say what the label maps mean; they may be missing.
    clean_allowed : bool
        A truth without a microbleed is meant so, and not a label that somebody forgot to draw.
    image_sha256 : str
        Of the image file that the truth belongs to, "" where nobody noted it.
    """

    name: str
    subject: str
    image: Path
    modality: str
    brain: Path | None
    truth: Path
    layout: str
    reader: Callable[["LabelledScan", Volume], ScanTruth]
    maps: tuple[Path, ...] = ()
    described_by: tuple[Path, ...] = ()
    clean_allowed: bool = True
    image_sha256: str = ""


def read_truth(scan: LabelledScan, volume: Volume) -> ScanTruth:
    """Read the truth of a scan.

    Parameters
    ----------
    scan : LabelledScan
    volume : Volume
        Its image as `read_write.read_scan` gives it.

    Raises
    ------
    InputError
        If a file cannot be used or lies on another grid.
    """
    return scan.reader(scan, volume)


def truth_of_lesions(lesions: np.ndarray) -> ScanTruth:
    """Return the truth of a scan in which microbleeds (i, j, k), and nothing else, were marked."""
    return ScanTruth(lesions, np.where(lesions > 0, MICROBLEED, TISSUE).astype(np.uint8), kinds_known=False)

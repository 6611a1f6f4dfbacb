"""Layouts of public labelled sets: VALDO task 2 (T2*) and CUHK (SWI, Dou 2016)."""

import re
from pathlib import Path

import numpy as np
from scipy import io

from ..components import label_components
from ..errors import InputError
from ..geometry import voxel_to_ras
from ..point_regions import grow_regions
from ..read_write import scan_stem
from ..volume import Volume
from .label_maps import image_files, read_map
from .labelled_scans import LabelledScan, ScanTruth, truth_of_lesions

VALDO, CUHK = "valdo", "cuhk"
_VALDO_IMAGE, _VALDO_LABEL = "_space-T2S_desc-masked_T2S", "_space-T2S_CMB"
_VALDO_LEVEL = 0.5
"""The challenge's own: a voxel belongs to a microbleed above it."""


def is_valdo(folder: Path) -> bool:
    """Whether a folder is VALDO's task 2, or a part of it."""
    return any(True for _ in folder.rglob(f"sub-*{_VALDO_LABEL}.nii*"))


def find_valdo(folder: Path) -> list[LabelledScan]:
    """Return the T2* images of VALDO task 2; a person without microbleeds has an empty mask."""
    places: dict[tuple[Path, str], dict[str, Path]] = {}
    for path in image_files(folder, recursive=True):
        found = re.fullmatch(f"(sub-[A-Za-z0-9]+)({_VALDO_IMAGE}|{_VALDO_LABEL})", scan_stem(path))
        if found:
            places.setdefault((path.parent, found[1]), {})[found[2]] = path
    scans = []
    for (parent, subject), files in sorted(places.items()):
        image, label = (files.get(name, parent / f"{subject}{name}.nii.gz") for name in (_VALDO_IMAGE, _VALDO_LABEL))
        scans.append(LabelledScan(name=scan_stem(image), subject=subject, image=image, modality="gre", brain=None,
                                  truth=label, layout=VALDO, reader=_read_valdo, maps=(label,)))
    return scans


def is_cuhk(folder: Path) -> bool:
    """Whether a folder is the CUHK set: ``nii`` and ``ground_truth``."""
    return any(True for _ in (folder / "ground_truth").glob("*.mat"))


def find_cuhk(folder: Path) -> list[LabelledScan]:
    """Return the SWI of the CUHK set; each is one person."""
    images = {scan_stem(path): path for path in image_files(folder / "nii")}
    tables = {path.stem: path for path in (folder / "ground_truth").glob("*.mat")}
    return [LabelledScan(name=stem, subject=stem, image=images.get(stem, folder / "nii" / f"{stem}.nii"),
                         modality="swi", brain=None, truth=tables.get(stem, folder / "ground_truth" / f"{stem}.mat"),
                         layout=CUHK, reader=_read_cuhk) for stem in sorted({*images, *tables})]


def _read_valdo(scan: LabelledScan, volume: Volume) -> ScanTruth:
    return truth_of_lesions(label_components(read_map(scan.truth, volume, scan.image) > _VALDO_LEVEL)[0])


def _read_cuhk(scan: LabelledScan, volume: Volume) -> ScanTruth:
    voxels = _read_points(scan.truth)
    if (voxels < 0).any() or (voxels >= volume.shape).any():
        raise InputError(f"{scan.truth} has points outside {scan.image} (shape {volume.shape}); they count voxels from "
                         "1 on.")
    # a point may stand in the table twice
    centres_ras = list(voxel_to_ras(volume, np.unique(voxels, axis=0)))
    return truth_of_lesions(grow_regions(volume, centres_ras, bright=scan.modality == "qsm"))


def _read_points(path: Path) -> np.ndarray:
    """Return the places of a CUHK table as voxels (n, 3) counted from 0."""
    try:
        content = io.loadmat(path)
        # stored in as few bits as will do, which would wrap around
        points, count = content["cen"].astype(np.float64), int(content["gt_num"].item())
        if points.size and (points.shape[1:] != (3,) or not np.isfinite(points).all()):
            raise ValueError
    except OSError as error:
        raise InputError(f"{path} cannot be opened ({error.strerror or error}); check the path.") from None
    # scipy raises whatever a damaged file leads it to
    except Exception:
        raise InputError(f"{path} is not a table of points (.mat with cen and gt_num) or is damaged; copy it "
                         "again.") from None
    if len(points) != count:
        raise InputError(f"{path} lists {len(points)} points and says that there are {count}; copy it again.")
    return points.reshape(-1, 3) - 1

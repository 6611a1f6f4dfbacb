"""Scans, masks and label maps in; files out, written so that no reader ever sees half of one."""

import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import SimpleITK as sitk

from .dicom_series import read_series
from .errors import InputError
from .geometry import from_canonical, to_canonical
from .image_files import GRID_TOLERANCE_MM, IMAGE_SUFFIXES, LPS_TO_RAS, read_image, require_readable_name, silence
from .ordinary_files import parse_json, read_ordinary_text
from .volume import Volume

MIN_IN_PLANE_VOXELS = 16
MIN_SLICES = 3
MAX_SLICE_MM = 10.0
MIN_DISTINCT_VALUES = 10
"""An image with fewer is a mask or a label map."""

_LARGEST_VALUE, _SMALLEST_RANGE = 1e30, 1e-30
"""Beyond, the arithmetic of float32 ends."""
LARGEST_LABEL = 2**30
"""float32 rounds larger ones beyond int32."""
MAX_MARKED_SHARE = 0.1
"""A map of microbleeds with a larger share of its voxels marked is an image or a brain mask."""
_SLAB_RATIO = 1.2
"""Slices are told by their thickness if it is this many times the in-plane voxel size, else by their small number."""
_AIR = -900
"""If more than `_AIR_SHARE` of the voxels are below, it is CT (Hounsfield units) or phase in scanner units."""
_AIR_SHARE = 0.05
_LARGEST_TOLD = 1e6
"""No number of a sidecar that is used is larger; integers may be larger than any float."""
_SIDECAR_TEXTS = {"Modality": "modality", "SeriesDescription": "series_description", "ProtocolName": "protocol_name",
                  "SequenceName": "sequence_name"}


@dataclass(frozen=True, eq=False)
class Scan:
    """One scan as it was read.

    Attributes
    ----------
    volume : Volume
        float32, finite, on the file's own (i, j, k) grid.
    path, stem : Path, str
        Where it was read, and its name without the suffix, from which the results get theirs.
    sha256 : str
        Of the file; of several files: of their sorted SHA-256 digests.
    warnings : tuple of str
        Sentences for the user.
    metadata : dict
        What is known of ``modality`` (as in DICOM: "MR"), ``image_type``, ``series_description``, ``protocol_name``,
        ``sequence_name`` (str), ``echo_time_ms`` and ``field_strength_t`` (float), from DICOM or the sidecar S.json.
    simulated : bool
        The sidecar says ``"Simulated": true``.
    """

    volume: Volume
    path: Path
    stem: str
    sha256: str
    warnings: tuple[str, ...]
    metadata: dict[str, Any]
    simulated: bool


def scan_stem(path: str | Path) -> str:
    """Return the name of an image file without its suffix, or the name of a DICOM folder.

    Examples
    --------
    >>> scan_stem("data/sub-01_T2star.nii.gz")
    'sub-01_T2star'
    """
    path = Path(path)
    if path.is_dir():
        return Path(os.path.abspath(path)).name
    suffix = next((suffix for suffix in IMAGE_SUFFIXES if path.name.lower().endswith(suffix)), "")
    return path.name[:len(path.name) - len(suffix)]


def read_scan(path: str | Path) -> Scan:
    """Read a NIfTI, NRRD or MHA/MHD file, or the folder of one DICOM series.

    Raises
    ------
    InputError
        If it cannot be read or is not one MR volume; the sentence says what to do.
    """
    path = Path(path)
    image = read_series(path) if path.is_dir() else read_image(path)
    sidecar, sidecar_warnings = _read_sidecar(path)
    metadata = image.metadata | _sidecar_metadata(sidecar)
    if metadata.get("modality", "MR") not in ("MR", "OT"):
        raise InputError(f"{path.name} is {metadata['modality']}, not MR; give a T2*-GRE, SWI or QSM volume.")
    shape_warnings = _check_shape(image.volume, path.name)
    data, value_warnings = _check_values(image.volume.data, path.name)
    return Scan(volume=image.volume.with_data(data), path=path, stem=scan_stem(path), sha256=files_sha256(image.files),
                warnings=(*image.warnings, *sidecar_warnings, *shape_warnings, *value_warnings), metadata=metadata,
                simulated=sidecar.get("Simulated") is True)


def read_mask(path: str | Path, like: Volume) -> Volume:
    """Read a brain mask drawn on `like`; every voxel > 0 belongs to it.

    The same grid in another axis order is accepted, because Slicer saves left-handed images with their slices reversed.

    Returns
    -------
    Volume
        bool, on the grid of `like`.

    Raises
    ------
    InputError
        If the file cannot be read, lies on another grid, or is empty.
    """
    path = Path(path)
    mask = read_image(path).volume
    if not lies_on(mask, like):
        raise InputError(f"{path.name} has a grid of {grid_text(to_canonical(mask))} that does not lie on the scan's, "
                         f"{grid_text(to_canonical(like))}; draw the mask on the scan or resample it to the scan.")
    if not (mask.data > 0).any():
        raise InputError(f"{path.name} is an empty mask; mark the brain in it or leave it out.")
    return in_order_of(like, mask.with_data(mask.data > 0))


def read_labels(path: str | Path) -> Volume:
    """Read a label map as int32; it may be empty.

    Raises
    ------
    InputError
        If the file cannot be read or holds values that are not whole numbers.
    """
    volume = read_image(Path(path)).volume
    labels = np.rint(volume.data)
    if not np.allclose(labels, volume.data, rtol=0, atol=1e-3):
        raise InputError(f"{Path(path).name} holds values that are not whole numbers; give a label map.")
    if np.abs(labels).max() > LARGEST_LABEL:
        raise InputError(f"{Path(path).name} holds values of more than {LARGEST_LABEL}; give a label map.")
    return volume.with_data(labels.astype(np.int32))


def read_on_grid(path: Path, grid: Volume, other: Path) -> Volume:
    """Read a label map of the grid of `other`; the axes may come in another order.

    Raises
    ------
    InputError
        If the file cannot be used or lies on another grid.
    """
    labels = read_labels(path)
    if not lies_on(labels, grid):
        raise InputError(f"{path} (shape {labels.shape}) is not on the grid of {other} (shape {grid.shape}); "
                         "resample it to the scan.")
    return in_order_of(grid, labels)


def lies_on(label_map: Volume, grid: Volume) -> bool:
    """Whether a map is on a grid; its axes may come in another order, as Slicer saves left-handed images."""
    return to_canonical(grid).same_grid(to_canonical(label_map), GRID_TOLERANCE_MM)


def in_order_of(grid: Volume, label_map: Volume) -> Volume:
    """Return a map that `lies_on` a grid with its axes in the order of the grid."""
    return from_canonical(to_canonical(grid).with_data(to_canonical(label_map).data), grid)


def grid_text(volume: Volume) -> str:
    """Return shape and voxel size of a grid in words."""
    return f"{'×'.join(map(str, volume.shape))} voxels of {'×'.join(f'{side:.4g}' for side in volume.spacing)} mm"


@contextmanager
def staging_folder(folder: Path) -> Iterator[Path]:
    """Give an empty folder to write files into; when the block ends, they move into `folder` together.

    If anything fails, in the block or while moving, `folder` is left as it was.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".cmbdetect-", dir=folder) as staging:
        yield Path(staging)
        _move_together(sorted(Path(staging).iterdir()), folder)


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Give a path of the same name to write to, which replaces `path` only when the block has succeeded."""
    with staging_folder(path.parent) as staging:
        yield staging / path.name


@contextmanager
def told_if_not_writable(path: Path) -> Iterator[None]:
    """Turn an operating system error of the block into an InputError about `path`."""
    try:
        yield
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error.strerror}); free space there, close it in other programs, "
                         "or choose another folder.") from error


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text, atomically."""
    with atomic_path(Path(path)) as staged:
        # half a character, as names of files and JSON may hold, stays as its escape, which JSON reads back
        staged.write_text(text, encoding="utf-8", errors="backslashreplace", newline="\n")


def files_sha256(files: Sequence[Path]) -> str:
    """Return the SHA-256 of a file, or of the sorted digests of several."""
    digests = []
    for path in files:
        digest = hashlib.sha256()
        with open(path, "rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
        digests.append(digest)
    if len(digests) == 1:
        return digests[0].hexdigest()
    return hashlib.sha256(b"".join(sorted(digest.digest() for digest in digests))).hexdigest()


def read_json(path: Path, remedy: str) -> Any:
    """Read a JSON file that this program has written.

    Raises
    ------
    InputError
        If it cannot be opened, or is not JSON; then `remedy` says what to do.
    """
    try:
        return parse_json(read_ordinary_text(path))
    except OSError as error:
        raise InputError(f"{path} cannot be opened ({error.strerror}); check the path.") from None
    except ValueError:
        raise InputError(f"{path.name} is not JSON or is damaged; {remedy}.") from None


def write_json(path: Path, value: Any) -> None:
    """Write JSON, atomically; NaN and infinity are refused, because JSON has none."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def write_image(path: Path, volume: Volume, header: Mapping[str, str] = MappingProxyType({})) -> None:
    """Write a volume on its own grid, atomically; the suffix of `path` (.nii.gz, .nrrd, .mha) says the format.

    `header` are fields of a NRRD file.
    """
    require_readable_name(Path(path))
    affine_lps = LPS_TO_RAS @ volume.affine
    image = sitk.GetImageFromArray(np.ascontiguousarray(volume.data.T))
    image.SetSpacing(volume.spacing.tolist())
    image.SetDirection((affine_lps[:3, :3] / volume.spacing).ravel().tolist())
    image.SetOrigin(affine_lps[:3, 3].tolist())
    for key, value in header.items():
        image.SetMetaData(key, value)
    with atomic_path(Path(path)) as staged, silence():
        try:
            sitk.WriteImage(image, str(staged), useCompression=True)
        except RuntimeError as error:
            raise OSError(errno.EIO, "the image could not be written", str(path)) from error


def write_label_map(path: Path, volume: Volume) -> None:
    """Write whole numbers >= 0 as int16, or as int32 if one is too large for that; atomically."""
    small = volume.data.max(initial=0) <= np.iinfo(np.int16).max
    write_image(path, volume.with_data(volume.data.astype(np.int16 if small else np.int32)))


def sidecar_of(path: Path) -> Path:
    """Return where the JSON file beside an image or a DICOM folder lies, if there is one."""
    return Path(os.path.abspath(path)).with_name(f"{scan_stem(path)}.json")


def _read_sidecar(path: Path) -> tuple[dict[str, Any], list[str]]:
    """Return the JSON object beside an image or a DICOM folder, empty if there is none, and warnings."""
    sidecar = sidecar_of(path)
    try:
        content = parse_json(read_ordinary_text(sidecar), foreign=True)
    except FileNotFoundError:
        return {}, []
    except (OSError, ValueError):
        content = None
    if not isinstance(content, dict):
        return {}, [f"{sidecar.name} beside the scan is not a JSON object that can be read; it was ignored."]
    return content, []


def _sidecar_metadata(sidecar: dict[str, Any]) -> dict[str, Any]:
    """Return the metadata in a BIDS sidecar; its echo time is in seconds."""
    metadata = {key: sidecar[name] for name, key in _SIDECAR_TEXTS.items() if isinstance(sidecar.get(name), str)}
    if isinstance(sidecar.get("ImageType"), list):
        metadata["image_type"] = "\\".join(map(str, sidecar["ImageType"]))
    for name, key, factor in (("EchoTime", "echo_time_ms", 1000), ("MagneticFieldStrength", "field_strength_t", 1)):
        if type(sidecar.get(name)) in (int, float) and 0 < sidecar[name] < _LARGEST_TOLD:
            metadata[key] = sidecar[name] * factor
    return metadata


def _check_shape(volume: Volume, name: str) -> list[str]:
    spacing = np.sort(volume.spacing)
    slices = volume.slice_axis if spacing[2] > _SLAB_RATIO * spacing[1] else int(np.argmin(volume.shape))
    in_plane = [size for axis, size in enumerate(volume.shape) if axis != slices]
    if min(in_plane) < MIN_IN_PLANE_VOXELS or volume.shape[slices] < MIN_SLICES:
        raise InputError(f"{name} is too small ({grid_text(volume)}); give a volume of at least "
                         f"{MIN_IN_PLANE_VOXELS}×{MIN_IN_PLANE_VOXELS} voxels in plane and {MIN_SLICES} slices.")
    if spacing[2] > MAX_SLICE_MM:
        return [f"The voxels are {spacing[2]:.3g} mm long; microbleeds of 2 to 10 mm cannot be told reliably on slices "
                f"thicker than {MAX_SLICE_MM:g} mm."]
    return []


def _check_values(data: np.ndarray, name: str) -> tuple[np.ndarray, list[str]]:
    """Return the values with 0 for those that are not numbers, and warnings."""
    finite = np.isfinite(data)
    broken, warnings = data.size - int(finite.sum()), []
    if broken == data.size:
        raise InputError(f"{name} holds no numbers, only NaN or infinity; export it again.")
    if broken:
        data = np.where(finite, data, np.float32(0))
        warnings.append(f"{broken} voxels are NaN or infinite ({broken / data.size:.2g} of all); they were set to 0.")
    low, high = float(data.min()), float(data.max())
    if low == high:
        raise InputError(f"{name} is constant (every voxel is {low:g}); export it again.")
    if max(-low, high) > _LARGEST_VALUE or high - low < _SMALLEST_RANGE:
        raise InputError(f"{name} holds values from {low:.3g} to {high:.3g}, which no MR image has; export it again.")
    # a few thousand voxels are enough to clear nearly every image
    if len(np.unique(data[::7, ::7, ::7])) < MIN_DISTINCT_VALUES and len(np.unique(data)) < MIN_DISTINCT_VALUES:
        raise InputError(f"{name} looks like a mask or label map (fewer than {MIN_DISTINCT_VALUES} different values); "
                         "give the T2*-GRE, SWI or QSM volume itself.")
    if low <= _AIR and np.mean(data <= _AIR) > _AIR_SHARE:
        raise InputError(f"{name} looks like CT or a phase image (values down to {low:.5g}); give a T2*-GRE magnitude, "
                         "SWI or QSM volume.")
    if abs(low + np.pi) < 0.01 and abs(high - np.pi) < 0.01:
        warnings.append("The values run from -π to π as in a phase image; a T2*-GRE magnitude, SWI or QSM volume is "
                        "expected.")
    return data, warnings


def _move_together(files: Sequence[Path], folder: Path) -> None:
    """Move files into a folder; put back what was there before if one cannot be moved."""
    for file in files:
        with open(file, "r+b") as opened:
            os.fsync(opened.fileno())
    with tempfile.TemporaryDirectory(prefix=".cmbdetect-", dir=folder) as kept:
        previous = {path.name: shutil.copy2(path, kept) for file in files if (path := folder / file.name).is_file()}
        moved = []
        try:
            for file in files:
                os.replace(file, folder / file.name)
                moved.append(file.name)
        except BaseException:
            for name in moved:
                if name in previous:
                    os.replace(previous[name], folder / name)
                else:
                    (folder / name).unlink()
            raise

"""One NIfTI, NRRD or MHA/MHD file with SimpleITK: its header is judged first, its voxels are read after that."""

import gzip
import os
import re
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from .errors import InputError
from .volume import Volume

IMAGE_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd")
GRID_TOLERANCE_MM = 0.1
"""Headers of the same grid, written by different programs, differ by their rounding."""
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""SimpleITK and DICOM count towards the left and the back."""

_META_BYTES = {"MET_CHAR": 1, "MET_UCHAR": 1, "MET_SHORT": 2, "MET_USHORT": 2, "MET_INT": 4, "MET_UINT": 4,
               "MET_LONG": 4, "MET_ULONG": 4, "MET_LONG_LONG": 8, "MET_ULONG_LONG": 8, "MET_FLOAT": 4, "MET_DOUBLE": 8}
_SPACING_MM = (1e-3, 1e3)
_FARTHEST_MM = 1e6
"""What a header may say; anything else is a mistake, and would be one of arithmetic later."""
_NIFTI_HEADER = 348
"""Bytes of a NIfTI-1 header."""


@dataclass(frozen=True, eq=False)
class ReadImage:
    """A float32 volume, the files that it came from, what DICOM says about it, and sentences for the user."""

    volume: Volume
    files: tuple[Path, ...]
    metadata: dict[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


def read_image(path: Path) -> ReadImage:
    """Read one image file.

    Raises
    ------
    InputError
        If it is missing, damaged, in another format, or not one 3-D volume of real numbers.
    """
    reader = _open(path)
    _check_header(reader, path.name)
    nifti = path.name.lower().endswith((".nii", ".nii.gz"))
    not_finite = _not_finite(reader, _nifti_bytes(reader, path)) if nifti else None
    reader.SetOutputPixelType(sitk.sitkFloat32)
    # axes of length 1 after the third are dropped
    reader.SetExtractSize([*reader.GetSize()[:3], *[0] * (reader.GetDimension() - 3)])
    try:
        with silence():
            volume = volume_from_itk(reader.Execute())
    except RuntimeError:
        raise damaged(path.name) from None
    if not_finite is not None:
        volume = volume.with_data(np.where(not_finite, np.float32(np.nan), volume.data))
    return ReadImage(volume, (path, *data_files(path)), warnings=_check_orientations(reader, volume))


def volume_from_itk(image: sitk.Image) -> Volume:
    """Return a SimpleITK image as a volume, (i, j, k) and RAS."""
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return Volume(np.ascontiguousarray(sitk.GetArrayViewFromImage(image).T), LPS_TO_RAS @ affine)


def damaged(name: str) -> InputError:
    """Return the error for a file that ITK cannot make sense of."""
    return InputError(f"{name} is not an image or is damaged (cut off?); copy or export it again.")


def too_many_values(name: str, components: int) -> InputError:
    """Return the error for colour and vector images."""
    return InputError(f"{name} has {components} values per voxel (colour, or several volumes in one); choose one "
                      "grey-value volume first.")


@contextmanager
def silence() -> Iterator[None]:
    """Keep from the user what ITK, and the libraries under it that write to file descriptor 2, have to say."""
    shown = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    stderr, nowhere = (os.dup(2), os.open(os.devnull, os.O_WRONLY)) if sys.stderr else (None, None)
    try:
        if nowhere is not None:
            sys.stderr.flush()
            os.dup2(nowhere, 2)
        yield
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(shown)
        if nowhere is not None:
            os.dup2(stderr, 2)
            os.close(stderr)
            os.close(nowhere)


def _open(path: Path) -> sitk.ImageFileReader:
    """Return a reader that has read the header."""
    try:
        with open(path, "rb") as file:
            start = file.read(132)
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; check the path.") from None
    except OSError as error:
        raise InputError(f"{path} cannot be opened ({error.strerror}); check the path and your permissions.") from None
    if not start:
        raise InputError(f"{path.name} is empty (0 bytes); copy or export it again.")
    if start[128:] == b"DICM":
        raise InputError(f"{path.name} is a single DICOM file; give the folder that holds the whole series, or convert "
                         "a multi-frame file to NIfTI first.")
    if not path.name.lower().endswith(IMAGE_SUFFIXES):
        raise InputError(f"{path.name} is not in a format that can be read; give NIfTI (.nii, .nii.gz), NRRD, MHA/MHD "
                         "or the folder of a DICOM series.")
    if path.name.lower().endswith((".mha", ".mhd")):
        _check_meta_image(path)
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        with silence():
            reader.ReadImageInformation()
    except RuntimeError as error:
        if "orthonormal" in str(error):
            raise InputError(f"{path.name} has sheared axes or a broken orientation in its header; resample it to a "
                             "grid with perpendicular axes first.") from None
        raise damaged(path.name) from None
    return reader


def _check_meta_image(path: Path) -> None:
    """Refuse a MetaImage whose voxels are not all there: ITK 5.4 reads on, and may end the whole program."""
    with open(path, "rb") as file:
        lines, rest = [], b""
        for line in file:
            lines.append(line.decode("latin-1"))
            if lines[-1].startswith("ElementDataFile"):
                rest = file.read()
                break
    told = {key.strip(): value.strip() for key, equals, value in (line.partition("=") for line in lines) if equals}
    place = told.get("ElementDataFile", "")
    try:
        size = np.prod([int(side) for side in told["DimSize"].split()], dtype=float)
        size *= int(told.get("ElementNumberOfChannels", 1)) * _META_BYTES[told["ElementType"]]
        if place != "LOCAL":
            rest = (path.parent / place).read_bytes()
        if told.get("CompressedData", "False").lower() in ("true", "t", "1"):
            rest = zlib.decompress(rest)
    except (KeyError, ValueError, OSError, zlib.error):
        raise damaged(path.name) from None
    if len(rest) < size or size <= 0:
        raise damaged(path.name)


def _check_header(reader: sitk.ImageFileReader, name: str) -> None:
    size = reader.GetSize()
    shape = "×".join(map(str, size))
    if "complex" in sitk.GetPixelIDValueAsString(reader.GetPixelID()):
        raise InputError(f"{name} has complex values; save the magnitude as a volume of its own first.")
    if reader.GetNumberOfComponents() > 1:
        raise too_many_values(name, reader.GetNumberOfComponents())
    if len(size) > 3 and max(size[3:]) > 1:
        raise InputError(f"{name} is {len(size)}-D ({shape}); choose one echo or volume and save it as 3-D first.")
    if len(size) < 3:
        raise InputError(f"{name} is 2-D ({shape}); give the whole 3-D volume.")
    spacing, origin = np.array(reader.GetSpacing()[:3]), np.array(reader.GetOrigin()[:3])
    if not ((spacing >= _SPACING_MM[0]) & (spacing <= _SPACING_MM[1])).all():
        told = "×".join(f"{size:.3g}" for size in spacing)
        raise InputError(f"{name} has voxels of {told} mm in its header; correct the voxel size there.")
    if not (np.abs(origin) <= _FARTHEST_MM).all():
        raise InputError(f"{name} has an impossible position in its header; correct the origin there.")


def _nifti_bytes(reader: sitk.ImageFileReader, path: Path) -> bytes:
    """Return a NIfTI file, unzipped. One that was cut off is refused: ITK reads zeros for what is missing, silently."""
    content = path.read_bytes()
    if content[:2] == b"\x1f\x8b":
        try:
            content = gzip.decompress(content)
        except (EOFError, gzip.BadGzipFile, zlib.error):
            raise damaged(path.name) from None
    voxel_bits = float(reader.GetMetaData("bitpix"))
    if len(content) < _nifti_offset(reader) + np.prod(reader.GetSize(), dtype=float) * voxel_bits / 8:
        raise damaged(path.name)
    return content


def _nifti_offset(reader: sitk.ImageFileReader) -> int:
    """Return where the voxels begin; some programs leave 0 in the header."""
    offset = float(reader.GetMetaData("vox_offset"))
    return max(int(offset), _NIFTI_HEADER) if np.isfinite(offset) else _NIFTI_HEADER


def _not_finite(reader: sitk.ImageFileReader, content: bytes) -> np.ndarray | None:
    """Return which voxels of a NIfTI file are NaN or infinite, (i, j, k) bool, None if none; ITK reads them as 0."""
    kind = {"16": "f4", "64": "f8"}.get(reader.GetMetaData("datatype"))
    if kind is None:
        return None
    # the first number of the header is its own length
    order = "<" if content[:4] == _NIFTI_HEADER.to_bytes(4, "little") else ">"
    size = reader.GetSize()[:3]
    values = np.frombuffer(content, order + kind, int(np.prod(size)), _nifti_offset(reader))
    finite = np.isfinite(values)
    return None if finite.all() else ~finite.reshape(size, order="F")


def _check_orientations(reader: sitk.ImageFileReader, volume: Volume) -> tuple[str, ...]:
    """Warn if the header of a NIfTI file leaves the place of the scan open."""
    if not reader.HasMetaDataKey("sform_code"):
        return ()
    if int(reader.GetMetaData("sform_code")) > 0:
        sform = np.array([reader.GetMetaData(f"srow_{axis}").split() for axis in "xyz"], dtype=float)
        difference_mm = np.abs(sform - volume.affine[:3]) @ [*volume.shape, 1]
        if difference_mm.max() > GRID_TOLERANCE_MM:
            return ("The header gives two different positions (sform against qform and voxel size); the one that "
                    "3D Slicer uses is taken, other programs may show the scan elsewhere.",)
    elif int(reader.GetMetaData("qform_code")) == 0:
        return ("The header gives no orientation, so left and right are not known; positions are uncertain.",)
    return ()


def data_files(path: Path) -> tuple[Path, ...]:
    """Return the file that holds the voxels of a detached header (.mhd, .nhdr), if there is one."""
    if path.suffix.lower() not in (".mhd", ".nhdr"):
        return ()
    found = re.search(r"^(?:ElementDataFile\s*=|data file:)\s*(.+?)\s*$", path.read_text(errors="replace"),
                      re.MULTILINE | re.IGNORECASE)
    data = path.parent / found[1] if found else path
    return (data,) if data != path and data.is_file() else ()

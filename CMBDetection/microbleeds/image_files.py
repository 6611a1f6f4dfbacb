"""One NIfTI, NRRD or MHA/MHD file with SimpleITK: its header is judged first, its voxels are read after that."""

import gzip
import io
import math
import os
import re
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
import SimpleITK as sitk

from .errors import InputError
from .nifti_header import is_zipped, read_header
from .ordinary_files import require_ordinary
from .volume import Volume

IMAGE_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd")
GRID_TOLERANCE_MM = 0.1
"""Headers of the same grid, written by different programs, differ by their rounding."""
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""SimpleITK and DICOM count towards the left and the back."""

_META_BYTES = {"MET_CHAR": 1, "MET_UCHAR": 1, "MET_SHORT": 2, "MET_USHORT": 2, "MET_INT": 4, "MET_UINT": 4,
               "MET_LONG": 4, "MET_ULONG": 4, "MET_LONG_LONG": 8, "MET_ULONG_LONG": 8, "MET_FLOAT": 4, "MET_DOUBLE": 8}
_SPACING_MM = (1e-3, 1e3)
FARTHEST_MM = 1e6
"""What a header may say; anything else is a mistake, and would be one of arithmetic later."""
_PERPENDICULAR = 1e-3
"""Largest cosine between two axes."""
_DAMAGE = (KeyError, ValueError, OSError, EOFError, zlib.error)
"""What reading raises where a file is not what it says."""
MOST_VOXELS = 2**27
"""512³, several times the finest scans of a head: what is larger is a mistake that would need all memory.

It is judged by the header, before a reader asks for the memory."""
_MOST_HEADER_BYTES = 1 << 20
_BLOCK_BYTES, _BLOCK_VOXELS = 1 << 24, 1 << 22
_MOST_EXTRA_BYTES = 1 << 20
"""Behind the voxels; nobody unpacks more to see whether the file ends well."""


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
    not_finite = _not_finite(path) if _is_nifti(path) else None
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


def read_stored_values(path: Path) -> Volume:
    """Return the voxels of one image file in its own type, as 3D Slicer loads them.

    Raises
    ------
    InputError
        See `read_image`.
    """
    reader = _open(path)
    _check_header(reader, path.name)
    reader.SetExtractSize([*reader.GetSize()[:3], *[0] * (reader.GetDimension() - 3)])
    try:
        with silence():
            return volume_from_itk(reader.Execute())
    except RuntimeError:
        raise damaged(path.name) from None


def volume_from_itk(image: sitk.Image) -> Volume:
    """Return a SimpleITK image as a volume, (i, j, k) and RAS."""
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return Volume(np.ascontiguousarray(sitk.GetArrayViewFromImage(image).T), LPS_TO_RAS @ affine)


def damaged(name: str) -> InputError:
    """Return the error for a file that ITK cannot make sense of."""
    return InputError(f"{name} is not an image or is damaged (cut off?); copy or export it again.")


def require_readable_name(path: Path) -> None:
    """Refuse a path that is not UTF-8: ITK ends the whole program on it.

    Raises
    ------
    InputError
    """
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise InputError(f"{path} has a name that is not UTF-8; rename it, or the folder that it is in.") from None


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
    require_readable_name(path)
    try:
        require_ordinary(path)
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
    check = _check_nifti if _is_nifti(path) else _CHECKS.get(path.suffix.lower())
    if check:
        check(path)
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        with silence():
            reader.ReadImageInformation()
    except RuntimeError as error:
        if "orthonormal" in str(error):
            raise _sheared(path.name) from None
        raise damaged(path.name) from None
    return reader


def _sheared(name: str) -> InputError:
    return InputError(f"{name} has sheared axes or a broken orientation in its header; resample it to a grid with "
                      "perpendicular axes first.")


def _check_meta_image(path: Path) -> None:
    """Refuse a MetaImage whose voxels are not all there: ITK 5.4 reads on, and may end the whole program."""
    told, begin = _text_header(path, "=", lambda line: line.startswith("ElementDataFile"))
    place, packed = told.get("ElementDataFile", ""), told.get("CompressedData", "False").lower() in ("true", "t", "1")
    try:
        sides = [int(side) for side in told["DimSize"].split()]
        size = math.prod(sides) * int(told.get("ElementNumberOfChannels", 1)) * _META_BYTES[told["ElementType"]]
        if min(sides) <= 0 or size <= 0 or int(told["NDims"]) != len(sides):
            raise ValueError
        check_size(sides[:3], path.name)
        data, begin = (path, begin) if place == "LOCAL" else (path.parent / place, 0)
        there = require_ordinary(data) - begin
        if packed:
            with open(data, "rb") as file:
                file.seek(begin)
                there = _size_of_zlib(file, size)
    except _DAMAGE:
        raise damaged(path.name) from None
    if there < size:
        raise damaged(path.name)


def _size_of_zlib(file: IO[bytes], enough: int) -> int:
    """Return how many bytes a zlib stream gives, or some number from `enough` on; see `_size_of_stream`."""
    stream, size = zlib.decompressobj(), 0
    while size < enough + _MOST_EXTRA_BYTES and not stream.eof:
        packed = stream.unconsumed_tail or file.read(_BLOCK_BYTES)
        if not packed:
            raise EOFError
        size += len(stream.decompress(packed, _BLOCK_BYTES))
    return size


def _check_nrrd(path: Path) -> None:
    """Refuse a packed NRRD that was cut off in its last bytes, which ITK does not read, and impossible voxel sizes."""
    told, begin = _text_header(path, ":", lambda line: not line.strip())
    told = {name.lower(): value for name, value in told.items()}
    try:
        sides = [int(side) for side in told["sizes"].split()]
        if len(sides) == 3:
            check_size(sides, path.name)
        if "spacings" in told and len(sides) == 3:
            _check_sides(list(map(float, told["spacings"].split())), path.name)
        if told.get("encoding", "").lower() in ("gzip", "gz"):
            data, begin = (path.parent / told["data file"], 0) if "data file" in told else (path, begin)
            require_ordinary(data)
            with open(data, "rb") as packed:
                packed.seek(begin)
                with gzip.open(packed) as file:
                    # the end of what is larger is not looked at
                    _size_of_stream(file, MOST_VOXELS)
    except _DAMAGE:
        raise damaged(path.name) from None


def _text_header(path: Path, mark: str, is_last: Callable[[str], bool]) -> tuple[dict[str, str], int]:
    """Return the fields of a header of text lines, "name mark value", and where it ends in the file."""
    told, end = {}, 0
    with open(path, "rb") as file:
        for line in io.BytesIO(file.read(_MOST_HEADER_BYTES)):
            text, end = line.decode("latin-1"), end + len(line)
            key, found, value = text.partition(mark)
            if found:
                told[key.strip()] = value.strip()
            if is_last(text):
                break
    return told, end


_CHECKS = {".mha": _check_meta_image, ".mhd": _check_meta_image, ".nrrd": _check_nrrd, ".nhdr": _check_nrrd}


def check_size(sides: Sequence[int], name: str) -> None:
    """Refuse what is larger than any scan of a head.

    Raises
    ------
    InputError
        If there are more than `MOST_VOXELS`.
    """
    if math.prod(sides) > MOST_VOXELS:
        raise InputError(f"{name} has {'×'.join(map(str, sides))} voxels, more than any scan of a head; check that it "
                         "is one, and cut or resample it to the head.")


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
    check_size(size[:3], name)
    _check_sides(reader.GetSpacing()[:3], name)
    origin = np.array(reader.GetOrigin()[:3])
    axes = np.reshape(reader.GetDirection(), (len(size), len(size)))[:3, :3]
    if not (np.abs(axes.T @ axes - np.eye(3)) <= _PERPENDICULAR).all():
        raise _sheared(name)
    if not (np.abs(origin) <= FARTHEST_MM).all():
        raise InputError(f"{name} has an impossible position in its header; correct the origin there.")


def _is_nifti(path: Path) -> bool:
    return path.name.lower().endswith((".nii", ".nii.gz"))


def _check_nifti(path: Path) -> None:
    """Refuse a NIfTI file whose header cannot be, or which was cut off: ITK reads zeros for what is missing."""
    try:
        header = read_header(path)
        if max(header.shape[3:], default=1) > 1:
            # refused soon, for that
            return
        there = path.stat().st_size
        check_size(header.shape, path.name)
        if is_zipped(path):
            with gzip.open(path) as file:
                there = _size_of_stream(file, header.size)
    except _DAMAGE:
        raise damaged(path.name) from None
    _check_sides(header.sides_mm, path.name)
    if not header.has_orientation:
        raise _sheared(path.name)
    if there < header.size:
        raise damaged(path.name)


def _size_of_stream(file: IO[bytes], enough: int) -> int:
    """Return how many bytes a stream gives, or some number from `enough` on; its end, with a check sum, is read too."""
    size = 0
    while size < enough + _MOST_EXTRA_BYTES and (block := file.read(_BLOCK_BYTES)):
        size += len(block)
    return size


def _check_sides(sides_mm: Sequence[float], name: str) -> None:
    if not all(_SPACING_MM[0] <= side <= _SPACING_MM[1] for side in sides_mm):
        told = "×".join(f"{side:.3g}" for side in sides_mm)
        raise InputError(f"{name} has voxels of {told} mm in its header; correct the voxel size there.")


def _not_finite(path: Path) -> np.ndarray | None:
    """Return which voxels of a NIfTI file are NaN or infinite, (i, j, k) bool, None if none; ITK reads them as 0."""
    header = read_header(path)
    kind = {16: "f4", 64: "f8"}.get(header.datatype)
    if kind is None:
        return None
    finite = np.empty(math.prod(header.shape[:3]), bool)
    with gzip.open(path) if is_zipped(path) else open(path, "rb") as file:
        file.seek(header.offset)
        # in pieces, because the values may need more memory than the image that is made of them
        for begin in range(0, finite.size, _BLOCK_VOXELS):
            piece = finite[begin:begin + _BLOCK_VOXELS]
            piece[:] = np.isfinite(np.frombuffer(file.read(piece.size * header.bits // 8), header.order + kind))
    return None if finite.all() else ~finite.reshape(header.shape[:3], order="F")


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
    with open(path, encoding="utf-8", errors="replace") as file:
        header = file.read(_MOST_HEADER_BYTES)
    found = re.search(r"^(?:ElementDataFile\s*=|data file:)\s*(.+?)\s*$", header, re.MULTILINE | re.IGNORECASE)
    data = path.parent / found[1] if found else path
    return (data,) if data != path and data.is_file() else ()

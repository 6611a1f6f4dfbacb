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
from .nifti_header import NiftiHeader, is_zipped, read_header
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
_BLOCK_BYTES, _PACKED_BYTES = 1 << 24, 1 << 20
_MOST_EXTRA_BYTES = 1 << 20
"""Behind the voxels; nobody unpacks more to see whether the file ends well."""
_ZLIB, _GZIP = zlib.MAX_WBITS, 16 + zlib.MAX_WBITS
"""How zlib calls its two forms of packed bytes."""
_REAL_TYPES = {16: "f4", 64: "f8"}
"""The types of NIfTI that may hold NaN, by their codes."""
_MANY_FILES = re.compile(r"LIST\b|.*%\d*d")
"""In the place of the name of the file of the voxels: a list that follows, or a pattern of names."""


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
    volume, not_finite, warnings = _read(path, sitk.sitkFloat32)
    if not_finite is not None:
        volume = volume.with_data(np.where(not_finite, np.float32(np.nan), volume.data))
    return ReadImage(volume, (path, *data_files(path)), warnings=warnings)


def read_stored_values(path: Path) -> Volume:
    """Return the voxels of one image file in its own type, as 3D Slicer loads them.

    Raises
    ------
    InputError
        See `read_image`.
    """
    return _read(path)[0]


def _read(path: Path, pixel_type: int | None = None) -> tuple[Volume, np.ndarray | None, tuple[str, ...]]:
    """Return the volume, which of its voxels are not finite (None if none) as ITK does not say, and warnings."""
    reader, header = _open(path)
    _check_header(reader, path.name)
    not_finite = _read_through(path, header) if header is not None else None
    if pixel_type is not None:
        reader.SetOutputPixelType(pixel_type)
    # axes of length 1 after the third are dropped
    reader.SetExtractSize([*reader.GetSize()[:3], *[0] * (reader.GetDimension() - 3)])
    try:
        with silence():
            volume = volume_from_itk(reader.Execute())
    except RuntimeError:
        raise damaged(path.name) from None
    return volume, not_finite, _check_orientation(header, volume, path.name) if header is not None else ()


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
    stderr = _close_stderr()
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(shown)
        if stderr is not None:
            os.dup2(stderr, 2)
            os.close(stderr)


def _close_stderr() -> int | None:
    """Let file descriptor 2 lead nowhere and return a copy of it; None where there is none, as in programs of Windows
    without a console, which may have a sys.stderr all the same."""
    if not sys.stderr:
        return None
    try:
        sys.stderr.flush()
        stderr = os.dup(2)
    except (OSError, ValueError):
        return None
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)
    return stderr


def _open(path: Path) -> tuple[sitk.ImageFileReader, NiftiHeader | None]:
    """Return a reader that has read the header, and what the header of a NIfTI file says."""
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
    header = _check_nifti(path) if path.name.lower().endswith((".nii", ".nii.gz")) else None
    if header is None:
        _TEXT_HEADERS[path.suffix.lower()][0](path)
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        with silence():
            reader.ReadImageInformation()
    except RuntimeError as error:
        if "orthonormal" in str(error):
            raise _sheared(path.name) from None
        raise damaged(path.name) from None
    return reader, header


def _sheared(name: str) -> InputError:
    return InputError(f"{name} has sheared axes or a broken orientation in its header; resample it to a grid with "
                      "perpendicular axes first.")


def _check_meta_image(path: Path) -> None:
    """Refuse a MetaImage whose voxels are not all there: ITK 5.4 reads on, and may end the whole program."""
    told, begin = _meta_header(path)
    place, packed = told.get("ElementDataFile"), told.get("CompressedData", "False").lower() in ("true", "t", "1")
    _refuse_many_files(place, path.name)
    try:
        sides = [int(side) for side in told["DimSize"].split()]
        size = math.prod(sides) * int(told.get("ElementNumberOfChannels", 1)) * _META_BYTES[told["ElementType"]]
        if min(sides) <= 0 or size <= 0 or int(told["NDims"]) != len(sides):
            raise ValueError
        check_size(sides[:3], path.name)
        data, begin = (path, begin) if place is None else (path.parent / place, 0)
        there = require_ordinary(data) - begin
        if packed:
            with open(data, "rb") as file:
                file.seek(begin)
                there = sum(map(len, _unpacked(file, size, _ZLIB)))
    except _DAMAGE:
        raise damaged(path.name) from None
    if there < size:
        raise damaged(path.name)


def _unpacked(file: IO[bytes], enough: int, form: int) -> Iterator[bytes]:
    """Yield in blocks what packed bytes hold, to the end of the stream that has the byte of number `enough`.

    This end, with a check sum, is read too, unless `_MOST_EXTRA_BYTES` come before it. What follows it does not matter.

    Raises
    ------
    EOFError, zlib.error
        If the file ends before that, or is damaged.
    """
    size, packed = 0, b""
    while size < enough:
        stream = zlib.decompressobj(form)
        while not stream.eof and size < enough + _MOST_EXTRA_BYTES:
            packed = packed or file.read(_PACKED_BYTES)
            if not packed:
                raise EOFError
            block = stream.decompress(packed, _BLOCK_BYTES)
            packed = stream.unused_data if stream.eof else stream.unconsumed_tail
            size += len(block)
            yield block


def _refuse_many_files(place: str | None, name: str) -> None:
    if place is not None and _MANY_FILES.match(place):
        raise InputError(f"{name} has its voxels in several files ({place}), which are not read; save it as one file "
                         "first.")


def _check_nrrd(path: Path) -> None:
    """Refuse a packed NRRD that was cut off in its last bytes, which ITK does not read, and impossible voxel sizes."""
    told, begin = _nrrd_header(path)
    _refuse_many_files(told.get("data file"), path.name)
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
                    size = 0
                    # the end of what is larger is not looked at
                    while size < MOST_VOXELS and (block := file.read(_BLOCK_BYTES)):
                        size += len(block)
    except _DAMAGE:
        raise damaged(path.name) from None


def _text_header(path: Path, mark: str, is_last: Callable[[str], bool]) -> tuple[dict[str, str], int]:
    """Return the fields of a header of text lines, "name mark value", and where it ends in the file."""
    told, end = {}, 0
    with open(path, "rb") as file:
        for line in io.BytesIO(file.read(_MOST_HEADER_BYTES)):
            # names of files are bytes
            text, end = line.decode("utf-8", "surrogateescape"), end + len(line)
            key, found, value = text.partition(mark)
            if found:
                told[key.strip()] = value.strip()
            if is_last(text):
                break
    return told, end


def _meta_header(path: Path) -> tuple[dict[str, str], int]:
    """Return the fields of a MetaImage and where they end; see `_text_header`."""
    told, end = _text_header(path, "=", lambda line: line.startswith("ElementDataFile"))
    # the voxels follow
    if told.get("ElementDataFile", "").upper() == "LOCAL":
        del told["ElementDataFile"]
    return told, end


def _nrrd_header(path: Path) -> tuple[dict[str, str], int]:
    """Return the fields of a NRRD file, their names in small letters, and where they end; see `_text_header`."""
    told, end = _text_header(path, ":", lambda line: not line.strip())
    told = {name.lower(): value for name, value in told.items()}
    if "datafile" in told:
        told["data file"] = told.pop("datafile")
    return told, end


_TEXT_HEADERS = {
    **dict.fromkeys((".mha", ".mhd"), (_check_meta_image, _meta_header, "ElementDataFile")),
    **dict.fromkeys((".nrrd", ".nhdr"), (_check_nrrd, _nrrd_header, "data file"))}
"""By the suffix of a file: what judges its header, what reads it, and the field that names another file of voxels."""


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


def _check_nifti(path: Path) -> NiftiHeader:
    """Refuse a NIfTI file whose header cannot be."""
    try:
        header = read_header(path)
    except _DAMAGE:
        raise damaged(path.name) from None
    # several volumes are refused soon, for that
    if max(header.shape[3:], default=1) == 1:
        check_size(header.shape, path.name)
        _check_sides(header.sides_mm, path.name)
        if not header.has_orientation:
            raise _sheared(path.name)
    return header


def _read_through(path: Path, header: NiftiHeader) -> np.ndarray | None:
    """Read a NIfTI file up to its last voxel: ITK reads zeros for what is missing, and for NaN and infinity.

    Returns
    -------
    (i, j, k) bool or None
        Which voxels are NaN or infinite; None if none.

    Raises
    ------
    InputError
        If it was cut off or is damaged.
    """
    kind = header.order + _REAL_TYPES[header.datatype] if header.datatype in _REAL_TYPES else None
    width = header.bits // 8
    # in pieces, because the values may need more memory than the image that is made of them
    finite, end, size, waiting = np.ones(math.prod(header.shape) if kind else 0, bool), 0, 0, bytearray()
    try:
        with open(path, "rb") as file:
            for block in _unpacked(file, header.size, _GZIP) if is_zipped(path) else _stored(file, header.size):
                if kind:
                    waiting += block[max(header.offset - size, 0):]
                    count = min(len(waiting) // width, finite.size - end)
                    finite[end:end + count] = np.isfinite(np.frombuffer(bytes(waiting[:count * width]), kind))
                    del waiting[:count * width]
                    end += count
                size += len(block)
    except _DAMAGE:
        raise damaged(path.name) from None
    if size < header.size:
        raise damaged(path.name)
    return None if finite.all() else ~finite.reshape(header.shape[:3], order="F")


def _stored(file: IO[bytes], size: int) -> Iterator[bytes]:
    """Yield in blocks the first `size` bytes of a file, or what it has of them."""
    while size > 0 and (block := file.read(min(size, _BLOCK_BYTES))):
        size -= len(block)
        yield block


def _check_sides(sides_mm: Sequence[float], name: str) -> None:
    if not all(_SPACING_MM[0] <= side <= _SPACING_MM[1] for side in sides_mm):
        told = "×".join(f"{side:.3g}" for side in sides_mm)
        raise InputError(f"{name} has voxels of {told} mm in its header; correct the voxel size there.")


def _check_orientation(header: NiftiHeader, volume: Volume, name: str) -> tuple[str, ...]:
    """Warn if the header of a NIfTI file leaves the place of the scan open; refuse one that nobody can have meant."""
    if header.sform is None:
        return () if header.has_qform else (
            "The header gives no orientation, so left and right are not known; positions are uncertain.",)
    difference_mm = np.abs(np.array(header.sform) - volume.affine[:3]) @ [*volume.shape, 1]
    if difference_mm.max() <= GRID_TOLERANCE_MM:
        return ()
    if not header.is_qform_possible:
        raise _sheared(name)
    return ("The header gives two different positions (sform against qform and voxel size); the one that "
            "3D Slicer uses is taken, other programs may show the scan elsewhere.",)


def data_files(path: Path) -> tuple[Path, ...]:
    """Return the file that holds the voxels, if the header of a MetaImage or NRRD file names another."""
    if path.suffix.lower() not in _TEXT_HEADERS:
        return ()
    _, read, field_name = _TEXT_HEADERS[path.suffix.lower()]
    data = path.parent / read(path)[0].get(field_name, path.name)
    return (data,) if data != path and data.is_file() else ()

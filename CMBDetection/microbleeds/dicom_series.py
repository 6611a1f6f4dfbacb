"""The folder of one DICOM series with SimpleITK (GDCM): one image per file, all of one orientation, none missing."""

import math
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from .errors import InputError
from .geometry import voxel_to_ras
from .image_files import (
    GRID_TOLERANCE_MM,
    LPS_TO_RAS,
    ReadImage,
    check_size,
    damaged,
    require_readable_name,
    silence,
    too_many_values,
    volume_from_itk,
)
from .ordinary_files import require_ordinary
from .volume import Volume

_TEXT_TAGS = {"0008|0060": "modality", "0008|0008": "image_type", "0008|103e": "series_description",
              "0018|1030": "protocol_name", "0018|0024": "sequence_name"}
_META_BYTES = 1024
"""At the beginning of a file, with how it is encoded."""
_CLASS = re.compile(rb"\x02\x00\x02\x00UI..([0-9.]+)", re.DOTALL)
"""What kind of object it is."""
_TRANSFER_SYNTAX = re.compile(rb"\x02\x00\x10\x00UI..([0-9.]+)", re.DOTALL)
_PIXELS = {b"1.2.840.10008.1.2": b"\xe0\x7f\x10\0", b"1.2.840.10008.1.2.1": b"\xe0\x7f\x10\0",
           b"1.2.840.10008.1.2.2": b"\x7f\xe0\0\x10"}
"""The tag of the pixels as it stands in the file, by each transfer syntax without compression."""
_NUMBER_TAGS = {"0018|0081": "echo_time_ms", "0018|0087": "field_strength_t"}


def read_series(folder: Path) -> ReadImage:
    """Read the only DICOM series in a folder; files that are not DICOM do not matter.

    Raises
    ------
    InputError
        If there is no series or more than one, or it is not one complete volume of grey values.
    """
    name = Path(os.path.abspath(folder)).name
    require_readable_name(folder)
    _check_folder(folder)
    series = _find_series(folder)
    if not series:
        raise InputError(f"{name} holds no DICOM images; give an image file or the folder of one DICOM series.")
    if len(series) > 1:
        listed = sorted(_tags(_header(files[0])).get("series_description", "unnamed") for files in series)
        raise InputError(f"{name} holds {len(series)} DICOM series ({', '.join(listed)}); put the one to use into a "
                         "folder of its own.")
    files, = series
    if len(files) == 1:
        raise InputError(f"{name} holds a single DICOM file; give the folder of the whole series, or convert a "
                         "multi-frame file to NIfTI first.")
    headers = [_header(file) for file in files]
    _check_geometry(headers, name)
    positions = _positions(headers, name)
    _check_same_stack(headers, positions, name)
    check_size((*headers[0].GetSize()[:2], len(files)), name)
    volume = _read_voxels(files, name)
    expected = voxel_to_ras(volume, [(0, 0, k) for k in range(len(files))])
    complete = all(map(_has_all_pixels, files, headers)) and _count_files(folder, files[0]) <= len(files)
    if not complete or np.abs(expected - positions).max() > GRID_TOLERANCE_MM:
        raise InputError(f"{name} lacks slices, or has damaged or unevenly spaced ones; export the series again.")
    return ReadImage(volume, tuple(map(Path, files)), _tags(headers[0]))


def _check_folder(folder: Path) -> None:
    """Refuse a folder, or something in it, that cannot be read: GDCM says nothing, and waits for pipes for ever."""
    try:
        paths = list(folder.iterdir())
    except OSError as error:
        raise InputError(f"{folder} cannot be opened ({error.strerror}); check the path and your "
                         "permissions.") from None
    try:
        for path in paths:
            if path.exists() and not path.is_dir():
                require_ordinary(path)
                open(path, "rb").close()
    except OSError as error:
        raise InputError(f"{error.filename} in the DICOM folder {folder} cannot be read ({error.strerror}); check it "
                         "and its rights.") from None


def _find_series(folder: Path) -> list[Sequence[str]]:
    """Return the files of each series in the folder, in the order of their slices."""
    reader = sitk.ImageSeriesReader
    with silence():
        return [reader.GetGDCMSeriesFileNames(str(folder), uid) for uid in reader.GetGDCMSeriesIDs(str(folder))]


def _header(file: str) -> sitk.ImageFileReader:
    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(file)
    try:
        with silence():
            reader.ReadImageInformation()
    except RuntimeError:
        raise damaged(Path(file).name) from None
    return reader


def _tags(header: sitk.ImageFileReader) -> dict[str, Any]:
    """Return what is known of the sequence; nothing that could identify the patient."""
    found = {key: header.GetMetaData(tag).strip() for tag, key in (_TEXT_TAGS | _NUMBER_TAGS).items()
             if header.HasMetaDataKey(tag)}
    told = {key: found.pop(key, "") for key in _NUMBER_TAGS.values()}
    numbers = {key: float(text) for key, text in told.items() if _is_number(text)}
    return {key: text for key, text in found.items() if text} | numbers


def _is_number(text: str) -> bool:
    found = re.fullmatch(r"[-+]?\d*\.?\d+(e[-+]?\d+)?", text, re.IGNORECASE)
    return found is not None and math.isfinite(float(text))


def _check_geometry(headers: Sequence[sitk.ImageFileReader], name: str) -> None:
    """Refuse images without the size of a pixel or the directions of rows and columns, for which ITK takes others."""
    for header in headers:
        sides, directions = (_numbers(header, tag) for tag in ("0028|0030", "0020|0037"))
        if sides.shape != (2,) or not (sides > 0).all():
            raise InputError(f"{name} holds images without the size of a pixel; give the series as the scanner made "
                             "it.")
        if directions.shape != (6,) or not np.allclose(np.linalg.norm(directions.reshape(2, 3), axis=1), 1, atol=0.01):
            raise InputError(f"{name} holds images without an orientation in space; give the series as the scanner "
                             "made it.")


def _numbers(header: sitk.ImageFileReader, tag: str) -> np.ndarray:
    """Return the numbers of a tag, none if it is missing or holds anything else."""
    try:
        numbers = np.array(header.GetMetaData(tag).strip("\0 ").split("\\"), float)
    except (RuntimeError, ValueError):
        return np.array([])
    return numbers if np.isfinite(numbers).all() else np.array([])


def _positions(headers: Sequence[sitk.ImageFileReader], name: str) -> np.ndarray:
    """Return where the first voxel of each slice lies, (n, 3) RAS mm."""
    positions_lps = [_numbers(header, "0020|0032") for header in headers]
    if any(position.shape != (3,) for position in positions_lps):
        raise InputError(f"{name} holds images without a position in space; give the series as the scanner made it.")
    return np.array(positions_lps) @ LPS_TO_RAS[:3, :3]


def _check_same_stack(headers: Sequence[sitk.ImageFileReader], positions: np.ndarray, name: str) -> None:
    directions = np.array([header.GetDirection() for header in headers])
    if np.ptp(directions, axis=0).max() > 1e-3:
        raise InputError(f"{name} holds slices of several orientations (a localizer?); give a T2*-GRE, SWI or QSM "
                         "series.")
    if len(np.unique(positions.round(2), axis=0)) < len(positions):
        echoes = sorted({_tags(header).get("echo_time_ms", 0.0) for header in headers})
        times = f" (echo times {', '.join(f'{echo:g}' for echo in echoes)} ms)" if len(echoes) > 1 else ""
        raise InputError(f"{name} holds several images of the same slice{times}; put one echo, or one kind of image, "
                         "into a folder of its own.")


def _read_voxels(files: Sequence[str], name: str) -> Volume:
    reader = sitk.ImageSeriesReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileNames(files)
    try:
        with silence():
            image = reader.Execute()
    except RuntimeError:
        raise damaged(name) from None
    if image.GetNumberOfComponentsPerPixel() > 1:
        raise too_many_values(name, image.GetNumberOfComponentsPerPixel())
    return volume_from_itk(sitk.Cast(image, sitk.sitkFloat32))


def _has_all_pixels(file: str, header: sitk.ImageFileReader) -> bool:
    """Whether there are as many bytes behind the mark of the pixels as the header asks for; GDCM reads on.

    Compressed ones are not judged.
    """
    content = Path(file).read_bytes()
    syntax = _TRANSFER_SYNTAX.search(content[:_META_BYTES])
    mark = _PIXELS.get(syntax[1] if syntax else b"")
    bits = header.GetMetaData("0028|0100").strip() if header.HasMetaDataKey("0028|0100") else ""
    if mark is None or not bits.isdecimal():
        return True
    expected = math.prod(header.GetSize()) * header.GetNumberOfComponents() * int(bits) // 8
    return len(content) - content.find(mark) - len(mark) >= expected


def _count_files(folder: Path, like: str) -> int:
    """Return how many files say that they are of the kind of one file; GDCM leaves out damaged ones without a word."""
    kind = _class_of(Path(like))
    return sum(path.is_file() and _class_of(path) == kind for path in folder.iterdir()) if kind else 0


def _class_of(path: Path) -> bytes | None:
    """Return the class that a DICOM file says it is of, at its beginning."""
    with open(path, "rb") as file:
        start = file.read(_META_BYTES)
    found = _CLASS.search(start) if start[128:132] == b"DICM" else None
    return found[1] if found else None

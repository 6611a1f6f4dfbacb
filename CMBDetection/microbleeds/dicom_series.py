"""The folder of one DICOM series with SimpleITK (GDCM): one image per file, all of one orientation, none missing."""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from .errors import InputError
from .geometry import voxel_to_ras
from .image_files import GRID_TOLERANCE_MM, LPS_TO_RAS, ReadImage, damaged, silence, too_many_values, volume_from_itk
from .volume import Volume

_TEXT_TAGS = {"0008|0060": "modality", "0008|0008": "image_type", "0008|103e": "series_description",
              "0018|1030": "protocol_name", "0018|0024": "sequence_name"}
_NUMBER_TAGS = {"0018|0081": "echo_time_ms", "0018|0087": "field_strength_t"}


def read_series(folder: Path) -> ReadImage:
    """Read the only DICOM series in a folder; files that are not DICOM do not matter.

    Raises
    ------
    InputError
        If there is no series or more than one, or it is not one complete volume of grey values.
    """
    name = Path(os.path.abspath(folder)).name
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
    positions = _positions(headers, name)
    _check_same_stack(headers, positions, name)
    volume = _read_voxels(files, name)
    expected = voxel_to_ras(volume, [(0, 0, k) for k in range(len(files))])
    if _count_files(folder, headers[0]) > len(files) or np.abs(expected - positions).max() > GRID_TOLERANCE_MM:
        raise InputError(f"{name} lacks slices, or has damaged or unevenly spaced ones; export the series again.")
    return ReadImage(volume, tuple(map(Path, files)), _tags(headers[0]))


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
    numbers = {key: float(found.pop(key)) for key in _NUMBER_TAGS.values() if _is_number(found.get(key, ""))}
    return {key: text for key, text in found.items() if text} | numbers


def _is_number(text: str) -> bool:
    return re.fullmatch(r"[-+]?\d*\.?\d+(e[-+]?\d+)?", text, re.IGNORECASE) is not None


def _positions(headers: Sequence[sitk.ImageFileReader], name: str) -> np.ndarray:
    """Return where the first voxel of each slice lies, (n, 3) RAS mm."""
    try:
        positions_lps = [header.GetMetaData("0020|0032").split("\\") for header in headers]
    except RuntimeError:
        raise InputError(f"{name} holds images without a position in space; give the series as the scanner made "
                         "it.") from None
    return np.array(positions_lps, dtype=float) @ LPS_TO_RAS[:3, :3]


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


def _count_files(folder: Path, like: sitk.ImageFileReader) -> int:
    """Return how many files say that they are such DICOM images; GDCM leaves out damaged ones without a word."""
    kind = like.GetMetaData("0008|0016").strip("\0 ").encode() if like.HasMetaDataKey("0008|0016") else b""
    count = 0
    for path in folder.iterdir():
        if path.is_file():
            with open(path, "rb") as file:
                start = file.read(1024)
            count += start[128:132] == b"DICM" and kind in start
    return count

"""The findings of a scan that came from DICOM as DICOM: a segmentation and a structured report, and back."""

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import highdicom as hd
import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.valuerep import DA, DS, TM

from ..dicom_series import read_series
from ..errors import InputError
from ..geometry import from_canonical, to_canonical
from ..image_files import GRID_TOLERANCE_MM
from ..read_write import grid_text, staging_folder
from ..reviewed_case import ReviewedCase
from ..volume import Volume
from .dicom_codes import track
from .dicom_seg import make_segmentation, place_segments
from .dicom_sr import ReportContent, make_report, read_content
from .guards import require_free

FILE_NAMES = {"seg": "{}_desc-cmb_seg.dcm", "sr": "{}_desc-cmb_sr.dcm"}

_NEEDED = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "Rows",
           "Columns", "PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient")
_MAY_BE_EMPTY = ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID",
                 "StudyDate", "StudyTime", "ReferringPhysicianName")
"""Type 2 in the Patient and General Study modules; programs that remove names often remove the elements too."""
_CHECKED = {"PatientSex": hd.PatientSexValues, "PatientBirthDate": DA, "StudyDate": DA, "StudyTime": TM}
"""A value that these refuse cannot be written into a new object; it is left empty there."""

_Content = TypeVar("_Content")


@dataclass(frozen=True, eq=False)
class DicomReview:
    """What `write_dicom` has written: the report, and the segments on the grid of the scan (value = id)."""

    report: ReportContent
    labels: Volume


def write_dicom(case: ReviewedCase, series_folder: Path, folder: Path, overwrite: bool = False) -> dict[str, Path]:
    """Write the microbleeds of a case (see `ReviewedCase.microbleeds`) for the archive that holds the scan.

    Both objects are new series, with new UIDs each time, in the study and the frame of reference of the scan.

    Parameters
    ----------
    series_folder : Path
        Of the DICOM series that the scan was read from.
    folder : Path
        Made if missing.

    Returns
    -------
    dict
        Paths by "sr" and, if any of the findings has voxels, "seg".

    Raises
    ------
    InputError
        If the series is not the scan or not complete, a file exists and is not to be overwritten, or the files cannot
        be written; what was in the folder before is still there.
    """
    folder = Path(folder)
    paths = dicom_files(case, folder)
    require_free(tuple(paths.values()), overwrite)
    image = read_series(Path(series_folder))
    labels = _on_series(case.labels, image.volume, Path(series_folder).name)
    headers = _read_headers(image.files, image.volume)
    trackings = track(case.microbleeds)
    segmentation = make_segmentation(case, labels, headers, trackings)
    made: dict[str, Dataset] = {"sr": make_report(case, headers, segmentation, trackings)}
    if segmentation is not None:
        made["seg"] = segmentation
    try:
        with staging_folder(folder) as staging:
            for key, dataset in made.items():
                dataset.save_as(staging / paths[key].name, enforce_file_format=True)
        for key in paths.keys() - made.keys():
            # a segmentation of an earlier export does not belong to this report
            paths[key].unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"The DICOM objects of {case.stem} cannot be written to {folder} ({error.strerror}); free "
                         "space there or choose another folder.") from error
    return {key: paths[key] for key in made}


def dicom_files(case: ReviewedCase, folder: Path) -> dict[str, Path]:
    """Return the files that `write_dicom` writes or removes, by "seg" and "sr"."""
    return {key: folder / name.format(case.stem) for key, name in FILE_NAMES.items()}


def read_dicom(seg: Path | None, sr: Path, like: Volume) -> DicomReview:
    """Read the files of `write_dicom`.

    Parameters
    ----------
    seg : Path or None
        None where none was written.
    like : Volume
        The scan; in any axis order and direction.

    Raises
    ------
    InputError
        If a file cannot be read, is something else, or does not lie on the grid of the scan.
    """
    report = _understand(Path(sr), read_content)
    labels = like.with_data(np.zeros(like.shape, np.int32))
    if seg is not None:
        ids = {uid: number for number, uid in report.tracking_uids.items()}
        labels = _understand(Path(seg), lambda path: place_segments(path, ids, like))
    return DicomReview(report, labels)


def _understand(path: Path, read: Callable[[Path], _Content]) -> _Content:
    """Return what `read` makes of the file; its errors become one sentence."""
    try:
        return read(path)
    except OSError as error:
        raise InputError(f"{path} cannot be opened ({error.strerror}); check the path.") from None
    except (AttributeError, EOFError, IndexError, InvalidDicomError, KeyError, RuntimeError, TypeError, ValueError,
            struct.error) as error:
        raise InputError(f"{path.name} is not what this program has exported, or is damaged, or the report and the "
                         f"segmentation are of two exports ({type(error).__name__}); give both files of one "
                         "export.") from error


def _on_series(labels: Volume, series: Volume, name: str) -> Volume:
    """Return the labels in the axis order of the series; Slicer reverses the slices of some."""
    turned, scan = to_canonical(labels), to_canonical(series)
    if not turned.same_grid(scan, GRID_TOLERANCE_MM):
        raise InputError(f"{name} has a grid of {grid_text(series)} that is not the one of the reviewed scan, "
                         f"{grid_text(labels)}; give the DICOM series that the scan was read from.")
    return from_canonical(scan.with_data(turned.data), series)


def _read_headers(files: Sequence[Path], volume: Volume) -> list[Dataset]:
    """Return the data sets of a series without their pixels, in the order of the slices of `volume`."""
    headers: list[Dataset] = [pydicom.dcmread(file, stop_before_pixels=True) for file in files]
    for file, header in zip(files, headers, strict=True):
        missing = [keyword for keyword in _NEEDED if not header.get(keyword)]
        if missing:
            raise InputError(f"{file.name} lacks the DICOM attribute {missing[0]}, without which nothing can refer to "
                             "it; export the series again from the scanner or the archive.")
        if not header.get("SliceThickness"):
            header.SliceThickness = DS(float(volume.spacing[2]), auto_format=True)
        for keyword in _MAY_BE_EMPTY:
            if not _is_usable(header, keyword):
                setattr(header, keyword, "")
    for keyword in ("StudyInstanceUID", "FrameOfReferenceUID"):
        if len({header[keyword].value for header in headers}) > 1:
            raise InputError(f"{files[0].parent.name} holds slices of different {keyword}; export the series again "
                             "from the scanner or the archive.")
    return headers


def _is_usable(header: Dataset, keyword: str) -> bool:
    try:
        _CHECKED.get(keyword, str)(header[keyword].value)
    except (KeyError, TypeError, ValueError):
        return False
    return True

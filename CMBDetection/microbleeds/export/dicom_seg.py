"""A DICOM segmentation with one binary segment per finding, on the frames of the series, and back."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from ..errors import InputError
from ..geometry import apply_affine
from ..image_files import GRID_TOLERANCE_MM, LPS_TO_RAS
from ..read_write import grid_text
from ..reviewed_case import CaseFinding, ReviewedCase
from ..volume import Volume
from .dicom_codes import (
    ABNORMAL_STRUCTURE,
    HEMORRHAGE,
    PROGRAM,
    SIDE_CODES,
    SITE_CODES,
    UTF_8,
    Tracking,
    instance_attributes,
    model,
    person_name,
    series_description,
    short_text,
    version,
)

_SERIES_NUMBER = 9001


def make_segmentation(case: ReviewedCase, labels: Volume, headers: Sequence[Dataset],
                      trackings: Mapping[int, Tracking]) -> hd.seg.Segmentation | None:
    """Return the segmentation of the findings in `trackings`; None if none of them has a voxel.

    Parameters
    ----------
    labels : Volume
        Value = id of a finding; slice k is that of ``headers[k]``, axes (column, row, slice).
    headers : pydicom data sets of the series, in the order of its slices.
    trackings : by id of the findings.
    """
    ids = np.intersect1d(labels.data, sorted(trackings))
    if not ids.size:
        return None
    numbers = np.where(np.isin(labels.data, ids), np.searchsorted(ids, labels.data) + 1, 0).astype(np.uint16)
    findings = {finding.id: finding for finding in case.findings}
    segmentation = hd.seg.Segmentation(
        source_images=headers, pixel_array=np.ascontiguousarray(numbers.T),
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[_describe(case, findings[number], trackings[number], place)
                              for place, number in enumerate(ids.tolist(), start=1)],
        pixel_measures=hd.PixelMeasuresSequence(
            headers[0].PixelSpacing, headers[0].SliceThickness, float(labels.spacing[2])),
        content_label="MICROBLEEDS", content_description=series_description(case),
        content_creator_name=person_name(case.reader) if case.reader else None,
        **instance_attributes(case, _SERIES_NUMBER))
    segmentation.SpecificCharacterSet = UTF_8
    return segmentation


def place_segments(path: Path, ids: Mapping[str, int], like: Volume) -> Volume:
    """Return the segments of a file as a label map on the grid of `like`, int32, value = id of the finding.

    The frames are placed by their positions, so `like` may have its axes in any order and direction.

    Parameters
    ----------
    ids : by tracking UID.

    Raises
    ------
    InputError
        If the pixels do not lie on voxels of `like`.
    KeyError
        If a segment has a tracking UID that is not in `ids`.
    OSError
        If it cannot be opened.
    AttributeError, InvalidDicomError, ValueError and others
        If it is something else.
    """
    segmentation = pydicom.dcmread(path)
    ids_by_segment = {segment.SegmentNumber: ids[segment.TrackingUID] for segment in segmentation.SegmentSequence}
    frames = segmentation.pixel_array.reshape(-1, segmentation.Rows, segmentation.Columns)
    labels = np.zeros(like.shape, np.int32)
    for frame, groups in zip(frames, segmentation.PerFrameFunctionalGroupsSequence, strict=True):
        affine = _frame_affine(groups, segmentation.SharedFunctionalGroupsSequence[0])
        to_voxel = np.linalg.inv(like.affine) @ affine
        corners = np.array([(i, j, 0) for i in (0, frame.shape[1] - 1) for j in (0, frame.shape[0] - 1)])
        voxels = np.rint(apply_affine(to_voxel, corners)).astype(int)
        distance_mm = np.abs(apply_affine(like.affine, voxels) - apply_affine(affine, corners)).max()
        if distance_mm > GRID_TOLERANCE_MM or (voxels < 0).any() or (voxels >= like.shape).any():
            width, height = np.linalg.norm(affine[:3, :2], axis=0)
            raise InputError(f"{path.name} has frames of {frame.shape[1]}×{frame.shape[0]} pixels of "
                             f"{width:.4g}×{height:.4g} mm that do not lie on the grid of the scan, {grid_text(like)}; "
                             "give the scan that it was made on.")
        rows, columns = np.nonzero(frame)
        inside = apply_affine(to_voxel, np.stack([columns, rows, np.zeros_like(rows)], axis=1))
        segment = groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        labels[tuple(np.rint(inside).astype(int).T)] = ids_by_segment[segment]
    return like.with_data(labels)


def _describe(case: ReviewedCase, finding: CaseFinding, tracking: Tracking, number: int) -> hd.seg.SegmentDescription:
    kinds = hd.seg.SegmentAlgorithmTypeValues
    touched = finding.added_by_reader + finding.outlined
    algorithm = hd.AlgorithmIdentificationSequence(
        name=PROGRAM, family=codes.DCM.ArtificialIntelligence, version=version(case), source=PROGRAM,
        parameters={"model": short_text(model(case, "model_name"))})
    segment = hd.seg.SegmentDescription(
        segment_number=number, segment_label=tracking.identifier, segmented_property_category=ABNORMAL_STRUCTURE,
        segmented_property_type=HEMORRHAGE,
        algorithm_type=(kinds.AUTOMATIC, kinds.SEMIAUTOMATIC, kinds.MANUAL)[touched],
        algorithm_identification=algorithm if touched < 2 else None,
        tracking_uid=tracking.uid, tracking_id=tracking.identifier, anatomic_regions=[SITE_CODES[finding.region]])
    if finding.side:
        segment.AnatomicRegionSequence[0].AnatomicRegionModifierSequence = [
            hd.sr.CodedConcept.from_code(SIDE_CODES[finding.side])]
    parts = [f"{finding.side} {finding.region}".strip(), finding.verdict, finding.certainty,
             "" if finding.probability is None else f"probability {finding.probability:.3f}"]
    segment.SegmentDescription = ", ".join(part for part in parts if part)
    return segment


def _frame_affine(groups: Dataset, shared: Dataset) -> np.ndarray:
    """Return (column, row, 0, 1) of a frame to RAS mm, (4, 4); the third column is the normal."""
    def group(keyword: str) -> Dataset:
        return (groups if keyword in groups else shared)[keyword][0]

    directions = np.array(group("PlaneOrientationSequence").ImageOrientationPatient, float)
    along_row, along_column = directions[:3], directions[3:]
    between_rows, between_columns = map(float, group("PixelMeasuresSequence").PixelSpacing)
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = along_row * between_columns, along_column * between_rows
    affine[:3, 2] = np.cross(along_row, along_column)
    affine[:3, 3] = group("PlanePositionSequence").ImagePositionPatient
    return LPS_TO_RAS @ affine

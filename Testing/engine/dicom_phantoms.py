"""MR series as a scanner writes them, one file a slice, and cases that were read from them; made with pydicom."""

from dataclasses import replace

import numpy as np
from microbleeds.read_write import read_scan
from microbleeds.review_files import ACCEPTED
from microbleeds.reviewed_case import Acquisition, CaseFinding, ReviewedCase
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid
from scipy import ndimage
from scipy.spatial.transform import Rotation

ORIENTATIONS = {
    "axial": ((1, 0, 0), (0, 1, 0)), "sagittal": ((0, 1, 0), (0, 0, -1)), "coronal": ((1, 0, 0), (0, 0, -1)),
    "oblique": tuple(map(tuple, Rotation.from_euler("xyz", (17, -23, 8), degrees=True).as_matrix().T[:2]))}
"""Directions of the rows and of the columns, LPS."""

PROVENANCE = {"model_name": "phantom-model", "model_sha256": "1f" * 32, "operating_point": "balanced",
              "versions": {"microbleeds": "0.1.0"}}


def write_mr_series(folder, orientation="axial", shape=(24, 20, 9), spacing=(0.7, 0.9, 3.3), reverse=False, keep=None,
                    charset="ISO_IR 192", patient="Müller^Jörg", values=None, **elements):
    """Write a series, (columns, rows, slices), in an order of names that is not that of space.

    The `values` are whole numbers in [0, 65535], of any shape; without them it is noise of `shape`. With `reverse`,
    slices and instance numbers run against the cross product of rows and columns.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows, columns = map(np.array, ORIENTATIONS[orientation])
    normal = np.cross(rows, columns) * (-1 if reverse else 1)
    values = np.random.default_rng(3).integers(0, 4000, shape) if values is None else values
    values, shape = values.astype(np.uint16), values.shape
    series, study, frame = generate_uid(), generate_uid(), generate_uid()
    for k in range(shape[2]) if keep is None else keep:
        data = Dataset()
        data.SpecificCharacterSet = charset
        data.SOPClassUID, data.SOPInstanceUID = MRImageStorage, generate_uid()
        data.StudyInstanceUID, data.SeriesInstanceUID, data.FrameOfReferenceUID = study, series, frame
        data.PatientName, data.PatientID, data.PatientBirthDate, data.PatientSex = patient, "P-1", "19500102", "F"
        data.StudyDate, data.StudyTime, data.StudyID, data.AccessionNumber = "20240203", "101112", "S1", "A1"
        data.ReferringPhysicianName, data.StudyDescription = "", "Schädel"
        data.Modality, data.SeriesNumber, data.InstanceNumber, data.SeriesDescription = "MR", 5, k + 1, "T2* GRE"
        data.Manufacturer, data.PositionReferenceIndicator, data.ImageType = "ACME", "", ["ORIGINAL", "PRIMARY"]
        data.ScanningSequence, data.SequenceVariant, data.ScanOptions, data.MRAcquisitionType = "GR", "NONE", "", "2D"
        data.EchoTime, data.MagneticFieldStrength, data.SliceThickness = "20", "3", f"{spacing[2]:.6g}"
        data.EchoTrainLength, data.RepetitionTime = 1, "700"
        data.PixelSpacing = [f"{spacing[1]:.10g}", f"{spacing[0]:.10g}"]
        data.ImageOrientationPatient = [f"{value:.12f}" for value in (*rows, *columns)]
        position = np.array([-30.5, 12.25, -40.0]) + k * spacing[2] * normal
        data.ImagePositionPatient = [f"{value:.9f}" for value in position]
        data.Rows, data.Columns = shape[1], shape[0]
        data.SamplesPerPixel, data.PhotometricInterpretation, data.PixelRepresentation = 1, "MONOCHROME2", 0
        data.BitsAllocated, data.BitsStored, data.HighBit = 16, 16, 15
        data.PixelData = np.ascontiguousarray(values[:, :, k].T).tobytes()
        for keyword, value in elements.items():
            if value is None:
                del data[keyword]
            else:
                setattr(data, keyword, value)
        data.file_meta = FileMetaDataset()
        data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        data.save_as(folder / f"{(k * 7) % 101:03d}.dcm", enforce_file_format=True)
    return folder


def finding(number, position_ras, **values):
    """Return an accepted finding; `values` are those of `CaseFinding`."""
    return replace(CaseFinding(number, tuple(map(float, position_ras)), 4.1, 36.5, 0.913, ACCEPTED, "definite",
                               reader="Dr. Weiß"), **values)


def reviewed_case(folder, voxels, values=(), **attributes):
    """Return the case of a series with a finding about each voxel; `values` are those of each finding.

    Findings have the ids 3, 6, 9, ... and uneven regions of some voxels.
    """
    scan = read_scan(folder)
    labels = np.zeros(scan.volume.shape, np.int32)
    findings = []
    for index, voxel in enumerate(voxels):
        number = 3 * (index + 1)
        seed = np.zeros(labels.shape, bool)
        seed[tuple(voxel)] = True
        region = ndimage.binary_dilation(seed, iterations=1 + index % 2)
        # nothing that is symmetric would tell a flipped slice
        region[voxel[0] - 1:voxel[0] + 3, voxel[1] + 1, voxel[2]] = True
        labels[region] = number
        position = scan.volume.affine @ (*(np.array(voxel) + (0.31, -0.27, 0.12)), 1)
        findings.append(finding(number, position[:3], **(values[index] if index < len(values) else {})))
    attributes = {"reader": "Dr. Weiß", "reviewed_at": "2024-05-06T07:08:09+00:00", "is_reviewed": True,
                  "is_finished": True, "provenance": PROVENANCE} | attributes
    return ReviewedCase("01", "", folder.name, folder.name, scan.sha256, scan.volume, scan.volume.with_data(labels),
                        Acquisition("gre", 3.0, 20.0, tuple(scan.volume.spacing.tolist())), tuple(findings),
                        **attributes)

"""Regions of the findings: a label map on the grid of the scan, and a segmentation of 3D Slicer (.seg.nrrd).

Both hold what counts as a microbleed; on request all findings, so that the rejected and undecided ones come too.
"""

from pathlib import Path

import numpy as np

from ..errors import InputError
from ..read_write import told_if_not_writable, write_image, write_label_map
from ..report import NOT_CLINICAL
from ..review_files import ACCEPTED, REJECTED, UNDECIDED
from ..reviewed_case import CaseFinding, ReviewedCase
from ..volume import Volume
from .guards import require_free, require_reviewed, status_of

COLORS = {UNDECIDED: (1.0, 0.8, 0.2), ACCEPTED: (0.3, 0.85, 0.4), REJECTED: (0.6, 0.6, 0.6)}
"""Red, green, blue in [0, 1] by verdict, as the outlines in the panel."""
TERMINOLOGY = ("Segmentation category and type - DICOM master list"
               "~SCT^49755003^Morphologically Altered Structure~SCT^50960005^Hemorrhage~^^"
               "~Anatomic codes - DICOM master list~SCT^12738006^Brain~^^")
"""Entry of 3D Slicer's terminology for every segment."""

_LABEL_MAP, _SEGMENTATION = (".nii.gz", ".nii", ".nrrd", ".mha"), ".seg.nrrd"
_STATUS = {ACCEPTED: "completed", REJECTED: "completed", UNDECIDED: "inprogress"}


def write_label_map_file(path: Path, case: ReviewedCase, everything: bool = False, include_unreviewed: bool = False,
                         overwrite: bool = False) -> tuple[int, ...]:
    """Write the regions of the microbleeds as a label map on the grid of the scan, value = id.

    Parameters
    ----------
    path : Path
        .nii.gz, or another format of images.
    case : ReviewedCase
    everything : bool
        Rejected and undecided findings too.
    include_unreviewed, overwrite : bool

    Returns
    -------
    tuple of int
        Ids of the microbleeds that are not in it, because they have no voxels.

    Raises
    ------
    InputError
        If the scan is not reviewed, the file exists, or it cannot be written.
    """
    path = Path(path)
    if not path.name.lower().endswith(_LABEL_MAP) or path.name.lower().endswith(_SEGMENTATION):
        raise InputError(f"{path.name} says no format of images; end the name with .nii.gz, .nii, .nrrd or .mha.")
    require_reviewed(case, include_unreviewed)
    require_free((path,), overwrite)
    findings = _chosen(case, everything)
    labels = regions_of(case, findings)
    with told_if_not_writable(path):
        write_label_map(path, labels)
    there = set(np.unique(labels.data).tolist())
    return tuple(finding.id for finding in findings if finding.id not in there)


def write_segmentation_file(path: Path, case: ReviewedCase, everything: bool = False, include_unreviewed: bool = False,
                            overwrite: bool = False) -> None:
    """Write the microbleeds as a segmentation, one segment each; one without voxels has an empty segment.

    See `write_label_map_file`. Each segment has the name, color and terminology that it has in the panel, and the
    verdict, certainty, probability and region as tags ``CMBDetection.<name>``.
    """
    path = Path(path)
    if not path.name.lower().endswith(_SEGMENTATION):
        raise InputError(f"{path.name} is no name of a segmentation; end it with {_SEGMENTATION}.")
    require_reviewed(case, include_unreviewed)
    require_free((path,), overwrite)
    findings = _chosen(case, everything)
    labels = regions_of(case, findings)
    # the smallest type that Slicer keeps segments in
    kind = next(kind for kind in (np.uint8, np.int16, np.int32) if labels.data.max(initial=0) <= np.iinfo(kind).max)
    with told_if_not_writable(path):
        write_image(path, labels.with_data(labels.data.astype(kind)), _segmentation_header(case, findings))


def regions_of(case: ReviewedCase, findings: tuple[CaseFinding, ...]) -> Volume:
    """Return the label map of a case with these findings only, int32."""
    wanted = np.zeros(int(case.labels.data.max(initial=0)) + 1, bool)
    wanted[[finding.id for finding in findings if finding.id < len(wanted)]] = True
    return case.image.with_data(np.where(wanted[case.labels.data], case.labels.data, 0))


def _chosen(case: ReviewedCase, everything: bool) -> tuple[CaseFinding, ...]:
    return case.findings if everything else case.microbleeds


def _segmentation_header(case: ReviewedCase, findings: tuple[CaseFinding, ...]) -> dict[str, str]:
    """Return the header of Slicer's segmentation files; all segments lie in one layer."""
    sides = " ".join(f"0 {side - 1}" for side in case.image.shape)
    header = {"Segmentation_MasterRepresentation": "Binary labelmap",
              "Segmentation_ContainedRepresentationNames": "Binary labelmap|",
              "Segmentation_ReferenceImageExtentOffset": "0 0 0",
              "CMBDetection.notice": NOT_CLINICAL, "CMBDetection.reviewed": status_of(case),
              "CMBDetection.simulated": "simulated" if case.simulated else "not simulated"}
    for number, finding in enumerate(findings):
        color = COLORS[finding.verdict]
        entries = {"ID": f"Microbleed_{finding.id}", "Name": f"Microbleed {finding.id}", "NameAutoGenerated": "0",
                   "Color": " ".join(f"{part:g}" for part in color), "ColorAutoGenerated": "0", "Extent": sides,
                   "Layer": "0", "LabelValue": str(finding.id), "Tags": _tags(finding)}
        header |= {f"Segment{number}_{key}": value for key, value in entries.items()}
    return header


def _tags(finding: CaseFinding) -> str:
    """Return what is known of a finding; Slicer separates tags by ``|``, which none of these words holds."""
    tags = {"Segmentation.Status": _STATUS[finding.verdict], "TerminologyEntry": TERMINOLOGY,
            "CMBDetection.number": str(finding.id), "CMBDetection.verdict": finding.verdict,
            "CMBDetection.certainty": finding.certainty, "CMBDetection.mimic": finding.mimic_kind,
            "CMBDetection.region": finding.region, "CMBDetection.side": finding.side,
            "CMBDetection.probability": "" if finding.probability is None else repr(finding.probability)}
    return "".join(f"{key}:{value}|" for key, value in tags.items() if value)

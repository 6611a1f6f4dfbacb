"""Reviewed cases: per scan S an image, ``S_desc-cmb_dseg.nii.gz`` (value = finding id), ``S_desc-cmb_review.json``.

Accepted findings are microbleeds, rejected ones vessels or mimics. What is undecided, and what the detector marked but
the review does not list, is ignored. A finding without a region of its own, as readers add them, gets one grown on the
image.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..outputs import FILE_NAMES
from ..point_regions import grow_regions, voxels_within
from ..read_write import scan_stem
from ..review_files import ACCEPTED, FILE_NAME, REJECTED, UNDECIDED, Review, ReviewedFinding, read_review
from ..review_files import VESSEL as VESSEL_KIND
from ..subject_names import subject_of_file
from ..volume import Volume
from .label_maps import BRAIN_NAMES, brain_beside, image_files, read_map
from .labelled_scans import IGNORED, MICROBLEED, MIMIC, VESSEL, LabelledScan, ScanTruth

REVIEWS = "reviews"
_REVIEW, _LABELS = FILE_NAME.format(""), FILE_NAMES["labels"].format("")


def is_reviews(folder: Path) -> bool:
    """Whether a folder holds reviews."""
    return any(True for _ in folder.rglob(f"*{_REVIEW}"))


def find_reviews(folder: Path) -> list[LabelledScan]:
    """Return the reviewed scans of a folder, and the images in it that have no review."""
    scans = [_reviewed_scan(path, folder) for path in sorted(folder.rglob(f"*{_REVIEW}"))]
    known = {scan.image for scan in scans}
    known |= {path for scan in scans if scan.image.is_dir() for path in image_files(scan.image)}
    for image in image_files(folder, recursive=True):
        stem = scan_stem(image)
        if image not in known and not stem.endswith((scan_stem(Path(_LABELS)), *BRAIN_NAMES)):
            scans.append(_scan(image, image.with_name(f"{stem}{_REVIEW}"), None, folder))
    return scans


def _reviewed_scan(path: Path, folder: Path) -> LabelledScan:
    try:
        review = read_review(path)
    except InputError:
        # `check_data_set` reads it again and tells
        review = None
    stem = path.name.removesuffix(_REVIEW)
    named = [path.with_name(Path(review.input_name).name)] if review and review.input_name else []
    alike = [image for image in image_files(path.parent) if scan_stem(image) == stem]
    there = [image for image in (*named, *alike) if image.exists()]
    return _scan((*there, *named, path.with_name(f"{stem}.nii.gz"))[0], path, review, folder)


def _scan(image: Path, path: Path, review: Review | None, folder: Path) -> LabelledScan:
    labels = path.with_name(f"{path.name.removesuffix(_REVIEW)}{_LABELS}")
    expected = review is not None and any(not finding.added_by_reader for finding in review.findings)
    subject = subject_of_file(scan_stem(image), path.parent.relative_to(folder))
    return LabelledScan(name=scan_stem(image), subject=subject, image=image,
                        modality=review.modality if review else "auto", brain=brain_beside(image), truth=path,
                        layout=REVIEWS, reader=_read, maps=(labels,) if expected or labels.exists() else (),
                        image_sha256=review.input_sha256 if review else "")


def _read(scan: LabelledScan, volume: Volume) -> ScanTruth:
    review = read_review(scan.truth)
    marked = _read_ids(scan, volume)
    lesions, classes = np.zeros(volume.shape, np.int32), np.zeros(volume.shape, np.uint8)
    classes[(marked > 0) & ~np.isin(marked, [finding.id for finding in review.findings])] = IGNORED
    # a microbleed that a reader put beside what was rejected comes last and stays whole
    for verdict in (REJECTED, UNDECIDED, ACCEPTED):
        findings = [finding for finding in review.findings if finding.verdict == verdict]
        for finding, region in zip(findings, _regions(findings, marked, scan, volume), strict=True):
            classes[region] = _class_of(finding)
            lesions[region] = finding.id if verdict == ACCEPTED else 0
    return ScanTruth(lesions, classes, kinds_known=False)


def _read_ids(scan: LabelledScan, volume: Volume) -> np.ndarray:
    if not scan.maps:
        return np.zeros(volume.shape, np.int32)
    return np.rint(read_map(scan.maps[0], volume, scan.image)).astype(np.int32)


def _class_of(finding: ReviewedFinding) -> int:
    if finding.verdict == REJECTED:
        return VESSEL if finding.mimic_kind == VESSEL_KIND else MIMIC
    return MICROBLEED if finding.verdict == ACCEPTED else IGNORED


def _regions(findings: Sequence[ReviewedFinding], marked: np.ndarray, scan: LabelledScan,
             volume: Volume) -> list[tuple[np.ndarray, ...]]:
    """Return the voxels of each finding as numpy indices: those with its number, or those grown from its place."""
    points = [finding for finding in findings if not (marked == finding.id).any()]
    for finding in points:
        if not len(voxels_within(volume, np.array(finding.position_ras), 0.0)[0]):
            raise InputError(f"{scan.truth}: finding {finding.id} at {list(finding.position_ras)} lies outside "
                             f"{scan.image}; places are RAS mm of that scan.")
    grown = grow_regions(volume, [np.array(finding.position_ras) for finding in points], scan.modality == "qsm")
    return [np.nonzero(grown == points.index(finding) + 1 if finding in points else marked == finding.id)
            for finding in findings]

"""A reviewed case from its files: the scan, the review beside it with its label map, or else the detection's result."""

import os
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from .errors import InputError
from .findings import DetectionResult, Finding
from .outputs import FILE_NAMES, read_result, result_to_json
from .read_write import Scan, read_json, read_on_grid, read_scan, scan_stem
from .review_files import FILE_NAME, UNDECIDED, Review, ReviewedFinding, review_from_json
from .review_log import ADDED, DETECTED, SKIPPED, VERDICT, Event, ReviewItem, ReviewState, place_of, replay, shown_items
from .review_sidecar import (
    Sidecar,
    is_of_scan,
    labels_beside,
    sidecar_from_json,
    stored_digest,
    with_digest_beside,
)
from .reviewed_case import CaseFinding, ReviewedCase, acquisition_of
from .volume import Volume

_ENTITY = r"(?:^|[_-]){}-([A-Za-z0-9]+)"


def read_case(image: Path, review: Path | None = None, results: Path | None = None) -> ReviewedCase:
    """Read a scan with what is known about its findings.

    Parameters
    ----------
    image : Path
        As for a detection: a file, or the folder of a DICOM series.
    review : Path, optional
        The review file; else see `find_review`. Its label map lies beside it.
    results : Path, optional
        Folder of a detection's results, where there is no review; else the image's own folder.

    Raises
    ------
    InputError
        If a file cannot be read or does not belong to the scan, or there is neither review nor result.
    """
    return case_of(read_scan(image), review, results)


def case_of(scan: Scan, review: Path | None = None, results: Path | None = None,
            with_labels: bool = True) -> ReviewedCase:
    """Return a scan that has been read with what is known about its findings; see `read_case`.

    Without labels the label map is not read but empty, and outlines that a reader has drawn have no volume.
    """
    review = review or find_review(scan, results)
    if review is not None:
        return _reviewed(scan, review, with_labels)
    folders = _folders(scan.path, results)
    detection = detection_of(scan, results)
    if detection is None:
        raise InputError(f"{scan.path} has no review and no result of a detection in {folders[0]}; review it, run "
                         "cmbdetect detect on it, or name the folder that holds them (--results).")
    return _unreviewed(scan, *detection, with_labels)


def detection_of(scan: Scan, results: Path | None = None) -> tuple[DetectionResult, Path] | None:
    """Return the result of a detection in a scan, and where its label map lies; None if there is none.

    Raises
    ------
    InputError
        If it cannot be read, or was made from another file.
    """
    path = _first(_folders(scan.path, results), FILE_NAMES["findings"].format(scan.stem))
    if path is None:
        return None
    result = read_result(path)
    if result.provenance.input_sha256 != scan.sha256:
        raise InputError(f"{path.name} was made from another file than {scan.path.name} (their SHA-256 differ); run "
                         "cmbdetect detect again.")
    return result, path.with_name(FILE_NAMES["labels"].format(scan.stem))


def find_review(scan: Scan, results: Path | None = None) -> Path | None:
    """Return the review file of a scan; None if there is none.

    It is ``S_desc-cmb_review.json`` in the folder of results, in its place there of a cohort, or beside the scan, or
    the one with a digest in its name there. Of several the first one counts that is surely of this scan; if none is,
    the first of all, which may be of a copy in another format.
    """
    named = [folder / FILE_NAME.format(scan.stem) for folder in _folders(scan.path, results)]
    there = [path for path in (*named, *with_digest_beside(named[-1])) if path.exists()]
    if len(there) < 2:
        return there[0] if there else None
    digest = stored_digest(scan.path)
    return next((path for path in there if _is_of(path, scan, digest)), there[0])


def _is_of(path: Path, scan: Scan, digest: str) -> bool:
    try:
        content = read_json(path, "take it from a backup")
        review = review_from_json(content, path.name)
    except InputError:
        return False
    return is_of_scan(review.input_sha256, content.get("voxels_sha256", ""), scan.sha256, digest)


def subject_and_session(stem: str) -> tuple[str, str]:
    """Return subject and session of the stem of a file: what follows ``sub-`` and ``ses-``, else the stem and ""."""
    subject, session = (re.search(_ENTITY.format(entity), stem) for entity in ("sub", "ses"))
    return subject[1] if subject else stem, session[1] if session else ""


def bids_folder(subject: str, session: str) -> Path:
    """Return where BIDS keeps the anatomical files of a subject, from the top of the data set; `session` may be ""."""
    return Path(f"sub-{subject}", f"ses-{session}" if session else "", "anat")


def _folders(image: Path, results: Path | None) -> list[Path]:
    """Return where the files of a scan may lie: in the folder of results, in its place there of a cohort, beside it."""
    beside = Path(os.path.abspath(image)).parent
    if results is None:
        return [beside]
    subject, session = subject_and_session(scan_stem(image))
    return [results, results / bids_folder(subject, session), beside]


def _first(folders: Sequence[Path], name: str) -> Path | None:
    return next((folder / name for folder in folders if (folder / name).exists()), None)


def _reviewed(scan: Scan, path: Path, with_labels: bool) -> ReviewedCase:
    content = read_json(path, "take it from a backup")
    review = review_from_json(content, path.name)
    sidecar = sidecar_from_json(content, path.name) if "log" in content else None
    findings = _of_log(sidecar) if sidecar is not None else tuple(map(_of_file, review.findings))
    labels = _labels(labels_beside(path), scan, findings, with_labels)
    state = replay(sidecar.events) if sidecar is not None else ReviewState()
    modality = state.provenance["modality"] if state.provenance else review.modality
    subject, session = subject_and_session(scan.stem)
    return ReviewedCase(
        subject, session, scan.stem, scan.path.name, scan.sha256, scan.volume, labels,
        acquisition_of(modality, scan.metadata, scan.volume), _with_volumes(findings, labels), review.reader,
        _last_said(sidecar), sidecar is None or bool(_last_said(sidecar)), sidecar is None or state.finished,
        sidecar.threshold if sidecar is not None else None, state.provenance, scan.simulated,
        (*scan.warnings, *_other_file(scan, review, path)))


def _other_file(scan: Scan, review: Review, path: Path) -> tuple[str, ...]:
    if review.input_sha256 in ("", scan.sha256):
        return ()
    return (f"{path.name} was made on another file than {scan.path.name} (their SHA-256 differ), perhaps a copy in "
            "another format; check that it is the same scan.",)


def _of_log(sidecar: Sidecar) -> tuple[CaseFinding, ...]:
    state = replay(sidecar.events)
    return tuple(_of_item(state, item, sidecar.events) for item in shown_items(state, sidecar.threshold))


def _of_item(state: ReviewState, item: ReviewItem, events: Sequence[Event]) -> CaseFinding:
    place = place_of(state, item)
    own = [event for event in events if event.finding == item.id]
    judged = [event for event in own if event.action in (VERDICT, ADDED)]
    return CaseFinding(
        item.id, item.position_ras, item.diameter_mm, item.volume_mm3, item.probability, item.verdict, item.certainty,
        item.mimic_kind, item.comment, item.added_by_reader, item.outlined,
        judged[-1].reader if judged and item.verdict != UNDECIDED else "", place.region if place else "",
        place.side if place else "", place.confidence if place and not item.chosen_region else None, item.edge_mm,
        round(sum(event.seconds for event in own if event.action in (VERDICT, SKIPPED)), 2))


def _of_file(finding: ReviewedFinding) -> CaseFinding:
    return CaseFinding(finding.id, finding.position_ras, finding.diameter_mm, 0.0, None, finding.verdict,
                       finding.certainty, finding.mimic_kind, finding.comment, finding.added_by_reader,
                       region=finding.region, side=finding.side)


def _last_said(sidecar: Sidecar | None) -> str:
    """Return when a reader has said something last, "" if nobody has."""
    said = [event.at for event in sidecar.events if event.action not in (DETECTED, SKIPPED)] if sidecar else []
    return said[-1] if said else ""


def _unreviewed(scan: Scan, result: DetectionResult, label_map: Path, with_labels: bool) -> ReviewedCase:
    findings = tuple(map(_of_result, result.findings))
    labels = _labels(label_map, scan, findings, with_labels)
    subject, session = subject_and_session(scan.stem)
    return ReviewedCase(
        subject, session, scan.stem, scan.path.name, scan.sha256, scan.volume, labels,
        acquisition_of(result.provenance.modality, scan.metadata, scan.volume), findings,
        threshold=result.threshold, provenance=result_to_json(result)["provenance"],
        simulated=scan.simulated, warnings=scan.warnings)


def _of_result(finding: Finding) -> CaseFinding:
    place = finding.place
    return CaseFinding(finding.id, finding.position_ras, finding.diameter_mm, finding.volume_mm3, finding.probability,
                       UNDECIDED, region=place.region if place else "", side=place.side if place else "",
                       region_confidence=place.confidence if place else None, edge_mm=finding.edge_mm)


def _labels(path: Path, scan: Scan, findings: Sequence[CaseFinding], with_labels: bool) -> Volume:
    """Return the label map of the findings on the grid of the scan; empty where there is none and nothing needs one."""
    if not (with_labels and path.exists()):
        if with_labels and any(not one.added_by_reader for one in findings):
            raise InputError(f"{path} is missing, the label map that belongs to the findings; take it from a backup or "
                             "detect again.")
        return scan.volume.with_data(np.zeros(scan.volume.shape, np.int32))
    labels = read_on_grid(path, scan.volume, scan.path)
    known = np.isin(labels.data, [one.id for one in findings])
    return labels.with_data(np.where(known, labels.data, 0).astype(np.int32))


def _with_volumes(findings: Sequence[CaseFinding], labels: Volume) -> tuple[CaseFinding, ...]:
    """Return findings with the volume of their outlines, where only those know it."""
    counts = np.bincount(labels.data.ravel())
    return tuple(replace(one, volume_mm3=float(counts[one.id] * labels.voxel_volume_mm3))
                 if not one.volume_mm3 and one.id < len(counts) else one for one in findings)

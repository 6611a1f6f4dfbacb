"""A DICOM Comprehensive 3D SR of the findings (PS3.16 TID 1500, one measurement group each), and back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import highdicom as hd
import numpy as np
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from ..image_files import LPS_TO_RAS
from ..review_files import UNDECIDED
from ..reviewed_case import CaseFinding, ReviewedCase
from .dicom_codes import (
    CERTAINTY,
    CERTAINTY_CODES,
    MICROBLEED,
    NOT_CLINICAL,
    PROBABILITY,
    PROGRAM,
    REGION,
    REGION_CODES,
    SIDE_CODES,
    SITE_CODES,
    UTF_8,
    VERDICT,
    VERDICT_CODES,
    Tracking,
    device_uid,
    instance_attributes,
    long_text,
    marks,
    model,
    person_name,
    read_text,
    tracked_id,
    version,
)

_SERIES_NUMBER = 9002
_QUALITATIVE = Code("C0034375", "UMLS", "Qualitative Evaluations")
_CONTAINS = hd.sr.RelationshipTypeValues.CONTAINS


@dataclass(frozen=True)
class ReportContent:
    """What a report says.

    Attributes
    ----------
    findings : tuple of CaseFinding
        By id; what the report does not hold has its default. One without a reader of its own has the report's.
    tracking_uids : dict
        By id.
    reader : str
        "" if nobody has reviewed the case.
    device : (name and version, model)
    notices : tuple of str
        Sentences about the whole case.
    """

    findings: tuple[CaseFinding, ...]
    tracking_uids: dict[int, str]
    reader: str
    device: tuple[str, str]
    notices: tuple[str, ...]


def make_report(case: ReviewedCase, headers: Sequence[Dataset], segmentation: Dataset | None,
                trackings: Mapping[int, Tracking]) -> hd.sr.Comprehensive3DSR:
    """Return the report of the findings in `trackings` (by id), which may be none.

    Parameters
    ----------
    headers : pydicom data sets of the series.
    segmentation : of the same findings, or None.
    """
    root = hd.sr.ContainerContentItem(name=codes.DCM.ImagingMeasurementReport, template_id="1500")
    content = hd.sr.ContentSequence()
    content.extend(hd.sr.LanguageOfContentItemAndDescendants(
        hd.sr.CodedConcept("en", "RFC5646", "English")))
    content.extend(_device(case))
    if case.reader:
        content.extend(_person(case.reader))
    content.append(hd.sr.CodeContentItem(codes.DCM.ProcedureReported, codes.cid100.MRIUnspecifiedBodyRegion,
                                         hd.sr.RelationshipTypeValues.HAS_CONCEPT_MOD))
    content.extend(hd.sr.ImageLibrary(headers))
    groups = hd.sr.ContentSequence()
    for finding in case.findings:
        if finding.id in trackings:
            groups.extend(_group(case, finding, trackings[finding.id], headers[0].FrameOfReferenceUID))
    if len(groups):
        content.append(_container(codes.DCM.ImagingMeasurements, groups))
    content.append(_container(_QUALITATIVE, hd.sr.ContentSequence([_comment(text) for text in _notices(case)])))
    root.ContentSequence = content
    report = hd.sr.Comprehensive3DSR(
        evidence=[*headers, *([] if segmentation is None else [segmentation])], content=root,
        is_complete=case.is_finished, **instance_attributes(case, _SERIES_NUMBER))
    report.SpecificCharacterSet = UTF_8
    return report


def read_content(path: Path) -> ReportContent:
    """Return what a report of `make_report` says.

    Raises
    ------
    OSError
        If it cannot be opened.
    AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError and others
        If it is something else.
    """
    content = hd.sr.srread(path).content
    if not isinstance(content, hd.sr.MeasurementReport):
        raise ValueError("not a report of TID 1500")
    groups = [(group, _items(group[0])) for group in content.get_planar_roi_measurement_groups()]
    reader, = _texts(content[0], codes.DCM.PersonObserverLoginName) or [""]
    findings = tuple(_finding(group, items, reader) for group, items in groups)
    evaluations, = hd.sr.utils.find_content_items(content[0], name=_QUALITATIVE)
    name, = _texts(content[0], codes.DCM.DeviceObserverName)
    model_name, = _texts(content[0], codes.DCM.DeviceObserverModelName)
    return ReportContent(
        findings=tuple(sorted(findings, key=lambda finding: finding.id)),
        tracking_uids={finding.id: str(group.tracking_uid)
                       for finding, (group, _) in zip(findings, groups, strict=True)},
        reader=reader, device=(name, model_name),
        notices=tuple(_texts(evaluations, codes.DCM.Comment)))


def _device(case: ReviewedCase) -> hd.sr.ObserverContext:
    return hd.sr.ObserverContext(codes.DCM.Device, hd.sr.DeviceObserverIdentifyingAttributes(
        uid=device_uid(case), name=f"{PROGRAM} {version(case)}", manufacturer_name=PROGRAM,
        model_name=model(case, "model_name") or PROGRAM))


def _person(reader: str) -> hd.sr.ObserverContext:
    """Return a reader; the login name keeps what a person name cannot."""
    return hd.sr.ObserverContext(codes.DCM.Person, hd.sr.PersonObserverIdentifyingAttributes(
        person_name(reader), login_name=long_text(reader)))


def _notices(case: ReviewedCase) -> list[str]:
    how = case.acquisition
    known = [how.modality.upper() if how.modality != "auto" else "sequence not known",
             "field strength not known" if how.field_strength_t is None else f"{how.field_strength_t:g} T",
             "echo time not known" if how.echo_time_ms is None else f"echo time {how.echo_time_ms:g} ms",
             f"voxels of {' x '.join(f'{side:.3g}' for side in how.voxel_mm)} mm"]
    return [f"{NOT_CLINICAL}.",
            *(f"This case is {mark}." for mark in marks(case)),
            *(["The reader has not finished this review."] if case.is_reviewed and not case.is_finished else []),
            f"Microbleeds: {len(case.microbleeds)} ({', '.join(known)}).", "Superficial siderosis is not detected."]


def _group(case: ReviewedCase, finding: CaseFinding, tracking: Tracking, frame_of_reference: str
           ) -> hd.sr.PlanarROIMeasurementsAndQualitativeEvaluations:
    position_lps = LPS_TO_RAS[:3, :3] @ finding.position_ras
    measurements = [(codes.SCT.Diameter, finding.diameter_mm or None, codes.UCUM.Millimeter),
                    (codes.SCT.Volume, finding.volume_mm3 or None, codes.UCUM.CubicMillimeter),
                    (PROBABILITY, None if finding.probability is None else 100 * finding.probability,
                     codes.UCUM.Percent)]
    evaluations = [(VERDICT, VERDICT_CODES[finding.verdict]), (CERTAINTY, CERTAINTY_CODES.get(finding.certainty)),
                   (REGION, REGION_CODES.get(finding.region))]
    group = hd.sr.PlanarROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=hd.sr.TrackingIdentifier(tracking.uid, tracking.identifier),
        referenced_region=hd.sr.ImageRegion3D(hd.sr.GraphicTypeValues3D.POINT, position_lps[None],
                                              frame_of_reference),
        finding_type=MICROBLEED,
        finding_sites=[hd.sr.FindingSite(SITE_CODES[finding.region], laterality=SIDE_CODES.get(finding.side))],
        algorithm_id=None if finding.added_by_reader else _algorithm(case),
        measurements=[hd.sr.Measurement(name, float(value), unit) for name, value, unit in measurements
                      if value is not None],
        qualitative_evaluations=[hd.sr.QualitativeEvaluation(name, value) for name, value in evaluations if value])
    items = group[0].ContentSequence
    if finding.reader and finding.reader != case.reader:
        items.extend(_person(finding.reader))
    if finding.comment.strip():
        items.append(_comment(finding.comment))
    return group


def _algorithm(case: ReviewedCase) -> hd.sr.AlgorithmIdentification:
    known = {key: model(case, key) for key in ("model_name", "model_sha256", "operating_point")}
    return hd.sr.AlgorithmIdentification(PROGRAM, version(case),
                                         [f"{key}={value}" for key, value in known.items() if value])


def _container(name: Code, items: hd.sr.ContentSequence) -> hd.sr.ContainerContentItem:
    container = hd.sr.ContainerContentItem(name, relationship_type=_CONTAINS)
    container.ContentSequence = items
    return container


def _comment(text: str) -> hd.sr.TextContentItem:
    return hd.sr.TextContentItem(codes.DCM.Comment, long_text(text), _CONTAINS)


def _texts(parent: Dataset, name: Code) -> list[str]:
    return [read_text(item.value) for item in hd.sr.utils.find_content_items(parent, name=name)]


def _items(group: Dataset) -> dict[Code, Dataset]:
    return {Code(item.name.value, item.name.scheme_designator, item.name.meaning): item
            for item in group.ContentSequence}


def _finding(group: hd.sr.PlanarROIMeasurementsAndQualitativeEvaluations, items: dict[Code, Dataset], reader: str
             ) -> CaseFinding:
    def value(name: Code, default):
        return items[name].value if name in items else default

    def word(name: Code, words: Mapping[str, Code]) -> str:
        return {code.value: text for text, code in words.items()}[items[name].value.value] if name in items else ""

    site, = group.finding_sites
    point, = (item for item in items.values() if isinstance(item, hd.sr.Scoord3DContentItem))
    sides = {code.value: side for side, code in SIDE_CODES.items()}
    probability = value(PROBABILITY, None)
    return CaseFinding(
        id=tracked_id(str(group.tracking_identifier)),
        position_ras=tuple((LPS_TO_RAS[:3, :3] @ np.ravel(point.value)).tolist()),
        diameter_mm=value(codes.SCT.Diameter, 0.0), volume_mm3=value(codes.SCT.Volume, 0.0),
        probability=None if probability is None else probability / 100,
        verdict=word(VERDICT, VERDICT_CODES) or UNDECIDED, certainty=word(CERTAINTY, CERTAINTY_CODES),
        comment=read_text(value(codes.DCM.Comment, "")), added_by_reader=codes.DCM.AlgorithmName not in items,
        reader=read_text(value(codes.DCM.PersonObserverLoginName, reader)), region=word(REGION, REGION_CODES),
        side=sides[site.laterality.value] if site.laterality else "")

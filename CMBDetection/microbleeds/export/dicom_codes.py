"""What the DICOM segmentation and the DICOM report of a case share: codes, tracking, and who made them.

SNOMED CT and DCM codes are those of DICOM PS3.16; for what they have no word, there are codes of a private scheme.
"""

import re
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import highdicom as hd
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import UID, generate_uid

from .. import __version__
from ..regions import LEFT, REGIONS, RIGHT
from ..review_files import ACCEPTED, DEFINITE, POSSIBLE, REJECTED, UNDECIDED
from ..reviewed_case import CaseFinding, ReviewedCase

PROGRAM = "CMBDetection"
NOT_CLINICAL = "Research tool - not for clinical use"
UTF_8 = "ISO_IR 192"
"""Specific Character Set (0008,0005): comments and names may be in any script."""

SCHEME = "99CMBDETECTION"
ABNORMAL_STRUCTURE = Code("49755003", "SCT", "Morphologically Abnormal Structure")
HEMORRHAGE = Code("50960005", "SCT", "Hemorrhage")
MICROBLEED = Code("723857007", "SCT", "Silent micro-hemorrhage of brain")
SIDE_CODES = {LEFT: codes.SCT.Left, RIGHT: codes.SCT.Right}
SITE_CODES = {
    "": codes.SCT.Brain, "brainstem": codes.SCT.BrainStem, "cerebellum": codes.SCT.Cerebellum,
    "basal ganglia": codes.SCT.Brain, "thalamus": codes.SCT.Thalamus, "internal capsule": codes.SCT.InternalCapsule,
    "external capsule": codes.SCT.ExternalCapsule, "corpus callosum": codes.SCT.CorpusCallosum,
    "deep and periventricular white matter": codes.SCT.CerebralWhiteMatter, "frontal": codes.SCT.FrontalLobe,
    "parietal": codes.SCT.ParietalLobe, "temporal": codes.SCT.TemporalLobe, "occipital": codes.SCT.OccipitalLobe,
    "insula": codes.SCT.Insula}
"""Sites by region; PS3.16 has none for the basal ganglia as a whole. The region itself is given in `REGION_CODES`."""

REGION = Code("region", SCHEME, "Region of the Microbleed Anatomical Rating Scale")
REGION_CODES = {name: Code(f"mars-{number}", SCHEME, name) for number, name in enumerate(REGIONS, start=1)}
VERDICT = Code("verdict", SCHEME, "Verdict of the reader")
VERDICT_CODES = {name: Code(name, SCHEME, name) for name in (ACCEPTED, REJECTED, UNDECIDED)}
CERTAINTY = Code("certainty", SCHEME, "Certainty of the reader")
CERTAINTY_CODES = {name: Code(name, SCHEME, name) for name in (DEFINITE, POSSIBLE)}
PROBABILITY = codes.DCM.CertaintyOfFinding
"""That a device places upon a finding, in percent."""


@dataclass(frozen=True)
class Tracking:
    """What the segment and the measurement group of one finding are found by: ``CMB-<id>`` and a UID."""

    identifier: str
    uid: str


def track(findings: Iterable[CaseFinding]) -> dict[int, Tracking]:
    """Return a new tracking of each finding, by its id."""
    return {finding.id: Tracking(f"CMB-{finding.id}", new_uid()) for finding in findings}


def tracked_id(identifier: str) -> int:
    """Return the id of the finding of a tracking identifier.

    Raises
    ------
    ValueError
        If it is not one of `track`.
    """
    found = re.fullmatch(r"CMB-(\d+)", identifier)
    if found is None:
        raise ValueError(f"tracking identifier {identifier!r}")
    return int(found[1])


def new_uid() -> str:
    """Return a UID that nobody has (UUID-derived, PS3.5 B.2)."""
    return str(generate_uid(prefix=None))


def device_uid(case: ReviewedCase) -> str:
    """Return the UID of the detector: the same for the same version and model (UUID-derived, PS3.5 B.2)."""
    name = "/".join((PROGRAM, version(case), model(case, "model_sha256")))
    return str(UID(f"2.25.{uuid.uuid5(uuid.NAMESPACE_URL, name).int}"))


def version(case: ReviewedCase) -> str:
    """Return the version of the program that made the detection."""
    return (case.provenance or {}).get("versions", {}).get("microbleeds", __version__)


def model(case: ReviewedCase, key: str) -> str:
    """Return one of ``model_name``, ``model_sha256`` and ``operating_point`` of the detection; "" if not known."""
    return str((case.provenance or {}).get(key, ""))


def series_description(case: ReviewedCase) -> str:
    """Return the description of the new series, at most 64 characters."""
    return "Microbleeds, not for clinical use" + "".join(f", {mark}" for mark in marks(case))


def marks(case: ReviewedCase) -> list[str]:
    """Return what has to be known of a case before anything else."""
    return ["unreviewed"] * (not case.is_reviewed) + ["simulated"] * case.simulated


def instance_attributes(case: ReviewedCase, series_number: int) -> dict[str, Any]:
    """Return what highdicom wants to know of a new instance, which is the only one of its series."""
    return {
        "series_instance_uid": new_uid(), "series_number": series_number, "sop_instance_uid": new_uid(),
        "instance_number": 1, "series_description": series_description(case), "manufacturer": PROGRAM,
        "manufacturer_model_name": short_text(model(case, "model_name")) or PROGRAM,
        "software_versions": version(case), "device_serial_number": model(case, "model_sha256") or version(case),
        "coding_schemes": [hd.coding_schemes.CodingSchemeIdentificationItem(
            SCHEME, name="Words of the microbleed review", responsible_organization=PROGRAM)]}


def person_name(reader: str) -> str:
    """Return a reader as a DICOM person name of one family name; the delimiters of such names become spaces."""
    return re.sub(r"[\\^=\x00-\x1f\x7f]", " ", reader).strip()[:63] + "^"


def long_text(value: str) -> str:
    """Return text for VR UT, where a new line is CR LF (PS3.5 6.1.3).

    Control characters other than tab, line feed and carriage return become spaces.
    """
    return re.sub(r"[\x00-\x08\x0b-\x0c\x0e-\x1f\x7f]", " ", value).replace("\n", "\r\n")


def read_text(value: str) -> str:
    """Return what `long_text` was made of."""
    return value.replace("\r\n", "\n")


def short_text(value: str) -> str:
    """Return text for VR LO: one line of at most 64 characters, without backslashes."""
    return re.sub(r"[\\\x00-\x1f\x7f]", " ", value).strip()[:64]

"""What the engine says about a scan: findings, every candidate of step 1, and how they were made."""

from dataclasses import dataclass, field
from typing import Any

from .regions import Place
from .volume import Volume

KEPT = "kept"
REMOVED = "removed"
FARTHEST_EDGE_MM = 10.0
"""Of a candidate farther from the edge of the brain nobody asks how far."""
CENTRE_LIMIT_MM = 5.0
"""Centres that belong to one microbleed are nearer to each other than this (VALDO)."""


@dataclass(frozen=True)
class Extrema:
    """Smallest and largest input intensity inside a finding, and where they are (RAS mm)."""

    minimum: float
    maximum: float
    minimum_ras: tuple[float, float, float]
    maximum_ras: tuple[float, float, float]


@dataclass(frozen=True)
class Finding:
    """One candidate of step 1 and what became of it.

    Attributes
    ----------
    id : int
        1, 2, ... by falling probability over all candidates of the scan, so it does not depend on the operating
        point; also the value in the label map.
    position_ras : (R, A, S) in mm
        Probability-weighted centre.
    probability : float in [0, 1]
        Of being a microbleed, by the student network (step 2).
    detector_probability : float in [0, 1]
        Peak of the detector's map (step 1).
    volume_mm3, diameter_mm : float
        Volume of the region and diameter of the sphere of equal volume.
    box_ras : ((R, A, S) minimum, (R, A, S) maximum) in mm
        Bounding box of the region, voxel extent included.
    extrema : Extrema
        Of the input image inside the region.
    status : "kept" or "removed"
    removed_by : str or None
        ``"<step>: <rule>"`` of the rule that removed it, for example ``"step3_cleanup: volume"``.
    edge_mm : float or None
        From the centre to the nearest voxel outside the brain mask; None if that is 10 mm or more.
    place : Place or None
        Its region of the brain; None where the region map says nothing.
    """

    id: int
    position_ras: tuple[float, float, float]
    probability: float
    detector_probability: float
    volume_mm3: float
    diameter_mm: float
    box_ras: tuple[tuple[float, float, float], tuple[float, float, float]]
    extrema: Extrema
    status: str = KEPT
    removed_by: str | None = None
    edge_mm: float | None = None
    place: Place | None = None


@dataclass(frozen=True)
class Provenance:
    """How a result was made; everything needed to make it again.

    `parameters` is the JSON form of the settings, `versions` maps package names to versions, `seconds` maps step
    names to wall seconds, `warnings` holds the sentences shown to the user, `simulated` is True for the bundled scan.
    """

    input_name: str
    input_sha256: str
    modality: str
    modality_reason: str
    model_name: str
    model_sha256: str
    operating_point: str
    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    parameters: dict[str, Any]
    versions: dict[str, str]
    seconds: dict[str, float]
    warnings: tuple[str, ...] = ()
    simulated: bool = False


@dataclass(frozen=True)
class DetectionResult:
    """Every candidate of step 1 with its fate, and the provenance. `findings` are the ones kept.

    `regions` is the region map (see `region_lookup`), None where the regions could not be told.
    """

    candidates: tuple[Finding, ...]
    provenance: Provenance
    regions: Volume | None = field(default=None, compare=False)
    findings: tuple[Finding, ...] = field(init=False)

    def __post_init__(self):
        object.__setattr__(self, "findings", tuple(c for c in self.candidates if c.status == KEPT))

    @property
    def threshold(self) -> float:
        """Probability from which the operating point kept candidates."""
        classify = self.provenance.parameters.get("classify", {})
        return float(classify.get("threshold", min((one.probability for one in self.findings), default=0.0)))

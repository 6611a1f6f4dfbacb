"""One scan and what a reader made of it: what every count, report and export is made from."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .regions import category_of
from .review_files import ACCEPTED, POSSIBLE
from .volume import Volume


@dataclass(frozen=True)
class Acquisition:
    """How the scan was made; None where nobody knows. It stands beside every count.

    Attributes
    ----------
    modality : "gre", "swi", "qsm" or "auto"
        "auto" where it is not known.
    field_strength_t, echo_time_ms : float or None
    voxel_mm : (3,) float
        Voxel size in plane (2 numbers) and slice spacing, in mm.
    """

    modality: str
    field_strength_t: float | None
    echo_time_ms: float | None
    voxel_mm: tuple[float, float, float]


@dataclass(frozen=True)
class CaseFinding:
    """One finding as it leaves the program.

    Attributes
    ----------
    id : int
        Value in the label map of the case, unless it has no voxels.
    position_ras : (R, A, S) in mm
        Of the scan's own world.
    diameter_mm, volume_mm3 : float
        0 where they are not known.
    probability : float or None
        None where a reader has added it.
    verdict, certainty, mimic_kind, comment : str
        See `review_files.ReviewedFinding`; without a review every finding is undecided.
    added_by_reader, outlined : bool
        The detector does not have it; a reader has changed its outline.
    reader : str
        Who gave the verdict; "" if nobody did.
    region, side : str
        One of `regions.REGIONS`, and "left" or "right"; "" where they are not known.
    region_confidence : float or None
        In [0, 1]; None where the reader has chosen the region, or there is none.
    edge_mm : float or None
        See `findings.Finding`.
    seconds : float
        That it was on screen before it was judged, all in all.
    """

    id: int
    position_ras: tuple[float, float, float]
    diameter_mm: float
    volume_mm3: float
    probability: float | None
    verdict: str
    certainty: str = ""
    mimic_kind: str = ""
    comment: str = ""
    added_by_reader: bool = False
    outlined: bool = False
    reader: str = ""
    region: str = ""
    side: str = ""
    region_confidence: float | None = None
    edge_mm: float | None = None
    seconds: float = 0.0

    @property
    def category(self) -> str:
        """Infratentorial, deep or lobar; "" without a region."""
        return category_of(self.region) if self.region else ""

    @property
    def chosen_region(self) -> tuple[str, str] | None:
        """Region and side that a reader has chosen; None where nobody has."""
        return (self.region, self.side) if self.region and self.region_confidence is None else None

    @property
    def is_possible(self) -> bool:
        """Whether the reader was not certain."""
        return self.certainty == POSSIBLE


@dataclass(frozen=True, eq=False)
class ReviewedCase:
    """One scan with its findings.

    Attributes
    ----------
    subject, session : str
        From the file name (BIDS ``sub-`` and ``ses-``), else its stem and "".
    stem, scan_name, scan_sha256 : str
        Of the scan's file; the digest may be "".
    image, labels : Volume
        The scan, and int32 on the same grid: value = id of a finding, 0 elsewhere.
    acquisition : Acquisition
    findings : tuple of CaseFinding
        Every finding that a reader would see, by id.
    reader : str
        Who reviewed last; "" if nobody did.
    reviewed_at : str
        ISO 8601; "" without a review.
    is_reviewed, is_finished : bool
        There is a review; the reader has said that it is done. Without a review the findings are the detector's.
    threshold : float or None
        Candidates of lower probability are left out unless a reader has touched them.
    provenance : dict or None
        Of the detection, as in the findings file.
    simulated : bool
    warnings : tuple of str
    """

    subject: str
    session: str
    stem: str
    scan_name: str
    scan_sha256: str
    image: Volume
    labels: Volume
    acquisition: Acquisition
    findings: tuple[CaseFinding, ...]
    reader: str = ""
    reviewed_at: str = ""
    is_reviewed: bool = False
    is_finished: bool = False
    threshold: float | None = None
    provenance: dict[str, Any] | None = None
    simulated: bool = False
    warnings: tuple[str, ...] = ()

    @property
    def microbleeds(self) -> tuple[CaseFinding, ...]:
        """What counts: accepted findings; without a review everything that the detector found."""
        return tuple(one for one in self.findings if one.verdict == ACCEPTED or not self.is_reviewed)


def acquisition_of(modality: str, metadata: dict[str, Any], image: Volume) -> Acquisition:
    """Return how a scan was made, of its metadata (see `read_write.Scan`) and its grid."""
    slices = image.slice_axis
    in_plane: Sequence[float] = [float(size) for axis, size in enumerate(image.spacing) if axis != slices]
    return Acquisition(modality, metadata.get("field_strength_t"), metadata.get("echo_time_ms"),
                       (*in_plane, float(np.round(image.spacing[slices], 6))))

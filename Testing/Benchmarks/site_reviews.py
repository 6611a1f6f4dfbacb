"""A simulated reader: judges a model's findings by the truth of simulated scans, and writes the reviews of a site.

The reader accepts what touches a visible microbleed, leaves undecided what lies close to one without touching it (a
visible one, or one that cannot be seen), rejects everything else with what it is, and adds the microbleeds that were
missed as points. Real readers miss some and err; this one does not.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from benchmark_tools import link_or_copy
from microbleeds.evaluation.by_kind import BRAIN, NEAR_MM, OUTSIDE, judge, visible_centres_ras, visible_microbleeds
from microbleeds.evaluation.drawn_truth import DrawnTruth, read_drawn_truth
from microbleeds.findings import Finding
from microbleeds.outputs import FILE_NAMES, read_result
from microbleeds.read_write import read_labels, scan_stem
from microbleeds.review_files import (
    ACCEPTED,
    FILE_NAME,
    REJECTED,
    UNDECIDED,
    VESSEL,
    Review,
    ReviewedFinding,
    read_review,
    write_review,
)
from microbleeds.simulation.shapes import (
    AIR_INTERFACE,
    CALCIFICATION,
    CAVERNOMA,
    GHOST,
    INFARCT_RIM,
    MICROBLEED,
    MINERALISATION,
    RINGING,
    VESSELS,
)
from microbleeds.volume import Volume
from scipy.spatial.distance import cdist

ADDED = "added"
READER = "simulated reader"
_MIMIC_KIND = {CALCIFICATION: "calcification", MINERALISATION: "mineralisation", CAVERNOMA: "cavernoma",
               INFARCT_RIM: "haemorrhagic lesion", AIR_INTERFACE: "artefact", GHOST: "artefact", RINGING: "artefact",
               BRAIN: "other", OUTSIDE: "other", **dict.fromkeys(VESSELS, VESSEL)}
"""What a reader calls each cause of a false positive."""


def write_site_review(image: Path, brain: Path, predictions: Path, folder: Path, modality: str) -> None:
    """Write one reviewed case (image, label map, review) into a folder, unless it is there.

    Parameters
    ----------
    image, brain : of a simulated case, with its truth beside
    predictions : folder with the result of the image
    folder : of the reviews
    modality : "gre", "swi" or "qsm"

    Raises
    ------
    InputError
        If a file is missing or cannot be used.
    """
    stem = scan_stem(image)
    path = folder / FILE_NAME.format(stem)
    if path.is_file():
        return
    labels = predictions / FILE_NAMES["labels"].format(stem)
    result = read_result(predictions / FILE_NAMES["findings"].format(stem))
    regions = numbered(read_labels(labels), result.findings)
    truth = read_drawn_truth(image, brain, regions, labels)
    link_or_copy(image, folder / image.name)
    link_or_copy(image.with_name(f"{stem}.json"), folder / f"{stem}.json")
    link_or_copy(labels, folder / labels.name)
    # last, because a case with a review is complete
    write_review(path, Review(image.name, result.provenance.input_sha256, modality, READER,
                              read_scan_as_reader(result.findings, regions, truth)))


def numbered(labels: Volume, findings: Sequence[Finding]) -> Volume:
    """Return the label map with the findings as 1, 2, ... in their order, everything else as 0."""
    numbers = np.zeros(int(labels.data.max(initial=0)) + 1, np.int32)
    for number, finding in enumerate(findings, 1):
        numbers[finding.id] = number
    return labels.with_data(numbers[labels.data])


def read_scan_as_reader(findings: Sequence[Finding], regions: Volume, truth: DrawnTruth) -> tuple[ReviewedFinding, ...]:
    """Return the reader's verdicts on findings, whose regions are numbered by their order, and the points added."""
    touched = [np.setdiff1d(truth.microbleeds.data[regions.data == number], [0]).tolist()
               for number in range(1, len(findings) + 1)]
    places = np.reshape([finding.position_ras for finding in findings], (-1, 3))
    bleeds_ras = np.reshape([item.position_ras for item in truth.drawn if item.kind == MICROBLEED], (-1, 3))
    close = (cdist(places, np.concatenate([bleeds_ras, visible_centres_ras(truth)])) < NEAR_MM).any(axis=1)
    reviewed = []
    for finding, bleeds, near, cause in zip(findings, touched, close, _causes(regions, truth), strict=True):
        verdict = ACCEPTED if bleeds else UNDECIDED if near else REJECTED
        reviewed.append(ReviewedFinding(finding.id, finding.position_ras, finding.diameter_mm, verdict,
                                        mimic_kind=_MIMIC_KIND[cause] if verdict == REJECTED else ""))
    found = {number for bleeds in touched for number in bleeds}
    missed = [(item, centre) for item, centre in zip(visible_microbleeds(truth.drawn), visible_centres_ras(truth),
                                                     strict=True) if item.id not in found]
    first = max((finding.id for finding in findings), default=0) + 1
    added = [ReviewedFinding(number, tuple(centre.tolist()), item.visible_diameter_mm or 0.0, ACCEPTED, True)
             for number, (item, centre) in enumerate(missed, first)]
    return (*reviewed, *added)


def verdicts_of(folder: Path) -> Counter[str]:
    """Count the verdicts of all reviews in a folder; the points that the reader added are `ADDED`."""
    return Counter(ADDED if finding.added_by_reader else finding.verdict
                   for path in sorted(folder.glob(FILE_NAME.format("*"))) for finding in read_review(path).findings)


def _causes(regions: Volume, truth: DrawnTruth) -> list[str]:
    """Return what each region would be put down to if no microbleed had been drawn."""
    others = tuple(item for item in truth.drawn if item.kind != MICROBLEED)
    mimics = np.where(np.isin(truth.everything.data, [item.id for item in others]), truth.everything.data, 0)
    nothing = truth.microbleeds.with_data(np.zeros_like(truth.microbleeds.data))
    verdict = judge(regions, replace(truth, drawn=others, microbleeds=nothing,
                                     everything=truth.everything.with_data(mimics)))
    return [item.cause for item in verdict.false_positives]

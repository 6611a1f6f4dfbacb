"""Detections of chosen places, for the tests of reviews."""

from microbleeds.findings import KEPT, REMOVED, DetectionResult, Extrema, Finding, Provenance


def detection(places, probabilities=None, removed=None):
    """Return a detection with a finding of 3 mm at each place (RAS mm); `removed` says by what, by index."""
    removed = removed or {}
    findings = []
    for index, place in enumerate(places):
        probability = probabilities[index] if probabilities else 0.9 - 0.001 * index
        place = tuple(float(value) for value in place)
        findings.append(Finding(index + 1, place, probability, probability, 14.1, 3.0, (place, place),
                                Extrema(1.0, 2.0, place, place), REMOVED if index in removed else KEPT,
                                removed.get(index)))
    provenance = Provenance("vol.nrrd", "0" * 64, "gre", "given", "phantom", "1" * 64, "balanced", (10, 10, 10),
                            (1.0, 1.0, 1.0), {"classify": {"threshold": 0.5}}, {"microbleeds": "0"}, {"total": 1.0})
    return DetectionResult(tuple(findings), provenance)

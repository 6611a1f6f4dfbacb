"""What a detector finds on either side: on a drawn case, with a detector that is told what to find."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from microbleeds.training.labelled_scans import IGNORED, MIMIC, VESSEL
from training_phantoms import drawn_case

sys.path.append(str(Path(__file__).resolve().parents[1] / "Benchmarks"))
import seen_and_unseen


def test_lesions_and_false_regions_are_counted_by_what_they_are(monkeypatch):
    case = drawn_case()
    places = [tuple(place) for place in np.rint(case.lesion_centres()).astype(int)]
    far = [place for place in np.argwhere(case.brain)[::37]
           if min(np.linalg.norm(place - np.array(places), axis=1)) > 8]
    vessel, mimic, unknown = (tuple(far[number]) for number in (0, len(far) // 2, -1))
    classes = case.classes.copy()
    classes[vessel], classes[mimic], classes[unknown] = VESSEL, MIMIC, IGNORED
    found = np.zeros(case.brain.shape, np.float32)
    for place in (places[0], vessel, mimic, unknown):
        found[place] = 0.9
    found[places[1]] = 0.3
    monkeypatch.setattr(seen_and_unseen, "probability_map", lambda *given: found)
    seen = seen_and_unseen.seen(replace(case, classes=classes), None)
    assert len(seen.ratios) == case.lesion_count >= 2
    assert seen.probabilities[:2] == pytest.approx([0.9, 0.3])
    assert sorted(seen.false) == [VESSEL, MIMIC]


def test_the_table_has_a_share_for_each_group():
    sides = {"a": [seen_and_unseen.Seen(np.array([4.0, 10.0, 11.0, np.nan]), np.array([0.1, 0.6, 0.2, 0.9]),
                                        np.array([MIMIC, MIMIC]))] * 2}
    row = seen_and_unseen.table(sides).splitlines()[-1]
    assert [cell.strip() for cell in row.strip("|").split("|")] == [
        "a", "2", "0.00 of 2", "–", "0.50 of 4", "–", "–", "0.00", "0.00", "2.00"]

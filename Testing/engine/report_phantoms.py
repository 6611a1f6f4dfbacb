"""A reviewed case and its baseline, small, on oblique left-handed grids, with known places and counts."""

from dataclasses import replace

import numpy as np
from microbleeds.export.report_content import Comparison
from microbleeds.longitudinal import pair_cases
from microbleeds.reviewed_case import Acquisition, CaseFinding, ReviewedCase
from microbleeds.rigid_registration import Registration
from microbleeds.volume import Volume

COMMENTS = ('größer, "sicher" & <b>nicht</b>\tfett', "微小出血の疑い", "왼쪽 출혈\n둘째 줄", "读者补充的点", "", "")
SHA256 = "12" * 32


def oblique_affine():
    """Voxels of 1 x 1 x 2 mm, the first axis towards the left, turned by 20 degrees."""
    turn = np.deg2rad(20)
    rotation = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = rotation @ np.diag([-1.0, 1.0, 2.0])
    affine[:3, 3] = (30, -20, -15)
    return affine


def scan():
    return Volume(np.random.default_rng(0).normal(100, 5, (44, 44, 20)).astype(np.float32), oblique_affine())


def findings():
    """Four counted (two possible), one undecided, three rejected."""
    places = [(12.34, -5.04, 6.0), (-8.0, 4.0, 2.0), (3.0, 14.0, -4.0), (-2.0, -9.0, 9.0), (0.0, 0.0, 0.0),
              (10.0, 10.0, 10.0)]
    regions = [("frontal", "right", 0.93), ("thalamus", "left", None), ("cerebellum", "right", 0.5),
               ("frontal", "left", None), ("insula", "left", None), ("parietal", "left", None)]
    made = [CaseFinding(number, place, 4.25, 40.2, 0.9 - number / 10, "accepted", "definite", "", comment, reader="Ada",
                        region=region, side=side, region_confidence=confidence)
            for number, (place, (region, side, confidence), comment) in
            enumerate(zip(places, regions, COMMENTS, strict=True), start=1)]
    made[1] = replace(made[1], certainty="possible", diameter_mm=6.5)
    made[3] = replace(made[3], certainty="possible", added_by_reader=True, probability=None, diameter_mm=0.0)
    made[4] = replace(made[4], verdict="undecided", certainty="")
    made[5:] = [replace(made[5], id=number, verdict="rejected", certainty="", mimic_kind=kind)
                for number, kind in ((6, "vessel"), (7, "calcification"), (8, "vessel"))]
    return tuple(made)


def case(**changes):
    image = scan()
    provenance = {"model_name": "physics-0.3", "model_sha256": "34" * 32, "operating_point": "balanced",
                  "versions": {"microbleeds": "0.1.0"}}
    labels = image.with_data(np.zeros(image.shape, int))
    made = ReviewedCase("X1", "two", "sub-X1", "sub-X1.nii.gz", SHA256, image, labels,
                        Acquisition("gre", 3.0, 20.0, (1.0, 1.0, 2.0)), findings(), "Ada", "2026-03-04T10:30:00+01:00",
                        True, True, 0.1, provenance, False, ())
    return replace(made, **changes)


def unreviewed():
    return case(is_reviewed=False, is_finished=False, reader="", reviewed_at="",
                findings=tuple(replace(one, verdict="undecided", certainty="", reader="") for one in findings()[:3]))


def many(count):
    return case(findings=tuple(replace(findings()[0], id=number + 1) for number in range(count)))


def with_baseline():
    """Return a case and its comparison: 1 and 4 new, 2 and 3 stable, the baseline's 31 not seen."""
    follow_up = case()
    move = np.eye(4)
    move[:3, 3] = (3, -2, 1)
    there = [replace(one, id=one.id + 10, position_ras=tuple(np.add(one.position_ras, (3, -2, 1)).tolist()))
             for one in follow_up.findings[1:3]]
    there.append(replace(there[0], id=31, position_ras=(-9.0, -12.0, -3.0)))
    baseline = replace(follow_up, scan_name="before.nii.gz", scan_sha256="56" * 32, session="one",
                       findings=tuple(there), image=Volume(follow_up.image.data, move @ follow_up.image.affine))
    return follow_up, Comparison(baseline, pair_cases(baseline, follow_up, registration=Registration(move, 0.9)))

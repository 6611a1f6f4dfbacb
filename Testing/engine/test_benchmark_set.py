"""The fixed test set has the strata it promises and stays what it is."""

import sys
from collections import Counter
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parents[1] / "Benchmarks"))
from benchmark_set import HARD, STANDARD, VERSION, all_cases, choose, fingerprint, plan
from microbleeds.settings import MODALITIES

CASES = all_cases()
FINGERPRINTS = {"1": "3ece38499c046012fc331f86b231cd2acd4fd620d5d3d4231cdc1586c35b5a88"}
"""Of every version. Figures of different sets do not compare: never change a line, raise VERSION and add one."""


def test_the_set_is_still_that_of_its_version():
    assert fingerprint(CASES) == FINGERPRINTS[VERSION]


@pytest.mark.parametrize("modality", MODALITIES)
def test_strata(modality):
    standard, hard = choose(CASES, [modality], [STANDARD]), choose(CASES, [modality], [HARD])
    assert (len(standard), sum(case.bleeds == 0 for case in standard)) == (30, 10)
    assert (len(hard), sum(case.bleeds == 0 for case in hard)) == (12, 4)
    for attribute, values in (("slices", ("thin", "thick")), ("field_tesla", (1.5, 3.0))):
        assert Counter(getattr(case, attribute) for case in standard) == dict.fromkeys(values, 15)
        clean = Counter(getattr(case, attribute) for case in standard if case.bleeds == 0)
        assert clean == dict.fromkeys(values, 5)
    assert set(Counter((case.slices, case.field_tesla) for case in standard).values()) == {7, 8}
    assert Counter(case.field_tesla for case in hard) == {1.5: 6, 3.0: 6}
    assert Counter(case.head for case in standard) == {0: 10, 1: 10, 2: 10}
    assert Counter(case.head for case in hard) == {0: 4, 1: 4, 2: 4}


def test_plans_say_what_the_cases_say():
    for case in CASES:
        made = plan(case)
        assert (made.name, made.subject.bleeds, made.protocol.slice_mm, made.protocol.field_tesla) \
            == (case.name, case.bleeds, case.slice_mm, case.field_tesla)
        assert made.protocol.slice_mm <= 2 if case.slices == "thin" else made.protocol.slice_mm >= 2.5
        assert len(made.images) == 1 and made.labels.is_file()
        if case.tier == HARD:
            assert (made.protocol.slice_mm, made.protocol.signal_to_noise) == (5.0, 8.0)
            assert made.protocol.motion_mm > 0 and made.subject.mimics > 1
    assert all(len(plan(case).protocol.echo_times_ms) > 2 for case in choose(CASES, ["qsm"]))


def test_names_and_seeds_are_all_different():
    assert len({case.name for case in CASES}) == len({plan(case).seed for case in CASES}) == len(CASES) == 126


def test_the_first_cases_are_a_fair_sample():
    few = choose(CASES, limit=3)
    assert len(few) == 18
    for modality in MODALITIES:
        own = choose(few, [modality], [STANDARD])
        assert Counter(case.bleeds == 0 for case in own) == {False: 2, True: 1}
        assert {case.slices for case in own} == {"thin", "thick"}
    assert choose(CASES, ["swi"], [HARD], 1)[0].image.name == "sub-swihard01_swi.nii.gz"

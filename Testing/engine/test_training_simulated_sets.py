"""Plans of the simulated sets that a model is trained and calibrated on."""

from collections import Counter
from pathlib import Path

import pytest
from microbleeds.training.simulated_sets import TRAINING, VALIDATION, plan_cases_of

LABELS = [Path("a.nii.gz"), Path("b.nii.gz"), Path("c.nii.gz")]
ROLES = (TRAINING, VALIDATION)


def suffix(plan):
    return plan.images[0]


@pytest.mark.parametrize("role", ROLES)
def test_a_plan_depends_on_its_seed_and_number_alone(role):
    plans = plan_cases_of(role, 24, 5, LABELS)
    assert plans[:7] == plan_cases_of(role, 7, 5, LABELS)
    assert all(one != other for one, other in zip(plans, plan_cases_of(role, 24, 6, LABELS), strict=True))
    assert len({plan.name for plan in plans}) == len({plan.seed for plan in plans}) == 24


@pytest.mark.parametrize("role", ROLES)
def test_all_modalities_and_all_anatomies_take_part(role):
    plans = plan_cases_of(role, 60, 5, LABELS)
    shares = {name: count / 60 for name, count in Counter(map(suffix, plans)).items()}
    assert len(shares) == 3 and min(shares.values()) >= 0.3
    by_anatomy = Counter(plan.labels for plan in plans)
    assert set(by_anatomy) == set(LABELS) and max(by_anatomy.values()) - min(by_anatomy.values()) <= 3
    # no anatomy is tied to one modality
    assert all(len({suffix(plan) for plan in plans if plan.labels == labels}) == 3 for labels in LABELS)


def test_training_shows_much_and_validation_as_much_as_patients_have():
    training, validation = (plan_cases_of(role, 72, 5, LABELS) for role in ROLES)
    assert min(plan.subject.bleeds for plan in training) >= 10
    bleeds = [plan.subject.bleeds for plan in validation]
    assert 0.15 < bleeds.count(0) / 72 < 0.4 and sorted(bleeds)[36] < 10
    # scans without a bleed exist of every modality
    assert len({suffix(plan) for plan in validation if plan.subject.bleeds == 0}) == 3


@pytest.mark.parametrize(("role", "share"), [(TRAINING, 1 / 4), (VALIDATION, 1 / 5)])
def test_some_scans_are_poor(role, share):
    plans = plan_cases_of(role, 72, 5, LABELS)
    poor = [plan for plan in plans if plan.protocol.motion_mm >= 0.4 and plan.protocol.signal_to_noise <= 14
            and plan.protocol.slice_mm >= 3]
    assert len(poor) / 72 == pytest.approx(share, abs=0.03)


@pytest.mark.parametrize(("role", "every"), [(TRAINING, 4), (VALIDATION, 5)])
def test_of_every_modality_some_scans_are_poor(role, every):
    poor = plan_cases_of(role, 72, 5, LABELS)[every - 1::every]
    assert all(plan.protocol.motion_mm >= 0.4 for plan in poor) and len({suffix(plan) for plan in poor}) == 3

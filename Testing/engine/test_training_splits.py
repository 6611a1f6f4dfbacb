"""Splits by subject, over many drawn data sets: never a subject on two sides, and parts alike in size."""

from collections import Counter
from dataclasses import dataclass

import numpy as np
import pytest
from microbleeds.errors import InputError
from microbleeds.training.splits import folds_by_subject, hold_out

SEEDS = range(60)


@dataclass(frozen=True)
class Item:
    """Stands for a labelled scan."""

    name: str
    subject: str
    lesions: int = 0


def drawn_items(seed, subjects=None, most=6):
    """Return scans in any order; subjects have one to `most` of them, half of the subjects no lesion."""
    rng = np.random.default_rng(seed)
    subjects = subjects or int(rng.integers(6, 30))
    items = [Item(f"scan-{subject}-{number}", f"sub-{subject:02d}", int(rng.integers(0, 20)) if subject % 2 else 0)
             for subject in range(subjects) for number in range(rng.integers(1, most + 1))]
    return [items[index] for index in rng.permutation(len(items))]


def names(items):
    return sorted(item.name for item in items)


def subjects(items):
    return {item.subject for item in items}


def share_none(parts):
    return sum(len(subjects(part)) for part in parts) == len(set().union(*map(subjects, parts)))


def test_no_subject_is_ever_on_two_sides_and_nothing_is_lost():
    for seed in SEEDS:
        items = drawn_items(seed)
        for count in (2, 3, 5):
            folds = folds_by_subject(items, count, seed)
            assert len(folds) == count and all(folds) and share_none(folds)
            assert names(item for fold in folds for item in fold) == names(items)
        for load in (lambda item: 1.0, lambda item: float(item.lesions)):
            stay, held = hold_out(items, 0.2, seed, load)
            assert stay and held and share_none([stay, held]) and names([*stay, *held]) == names(items)


def test_the_nested_split_of_cross_validation_keeps_three_sides_apart():
    for seed in SEEDS:
        items = drawn_items(seed)
        for test in folds_by_subject(items, 4, seed):
            stay, held = hold_out([item for item in items if item not in test], 0.25, seed)
            assert share_none([stay, held, test]) and names([*stay, *held, *test]) == names(items)


def test_no_subject_of_the_largest_fold_would_be_better_in_the_smallest():
    for seed in SEEDS:
        folds = sorted(folds_by_subject(drawn_items(seed), 5, seed), key=len)
        least = min(Counter(item.subject for item in folds[-1]).values())
        assert len(folds[-1]) - least <= len(folds[0])
    sizes = [len(fold) for fold in folds_by_subject(drawn_items(0, subjects=23, most=1), 5, 0)]
    assert sorted(sizes) == [4, 4, 5, 5, 5]


def test_a_load_is_balanced_and_what_weighs_nothing_is_spread():
    for seed in SEEDS:
        items = drawn_items(seed, subjects=24)
        loads = Counter()
        for item in items:
            loads[item.subject] += item.lesions
        folds = folds_by_subject(items, 4, seed, load=lambda item: item.lesions)
        own = [sum(item.lesions for item in fold) for fold in folds]
        assert max(own) - min(own) <= max(loads.values())
        clean = [len([name for name in subjects(fold) if not loads[name]]) for fold in folds]
        assert all(clean)


def test_both_sides_get_lesions_where_two_subjects_have_them():
    items = [Item("a", "a", 3), Item("b", "b", 5), Item("c", "c"), Item("d", "d"), Item("e", "e")]
    for seed in SEEDS:
        for part in hold_out(items, 0.3, seed, load=lambda item: item.lesions):
            assert any(item.lesions for item in part) and not all(item.lesions for item in part)


@pytest.mark.parametrize("share", [0.1, 0.2, 0.34, 0.5])
def test_about_the_share_is_held_out(share):
    items = drawn_items(1, subjects=40, most=3)
    _, held = hold_out(items, share, 0)
    assert len(held) / len(items) == pytest.approx(share, abs=0.04)


def test_the_seed_decides_and_the_order_of_the_scans_does_not():
    items = drawn_items(3)
    first = folds_by_subject(items, 4, 7)
    assert first == folds_by_subject(items, 4, 7)
    assert list(map(subjects, first)) == list(map(subjects, folds_by_subject(items[::-1], 4, 7)))
    assert len({tuple(sorted(subjects(hold_out(items, 0.2, seed)[1]))) for seed in range(10)}) > 5


def test_too_few_subjects_are_refused():
    items = [Item(str(number), subject) for number, subject in enumerate("aaabbb")]
    with pytest.raises(InputError, match="have 2 subjects, but 3 are needed"):
        folds_by_subject(items, 3, 0)
    with pytest.raises(InputError, match="have 1 subject, but 2 are needed"):
        hold_out(items[:3], 0.2, 0)
    assert list(map(len, hold_out(items, 0.2, 0))) == [3, 3]

"""Splits by subject: nothing of a subject is ever on two sides."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

import numpy as np

from ..errors import InputError


class HasSubject(Protocol):
    """Anything that belongs to a subject: labelled scans and prepared cases."""

    @property
    def subject(self) -> str:
        """Its subject."""


Item = TypeVar("Item", bound=HasSubject)


def folds_by_subject(items: Sequence[Item], count: int, seed: int,
                     load: Callable[[Item], float] = lambda item: 1.0) -> list[list[Item]]:
    """Deal subjects, in an order drawn with `seed`, into folds of about equal load, by default of equally many items.

    Subjects without any load are spread by their number.

    Raises
    ------
    InputError
        If there are fewer subjects than folds.
    """
    refuse_few_subjects(items, count)
    sizes: Counter[str] = Counter()
    for item in items:
        sizes[item.subject] += load(item)
    names = sorted(sizes)
    order = [names[index] for index in np.random.default_rng(seed).permutation(len(names))]
    # large subjects first, each into the smallest fold, keeps the folds alike
    order.sort(key=lambda name: -sizes[name])
    loads, numbers, fold_of = [0.0] * count, [0] * count, {}
    for name in order:
        # those without load would all go to the fold with the least
        fold = int(np.argmin(loads if sizes[name] else numbers))
        fold_of[name] = fold
        loads[fold] += sizes[name]
        numbers[fold] += 1
    return [[item for item in items if fold_of[item.subject] == fold] for fold in range(count)]


def refuse_few_subjects(items: Sequence[HasSubject], needed: int) -> None:
    """Raise an InputError if the items are of fewer subjects than needed for parts that share none."""
    found = len({item.subject for item in items})
    if found < needed:
        raise InputError(f"The data have {found} {'subject' if found == 1 else 'subjects'}, but {needed} are needed, "
                         "because training, thresholds and tests share none; add subjects or ask for another number "
                         "of parts.")


def hold_out(items: Sequence[Item], share: float, seed: int,
             load: Callable[[Item], float] = lambda item: 1.0) -> tuple[list[Item], list[Item]]:
    """Return the items of the subjects that stay, and of those that are held out: about a `share` of the load.

    Raises
    ------
    InputError
        If there is only one subject.
    """
    # no more parts than subjects with a load, so that the part held out has some
    subjects = len({item.subject for item in items if load(item)})
    parts = folds_by_subject(items, max(2, min(subjects, round(1 / share))), seed, load)
    return [item for part in parts[:-1] for item in part], parts[-1]

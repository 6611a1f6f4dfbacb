"""Splits by subject: nothing of a subject is ever on two sides."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from ..errors import InputError
from .labelled_scans import LabelledScan


def folds_by_subject(scans: Sequence[LabelledScan], count: int, seed: int) -> list[list[LabelledScan]]:
    """Deal subjects, in an order drawn with `seed`, into folds of about equally many scans.

    Raises
    ------
    InputError
        If there are fewer subjects than folds.
    """
    sizes = Counter(scan.subject for scan in scans)
    if len(sizes) < count:
        raise InputError(f"The data have {len(sizes)} {'subject' if len(sizes) == 1 else 'subjects'}, too few for "
                         f"{count} parts that share none; add subjects or ask for fewer parts.")
    names = sorted(sizes)
    order = [names[index] for index in np.random.default_rng(seed).permutation(len(names))]
    # large subjects first, each into the smallest fold, keeps the folds alike
    order.sort(key=lambda name: -sizes[name])
    loads, fold_of = [0] * count, {}
    for name in order:
        fold_of[name] = int(np.argmin(loads))
        loads[fold_of[name]] += sizes[name]
    return [[scan for scan in scans if fold_of[scan.subject] == fold] for fold in range(count)]


def hold_out(scans: Sequence[LabelledScan], share: float, seed: int) -> tuple[list[LabelledScan], list[LabelledScan]]:
    """Return the scans of the subjects that stay, and of about a `share` of the subjects that are held out, at least 1.

    Raises
    ------
    InputError
        If there is only one subject.
    """
    subjects = len({scan.subject for scan in scans})
    parts = folds_by_subject(scans, max(2, min(subjects, round(1 / share))), seed)
    held = parts[-1]
    return [scan for scan in scans if scan not in held], held

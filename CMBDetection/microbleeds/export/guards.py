"""What every export asks first: is the scan reviewed, is the place free, can it be written."""

from collections.abc import Sequence
from pathlib import Path

from ..errors import InputError
from ..reviewed_case import ReviewedCase

FINISHED, REVIEWED, UNREVIEWED = "finished", "reviewed", "unreviewed"
_NAMED = 8
"""Files that a sentence names at most."""


def require_reviewed(case: ReviewedCase, include_unreviewed: bool) -> None:
    """Refuse a scan that nobody has reviewed, unless it is wanted.

    Raises
    ------
    InputError
    """
    if not (case.is_reviewed or include_unreviewed):
        raise InputError(f"{case.scan_name} is not reviewed; review it first, or ask for unreviewed findings too "
                         "(--unreviewed; in the panel Unreviewed too).")


def require_free(paths: Sequence[Path], overwrite: bool) -> None:
    """Refuse to write over files, unless it is wanted; the sentence names those that are there.

    Raises
    ------
    InputError
    """
    taken = [path for path in dict.fromkeys(paths) if path.exists()]
    if not taken or overwrite:
        return
    more = "".join(f", {path.name}" for path in taken[1:_NAMED])
    more += f" and {len(taken) - _NAMED} more" if len(taken) > _NAMED else ""
    raise InputError(f"{taken[0]}{more} {'exist' if more else 'exists'} already; choose another folder, or ask for "
                     f"{'them' if more else 'it'} to be overwritten (--overwrite; in the panel Replace files).")


def status_of(case: ReviewedCase) -> str:
    """Return finished, reviewed or unreviewed."""
    if not case.is_reviewed:
        return UNREVIEWED
    return FINISHED if case.is_finished else REVIEWED

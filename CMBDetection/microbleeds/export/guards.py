"""What every export asks first: is the scan reviewed, is the place free, can it be written."""

from collections.abc import Sequence
from pathlib import Path

from ..errors import InputError
from ..reviewed_case import ReviewedCase

FINISHED, REVIEWED, UNREVIEWED = "finished", "reviewed", "unreviewed"


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
    """Refuse to write over a file, unless it is wanted.

    Raises
    ------
    InputError
    """
    taken = next((path for path in paths if path.exists()), None)
    if taken is not None and not overwrite:
        raise InputError(f"{taken} exists already; choose another folder, or ask for it to be overwritten "
                         "(--overwrite; in the panel Replace files).")


def status_of(case: ReviewedCase) -> str:
    """Return finished, reviewed or unreviewed."""
    if not case.is_reviewed:
        return UNREVIEWED
    return FINISHED if case.is_finished else REVIEWED

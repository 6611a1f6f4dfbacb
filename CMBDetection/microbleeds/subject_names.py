"""Whose scan it is, by the name of a file or of a folder around it."""

import re
from pathlib import Path


def subject_of(name: str) -> str:
    """Return the person that a BIDS name or path tells, else the name itself.

    Examples
    --------
    >>> subject_of("sub-07_ses-2_T2starw"), subject_of("scan 12")
    ('sub-07', 'scan 12')
    """
    return _bids_subject(name) or name


def subject_of_file(stem: str, place: Path) -> str:
    """Return the person of an image: that of its stem; if this tells none, of its place in the data set; else the stem.

    Examples
    --------
    >>> subject_of_file("swi_2019", Path("sub-07/raw")), subject_of_file("swi_2019", Path())
    ('sub-07', 'swi_2019')
    """
    return _bids_subject(stem) or _bids_subject(place.as_posix()) or stem


def _bids_subject(text: str) -> str:
    found = re.search(r"(?<![A-Za-z0-9])sub-[A-Za-z0-9]+", text)
    return found[0] if found else ""

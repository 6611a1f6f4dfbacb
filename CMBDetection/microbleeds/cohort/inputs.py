"""The scans of a cohort: which they are, which of them are wanted, and where the results of each go.

Results lie as in a BIDS derivative, ``sub-<label>[/ses-<label>]/anat``; the files are called as those of
``cmbdetect detect``, so that every other command finds them.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..case_files import bids_folder, subject_and_session
from ..errors import InputError
from ..export.bids import bids_label
from ..image_files import IMAGE_SUFFIXES, data_files
from ..read_write import scan_stem
from ..work_list import Case, find_cases

_SUFFIX = re.compile("(" + "|".join(map(re.escape, IMAGE_SUFFIXES)) + ")$", re.IGNORECASE)
_SUBJECT = re.compile(r"(?:^|[_/-])sub-[A-Za-z0-9]")
_RUN = re.compile(r"(?:^|_)run-([A-Za-z0-9]+)")


@dataclass(frozen=True)
class CohortScan:
    """One scan of a cohort.

    Attributes
    ----------
    image : Path
        Absolute.
    modality : "auto", "gre", "swi" or "qsm"
    subject, session, run : str
        Labels; session and run may be "".
    """

    image: Path
    modality: str
    subject: str
    session: str = ""
    run: str = ""

    @property
    def stem(self) -> str:
        """Beginning of the names of its files."""
        return scan_stem(self.image)

    @property
    def folder(self) -> Path:
        """Of its results, from the output folder."""
        return bids_folder(self.subject, self.session)

    @property
    def key(self) -> str:
        """What tells it from all others in tables."""
        return (self.folder / self.stem).as_posix()

    @property
    def files(self) -> tuple[Path, ...]:
        """What it is read from: the image, the file of its voxels if they lie apart, its .json if there is one."""
        sidecar = self.image.with_name(f"{self.stem}.json")
        return (self.image, *data_files(self.image), *((sidecar,) if sidecar.is_file() else ()))


@dataclass(frozen=True)
class Wanted:
    """Labels of what is wanted, with or without their ``sub-``, ``ses-`` or ``run-``; all where there are none."""

    participants: tuple[str, ...] = ()
    sessions: tuple[str, ...] = ()
    runs: tuple[str, ...] = ()


def find_scans(source: Path, wanted: Wanted) -> tuple[CohortScan, ...]:
    """Return the wanted scans of a folder, BIDS tree or table, in its order; see `work_list.find_cases`.

    The subject is what follows ``sub-`` in the name of the scan (in a table: in its ``name``), else the whole name.

    Raises
    ------
    InputError
        If there is none, a label that is wanted does not occur, or two scans would have the same results.
    """
    scans = [scan_of(case) for case in find_cases(source)]
    _check_keys(scans)
    for kind, labels, label_of in (("participant", wanted.participants, lambda scan: scan.subject),
                                   ("session", wanted.sessions, lambda scan: scan.session),
                                   ("run", wanted.runs, lambda scan: scan.run)):
        scans = _with_labels(scans, kind, labels, label_of, source)
    return tuple(scans)


def scan_of(case: Case) -> CohortScan:
    """Return a case of a work list as a scan of a cohort."""
    name = _SUFFIX.sub("", case.name)
    # the name of a case may be a path
    subject, session = subject_and_session(name.rpartition("/")[2])
    if not _SUBJECT.search(name):
        subject, session = name, ""
    run = _RUN.search(name)
    return CohortScan(case.image, case.modality, bids_label(subject), bids_label(session) if session else "",
                      run[1] if run else "")


def _with_labels(scans: Sequence[CohortScan], kind: str, labels: Iterable[str], label_of: Callable[[CohortScan], str],
                 source: Path) -> list[CohortScan]:
    prefix = {"participant": "sub-", "session": "ses-", "run": "run-"}[kind]
    asked = [label.removeprefix(prefix) for label in labels]
    if not asked:
        return list(scans)
    # runs are numbers in BIDS: 1 and 01 are the same
    same = (lambda label: label.lstrip("0") or label) if kind == "run" else (lambda label: label)
    there = {same(label_of(scan)) for scan in scans}
    missing = [label for label in asked if same(label) not in there]
    if missing:
        raise InputError(f"{source} has no scan of {kind} {', '.join(missing)}"
                         f"{' among the wanted ones' if kind != 'participant' else ''}; check --{kind}-label.")
    return [scan for scan in scans if same(label_of(scan)) in set(map(same, asked))]


def _check_keys(scans: Iterable[CohortScan]) -> None:
    seen: dict[str, CohortScan] = {}
    for scan in scans:
        # file systems may not tell capitals apart
        other = seen.setdefault(scan.key.lower(), scan)
        if other is not scan:
            raise InputError(f"{other.image} and {scan.image} would both be {scan.key}; rename one, or give them "
                             'different names in a table with the columns "image" and "name".')

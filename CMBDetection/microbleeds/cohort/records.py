"""What is kept of every scan of a cohort beside its results: what they were made of, and how it went.

``S_desc-cmb_run.json`` is written last. Results without it, or others than it names, do not count. That is what makes
a kill at any moment harmless.
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..outputs import FILE_NAMES
from ..read_write import files_sha256, write_json

RECORD, THUMBNAIL = "{}_desc-cmb_run.json", "{}_desc-cmb_thumbnail.png"
RESULT_FILES = (*FILE_NAMES.values(), THUMBNAIL)
DONE, FAILED = "done", "failed"

_DIGITS = 8


@dataclass(frozen=True)
class Seen:
    """A file as it was: digest, bytes, and when its content and its entry were changed last (ns)."""

    sha256: str
    size: int
    modified_ns: int
    changed_ns: int


@dataclass(frozen=True)
class Record:
    """How one scan went.

    Attributes
    ----------
    status : "done" or "failed"
    inputs, results : dict of Seen
        By file name; those that it was read from, and those that were written. What could not be read is missing.
    fingerprint : dict
        Of model and settings, see `plan.fingerprint`.
    image : str
        Path of the scan.
    figures : dict
        See `quality.measure`, and "seconds" and "peak_memory_mb" (None where the system does not tell).
    acquisition : dict
        Fields of `reviewed_case.Acquisition`.
    kind, problem : str
        Of a failure, see `progress.Reporter.error`; else "".
    """

    status: str
    inputs: dict[str, Seen]
    fingerprint: dict[str, Any]
    image: str
    results: dict[str, Seen]
    figures: dict[str, Any]
    acquisition: dict[str, Any]
    kind: str = ""
    problem: str = ""


def look_at(files: Iterable[Path]) -> dict[str, Seen]:
    """Return what files are like now, by name.

    Raises
    ------
    OSError
        If one cannot be read.
    """
    seen = {}
    for file in files:
        # first, so that a change while it is read is seen the next time
        told = os.stat(file)
        seen[file.name] = Seen(files_sha256([file]), told.st_size, told.st_mtime_ns, told.st_ctime_ns)
    return seen


def are_unchanged(files: Iterable[Path], seen: Mapping[str, Seen]) -> bool:
    """Whether files are just those that were seen; they are read only where their size is the same and a time differs.

    Examples
    --------
    >>> are_unchanged([], {})
    True
    """
    files = list(files)
    return {file.name for file in files} == set(seen) and all(_is_unchanged(file, seen[file.name]) for file in files)


def _is_unchanged(file: Path, seen: Seen) -> bool:
    try:
        told = os.stat(file)
        if told.st_size != seen.size:
            return False
        return (told.st_mtime_ns, told.st_ctime_ns) == (seen.modified_ns, seen.changed_ns) \
            or files_sha256([file]) == seen.sha256
    except OSError:
        return False


def read_record(folder: Path, stem: str) -> Record | None:
    """Return the record of a scan in the folder of its results, None if there is none that can be read."""
    try:
        content = json.loads((folder / RECORD.format(stem)).read_text(encoding="utf-8"))
        files = {key: {name: Seen(**seen) for name, seen in content[key].items()} for key in ("inputs", "results")}
        return Record(**{**content, **files})
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def write_record(folder: Path, stem: str, record: Record) -> None:
    """Write the record of a scan, atomically."""
    with staging_of(folder, stem) as staging:
        write_json(staging / RECORD.format(stem), asdict(record))
        os.replace(staging / RECORD.format(stem), folder / RECORD.format(stem))


def remove_results(folder: Path, stem: str) -> None:
    """Remove what a scan has given, which is no longer right; a review stays."""
    for name in RESULT_FILES:
        (folder / name.format(stem)).unlink(missing_ok=True)


@contextmanager
def staging_of(folder: Path, stem: str) -> Iterator[Path]:
    """Give an empty folder of this scan alone; those that killed attempts at it have left go."""
    folder.mkdir(parents=True, exist_ok=True)
    prefix = f".cmbdetect-{hashlib.sha256(stem.encode('utf-8', 'surrogateescape')).hexdigest()[:_DIGITS]}-"
    for left in list(folder.iterdir()):
        if left.name.startswith(prefix):
            shutil.rmtree(left, ignore_errors=True)
    staging = Path(tempfile.mkdtemp(prefix=prefix, dir=folder))
    try:
        yield staging
    finally:
        shutil.rmtree(staging, ignore_errors=True)

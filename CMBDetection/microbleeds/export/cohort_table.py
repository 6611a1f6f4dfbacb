"""One table of counts that several people append to, each from a machine of their own, without losing a row.

Whoever writes holds ``<table>.lock`` beside the table. It is written under another name and linked to its own, which
fails if it is there, so that it is never without its content; where there are no links it is created (O_EXCL) and then
filled. Both hold on network shares (NFS from version 3 on, SMB), unlike appending at the end of a file, which NFS does
not do in one step.
The whole table is written beside the old one and renamed, so that a program that dies leaves the old table; what stood
there before is kept as ``<table>.bak``.

A lock whose program has died on this computer is removed, and told. One from another computer is not: nobody can see
from here whether that program still runs, so the message says who holds it and a person decides.
"""

import getpass
import json
import os
import random
import shutil
import socket
import tempfile
import time
import uuid
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..read_write import atomic_path, staging_folder, told_if_not_writable, write_json, write_text
from .table_cells import (
    Row,
    cell_text,
    data_dictionary,
    join_cells,
    read_table_text,
    require_table,
    split_cells,
    value_of,
)
from .tables import SUBJECT_COLUMNS

try:
    import fcntl
except ImportError:
    # Windows: there, abandoned locks are left to a person
    fcntl = None

KEY = ("subject", "session", "scan", "reader")
"""Columns that say whose row it is."""
_COLUMNS = {column.name: column for column in SUBJECT_COLUMNS}
_PAUSE_S, _LET_GO_S = (0.005, 0.05), 5.0


@dataclass(frozen=True)
class Appended:
    """What became of the rows: how many were added and replaced, and sentences for the user."""

    added: int
    replaced: int
    warnings: tuple[str, ...] = ()


def append_to_cohort_table(path: Path, rows: Sequence[Row], replace: bool = False, wait_s: float = 60.0) -> Appended:
    """Add rows of counts to a table, which is begun if there is none; all of them or none.

    Parameters
    ----------
    path : Path
        Its suffix, .tsv or .csv, says the form; its columns may have been put in another order.
    rows : sequence of dict
        See `tables.subject_row`.
    replace : bool
        Whether rows of the same subject, session, scan and reader go.
    wait_s : float
        How long to wait for others who write, in seconds.

    Raises
    ------
    InputError
        If the table has other columns or is damaged, has such a row already, is gone while its backup is there, others
        go on writing, or it cannot be written; the table is as it was.
    """
    path = Path(path)
    new = _by_key(path, rows)
    with told_if_not_writable(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with held_lock(path, wait_s) as lock:
            header, former = _read_for(path, new, replace)
            kept = {number: line for number, (key, line) in enumerate(former) if key not in new}
            form = path.suffix.lower()
            added = [[cell_text(row[name], _COLUMNS[name], form) for name in header] for row in new.values()]
            _write(path, join_cells([header, *kept.values(), *added], form), lock)
            replaced = len({key for key, _ in former} & set(new))
            return Appended(len(new) - replaced, replaced, lock.warnings)


def require_appendable(path: Path, rows: Sequence[Row], replace: bool = False) -> None:
    """Refuse what `append_to_cohort_table` would refuse of the table as it is now."""
    _read_for(path, _by_key(path, rows), replace)


def _by_key(path: Path, rows: Sequence[Row]) -> dict[tuple[str, ...], Row]:
    require_table(path)
    new = {_key(row): row for row in rows}
    if len(new) < len(rows):
        raise InputError(f"The rows for {path.name} hold a subject, session, scan and reader twice; give each once.")
    return new


@dataclass(frozen=True)
class HeldLock:
    """A lock that this program holds: the file, what stands in it, and what is to be told."""

    path: Path
    content: str
    warnings: tuple[str, ...]

    def require(self) -> None:
        """Make sure that nobody has taken it away.

        Raises
        ------
        InputError
        """
        if _content(self.path) != self.content:
            raise InputError(f"Somebody removed {self.path.name} while it was needed; nothing was written, try again.")


@contextmanager
def held_lock(path: Path, wait_s: float) -> Iterator[HeldLock]:
    """Hold the lock of a file, ``<name>.lock`` beside it, against all others who ask for it.

    Raises
    ------
    InputError
        If somebody else has it for longer than `wait_s`; the sentence says who.
    OSError
        If there cannot be a file.
    """
    file = path.with_name(f"{path.name}.lock")
    own = json.dumps({"owner": _user(), "host": socket.gethostname(), "pid": os.getpid(),
                      "time": datetime.now().astimezone().isoformat(timespec="seconds"), "token": uuid.uuid4().hex})
    until, warnings = time.monotonic() + wait_s, []
    while not _created(file, own):
        content = _content(file)
        if _removed_abandoned(file, content):
            warnings.append(f"The lock of {path.name}, left by {_holder_name(content)}, was removed; that program had "
                            "ended.")
        elif time.monotonic() > until:
            raise InputError(f"{path.name} is being written by {_holder_name(content)}; try again, or delete "
                             f"{file.name} if that program has ended.")
        else:
            time.sleep(random.uniform(*_PAUSE_S))
    lock = HeldLock(file, own, tuple(warnings))
    try:
        yield lock
    finally:
        _let_go(file, own)


def _let_go(file: Path, own: str) -> None:
    """Remove one's own lock; on Windows it cannot be for as long as somebody who waits reads it."""
    until = time.monotonic() + _LET_GO_S
    while True:
        try:
            if file.read_text(encoding="utf-8") == own:
                file.unlink()
            return
        except FileNotFoundError:
            return
        except PermissionError:
            if time.monotonic() > until:
                raise
            time.sleep(random.uniform(*_PAUSE_S))


def _created(file: Path, content: str) -> bool:
    if file.exists():
        return False
    with tempfile.TemporaryDirectory(prefix=".cmbdetect-", dir=file.parent) as folder:
        whole = Path(folder, file.name)
        whole.write_text(content, encoding="utf-8")
        try:
            os.link(whole, file)
        except FileExistsError:
            # NFS says so too where it has linked, lost its answer, and tried again
            return _content(file) == content
        except OSError:
            return _created_then_filled(file, content)
    return True


def _created_then_filled(file: Path, content: str) -> bool:
    """As `_created`, where files cannot be linked; a kill in between leaves a lock that says nothing of its holder."""
    try:
        opened = open(file, "x", encoding="utf-8")
    except FileExistsError:
        return False
    except PermissionError:
        # so Windows says that the file is just being removed
        if file.exists():
            return False
        raise
    try:
        with opened:
            opened.write(content)
    except BaseException:
        file.unlink()
        raise
    return True


def _content(file: Path) -> str:
    """Return what stands in a lock; "" if it is gone, or has not been filled yet."""
    try:
        return file.read_text(encoding="utf-8")
    except (FileNotFoundError, PermissionError):
        return ""


def _holder(content: str) -> dict[str, Any]:
    try:
        holder = json.loads(content)
    except ValueError:
        return {}
    return holder if isinstance(holder, dict) else {}


def _holder_name(content: str) -> str:
    holder = _holder(content)
    if not holder:
        return "an unknown program"
    return (f"{holder.get('owner') or 'somebody'} on {holder.get('host')} (process {holder.get('pid')}) since "
            f"{holder.get('time')}")


def _removed_abandoned(file: Path, content: str) -> bool:
    """Remove a lock if the program that holds it has died on this computer, and say whether.

    Of several who see that at once, one removes it: whoever has the operating system's lock on the file, if the file is
    still the one that stands there.
    """
    holder = _holder(content)
    if fcntl is None or holder.get("host") != socket.gethostname() or _runs(holder.get("pid")):
        return False
    try:
        with open(file, encoding="utf-8") as opened:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not os.path.samestat(os.fstat(opened.fileno()), os.stat(file)) or opened.read() != content:
                return False
            file.unlink()
    except OSError:
        return False
    return True


def _runs(pid: Any) -> bool:
    if type(pid) is not int or pid <= 0:
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _user() -> str:
    try:
        return getpass.getuser()
    except (ImportError, KeyError, OSError):
        return ""


def _backup(path: Path) -> Path:
    return path.with_name(f"{path.name}.bak")


def _read(path: Path) -> tuple[list[str], list[tuple[tuple[str, ...], list[str]]]]:
    """Return the header of a table, and of each line the key and the cells as they are written."""
    if not path.exists():
        if _backup(path).exists():
            raise InputError(f"{path} is gone but its backup {_backup(path).name} is there; rename the backup to "
                             f"{path.name}, or move it away to begin a new table.")
        return list(_COLUMNS), []
    text, form, name = read_table_text(path)
    try:
        header, *lines = split_cells(text, form)
    except ValueError as error:
        raise InputError(f"{name} is no table with a header ({error}); take it from {_backup(path).name}.") from None
    _check_header(header, name)
    keyed = []
    for number, line in enumerate(lines, start=1):
        if len(line) != len(header):
            raise InputError(f"Row {number} of {name} has {len(line)} cells, not {len(header)}; mend it, or take the "
                             f"table from {_backup(path).name}.")
        try:
            keyed.append((tuple(value_of(line[header.index(key)], _COLUMNS[key], form) for key in KEY), line))
        except ValueError as error:
            raise InputError(f"Row {number} of {name} cannot be read ({error}); mend it, or take the table from "
                             f"{_backup(path).name}.") from None
    return header, keyed


def _read_for(path: Path, new: Collection[tuple[str, ...]],
              replace: bool) -> tuple[list[str], list[tuple[tuple[str, ...], list[str]]]]:
    """Return what `_read` does, unless rows of new keys are there and shall not be replaced."""
    header, former = _read(path)
    told = next((key for key, _ in former if key in new), None)
    if told is not None and not replace:
        raise InputError(f"{path.name} has a row of {_name(told)} already; ask for it to be replaced (--overwrite; in "
                         "the panel Replace files).")
    return header, former


def _check_header(header: Sequence[str], name: str) -> None:
    missing, further = [key for key in _COLUMNS if key not in header], [key for key in header if key not in _COLUMNS]
    doubled = sorted({key for key in header if header.count(key) > 1})
    told = [f"{word} {', '.join(keys)}" for word, keys in (("without", missing), ("also", further),
                                                          ("twice", doubled)) if keys]
    if told:
        raise InputError(f"{name} has other columns ({'; '.join(told)}); choose another file, it begins a new table.")


def _write(path: Path, text: str, lock: HeldLock) -> None:
    if path.exists():
        with atomic_path(_backup(path)) as staged:
            shutil.copyfile(path, staged)
    dictionary = path.with_suffix(".json")
    with staging_folder(path.parent) as staging:
        write_text(staging / path.name, text)
        if not dictionary.exists():
            write_json(staging / dictionary.name, data_dictionary(SUBJECT_COLUMNS))
        lock.require()


def _key(row: Row) -> tuple[str, ...]:
    return tuple(row[key] for key in KEY)


def _name(key: tuple[str, ...]) -> str:
    subject, session, scan, reader = key
    return f"{subject}{f', session {session}' if session else ''}, {scan}{f' by {reader}' if reader else ''}"

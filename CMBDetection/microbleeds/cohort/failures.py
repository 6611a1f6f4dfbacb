"""``failures.tsv``: one row per scan that has no result, with one sentence why."""

from collections.abc import Collection, Sequence
from pathlib import Path

from ..export.cohort_table import held_lock
from ..export.table_cells import TSV, Column, Row, parse_table, read_table_text, table_text
from ..read_write import told_if_not_writable, write_text
from .inputs import CohortScan

FAILURES = "failures.tsv"
COLUMNS = (Column("participant", str, "Label of the subject"), Column("session", str, "Label of the session"),
           Column("scan", str, "Where its results would lie"), Column("image", str, "Path of the scan"),
           Column("kind", str, "Kind of the failure", levels={
               "input": "the scan cannot be used", "model": "the model", "settings": "the settings",
               "memory": "too little memory", "cuda_memory": "too little memory of the graphics card",
               "internal": "our fault"}),
           Column("reason", str, "What is wrong and what to do"))

_WAIT_S = 120.0


def failure_row(scan: CohortScan, kind: str, reason: str) -> Row:
    """Return the row of a scan."""
    return {"participant": scan.subject, "session": scan.session, "scan": scan.key, "image": str(scan.image),
            "kind": kind, "reason": reason}


def read_failures(folder: Path) -> list[Row]:
    """Return the rows of the table in a folder, none if there is no table.

    Raises
    ------
    InputError
        If it cannot be read.
    """
    path = folder / FAILURES
    return parse_table(*read_table_text(path), COLUMNS) if path.exists() else []


def update_failures(folder: Path, settled: Collection[str], rows: Sequence[Row]) -> None:
    """Take the rows of settled scans (their keys) out of the table, and add new ones; sorted, and safe beside others.

    Raises
    ------
    InputError
        If the table cannot be read or written.
    """
    path = folder / FAILURES
    with told_if_not_writable(path), held_lock(path, _WAIT_S) as lock:
        former = read_failures(folder)
        new = {row["scan"] for row in rows}
        kept = [row for row in former if row["scan"] not in settled and row["scan"] not in new]
        now = sorted([*kept, *rows], key=lambda row: row["scan"])
        if now != former or not path.exists():
            lock.require()
            write_text(path, table_text(COLUMNS, now, TSV))

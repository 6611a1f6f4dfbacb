"""What is left to do: every scan without a result of its present bytes, by this model, with these settings."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..batch import Job
from ..model_folders import CARD
from ..resources import resource_path
from ..review_files import review_in
from .inputs import CohortScan
from .records import DONE, FAILED, RESULT_FILES, Record, are_unchanged, read_record

NEW, INPUT_CHANGED, MODEL_CHANGED, SETTINGS_CHANGED, RESULTS_CHANGED, TRIED_AGAIN = REASONS = (
    "without a result", "with a changed input", "of another model", "with other settings", "with changed result files",
    "failed before, tried again")

LASTING = "input"
"""Kind of the failures that the same input gives again; what was wrong with a model or the machine may be mended."""
_SETTINGS = ("modality", "operating_point", "improbable_regions")
_NETWORKS = ("Models/brain-mask", "Models/region-map")


@dataclass(frozen=True)
class Todo:
    """One scan and why it has to be done, one of `REASONS`."""

    scan: CohortScan
    reason: str


@dataclass(frozen=True)
class Plan:
    """The scans that are left to do, those that are done, and those that failed and would fail again."""

    todo: tuple[Todo, ...]
    done: tuple[CohortScan, ...]
    failed: tuple[tuple[CohortScan, Record], ...]


def fingerprint(job: Job) -> dict[str, Any]:
    """Return what a result depends on besides its scan: ``{"model": {...}, "settings": {...}}``, plain JSON.

    The model is that of the detection, its card with operating points and calibration included, and the two networks
    that find brain and regions; of the settings, those that change what is found. The version of the program is not in
    it: an update does not make a cohort stale, but a changed network does.

    Raises
    ------
    ModelError
        If the model is missing or damaged.
    SettingsError
        If it has no such operating point.
    """
    from ..weights import DEFAULT_MODEL, find_folder, load_model

    chosen = job.model or DEFAULT_MODEL
    model = load_model(chosen)
    model.settings(job.operating_point)
    cards = hashlib.sha256((find_folder(chosen) / CARD).read_bytes())
    for name in _NETWORKS:
        cards.update((resource_path(name) / CARD).read_bytes())
    return {"model": {"name": model.name, "sha256": model.sha256, "cards_sha256": cards.hexdigest()},
            "settings": {name: getattr(job, name) for name in _SETTINGS}}


def make_plan(scans: Sequence[CohortScan], folder: Path, wanted: dict[str, Any]) -> Plan:
    """Sort scans by what is left to do.

    Parameters
    ----------
    scans : sequence of CohortScan
    folder : Path
        Of the output.
    wanted : dict
        See `fingerprint`; the modality of a table's row goes before that of the settings.
    """
    todo, done, failed = [], [], []
    for scan in scans:
        record = read_record(folder / scan.folder, scan.stem)
        reason = _reason(scan, folder, record, fingerprint_of(scan, wanted))
        if reason:
            todo.append(Todo(scan, reason))
        elif record is not None and record.status == FAILED:
            failed.append((scan, record))
        else:
            done.append(scan)
    return Plan(tuple(todo), tuple(done), tuple(failed))


def fingerprint_of(scan: CohortScan, wanted: dict[str, Any]) -> dict[str, Any]:
    """Return the fingerprint of one scan's result, with the modality that the table says of it."""
    if scan.modality == "auto":
        return wanted
    return {**wanted, "settings": {**wanted["settings"], "modality": scan.modality}}


def is_reviewed(scan: CohortScan, folder: Path) -> bool:
    """Whether a review lies among the results, whose label map may then be the reader's."""
    return review_in(folder / scan.folder, scan.stem) is not None


def _reason(scan: CohortScan, folder: Path, record: Record | None, wanted: dict[str, Any]) -> str:
    """Return why a scan has to be done, "" if it need not be."""
    if record is None:
        return NEW
    for part, reason in (("model", MODEL_CHANGED), ("settings", SETTINGS_CHANGED)):
        if record.fingerprint.get(part) != wanted[part]:
            return reason
    if record.status == FAILED and record.kind != LASTING:
        return TRIED_AGAIN
    if not are_unchanged(scan.files, record.inputs):
        return INPUT_CHANGED
    if record.status == DONE and not is_reviewed(scan, folder):
        results = [folder / scan.folder / name.format(scan.stem) for name in RESULT_FILES]
        return "" if are_unchanged(results, record.results) else RESULTS_CHANGED
    return ""

"""The participant level: what is left to do is done, wherever it is run, and every scan ends as a result or a row."""

import os
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from .. import __version__
from ..batch import BAD_INPUT, OK, OUR_FAULT, Job, make_folder
from ..errors import InputError
from ..export.bids import BIDS_VERSION, DESCRIPTION
from ..outputs import FILE_NAMES
from ..progress import Reporter
from ..read_write import read_json, write_json, write_text
from ..report import NOT_CLINICAL
from .failures import failure_row, read_failures, update_failures
from .inputs import CohortScan
from .plan import Plan, fingerprint_of, is_reviewed, make_plan
from .process import Outcome, Task, process_scan
from .records import DONE, FAILED, Record, are_unchanged, read_record, remove_results, write_record

ATTEMPTS = 3
"""Times that a scan which ends its process is tried in one run."""

_NAME = "CMBDetection cohort"
_LOST = (f"The process that worked on it ended, {ATTEMPTS} times, most likely because it needs more memory than there "
         "is; give it more, or take the scan out.")
_README = f"""Cerebral microbleeds of a cohort, found by CMBDetection
{NOT_CLINICAL}.

Nobody has reviewed these findings unless a review (*_desc-cmb_review.json) lies beside them. Per scan S, in
sub-*/[ses-*/]anat: S_desc-cmb_findings.json, .tsv, S_desc-cmb_dseg.nii.gz, S_desc-cmb_markups.mrk.json,
S_desc-cmb_report.html, S_desc-cmb_thumbnail.png, and S_desc-cmb_run.json, which says what they were made of. Scans
without a result are in failures.tsv. The group level writes cohort.html and the tables beside it.
"""
_IGNORED = "*_desc-cmb_*\n*.html\nfailures.tsv\ncohort*\nregions.*\nhistogram.*\n"


class Engine(Protocol):
    """Where scans are processed: `child.Child` or `cluster.Cluster`."""

    def run(self, tasks: Sequence[Task], process: Callable[[Task], Outcome], told: Callable[[Outcome], None],
            alone: bool) -> list[Task]:
        """Do tasks and tell each outcome; return those whose process ended. `alone`: one at a time."""


@dataclass(frozen=True)
class Summary:
    """What a run has come to: the plan it began with, and scans that it has done and that have failed."""

    plan: Plan
    done: int
    failed: int
    exit_code: int


def run_participants(scans: Sequence[CohortScan], job: Job, wanted: dict[str, Any],
                     engine: Callable[[], AbstractContextManager[Engine]], reporter: Reporter,
                     process: Callable[[Task], Outcome] = process_scan) -> Summary:
    """Process what has no result of its present bytes, with this model and these settings.

    Parameters
    ----------
    scans : sequence of CohortScan
    job : Job
        `folder` is the output, see `prepare_output`, which the workers see too.
    wanted : dict
        See `plan.fingerprint`.
    engine : callable
        Gives the engine as a context; it is not asked where nothing is to be done.
    reporter : Reporter
    process : callable
        Of a module that the workers can import.

    Raises
    ------
    MicrobleedError
        If something is wrong that concerns all scans: the output, the workers.
    """
    plan = make_plan(scans, job.folder, wanted)
    rows = [failure_row(scan, record.kind, record.problem) for scan, record in plan.failed]
    gone = {row["scan"] for row in read_failures(job.folder) if not os.path.exists(row["image"])}
    update_failures(job.folder, {scan.key for scan in plan.done} | gone, rows)
    for scan, record in plan.failed:
        reporter.error(str(scan.image), record.kind, record.problem)
    told = _Told(job.folder, len(plan.todo), wanted, reporter)
    if plan.todo:
        with engine() as opened:
            _do_all([_task(todo.scan, job, wanted) for todo in plan.todo], opened, process, told)
    kinds = {record.kind for _, record in plan.failed} | set(told.kinds)
    # as of several scans given to cmbdetect detect: those that failed decide
    exit_code = OK if not kinds else OUR_FAULT if kinds & {"memory", "cuda_memory", "internal"} else BAD_INPUT
    return Summary(plan, told.done, len(plan.failed) + told.kinds.total(), exit_code)


def prepare_output(folder: Path, source: Path) -> None:
    """Make the output a BIDS derivative data set, if it is not one yet.

    Raises
    ------
    InputError
        If it is the source itself, another program's data set, or cannot be written to.
    """
    if folder.resolve() == source.resolve():
        raise InputError(f"{folder} holds the scans; choose another folder for the results, such as "
                         f"{folder / 'derivatives' / 'cmbdetection'}.")
    path = folder / DESCRIPTION
    if path.exists():
        content = read_json(path, "choose another folder")
        made_by = content.get("GeneratedBy") if isinstance(content, dict) else None
        names = [one.get("Name") for one in made_by if isinstance(one, dict)] if isinstance(made_by, list) else []
        if _NAME not in names:
            raise InputError(f"{folder} is a data set of another program; choose another folder.")
        return
    make_folder(folder)
    if any(not file.name.startswith(".") for file in folder.iterdir()):
        raise InputError(f"{folder} is neither empty nor the output of a cohort; choose another folder.")
    description = {"Name": "Cerebral microbleeds found by CMBDetection", "BIDSVersion": BIDS_VERSION,
                   "DatasetType": "derivative", "GeneratedBy": [
                       {"Name": _NAME, "Version": __version__, "Description":
                        f"Detection of cerebral microbleeds, reviewed by nobody. {NOT_CLINICAL}."}]}
    if (source / DESCRIPTION).is_file():
        description["DatasetLinks"] = {"raw": source.resolve().as_uri()}
    # first, because runs of other participants may begin at the same time
    write_json(path, description)
    write_text(folder / "README", _README)
    write_text(folder / ".bidsignore", _IGNORED)


def _task(scan: CohortScan, job: Job, wanted: dict[str, Any]) -> Task:
    own = fingerprint_of(scan, wanted)
    return Task(scan, replace(job, modality=own["settings"]["modality"]), own)


def _do_all(tasks: Sequence[Task], engine: Engine, process: Callable[[Task], Outcome], told: "_Told") -> None:
    for attempt in range(ATTEMPTS):
        # a scan beside one that takes all memory may have lost its worker to that
        tasks = engine.run(tasks, process, told, alone=attempt > 0) if tasks else []
    for task in tasks:
        told(Outcome(task.scan, kind="memory", problem=_LOST))


class _Told:
    """Keeps what becomes of the scans of a run: a record and a row for each failure, and the progress."""

    def __init__(self, folder: Path, count: int, wanted: dict[str, Any], reporter: Reporter):
        self.done = 0
        self.kinds: Counter[str] = Counter()
        self._folder, self._count, self._wanted, self._reporter = folder, count, wanted, reporter
        self._failed_before = {row["scan"] for row in read_failures(folder)}

    def __call__(self, outcome: Outcome) -> None:
        scan, image = outcome.scan, str(outcome.scan.image)
        folder = self._folder / scan.folder
        if outcome.kind:
            self.kinds[outcome.kind] += 1
            self._keep_failure(outcome, folder)
            self._reporter.error(image, outcome.kind, outcome.problem)
        else:
            self.done += 1
            if scan.key in self._failed_before:
                update_failures(self._folder, {scan.key}, ())
            files = {key: folder / name.format(scan.stem) for key, name in FILE_NAMES.items()}
            self._reporter.result(image, files, outcome.findings, outcome.candidates)
        finished = self.done + self.kinds.total()
        self._reporter.progress(image, "cohort", f"{finished} of {self._count} scans", finished / self._count)

    def _keep_failure(self, outcome: Outcome, folder: Path) -> None:
        scan, own = outcome.scan, fingerprint_of(outcome.scan, self._wanted)
        if not is_reviewed(scan, self._folder) and not _done_meanwhile(scan, folder, own):
            write_record(folder, scan.stem, Record(FAILED, outcome.inputs, own, str(scan.image), {}, {}, {},
                                                   outcome.kind, outcome.problem))
            remove_results(folder, scan.stem)
        update_failures(self._folder, (), [failure_row(scan, outcome.kind, outcome.problem)])



def _done_meanwhile(scan: CohortScan, folder: Path, own: dict[str, Any]) -> bool:
    """Whether another run has done the scan, perhaps while its files went from under this one."""
    there = read_record(folder, scan.stem)
    return there is not None and there.status == DONE and there.fingerprint == own \
        and are_unchanged(scan.files, there.inputs)

"""One scan of a cohort on a worker: the same detection as ``cmbdetect detect``, its files, figures and record."""

import os
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..batch import Job, detect_in, explain
from ..errors import InputError, ModelError
from .inputs import CohortScan
from .plan import is_reviewed
from .records import DONE, RESULT_FILES, THUMBNAIL, Record, Seen, look_at, staging_of, write_record

if TYPE_CHECKING:
    from ..pipeline import Detection
    from ..read_write import Scan
    from ..weights import Model


@dataclass(frozen=True)
class Task:
    """A scan, what to do with it (`job.folder` is that of the whole output), and the fingerprint of its result."""

    scan: CohortScan
    job: Job
    fingerprint: dict[str, Any]


@dataclass(frozen=True)
class Outcome:
    """What became of a scan.

    Attributes
    ----------
    scan : CohortScan
    findings, candidates : int
    kind, problem : str
        Of a failure, see `progress.Reporter.error`; "" if there was none.
    inputs : dict of Seen
        What a failure follows from; empty if it may go well another time.
    """

    scan: CohortScan
    findings: int = 0
    candidates: int = 0
    kind: str = ""
    problem: str = ""
    inputs: dict[str, Seen] = field(default_factory=dict)


def process_scan(task: Task) -> Outcome:
    """Detect in a scan and write its results, then its record; whatever is wrong with it comes back as an outcome."""
    started, cpu_started, inputs = time.perf_counter(), time.process_time(), {}
    _forget_peak()
    try:
        _refuse_reviewed(task)
        inputs = look_at(task.scan.files)
        model = _model(task.job.model, task.fingerprint["model"]["sha256"])
        scan, detection = detect_in(str(task.scan.image), model, task.job, _Silent())
        read, inputs = inputs, {}
        figures, acquisition = _write_results(task, scan, detection)
        figures |= {"seconds": round(time.perf_counter() - started, 3),
                    "cpu_seconds": round(time.process_time() - cpu_started, 3), "peak_memory_mb": _peak_mb()}
        folder = task.job.folder / task.scan.folder
        results = look_at(folder / name.format(scan.stem) for name in RESULT_FILES)
        write_record(folder, scan.stem, Record(DONE, read, task.fingerprint, str(task.scan.image), results, figures,
                                               acquisition))
    except Exception as error:
        kind, problem, _ = explain(error)
        # a file system that failed may answer the next time
        lasting = inputs if isinstance(error, InputError) else {}
        return Outcome(task.scan, kind=kind, problem=problem, inputs=lasting)
    return Outcome(task.scan, len(detection.result.findings), len(detection.result.candidates))


def _refuse_reviewed(task: Task) -> None:
    """Keep a reader's work: the label map among the results may be the one that a reader has changed."""
    if is_reviewed(task.scan, task.job.folder):
        raise InputError(f"{task.scan.stem} has been reviewed in {task.job.folder / task.scan.folder}, and its input, "
                         "the model or the settings have changed since; move the review away and run it again.")


@lru_cache(maxsize=1)
def _model(name: str | None, sha256: str) -> "Model":
    """Load a model once per worker."""
    from ..weights import DEFAULT_MODEL, load_model

    model = load_model(name or DEFAULT_MODEL)
    if model.sha256 != sha256:
        raise ModelError(f"The model {model.name} is another one here than where the run was started (its SHA-256 "
                         "differs); install the same model everywhere and run it again.")
    return model


def _write_results(task: Task, scan: "Scan", detection: "Detection") -> tuple[dict[str, Any], dict[str, Any]]:
    """Write all result files and return the figures and the acquisition of the scan."""
    from ..outputs import write_result
    from ..report import report_html
    from ..reviewed_case import acquisition_of
    from .quality import measure, thumbnail

    result, volume, brain = detection.result, scan.volume, detection.brain
    folder = task.job.folder / task.scan.folder
    with staging_of(folder, scan.stem) as staging:
        write_result(result, detection.labels, volume, scan.stem, staging, report_html(result, volume))
        (staging / THUMBNAIL.format(scan.stem)).write_bytes(thumbnail(volume, brain))
        for name in RESULT_FILES:
            os.replace(staging / name.format(scan.stem), folder / name.format(scan.stem))
    return measure(volume, brain, result), asdict(acquisition_of(result.provenance.modality, scan.metadata, volume))


class _Silent:
    """A reporter that tells nothing: warnings stand in the results."""

    def progress(self, image: str, step: str, message: str, fraction: float) -> None:
        pass

    def warning(self, image: str, message: str) -> None:
        pass

    def result(self, image: str, files: Mapping[str, Path], findings: int, candidates: int) -> None:
        pass

    def say(self, text: str) -> None:
        pass

    def error(self, image: str | None, kind: str, message: str) -> None:
        pass

    def done(self, exit_code: int) -> None:
        pass


def _forget_peak() -> None:
    """Begin to measure peak memory anew; Linux only."""
    if sys.platform == "linux":
        try:
            Path("/proc/self/clear_refs").write_text("5")
        except OSError:
            pass


def _peak_mb() -> int | None:
    """Return the largest resident memory since `_forget_peak` in MiB, None where the system does not tell."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) // 1024 for line in lines if line.startswith("VmHWM:")), None)

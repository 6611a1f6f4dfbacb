"""Scans one after another: read, detect, write. One that fails never stops the others.

Modules that import torch or numpy are imported where they are used, so that ``cmbdetect --help`` is instant.
"""

import errno
import gc
import os
import sys
import tempfile
import traceback
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import FaultList, InputError, MicrobleedError, ModelError, SettingsError
from .progress import Reporter, printable

if TYPE_CHECKING:
    from .pipeline import Detection
    from .read_write import Scan
    from .weights import Model

OK, OUR_FAULT, BAD_INPUT, CANCELLED = 0, 1, 2, 130
"""Exit codes."""

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS",
                    "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS")
"""Read by torch, numpy and SimpleITK when they are first imported."""

_LARGE_PAGES = "THP_MEM_ALLOC_ENABLE", "1"
"""Read by torch when it first needs memory: Linux gives it in pages of 2 MB, a fault each instead of 512."""

_LONGEST = 1000
"""Characters of a line about an error."""
_READ_SHARE, _DETECT_SHARE = 0.02, 0.95
"""Shares of the progress of a scan; writing has the rest."""


@dataclass(frozen=True)
class Job:
    """What to do with every scan.

    `model` is a name or a folder, None for the default; `mask` is a brain mask file for the only scan;
    `retry_on_cpu` is for a graphics card that runs out of memory (the panel asks for the CPU itself); `debug` prints
    tracebacks.
    """

    folder: Path
    model: str | None = None
    modality: str = "auto"
    operating_point: str = "balanced"
    improbable_regions: bool = False
    device: str = "auto"
    mask: str | None = None
    retry_on_cpu: bool = True
    debug: bool = False


def run_scans(images: Sequence[str], job: Job, reporter: Reporter) -> int:
    """Detect in every image and write the results into `job.folder`; return the exit code.

    Raises
    ------
    MicrobleedError
        If something is wrong that concerns all scans, before the first one: two images whose results would have the
        same name, one mask for several images, a folder that cannot be written to, a damaged model.
    """
    _check_stems(images)
    if job.mask is not None and len(images) > 1:
        raise SettingsError(f"--mask {job.mask} fits one image, but {len(images)} were given; run them one by one.")
    make_folder(job.folder)
    ahead = _import_and_read(images[0])
    from .weights import DEFAULT_MODEL, load_model

    model = load_model(job.model or DEFAULT_MODEL)
    codes = [_run_or_tell(image, model, job, reporter, ahead.pop() if ahead else None) for image in images]
    return OUR_FAULT if OUR_FAULT in codes else max(codes)


def _import_and_read(image: str) -> "list[Future[Scan]]":
    """Import all that a detection needs while the first scan is read; return that scan, or what was wrong with it."""
    os.environ.setdefault(*_LARGE_PAGES)
    with _kept_from_collector():
        from .read_write import read_scan

        with ThreadPoolExecutor(1) as reader:
            scan = reader.submit(read_scan, image)
            from . import pipeline  # noqa: F401
    return [scan]


@contextmanager
def _kept_from_collector() -> Iterator[None]:
    """Let the garbage collector pass over what is imported here: all of torch, at its import and again at exit."""
    if "torch" in sys.modules or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def tell(error: Exception, image: str | None, debug: bool, reporter: Reporter) -> int:
    """Tell an error as one sentence, with `debug` its traceback too, and return the exit code."""
    kind, message, exit_code = explain(error)
    reporter.error(image, kind, message)
    if debug:
        traceback.print_exception(error, file=sys.stderr)
    return exit_code


def explain(error: Exception) -> tuple[str, str, int]:
    """Return the kind of an error (see `progress.Reporter.error`), a sentence for the user, and the exit code."""
    if isinstance(error, MicrobleedError):
        kinds = {InputError: "input", ModelError: "model", SettingsError: "settings"}
        lines = str(error).splitlines() if isinstance(error, FaultList) else [str(error)]
        return kinds.get(type(error), "input"), "\n".join(map(_line, lines)), BAD_INPUT
    if out_of_cuda_memory(error):
        return "cuda_memory", "The graphics card has too little free memory; use --device cpu.", OUR_FAULT
    if isinstance(error, MemoryError) or _allocation_failed(error):
        return "memory", "There is too little free memory for this scan; close other programs or use a machine " \
                         "with more memory.", OUR_FAULT
    if isinstance(error, OSError) and error.errno is not None:
        place = f"{_line(str(error.filename))}: " if error.filename else ""
        advice = "free some space" if error.errno == errno.ENOSPC else "check the path and its rights"
        return "input", f"{place}{error.strerror}; {advice}.", BAD_INPUT
    detail = " ".join(f"{type(error).__name__}: {error}".split())
    return "internal", f"This is our fault, not yours ({detail}); run it with --debug and report what it prints.", \
        OUR_FAULT


def _line(text: str) -> str:
    """Return a text in one line, and short, whatever it quotes from a file; the end says what to do."""
    cut = text if len(text) <= _LONGEST else f"{text[:_LONGEST * 2 // 3]} ... {text[-_LONGEST // 3:]}"
    return printable(cut)


def out_of_cuda_memory(error: Exception) -> bool:
    """Whether the graphics card ran out of memory; by name and text, so that torch need not be imported here."""
    text = str(error).lower()
    return isinstance(error, RuntimeError) and ("cuda" in text or "cublas" in text or "cudnn" in text) \
        and ("out of memory" in text or "alloc" in text)


def _allocation_failed(error: Exception) -> bool:
    """Whether torch or ITK, which raise RuntimeError, could not get memory."""
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(sign in text for sign in (
        "can't allocate memory", "not enough memory", "failed to allocate", "bad_alloc", "bad allocation"))


def _check_stems(images: Sequence[str]) -> None:
    from .read_write import scan_stem

    seen = {}
    for image in images:
        stem = scan_stem(image)
        if stem in seen:
            raise InputError(f"{seen[stem]} and {image} would both write {stem}_desc-cmb_findings.json; "
                             "give them different names or run them into different folders.")
        seen[stem] = image


def most_processes() -> int:
    """Return how many processes may run at a time: one per core; Windows cannot wait for more than 61."""
    return min(os.cpu_count() or 1, 61)


def make_folder(folder: Path) -> None:
    """Create a folder for results and make sure that files can be written there.

    Raises
    ------
    InputError
        If they cannot.
    """
    from .image_files import require_readable_name

    require_readable_name(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(f"{folder} cannot be written to ({error.strerror}); choose another folder.") from None


def _run_or_tell(image: str, model, job: Job, reporter: Reporter, ahead: "Future[Scan] | None") -> int:
    try:
        _run_scan(image, model, job, reporter, ahead)
    except BrokenPipeError:
        raise
    except Exception as error:
        return tell(error, image, job.debug, reporter)
    return OK


def detect_in(image: str, model: "Model", job: Job, reporter: Reporter,
              ahead: "Future[Scan] | None" = None) -> "tuple[Scan, Detection]":
    """Read one scan, unless it has been read `ahead`, and find its microbleeds, telling progress and warnings.

    Nothing is written.

    Raises
    ------
    MicrobleedError
        If the scan, its mask or a setting cannot be used.
    """
    from .read_write import read_mask, read_scan

    reporter.progress(image, "read", "Reading", 0.0)
    scan = ahead.result() if ahead else read_scan(image)
    for sentence in scan.warnings:
        reporter.warning(image, sentence)
    mask = read_mask(job.mask, scan.volume) if job.mask else None
    detection = _detect(scan, mask, model, job, _Told(image, reporter))
    for sentence in detection.result.provenance.warnings:
        if sentence not in scan.warnings:
            reporter.warning(image, sentence)
    reporter.progress(image, "write", "Writing", _READ_SHARE + _DETECT_SHARE)
    return scan, detection


def _run_scan(image: str, model: "Model", job: Job, reporter: Reporter, ahead: "Future[Scan] | None") -> None:
    from .outputs import require_short_name, write_result
    from .read_write import scan_stem
    from .report import report_html

    require_short_name(scan_stem(image), job.folder)
    _refuse_reviewed(scan_stem(image), job.folder)
    scan, detection = detect_in(image, model, job, reporter, ahead)
    files = write_result(detection.result, detection.labels, scan.volume, scan.stem, job.folder,
                         report_html(detection.result, scan.volume))
    reporter.result(image, files, len(detection.result.findings), len(detection.result.candidates))


def _refuse_reviewed(stem: str, folder: Path) -> None:
    """Keep a reader's work: the label map beside a review is the reader's, under the name of a detection's."""
    from .review_files import review_in

    if review := review_in(folder, stem):
        raise InputError(f"{review} is a reader's review, whose label map would be lost; choose another folder.")


@dataclass(frozen=True)
class _Told:
    """The progress of the pipeline as a part of the progress of one scan."""

    image: str
    reporter: Reporter

    def __call__(self, step: str, message: str, fraction: float) -> None:
        self.reporter.progress(self.image, step, message, _READ_SHARE + _DETECT_SHARE * fraction)


def _detect(scan, mask, model, job: Job, told: _Told):
    from .pipeline import detect

    options = {"mask": mask, "modality": job.modality, "operating_point": job.operating_point,
               "improbable_regions": job.improbable_regions, "progress": told}
    try:
        return detect(scan, model, device=job.device, **options)
    except RuntimeError as error:
        if not (job.retry_on_cpu and out_of_cuda_memory(error)):
            raise
    # outside the handler, because the traceback holds on to the memory of the card
    told.reporter.warning(told.image, "The graphics card has too little free memory; trying again on the CPU.")
    return detect(scan, model, device="cpu", **options)

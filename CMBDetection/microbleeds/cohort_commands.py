"""The command ``cmbdetect cohort``, called as a BIDS App is: ``cmbdetect cohort INPUT OUTPUT participant|group``.

Modules that import numpy or more are imported where they are used, so that ``cmbdetect --help`` is instant.
"""

import argparse
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from .batch import OK, THREAD_VARIABLES, Job
from .command_options import add_device_option, add_modality_option, add_model_options, add_telling_options
from .errors import SettingsError
from .progress import Reporter


def add_cohort_command(commands: Any) -> None:
    """Add the command to the sub-commands of argparse."""
    cohort = commands.add_parser(
        "cohort", help="detect in many scans, in one process or on a cluster, and tell them as a group",
        description="A run that was stopped, by whatever, goes on where it was: only what is missing or stale is done. "
                    "A scan that cannot be used is a row in failures.tsv.")
    cohort.add_argument("input", type=Path, metavar="INPUT", help="BIDS tree, folder, or table (.tsv) with a column "
                        "\"image\", if wanted \"name\" and \"modality\"")
    cohort.add_argument("output", type=Path, metavar="OUTPUT", help="BIDS derivative data set, begun if there is none")
    cohort.add_argument("level", choices=("participant", "group"),
                        help="participant: detect; group: tables and pages of what is there")
    for name in ("participant", "session", "run"):
        cohort.add_argument(f"--{name}-label", f"--{name}_label", nargs="+", default=(), metavar="LABEL",
                            help=f"only these {name}s (default: all)")
    where = cohort.add_argument_group("where it runs (default: one process)")
    chosen = where.add_mutually_exclusive_group()
    chosen.add_argument("--workers", type=int, metavar="N", help="processes on this machine (dask.distributed)")
    chosen.add_argument("--scheduler", metavar="ADDRESS", help="of a dask scheduler, such as tcp://node7:8786")
    where.add_argument("--memory-limit", type=float, metavar="GIB", help="of each process on this machine; a scan that "
                       "needs more is a row in failures.tsv")
    where.add_argument("--threads", type=int, metavar="N", help="processor cores of each process on this machine "
                       "(default: all, shared among the processes)")
    add_device_option(where)
    add_modality_option(cohort, "told from each; a table's own column goes before")
    add_model_options(cohort)
    add_telling_options(cohort)
    cohort.set_defaults(command=_cohort)


def _cohort(options: argparse.Namespace, reporter: Reporter) -> int:
    from .cohort.inputs import Wanted, find_scans

    wanted = Wanted(*map(tuple, (options.participant_label, options.session_label, options.run_label)))
    _check(options)
    scans = find_scans(options.input, wanted)
    return (_participants if options.level == "participant" else _group)(scans, options, reporter)


def _check(options: argparse.Namespace) -> None:
    for name in ("workers", "memory_limit", "threads"):
        value = getattr(options, name)
        if value is not None and not value > 0:
            raise SettingsError(f"--{name.replace('_', '-')} must be above 0, got {value}.")
    if options.scheduler and (options.threads or options.memory_limit):
        raise SettingsError("--threads and --memory-limit are for processes on this machine; give them to the workers "
                            "of the scheduler when you start those.")


def _participants(scans: tuple, options: argparse.Namespace, reporter: Reporter) -> int:
    from .cohort.child import Child
    from .cohort.failures import FAILURES
    from .cohort.plan import fingerprint
    from .cohort.run import prepare_output, run_participants

    job = Job(folder=Path(os.path.abspath(options.output)), model=_model(options.model), modality=options.modality,
              operating_point=options.operating_point, improbable_regions=options.improbable_regions,
              device=options.device, debug=options.debug)
    prepare_output(job.folder, options.input)
    # in a process of its own, so that this one stays small
    with Child() as child:
        wanted = child.call(fingerprint, job)
    summary = run_participants(scans, job, wanted, _engine(options), reporter)
    failed = f"{summary.failed} failed" + (f" (see {options.output / FAILURES})" if summary.failed else "")
    reporter.say(f"{len(scans)} scan{'s' if len(scans) > 1 else ''}: {len(summary.plan.done)} were done before, "
                 f"{summary.done} are done now, {failed}.")
    return summary.exit_code


def _group(scans: tuple, options: argparse.Namespace, reporter: Reporter) -> int:
    from .cohort.group import write_group

    files = write_group(scans, options.output, lambda fraction: reporter.progress(
        str(options.output), "group", "Reading results", fraction))
    if options.progress == "json":
        reporter.result(str(options.output), files, 0, 0)
    else:
        reporter.say(f"The cohort is in {files['report']}; tables are beside it.")
    return OK


def _engine(options: argparse.Namespace) -> Callable[[], AbstractContextManager]:
    from .cohort.child import Child
    from .cohort.cluster import connected_cluster, local_cluster

    if options.scheduler:
        return lambda: connected_cluster(options.scheduler, Path(os.path.abspath(options.output)))
    workers = options.workers or 1
    threads = options.threads or max((os.cpu_count() or 1) // workers, 1)
    if options.workers:
        return lambda: local_cluster(workers, threads, options.memory_limit)
    if options.threads:
        os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(threads)))
    return lambda: Child(options.memory_limit)


def _model(name: str | None) -> str | None:
    """Return a model's folder as an absolute path, because workers may run elsewhere."""
    return os.path.abspath(name) if name and os.path.isdir(name) else name

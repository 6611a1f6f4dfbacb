"""Scans on the workers of dask.distributed: those of a local cluster, or of a scheduler that runs somewhere."""

import logging
import os
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .. import __version__
from ..batch import THREAD_VARIABLES
from ..errors import SettingsError
from .process import Outcome, Task

_CONFIG = {
    # the run itself tries again, and then alone, because dask suspects every scan that the worker had been given
    "distributed.scheduler.allowed-failures": 0,
    "distributed.scheduler.worker-saturation": 1.0,
    # a scan's arrays cannot be spilled, so waiting for memory would be for ever
    "distributed.worker.memory.target": False, "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False, "distributed.worker.memory.terminate": 0.95,
    # samples the stack a hundred times a second
    "distributed.worker.profile.enabled": False,
    # dask's trim threshold makes the C library give every array back at once: a quarter more CPU time
    "distributed.nanny.pre-spawn-environ": {}}
_CONNECT_S = 30


class Cluster:
    """Workers of dask.distributed that a client is connected to."""

    def __init__(self, client: Any):
        self._client = client

    def run(self, tasks: Sequence[Task], process: Callable[[Task], Outcome], told: Callable[[Outcome], None],
            alone: bool) -> list[Task]:
        """Do tasks, all at once or one at a time, and tell each outcome; return those whose worker ended."""
        from distributed import as_completed

        lost = []
        for part in ([task] for task in tasks) if alone else [tasks]:
            by_key = {f"{task.scan.key}-{uuid.uuid4().hex}": task for task in part}
            futures = self._client.map(process, list(by_key.values()), key=list(by_key), pure=False)
            for future in as_completed(futures):
                task, failure = by_key[future.key], future.exception() if future.status != "finished" else None
                if future.status == "finished":
                    told(future.result())
                elif _is_loss(failure):
                    lost.append(task)
                else:
                    told(Outcome(task.scan, kind="internal", problem=f"A worker could not run it ({failure!r}); see "
                                 "its log."))
                future.release()
        return lost


@contextmanager
def local_cluster(workers: int, threads: int, memory_gb: float | None) -> Iterator[Cluster]:
    """Give a cluster of processes on this machine.

    Parameters
    ----------
    workers, threads : int
        Processes, and processor cores of each.
    memory_gb : float or None
        Of each worker (GiB), its share of the machine's if None; one that has 95 % of that is ended, with its scan.

    Raises
    ------
    SettingsError
        If dask.distributed is not installed.
    """
    dask, distributed = _dask()
    with dask.config.set(_CONFIG), distributed.LocalCluster(
            n_workers=workers, threads_per_worker=1, processes=True, dashboard_address="127.0.0.1:0",
            memory_limit="auto" if memory_gb is None else int(memory_gb * 2**30), silence_logs=logging.CRITICAL,
            env=dict.fromkeys(THREAD_VARIABLES, str(threads))) as cluster, distributed.Client(cluster) as client:
        yield Cluster(client)


@contextmanager
def connected_cluster(address: str, folder: Path) -> Iterator[Cluster]:
    """Give the cluster of a scheduler, whose workers have this version and see the output folder.

    Raises
    ------
    SettingsError
        If dask.distributed is not installed, nothing answers, or a worker is not fit.
    """
    _, distributed = _dask()
    try:
        client = distributed.Client(address, timeout=_CONNECT_S)
    except (OSError, ValueError) as error:
        raise SettingsError(f"No dask scheduler answers at {address} ({error}); start one with \"dask scheduler\" and "
                            "give its address.") from None
    with client:
        _check_workers(client, folder)
        yield Cluster(client)


def _check_workers(client: Any, folder: Path) -> None:
    marker = folder / f".cmbdetect-cohort-{uuid.uuid4().hex}"
    marker.touch()
    try:
        seen = client.run(_what_is_seen, str(marker))
    except Exception as error:
        raise SettingsError(f"The workers cannot run cmbdetect ({error!r}); install cmbdetection {__version__} in the "
                            "environment that they start in.") from None
    finally:
        marker.unlink()
    for worker, (version, sees_folder) in seen.items():
        if version != __version__:
            raise SettingsError(f"The worker {worker} has cmbdetection {version}, here it is {__version__}; install "
                                "the same on both.")
        if not sees_folder:
            raise SettingsError(f"The worker {worker} does not see {folder}; put the output on storage that all "
                                "machines share.")


def _what_is_seen(marker: str) -> tuple[str, bool]:
    return __version__, os.path.exists(marker)


def _is_loss(failure: BaseException | None) -> bool:
    """Whether a worker ended with the scan (or the scheduler lost it), rather than an error being raised."""
    from distributed import CancelledError, KilledWorker

    return failure is None or isinstance(failure, KilledWorker | CancelledError)


def _dask() -> tuple[Any, Any]:
    try:
        import dask
        import distributed
    except ImportError:
        raise SettingsError("More than one process needs dask.distributed; install it with "
                            "pip install cmbdetection[cohort], or leave out --workers and --scheduler.") from None
    return dask, distributed

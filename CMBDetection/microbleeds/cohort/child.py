"""Scans one after another in a child process, so that one that ends its process ends nothing else."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from ..errors import SettingsError
from .process import Outcome, Task

Process = Callable[[Task], Outcome]

_LOOK_S = 0.2
"""Time between two looks at the memory of the child."""


class ChildEnded(Exception):
    """The child has ended, or was ended because of its memory, before it had an answer."""


class Child:
    """A process that runs one function at a time. After it has ended, the next call starts another.

    Parameters
    ----------
    memory_gb : float or None
        It is killed when it has more than this resident (GiB); Linux only.

    Raises
    ------
    SettingsError
        If memory cannot be watched here.
    """

    def __init__(self, memory_gb: float | None = None):
        if memory_gb is not None and not Path("/proc/self/statm").exists():
            raise SettingsError("--memory-limit works on Linux only; leave it out.")
        self._limit = memory_gb * 2**30 if memory_gb is not None else None
        self._process: Any = None
        self._pipe: Any = None

    def __enter__(self) -> "Child":
        return self

    def __exit__(self, *details: object) -> None:
        self._end()

    def call(self, function: Callable[[Any], Any], argument: Any) -> Any:
        """Return what a function of a module returns for an argument, or raise what it raises.

        Raises
        ------
        ChildEnded
        """
        if self._process is None:
            self._start()
        try:
            self._pipe.send((function, argument))
            while not self._pipe.poll(_LOOK_S):
                if self._limit is not None and _resident_bytes(self._process.pid) > self._limit:
                    self._process.kill()
            went_well, answer = self._pipe.recv()
        except (EOFError, OSError):
            self._end()
            raise ChildEnded("a child process ended before it had an answer") from None
        if not went_well:
            raise answer
        return answer

    def run(self, tasks: Sequence[Task], process: Process, told: Callable[[Outcome], None],
            alone: bool) -> list[Task]:
        """Do tasks and tell each outcome; return those that ended the process. They always run alone."""
        lost = []
        for task in tasks:
            try:
                told(self.call(process, task))
            except ChildEnded:
                lost.append(task)
        return lost

    def _start(self) -> None:
        # "spawn", because a fork of a process with threads can hang
        context = multiprocessing.get_context("spawn")
        self._pipe, its_end = context.Pipe()
        self._process = context.Process(target=_serve, args=(its_end,), daemon=True)
        self._process.start()
        # so that its death closes the pipe
        its_end.close()

    def _end(self) -> None:
        if self._process is not None:
            # whatever it is writing is written in full or not at all
            self._process.kill()
            self._process.join()
            self._pipe.close()
            self._process = None


def _serve(pipe: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    while True:
        try:
            function, argument = pipe.recv()
        except EOFError:
            return
        try:
            answer = True, function(argument)
        except Exception as error:
            answer = False, error
        pipe.send(answer)


def _end_with_parent() -> None:
    """A child whose parent was killed would go on with its scan for nobody."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _resident_bytes(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError, ValueError):
        return 0

"""How long a training has taken: the time of all its runs, because each may be interrupted at any moment."""

import json
import time
from pathlib import Path

from ..read_write import write_json
from .fit import Tell

_FILE = "spent.json"


class WorkClock:
    """Runs from now on; what former runs have spent stands in the work folder, up to their last word of progress."""

    def __init__(self, work: Path):
        self._path = work / _FILE
        self._former_s = _seconds_in(self._path)
        self._started = time.monotonic()

    @property
    def minutes(self) -> float:
        """What all runs have spent until now."""
        return (self._former_s + time.monotonic() - self._started) / 60

    def noting(self, tell: Tell) -> Tell:
        """Return what tells progress, and notes the time whenever it does."""
        def told(stage: str, fraction: float, message: str) -> None:
            tell(stage, fraction, message)
            write_json(self._path, {"seconds": round(60 * self.minutes, 1)})
        return told


def _seconds_in(path: Path) -> float:
    try:
        return float(json.loads(path.read_text(encoding="utf-8"))["seconds"])
    except (OSError, ValueError, KeyError, TypeError):
        # a training goes on without its time
        return 0.0

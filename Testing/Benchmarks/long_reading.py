"""Whether memory stays flat in a long reading: verdicts by key, findings added, scenes loaded, cases of a work list.

    python Testing/Benchmarks/long_reading.py [--verdicts 1000] [--loads 50] [--cases 20]

On the headless Slicer (`Testing/Headless`), on scans of 256 × 256 × 80 voxels, without drawing. A verdict comes with
what readers do in between: reasons, comments, undoing, other orders and filters, probe, other sequences. An addition
is a missed finding that is added, taken back, added again and taken back. A load is in turn the scene saved, closed and
opened, and the scene closed, the scan opened and its review gone on with. A case is opened by W with the next one
loaded and detected in ahead, by the tests' stand-in for the engine.

The exit code is 1 if memory grows faster than the limits, if anything is left behind (nodes, observers, Qt objects,
timers, Python objects of the extension, open files), or if a slot or an observer has swallowed an exception. The first
fifth of each block is warming up and does not count; far fewer steps than these are all warming up, and not flat.
"""

import argparse
import os
import sys
import tempfile
import time
from dataclasses import dataclass, fields
from pathlib import Path

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

_ROOT = Path(__file__).resolve().parents[2]
sys.path[:1] = [str(_ROOT / "CMBDetection"), str(_ROOT / "Testing"), str(_ROOT / "Testing" / "panel"),
                str(Path(__file__).resolve().parent)]

from Headless.start import start, stop  # noqa: E402

start()

import numpy as np  # noqa: E402
import slicer  # noqa: E402
from benchmark_tools import markdown_table  # noqa: E402
from CMBDetectionLib import reviewSession  # noqa: E402
from Headless import errors  # noqa: E402
from Headless.alive import Alive  # noqa: E402
from longReading import LongReading, aliveInReading  # noqa: E402
from readingMaterial import openPanel, writeFindings, writeScan  # noqa: E402

SHAPE_IJK = (256, 256, 80)
VERDICTS, ADDITIONS, LOADS, CASES = "verdicts", "additions", "scene loads", "cases"
LIMITS_KB = {VERDICTS: 5.0, ADDITIONS: 1000.0, LOADS: 100.0, CASES: 100.0}
"""Growth of memory per step, kB. A verdict makes the log longer. An addition keeps its outline, which three views draw,
because it can be done again. One scan takes 10 000 kB.
"""
WARMING_UP = 0.2
_ROWS = 5
"""Of each block in the table."""


@dataclass(frozen=True)
class Point:
    """What is alive after so many steps of a block; `log_bytes` is the length of the review as it is kept."""

    block: str
    steps: int
    alive: Alive
    log_bytes: int
    seconds: float


def main():
    """Read, print the tables, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--findings", type=int, default=500)
    parser.add_argument("--verdicts", type=int, default=1000)
    parser.add_argument("--additions", type=int, default=20)
    parser.add_argument("--loads", type=int, default=50)
    parser.add_argument("--cases", type=int, default=20)
    options = parser.parse_args()
    reviewSession.setReaderName("AB")
    with tempfile.TemporaryDirectory() as folder:
        points = read(Path(folder), options)
    stop()
    problems = report(points)
    print("\n".join(["", *(problems or ["Flat, and no exception was swallowed."])]))
    return 1 if problems else 0


def read(folder, options):
    """Do all of the reading; return the points in their order."""
    writeScan(folder / "scan.nii.gz", SHAPE_IJK)
    volume = slicer.util.loadVolume(str(folder / "scan.nii.gz"))
    _parent, panel = openPanel(folder / "pid")
    panel.ui.inputSelector.setCurrentNode(volume)
    panel.enter()
    panel.showFiles(volume, writeFindings(volume, folder / "result", options.findings))
    reading = LongReading(panel, folder / "scan.nii.gz", folder)
    del volume
    began = time.monotonic()

    def point(block, steps):
        one = Point(block, steps, aliveInReading(), reading.logBytes(), time.monotonic() - began)
        print(f"{one.seconds:5.0f} s  {block} {steps}: {one.alive.megabytes:.1f} MB", file=sys.stderr)
        return one

    points = [point(*one) for one in _steps(reading, folder, options)]
    panel.cleanup()
    return points


def _steps(reading, folder, options):
    """Do the reading step by step; yield the block and the number of the step within it after each."""
    yield VERDICTS, 0
    step = max(options.verdicts // 40, 1)
    while reading.given < options.verdicts:
        reading.judge(step)
        yield VERDICTS, reading.given
    for number in range(options.additions):
        reading.add()
        yield ADDITIONS, number + 1
    yield LOADS, 0
    for number in range(options.loads):
        (reading.reloadScan if number % 2 else reading.saveAndLoadScene)()
        yield LOADS, number + 1
    _writeCases(folder / "cases", options.cases)
    reading.openList(folder / "cases")
    for number in range(options.cases):
        reading.readCase()
        yield CASES, number + 1


def _writeCases(folder, count):
    """Write one more than are read, so that after each there is one to load ahead."""
    folder.mkdir()
    slicer.mrmlScene.Clear(False)
    for number in range(count + 1):
        writeScan(folder / f"case-{number:02}.nrrd", SHAPE_IJK, number)
    slicer.mrmlScene.Clear(False)


def report(points):
    """Print what was alive, and how fast it grew; return what is wrong, as sentences."""
    print(markdown_table(("after", "MB", "nodes", "observers", "Qt objects", "timers", "Python objects", "files open",
                          "log kB"), [_row(one) for one in _few(points)]))
    rows, problems = [], []
    for block, limitKb in LIMITS_KB.items():
        late = warm([one for one in points if one.block == block])
        if len(late) < 2:
            continue
        memoryKb = slope(late, [one.alive.megabytes * 1000 for one in late])
        logKb = slope(late, [one.log_bytes / 1000 for one in late])
        left = leftBehind(late)
        rows.append([block, f"{late[0].steps} to {late[-1].steps}", f"{memoryKb:.2f}", f"{limitKb:.0f}", f"{logKb:.2f}",
                     ", ".join(left) or "nothing"])
        if memoryKb > limitKb:
            problems.append(f"Memory grows by {memoryKb:.1f} kB with each of the {block}, more than {limitKb:.0f} kB.")
        if left:
            problems.append(f"Left behind by {block}: {', '.join(left)}.")
    print()
    print(markdown_table(("block", "counted", "memory kB per step", "limit", "log kB per step", "left behind"), rows))
    if errors.swallowed:
        problems.append(f"Exceptions in slots or observers: {errors.swallowed!r}.")
    return problems


def warm(points):
    """Return the points after warming up."""
    return [one for one in points if one.steps > WARMING_UP * points[-1].steps]


def slope(points, values):
    """Return how much a value grows per step, by least squares."""
    return float(np.polyfit([one.steps for one in points], values, 1)[0])


def leftBehind(points):
    """Return the names of the counts that are higher at the last point than at the first of the same kind.

    Loads are of two kinds that take turns, and leave different scenes.
    """
    kinds = 2 if points[0].block == LOADS else 1
    first = points[(len(points) - 1) % kinds].alive
    return [f"{getattr(points[-1].alive, name) - getattr(first, name)} {name.replace('_', ' ')}"
            for name in (field.name for field in fields(Alive) if field.type is int)
            if getattr(points[-1].alive, name) > getattr(first, name)]


def _few(points):
    """Return some points of each block, the first and the last among them."""
    for block in LIMITS_KB:
        ours = [one for one in points if one.block == block]
        if ours:
            chosen = np.unique(np.linspace(0, len(ours) - 1, _ROWS + 1).round().astype(int))
            yield from (ours[index] for index in chosen)


def _row(one):
    return [f"{one.steps} {one.block}", f"{one.alive.megabytes:.1f}",
            *(str(getattr(one.alive, name)) for name in ("nodes", "observers", "qt_objects", "timers", "python_objects",
                                                         "files")), f"{one.log_bytes / 1000:.0f}"]


if __name__ == "__main__":
    sys.exit(main())

"""How long the panel takes for a jump, a verdict, an undo, a step of the slider, and the next case of a work list.

    python Testing/Benchmarks/review_speed.py [--findings 200] [--actions 400]

On the headless Slicer (`Testing/Headless`), on a volume of 256 × 256 × 80 voxels with a file, so that autosave is in
it; drawing is not. The longest verdict is the first after opening a scene, which reads all outlines once. The next case
of the list is one that was loaded and detected in ahead (by the tests' stand-in for the engine). Goals: jump ≤ 100 ms,
verdict ≤ 50 ms, next case and the result of the engine ≤ 1 s.
"""

import argparse
import os
import sys
import tempfile
import time
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
from readingMaterial import openPanel, writeFindings, writeScan  # noqa: E402

READING_SECONDS = 6
SHAPE_IJK = (256, 256, 80)


def main():
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--findings", type=int, default=200)
    parser.add_argument("--actions", type=int, default=400)
    parser.add_argument("--cases", type=int, default=6, help="of the work list")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(Path(folder), options) + [measureCases(Path(folder) / "cases", options.cases)]
    print(f"{options.findings} findings, {options.actions} actions each, {os.cpu_count()} cores\n")
    print(markdown_table(("action", "median ms", "95 % of them under ms", "longest ms"), rows))
    stop()


def measure(folder, options):
    """Return the rows of the table."""
    writeScan(folder / "scan.nii.gz", SHAPE_IJK)
    volume = slicer.util.loadVolume(str(folder / "scan.nii.gz"))
    _parent, panel = openPanel(folder / "pid")
    panel.ui.inputSelector.setCurrentNode(volume)
    files = writeFindings(volume, folder / "result", options.findings)
    ui, rng = panel.ui, np.random.default_rng(0)
    rows = [_row("result of the engine shown", 1, lambda n: panel.showFiles(volume, files)),
            _row("jump to a finding", options.actions,
                 lambda n: ui.findingsTable.selectRow(int(rng.integers(options.findings)))),
            _row("verdict, autosaved, and on", options.actions,
                 lambda n: (ui.acceptButton if n % 3 else ui.rejectButton).click()),
            _row("undo", options.actions, lambda n: ui.undoButton.click()),
            _row("step of the threshold slider", options.actions,
                 lambda n: setattr(ui.thresholdSlider, "value", 0.3 + 0.01 * (n % 60)))]
    ui.thresholdSlider.value = 0.3
    ui.tabs.setCurrentWidget(ui.probeTab)
    rows.append(_row("jump with the probe on screen", options.actions,
                     lambda n: ui.findingsTable.selectRow(int(rng.integers(options.findings)))))
    panel.cleanup()
    return rows


def measureCases(folder, count):
    """Return the row of going on to the next case of a work list."""
    folder.mkdir()
    for number in range(count):
        writeScan(folder / f"case-{number}.nrrd", SHAPE_IJK, number)
    slicer.mrmlScene.Clear(False)
    _parent, panel = openPanel(folder / "pid")
    panel.workList.open(folder)
    milliseconds = []
    for _case in range(count):
        began = time.perf_counter()
        panel.ui.nextCaseButton.click()
        slicer.app.processEvents()
        milliseconds.append(1000 * (time.perf_counter() - began))
        # the time a reader takes at least; meanwhile the next case is loaded and detected in
        while time.perf_counter() - began < READING_SECONDS:
            slicer.app.processEvents()
        while panel.ui.acceptButton.isEnabled() and "0 open" not in panel.ui.summaryLabel.text:
            panel.ui.acceptButton.click()
    panel.cleanup()
    return _told("next case of a work list, after the first", milliseconds[1:])


def _row(name, count, act):
    milliseconds = []
    for number in range(count):
        began = time.perf_counter()
        act(number)
        slicer.app.processEvents()
        milliseconds.append(1000 * (time.perf_counter() - began))
    return _told(name, milliseconds)


def _told(name, milliseconds):
    return [name, *(f"{value:.0f}" for value in (np.median(milliseconds), np.quantile(milliseconds, 0.95),
                                                 max(milliseconds)))]


if __name__ == "__main__":
    main()

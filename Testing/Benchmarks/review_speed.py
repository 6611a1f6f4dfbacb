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
sys.path[:1] = [str(_ROOT / "CMBDetection"), str(_ROOT / "Testing"), str(Path(__file__).resolve().parent)]

from Headless.start import start, stop  # noqa: E402

start()

import numpy as np  # noqa: E402
import qt  # noqa: E402
import slicer  # noqa: E402
from benchmark_tools import markdown_table  # noqa: E402
from CMBDetectionLib.engineProcess import EngineCommand  # noqa: E402
from CMBDetectionLib.panel import Panel  # noqa: E402
from CMBDetectionLib.volumeNodes import ijkToRas  # noqa: E402
from microbleeds.findings import DetectionResult, Extrema, Finding, Provenance  # noqa: E402
from microbleeds.outputs import write_result  # noqa: E402
from microbleeds.region_lookup import locate  # noqa: E402
from microbleeds.regions import REGIONS  # noqa: E402
from microbleeds.volume import Volume  # noqa: E402

READING_SECONDS = 6
SHAPE_IJK, SPACING_MM = (256, 256, 80), (0.9, 0.9, 2.0)
MAP_SPACING_MM = 1.25


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
    parent = slicer.qMRMLWidget()
    panel, volume = _panel(parent, folder)
    files = _writeFindings(volume, folder, options.findings)
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
        voxels = np.random.default_rng(number).normal(300, 20, SHAPE_IJK[::-1]).astype(np.int16)
        volume = slicer.util.addVolumeFromArray(voxels, np.diag([*SPACING_MM, 1.0]), f"case-{number}")
        slicer.util.exportNode(volume, str(folder / f"case-{number}.nrrd"))
    slicer.mrmlScene.Clear(False)
    engine = EngineCommand(sys.executable, (str(_ROOT / "Testing" / "panel" / "fakes" / "fakeEngine.py"), "normal",
                                            str(folder / "pid")))
    parent = slicer.qMRMLWidget()
    parent.setLayout(qt.QVBoxLayout())
    parent.setMRMLScene(slicer.mrmlScene)
    panel = Panel(parent.layout(), command=engine, models=[("none", "none")], ensureTorch=lambda: "")
    parent.show()
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


def _panel(parent, folder):
    parent.setLayout(qt.QVBoxLayout())
    parent.setMRMLScene(slicer.mrmlScene)
    panel = Panel(parent.layout(), models=[("none", "none")])
    matrix = np.diag([*SPACING_MM, 1.0])
    voxels = np.random.default_rng(1).normal(300, 20, SHAPE_IJK[::-1]).astype(np.float32)
    path = folder / "scan.nii.gz"
    slicer.util.exportNode(slicer.util.addVolumeFromArray(voxels, matrix, "scan"), str(path))
    volume = slicer.util.loadVolume(str(path))
    parent.show()
    panel.ui.inputSelector.setCurrentNode(volume)
    return panel, volume


def _writeFindings(volume, folder, count):
    """Write the files that the engine writes, with as large a region map; return them by role."""
    rng = np.random.default_rng(2)
    labels = np.zeros(SHAPE_IJK, np.int32)
    findings, affine = [], ijkToRas(volume)
    regionMap = _regionMap(affine)
    for number in range(1, count + 1):
        voxel = rng.integers(4, np.array(SHAPE_IJK) - 4)
        labels[tuple(slice(at - 1, at + 2) for at in voxel)] = number
        place = tuple((affine @ [*voxel, 1])[:3].tolist())
        findings.append(Finding(number, place, 0.99 - 0.6 * number / count, 0.9, 43.7, 4.4, (place, place),
                                Extrema(0.0, 0.0, place, place), place=locate(regionMap, place)))
    provenance = Provenance("scan.nii.gz", "", "gre", "given", "none", "", "balanced", SHAPE_IJK, SPACING_MM,
                            {"classify": {"threshold": 0.3}}, {}, {})
    result = DetectionResult(tuple(findings), provenance, regionMap)
    grid = Volume(labels, affine)
    files = write_result(result, grid, grid, "scan", folder / "result", "<html></html>")
    return {role: str(path) for role, path in files.items()}


def _regionMap(affine):
    """Return a map with voxels of 1.25 mm, of boxes that are cut in halves."""
    size = np.array(SHAPE_IJK) * SPACING_MM
    shape = np.ceil(size / MAP_SPACING_MM).astype(int)
    places = np.indices(shape) * MAP_SPACING_MM // 35
    data = (1 + places.sum(axis=0) % len(REGIONS) + 16 * (np.indices(shape)[0] > shape[0] // 2)).astype(np.uint8)
    matrix = affine @ np.diag([*(MAP_SPACING_MM / np.array(SPACING_MM)), 1.0])
    return Volume(data, matrix)


if __name__ == "__main__":
    main()

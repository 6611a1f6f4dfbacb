"""A whole reading in one process: detection in a DICOM series, a reader's verdicts, report and export of every form.

Usage: offline_reading.py SERIES OUTPUT [kernel]; with the last one the kernel ends the process if it makes an internet
socket. `test_no_network` runs it where there is no network.
"""

import sys
from pathlib import Path

import network_guard

if sys.argv[3:] == ["kernel"]:
    # before anything is imported that might make one
    network_guard.die_of_sockets()
    # pydicom imports it where it is installed, for downloads that nobody asks for here, and its urllib3 then makes a
    # socket, which it never connects, to see whether the machine has IPv6
    sys.modules["requests"] = None

import numpy as np
from microbleeds import cli
from microbleeds.export.formats import FORMATS
from microbleeds.outputs import FILE_NAMES, read_result
from microbleeds.probe import probe_scan
from microbleeds.read_write import read_labels, read_scan, write_label_map, write_text
from microbleeds.review_files import ACCEPTED, REJECTED
from microbleeds.review_files import FILE_NAME as REVIEW_NAME
from microbleeds.review_log import Event, ReviewState, detection_value, replay
from microbleeds.review_sidecar import Sidecar, labels_beside, sidecar_text, voxels_sha256


def read(series: Path, output: Path) -> None:
    """Detect, judge, report and export; raises if a step does not end well."""
    results, quiet = output / "results", ("--progress", "none")
    _command("detect", series, "-o", results, "--device", "cpu", *quiet)
    review = _judge(series, results)
    _command("report", series, "-o", output / "report", "--pdf", "--review", review, *quiet)
    _command("export", series, "-o", output / "export", "--review", review, "--formats", *FORMATS, "--cohort-table",
             output / "export" / "cohort.tsv", *quiet)


def _command(*arguments) -> None:
    code = cli.main([str(argument) for argument in arguments])
    if code != 0:
        raise SystemExit(f"cmbdetect {arguments[0]} ended with {code}")


def _judge(series: Path, results: Path) -> Path:
    """Look at the probe of two findings, accept one, reject one; return the review, kept as the panel does."""
    scan = read_scan(series)
    result = read_result(results / FILE_NAMES["findings"].format(scan.stem))
    at = "2026-11-30T09:00:00+00:00"
    events = [Event(at, "", "detected", 0, detection_value(result, ReviewState()))]
    for item, verdict in zip(replay(events).items, (ACCEPTED, REJECTED), strict=False):
        probe_scan(scan.volume, item.position_ras, bright=False)
        events.append(Event(at, "A", "verdict", item.id, verdict, 2.5))
    events.append(Event(at, "A", "finished", 0, True))
    path = series.parent / REVIEW_NAME.format(scan.stem)
    write_text(path, sidecar_text(Sidecar(tuple(events), series.name, scan.sha256,
                                          voxels_sha256(scan.volume.data, scan.volume.affine), "A", 0.5)))
    found = read_labels(results / FILE_NAMES["labels"].format(scan.stem))
    labels = np.zeros(found.shape, np.int32)
    for listed in events[0].value["candidates"]:
        labels[found.data == listed["label"]] = listed["id"]
    write_label_map(labels_beside(path), found.with_data(labels))
    return path


if __name__ == "__main__":
    read(Path(sys.argv[1]), Path(sys.argv[2]))

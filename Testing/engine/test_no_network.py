"""Detection, review and export ask nobody: with every socket refused, and where there is no network at all."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import network_guard
import pytest
from dicom_phantoms import write_mr_series
from microbleeds import cli
from microbleeds.export.formats import FORMATS
from microbleeds.geometry import crop
from microbleeds.read_write import read_scan
from microbleeds.resources import resource_path

HERE = Path(__file__).parent
SCRIPT = HERE / "offline_reading.py"
ENGINE = Path(cli.__file__).parents[1]
IN_A_NAMESPACE = ("unshare", "--map-root-user", "--net")
"""Linux gives a process a network of its own, in which nothing is, not even the way to itself."""
_LOADED = re.compile(r"""(?:src|href|action|data)\s*=\s*["']?\s*(?:https?:)?//|url\(\s*["']?(?:https?:)?//|@import""")


@pytest.fixture(scope="module")
def series(tmp_path_factory):
    """Copies, each in a folder of its own, of a DICOM series with a part of the bundled scan and clear findings."""
    scan = read_scan(resource_path(cli.SAMPLE))
    part = crop(scan.volume, [(55, 92, 17), (135, 144, 40)])
    made = write_mr_series(tmp_path_factory.mktemp("made") / "sub-03_T2starw", values=part.data,
                           spacing=tuple(part.spacing), ImageOrientationPatient=[-1, 0, 0, 0, -1, 0])
    return lambda folder: Path(shutil.copytree(made, folder / made.name))


def start(arguments, log, before=(), **variables):
    environment = os.environ | network_guard.child_environment(log)
    paths = (environment["PYTHONPATH"], str(ENGINE), str(HERE.parent))
    return subprocess.run([*before, sys.executable, *map(str, arguments)], capture_output=True, text=True, timeout=240,
                          env=environment | {"PYTHONPATH": os.pathsep.join(paths)} | variables)


def assert_everything_is_written(output):
    results = sorted(path.name for path in (output / "results").iterdir())
    assert results == [f"sub-03_T2starw_desc-cmb_{name}" for name in (
        "dseg.nii.gz", "findings.json", "findings.tsv", "markups.mrk.json", "report.html")]
    stem = "sub-03_T2starw_desc-cmb"
    written = {"page": f"{stem}_reading.html", "pdf": f"{stem}_reading.pdf", "tables": "cmb_findings.csv",
               "points": f"{stem}_points.fcsv", "segmentation": f"{stem}.seg.nrrd", "labels": f"{stem}_labels.nii.gz",
               "bids": "bids/dataset_description.json", "dicom": f"{stem}_sr.dcm", "training": "training/splits.json",
               "nnunet": "nnUNet_raw/Dataset501_Microbleeds/dataset.json"}
    assert set(written) == set(FORMATS)
    for name in (*written.values(), "cohort.tsv"):
        assert (output / "export" / name).stat().st_size > 0, name
    for suffix in ("html", "pdf"):
        assert (output / "report" / f"{stem}_reading.{suffix}").stat().st_size > 0
    pages = list(output.rglob("*.html"))
    assert len(pages) == 3
    for page in pages:
        # a browser asks for what a page names
        assert not _LOADED.search(page.read_text(encoding="utf-8")), page


def kernel_filter():
    """Whether the kernel can end a process that makes an internet socket, tried in a process of its own."""
    code = "import network_guard, socket; network_guard.die_of_sockets(); print('taken', flush=True); socket.socket()"
    tried = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=HERE.parent)
    return "taken" in tried.stdout and tried.returncode < 0


def test_detection_review_and_export_try_to_reach_nobody(series, tmp_path):
    """Where the kernel helps, no library makes so much as an internet socket."""
    log = tmp_path / "attempts"
    kernel = ["kernel"] if kernel_filter() else []
    run = start([SCRIPT, series(tmp_path), tmp_path / "out", *kernel], log)
    assert run.returncode == 0, run.stderr
    assert not log.exists(), log.read_text(encoding="utf-8")
    assert_everything_is_written(tmp_path / "out")


def test_detection_review_and_export_work_where_there_is_no_network(series, tmp_path):
    if shutil.which("unshare") is None or subprocess.run([*IN_A_NAMESPACE, "true"], capture_output=True).returncode:
        pytest.skip("this system gives no network namespace")
    log = tmp_path / "attempts"
    run = start([SCRIPT, series(tmp_path), tmp_path / "out"], log, IN_A_NAMESPACE)
    assert run.returncode == 0, run.stderr
    assert not log.exists(), log.read_text(encoding="utf-8")
    assert_everything_is_written(tmp_path / "out")


@pytest.mark.parametrize("code", [
    "import socket; socket.socket().connect(('192.0.2.1', 80))", "import socket; socket.socket().bind(('', 0))",
    "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('192.0.2.1', 53))",
    "import socket; socket.socket().connect_ex(('127.0.0.1', 80))",
    "import socket; socket.getaddrinfo('example.org', 80)", "import socket; socket.gethostbyname('example.org')",
    "import urllib.request; urllib.request.urlopen('http://192.0.2.1')",
    "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import urllib.request; "
    "urllib.request.urlopen(\"http://192.0.2.1\")'], check=True)"])
def test_the_guard_refuses_and_writes_down(code, tmp_path):
    log = tmp_path / "attempts"
    run = start(["-c", code], log)
    assert run.returncode == 1 and "refused by the test" in run.stderr
    assert log.read_text(encoding="utf-8").startswith("socket.")


def test_the_guard_leaves_what_stays_in_the_machine(tmp_path):
    code = ("import multiprocessing, socket; a, b = socket.socketpair(); a.send(b'x'); assert b.recv(1) == b'x'; "
            "one, other = multiprocessing.Pipe(); one.send('y'); assert other.recv() == 'y'; socket.gethostname()")
    run = start(["-c", code], tmp_path / "attempts")
    assert run.returncode == 0 and not (tmp_path / "attempts").exists(), run.stderr

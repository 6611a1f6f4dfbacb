"""The participant level in a child process of its own: what a kill, or too little memory, leaves behind."""

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import cohort_phantoms
import pytest
from cohort_phantoms import bids_tree, calls_of, run_cohort, wanted_of
from microbleeds.cohort import child
from microbleeds.cohort.child import Child, ChildEnded
from microbleeds.cohort.failures import read_failures
from microbleeds.cohort.inputs import Wanted, find_scans
from microbleeds.cohort.plan import make_plan
from microbleeds.cohort.records import DONE, RESULT_FILES, are_unchanged, read_record
from microbleeds.cohort.run import ATTEMPTS
from microbleeds.outputs import read_result


def test_a_scan_that_ends_its_process_is_tried_a_few_times_and_stops_nothing(tmp_path):
    source, output = bids_tree(tmp_path / "in", ["a", "crash", "d"]), tmp_path / "out"
    summary = run_cohort(source, output, engine=Child, process=cohort_phantoms.process)
    assert (summary.done, summary.failed, summary.exit_code) == (2, 1, 1)
    assert sorted(calls_of(output)) == ["sub-a", *["sub-crash"] * ATTEMPTS, "sub-d"]
    row, = read_failures(output)
    assert (row["participant"], row["kind"]) == ("crash", "memory") and f"{ATTEMPTS} times" in row["reason"]


@pytest.mark.skipif(sys.platform != "linux", reason="memory is watched on Linux only")
def test_memory_is_limited():
    with Child(0.4) as process:
        assert process.call(len, "four") == 4
        with pytest.raises(ChildEnded):
            process.call(_take_memory, None)
        assert process.call(len, "four") == 4


def _take_memory(_):
    taken = []
    for _ in range(200):
        taken.append(bytearray(b"x" * 2**24))
        time.sleep(0.02)


RUN = """
import sys
from pathlib import Path
import cohort_phantoms
from microbleeds.cohort import child
from microbleeds.cohort.child import Child, ChildEnded
if __name__ == "__main__":
    cohort_phantoms.run_cohort(*map(Path, sys.argv[1:]), Child, cohort_phantoms.process)
"""


def test_a_kill_at_any_moment_loses_only_what_is_in_flight(tmp_path):
    """A process of its own, killed with its child at random moments after it has begun a few scans."""
    source, output = bids_tree(tmp_path / "in", [f"slow{number}" for number in range(7)]), tmp_path / "out"
    scans, script = find_scans(source, Wanted()), tmp_path / "run.py"
    script.write_text(RUN)
    paths = Path(child.__file__).parents[2], Path(__file__).parent
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths))}
    rng, done = random.Random(4), {}
    for begun in (2, 3):
        calls_of(output)
        run = subprocess.Popen([sys.executable, str(script), str(source), str(output)], env=environment)
        wait_for_calls(output, begun)
        time.sleep(rng.uniform(0, 0.4))
        run.kill()
        run.wait()
        # its child sees that within a moment
        time.sleep(0.5)
        for scan in scans:
            record = read_record(output / scan.folder, scan.stem)
            if record is not None:
                files = [output / scan.folder / name.format(scan.stem) for name in RESULT_FILES]
                assert record.status == DONE and are_unchanged(files, record.results)
                assert read_result(files[0]).provenance.input_sha256 == record.inputs[scan.image.name].sha256
                assert done.setdefault(scan.key, stamp_of(output, scan.key)) == stamp_of(output, scan.key)
    # all that were begun before the last one are there, from both runs
    assert 1 + 2 <= len(done) < len(scans)
    left = {todo.scan.key for todo in make_plan(scans, output, wanted_of()).todo}
    assert left == {scan.key for scan in scans} - set(done)
    run_cohort(source, output, Child, cohort_phantoms.process)
    assert not make_plan(scans, output, wanted_of()).todo and not list(output.rglob(".cmbdetect-*"))
    assert all(stamp_of(output, key) == stamp for key, stamp in done.items())


def wait_for_calls(output, number):
    path, until = output.parent / cohort_phantoms.CALLS, time.monotonic() + 60
    while not path.exists() or len(path.read_text().splitlines()) < number:
        assert time.monotonic() < until
        time.sleep(0.01)


def stamp_of(output, key):
    return (output / f"{key}_desc-cmb_run.json").stat().st_mtime_ns

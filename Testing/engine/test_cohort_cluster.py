"""Worker processes of dask.distributed: on this machine, and as jobs of a queue that is none."""

import os
import sys
import time
from functools import partial
from pathlib import Path

import cohort_phantoms
import pytest
from cohort_phantoms import bids_tree, calls_of, run_cohort, write_scan
from microbleeds.cohort.child import Child
from microbleeds.cohort.failures import read_failures
from microbleeds.errors import SettingsError

pytest.importorskip("distributed")
from microbleeds.cohort.cluster import connected_cluster, local_cluster

ROOT = Path(__file__).resolve().parents[2]
# like the real one it takes a copy: dask_jobqueue removes the script as soon as this returns
SBATCH = """#!/bin/sh
folder="$(dirname "$0")"
cp "$1" "$folder/job.sh"
setsid bash "$folder/job.sh" > "$folder/job.log" 2>&1 &
echo $! > "$folder/job.pid"
echo "Submitted batch job $!"
"""


def test_workers_of_dask_give_what_one_process_gives(tmp_path, monkeypatch):
    monkeypatch.setattr("microbleeds.cohort.run.ATTEMPTS", 2)
    source = bids_tree(tmp_path / "in", ["a", "b", "c", "crash", "wrong"])
    write_scan(source / "sub-bad" / "anat" / "sub-bad_T2starw.nii.gz").write_bytes(b"nothing")
    for name, engine in (("serial", Child), ("cluster", partial(local_cluster, 2, 1, None))):
        (tmp_path / name).mkdir()
        summary = run_cohort(source, tmp_path / name / "out", engine, cohort_phantoms.process)
        assert (summary.done, summary.failed, summary.exit_code) == (3, 3, 1)
    serial, cluster = tmp_path / "serial" / "out", tmp_path / "cluster" / "out"
    assert contents(serial, but=("_run.json",)) == contents(cluster, but=("_run.json",))
    assert read_failures(serial) == read_failures(cluster)
    assert [row["participant"] for row in read_failures(cluster)] == ["bad", "crash", "wrong"]
    assert calls_of(cluster).count("sub-crash") == 2


def contents(folder, but):
    """Return the bytes of every result file by its path."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("sub-*/**/*"))
            if path.is_file() and not path.name.endswith(but)}


def test_a_scheduler_that_does_not_answer_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr("microbleeds.cohort.cluster._CONNECT_S", 0.5)
    with pytest.raises(SettingsError, match="No dask scheduler answers at tcp://127.0.0.1:9"):
        connected_cluster("tcp://127.0.0.1:9", tmp_path).__enter__()


def test_the_example_of_slurm_runs_with_a_queue_that_starts_jobs_at_once(tmp_path, monkeypatch):
    pytest.importorskip("dask_jobqueue")
    monkeypatch.syspath_prepend(ROOT / "Resources")
    from cohort_on_slurm import make_cluster

    source, output = bids_tree(tmp_path / "in", ["a", "b"]), tmp_path / "out"
    for name, text in (("sbatch", SBATCH), ("scancel", '#!/bin/sh\nkill -- -"$1"\n')):
        command = tmp_path / "bin" / name
        command.parent.mkdir(exist_ok=True)
        command.write_text(text)
        command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{command.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, (ROOT / "CMBDetection", Path(__file__).parent))))
    with make_cluster() as cluster:
        script = cluster.job_script()
        assert "export OMP_NUM_THREADS=1" in script and "#SBATCH --mem=3G" in script and sys.executable in script
        cluster.scale(jobs=1)
        cluster.wait_for_workers(1, timeout=120)
        engine = partial(connected_cluster, cluster.scheduler_address, output)
        assert run_cohort(source, output, engine, cohort_phantoms.process).done == 2
    assert calls_of(output) == ["sub-a", "sub-b"]
    job, until = int((command.parent / "job.pid").read_text()), time.monotonic() + 20
    while Path(f"/proc/{job}").exists() and time.monotonic() < until:
        time.sleep(0.1)
    assert not Path(f"/proc/{job}").exists()

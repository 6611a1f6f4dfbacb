"""Example: a cohort on the nodes of SLURM (PBS: PBSCluster, with resource_spec instead of job_extra_directives).

    python cohort_on_slurm.py INPUT OUTPUT JOBS [further options of cmbdetect cohort]

Run it where jobs can be submitted, in an environment with cmbdetection[cohort] and dask-jobqueue that the nodes see
too, as they see INPUT and OUTPUT. Each job is one worker process on one core. Change queue, account, memory and time to
what your site has. Stop it whenever you like: the same command goes on.
"""

import subprocess
import sys

import dask
from dask_jobqueue import SLURMCluster

THREADS = 1
PROLOGUE = [f"export {name}={THREADS}" for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS",
                                                    "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS")]
# cmbdetect itself tries a scan that ended its worker again, alone
CONFIG = {"distributed.scheduler.allowed-failures": 0, "distributed.scheduler.worker-saturation": 1.0}
# memory cannot be spilled, so nothing is to wait for it; dask's trim threshold costs CPU time
WORKER = {f"DASK_DISTRIBUTED__{name}": value for name, value in (
    ("WORKER__MEMORY__PAUSE", "False"), ("WORKER__MEMORY__SPILL", "False"), ("WORKER__MEMORY__TARGET", "False"),
    ("WORKER__PROFILE__ENABLED", "False"), ("NANNY__PRE_SPAWN_ENVIRON", "{}"))}


def make_cluster() -> SLURMCluster:
    """Return a cluster without jobs yet."""
    return SLURMCluster(
        queue="batch", cores=THREADS, processes=1, memory="3GiB", walltime="12:00:00", worker_extra_args=[
            # before the time is up, so that its end is not taken for the fault of a scan
            "--lifetime", "11h", "--lifetime-stagger", "30m"],
        job_script_prologue=[*PROLOGUE, *(f"export {name}={value}" for name, value in WORKER.items())])


def main(source: str, output: str, jobs: str, *options: str) -> int:
    """Run the participant level on so many jobs, then the group level here."""
    with dask.config.set(CONFIG), make_cluster() as cluster:
        cluster.scale(jobs=int(jobs))
        cluster.wait_for_workers(1)
        code = subprocess.run([sys.executable, "-m", "microbleeds", "cohort", source, output, "participant",
                               "--scheduler", cluster.scheduler_address, *options], check=False).returncode
    subprocess.run([sys.executable, "-m", "microbleeds", "cohort", source, output, "group"], check=True)
    return code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

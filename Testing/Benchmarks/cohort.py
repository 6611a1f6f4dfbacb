"""A cohort on a local cluster: killed, poisoned and out of memory, it ends complete and equal to the serial run.

    python Testing/Benchmarks/cohort.py --work DIR [--scans 200] [--base FOLDER] [--timed 12]

Simulated scans, the sample scan or those of a folder with noise, scale and crop drawn anew, go through ``cmbdetect
cohort`` twice: in one process, and on two workers of dask.distributed, one of which is killed (SIGKILL) after a third
of the scans, and then the whole run after two thirds, to be started again. One file is cut off, and one scan needs more
memory than a process may have. Then it is checked that every scan is there or in failures.tsv, that both runs found
the same, that what was done before the kill was not done again, and that another run does nothing. Some scans are timed
on one and on two workers, and the plan for 50 000 scans is computed of what was measured. Everything in DIR is kept,
and the same command goes on there. Exit code 1 if a check fails.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import mean, median
from typing import Any

_ROOT = Path(__file__).resolve().parents[2]
sys.path[:1] = [str(_ROOT / "CMBDetection"), str(Path(__file__).resolve().parent)]

import numpy as np  # noqa: E402
import psutil  # noqa: E402  comes with distributed
from benchmark_tools import markdown_table  # noqa: E402
from microbleeds.cohort.failures import read_failures  # noqa: E402
from microbleeds.cohort.group import write_group  # noqa: E402
from microbleeds.cohort.inputs import CohortScan, Wanted, find_scans  # noqa: E402
from microbleeds.cohort.records import DONE, RECORD, RESULT_FILES, read_record  # noqa: E402
from microbleeds.findings import Finding  # noqa: E402
from microbleeds.outputs import read_result  # noqa: E402
from microbleeds.read_write import read_labels, read_scan, write_image, write_json  # noqa: E402
from microbleeds.resources import resource_path  # noqa: E402
from microbleeds.volume import Volume  # noqa: E402
from microbleeds.work_list import find_cases  # noqa: E402

SAMPLE = "Sample/simulated_T2star.nii.gz"
COHORT = 50_000
WORKERS = 2
MEMORY_GIB = 2.5
"""Of each process; a usual scan takes a third of it."""
POISONED, TOO_LARGE = "poisoned", "toolarge"
REPEATED = (4, 4, 6)
"""Each voxel of the scan that is too large, along i, j, k."""
SAME_MM, SAME_PROBABILITY = 1e-3, 1e-4
_WATCH_S = 0.5


def main() -> int:
    """Run all and write ``cohort.md`` and ``cohort.json`` into the work folder."""
    options = _options()
    work = options.work.resolve()
    scans = make_scans(work / "scans", options)
    sound = [scan for scan in scans if scan.subject not in (POISONED, TOO_LARGE)]
    seconds = _once(work / "serial.json", lambda: timed_run(work, "serial", "--threads", "1"))
    story = _once(work / "cluster.json", lambda: troubled_run(work, scans))
    again = timed_run(work, "cluster", *_on_workers(WORKERS))
    timing = _once(work / "timing.json", lambda: {str(number): timed_workers(work, sound[:options.timed], number)
                                                  for number in (1, WORKERS)})
    started = time.perf_counter()
    write_group(scans, work / "cluster", lambda share: None)
    group_s = time.perf_counter() - started
    checks = check(work, scans, sound, story)
    report(work, sound, options, {"serial_s": seconds, "again_s": again, "group_s": group_s, **story}, timing, checks)
    return 0 if all(checks.values()) else 1


def make_scans(folder: Path, options: argparse.Namespace) -> tuple[CohortScan, ...]:
    """Make a BIDS tree of simulated scans, the last two poisoned and too large; those that are there are kept."""
    given = find_cases(options.base) if options.base else ()
    bases = [case.image for case in given if "T2star" in case.name] or [resource_path(SAMPLE)]
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "dataset_description.json", {"Name": "Simulated cohort", "BIDSVersion": "1.10.0"})
    names = [*(f"{number:05d}" for number in range(1, options.scans - 1)), POISONED, TOO_LARGE]
    for number, name in enumerate(names):
        image = folder / f"sub-{name}" / "anat" / f"sub-{name}_T2starw.nii.gz"
        if not image.exists():
            base = bases[number % len(bases)]
            image.parent.mkdir(parents=True, exist_ok=True)
            write_json(image.with_name(f"sub-{name}_T2starw.json"), _sidecar(base))
            _write_variant(base, name, number, image)
    return find_scans(folder, Wanted())


def _sidecar(base: Path) -> dict[str, Any]:
    sidecar = base.with_name(base.name.removesuffix(".nii.gz") + ".json")
    return {**json.loads(sidecar.read_text(encoding="utf-8")), "Simulated": True} if sidecar.exists() else {
        "Simulated": True}


def _write_variant(base: Path, name: str, number: int, image: Path) -> None:
    volume, rng = read_scan(base).volume, np.random.default_rng(number)
    if name == TOO_LARGE:
        data = volume.data.astype(np.int16)
        for axis, times in enumerate(REPEATED):
            data = np.repeat(data, times, axis)
        write_image(image, Volume(data, volume.affine @ np.diag([*(1 / np.array(REPEATED)), 1.0])))
        return
    rows = slice(*(int(cut) * sign or None for cut, sign in zip(rng.integers(0, 6, 2), (1, -1), strict=True)))
    data = volume.data[:, rows] * rng.uniform(0.5, 2)
    data = data + rng.normal(0, rng.uniform(0.005, 0.02) * np.percentile(data, 90), data.shape)
    affine = volume.affine.copy()
    affine[:3, 3] += affine[:3, 1] * (rows.start or 0)
    write_image(image, Volume(np.clip(data.round(), 0, 32767).astype(np.int16), affine))
    if name == POISONED:
        os.truncate(image, image.stat().st_size // 2)


def timed_run(work: Path, output: str, *arguments: str) -> float:
    """Run the participant level and return its wall seconds."""
    started = time.perf_counter()
    _cohort(work, output, *arguments)
    return round(time.perf_counter() - started, 1)


def troubled_run(work: Path, scans: tuple[CohortScan, ...]) -> dict[str, Any]:
    """Run on workers, kill one, then the whole run, then run it to its end; return what was seen."""
    output = work / "cluster"
    started = time.perf_counter()
    run = subprocess.Popen(_command(work, "cluster", *_on_workers(WORKERS)),
                           env=_environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _wait_for(run, lambda: len(_done(output, scans)) >= len(scans) // 3 and len(_workers(run)) == WORKERS)
    _workers(run)[0].send_signal(signal.SIGKILL)
    _wait_for(run, lambda: len(_done(output, scans)) >= 2 * len(scans) // 3)
    run.kill()
    run.wait()
    # what a worker was writing when its run died is written within a moment, or never
    time.sleep(5)
    before = _done(output, scans)
    _cohort(work, "cluster", *_on_workers(WORKERS))
    after = _done(output, scans)
    return {"cluster_s": round(time.perf_counter() - started, 1), "killed_workers": 1, "done_at_the_kill": len(before),
            "done_again": sum(after[key] != stamp for key, stamp in before.items())}


def timed_workers(work: Path, some: list[CohortScan], workers: int) -> dict[str, float]:
    """Return wall seconds of a clean run of some scans on so many workers, and scan seconds (mean of each) within."""
    output = f"timing-{workers}"
    seconds = timed_run(work, output, *_on_workers(workers), "--participant-label",
                        *(scan.subject for scan in some))
    stamps = sorted((work / output / scan.folder / RECORD.format(scan.stem)).stat().st_mtime for scan in some)
    records = [read_record(work / output / scan.folder, scan.stem) for scan in some]
    own = [record.figures["seconds"] for record in records if record is not None]
    # from the first result on, so that starting the workers and loading the networks is left out
    steady = (len(some) - workers) / (stamps[-1] - stamps[workers - 1])
    return {"wall_s": seconds, "scans": len(some), "scan_s": round(mean(own), 2), "scans_per_s": round(steady, 4)}


def check(work: Path, scans: tuple[CohortScan, ...], sound: list[CohortScan], story: dict[str, Any]) -> dict[str, bool]:
    """Return what was promised, and whether it is so."""
    serial, cluster = work / "serial", work / "cluster"
    failed = {folder: {row["scan"]: (row["kind"], row["reason"]) for row in read_failures(folder)}
              for folder in (serial, cluster)}
    bad = {scan.key for scan in scans} - {scan.key for scan in sound}
    complete = all((folder / scan.folder / name.format(scan.stem)).is_file()
                   for folder in (serial, cluster) for scan in sound for name in RESULT_FILES)
    leftovers = [path for folder in (serial, cluster) for path in folder.rglob(".cmbdetect-*")]
    again = _cohort(work, "cluster", *_on_workers(WORKERS))
    return {"every sound scan has all its files in both runs": complete,
            "failures.tsv has the poisoned and the too large scan, and no other": set(failed[serial]) == bad,
            "failures.tsv is the same in both runs": failed[serial] == failed[cluster],
            "findings and label maps are the same in both runs": all(_same(scan, serial, cluster) for scan in sound),
            "nothing that was done before the kill was done again": story["done_again"] == 0,
            "nothing half-written is left": not leftovers,
            "another run only tries the too large scan again": f"{len(sound)} were done before, 0 are" in again}


def report(work: Path, sound: list[CohortScan], options: argparse.Namespace, walls: dict[str, Any],
           timing: dict[str, dict[str, float]], checks: dict[str, bool]) -> None:
    """Print and write the tables."""
    records = [record for scan in sound if (record := read_record(work / "serial" / scan.folder, scan.stem))]
    figures = {name: [record.figures[name] for record in records]
               for name in ("seconds", "cpu_seconds", "peak_memory_mb")}
    size_mb = mean(sum((work / "cluster" / scan.folder / name.format(scan.stem)).stat().st_size
                       for name in (*RESULT_FILES, RECORD)) for scan in sound) / 1e6
    one, more = timing["1"], timing[str(WORKERS)]
    failures = len(sound) - len(records)
    per_core_hour = 3600 * more["scans_per_s"] / WORKERS
    rows = [
        ("scans, of which sound", f"{options.scans}, {len(sound)}"),
        ("seconds of a scan, one core: mean, median, largest", f"{mean(figures['seconds']):.1f}, "
         f"{median(figures['seconds']):.1f}, {max(figures['seconds']):.1f}"),
        ("CPU seconds of a scan: mean", f"{mean(figures['cpu_seconds']):.1f}"),
        ("peak memory of a process: median, largest (MiB)", f"{median(figures['peak_memory_mb']):.0f}, "
         f"{max(figures['peak_memory_mb'])}"),
        ("serial run (s)", f"{walls['serial_s']}"),
        ("troubled run on 2 workers, both parts (s)", f"{walls['cluster_s']}"),
        ("scans done when the whole run was killed; done again", f"{walls['done_at_the_kill']}; {walls['done_again']}"),
        (f"{one['scans']} scans, steady: scans per core and hour on 1 worker", f"{3600 * one['scans_per_s']:.0f}"),
        (f"the same on {WORKERS} workers", f"{per_core_hour:.0f}"),
        (f"scaling, 1 to {WORKERS} workers", f"{more['scans_per_s'] / one['scans_per_s']:.2f}"),
        ("run that finds nothing but one failure to try again (s)", f"{walls['again_s']}"),
        ("group level (s)", f"{walls['group_s']:.1f}"),
        ("results of a scan (MB)", f"{size_mb:.2f}")]
    plan = [
        (f"core hours, by the steady rate of {WORKERS} workers", f"{COHORT / per_core_hour:.0f}"),
        ("core hours, by CPU time alone", f"{COHORT * mean(figures['cpu_seconds']) / 3600:.0f}"),
        ("days on 16 cores", f"{COHORT / per_core_hour / 16 / 24:.1f}"),
        ("results (GB)", f"{COHORT * size_mb / 1000:.0f}"),
        ("memory of a worker to ask for (GiB)", f"{np.ceil(1.5 * max(figures['peak_memory_mb']) / 1024):.0f}"),
        ("group level (minutes)", f"{COHORT * walls['group_s'] / len(sound) / 60:.0f}"),
        ("sound scans that failed", f"{failures} of {len(sound)}; by 95 % confidence below "
         f"{1 - 0.05 ** (1 / len(sound)):.1%}, {COHORT * (1 - 0.05 ** (1 / len(sound))):.0f} scans" if not failures
         else f"{failures} of {len(sound)}")]
    told = [(name, "yes" if held else "NO") for name, held in checks.items()]
    text = "\n\n".join((markdown_table(("Measured", ""), rows), markdown_table((f"{COHORT} scans", ""), plan),
                        markdown_table(("Check", ""), told)))
    print(text)
    (work / "cohort.md").write_text(text + "\n", encoding="utf-8")
    write_json(work / "cohort.json", {"measured": dict(rows), "plan": dict(plan), "checks": checks, "timing": timing})


def _same(scan: CohortScan, one: Path, other: Path) -> bool:
    findings, labels = (name.format(scan.stem) for name in (RESULT_FILES[0], RESULT_FILES[2]))
    results = [read_result(folder / scan.folder / findings).candidates for folder in (one, other)]
    maps = [read_labels(folder / scan.folder / labels).data for folder in (one, other)]
    return len(results[0]) == len(results[1]) and all(map(_same_finding, *results)) and bool((maps[0] == maps[1]).all())


def _same_finding(one: Finding, other: Finding) -> bool:
    apart = float(np.linalg.norm(np.subtract(one.position_ras, other.position_ras)))
    return (one.id, one.status, one.removed_by) == (other.id, other.status, other.removed_by) and apart <= SAME_MM \
        and abs(one.probability - other.probability) <= SAME_PROBABILITY


def _done(output: Path, scans: tuple[CohortScan, ...]) -> dict[str, int]:
    """Return when each record of a scan that is done was written (ns), by key."""
    found = {}
    for scan in scans:
        record = read_record(output / scan.folder, scan.stem)
        if record is not None and record.status == DONE:
            found[scan.key] = (output / scan.folder / RECORD.format(scan.stem)).stat().st_mtime_ns
    return found


def _workers(run: subprocess.Popen) -> list[psutil.Process]:
    return [child for child in psutil.Process(run.pid).children() if "spawn_main" in " ".join(child.cmdline())]


def _wait_for(run: subprocess.Popen, reached: Callable[[], bool]) -> None:
    while not reached():
        if run.poll() is not None:
            raise SystemExit("The run ended before it could be killed; give it more scans.")
        time.sleep(_WATCH_S)


def _once(path: Path, measure: Callable[[], Any]) -> Any:
    """Return what was measured before, or measure it and keep it."""
    if not path.exists():
        write_json(path, measure())
    return json.loads(path.read_text(encoding="utf-8"))


def _on_workers(number: int) -> tuple[str, ...]:
    return "--workers", str(number), "--threads", "1"


def _command(work: Path, output: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "microbleeds", "cohort", str(work / "scans"), str(work / output), "participant",
            "--progress", "none", "--memory-limit", str(MEMORY_GIB), *arguments]


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(_ROOT / "CMBDetection")}


def _cohort(work: Path, output: str, *arguments: str) -> str:
    """Run the participant level and return its last line; failed scans are no reason to stop."""
    run = subprocess.run(_command(work, output, *arguments), env=_environment(), text=True,
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    lines = run.stdout.strip().splitlines()
    if not lines or " scans: " not in lines[-1]:
        raise SystemExit(f"cmbdetect cohort failed:\n{run.stdout}")
    return lines[-1]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, metavar="DIR")
    parser.add_argument("--scans", type=int, default=200, metavar="N")
    parser.add_argument("--base", type=Path, metavar="FOLDER",
                        help="simulated T2*-GRE scans to vary (default: the sample)")
    parser.add_argument("--timed", type=int, default=12, metavar="N")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())

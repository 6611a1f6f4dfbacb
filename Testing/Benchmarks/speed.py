"""Time and memory of a detection, whole and by step, beside what the machine can do.

    python Testing/Benchmarks/speed.py                      all three scans, about two minutes; machine otherwise idle
    python Testing/Benchmarks/speed.py --scan 256 --threads 1
    python Testing/Benchmarks/speed.py --image SCAN         any scan instead of those
    python Testing/Benchmarks/speed.py --growth             cost by the volume of the brain and by candidates

Every scan is drawn: an ellipsoid head of 1.5 litres of textured brain with dark spots, in which no region can be told,
so that step ends early; give a real or simulated scan to see all of it. "Whole" is the command line in a
child process, from start-up to written files; the steps are told by a second child, in which the imports are counted as
"start-up". The limits of the machine are the best rates of matrix products and of the detector's kinds of convolution.
The published code needs 104 CPU s on one thread for a 256x256x80 scan with 200 candidates (symmetry 40, detector 27,
discriminator 31, vessel inpainting 5; brain extraction and bias field, which it leaves to FSL, not counted).
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

SCANS = {"256": ((256, 256, 80), (0.9, 0.9, 2.0)), "192": ((192, 224, 128), (1.0, 1.0, 1.2)),
         "384": ((384, 384, 160), (0.6, 0.6, 1.0))}
BRAIN_RADII_MM = (68, 84, 64)
REFERENCE_CPU_SECONDS = 104
REFERENCE_STEPS = ("Intensities", "Radial symmetry", "Detector", "Classifier", "Clean-up")
"""What of ours does the work of the published code's steps."""
CANDIDATES = (50, 500, 5000)
_SPOTS = 10
_GIB = 2**20
"""Kilobytes, as the system counts memory."""


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scan", nargs="+", choices=SCANS, default=list(SCANS))
    parser.add_argument("--image", type=Path, nargs="+")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--growth", action="store_true", help="by the volume of the brain, and by candidates")
    parser.add_argument("--steps", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.steps:
        print(json.dumps(steps_of(options.steps)))
        return
    os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS",
                                     "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"), str(options.threads)))
    with tempfile.TemporaryDirectory() as folder:
        if options.growth:
            print(growth_by_brain(Path(folder)), growth_by_candidates(), sep="\n\n")
        else:
            images = {image.name: image for image in options.image} if options.image else \
                {_size(name): written_head(name, Path(folder)) for name in options.scan}
            print(tables(images, Path(folder)), machine_limits(), sep="\n\n")


def drawn_head(shape: tuple[int, int, int], spacing_mm: tuple[float, float, float], size: float = 1.0):
    """Return an ellipsoid head as a volume, its brain `size` times as wide as usual."""
    from microbleeds.volume import Volume
    from scipy import ndimage

    rng = np.random.default_rng(0)
    grid = np.meshgrid(*((np.arange(n) - n / 2) * s for n, s in zip(shape, spacing_mm, strict=True)), indexing="ij",
                       sparse=True)
    brain, scalp = (sum((x / (r * size * share)) ** 2 for x, r in zip(grid, BRAIN_RADII_MM, strict=True)) < 1
                    for share in (1, 1.17))
    tissue = ndimage.gaussian_filter(rng.standard_normal(shape, np.float32), [2 / s for s in spacing_mm])
    image = np.where(brain, 400 + 60 * tissue / tissue.std(), np.where(scalp, 150, 0))
    image += rng.normal(0, 8, shape)
    for place in np.argwhere(brain)[rng.integers(np.count_nonzero(brain), size=_SPOTS)]:
        image[tuple(slice(p - 1, p + 2) for p in place)] *= 0.5
    return Volume(np.abs(image).astype(np.float32), np.diag([*spacing_mm, 1.0]))


def written_head(name: str, folder: Path, size: float = 1.0) -> Path:
    """Write a drawn head and return its path."""
    from microbleeds.read_write import write_image

    path = folder / f"head{name}_T2star.nii.gz"
    write_image(path, drawn_head(*SCANS[name], size))
    return path


def whole_run(image: Path, folder: Path) -> dict[str, float]:
    """Return wall and CPU seconds and the largest memory in GiB of the command on an image, and its candidates."""
    started = time.perf_counter()
    child = subprocess.Popen([sys.executable, "-m", "microbleeds", "detect", str(image), "-o", str(folder),
                              "--progress", "none"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"detect ended with exit code {child.returncode}")
    content = json.loads(next(folder.glob(f"{image.name.split('.')[0]}*_findings.json")).read_text(encoding="utf-8"))
    return {"wall": time.perf_counter() - started, "cpu": usage.ru_utime + usage.ru_stime,
            "peak": usage.ru_maxrss / _GIB, "candidates": len(content["candidates"])}


def steps_of(image: Path) -> list[tuple[str, float, float, float]]:
    """Return of each step its name, wall and CPU seconds, and the largest memory so far in GiB; in this process."""
    started, cpu = time.perf_counter(), time.process_time()
    events = []

    def note(step: str, message: str, fraction: float) -> None:
        events.append((message, time.perf_counter(), time.process_time(),
                       resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / _GIB))

    from microbleeds.outputs import write_result
    from microbleeds.pipeline import detect
    from microbleeds.read_write import read_scan
    from microbleeds.report import report_html
    from microbleeds.weights import load_model

    events.append(("start-up", started, 0.0, 0.0))
    note("", "read scan and model", 0)
    scan, model = read_scan(image), load_model()
    found = detect(scan, model, progress=note)
    note("", "report and files", 1)
    with tempfile.TemporaryDirectory() as folder:
        write_result(found.result, found.labels, scan.volume, scan.stem, Path(folder),
                     report_html(found.result, scan.volume))
    note("", "end", 1)
    sums: dict[str, list[float]] = {}
    for (name, wall, cpu, _), (_, next_wall, next_cpu, peak) in zip(events, events[1:], strict=False):
        own = sums.setdefault(name, [0.0, 0.0, 0.0])
        own[0], own[1], own[2] = own[0] + next_wall - wall, own[1] + next_cpu - cpu, peak
    return [(name, *values) for name, values in sums.items()]


def tables(images: dict[str, Path], folder: Path) -> str:
    """Return the table of whole runs and that of the steps, of scans with their names."""
    whole, steps = {}, {}
    for name, image in images.items():
        whole[name] = whole_run(image, folder)
        steps[name] = json.loads(subprocess.run([sys.executable, __file__, "--steps", str(image)], check=True,
                                                capture_output=True, text=True).stdout.splitlines()[-1])
    lines = ["| scan | wall s | CPU s | published code / ours | peak GiB | candidates |",
             "|---|---:|---:|---:|---:|---:|"]
    for name, run in whole.items():
        times = f"{REFERENCE_CPU_SECONDS / run['cpu']:.0f}" if name == _size("256") else "–"
        lines.append(f"| {name} | {run['wall']:.1f} | {run['cpu']:.1f} | {times} | {run['peak']:.2f} | "
                     f"{run['candidates']} |")
    lines += ["", "| step: wall s, CPU s, peak GiB so far | " + " | ".join(images) + " |",
              "|---|" + "---:|" * len(images)]
    for place, (step, *_) in enumerate(next(iter(steps.values()))):
        cells = (" {:.2f}, {:.2f}, {:.2f}".format(*own[place][1:]) for own in steps.values())
        lines.append(f"| {step} |{' |'.join(cells)} |")
    alike = (f"{sum(cpu for name, _, cpu, _ in own if name in REFERENCE_STEPS):.2f}" for own in steps.values())
    lines.append(f"| CPU s of the steps that the published code has too | {' | '.join(alike)} |")
    return "\n".join(lines)


def machine_limits() -> str:
    """Return the rates of this machine and of the detector, in billions of operations a second."""
    import torch
    from microbleeds.tiling import ready
    from microbleeds.weights import load_model
    from torch.utils.flop_counter import FlopCounterMode

    rates = []
    with torch.inference_mode():
        one, two = torch.randn(2, 2048, 2048)
        rates.append(("matrix product", 2 * 2048**3 / shortest(lambda: one @ two)))
        for inputs, outputs in ((16, 16), (32, 16), (64, 64)):
            layer = torch.nn.Conv3d(inputs, outputs, 3, padding=1).to(memory_format=torch.channels_last_3d)
            image = torch.randn(1, inputs, 96, 96, 32).contiguous(memory_format=torch.channels_last_3d)
            seconds = shortest(lambda own=(layer, image): own[0](own[1]))
            rates.append((f"convolution {inputs} to {outputs}",
                          2 * 27 * inputs * outputs * image[0, 0].numel() / seconds))
        best = max(rate for name, rate in rates if name.startswith("convolution"))
        network = ready(load_model().detector, "cpu")
        image = torch.randn(1, 2, 168, 200, 68).contiguous(memory_format=torch.channels_last_3d)
        with FlopCounterMode(display=False) as counter:
            network(image)
        rates.append(("our detector, one tile", counter.get_total_flops() / shortest(lambda: network(image))))
    return "\n".join(["| float32, billions of operations a second | |", "|---|---:|",
                      *(f"| {name} | {rate / 1e9:.0f} |" for name, rate in rates),
                      f"| share of the best convolution | {rates[-1][1] / best:.2f} |"])


def shortest(work: Callable[[], object], times: int = 5) -> float:
    """Return the shortest of some runs, in seconds."""
    work()
    seconds = []
    for _ in range(times):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def growth_by_brain(folder: Path) -> str:
    """Return a table of the cost of brains of three sizes, without start-up and reading."""
    lines = ["| brain | detector CPU s | all steps, CPU s | CPU s a litre |", "|---|---:|---:|---:|"]
    for size in (0.7, 0.85, 1.0):
        image = written_head("256", folder, size)
        steps = json.loads(subprocess.run([sys.executable, __file__, "--steps", str(image)], check=True,
                                          capture_output=True, text=True).stdout.splitlines()[-1])
        cpu = {name: seconds for name, _, seconds, _ in steps}
        every = sum(seconds for name, seconds in cpu.items() if name not in ("start-up", "read scan and model"))
        litres = 4 / 3 * np.pi * np.prod(BRAIN_RADII_MM) * size**3 / 1e6
        lines.append(f"| {litres:.2f} l | {cpu['Detector']:.2f} | {every:.2f} | {every / litres:.2f} |")
    return "\n".join(lines)


def growth_by_candidates() -> str:
    """Return a table of the cost of steps 2 and 3 by the number of candidates, each a ball of 2 mm."""
    from microbleeds.assemble import make_findings
    from microbleeds.brain_mask import brain_mask
    from microbleeds.geometry import voxel_to_ras
    from microbleeds.step0_prepare import prepare
    from microbleeds.step1_candidates import Candidate
    from microbleeds.step2_classify import classify
    from microbleeds.step3_cleanup import removal_rules
    from microbleeds.weights import load_model

    model, volume = load_model(), drawn_head(*SCANS["256"])
    settings = model.settings("balanced")
    prepared = prepare(volume, brain_mask(volume), "gre", settings.prepare, lambda message, fraction: None)
    ball = np.argwhere(np.ones((3, 3, 3))) - 1
    places = np.argwhere(prepared.brain.data)
    rng = np.random.default_rng(1)
    lines = ["| candidates | classifier CPU s | clean-up and findings CPU s | peak GiB |", "|---|---:|---:|---:|"]
    for count in CANDIDATES:
        centres = places[rng.choice(len(places), count, replace=False)]
        candidates = [Candidate(tuple(voxel_to_ras(prepared.image, centre[None])[0].tolist()), 0.5,
                                np.clip(centre + ball, 0, np.array(prepared.brain.shape) - 1)) for centre in centres]
        started = time.process_time()
        judged = classify(candidates, prepared, model.student, settings.classify, model.calibration, "cpu",
                          lambda fraction: None)
        middle = time.process_time()
        rules = removal_rules([one.voxels for one in judged], np.array([one.position_ras for one in judged]),
                              prepared.image, prepared.brain, settings.cleanup)
        make_findings(judged, rules, settings.classify.threshold, volume, prepared.brain)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / _GIB
        lines.append(f"| {count} | {middle - started:.2f} | {time.process_time() - middle:.2f} | {peak:.2f} |")
    return "\n".join(lines)


def _size(name: str) -> str:
    shape, spacing = SCANS[name]
    return "×".join(map(str, shape)) + " (" + "×".join(f"{size:g}" for size in spacing) + " mm)"


if __name__ == "__main__":
    main()

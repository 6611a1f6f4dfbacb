"""Wall time, memory and seconds per step of one detection, start-up included, on a drawn 256x256x80 head.

    .venv/bin/python Testing/Benchmarks/one_scan.py [IMAGE]

The child process is the command line itself; peak memory is what the system reports of it. The radial symmetry
transform is timed by itself as well, on the same grid with the brain's share of voxels.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from microbleeds.radial_symmetry import radial_symmetry
from microbleeds.read_write import write_image
from microbleeds.settings import PrepareSettings
from microbleeds.volume import Volume
from scipy import ndimage

SHAPE, SPACING = (256, 256, 80), (0.9, 0.9, 2.0)


def drawn_head() -> tuple[Volume, np.ndarray]:
    """Return an ellipsoid head with a textured brain, and the brain mask."""
    rng = np.random.default_rng(0)
    grid = np.meshgrid(*((np.arange(n) - n / 2) * s for n, s in zip(SHAPE, SPACING, strict=True)), indexing="ij")
    brain, scalp = (sum((x / r) ** 2 for x, r in zip(grid, radii, strict=True)) < 1
                    for radii in ((68, 84, 64), (80, 97, 76)))
    tissue = ndimage.gaussian_filter(rng.standard_normal(SHAPE), 2)
    image = np.where(brain, 400 + 60 * tissue / tissue.std(), np.where(scalp, 150, 0)) + rng.normal(0, 8, SHAPE)
    for place in np.argwhere(brain)[rng.integers(np.count_nonzero(brain), size=10)]:
        box = tuple(slice(p - 1, p + 2) for p in place)
        image[box] *= 0.5
    return Volume(np.abs(image).astype(np.float32), np.diag([*SPACING, 1.0])), brain


def main() -> None:
    """Print the figures."""
    volume, brain = drawn_head()
    started = time.perf_counter()
    radial_symmetry(volume.data, volume.spacing, PrepareSettings().symmetry_radii_mm, brain)
    print(f"radial symmetry, {brain.mean():.0%} brain: {time.perf_counter() - started:.2f} s")
    with tempfile.TemporaryDirectory() as folder:
        image = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(folder) / "head_T2star.nii.gz"
        if len(sys.argv) == 1:
            write_image(image, volume)
        started = time.perf_counter()
        subprocess.run([sys.executable, "-m", "microbleeds", "detect", str(image), "-o", folder, "--progress", "none"],
                       check=True)
        wall = time.perf_counter() - started
        findings = json.loads(next(Path(folder).glob("*_findings.json")).read_text(encoding="utf-8"))
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    steps = ", ".join(f"{name} {seconds:.2f}" for name, seconds in findings["provenance"]["seconds"].items())
    print(f"whole run: {wall:.1f} s wall, {usage.ru_utime + usage.ru_stime:.1f} CPU s, "
          f"{usage.ru_maxrss / 2**20:.2f} GiB peak; seconds per step: {steps}")
    print(f"{len(findings['findings'])} findings of {len(findings['candidates'])} candidates")


if __name__ == "__main__":
    main()

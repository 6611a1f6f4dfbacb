"""Training cases: simulated scans, prepared exactly as at detection time, one compressed file each.

    python -m microbleeds.training.cases --labels DIR --crops DIR --out DIR --count 80 --seed 1

`--labels` holds FreeSurfer-coded label maps (one subject each), `--crops` real magnitude crops (optional). Files that
exist are kept, so an interrupted run goes on; a case depends on the seed and its number alone.
"""

import argparse
import json
import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ..geometry import resample_like, to_canonical
from ..image_files import volume_from_itk
from ..settings import PrepareSettings
from ..simulation.anatomy import read_anatomy
from ..simulation.data_set import IMAGES_OF
from ..simulation.implant import ImplantSettings, implant
from ..simulation.protocol import draw_protocol
from ..simulation.simulate import simulate
from ..simulation.subject import SubjectSettings, draw_subject
from ..step0_prepare import Prepared, prepare
from ..volume import Volume

_MODALITIES = ("gre", "gre", "gre", "swi", "qsm")
"""Repeated in this order: three in five are GRE, the sequence with the most varied protocols."""


@dataclass(frozen=True)
class Case:
    """One prepared scan. Arrays are (i, j, k) on the working grid, slice axis last; `truth` numbers the lesions."""

    name: str
    subject: str
    modality: str
    spacing: np.ndarray
    image: np.ndarray
    symmetry: np.ndarray
    brain: np.ndarray
    truth: np.ndarray

    def prepared(self) -> Prepared:
        """Return the case as the detection steps take it, on a grid placed at the origin."""
        grid = np.diag([*self.spacing, 1.0])
        return Prepared(*(Volume(data, grid) for data in (self.image.astype(np.float32),
                                                          self.symmetry.astype(np.float32), self.brain)))


def load_case(path: Path) -> Case:
    """Read a case file."""
    with np.load(path, allow_pickle=False) as stored:
        facts = json.loads(str(stored["facts"]))
        return Case(path.stem, facts["subject"], facts["modality"], stored["spacing"], stored["image"],
                    stored["symmetry"], stored["brain"], stored["truth"])


def save_case(path: Path, image: Volume, brain: Volume, truth: Volume, modality: str, subject: str) -> None:
    """Prepare a scan and write it with the numbers of its microbleeds, beside first and then renamed."""
    prepared = prepare(image, brain, modality, PrepareSettings(correct_bias=False))
    truth = resample_like(truth, prepared.image, order=0)
    facts = {"subject": subject, "modality": modality}
    beside = path.with_suffix(".part.npz")
    np.savez_compressed(beside, image=prepared.image.data.astype(np.float16), brain=prepared.brain.data,
                        symmetry=prepared.symmetry.data.astype(np.float16), truth=truth.data.astype(np.int16),
                        spacing=prepared.image.spacing, facts=json.dumps(facts))
    os.replace(beside, path)


def make_case(number: int, seed: int, label_files: list[Path], out: Path) -> None:
    """Simulate case `number`; its subject is a label map, deformed."""
    path = out / f"case-{number:04d}.npz"
    if path.exists():
        return
    rng = np.random.default_rng([seed, number])
    label_file = label_files[number % len(label_files)]
    modality = _MODALITIES[(number // len(label_files) + number) % len(_MODALITIES)]
    settings = SubjectSettings(bleeds=int(rng.integers(15, 45)), mimics=2.0, whole_head=False)
    subject = draw_subject(read_anatomy(label_file), settings, rng)
    kind = IMAGES_OF[modality][0]
    scan = simulate(subject, draw_protocol(rng, modality), (kind,), rng)
    save_case(path, scan.images[kind], scan.brain, scan.truths[kind].microbleeds, modality, label_file.name)


def make_crop_case(number: int, seed: int, crop_files: list[Path], out: Path) -> None:
    """Implant microbleeds into the last echo of a real multi-echo magnitude crop."""
    path = out / f"crop-{number:04d}.npz"
    if path.exists():
        return
    rng = np.random.default_rng([seed, 10_000 + number])
    crop_file = crop_files[number % len(crop_files)]
    image = sitk.ReadImage(str(crop_file))
    echo = to_canonical(volume_from_itk(image[..., image.GetSize()[3] - 1]))
    echo = Volume(echo.data.astype(np.float32) / np.median(echo.data), echo.affine)
    brain = echo.with_data(np.ones(echo.shape, bool))
    settings = ImplantSettings("gre", float(rng.uniform(18, 35)), 3.0, int(rng.integers(2, 6)), int(rng.integers(4)))
    done = implant(echo, brain, settings, rng)
    save_case(path, done.image, brain, done.truth.microbleeds, "gre", crop_file.parent.name)


def main() -> None:
    """Make the cases named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--labels", type=Path, required=True)
    parser.add_argument("--crops", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--count", type=int, default=80)
    parser.add_argument("--crop-count", type=int, default=12)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    label_files = sorted(options.labels.glob("*.nii.gz"))
    crop_files = sorted(options.crops.glob("*/Mag.nii*")) if options.crops else []
    with ProcessPoolExecutor(options.workers) as pool:
        jobs = [pool.submit(make_case, number, options.seed, label_files, options.out)
                for number in range(options.count)]
        if crop_files:
            jobs += [pool.submit(make_crop_case, number, options.seed, crop_files, options.out)
                     for number in range(options.crop_count)]
        for done, job in enumerate(jobs, 1):
            job.result()
            print(f"{done}/{len(jobs)}", flush=True)


if __name__ == "__main__":
    main()

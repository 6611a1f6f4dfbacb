"""Small cohorts, and a detector that needs no network, in a module that child processes can import too.

The name of a scan says what happens to it: "wrong" raises an error that is our fault, "nogpu" one of the settings,
"stale" one of the file system, "crash" ends its process, "slow" takes a third of a second.
"""

import errno
import json
import os
import signal
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import SimpleITK as sitk
from microbleeds import batch
from microbleeds.cohort.inputs import Wanted, find_scans
from microbleeds.cohort.process import process_scan
from microbleeds.cohort.run import prepare_output, run_participants
from microbleeds.errors import SettingsError
from microbleeds.findings import DetectionResult, Extrema, Finding, Provenance
from microbleeds.regions import Place

SHAPE = (32, 28, 8)
CALLS = "calls.txt"
"""Beside the output: a line for each scan that was begun."""


def write_scan(path, seed=0, brightness=500.0):
    """Write a bright brain of ellipsoid form in the dark, and a sidecar."""
    path.parent.mkdir(parents=True, exist_ok=True)
    grid = np.meshgrid(*(np.linspace(-1, 1, size) for size in SHAPE), indexing="ij")
    brain = sum((axis / 0.8) ** 2 for axis in grid) < 1
    data = np.where(brain, brightness, 20) + np.random.default_rng(seed).normal(0, 10, SHAPE)
    image = sitk.GetImageFromArray(np.ascontiguousarray(data.astype(np.float32).T))
    image.SetSpacing((1.0, 1.0, 2.0))
    sitk.WriteImage(image, str(path))
    sidecar = {"Simulated": True, "MagneticFieldStrength": 3, "EchoTime": 0.02}
    path.with_name(path.name.removesuffix(".nii.gz") + ".json").write_text(json.dumps(sidecar))
    return path


def bids_tree(folder, names, session=""):
    """Write a BIDS tree with a scan of each subject."""
    folder.mkdir(exist_ok=True)
    (folder / "dataset_description.json").write_text('{"Name": "cohort", "BIDSVersion": "1.10.0"}')
    for seed, name in enumerate(names):
        stem = f"sub-{name}_ses-{session}" if session else f"sub-{name}"
        place = folder / f"sub-{name}" / f"ses-{session}" if session else folder / f"sub-{name}"
        write_scan(place / "anat" / f"{stem}_T2starw.nii.gz", seed)
    return folder


def wanted_of(model="m1", operating_point="balanced"):
    """Return what `plan.fingerprint` would."""
    return {"model": {"name": model, "sha256": model, "cards_sha256": "0"},
            "settings": {"modality": "auto", "operating_point": operating_point, "improbable_regions": False}}


def fake_modules():
    """Return what stands for `pipeline` and `weights`, by their names in `sys.modules`."""
    weights = SimpleNamespace(DEFAULT_MODEL="m1", load_model=lambda name: SimpleNamespace(name=name, sha256=name))
    return {"microbleeds.pipeline": SimpleNamespace(detect=_detect), "microbleeds.weights": weights}


def process(task):
    """Process a scan as a worker does, with the fake detector; to be called in child processes only."""
    sys.modules.update(fake_modules())
    return process_here(task)


def process_here(task):
    """Process a scan; the fake detector has to be there already."""
    with open(task.job.folder.parent / CALLS, "a", encoding="utf-8") as calls:
        calls.write(f"{task.scan.key}\n")
    return process_scan(task)


class Here:
    """An engine in this very process."""

    def __enter__(self):
        return self

    def __exit__(self, *details):
        pass

    def run(self, tasks, process, told, alone):
        for task in tasks:
            told(process(task))
        return []


class Silent:
    """A reporter that keeps the failures."""

    def __init__(self):
        self.errors = []

    def error(self, image, kind, message):
        self.errors.append((Path(image).name, kind, message))

    def progress(self, *told):
        pass

    warning = result = done = progress


def run_cohort(source, output, engine=Here, process=process_here, wanted=None, labels=(), reporter=None):
    """Run the participant level as the command does."""
    wanted = wanted or wanted_of()
    job = batch.Job(folder=output, model=wanted["model"]["name"],
                    operating_point=wanted["settings"]["operating_point"])
    prepare_output(output, source)
    return run_participants(find_scans(source, Wanted(tuple(labels))), job, wanted, engine, reporter or Silent(),
                            process)


def calls_of(output):
    """Return the scans that were begun, and forget them."""
    path = output.parent / CALLS
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    path.unlink(missing_ok=True)
    return [Path(line).name.removesuffix("_T2starw") for line in lines]


def _detect(scan, model, *, operating_point="balanced", **options):
    if "slow" in scan.stem:
        time.sleep(0.3)
    if "wrong" in scan.stem:
        raise ValueError("a mistake of ours")
    if "nogpu" in scan.stem:
        raise SettingsError("No graphics card is here.")
    if "stale" in scan.stem:
        raise OSError(errno.EIO, "Input/output error", str(scan.path))
    if "crash" in scan.stem:
        os.kill(os.getpid(), signal.SIGKILL)
    data = scan.volume.data
    brain = scan.volume.with_data(data > (data.min() + data.max()) / 2)
    # as many as the second digit of the digest says, so that scans differ
    count = int(scan.sha256[0], 16) % 4
    findings = tuple(_finding(scan, number) for number in range(1, count + 1))
    labels = np.zeros(scan.volume.shape, np.int32)
    for number in range(1, count + 1):
        labels[10 + number, 12, 3] = number
    provenance = Provenance(scan.path.name, scan.sha256, "gre", "fake", model.name, model.sha256, operating_point,
                            scan.volume.shape, tuple(map(float, scan.volume.spacing)), {"classify": {"threshold": 0.5}},
                            {}, {"prepare": 0.1}, scan.warnings, scan.simulated)
    return SimpleNamespace(result=DetectionResult(findings, provenance), brain=brain,
                           labels=scan.volume.with_data(labels))


def _finding(scan, number):
    position = tuple(float(x) for x in (scan.volume.affine @ [10 + number, 12, 3, 1])[:3])
    return Finding(number, position, 0.9 - number / 10, 0.8, 18.0, 3.3, (position, position),
                   Extrema(1, 2, position, position), place=Place("frontal", "left", 0.9, 0.9, 0.9))

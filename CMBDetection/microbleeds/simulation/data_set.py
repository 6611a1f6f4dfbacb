"""A data set of simulated scans in a BIDS-like folder: planned, made on all cores, resumed after an interruption.

Each case depends on its plan alone and appears in one move, so the same seed gives the same bytes whatever the number
of processes, and whatever was interrupted before.
"""

import hashlib
import json
import multiprocessing
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from .. import __version__
from ..batch import most_processes
from ..errors import InputError, SettingsError
from ..progress import Reporter
from ..read_write import write_image, write_json, write_label_map, write_text
from ..volume import Volume
from .anatomy import read_anatomy
from .protocol import Protocol, draw_protocol
from .shapes import Focus, Vessel
from .simulate import IMAGES, MAGNITUDE, MINIMUM, PHASE, QSM, R2STAR, SWI, SimulatedScan, check_images, simulate
from .subject import Subject, SubjectSettings, draw_subject
from .truth import Row, Truth, artefacts_of

IMAGES_OF = {"gre": (MAGNITUDE,), "swi": (SWI,), "qsm": (QSM,), "all": IMAGES}
"""What is written for a modality."""
MAX_CASES = 100_000
SCHEMA_VERSION = "1.0"
_REVISION = 1
"""Raised with every change that gives other images for the same plan, so that data sets are not mixed."""
_MEMORY_OF_CASE = 3 << 30
_BRAIN_LEVEL = 500
_TITLES = {MAGNITUDE: "T2*-GRE magnitude", PHASE: "GRE phase", SWI: "SWI", MINIMUM: "SWI, minimum-intensity slabs",
           QSM: "QSM", R2STAR: "R2* map"}
_UNITS = {PHASE: "arbitrary", QSM: "ppm", R2STAR: "1/s"}
_PHASE_STEPS = 4096
"""Stored phase that stands for π, as some scanners have it."""
_README = """Simulated brain scans with microbleeds and mimics, made by cmbdetect simulate (CMBDetection {version}).
Not patients, not for clinical use. Of every image S that microbleeds are read on:
S_desc-cmb_truth.nii.gz  microbleeds that can be seen on it (value = id)
S_desc-all_truth.nii.gz  microbleeds and mimics (value = id)
S_desc-truth.tsv         everything drawn: id, kind, place (RAS mm), diameter (mm) of source and of what is visible, ...
sub-*_desc-drawn.json    the subject, the protocol and every body and vessel
manifest.json            plan and SHA-256 of every file
"""


@dataclass(frozen=True)
class CasePlan:
    """One case: its name ("sub-0001"), seed, label map, kinds of image (`simulate.IMAGES`), protocol, subject."""

    name: str
    seed: tuple[int, ...]
    labels: Path
    images: tuple[str, ...]
    protocol: Protocol
    subject: SubjectSettings


def plan_cases(count: int, seed: int, labels: Sequence[Path], modality: str, subject: SubjectSettings,
               **protocol: Any) -> tuple[CasePlan, ...]:
    """Return the plans of cases 1 to `count`; a plan depends on the seed and its number, not on `count`.

    `protocol` fixes fields of the protocol, the others are drawn; label maps take turns.

    Raises
    ------
    SettingsError
        If a number is out of range.
    """
    if not 1 <= count <= MAX_CASES:
        raise SettingsError(f"{count} cases cannot be made; give a number from 1 to {MAX_CASES}.")
    if seed < 0:
        raise SettingsError(f"A seed of {seed} cannot be used; give 0 or more.")
    plans = []
    for number in range(1, count + 1):
        drawn = draw_protocol(np.random.default_rng((seed, number, 0)), "qsm" if modality == "all" else modality,
                              **protocol)
        check_images(IMAGES_OF[modality], drawn)
        plans.append(CasePlan(f"sub-{number:04d}", (seed, number, 1), labels[(number - 1) % len(labels)],
                              IMAGES_OF[modality], drawn, subject))
    return tuple(plans)


def make_data_set(plans: Sequence[CasePlan], folder: Path, jobs: int | None, reporter: Reporter) -> None:
    """Make the cases that are not there yet, then the lists of the whole data set.

    Parameters
    ----------
    jobs : processes at a time, None for as many as cores and memory allow
    reporter : is told of every finished case

    Raises
    ------
    InputError
        If a label map cannot be used, or the folder holds cases of another plan.
    SettingsError
        If a plan cannot be simulated.
    """
    for labels in sorted({plan.labels for plan in plans}):
        read_anatomy(labels)
    missing = [plan for plan in plans if not _is_made(plan, folder)]
    folder.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    processes = min(jobs, most_processes()) if jobs else _jobs_for(len(missing))
    for done, name in enumerate(_made(missing, folder, processes), 1):
        left_s = (time.monotonic() - started) / done * (len(missing) - done)
        reporter.progress(name, "simulate", f"{len(plans) - len(missing) + done} of {len(plans)} simulated"
                          + (f", about {max(round(left_s / 60), 1)} min left" if done < len(missing) else ""),
                          (len(plans) - len(missing) + done) / len(plans))
    _write_lists(plans, folder)


def make_case(plan: CasePlan, folder: Path, threads: int) -> str:
    """Make one case, beside first and then renamed; return its name."""
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)
    subject_rng, scan_rng = np.random.default_rng(plan.seed).spawn(2)
    subject = draw_subject(read_anatomy(plan.labels), plan.subject, subject_rng)
    scan = simulate(subject, plan.protocol, plan.images, scan_rng, threads)
    beside = folder / f".{plan.name}.part"
    shutil.rmtree(beside, ignore_errors=True)
    anatomical = beside / "anat"
    anatomical.mkdir(parents=True)
    for kind, image in scan.images.items():
        write_image(anatomical / f"{plan.name}_{kind}.nii.gz", _stored(kind, image, scan.brain.data))
        write_json(anatomical / f"{plan.name}_{kind}.json", _sidecar(kind, plan.protocol))
    for kind, truth in scan.truths.items():
        write_truth(anatomical, f"{plan.name}_{kind}", truth)
    write_label_map(anatomical / f"{plan.name}_desc-brain_mask.nii.gz", scan.brain)
    write_json(anatomical / f"{plan.name}_desc-drawn.json", _drawn(plan, subject, scan))
    os.replace(beside, folder / plan.name)
    return plan.name


def write_truth(folder: Path, stem: str, truth: Truth) -> None:
    """Write the label maps and the table of one image with a stem."""
    write_label_map(folder / f"{stem}_desc-cmb_truth.nii.gz", truth.microbleeds)
    write_label_map(folder / f"{stem}_desc-all_truth.nii.gz", truth.everything)
    names = [field.name for field in fields(Row)]
    lines = ["\t".join(names)]
    for row in truth.rows:
        values = ("" if value is None else int(value) if isinstance(value, bool) else value
                  for value in (getattr(row, name) for name in names))
        lines.append("\t".join(map(str, values)))
    write_text(folder / f"{stem}_desc-truth.tsv", "\n".join(lines) + "\n")


def drawn_things(foci: Sequence[Focus], vessels: Sequence[Vessel]) -> list[dict[str, Any]]:
    """Return foci and vessels as JSON takes them, in the order of their numbers; lengths in mm, places RAS mm."""
    return [{"kind": focus.kind, "parts": [_rounded(asdict(part)) for part in focus.parts]} for focus in foci] + [
        _rounded({"kind": vessel.kind, "points_ras": vessel.points_ras[::_POINT_STEP],
                  "radii_mm": vessel.radii_mm[::_POINT_STEP], "susceptibility_ppm": vessel.susceptibility_ppm,
                  "r2star_hz": vessel.r2star_hz, "density": vessel.density}) for vessel in vessels]


_POINT_STEP = 4
"""Of the samples along a vessel every fourth is listed, about one every 2 mm."""


def _made(plans: Sequence[CasePlan], folder: Path, jobs: int) -> Iterator[str]:
    """Make cases and yield their names as they are done; if one fails, or on Ctrl-C, the others stop at once."""
    threads = max(1, (os.cpu_count() or 1) // max(1, min(jobs, len(plans))))
    if min(jobs, len(plans)) <= 1:
        for plan in plans:
            yield make_case(plan, folder, threads)
        return
    # "spawn", because a fork of a process with threads can hang
    with ProcessPoolExecutor(min(jobs, len(plans)), multiprocessing.get_context("spawn")) as pool:
        try:
            futures = [pool.submit(make_case, plan, folder, threads) for plan in plans]
            for future in as_completed(futures):
                yield future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for child in multiprocessing.active_children():
                child.kill()
            raise


def _jobs_for(cases: int) -> int:
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4 * _MEMORY_OF_CASE
    return max(1, min(most_processes(), memory // _MEMORY_OF_CASE, cases))


def _is_made(plan: CasePlan, folder: Path) -> bool:
    """Whether a case is there; a case of another plan is an error, because nothing is overwritten."""
    if not (folder / plan.name).exists():
        return False
    path = folder / plan.name / "anat" / f"{plan.name}_desc-drawn.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8")).get("plan")
    except (OSError, ValueError):
        found = None
    if found != _as_json(plan):
        raise InputError(f"{folder / plan.name} was made with other settings; choose an empty folder or remove it.")
    return True


def _as_json(plan: CasePlan) -> dict[str, Any]:
    digest = hashlib.sha256(plan.labels.read_bytes()).hexdigest()
    content = {**asdict(plan), "labels": {"name": plan.labels.name, "sha256": digest}, "simulator": _REVISION}
    return json.loads(json.dumps(content))


def _stored(kind: str, image: Volume, brain: np.ndarray) -> Volume:
    """Return an image as it is written: magnitudes as whole numbers with the brain's median at 500, phase at ±4096."""
    if kind == PHASE:
        return image.with_data(np.rint(image.data * (_PHASE_STEPS / np.pi)).astype(np.int16))
    if kind in _UNITS:
        return image
    level = float(np.median(image.data[brain])) if brain.any() else float(image.data.max())
    scaled = np.rint(image.data * (_BRAIN_LEVEL / max(level, 1e-9)))
    return image.with_data(np.clip(scaled, 0, np.iinfo(np.int16).max).astype(np.int16))


def _sidecar(kind: str, protocol: Protocol) -> dict[str, Any]:
    echo = {} if kind in (QSM, R2STAR) else {"EchoTime": protocol.echo_times_ms[-1] / 1000}
    units = {"Units": _UNITS[kind]} if kind in _UNITS else {}
    return {"Simulated": True, "SeriesDescription": f"Simulated {_TITLES[kind]}, not a patient",
            "MagneticFieldStrength": protocol.field_tesla, **echo, **units,
            "SliceThickness": protocol.slice_mm, "SpacingBetweenSlices": float(protocol.spacing[2])}


def _drawn(plan: CasePlan, subject: Subject, scan: SimulatedScan) -> dict[str, Any]:
    return {"schema_version": SCHEMA_VERSION, "plan": _as_json(plan), "age": subject.age,
            "deformation": asdict(subject.deformation), "tissue": asdict(subject.tissue),
            "inversion": asdict(scan.inversion), "nuclei": drawn_things(subject.nuclei, ()),
            "things": [{"id": number, **thing} for number, thing in enumerate(
                drawn_things((*subject.bleeds, *subject.mimics), subject.vessels) + drawn_things(subject.air, ())
                + [{"kind": kind} for kind in artefacts_of(plan.protocol)], 1)]}


def _rounded(value: Any) -> Any:
    """Return a value with arrays as lists and numbers at 1e-4, which is finer than any of them is known."""
    if isinstance(value, dict):
        return {name: _rounded(item) for name, item in value.items()}
    if isinstance(value, np.ndarray):
        return np.round(value.astype(float), 4).tolist()
    return round(value, 4) if isinstance(value, float) else value


def _write_lists(plans: Sequence[CasePlan], folder: Path) -> None:
    """Write the files that describe the whole data set."""
    people, cases = ["participant_id\tage\tmicrobleeds\tmagnetic_field_strength"], []
    for plan in plans:
        own = folder / plan.name
        drawn = json.loads((own / "anat" / f"{plan.name}_desc-drawn.json").read_text(encoding="utf-8"))
        bleeds = sum(thing["kind"] == "microbleed" for thing in drawn["things"])
        people.append(f"{plan.name}\t{drawn['age']:.1f}\t{bleeds}\t{plan.protocol.field_tesla:g}")
        cases.append({"plan": drawn["plan"], "sha256": {
            path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(own.rglob("*")) if path.is_file()}})
    write_text(folder / "participants.tsv", "\n".join(people) + "\n")
    write_text(folder / "README", _README.format(version=__version__))
    write_json(folder / "dataset_description.json", {
        "Name": "Simulated microbleeds", "BIDSVersion": "1.10.0", "DatasetType": "derivative",
        "GeneratedBy": [{"Name": "CMBDetection", "Version": __version__}]})
    write_json(folder / "manifest.json", {"schema_version": SCHEMA_VERSION, "simulator": __version__, "cases": cases})

"""Implants from file to file: scans in, implanted scans with their truth out, as `data_set` writes simulated ones."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from .. import __version__
from ..batch import OK, OUR_FAULT, make_folder, tell
from ..errors import InputError, SettingsError
from ..modality import decide_modality
from ..progress import Reporter
from ..read_write import Scan, read_mask, read_scan, scan_stem, staging_folder, write_image, write_json, write_label_map
from ..subject_names import subject_of_file
from ..volume import Volume
from .data_set import SCHEMA_VERSION, drawn_things, write_truth
from .implant import Implanted, ImplantSettings, implant
from .shapes import Focus, Vessel


@dataclass(frozen=True)
class ImplantJob:
    """What to do with every scan; what is None is told from the scan or its sidecar, `mask` fits one scan only."""

    folder: Path
    modality: str = "auto"
    mask: str | None = None
    bleeds: int = 5
    mimics: int = 3
    seed: int = 1
    echo_time_ms: float | None = None
    field_tesla: float | None = None
    debug: bool = False


def implant_files(images: Sequence[str], job: ImplantJob, reporter: Reporter) -> int:
    """Implant into every scan and write the results into `job.folder`; return the exit code.

    Of each scan S: ``S.nii.gz``, ``S.json``, ``S_desc-cmb_truth.nii.gz``, ``S_desc-all_truth.nii.gz``,
    ``S_desc-truth.tsv`` and ``S_desc-brain_mask.nii.gz``. A scan that fails does not stop the others.

    Raises
    ------
    MicrobleedError
        If something is wrong that concerns all scans.
    """
    if len({scan_stem(image) for image in images}) < len(images):
        raise InputError("Two images have the same name and would overwrite each other; use different folders.")
    if job.mask is not None and len(images) > 1:
        raise SettingsError(f"--mask {job.mask} fits one image, but {len(images)} were given; run them one by one.")
    if job.seed < 0:
        raise SettingsError(f"A seed of {job.seed} cannot be used; give 0 or more.")
    # raises what is wrong in any scan; as QSM, which needs neither echo time nor field strength
    ImplantSettings("qsm", job.echo_time_ms, job.field_tesla, job.bleeds, job.mimics).protocol(np.ones(3))
    make_folder(job.folder)
    codes = []
    for image in images:
        try:
            _implant_file(image, job, reporter)
            codes.append(OK)
        except BrokenPipeError:
            raise
        except Exception as error:
            codes.append(tell(error, image, job.debug, reporter))
    if done := codes.count(OK):
        reporter.say(f"{done} {'scan' if done == 1 else 'scans'} with implants {'is' if done == 1 else 'are'} in "
                     f"{job.folder.resolve()}; S_desc-truth.tsv of scan S says what was implanted where.")
    return OUR_FAULT if OUR_FAULT in codes else max(codes, default=OK)


def _implant_file(image: str, job: ImplantJob, reporter: Reporter) -> None:
    # torch is behind it
    from ..step0_prepare import find_brain

    reporter.progress(image, "read", "Reading", 0.0)
    scan = read_scan(image)
    if scan.path.resolve().parent == job.folder.resolve():
        raise InputError(f"{scan.path.name} lies in {job.folder} itself and would be overwritten; choose another "
                         "folder with -o.")
    reporter.progress(image, "brain", "Brain mask", 0.1)
    brain = find_brain(scan.volume, read_mask(job.mask, scan.volume) if job.mask else None)
    settings = _settings_of(scan, brain, job)
    reporter.progress(image, "implant", "Implanting", 0.4)
    # by content, so that neither names nor the order of the scans matter
    done = implant(scan.volume, brain, settings, np.random.default_rng((job.seed, int(scan.sha256[:15], 16))))
    for sentence in (*scan.warnings, *done.warnings):
        reporter.warning(image, sentence)
    reporter.progress(image, "write", "Writing", 0.9)
    with staging_folder(job.folder) as staging:
        write_image(staging / f"{scan.stem}.nii.gz", done.image)
        write_label_map(staging / f"{scan.stem}_desc-brain_mask.nii.gz", brain)
        write_truth(staging, scan.stem, done.truth)
        write_json(staging / f"{scan.stem}.json", _sidecar(scan, settings, job.seed, done))
    reporter.progress(image, "write", f"{len(done.bleeds)} microbleeds and {len(done.mimics)} mimics implanted", 1.0)


def _settings_of(scan: Scan, brain: Volume, job: ImplantJob) -> ImplantSettings:
    modality = job.modality if job.modality != "auto" else \
        decide_modality(scan.volume, brain, scan.stem, scan.metadata)[0]
    echo_time_ms, field_tesla = (
        scan.metadata.get(name) if given is None else given
        for name, given in (("echo_time_ms", job.echo_time_ms), ("field_strength_t", job.field_tesla)))
    return ImplantSettings(modality, echo_time_ms, field_tesla, job.bleeds, job.mimics)


def _sidecar(scan: Scan, settings: ImplantSettings, seed: int, done: Implanted) -> dict:
    """Return the sidecar: what the scan's own said as far as it was read, and everything drawn."""
    names = {"SeriesDescription": "series_description", "ProtocolName": "protocol_name",
             "SequenceName": "sequence_name"}
    said = {name: scan.metadata[key] for name, key in names.items() if key in scan.metadata}
    if settings.echo_time_ms:
        said["EchoTime"] = settings.echo_time_ms / 1000
    if settings.field_tesla:
        said["MagneticFieldStrength"] = settings.field_tesla
    things = (*done.bleeds, *done.mimics)
    foci, vessels = ([thing for thing in things if isinstance(thing, kind)] for kind in (Focus, Vessel))
    return {**said, "Implanted": True, "schema_version": SCHEMA_VERSION, "simulator": __version__,
            "subject": subject_of_file(scan.stem, scan.path.resolve().parent),
            "source": {"name": scan.path.name, "sha256": scan.sha256}, "seed": seed, "settings": asdict(settings),
            "measured": asdict(done.quality),
            "things": [{"id": number, **thing} for number, thing in enumerate(drawn_things(foci, vessels), 1)]}

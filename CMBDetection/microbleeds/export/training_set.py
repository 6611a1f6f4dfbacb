"""Reviewed scans as a labelled data set, in the layout that ``cmbdetect finetune --data FOLDER`` reads.

::

    FOLDER/README.txt, splits.json, sha256sums.txt
    FOLDER/train/S.nii.gz                               scan S on its own grid; the same in validation and test
    FOLDER/train/S.json                                 how it was made, as a BIDS sidecar
    FOLDER/train/S_desc-cmb_review.json                 findings, see `review_files`
    FOLDER/train/S_desc-cmb_dseg.nii.gz                 instances: value = id of the finding
    FOLDER/train/S_seg-classes_desc-cmb_dseg.nii.gz     classes: 1 microbleed, 2 mimic, 3 ignore

Classes are what `training.layouts_reviews` makes of the same findings:

* accepted, definite or possible: microbleed;
* rejected: mimic (a hard negative), whether its kind was named or not; the kind is in the review file;
* undecided, and what the detector marked but the review does not list: ignore. So is all of an unreviewed scan.

A finding without voxels, as readers add them, gets a region grown on the image (`point_regions`). Where two claim a
voxel, a microbleed comes before what is undecided, and that before a mimic.
"""

import csv
import io
import os
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..components import region_voxels
from ..errors import InputError, SettingsError
from ..outputs import FILE_NAMES
from ..point_regions import grow_regions, voxels_within
from ..read_write import files_sha256, write_image, write_json, write_label_map, write_text
from ..report import NOT_CLINICAL
from ..review_files import (
    ACCEPTED,
    FILE_NAME,
    REJECTED,
    UNDECIDED,
    Review,
    ReviewedFinding,
    review_from_json,
    review_to_json,
)
from ..reviewed_case import CaseFinding, ReviewedCase
from ..subject_names import subject_of
from .guards import require_reviewed, status_of

MICROBLEED, MIMIC, IGNORE = 1, 2, 3
CLASS_NAMES = {MICROBLEED: "microbleed", MIMIC: "mimic", IGNORE: "ignore"}
_CLASS_OF = {ACCEPTED: MICROBLEED, REJECTED: MIMIC, UNDECIDED: IGNORE}
CLASSES_NAME = "{}_seg-classes_desc-cmb_dseg.nii.gz"
"""Ends like the instance map, so that nothing takes it for an image."""
TRAIN, VALIDATION, TEST = PARTS = ("train", "validation", "test")
FRACTIONS = (0.7, 0.15, 0.15)
"""Of the subjects, by part."""
SUMS = "sha256sums.txt"
KEY_COLUMNS = ("name", "split_subject", "subject", "session", "stem", "scan_name", "scan_sha256")

_README = f"""{NOT_CLINICAL}.

Reviewed scans, made to train and test detectors of cerebral microbleeds.

S.nii.gz                            the scan, voxel for voxel on its own grid
S_desc-cmb_dseg.nii.gz              value = id of the finding
S_seg-classes_desc-cmb_dseg.nii.gz  1 microbleed (accepted, definite or possible), 2 mimic (rejected),
                                    3 ignore (undecided; nobody has said what it is)
S_desc-cmb_review.json              the findings: verdict, certainty, kind of mimic, reader
splits.json                         subject -> train, validation or test; no subject is in two
{SUMS}                      check with: sha256sum -c {SUMS}

cmbdetect finetune --from MODEL --data FOLDER/train FOLDER/validation --output NEW_MODEL
cmbdetect train --data FOLDER/train --held-out FOLDER/validation --output NEW_MODEL
(--data FOLDER takes everything, the test subjects too.)
"""


@dataclass(frozen=True, eq=False)
class CaseLabels:
    """What a scan teaches, on its grid.

    Attributes
    ----------
    instances : (i, j, k) int32 array
        Id of the finding, 0 elsewhere.
    classes : (i, j, k) uint8 array
        `MICROBLEED`, `MIMIC`, `IGNORE` or 0.
    covered : tuple of int
        Ids of findings that have lost every voxel to another one on the same place.
    """

    instances: np.ndarray
    classes: np.ndarray
    covered: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class NamedCase:
    """A case, the beginning of its file names, its subject as that name tells it, and the part it belongs to."""

    case: ReviewedCase
    name: str
    subject: str
    part: str


def write_training_set(cases: Sequence[ReviewedCase], folder: Path, *, seed: int = 1,
                       fractions: Sequence[float] = FRACTIONS, key_file: Path | None = None,
                       include_unreviewed: bool = False, overwrite: bool = False) -> Path:
    """Write scans, instance and class maps, findings and the split by subject; everything or nothing.

    Parameters
    ----------
    cases : sequence of ReviewedCase
    folder : Path
        Made if missing; may be empty.
    seed, fractions
        See `split_subjects`.
    key_file : Path or None
        If given, names become ``sub-001_case-001``, comments and digests of the scans are left out, and this table
        (outside the folder) says which code is which scan.
    include_unreviewed : bool
        Take scans too that nobody has reviewed. All their findings are ignored, and they are marked.
    overwrite : bool
        Replace a training set in the folder, and the key file. Nothing else is ever replaced.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    InputError
        If a case cannot be taken (see `name_cases`, `label_case`), or the folder cannot be written or holds something.
    SettingsError
        If the fractions are none.
    """
    named = name_cases(cases, seed, fractions, key_file is not None, include_unreviewed)
    folder = Path(folder)
    with key_written(key_file, named, folder, overwrite), new_folder(folder, overwrite) as staging:
        for one in named:
            _write_case(staging / one.part, one, coded=key_file is not None)
        write_json(staging / "splits.json", splits_json(named, seed, fractions))
        write_text(staging / "README.txt", _README)
    return folder


def label_case(case: ReviewedCase) -> CaseLabels:
    """Return the instances and classes of a case; the rules are at the top.

    Raises
    ------
    InputError
        If a finding without voxels lies outside the scan.
    """
    marked = np.asarray(case.labels.data, np.int32)
    instances, classes = marked.copy(), np.zeros(marked.shape, np.uint8)
    classes[(marked > 0) & ~np.isin(marked, [finding.id for finding in case.findings])] = IGNORE
    drawn = dict(enumerate(region_voxels(marked, int(marked.max(initial=0))), 1))
    for verdict in (REJECTED, UNDECIDED, ACCEPTED):
        findings = [finding for finding in case.findings if finding.verdict == verdict]
        points = [finding for finding in findings if not len(drawn.get(finding.id, ()))]
        grown = dict(zip((finding.id for finding in points), _grow(case, points), strict=True))
        for finding in findings:
            voxels = tuple((grown if finding.id in grown else drawn)[finding.id].T)
            instances[voxels], classes[voxels] = finding.id, _CLASS_OF[verdict]
    left = set(np.unique(instances).tolist())
    return CaseLabels(instances, classes, tuple(one.id for one in case.findings if one.id not in left))


def name_cases(cases: Sequence[ReviewedCase], seed: int, fractions: Sequence[float], coded: bool,
               include_unreviewed: bool) -> tuple[NamedCase, ...]:
    """Return the cases with the names of their files and their parts, sorted by name.

    A name is the stem of the scan, with ``sub-X_`` before it where it does not tell the subject itself. With `coded` it
    is ``sub-001_case-001``, numbered in an order drawn with `seed`.

    Raises
    ------
    InputError
        If there is no case, an unreviewed one, two of the same name, or the same scan twice.
    """
    if not cases:
        raise InputError("No cases were given for the training set; choose reviewed scans.")
    for case in cases:
        require_reviewed(case, include_unreviewed)
    _refuse_twice([case.scan_sha256 for case in cases], cases, "are the same scan, which might be trained and tested "
                                                               "on at once; leave one of them out")
    names = _codes(cases, seed) if coded else _plain_names(cases)
    _refuse_twice([name.casefold() for name in names], cases, "would have files of the same name; rename one of them "
                                                              "or use codes")
    subjects = [subject_of(name) for name in names]
    bleeding = {subject: False for subject in subjects}
    for case, subject in zip(cases, subjects, strict=True):
        bleeding[subject] |= any(finding.verdict == ACCEPTED for finding in case.findings)
    part_of = split_subjects(bleeding, fractions, seed)
    return tuple(sorted((NamedCase(case, name, subject, part_of[subject])
                         for case, name, subject in zip(cases, names, subjects, strict=True)),
                        key=lambda one: one.name))


def split_subjects(bleeding: Mapping[str, bool], fractions: Sequence[float], seed: int) -> dict[str, str]:
    """Return the part of each subject: "train", "validation" or "test".

    Parts get their fractions to the nearest subject, and one subject each as soon as there are three (of two one for
    validation, of one none). Subjects with microbleeds are spread first, so that every part has its share of them.

    Parameters
    ----------
    bleeding : mapping
        Whether a subject has microbleeds, by its name; their order does not matter.
    fractions : 3 numbers
        In the order of `PARTS`; they sum to 1, and the first is not 0.
    seed : int

    Raises
    ------
    SettingsError
        If the fractions are none.
    """
    shares = np.array(fractions, float)
    if shares.shape != (3,) or not (np.isfinite(shares).all() and (shares >= 0).all() and shares[0] > 0
                                    and abs(shares.sum() - 1) < 1e-6):
        raise SettingsError(f"The fractions {', '.join(f'{share:g}' for share in shares.ravel())} are no split; give "
                            "three from 0 on for training, validation and test that sum to 1.")
    names, counts = sorted(bleeding), _part_sizes(len(bleeding), shares)
    order = [names[index] for index in np.random.default_rng(seed).permutation(len(names))]
    order.sort(key=lambda name: not bleeding[name])
    given, parts = np.zeros(3, int), {}
    for number, name in enumerate(order, 1):
        # the part that is furthest behind its share so far
        behind = np.where(given < counts, counts * number / len(order) - given, -np.inf)
        part = int(np.argmax(behind))
        given[part] += 1
        parts[name] = PARTS[part]
    return {name: parts[name] for name in names}


def splits_json(named: Sequence[NamedCase], seed: int, fractions: Sequence[float]) -> dict:
    """Return the content of ``splits.json``."""
    return {"note": NOT_CLINICAL, "seed": seed, "fractions": dict(zip(PARTS, map(float, fractions), strict=True)),
            "subjects": {one.subject: one.part for one in named},
            "scans": {one.name: one.part for one in named}}


@contextmanager
def new_folder(folder: Path, overwrite: bool) -> Iterator[Path]:
    """Give an empty folder to write a data set into; when the block ends its content moves into `folder` together.

    ``sha256sums.txt`` is written too. It says which files belong to the set: only those are ever replaced. If anything
    fails, `folder` is as it was.

    Raises
    ------
    InputError
        If the folder holds anything and `overwrite` is not set, or anything that is not of such a set; if it cannot be
        written.
    """
    former = former_entries(folder, overwrite)
    made = not folder.exists()
    work = None
    try:
        staging, aside = _work_folders(folder)
        work = staging.parent
        yield staging
        files = sorted(path for path in staging.rglob("*") if path.is_file())
        write_text(staging / SUMS, "".join(f"{files_sha256([path])}  {path.relative_to(staging).as_posix()}\n"
                                           for path in files))
        _exchange(folder, former, staging, aside)
        shutil.rmtree(aside, ignore_errors=True)
    except OSError as error:
        raise InputError(f"The data set cannot be written to {folder} ({error.strerror or error}); free space there, "
                         "close its files, or choose another folder.") from error
    finally:
        if work is not None:
            _clear(work)
        if made and folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


@contextmanager
def key_written(key_file: Path | None, named: Sequence[NamedCase], folder: Path, overwrite: bool) -> Iterator[None]:
    """Write the table of codes; it is as it was if the block fails. Without a file, do nothing.

    Raises
    ------
    InputError
        If it exists and `overwrite` is not set, would lie in the folder of the data set, or cannot be written.
    """
    if key_file is None:
        yield
        return
    key_file = Path(key_file)
    if Path(os.path.abspath(key_file)).is_relative_to(os.path.abspath(folder)):
        raise InputError(f"{key_file} would lie in the data set that it is the key to; name a place outside {folder}.")
    if key_file.exists() and not overwrite:
        raise InputError(f"{key_file} exists already; name another key file, or say that it shall be replaced.")
    text = io.StringIO()
    writer = csv.writer(text, delimiter="\t", lineterminator="\n")
    writer.writerow(KEY_COLUMNS)
    writer.writerows([one.name, one.subject, one.case.subject, one.case.session, one.case.stem, one.case.scan_name,
                      one.case.scan_sha256] for one in named)
    former, work = key_file.exists(), None
    try:
        staging, aside = _work_folders(key_file.parent)
        work = staging.parent
        (staging / key_file.name).write_text(text.getvalue(), encoding="utf-8", newline="\n")
        _exchange(key_file.parent, [key_file.name] if former else [], staging, aside)
        try:
            yield
        except BaseException:
            if former:
                os.replace(aside / key_file.name, key_file)
            else:
                key_file.unlink()
            raise
        shutil.rmtree(aside, ignore_errors=True)
    except OSError as error:
        raise InputError(f"The key cannot be written to {key_file} ({error.strerror or error}); free space there or "
                         "name another file.") from error
    finally:
        if work is not None:
            _clear(work)


def _write_case(folder: Path, one: NamedCase, coded: bool) -> None:
    case, labels = one.case, label_case(one.case)
    image = folder / f"{one.name}.nii.gz"
    folder.mkdir(exist_ok=True)
    write_image(image, case.image)
    write_json(folder / f"{one.name}.json", _sidecar(case))
    write_label_map(folder / FILE_NAMES["labels"].format(one.name), case.image.with_data(labels.instances))
    write_label_map(folder / CLASSES_NAME.format(one.name), case.image.with_data(labels.classes))
    write_json(folder / FILE_NAME.format(one.name), _review_json(one, labels, image, coded))


def _sidecar(case: ReviewedCase) -> dict:
    """Return what a reader of scans can use, by its BIDS names; the echo time is in seconds there."""
    acquisition = case.acquisition
    content: dict = {"Simulated": case.simulated}
    if acquisition.field_strength_t is not None:
        content["MagneticFieldStrength"] = acquisition.field_strength_t
    if acquisition.echo_time_ms is not None:
        content["EchoTime"] = acquisition.echo_time_ms / 1000
    return content


def _review_json(named: NamedCase, labels: CaseLabels, image: Path, coded: bool) -> dict:
    case = named.case
    findings = [finding for finding in case.findings if finding.id not in labels.covered]
    reviewed = tuple(ReviewedFinding(
        one.id, one.position_ras, one.diameter_mm, one.verdict, one.added_by_reader, one.mimic_kind, one.certainty,
        "" if coded else one.comment, one.region, one.side) for one in findings)
    review = Review(image.name, files_sha256([image]), case.acquisition.modality, case.reader, reviewed)
    content = review_to_json(review)
    review_from_json(content, case.scan_name)
    content["findings"] = [{**entry, **_more(finding)} for entry, finding in
                           zip(content["findings"], findings, strict=True)]
    told = {"note": NOT_CLINICAL, "subject": named.subject, "split": named.part, "simulated": case.simulated,
            "reviewed": status_of(case), "classes": {name: value for value, name in CLASS_NAMES.items()},
            "covered_findings": list(labels.covered)}
    source = {"source_sha256": case.scan_sha256, "reviewed_at": case.reviewed_at}
    return {**content, **told} if coded else {**content, **told, **source}


def _more(finding: CaseFinding) -> dict:
    """Return what a review file does not hold of a finding."""
    return {"class": CLASS_NAMES[_CLASS_OF[finding.verdict]], "reader": finding.reader,
            "probability": finding.probability, "volume_mm3": finding.volume_mm3}


def _grow(case: ReviewedCase, findings: Sequence[CaseFinding]) -> list[np.ndarray]:
    """Return the voxels (n, 3) of findings that have none, grown from their places."""
    for finding in findings:
        if not len(voxels_within(case.image, np.array(finding.position_ras), 0.0)[0]):
            raise InputError(f"Finding {finding.id} of {case.scan_name} at {list(finding.position_ras)} lies outside "
                             "the scan and has no voxels; correct its place or remove it.")
    grown = grow_regions(case.image, [np.array(finding.position_ras) for finding in findings],
                         case.acquisition.modality == "qsm")
    return region_voxels(grown, len(findings))


def _plain_names(cases: Sequence[ReviewedCase]) -> list[str]:
    labels: dict[str, str] = {}
    names = []
    for case in cases:
        if subject_of(case.stem) in (case.subject, f"sub-{case.subject}"):
            names.append(case.stem)
            continue
        if case.subject not in labels:
            label = re.sub("[^A-Za-z0-9]", "", case.subject.removeprefix("sub-"))
            while not label or label in labels.values():
                label += "x"
            labels[case.subject] = label
        names.append(f"sub-{labels[case.subject]}_{case.stem}")
    return names


def _codes(cases: Sequence[ReviewedCase], seed: int) -> list[str]:
    """Return names of numbers; they are drawn, because the order of names would tell something about them."""
    subjects = sorted({case.subject for case in cases})
    drawn = np.random.default_rng(seed).permutation(len(subjects))
    number_of = {subject: int(number) + 1 for subject, number in zip(subjects, drawn, strict=True)}
    order = sorted(range(len(cases)), key=lambda index: (number_of[cases[index].subject], cases[index].session,
                                                         cases[index].stem))
    names = [""] * len(cases)
    for number, index in enumerate(order, 1):
        names[index] = f"sub-{number_of[cases[index].subject]:03d}_case-{number:03d}"
    return names


def _refuse_twice(keys: Sequence[str], cases: Sequence[ReviewedCase], told: str) -> None:
    """Raise an InputError if two cases have the same key ("" is none)."""
    key, count = Counter(key for key in keys if key).most_common(1)[0] if any(keys) else ("", 0)
    if count > 1:
        first, second = [case.scan_name for own, case in zip(keys, cases, strict=True) if own == key][:2]
        raise InputError(f"{first} and {second} {told}.")


def _part_sizes(count: int, shares: np.ndarray) -> np.ndarray:
    """Return how many subjects each part gets (3,): by largest remainder, and one for each part that wants any."""
    wanted = shares * count
    sizes = np.floor(wanted + 1e-9).astype(int)
    for part in np.argsort(sizes - wanted, kind="stable")[:count - sizes.sum()]:
        sizes[part] += 1
    for part in np.flatnonzero(shares > 0):
        if not sizes[part] and sizes.max() > 1:
            sizes[np.argmax(sizes)] -= 1
            sizes[part] += 1
    return sizes


def former_entries(folder: Path, overwrite: bool) -> list[str]:
    """Return the names in a folder that a new data set replaces; what must stay is refused, see `new_folder`."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; choose a folder for the data set.")
    try:
        files = sorted(path for path in folder.rglob("*") if not path.is_dir()) if folder.exists() else []
        listed = (folder / SUMS).read_text(encoding="utf-8").splitlines() if (folder / SUMS) in files else []
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{folder} cannot be read ({error}); choose another folder.") from None
    if files and not overwrite:
        raise InputError(f"{files[0]} exists already; choose an empty folder, or ask for the data set in it to be "
                         "overwritten (--overwrite; in the panel Replace files).")
    known = {line.partition("  ")[2] for line in listed} | {SUMS}
    for path in files:
        if path.relative_to(folder).as_posix() not in known or not listed:
            raise InputError(f"{path} does not belong to a data set that was written here; move it away or choose "
                             "another folder.")
    return sorted({path.relative_to(folder).parts[0] for path in files})


def _work_folders(folder: Path) -> tuple[Path, Path]:
    """Return two empty folders beside each other within a folder: for what comes in, and for what it replaces."""
    folder.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=".cmbdetect-", dir=folder))
    (work / "new").mkdir()
    (work / "former").mkdir()
    return work / "new", work / "former"


def _exchange(folder: Path, former: Sequence[str], staging: Path, aside: Path) -> None:
    """Move entries of a folder aside and the staged ones in; move them back if one cannot be moved."""
    moved: list[tuple[Path, Path]] = []
    moves = [(folder / name, aside / name) for name in former]
    moves += [(path, folder / path.name) for path in sorted(staging.iterdir())]
    try:
        for source, target in moves:
            os.replace(source, target)
            moved.append((source, target))
    except BaseException:
        for source, target in reversed(moved):
            os.replace(target, source)
        raise


def _clear(work: Path) -> None:
    """Remove what is left of the work, but nothing of a former data set that could not be put back."""
    shutil.rmtree(work / "new", ignore_errors=True)
    if not (work / "former").exists() or not any((work / "former").iterdir()):
        shutil.rmtree(work, ignore_errors=True)

"""The cases that readers work through: which they are, how far each one is, and which comes next.

A case is one image, from a folder, a BIDS tree or a table. How far it is follows from the review file beside it alone,
so that several readers and sessions see the same.
"""

import csv
import hashlib
import heapq
import io
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .errors import InputError
from .image_files import IMAGE_SUFFIXES, read_image
from .ordinary_files import read_ordinary_text
from .outputs import FILE_NAMES, read_result
from .read_write import files_sha256, scan_stem
from .review_files import ACCEPTED, FILE_NAME, MODALITIES, POSSIBLE, REJECTED, UNDECIDED
from .review_log import DETECTED, replay, shown_items
from .review_sidecar import Sidecar, read_sidecar, with_digest_beside

OPEN, IN_PROGRESS, DONE, FAILED = "open", "in progress", "done", "failed"
STATUSES = (OPEN, IN_PROGRESS, DONE, FAILED)

_DERIVATIVES = "derivatives"
_NO_SCAN = re.compile(r"_desc-|[._-](dseg|mask|labels?|seg|truth)$", re.IGNORECASE)
"""In the stem of a result or a label map."""
_BIDS_SIGN = "dataset_description.json"
_BIDS_FOLDERS = ("anat", "swi", "qsm")
_BIDS_SUFFIXES = ("T2starw", "T2star", "GRE", "MEGRE", "swi", "Chimap", "QSM")
_NO_MAGNITUDE = re.compile(r"_part-(?!mag_)")
_NOTHING = ("", "n/a")
"""BIDS writes the second where a table has no value."""
_UNSAFE = re.compile(r'[<>:"/\\|?*\x00-\x1f]')
_LONGEST = 60
"""Characters of a folder's name; 255 bytes are allowed, and Windows wants short paths."""
_DIGITS = 8


@dataclass(frozen=True)
class Case:
    """One image to be read.

    Attributes
    ----------
    name : str
        What is shown, unique in the list: the stem of the image; where several share it, their paths from the source.
    image : Path
        Absolute.
    modality : "auto", "gre", "swi" or "qsm"
    """

    name: str
    image: Path
    modality: str = "auto"


@dataclass(frozen=True)
class CaseState:
    """How far a case is.

    Attributes
    ----------
    status : str
        One of `STATUSES`.
    reader : str
        Who finished it, otherwise who acted last; may be "".
    accepted, possible, rejected, undecided : int
        Of the findings on screen; the possible ones are among the accepted ones.
    problem : str
        Why it failed, one sentence; "" unless it did.
    """

    status: str = OPEN
    reader: str = ""
    accepted: int = 0
    possible: int = 0
    rejected: int = 0
    undecided: int = 0
    problem: str = ""


def find_cases(source: Path) -> tuple[Case, ...]:
    """Return the cases of a source; tables keep their order, folders are sorted.

    Parameters
    ----------
    source : Path
        A table (.tsv, UTF-8): one row a case, columns ``image`` (path from the table's folder), and if wanted ``name``
        and ``modality``. A BIDS tree (it has dataset_description.json): the T2*, SWI and QSM images of its subjects.
        Any other folder: all images in it and below, without label maps, results, hidden folders and ``derivatives``.

    Raises
    ------
    InputError
        If there is no case, or one of the table cannot be one.
    """
    source = Path(os.path.abspath(source))
    if source.is_dir():
        find = _bids_images if (source / _BIDS_SIGN).is_file() else _folder_images
        return _named([("", image, "auto") for image in find(source)], source)
    if source.suffix.lower() == ".tsv":
        return _named(_rows_of_table(source), source.parent)
    told = "is neither a folder nor a table (.tsv)" if source.exists() else "does not exist"
    raise InputError(f"{source} {told}; choose a folder, a BIDS tree or a TSV file.")


def sidecar_of(case: Case) -> Path:
    """Return where the review of a case normally lies; see `review_sidecar.sidecar_places`."""
    return case.image.with_name(FILE_NAME.format(scan_stem(case.image)))


def state_of(case: Case, sidecar: Path | None, problem: str = "") -> CaseState:
    """Return how far a case is.

    Parameters
    ----------
    case : Case
    sidecar : Path or None
        Of its review, see `sidecar_of`; it may be missing. If it cannot be read or is another scan's, one with a digest
        in its name is looked for beside it.
    problem : str
        Why the detection failed, "" if it did not; it counts as long as there is no review.
    """
    try:
        kept = _read_own(case, sidecar) if sidecar is not None else None
    except InputError as error:
        return CaseState(FAILED, problem=str(error))
    if kept is None or not kept.events:
        return CaseState(FAILED if problem else OPEN, problem=problem)
    review = replay(kept.events)
    items = shown_items(review, kept.threshold)
    verdicts = Counter(item.verdict for item in items)
    possible = sum(item.verdict == ACCEPTED and item.certainty == POSSIBLE for item in items)
    readers = [event.reader for event in kept.events if event.action != DETECTED]
    status, reader = (IN_PROGRESS, readers[-1]) if readers else (OPEN, "")
    if review.finished:
        status, reader = DONE, review.finished_by
    return CaseState(status, reader, verdicts[ACCEPTED], possible, verdicts[REJECTED], verdicts[UNDECIDED])


def next_open(cases: Sequence[Case], states: Mapping[str, CaseState], after: str) -> Case | None:
    """Return the next case to be read, open or in progress, None if there is none.

    Parameters
    ----------
    cases : sequence of Case
    states : mapping
        By the names of the cases; one without a state is open.
    after : str
        Name of a case; the search begins behind it and goes round, never to itself. From the first one if "".
    """
    return next((case for case in _behind(cases, after) if _status(states, case) in (OPEN, IN_PROGRESS)), None)


def coming(cases: Sequence[Case], states: Mapping[str, CaseState], current: str, count: int) -> tuple[Case, ...]:
    """Return the next `count` open cases in the order of `next_open`, to be detected and loaded ahead."""
    return tuple(case for case in _behind(cases, current) if _status(states, case) == OPEN)[:max(count, 0)]


def progress_by_reader(states: Mapping[str, CaseState]) -> dict[str, int]:
    """Return how many cases each reader has finished, sorted by name."""
    return dict(sorted(Counter(state.reader for state in states.values() if state.status == DONE).items()))


def results_folder(source: Path) -> Path:
    """Return the folder for the results of a source of cases."""
    source = Path(os.path.abspath(source))
    return (source if source.is_dir() else source.parent) / _DERIVATIVES / "CMBDetection"


def case_folder(folder: Path, case: Case) -> Path:
    """Return the folder for the results of one case in that of all."""
    name = _UNSAFE.sub("_", case.name)[:_LONGEST].strip(" .")
    if not name or name != case.name:
        name = f"{name}-{hashlib.sha256(case.name.encode()).hexdigest()[:_DIGITS]}"
    return Path(folder) / name


def result_files(folder: Path, case: Case) -> dict[str, Path] | None:
    """Return the files of a detection in a case, in its folder among the results of all; see `result_files_in`."""
    return result_files_in(case_folder(folder, case), case)


def result_files_in(place: Path, case: Case) -> dict[str, Path] | None:
    """Return the files of a detection in a case (keys as `outputs.FILE_NAMES`), None if there is none that can be used.

    It can if all files are there, and it was made of this very image, as the modality that is asked for.
    """
    stem = scan_stem(case.image)
    files = {key: place / name.format(stem) for key, name in FILE_NAMES.items()}
    if not all(map(os.path.isfile, files.values())):
        return None
    try:
        provenance = read_result(files["findings"]).provenance
        current = case.modality in ("auto", provenance.modality) and provenance.input_sha256 == _digest(case.image)
    except (InputError, OSError):
        return None
    return files if current else None


def _digest(image: Path) -> str:
    """Return the digest that a detection would note."""
    # the voxels of such a header lie in another file, whose name only reading tells
    detached = image.suffix.lower() in (".mhd", ".nhdr")
    return files_sha256(read_image(image).files if detached else (image,))


def _behind(cases: Sequence[Case], name: str) -> list[Case]:
    index = next((index for index, case in enumerate(cases) if case.name == name), -1)
    return [*cases[index + 1:], *cases[:max(index, 0)]]


def _status(states: Mapping[str, CaseState], case: Case) -> str:
    return states[case.name].status if case.name in states else OPEN


def _read_own(case: Case, place: Path) -> Sidecar | None:
    """Return the review of a case, None if it has none.

    Raises
    ------
    InputError
        If it cannot be read.
    """
    if not os.path.exists(place):
        return None
    problem = None
    try:
        kept = read_sidecar(place)
        # a renamed scan keeps its review, but one that lies beside its former name does not share it
        if kept.input_name == case.image.name or not os.path.isfile(case.image.parent / kept.input_name):
            return kept
    except InputError as error:
        problem = error
    for path in with_digest_beside(place.with_name(FILE_NAME.format(scan_stem(case.image)))):
        try:
            kept = read_sidecar(path)
        except InputError:
            continue
        if kept.input_name == case.image.name:
            return kept
    if problem is not None:
        raise problem
    return None


def _folder_images(folder: Path) -> list[Path]:
    images = [path for path in _image_files(folder) if not _NO_SCAN.search(scan_stem(path))]
    if not images:
        raise InputError(f"{folder} holds no images ({', '.join(IMAGE_SUFFIXES)}) besides label maps and results; "
                         'choose another folder, or list the images in a TSV file with a column "image".')
    return images


def _bids_images(folder: Path) -> list[Path]:
    images = [path for path in _image_files(folder) if _is_bids_image(path, folder)]
    if not images:
        raise InputError(f"{folder} is a BIDS tree without images {', '.join(_BIDS_SUFFIXES)} in "
                         f"{', '.join(_BIDS_FOLDERS)} of a subject; choose another folder, or list the images in a TSV "
                         'file with a column "image".')
    return images


def _is_bids_image(image: Path, folder: Path) -> bool:
    """Whether a file in a BIDS tree is sub-*/[ses-*/]anat/*_T2starw.nii.gz or alike, not phase or complex."""
    parts, stem = image.relative_to(folder).parts, scan_stem(image)
    return (len(parts) == 3 or (len(parts) == 4 and parts[1].startswith("ses-"))) and parts[0].startswith("sub-") \
        and parts[-2] in _BIDS_FOLDERS and stem.endswith(tuple(f"_{suffix}" for suffix in _BIDS_SUFFIXES)) \
        and not _NO_MAGNITUDE.search(stem) and not _NO_SCAN.search(stem)


def _image_files(root: Path) -> list[Path]:
    """Return the image files in a folder and below, sorted, without those in hidden folders and ``derivatives``.

    Folders behind links are entered unless they have been, or are around `root`, so links may form loops.

    Raises
    ------
    InputError
        If a folder cannot be read.
    """
    seen = set(map(str, Path(os.path.realpath(root)).parents))
    found: list[Path] = []
    folders: list[str] = [str(root)]
    links: list[str] = []
    while folders or links:
        # links last, so that a folder is known by its own path
        folder = folders.pop() if folders else heapq.heappop(links)
        real = os.path.realpath(folder)
        if real in seen:
            continue
        seen.add(real)
        try:
            with os.scandir(folder) as entries:
                visible = [entry for entry in entries if not entry.name.startswith(".")]
        except OSError as error:
            raise InputError(f"{folder} cannot be read ({error.strerror}); check its rights, or list the images in a "
                             "TSV file.") from None
        for entry in visible:
            if entry.name.lower().endswith(IMAGE_SUFFIXES) and os.path.isfile(entry.path):
                found.append(Path(entry.path))
            elif entry.name == _DERIVATIVES:
                continue
            elif entry.is_symlink():
                if os.path.isdir(entry.path):
                    heapq.heappush(links, entry.path)
            elif entry.is_dir():
                folders.append(entry.path)
    return sorted(found)


def _rows_of_table(table: Path) -> list[tuple[str, Path, str]]:
    """Return name ("" if none is given), image and modality of every row of a table."""
    rows = _read_table(table)
    columns = [cell.lower() for cell in rows[0]] if rows else []
    if "image" not in columns:
        raise InputError(f'{table.name} has no column "image"; give it a first row with the names of the columns, with '
                         "tabs between them.")
    entries = []
    images: dict[str, int] = {}
    names: dict[str, int] = {}
    for number, row in enumerate(rows[1:], 2):
        if not any(row):
            continue
        cells = {column: "" if cell.lower() in _NOTHING else cell for column, cell in zip(columns, row, strict=False)}
        name, told = cells.get("name", ""), cells.get("image", "")
        modality = cells.get("modality", "").lower() or "auto"
        image = Path(os.path.abspath(table.parent / told))
        place = f"Row {number} of {table.name}"
        _check_row(place, told, image, modality)
        for what, value, key, others in (("image", told, os.path.normcase(image), images),
                                         ("name", name, _folded(name), names)):
            first = others.setdefault(key, number)
            if value and first != number:
                raise InputError(f"{place} has the same {what} as row {first} ({value}); take one of them out or "
                                 "correct it.")
        entries.append((name, image, modality))
    if not entries:
        raise InputError(f"{table.name} lists no images; add a row for each.")
    return entries


def _read_table(table: Path) -> list[list[str]]:
    try:
        text = io.StringIO(read_ordinary_text(table, "utf-8-sig"), newline="")
        return [[cell.strip() for cell in row] for row in csv.reader(text, delimiter="\t", strict=True)]
    except OSError as error:
        raise InputError(f"{table} cannot be opened ({error.strerror}); check the path and its rights.") from None
    except UnicodeDecodeError:
        raise InputError(f"{table.name} is not UTF-8 text; save it again as that.") from None
    except csv.Error as error:
        raise InputError(f"{table.name} is not a table of tab-separated values ({error}); check its quotation "
                         "marks.") from None


def _check_row(place: str, told: str, image: Path, modality: str) -> None:
    if not told:
        raise InputError(f"{place} names no image; fill it in or take the row out.")
    if not os.path.exists(image):
        raise InputError(f"{place}: {told} does not exist in {image.parent}; correct the path, which begins at the "
                         "table's folder.")
    if not image.name.lower().endswith(IMAGE_SUFFIXES) or not os.path.isfile(image):
        raise InputError(f"{place}: {told} is not an image file; give one of {', '.join(IMAGE_SUFFIXES)} (DICOM has to "
                         "be converted first).")
    if modality not in MODALITIES:
        raise InputError(f"{place} has the modality {modality!r}; give one of {', '.join(MODALITIES)}.")


def _named(entries: Sequence[tuple[str, Path, str]], folder: Path) -> tuple[Case, ...]:
    """Return cases of (name or "", image, modality); paths for names begin at `folder`."""
    stems = [name or scan_stem(image) for name, image, _ in entries]
    # two names that differ by capitals are one folder for Windows
    counts = Counter(map(_folded, stems))
    cases = []
    for stem, (name, image, modality) in zip(stems, entries, strict=True):
        inside = image.relative_to(folder) if image.is_relative_to(folder) else image
        alone = name or counts[_folded(stem)] == 1
        cases.append(Case(stem if alone else inside.as_posix(), image, modality))
    name, count = Counter(case.name for case in cases).most_common(1)[0]
    if count > 1:
        raise InputError(f"Two images in {folder} would both be called {name}; rename one of them.")
    return tuple(cases)


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()

"""Results and reference of a folder, scan by scan.

A result is ``S_desc-cmb_dseg.nii.gz`` of a scan with stem S, and ``S_desc-cmb_findings.json`` beside it where there is
one (other tools may have none). The reference is a map on the same grid or a table of points.
"""

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..components import label_components
from ..errors import InputError
from ..findings import DetectionResult
from ..image_files import FARTHEST_MM, IMAGE_SUFFIXES
from ..ordinary_files import read_ordinary_text
from ..outputs import FILE_NAMES, read_result
from ..read_write import MAX_MARKED_SHARE, read_labels, read_on_grid, scan_stem
from ..volume import Volume
from .matching import Lesions, lesions_from_clusters, lesions_from_points

RESULT_ENDING = FILE_NAMES["labels"].format("")
MAP_NAMES = ("_desc-cmb_truth", "_desc-cmb_dseg", "_dseg")
"""What follows the stem in the name of a reference map, in order of preference; the bare stem comes last."""
DEFAULT_DIAMETER_MM = 3.0
"""Of a point whose table gives no diameter: about the median of real microbleeds."""
LARGEST_DIAMETER_MM = 100.0
"""Of a point: a table that says more is in other units, or wrong."""
_IN_SUBJECTS = "sub-*/**/anat/*"


@dataclass(frozen=True, eq=False)
class Points:
    """The reference points of one subject: where they were read, centres (n, 3) RAS mm, diameters (n,) mm."""

    table: Path
    subject: str
    centres_ras: np.ndarray
    diameters_mm: np.ndarray


@dataclass(frozen=True)
class CaseFiles:
    """What belongs to one scan; `findings` is None where there is no such file."""

    stem: str
    labels: Path
    findings: Path | None
    truth: Path | Points


@dataclass(frozen=True, eq=False)
class Case:
    """One scan, read: predicted 26-connected clusters numbered from 1 on, the reference, and the result if known."""

    stem: str
    clusters: Volume
    lesions: Lesions
    result: DetectionResult | None


def find_cases(predictions: Path, truth: Path) -> tuple[tuple[CaseFiles, ...], tuple[str, ...]]:
    """Pair results with their reference.

    Parameters
    ----------
    predictions : Path
        Folder of results, or of a cohort's results.
    truth : Path
        Folder of maps (see `MAP_NAMES`; the first kind of name that occurs counts, so scans may lie beside them), or
        data set with such maps in ``sub-*/[ses-*/]anat``, as ``cmbdetect simulate`` writes it, or folder of one TSV or
        CSV table, or that table. A table has the columns ``subject`` (or ``stem``), ``R_mm``, ``A_mm``,
        ``S_mm`` and perhaps ``equivalent_diameter_mm``; the subject is the stem or its beginning up to a character
        that is neither letter nor digit. A row without coordinates says that the subject has no microbleeds.

    Returns
    -------
    cases : tuple of CaseFiles
    left_out : stems of results without a reference

    Raises
    ------
    InputError
        If there are no results, no reference, or a reference without a result.
    """
    found = sorted(predictions.glob("*" + RESULT_ENDING)) or sorted(predictions.glob(_IN_SUBJECTS + RESULT_ENDING))
    labels = {path.name.removesuffix(RESULT_ENDING): path for path in found}
    if not labels:
        raise InputError(f"{predictions} holds no *{RESULT_ENDING}; name one that cmbdetect detect or cohort wrote.")
    if len(labels) < len(found):
        raise InputError(f"{predictions} holds two results of one name among its subjects; evaluate them one by one.")
    references = _references(truth, tuple(labels))
    cases = []
    for stem in filter(references.__contains__, labels):
        reference = references[stem]
        if isinstance(reference, Path) and reference.samefile(labels[stem]):
            raise InputError(f"{reference} is the result itself; name a folder with reference maps.")
        findings = labels[stem].with_name(FILE_NAMES["findings"].format(stem))
        cases.append(CaseFiles(stem, labels[stem], findings if findings.exists() else None, reference))
    return tuple(cases), tuple(stem for stem in labels if stem not in references)


def read_case(files: CaseFiles) -> Case:
    """Read one scan's result and reference.

    Raises
    ------
    InputError
        If a file cannot be used, the grids differ, or label map and findings are of different runs.
    """
    clusters, result = read_prediction(files.labels, files.findings)
    if isinstance(files.truth, Points):
        lesions = _point_lesions(files.truth, clusters, files.labels)
    else:
        lesions = _map_lesions(files.truth, clusters, files.labels)
    return Case(files.stem, clusters, lesions, result)


def read_prediction(path: Path, findings: Path | None) -> tuple[Volume, DetectionResult | None]:
    """Read one scan's label map and, where there is one, its findings file.

    Returns
    -------
    clusters : Volume
        Kept findings, or everything marked where findings are not known, as clusters numbered from 1 on.
    result : DetectionResult or None

    Raises
    ------
    InputError
        If a file cannot be used, or label map and findings are of different runs.
    """
    labels = read_labels(path)
    if findings is None:
        return _clusters(labels, labels.data != 0), None
    result = read_result(findings)
    known = [candidate.id for candidate in result.candidates]
    if np.setdiff1d(labels.data, [0, *known]).size:
        raise InputError(f"{path} has labels that {findings} does not know; they are of different runs, detect again.")
    return _clusters(labels, np.isin(labels.data, [finding.id for finding in result.findings])), result


def _references(truth: Path, stems: Sequence[str]) -> dict[str, Path | Points]:
    """Return the reference of each stem that has one."""
    if truth.is_file():
        return _match_subjects(_read_points(truth), stems)
    if not truth.is_dir():
        raise InputError(f"{truth} does not exist; name a folder of reference maps or a table of points.")
    images = _images(truth.iterdir())
    if maps := _named_maps(images or _images(truth.glob(_IN_SUBJECTS))):
        return _match_maps(maps, stems)
    tables = [path for path in sorted(truth.iterdir()) if path.suffix in (".tsv", ".csv") and _has_points(path)]
    if len(tables) > 1:
        raise InputError(f"{truth} holds several tables of points ({', '.join(path.name for path in tables)}); "
                         "name one of them instead of the folder.")
    if tables:
        return _match_subjects(_read_points(tables[0]), stems)
    if not images:
        raise InputError(f"{truth} holds neither reference maps nor a table of points (subject, R_mm, A_mm, S_mm).")
    return _match_maps(images, stems)


def _images(paths: Iterable[Path]) -> dict[str, Path]:
    """Return the images among files by their stems."""
    return {scan_stem(path): path for path in sorted(paths) if path.name.lower().endswith(IMAGE_SUFFIXES)}


def _named_maps(images: Mapping[str, Path]) -> dict[str, Path]:
    """Return the maps of the first kind of name that occurs, by the stems of their scans."""
    for name in MAP_NAMES:
        maps = {base.removesuffix(name): path for base, path in images.items() if base.endswith(name)}
        if maps:
            return maps
    return {}


def _match_maps(maps: dict[str, Path], stems: Sequence[str]) -> dict[str, Path]:
    missing = [path.name for stem, path in maps.items() if stem not in stems]
    if missing:
        raise InputError(f"There is no result for {_some(missing)}; detect in those scans too, or move the files away.")
    return maps


def _match_subjects(subjects: Sequence[Points], stems: Sequence[str]) -> dict[str, Points]:
    matched = {}
    for points in subjects:
        own = [stem for stem in stems if _begins_with(stem, points.subject)]
        # "sub-1_ses-2" is a subject of its own where the table lists it beside "sub-1"
        others = [other.subject for other in subjects if len(other.subject) > len(points.subject)]
        own = [stem for stem in own if not any(_begins_with(stem, other) for other in others)]
        if not own:
            raise InputError(f"There is no result for {points.subject} of {points.table}; detect in that scan too, "
                             "or remove its rows.")
        if len(own) > 1:
            raise InputError(f"{points.subject} of {points.table} fits several results ({_some(own)}); use the whole "
                             "stem in the table.")
        matched[own[0]] = points
    return matched


def _begins_with(stem: str, subject: str) -> bool:
    return stem.startswith(subject) and not stem[len(subject):len(subject) + 1].isalnum()


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _rows(table: Path) -> list[dict[str, str]]:
    try:
        lines = read_ordinary_text(table, "utf-8-sig").splitlines()
        delimiter = next((mark for mark in "\t;," if lines and mark in lines[0]), ",")
        return list(csv.DictReader(lines, delimiter=delimiter))
    except OSError as error:
        raise InputError(f"{table} cannot be opened ({error.strerror}); check the path.") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{table} cannot be read as a table ({error}); save it as UTF-8 text.") from None


def _subject_column(columns: Sequence[str]) -> str | None:
    if not {"R_mm", "A_mm", "S_mm"} <= set(columns):
        return None
    return next((name for name in ("subject", "stem") if name in columns), None)


def _has_points(table: Path) -> bool:
    rows = _rows(table)
    return bool(rows) and _subject_column(list(rows[0])) is not None


def _read_points(table: Path) -> tuple[Points, ...]:
    rows = _rows(table)
    column = _subject_column(list(rows[0])) if rows else None
    if column is None:
        raise InputError(f"{table} is no table of points; it needs the columns subject, R_mm, A_mm and S_mm.")
    subjects: dict[str, list[tuple[float, ...]]] = {}
    for line, row in enumerate(rows, 2):
        if None in row:
            raise InputError(f"{table}, line {line}, has more cells than the header; correct it.")
        points = subjects.setdefault(row[column], [])
        values = [row[name] or "" for name in ("R_mm", "A_mm", "S_mm")]
        if not any(values):
            continue
        diameter = row.get("equivalent_diameter_mm") or str(DEFAULT_DIAMETER_MM)
        if not all(_is_number(value, -FARTHEST_MM, FARTHEST_MM) for value in values):
            raise InputError(f"{table}, line {line}: {', '.join(values)} are not coordinates in mm.")
        if not _is_number(diameter, 1e-3, LARGEST_DIAMETER_MM):
            raise InputError(f"{table}, line {line}: {diameter} is no diameter in mm.")
        points.append(tuple(map(float, (*values, diameter))))
    arrays = {subject: np.reshape(points, (-1, 4)).astype(float) for subject, points in subjects.items()}
    return tuple(Points(table, subject, array[:, :3], array[:, 3]) for subject, array in arrays.items())


def _is_number(text: str, least: float, most: float) -> bool:
    try:
        return least <= float(text) <= most
    except ValueError:
        return False


def _point_lesions(points: Points, grid: Volume, labels: Path) -> Lesions:
    lesions = lesions_from_points(points.centres_ras, points.diameters_mm, grid)
    for centre, region in zip(lesions.centres_ras, lesions.voxels, strict=True):
        if region.size == 0:
            raise InputError(f"{points.table}: the point {np.round(centre, 2).tolist()} of {points.subject} lies "
                             f"outside {labels}; coordinates must be RAS mm of that scan.")
    return lesions


def _map_lesions(truth: Path, grid: Volume, labels: Path) -> Lesions:
    reference = read_on_grid(truth, grid, labels).data
    marked = reference > 0
    if (reference < 0).any() or marked.mean() > MAX_MARKED_SHARE:
        raise InputError(f"{truth} does not look like a map of microbleeds ({marked.mean():.0%} of it is marked); "
                         "use 0 for background and 1 or more for microbleeds.")
    return lesions_from_clusters(_clusters(grid, marked))


def _clusters(grid: Volume, marked: np.ndarray) -> Volume:
    """Number the 26-connected clusters of a (i, j, k) bool array."""
    return grid.with_data(label_components(marked)[0])

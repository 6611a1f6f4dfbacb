"""All forms in which cases can be exported, each on its own switch, and writing those that are wished for.

What needs a package that is not always there (highdicom, reportlab) or much time is imported where it is used.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError, SettingsError
from ..longitudinal import pair_cases
from ..reviewed_case import ReviewedCase
from ..subject_counts import count_microbleeds
from .bids import bids_files, write_bids_derivative
from .cohort_table import append_to_cohort_table, require_appendable
from .guards import require_free, require_reviewed
from .label_files import write_label_map_file, write_segmentation_file
from .nnunet import channel_name, dataset_folder, write_nnunet
from .page import write_page
from .pair_answers import FILE_NAME as PAIRS_NAME
from .pair_answers import Question, answers_for, merged, questions_of, read_questions, taken_back, write_questions
from .point_files import write_points
from .report_content import Comparison
from .tables import (
    FINDING_COLUMNS,
    SUBJECT_COLUMNS,
    subject_row,
    table_files,
    write_finding_table,
    write_subject_table,
)
from .training_set import FRACTIONS, former_entries, name_cases, write_training_set

PAGE, PDF, TABLES, POINTS, SEGMENTATION, LABELS = "page", "pdf", "tables", "points", "segmentation", "labels"
BIDS, DICOM, TRAINING, NNUNET = "bids", "dicom", "training", "nnunet"
FORMATS = (PAGE, PDF, TABLES, POINTS, SEGMENTATION, LABELS, BIDS, DICOM, TRAINING, NNUNET)
NNUNET_NAME = "Microbleeds"
_BIDS, _TRAINING, _NNUNET = "bids", "training", "nnUNet_raw"
"""Folders of data sets."""
_TABLE_SUFFIXES = (".csv", ".tsv")

Progress = Callable[[str, float], None]
"""Called with a short text for the user, and the finished fraction."""


@dataclass(frozen=True, eq=False)
class Wish:
    """What is asked for.

    Attributes
    ----------
    formats : tuple of str
        Of `FORMATS`.
    folder : Path
    cohort_table : Path or None
        A cumulative table of counts that gets a row for each case.
    include_unreviewed : bool
        Cases that nobody has reviewed too, marked as that.
    overwrite : bool
        Replace files that are there, and rows of the same scan and reader in the cohort table.
    nnunet_number : int
        Of the nnU-Net data set.
    answers : Path or None
        Table of `pair_answers` with what a reader has answered on pairs with the baseline.
    """

    formats: tuple[str, ...]
    folder: Path
    cohort_table: Path | None = None
    include_unreviewed: bool = False
    overwrite: bool = False
    nnunet_number: int = 501
    answers: Path | None = None

    def __post_init__(self):
        unknown = sorted(set(self.formats) - set(FORMATS))
        if unknown:
            raise SettingsError(f"{', '.join(unknown)} is no format; choose of {', '.join(FORMATS)}.")
        if not self.formats and self.cohort_table is None:
            raise SettingsError(f"Nothing is asked for; choose a format of {', '.join(FORMATS)}.")


@dataclass(frozen=True, eq=False)
class Exported:
    """What was written: paths by format (several cases: the last one's), sentences for the user, and the questions of
    the comparison with the baseline as they are now, those with an answer too."""

    files: dict[str, Path]
    warnings: tuple[str, ...]
    questions: tuple[Question, ...] = ()


def export_cases(cases: Sequence[ReviewedCase], sources: Sequence[Path], wish: Wish,
                 baseline: ReviewedCase | None = None, progress: Progress = lambda message, fraction: None) -> Exported:
    """Write cases in the forms that are wished for.

    Parameters
    ----------
    cases, sources : sequences
        The cases, and where each scan was read.
    wish : Wish
    baseline : ReviewedCase, optional
        An earlier scan of the only case: the report then has what is new. If a pair needs an answer, or has one, the
        folder gets the table of `pair_answers`; answers that are in it stay, unless those of the wish take them back.
    progress : callable

    Raises
    ------
    InputError
        If a case is not reviewed and that is not wished for, the scans do not fit a format, or a file is there already,
        all of which is said before anything is written; or if a file cannot be written. Each is whole or as it was.
    SettingsError
        If a package that a format needs is missing, before anything is written.
    """
    for case in cases:
        require_reviewed(case, wish.include_unreviewed)
    if baseline is not None and len(cases) != 1:
        raise SettingsError(f"A baseline belongs to one scan, but {len(cases)} were given; export them one by one.")
    _require_possible(cases, sources, wish)
    comparison, said = None, ()
    if baseline is not None:
        progress("Comparing with the baseline", 0.0)
        said = read_questions(wish.answers) if wish.answers else ()
        comparison = Comparison(baseline, pair_cases(baseline, cases[0], answers_for(said, baseline)))
    warnings = list(comparison.pairing.warnings) if comparison else []
    questions = questions_of(comparison.pairing, comparison.baseline) if comparison else ()
    table = wish.folder / PAIRS_NAME.format(cases[0].stem) if questions else None
    there = read_questions(table) if table is not None and table.exists() else ()
    files: dict[str, Path] = {}
    for number, name in enumerate(wish.formats):
        progress(f"Writing {name}", (number + 1) / (len(wish.formats) + 1))
        if name in _SET_FORMS:
            files[name] = _SET_FORMS[name].write(cases, wish)
            continue
        form = _CASE_FORMS[name]
        for case, source in zip(cases, sources, strict=True):
            paths = form.files(case, source, wish)
            form.write(case, source, wish, comparison, paths)
            files[name] = paths[-1]
    if table is not None:
        warnings += _write_questions(table, questions, there, said, comparison)
        files["pairs"] = table
    if wish.cohort_table is not None:
        appended = append_to_cohort_table(wish.cohort_table, [subject_row(case) for case in cases], wish.overwrite)
        files["cohort_table"] = wish.cohort_table
        warnings += appended.warnings
    return Exported(files, tuple(warnings), questions)


def _require_possible(cases: Sequence[ReviewedCase], sources: Sequence[Path], wish: Wish) -> None:
    """Refuse what the cases do not fit, and what would be written over, before anything is written."""
    places: dict[Path, Path] = {}
    taken: list[Path] = []
    for name in wish.formats:
        if name in _SET_FORMS:
            taken += _SET_FORMS[name].files(cases, wish)
            continue
        for case, source in zip(cases, sources, strict=True):
            for path in _CASE_FORMS[name].files(case, source, wish):
                if places.setdefault(path, source) is not source:
                    raise InputError(f"{places[path]} and {source} would both write {path.name}; give them different "
                                     "names or export them into different folders.")
                taken.append(path)
    require_free(taken, wish.overwrite)
    if wish.cohort_table is not None:
        require_appendable(wish.cohort_table, [subject_row(case) for case in cases], wish.overwrite)


def _write_questions(path: Path, questions: Sequence[Question], there: Sequence[Question], said: Sequence[Question],
                     comparison: Comparison) -> list[str]:
    """Write the table of questions, in which some are `there` already, and on which a reader has `said` something.

    Returns sentences for the user.
    """
    sentences = []
    used, without = {one.finding for one in questions if one.answer}, taken_back(said, comparison.baseline)
    if answers_for(there, comparison.baseline).keys() - used - without:
        sentences.append(f"{path.name} has answers that this report does not use; name it with --answers.")
    if count := len(comparison.pairing.questions):
        sentences.append(f"{count} {'microbleed' if count == 1 else 'microbleeds'} may be new or not; a reader has to "
                         f"answer (column answer of {path.name}).")
    write_questions(path, merged(there, questions, without))
    return sentences


def _named(*names: str) -> Callable[[ReviewedCase, Path, Wish], Sequence[Path]]:
    """Return what says the files of a case, given their names by the stem of the scan."""
    return lambda case, source, wish: [wish.folder / name.format(case.stem) for name in names]


def _page(case: ReviewedCase, source: Path, wish: Wish, comparison: Comparison | None, paths: Sequence[Path]) -> None:
    write_page(case, count_microbleeds(case), paths[0], comparison, wish.overwrite)


def _pdf_files(case: ReviewedCase, source: Path, wish: Wish) -> Sequence[Path]:
    from .pdf import require_reportlab

    require_reportlab()
    return _named("{}_desc-cmb_reading.pdf")(case, source, wish)


def _pdf(case: ReviewedCase, source: Path, wish: Wish, comparison: Comparison | None, paths: Sequence[Path]) -> None:
    from .pdf import write_pdf

    write_pdf(case, count_microbleeds(case), paths[0], comparison, wish.overwrite)


def _points(case: ReviewedCase, source: Path, wish: Wish, comparison: Comparison | None,
            paths: Sequence[Path]) -> None:
    for path in paths:
        write_points(path, case, wish.include_unreviewed, wish.overwrite)


def _segmentation(case: ReviewedCase, source: Path, wish: Wish, comparison: Comparison | None,
                  paths: Sequence[Path]) -> None:
    write_segmentation_file(paths[0], case, include_unreviewed=wish.include_unreviewed, overwrite=wish.overwrite)


def _labels(case: ReviewedCase, source: Path, wish: Wish, comparison: Comparison | None,
            paths: Sequence[Path]) -> None:
    write_label_map_file(paths[0], case, include_unreviewed=wish.include_unreviewed, overwrite=wish.overwrite)


def _dicom_files(case: ReviewedCase, source: Path, wish: Wish) -> Sequence[Path]:
    if not source.is_dir():
        raise InputError(f"{source} is not a DICOM series; DICOM objects need the folder that the scan came from.")
    try:
        from .dicom_objects import dicom_files
    except ModuleNotFoundError as error:
        raise SettingsError(f"DICOM objects need the Python package {error.name}; install it (pip install highdicom), "
                            "or leave the format dicom out.") from None
    return list(dicom_files(case, wish.folder).values())


def _dicom(case: ReviewedCase, source: Path, wish: Wish, comparison: Comparison | None, paths: Sequence[Path]) -> None:
    from .dicom_objects import write_dicom

    write_dicom(case, source, wish.folder, wish.overwrite)


def _table_files(cases: Sequence[ReviewedCase], wish: Wish) -> Sequence[Path]:
    return [file for suffix in _TABLE_SUFFIXES for name, columns in (("findings", FINDING_COLUMNS),
                                                                     ("subjects", SUBJECT_COLUMNS))
            for file in table_files(wish.folder / f"cmb_{name}{suffix}", columns)]


def _tables(cases: Sequence[ReviewedCase], wish: Wish) -> Path:
    for suffix in _TABLE_SUFFIXES:
        options = (cases, wish.include_unreviewed, wish.overwrite)
        write_finding_table(wish.folder / f"cmb_findings{suffix}", *options)
        write_subject_table(wish.folder / f"cmb_subjects{suffix}", *options)
    return wish.folder / "cmb_subjects.tsv"


def _bids_files(cases: Sequence[ReviewedCase], wish: Wish) -> Sequence[Path]:
    return bids_files(wish.folder / _BIDS, cases)


def _bids(cases: Sequence[ReviewedCase], wish: Wish) -> Path:
    write_bids_derivative(wish.folder / _BIDS, cases, None, wish.include_unreviewed, wish.overwrite)
    return wish.folder / _BIDS


def _refuse_set(cases: Sequence[ReviewedCase], folder: Path, wish: Wish) -> None:
    """Refuse cases that no data set can hold, and a folder that is not free for it."""
    name_cases(cases, 1, FRACTIONS, False, wish.include_unreviewed)
    former_entries(folder, wish.overwrite)


def _training_files(cases: Sequence[ReviewedCase], wish: Wish) -> Sequence[Path]:
    """Return nothing: the whole folder must be free, or hold such a set alone."""
    _refuse_set(cases, wish.folder / _TRAINING, wish)
    return ()


def _training(cases: Sequence[ReviewedCase], wish: Wish) -> Path:
    return write_training_set(cases, wish.folder / _TRAINING, include_unreviewed=wish.include_unreviewed,
                              overwrite=wish.overwrite)


def _nnunet_files(cases: Sequence[ReviewedCase], wish: Wish) -> Sequence[Path]:
    """See `_training_files`."""
    channel_name(cases)
    _refuse_set(cases, dataset_folder(wish.folder / _NNUNET, wish.nnunet_number, NNUNET_NAME), wish)
    return ()


def _nnunet(cases: Sequence[ReviewedCase], wish: Wish) -> Path:
    return write_nnunet(cases, wish.folder / _NNUNET, wish.nnunet_number, NNUNET_NAME,
                        include_unreviewed=wish.include_unreviewed, overwrite=wish.overwrite)


@dataclass(frozen=True)
class _CaseForm:
    """A form of which each case has files of its own: which ones, and how they are written.

    `files` raises what can be known beforehand: an InputError if the case does not fit, a SettingsError if a package is
    missing.
    """

    files: Callable[[ReviewedCase, Path, Wish], Sequence[Path]]
    write: Callable[[ReviewedCase, Path, Wish, Comparison | None, Sequence[Path]], None]


@dataclass(frozen=True)
class _SetForm:
    """A form that holds all cases: which files it writes (see `_CaseForm`), and how; `write` returns one to tell."""

    files: Callable[[Sequence[ReviewedCase], Wish], Sequence[Path]]
    write: Callable[[Sequence[ReviewedCase], Wish], Path]


_CASE_FORMS: Mapping[str, _CaseForm] = {
    PAGE: _CaseForm(_named("{}_desc-cmb_reading.html"), _page), PDF: _CaseForm(_pdf_files, _pdf),
    POINTS: _CaseForm(_named("{}_desc-cmb_points.fcsv", "{}_desc-cmb_points.mrk.json"), _points),
    SEGMENTATION: _CaseForm(_named("{}_desc-cmb.seg.nrrd"), _segmentation),
    LABELS: _CaseForm(_named("{}_desc-cmb_labels.nii.gz"), _labels), DICOM: _CaseForm(_dicom_files, _dicom)}
_SET_FORMS: Mapping[str, _SetForm] = {
    TABLES: _SetForm(_table_files, _tables), BIDS: _SetForm(_bids_files, _bids),
    TRAINING: _SetForm(_training_files, _training), NNUNET: _SetForm(_nnunet_files, _nnunet)}

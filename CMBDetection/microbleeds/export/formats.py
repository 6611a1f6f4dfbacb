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
from .bids import write_bids_derivative
from .cohort_table import append_to_cohort_table
from .guards import require_reviewed
from .label_files import write_label_map_file, write_segmentation_file
from .nnunet import channel_name, write_nnunet
from .page import write_page
from .pair_answers import FILE_NAME as PAIRS_NAME
from .pair_answers import Question, answers_for, merged, questions_of, read_questions, taken_back, write_questions
from .point_files import write_points
from .report_content import Comparison
from .tables import subject_row, write_finding_table, write_subject_table
from .training_set import write_training_set

PAGE, PDF, TABLES, POINTS, SEGMENTATION, LABELS = "page", "pdf", "tables", "points", "segmentation", "labels"
BIDS, DICOM, TRAINING, NNUNET = "bids", "dicom", "training", "nnunet"
FORMATS = (PAGE, PDF, TABLES, POINTS, SEGMENTATION, LABELS, BIDS, DICOM, TRAINING, NNUNET)
NNUNET_NAME = "Microbleeds"

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
        If a case is not reviewed and that is not wished for, or the scans do not fit a format, which is said before
        anything is written; if a file is there already, or one cannot be written. Each file is whole or as it was.
    SettingsError
        If a package that a format needs is missing.
    """
    for case in cases:
        require_reviewed(case, wish.include_unreviewed)
    if baseline is not None and len(cases) != 1:
        raise SettingsError(f"A baseline belongs to one scan, but {len(cases)} were given; export them one by one.")
    _require_fitting(cases, sources, wish.formats)
    comparison, said = None, ()
    if baseline is not None:
        progress("Comparing with the baseline", 0.0)
        said = read_questions(wish.answers) if wish.answers else ()
        comparison = Comparison(baseline, pair_cases(baseline, cases[0], answers_for(said, baseline)))
    warnings = list(comparison.pairing.warnings) if comparison else []
    files: dict[str, Path] = {}
    for number, name in enumerate(wish.formats):
        progress(f"Writing {name}", (number + 1) / (len(wish.formats) + 1))
        if name in _TOGETHER:
            files[name] = _TOGETHER[name](cases, sources, wish)
            continue
        for case, source in zip(cases, sources, strict=True):
            files[name] = _ONE_BY_ONE[name](case, source, wish, comparison)
    questions = questions_of(comparison.pairing, comparison.baseline) if comparison else ()
    if questions:
        table, sentences = _write_questions(questions, said, cases[0], comparison, wish)
        files["pairs"] = table
        warnings += sentences
    if wish.cohort_table is not None:
        appended = append_to_cohort_table(wish.cohort_table, [subject_row(case) for case in cases], wish.overwrite)
        files["cohort_table"] = wish.cohort_table
        warnings += appended.warnings
    return Exported(files, tuple(warnings), questions)


def _require_fitting(cases: Sequence[ReviewedCase], sources: Sequence[Path], names: Sequence[str]) -> None:
    """Refuse formats that these scans cannot be written in."""
    not_dicom = next((source for source in sources if not source.is_dir()), None)
    if DICOM in names and not_dicom is not None:
        raise InputError(f"{not_dicom} is not a DICOM series; DICOM objects need the folder that the scan came from.")
    if NNUNET in names:
        channel_name(cases)


def _write_questions(questions: Sequence[Question], said: Sequence[Question], case: ReviewedCase,
                     comparison: Comparison, wish: Wish) -> tuple[Path, list[str]]:
    """Write the table of questions, on which a reader has `said` something; return its path and what to tell."""
    path, sentences = wish.folder / PAIRS_NAME.format(case.stem), []
    there = read_questions(path) if path.exists() else ()
    used, without = {one.finding for one in questions if one.answer}, taken_back(said, comparison.baseline)
    if answers_for(there, comparison.baseline).keys() - used - without:
        sentences.append(f"{path.name} has answers that this report does not use; name it with --answers.")
    if count := len(comparison.pairing.questions):
        sentences.append(f"{count} {'microbleed' if count == 1 else 'microbleeds'} may be new or not; a reader has to "
                         f"answer (column answer of {path.name}).")
    write_questions(path, merged(there, questions, without))
    return path, sentences


def _page(case: ReviewedCase, source: Path, wish: Wish, comparison: Comparison | None) -> Path:
    path = wish.folder / f"{case.stem}_desc-cmb_reading.html"
    write_page(case, count_microbleeds(case), path, comparison, wish.overwrite)
    return path


def _pdf(case: ReviewedCase, source: Path, wish: Wish, comparison: Comparison | None) -> Path:
    from .pdf import write_pdf

    path = wish.folder / f"{case.stem}_desc-cmb_reading.pdf"
    write_pdf(case, count_microbleeds(case), path, comparison, wish.overwrite)
    return path


def _points(case: ReviewedCase, source: Path, wish: Wish, comparison: Comparison | None) -> Path:
    for suffix in (".fcsv", ".mrk.json"):
        path = wish.folder / f"{case.stem}_desc-cmb_points{suffix}"
        write_points(path, case, wish.include_unreviewed, wish.overwrite)
    return path


def _segmentation(case: ReviewedCase, source: Path, wish: Wish, comparison: Comparison | None) -> Path:
    path = wish.folder / f"{case.stem}_desc-cmb.seg.nrrd"
    write_segmentation_file(path, case, include_unreviewed=wish.include_unreviewed, overwrite=wish.overwrite)
    return path


def _labels(case: ReviewedCase, source: Path, wish: Wish, comparison: Comparison | None) -> Path:
    path = wish.folder / f"{case.stem}_desc-cmb_labels.nii.gz"
    write_label_map_file(path, case, include_unreviewed=wish.include_unreviewed, overwrite=wish.overwrite)
    return path


def _dicom(case: ReviewedCase, source: Path, wish: Wish, comparison: Comparison | None) -> Path:
    try:
        from .dicom_objects import write_dicom
    except ModuleNotFoundError as error:
        raise SettingsError(f"DICOM objects need the Python package {error.name}; install it (pip install highdicom), "
                            "or leave the format dicom out.") from None
    return list(write_dicom(case, source, wish.folder, wish.overwrite).values())[-1]


def _tables(cases: Sequence[ReviewedCase], sources: Sequence[Path], wish: Wish) -> Path:
    for suffix in (".csv", ".tsv"):
        options = (cases, wish.include_unreviewed, wish.overwrite)
        write_finding_table(wish.folder / f"cmb_findings{suffix}", *options)
        write_subject_table(wish.folder / f"cmb_subjects{suffix}", *options)
    return wish.folder / "cmb_subjects.tsv"


def _bids(cases: Sequence[ReviewedCase], sources: Sequence[Path], wish: Wish) -> Path:
    folder = wish.folder / "bids"
    write_bids_derivative(folder, cases, None, wish.include_unreviewed, wish.overwrite)
    return folder


def _training(cases: Sequence[ReviewedCase], sources: Sequence[Path], wish: Wish) -> Path:
    return write_training_set(cases, wish.folder / "training", include_unreviewed=wish.include_unreviewed,
                              overwrite=wish.overwrite)


def _nnunet(cases: Sequence[ReviewedCase], sources: Sequence[Path], wish: Wish) -> Path:
    return write_nnunet(cases, wish.folder / "nnUNet_raw", wish.nnunet_number, NNUNET_NAME,
                        include_unreviewed=wish.include_unreviewed, overwrite=wish.overwrite)


_ONE_BY_ONE: Mapping[str, Callable[[ReviewedCase, Path, Wish, Comparison | None], Path]] = {
    PAGE: _page, PDF: _pdf, POINTS: _points, SEGMENTATION: _segmentation, LABELS: _labels, DICOM: _dicom}
_TOGETHER: Mapping[str, Callable[[Sequence[ReviewedCase], Sequence[Path], Wish], Path]] = {
    TABLES: _tables, BIDS: _bids, TRAINING: _training, NNUNET: _nnunet}

"""Questions of a longitudinal comparison and a reader's answers, as a table that people fill in (.tsv or .csv).

One row for each question: which microbleed (column ``finding``) of the follow-up it is about, and what it may be in the
baseline. The column ``answer`` holds the number of the same one in the baseline, "new", or nothing where nobody knows.
Only these two columns have to be there; a row that names another baseline is not for this one.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from ..errors import InputError
from ..longitudinal import NEW, Answer, PairedFinding, Pairing
from ..review_files import FILE_NAME as REVIEW_NAME
from ..reviewed_case import ReviewedCase
from .table_cells import Column, parse_table, read_table_text, split_cells
from .tables import write_table

FILE_NAME = "{}_desc-cmb_pairs.tsv"
"""By the stem of the follow-up."""
COLUMNS = (
    Column("baseline", str, "File name of the earlier scan"),
    Column("baseline_sha256", str, "SHA-256 of the earlier scan"),
    Column("finding", int, "Number of the microbleed in the follow-up"),
    Column("candidates", str, "What it may be: numbers in the baseline, with distances"),
    Column("answer", str, "Number of the same one in the baseline, new, or nothing where nobody knows"),
    Column("reader", str, "Who has answered"),
    Column("answered_at", str, "When, ISO 8601"))
_NEEDED = ("finding", "answer")
_NOT_SURE = ("", "?", "not sure")


@dataclass(frozen=True)
class Question:
    """One row of the table; `answer` is "new", a number as text, or "" for none."""

    finding: int
    answer: str = ""
    baseline: str = ""
    baseline_sha256: str = ""
    candidates: str = ""
    reader: str = ""
    answered_at: str = ""

    @property
    def candidate_ids(self) -> tuple[int, ...]:
        """Numbers of the candidates, the nearest first."""
        return tuple(int(text.split()[0]) for text in self.candidates.split("; ") if text)


def table_beside(review: Path) -> Path:
    """Return the path of the table that belongs to a review file."""
    return review.with_name(FILE_NAME.format(review.name.removesuffix(REVIEW_NAME.format(""))))


def questions_of(pairing: Pairing, baseline: ReviewedCase) -> tuple[Question, ...]:
    """Return the open questions of a comparison, and those that a reader has answered."""
    return tuple(_question(one, baseline) for one in pairing.findings
                 if one.answer is not None or one in pairing.questions)


def answers_for(questions: Sequence[Question], baseline: ReviewedCase) -> dict[int, Answer]:
    """Return what has been answered for this baseline, by the ids of the follow-up."""
    return {one.finding: Answer(None if one.answer == NEW else int(one.answer), one.reader, one.answered_at)
            for one in questions if one.answer and _is_about(one, baseline)}


def taken_back(questions: Sequence[Question], baseline: ReviewedCase) -> frozenset[int]:
    """Return the findings of the follow-up of which a reader says that nobody knows, whatever was said before."""
    return frozenset(one.finding for one in questions if not one.answer and _is_about(one, baseline))


def merged(there: Sequence[Question], current: Sequence[Question],
           without: Collection[int] = ()) -> tuple[Question, ...]:
    """Return the questions of a table with the current ones in the place of the same.

    No answer is lost but those on the findings `without`, see `taken_back`.
    """
    former = {_key(one): one for one in there if one.finding not in without}
    return with_questions(there, [
        replace(one, answer=former[_key(one)].answer, reader=former[_key(one)].reader,
                answered_at=former[_key(one)].answered_at)
        if not one.answer and _key(one) in former else one for one in current])


def with_questions(there: Sequence[Question], current: Sequence[Question]) -> tuple[Question, ...]:
    """Return the questions of a table with the current ones in the place of the same; an answer may be taken back."""
    named = {_key(one) for one in current}
    return (*(one for one in there if _key(one) not in named), *current)


def read_questions(path: Path) -> tuple[Question, ...]:
    """Read a table of questions and answers.

    Raises
    ------
    InputError
        If it cannot be read, lacks a column, or an answer is no answer.
    """
    text, form, name = read_table_text(path)
    try:
        header = split_cells(text, form)[0]
    except ValueError:
        header = []
    columns = [column for column in COLUMNS if column.name in (*header, *_NEEDED)]
    return tuple(_checked(row, number, name) for number, row in enumerate(parse_table(text, form, name, columns), 1))


def write_questions(path: Path, questions: Sequence[Question]) -> None:
    """Write a table of questions and answers in place of the former one (see `merged`), its dictionary beside it.

    Raises
    ------
    InputError
        If it cannot be written; what was there before is still there.
    """
    write_table(path, COLUMNS, [asdict(one) for one in questions], overwrite=True)


def _question(one: PairedFinding, baseline: ReviewedCase) -> Question:
    candidates = "; ".join(f"{other.id} ({other.distance_mm:.1f} mm)" for other in one.candidates)
    asked = Question(one.follow_up_id, "", baseline.scan_name, baseline.scan_sha256, candidates)
    if one.answer is None:
        return asked
    same_as = one.answer.same_as
    return replace(asked, answer=NEW if same_as is None else str(same_as), reader=one.answer.reader,
                   answered_at=one.answer.answered_at)


def _is_about(question: Question, baseline: ReviewedCase) -> bool:
    if question.baseline_sha256 and baseline.scan_sha256:
        return question.baseline_sha256 == baseline.scan_sha256
    return question.baseline in ("", baseline.scan_name)


def _key(question: Question) -> tuple[str, int]:
    return question.baseline_sha256 or question.baseline, question.finding


def _checked(row: Mapping, number: int, name: str) -> Question:
    """Return a row with its answer in the words of `Question`."""
    answer = row["answer"].strip().lower()
    if row["finding"] is None:
        raise InputError(f"Row {number} of {name} names no finding; give its number in the follow-up.")
    if answer in _NOT_SURE:
        answer = ""
    elif answer != NEW and not (answer.isascii() and answer.isdecimal()):
        raise InputError(f"Row {number} of {name} has the answer {row['answer']!r}; give the number of the same "
                         f"microbleed in the baseline, {NEW}, or nothing.")
    return Question(**{**row, "answer": str(int(answer)) if answer.isdecimal() else answer})

"""Tables as text: tab-separated (.tsv, as BIDS wants it) or comma-separated (.csv, for Excel), UTF-8.

How a cell is written, and read back exactly:

- Numbers in full precision, with a decimal point; true and false in small letters.
- Where a text, or what follows ``, ; tab`` or a line break in it, begins with ``= + - @``, an apostrophe goes before
  it, one more if there are some, so that no spreadsheet takes it for a formula whatever separator it splits at.
- CSV: commas, quotes and line breaks are quoted as in RFC 4180, lines end with CR LF, what is not known is empty. The
  file begins with a byte order mark, without which Excel takes UTF-8 for the local code page.
- TSV: no quoting and no mark. A tab is ``\\t``, a line break ``\\n`` or ``\\r``, a backslash ``\\\\``; what is not
  known or empty is ``n/a``, and the text "n/a" itself is ``n\\/a``.
"""

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..ordinary_files import read_ordinary_text
from ..report import NOT_CLINICAL

TSV, CSV = ".tsv", ".csv"

_MARK = "\ufeff"
_NOTHING = "n/a"
_FORMULA = re.compile(r"(?:^|(?<=[,;\t\r\n]))(?='* *[=+\-@＝＋－＠])")
_MADE_HARMLESS = re.compile(r"(?:^|(?<=[,;\t\r\n]))'(?='* *[=+\-@＝＋－＠])")
_ESCAPES = {"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"}
_ESCAPED = {"\\": "\\", "t": "\t", "n": "\n", "r": "\r", "/": "/"}
_FORMATS = {str: "string", int: "integer", float: "number", bool: "boolean"}
"""Words of BIDS."""
_NOT_WRITABLE = re.compile("[\0\ud800-\udfff]")

Row = dict[str, Any]


@dataclass(frozen=True)
class Column:
    """One column of a table: its name, the type of its values (None is allowed in all), and what the dictionary says.

    Attributes
    ----------
    name : str
    kind : str, int, float or bool
    description : str
    units : str
        "" where it has none.
    levels : mapping or None
        What each of its values means, where there are few.
    """

    name: str
    kind: type
    description: str
    units: str = ""
    levels: Mapping[str, str] | None = None


def require_table(path: Path) -> None:
    """Refuse a file name that is neither .tsv nor .csv.

    Raises
    ------
    InputError
    """
    if path.suffix.lower() not in (TSV, CSV):
        raise InputError(f"{path.name} says no form of table; end the name with .tsv or .csv.")


def table_text(columns: Sequence[Column], rows: Sequence[Row], form: str) -> str:
    """Return a table as it stands in the file.

    Parameters
    ----------
    columns : sequence of Column
    rows : sequence of dict
        By the names of the columns; other keys are left out.
    form : ".tsv" or ".csv"
    """
    cells = [[column.name for column in columns]]
    cells += [[cell_text(row[column.name], column, form) for column in columns] for row in rows]
    return join_cells(cells, form)


def join_cells(cells: Sequence[Sequence[str]], form: str) -> str:
    """Return written cells as the text of a file; undoes `split_cells`."""
    if form == TSV:
        return "".join("\t".join(line) + "\n" for line in cells)
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\r\n").writerows(cells)
    return _MARK + text.getvalue()


def split_cells(text: str, form: str) -> list[list[str]]:
    """Return the cells of a file as they are written, the header first; empty lines are left out.

    Raises
    ------
    ValueError
        If it is no table.
    """
    text = text.removeprefix(_MARK)
    try:
        cells = ([line.removesuffix("\r").split("\t") for line in text.split("\n") if line.strip()] if form == TSV
                 else [line for line in csv.reader(io.StringIO(text, newline=""), strict=True) if line])
    except csv.Error as error:
        raise ValueError(str(error)) from None
    if not cells:
        raise ValueError("it is empty")
    return cells


def read_table_text(path: Path) -> tuple[str, str, str]:
    """Return the text of a table, its form (".tsv" or ".csv") and its name.

    Raises
    ------
    InputError
        If it cannot be read.
    """
    require_table(path)
    try:
        text = read_ordinary_text(path)
        if "\0" in text:
            raise InputError(f"{path.name} holds characters of value 0, so it is no text; take it from a backup.")
        return text, path.suffix.lower(), path.name
    except OSError as error:
        raise InputError(f"{path} cannot be opened ({error.strerror}); check the path.") from None
    except UnicodeDecodeError:
        raise InputError(f"{path.name} is not UTF-8; save it as UTF-8 or export it again.") from None


def parse_table(text: str, form: str, name: str, columns: Sequence[Column]) -> list[Row]:
    """Return the rows that `table_text` made `text` from; further columns are left out.

    Raises
    ------
    InputError
        If a column is missing, or a line is not as documented; `name` says whose text it is.
    """
    try:
        header, *lines = split_cells(text, form)
    except ValueError as error:
        raise InputError(f"{name} is no table with a header ({error}); export it again.") from None
    missing = [column.name for column in columns if column.name not in header]
    if missing:
        raise InputError(f"{name} has no column {', '.join(missing)}; export it again.")
    places = [(header.index(column.name), column) for column in columns]
    rows = []
    for number, line in enumerate(lines, start=1):
        if len(line) != len(header):
            raise InputError(f"Row {number} of {name} has {len(line)} cells, not {len(header)}; export it again.")
        try:
            rows.append({column.name: value_of(line[place], column, form) for place, column in places})
        except ValueError as error:
            raise InputError(f"Row {number} of {name} cannot be read ({error}); export it again.") from None
    return rows


def cell_text(value: Any, column: Column, form: str) -> str:
    """Return a value as it is written.

    Raises
    ------
    InputError
        If a text has a character that no table can hold.
    """
    if value is None or value == "":
        return _NOTHING if form == TSV else ""
    if column.kind is bool:
        return "true" if value else "false"
    if column.kind is float:
        return repr(float(value))
    if column.kind is int:
        return str(int(value))
    if _NOT_WRITABLE.search(value):
        raise InputError(f"The {column.name} {value!r} has a character that no table can hold; change it.")
    if form == TSV and value == _NOTHING:
        return r"n\/a"
    value = _FORMULA.sub("'", value)
    return re.sub(r"[\\\t\n\r]", lambda found: _ESCAPES[found[0]], value) if form == TSV else value


def value_of(cell: str, column: Column, form: str) -> Any:
    """Return the value that `cell_text` made a cell from; nothing is "" for texts and None for others.

    Raises
    ------
    ValueError
        If it is none of the column's.
    """
    if not cell or (form == TSV and cell == _NOTHING):
        return "" if column.kind is str else None
    if column.kind is bool:
        if cell.lower() not in ("true", "false"):
            raise ValueError(f"{column.name} is {cell!r}, neither true nor false")
        return cell.lower() == "true"
    if column.kind is not str:
        try:
            return column.kind(cell)
        except ValueError:
            raise ValueError(f"{column.name} is {cell!r}, not a number") from None
    return _MADE_HARMLESS.sub("", re.sub(r"\\(.?)", _unescaped, cell, flags=re.DOTALL) if form == TSV else cell)


def data_dictionary(columns: Sequence[Column]) -> dict[str, Any]:
    """Return what the columns mean, in the form of BIDS."""
    words = {"MeasurementToolMetadata": {"Description": f"Cerebral microbleeds by CMBDetection. {NOT_CLINICAL}."}}
    for column in columns:
        words[column.name] = {"Description": column.description, "Format": _FORMATS[column.kind]}
        if column.units:
            words[column.name]["Units"] = column.units
        if column.levels is not None:
            words[column.name]["Levels"] = dict(column.levels)
    return words


def _unescaped(found: re.Match) -> str:
    if found[1] not in _ESCAPED or not found[1]:
        raise ValueError(f"unknown escape {found[0]!r}")
    return _ESCAPED[found[1]]

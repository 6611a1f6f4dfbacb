"""Reviews as a BIDS derivative data set: per scan and reader a mask, a label map and a table of the findings.

Per scan, in ``sub-X[/ses-Y]/anat``: ``..._desc-<reader>_mask.nii.gz`` (what counts as a microbleed),
``..._desc-<reader>_dseg.nii.gz`` (all findings, value = id), each with its .json, and ``..._desc-<reader>_dseg.tsv``,
the look-up table of the label map that BIDS knows, with all columns of the table of findings, told in the .json.
``descriptions.tsv`` says who is behind each ``desc``. Everything lies on the grid of the scan.

Names follow BIDS 1.10 (https://bids-specification.readthedocs.io, "Imaging data type", derivatives). What of the name
of a scan has no place in that of a mask, such as its suffix, unless that is T2starw, goes behind the reader in
``desc``; so a GRE and an SWI of one session do not collide.
"""

import hashlib
import json
import os
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import __version__
from ..case_files import bids_folder
from ..errors import InputError
from ..read_write import read_json, staging_folder, told_if_not_writable, write_json, write_label_map, write_text
from ..report import NOT_CLINICAL
from ..reviewed_case import ReviewedCase
from .cohort_table import held_lock
from .guards import UNREVIEWED, require_free, require_reviewed, status_of
from .label_files import regions_of
from .table_cells import TSV, Column, data_dictionary, parse_table, read_table_text, table_text
from .tables import FINDING_COLUMNS, finding_rows

BIDS_VERSION = "1.10.0"
DESCRIPTION, README, DESCRIPTIONS = "dataset_description.json", "README", "descriptions.tsv"

_GENERATOR = "CMBDetection"
_LINK = "raw"
"""Name of the data set of the scans in BIDS URIs."""
_ENTITIES = ("task", "acq", "ce", "rec", "run", "echo", "part", "chunk")
"""Of a scan's name that BIDS allows in those of masks and label maps, in its order; sub and ses go before."""
_PLAIN_SUFFIX = "T2starw"
_DESC = "desc-"
_LOCK_WAIT_S = 60.0
_LONGEST = 60
_DIGITS = 6
_LETTERS = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "Ä": "Ae", "Ö": "Oe", "Ü": "Ue", "ß": "ss", "ø": "oe",
                          "Ø": "Oe", "æ": "ae", "Æ": "Ae", "å": "aa", "Å": "Aa", "ł": "l", "Ł": "L", "đ": "d",
                          "Đ": "D"})
_TABLE_COLUMNS = (Column("index", int, "Value in the label map"), Column("name", str, "Name of the finding"),
                  *FINDING_COLUMNS)
_DESC_COLUMNS = (Column("desc_id", str, "The desc entity in file names"),
                 Column("description", str, "What it stands for"),
                 Column("reader", str, "Name of the reader, as it was given"))
_README = f"""Cerebral microbleeds, found and reviewed with CMBDetection
{NOT_CLINICAL}.

A BIDS derivative data set. For every scan and every reader, named by the entity "desc" (descriptions.tsv says who):

*_mask.nii.gz  1 where the reader saw a microbleed, definite or possible; on the grid of the scan
*_dseg.nii.gz  all findings, the rejected and the undecided ones too; value = index in the table
*_dseg.tsv     one row per finding: place, size, verdict, region, comment; the columns are told in *_dseg.json.
               A finding that a reader added without drawing it has a row, but no voxels.

In the tables a tab is written as \\t, a line break as \\n or \\r, a backslash as \\\\, and an apostrophe goes before a
text that a spreadsheet would take for a formula. "Reviewed" in the .json files says whether anybody has reviewed the
scan; desc-unreviewed are the findings of the detector alone. Superficial siderosis is not detected.
"""


@dataclass(frozen=True)
class BidsName:
    """Where the files of a scan go.

    Attributes
    ----------
    subject, session : str
        Labels; the session may be "".
    stem : str
        Up to the entity desc, which follows with "_".
    qualifier : str
        What goes behind the reader in desc.
    from_entities : bool
        The scan's name says which subject it is; otherwise the whole name has become its label.
    """

    subject: str
    session: str
    stem: str
    qualifier: str
    from_entities: bool

    @property
    def folder(self) -> Path:
        """From the root of the data set."""
        return bids_folder(self.subject, self.session)


def write_bids_derivative(folder: Path, cases: Sequence[ReviewedCase], source: Path | None = None,
                          include_unreviewed: bool = False, overwrite: bool = False) -> tuple[Path, ...]:
    """Write scans into a derivative data set, which is begun if there is none; each scan wholly or not at all.

    Parameters
    ----------
    folder : Path
        Root of the derivative.
    cases : sequence of ReviewedCase
        Several readers of one scan lie side by side.
    source : Path or None
        Root of the data set that the scans are from; None for the one in whose ``derivatives`` the folder lies, if any.
    include_unreviewed : bool
        Scans that nobody has reviewed too, as ``desc-unreviewed``.
    overwrite : bool
        Files of the same scan and reader.

    Returns
    -------
    tuple of Path
        The masks.

    Raises
    ------
    InputError
        If a scan is not reviewed, its files exist, its subject label is another scan's, the folder is something else,
        or it cannot be written.
    """
    folder = Path(folder)
    for case in cases:
        require_reviewed(case, include_unreviewed)
    source = Path(source) if source is not None else _source_around(folder)
    with told_if_not_writable(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with held_lock(folder / DESCRIPTION, _LOCK_WAIT_S) as lock:
            description = _description(folder, cases, source)
            descs = _read_descs(folder)
            planned = _plan(folder, cases, descs)
            require_free(_files(planned), overwrite)
            lock.require()
            with staging_folder(folder) as staging:
                write_json(staging / DESCRIPTION, description)
                if not (folder / README).exists():
                    write_text(staging / README, _README)
                write_text(staging / DESCRIPTIONS, table_text(_DESC_COLUMNS, list(descs.values()), TSV))
                write_json(staging / "descriptions.json", {"Description": f"Who is behind the files. {NOT_CLINICAL}.",
                                                           **_column_words(_DESC_COLUMNS)})
            for mask, case in planned.items():
                _write_case(folder, mask, case, source)
    return tuple(planned)


def bids_files(folder: Path, cases: Sequence[ReviewedCase]) -> tuple[Path, ...]:
    """Return the files of scans that `write_bids_derivative` writes; those of the data set itself are not among them.

    Raises
    ------
    InputError
        If a subject label is another scan's, or the folder is something else.
    """
    if folder.is_dir():
        _description(folder, cases, None)
    return _files(_plan(folder, cases, _read_descs(folder)))


def bids_name(stem: str) -> BidsName:
    """Return where a scan goes, of its name without suffix.

    Examples
    --------
    >>> bids_name("sub-07_ses-2_echo-1_T2starw").stem
    'sub-07_ses-2_echo-1'
    >>> bids_name("Müller 3").stem
    'sub-Mueller3'
    """
    pairs = [part.split("-", 1) if re.fullmatch(r"[a-z]+-.+", part) else ["", part] for part in stem.split("_")]
    if pairs[0][0] != "sub":
        label = bids_label(stem)
        return BidsName(label, "", f"sub-{label}", "", False)
    known = {key: bids_label(value) for key, value in reversed(pairs) if key in ("sub", "ses", *_ENTITIES)}
    left = [bids_label(value) for key, value in pairs if key not in known]
    if left and left[-1] == _PLAIN_SUFFIX:
        left.pop()
    entities = "_".join(f"{key}-{known[key]}" for key in ("sub", "ses", *_ENTITIES) if key in known)
    return BidsName(known["sub"], known.get("ses", ""), entities, "".join(map(_capitalised, left)), True)


def bids_label(text: str) -> str:
    """Return a text as the label of an entity: letters and digits of ASCII only, never none.

    Umlauts are spelled out, other letters lose their accents, all else is left out. A text of which nothing is left,
    such as a Chinese name, gives "x" and the beginning of its SHA-256.
    """
    plain = unicodedata.normalize("NFKD", unicodedata.normalize("NFC", text).translate(_LETTERS))
    return re.sub(r"[^A-Za-z0-9]", "", plain)[:_LONGEST] or f"x{_digest(text)}"


def _reader_label(reader: str) -> str:
    return bids_label("".join(map(_capitalised, re.split(r"[\W_]+", reader)))) if reader else "unnamed"


def _capitalised(text: str) -> str:
    return text[:1].upper() + text[1:]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGITS]


def _plan(folder: Path, cases: Sequence[ReviewedCase], descs: dict[str, dict[str, Any]]) -> dict[Path, ReviewedCase]:
    """Return the cases by where their masks go, after all checks; enters their labels into `descs`."""
    planned: dict[Path, ReviewedCase] = {}
    for case in cases:
        planned[_place(folder, case, descs, planned)] = case
    return planned


def _files(masks: Iterable[Path]) -> tuple[Path, ...]:
    return tuple(file for mask in masks for file in (mask, *_beside(mask)))


def _place(folder: Path, case: ReviewedCase, descs: dict[str, dict[str, Any]],
           planned: dict[Path, ReviewedCase]) -> Path:
    """Return where the mask of a case goes; enters its label into `descs`."""
    name = bids_name(case.stem)
    _check_subject(folder, case, name, planned)
    desc = _desc(case, name, descs)
    mask = folder / name.folder / f"{name.stem}_desc-{desc}_mask.nii.gz"
    former = _source_of(mask)
    if mask in planned:
        raise InputError(f"{planned[mask].scan_name} and {case.scan_name} would both be {mask.name}; export one of "
                         "them, or rename a scan.")
    if former is not None and former != case.scan_name:
        raise InputError(f"{mask.name} is that of another scan, {former}; rename {case.scan_name}, or export it to "
                         "another folder.")
    return mask


def _check_subject(folder: Path, case: ReviewedCase, name: BidsName, planned: dict[Path, ReviewedCase]) -> None:
    """Refuse two scans in one subject unless their names say that they are of one."""
    there = [_source_of(file) for file in (folder / f"sub-{name.subject}").rglob("*_mask.json")]
    there += [other.scan_name for other in planned.values() if bids_name(other.stem).subject == name.subject]
    for other in filter(None, there):
        if other != case.scan_name and not (name.from_entities and other.startswith("sub-")):
            raise InputError(f"{case.scan_name} and {other} would both be sub-{name.subject}; rename one, or export it "
                             "to another folder.")


def _desc(case: ReviewedCase, name: BidsName, descs: dict[str, dict[str, Any]]) -> str:
    """Return the label for desc: the reader's, or with a digest if another reader has that."""
    said = case.reader or "a reader without a name"
    label = _reader_label(case.reader) if case.is_reviewed else UNREVIEWED
    words = f"Review by {said}" if case.is_reviewed else "Findings of the detector, reviewed by nobody"
    words += f", scan {name.qualifier}" if name.qualifier else ""
    reader = case.reader if case.is_reviewed else ""
    entry = {"description": words, "reader": reader}
    for desc in (label + name.qualifier, f"{label}{_digest(reader)}{name.qualifier}"):
        # file systems may not tell capitals apart
        former = descs.get(desc.lower())
        if former is None or {key: former[key] for key in entry} == entry:
            descs[desc.lower()] = {"desc_id": f"{_DESC}{desc}", **entry}
            return desc
    raise InputError(f"The reader {said!r} cannot be told from {former['reader']!r} in file names; change the name.")


def _beside(mask: Path) -> tuple[Path, ...]:
    """Return the other files of a case: the mask's .json, and the label map's image, .json and .tsv."""
    stem = mask.name.removesuffix("_mask.nii.gz")
    return tuple(mask.with_name(f"{stem}_{end}") for end in ("mask.json", "dseg.nii.gz", "dseg.json", "dseg.tsv"))


def _source_of(file: Path) -> str | None:
    """Return the name of the scan that a mask or its .json is of, None if there is none."""
    try:
        content = json.loads(file.with_name(f"{file.name.split('.')[0]}.json").read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return content.get("SourceFile") if isinstance(content, dict) else None


def _write_case(folder: Path, mask: Path, case: ReviewedCase, source: Path | None) -> None:
    about = _about(case, source)
    mask_json, labels, labels_json, table = (file.name for file in _beside(mask))
    rows = [{"index": row["id"], "name": f"CMB-{row['id']}", **row} for row in finding_rows(case)]
    counted = regions_of(case, case.microbleeds)
    with staging_folder(mask.parent) as staging:
        write_label_map(staging / mask.name, counted.with_data(counted.data > 0))
        write_json(staging / mask_json, {"Type": "Lesion", "Description": "Cerebral microbleeds that count, definite "
                                         f"and possible. {NOT_CLINICAL}.", **about})
        write_label_map(staging / labels, regions_of(case, case.findings))
        write_json(staging / labels_json, {"Description": "All findings, value = index in the table. "
                                           f"{NOT_CLINICAL}.", **about, **_column_words(_TABLE_COLUMNS)})
        write_text(staging / table, table_text(_TABLE_COLUMNS, rows, TSV))


def _about(case: ReviewedCase, source: Path | None) -> dict[str, Any]:
    """Return what is told of a scan and its review."""
    scan = _place_in(source, case)
    about: dict[str, Any] = {"SpatialReference": "orig"}
    if scan is not None:
        uri = f"bids:{_LINK}:{scan.as_posix()}"
        about = {"SpatialReference": uri, "Sources": [uri]}
    provenance, echo_time_ms = case.provenance or {}, case.acquisition.echo_time_ms
    about |= {"SourceFile": case.scan_name, "SourceSHA256": case.scan_sha256, "Reader": case.reader,
              "Reviewed": status_of(case), "ReviewedAt": case.reviewed_at, "Simulated": case.simulated,
              "Sequence": case.acquisition.modality, "MagneticFieldStrength": case.acquisition.field_strength_t,
              "EchoTime": None if echo_time_ms is None else echo_time_ms / 1000,
              "VoxelSize": list(case.acquisition.voxel_mm), "ProbabilityThreshold": case.threshold,
              "Model": provenance.get("model_name"), "ModelSHA256": provenance.get("model_sha256"),
              "Warnings": list(case.warnings)}
    return {key: value for key, value in about.items() if value not in (None, "", [])}


def _place_in(source: Path | None, case: ReviewedCase) -> Path | None:
    """Return where a scan lies in its data set; None if it is not found there."""
    name = bids_name(case.stem)
    if source is None or not name.from_entities:
        return None
    found = sorted((source / name.folder.parent).glob(f"*/{_literal(case.scan_name)}"))
    return found[0].relative_to(source) if found else None


def _literal(name: str) -> str:
    return re.sub(r"([*?\[])", r"[\1]", name)


def _source_around(folder: Path) -> Path | None:
    """Return the data set in whose ``derivatives`` a folder lies."""
    folder = Path(os.path.abspath(folder))
    root = folder.parent.parent
    return root if folder.parent.name == "derivatives" and (root / DESCRIPTION).is_file() else None


def _description(folder: Path, cases: Sequence[ReviewedCase], source: Path | None) -> dict[str, Any]:
    """Return the description of the data set, with the models of former exports and what people have added to it."""
    path = folder / DESCRIPTION
    former = read_json(path, "choose another folder") if path.exists() else None
    generators = _generators(former) if former is not None else []
    if former is not None and not any(entry.get("Name") == _GENERATOR for entry in generators):
        raise InputError(f"{folder} is a data set of another program; choose another folder.")
    if former is None and any(file.name != f"{DESCRIPTION}.lock" and not file.name.startswith(".")
                              for file in folder.iterdir()):
        raise InputError(f"{folder} is neither empty nor a data set of {_GENERATOR}; choose another folder.")
    own = {"Name": _GENERATOR, "Version": __version__, "Description": "Detection of cerebral microbleeds, and their "
           f"review by a reader. {NOT_CLINICAL}."}
    models = [entry for entry in generators if entry.get("Name") != _GENERATOR]
    for case in cases:
        model = _model(case)
        if model is not None and model not in models:
            models.append(model)
    description = {"Name": "Cerebral microbleeds reviewed with CMBDetection", "BIDSVersion": BIDS_VERSION,
                   "DatasetType": "derivative", **(former or {}), "GeneratedBy": [own, *models]}
    if source is not None:
        link = Path(os.path.relpath(source, folder)).as_posix()
        description |= {"DatasetLinks": {**description.get("DatasetLinks", {}), _LINK: link},
                        "SourceDatasets": [_source_entry(source)]}
    return description


def _generators(description: Any) -> list[dict[str, Any]]:
    entries = description.get("GeneratedBy") if isinstance(description, dict) else None
    return [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []


def _model(case: ReviewedCase) -> dict[str, Any] | None:
    provenance = case.provenance or {}
    if not provenance.get("model_name"):
        return None
    return {"Name": f"Model {provenance['model_name']}", "Version": str(provenance.get("model_sha256") or "unknown"),
            "Description": "Weights of the detector; the version is the SHA-256 of the model"}


def _source_entry(source: Path) -> dict[str, str]:
    content = read_json(source / DESCRIPTION, "mend it") if (source / DESCRIPTION).is_file() else {}
    doi = content.get("DatasetDOI") if isinstance(content, dict) else None
    return {"URL": f"bids:{_LINK}:", **({"DOI": doi} if isinstance(doi, str) else {})}


def _read_descs(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the rows of descriptions.tsv by their labels in small letters."""
    path = folder / DESCRIPTIONS
    rows = parse_table(*read_table_text(path), _DESC_COLUMNS) if path.exists() else []
    return {row["desc_id"].removeprefix(_DESC).lower(): row for row in rows}


def _column_words(columns: Sequence[Column]) -> dict[str, Any]:
    words = data_dictionary(columns)
    del words["MeasurementToolMetadata"]
    return words

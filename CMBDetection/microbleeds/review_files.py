"""What a reader made of the findings of one scan, as a JSON file beside it: ``S_desc-cmb_review.json``.

It holds ``schema_version``, ``input`` (``name`` and ``sha256`` of the image beside it, ``modality``), ``reader``, and
``findings``, a list of the fields of `ReviewedFinding`. With the image and its label map
(``S_desc-cmb_dseg.nii.gz``, value = id) it is one labelled case that can be trained on.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .errors import InputError
from .read_write import read_json, write_json
from .regions import REGIONS, SIDES

SCHEMA_VERSION = "1.1"
"""The first number changes when a reader of the old files would misread the new ones."""
FILE_NAME = "{}_desc-cmb_review.json"
ACCEPTED, REJECTED, UNDECIDED = "accepted", "rejected", "undecided"
VERDICTS = (ACCEPTED, REJECTED, UNDECIDED)
VESSEL = "vessel"
MIMIC_KINDS = ("", VESSEL, "calcification", "mineralisation", "cavernoma", "partial volume", "artefact",
               "haemorrhagic lesion", "other")
"""What a rejected finding is; "" where the reader did not say."""
DEFINITE, POSSIBLE = "definite", "possible"
CERTAINTIES = ("", DEFINITE, POSSIBLE)
MODALITIES = ("auto", "gre", "swi", "qsm")


@dataclass(frozen=True)
class ReviewedFinding:
    """One finding and the reader's verdict.

    Attributes
    ----------
    id : int
        From 1 on, unique in the review; the value in the label map, unless the reader added the point.
    position_ras : (R, A, S) in mm
    diameter_mm : float
        0 where it is not known.
    verdict : "accepted", "rejected" or "undecided"
        A finding that was never judged is undecided.
    added_by_reader : bool
        The detector did not find it.
    mimic_kind : str
        One of `MIMIC_KINDS`; "" unless it was rejected.
    certainty : str
        One of `CERTAINTIES`.
    comment : str
    region, side : str
        One of `regions.REGIONS` and of `regions.SIDES`; "" where they are not known.
    """

    id: int
    position_ras: tuple[float, float, float]
    diameter_mm: float
    verdict: str
    added_by_reader: bool = False
    mimic_kind: str = ""
    certainty: str = ""
    comment: str = ""
    region: str = ""
    side: str = ""


@dataclass(frozen=True)
class Review:
    """One reader's review of one scan.

    Attributes
    ----------
    input_name, input_sha256 : str
        Of the image file that lies beside the review; the digest may be "" where it is not known.
    modality : "gre", "swi", "qsm" or "auto"
    reader : str
        Who reviewed; may be "".
    findings : tuple of ReviewedFinding
    """

    input_name: str
    input_sha256: str
    modality: str
    reader: str
    findings: tuple[ReviewedFinding, ...]


def review_in(folder: Path, stem: str) -> Path | None:
    """Return the review of a scan that lies in a folder of results, whose label map may then be the reader's."""
    review = folder / FILE_NAME.format(stem)
    return review if review.exists() else None


def write_review(path: Path, review: Review) -> None:
    """Write a review, atomically.

    Raises
    ------
    InputError
        If it holds what `read_review` would refuse.
    """
    content = review_to_json(review)
    review_from_json(content, Path(path).name)
    write_json(path, content)


def read_review(path: Path) -> Review:
    """Read a review.

    Raises
    ------
    InputError
        If it cannot be read, or see `review_from_json`.
    """
    return review_from_json(read_json(path, "export the review again"), path.name)


def review_to_json(review: Review) -> dict[str, Any]:
    """Return a review as plain dicts and lists, ready for JSON."""
    findings = [{**vars(finding), "position_ras": list(finding.position_ras)} for finding in review.findings]
    return {"schema_version": SCHEMA_VERSION,
            "input": {"name": review.input_name, "sha256": review.input_sha256, "modality": review.modality},
            "reader": review.reader, "findings": findings}


def review_from_json(content: Any, name: str) -> Review:
    """Return the review that `review_to_json` made `content` from; keys that it does not know are left out.

    Raises
    ------
    InputError
        If it is of another version or not of the documented form; `name` says whose content it is.
    """
    version = content.get("schema_version") if isinstance(content, dict) else None
    if str(version).split(".")[0] != SCHEMA_VERSION.split(".")[0]:
        raise InputError(f"{name} has schema version {version}, this program reads {SCHEMA_VERSION}; export the review "
                         "again with the same version.")
    try:
        scan = content["input"]
        review = Review(_text(scan["name"]), _text(scan["sha256"]), _one_of(scan["modality"], MODALITIES),
                        _text(content["reader"]), tuple(map(_finding, content["findings"])))
        numbers = [finding.id for finding in review.findings]
        if len(set(numbers)) < len(numbers):
            raise ValueError("two findings have the same id")
    except KeyError as error:
        raise InputError(f"{name} has no {error.args[0]!r}; export the review again.") from None
    except (TypeError, ValueError) as error:
        raise InputError(f"{name} is not a review as documented ({error}); export the review again.") from None
    return review


def _finding(entry: dict[str, Any]) -> ReviewedFinding:
    number, added, position = entry["id"], entry["added_by_reader"], np.array(entry["position_ras"], float)
    if type(number) is not int or number < 1:
        raise ValueError(f"id {number!r} is not a whole number from 1 on")
    if type(added) is not bool:
        raise ValueError(f"added_by_reader of finding {number} is {added!r}")
    diameter_mm = float(entry["diameter_mm"])
    if position.shape != (3,) or not np.isfinite([*position, diameter_mm]).all() or diameter_mm < 0:
        raise ValueError(f"place or diameter of finding {number} are not numbers in mm")
    finding = ReviewedFinding(number, tuple(position.tolist()), diameter_mm, _one_of(entry["verdict"], VERDICTS), added,
                              _one_of(entry["mimic_kind"], MIMIC_KINDS), _one_of(entry["certainty"], CERTAINTIES),
                              _text(entry["comment"]), _one_of(entry.get("region", ""), ("", *REGIONS)),
                              _one_of(entry.get("side", ""), ("", *SIDES)))
    if finding.mimic_kind and finding.verdict != REJECTED:
        raise ValueError(f"finding {number} is {finding.verdict} and a {finding.mimic_kind} at once")
    return finding


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not a text")
    return value


def _one_of(value: Any, choices: Sequence[str]) -> str:
    if value not in choices:
        raise ValueError(f"{value!r} is none of {', '.join(map(repr, choices))}")
    return value

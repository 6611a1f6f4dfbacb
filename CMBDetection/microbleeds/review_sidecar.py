"""The unfinished review of a scan beside it: the review file with its log and where the reader stopped.

``S_desc-cmb_review.json`` is a review file as `review_files` reads it, with further keys: ``log`` (the events, which
are what counts), ``voxels_sha256`` (of the voxels and their place, whatever the file is called or how it is packed),
``threshold`` and ``current``.
"""

import glob
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .errors import InputError
from .geometry import right_handed
from .image_files import read_stored_values
from .outputs import FILE_NAMES
from .read_write import read_json, scan_stem
from .review_files import FILE_NAME, review_from_json, review_to_json
from .review_log import DAMAGED, Event, events_from_json, events_to_json, replay, review_of

_DIGITS = 8
"""Of the digest in the name of the second scan of the same file name."""
_PLACE_DECIMALS = 4


@dataclass(frozen=True)
class Sidecar:
    """What is kept of a review.

    Attributes
    ----------
    events : tuple of Event
    input_name, input_sha256 : str
        Of the image file; the digest may be "" where there is no file.
    voxels_sha256 : str
        See `voxels_sha256`.
    reader : str
    threshold : float
        Undecided candidates of lower probability are not shown.
    current : int
        Id of the finding on screen, 0 for none.
    """

    events: tuple[Event, ...]
    input_name: str
    input_sha256: str
    voxels_sha256: str
    reader: str
    threshold: float
    current: int = 0


def voxels_sha256(voxels: np.ndarray, ijk_to_ras: np.ndarray) -> str:
    """Return a digest of the voxels (any shape and type) and of their place (4, 4)."""
    digest = hashlib.sha256(f"{voxels.shape} {voxels.dtype.str}".encode())
    # + 0.0 makes -0.0 and 0.0 the same
    digest.update((np.round(np.asarray(ijk_to_ras, float), _PLACE_DECIMALS) + 0.0).tobytes())
    digest.update(np.ascontiguousarray(voxels))
    return digest.hexdigest()


def file_voxels_sha256(image: Path) -> str:
    """Return the digest of the voxels of an image file as 3D Slicer loads them, which is what the panel asks for.

    Raises
    ------
    InputError
        If it cannot be read.
    """
    loaded = right_handed(read_stored_values(image))
    return voxels_sha256(loaded.data.T, loaded.affine)


def stored_digest(image: Path) -> str:
    """Return what `file_voxels_sha256` does, "" for a DICOM series, of which nobody keeps one."""
    return "" if image.is_dir() else file_voxels_sha256(image)


def is_of_scan(review_sha256: str, review_voxels_sha256: str, scan_sha256: str, digest: str) -> bool:
    """Whether a review is of a scan: of this file, or of these voxels in another one; see `stored_digest`."""
    # a series has no digest of its voxels, and the panel's review of one no digest of its files
    unknown = not (digest or review_sha256)
    return unknown or review_sha256 == scan_sha256 or bool(digest and review_voxels_sha256 == digest)


def sidecar_to_json(sidecar: Sidecar) -> dict[str, Any]:
    """Return a sidecar as plain dicts and lists, ready for JSON."""
    review = review_of(replay(sidecar.events), sidecar.threshold, sidecar.input_name, sidecar.input_sha256,
                       sidecar.reader)
    return {**review_to_json(review), "voxels_sha256": sidecar.voxels_sha256, "threshold": sidecar.threshold,
            "current": sidecar.current, "log": events_to_json(sidecar.events)}


def sidecar_from_json(content: Any, name: str) -> Sidecar:
    """Return the sidecar that `sidecar_to_json` made `content` from.

    Raises
    ------
    InputError
        If it is of another version or not of the documented form; `name` says whose content it is.
    """
    review = review_from_json(content, name)
    try:
        events = events_from_json(content["log"], name)
        threshold, current = float(content["threshold"]), content["current"]
        digest = content["voxels_sha256"]
    except KeyError as error:
        raise InputError(f"{name} has no {error.args[0]!r}: it is a finished review, not one to go on with.") from None
    except (TypeError, ValueError) as error:
        raise InputError(f"{name} is not as documented ({error}); {DAMAGED}.") from None
    if type(current) is not int or not isinstance(digest, str):
        raise InputError(f"{name} has fields of the wrong type; {DAMAGED}.")
    return Sidecar(events, review.input_name, review.input_sha256, digest, review.reader, threshold, current)


def sidecar_text(sidecar: Sidecar) -> str:
    """Return what is in the file; in one line, because indenting takes several times as long."""
    return json.dumps(sidecar_to_json(sidecar), ensure_ascii=False, allow_nan=False) + "\n"


def read_sidecar(path: Path) -> Sidecar:
    """Read a sidecar.

    Raises
    ------
    InputError
        If it cannot be read, or see `sidecar_from_json`.
    """
    return sidecar_from_json(read_json(path, "take it from a backup"), path.name)


def labels_beside(sidecar: Path) -> Path:
    """Return the path of the label map that belongs to a review file."""
    return sidecar.with_name(sidecar.name.removesuffix(FILE_NAME.format("")) + FILE_NAMES["labels"].format(""))


def sidecar_places(image: Path, digest: str) -> tuple[Path, Path]:
    """Return where the sidecar of a scan is looked for and written to: first the plain name, then one with its digest.

    The second is for a scan whose plain name is taken by the review of another one.
    """
    stem = scan_stem(image)
    return (image.with_name(FILE_NAME.format(stem)), image.with_name(FILE_NAME.format(f"{stem}-{digest[:_DIGITS]}")))


def with_digest_beside(sidecar: Path) -> list[Path]:
    """Return the files that there are beside the plain name of a sidecar under its name with a digest, sorted."""
    stem = glob.escape(sidecar.name.removesuffix(FILE_NAME.format("")))
    return sorted(sidecar.parent.glob(FILE_NAME.format(f"{stem}-{'[0-9a-f]' * _DIGITS}")))

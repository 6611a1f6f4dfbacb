"""Whole small files, read only if they are ordinary files of a sensible size.

A pipe would never end, a device would fill the memory, and so would a table or a card of gigabytes.
"""

import errno
import json
import math
import os
import stat
from pathlib import Path
from typing import Any

MOST_TEXT_BYTES = 256 << 20
"""Of a text file that is read as a whole; the review of a scan with thousands of findings has a few MB."""


def require_ordinary(path: str | Path, most_bytes: int | None = None) -> int:
    """Return the size of a file in bytes.

    Raises
    ------
    OSError
        If it is missing or unreachable, no ordinary file, or larger than `most_bytes`; ``strerror`` tells a user.
    """
    found = os.stat(path)
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "It is not an ordinary file", str(path))
    if most_bytes is not None and found.st_size > most_bytes:
        raise OSError(errno.EFBIG, f"It has {found.st_size / 1e6:.0f} MB, more than {most_bytes / 1e6:.0f}", str(path))
    return found.st_size


def read_ordinary_bytes(path: str | Path, most_bytes: int = MOST_TEXT_BYTES) -> bytes:
    """Return the content of a file; see `require_ordinary`."""
    require_ordinary(path, most_bytes)
    return Path(path).read_bytes()


def read_ordinary_text(path: str | Path, encoding: str = "utf-8") -> str:
    """Return the text of a file, its line ends as they are.

    Raises
    ------
    OSError
        See `require_ordinary`.
    UnicodeDecodeError
        If it is not text of this encoding.
    """
    return read_ordinary_bytes(path).decode(encoding)


def parse_json(text: str | bytes, foreign: bool = False) -> Any:
    """Return what JSON text says; every number is finite, as in all that we write.

    In `foreign` text NaN and Infinity may stand, as Python's own writer puts them there; who uses a number looks at it.

    Raises
    ------
    ValueError
        If it is no JSON (of ours: NaN and Infinity are none), or nested deeper than any file that makes sense.
    """
    try:
        return json.loads(text) if foreign else json.loads(text, parse_constant=_finite, parse_float=_finite)
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is no number")
    return number

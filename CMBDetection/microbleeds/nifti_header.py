"""The header of a NIfTI file, judged before anything else reads it: libraries mend what they should refuse.

ITK takes the absolute value of a negative voxel size, one millimetre for none, and any magic for the right one.
"""

import gzip
import itertools
import math
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

_LAYOUTS = {
    348: (b"n+1\0", {"dim": (40, "8h"), "type": (70, "2h"), "pixdim": (76, "8f"), "offset": (108, "f"),
                     "scale": (112, "2f"), "codes": (252, "2h"), "qform": (256, "6f"), "sform": (280, "12f"),
                     "magic": (344, "4s"), "units": (123, "B")}),
    540: (b"n+2\0", {"dim": (16, "8q"), "type": (12, "2h"), "pixdim": (104, "8d"), "offset": (168, "q"),
                     "scale": (176, "2d"), "codes": (344, "2i"), "qform": (352, "6d"), "sform": (400, "12d"),
                     "magic": (4, "4s"), "units": (500, "i")})}
"""By the size of the header, which is its first number: the magic of a single file, places and forms of the fields."""
_BITS = {1: 1, 2: 8, 4: 16, 8: 32, 16: 32, 32: 64, 64: 64, 128: 24, 256: 8, 512: 16, 768: 32, 1024: 64, 1280: 64,
         1536: 128, 1792: 128, 2048: 256, 2304: 32}
"""Of a voxel, by the code of its type."""
_UNIT_MM = {1: 1e3, 3: 1e-3}
"""Metre and micron; everything else is taken for the millimetre, as ITK does."""
_SPACE_UNIT = 7
"""The bits of the units that are of space."""
_LONGEST_QUATERNION = 1.01
"""Rounded to float32."""
_FARTHEST_VOXELS = 1 << 24
"""Bytes that extensions of the header may take."""


@dataclass(frozen=True)
class NiftiHeader:
    """What a header says.

    Attributes
    ----------
    order : "<" or ">"
        Of the bytes of a number.
    shape : tuple of int
    datatype, bits : int
        Code of the type, and bits of a voxel.
    offset : int
        Where the voxels begin, in bytes.
    sides_mm : tuple of float
        Of a voxel, signs and all, for the first three axes at most.
    sform : (3, 4) tuples of float, or None
        From (i, j, k) to RAS in mm; None if it is said not to be there.
    has_qform : bool
        It is said to be there.
    is_qform_possible : bool
        It is not there, or has numbers that can be.
    """

    order: str
    shape: tuple[int, ...]
    datatype: int
    bits: int
    offset: int
    sides_mm: tuple[float, ...]
    sform: tuple[tuple[float, ...], ...] | None
    has_qform: bool
    is_qform_possible: bool

    @property
    def has_orientation(self) -> bool:
        """Whether sform, or without it qform, can be used; ITK tells which of the two it takes."""
        return self.is_qform_possible if self.sform is None else all(map(math.isfinite, itertools.chain(*self.sform)))

    @property
    def size(self) -> int:
        """Bytes up to the last voxel."""
        return self.offset + math.ceil(math.prod(self.shape) * self.bits / 8)


def is_zipped(path: Path) -> bool:
    """Whether a file begins as those of gzip do."""
    with open(path, "rb") as file:
        return file.read(2) == b"\x1f\x8b"


def read_header(path: Path) -> NiftiHeader:
    """Read the header of a NIfTI file, zipped or not.

    Raises
    ------
    ValueError
        If it is none, or contradicts itself.
    OSError
        If the file cannot be read.
    """
    try:
        with gzip.open(path) if is_zipped(path) else open(path, "rb") as file:
            head = file.read(max(_LAYOUTS))
    except (EOFError, gzip.BadGzipFile, zlib.error):
        raise ValueError("it cannot be unzipped") from None
    order, size = next(((order, size) for order in "<>" for size in _LAYOUTS
                        if len(head) >= size and struct.unpack_from(f"{order}i", head)[0] == size), ("", 0))
    if not size:
        raise ValueError("it does not begin with its length")
    magic, places = _LAYOUTS[size]
    told = {name: struct.unpack_from(order + form, head, place) for name, (place, form) in places.items()}
    axes, (datatype, bits), (offset,) = told["dim"][0], told["type"], told["offset"]
    if told["magic"] != (magic,):
        raise ValueError("its magic is not that of a single file")
    # some programs leave 0 for what has no length: axes after the third, bits, offset
    shape = tuple(side or int(axis > 2) for axis, side in enumerate(told["dim"][1:max(axes, 0) + 1]))
    if not 1 <= axes <= 7 or min(shape) < 1:
        raise ValueError("its sizes are no sizes")
    bits = bits or _BITS.get(datatype, 0)
    if _BITS.get(datatype) != bits:
        raise ValueError("type and bits of a voxel do not belong together")
    if not 0 <= offset <= _FARTHEST_VOXELS:
        raise ValueError("its voxels begin nowhere")
    # NaN stands for none
    if any(map(math.isinf, told["scale"])):
        raise ValueError("its scale is infinite")
    unit_mm = _UNIT_MM.get(told["units"][0] & _SPACE_UNIT, 1.0)
    has_qform, has_sform = (code > 0 for code in told["codes"])
    rows_mm = tuple(tuple(unit_mm * value for value in told["sform"][row:row + 4]) for row in (0, 4, 8))
    return NiftiHeader(order, shape, datatype, bits, max(int(offset), size),
                       tuple(unit_mm * side for side in told["pixdim"][1:min(axes, 3) + 1]),
                       rows_mm if has_sform else None, has_qform, not has_qform or _is_possible(told["qform"]))


def _is_possible(qform: tuple[float, ...]) -> bool:
    """Whether it is numbers; three of a unit quaternion have a length of 1 at most."""
    return all(map(math.isfinite, qform)) and math.hypot(*qform[:3]) <= _LONGEST_QUATERNION

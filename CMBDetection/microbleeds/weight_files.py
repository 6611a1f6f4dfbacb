"""Network weights from a file: never code of the file, and never more memory than the file's own size warrants.

`torch.load` with ``weights_only`` unpickles tensors and plain values alone (safe from PyTorch 2.6 on, CVE-2025-32434).
What it does not refuse is refused here: archives that are packed, so that a megabyte becomes gigabytes, programs
(TorchScript), and tensors that repeat a few numbers many times.
"""

import io
import warnings
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from .ordinary_files import read_ordinary_bytes

MOST_WEIGHT_BYTES = 512 << 20
"""Of a file of weights; the published ones, the state of their training included, have less than 100 MB."""


def load_content(content: bytes) -> Any:
    """Return what is in a file of weights, on the CPU.

    Raises
    ------
    ValueError, or one of the many that torch raises
        If it is damaged, or holds anything but tensors and plain values.
    """
    if zipfile.is_zipfile(io.BytesIO(content)):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            entries = archive.infolist()
        if any(entry.filename.endswith("constants.pkl") for entry in entries):
            raise ValueError("it is a program")
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries) \
                or sum(entry.file_size for entry in entries) > len(content):
            raise ValueError("the archive is packed")
    # from memory, because torch reads further old forms from files; it warns about what it then refuses
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)


def read_content(path: Path) -> bytes:
    """Return the bytes of a file of weights.

    Raises
    ------
    OSError
        If it is missing, no ordinary file, or too large for weights.
    """
    return read_ordinary_bytes(path, MOST_WEIGHT_BYTES)


def require_plain(tensors: Iterable[torch.Tensor], most_bytes: int) -> None:
    """Refuse tensors that no network's weights are, before anything is computed with them.

    Raises
    ------
    ValueError
        If one is sparse, quantised, complex or not on the CPU, or all together they have more than `most_bytes`.
    """
    size = 0
    for tensor in tensors:
        if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_complex() or tensor.device.type != "cpu":
            raise ValueError("a tensor is not of plain numbers")
        size += tensor.numel() * tensor.element_size()
    if size > most_bytes:
        raise ValueError("the tensors are larger than the file")


def require_finite(tensors: Iterable[torch.Tensor]) -> None:
    """Refuse weights that are NaN or infinite.

    Raises
    ------
    ValueError
        If one is.
    """
    if not all(torch.isfinite(tensor).all() for tensor in tensors):
        raise ValueError("it holds numbers that are not finite")

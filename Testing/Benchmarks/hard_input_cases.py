"""What a hard input is, and the small valid files that hard ones are made from.

Everything is made in one folder from one seed. The valid scan is an ellipsoid of 40×36×14 voxels with a mask; a
detection in it takes a second.
"""

import json
import re
import shutil
import struct
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

# the phantoms of the tests
sys.path.append(str(Path(__file__).resolve().parents[1] / "engine"))

from microbleeds.outputs import FILE_NAMES, write_result
from microbleeds.read_write import files_sha256, write_image, write_label_map
from microbleeds.volume import Volume
from review_phantoms import detection
from training_sets import SHAPE, SPACING_MM, Drawn, drawn_scan

OUT = "{out}"
"""Stands in the arguments for the folder of results, a new one for each case."""
REFUSED, WORKS = 2, 0
"""Exit codes that are expected."""

NIFTI_FIELDS = {"sizeof_hdr": (0, "<i"), "dim": (40, "<8h"), "datatype": (70, "<h"), "bitpix": (72, "<h"),
                "pixdim": (76, "<8f"), "vox_offset": (108, "<f"), "scl_slope": (112, "<f"), "scl_inter": (116, "<f"),
                "qform_code": (252, "<h"), "sform_code": (254, "<h"), "quatern": (256, "<3f"), "qoffset": (268, "<3f"),
                "srow_x": (280, "<4f"), "srow_y": (296, "<4f"), "srow_z": (312, "<4f"), "magic": (344, "4s")}
"""Place and form of the fields of a NIfTI-1 header."""
_NRRD = {"type": "short", "dimension": "3", "space": "left-posterior-superior",
         "sizes": " ".join(map(str, SHAPE)), "space directions": "(0.8,0,0) (0,0.8,0) (0,0,2.5)",
         "kinds": "domain domain domain", "endian": "little", "encoding": "raw", "space origin": "(0,0,0)"}
_META = {"ObjectType": "Image", "NDims": "3", "BinaryData": "True", "BinaryDataByteOrderMSB": "False",
         "CompressedData": "False", "TransformMatrix": "1 0 0 0 1 0 0 0 1", "Offset": "0 0 0",
         "CenterOfRotation": "0 0 0", "AnatomicalOrientation": "RAI",
         "ElementSpacing": " ".join(map(str, SPACING_MM)), "DimSize": " ".join(map(str, SHAPE)),
         "ElementType": "MET_SHORT", "ElementDataFile": "LOCAL"}


@dataclass(frozen=True)
class HardInput:
    """One input and what the command must make of it.

    Attributes
    ----------
    kind : str
        Row of the table.
    name : str
        Unique.
    arguments : tuple of str
        Of ``cmbdetect``, with `OUT`.
    named : str
        What the sentence must hold: the name of the file that is to blame.
    expected : int
        `REFUSED` or `WORKS`.
    listed : bool
        Several faults may be told, as the check of a training set does: a sentence, and a line for each.
    marker : Path or None
        A file that the input makes if any code of it runs.
    unprivileged : bool
        To be run by a user without rights.
    environment : mapping
    """

    kind: str
    name: str
    arguments: tuple[str, ...]
    named: str = ""
    expected: int = REFUSED
    listed: bool = False
    marker: Path | None = None
    unprivileged: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)


class Shelf:
    """The folder of all inputs, the random numbers, and the valid files."""

    def __init__(self, folder: Path, seed: int):
        self.folder = folder
        self.rng = np.random.default_rng(seed)
        self.drawn: Drawn = drawn_scan(seed)
        valid = self.new("valid", "files")
        write_image(valid / "scan_T2star.nii", self.drawn.image)
        write_label_map(valid / "mask.nii.gz", self.drawn.brain)
        self.nifti: bytes = (valid / "scan_T2star.nii").read_bytes()
        """float32"""
        self.voxels: bytes = np.ascontiguousarray(self.drawn.image.data.T.astype("<i2")).tobytes()
        """int16, for other formats"""
        self.scan, self.mask = valid / "scan_T2star.nii", valid / "mask.nii.gz"
        write_detection(self.scan, self.drawn)
        self.results = valid

    def new(self, kind: str, name: str) -> Path:
        """Return a new folder for one input."""
        folder = self.folder / re.sub(r"\W+", "-", kind) / re.sub(r"\W+", "-", name)
        folder.mkdir(parents=True)
        return folder

    def file(self, kind: str, name: str, file_name: str, content: bytes | str) -> Path:
        """Write a file into a new folder and return its path."""
        path = self.new(kind, name) / file_name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def results_in(self, kind: str, name: str) -> Path:
        """Return a new folder with a copy of the valid scan and of its detection."""
        folder = self.new(kind, name)
        for path in self.results.iterdir():
            shutil.copy(path, folder)
        return folder


def detect(image: Path | str, *more: str) -> tuple[str, ...]:
    """Return the arguments of a detection."""
    return ("detect", str(image), "-o", OUT, "--device", "cpu", "--progress", "none", *more)


def nifti_with(content: bytes, **fields) -> bytes:
    """Return a NIfTI file with fields of its header changed, see `NIFTI_FIELDS`."""
    changed = bytearray(content)
    for name, value in fields.items():
        place, form = NIFTI_FIELDS[name]
        struct.pack_into(form, changed, place, *(value if isinstance(value, tuple) else (value,)))
    return bytes(changed)


def nrrd(data: bytes, **fields: str | None) -> bytes:
    """Return a NRRD file with fields of its header changed ("_" for a blank) or, by None, left out."""
    told = _NRRD | {name.replace("_", " "): value for name, value in fields.items()}
    return ("NRRD0004\n" + "".join(f"{name}: {value}\n" for name, value in told.items() if value is not None)
            + "\n").encode() + data


def meta_image(data: bytes, **fields: str | None) -> bytes:
    """Return a MetaImage with fields of its header changed or, by None, left out."""
    told = _META | fields
    return "".join(f"{name} = {told[name]}\n" for name in (*_META, *(set(told) - set(_META)))
                   if told[name] is not None and name != "ElementDataFile").encode() \
        + f"ElementDataFile = {told['ElementDataFile']}\n".encode() + data


def write_detection(image: Path, drawn: Drawn) -> None:
    """Write the results of a detection that has found the microbleeds of a drawn scan beside it."""
    found = detection(drawn.centres_ras)
    found = type(found)(found.candidates, type(found.provenance)(**{
        **vars(found.provenance), "input_name": image.name, "input_sha256": files_sha256([image])}))
    write_result(found, drawn.labels, drawn.image, image.name.split(".")[0], image.parent, "<html></html>")


def result_file(image: Path, key: str) -> Path:
    """Return a file of a detection beside its image; keys as `outputs.FILE_NAMES`."""
    return image.with_name(FILE_NAMES[key].format(image.name.split(".")[0]))


def rewritten(path: Path, change) -> Path:
    """Change the content of a JSON file with a function that does so in place, and return the path."""
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def moved(volume: Volume, millimetres: float) -> Volume:
    """Return a volume moved along the first axis."""
    affine = volume.affine.copy()
    affine[0, 3] += millimetres
    return Volume(volume.data, affine)

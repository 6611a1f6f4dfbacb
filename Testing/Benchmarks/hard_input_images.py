"""Hard images: cut off, of other formats, with lying headers, huge, of other dimensions and types, with odd names."""

import gzip
import os
import socket
import zlib
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from dicom_phantoms import write_mr_series
from hard_input_cases import REFUSED, WORKS, HardInput, Shelf, detect, meta_image, nifti_with, nrrd
from microbleeds.read_write import write_image

CUTS = 7
"""Places at which each format is cut off."""
_NAN, _INF = float("nan"), float("inf")


def hard_images(shelf: Shelf) -> Iterator[HardInput]:
    """Make all of them."""
    for kind in (_cut_off, _other_formats, _lying_nifti, _lying_nrrd, _lying_meta_images, _huge, _voxel_sizes,
                 _orientations, _dimensions_and_types, _values, _places, _odd_names, _dicom):
        yield from kind(shelf)


def _cut_off(shelf: Shelf) -> Iterator[HardInput]:
    kind, packed = "cut off", zlib.compress(shelf.voxels)
    whole = {"a.nii": shelf.nifti, "a.nii.gz": gzip.compress(shelf.nifti), "a.nrrd": nrrd(shelf.voxels),
             "gz.nrrd": nrrd(gzip.compress(shelf.voxels), encoding="gzip"), "a.mha": meta_image(shelf.voxels),
             "z.mha": meta_image(packed, CompressedData="True", CompressedDataSize=str(len(packed)))}
    for name, content in whole.items():
        for cut in sorted({*shelf.rng.integers(1, len(content), CUTS - 2).tolist(), 200, len(content) - 1}):
            yield HardInput(kind, f"{name} at {cut}", detect(shelf.file(kind, f"{name} {cut}", name, content[:cut])),
                            name)
    for name, header in (("d.mhd", meta_image(b"", ElementDataFile="d.raw")),
                         ("d.nhdr", nrrd(b"", data_file="d.raw"))):
        for cut in (0, *shelf.rng.integers(1, len(shelf.voxels), 2).tolist(), len(shelf.voxels) - 1):
            path = shelf.file(kind, f"{name} {cut}", name, header)
            path.with_name("d.raw").write_bytes(shelf.voxels[:cut])
            yield HardInput(kind, f"voxels of {name} at {cut}", detect(path), name)
        yield HardInput(kind, f"{name} without voxels", detect(shelf.file(kind, f"{name} alone", name, header)), name)
    packed = bytearray(gzip.compress(shelf.nifti))
    packed[len(packed) // 2] ^= 0xff
    yield HardInput(kind, "one byte of a gzip changed", detect(shelf.file(kind, "byte", "a.nii.gz", bytes(packed))),
                    "a.nii.gz")


def _other_formats(shelf: Shelf) -> Iterator[HardInput]:
    kind = "another format"
    contents = {
        "PNG": b"\x89PNG\r\n\x1a\n" + bytes(500), "JPEG": b"\xff\xd8\xff\xe0\0\x10JFIF" + bytes(500),
        "PDF": b"%PDF-1.7\n" + bytes(500), "ZIP": b"PK\3\4" + bytes(500), "ELF": b"\x7fELF" + bytes(500),
        "a page of a server": b"<!DOCTYPE html><html><body>403 Forbidden</body></html>\n" * 20,
        "a Git LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12345\n",
        "random bytes": shelf.rng.bytes(4000), "a gzip of nothing": gzip.compress(b""),
        "a gzip of a gzip": gzip.compress(gzip.compress(shelf.nifti)), "DICOM": bytes(128) + b"DICM" + bytes(400),
        "an HDF5 file": b"\x89HDF\r\n\x1a\n" + bytes(500), "nothing": b"", "a line feed": b"\n"}
    for (name, content), suffix in product(contents.items(), (".nii", ".nii.gz", ".nrrd", ".mha")):
        path = shelf.file(kind, f"{name} {suffix}", f"a{suffix}", content)
        yield HardInput(kind, f"{name} as {suffix}", detect(path), path.name)
    for name in ("a.txt", "a.jpg", "a.nii.zip", "a", "a.hdr", "a.mgz", "a.dcm"):
        path = shelf.file(kind, f"called {name}", name, shelf.nifti)
        yield HardInput(kind, f"NIfTI called {name}", detect(path), name)
    for magic in (b"ni1\0", b"n+2\0", b"n+9\0", b"XXXX", bytes(4)):
        yield HardInput(kind, f"magic {magic!r}", detect(shelf.file(
            kind, f"magic {magic!r}", "a.nii", nifti_with(shelf.nifti, magic=magic))), "a.nii")
    for magic in (b"NRRD9999", b"NRRD0000", b"nrrd0004", b"NRRD"):
        yield HardInput(kind, f"magic {magic!r}", detect(shelf.file(
            kind, f"magic {magic!r}", "a.nrrd", nrrd(shelf.voxels).replace(b"NRRD0004", magic, 1))), "a.nrrd")


def _lying_nifti(shelf: Shelf) -> Iterator[HardInput]:
    kind = "lying header"
    i, j, k = shelf.drawn.image.shape
    changes = {
        "more columns": {"dim": (3, i + 1, j, k, 1, 1, 1, 1)}, "more slices": {"dim": (3, i, j, k + 1, 1, 1, 1, 1)},
        "twice the slices": {"dim": (3, i, j, 2 * k, 1, 1, 1, 1)}, "no columns": {"dim": (3, 0, j, k, 1, 1, 1, 1)},
        "no slices": {"dim": (3, i, j, 0, 1, 1, 1, 1)}, "negative columns": {"dim": (3, -i, j, k, 1, 1, 1, 1)},
        "negative slices": {"dim": (3, i, j, -k, 1, 1, 1, 1)}, "0 dimensions": {"dim": (0, i, j, k, 1, 1, 1, 1)},
        "-1 dimensions": {"dim": (-1, i, j, k, 1, 1, 1, 1)}, "8 dimensions": {"dim": (8, i, j, k, 1, 1, 1, 1)},
        "32767 dimensions": {"dim": (32767, i, j, k, 1, 1, 1, 1)}, "all sizes -1": {"dim": (3, -1, -1, -1, 1, 1, 1, 1)},
        "float64 voxels of 32 bits": {"datatype": 64}, "64 bits for float32": {"bitpix": 64},
        "0 bits": {"bitpix": 0}, "-32 bits": {"bitpix": -32}, "type 0": {"datatype": 0},
        "type 9999": {"datatype": 9999}, "type -16": {"datatype": -16}, "voxels behind the end": {"vox_offset": 1e6},
        "voxels at 1e30": {"vox_offset": 1e30},
        "voxels at -1e6": {"vox_offset": -1e6}, "voxels at NaN": {"vox_offset": _NAN},
        "voxels at infinity": {"vox_offset": _INF}, "header of 0 bytes": {"sizeof_hdr": 0},
        "header of 540 bytes": {"sizeof_hdr": 540}, "slope NaN": {"scl_slope": _NAN, "scl_inter": 1.0},
        "slope infinite": {"scl_slope": _INF}, "intercept infinite": {"scl_slope": 1.0, "scl_inter": _INF}}
    for name, fields in changes.items():
        path = shelf.file(kind, name, "a.nii", nifti_with(shelf.nifti, **fields))
        # nibabel writes NaN where there is no slope; the type says how many bits there are
        yield HardInput(kind, name, detect(path, "--mask", str(shelf.mask)), "a.nii",
                        WORKS if name in ("slope NaN", "0 bits") else REFUSED)


def _lying_nrrd(shelf: Shelf) -> Iterator[HardInput]:
    kind = "lying header"
    changes: dict[str, dict[str, str | None]] = {
        "more voxels": {"sizes": "40 36 15"}, "no sizes": {"sizes": None}, "sizes of 0": {"sizes": "0 36 14"},
        "sizes below 0": {"sizes": "-40 36 14"}, "two sizes of three": {"sizes": "40 36"},
        "sizes in words": {"sizes": "many few some"}, "no type": {"type": None}, "type in jest": {"type": "quadruple"},
        "type block": {"type": "block"}, "no encoding": {"encoding": None}, "encoding unknown": {"encoding": "rot13"},
        "encoding gzip of raw": {"encoding": "gzip"}, "encoding bzip2 of raw": {"encoding": "bzip2"},
        "encoding hex of raw": {"encoding": "hex"}, "encoding text of raw": {"encoding": "text"},
        "dimension 0": {"dimension": "0"}, "dimension 99": {"dimension": "99"}, "dimension -3": {"dimension": "-3"},
        "byte skip": {"byte_skip": "1000000000"}, "line skip": {"line_skip": "1000000000"},
        "itself as data": {"data_file": "a.nrrd"}, "zeros without end as data": {"data_file": "/dev/zero"},
        "a list without files": {"data_file": "LIST"}, "a pattern without files": {"data_file": "x%03d.raw 1 14 1"},
        "voxels of the system": {"data_file": "/etc/hostname"}}
    for name, fields in changes.items():
        yield HardInput(kind, f"NRRD, {name}", detect(shelf.file(kind, f"nrrd {name}", "a.nrrd", nrrd(
            shelf.voxels, **fields))), "a.nrrd")
    path = shelf.file(kind, "nrrd endless", "a.nrrd", b"NRRD0004\n" + b"# a comment\n" * 300_000)
    yield HardInput(kind, "NRRD, header without end", detect(path), "a.nrrd")


def _lying_meta_images(shelf: Shelf) -> Iterator[HardInput]:
    kind = "lying header"
    changes: dict[str, dict[str, str | None]] = {
        "more voxels": {"DimSize": "40 36 15"}, "no sizes": {"DimSize": None}, "sizes of 0": {"DimSize": "40 0 14"},
        "sizes below 0": {"DimSize": "-40 -36 14"}, "two sizes of three": {"DimSize": "40 36"},
        "sizes in words": {"DimSize": "a b c"}, "a million dimensions": {"NDims": "1000000"},
        "-1 dimensions": {"NDims": "-1"}, "no dimensions": {"NDims": None}, "type unknown": {"ElementType": "MET_JEST"},
        "no type": {"ElementType": None}, "a million channels": {"ElementNumberOfChannels": "1000000"},
        "-1 channels": {"ElementNumberOfChannels": "-1"}, "packed but is not": {"CompressedData": "True"},
        "itself as data": {"ElementDataFile": "a.mha"}, "zeros without end as data": {"ElementDataFile": "/dev/zero"},
        "a list as data": {"ElementDataFile": "LIST"}, "a pattern as data": {"ElementDataFile": "x%03d.raw 1 14 1"},
        "voxels of the system": {"ElementDataFile": "/etc/hostname"}, "a folder as data": {"ElementDataFile": "."},
        "text voxels": {"BinaryData": "False"}, "header size": {"HeaderSize": "1000000000"}}
    for name, fields in changes.items():
        yield HardInput(kind, f"MetaImage, {name}", detect(shelf.file(kind, f"meta {name}", "a.mha", meta_image(
            shelf.voxels, **fields))), "a.mha")


def _huge(shelf: Shelf) -> Iterator[HardInput]:
    kind = "huge"
    for dims in ((3, 32767, 32767, 32767, 1, 1, 1, 1), (3, 2000, 2000, 2000, 1, 1, 1, 1), (3, 32767, 1, 1, 1, 1, 1, 1),
                 (7, 32767, 32767, 32767, 32767, 32767, 32767, 32767)):
        yield HardInput(kind, f"NIfTI says {dims}", detect(shelf.file(kind, f"nii {dims}", "a.nii", nifti_with(
            shelf.nifti, dim=dims))), "a.nii")
    for sizes in ("100000 100000 100000", "1200 1200 1200", "9999999999999999999999 4 4", "4294967296 4294967296 4"):
        yield HardInput(kind, f"NRRD says {sizes}", detect(shelf.file(kind, f"nrrd {sizes}", "a.nrrd", nrrd(
            shelf.voxels, sizes=sizes))), "a.nrrd")
        yield HardInput(kind, f"packed NRRD says {sizes}", detect(shelf.file(kind, f"gz {sizes}", "a.nrrd", nrrd(
            gzip.compress(shelf.voxels), sizes=sizes, encoding="gzip"))), "a.nrrd")
        yield HardInput(kind, f"MetaImage says {sizes}", detect(shelf.file(kind, f"meta {sizes}", "a.mha", meta_image(
            shelf.voxels, DimSize=sizes))), "a.mha")
    # 4 GB of zeros in 4 MB, one member of 16 MB after another
    bomb = gzip.compress(bytes(1 << 24), 9) * 256
    yield HardInput(kind, "gzip bomb behind a small NIfTI", detect(shelf.file(
        kind, "bomb small", "a.nii.gz", gzip.compress(shelf.nifti) + bomb), "--mask", str(shelf.mask)), expected=WORKS)
    large = nifti_with(shelf.nifti, dim=(3, 1024, 1024, 1000, 1, 1, 1, 1))[:352]
    yield HardInput(kind, "gzip bomb that says so", detect(shelf.file(
        kind, "bomb large", "a.nii.gz", gzip.compress(large) + bomb)), "a.nii.gz")
    yield HardInput(kind, "gzip bomb in a NRRD", detect(shelf.file(
        kind, "bomb nrrd", "a.nrrd", nrrd(bomb, encoding="gzip", sizes="1024 1024 2048"))), "a.nrrd")
    yield HardInput(kind, "gzip bomb in a small NRRD", detect(shelf.file(
        kind, "bomb in small nrrd", "a.nrrd", nrrd(bomb, encoding="gzip"))), "a.nrrd")
    packed = zlib.compress(bytes(1 << 28), 1)
    yield HardInput(kind, "zlib bomb in a small MetaImage", detect(shelf.file(kind, "bomb meta", "a.mha", meta_image(
        packed, CompressedData="True", CompressedDataSize=str(len(packed))))), "a.mha")
    # files that are really there, with a hole for most of their bytes
    path = _with_hole(shelf.file(kind, "hole nii", "a.nii", large), 4 << 30)
    yield HardInput(kind, "4 GB of NIfTI", detect(path), "a.nii")
    path = _with_hole(shelf.file(kind, "hole nii small", "a.nii", shelf.nifti), 200 << 20)
    yield HardInput(kind, "200 MB behind a small NIfTI", detect(path, "--mask", str(shelf.mask)), expected=WORKS)
    path = _with_hole(shelf.file(kind, "hole mha", "a.mha", meta_image(b"", DimSize="1024 1024 2048")), 5 << 30)
    yield HardInput(kind, "4 GB of MetaImage", detect(path), "a.mha")
    path = shelf.file(kind, "hole mhd", "a.mhd", meta_image(b"", DimSize="1024 1024 2048", ElementDataFile="d.raw"))
    _with_hole(path.with_name("d.raw"), 5 << 30)
    yield HardInput(kind, "4 GB beside a MetaImage", detect(path), "a.mhd")
    path = _with_hole(shelf.file(kind, "hole nrrd", "a.nrrd", nrrd(b"", sizes="1024 1024 2048")), 5 << 30)
    yield HardInput(kind, "4 GB of NRRD", detect(path), "a.nrrd")
    slab = nifti_with(shelf.nifti, dim=(3, 500, 500, 500, 1, 1, 1, 1))[:352]
    path = _with_hole(shelf.file(kind, "hole allowed", "a.nii", slab), 352 + 4 * 500**3)
    yield HardInput(kind, "500×500×500 zeros, a size that is allowed", detect(path), "a.nii")


def _with_hole(path: Path, size: int) -> Path:
    path.touch()
    os.truncate(path, size)
    return path


def _voxel_sizes(shelf: Shelf) -> Iterator[HardInput]:
    kind = "voxel size"
    for axis, size in product((1, 2, 3), (0.0, -0.8, _NAN, _INF, 1e-9, 1e9)):
        pixdim = [1.0, 0.8, 0.8, 2.5, 0, 0, 0, 0]
        pixdim[axis] = size
        for form, codes in (("qform", {"qform_code": 1, "sform_code": 0}), ("no form", {"qform_code": 0,
                                                                                       "sform_code": 0})):
            if form == "no form" and axis != 2:
                continue
            yield HardInput(kind, f"NIfTI, {form}, axis {axis} {size}", detect(shelf.file(
                kind, f"nii {form} {axis} {size}", "a.nii", nifti_with(shelf.nifti, pixdim=tuple(pixdim), **codes))),
                "a.nii")
    for size in ("0", "-0.8", "nan", "inf", "1e-9", "1e9", "wide"):
        yield HardInput(kind, f"MetaImage, {size}", detect(shelf.file(kind, f"meta {size}", "a.mha", meta_image(
            shelf.voxels, ElementSpacing=f"0.8 {size} 2.5"))), "a.mha")
        yield HardInput(kind, f"NRRD, {size}", detect(shelf.file(kind, f"nrrd {size}", "a.nrrd", nrrd(
            shelf.voxels, space_directions=f"(0.8,0,0) (0,{size},0) (0,0,2.5)"))), "a.nrrd",
            # a direction that runs backwards is fine
            WORKS if size == "-0.8" else REFUSED)
    for size in ("0", "-0.8", "nan"):
        yield HardInput(kind, f"NRRD spacings, {size}", detect(shelf.file(kind, f"spacings {size}", "a.nrrd", nrrd(
            shelf.voxels, space_directions=None, space=None, space_origin=None, spacings=f"0.8 {size} 2.5"))), "a.nrrd")


def _orientations(shelf: Shelf) -> Iterator[HardInput]:
    kind = "orientation"
    rows = {"singular": ((0.8, 0, 0, 0), (0.8, 0, 0, 0), (0, 0, 2.5, 0)), "a row of zeros": (
        (0.8, 0, 0, 0), (0, 0, 0, 0), (0, 0, 2.5, 0)), "all zeros": ((0, 0, 0, 0),) * 3,
        "a column of zeros": ((0.8, 0, 0, 0), (0, 0.8, 0, 0), (0, 0, 0, 0)),
        "sheared": ((0.8, 0.4, 0, 0), (0, 0.8, 0, 0), (0, 0, 2.5, 0)),
        "sheared slices, as a tilted gantry": ((0.8, 0, 0, 0), (0, 0.8, 0.8, 0), (0, 0, 2.5, 0)),
        "NaN": ((_NAN, 0, 0, 0), (0, 0.8, 0, 0), (0, 0, 2.5, 0)), "infinite": ((_INF, 0, 0, 0), (0, 0.8, 0, 0),
                                                                            (0, 0, 2.5, 0)),
        "far away": ((0.8, 0, 0, 1e30), (0, 0.8, 0, 0), (0, 0, 2.5, 0)),
        "nowhere": ((0.8, 0, 0, _NAN), (0, 0.8, 0, 0), (0, 0, 2.5, 0))}
    for name, (x, y, z) in rows.items():
        content = nifti_with(shelf.nifti, srow_x=x, srow_y=y, srow_z=z, qform_code=0, sform_code=1)
        yield HardInput(kind, f"sform {name}", detect(shelf.file(kind, f"sform {name}", "a.nii", content)), "a.nii")
    for name, fields in {"too long": {"quatern": (1.0, 1.0, 1.0)}, "NaN": {"quatern": (_NAN, 0.0, 0.0)}, "infinite": {
            "quatern": (0.0, _INF, 0.0)}, "nowhere": {"qoffset": (_NAN, 0.0, 0.0)},
            "far away": {"qoffset": (0.0, 1e30, 0.0)}}.items():
        content = nifti_with(shelf.nifti, qform_code=1, sform_code=0, **fields)
        yield HardInput(kind, f"qform {name}", detect(shelf.file(kind, f"qform {name}", "a.nii", content)), "a.nii")
    for name, matrix in {"singular": "1 0 0 1 0 0 0 0 1", "zeros": "0 0 0 0 0 0 0 0 0",
                         "sheared": "1 0.5 0 0 1 0 0 0 1",
                         "NaN": "nan 0 0 0 1 0 0 0 1", "in words": "a b c", "short": "1 0 0"}.items():
        yield HardInput(kind, f"MetaImage {name}", detect(shelf.file(kind, f"meta {name}", "a.mha", meta_image(
            shelf.voxels, TransformMatrix=matrix))), "a.mha")
    for name, directions in {"singular": "(0.8,0,0) (0.8,0,0) (0,0,2.5)", "zeros": "(0,0,0) (0,0,0) (0,0,0)",
                             "sheared": "(0.8,0,0) (0.4,0.8,0) (0,0,2.5)", "NaN": "(nan,0,0) (0,0.8,0) (0,0,2.5)",
                             "in words": "left up right"}.items():
        yield HardInput(kind, f"NRRD {name}", detect(shelf.file(kind, f"nrrd {name}", "a.nrrd", nrrd(
            shelf.voxels, space_directions=directions))), "a.nrrd")
    yield HardInput(kind, "NRRD without one", detect(shelf.file(kind, "nrrd none", "a.nrrd", nrrd(
        shelf.voxels, space_directions="none none none"))), expected=WORKS)
    for name, origin in {"nowhere": "(nan,0,0)", "far away": "(1e30,0,0)"}.items():
        yield HardInput(kind, f"NRRD {name}", detect(shelf.file(kind, f"nrrd {name}", "a.nrrd", nrrd(
            shelf.voxels, space_origin=origin))), "a.nrrd")


def _dimensions_and_types(shelf: Shelf) -> Iterator[HardInput]:
    kind = "dimensions and types"
    i, j, k = shelf.drawn.image.shape
    for name, dim in {"4-D": (4, i, j, k, 2, 1, 1, 1), "5-D": (5, i, j, k, 1, 3, 1, 1), "7-D": (7, i, j, k, 1, 1, 1, 2),
                      "2-D": (2, i, j, 1, 1, 1, 1, 1), "1-D": (1, i, 1, 1, 1, 1, 1, 1),
                      "one slice": (3, i, j, 1, 1, 1, 1, 1), "two slices": (3, i, j, 2, 1, 1, 1, 1),
                      "one voxel": (3, 1, 1, 1, 1, 1, 1, 1), "one row": (3, i, 1, k, 1, 1, 1, 1)}.items():
        content = nifti_with(shelf.nifti, dim=dim) + bytes(8 * len(shelf.nifti))
        yield HardInput(kind, name, detect(shelf.file(kind, name, "a.nii", content)), "a.nii")
    for name, code, bits in (("RGB", 128, 24), ("RGBA", 2304, 32), ("complex64", 32, 64), ("complex128", 1792, 128),
                             ("complex256", 2048, 256), ("float128", 1536, 128), ("1 bit", 1, 1)):
        content = nifti_with(shelf.nifti, datatype=code, bitpix=bits) + bytes(8 * len(shelf.nifti))
        yield HardInput(kind, name, detect(shelf.file(kind, name, "a.nii", content)), "a.nii")
    yield HardInput(kind, "RGB MetaImage", detect(shelf.file(kind, "rgb meta", "a.mha", meta_image(
        shelf.voxels * 3, ElementNumberOfChannels="3"))), "a.mha")
    yield HardInput(kind, "vector NRRD", detect(shelf.file(kind, "vector nrrd", "a.nrrd", nrrd(
        shelf.voxels * 3, dimension="4", sizes=f"3 {i} {j} {k}", kinds="vector domain domain domain",
        space_directions="none (0.8,0,0) (0,0.8,0) (0,0,2.5)"))), "a.nrrd")
    yield HardInput(kind, "4-D NRRD", detect(shelf.file(kind, "4d nrrd", "a.nrrd", nrrd(
        shelf.voxels * 2, dimension="4", sizes=f"{i} {j} {k} 2", kinds="domain domain domain list",
        space_directions="(0.8,0,0) (0,0.8,0) (0,0,2.5) none"))), "a.nrrd")
    for name in ("uint8", "int8", "uint16", "int32", "uint32", "int64", "uint64", "float64"):
        data = np.clip(shelf.drawn.image.data / (8 if name.endswith("t8") else 1), 0, 127 if name == "int8" else None)
        path = shelf.new(kind, name) / "a.nii"
        image = sitk.GetImageFromArray(np.ascontiguousarray(data.T.astype(name)))
        image.CopyInformation(sitk.ReadImage(str(shelf.scan)))
        sitk.WriteImage(image, str(path))
        yield HardInput(kind, f"{name} of usual values", detect(path, "--mask", str(shelf.mask)), expected=WORKS)
    for name, value in (("uint64", 2**64 - 1), ("int64", -2**63)):
        data = shelf.drawn.image.data.T.astype(name)
        data[3, 3, 3] = value
        path = shelf.new(kind, f"{name} largest") / "a.nii"
        image = sitk.GetImageFromArray(np.ascontiguousarray(data))
        image.CopyInformation(sitk.ReadImage(str(shelf.scan)))
        sitk.WriteImage(image, str(path))
        yield HardInput(kind, f"{name} with {value}", detect(path, "--mask", str(shelf.mask)), expected=WORKS)


def _values(shelf: Shelf) -> Iterator[HardInput]:
    kind = "values"
    image = shelf.drawn.image

    def written(name: str, data: np.ndarray) -> Path:
        path = shelf.new(kind, name) / "a.nii"
        write_image(path, image.with_data(data))
        return path

    refused: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "all NaN": lambda data: np.full_like(data, np.nan), "all infinite": lambda data: np.full_like(data, np.inf),
        "zeros": np.zeros_like, "ones": np.ones_like, "constant but for NaN": lambda data: np.where(
            data > 400, np.nan, np.float32(0)), "two values": lambda data: (data > 300).astype(np.float32),
        "a label map": lambda data: np.rint(data / 100).astype(np.float32), "CT": lambda data: data - 1024,
        "larger than any image": lambda data: data * np.float32(1e35),
        "smaller than any image": lambda data: data * np.float32(1e-42)}
    for name, change in refused.items():
        yield HardInput(kind, name, detect(written(name, change(image.data))), "a.nii")
    data = image.data.astype(np.float64) * 1e300
    yield HardInput(kind, "float64 beyond float32", detect(written("float64", data)), "a.nii")
    for name, block in (("a block of NaN", np.s_[10:20, 10:20, 4:8]), ("half of it NaN", np.s_[:20])):
        data = image.data.copy()
        data[block] = np.nan
        yield HardInput(kind, name, detect(written(name, data), "--mask", str(shelf.mask)), expected=WORKS)
    data = image.data.copy()
    data[5, 5, 5], data[6, 6, 6] = np.inf, -np.inf
    yield HardInput(kind, "two infinite voxels", detect(written("infinite", data), "--mask", str(shelf.mask)),
                    expected=WORKS)
    yield HardInput(kind, "noise without a head", detect(written("noise", shelf.rng.normal(
        0, 1, image.shape).astype(np.float32))), "a.nii", WORKS)


def _places(shelf: Shelf) -> Iterator[HardInput]:
    kind = "paths and rights"
    folder = shelf.new(kind, "missing")
    for name in ("missing.nii.gz", "missing/folder/a.nii", "x" * 300 + ".nii", "/".join(["deep"] * 900) + "/a.nii"):
        yield HardInput(kind, f"no {name[:30]}", detect(folder / name), Path(name).name)
    yield HardInput(kind, "an empty name", detect(""), "")
    path = shelf.file(kind, "below a file", "a.nii", shelf.nifti)
    yield HardInput(kind, "below a file", detect(path / "b.nii"), "b.nii")
    path = shelf.new(kind, "loop") / "a.nii"
    path.symlink_to(path.with_name("b.nii"))
    path.with_name("b.nii").symlink_to(path)
    yield HardInput(kind, "links in a loop", detect(path), "a.nii")
    path = shelf.new(kind, "loop folder") / "series"
    path.symlink_to(path)
    yield HardInput(kind, "a folder that is a link to itself", detect(path), "series")
    path = shelf.new(kind, "dangling") / "a.nii"
    path.symlink_to("gone.nii")
    yield HardInput(kind, "a link to nothing", detect(path), "a.nii")
    path = shelf.new(kind, "zero") / "a.nii"
    path.symlink_to("/dev/zero")
    yield HardInput(kind, "zeros without end", detect(path), "a.nii")
    path = shelf.new(kind, "pipe") / "a.nii.gz"
    os.mkfifo(path)
    yield HardInput(kind, "a pipe that nobody writes to", detect(path), "a.nii.gz")
    path = shelf.new(kind, "socket") / "a.nii"
    here = os.getcwd()
    # the path of a socket may have 107 bytes
    os.chdir(path.parent)
    socket.socket(socket.AF_UNIX).bind(path.name)
    os.chdir(here)
    yield HardInput(kind, "a socket", detect(path), "a.nii")
    path = shelf.file(kind, "unreadable", "a.nii", shelf.nifti)
    path.chmod(0)
    yield HardInput(kind, "a file that may not be read", detect(path), "a.nii", unprivileged=True)
    path = shelf.file(kind, "unreadable raw", "a.mhd", meta_image(b"", ElementDataFile="d.raw"))
    path.with_name("d.raw").write_bytes(shelf.voxels)
    path.with_name("d.raw").chmod(0)
    yield HardInput(kind, "voxels that may not be read", detect(path), "a.mhd", unprivileged=True)
    folder = write_mr_series(shelf.new(kind, "unreadable folder") / "series")
    folder.chmod(0)
    yield HardInput(kind, "a folder that may not be read", detect(folder), "series", unprivileged=True)
    folder = write_mr_series(shelf.new(kind, "unreadable slice") / "series")
    sorted(folder.iterdir())[3].chmod(0)
    yield HardInput(kind, "a slice that may not be read", detect(folder), "series", unprivileged=True)
    folder = shelf.new(kind, "empty folder") / "series"
    folder.mkdir()
    yield HardInput(kind, "an empty folder", detect(folder), "series")
    out = shelf.file(kind, "output", "out", "")
    yield HardInput(kind, "results into a file", ("detect", str(shelf.scan), "-o", str(out), "--progress", "none"),
                    "out")
    out = shelf.new(kind, "locked output") / "out"
    out.mkdir(mode=0o555)
    yield HardInput(kind, "results into a locked folder", ("detect", str(shelf.scan), "-o", str(out), "--progress",
                                                           "none"), "out", unprivileged=True)


def _odd_names(shelf: Shelf) -> Iterator[HardInput]:
    kind = "odd names"
    names = ["with blanks  in it", "quotes ' and \"", "emoji 🧠🩸", "漢字 한글 ä", "a\u202etxt.nii", "e\u0301",
             "line\nfeed", "tab\there", "bell\a and \x1b[31mred", "$(touch hacked)", ";touch hacked;", "%s %d {0}",
             "back\\slash", "-o", "*?[a]", "a.nii.gz", "..", "nul", ""]
    for name in names:
        path = shelf.file(kind, f"name {names.index(name)}", f"{name}.nii", shelf.nifti)
        yield HardInput(kind, f"scan called {name!a}", detect(path, "--mask", str(shelf.mask)), expected=WORKS)
        broken = path.with_name(f"broken {name}.nii")
        broken.write_bytes(shelf.nifti[:1000])
        yield HardInput(kind, f"broken scan called {name!a}", detect(broken), "broken ")
    path = shelf.file(kind, "latin-1", os.fsdecode(b"\xe4.nii"), shelf.nifti)
    yield HardInput(kind, "a name that is not UTF-8", detect(path), "\\udce4.nii")
    yield HardInput(kind, "results into a folder that is not UTF-8", ("detect", str(shelf.scan), "-o", os.fsdecode(
        b"\xe4"), "--progress", "none"), "\\udce4")
    path = shelf.file(kind, "200", "x" * 200 + ".nii", shelf.nifti)
    yield HardInput(kind, "a name of 204 characters", detect(path, "--mask", str(shelf.mask)), expected=WORKS)
    path = shelf.file(kind, "255", "x" * 248 + ".nii.gz", gzip.compress(shelf.nifti))
    yield HardInput(kind, "a name of 255 characters, too long for results", detect(path, "--mask", str(shelf.mask)),
                    "x" * 248)
    path = shelf.new(kind, "deep").joinpath(*["folder " + "y" * 90] * 4) / "a.nii"
    path.parent.mkdir(parents=True)
    path.write_bytes(shelf.nifti)
    yield HardInput(kind, "a path of more than 300 characters", detect(path, "--mask", str(shelf.mask)), expected=WORKS)


def _dicom(shelf: Shelf) -> Iterator[HardInput]:
    kind = "DICOM"
    two = write_mr_series(shelf.new(kind, "two") / "series")
    write_mr_series(two / "other").rename(shelf.folder / "moving")
    for path in (shelf.folder / "moving").iterdir():
        path.rename(two / f"x{path.name}")
    yield HardInput(kind, "two series", detect(two), "series")
    for name, options in {
            "slices left out": {"keep": (0, 1, 2, 5, 6, 7, 8)}, "one file": {"keep": (0,)},
            "the last two": {"keep": (7, 8)}, "CT": {"Modality": "CT"}, "no positions": {"ImagePositionPatient": None},
            "all at one place": {"ImagePositionPatient": ["0", "0", "0"]}, "no orientation": {
                "ImageOrientationPatient": None}, "zero orientation": {"ImageOrientationPatient": ["0"] * 6},
            "no pixel spacing": {"PixelSpacing": None}, "pixels of 0 mm": {"PixelSpacing": ["0", "0"]},
            "pixels of -1 mm": {"PixelSpacing": ["-1", "-1"]}, "no pixels": {"PixelData": None},
            "few pixels": {"PixelData": bytes(100)}, "65535 rows": {"Rows": 65535}, "no rows": {"Rows": 0},
            "constant": {"PixelData": bytes(24 * 20 * 2)},
            "colour": {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB"},
            "64 bits": {"BitsAllocated": 64}, "3 bits": {"BitsAllocated": 3, "BitsStored": 3, "HighBit": 2}}.items():
        folder = write_mr_series(shelf.new(kind, name) / "series", **options)
        # what is wrong with a slice alone is said of the slice
        yield HardInput(kind, name, detect(folder), "000.dcm" if name.endswith(" bits") else "series")
    for name, change in {"a slice cut off": lambda content: content[:900], "a slice of zeros": lambda content: bytes(
            len(content)), "a slice empty": lambda content: b"", "positions in words": lambda content: content.replace(
                b"-30.5", b"where"), "an unknown transfer syntax": lambda content: content.replace(
                    b"1.2.840.10008.1.2.1", b"1.2.840.10008.9.9.9")}.items():
        folder = write_mr_series(shelf.new(kind, name) / "series")
        path = sorted(folder.iterdir())[4]
        path.write_bytes(change(path.read_bytes()))
        yield HardInput(kind, name, detect(folder), "series")
    folder = shelf.new(kind, "text") / "series"
    folder.mkdir()
    for number in range(5):
        (folder / f"{number}.dcm").write_bytes(shelf.rng.bytes(2000))
    yield HardInput(kind, "random bytes", detect(folder), "series")
    folder = write_mr_series(shelf.new(kind, "pipe beside") / "series")
    os.mkfifo(folder / "pipe.dcm")
    yield HardInput(kind, "a pipe among the slices", detect(folder), "series")

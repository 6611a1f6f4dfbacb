import gzip
import struct

import numpy as np
import pytest
from microbleeds.nifti_header import is_zipped, read_header
from microbleeds.read_write import write_image
from microbleeds.volume import Volume

nibabel = pytest.importorskip("nibabel")


@pytest.fixture
def content(tmp_path):
    """float32 voxels (5, 6, 7) of 1 x 2 x 3 mm, as SimpleITK writes them."""
    write_image(tmp_path / "a.nii", Volume(np.ones((5, 6, 7), np.float32), np.diag([1.0, 2, 3, 1])))
    return (tmp_path / "a.nii").read_bytes()


def header_of(tmp_path, content, name="b.nii"):
    (tmp_path / name).write_bytes(content)
    return read_header(tmp_path / name)


def test_a_header_as_it_stands(tmp_path, content):
    header = header_of(tmp_path, content)
    assert (header.order, header.shape, header.datatype, header.bits, header.offset, header.sides_mm) == (
        "<", (5, 6, 7), 16, 32, 352, (1, 2, 3))
    assert header.size == len(content) and header.has_orientation
    assert header_of(tmp_path, gzip.compress(content), "b.nii.gz") == header and is_zipped(tmp_path / "b.nii.gz")


@pytest.mark.parametrize("kind, order", [(nibabel.Nifti1Image, ">"), (nibabel.Nifti2Image, "<"),
                                         (nibabel.Nifti2Image, ">")])
def test_both_versions_in_both_orders(tmp_path, kind, order):
    image = kind(np.ones((5, 6, 7, 2), np.float32), np.diag([1, 2, 3, 1]), kind.header_class(endianness=order))
    nibabel.save(image, tmp_path / "a.nii")
    header = read_header(tmp_path / "a.nii")
    assert (header.order, header.shape, header.bits, header.sides_mm) == (order, (5, 6, 7, 2), 32, (1, 2, 3))
    assert header.size == (tmp_path / "a.nii").stat().st_size and header.has_orientation


@pytest.mark.parametrize("place, form, values, told", [
    (0, "<i", (0,), "length"), (40, "<h", (0,), "sizes"), (42, "<h", (-5,), "sizes"), (46, "<h", (0,), "sizes"),
    (72, "<h", (64,), "bits"), (40, "<5h", (4, 5, 6, 7, -1), "sizes"), (40, "<4h", (4, 5, 6, 0), "sizes"),
    (70, "<h", (9999,), "bits"), (108, "<f", (float("nan"),), "nowhere"), (108, "<f", (1e30,), "nowhere"),
    (108, "<f", (-1.0,), "nowhere"), (112, "<f", (float("inf"),), "scale"), (344, "4s", (b"ni1\0",), "magic"),
    (344, "4s", (b"XXXX",), "magic")])
def test_a_header_that_contradicts_itself_is_refused(tmp_path, content, place, form, values, told):
    changed = bytearray(content)
    struct.pack_into(form, changed, place, *values)
    with pytest.raises(ValueError, match=told):
        header_of(tmp_path, changed)


@pytest.mark.parametrize("place, value, codes, possible", [
    (280, float("nan"), (0, 1), False), (280, float("nan"), (1, 0), True), (256, float("inf"), (1, 0), False),
    (256, 2.0, (1, 0), False), (256, 2.0, (0, 1), True), (268, float("nan"), (1, 0), False),
    (280, float("nan"), (1, 1), False), (268, float("nan"), (1, 1), True), (256, 1.0, (1, 1), True)])
def test_only_the_forms_that_are_said_to_be_there_count(tmp_path, content, place, value, codes, possible):
    changed = bytearray(content)
    struct.pack_into("<2h", changed, 252, *codes)
    struct.pack_into("<f", changed, place, value)
    assert header_of(tmp_path, changed).has_orientation is possible


def test_what_some_programs_leave_0_is_what_it_must_be(tmp_path, content):
    changed = bytearray(content)
    struct.pack_into("<8h", changed, 40, 5, 5, 6, 7, 0, 0, 0, 0)
    struct.pack_into("<h", changed, 72, 0)
    header = header_of(tmp_path, changed)
    assert header.shape == (5, 6, 7, 1, 1) and header.bits == 32 and header.size == len(content)


@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
@pytest.mark.parametrize("unit, millimetres", [("meter", 1000), ("micron", 0.001), ("mm", 1), (0, 1)])
def test_lengths_are_in_mm_whatever_the_unit_of_the_header(tmp_path, kind, unit, millimetres):
    affine = np.array([[1.0, 0, 0, -10], [0, 2, 0, 5], [0, 0, 3, 7], [0, 0, 0, millimetres]]) / millimetres
    image = kind(np.ones((5, 6, 7), np.float32), affine)
    image.header.set_xyzt_units(unit, "sec")
    nibabel.save(image, tmp_path / "a.nii")
    header = read_header(tmp_path / "a.nii")
    assert np.allclose(header.sides_mm, (1, 2, 3)) and np.allclose(header.sform, affine[:3] * millimetres)


@pytest.mark.parametrize("content", [b"", b"\x5c\1\0\0", b"\x1f\x8b\x08", gzip.compress(b"", mtime=0)])
def test_no_header(tmp_path, content):
    with pytest.raises(ValueError):
        header_of(tmp_path, content)

"""Reading one image file: places against nibabel and SimpleITK, and a sentence for each file that cannot be used."""

import gzip
import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from microbleeds.errors import InputError
from microbleeds.image_files import data_files, read_image, read_stored_values, silence
from microbleeds.read_write import files_sha256
from microbleeds.volume import Volume

nibabel = pytest.importorskip("nibabel")

FORMATS = ("nii.gz", "nii", "nrrd", "nhdr", "mha", "mhd")


def save_nifti(path, data, affine, qform_code=0, sform_code=1, qform=None):
    image = nibabel.Nifti1Image(data, None)
    image.set_qform(affine if qform is None else qform, qform_code)
    image.set_sform(affine, sform_code)
    nibabel.save(image, path)
    return path


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("codes", [(0, 1), (0, 2), (1, 0), (1, 1)])
def test_nifti_lies_where_nibabel_says(draw_affine, tmp_path, seed, codes):
    rng = np.random.default_rng(seed)
    data = rng.normal(size=(40, 36, 9)).astype(np.float32)
    affine = draw_affine(rng, left_handed=bool(seed % 2), spacing=(0.449, 0.61, rng.uniform(1, 6)))
    path = save_nifti(tmp_path / "a.nii.gz", data, affine, *codes)
    image = read_image(path)
    assert np.array_equal(image.volume.data, data) and image.volume.data.dtype == np.float32
    for expected in (nibabel.load(path).affine, affine):
        # same_grid compares the farthest corners
        assert image.volume.same_grid(Volume(data, expected), tolerance_mm=1e-3)
    assert image.warnings == () and image.files == (path,)


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("left_handed", [False, True])
def test_formats_agree(draw_volume, itk_image, tmp_path, suffix, left_handed):
    volume = draw_volume(np.random.default_rng(1), left_handed=left_handed)
    path = tmp_path / f"scan.{suffix}"
    sitk.WriteImage(itk_image(volume), str(path))
    image = read_image(path)
    assert image.volume.same_grid(volume) and np.array_equal(image.volume.data, volume.data)
    assert len(image.files) == (2 if suffix in ("nhdr", "mhd") else 1)


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.uint16, np.int32, np.float64])
def test_stored_types_and_scaling(tmp_path, kind):
    data = np.arange(60).reshape(3, 4, 5).astype(kind)
    image = nibabel.Nifti1Image(data, np.eye(4))
    image.header.set_slope_inter(0.5, 3)
    nibabel.save(image, tmp_path / "a.nii")
    assert np.allclose(read_image(tmp_path / "a.nii").volume.data, nibabel.load(tmp_path / "a.nii").get_fdata())


def test_axes_of_length_one_after_the_third_are_dropped(draw_affine, tmp_path):
    data = np.random.default_rng(0).normal(size=(5, 6, 7)).astype(np.float32)
    path = save_nifti(tmp_path / "a.nii", data[..., None], draw_affine(np.random.default_rng(0)))
    assert np.array_equal(read_image(path).volume.data, data)
    image = sitk.JoinSeries([sitk.GetImageFromArray(data.T)])
    sitk.WriteImage(image, str(tmp_path / "a.nrrd"))
    assert np.array_equal(read_image(tmp_path / "a.nrrd").volume.data, data)


def test_two_orientations_that_differ_are_reported(draw_affine, tmp_path):
    rng = np.random.default_rng(2)
    affine, other = draw_affine(rng), draw_affine(rng)
    path = save_nifti(tmp_path / "a.nii", np.zeros((5, 6, 7), np.float32), affine, 1, 2, qform=other)
    image = read_image(path)
    assert "two different positions" in image.warnings[0]
    assert image.volume.same_grid(Volume(image.volume.data, other))


def test_no_orientation_is_reported(tmp_path):
    path = save_nifti(tmp_path / "a.nii", np.zeros((5, 6, 7), np.float32), np.eye(4), 0, 0)
    assert "no orientation" in read_image(path).warnings[0]


def sheared(path):
    affine = np.diag([0.5, 0.5, 3, 1])
    affine[1, 2] = 0.2
    save_nifti(path, np.zeros((5, 6, 7), np.float32), affine)


def singular(path):
    save_nifti(path, np.zeros((5, 6, 7), np.float32), np.diag([1, 1, 0, 1]), qform=np.eye(4))


def save_array(path, data):
    nibabel.save(nibabel.Nifti1Image(data, np.eye(4)), path)


def save_colours(path):
    save_array(path, np.zeros((5, 6, 7), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")]))


CASES = [
    ("gone.nii.gz", lambda path: None, "gone.nii.gz does not exist; check the path."),
    ("empty.nii", lambda path: path.touch(), "empty.nii is empty (0 bytes); copy or export it again."),
    ("text.nii.gz", lambda path: path.write_text("hello"),
     "text.nii.gz is not an image or is damaged (cut off?); copy or export it again."),
    ("zipped.nii.gz", lambda path: path.write_bytes(gzip.compress(b"hello")),
     "zipped.nii.gz is not an image or is damaged (cut off?); copy or export it again."),
    ("notes.txt", lambda path: path.write_text("hello"),
     "notes.txt is not in a format that can be read; give NIfTI (.nii, .nii.gz), NRRD, MHA/MHD or the folder of a "
     "DICOM series."),
    ("one.dcm", lambda path: path.write_bytes(bytes(128) + b"DICM" + bytes(20)),
     "one.dcm is a single DICOM file; give the folder that holds the whole series, or convert a multi-frame file to "
     "NIfTI first."),
    ("echoes.nii", lambda path: save_array(path, np.zeros((5, 6, 7, 3), np.float32)),
     "echoes.nii is 4-D (5×6×7×3); choose one echo or volume and save it as 3-D first."),
    ("vectors.nii", lambda path: save_array(path, np.zeros((5, 6, 7, 1, 3), np.float32)),
     "vectors.nii is 5-D (5×6×7×1×3); choose one echo or volume and save it as 3-D first."),
    ("flat.nii", lambda path: save_array(path, np.zeros((5, 6), np.float32)),
     "flat.nii is 2-D (5×6); give the whole 3-D volume."),
    ("colour.nii", save_colours,
     "colour.nii has 3 values per voxel (colour, or several volumes in one); choose one grey-value volume first."),
    ("vector.nrrd", lambda path: sitk.WriteImage(sitk.Image([5, 6, 7], sitk.sitkVectorFloat32, 2), str(path)),
     "vector.nrrd has 2 values per voxel (colour, or several volumes in one); choose one grey-value volume first."),
    ("complex.nii", lambda path: save_array(path, np.zeros((5, 6, 7), np.complex64)),
     "complex.nii has complex values; save the magnitude as a volume of its own first."),
    ("sheared.nii", sheared,
     "sheared.nii has sheared axes or a broken orientation in its header; resample it to a grid with perpendicular "
     "axes first."),
    ("singular.nii", singular,
     "singular.nii has sheared axes or a broken orientation in its header; resample it to a grid with perpendicular "
     "axes first."),
]


@pytest.mark.parametrize("name, make, sentence", CASES, ids=[case[0] for case in CASES])
def test_one_sentence_for_each_file_that_cannot_be_used(tmp_path, capfd, name, make, sentence):
    make(tmp_path / name)
    with pytest.raises(InputError) as caught:
        read_image(tmp_path / name)
    assert str(caught.value).replace(f"{tmp_path}/", "") == sentence
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("share", [0.05, 0.5, 0.99])
@pytest.mark.parametrize("suffix", FORMATS)
def test_a_file_that_was_cut_off(draw_volume, itk_image, tmp_path, capfd, suffix, share):
    path = tmp_path / f"scan.{suffix}"
    sitk.WriteImage(itk_image(draw_volume(np.random.default_rng(0))), str(path))
    largest = max(tmp_path.iterdir(), key=lambda file: file.stat().st_size)
    largest.write_bytes(largest.read_bytes()[:int(share * largest.stat().st_size)])
    with pytest.raises(InputError, match=rf"scan\.{suffix} is not an image or is damaged"):
        read_image(path)
    assert capfd.readouterr() == ("", "")


def test_a_damaged_byte_in_a_zipped_file(draw_volume, itk_image, tmp_path):
    path = tmp_path / "scan.nii.gz"
    sitk.WriteImage(itk_image(draw_volume(np.random.default_rng(0))), str(path))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(InputError, match="damaged"):
        read_image(path)


def test_the_data_file_of_a_header_is_missing(draw_volume, itk_image, tmp_path, capfd):
    sitk.WriteImage(itk_image(draw_volume(np.random.default_rng(0))), str(tmp_path / "scan.mhd"))
    next(tmp_path.glob("*raw")).unlink()
    with pytest.raises(InputError, match="damaged"):
        read_image(tmp_path / "scan.mhd")
    assert capfd.readouterr() == ("", "")


def test_a_folder_in_place_of_a_file_and_a_locked_file(tmp_path):
    with pytest.raises(InputError, match="cannot be opened .*; check the path and your permissions"):
        read_image(tmp_path)


def test_silence_ends_even_when_something_fails(capfd):
    with pytest.raises(KeyError), silence():
        sitk.ProcessObject.SetGlobalWarningDisplay(False)
        raise KeyError
    print("heard")
    assert capfd.readouterr().out == "heard\n"


def raw_image(path, place="LOCAL", **fields):
    """Write a MetaImage of 20 x 18 x 7 random numbers with fields of its header changed; they may lie at a place."""
    told = {"ObjectType": "Image", "NDims": 3, "BinaryData": True, "TransformMatrix": "1 0 0 0 1 0 0 0 1",
            "Offset": "0 0 0", "ElementSpacing": "1 1 2", "DimSize": "20 18 7", "ElementType": "MET_SHORT", **fields,
            "ElementDataFile": place}
    text = "".join(f"{name} = {value}\n" for name, value in told.items())
    voxels = np.random.default_rng(0).bytes(2 * 20 * 18 * 7) if place == "LOCAL" else b""
    path.write_bytes(text.encode() + voxels)
    return path


@pytest.mark.parametrize("fields, told", [
    ({"TransformMatrix": "1 0.5 0 0 1 0 0 0 1"}, "sheared axes"), ({"DimSize": "1024 1024 1024"}, "more than any scan"),
    ({"NDims": 1000000}, "damaged"), ({"DimSize": "-20 -18 7"}, "damaged"), ({"ElementSpacing": "1 0 2"}, "0×2 mm")])
def test_a_header_that_nothing_can_be_made_of(tmp_path, fields, told):
    with pytest.raises(InputError, match=rf"^a\.mha .*{told}"):
        read_image(raw_image(tmp_path / "a.mha", **fields))
    read_image(raw_image(tmp_path / "b.mha"))


@pytest.mark.parametrize("axis", [1, 2, 3])
@pytest.mark.parametrize("size", [0.0, -1.0, float("nan"), 1e9])
def test_voxel_sizes_that_itk_would_mend(tmp_path, axis, size):
    save_array(tmp_path / "a.nii", np.random.default_rng(0).normal(0, 1, (5, 6, 7)).astype(np.float32))
    content = bytearray((tmp_path / "a.nii").read_bytes())
    struct.pack_into("<f", content, 76 + 4 * axis, size)
    (tmp_path / "a.nii").write_bytes(content)
    with pytest.raises(InputError, match=r"^a\.nii has voxels of .* mm in its header"):
        read_image(tmp_path / "a.nii")


def test_a_packed_nrrd_without_its_last_bytes(draw_volume, itk_image, tmp_path):
    path = tmp_path / "a.nrrd"
    sitk.WriteImage(itk_image(draw_volume(np.random.default_rng(0))), str(path), True)
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(InputError, match="damaged"):
        read_image(path)


@pytest.mark.skipif(os.name == "nt", reason="POSIX files")
def test_what_is_no_ordinary_file_is_told_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.nii.gz")
    with pytest.raises(InputError, match="a.nii.gz cannot be opened .*not an ordinary file"):
        read_image(tmp_path / "a.nii.gz")
    (tmp_path / "b.mhd").write_text("NDims = 3\nDimSize = 9 9 9\nElementType = MET_CHAR\nElementDataFile = /dev/zero\n")
    with pytest.raises(InputError, match="b.mhd"):
        read_image(tmp_path / "b.mhd")


@pytest.mark.skipif(os.name == "nt", reason="names of files are bytes on POSIX")
def test_a_name_that_is_not_utf_8_does_not_end_the_program(draw_volume, itk_image, tmp_path):
    sitk.WriteImage(itk_image(draw_volume(np.random.default_rng(0))), str(tmp_path / "a.nii"))
    path = tmp_path / os.fsdecode(b"\xe4.nii")
    os.rename(tmp_path / "a.nii", path)
    with pytest.raises(InputError, match="not UTF-8"):
        read_image(path)


def test_what_follows_the_voxels_is_not_unpacked(draw_volume, itk_image, tmp_path):
    volume = draw_volume(np.random.default_rng(0))
    sitk.WriteImage(itk_image(volume), str(tmp_path / "a.nii"))
    # 4 GB of zeros in 4 MB
    bomb = gzip.compress(bytes(1 << 24)) * 256
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress((tmp_path / "a.nii").read_bytes()) + bomb)
    assert np.array_equal(read_image(tmp_path / "a.nii.gz").volume.data, volume.data)


def test_many_volumes_are_told_as_such_and_not_as_too_many_voxels(tmp_path):
    save_array(tmp_path / "a.nii", np.zeros((5, 6, 7, 2), np.float32))
    content = bytearray((tmp_path / "a.nii").read_bytes())
    struct.pack_into("<8h", content, 40, 4, 256, 256, 60, 100, 1, 1, 1)
    (tmp_path / "a.nii").write_bytes(content)
    with pytest.raises(InputError, match=r"^a\.nii is 4-D \(256×256×60×100\)"):
        read_image(tmp_path / "a.nii")


def test_the_names_of_the_fields_of_a_nrrd_may_be_in_capitals(draw_volume, itk_image, tmp_path):
    volume = draw_volume(np.random.default_rng(0))
    sitk.WriteImage(itk_image(volume), str(tmp_path / "a.nrrd"), True)
    content = (tmp_path / "a.nrrd").read_bytes().replace(b"\nsizes:", b"\nSIZES:").replace(b"\nencoding", b"\nEncoding")
    (tmp_path / "a.nrrd").write_bytes(content)
    assert np.array_equal(read_image(tmp_path / "a.nrrd").volume.data, volume.data)


# What scanners and other programs write, and ITK reads

AFFINE = np.array([[1.0, 0, 0, -10], [0, 2, 0, 5], [0, 0, 3, 7], [0, 0, 0, 1]])


def changed_nifti(path, *fields, codes=(1, 1), data=None):
    """Write a NIfTI file with fields of its header, (place, form, values), changed."""
    data = np.random.default_rng(0).normal(size=(5, 6, 7)).astype(np.float32) if data is None else data
    content = bytearray(save_nifti(path, data, AFFINE, *codes).read_bytes())
    for place, form, *values in fields:
        struct.pack_into(form, content, place, *values)
    path.write_bytes(content)
    return Volume(data, AFFINE)


def assert_read(path, expected):
    image = read_image(path)
    assert np.array_equal(image.volume.data, expected.data) and image.volume.same_grid(expected, 1e-3)
    assert image.warnings == ()


@pytest.mark.parametrize("unit, in_unit", [(1, 1e-3), (3, 1e3), (9, 1e-3)])
@pytest.mark.parametrize("codes", [(1, 1), (1, 0), (0, 1)])
def test_metres_and_microns(tmp_path, unit, in_unit, codes):
    expected = changed_nifti(
        tmp_path / "a.nii", (123, "B", unit), (80, "<3f", *np.array([1, 2, 3]) * in_unit),
        (268, "<3f", *AFFINE[:3, 3] * in_unit), (280, "<12f", *AFFINE[:3].ravel() * in_unit), codes=codes)
    assert_read(tmp_path / "a.nii", expected)


@pytest.mark.parametrize("fields", [[(40, "<8h", 4, 5, 6, 7, 0, 0, 0, 0)], [(72, "<h", 0)]])
def test_zeros_for_what_need_not_be_said(tmp_path, fields):
    assert_read(tmp_path / "a.nii", changed_nifti(tmp_path / "a.nii", *fields))


@pytest.mark.parametrize("field", [(256, "<3f", 1.0, 1.0, 1.0), (256, "<f", float("nan")),
                                   (268, "<f", float("inf"))])
def test_a_qform_that_is_none_matters_only_where_it_is_taken(tmp_path, field):
    path = tmp_path / "a.nii"
    assert_read(path, changed_nifti(path, field, codes=(1, 1)))
    changed_nifti(path, field, codes=(1, 0))
    with pytest.raises(InputError, match="broken orientation"):
        read_image(path)
    # nor is the sform taken if it cannot be
    changed_nifti(path, field, (280, "<12f", *[0.0] * 12), codes=(1, 1))
    with pytest.raises(InputError, match="broken orientation"):
        read_image(path)


@pytest.mark.parametrize("read", [read_image, read_stored_values])
def test_a_qform_that_is_none_is_refused_where_itk_prefers_it(tmp_path, read):
    changed_nifti(tmp_path / "a.nii", (256, "<3f", 1.0, 1.0, 1.0), codes=(1, 2))
    with pytest.raises(InputError, match="broken orientation"):
        read(tmp_path / "a.nii")


@pytest.mark.parametrize("kind", [np.float32, np.int16])
def test_what_stands_behind_the_end_of_a_zipped_file(tmp_path, kind):
    path = tmp_path / "a.nii.gz"
    expected = changed_nifti(tmp_path / "a.nii", data=np.arange(210).reshape(5, 6, 7).astype(kind))
    content = (tmp_path / "a.nii").read_bytes()
    whole = gzip.compress(content)
    # one member or several, as some programs write them
    for packed in (whole, gzip.compress(content[:400]) + gzip.compress(content[400:])):
        for more in (bytes(100), b"junk", whole[:50], b"\x1f\x8bxxxx"):
            path.write_bytes(packed + more)
            assert_read(path, expected)
        for length in (len(packed) - 1, len(packed) - 8):
            path.write_bytes(packed[:length])
            with pytest.raises(InputError, match="damaged"):
                read_image(path)
    path.write_bytes(whole[:-8] + bytes(4) + whole[-4:] + b"junk")
    with pytest.raises(InputError, match="damaged"):
        read_image(path)


@pytest.mark.parametrize("kind, order", [("f4", "<"), ("f8", ">")])
def test_voxels_that_are_no_numbers_come_back_as_such(tmp_path, monkeypatch, kind, order):
    # blocks that no voxel fits
    monkeypatch.setattr("microbleeds.image_files._BLOCK_BYTES", 101)
    data = np.random.default_rng(0).normal(size=(5, 6, 7)).astype(order + kind)
    data[0, 0, 0], data[4, 5, 6], data[2, 3, 1] = np.nan, np.inf, -np.inf
    for name in ("a.nii", "a.nii.gz"):
        nibabel.save(nibabel.Nifti1Image(data, AFFINE, nibabel.Nifti1Header(endianness=order)), tmp_path / name)
        read = read_image(tmp_path / name).volume.data
        assert np.array_equal(np.isfinite(read), np.isfinite(data))
        assert np.array_equal(read[np.isfinite(data)], data[np.isfinite(data)].astype(np.float32))


@pytest.mark.parametrize("name", ["a.nhdr", "a.nrrd", "a.mhd", "a.mha"])
@pytest.mark.parametrize("field", ["data file", "datafile", "Data File"])
def test_the_file_of_the_voxels_belongs_to_the_image(tmp_path, name, field):
    told = {"type": "short", "dimension": 3, "sizes": "20 18 7", "endian": "little", "encoding": "raw", field: "dä.raw"}
    raw_image(tmp_path / name, place="dä.raw")
    if name.endswith(("nhdr", "nrrd")):
        (tmp_path / name).write_text("NRRD0004\n" + "".join(f"{key}: {value}\n" for key, value in told.items())
                                          + "\n", encoding="utf-8")
    digests = []
    for seed in (0, 1):
        (tmp_path / "dä.raw").write_bytes(np.random.default_rng(seed).bytes(2 * 20 * 18 * 7))
        image = read_image(tmp_path / name)
        assert image.files == (tmp_path / name, tmp_path / "dä.raw") and data_files(tmp_path / name) == image.files[1:]
        digests.append(files_sha256(image.files))
    assert digests[0] != digests[1]


@pytest.mark.parametrize("place", ["s%02d.raw 1 7 1", "LIST", "LIST 2"])
@pytest.mark.parametrize("name, field", [("a.nhdr", "data file"), ("a.nrrd", "datafile"), ("a.mhd", "")])
def test_voxels_in_several_files_are_refused(tmp_path, name, field, place):
    names = [f"s{number:02d}.raw" for number in range(1, 8)]
    for raw in names:
        (tmp_path / raw).write_bytes(np.random.default_rng(0).bytes(2 * 20 * 18))
    raw_image(tmp_path / name, place=place)
    if field:
        (tmp_path / name).write_text("NRRD0004\ntype: short\ndimension: 3\nsizes: 20 18 7\nendian: little\n"
                                     f"encoding: raw\n{field}: {place}\n")
    with open(tmp_path / name, "a") as file:
        file.write("\n".join([*(names if "LIST" in place else ()), ""]))
    assert sitk.ReadImage(str(tmp_path / name)).GetSize() == (20, 18, 7)
    with pytest.raises(InputError) as refused:
        read_image(tmp_path / name)
    assert str(refused.value) == (f"{name} has its voxels in several files ({place}), which are not read; save it as "
                                  "one file first.")


def test_silence_without_a_standard_error(tmp_path):
    # as in programs of Windows without a console, which may give sys.stderr to Python all the same
    code = ("import os, sys; sys.path.insert(0, sys.argv[1]); from microbleeds.image_files import silence\n"
            "os.close(2)\nwith silence(): print('went on')")
    done = subprocess.run([sys.executable, "-c", code, str(Path(__file__).parents[2] / "CMBDetection")],
                          capture_output=True, text=True, timeout=60)
    assert done.stdout == "went on\n" and done.returncode == 0

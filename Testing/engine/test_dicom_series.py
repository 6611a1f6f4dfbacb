"""DICOM folders, written slice by slice with SimpleITK."""

import os
import struct

import numpy as np
import pytest
import SimpleITK as sitk
from microbleeds.dicom_series import read_series
from microbleeds.errors import InputError
from microbleeds.volume import Volume

MR_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.4"
TAGS = {"0008|0060": "MR", "0008|103e": "SWI", "0018|0081": "20.5", "0018|0087": "3", "0018|1030": "t2_swi",
        "0010|0010": "Doe^Jane"}


def write_series(folder, volume, uid="1.2.3.1", name="", keep=None, colour=False, **tags):
    """Write the slices of a volume as one series, in an order of names that is not that of space."""
    folder.mkdir(exist_ok=True)
    lps = np.diag([-1, -1, 1, 1]) @ volume.affine
    spacing = volume.spacing
    directions = lps[:3, :3] / spacing
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for k in range(volume.shape[2]) if keep is None else keep:
        image = sitk.GetImageFromArray(np.ascontiguousarray(volume.data[:, :, k].T)[None].astype(np.uint16))
        if colour:
            image = sitk.Compose(*[sitk.Cast(image, sitk.sitkUInt8)] * 3)
        image.SetSpacing(spacing.tolist())
        values = {**TAGS, **{tag.replace("_", "|")[1:]: value for tag, value in tags.items()},
                  "0008|0016": MR_IMAGE_STORAGE, "0008|0018": f"{uid}.{k + 1}", "0020|000e": uid,
                  "0020|000d": "1.2.3", "0020|0013": str(k + 1), "0018|0088": f"{spacing[2]:.9g}",
                  "0020|0032": "\\".join(f"{x:.10g}" for x in (lps @ (0, 0, k, 1))[:3]),
                  "0020|0037": "\\".join(f"{x:.10g}" for x in directions[:, :2].T.ravel())}
        for tag, value in values.items():
            image.SetMetaData(tag, value)
        writer.SetFileName(str(folder / f"{name}{(k * 7) % 101:03d}.dcm"))
        writer.Execute(image)
    return folder


@pytest.fixture
def volume(draw_affine):
    rng = np.random.default_rng(5)
    return Volume(rng.integers(0, 4000, (20, 18, 9)), draw_affine(rng, spacing=(0.449, 0.61, 3.3)))


@pytest.mark.parametrize("seed", range(6))
def test_oblique_series_lie_where_they_were(draw_affine, tmp_path, seed):
    rng = np.random.default_rng(seed)
    volume = Volume(rng.integers(0, 4000, (20, 18, 7)), draw_affine(rng))
    image = read_series(write_series(tmp_path / "dicom", volume))
    assert image.volume.same_grid(volume, 1e-3)
    assert np.array_equal(image.volume.data, volume.data) and image.volume.data.dtype == np.float32
    assert len(image.files) == 7


def test_series_in_the_other_direction(volume, tmp_path):
    # the slices of a left-handed grid come back in right-handed order, each at its place in space
    turned = Volume(volume.data[:, :, ::-1], volume.affine @ np.array(
        [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, -1, volume.shape[2] - 1], [0, 0, 0, 1]]))
    image = read_series(write_series(tmp_path / "dicom", turned))
    assert image.volume.same_grid(volume) and np.array_equal(image.volume.data, volume.data)


def test_what_is_known_of_the_sequence_and_nothing_of_the_patient(volume, tmp_path):
    metadata = read_series(write_series(tmp_path / "dicom", volume)).metadata
    metadata.pop("image_type", None)
    assert metadata == {"modality": "MR", "series_description": "SWI", "protocol_name": "t2_swi",
                        "echo_time_ms": 20.5, "field_strength_t": 3.0}


def test_other_files_in_the_folder_do_not_matter(volume, tmp_path):
    folder = write_series(tmp_path / "dicom", volume)
    (folder / "notes.txt").write_text("hello")
    # a report or a DICOMDIR
    (folder / "report.dcm").write_bytes(bytes(128) + b"DICM" + b"1.2.840.10008.5.1.4.1.1.88.22")
    assert read_series(folder).volume.shape == volume.shape


def test_only_objects_of_the_same_class_count_as_slices(volume, tmp_path):
    folder = write_series(tmp_path / "dicom", volume)

    def of_class(uid, more=b""):
        return bytes(128) + b"DICM\2\0\2\0UI" + struct.pack("<H", len(uid)) + uid.encode() + more

    # a DICOMDIR names the class of each image that it lists; that of enhanced images begins as that of others
    (folder / "DICOMDIR").write_bytes(of_class("1.2.840.10008.1.3.10", MR_IMAGE_STORAGE.encode() * 9))
    (folder / "enhanced.dcm").write_bytes(of_class(f"{MR_IMAGE_STORAGE}.1\0"))
    assert read_series(folder).volume.shape == volume.shape
    (folder / "damaged.dcm").write_bytes(of_class(f"{MR_IMAGE_STORAGE}\0"))
    with pytest.raises(InputError, match="dicom lacks slices"):
        read_series(folder)


@pytest.mark.parametrize("echo_time", ["1e999", "short", "20 ms"])
def test_numbers_of_the_sequence_that_are_none_are_left_out(volume, tmp_path, echo_time):
    folder = write_series(tmp_path / "dicom", volume, _0018_0081=echo_time)
    assert "echo_time_ms" not in read_series(folder).metadata


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match=r"gone cannot be opened \(.*\); check the path"):
        read_series(tmp_path / "gone")


def empty(folder, volume):
    folder.mkdir()
    (folder / "notes.txt").write_text("hello")


def two_series(folder, volume):
    write_series(folder, volume, "1.2.3.1", _0008_103e="SWI_magnitude")
    write_series(folder, volume, "1.2.3.2", name="b", _0008_103e="SWI_phase")


def two_echoes(folder, volume):
    write_series(folder, volume, _0018_0081="10")
    write_series(folder, volume, name="b", _0018_0081="20")


def localizer(folder, volume):
    write_series(folder, volume, keep=range(4))
    turned = np.eye(4)
    turned[:3, :3] = np.roll(volume.affine[:3, :3], 1, axis=0)
    write_series(folder, Volume(volume.data, turned), name="b", keep=range(4, 9))


def cut_off(folder, volume):
    path = sorted(write_series(folder, volume).iterdir())[0]
    path.write_bytes(path.read_bytes()[:400])


CASES = [
    (empty, "scans holds no DICOM images; give an image file or the folder of one DICOM series."),
    (two_series, "scans holds 2 DICOM series (SWI_magnitude, SWI_phase); put the one to use into a folder of its own."),
    (two_echoes, "scans holds several images of the same slice (echo times 10, 20 ms); put one echo, or one kind of "
                 "image, into a folder of its own."),
    (localizer, "scans holds slices of several orientations (a localizer?); give a T2*-GRE, SWI or QSM series."),
    (lambda folder, volume: write_series(folder, volume, keep=[4]),
     "scans holds a single DICOM file; give the folder of the whole series, or convert a multi-frame file to NIfTI "
     "first."),
    (lambda folder, volume: write_series(folder, volume, keep=[0, 1, 2, 4, 5, 6, 7, 8]),
     "scans lacks slices, or has damaged or unevenly spaced ones; export the series again."),
    (lambda folder, volume: write_series(folder, volume, colour=True),
     "scans has 3 values per voxel (colour, or several volumes in one); choose one grey-value volume first."),
    (cut_off, "scans lacks slices, or has damaged or unevenly spaced ones; export the series again."),
]


@pytest.mark.parametrize("make, sentence", CASES)
def test_one_sentence_for_each_folder_that_cannot_be_used(volume, tmp_path, capfd, make, sentence):
    make(tmp_path / "scans", volume)
    with pytest.raises(InputError) as caught:
        read_series(tmp_path / "scans")
    assert str(caught.value) == sentence
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("elements, told", [
    ({"PixelSpacing": None}, "size of a pixel"), ({"PixelSpacing": ["0", "0"]}, "size of a pixel"),
    ({"ImageOrientationPatient": None}, "an orientation"), ({"ImageOrientationPatient": ["0"] * 6}, "an orientation"),
    ({"ImagePositionPatient": None}, "a position"), ({"PixelData": bytes(100)}, "damaged")])
def test_what_gdcm_would_make_up_is_refused(tmp_path, elements, told):
    pytest.importorskip("pydicom")
    from dicom_phantoms import write_mr_series

    with pytest.raises(InputError, match=rf"^scans (holds images without|lacks slices).*{told}"):
        read_series(write_mr_series(tmp_path / "scans", **elements))


@pytest.mark.skipif(os.name == "nt", reason="POSIX files")
def test_a_pipe_among_the_slices_is_not_waited_for(volume, tmp_path):
    folder = write_series(tmp_path / "scans", volume)
    os.mkfifo(folder / "pipe.dcm")
    with pytest.raises(InputError, match="pipe.dcm in the DICOM folder .*scans cannot be read"):
        read_series(folder)


@pytest.mark.skipif(os.name == "nt", reason="POSIX files")
def test_a_link_to_nothing_is_a_missing_slice(volume, tmp_path):
    folder = write_series(tmp_path / "scans", volume)
    (folder / "gone.dcm").symlink_to("nothing")
    with pytest.raises(InputError, match="scans lacks slices"):
        read_series(folder)

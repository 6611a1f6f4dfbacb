import hashlib
import json

import numpy as np
import pytest
import SimpleITK as sitk
from microbleeds.errors import InputError
from microbleeds.read_write import (
    atomic_path,
    read_json,
    read_labels,
    read_mask,
    read_scan,
    scan_stem,
    staging_folder,
    write_image,
    write_json,
    write_label_map,
    write_text,
)
from microbleeds.volume import Volume


@pytest.fixture
def save(tmp_path, itk_image):
    """Save a volume, or an array on a 0.5 x 0.5 x 3 mm grid, without the engine; returns the path."""
    def save(data, name="scan.nii.gz", spacing=(0.5, 0.5, 3)):
        volume = data if isinstance(data, Volume) else Volume(data.astype(np.float32), np.diag([*spacing, 1.0]))
        sitk.WriteImage(itk_image(volume), str(tmp_path / name))
        return tmp_path / name
    return save


def noise(shape=(20, 18, 7)):
    return np.random.default_rng(0).normal(500, 100, shape).astype(np.float32)


# Scans

@pytest.mark.parametrize("name, stem", [
    ("a.nii.gz", "a"), ("a.b.nii", "a.b"), ("A.NII.GZ", "A"), ("a.nrrd", "a"), ("a.mhd", "a"), ("a.gz", "a.gz"),
    ("dir/sub-1_T2S.mha", "sub-1_T2S"), ("no-suffix", "no-suffix")])
def test_stem(name, stem):
    assert scan_stem(name) == stem


def test_stem_of_a_folder_is_its_whole_name(tmp_path, monkeypatch):
    folder = tmp_path / "3.SWI.nii"
    folder.mkdir()
    monkeypatch.chdir(folder)
    assert scan_stem(folder) == scan_stem(".") == "3.SWI.nii"


def test_scan_says_what_it_is_and_where_it_came_from(draw_volume, save):
    volume = draw_volume(np.random.default_rng(0), left_handed=True)
    path = save(volume)
    scan = read_scan(str(path))
    assert scan.volume.same_grid(volume) and np.array_equal(scan.volume.data, volume.data)
    assert (scan.stem, scan.path, scan.warnings, scan.metadata, scan.simulated) == ("scan", path, (), {}, False)
    assert scan.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_hash_of_a_detached_header_covers_the_voxels(save, tmp_path):
    path = save(noise(), "scan.mhd")
    before = read_scan(path).sha256
    save(noise() + 1, "scan.mhd")
    assert read_scan(path).sha256 != before


def test_sidecar(save, tmp_path):
    path = save(noise())
    (tmp_path / "scan.json").write_text(json.dumps({
        "Simulated": True, "EchoTime": 0.02, "MagneticFieldStrength": 3, "SeriesDescription": "T2*",
        "ImageType": ["ORIGINAL", "M"], "ProtocolName": 5, "RepetitionTime": 1}))
    scan = read_scan(path)
    assert scan.simulated and scan.metadata == {"echo_time_ms": 20.0, "field_strength_t": 3,
                                                "series_description": "T2*", "image_type": "ORIGINAL\\M"}


def test_sidecar_of_a_link_lies_beside_the_link(save, tmp_path):
    # as in data sets under git-annex
    links = tmp_path / "data set µ"
    links.mkdir()
    (links / "sub-1.NII.GZ").symlink_to(save(noise()))
    (links / "sub-1.json").write_text('{"Simulated": true}')
    scan = read_scan(links / "sub-1.NII.GZ")
    assert scan.simulated and scan.stem == "sub-1"


def test_a_number_in_the_sidecar_that_is_none_does_not_hide_the_others(save, tmp_path):
    path = save(noise())
    (tmp_path / "scan.json").write_text(json.dumps({
        "SAR": float("nan"), "Simulated": True, "EchoTime": 0.02, "MagneticFieldStrength": float("inf")}))
    scan = read_scan(path)
    assert scan.simulated and scan.metadata == {"echo_time_ms": 20.0} and scan.warnings == ()
    (tmp_path / "scan.json").write_text(f'{{"EchoTime": {10**400}, "MagneticFieldStrength": NaN, "Modality": "CT"}}')
    with pytest.raises(InputError, match="scan.nii.gz is CT"):
        read_scan(path)
    (tmp_path / "scan.json").write_text(f'{{"EchoTime": {10**400}, "MagneticFieldStrength": NaN, "Modality": "MR"}}')
    assert read_scan(path).metadata == {"modality": "MR"}


@pytest.mark.parametrize("text", ["{", "[1]", '"x"'])
def test_a_broken_sidecar_is_a_warning(save, tmp_path, text):
    path = save(noise())
    (tmp_path / "scan.json").write_text(text)
    scan = read_scan(path)
    assert scan.warnings == ("scan.json beside the scan is not a JSON object that can be read; it was ignored.",)
    assert not scan.simulated


def test_other_modalities_are_refused(save, tmp_path):
    path = save(noise())
    (tmp_path / "scan.json").write_text('{"Modality": "CT"}')
    with pytest.raises(InputError, match=r"^scan.nii.gz is CT, not MR; give a T2\*-GRE, SWI or QSM volume\.$"):
        read_scan(path)


@pytest.mark.parametrize("shape, spacing", [
    ((16, 16, 3), (0.5, 0.5, 3)), ((16, 3, 16), (0.5, 3, 0.5)), ((7, 40, 40), (1, 1, 1)), ((16, 16, 16), (1, 1, 1))])
def test_the_smallest_scans_that_pass(save, shape, spacing):
    assert read_scan(save(noise(shape), spacing=spacing)).warnings == ()


@pytest.mark.parametrize("shape, spacing", [
    ((15, 16, 3), (0.5, 0.5, 3)), ((16, 16, 2), (0.5, 0.5, 3)), ((16, 40, 15), (0.5, 3, 0.5)),
    ((7, 15, 40), (1, 1, 1)), ((40, 40, 1), (1, 1, 1))])
def test_smaller_scans_are_refused(save, shape, spacing):
    with pytest.raises(InputError, match=r"^scan.nii.gz is too small \(\d+×\d+×\d+ voxels of .* mm\); give a volume of "
                                         r"at least 16×16 voxels in plane and 3 slices\.$"):
        read_scan(save(noise(shape), spacing=spacing))


def test_thick_slices_are_a_warning(save):
    assert read_scan(save(noise(), spacing=(1, 1, 10))).warnings == ()
    warning, = read_scan(save(noise(), spacing=(1, 1, 10.5))).warnings
    assert warning == ("The voxels are 10.5 mm long; microbleeds of 2 to 10 mm cannot be told reliably on slices "
                       "thicker than 10 mm.")


@pytest.mark.parametrize("name", ["scan.nii", "scan.nii.gz", "scan.nrrd", "scan.mha"])
def test_what_is_no_number_becomes_zero_with_a_warning(save, name):
    data = noise()
    data[1, 2, 3], data[2, 2, 3], data[3, 2, 3] = np.nan, np.inf, -np.inf
    scan = read_scan(save(data, name))
    expected = noise()
    expected[1:4, 2, 3] = 0
    assert np.array_equal(scan.volume.data, expected)
    assert scan.warnings == ("3 voxels are NaN or infinite (0.0012 of all); they were set to 0.",)


@pytest.mark.parametrize("kind", [">f4", ">f8", "<f8"])
def test_no_numbers_in_other_byte_orders(tmp_path, kind):
    nibabel = pytest.importorskip("nibabel")
    data = noise().astype(kind)
    data[1, 2, 3] = np.nan
    nibabel.save(nibabel.Nifti1Image(data, np.eye(4), nibabel.Nifti1Header(endianness=kind[0])), tmp_path / "a.nii")
    scan = read_scan(tmp_path / "a.nii")
    expected = noise()
    expected[1, 2, 3] = 0
    assert np.array_equal(scan.volume.data, expected) and scan.warnings[0].startswith("1 voxels")


def qsm_ppb():
    data = noise() - 500
    data[5, 5, 5] = -3300
    return data


@pytest.mark.parametrize("data", [noise() - 500, (noise() - 500) / 1e4, qsm_ppb(), np.rint(noise()) % 256])
def test_susceptibility_and_magnitude_pass(save, data):
    assert read_scan(save(data)).warnings == ()


def ct():
    data = noise() - 500
    data[:4] = -1000
    return data


REFUSED = [
    (np.full((20, 18, 7), np.nan), "scan.nii.gz holds no numbers, only NaN or infinity; export it again."),
    (np.full((20, 18, 7), 3.0), "scan.nii.gz is constant (every voxel is 3); export it again."),
    (np.zeros((20, 18, 7)), "scan.nii.gz is constant (every voxel is 0); export it again."),
    (noise() > 500, "scan.nii.gz looks like a mask or label map (fewer than 10 different values); give the T2*-GRE, "
                    "SWI or QSM volume itself."),
    (np.rint(noise() / 100).clip(1, 9), "scan.nii.gz looks like a mask or label map (fewer than 10 different values); "
                                        "give the T2*-GRE, SWI or QSM volume itself."),
    (ct(), "scan.nii.gz looks like CT or a phase image (values down to -1000); give a T2*-GRE magnitude, SWI or QSM "
           "volume."),
    (np.random.default_rng(0).integers(-4096, 4096, (20, 18, 7)),
     "scan.nii.gz looks like CT or a phase image (values down to -4095); give a T2*-GRE magnitude, SWI or QSM volume."),
]


@pytest.mark.parametrize("data, sentence", REFUSED)
def test_values_that_are_no_mr_image(save, data, sentence):
    path = save(data)
    with pytest.raises(InputError) as caught:
        read_scan(path)
    assert str(caught.value) == sentence


@pytest.mark.parametrize("factor", [1e35, 1e-42])
def test_values_at_the_ends_of_float32_are_refused(save, factor):
    with pytest.raises(InputError, match=r"^scan.nii.gz holds values from .*, which no MR image has; export it again"):
        read_scan(save(noise() * np.float32(factor)))


def test_phase_in_radians_is_a_warning(save):
    data = np.random.default_rng(0).uniform(-np.pi, np.pi, (20, 18, 7))
    assert read_scan(save(data)).warnings == (
        "The values run from -π to π as in a phase image; a T2*-GRE magnitude, SWI or QSM volume is expected.",)


def test_a_mostly_empty_image_with_a_few_gray_values_passes(save):
    data = np.zeros((60, 60, 20))
    data[8:13, 8:13, 1:6] = np.arange(125).reshape(5, 5, 5)
    assert read_scan(save(data)).warnings == ()


# Masks and labels

def test_mask_on_the_same_grid(draw_volume, save):
    volume = draw_volume(np.random.default_rng(1), left_handed=True)
    mask = noise() > 500
    read = read_mask(save(volume.with_data(mask.astype(np.uint8)), "mask.nii.gz"), volume)
    assert read.data.dtype == bool and np.array_equal(read.data, mask) and read.same_grid(volume)


def test_mask_with_its_slices_reversed_as_slicer_saves_it(draw_volume, save):
    volume = draw_volume(np.random.default_rng(1), left_handed=True)
    mask = noise() > 500
    reverse = np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, -1, volume.shape[2] - 1], [0, 0, 0, 1]])
    turned = Volume(mask[:, :, ::-1].astype(np.uint8), volume.affine @ reverse)
    read = read_mask(save(turned, "mask.nrrd"), volume)
    assert np.array_equal(read.data, mask) and np.array_equal(read.affine, volume.affine)


def test_mask_of_another_grid_is_refused(save):
    scan = Volume(noise(), np.diag([0.5, 0.5, 3, 1]))
    path = save(noise((10, 9, 7)) > 500, "mask.nii.gz", spacing=(1, 1, 3))
    with pytest.raises(InputError) as caught:
        read_mask(path, scan)
    assert str(caught.value) == (
        "mask.nii.gz has a grid of 10×9×7 voxels of 1×1×3 mm that does not lie on the scan's, 20×18×7 voxels of "
        "0.5×0.5×3 mm; draw the mask on the scan or resample it to the scan.")
    moved = np.diag([0.5, 0.5, 3, 1])
    moved[0, 3] = 0.2
    with pytest.raises(InputError, match="does not lie on the scan's"):
        read_mask(save(Volume((noise() > 500).astype(np.uint8), moved), "mask.nii.gz"), scan)
    moved[0, 3] = 0.05
    read_mask(save(Volume((noise() > 500).astype(np.uint8), moved), "mask.nii.gz"), scan)


def test_empty_mask_is_refused(save):
    with pytest.raises(InputError, match=r"^mask.nii.gz is an empty mask; mark the brain in it or leave it out\.$"):
        read_mask(save(np.zeros((20, 18, 7)), "mask.nii.gz"), Volume(noise(), np.diag([0.5, 0.5, 3, 1])))


@pytest.mark.parametrize("kind, largest", [(np.int16, 32767), (np.int32, 32768), (np.int16, 0)])
def test_label_map_round_trip(draw_affine, tmp_path, kind, largest):
    rng = np.random.default_rng(0)
    labels = Volume(rng.integers(0, 2, (20, 18, 7)) * largest, draw_affine(rng, left_handed=True))
    path = tmp_path / "new" / "labels.nii.gz"
    write_label_map(path, labels)
    assert sitk.ReadImage(str(path)).GetPixelID() == {np.int16: sitk.sitkInt16, np.int32: sitk.sitkInt32}[kind]
    read = read_labels(path)
    assert read.data.dtype == np.int32 and np.array_equal(read.data, labels.data) and read.same_grid(labels)


def test_labels_have_to_be_whole_numbers(save):
    with pytest.raises(InputError, match=r"^scan.nii.gz holds values that are not whole numbers; give a label map\.$"):
        read_labels(save(noise()))


def test_labels_beyond_int32_are_refused(save):
    with pytest.raises(InputError, match="holds values of more than"):
        read_labels(save(np.full((20, 18, 7), 1e12)))


# Writing

@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("suffix", ["nii.gz", "nrrd", "mha"])
def test_image_round_trip(draw_volume, tmp_path, seed, suffix):
    volume = draw_volume(np.random.default_rng(seed), shape=(20, 18, 16), left_handed=bool(seed % 2))
    write_image(tmp_path / f"a.{suffix}", volume)
    read = read_scan(tmp_path / f"a.{suffix}").volume
    assert np.array_equal(read.data, volume.data) and read.same_grid(volume)


def test_written_nifti_lies_where_nibabel_says(draw_volume, tmp_path):
    nibabel = pytest.importorskip("nibabel")
    for left_handed in (False, True):
        volume = draw_volume(np.random.default_rng(0), left_handed=left_handed)
        write_image(tmp_path / "a.nii.gz", volume)
        image = nibabel.load(tmp_path / "a.nii.gz")
        assert volume.same_grid(Volume(image.get_fdata(), image.affine))
        assert np.allclose(image.get_qform(), image.get_sform(), atol=1e-4)


def test_text_and_json_replace_what_was_there(tmp_path):
    path = tmp_path / "new" / "a.json"
    for value in ({"µ": [1.5, None]}, {"b": 1}):
        write_json(path, value)
        assert json.loads(path.read_text(encoding="utf-8")) == value
    write_text(path, "one\n")
    assert path.read_bytes() == b"one\n" and list(path.parent.iterdir()) == [path]


def test_half_a_character_is_written_as_its_escape(tmp_path):
    write_json(tmp_path / "a.json", {"comment": "a\ud800"})
    assert read_json(tmp_path / "a.json", "") == {"comment": "a\ud800"}
    write_text(tmp_path / "a.txt", "a\ud800")
    assert (tmp_path / "a.txt").read_text(encoding="utf-8") == r"a\ud800"


@pytest.mark.parametrize("text", ["[" * 100_000, "NaN", "{", '{"a": 1e999}'])
def test_json_that_is_damaged_is_told(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(InputError, match=r"^a.json is not JSON or is damaged; cure it\.$"):
        read_json(tmp_path / "a.json", "cure it")


def test_json_has_no_nan(tmp_path):
    with pytest.raises(ValueError):
        write_json(tmp_path / "a.json", float("nan"))
    assert list(tmp_path.iterdir()) == []


def test_a_failure_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.nii.gz"
    path.write_text("old")
    with pytest.raises(KeyError), atomic_path(path) as staged:
        assert staged.name == path.name and staged.parent.parent == tmp_path
        staged.write_text("half of the ne")
        raise KeyError
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_files_have_ordinary_permissions(tmp_path):
    (tmp_path / "plain").touch()
    write_text(tmp_path / "a.txt", "")
    assert (tmp_path / "a.txt").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_all_files_move_together_or_none(tmp_path):
    (tmp_path / "a").write_text("old")
    # a folder in the way of the last file
    (tmp_path / "c").mkdir()
    with pytest.raises(OSError), staging_folder(tmp_path) as staging:
        for name in "abc":
            (staging / name).write_text("new")
    assert (tmp_path / "a").read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "c"]
    with staging_folder(tmp_path) as staging:
        for name in "ab":
            (staging / name).write_text("new")
    assert [(tmp_path / name).read_text() for name in "ab"] == ["new", "new"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "c"]

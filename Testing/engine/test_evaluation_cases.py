import numpy as np
import pytest
import SimpleITK as sitk
from microbleeds.errors import InputError
from microbleeds.evaluation.cases import DEFAULT_DIAMETER_MM, find_cases, read_case

SPACING = (0.5, 0.5, 4.0)
BOX = ((4, 6), (4, 6), (2, 3))
BOX_CENTRE_RAS = (-2.25, -2.25, 8.0)
"""ITK's axes point to L, P and S, so that a plain image of its has negative R and A."""
POINTS = "subject\tR_mm\tA_mm\tS_mm\tequivalent_diameter_mm\n"


def write_map(path, *boxes, spacing=SPACING, value=1, dtype=np.uint8, shape=(20, 20, 6)):
    data = np.zeros(shape, dtype)
    for box in boxes:
        data[tuple(slice(a, b) for a, b in box)] = value
    image = sitk.GetImageFromArray(np.ascontiguousarray(data.T))
    image.SetSpacing(spacing)
    sitk.WriteImage(image, str(path))


@pytest.fixture
def folders(tmp_path):
    predictions, truth = tmp_path / "predictions", tmp_path / "truth"
    predictions.mkdir()
    truth.mkdir()
    return predictions, truth


def predict(predictions, stem, *boxes):
    write_map(predictions / f"{stem}_desc-cmb_dseg.nii.gz", *boxes)



@pytest.mark.parametrize("name", ["{}_desc-cmb_truth.nii.gz", "{}_desc-cmb_dseg.nii.gz", "{}_dseg.nii.gz",
                                  "{}.nii.gz", "{}.nii", "{}_dseg.nrrd", "{}.mha"])
def test_maps_are_found_by_each_name(name, folders):
    predictions, truth = folders
    for stem in ("sub-1", "sub-2", "sub-3"):
        predict(predictions, stem)
    for stem in ("sub-1", "sub-3"):
        write_map(truth / name.format(stem), BOX)
    found, left_out = find_cases(*folders)
    assert [case.stem for case in found] == ["sub-1", "sub-3"] and left_out == ("sub-2",)
    assert len(read_case(found[0]).lesions.voxels) == 1


def test_results_of_a_cohort_lie_by_subject_and_session(folders):
    predictions, truth = folders
    for place in ("sub-1/anat", "sub-2/ses-a/anat", "sub-2/ses-b/anat"):
        (predictions / place).mkdir(parents=True)
        predict(predictions / place, "_".join(place.split("/")[:-1]))
    write_map(truth / "sub-2_ses-b.nii.gz", BOX)
    found, left_out = find_cases(*folders)
    assert [case.stem for case in found] == ["sub-2_ses-b"] and left_out == ("sub-1", "sub-2_ses-a")
    predict(predictions / "sub-1/anat", "sub-2_ses-b")
    with pytest.raises(InputError, match="two results of one name"):
        find_cases(*folders)


def test_truth_may_lie_by_subject_and_session(folders):
    predictions, truth = folders
    for place in ("sub-1/anat", "sub-2/ses-a/anat"):
        stem = "_".join(place.split("/")[:-1]) + "_swi"
        predict(predictions, stem)
        (truth / place).mkdir(parents=True)
        write_map(truth / place / f"{stem}.nii.gz", ((0, 20), (0, 20), (0, 6)))
        write_map(truth / place / f"{stem}_desc-all_truth.nii.gz", BOX, ((12, 13), (12, 13), (0, 1)))
        write_map(truth / place / f"{stem}_desc-cmb_truth.nii.gz", BOX)
    found, left_out = find_cases(*folders)
    assert [case.truth.name for case in found] == ["sub-1_swi_desc-cmb_truth.nii.gz",
                                                   "sub-2_ses-a_swi_desc-cmb_truth.nii.gz"] and not left_out
    assert len(read_case(found[0]).lesions.voxels) == 1


def test_scans_of_a_data_set_are_no_truth(folders):
    predict(folders[0], "sub-1_swi")
    (folders[1] / "sub-1/anat").mkdir(parents=True)
    write_map(folders[1] / "sub-1/anat/sub-1_swi.nii.gz", BOX)
    with pytest.raises(InputError, match="neither reference maps nor a table"):
        find_cases(*folders)


def test_scans_may_lie_beside_the_truth(folders):
    predict(folders[0], "a")
    write_map(folders[1] / "a.nii.gz", ((0, 20), (0, 20), (0, 6)))
    write_map(folders[1] / "a_desc-cmb_truth.nii.gz", BOX)
    assert find_cases(*folders)[0][0].truth.name == "a_desc-cmb_truth.nii.gz"


def test_truth_without_a_result_is_named(folders):
    predict(folders[0], "a")
    for stem in "abcdef":
        write_map(folders[1] / f"{stem}.nii.gz")
    with pytest.raises(InputError, match=r"no result for b\.nii\.gz, c\.nii\.gz, d\.nii\.gz and 2 more"):
        find_cases(*folders)


def test_results_are_not_compared_with_themselves(folders):
    predict(folders[0], "a", BOX)
    with pytest.raises(InputError, match="is the result itself"):
        find_cases(folders[0], folders[0])


def test_missing_folders_and_empty_ones(folders, tmp_path):
    with pytest.raises(InputError, match="holds no "):
        find_cases(*folders)
    predict(folders[0], "a")
    with pytest.raises(InputError, match="neither reference maps nor a table"):
        find_cases(*folders)
    with pytest.raises(InputError, match="does not exist"):
        find_cases(folders[0], tmp_path / "nowhere")


def test_an_empty_truth_is_a_clean_scan(folders):
    predict(folders[0], "a", BOX)
    write_map(folders[1] / "a.nii.gz")
    case = read_case(find_cases(*folders)[0][0])
    assert case.lesions.voxels == () and case.clusters.data.max() == 1


def test_clusters_are_26_connected_whatever_their_labels(folders):
    corner = ((6, 8), (6, 8), (3, 4))
    predict(folders[0], "a", BOX, corner, ((12, 13), (12, 13), (0, 1)))
    write_map(folders[1] / "a.nii.gz", BOX, corner, value=7.0, dtype=np.float32)
    case = read_case(find_cases(*folders)[0][0])
    assert case.clusters.data.max() == 2 and len(case.lesions.voxels) == 1


@pytest.mark.parametrize(("change", "message"), [
    ({"spacing": (0.5, 0.5, 3.0)}, "is not on the grid of"),
    ({"shape": (20, 20, 7)}, "is not on the grid of"),
    ({"value": -1, "dtype": np.int16}, "does not look like a map of microbleeds"),
])
def test_maps_that_do_not_fit(change, message, folders):
    predict(folders[0], "a")
    write_map(folders[1] / "a.nii.gz", BOX, **change)
    with pytest.raises(InputError, match=message) as caught:
        read_case(find_cases(*folders)[0][0])
    assert str(folders[1] / "a.nii.gz") in str(caught.value)


def test_an_image_in_place_of_a_map(folders):
    predict(folders[0], "a")
    write_map(folders[1] / "a.nii.gz", ((0, 20), (0, 20), (0, 6)), value=437, dtype=np.int16)
    with pytest.raises(InputError, match="100% of it is marked"):
        read_case(find_cases(*folders)[0][0])


@pytest.mark.parametrize("name", ["points.tsv", "points.csv"])
def test_a_table_of_points(name, folders):
    predict(folders[0], "sub-107_T2S", BOX)
    predict(folders[0], "sub-10_T2S")
    text = POINTS + "sub-107\t{}\t{}\t{}\t2.5\nsub-10\t\t\t\t\n".format(*BOX_CENTRE_RAS)
    (folders[1] / name).write_text(text if name.endswith("tsv") else text.replace("\t", ","))
    (folders[1] / "notes.csv").write_text("who,what\nme,this\n")
    for truth in (folders[1], folders[1] / name):
        case, clean = map(read_case, find_cases(folders[0], truth)[0])
        assert (case.stem, clean.stem) == ("sub-107_T2S", "sub-10_T2S")
        assert clean.lesions.voxels == ()
        assert np.allclose(case.lesions.centres_ras, [BOX_CENTRE_RAS])
        assert case.clusters.data[tuple(case.lesions.voxels[0].T)].max() == 1


def test_columns_may_be_stem_and_lack_a_diameter(folders):
    predict(folders[0], "a")
    (folders[1] / "p.csv").write_text("stem,R_mm,A_mm,S_mm\na,-5,-5,8\n")
    files, = find_cases(*folders)[0]
    assert files.truth.diameters_mm.tolist() == [DEFAULT_DIAMETER_MM]


def test_subjects_match_whole_names_and_the_longest_first(folders):
    for stem in ("sub-1_ses-1_T2S", "sub-1_ses-2_T2S", "sub-12_T2S"):
        predict(folders[0], stem)
    (folders[1] / "p.tsv").write_text(POINTS + "sub-1\t\t\t\t\nsub-1_ses-2\t\t\t\t\n")
    found, left_out = find_cases(*folders)
    assert {case.stem: case.truth.subject for case in found} \
        == {"sub-1_ses-1_T2S": "sub-1", "sub-1_ses-2_T2S": "sub-1_ses-2"}
    assert left_out == ("sub-12_T2S",)


@pytest.mark.parametrize(("row", "message"), [
    ("sub-9\t0\t0\t0\t2", "There is no result for sub-9"),
    ("sub-1\t0\t0\t0\t2", "sub-1 of .* fits several results"),
    ("sub-1_a\tx\t0\t0\t2", "line 2: x, 0, 0 are not coordinates"),
    ("sub-1_a\t1\t\t0\t2", "line 2: 1, , 0 are not coordinates"),
])
def test_tables_that_do_not_fit(row, message, folders):
    predict(folders[0], "sub-1_a")
    predict(folders[0], "sub-1_b")
    (folders[1] / "p.tsv").write_text(POINTS + row + "\n")
    with pytest.raises(InputError, match=message):
        find_cases(*folders)


def test_a_table_without_the_columns(folders):
    predict(folders[0], "a")
    table = folders[1] / "p.tsv"
    for text in ("", "a\tb\n1\t2\n"):
        table.write_text(text)
        with pytest.raises(InputError, match="no table of points"):
            find_cases(folders[0], table)


def test_two_tables_are_not_guessed_from(folders):
    predict(folders[0], "a")
    for name in ("p.tsv", "q.tsv"):
        (folders[1] / name).write_text(POINTS + "a\t\t\t\t\n")
    with pytest.raises(InputError, match=r"several tables of points \(p\.tsv, q\.tsv\)"):
        find_cases(*folders)


def test_a_point_outside_the_scan_is_named(folders):
    predict(folders[0], "a")
    (folders[1] / "p.tsv").write_text(POINTS + "a\t206\t155\t13\t2\n")
    files, = find_cases(*folders)[0]
    with pytest.raises(InputError, match=r"\[206.0, 155.0, 13.0\] of a lies outside .*RAS mm"):
        read_case(files)


def test_the_same_grid_in_another_axis_order(folders):
    """Slicer saves a left-handed map with its slices reversed."""
    predict(folders[0], "a", BOX)
    image = sitk.ReadImage(str(folders[0] / "a_desc-cmb_dseg.nii.gz"))
    sitk.WriteImage(sitk.Flip(image, (False, False, True)), str(folders[1] / "a.nii.gz"))
    case = read_case(find_cases(*folders)[0][0])
    assert np.allclose(case.lesions.centres_ras, [BOX_CENTRE_RAS])
    assert case.clusters.data[tuple(case.lesions.voxels[0].T)].all()

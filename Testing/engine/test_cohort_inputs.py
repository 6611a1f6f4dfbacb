import shutil

import pytest
from cohort_phantoms import bids_tree, write_scan
from microbleeds.cohort.inputs import Wanted, find_scans
from microbleeds.errors import InputError


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    return write_scan(tmp_path_factory.mktemp("one") / "scan.nii.gz")


@pytest.fixture
def place(image):
    """Puts the scan somewhere and returns the path."""
    def put(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(image, path)
        return path
    return put


@pytest.fixture
def tree(tmp_path, place):
    """Two subjects, two sessions of the first, two runs of the second."""
    (tmp_path / "dataset_description.json").write_text("{}")
    for name in ("sub-01/ses-a/anat/sub-01_ses-a_T2starw", "sub-01/ses-b/anat/sub-01_ses-b_T2starw",
                 "sub-02/anat/sub-02_run-01_T2starw", "sub-02/anat/sub-02_run-2_T2starw"):
        place(tmp_path / f"{name}.nii.gz")
    return tmp_path


def stems(scans):
    return [scan.stem.removesuffix("_T2starw") for scan in scans]


def test_results_lie_as_in_a_derivative(tree):
    scans = find_scans(tree, Wanted())
    assert [scan.key for scan in scans] == [
        "sub-01/ses-a/anat/sub-01_ses-a_T2starw", "sub-01/ses-b/anat/sub-01_ses-b_T2starw",
        "sub-02/anat/sub-02_run-01_T2starw", "sub-02/anat/sub-02_run-2_T2starw"]
    assert [(scan.subject, scan.session, scan.run) for scan in scans] == [
        ("01", "a", ""), ("01", "b", ""), ("02", "", "01"), ("02", "", "2")]


@pytest.mark.parametrize(("wanted", "expected"), [
    (Wanted(("01",)), ["sub-01_ses-a", "sub-01_ses-b"]),
    (Wanted(("sub-02", "01")), ["sub-01_ses-a", "sub-01_ses-b", "sub-02_run-01", "sub-02_run-2"]),
    (Wanted(sessions=("b",)), ["sub-01_ses-b"]),
    (Wanted(("01",), ("ses-a",)), ["sub-01_ses-a"]),
    (Wanted(runs=("1",)), ["sub-02_run-01"]),
    (Wanted(runs=("run-02",)), ["sub-02_run-2"])])
def test_labels_choose(tree, wanted, expected):
    assert stems(find_scans(tree, wanted)) == expected


@pytest.mark.parametrize("wanted", [Wanted(("03",)), Wanted(("0",)), Wanted(("02",), ("a",)), Wanted(runs=("3",))])
def test_a_label_that_does_not_occur_is_told(tree, wanted):
    with pytest.raises(InputError, match="has no scan of .* check --"):
        find_scans(tree, wanted)


def test_a_table_gives_the_labels(tmp_path, place):
    place(tmp_path / "x" / "scan.nii.gz")
    place(tmp_path / "y" / "scan.nii.gz")
    place(tmp_path / "y" / "other.nii.gz")
    table = tmp_path / "list.tsv"
    table.write_text("image\tname\tmodality\nx/scan.nii.gz\tsub-7_ses-2_run-1\tswi\ny/scan.nii.gz\tMüller 3\t\n"
                     "y/other.nii.gz\t\tgre\n", encoding="utf-8")
    scans = find_scans(table, Wanted())
    assert [(scan.key, scan.run, scan.modality) for scan in scans] == [
        ("sub-7/ses-2/anat/scan", "1", "swi"), ("sub-Mueller3/anat/scan", "", "auto"),
        ("sub-other/anat/other", "", "gre")]


def test_a_folder_gives_each_scan_a_participant(tmp_path, place):
    place(tmp_path / "a" / "scan.nii.gz")
    place(tmp_path / "b" / "scan.nii.gz")
    assert [scan.subject for scan in find_scans(tmp_path, Wanted())] == ["ascan", "bscan"]


def test_two_scans_of_one_place_are_refused(tmp_path, place):
    place(tmp_path / "a" / "sub-1_T2.nii.gz")
    place(tmp_path / "b" / "sub-1_T2.nii.gz")
    with pytest.raises(InputError, match='would both be sub-1/anat/sub-1_T2; .*"name"'):
        find_scans(tmp_path, Wanted())


def test_scans_that_differ_in_capitals_only_are_refused(tmp_path):
    with pytest.raises(InputError, match="would both be sub-ab/anat/sub-ab_T2starw"):
        find_scans(bids_tree(tmp_path / "in", ["ab", "AB"]), Wanted())


def test_what_a_scan_is_read_from(tmp_path, image):
    (tmp_path / "list.tsv").write_text(f"image\n{image}\n")
    scan, = find_scans(tmp_path / "list.tsv", Wanted())
    assert scan.files == (image, image.with_name("scan.json"))

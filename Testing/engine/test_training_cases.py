"""Prepared cases: what is in them, that nothing is prepared twice or kept though it changed, and what is refused."""

import json
import os
from dataclasses import replace

import numpy as np
import pytest
from microbleeds.errors import InputError
from microbleeds.geometry import voxel_to_ras
from microbleeds.read_write import read_mask, read_scan, write_image, write_label_map
from microbleeds.settings import PrepareSettings
from microbleeds.step0_prepare import prepare
from microbleeds.training import cases
from microbleeds.training.cases import fingerprint, load_case, prepare_cases
from microbleeds.training.labelled_scans import IGNORED, MICROBLEED, TISSUE
from microbleeds.training.layouts import find_labelled_scans
from training_sets import affine_las, drawn_scan, write_scan, write_set

ARRAYS = ("images", "brain", "lesions", "classes")


def silent(name, done, count):
    pass


def prepared(folder, data, jobs=1, tell=silent):
    return prepare_cases(find_labelled_scans(data), folder, jobs, tell)


def times(folder):
    return {path.relative_to(folder).as_posix(): path.stat().st_mtime_ns for path in sorted(folder.rglob("*"))
            if path.is_file()}


def affine_of(scan):
    """Return the working grid of a scan, which its case does not keep."""
    volume = read_scan(scan.image).volume
    return prepare(volume, read_mask(scan.brain, volume), "gre", PrepareSettings()).image


@pytest.fixture
def data(tmp_path):
    return write_set(tmp_path / "data", ["sub-01_ses-1", "sub-02"])


def test_a_case_shows_its_microbleeds_bright_and_numbered(tmp_path, data):
    case, other = prepared(tmp_path / "cases", data)
    assert (case.name, case.subject, case.modality, case.kinds_known) == ("sub-01_ses-1", "sub-01", "gre", False)
    assert other.subject == "sub-02"
    assert case.images.shape[1:] == case.brain.shape == case.lesions.shape == case.classes.shape
    np.testing.assert_allclose(case.spacing, [0.8, 0.8, 2.5], rtol=1e-4)
    assert set(np.unique(case.lesions)) == {0, 1, 2, 3}
    assert np.array_equal(case.lesions > 0, case.classes == MICROBLEED)
    image, symmetry = np.asarray(case.images, np.float32)
    tissue = case.brain & (case.lesions == 0)
    assert image[case.lesions > 0].mean() > 0.4 and abs(np.median(image[tissue])) < 0.05
    assert symmetry[case.lesions > 0].mean() > 3 * symmetry[tissue].mean()
    assert not image[~case.brain].any()
    seen = case.prepared()
    np.testing.assert_allclose(seen.image.spacing, case.spacing)
    assert np.array_equal(seen.image.data, image) and np.array_equal(seen.brain.data, case.brain)


@pytest.mark.parametrize(("shape", "spacing_mm", "expected_mm"), [
    ((80, 72, 14), (0.3, 0.3, 2.5), (0.4, 0.4, 2.5)), ((30, 28, 16), (1.3, 1.3, 2.0), (1.0, 1.0, 2.0)),
    ((44, 40, 48), (0.6, 0.6, 0.6), (0.6, 0.6, 0.8))])
def test_on_a_resampled_grid_the_truth_stays_where_it_is(tmp_path, shape, spacing_mm, expected_mm):
    drawn = drawn_scan(4, shape, affine_las(spacing_mm), radius_mm=2.2)
    write_scan(tmp_path / "data", "scan", drawn)
    scan, = find_labelled_scans(tmp_path / "data")
    case, = prepare_cases([scan], tmp_path / "cases", 1, silent)
    np.testing.assert_allclose(case.spacing, expected_mm, rtol=1e-3)
    grid = affine_of(scan)
    for number, centre_ras in enumerate(drawn.centres_ras, 1):
        own = np.argwhere(case.lesions == number)
        written = np.argwhere(drawn.labels.data == number)
        found_ras = voxel_to_ras(grid, own.mean(0))
        assert np.abs(found_ras - voxel_to_ras(drawn.labels, written.mean(0))).max() < 0.5 * case.spacing.max()
        assert np.linalg.norm(found_ras - centre_ras) < case.spacing.max()
        assert len(own) * np.prod(case.spacing) == pytest.approx(len(written) * np.prod(spacing_mm), rel=0.35)
    image = np.asarray(case.images[0], np.float32)
    assert image[case.lesions > 0].mean() > 0.3


@pytest.mark.parametrize(("shape", "spacing_mm"), [((88, 80, 14), (0.25, 0.25, 2.5)), ((48, 44, 52), (0.5, 0.5, 0.5))])
def test_microbleeds_marked_with_a_voxel_each_are_not_lost_on_a_coarser_grid(tmp_path, shape, spacing_mm):
    drawn = drawn_scan(4, shape, affine_las(spacing_mm), bleeds=5, dark_shadows=0)
    points = np.zeros(shape, np.int32)
    for number in range(1, 6):
        points[tuple(np.rint(np.argwhere(drawn.labels.data == number).mean(0)).astype(int))] = number
    # and one outside the working grid, which is cropped to the brain
    points[0, 0, 0] = 6
    write_scan(tmp_path / "data", "scan", replace(drawn, labels=drawn.labels.with_data(points)))
    scan, = find_labelled_scans(tmp_path / "data")
    case, = prepare_cases([scan], tmp_path / "cases", 1, silent)
    assert case.lesion_count == 5 and np.array_equal(case.lesions > 0, case.classes == MICROBLEED)
    places_ras = voxel_to_ras(affine_of(scan), case.lesion_centres())
    assert (np.linalg.norm(places_ras - drawn.centres_ras, axis=1) < case.spacing.max()).all()


def test_more_cases_are_mapped_than_a_program_may_open_files_at_first(tmp_path, monkeypatch):
    resource = pytest.importorskip("resource")
    count = 30

    def keep(scan, folder):
        (folder / scan.name).mkdir()
        for name in ARRAYS:
            np.save(folder / scan.name / f"{name}.npy", np.zeros(2))
        facts = {"name": scan.name, "subject": "", "modality": "gre", "spacing": [1, 1, 1], "kinds_known": False}
        (folder / scan.name / "case.json").write_text(json.dumps(facts))

    monkeypatch.setattr(cases, "prepare_case", keep)
    data = write_set(tmp_path / "data", ["scan"])
    scans = [replace(scan, name=f"{number}") for scan in find_labelled_scans(data) for number in range(count)]
    usual = resource.getrlimit(resource.RLIMIT_NOFILE)
    opened = os.open(data, os.O_RDONLY)
    os.close(opened)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (opened + 20, usual[1]))
        mapped = prepare_cases(scans, tmp_path / "cases", 1, silent)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, usual)
    assert [case.name for case in mapped] == [f"{number}" for number in range(count)]


def test_the_same_scan_is_not_prepared_twice(tmp_path, data):
    told = []
    prepared(tmp_path / "cases", data)
    before = times(tmp_path / "cases")
    again = prepared(tmp_path / "cases", data, tell=lambda *numbers: told.append(numbers))
    assert times(tmp_path / "cases") == before and len(before) == 10
    assert told == [("sub-01_ses-1", 1, 2), ("sub-02", 2, 2)]
    assert [case.name for case in again] == ["sub-01_ses-1", "sub-02"]


@pytest.mark.parametrize("part", ["labels/sub-02.nii.gz", "images/sub-02.nii.gz", "images/sub-02_brain_mask.nii.gz"])
def test_what_changed_is_prepared_anew_and_the_others_stay(tmp_path, data, part):
    old = prepared(tmp_path / "cases", data)[1]
    old = {name: np.array(getattr(old, name)) for name in ARRAYS}
    before = times(tmp_path / "cases")
    other = drawn_scan(50)
    changed = {"labels/sub-02.nii.gz": other.labels, "images/sub-02.nii.gz": other.image}.get(part)
    if changed is None:
        smaller = other.brain.data.copy()
        smaller[:12] = 0
        changed = other.brain.with_data(smaller)
    write_image(data / part, changed.with_data(changed.data.astype(np.float32)))
    new = prepared(tmp_path / "cases", data)[1]
    assert any(not np.array_equal(old[name], getattr(new, name)) for name in ARRAYS)
    after = times(tmp_path / "cases")
    assert {path for path in before if after.get(path) == before[path]} == {
        path for path in before if path.startswith("sub-01")}
    assert not list((tmp_path / "cases").glob(".*"))


def test_all_that_a_case_depends_on_is_in_its_fingerprint(tmp_path):
    scan = drawn_scan(3)
    write_image(tmp_path / "imagesTr/a_0000.mha", scan.image)
    write_image(tmp_path / "labelsTr/a.mhd", scan.labels.with_data(scan.labels.data.astype(np.float32)))

    def now():
        return fingerprint(find_labelled_scans(tmp_path)[0])

    seen = [now()]
    (tmp_path / "imagesTr/a_0000.json").write_text('{"SeriesDescription": "QSM"}')
    seen.append(now())
    (tmp_path / "dataset.json").write_text('{"labels": {"background": 0, "microbleed": 1, "ignore": 2}}')
    seen.append(now())
    (tmp_path / "dataset.json").write_text('{"labels": {"background": 0, "microbleed": 1, "mimic": 2}}')
    seen.append(now())
    voxels, = (path for path in (tmp_path / "labelsTr").iterdir() if path.suffix != ".mhd")
    changed = bytearray(voxels.read_bytes())
    changed[-1] ^= 1
    voxels.write_bytes(changed)
    seen.append(now())
    assert len(set(seen)) == len(seen) and now() == seen[-1]


def test_a_case_that_was_cut_off_or_damaged_is_prepared_anew(tmp_path, data):
    first, _ = prepared(tmp_path / "cases", data)
    whole = np.array(first.images)
    (tmp_path / "cases" / "sub-01_ses-1" / "case.json").write_text("{")
    (tmp_path / "cases" / ".sub-01_ses-1.part").mkdir()
    first, _ = prepared(tmp_path / "cases", data)
    assert np.array_equal(first.images, whole)
    assert sorted(path.name for path in (tmp_path / "cases").iterdir()) == ["sub-01_ses-1", "sub-02"]


def test_what_the_brain_mask_cuts_off_is_ignored(tmp_path):
    drawn = drawn_scan(1, bleeds=2, dark_shadows=0)
    one, two = (np.argwhere(drawn.labels.data == number) for number in (1, 2))
    brain = drawn.brain.data.copy()
    # all of the first lesion and the left half of the second one
    brain[tuple(one.T)] = 0
    half = two[two[:, 0] > np.median(two[:, 0])]
    brain[tuple(half.T)] = 0
    write_scan(tmp_path / "data", "scan", replace(drawn, brain=drawn.brain.with_data(brain)))
    case, = prepared(tmp_path / "cases", tmp_path / "data")
    assert set(np.unique(case.lesions)) == {0, 1}
    assert (case.lesions > 0).sum() == len(two) - len(half)
    assert (case.classes == IGNORED).sum() == len(one) + len(half)
    assert not case.brain[case.classes == IGNORED].any() and case.brain[case.lesions > 0].all()
    assert set(np.unique(case.classes)) == {TISSUE, MICROBLEED, IGNORED}


def test_large_numbers_of_lesions_stay_lesions(tmp_path):
    drawn = drawn_scan(2)
    numbers = np.array([0, 70001, 65536, 40000])[drawn.labels.data]
    write_scan(tmp_path / "data", "scan", replace(drawn, labels=drawn.labels.with_data(numbers.astype(np.int32))))
    case, = prepared(tmp_path / "cases", tmp_path / "data")
    assert np.array_equal(case.lesions > 0, case.classes == MICROBLEED)
    assert len(np.unique(case.lesions)) == 4
    sizes = sorted(np.count_nonzero(drawn.labels.data == number) for number in (1, 2, 3))
    assert sorted(np.bincount(case.lesions.ravel())[1:]) == sizes


def test_of_simulated_scans_the_brain_is_found_as_at_detection_time(tmp_path, data, monkeypatch):
    given = []

    def spy(volume, mask=None, device="cpu"):
        given.append(mask)
        return volume.with_data(volume.data > 100)

    monkeypatch.setattr(cases, "find_brain", spy)
    real, simulated = find_labelled_scans(data)
    prepare_cases([real, replace(simulated, layout="simulated")], tmp_path / "cases", 1, silent)
    assert given[0] is not None and given[1] is None


def write_hollow(data, name):
    """Write a scan that has no signal at all inside its mask."""
    drawn = drawn_scan(9)
    write_scan(data, name, replace(drawn, image=drawn.image.with_data(drawn.image.data * (drawn.brain.data == 0))))


def test_an_unusable_image_is_named_and_nothing_half_made_is_left(tmp_path, data):
    write_hollow(data, "sub-02")
    with pytest.raises(InputError, match=r"sub-02\.nii\.gz: .*no voxel with signal"):
        prepared(tmp_path / "cases", data)
    assert [path.name for path in (tmp_path / "cases").iterdir()] == ["sub-01_ses-1"]


def test_two_processes_give_the_same_arrays_as_one_and_name_what_fails(tmp_path, data):
    alone = prepared(tmp_path / "one", data)
    write_hollow(data, "sub-03")
    with pytest.raises(InputError, match=r"sub-03\.nii\.gz: .*no voxel with signal"):
        prepared(tmp_path / "two", data, jobs=2)
    left = {path.name for path in (tmp_path / "two").iterdir()}
    # the second one may have waited when the third one failed
    assert {"sub-01_ses-1"} <= left <= {"sub-01_ses-1", "sub-02"}
    for case in alone:
        if case.name in left:
            other = load_case(tmp_path / "two" / case.name)
            assert all(np.array_equal(getattr(case, name), getattr(other, name)) for name in ARRAYS)


def test_a_label_map_on_another_grid_is_named(tmp_path, data):
    write_label_map(data / "labels" / "sub-02.nii.gz", drawn_scan(0, shape=(40, 36, 13)).labels)
    with pytest.raises(InputError, match=r"labels/sub-02\.nii\.gz .*not on the grid"):
        prepared(tmp_path / "cases", data)

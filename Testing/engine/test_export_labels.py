import errno
import json
import os
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from microbleeds.errors import InputError
from microbleeds.export.label_files import COLORS, TERMINOLOGY, write_label_map_file, write_segmentation_file
from microbleeds.read_write import read_labels
from microbleeds.review_files import ACCEPTED
from microbleeds.volume import Volume
from test_export_tables import AFFINE, make_case

AFFINES = {"oblique, left-handed": AFFINE, "oblique, right-handed": AFFINE @ np.diag([-1, 1, 1, 1]),
           "straight": np.diag([0.5, 0.5, 2.0, 1.0]), "other axes": np.eye(4)[[2, 0, 1, 3]] * [0.6, 0.5, 3.0, 1.0]}


@pytest.fixture(params=AFFINES)
def case(request):
    return make_case(("", "", "", "", "x"), AFFINES[request.param])


def counted(case):
    """Return the label map of the case without what is no microbleed."""
    accepted = [finding.id for finding in case.findings if finding.verdict == ACCEPTED]
    return np.where(np.isin(case.labels.data, accepted), case.labels.data, 0)


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nrrd", "a.mha"])
def test_the_label_map_is_the_same_voxel_for_voxel(case, tmp_path, name):
    assert write_label_map_file(tmp_path / name, case) == (3,)
    read = read_labels(tmp_path / name)
    assert read.same_grid(case.image, 1e-3) and (read.data == counted(case)).all()
    assert set(np.unique(read.data)) == {0, 1}
    assert write_label_map_file(tmp_path / f"all-{name}", case, everything=True) == (3,)
    assert (read_labels(tmp_path / f"all-{name}").data == case.labels.data).all()


def test_another_program_reads_the_same_label_map(case, tmp_path):
    write_label_map_file(tmp_path / "a.nii.gz", case, everything=True)
    image = nibabel.load(tmp_path / "a.nii.gz")
    assert np.allclose(image.affine, case.image.affine, atol=1e-4)
    assert (np.asarray(image.dataobj) == case.labels.data).all()


def test_numbers_above_those_of_int16_are_kept(tmp_path):
    case = make_case(("",))
    labels = case.labels.with_data(np.where(case.labels.data == 1, 70000, 0).astype(np.int32))
    case = replace(case, labels=labels, findings=(replace(case.findings[0], id=70000),))
    write_label_map_file(tmp_path / "a.nii.gz", case)
    write_segmentation_file(tmp_path / "a.seg.nrrd", case)
    assert (read_labels(tmp_path / "a.nii.gz").data == labels.data).all()
    assert (sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "a.seg.nrrd"))).T == labels.data).all()


def header_of(path):
    image = sitk.ReadImage(str(path))
    return {key: image.GetMetaData(key) for key in image.GetMetaDataKeys()}, read_labels(path)


def test_one_segment_per_finding_with_what_is_known_of_it(case, tmp_path):
    write_segmentation_file(tmp_path / "a.seg.nrrd", replace(case, simulated=True), everything=True)
    header, labels = header_of(tmp_path / "a.seg.nrrd")
    assert labels.same_grid(case.image, 1e-6) and (labels.data == case.labels.data).all()
    assert header["CMBDetection.notice"] == "Research tool - not for clinical use"
    assert (header["CMBDetection.reviewed"], header["CMBDetection.simulated"]) == ("finished", "simulated")
    for number, finding in enumerate(case.findings):
        entry = {key.removeprefix(f"Segment{number}_"): value for key, value in header.items()
                 if key.startswith(f"Segment{number}_")}
        assert (entry["Name"], entry["LabelValue"]) == (f"Microbleed {finding.id}", str(finding.id))
        assert tuple(map(float, entry["Color"].split())) == COLORS[finding.verdict]
        tags = dict(tag.split(":", 1) for tag in entry["Tags"].removesuffix("|").split("|"))
        assert tags["TerminologyEntry"] == TERMINOLOGY and tags["CMBDetection.verdict"] == finding.verdict
        assert float(tags.get("CMBDetection.probability", "nan")) == pytest.approx(finding.probability or float("nan"),
                                                                                 rel=0, nan_ok=True)
    assert f"Segment{len(case.findings)}_ID" not in header


def test_only_microbleeds_unless_everything_is_wanted(case, tmp_path):
    write_segmentation_file(tmp_path / "a.seg.nrrd", case)
    header, labels = header_of(tmp_path / "a.seg.nrrd")
    assert [header[key] for key in sorted(header) if key.endswith("LabelValue")] == ["1", "3"]
    assert (labels.data == counted(case)).all()


def test_a_case_without_findings_gives_empty_files(tmp_path):
    case = make_case(())
    assert write_label_map_file(tmp_path / "a.nii.gz", case) == ()
    write_segmentation_file(tmp_path / "a.seg.nrrd", case)
    assert not read_labels(tmp_path / "a.nii.gz").data.any() and not header_of(tmp_path / "a.seg.nrrd")[1].data.any()


@pytest.mark.parametrize("write, name", [(write_label_map_file, "a.nii.gz"), (write_segmentation_file, "a.seg.nrrd")])
def test_targets_that_are_refused(tmp_path, monkeypatch, write, name):
    case, path = make_case(), tmp_path / name
    raw = replace(case, is_reviewed=False, is_finished=False)
    with pytest.raises(InputError, match="is not reviewed; review it first"):
        write(path, raw)
    assert not list(tmp_path.iterdir())
    write(path, raw, include_unreviewed=True)
    former = path.read_bytes()
    with pytest.raises(InputError, match=rf"{name} exists already; choose another folder"):
        write(path, case)

    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(InputError, match=r"cannot be written \(No space left on device\)"):
        write(path, case, overwrite=True)
    monkeypatch.undo()
    assert path.read_bytes() == former and len(list(tmp_path.iterdir())) == 1
    write(path, case, overwrite=True)
    assert path.read_bytes() != former
    with pytest.raises(InputError, match=r"a\.txt"):
        write(tmp_path / "a.txt", case)


LOAD_IN_SLICER = """
import json, sys
import numpy as np, slicer, vtk
from vtk.util.numpy_support import vtk_to_numpy
scene = slicer.vtkMRMLScene()
node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
storage = scene.AddNewNodeByClass("vtkMRMLSegmentationStorageNode")
storage.SetFileName(sys.argv[1])
assert storage.ReadData(node) == 1
told = []
for number in node.GetSegmentation().GetSegmentIDs():
    segment = node.GetSegmentation().GetSegment(number)
    image, matrix = slicer.vtkOrientedImageData(), vtk.vtkMatrix4x4()
    node.GetBinaryLabelmapRepresentation(number, image)
    image.GetImageToWorldMatrix(matrix)
    first = np.array(image.GetExtent()[::2])
    values = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(image.GetDimensions()[::-1]).T
    ijk = np.argwhere(values > 0) + first
    affine = np.array([[matrix.GetElement(row, column) for column in range(4)] for row in range(4)])
    tag, terms = vtk.reference(""), vtk.reference("")
    segment.GetTag("CMBDetection.verdict", tag), segment.GetTag("TerminologyEntry", terms)
    told.append([segment.GetName(), list(segment.GetColor()), str(tag), str(terms),
                 (ijk @ affine[:3, :3].T + affine[:3, 3]).tolist()])
print(json.dumps(told))
"""


@pytest.mark.skipif(find_spec("slicer") is None or find_spec("vtk") is None, reason="slicer-core is not installed")
def test_slicer_loads_the_segments_where_the_findings_are(case, tmp_path):
    write_segmentation_file(tmp_path / "a.seg.nrrd", case, everything=True)
    child = subprocess.run([sys.executable, "-c", LOAD_IN_SLICER, tmp_path / "a.seg.nrrd"], capture_output=True,
                           text=True, check=True)
    segments = json.loads(child.stdout.splitlines()[-1])
    assert len(segments) == len(case.findings)
    for (name, color, verdict, terms, points), finding in zip(segments, case.findings, strict=True):
        assert (name, verdict, terms) == (f"Microbleed {finding.id}", finding.verdict, TERMINOLOGY)
        assert np.allclose(color, COLORS[finding.verdict])
        voxels = np.argwhere(case.labels.data == finding.id)
        expected = voxels @ case.image.affine[:3, :3].T + case.image.affine[:3, 3]
        assert len(points) == len(expected)
        for point in expected:
            assert np.abs(np.array(points) - point).max(axis=1).min() < 1e-4


def test_labels_of_nobody_are_left_out(tmp_path):
    case = make_case(("", ""))
    data = case.labels.data.copy()
    data[0, 0, 0] = 99
    write_label_map_file(tmp_path / "a.nii.gz", replace(case, labels=Volume(data, AFFINE)), everything=True)
    assert set(np.unique(read_labels(tmp_path / "a.nii.gz").data)) == {0, 1, 2}

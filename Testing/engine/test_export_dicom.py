"""DICOM SEG and SR of reviewed series: places, voxels, words, observers, references; other programs read them too."""

import errno
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from dicom_phantoms import ORIENTATIONS, PROVENANCE, finding, reviewed_case, write_mr_series
from microbleeds.errors import InputError
from microbleeds.export.dicom_objects import read_dicom, write_dicom
from microbleeds.export.formats import Wish, export_cases
from microbleeds.regions import REGIONS
from microbleeds.review_files import REJECTED, UNDECIDED
from microbleeds.volume import Volume
from pydicom.sr.codedict import codes

VOXELS = [(5, 5, 2), (15, 12, 6), (10, 8, 4)]
COMMENTS = ('He said "x", then\ttab; it\'s\nnew line\r\nÄöüß é', "微出血 뇌 мозг \\ ^ = 🧠", "")
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def export(tmp_path, orientation="axial", values=(), series=None, **attributes):
    """Return a case of a new series with findings at `VOXELS`, the series' folder, and what was written."""
    folder = write_mr_series(tmp_path / "series", orientation, **(series or {}))
    case = reviewed_case(folder, VOXELS, values, **attributes)
    return case, folder, write_dicom(case, folder, tmp_path / "out")


def turned(volume):
    """Return the volume with its axes in another order and one of them in the other direction."""
    data = np.ascontiguousarray(np.transpose(volume.data, (2, 0, 1))[::-1])
    affine = volume.affine[:, [2, 0, 1, 3]].copy()
    affine[:, 3] += affine[:, 0] * (data.shape[0] - 1)
    affine[:3, 0] *= -1
    return Volume(data, affine)


def source_files(folder):
    headers = [pydicom.dcmread(path) for path in folder.iterdir()]
    return {header.SOPInstanceUID: header for header in headers}


def tool(name):
    """Return a program of the environment that runs the tests, or of the PATH."""
    found = shutil.which(name, path=os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", ""))))
    if found is None:
        package = {"dciodvfy": "dicom3tools"}.get(name, "dcmqi")
        pytest.skip(f"{name} is not installed (pip install {package})")
    return found


@pytest.mark.parametrize("orientation, reverse", [*((name, False) for name in ORIENTATIONS), ("axial", True),
                                                  ("oblique", True)])
def test_places_voxels_and_sources(tmp_path, orientation, reverse):
    case, folder, paths = export(tmp_path, orientation, series={"reverse": reverse})
    assert [path.name for path in (paths["seg"], paths["sr"])] == ["series_desc-cmb_seg.dcm", "series_desc-cmb_sr.dcm"]
    review = read_dicom(paths["seg"], paths["sr"], case.image)
    assert np.array_equal(review.labels.data, case.labels.data) and review.labels.same_grid(case.labels)
    for found, given in zip(review.report.findings, case.findings, strict=True):
        assert found.id == given.id and np.abs(np.subtract(found.position_ras, given.position_ras)).max() < 1e-4
    # highdicom has its own way from frames to space
    volume = hd.seg.segread(paths["seg"]).get_volume(combine_segments=True)
    voxels = np.argwhere(volume.array > 0)
    ras = LPS[:3, :3] @ (volume.affine[:3, :3] @ voxels.T + volume.affine[:3, 3:])
    back = np.linalg.inv(case.labels.affine) @ np.vstack([ras, np.ones(len(voxels))])
    assert np.abs(back - np.rint(back)).max() < 1e-3 and len(voxels) == (case.labels.data > 0).sum()
    assert np.array_equal(case.labels.data[tuple(np.rint(back[:3]).astype(int))], 3 * volume.array[tuple(voxels.T)])


@pytest.mark.parametrize("orientation", ["sagittal", "oblique"])
def test_every_frame_refers_to_the_slice_it_lies_on(tmp_path, orientation):
    case, folder, paths = export(tmp_path, orientation, series={"reverse": True})
    sources, seg, sr = source_files(folder), pydicom.dcmread(paths["seg"]), pydicom.dcmread(paths["sr"])
    values = {number: 0 for number in (1, 2, 3)}
    for frame, groups in zip(seg.pixel_array, seg.PerFrameFunctionalGroupsSequence, strict=True):
        image = groups.DerivationImageSequence[0].SourceImageSequence[0]
        source = sources[image.ReferencedSOPInstanceUID]
        assert groups.PlanePositionSequence[0].ImagePositionPatient == source.ImagePositionPatient
        number = groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        values[number] += int(source.pixel_array[frame > 0].sum())
    # grey values under each segment: the mask lies on the pixels of the right source, row by row
    assert values == {number: int(case.image.data[case.labels.data == 3 * number].sum()) for number in values}
    for one in (seg, sr):
        source = next(iter(sources.values()))
        assert (one.StudyInstanceUID, one.PatientID) == (source.StudyInstanceUID, "P-1")
        assert one.SeriesInstanceUID != source.SeriesInstanceUID and one.SOPInstanceUID not in sources
    assert seg.FrameOfReferenceUID == source.FrameOfReferenceUID
    listed = {image.ReferencedSOPInstanceUID for item in sr.CurrentRequestedProcedureEvidenceSequence
              for series in item.ReferencedSeriesSequence for image in series.ReferencedSOPSequence}
    assert listed == {*sources, seg.SOPInstanceUID}


def test_another_axis_order_is_the_same_scan(tmp_path):
    folder = write_mr_series(tmp_path / "series", "oblique")
    case = reviewed_case(folder, VOXELS)
    other = replace(case, image=turned(case.image), labels=turned(case.labels))
    assert not other.labels.same_grid(case.labels) and np.linalg.det(other.labels.affine) < 0
    paths = write_dicom(other, folder, tmp_path / "out")
    assert np.array_equal(read_dicom(paths["seg"], paths["sr"], case.image).labels.data, case.labels.data)
    assert np.array_equal(read_dicom(paths["seg"], paths["sr"], other.image).labels.data, other.labels.data)


def test_words_and_numbers_survive(tmp_path):
    values = [{"comment": COMMENTS[0], "region": "frontal", "side": "left", "probability": 0.123456789012},
              {"comment": COMMENTS[1], "region": "basal ganglia", "side": "right", "certainty": "possible",
               "reader": "李 医生"},
              {"probability": None, "added_by_reader": True, "reader": "", "certainty": "", "volume_mm3": 1 / 3}]
    case, _, paths = export(tmp_path, values=values)
    assert COMMENTS[0].split("\r")[0].replace("\n", "\r\n").encode() in paths["sr"].read_bytes()
    report = read_dicom(paths["seg"], paths["sr"], case.image).report
    for found, given in zip(report.findings, case.findings, strict=True):
        assert found.comment == given.comment
        assert found.probability == (None if given.probability is None else pytest.approx(given.probability, rel=1e-14))
        given = replace(given, reader=given.reader or "Dr. Weiß")
        assert replace(found, position_ras=given.position_ras, probability=given.probability) == given
    assert report.reader == "Dr. Weiß" and report.device == ("CMBDetection 0.1.0", "phantom-model")


def test_every_region_has_a_site_and_comes_back(tmp_path):
    folder = write_mr_series(tmp_path / "series")
    voxels = [(3 + 5 * (index % 4), 3 + 4 * (index // 4), 4) for index in range(len(REGIONS))]
    case = reviewed_case(folder, voxels, [{"region": region, "side": "right"} for region in REGIONS])
    paths = write_dicom(case, folder, tmp_path / "out")
    report = read_dicom(paths["seg"], paths["sr"], case.image).report
    assert [(found.region, found.side) for found in report.findings] == [(region, "right") for region in REGIONS]
    groups = hd.sr.srread(paths["sr"]).content.get_planar_roi_measurement_groups()
    sites = [site for group in groups for site in group.finding_sites]
    assert [site.value.value for site in sites] == [
        "119238007", "113305005", "12738006", "42695009", "85637007", "10517005", "88442005", "68523003", "83251001",
        "16630005", "78277001", "31065004", "36169008"]
    for segment, site in zip(pydicom.dcmread(paths["seg"]).SegmentSequence, sites, strict=True):
        assert site.value.scheme_designator == "SCT" and site.laterality == codes.SCT.Right
        assert segment.AnatomicRegionSequence[0].CodeValue == site.value.value
        assert segment.AnatomicRegionSequence[0].AnatomicRegionModifierSequence[0].CodeMeaning == "Right"


def test_the_report_as_highdicom_reads_it(tmp_path):
    case, _, paths = export(tmp_path, values=[{"region": "thalamus", "side": "left"},
                                              {"added_by_reader": True, "probability": None}])
    report = hd.sr.srread(paths["sr"])
    assert isinstance(report, hd.sr.Comprehensive3DSR) and report.CompletionFlag == "COMPLETE"
    assert report.VerificationFlag == "UNVERIFIED" and report.PreliminaryFlag == "PRELIMINARY"
    device, person = report.content.get_observer_contexts()
    assert (device.observer_type, person.observer_type) == (codes.DCM.Device, codes.DCM.Person)
    assert device.observer_identifying_attributes.model_name == "phantom-model"
    assert person.observer_identifying_attributes.login_name == "Dr. Weiß"
    groups = report.content.get_planar_roi_measurement_groups()
    segments = pydicom.dcmread(paths["seg"]).SegmentSequence
    assert [(group.tracking_identifier, group.tracking_uid) for group in groups] == [
        (segment.TrackingID, segment.TrackingUID) for segment in segments]
    for group, given in zip(groups, case.findings, strict=True):
        assert group.finding_type.value == "723857007"
        assert group.roi.graphic_type == hd.sr.GraphicTypeValues3D.POINT
        assert np.allclose(np.ravel(group.roi.value), LPS[:3, :3] @ given.position_ras, atol=1e-4)
        names = {one.name: one for one in group.get_measurements()}
        assert names[codes.SCT.Diameter].value == 4.1 and names[codes.SCT.Diameter].unit == codes.UCUM.Millimeter
        assert names[codes.SCT.Volume].value == 36.5
        by_device = any(item.name == codes.DCM.AlgorithmName for item in group[0].ContentSequence)
        assert by_device is not given.added_by_reader and (codes.DCM.CertaintyOfFinding in names) is by_device
    assert [segment.SegmentAlgorithmType for segment in segments] == ["AUTOMATIC", "SEMIAUTOMATIC", "AUTOMATIC"]
    assert [segment.SegmentedPropertyTypeCodeSequence[0].CodeValue for segment in segments] == 3 * ["50960005"]
    algorithm = segments[0].SegmentationAlgorithmIdentificationSequence[0]
    assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == ("CMBDetection", "0.1.0")


def test_only_what_counts_is_exported(tmp_path):
    case, _, paths = export(tmp_path, values=[{"verdict": REJECTED}, {"verdict": UNDECIDED}])
    review = read_dicom(paths["seg"], paths["sr"], case.image)
    assert [one.id for one in review.report.findings] == [9]
    assert np.array_equal(review.labels.data, np.where(case.labels.data == 9, 9, 0))
    assert "Microbleeds: 1 (GRE, 3 T, echo time 20 ms, voxels of 0.7 x 0.9 x 3.3 mm)." in review.report.notices


def test_a_finding_without_voxels_has_a_point_and_no_segment(tmp_path):
    folder = write_mr_series(tmp_path / "series")
    case = reviewed_case(folder, VOXELS)
    case = replace(case, findings=(*case.findings, finding(40, (1, 2, 3), diameter_mm=0.0, volume_mm3=0.0)))
    paths = write_dicom(case, folder, tmp_path / "out")
    review = read_dicom(paths["seg"], paths["sr"], case.image)
    assert review.report.findings[-1].position_ras == (1, 2, 3) and review.report.findings[-1].volume_mm3 == 0
    assert len(pydicom.dcmread(paths["seg"]).SegmentSequence) == 3


def test_no_microbleed_is_a_report_too(tmp_path):
    case, folder, paths = export(tmp_path)
    none = replace(case, findings=tuple(replace(one, verdict=REJECTED) for one in case.findings))
    # the segmentation of the earlier export would contradict the new report
    assert write_dicom(none, folder, tmp_path / "out", overwrite=True).keys() == {"sr"}
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["series_desc-cmb_sr.dcm"]
    review = read_dicom(None, paths["sr"], case.image)
    assert review.report.findings == () and not review.labels.data.any()
    assert any(notice.startswith("Microbleeds: 0 (") for notice in review.report.notices)


def test_marks_of_what_is_not_for_the_clinic(tmp_path):
    case, _, paths = export(tmp_path, values=[{"verdict": UNDECIDED, "reader": "", "certainty": ""}] * 3, reader="",
                            is_reviewed=False, is_finished=False, simulated=True)
    for path in paths.values():
        description = pydicom.dcmread(path).SeriesDescription
        assert description == "Microbleeds, not for clinical use, unreviewed, simulated" and len(description) <= 64
    report = read_dicom(paths["seg"], paths["sr"], case.image).report
    assert report.notices[:3] == ("Research tool - not for clinical use.", "This case is unreviewed.",
                                  "This case is simulated.")
    assert report.reader == "" and [one.verdict for one in report.findings] == [UNDECIDED] * 3
    assert pydicom.dcmread(paths["sr"]).CompletionFlag == "PARTIAL"


@pytest.mark.parametrize("charset, patient", [
    ("ISO_IR 192", "Müller^Jörg"), ("ISO_IR 100", "Åström^Zoë"), ("GB18030", "Wang^XiaoDong=王^小东"),
    (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
    (["", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞=홍^길동")])
def test_names_of_every_script(tmp_path, charset, patient):
    words = patient.split("=")[-1].replace("^", " ")
    _, folder, paths = export(tmp_path, series={"charset": charset, "patient": patient, "StudyDescription": words})
    assert str(next(iter(source_files(folder).values())).PatientName) == patient
    for path in paths.values():
        data = pydicom.dcmread(path)
        assert (str(data.PatientName), data.StudyDescription) == (patient, words)
        assert data.SpecificCharacterSet == "ISO_IR 192" and patient.encode("utf-8") in path.read_bytes()


def test_an_anonymous_series_without_its_elements(tmp_path):
    gone = dict.fromkeys(("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime",
                          "StudyID", "AccessionNumber", "ReferringPhysicianName", "SliceThickness",
                          "PositionReferenceIndicator"))
    case, _, paths = export(tmp_path, series=gone)
    assert np.array_equal(read_dicom(paths["seg"], paths["sr"], case.image).labels.data, case.labels.data)
    assert pydicom.dcmread(paths["sr"]).PatientID in (None, "")


def test_values_that_are_no_dates(tmp_path):
    with pytest.warns(UserWarning):
        _, _, paths = export(tmp_path, series={"PatientBirthDate": "1950", "PatientSex": "W"})
    assert not pydicom.dcmread(paths["sr"]).PatientBirthDate


def test_without_provenance_the_program_itself_is_the_device(tmp_path):
    case, _, paths = export(tmp_path, provenance=None)
    assert read_dicom(paths["seg"], paths["sr"], case.image).report.device[1] == "CMBDetection"


def test_a_second_export_has_new_uids(tmp_path):
    case, folder, paths = export(tmp_path, provenance=PROVENANCE)
    again = write_dicom(case, folder, tmp_path / "again")
    for key, path in paths.items():
        first, second = pydicom.dcmread(path), pydicom.dcmread(again[key])
        assert first.SOPInstanceUID != second.SOPInstanceUID and first.SeriesInstanceUID != second.SeriesInstanceUID
    with pytest.raises(InputError, match="of two exports"):
        read_dicom(paths["seg"], again["sr"], case.image)


def moved(case):
    affine = case.labels.affine.copy()
    affine[0, 3] += 0.2
    return replace(case, labels=Volume(case.labels.data, affine))


WRONG_SCANS = [
    (moved, "series has a grid of 24×20×9 voxels of 0.7×0.9×3.3 mm that is not the one of the reviewed scan, "
            "24×20×9 voxels of 0.7×0.9×3.3 mm; give the DICOM series that the scan was read from."),
    (lambda case: replace(case, labels=Volume(case.labels.data[:, :, 1:], case.labels.affine)),
     "series has a grid of 24×20×9 voxels of 0.7×0.9×3.3 mm that is not the one of the reviewed scan, "
     "24×20×8 voxels of 0.7×0.9×3.3 mm; give the DICOM series that the scan was read from.")]


@pytest.mark.parametrize("change, sentence", WRONG_SCANS)
def test_another_scan_is_refused(tmp_path, change, sentence):
    folder = write_mr_series(tmp_path / "series")
    with pytest.raises(InputError) as caught:
        write_dicom(change(reviewed_case(folder, VOXELS)), folder, tmp_path / "out")
    assert str(caught.value) == sentence and not (tmp_path / "out").exists()


def duplicate(folder):
    data = pydicom.dcmread(folder / "007.dcm")
    data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
    data.save_as(folder / "twice.dcm")


def single(folder):
    for path in sorted(folder.iterdir())[1:]:
        path.unlink()


def without_frame_of_reference(folder):
    for path in folder.iterdir():
        data = pydicom.dcmread(path)
        del data.FrameOfReferenceUID
        data.save_as(path)


def another_frame_of_reference(folder):
    data = pydicom.dcmread(folder / "007.dcm")
    data.FrameOfReferenceUID = pydicom.uid.generate_uid()
    data.save_as(folder / "007.dcm")


@pytest.mark.parametrize("spoil, words", [
    (another_frame_of_reference, "holds slices of different FrameOfReferenceUID"),
    (lambda folder: (folder / "007.dcm").unlink(), "lacks slices"), (duplicate, "several images of the same slice"),
    (single, "single DICOM file"), (without_frame_of_reference, "lacks the DICOM attribute FrameOfReferenceUID"),
    (lambda folder: shutil.rmtree(folder), r"series cannot be opened \(.*\); check the path")])
def test_a_series_that_is_not_whole_is_refused(tmp_path, spoil, words):
    folder = write_mr_series(tmp_path / "series")
    case = reviewed_case(folder, VOXELS)
    spoil(folder)
    with pytest.raises(InputError, match=words):
        write_dicom(case, folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_nothing_is_overwritten_or_half_written(tmp_path, monkeypatch):
    case, folder, paths = export(tmp_path)
    before = {path: path.read_bytes() for path in paths.values()}
    with pytest.raises(InputError, match=r"series_desc-cmb_seg\.dcm, series_desc-cmb_sr\.dcm exist already"):
        write_dicom(case, folder, tmp_path / "out")

    def no_space(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    replace_file, calls = os.replace, []

    def second_fails(source, target):
        calls.append(target)
        return no_space() if len(calls) == 2 else replace_file(source, target)

    for name, broken in (("os.replace", second_fails), ("pydicom.Dataset.save_as", no_space)):
        with monkeypatch.context() as patch, pytest.raises(InputError, match="cannot be written.*No space left"):
            patch.setattr(name, broken)
            write_dicom(case, folder, tmp_path / "out", overwrite=True)
        assert {path: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before
    write_dicom(case, folder, tmp_path / "out", overwrite=True)
    assert all(path.read_bytes() != content for path, content in before.items())


def test_objects_that_are_there_are_told_before_another_form_is_written(tmp_path):
    folder = write_mr_series(tmp_path / "series")
    case, out = reviewed_case(folder, VOXELS), tmp_path / "out"
    exported = export_cases([case], [folder], Wish(("dicom",), out))
    assert exported.files["dicom"] == out / "series_desc-cmb_sr.dcm" and exported.files["dicom"].exists()
    before = {path.name for path in out.iterdir()}
    with pytest.raises(InputError, match="exist already"):
        export_cases([case], [folder], Wish(("points", "dicom"), out))
    assert {path.name for path in out.iterdir()} == before == {"series_desc-cmb_sr.dcm", "series_desc-cmb_seg.dcm"}


def test_reading_says_what_is_wrong(tmp_path):
    case, folder, paths = export(tmp_path)
    (tmp_path / "text.dcm").write_text("hello")
    (tmp_path / "half.dcm").write_bytes(paths["sr"].read_bytes()[:3000])
    for path, words in ((tmp_path / "text.dcm", "is not what this program has exported"),
                        (tmp_path / "half.dcm", "is not what this program has exported"),
                        (paths["seg"], "is not what this program has exported"),
                        (next(folder.iterdir()), "is not what this program has exported"),
                        (tmp_path / "none.dcm", "cannot be opened")):
        with pytest.raises(InputError, match=words):
            read_dicom(paths["seg"], path, case.image)
    with pytest.raises(InputError, match=re.escape("24×20 pixels of 0.7×0.9 mm that do not lie on the grid of the "
                                                   "scan, 24×20×9 voxels of 0.7×0.9×3.3 mm")):
        read_dicom(paths["seg"], paths["sr"], moved(case).labels)
    with pytest.raises(InputError, match="24×20×3 voxels"):
        read_dicom(paths["seg"], paths["sr"], Volume(case.labels.data[:, :, :3], case.labels.affine))


@pytest.mark.parametrize("orientation, values, attributes", [
    # a tab is allowed in text (PS3.5 table 6.1-1), but this program does not know that yet
    ("oblique", [{"comment": COMMENTS[0].replace("\t", " "), "region": "frontal", "side": "left"},
                 {"comment": COMMENTS[1], "added_by_reader": True, "outlined": True, "probability": None},
                 {"outlined": True, "region": "basal ganglia", "side": "right", "certainty": "possible"}], {}),
    ("sagittal", [{"verdict": UNDECIDED, "reader": ""}] * 3,
     {"is_reviewed": False, "is_finished": False, "reader": "", "simulated": True}),
    ("axial", [{"verdict": REJECTED}] * 3, {})])
def test_the_objects_are_valid_for_dciodvfy(tmp_path, orientation, values, attributes):
    """dicom3tools (David Clunie) checks the object definitions and every value; it warns of private coding schemes."""
    dciodvfy = tool("dciodvfy")
    _, _, paths = export(tmp_path, orientation, values, **attributes)
    iods = {"seg": "Segmentation", "sr": "Comprehensive3DSR"}
    for key, path in paths.items():
        done = subprocess.run([dciodvfy, "-new", str(path)], capture_output=True, encoding="utf-8", errors="replace",
                              timeout=60)
        said = (done.stdout + done.stderr).splitlines()
        assert iods[key] in said
        assert [line for line in said if line.strip() and line != iods[key] and "99CMBDETECTION" not in line] == []


def test_dcmqi_reads_the_same(tmp_path):
    """dcmqi (QIICR, on DCMTK) is what Slicer's QuantitativeReporting reads with."""
    to_image, to_json = tool("segimage2itkimage"), tool("tid1500reader")
    case, _, paths = export(tmp_path, "oblique", [{"region": "insula", "side": "left"}])
    for command in ([to_image, "--inputDICOM", paths["seg"], "--outputDirectory", tmp_path, "--outputType", "nrrd"],
                    [to_json, "--inputDICOM", paths["sr"], "--outputMetadata", tmp_path / "report.json"]):
        subprocess.run(list(map(str, command)), check=True, capture_output=True, timeout=60)
    for number, given in enumerate(case.findings, start=1):
        image = sitk.ReadImage(str(tmp_path / f"{number}.nrrd"))
        voxels = np.argwhere(sitk.GetArrayFromImage(image) > 0)[:, ::-1]
        ras = np.array([image.TransformIndexToPhysicalPoint(voxel.tolist()) for voxel in voxels]) @ LPS[:3, :3]
        back = np.linalg.inv(case.labels.affine) @ np.vstack([ras.T, np.ones(len(ras))])
        assert np.abs(back - np.rint(back)).max() < 1e-3
        assert set(map(tuple, np.rint(back[:3].T).astype(int))) == set(map(tuple, np.argwhere(
            case.labels.data == given.id)))
    groups = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))["Measurements"]
    assert [group["TrackingIdentifier"] for group in groups] == ["CMB-3", "CMB-6", "CMB-9"]
    assert groups[0]["FindingSite"]["CodeMeaning"] == "Insula" and groups[0]["Laterality"]["CodeMeaning"] == "Left"

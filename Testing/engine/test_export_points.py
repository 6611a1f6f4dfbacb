import csv
import errno
import io
import json
import os
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest
from microbleeds.errors import InputError
from microbleeds.export.point_files import write_points
from microbleeds.review_files import REJECTED
from test_export_tables import COMMENTS, make_case

NAMES = ("a.mrk.json", "a.fcsv")


def points_of(path):
    """Return (id, position, selected, label, description) of each point, read without the engine."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".json":
        markup, = json.loads(text)["markups"]
        assert (markup["type"], markup["coordinateSystem"], markup["locked"]) == ("Fiducial", "RAS", True)
        return [(int(point["id"]), point["position"], point["selected"], point["label"],
                 json.loads(point["description"])) for point in markup["controlPoints"]]
    head, lines = [line for line in text.split("\n") if line.startswith("#")], text.split("\n")[4:]
    assert "# CoordinateSystem = RAS" in head
    columns = head[-1].removeprefix("# columns = ").split(",")
    rows = [dict(zip(columns, line, strict=True)) for line in csv.reader(io.StringIO("\n".join(lines)))]
    return [(int(row["id"]), [float(row[axis]) for axis in "xyz"], row["sel"] == "1", row["label"],
             json.loads(row["desc"])) for row in rows]


@pytest.mark.parametrize("name", NAMES)
def test_every_finding_is_a_point_with_what_the_reader_said(tmp_path, name):
    case = make_case(COMMENTS)
    write_points(tmp_path / name, case)
    points = points_of(tmp_path / name)
    assert [number for number, *_ in points] == [finding.id for finding in case.findings]
    for (_, position, selected, label, record), finding in zip(points, case.findings, strict=True):
        assert tuple(position) == finding.position_ras and label == f"CMB-{finding.id}"
        assert selected is (finding.verdict != REJECTED)
        assert (record["verdict"], record.get("comment", "")) == (finding.verdict, finding.comment)
        assert record.get("probability") == finding.probability and record["reader"] == "Zoë Łuk"
        assert (record.get("mimic_kind", ""), record.get("certainty", "")) == (finding.mimic_kind, finding.certainty)
        assert record["added_by_reader"] is finding.added_by_reader


@pytest.mark.parametrize("name", NAMES)
def test_a_case_without_findings_and_what_it_is(tmp_path, name):
    write_points(tmp_path / name, make_case((), is_reviewed=False, is_finished=False, simulated=True),
                 include_unreviewed=True)
    assert points_of(tmp_path / name) == []
    assert ("Research tool - not for clinical use; unreviewed; simulated"
            in (tmp_path / name).read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", NAMES)
def test_targets_that_are_refused(tmp_path, monkeypatch, name):
    path = tmp_path / name
    with pytest.raises(InputError, match="is not reviewed; review it first"):
        write_points(path, make_case(is_reviewed=False, is_finished=False))
    write_points(path, make_case(("first",)))
    former = path.read_bytes()
    with pytest.raises(InputError, match=rf"{name} exists already; choose another folder"):
        write_points(path, make_case())

    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(InputError, match=r"cannot be written \(No space left on device\)"):
        write_points(path, make_case(), overwrite=True)
    monkeypatch.undo()
    assert path.read_bytes() == former and list(tmp_path.iterdir()) == [path]
    write_points(path, make_case(), overwrite=True)
    assert len(points_of(path)) == 3


def test_a_name_that_says_no_form(tmp_path):
    with pytest.raises(InputError, match=r"a\.json says no form of point list; end the name with \.mrk\.json or"):
        write_points(tmp_path / "a.json", make_case())


LOAD_IN_SLICER = """
import json, sys
import slicer
scene, logic = slicer.vtkMRMLScene(), slicer.vtkSlicerMarkupsLogic()
logic.SetMRMLScene(scene)
node = scene.GetNodeByID(logic.LoadMarkups(sys.argv[1], "findings"))
print(json.dumps([[list(node.GetNthControlPointPositionWorld(i)), node.GetNthControlPointLabel(i),
                   node.GetNthControlPointLocked(i), node.GetNthControlPointSelected(i),
                   node.GetNthControlPointDescription(i)] for i in range(node.GetNumberOfControlPoints())]))
"""


@pytest.mark.skipif(find_spec("slicer") is None or find_spec("vtk") is None, reason="slicer-core is not installed")
@pytest.mark.parametrize("name", NAMES)
def test_slicer_loads_the_points_with_every_word(tmp_path, name):
    case = make_case(COMMENTS)
    write_points(tmp_path / name, case)
    child = subprocess.run([sys.executable, "-c", LOAD_IN_SLICER, tmp_path / name], cwd=tmp_path, capture_output=True,
                           text=True, check=True)
    points = json.loads(child.stdout.splitlines()[-1])
    assert len(points) == len(case.findings)
    for (position, label, locked, selected, description), finding in zip(points, case.findings, strict=True):
        assert np.allclose(position, finding.position_ras, atol=1e-9) and label == f"CMB-{finding.id}" and locked
        assert bool(selected) is (finding.verdict != REJECTED)
        assert json.loads(description).get("comment", "") == finding.comment

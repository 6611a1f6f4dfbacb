import csv
import errno
import io
import json
import os
from dataclasses import replace

import numpy as np
import pytest
from microbleeds.errors import InputError
from microbleeds.export import table_cells
from microbleeds.export.table_cells import Column, data_dictionary, parse_table, table_text
from microbleeds.export.tables import (
    FINDING_COLUMNS,
    finding_rows,
    read_finding_table,
    read_subject_table,
    subject_row,
    write_finding_table,
    write_subject_table,
)
from microbleeds.geometry import voxel_to_ras
from microbleeds.review_files import ACCEPTED, REJECTED, UNDECIDED
from microbleeds.reviewed_case import Acquisition, CaseFinding, ReviewedCase
from microbleeds.volume import Volume
from scipy.spatial.transform import Rotation

COMMENTS = ('said "maybe"', "tab\there", "line\none\r\ntwo\rthree", "Größe ~ 3 µm, ß", "微出血 — 左側", "=SUM(A1:A9)",
            "+49 30 1234", "-3 mm", "@home", "'quoted'", "''=1", "a;=1+1", "x,  -2", "\t=1", "n/a", r"n\/a",
            r"\n is no line", "back\\slash\\", "", " ends with space ", "\u2028\x0b\x85", "'", "＝1", "true", "12",
            "\ufeffmark")
AFFINE = np.eye(4)
AFFINE[:3, :3] = Rotation.from_euler("xyz", (11, -7, 4), degrees=True).as_matrix() * (-0.45, 0.5, 2.0)
AFFINE[:3, 3] = 80.1, -99.7, -41.3
"""Oblique; the axes run towards L, A and S, so it is left-handed."""


def make_case(comments=("", "a vessel", "reader's own"), affine=AFFINE, **changes):
    """Return a reviewed case: finding 1 accepted, 2 rejected, 3 added by the reader without voxels, 4... undecided."""
    generator = np.random.default_rng(5)
    image = Volume(generator.normal(500, 50, (30, 28, 12)).astype(np.float32), affine)
    labels = np.zeros(image.shape, np.int32)
    findings = []
    for number, comment in enumerate(comments, start=1):
        i, j, k = 3 + 5 * (number % 5), 4 + 5 * (number // 5 % 4), 1 + 2 * (number // 20)
        if number != 3:
            labels[i:i + 2, j:j + 3, k] = number
        position = voxel_to_ras(image, np.array([i + 0.5, j + 1.0, k + generator.uniform(-0.3, 0.3)]))
        verdict = {1: ACCEPTED, 2: REJECTED, 3: ACCEPTED}.get(number, UNDECIDED)
        findings.append(CaseFinding(
            number, tuple(position.tolist()), float(generator.uniform(2, 8)), float(generator.uniform(4, 99)),
            float(generator.uniform()), verdict, comment=comment, reader="Zoë Łuk", edge_mm=float(np.pi), seconds=1 / 3,
            region="thalamus", side="left", region_confidence=0.1 + 0.2))
    if len(findings) > 1:
        findings[1] = replace(findings[1], mimic_kind="vessel", region="", side="", region_confidence=None)
    if len(findings) > 2:
        findings[2] = replace(findings[2], probability=None, volume_mm3=0.0, added_by_reader=True, edge_mm=None,
                              certainty="possible")
    voxel_mm = tuple(np.round(image.spacing, 6).tolist())
    case = ReviewedCase("01", "b", "sub-01_ses-b_T2starw", "sub-01_ses-b_T2starw.nii.gz", "ab" * 32, image,
                        image.with_data(labels), Acquisition("gre", 3.0, 20.1, voxel_mm), tuple(findings), "Zoë Łuk",
                        "2026-01-02T03:04:05+01:00", is_reviewed=True, is_finished=True)
    return replace(case, **changes)


@pytest.mark.parametrize("suffix", [".tsv", ".csv"])
def test_every_value_comes_back_as_it_was(tmp_path, suffix):
    case, other = make_case(COMMENTS), make_case(COMMENTS[:3], session="", simulated=True, is_finished=False)
    path = tmp_path / f"t{suffix}"
    write_finding_table(path, [case, other])
    rows = read_finding_table(path)
    assert rows == finding_rows(case) + finding_rows(other)
    assert [row["comment"] for row in rows] == [*COMMENTS, *COMMENTS[:3]]
    for row, finding in zip(rows, (*case.findings, *other.findings), strict=True):
        assert (row["R_mm"], row["A_mm"], row["S_mm"]) == finding.position_ras
        assert (row["diameter_mm"], row["edge_mm"], row["seconds"]) == (finding.diameter_mm, finding.edge_mm, 1 / 3)
        assert (row["verdict"], row["mimic"], row["reader"]) == (finding.verdict, finding.mimic_kind, "Zoë Łuk")
    assert [row["reviewed"] for row in rows] == ["finished"] * len(COMMENTS) + ["reviewed"] * 3
    assert [row["simulated"] for row in rows[-4:]] == [False, True, True, True]
    assert (rows[2]["probability"], rows[2]["volume_mm3"], rows[2]["added_by_reader"]) == (None, None, True)
    assert (rows[0]["region"], rows[0]["category"], rows[1]["category"]) == ("thalamus", "deep", "")
    assert rows[0]["region_confidence"] == 0.1 + 0.2


@pytest.mark.parametrize("affine", [AFFINE, np.diag([0.5, 0.5, 2.0, 1.0]), AFFINE @ np.diag([1, 1, -1, 1])])
def test_the_voxel_is_the_one_under_the_finding(affine):
    case = make_case(COMMENTS, affine)
    for row in finding_rows(case):
        if row["id"] != 3:
            assert case.labels.data[row["i"], row["j"], row["k"]] == row["id"]
    # halfway between two voxels it is the one of lower index, as everywhere
    halfway = tuple(voxel_to_ras(case.image, np.array([5.5, 6.5, 3.5])).tolist())
    row, = finding_rows(replace(case, findings=(replace(case.findings[0], position_ras=halfway),)))
    assert (row["i"], row["j"], row["k"]) == (5, 6, 3)


def test_no_cell_begins_like_a_formula_whatever_a_spreadsheet_splits_at(tmp_path):
    for suffix in (".tsv", ".csv"):
        path = tmp_path / f"t{suffix}"
        write_finding_table(path, [make_case(COMMENTS, subject="=cmd|'/c calc'!A1")])
        text = path.read_bytes().decode("utf-8-sig")
        for separator in ",;\t":
            for line in csv.reader(io.StringIO(text, newline=""), delimiter=separator):
                for cell in map(str.strip, line):
                    assert not cell.startswith(("=", "@", "＝")), cell
                    assert not cell.startswith(("+", "-")) or not cell[1:].strip() or cell[1].isdigit(), cell


def test_what_a_foreign_reader_sees(tmp_path):
    case = make_case(COMMENTS)
    write_finding_table(tmp_path / "a.csv", [case])
    content = (tmp_path / "a.csv").read_bytes()
    assert content.startswith(b"\xef\xbb\xbfsubject,session,scan,id,R_mm")
    assert content.count(b"\r\n") == len(COMMENTS) + 2
    rows = list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline="")))
    assert rows[1]["comment"] == COMMENTS[1] and rows[2]["comment"] == COMMENTS[2] and rows[4]["comment"] == COMMENTS[4]
    assert float(rows[0]["R_mm"]) == case.findings[0].position_ras[0] and rows[2]["probability"] == ""
    write_finding_table(tmp_path / "a.tsv", [case])
    lines = (tmp_path / "a.tsv").read_bytes().decode().split("\n")
    assert len(lines) == len(COMMENTS) + 2 and len({line.count("\t") for line in lines[:-1]}) == 1
    assert not any("\r" in line for line in lines) and not lines[0].startswith("\ufeff")
    cells = dict(zip(lines[0].split("\t"), lines[3].split("\t"), strict=True))
    assert (cells["comment"], cells["probability"], cells["mimic"]) == (r"line\none\r\ntwo\rthree", "n/a", "n/a")


def test_a_table_that_excel_has_saved_again_is_read(tmp_path):
    write_finding_table(tmp_path / "a.tsv", [make_case()])
    text = (tmp_path / "a.tsv").read_text(encoding="utf-8")
    (tmp_path / "b.tsv").write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").replace("true", "TRUE").encode())
    assert read_finding_table(tmp_path / "b.tsv") == finding_rows(make_case())


def test_the_dictionary_beside_it_tells_every_column_and_level(tmp_path):
    case = make_case(COMMENTS)
    write_finding_table(tmp_path / "a.tsv", [case])
    words = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
    assert words.pop("MeasurementToolMetadata")["Description"].endswith("Research tool - not for clinical use.")
    assert list(words) == (tmp_path / "a.tsv").read_text(encoding="utf-8").split("\n")[0].split("\t")
    assert all(entry["Description"] for entry in words.values())
    assert (words["R_mm"]["Units"], words["volume_mm3"]["Units"], words["seconds"]["Units"]) == ("mm", "mm^3", "s")
    for row in finding_rows(case):
        for name, entry in words.items():
            assert "Levels" not in entry or row[name] == "" or row[name] in entry["Levels"], name


def placed_case(**changes):
    """Return a case of two definite and one possible microbleeds, one too large, one rejected, one not judged."""
    first = replace(make_case(("",)).findings[0], diameter_mm=4.999, region="frontal", side="left")
    findings = (first, replace(first, id=2, diameter_mm=5.0, region="thalamus", side="right", certainty="possible"),
                replace(first, id=3, diameter_mm=0.0, region="", side="", region_confidence=None),
                replace(first, id=4, diameter_mm=10.5), replace(first, id=5, verdict=REJECTED),
                replace(first, id=6, verdict=UNDECIDED))
    return make_case(findings=findings, **changes)


def test_counts_of_a_subject():
    row = subject_row(placed_case())
    expected = {"total": 3, "definite": 2, "possible": 1, "undecided": 1, "lobar": 1, "lobar_left": 1, "lobar_right": 0,
                "deep": 1, "deep_right": 1, "infratentorial": 0, "no_region": 1, "frontal": 1, "frontal_left": 1,
                "thalamus_right": 1, "thalamus_left": 0, "insula": 0, "below_5_mm": 1, "from_5_to_10_mm": 1,
                "size_unknown": 1, "above_10_mm": 1, "pattern": "mixed", "group": "2 to 4",
                "exceeds_baseline_threshold": False, "sequence": "gre", "field_strength_t": 3.0, "echo_time_ms": 20.1,
                "slice_mm": 2.0, "reader": "Zoë Łuk", "reviewed": "finished", "simulated": False}
    assert {key: row[key] for key in expected} == expected
    assert sum(row[name] for name in ("lobar", "deep", "infratentorial", "no_region")) == row["total"]


@pytest.mark.parametrize("count, group, exceeds", [(0, "0", False), (1, "1", False), (4, "2 to 4", False),
                                                   (5, "5 to 10", True), (11, "more than 10", True)])
def test_groups_in_words_and_the_threshold(count, group, exceeds):
    one = replace(make_case(("",)).findings[0], region="frontal", side="left")
    row = subject_row(make_case(findings=tuple(replace(one, id=number + 1) for number in range(count))))
    assert (row["total"], row["group"], row["exceeds_baseline_threshold"]) == (count, group, exceeds)
    assert row["pattern"] == ("strictly lobar" if count else "none")


@pytest.mark.parametrize("suffix", [".tsv", ".csv"])
def test_tables_of_counts_come_back_as_they_were(tmp_path, suffix):
    unknown = placed_case(acquisition=Acquisition("auto", None, None, (0.1 + 0.2, 0.9, 2.0)), threshold=None, reader="")
    known = placed_case(simulated=True, threshold=0.1 + 0.2, provenance={"model_name": "m", "model_sha256": "cd"})
    path = tmp_path / f"counts{suffix}"
    write_subject_table(path, [unknown, known])
    rows = read_subject_table(path)
    assert rows == [subject_row(unknown), subject_row(known)]
    assert (rows[0]["sequence"], rows[0]["echo_time_ms"], rows[0]["voxel_1_mm"]) == ("", None, 0.1 + 0.2)
    assert (rows[1]["threshold"], rows[1]["model"], rows[1]["simulated"]) == (0.1 + 0.2, "m", True)
    words = json.loads((tmp_path / "counts.json").read_text(encoding="utf-8"))
    assert (words["echo_time_ms"]["Units"], words["field_strength_t"]["Units"]) == ("ms", "T")
    for row in rows:
        assert set(row) == set(words) - {"MeasurementToolMetadata"}
        for name, entry in words.items():
            assert "Levels" not in entry or row[name] == "" or row[name] in entry["Levels"], name


def test_counts_without_a_review_are_nobodys(tmp_path):
    raw = placed_case(is_reviewed=False, is_finished=False, reader="")
    with pytest.raises(InputError, match="is not reviewed"):
        write_subject_table(tmp_path / "a.tsv", [raw])
    write_subject_table(tmp_path / "a.tsv", [raw], include_unreviewed=True)
    row, = read_subject_table(tmp_path / "a.tsv")
    assert (row["reviewed"], row["total"], row["above_10_mm"]) == ("unreviewed", 5, 1)
    assert (row["definite"], row["possible"], row["undecided"]) == (None, None, None)


def test_an_unreviewed_scan_is_refused_unless_asked_for(tmp_path):
    raw = make_case(is_reviewed=False, is_finished=False, reader="")
    with pytest.raises(InputError) as caught:
        write_finding_table(tmp_path / "a.tsv", [make_case(), raw])
    assert str(caught.value) == ("sub-01_ses-b_T2starw.nii.gz is not reviewed; review it first, or ask for unreviewed "
                                 "findings too (--unreviewed; in the panel Unreviewed too).")
    assert not list(tmp_path.iterdir())
    write_finding_table(tmp_path / "a.tsv", [raw], include_unreviewed=True)
    assert {row["reviewed"] for row in read_finding_table(tmp_path / "a.tsv")} == {"unreviewed"}


@pytest.mark.parametrize("taken", ["a.tsv", "a.json"])
def test_nothing_is_overwritten_without_asking(tmp_path, taken):
    (tmp_path / taken).write_text("mine")
    with pytest.raises(InputError, match=rf"{taken} exists already; choose another folder, or ask"):
        write_finding_table(tmp_path / "a.tsv", [make_case()])
    assert [path.name for path in tmp_path.iterdir()] == [taken] and (tmp_path / taken).read_text() == "mine"
    write_finding_table(tmp_path / "a.tsv", [make_case()], overwrite=True)
    assert len(read_finding_table(tmp_path / "a.tsv")) == 3 and "subject" in (tmp_path / "a.json").read_text()


@pytest.mark.parametrize("failing", ["replace", "fsync"])
def test_a_full_disk_leaves_what_was_there(tmp_path, monkeypatch, failing):
    path = tmp_path / "a.csv"
    write_finding_table(path, [make_case(("first",))])
    former = {entry.name: entry.read_bytes() for entry in tmp_path.iterdir()}

    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, failing, full)
    with pytest.raises(InputError, match=r"a\.csv cannot be written \(No space left on device\); free space there"):
        write_finding_table(path, [make_case(("second",))], overwrite=True)
    monkeypatch.undo()
    assert {entry.name: entry.read_bytes() for entry in tmp_path.iterdir()} == former


@pytest.mark.parametrize("name, content, sentence", [
    ("a.txt", "", "a.txt says no form of table; end the name with .tsv or .csv."),
    ("a.tsv", "", "a.tsv is no table with a header (it is empty); export it again."),
    ("a.csv", 'subject,"', "a.csv is no table with a header (unexpected end of data); export it again."),
    ("a.tsv", "subject\tsession\n", None),
    ("a.tsv", None, "cannot be opened (No such file or directory); check the path."),
])
def test_files_that_are_no_table_of_findings(tmp_path, name, content, sentence):
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(InputError) as caught:
        read_finding_table(tmp_path / name)
    missing = ", ".join(column.name for column in FINDING_COLUMNS[2:])
    assert str(caught.value).endswith(sentence or f"a.tsv has no column {missing}; export it again.")


@pytest.mark.parametrize("cells, told", [
    ("x\ttrue", "Row 1 of t has 2 cells, not 3; export it again."),
    ("x\tyes\t1", "Row 1 of t cannot be read (b is 'yes', neither true nor false); export it again."),
    ("x\ttrue\ttwo", "Row 1 of t cannot be read (c is 'two', not a number); export it again."),
    ("x\\q\ttrue\t1", r"Row 1 of t cannot be read (unknown escape '\\q'); export it again."),
    ("x\\\ttrue\t1", r"Row 1 of t cannot be read (unknown escape '\\'); export it again."),
])
def test_rows_that_cannot_be_read(cells, told):
    columns = (Column("a", str, ""), Column("b", bool, ""), Column("c", float, ""))
    with pytest.raises(InputError) as caught:
        parse_table(f"a\tb\tc\n{cells}\n", ".tsv", "t", columns)
    assert str(caught.value) == told


def test_a_text_that_no_table_can_hold_is_told():
    with pytest.raises(InputError, match=r"^The comment 'a\\x00b' has a character that no table can hold; change it"):
        table_text(FINDING_COLUMNS, finding_rows(make_case(("a\0b",))), ".tsv")


def test_columns_may_be_moved_and_added():
    columns = (Column("a", str, "A"), Column("b", int, "B", "mm"))
    assert parse_table("new\tb\ta\nx\t3\tn/a\n", ".tsv", "t", columns) == [{"a": "", "b": 3}]
    assert data_dictionary(columns)["b"] == {"Description": "B", "Format": "integer", "Units": "mm"}


def test_random_texts_come_back_in_both_forms():
    generator = np.random.default_rng(0)
    letters = list("ab'\"=+-@,; \t\n\r\\/n") + ["中", "é"]
    texts = ["".join(generator.choice(letters, generator.integers(0, 9))) for _ in range(3000)]
    column = (Column("a", str, ""), Column("z", int, ""))
    rows = [{"a": text, "z": 1} for text in texts]
    for form in (table_cells.TSV, table_cells.CSV):
        assert parse_table(table_text(column, rows, form), form, "t", column) == rows

"""Questions of a comparison, from the command to the table that a reader fills in and back into the report."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
from microbleeds import longitudinal
from microbleeds.cli import main
from microbleeds.errors import InputError
from microbleeds.export.pair_answers import Question, merged, read_questions, write_questions
from microbleeds.geometry import voxel_to_ras
from microbleeds.read_write import write_image
from microbleeds.review_files import ACCEPTED, REJECTED, Review, ReviewedFinding, write_review
from microbleeds.rigid_registration import Registration
from microbleeds.volume import Volume

TABLE, PAGE = "now_desc-cmb_pairs.tsv", "now_desc-cmb_reading.html"


def add_scan(folder, name, places_mm, modality="gre", **changes):
    """Write a reviewed scan; its findings are points that a reader has set, from the middle of the scan."""
    rng = np.random.default_rng(len(name))
    volume = Volume(rng.normal(300, 20, (60, 60, 20)).astype(np.float32), np.diag([1.0, 1.0, 3.0, 1.0]))
    write_image(folder / f"{name}.nii.gz", volume)
    middle = voxel_to_ras(volume, np.array([30, 30, 10]))
    write_review(folder / f"{name}_desc-cmb_review.json", Review(f"{name}.nii.gz", "", modality, "Ada", tuple(
        replace(ReviewedFinding(number, tuple((middle + place).tolist()), 3.0, ACCEPTED, True), **changes)
        for number, place in enumerate(places_mm, 1))))
    return folder / f"{name}.nii.gz"


@pytest.fixture
def scans(tmp_path, monkeypatch):
    """Finding 1 is where it was, 2 lies 3.5 mm from where it was or 3.6 mm from another, 3 is surely new."""
    monkeypatch.setattr(longitudinal, "register", lambda fixed, moving: Registration(np.eye(4), 1.0))
    before = add_scan(tmp_path, "before", [(0, 0, 0), (15, 0, 0), (22.1, 0, 0)])
    now = add_scan(tmp_path, "now", [(0.3, 0, 0), (18.5, 0, 0), (-20, 0, 0)])
    return before, now, tmp_path / "out"


def report(capsys, scans, *arguments):
    before, now, out = scans
    code = main(["report", str(now), "--baseline", str(before), "-o", str(out), "--progress", "none", "--overwrite",
                 *map(str, arguments)])
    page = out / PAGE
    return code, page.read_text(encoding="utf-8") if page.exists() else "", capsys.readouterr().err


def rows_of(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def fill_in(path, **answers):
    """Write answers into the column, as in a spreadsheet; {"f2": "1"} is for finding 2."""
    rows = [{**row, "answer": answers.get(f"f{row['finding']}", row["answer"])} for row in rows_of(path)]
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0], delimiter="\t")
        writer.writeheader()
        writer.writerows(rows)


def test_a_question_is_asked_answered_and_told(scans, capsys):
    code, page, err = report(capsys, scans)
    assert code == 0 and "No. 2 may have been 2 (3.5 mm apart) or 3 (3.6 mm apart)" in page
    assert "1 microbleed may be new or not" in err and TABLE in err
    table = scans[2] / TABLE
    row, = rows_of(table)
    assert (row["finding"], row["baseline"], row["answer"]) == ("2", "before.nii.gz", "n/a")
    assert row["candidates"] == "2 (3.5 mm); 3 (3.6 mm)"

    fill_in(table, f2="3")
    code, page, err = report(capsys, scans, "--answers", table)
    assert code == 0 and "No. 2 was 3 (3.6 mm apart), answered by a reader" in page
    assert "stable, answered by a reader" in page and "may be new" not in err
    assert [row["answer"] for row in rows_of(table)] == ["3"], "the answer stays in the table"

    fill_in(table, f2="New")
    code, page, _ = report(capsys, scans, "--answers", table)
    assert "2: No. 2, answered by a reader; No. 3" in page and "new, answered by a reader" in page


def test_answers_beside_the_review_are_used_without_being_named(scans, capsys):
    beside = scans[1].with_name(TABLE)
    beside.write_text("finding\tanswer\treader\n2\t2\tBéa <x>\n", encoding="utf-8")
    code, page, err = report(capsys, scans)
    assert code == 0 and "No. 2 was 2 (3.5 mm apart), answered by Béa &lt;x&gt;" in page and "may be new" not in err
    assert beside.read_text(encoding="utf-8").endswith("Béa <x>\n"), "nothing is written beside the review"


def test_an_answer_about_another_baseline_is_not_used(scans, capsys):
    scans[1].with_name(TABLE).write_text("baseline\tfinding\tanswer\nother.nii.gz\t2\t2\n", encoding="utf-8")
    _, page, _ = report(capsys, scans)
    assert "No. 2 may have been" in page


def test_an_answer_of_an_earlier_run_is_neither_lost_nor_taken_silently(scans, capsys):
    report(capsys, scans)
    fill_in(scans[2] / TABLE, f2="new")
    _, page, err = report(capsys, scans)
    assert "No. 2 may have been" in page and "has answers that this report does not use" in err
    assert rows_of(scans[2] / TABLE)[0]["answer"] == "new"


def test_an_answer_that_is_taken_back_does_not_return_from_the_table_of_the_export(scans, capsys):
    report(capsys, scans)
    table, beside = scans[2] / TABLE, scans[1].with_name(TABLE)
    asked, = read_questions(table)
    write_questions(beside, [replace(asked, answer="new", reader="Ada", answered_at="2026-01-02")])
    _, page, _ = report(capsys, scans)
    assert "new, answered by Ada" in page and read_questions(table)[0].answer == "new"
    write_questions(beside, [asked])
    _, page, err = report(capsys, scans)
    assert "No. 2 may have been" in page and "does not use" not in err
    assert read_questions(table) == (asked,), "nobody knows"


def test_what_the_answers_say_nothing_about_stays_in_the_table_of_the_export(scans, capsys):
    report(capsys, scans)
    fill_in(scans[2] / TABLE, f2="new")
    scans[1].with_name(TABLE).write_text("baseline\tfinding\tanswer\nother.nii.gz\t2\t\nn/a\t3\t\n", encoding="utf-8")
    _, page, err = report(capsys, scans)
    assert "No. 2 may have been" in page and "has answers that this report does not use" in err
    assert read_questions(scans[2] / TABLE)[0].answer == "new"


def test_the_result_has_the_questions_of_this_comparison_only(scans, capsys):
    report(capsys, scans)
    table = scans[2] / TABLE
    asked, = read_questions(table)
    gone, others = replace(asked, finding=3), replace(asked, baseline="other.nii.gz", baseline_sha256="1")
    write_questions(table, (others, gone, asked))
    capsys.readouterr()

    def questions(*arguments):
        assert main(["report", str(scans[1]), "--baseline", str(scans[0]), "-o", str(scans[2]), "--progress", "json",
                     "--overwrite", *arguments]) == 0
        result, = (event for event in map(json.loads, capsys.readouterr().out.splitlines())
                   if event["event"] == "result")
        return tuple(Question(**one) for one in result["questions"])

    assert questions() == (asked,)
    assert read_questions(table) == (others, gone, asked), "nothing is lost from the table"
    write_questions(scans[1].with_name(TABLE), [replace(asked, answer="3")])
    assert [one.answer for one in questions()] == ["3"]


@pytest.mark.parametrize("content, said", [
    ("finding\tanswer\n2\tmaybe\n", "Row 1 of now_desc-cmb_pairs.tsv has the answer 'maybe'; give the number"),
    ("finding\tanswer\nn/a\tnew\n", "names no finding"),
    ("finding\n2\n", "has no column answer"),
    ("", "no table with a header")])
def test_what_is_no_answer_is_refused(scans, capsys, content, said):
    scans[1].with_name(TABLE).write_text(content, encoding="utf-8")
    code, page, err = report(capsys, scans)
    assert code == 2 and said in err and not page


def test_two_findings_cannot_be_the_same_one(scans, capsys):
    scans[1].with_name(TABLE).write_text("finding\tanswer\n2\t2\n3\t2\n", encoding="utf-8")
    code, _, err = report(capsys, scans)
    assert code == 2 and "Finding 2 of before.nii.gz is the answer for two" in err


def test_an_answer_for_a_finding_that_was_rejected_since_is_told(scans, capsys):
    scans[1].with_name(TABLE).write_text("finding\tanswer\n2\t2\n", encoding="utf-8")
    add_scan(scans[1].parent, "now", [(0.3, 0, 0), (18.5, 0, 0)], verdict=REJECTED)
    code, page, err = report(capsys, scans)
    assert code == 0 and "answer for finding 2 is not used" in err and "answer for finding 2 is not used" in page


def test_answers_need_a_baseline(scans, capsys):
    code = main(["report", str(scans[1]), "-o", str(scans[2]), "--answers", "x.tsv", "--progress", "none"])
    assert code == 2 and "--baseline" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["report", "export"])
def test_another_sequence_is_refused_with_the_reason_and_nothing_is_written(scans, capsys, command):
    other = add_scan(scans[1].parent, "other", [(0, 0, 0)], "swi")
    formats = ["--formats", "page", "tables"] if command == "export" else []
    code = main([command, str(scans[1]), "--baseline", str(other), "-o", str(scans[2]), "--progress", "none", *formats])
    err = capsys.readouterr().err
    assert code == 2 and "other.nii.gz and now.nii.gz cannot be compared" in err
    assert "baseline is SWI and the follow-up is T2*-GRE" in err and "same sequence" in err
    assert not list(scans[2].iterdir())


def test_tables_are_read_as_they_were_written_and_no_answer_is_lost(tmp_path):
    former = (Question(2, "new", "a.nii.gz", "12", "1 (3.5 mm)", "Zoë", "2026-01-02"), Question(5, "7", "b.nii.gz"))
    for suffix in (".tsv", ".csv"):
        path = tmp_path / f"pairs{suffix}"
        write_questions(path, former)
        assert read_questions(path) == former
    assert "not for clinical use" in path.with_suffix(".json").read_text(encoding="utf-8")
    assert former[0].candidate_ids == (1,) and former[1].candidate_ids == ()
    current = (Question(2, "", "renamed.nii.gz", "12", "1 (3.4 mm)"), Question(3, "", "a.nii.gz", "12"))
    assert merged(former, current) == (former[1], replace(former[0], baseline="renamed.nii.gz",
                                                          candidates="1 (3.4 mm)"), current[1])
    assert merged(former, (replace(current[0], answer="1"),))[1].answer == "1"
    with pytest.raises(InputError, match="pairs.txt says no form"):
        read_questions(tmp_path / "pairs.txt")

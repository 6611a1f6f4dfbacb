import io
import json
from pathlib import Path

import pytest
from microbleeds.progress import Bar, JsonLines, Plain, make_reporter


class Terminal(io.StringIO):
    def isatty(self):
        return True


def tell_everything(reporter):
    reporter.progress("d/a.nii.gz", "candidates", "Candidates", 0.33337)
    reporter.progress("d/a.nii.gz", "candidates", "Candidates", 0.5)
    reporter.warning("d/a.nii.gz", "Thick slices.")
    reporter.result("d/a.nii.gz", {"report": Path("o/a.html")}, 1, 7)
    reporter.error(None, "input", "No such folder.")
    reporter.done(2)


def test_json_lines_hold_the_contract():
    out = io.StringIO()
    tell_everything(JsonLines(out))
    assert [json.loads(line) for line in out.getvalue().splitlines()] == [
        {"event": "progress", "image": "d/a.nii.gz", "step": "candidates", "message": "Candidates",
         "fraction": 0.3334},
        {"event": "progress", "image": "d/a.nii.gz", "step": "candidates", "message": "Candidates", "fraction": 0.5},
        {"event": "warning", "image": "d/a.nii.gz", "message": "Thick slices."},
        {"event": "result", "image": "d/a.nii.gz", "files": {"report": str(Path("o/a.html"))},
         "counts": {"findings": 1, "candidates": 7}},
        {"event": "error", "image": None, "kind": "input", "message": "No such folder."},
        {"event": "done", "exit_code": 2},
    ]


def test_json_lines_are_ascii_and_one_line_each():
    out = io.StringIO()
    JsonLines(out).error("häm\udcff.nii", "input", "two\nlines")
    assert out.getvalue().isascii() and out.getvalue().count("\n") == 1


def test_plain_tells_results_on_out_and_trouble_on_err():
    out, err = io.StringIO(), io.StringIO()
    tell_everything(Plain(out, err))
    assert out.getvalue() == f"a.nii.gz: 1 microbleed found; report: {Path('o/a.html')}\n"
    assert err.getvalue() == "a.nii.gz: warning: Thick slices.\nerror: No such folder.\n"


def test_bar_on_a_terminal_is_redrawn_in_place_and_cleared(monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    out, err = io.StringIO(), Terminal()
    tell_everything(Bar(out, err))
    drawn = err.getvalue().split("\r")
    assert drawn[1].startswith("[########................]  33%  a.nii.gz: Candidates")
    assert drawn[2].startswith("[############............]  50%")
    assert all(len(part.split("\n")[0]) < 60 for part in drawn)
    assert "a.nii.gz: warning: Thick slices.\n" in drawn[-1] or drawn[-1].startswith("a.nii.gz: warning")
    assert drawn[-2].strip() == ""


def test_what_is_said_for_people_stands_on_a_line_of_its_own(monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    both = Terminal()
    bar = Bar(both, both)
    bar.progress("d/a.nii.gz", "write", "Writing", 1.0)
    bar.say("The files are in o.")
    bar.done(0)
    assert both.getvalue().endswith("\r" + " " * 59 + "\rThe files are in o.\n")
    out, err = io.StringIO(), io.StringIO()
    Plain(out, err).say("The files are in o.")
    JsonLines(out).say("The files are in o.")
    assert (out.getvalue(), err.getvalue()) == ("The files are in o.\n", "")


def test_bar_elsewhere_writes_one_line_per_step():
    out, err = io.StringIO(), io.StringIO()
    tell_everything(Bar(out, err))
    assert err.getvalue().splitlines() == ["a.nii.gz: Candidates", "a.nii.gz: warning: Thick slices.",
                                           "error: No such folder."]


@pytest.mark.parametrize(("kind", "expected"), [("bar", Bar), ("json", JsonLines), ("none", Plain)])
def test_make_reporter(kind, expected):
    assert type(make_reporter(kind)) is expected

import errno
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from microbleeds.errors import InputError
from microbleeds.export import cohort_table
from microbleeds.export.cohort_table import Appended, append_to_cohort_table, held_lock
from microbleeds.export.tables import SUBJECT_COLUMNS, read_subject_table, subject_row
from test_export_tables import make_case

PACKAGE = Path(__file__).resolve().parents[2] / "CMBDetection"
APPEND = """
import json, sys
from microbleeds.export.cohort_table import append_to_cohort_table
row, path, name, count = json.loads(sys.stdin.readline()), sys.argv[1], sys.argv[2], int(sys.argv[3])
print("ready", flush=True)
sys.stdin.readline()
for number in range(count):
    append_to_cohort_table(path, [{**row, "subject": f"{name}-{number}", "total": number}])
    print(number, flush=True)
"""
DIE_WHILE_WRITING = """
import json, os, signal, sys
from microbleeds.export import cohort_table
row, path = json.loads(sys.stdin.readline()), sys.argv[1]
if sys.argv[2] == "holding":
    cohort_table._read = lambda path: os.kill(os.getpid(), signal.SIGKILL)
else:
    os.replace = lambda *names: os.kill(os.getpid(), signal.SIGKILL)
cohort_table.append_to_cohort_table(path, [{**row, "subject": "never"}])
"""


def row_of(subject="01", **changes):
    return {**subject_row(make_case()), "subject": subject, **changes}


def start(script, *arguments):
    child = subprocess.Popen([sys.executable, "-c", script, *map(str, arguments)], stdin=subprocess.PIPE, text=True,
                             stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(PACKAGE)})
    child.stdin.write(json.dumps(row_of()) + "\n")
    child.stdin.flush()
    return child


def subjects(path):
    return [row["subject"] for row in read_subject_table(path)]


@pytest.mark.parametrize("suffix", [".tsv", ".csv"])
def test_rows_are_added_and_come_back(tmp_path, suffix):
    path = tmp_path / "new" / f"cohort{suffix}"
    odd = row_of("02", reader='Zoë "Z"\t王\nx', session="=1+1", echo_time_ms=None, threshold=0.1 + 0.2)
    assert append_to_cohort_table(path, [row_of()]) == Appended(1, 0)
    assert append_to_cohort_table(path, [odd, row_of("03")]) == Appended(2, 0)
    assert read_subject_table(path) == [row_of(), odd, row_of("03")]
    assert "echo_time_ms" in json.loads((tmp_path / "new" / "cohort.json").read_text(encoding="utf-8"))
    assert subjects((tmp_path / "new" / f"cohort{suffix}.bak").rename(tmp_path / f"former{suffix}")) == ["01"]
    assert {file.name for file in path.parent.iterdir()} == {"cohort.json", f"cohort{suffix}"}


def test_the_row_of_the_same_review_is_replaced_only_when_asked(tmp_path):
    path = tmp_path / "cohort.tsv"
    append_to_cohort_table(path, [row_of("01", total=1), row_of("01", total=2, reader="Bo"), row_of("02", total=3)])
    before = path.read_bytes()
    with pytest.raises(InputError) as caught:
        append_to_cohort_table(path, [row_of("04"), row_of("01", total=7)])
    assert str(caught.value) == ("cohort.tsv has a row of 01, session b, sub-01_ses-b_T2starw.nii.gz by Zoë Łuk "
                                 "already; ask for it to be replaced (--overwrite; in the panel Replace files).")
    assert path.read_bytes() == before
    assert append_to_cohort_table(path, [row_of("04"), row_of("01", total=7)], replace=True) == Appended(1, 1)
    kept = {(row["subject"], row["reader"]): row["total"] for row in read_subject_table(path)}
    assert kept == {("01", "Zoë Łuk"): 7, ("01", "Bo"): 2, ("02", "Zoë Łuk"): 3, ("04", "Zoë Łuk"): row_of()["total"]}
    assert len(read_subject_table(path)) == 4
    with pytest.raises(InputError, match="hold a subject, session, scan and reader twice"):
        append_to_cohort_table(path, [row_of("09"), row_of("09")])


def test_columns_may_be_moved_but_not_changed(tmp_path):
    path = tmp_path / "cohort.tsv"
    append_to_cohort_table(path, [row_of()])
    lines = [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()]
    path.write_text("".join("\t".join(line[::-1]) + "\n" for line in lines), encoding="utf-8")
    append_to_cohort_table(path, [row_of("02")])
    assert read_subject_table(path) == [row_of(), row_of("02")]
    assert path.read_text(encoding="utf-8").startswith("program_version\t")
    path.write_text("".join("\t".join([*line[1:], line[0] if line is not lines[0] else "mine"]) + "\n"
                            for line in lines), encoding="utf-8")
    with pytest.raises(InputError) as caught:
        append_to_cohort_table(path, [row_of("03")])
    assert str(caught.value) == ("cohort.tsv has other columns (without subject; also mine); choose another file, it "
                                 "begins a new table.")


@pytest.mark.parametrize("content, told", [
    (b"", r"is no table with a header .*; take it from cohort.tsv.bak"),
    (b"\xff\xfe", "is not UTF-8; save it as UTF-8"),
    ("\t".join(column.name for column in SUBJECT_COLUMNS).encode() + b"\nx\ty\n",
     f"Row 1 of cohort.tsv has 2 cells, not {len(SUBJECT_COLUMNS)}; mend it"),
])
def test_a_damaged_table_is_left_alone(tmp_path, content, told):
    path = tmp_path / "cohort.tsv"
    path.write_bytes(content)
    path.with_name("cohort.tsv.bak").write_text("good")
    with pytest.raises(InputError, match=told):
        append_to_cohort_table(path, [row_of()])
    assert path.read_bytes() == content and path.with_name("cohort.tsv.bak").read_text() == "good"
    assert not path.with_name("cohort.tsv.lock").exists()


def test_a_table_that_is_gone_is_not_begun_anew_over_its_backup(tmp_path):
    path = tmp_path / "cohort.tsv"
    for subject in ("01", "02", "03"):
        append_to_cohort_table(path, [row_of(subject)])
    path.unlink()
    with pytest.raises(InputError, match=r"cohort\.tsv is gone but its backup cohort\.tsv\.bak is there; rename the"):
        append_to_cohort_table(path, [row_of("04")])
    path.with_name("cohort.tsv.bak").rename(path)
    append_to_cohort_table(path, [row_of("03")])
    assert subjects(path) == ["01", "02", "03"]


@pytest.mark.parametrize("failing", ["replace", "fsync"])
def test_a_full_disk_leaves_the_table(tmp_path, monkeypatch, failing):
    path = tmp_path / "cohort.csv"
    append_to_cohort_table(path, [row_of()])
    before = path.read_bytes()

    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, failing, full)
    with pytest.raises(InputError, match=r"cohort\.csv cannot be written \(No space left on device\)"):
        append_to_cohort_table(path, [row_of("02")])
    monkeypatch.undo()
    assert path.read_bytes() == before
    append_to_cohort_table(path, [row_of("02")])
    assert subjects(path) == ["01", "02"]


def test_several_programs_append_at_once_without_losing_a_row(tmp_path):
    path = tmp_path / "cohort.tsv"
    children = [start(APPEND, path, name, 50) for name in "abc"]
    assert [child.stdout.readline() for child in children] == ["ready\n"] * 3
    outputs = [""] * 3

    def go(number):
        outputs[number], _ = children[number].communicate("go\n", timeout=100)

    threads = [threading.Thread(target=go, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [child.returncode for child in children] == [0] * 3
    assert outputs == ["".join(f"{number}\n" for number in range(50))] * 3
    assert sorted(subjects(path)) == sorted(f"{name}-{number}" for name in "abc" for number in range(50))
    assert all(row["total"] == int(row["subject"].split("-")[1]) for row in read_subject_table(path))
    assert sorted(file.name for file in tmp_path.iterdir()) == ["cohort.json", "cohort.tsv", "cohort.tsv.bak"]


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="there is no kill -9 here")
@pytest.mark.parametrize("moment", ["holding", "writing"])
def test_a_program_killed_while_it_writes_loses_nothing(tmp_path, moment):
    path = tmp_path / "cohort.tsv"
    append_to_cohort_table(path, [row_of()])
    before = path.read_bytes()
    child = start(DIE_WHILE_WRITING, path, moment)
    child.communicate(timeout=60)
    assert child.returncode == -signal.SIGKILL and path.with_name("cohort.tsv.lock").exists()
    assert path.read_bytes() == before
    done = append_to_cohort_table(path, [row_of("02")], wait_s=5)
    told, = done.warnings
    assert f"on {socket.gethostname()} (process {child.pid}) since 2" in told and "was removed; that program" in told
    assert subjects(path) == ["01", "02"] and not path.with_name("cohort.tsv.lock").exists()


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="there is no kill -9 here")
def test_a_program_killed_at_any_moment_loses_nothing_that_it_had_said_was_done(tmp_path):
    path, expected = tmp_path / "cohort.tsv", set()
    for attempt in range(3):
        child = start(APPEND, path, attempt, 10000)
        child.stdout.readline()
        child.stdin.write("go\n")
        child.stdin.flush()
        done = [int(child.stdout.readline()) for _ in range(6)]
        time.sleep(0.003 * attempt)
        child.kill()
        done += [int(line) for line in child.communicate(timeout=60)[0].split()]
        expected |= {f"{attempt}-{number}" for number in done}
        there = set(subjects(path))
        assert expected <= there and len(there - expected) <= attempt + 1
    append_to_cohort_table(path, [row_of("last")], wait_s=5)
    assert expected | {"last"} <= set(subjects(path))


@pytest.mark.parametrize("links", [True, False])
def test_a_lock_is_held_by_one_whether_files_can_be_linked_or_not(tmp_path, monkeypatch, links):
    def refused(*names):
        raise OSError(errno.EPERM, "Operation not permitted")

    if not links:
        monkeypatch.setattr(os, "link", refused)
    with held_lock(tmp_path / "cohort.tsv", 1) as lock:
        assert json.loads(lock.path.read_text(encoding="utf-8"))["pid"] == os.getpid()
        with pytest.raises(InputError, match=rf"process {os.getpid()}"), held_lock(tmp_path / "cohort.tsv", 0.05):
            pytest.fail("held twice")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("failing", ["unlink", "read_text"])
def test_a_lock_that_others_are_just_reading_goes_all_the_same(tmp_path, monkeypatch, failing):
    done, refusals = getattr(Path, failing), [PermissionError(errno.EACCES, "The process cannot access the file")] * 3

    def refused(path, *arguments, **options):
        if path.name.endswith(".lock") and refusals and letting_go:
            raise refusals.pop()
        return done(path, *arguments, **options)

    letting_go = []
    monkeypatch.setattr(Path, failing, refused)
    with held_lock(tmp_path / "cohort.tsv", 1):
        letting_go.append(True)
    assert not refusals and not list(tmp_path.iterdir())


def test_a_lock_that_cannot_be_removed_is_told_in_the_end(tmp_path, monkeypatch):
    def refused(path, *arguments, **options):
        raise PermissionError(errno.EACCES, "Access is denied")

    monkeypatch.setattr(cohort_table, "_LET_GO_S", 0.0)
    with monkeypatch.context() as patched, pytest.raises(PermissionError), held_lock(tmp_path / "cohort.tsv", 1):
        patched.setattr(Path, "unlink", refused)
    assert (tmp_path / "cohort.tsv.lock").exists()


def test_a_link_that_was_made_twice_is_ones_own(tmp_path, monkeypatch):
    """NFS repeats a request whose answer was lost."""
    link = os.link

    def repeated(*names):
        link(*names)
        link(*names)

    monkeypatch.setattr(os, "link", repeated)
    with held_lock(tmp_path / "cohort.tsv", 0.2) as lock:
        lock.require()
        with pytest.raises(InputError, match="is being written by"), held_lock(tmp_path / "cohort.tsv", 0.05):
            pytest.fail("held twice")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("content, who", [
    ({"owner": "Anna", "host": "far-away", "pid": 1, "time": "2026-01-01T10:00:00+01:00"},
     r"Anna on far-away \(process 1\) since 2026-01-01T10:00:00\+01:00"),
    ({"owner": "", "host": socket.gethostname(), "pid": os.getpid(), "time": "now"},
     rf"somebody on .* \(process {os.getpid()}\) since now"),
    (None, "an unknown program"),
], ids=["another machine", "this process", "empty"])
def test_a_lock_that_may_still_be_needed_is_respected_and_told(tmp_path, content, who):
    path = tmp_path / "cohort.tsv"
    append_to_cohort_table(path, [row_of()])
    lock = path.with_name("cohort.tsv.lock")
    lock.write_text("" if content is None else json.dumps(content))
    with pytest.raises(InputError, match=rf"^cohort\.tsv is being written by {who}; try again, or delete "
                                         r"cohort\.tsv\.lock if that program has ended\.$"):
        append_to_cohort_table(path, [row_of("02")], wait_s=0.1)
    assert lock.exists() and subjects(path) == ["01"]
    lock.unlink()
    append_to_cohort_table(path, [row_of("02")])
    assert subjects(path) == ["01", "02"]


def test_of_many_who_see_an_abandoned_lock_one_removes_it(tmp_path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    file, inside, most, told = tmp_path / "t", [], [], []
    (tmp_path / "t.lock").write_text(json.dumps({"host": socket.gethostname(), "pid": ended.pid}))

    def hold():
        with held_lock(file, 30) as lock:
            inside.append(1)
            most.append(len(inside))
            told.extend(lock.warnings)
            time.sleep(0.002)
            inside.pop()

    threads = [threading.Thread(target=hold) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 12 and len(told) == 1


def test_nothing_is_written_once_the_lock_was_taken_away(tmp_path, monkeypatch):
    path = tmp_path / "cohort.tsv"
    append_to_cohort_table(path, [row_of()])
    before, read = path.read_bytes(), cohort_table._read

    def removed_meanwhile(table):
        path.with_name("cohort.tsv.lock").write_text("another's")
        return read(table)

    monkeypatch.setattr(cohort_table, "_read", removed_meanwhile)
    with pytest.raises(InputError, match=r"Somebody removed cohort\.tsv\.lock while it was needed; nothing was"):
        append_to_cohort_table(path, [row_of("02")])
    assert path.read_bytes() == before and path.with_name("cohort.tsv.lock").read_text() == "another's"


def test_only_tables(tmp_path):
    with pytest.raises(InputError, match=r"cohort\.xlsx says no form of table; end the name with \.tsv or \.csv"):
        append_to_cohort_table(tmp_path / "cohort.xlsx", [row_of()])

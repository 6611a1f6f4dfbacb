"""Hard reviews, findings, answers, baselines, tables of counts, work lists and trees of cohorts."""

import json
import os
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from hard_input_cases import OUT, REFUSED, WORKS, HardInput, Shelf, detect, moved, result_file, rewritten
from microbleeds.export.cohort_table import append_to_cohort_table
from microbleeds.export.tables import subject_row
from microbleeds.outputs import read_result
from microbleeds.read_write import files_sha256, write_image, write_label_map, write_text
from microbleeds.review_log import ADDED, COMMENT, DETECTED, FINISHED, VERDICT, Event, detection_value, replay
from microbleeds.review_sidecar import Sidecar, sidecar_text
from report_phantoms import case as reviewed_case

AT = "2026-11-29T09:00:00+00:00"
_BYTES = {"empty": b"", "no JSON": b"{", "a list": b"[]", "a number": b"7", "null": b"null", "true": b"true",
          "NaN": b"NaN", "a text": b'"review"', "random bytes": bytes(range(255, 100, -1)), "an empty object": b"{}",
          "zeros": bytes(4000), "nested 100000 times": b"[" * 100_000 + b"]" * 100_000,
          "objects nested 100000 times": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
          "a number of 100000 digits": b'{"schema_version": ' + b"9" * 100_000 + b"}",
          "a text of 2 MB": b'{"schema_version": "' + b"x" * (1 << 21) + b'"}'}


def hard_reviews(shelf: Shelf) -> Iterator[HardInput]:
    """Make all of them."""
    for kind in (_reviews, _findings, _baselines, _answers, _count_tables, _work_lists, _folders_of_cohorts, _sidecars):
        yield from kind(shelf)


def _report(folder: Path, scan: str, number: int = 0) -> tuple[str, ...]:
    """Return the arguments of `report`, for odd numbers those of `export` in several forms."""
    command = ("export", "--formats", "tables", "points", "labels", "--unreviewed") if number % 2 else ("report",
                                                                                                      "--unreviewed")
    return (command[0], str(folder / scan), "-o", OUT, "--progress", "none", *command[1:])


def _reviewed(shelf: Shelf, kind: str, name: str) -> tuple[Path, Path]:
    """Return a new folder with the valid scan and a review of it, and the review."""
    folder = shelf.results_in(kind, name)
    scan = folder / shelf.scan.name
    found = read_result(result_file(scan, "findings"))
    place = [float(value) for value in shelf.drawn.centres_ras[0] + 4]
    events = (Event(AT, "", DETECTED, 0, detection_value(found, replay([]))),
              Event(AT, "A", VERDICT, 1, "accepted", 1.5),
              Event(AT, "A", VERDICT, 2, "rejected"), Event(AT, "A", "mimic_kind", 2, "vessel"),
              Event(AT, "A", ADDED, 9, {"ras_mm": place, "diameter_mm": 3.0, "region": None}),
              Event(AT, "A", COMMENT, 9, "größer"), Event(AT, "A", FINISHED, 0, True))
    review = folder / f"{scan.stem}_desc-cmb_review.json"
    write_text(review, sidecar_text(Sidecar(events, scan.name, files_sha256([scan]), "0" * 64, "A", 0.3)))
    return folder, review


def _set(*path: Any) -> Callable[[Any], None]:
    """Return a change that sets an entry, deep inside; the last of `path` is the value."""
    def change(content: Any) -> None:
        for key in path[:-2]:
            content = content[key]
        content[path[-2]] = path[-1]
    return change


def _reviews(shelf: Shelf) -> Iterator[HardInput]:
    kind = "reviews"
    scan = shelf.scan.name
    for number, (name, content) in enumerate(_BYTES.items()):
        folder, review = _reviewed(shelf, kind, name)
        review.write_bytes(content)
        yield HardInput(kind, name, _report(folder, scan, number), review.name)
    folder, review = _reviewed(shelf, kind, "cut off")
    whole = review.read_bytes()
    for number, cut in enumerate(shelf.rng.integers(1, len(whole) - 2, 5).tolist()):
        folder, review = _reviewed(shelf, kind, f"cut {cut}")
        review.write_bytes(whole[:cut])
        yield HardInput(kind, f"cut off at {cut}", _report(folder, scan, number), review.name)
    changes: dict[str, Callable[[Any], object]] = {
        "version 7": _set("schema_version", "7.0"), "no input": lambda content: content.pop("input"),
        "no log": lambda content: content.update(log=None), "a log in a text": _set("log", "verdicts"),
        "findings in a text": _set("findings", "many"), "an id of 0": _set("findings", 0, "id", 0),
        "an id of 1e30": _set("findings", 0, "id", 1e30), "an id in words": _set("findings", 0, "id", "one"),
        "two of an id": _set("findings", 0, "id", 2), "a verdict unknown": _set("findings", 0, "verdict", "maybe"),
        "a verdict of 1 MB": _set("findings", 0, "verdict", "x" * (1 << 20)),
        "a place of NaN": _set("findings", 0, "position_ras", [float("nan"), 0, 0]),
        "a place of two numbers": _set("findings", 0, "position_ras", [1, 2]),
        "a diameter below 0": _set("findings", 0, "diameter_mm", -4), "modality CT": _set("input", "modality", "ct"),
        "a reader who is a number": _set("reader", 7), "an action unknown": _set("log", 1, "action", "explode"),
        "a verdict in the log unknown": _set("log", 1, "value", "perhaps"),
        "a verdict on nothing": _set("log", 1, "finding", 77), "a log that begins late": lambda content: content[
            "log"].pop(0), "candidates in a text": _set("log", 0, "value", "candidates", "all"),
        "a candidate without a place": lambda content: content["log"][0]["value"]["candidates"][0].pop("ras_mm"),
        "a comment that is a list": _set("log", 5, "value", ["a"]),
        "added without a place": _set("log", 4, "value", {}),
        "added at infinity": _set("log", 4, "value", "ras_mm", [float("inf"), 0, 0]),
        "a diameter of NaN in the log": _set("log", 4, "value", "diameter_mm", float("nan")),
        "a diameter in words in the log": _set("log", 4, "value", "diameter_mm", "large"),
        "a region unknown": _set("log", 0, "value", "region_map", {"shape": [9, 9, 9]}),
        "a probability of NaN": _set("log", 0, "value", "candidates", 0, "probability", float("nan")),
        "a threshold in words": _set("threshold", "high"), "a threshold of NaN": _set("threshold", float("nan")),
        "seconds of infinity": _set("log", 1, "seconds", float("inf")),
        "a current finding in words": _set("current", "x"), "provenance in a text": _set(
            "log", 0, "value", "provenance", "made by hand")}
    for number, (name, change) in enumerate(changes.items()):
        folder, review = _reviewed(shelf, kind, name)
        yield HardInput(kind, name, _report(folder, scan, number), rewritten(review, change).name)
    texts = {"half a surrogate": "\ud800", "a NUL": "a\0b", "a tag": "a\n<script>alert(1)</script>",
             "emoji": "😀" * 500}
    for (name, text), number in product(texts.items(), (0, 1)):
        folder, review = _reviewed(shelf, kind, f"comment {name} {number}")
        rewritten(review, _set("log", 5, "value", text))
        # a page can show an escape, a table that others read cannot
        impossible = number == 1 and name in ("half a surrogate", "a NUL")
        yield HardInput(kind, f"a comment with {name} in a {('report', 'table')[number]}", _report(
            folder, scan, number), "comment", REFUSED if impossible else WORKS)
    for (name, place), number in product({"reader": ("log", 1, "reader"), "time": ("log", 1, "at"), "name": (
            "input", "name")}.items(), (0, 1)):
        folder, review = _reviewed(shelf, kind, f"surrogate {name} {number}")
        rewritten(review, _set(*place, "\ud800"))
        impossible = number == 1 and name == "reader"
        yield HardInput(kind, f"half a surrogate as {name} in a {('report', 'table')[number]}", _report(
            folder, scan, number), name, REFUSED if impossible else WORKS)
    folder, review = _reviewed(shelf, kind, "labels missing")
    result_file(folder / scan, "labels").unlink()
    yield HardInput(kind, "without its label map", _report(folder, scan), result_file(shelf.scan, "labels").name)
    folder, review = _reviewed(shelf, kind, "labels elsewhere")
    write_label_map(result_file(folder / scan, "labels"), moved(shelf.drawn.labels, 30))
    yield HardInput(kind, "label map on another grid", _report(folder, scan), result_file(shelf.scan, "labels").name)
    folder, review = _reviewed(shelf, kind, "labels unknown")
    write_label_map(result_file(folder / scan, "labels"), shelf.drawn.labels.with_data(shelf.drawn.labels.data + 50))
    yield HardInput(kind, "label map of unknown values", _report(folder, scan), expected=WORKS)
    for name, make in {"a pipe": os.mkfifo, "a folder": os.mkdir, "a link to itself": lambda path: path.symlink_to(
            path.name), "4 GB": lambda path: (path.touch(), os.truncate(path, 4 << 30)),
            "zeros without end": lambda path: path.symlink_to("/dev/zero")}.items():
        folder, review = _reviewed(shelf, kind, name)
        review.unlink()
        make(review)
        yield HardInput(kind, name, (*_report(folder, scan), "--review", str(review)), review.name)
    folder, review = _reviewed(shelf, kind, "unreadable")
    review.chmod(0)
    yield HardInput(kind, "may not be read", _report(folder, scan), review.name, unprivileged=True)
    folder = shelf.new(kind, "none")
    (folder / scan).write_bytes(shelf.nifti)
    yield HardInput(kind, "neither review nor result", _report(folder, scan), scan)
    yield HardInput(kind, "a review that is missing", (*_report(folder, scan), "--review", "missing.json"),
                    "missing.json")


def _findings(shelf: Shelf) -> Iterator[HardInput]:
    kind = "findings"
    scan, name_of = shelf.scan.name, result_file(shelf.scan, "findings").name
    for number, (name, content) in enumerate(_BYTES.items()):
        folder = shelf.results_in(kind, name)
        (folder / name_of).write_bytes(content)
        yield HardInput(kind, name, _report(folder, scan, number), name_of)
    changes: dict[str, Callable[[Any], object]] = {
        "no provenance": lambda content: content.pop("provenance"), "no candidates": lambda content: content.pop(
            "candidates"), "a status unknown": _set("candidates", 0, "status", "lost"),
        "of another scan": _set("provenance", "input_sha256", "0" * 64),
        "an id in words": _set("candidates", 0, "id", "a"),
        "a place of one number": _set("candidates", 0, "ras_mm", [1]), "a place unknown": _set(
            "candidates", 0, "place", {"region": "elbow", "side": "left"}), "kept but not among the findings": _set(
            "findings", []), "a region map of 1e9 voxels": _set("region_map", {"shape": [1000, 1000, 1000]}),
        "a probability in words": _set("candidates", 0, "probability", "high"),
        "parameters in a text": _set("provenance", "parameters", "default")}
    for number, (name, change) in enumerate(changes.items()):
        folder = shelf.results_in(kind, name)
        yield HardInput(kind, name, _report(folder, scan, number), rewritten(folder / name_of, change).name)


def _baselines(shelf: Shelf) -> Iterator[HardInput]:
    kind = "baselines"
    contents = {"cut off": shelf.nifti[:3000], "empty": b"", "of zeros": bytes(9000),
                "of random bytes": shelf.rng.bytes(9000)}
    for number, (name, content) in enumerate(contents.items()):
        folder, _ = _reviewed(shelf, kind, name)
        before = folder / "before.nii"
        before.write_bytes(content)
        yield HardInput(kind, name, (*_report(folder, shelf.scan.name, number), "--baseline", str(before)),
                        "before.nii")
    folder, review = _reviewed(shelf, kind, "others")
    before = folder / "before.nii"
    write_image(before, shelf.drawn.image.with_data(shelf.rng.normal(0, 1, shelf.drawn.image.shape).astype(np.float32)))
    told = (*_report(folder, shelf.scan.name), "--baseline", str(before))
    yield HardInput(kind, "not reviewed", told, "before.nii")
    yield HardInput(kind, "review missing", (*told, "--baseline-review", str(folder / "no.json")), "no.json")
    for name, content in {"no JSON": b"{", "a list": b"[]"}.items():
        path = shelf.file(kind, f"review {name}", "before_desc-cmb_review.json", content)
        yield HardInput(kind, f"review {name}", (*told, "--baseline-review", str(path)), path.name)
    yield HardInput(kind, "missing", (*_report(folder, shelf.scan.name), "--baseline", "none.nii"), "none.nii")
    yield HardInput(kind, "a folder without DICOM", (*_report(folder, shelf.scan.name), "--baseline", str(
        folder)), folder.name)
    yield HardInput(kind, "for two scans", ("report", str(folder / shelf.scan.name), str(before), "-o", OUT,
                                            "--baseline", str(before), "--progress", "none"), "baseline")


def _answers(shelf: Shelf) -> Iterator[HardInput]:
    kind = "answers"
    header = "pair\tquestion\tsubject"
    for number, (name, content) in enumerate({
            "empty": b"", "random bytes": shelf.rng.bytes(300), "of other columns": b"a\tb\n1\t2\n", "cut off":
                header.encode(), "UTF-16": header.encode("utf-16"), "a line of 1 MB": b"x" * (1 << 20)}.items()):
        folder, review = _reviewed(shelf, kind, name)
        second, _ = _reviewed(shelf, kind, f"{name} before")
        answers = folder / "answers.tsv"
        answers.write_bytes(content)
        yield HardInput(kind, name, (*_report(folder, shelf.scan.name, number), "--baseline", str(
            second / shelf.scan.name), "--answers", str(answers)), "answers.tsv")


def _count_tables(shelf: Shelf) -> Iterator[HardInput]:
    kind = "tables of counts"
    table = shelf.new("valid", "counts") / "counts.tsv"
    append_to_cohort_table(table, [subject_row(reviewed_case())])
    whole = table.read_bytes()
    header, row = whole.splitlines(keepends=True)[:2]
    for name, content in {
            "empty": b"", "random bytes": shelf.rng.bytes(400), "UTF-16": whole.decode().encode("utf-16"),
            "of other columns": b"a\tb\n1\t2\n", "a column less": header.split(b"\t", 1)[1] + row.split(b"\t", 1)[1],
            "a cell less": header + row.rsplit(b"\t", 1)[0] + b"\n", "a cell more": header + row[:-1] + b"\t7\n",
            "a header twice": header[:-1] + b"\t" + header, "a NUL": header + row.replace(b"\t", b"\t\0", 1),
            "a field cut off": whole[:len(header) // 2]}.items():
        folder, _ = _reviewed(shelf, kind, name)
        path = folder / "counts.tsv"
        path.write_bytes(content)
        yield HardInput(kind, name, ("export", str(folder / shelf.scan.name), "-o", OUT, "--cohort-table", str(path),
                                     "--progress", "none"), "counts.tsv")
    folder, _ = _reviewed(shelf, kind, "others")
    scan = folder / shelf.scan.name
    for name, path, named in (("a folder", folder, folder.name), ("no suffix", folder / "counts", "counts"),
                              ("a file in a file", scan / "counts.tsv", scan.name)):
        yield HardInput(kind, name, ("export", str(scan), "-o", OUT, "--cohort-table", str(path), "--progress", "none"),
                        named)


def _cohort(source: Path, level: str = "participant") -> tuple[str, ...]:
    return ("cohort", str(source), OUT, level, "--device", "cpu", "--progress", "none")


def _work_lists(shelf: Shelf) -> Iterator[HardInput]:
    kind = "work lists"
    texts: dict[str, bytes] = {
        "empty": b"", "blank lines": b"\n\n\n", "header alone": b"image\tname\n", "no column image": b"scan\na.nii\n",
        "commas": b"image,name\na.nii,A\n", "an image that is missing": b"image\nb.nii\n",
        "no image": b"image\tname\n\tA\n",
        "a folder": b"image\n.\n", "a text": b"image\nwork.tsv\n", "modality CT": b"image\tmodality\na.nii\tct\n",
        "the same image twice": b"image\na.nii\na.nii\n", "the same name twice": b"image\tname\na.nii\tA\nc.nii\tA\n",
        "names that differ by capitals": b"image\tname\na.nii\tA\nc.nii\ta\n",
        "UTF-16": "image\na.nii\n".encode("utf-16"),
        "Latin-1": "image\tname\na.nii\tä\n".encode("latin-1"), "random bytes": shelf.rng.bytes(500),
        "a NUL": b"image\na\0.nii\n", "an open quotation mark": b'image\tname\na.nii\t"A\n', "a line of 1 MB":
            b"image\n" + b"x" * (1 << 20), "a name of 100000 signs": b"image\n" + b"x" * 100_000 + b".nii\n",
        "a path out of it": b"image\n../../../../../../etc/passwd\n"}
    for number, (name, content) in enumerate(texts.items()):
        folder = shelf.new(kind, name)
        for image in ("a.nii", "c.nii"):
            (folder / image).write_bytes(shelf.nifti)
        (folder / "work.tsv").write_bytes(content)
        yield HardInput(kind, name, _cohort(folder / "work.tsv", ("participant", "group")[number % 2]), "work.tsv")
    for name, make in {"a pipe": os.mkfifo, "a link to itself": lambda path: path.symlink_to(path.name),
                       "a folder of its name": os.mkdir,
                       "4 GB": lambda path: (path.touch(), os.truncate(path, 4 << 30)),
                       "zeros without end": lambda path: path.symlink_to("/dev/zero")}.items():
        path = shelf.new(kind, name) / "work.tsv"
        make(path)
        yield HardInput(kind, name, _cohort(path), "work.tsv")
    path = shelf.file(kind, "unreadable", "work.tsv", "image\na.nii\n")
    path.chmod(0)
    yield HardInput(kind, "may not be read", _cohort(path), "work.tsv", unprivileged=True)
    yield HardInput(kind, "missing", _cohort(path.with_name("no.tsv")), "no.tsv")
    yield HardInput(kind, "an image instead", _cohort(shelf.scan), shelf.scan.name)


def _folders_of_cohorts(shelf: Shelf) -> Iterator[HardInput]:
    kind = "folders of cohorts"
    yield HardInput(kind, "empty", _cohort(shelf.new(kind, "empty")), "empty")
    folder = shelf.new(kind, "links in a loop")
    (folder / "again").symlink_to(folder)
    (folder / "a.nii").symlink_to(folder / "b.nii")
    (folder / "b.nii").symlink_to(folder / "a.nii")
    yield HardInput(kind, "links in a loop alone", _cohort(folder), folder.name)
    folder = shelf.new(kind, "BIDS without images")
    (folder / "dataset_description.json").write_text("{}")
    yield HardInput(kind, "BIDS without images", _cohort(folder), folder.name)
    folder = shelf.new(kind, "locked")
    (folder / "inner").mkdir(mode=0)
    yield HardInput(kind, "a folder that may not be read", _cohort(folder), "inner", unprivileged=True)
    folder = shelf.new(kind, "labels")
    (folder / "sub-1.nii").write_bytes(shelf.nifti)
    yield HardInput(kind, "a participant who is not there", (*_cohort(folder), "--participant-label", "9"), "labels")
    folder = shelf.new(kind, "alike")
    for name in ("sub-1.nii", "sub-1.nii.gz"):
        (folder / name).write_bytes(shelf.nifti)
    yield HardInput(kind, "two scans of a name", _cohort(folder), "sub-1.nii")
    for option, value in (("--workers", "0"), ("--memory-limit", "-1"), ("--threads", "0"), ("--memory-limit", "nan")):
        yield HardInput(kind, f"{option} {value}", (*_cohort(folder), option, value), option)
    output = shelf.new(kind, "other data set")
    (output / "dataset_description.json").write_text(json.dumps({"Name": "x", "GeneratedBy": [{"Name": "other"}]}))
    yield HardInput(kind, "no results for the group", _cohort(shelf.file(
        kind, "group", "sub-1.nii", shelf.nifti).parent, "group"), "out")


def _sidecars(shelf: Shelf) -> Iterator[HardInput]:
    """Hard S.json beside a scan: what they say is a warning, and the scan is read."""
    kind = "sidecars"
    fine: dict[str, bytes] = {name: content for name, content in _BYTES.items()} | {
        "numbers in words": b'{"EchoTime": "long", "MagneticFieldStrength": [3]}', "an echo time of NaN":
            b'{"EchoTime": NaN}', "an echo time of 1e999": b'{"EchoTime": 1e999}', "a field of true":
            b'{"MagneticFieldStrength": true}',
        "a description with half a surrogate": b'{"SeriesDescription": "\\ud800"}'}
    for name, content in fine.items():
        folder = shelf.new(kind, name)
        (folder / "a.nii").write_bytes(shelf.nifti)
        (folder / "a.json").write_bytes(content)
        yield HardInput(kind, name, detect(folder / "a.nii", "--mask", str(shelf.mask)), expected=WORKS)
    folder = shelf.new(kind, "pipe")
    (folder / "a.nii").write_bytes(shelf.nifti)
    os.mkfifo(folder / "a.json")
    yield HardInput(kind, "a pipe", detect(folder / "a.nii", "--mask", str(shelf.mask)), expected=WORKS)
    for name, text in {"CT": '{"Modality": "CT"}',
                       "a text of 1 MB as modality": json.dumps({"Modality": "x" * (1 << 20)})}.items():
        folder = shelf.new(kind, name)
        (folder / "a.nii").write_bytes(shelf.nifti)
        (folder / "a.json").write_text(text)
        yield HardInput(kind, name, detect(folder / "a.nii"), "a.nii")

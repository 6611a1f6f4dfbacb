"""Whatever is in a file that we read: it is understood, or refused in one sentence, and never anything else.

Each parser gets valid content with places changed at random: values of JSON exchanged, cut out or made deep, and pieces
of text or bytes removed, doubled and replaced. The environment variable FUZZ_EXAMPLES says how many of each, 40 in CI.
"""

import copy
import json
import os
import shutil

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from microbleeds.errors import InputError, MicrobleedError, ModelError
from microbleeds.export.cohort_table import append_to_cohort_table
from microbleeds.export.pair_answers import Question, read_questions, write_questions
from microbleeds.export.point_files import write_points
from microbleeds.export.tables import (
    read_finding_table,
    read_subject_table,
    subject_row,
    write_finding_table,
    write_subject_table,
)
from microbleeds.import_files import read_foreign
from microbleeds.model_folders import CARD, find_model
from microbleeds.outputs import result_from_json, result_to_json
from microbleeds.read_write import read_labels, read_scan, write_image
from microbleeds.region_lookup import region_map_from_json, region_map_to_json
from microbleeds.review_log import ADDED, COMMENT, DETECTED, VERDICT, Event, detection_value, replay
from microbleeds.review_sidecar import Sidecar, sidecar_from_json, sidecar_to_json
from microbleeds.settings import Settings
from microbleeds.volume import Volume
from microbleeds.weights import DEFAULT_MODEL, load_model
from microbleeds.work_list import find_cases
from report_phantoms import case as reviewed_case

FUZZ = settings(max_examples=int(os.environ.get("FUZZ_EXAMPLES", 40)), deadline=None, database=None, derandomize=True,
                suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=12),
                    st.sampled_from(["", "n/a", "-1", "1e999", "NaN", "\ud800", "../../x", "0x10", "=1+1"]))
VALUES = st.recursive(SCALARS, lambda inner: st.one_of(
    st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=8), inner, max_size=4)), max_leaves=6)


@st.composite
def changed(draw, content):
    """Return JSON content with one to three values exchanged or left out."""
    content = copy.deepcopy(content)
    for _ in range(draw(st.integers(1, 3))):
        parent, key, here = None, None, content
        while isinstance(here, (dict, list)) and here and (parent is None or draw(st.integers(0, 3))):
            key = draw(st.sampled_from(sorted(here) if isinstance(here, dict) else range(len(here))))
            parent, here = here, here[key]
        if parent is None:
            return draw(VALUES)
        if draw(st.integers(0, 4)):
            parent[key] = draw(VALUES)
        else:
            del parent[key]
    return content


@st.composite
def damaged(draw, content: bytes):
    """Return bytes with one to four pieces taken out, doubled, or replaced."""
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(content)))
        end = draw(st.integers(start, min(len(content), start + 40)))
        piece = draw(st.one_of(st.just(b""), st.just(content[start:end] * 2), st.binary(max_size=8),
                               st.sampled_from([b"\0", b"\n", b"\t", b'"', b"NaN", b"-1", b"1e400", b"\xff\xfe"])))
        content = content[:start] + piece + content[end:]
    return content


def refused_or_read(read, *arguments, error=InputError):
    """Call a parser; what it refuses, it refuses in one sentence."""
    try:
        read(*arguments)
    except error as refusal:
        text = str(refusal)
        assert text.strip() and "\n" not in text and "Traceback" not in text


@pytest.fixture(scope="module")
def grid():
    return Volume(np.random.default_rng(0).normal(100, 10, (20, 18, 12)).astype(np.float32), np.diag([1.0, 1, 2, 1]))


@pytest.fixture
def findings(draw_result):
    return draw_result(np.random.default_rng(1), count=4)


@FUZZ
@given(data=st.data())
def test_findings(findings, data):
    refused_or_read(result_from_json, data.draw(changed(result_to_json(findings))), "f.json")


@FUZZ
@given(data=st.data())
def test_reviews(findings, data):
    events = [Event("2026-11-24T09:00:00+00:00", "", DETECTED, 0, detection_value(findings, replay([]))),
              Event("2026-11-24T09:01:00+00:00", "A", VERDICT, 1, "accepted"),
              Event("2026-11-24T09:02:00+00:00", "A", ADDED, 90, {"ras_mm": [1.0, 2, 3], "diameter_mm": 2.0,
                                                                  "region": None}),
              Event("2026-11-24T09:03:00+00:00", "A", COMMENT, 90, "ä, \"b\"\tc")]
    content = sidecar_to_json(Sidecar(tuple(events), "a.nii.gz", "", "0" * 64, "A", 0.3))
    refused_or_read(sidecar_from_json, data.draw(changed(content)), "r.json")


@FUZZ
@given(data=st.data())
def test_settings_and_region_maps(grid, data):
    refused_or_read(Settings.from_json, data.draw(changed(Settings().to_json())),
                    error=(MicrobleedError, TypeError, ValueError))
    content = region_map_to_json(grid.with_data((grid.data > 100).astype(np.uint8)))
    refused_or_read(region_map_from_json, data.draw(changed(content)), error=ValueError)


@FUZZ
@given(data=st.data())
def test_model_cards(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("model") / "m"
    shutil.copytree(find_model(DEFAULT_MODEL).folder, folder)
    card = json.loads((folder / CARD).read_text(encoding="utf-8"))
    (folder / CARD).write_text(json.dumps(data.draw(changed(card))), encoding="utf-8")
    refused_or_read(load_model, folder, error=ModelError)


WRITERS = {
    "t.tsv": write_finding_table, "t.csv": write_finding_table, "p.mrk.json": write_points, "p.fcsv": write_points}


@FUZZ
@given(data=st.data(), name=st.sampled_from(sorted(WRITERS)))
def test_imported_files(tmp_path_factory, data, name):
    folder = tmp_path_factory.mktemp("import")
    case = reviewed_case()
    path = folder / name
    WRITERS[name](path, [case] if WRITERS[name] is write_finding_table else case)
    path.write_bytes(data.draw(damaged(path.read_bytes())))
    refused_or_read(read_foreign, path, case.image, "scan")
    if name.startswith("t."):
        refused_or_read(read_finding_table, path)


@FUZZ
@given(data=st.data())
def test_tables_of_counts_and_answers(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("tables")
    case = reviewed_case()
    write_subject_table(folder / "s.tsv", [case])
    (folder / "s.tsv").write_bytes(data.draw(damaged((folder / "s.tsv").read_bytes())))
    refused_or_read(read_subject_table, folder / "s.tsv")
    refused_or_read(append_to_cohort_table, folder / "s.tsv", [subject_row(case)])
    write_questions(folder / "q.tsv", [Question(1, "new", "sub-1", "0" * 64, "2 (3.1 mm); 4 (4 mm)", "A", "2026")])
    (folder / "q.tsv").write_bytes(data.draw(damaged((folder / "q.tsv").read_bytes())))
    refused_or_read(read_questions, folder / "q.tsv")
    (folder / "w.tsv").write_bytes(data.draw(damaged(b"image\tname\tmodality\na.nii.gz\tA\tgre\nb.nii.gz\tB\tswi\n")))
    refused_or_read(find_cases, folder / "w.tsv")


@pytest.mark.parametrize("suffix", [".nii", ".nrrd", ".mha"])
@FUZZ
@given(data=st.data())
def test_images(tmp_path_factory, grid, suffix, data):
    folder = tmp_path_factory.mktemp("images")
    path = folder / f"a{suffix}"
    write_image(path, grid.with_data(grid.data.astype(np.int16)))
    content = path.read_bytes()
    head = data.draw(damaged(content[:400]))
    path.write_bytes(head + content[400:data.draw(st.sampled_from([len(content), 2000, 400]))])
    refused_or_read(read_scan, path)
    refused_or_read(read_labels, path)

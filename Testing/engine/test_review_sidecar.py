"""The sidecar of a review: what is read is what was written, and another scan is never taken for this one."""

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from microbleeds import review_log
from microbleeds.errors import InputError
from microbleeds.read_write import write_text
from microbleeds.review_files import ACCEPTED, read_review
from microbleeds.review_log import Event, ReviewState, replay
from microbleeds.review_sidecar import Sidecar, read_sidecar, sidecar_places, sidecar_text, voxels_sha256
from review_phantoms import detection

AT = "2026-11-23T12:00:00+00:00"


@pytest.fixture
def sidecar():
    value = review_log.detection_value(detection([(0, 0, 0), (20, 0, 0), (40, 0, 0)], [0.9, 0.8, 0.1]), ReviewState())
    events = (Event(AT, "", "detected", 0, value), Event(AT, "Ärztin", "verdict", 1, ACCEPTED, 2.5),
              Event(AT, "Ärztin", "comment", 1, 'tab\t"quote"\nline – 出血'), Event(AT, "Ärztin", "undone"))
    return Sidecar(events, "S.nii.gz", "ab" * 32, "cd" * 32, "Ärztin", 0.5, 2)


def test_what_is_read_is_what_was_written(sidecar, tmp_path):
    write_text(tmp_path / "S_desc-cmb_review.json", sidecar_text(sidecar))
    read = read_sidecar(tmp_path / "S_desc-cmb_review.json")
    assert read == sidecar and replay(read.events).to_redo == sidecar.events[2]


def test_a_finished_review_is_so_when_it_is_read(sidecar, tmp_path):
    finished = replace(sidecar, events=(*sidecar.events, Event(AT, "Ärztin", "finished", 0, True)))
    write_text(tmp_path / "S_desc-cmb_review.json", sidecar_text(finished))
    read = read_sidecar(tmp_path / "S_desc-cmb_review.json")
    assert read == finished and replay(read.events).finished and replay(read.events).finished_by == "Ärztin"
    content = json.loads((tmp_path / "S_desc-cmb_review.json").read_text(encoding="utf-8"))
    content["log"][-1]["value"] = "yes"
    (tmp_path / "S_desc-cmb_review.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(InputError, match="finished is 'yes'"):
        read_sidecar(tmp_path / "S_desc-cmb_review.json")


def test_it_is_a_review_that_can_be_trained_on(sidecar, tmp_path):
    write_text(tmp_path / "S_desc-cmb_review.json", sidecar_text(sidecar))
    review = read_review(tmp_path / "S_desc-cmb_review.json")
    assert [(finding.id, finding.verdict) for finding in review.findings] == [(1, ACCEPTED), (2, "undecided")]
    assert (review.input_name, review.reader, review.modality) == ("S.nii.gz", "Ärztin", "gre")


def test_a_review_without_its_log_is_no_sidecar(sidecar, tmp_path):
    path = tmp_path / "S_desc-cmb_review.json"
    write_text(path, sidecar_text(sidecar))
    content = json.loads(path.read_text(encoding="utf-8"))
    del content["log"]
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(InputError, match="S_desc-cmb_review.json has no 'log'"):
        read_sidecar(path)


@pytest.mark.parametrize(("key", "value"), [("threshold", "high"), ("current", 1.5), ("voxels_sha256", 3),
                                            ("log", [{"action": "verdict"}]), ("schema_version", "9.0")])
def test_damage_is_told_with_the_name(key, value, sidecar, tmp_path):
    path = tmp_path / "S_desc-cmb_review.json"
    write_text(path, sidecar_text(sidecar))
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), key: value}), encoding="utf-8")
    with pytest.raises(InputError, match="S_desc-cmb_review.json"):
        read_sidecar(path)


def test_cut_off_and_missing_files(sidecar, tmp_path):
    path = tmp_path / "S_desc-cmb_review.json"
    write_text(path, sidecar_text(sidecar))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match="damaged"):
        read_sidecar(path)
    with pytest.raises(InputError, match="cannot be opened"):
        read_sidecar(tmp_path / "none.json")


def test_a_failed_write_leaves_the_former_one(sidecar, tmp_path, monkeypatch):
    path = tmp_path / "S_desc-cmb_review.json"
    write_text(path, sidecar_text(sidecar))

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError):
        write_text(path, sidecar_text(replace(sidecar, current=1)))
    assert read_sidecar(path) == sidecar and [p.name for p in tmp_path.iterdir()] == [path.name]


def test_the_digest_follows_voxels_and_place_only():
    voxels, place = np.arange(24, dtype=np.int16).reshape(2, 3, 4), np.diag([0.9, 0.9, 2, 1])
    own = voxels_sha256(voxels, place)
    assert own == voxels_sha256(np.asfortranarray(voxels), place + 1e-9) == voxels_sha256(voxels, place * [1, 1, 1, 1])
    shifted, changed = place.copy(), voxels.copy()
    shifted[0, 3], changed[1, 2, 3] = 1.0, 99
    for other in (voxels_sha256(voxels, shifted), voxels_sha256(changed, place),
                  voxels_sha256(voxels.astype(np.int32), place), voxels_sha256(voxels.reshape(3, 2, 4), place)):
        assert other != own


def test_the_places():
    plain, marked = sidecar_places(Path("/data/sub-1_T2starw.nii.gz"), "0123456789")
    assert plain == Path("/data/sub-1_T2starw_desc-cmb_review.json")
    assert marked == Path("/data/sub-1_T2starw-01234567_desc-cmb_review.json")

"""The log of a review: replay, unlimited undo and redo, a new detection that loses no verdict, JSON and table."""

import csv
import io
import json
from dataclasses import replace

import numpy as np
import pytest
from microbleeds import review_log
from microbleeds.errors import InputError
from microbleeds.review_files import ACCEPTED, CERTAINTIES, MIMIC_KINDS, REJECTED, UNDECIDED, VERDICTS
from microbleeds.review_log import Event, ReviewState, events_from_json, events_to_json, extended, replay
from review_phantoms import detection

PLACES = [(0.0, 0.0, 0.0), (30.0, 0.0, 0.0), (0.0, 30.0, 5.5)]


def event(action, finding=0, value=None, seconds=1.25):
    return Event("2026-11-23T12:00:00+00:00", "Ärztin", action, finding, value, seconds)


def detected(places=PLACES, state=None, **options):
    return event(review_log.DETECTED, 0, review_log.detection_value(detection(places, **options),
                                                                    state or ReviewState()))


def verdicts(events):
    return {item.id: item.verdict for item in replay(events).items}


def test_detection_gives_open_items():
    state = replay([detected()])
    assert [item.position_ras for item in state.items] == PLACES
    assert {item.verdict for item in state.items} == {UNDECIDED} and not any(item.touched for item in state.items)
    assert state.to_undo is None and state.next_id == 4 and state.provenance["modality"] == "gre"


def test_what_the_clean_up_removed_is_no_candidate_but_what_is_improbable_is():
    value = review_log.detection_value(detection(PLACES, removed={1: "step3_cleanup: volume",
                                                                  2: "step2_classify: probability"}), ReviewState())
    assert [one["label"] for one in value["candidates"]] == [1, 3]


def test_verdicts_and_qualifiers():
    events = [detected(), event("verdict", 1, ACCEPTED), event("certainty", 1, "possible"),
              event("verdict", 2, REJECTED), event("mimic_kind", 2, "vessel"), event("comment", 2, "by a \"vein\"")]
    first, second, third = replay(events).items
    assert (first.verdict, first.certainty) == (ACCEPTED, "possible")
    assert (second.verdict, second.mimic_kind, second.comment) == (REJECTED, "vessel", "by a \"vein\"")
    assert not third.touched and first.touched and second.touched
    changed = replay([*events, event("verdict", 2, ACCEPTED)]).item(2)
    assert changed.mimic_kind == "" and changed.comment


def test_undo_and_redo_by_hand():
    events = [detected(), event("verdict", 1, ACCEPTED), event("skipped", 2), event("verdict", 3, REJECTED)]
    assert replay(events).to_undo == events[-1]
    events += [event("undone")]
    assert verdicts(events) == {1: ACCEPTED, 2: UNDECIDED, 3: UNDECIDED} and replay(events).to_redo == events[3]
    events += [event("undone")]
    assert verdicts(events)[1] == UNDECIDED and replay(events).to_undo is None
    events += [event("redone"), event("redone")]
    assert verdicts(events) == {1: ACCEPTED, 2: UNDECIDED, 3: REJECTED} and replay(events).to_redo is None
    events += [event("undone"), event("verdict", 2, ACCEPTED)]
    assert replay(events).to_redo is None, "a new action ends redoing"


def outlined(before, after):
    return review_log.outline_value(before, after, 2.0)


def test_a_changed_outline_changes_the_size_and_survives_a_detection():
    before, after = np.argwhere(np.ones((2, 2, 1))), np.argwhere(np.ones((3, 3, 2)))
    events = [detected(), event("outlined", 2, outlined(before, after))]
    item = replay(events).item(2)
    assert item.outlined and item.touched and item.volume_mm3 == 36 and item.diameter_mm == pytest.approx(4.0968, 1e-4)
    again = replay([*events, detected(state=replay(events))]).item(2)
    assert again.outlined and again.volume_mm3 == 36 and not again.added_by_reader
    assert not replay([*events, event("undone")]).item(2).outlined
    content = events_to_json([*events, event("outlined", 2, {**outlined(before, after), "after": {"corner": [1]}})])
    with pytest.raises(InputError, match="region"):
        events_from_json(content, "x.json")


def test_an_id_is_never_given_again():
    added = {"ras_mm": [0, 0, 9], "diameter_mm": 2.0}
    events = [detected(), event("added", 4, added), event("removed", 4)]
    assert replay(events).next_id == 5
    again = detected([PLACES[0], (90.0, 0.0, 0.0)], state=replay(events))
    assert [one["id"] for one in again.value["candidates"]] == [1, 5]


def test_items_know_the_distance_to_the_edge():
    value = review_log.detection_value(detection(PLACES), ReviewState())
    value["candidates"][0]["edge_mm"] = 3.5
    del value["candidates"][1]["edge_mm"]
    assert [item.edge_mm for item in replay([event(review_log.DETECTED, 0, value)]).items] == [3.5, None, None]


def random_events(rng, count):
    """Return a detection and random actions that are possible one after the other."""
    events, state = extended((), detected())
    while len(events) < count:
        numbers = [item.id for item in state.items] or [99]
        action = review_log.ACTIONS[rng.integers(1, len(review_log.ACTIONS))]
        value = {"verdict": str(rng.choice(VERDICTS)), "certainty": str(rng.choice(CERTAINTIES)),
                 "mimic_kind": str(rng.choice(MIMIC_KINDS)), "comment": f"note {rng.integers(100)}",
                 "moved": rng.normal(size=3).tolist(),
                 "added": {"ras_mm": rng.normal(size=3).tolist(), "diameter_mm": 2.0},
                 "outlined": outlined(rng.integers(0, 9, (rng.integers(5), 3)), rng.integers(0, 9, (4, 3))),
                 "finished": bool(rng.integers(2))}.get(action)
        number = {"added": state.next_id, "finished": 0}.get(action, int(rng.choice(numbers)))
        try:
            events, state = extended(events, event(action, number, value))
        except ValueError:
            continue
    return events


@pytest.mark.parametrize("seed", range(30))
def test_undoing_all_and_redoing_all_ends_where_it_began(seed):
    events = random_events(np.random.default_rng(seed), 60)
    states = [replay(events)]
    while states[-1].to_undo is not None:
        events, state = extended(events, event("undone"))
        states.append(state)
    assert states[-1].items == replay(events[:1]).items and not states[-1].finished, "all is as detected"
    for expected in states[-2::-1]:
        events, state = extended(events, event("redone"))
        assert (state.items, state.finished, state.finished_by) == (expected.items, expected.finished,
                                                                    expected.finished_by)
    read = review_log.events_from_json(json.loads(json.dumps(review_log.events_to_json(events))), "x")
    assert replay(read) == replay(events), "nothing is lost in a file"


def finished(events):
    state = replay(events)
    return state.finished, state.finished_by


def test_a_review_is_finished_until_something_is_open_again():
    events = [detected(), event("verdict", 1, ACCEPTED), replace(event("finished", 0, True), reader="B")]
    assert finished(events[:2]) == (False, "") and finished(events) == (True, "B")
    later = [event("verdict", 2, REJECTED), event("mimic_kind", 2, "vessel"), event("comment", 3, "?"),
             event("added", 4, {"ras_mm": [60, 0, 0], "diameter_mm": 2}), event("removed", 4), event("skipped", 1)]
    assert finished([*events, *later]) == (True, "B"), "who finished it, not who acted last"
    assert finished([*events, event("verdict", 1, UNDECIDED)]) == (False, "")
    assert finished([*events, event("verdict", 1, UNDECIDED), event("undone")]) == (True, "B")
    assert finished([*events, event("finished", 0, False)]) == (False, "")
    assert finished([*events, event("undone")]) == (False, "")
    assert finished([*events, event("undone"), event("redone")]) == (True, "B")
    again = [*events, detected(state=replay(events))]
    assert finished(again) == (False, "") and replay(again).item(1).verdict == ACCEPTED
    assert finished([*again, event("finished", 0, True)]) == (True, "Ärztin")


def test_a_scan_without_findings_can_be_finished():
    assert finished([detected([]), event("finished", 0, True)]) == (True, "Ärztin")
    assert finished([event("finished", 0, True)]) == (True, "Ärztin"), "also without a detection"


def test_only_what_a_reader_added_can_be_removed():
    events, _ = extended([detected()], event("added", 4, {"ras_mm": [9, 9, 9], "diameter_mm": 2}))
    added = replay(events).item(4)
    assert added.verdict == ACCEPTED and added.added_by_reader and added.position_ras == (9.0, 9.0, 9.0)
    assert replay([*events, event("removed", 4)]).item(4) is None
    with pytest.raises(ValueError, match="only rejected"):
        replay([*events, event("removed", 1)])


def test_a_moved_point_keeps_its_source():
    item = replay([detected(), event("moved", 1, [1, 2, 3])]).item(1)
    assert item.position_ras == (1.0, 2.0, 3.0) and item.detected_ras == PLACES[0] and item.touched


@pytest.mark.parametrize("wrong", [
    event("verdict", 7, ACCEPTED), event("verdict", 1, "maybe"), event("mimic_kind", 1, "vessel"),
    event("added", 1, {"ras_mm": [0, 0, 0], "diameter_mm": 2}), event("moved", 1, [0, float("nan"), 0]),
    event("moved", 1, [0, 0]), event("comment", 1, 3), event("undone"), event("redone"), event("danced", 1),
    event("finished", 0, 1), event("finished", 0, "yes"), event("finished"), event("finished", 1, True)])
def test_what_cannot_follow_is_refused(wrong):
    with pytest.raises(ValueError):
        extended([detected()], wrong)


def test_new_detection_keeps_every_verdict_whose_finding_is_still_there():
    events = (detected(), event("verdict", 1, REJECTED), event("mimic_kind", 1, "vessel"),
              event("verdict", 2, ACCEPTED), event("added", 4, {"ras_mm": [60, 0, 0], "diameter_mm": 2}),
              event("added", 5, {"ras_mm": [0, 60, 0], "diameter_mm": 2}))
    # 1 a little aside, 2 and 3 gone, 4 found this time too, one new
    places = [(-40.0, 0.0, 0.0), (0.5, 0.5, 0.0), (60.5, 0.0, 0.0)]
    events = (*events, detected(places, replay(events)))
    state = replay(events)
    assert {item.id: (item.verdict, item.added_by_reader) for item in state.items} == {
        1: (REJECTED, False), 2: (ACCEPTED, True), 4: (ACCEPTED, False), 5: (ACCEPTED, True), 6: (UNDECIDED, False)}
    assert state.item(1).mimic_kind == "vessel" and state.item(1).position_ras == (0.5, 0.5, 0.0)
    assert state.item(4).position_ras == (60.0, 0.0, 0.0), "where the reader put it"
    assert state.to_undo is None, "what was done before a detection stays"
    assert verdicts((*events, event("verdict", 6, ACCEPTED), event("undone")))[2] == ACCEPTED


def test_two_candidates_never_get_the_same_item():
    state = replay([detected([(0.0, 0.0, 0.0)])])
    value = review_log.detection_value(detection([(0.9, 0, 0), (0.4, 0, 0)]), state)
    assert {one["label"]: one["id"] for one in value["candidates"]} == {1: 2, 2: 1}


def test_the_review_leaves_out_what_nobody_was_shown():
    events = [detected(probabilities=[0.9, 0.3, 0.2]), event("verdict", 3, REJECTED)]
    review = review_log.review_of(replay(events), 0.5, "S.nii.gz", "00", "Ärztin")
    assert [(finding.id, finding.verdict) for finding in review.findings] == [(1, UNDECIDED), (3, REJECTED)]
    assert (review.input_name, review.input_sha256, review.modality) == ("S.nii.gz", "00", "gre")


def test_the_table_can_be_read_back():
    events = [detected(), event("comment", 1, 'tab\t"quote"\nline – 出血'), event("verdict", 2, ACCEPTED)]
    rows = list(csv.reader(io.StringIO(review_log.events_table(events)), delimiter="\t"))
    assert tuple(rows[0]) == review_log.TABLE_COLUMNS
    assert json.loads(rows[1][4]) == {"model_name": "phantom", "candidates": 3}
    assert rows[2][:4] == [events[1].at, "Ärztin", "comment", "1"]
    assert json.loads(rows[2][4]) == events[1].value and rows[2][5] == "1.2"


@pytest.mark.parametrize("harm", [
    lambda log: log[1].pop("at"), lambda log: log[1].update(finding="1"), lambda log: log[1].update(value="maybe"),
    lambda log: log[0]["value"].pop("candidates"), lambda log: log.insert(0, "verdict")])
def test_a_damaged_log_is_refused_in_one_sentence(harm):
    log = review_log.events_to_json([detected(), event("verdict", 1, ACCEPTED)])
    harm(log)
    with pytest.raises(InputError, match="S_desc-cmb_review.json"):
        review_log.events_from_json(log, "S_desc-cmb_review.json")


from dataclasses import replace

import numpy as np
import pytest
from microbleeds.errors import InputError
from microbleeds.regions import REGIONS
from microbleeds.reviewed_case import Acquisition, CaseFinding, ReviewedCase
from microbleeds.subject_counts import (
    BASELINE_THRESHOLD,
    SIDEROSIS,
    SIZES,
    Tally,
    ariah_band,
    comparability,
    count_microbleeds,
    describe_acquisition,
    pattern_of,
    size_class,
)
from microbleeds.volume import Volume

SCAN = Volume(np.zeros((4, 4, 4), np.float32), np.eye(4))
GRE = Acquisition("gre", 3.0, 20.0, (0.9, 0.9, 2.0))


def finding(number, region="", side="", diameter=3.0, verdict="accepted", certainty="definite"):
    return CaseFinding(number, (0.0, 0.0, 0.0), diameter, 14.0, 0.9, verdict, certainty, region=region, side=side)


def case(*findings, **changes):
    changes = {"is_reviewed": True, "is_finished": True, "reader": "AB", **changes}
    return ReviewedCase("sub-01", "", "sub-01_T2starw", "sub-01_T2starw.nii.gz", "", SCAN,
                        SCAN.with_data(np.zeros(SCAN.shape, np.int32)), GRE, findings, **changes)


MIXED_CASE = case(
    finding(1, "frontal", "left"),
    finding(2, "frontal", "left", 5.0, certainty="possible"),
    finding(3, "frontal", "right", 4.999, certainty=""),
    finding(4, "thalamus", "right", 10.0),
    finding(5, "brainstem", "", 2.0),
    finding(6, "", "", 0.0, certainty="possible"),
    finding(7, "occipital", "left", 10.01),
    finding(8, "parietal", "left", verdict="rejected"),
    finding(9, "parietal", "left", verdict="undecided", certainty=""))


def test_definite_possible_and_total():
    counts = count_microbleeds(MIXED_CASE)
    assert (counts.definite, counts.possible, counts.total) == (4, 2, 6)
    assert counts.tally.unreviewed == 0
    assert counts.too_large == Tally(definite=1)
    assert counts.undecided == 1


def test_regions_sides_and_categories():
    counts = count_microbleeds(MIXED_CASE)
    assert counts.by_region == {("brainstem", ""): Tally(1), ("thalamus", "right"): Tally(1),
                                ("frontal", "left"): Tally(1, 1), ("frontal", "right"): Tally(1),
                                ("", ""): Tally(0, 1)}
    assert list(counts.by_region)[0] == ("brainstem", "")
    assert {name: tally.total for name, tally in counts.by_category.items()} == {
        "infratentorial": 1, "deep": 1, "lobar": 3, "": 1}
    assert counts.by_category_and_side["lobar", "left"] == Tally(1, 1)
    assert counts.by_category_and_side["lobar", "right"] == Tally(1)
    assert counts.by_category_and_side["deep", "left"].total == 0


def test_sums_are_the_total():
    counts = count_microbleeds(MIXED_CASE)
    for table in (counts.by_region, counts.by_category, counts.by_category_and_side, counts.by_size):
        assert sum(tally.definite for tally in table.values()) == counts.definite
        assert sum(tally.possible for tally in table.values()) == counts.possible


def test_a_pattern_that_rests_on_unsure_regions_says_so():
    lobar, deep = (replace(finding(1, "frontal", "left"), region_confidence=0.9),
                   replace(finding(2, "thalamus", "left"), region_confidence=0.59))
    counts = count_microbleeds(case(lobar, deep))
    assert (counts.pattern, counts.sure_pattern, counts.unsure) == ("mixed", "strictly lobar", 1)
    note, = counts.notes
    assert "without these it is strictly lobar" in note
    # nothing to say where a reader has chosen the region, or where the pattern is the same without it
    for other in (replace(deep, region_confidence=None), replace(deep, region_confidence=0.6),
                  replace(lobar, id=2, region_confidence=0.1)):
        assert not count_microbleeds(case(lobar, other)).notes


def test_size_classes():
    counts = count_microbleeds(MIXED_CASE)
    assert [counts.by_size[name].total for name in SIZES] == [3, 2, 1]
    assert [size_class(d) for d in (0.0, 4.99, 5.0, 10.0)] == ["unknown", "< 5 mm", "5-10 mm", "5-10 mm"]


def test_without_a_review_everything_is_unreviewed():
    counts = count_microbleeds(case(finding(1, "frontal", "left", certainty=""), finding(2, verdict="undecided"),
                                    is_reviewed=False))
    assert (counts.definite, counts.possible, counts.tally.unreviewed, counts.total) == (0, 0, 2, 2)
    assert counts.undecided == 0 and not counts.is_reviewed
    assert counts.notes[0].startswith("Unreviewed")


def test_notes_say_what_is_not_in_the_counts():
    notes = " ".join(count_microbleeds(MIXED_CASE).notes)
    assert "1 finding is larger than 10 mm" in notes
    assert "1 finding is without a verdict" in notes
    assert "1 finding is without a region" in notes
    assert "1 finding is of unknown diameter" in notes
    assert count_microbleeds(case(finding(1, "frontal", "left"))).notes == ()


def test_several_are_in_the_plural():
    assert "2 findings are without a region" in count_microbleeds(case(finding(1), finding(2))).notes[0]


@pytest.mark.parametrize("regions, pattern", [
    ([], "none"),
    (["frontal", "insula"], "strictly lobar"),
    (["thalamus", "deep and periventricular white matter"], "strictly deep/infratentorial"),
    (["brainstem"], "strictly deep/infratentorial"),
    (["brainstem", "temporal"], "mixed"),
    (["thalamus", "occipital"], "mixed"),
    (["cerebellum", "cerebellum"], "cerebellar only"),
    (["cerebellum", "parietal"], "strictly lobar"),
    (["cerebellum", "corpus callosum"], "strictly deep/infratentorial"),
    (["cerebellum", "parietal", "insula", "thalamus"], "mixed"),
    ([""], "not determined"),
    (["", "frontal"], "not determined"),
    (["", "thalamus"], "not determined"),
    (["", "cerebellum"], "not determined"),
    (["", "thalamus", "frontal"], "mixed")])
def test_pattern(regions, pattern):
    assert pattern_of(regions) == pattern
    assert count_microbleeds(case(*(finding(n, region) for n, region in enumerate(regions, 1)))).pattern == pattern


def test_every_region_has_a_pattern():
    patterns = [pattern_of([region]) for region in REGIONS]
    assert patterns.count("strictly lobar") == 5 and patterns.count("cerebellar only") == 1
    assert patterns.count("strictly deep/infratentorial") == 7


def test_what_is_too_large_does_not_change_the_pattern():
    counts = count_microbleeds(case(finding(1, "frontal"), finding(2, "thalamus", diameter=15.0)))
    assert counts.pattern == "strictly lobar" and counts.total == 1


@pytest.mark.parametrize("number, group, exceeds", [
    (0, "0", False), (1, "1", False), (2, "2-4", False), (4, "2-4", False), (5, "5-10", True), (10, "5-10", True),
    (11, "> 10", True), (80, "> 10", True)])
def test_groups_and_baseline_threshold(number, group, exceeds):
    counts = count_microbleeds(case(*(finding(n) for n in range(1, number + 1))))
    assert (counts.group, counts.exceeds_baseline_threshold) == (group, exceeds)
    assert BASELINE_THRESHOLD == 4


@pytest.mark.parametrize("number, band", [
    (0, "none"), (1, "mild"), (4, "mild"), (5, "moderate"), (9, "moderate"), (10, "severe"), (50, "severe")])
def test_ariah_bands(number, band):
    assert ariah_band(number) == band


def test_a_negative_number_has_no_band():
    with pytest.raises(ValueError, match="-1"):
        ariah_band(-1)


def test_siderosis_is_said_not_to_be_detected():
    assert "siderosis is not detected" in SIDEROSIS


def test_acquisition_in_words():
    assert describe_acquisition(GRE) == "T2*-GRE, 3 T, TE 20 ms, 0.9 × 0.9 × 2 mm"
    unknown = Acquisition("auto", None, None, (0.45, 0.45, 4.0))
    assert describe_acquisition(unknown) == (
        "sequence not known, field strength not known, echo time not known, 0.45 × 0.45 × 4 mm")
    assert describe_acquisition(Acquisition("swi", 1.494, 40.12, (1, 1, 1.25))) == (
        "SWI, 1.49 T, TE 40.1 ms, 1 × 1 × 1.25 mm")
    assert count_microbleeds(MIXED_CASE).acquisition == describe_acquisition(GRE)


def test_same_protocol_is_comparable():
    assert comparability(GRE, replace(GRE, field_strength_t=2.89, echo_time_ms=23.9)) == ()


@pytest.mark.parametrize("one, other", [("gre", "swi"), ("swi", "gre"), ("gre", "qsm")])
def test_counts_of_different_sequences_are_refused(one, other):
    with pytest.raises(InputError) as error:
        comparability(replace(GRE, modality=one), replace(GRE, modality=other))
    names = {"gre": "T2*-GRE", "swi": "SWI", "qsm": "QSM"}
    assert f"baseline is {names[one]}" in str(error.value) and f"follow-up is {names[other]}" in str(error.value)


@pytest.mark.parametrize("changes, words", [
    ({"field_strength_t": 1.5}, "field strength was 3 T at baseline and is 1.5 T"),
    ({"echo_time_ms": 24.5}, "echo time was 20 ms at baseline and is 24.5 ms"),
    ({"echo_time_ms": 16.0}, "echo time was 20 ms"),
    ({"voxel_mm": (0.9, 0.9, 4.0)}, "slice thickness was 2 mm at baseline and is 4 mm"),
    ({"field_strength_t": None}, "field strength of the follow-up is not known"),
    ({"echo_time_ms": None}, "echo time of the follow-up is not known"),
    ({"modality": "auto"}, "sequence of the follow-up is not known")])
def test_what_differs_or_is_unknown_is_said(changes, words):
    said = comparability(GRE, replace(GRE, **changes))
    assert len(said) == 1 and words in said[0]


def test_both_unknown():
    unknown = Acquisition("auto", None, None, (1.0, 1.0, 2.0))
    said = comparability(unknown, unknown)
    assert len(said) == 3 and all("the baseline and the follow-up" in sentence for sentence in said)

from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from microbleeds.findings import DetectionResult, Extrema, Finding, Provenance
from microbleeds.regions import Place
from microbleeds.report import MAX_PICTURED, report_html
from microbleeds.volume import Volume

PROVENANCE = Provenance(
    input_name="a<b>.nii.gz", input_sha256="12" * 32, modality="gre", modality_reason="dark veins & no phase",
    model_name="m1", model_sha256="34" * 32, operating_point="balanced", shape=(40, 40, 20),
    spacing_mm=(1.0, 1.0, 3.0), parameters={"classify": {"threshold": 0.5}}, versions={"microbleeds": "0.1.0"},
    seconds={"candidates": 1.5, "classify": 0.5}, warnings=("Slices are <thick>.",))
SCAN = Volume(np.random.default_rng(0).normal(100, 5, (40, 40, 20)).astype(np.int16),
              np.diag([-1.0, 1.0, 3.0, 1.0]))


def candidate(number, removed_by=None, position=(-20.0, -20.0, 30.0)):
    return Finding(number, position, 0.9, 0.8, 14.1, 3.0, ((0.0,) * 3, (1.0,) * 3),
                   Extrema(1.0, 2.0, (0.0,) * 3, (0.0,) * 3), "removed" if removed_by else "kept", removed_by)


def page(*candidates, **changes):
    return report_html(DetectionResult(candidates, replace(PROVENANCE, **changes)), SCAN)


class Checker(HTMLParser):
    """Collects references and checks that tags nest."""

    def __init__(self, text):
        super().__init__()
        self.open, self.references, self.tags = [], [], []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.references += [value for name, value in attributes if name in ("href", "src", "xlink:href")]
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_no_findings_is_a_normal_page():
    text = page(candidate(1, "step2_classify: probability"), candidate(2, "step3_cleanup: volume"))
    assert "No microbleeds found" in text and "0 of 2 candidates kept" in text
    assert "<svg" not in text and "<h2>Findings" not in text
    assert "step3_cleanup: volume" in text
    Checker(text)


def test_no_candidates_at_all():
    text = page()
    assert "No microbleeds found" in text and "Candidates removed" not in text
    Checker(text)


def test_each_finding_has_a_row_and_four_pictures():
    checker = Checker(page(candidate(1), candidate(3), candidate(2, "step3_cleanup: shape")))
    assert checker.tags.count("image") == 8
    text = page(candidate(1), candidate(3))
    assert "2 microbleeds found" in text and "1 microbleed found" in page(candidate(1))
    assert text.count('id="finding-3"') == 1 and 'href="#finding-3"' in text


def test_the_page_is_self_contained_and_nests():
    checker = Checker(page(candidate(1), candidate(2)))
    assert checker.references
    assert all(ref.startswith(("data:image/png;base64,", "#finding-")) for ref in checker.references)
    assert "script" not in checker.tags and "link" not in checker.tags


def test_names_and_sentences_are_escaped():
    text = page(candidate(1, "step3_cleanup: <rule>"))
    assert "a&lt;b&gt;.nii.gz" in text and "&lt;thick&gt;" in text and "veins &amp; no" in text
    assert "<b>.nii" not in text and "<thick>" not in text and "<rule>" not in text


@pytest.mark.parametrize("simulated", [True, False])
def test_banners(simulated):
    body = page(candidate(1), simulated=simulated).split("<body>")[1]
    assert body.index("Research tool - not for clinical use") < body.index("<h1>")
    assert ("Simulated scan" in body) is simulated


def test_provenance_is_on_the_page():
    text = page()
    for expected in ("12" * 32, "34" * 32, "GRE: dark veins", "m1", "2.0 in all: candidates 1.5", "0.5}}"):
        assert expected in text


@pytest.mark.parametrize(("position", "expected"), [((12.34, -5.0, 0.0), "R 12.3 P 5.0 S 0.0 mm"),
                                                    ((-12.34, 5.0, -0.01), "L 12.3 A 5.0 S 0.0 mm"),
                                                    ((0.0, 0.0, -0.06), "R 0.0 A 0.0 I 0.1 mm")])
def test_positions_are_written_with_sides(position, expected):
    assert expected in page(candidate(1, position=position))


def test_regions_are_told_with_their_confidence():
    known = replace(candidate(1), place=Place("thalamus", "left", 0.514, 0.9, 1.0))
    text = page(known, candidate(2))
    assert "<td>left thalamus (51%)</td>" in text and "<td>–</td>" in text
    assert text.split('id="finding-1"')[1].split("</h3>")[0].endswith("<span>left thalamus</span>")
    Checker(text)


@pytest.mark.parametrize(("count", "pictured"), [(MAX_PICTURED, MAX_PICTURED), (MAX_PICTURED + 1, MAX_PICTURED)])
def test_many_findings_are_all_listed_but_not_all_pictured(count, pictured):
    text = page(*(candidate(number + 1) for number in range(count)))
    assert text.count('<section class="finding"') == pictured
    assert ("Pictures are shown for" in text) is (count > MAX_PICTURED)
    assert f"<td>{count}</td>" in text if count > MAX_PICTURED else f'href="#finding-{count}"' in text


def test_a_finding_outside_the_scan_still_gives_a_page():
    Checker(page(candidate(1, position=(500.0, 0.0, 0.0))))

import errno
import os
import re
from base64 import b64encode
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from microbleeds.errors import InputError
from microbleeds.export.page import case_page, write_page
from microbleeds.export.report_content import MAX_PICTURED, shown
from microbleeds.geometry import to_canonical
from microbleeds.longitudinal import NEW, picture_pair
from microbleeds.regions import REGIONS
from microbleeds.snapshots import PLANES, crop, grey_window, png
from microbleeds.subject_counts import SIDEROSIS, count_microbleeds, describe_acquisition
from report_phantoms import COMMENTS, SHA256, case, many, unreviewed, with_baseline


class Page(HTMLParser):
    """Reads a page: its tables, texts by class, references; checks that tags nest."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.references, self.tables, self.texts = [], [], [], {}, {}
        self.feed(text)
        assert not self.open
        self.all = "".join(self.texts.get("", []))

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.tags.append(tag)
        self.references += [value for name, value in attributes.items() if name in ("href", "src", "xlink:href")]
        if tag == "table":
            self.rows = self.tables.setdefault(attributes.get("class", ""), [])
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag != "meta":
            self.open.append((tag, attributes.get("class", "")))

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag

    def handle_data(self, data):
        tags = [tag for tag, _ in self.open]
        if "style" in tags:
            return
        if "td" in tags or "th" in tags:
            self.rows[-1][-1] += data
        for name in {"", *(name for _, name in self.open)}:
            self.texts.setdefault(name, []).append(data)

    def pairs(self):
        return dict(row for row in self.tables["pairs"])


def page(made, comparison=None):
    return Page(case_page(made, count_microbleeds(made), comparison))


def data_uri(pixels):
    return "data:image/png;base64," + b64encode(png(pixels)).decode("ascii")


def test_counts_and_what_they_mean():
    read = page(case())
    assert read.texts["tiles"] == ["2", "Definite", "2", "Possible", "4", "Total"]
    pairs = read.pairs()
    assert pairs["Group"] == "2-4" and pairs["Pattern"] == "mixed"
    assert pairs["Category"] == "lobar 2, deep 1, infratentorial 1" and pairs["Side"] == "right 2, left 2"
    assert pairs["Size"] == "< 5 mm: 2, 5-10 mm: 1, unknown: 1"
    assert pairs["Threshold"].startswith("Total 4, not above the baseline threshold of 4.")
    assert "siderosis is not detected" in pairs["Siderosis"]
    assert page(many(5)).pairs()["Threshold"].startswith("Total 5, above the baseline threshold of 4.")


def test_the_acquisition_stands_beside_every_count():
    made, comparison = with_baseline()
    beside = page(made, comparison).texts["beside"]
    assert beside.count(describe_acquisition(made.acquisition)) == 3
    assert describe_acquisition(made.acquisition) == "T2*-GRE, 3 T, TE 20 ms, 1 × 1 × 2 mm"


def test_the_region_table_is_the_sheet_of_the_mars():
    head, *rows = page(case()).tables["regions"]
    assert head == ["No.", "Region", "Definite R", "Definite L", "Possible R", "Possible L"]
    assert [row[1] for row in rows if row[0]] == list(REGIONS)
    assert [int(row[0]) for row in rows if row[0]] == list(range(1, 14))
    table = {name: numbers for _, name, *numbers in rows}
    found = {"frontal": ["1", "0", "0", "1"], "thalamus": ["0", "0", "0", "1"], "cerebellum": ["1", "0", "0", "0"]}
    assert {name: table[name] for name in REGIONS} == {name: found.get(name, ["0"] * 4) for name in REGIONS}
    assert table["Lobar"] == ["1", "0", "0", "1"] and table["Deep"] == ["0", "0", "0", "1"]
    assert table["Infratentorial"] == ["1", "0", "0", "0"] and table["All regions"] == ["2", "0", "0", "2"]


def test_findings_without_a_region_are_told_in_the_region_table():
    made = case()
    made = replace(made, findings=(replace(made.findings[0], region="", side=""), *made.findings[1:]))
    read = page(made)
    assert read.tables["regions"][-1][1] == "Region or side not known: 1"
    assert read.tables["findings"][1][2] == "not known"


def test_the_table_of_findings():
    head, *rows = page(case()).tables["findings"]
    assert head == ["No.", "Position (mm)", "Region", "Side", "Size (mm)", "Verdict", "Certainty", "Prob.", "Comment"]
    assert rows[0] == ["1", "R 12.3  P 5.0  S 6.0", "frontal (93%)", "right", "4.2", "accepted", "definite", "0.80",
                       COMMENTS[0]]
    assert rows[1] == ["2", "L 8.0  A 4.0  S 2.0", "thalamus", "left", "6.5", "accepted", "possible", "0.70",
                       COMMENTS[1]]
    assert rows[3] == ["4", "L 2.0  P 9.0  S 9.0", "frontal", "left", "–", "accepted, added", "possible", "–",
                       COMMENTS[3]]
    assert [row[0] for row in rows] == ["1", "2", "3", "4", "5"]
    assert rows[4][5:7] == ["undecided", "–"]


def test_what_is_too_large_is_listed_but_not_counted():
    made = case()
    made = replace(made, findings=(replace(made.findings[0], diameter_mm=12.0), *made.findings[1:]))
    read = page(made)
    assert read.texts["tiles"][4] == "3" and "larger than 10 mm" in read.all
    assert [row[0] for row in read.tables["findings"][1:]] == ["2", "3", "4", "1", "5"]
    assert read.tables["findings"][4][5] == "accepted, not counted"


def test_rejected_findings_are_told_by_kind():
    assert "2 vessel (No. 6, 8); 1 calcification (No. 7)." in page(case()).all
    assert "Rejected" not in page(case(findings=case().findings[:4])).all


def test_each_finding_has_its_crops_on_an_oblique_left_handed_scan():
    made = case()
    references, canonical = page(made).references, to_canonical(made.image)
    expected = []
    for one in made.findings[:4]:
        window = grey_window(canonical, one.position_ras)
        expected += [data_uri(crop(canonical, one.position_ras, plane, window)) for plane in PLANES]
    assert references == expected and len(set(expected)) == 12


@pytest.mark.parametrize(("count", "pictured"), [(MAX_PICTURED, MAX_PICTURED), (MAX_PICTURED + 2, MAX_PICTURED)])
def test_many_findings_are_all_listed_but_not_all_pictured(count, pictured):
    read = page(many(count))
    assert len(read.tables["findings"]) == count + 1 and read.tags.count("image") == 3 * pictured
    assert (f"The first {pictured} of {count} findings are shown" in read.all) is (count > pictured)


def test_the_page_is_self_contained():
    made, comparison = with_baseline()
    text = case_page(made, count_microbleeds(made), comparison)
    read = Page(text)
    assert read.references and all(one.startswith("data:image/png;base64,") for one in read.references)
    assert not {"script", "link", "iframe", "img"} & set(read.tags) and "url(" not in text and "@import" not in text


def test_names_and_warnings_are_escaped_wherever_they_stand():
    nasty = '</style><script>"\\'
    made = case(subject=nasty, session=nasty, scan_name=nasty, reader=nasty, warnings=(nasty,))
    text = case_page(made, count_microbleeds(made))
    assert "<script" not in text and text.count("</style>") == 1
    read = Page(text)
    assert read.texts["facts"].count(nasty) == 4 and read.texts["warnings"] == [nasty]
    # the foot of the printed page is a CSS string
    foot = re.search(r'@bottom-left \{ content: "(.*?)"; font', text)[1]
    assert re.sub(r"\\([0-9a-f]+) ", lambda code: chr(int(code[1], 16)), foot) == (
        f"Subject {nasty} · session {nasty}")


def test_what_cannot_be_shown_is_replaced():
    assert shown("a\x00b\x1bc\ud800d") == "a\ufffdb\ufffdc\ufffdd" and shown("a\r\nb\rc\td") == "a\nb\nc\td"
    page(case(reader="\udc80")).all.encode("utf-8")


@pytest.mark.parametrize("simulated", [True, False])
@pytest.mark.parametrize("reviewed", [True, False])
def test_banners(simulated, reviewed):
    made = replace(case() if reviewed else unreviewed(), simulated=simulated)
    text = case_page(made, count_microbleeds(made))
    body = text.split("<body>")[1]
    assert body.index("Research tool - not for clinical use") < body.index("<h1>")
    assert ("Simulated scan" in body) is simulated and ("Unreviewed - " in body) is not reviewed
    foot = text.split("@bottom-center")[1].split("}")[0]
    assert ("Simulated" in foot, "Unreviewed" in foot) == (simulated, not reviewed)


def test_an_unreviewed_case_has_neither_definite_nor_possible_counts():
    read = page(unreviewed())
    assert read.texts["tiles"] == ["–", "Definite", "–", "Possible", "3", "Total, unreviewed"]
    assert read.tables["regions"][0][2:] == ["Unreviewed R", "Unreviewed L"]
    assert read.tables["regions"][-1][1:] == ["All regions", "2", "1"]
    assert read.tags.count("image") == 9 and "no reader has judged it" in read.all


def test_who_when_and_how():
    read = page(case())
    assert "2026-03-04 10:30, finished" in read.texts["facts"] and "Ada" in read.texts["facts"]
    assert "2026-03-04 10:30, not marked as finished" in page(case(is_finished=False)).texts["facts"]
    pairs = read.pairs()
    assert SHA256 in pairs["Scan"] and "44 × 44 × 20 voxels" in pairs["Scan"]
    assert pairs["Model"] == f"physics-0.3, SHA-256 {'34' * 32}" and pairs["Verdicts by"] == "Ada (8)"
    assert pairs["Operating point"] == "balanced, shown from a probability of 0.1 on"
    assert pairs["Versions"] == "microbleeds 0.1.0"
    assert page(case(provenance=None, scan_sha256="")).pairs()["Model"] == "–"


def test_no_findings_is_a_normal_page():
    read = page(case(findings=()))
    assert read.texts["tiles"][4] == "0" and read.pairs()["Pattern"] == "none"
    assert "findings" not in read.tables and read.tags.count("image") == 0


def test_a_baseline_gives_the_change_and_its_band():
    made, comparison = with_baseline()
    read = page(made, comparison)
    pairs = read.pairs()
    assert pairs["Baseline"].startswith("before.nii.gz, reviewed 2026-03-04 10:30, Ada: 3 in all; T2*-GRE, 3 T")
    assert pairs["ARIA-H band"].startswith("Microhaemorrhages: mild, 2 new (none 0, mild 1-4, moderate 5-9, severe 10 "
                                           "or more).")
    assert pairs["ARIA-H band"].endswith(SIDEROSIS)
    assert pairs["New"] == "2: No. 1; No. 4" and pairs["Not seen"] == "1: baseline No. 31"
    assert pairs["Stable"] == "2: No. 2 was 12 (0.0 mm apart); No. 3 was 13 (0.0 mm apart)"
    assert pairs["Ambiguous"] == "0" and "Outside" not in pairs
    head, *rows = read.tables["findings"]
    assert head[-2] == "Change"
    assert [row[-2] for row in rows] == ["new", "stable", "stable", "new", "–"]


def test_a_baseline_gives_picture_pairs():
    made, comparison = with_baseline()
    read = page(made, comparison)
    # four findings with the baseline beside them, and one that is only in the baseline, in two planes
    assert len(read.references) == 4 * 4 + 4
    new = comparison.pairing.of_status(NEW)[0]
    before, now = picture_pair(comparison.baseline, made, comparison.pairing, new)
    assert read.references[0] == data_uri(before) != data_uri(now)
    assert read.texts["cards"].count("Axial, before") == 5 and read.texts["cards"].count("Coronal, now") == 1


def test_an_open_question_is_told_beside_the_band():
    made, comparison = with_baseline()
    first = comparison.pairing.of_status(NEW)[0]
    others = tuple(replace(first, follow_up_id=number) for number in range(100, 103))
    open_one = replace(first, status="ambiguous", candidates=())
    pairing = replace(comparison.pairing, findings=(open_one, *others, *comparison.pairing.findings[1:]))
    read = page(made, replace(comparison, pairing=pairing))
    band = read.pairs()["ARIA-H band"]
    assert "If all that are ambiguous (1) or outside the baseline (0) were new: moderate." in band
    assert "a reader has to say which is which" in read.all


def test_a_page_is_written_and_not_overwritten_unless_asked(tmp_path):
    path, made = tmp_path / "sub" / "report.html", case()
    write_page(made, count_microbleeds(made), path)
    assert path.read_text(encoding="utf-8") == case_page(made, count_microbleeds(made))
    with pytest.raises(InputError, match="report.html exists"):
        write_page(made, count_microbleeds(made), path)
    other = unreviewed()
    write_page(other, count_microbleeds(other), path, overwrite=True)
    assert path.read_text(encoding="utf-8") == case_page(other, count_microbleeds(other))


def test_a_full_disk_leaves_the_former_page(tmp_path, monkeypatch):
    path, made = tmp_path / "report.html", case()
    path.write_text("former")

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(InputError, match="report.html cannot be written"):
        write_page(made, count_microbleeds(made), path, overwrite=True)
    assert path.read_text() == "former" and [one.name for one in tmp_path.iterdir()] == ["report.html"]

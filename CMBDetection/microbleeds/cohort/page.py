"""The page of a cohort: counts, histogram, regions, and one row per scan with its thumbnail, outliers first.

Each page is complete in itself; only the reports of single scans are links. After 500 scans another page begins.
"""

from base64 import b64encode
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ..export.guards import UNREVIEWED
from ..export.table_cells import Row
from ..report import _STYLE, NOT_CLINICAL
from ..subject_counts import SEQUENCES
from .outliers import FIGURES, RULE

PAGE_ROWS = 500
"""Scans on one page: about 8 MB of thumbnails."""
MAX_FAILURES = 200
"""On the page; the table has all."""
LAST_BAR = 20
"""Larger counts share the last bar of the histogram."""

_COHORT_STYLE = """
main { max-width: 1180px; }
h1 { font-size: 26px; color: inherit; line-height: 1.2; }
.facts { margin: 4px 0 0; color: inherit; }
.histogram { display: block; width: 100%; max-width: 760px; height: auto; }
.histogram text { fill: #59636e; font-size: 11px; }
.histogram .reviewed { fill: #2f6f4f; } .histogram .unreviewed { fill: #c9a23a; }
.key i { display: inline-block; width: 12px; height: 12px; margin: 0 5px 0 14px; vertical-align: -1px; }
.rows { width: 100%; font-size: 13px; }
.rows th { position: sticky; top: 0; background: #fff; white-space: normal; vertical-align: bottom; }
.rows th, .rows td { text-align: right; vertical-align: middle; padding: 3px 8px 3px 0; }
.rows td:first-child { background: #000; padding: 0; width: 288px; }
.rows img { display: block; width: 288px; height: 96px; }
.rows td:nth-child(2), .rows th:nth-child(2), .rows td:last-child, .rows th:last-child { text-align: left;
  white-space: normal; overflow-wrap: anywhere; padding-left: 10px; }
.rows td:nth-child(2), .rows td:last-child { min-width: 180px; }
.rows .odd { background: #fde7c2; font-weight: 650; }
.rows .outlier td:nth-child(2) { border-left: 4px solid #d9822b; }
.rows small { color: #59636e; }
.unreviewed-count { color: #8a6a12; }
.words td { white-space: normal; overflow-wrap: anywhere; }
.regions th:nth-child(2), .regions td:nth-child(2) { text-align: left; }
"""


@dataclass(frozen=True)
class MemberOnPage:
    """What the page tells of one scan; `odd` names the figures by which it stands out."""

    name: str
    participant: str
    session: str
    report: str
    thumbnail: Path
    total: int
    status: str
    definite: int
    possible: int
    sequence: str
    pattern: str
    figures: Mapping[str, Any]
    odd: tuple[str, ...]
    remarks: tuple[str, ...]
    largest_deviation: float


@dataclass(frozen=True)
class PageContent:
    """What the pages tell.

    Attributes
    ----------
    scans, reviewed, finished, open, simulated : int
        All scans of the group; of those with a result the reviewed, finished and simulated ones; scans that have
        neither result nor failure.
    members : tuple of MemberOnPage
        Those with a result, in the order of the page.
    failures : tuple of (str, str)
        Scan and reason.
    notes : tuple of str
    histogram, regions : tuple of Row
        See `group.histogram_rows` and `group.region_rows`.
    """

    scans: int
    members: tuple[MemberOnPage, ...]
    reviewed: int
    finished: int
    failures: tuple[tuple[str, str], ...]
    open: int
    simulated: int
    notes: tuple[str, ...]
    histogram: tuple[Row, ...]
    regions: tuple[Row, ...]


def cohort_pages(content: PageContent) -> Iterator[tuple[str, str]]:
    """Give (file name, HTML document) of each page, one at a time; the first has what concerns all scans."""
    parts = [content.members[first:first + PAGE_ROWS] for first in range(0, len(content.members), PAGE_ROWS)]
    names = ["cohort.html", *(f"cohort_{number}.html" for number in range(2, len(parts) + 1))]
    for name, members in zip(names, parts, strict=True):
        first = name == names[0]
        body = [_banners(content), "<main>", f"<h1>Cohort of {_scans(content.scans)}</h1>", _facts(content)]
        body += [_notes(content), _histograms(content), _regions(content), _failures(content)] if first else []
        body += [_heading("Scans"), f'<p class="note">Those that stand out come first. {escape(RULE)}</p>',
                 _links(names, name), _members(members), _links(names, name), "</main>"]
        yield name, ('<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
                     f'<title>Microbleeds of a cohort</title>\n<style>{_STYLE}{_COHORT_STYLE}</style></head>\n<body>\n'
                     + "\n".join(filter(None, body)) + "\n</body></html>\n")


def _banners(content: PageContent) -> str:
    banners = f'<div class="banner">{NOT_CLINICAL}</div>'
    if content.simulated:
        banners += (f'<div class="banner simulated">{content.simulated} of {_scans(len(content.members))} '
                    "simulated - not from patients or volunteers</div>")
    return banners


def _facts(content: PageContent) -> str:
    unreviewed = len(content.members) - content.reviewed
    outliers = sum(bool(member.odd) for member in content.members)
    sentences = [f"{len(content.members)} with a result, {len(content.failures)} failed, {content.open} not run yet; "
                 f"{outliers} stand out."]
    if content.reviewed:
        sentences.append(f"{content.reviewed} reviewed ({content.finished} finished): there the readers' verdicts "
                         "count, definite and possible.")
    if unreviewed:
        sentences.append(f"{unreviewed} unreviewed: there the counts are the detector's, nobody has judged them.")
    sentences.append("A subject with several scans is counted once for each.")
    return "".join(f'<p class="facts">{escape(sentence)}</p>' for sentence in sentences)


def _notes(content: PageContent) -> str:
    return f'<div class="warnings">{"".join(f"<p>{escape(one)}</p>" for one in content.notes)}</div>' \
        if content.notes else ""


def _histograms(content: PageContent) -> str:
    key = ('<p class="note key">Scans by number of microbleeds<i style="background:#2f6f4f"></i>reviewed'
           '<i style="background:#c9a23a"></i>unreviewed</p>')
    return _heading("Counts") + key + "".join(
        f"<h3>{escape(_sequence(sequence))}</h3>{_histogram(rows)}"
        for sequence, rows in _by_sequence(content.histogram).items())


def _histogram(rows: Sequence[Row]) -> str:
    """Return a bar for each count up to `LAST_BAR`, and one for all above."""
    bars = {number: [0, 0] for number in range(LAST_BAR + 2)}
    for row in rows:
        bar = bars[min(row["microbleeds"], LAST_BAR + 1)]
        bar[0] += row["reviewed"]
        bar[1] += row["unreviewed"]
    highest, width, height = max(map(sum, bars.values())), 32, 130
    shapes = []
    for number, (reviewed, unreviewed) in bars.items():
        x, top = number * width + 4, height + 16
        for name, count in (("reviewed", reviewed), ("unreviewed", unreviewed)):
            tall = height * count / highest
            top -= tall
            shapes.append(f'<rect class="{name}" x="{x}" y="{top:.1f}" width="{width - 8}" height="{tall:.1f}"/>')
        label = str(number) if number <= LAST_BAR else f"&gt; {LAST_BAR}"
        total = reviewed + unreviewed
        shapes.append(f'<text x="{x + width / 2 - 4}" y="{height + 28}">{label}</text>')
        shapes.append(f'<text x="{x + width / 2 - 4}" y="{top - 7:.1f}">{total}</text>' if total else "")
    return (f'<svg class="histogram" viewBox="0 0 {len(bars) * width} {height + 38}" role="img" '
            f'aria-label="Scans by number of microbleeds">{"".join(shapes)}</svg>')


def _regions(content: PageContent) -> str:
    tables = []
    for sequence, rows in _by_sequence(content.regions).items():
        sides: dict[str, dict[str, Row]] = defaultdict(dict)
        for row in rows:
            sides[row["region"]][row["side"]] = row
        lines = "".join(_region_line(region, own) for region, own in sides.items())
        tables.append(f'<h3>{escape(_sequence(sequence))}</h3><table class="regions"><tr><th>Region (MARS)</th>'
                      "<th>Category</th><th>Definite</th><th>Possible</th><th>Unreviewed</th><th>Right</th><th>Left</th><th>All</th>"
                      f"</tr>{lines}</table>")
    return _heading("Regions") + "".join(tables)


def _region_line(region: str, sides: Mapping[str, Row]) -> str:
    numbers = [sum(row[name] for row in sides.values()) for name in ("definite", "possible", "unreviewed")]
    numbers += [sides[side]["total"] if side in sides else 0 for side in ("right", "left")]
    numbers.append(sum(row["total"] for row in sides.values()))
    category = next(iter(sides.values()))["category"]
    return (f"<tr><td>{escape(region or 'not known')}</td><td>{escape(category)}</td>"
            + "".join(f"<td>{number}</td>" for number in numbers) + "</tr>")


def _failures(content: PageContent) -> str:
    if not content.failures:
        return ""
    rows = "".join(f"<tr><td>{escape(scan)}</td><td>{escape(reason)}</td></tr>"
                   for scan, reason in content.failures[:MAX_FAILURES])
    more = len(content.failures) - MAX_FAILURES
    told = f'<p class="note">{more} more are in failures.tsv.</p>' if more > 0 else ""
    return (_heading("Failed") + f'<table class="words"><tr><th>Scan</th><th>Reason</th></tr>{rows}</table>{told}')


def _members(members: Sequence[MemberOnPage]) -> str:
    head = "".join(f"<th>{text}</th>" for text in (
        "", "Scan", "Micro&shy;bleeds", *(_title(figure.title, figure.unit) for figure in FIGURES), "Remarks"))
    return f'<table class="rows"><thead><tr>{head}</tr></thead><tbody>{"".join(map(_member, members))}</tbody></table>'


def _member(member: MemberOnPage) -> str:
    cells = [_picture(member), _name(member), _count(member)]
    line = "".join(f"<td>{cell}</td>" for cell in cells)
    line += "".join(f'<td{_ODD * (figure.name in member.odd)}>{_number(member.figures.get(figure.name))}</td>'
                    for figure in FIGURES)
    line += f"<td>{escape(' '.join(member.remarks))}</td>"
    return f'<tr{_OUTLIER * bool(member.odd)}>{line}</tr>\n'


_ODD, _OUTLIER = ' class="odd"', ' class="outlier"'


def _picture(member: MemberOnPage) -> str:
    try:
        data = b64encode(member.thumbnail.read_bytes()).decode("ascii")
    except OSError:
        return ""
    return f'<img loading="lazy" alt="Brain of {escape(member.name)}" src="data:image/png;base64,{data}">'


def _name(member: MemberOnPage) -> str:
    place = f"{member.participant}{f', session {member.session}' if member.session else ''}"
    return (f'<b>{escape(place)}</b><br><a href="{escape(quote(member.report))}">{escape(member.name)}</a><br>'
            f"<small>{escape(_sequence(member.sequence))}</small>")


def _count(member: MemberOnPage) -> str:
    if member.status == UNREVIEWED:
        return f'<b>{member.total}</b><br><small class="unreviewed-count">unreviewed</small>'
    return (f"<b>{member.total}</b><br><small>{member.definite} definite, {member.possible} possible, "
            f"{escape(member.status)}</small>")


def _number(value: Any) -> str:
    if value is None:
        return "-"
    return str(value) if isinstance(value, int) else f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def _links(names: Sequence[str], here: str) -> str:
    if len(names) == 1:
        return ""
    return '<p class="note">Page ' + " ".join(
        f"<b>{number}</b>" if name == here else f'<a href="{name}">{number}</a>'
        for number, name in enumerate(names, start=1)) + "</p>"


def _by_sequence(rows: Sequence[Row]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        found[row["sequence"]].append(row)
    return found


def _sequence(sequence: str) -> str:
    return SEQUENCES.get(sequence, "sequence not known")


def _title(title: str, unit: str) -> str:
    return escape(f"{title.capitalize()}{f', {unit}' if unit else ''}")


def _scans(number: int) -> str:
    return f"{number} scan{'s' if number != 1 else ''}"


def _heading(text: str) -> str:
    return f"<h2>{escape(text)}</h2>"

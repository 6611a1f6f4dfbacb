"""The report of a reviewed case as a single HTML page with nothing outside it, laid out to print on A4."""

from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path

from ..read_write import told_if_not_writable, write_text
from ..report import _STYLE, _crop_svg
from ..reviewed_case import ReviewedCase
from ..subject_counts import SubjectCounts
from .guards import require_free
from .region_diagram import SHADES, diagram_svg
from .report_content import SCHEMATIC, Card, Comparison, Picture, ReportContent, Table, report_content

_CASE_STYLE = """
body { font-family: Arial, Helvetica, sans-serif; }
main { max-width: 980px; }
main p { margin: 6px 0; }
h1 { font-size: 24px; font-weight: 650; color: inherit; line-height: 1.2; }
h1 span { font-weight: 400; color: #59636e; margin-left: 10px; font-size: 17px; }
h2 { display: flex; justify-content: space-between; align-items: baseline; gap: 16px; }
h2 .beside { font-size: 12px; font-weight: 400; color: #59636e; text-align: right; }
.facts { display: grid; grid-template-columns: auto 1fr auto 1fr; gap: 2px 12px; margin: 10px 0 0; color: inherit; }
.facts dt, .pairs th { color: #59636e; font-weight: 400; }
.facts dd { margin: 0; overflow-wrap: anywhere; }
.columns { display: grid; grid-template-columns: 4fr 5fr; gap: 28px; }
.tiles { display: flex; gap: 10px; margin: 4px 0 10px; }
.tiles div { flex: 1; border: 1px solid #d0d7de; border-radius: 6px; text-align: center; padding: 4px 6px 6px; }
.tiles b { display: block; font-size: 30px; line-height: 1.15; font-weight: 650; }
.tiles div:last-child { background: #f3f5f7; }
.pairs { width: 100%; }
.pairs th, .pairs td { text-align: left; vertical-align: top; white-space: normal; padding-right: 0; }
.pairs th { padding-right: 14px; width: 22%; }
.pairs td { overflow-wrap: anywhere; }
.regions { width: 100%; font-size: 13px; }
.regions th, .regions td { padding: 1px 0 1px 8px; }
.regions th { white-space: normal; line-height: 1.15; vertical-align: bottom; }
.regions th:nth-child(2), .regions td:nth-child(2) { text-align: left; white-space: normal; width: 46%; }
.regions th:first-child, .regions td:first-child { text-align: right; padding-left: 0; color: #59636e; }
.regions .strong td { font-weight: 650; background: #f3f5f7; }
.none { color: #b3bac1; }
.diagram { display: block; width: 100%; height: auto; }
.legend { display: flex; gap: 14px; justify-content: center; color: #59636e; font-size: 12px; margin: 4px 0 0; }
.legend i { display: inline-block; width: 22px; height: 11px; border: 1px solid #7a8590; margin-right: 5px; }
.findings { width: 100%; font-size: 13px; }
.findings th, .findings td { text-align: left; vertical-align: top; padding: 2px 10px 2px 0; }
.findings td:nth-child(3) { white-space: normal; min-width: 110px; }
.findings th:nth-child(5), .findings td:nth-child(5), .findings th:nth-child(8), .findings td:nth-child(8),
.findings th:first-child, .findings td:first-child { text-align: right; }
.findings td:nth-child(6) { white-space: normal; }
.findings td:last-child { white-space: pre-wrap; overflow-wrap: anywhere; width: 26%; padding-right: 0; }
.note { font-size: 12px; margin: 6px 0 0; }
.cards { display: grid; grid-template-columns: 1fr 1fr; gap: 10px; margin-top: 10px; }
.cards .finding { margin: 0; background: #000; }
.cards .finding h3 { padding: 3px 8px; font-size: 12px; }
.cards .finding h3 b { font-size: 14px; margin-right: 8px; }
.cards .finding h3 span { margin-right: 8px; white-space: normal; }
.cards figure { padding: 2px 3px 0; }
.cards figcaption { font-size: 10.5px; padding-bottom: 3px; }
.small { font-size: 12px; }
.small th { width: 11%; }
@page { margin: 10mm 11mm 12mm; }
@media print {
  body { font-size: 8.6pt; line-height: 1.32; }
  main { padding-top: 5px; }
  h1 { font-size: 15pt; }
  h1 span { font-size: 11pt; }
  h2 { font-size: 10.5pt; margin: 9px 0 4px; padding-bottom: 2px; }
  h2 .beside, .note, .small, .legend { font-size: 7.6pt; }
  .facts { margin-top: 4px; gap: 1px 10px; }
  .tiles { margin: 3px 0 6px; }
  .tiles b { font-size: 18pt; }
  .regions, .findings { font-size: 7.9pt; }
  .banner { padding: 3px 10px; }
  .pairs th, .pairs td { padding-top: 1.2px; padding-bottom: 1.2px; }
  .regions th, .regions td { padding-top: 0.3px; padding-bottom: 0.3px; }
  .findings th, .findings td { padding-top: 1px; padding-bottom: 1px; padding-right: 7px; }
  .cards { gap: 5px; margin-top: 5px; }
  .cards .finding h3 { font-size: 7.6pt; }
  .cards .finding h3 b { font-size: 9pt; }
  .cards .finding h3 { padding: 1px 7px; }
  .cards figcaption { font-size: 6.8pt; padding-bottom: 1px; }
  h2 + .note { break-after: avoid; }
  tr, .diagram, .columns { break-inside: avoid; }
  thead { display: table-header-group; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
@media screen and (max-width: 760px) { .columns, .cards { grid-template-columns: 1fr; } .findings { display: block;
  overflow-x: auto; } .facts { grid-template-columns: auto 1fr; } }
"""


_STRONG = ' class="strong"'


def case_page(case: ReviewedCase, counts: SubjectCounts, comparison: Comparison | None = None) -> str:
    """Return the report of a case as a complete HTML document.

    Up to about ten findings it prints on two pages of A4; of more, the table comes first and the pictures follow.

    Parameters
    ----------
    case : ReviewedCase
    counts : SubjectCounts
        Of this case.
    comparison : Comparison or None
        With the baseline.
    """
    content = report_content(case, counts, comparison)
    title = escape(f"Microbleed report: {content.title}")
    return (f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f"<style>{_STYLE}{_CASE_STYLE}{_page_foot(content)}</style></head>\n<body>\n"
            + "\n".join(filter(None, _parts(content))) + "\n</body></html>\n")


def write_page(case: ReviewedCase, counts: SubjectCounts, path: Path, comparison: Comparison | None = None,
               overwrite: bool = False) -> None:
    """Write `case_page`.

    Raises
    ------
    InputError
        If the file exists or cannot be written; what was there before is still there.
    """
    path = Path(path)
    require_free((path,), overwrite)
    with told_if_not_writable(path):
        write_text(path, case_page(case, counts, comparison))


def _parts(content: ReportContent) -> list[str]:
    first, *others = content.banners
    banners = f'<div class="banner">{escape(first)}</div>'
    banners += "".join(f'<div class="banner simulated">{escape(text)}</div>' for text in others)
    parts = [banners, "<main>", f"<h1>Microbleed report<span>{escape(content.title)}</span></h1>", _facts(content),
             _warnings(content.warnings), _heading("Counts", content.acquisition),
             f'<div class="columns"><div>{_tiles(content)}{_pairs(content.meaning)}{_notes(content.notes)}</div>'
             f"<div>{_regions(content.regions)}</div></div>",
             _heading("Regions", SCHEMATIC),
             diagram_svg(content.region_counts), _legend()]
    if content.comparison:
        parts += [_heading("Since the baseline", content.acquisition), _pairs(content.comparison),
                  _notes(content.comparison_notes)]
    if content.findings.rows:
        parts += [_heading("Findings", content.acquisition), _findings(content.findings)]
        parts += [_notes(content.findings_notes)]
    if content.cards:
        parts += [_heading("Pictures"), _notes((content.cards_note,)),
                  f'<div class="cards">{"".join(map(_card, content.cards))}</div>']
    if content.rejected:
        parts += [_heading("Rejected"), f"<p>{escape(content.rejected)}.</p>"]
    return [*parts, _heading("How this was made"), f'<div class="small">{_pairs(content.provenance)}</div>', "</main>"]


def _heading(text: str, beside: str = "") -> str:
    return f'<h2>{text}{beside and f"""<span class="beside">{escape(beside)}</span>"""}</h2>'


def _facts(content: ReportContent) -> str:
    cells = "".join(f"<dt>{name}</dt><dd>{escape(text)}</dd>" for name, text in content.facts)
    return f'<dl class="facts">{cells}</dl>'


def _warnings(warnings: Sequence[str]) -> str:
    return f'<div class="warnings">{"".join(f"<p>{escape(one)}</p>" for one in warnings)}</div>' if warnings else ""


def _tiles(content: ReportContent) -> str:
    return f'<div class="tiles">{"".join(f"<div><b>{number}</b>{name}</div>" for name, number in content.tiles)}</div>'


def _pairs(pairs: Sequence[tuple[str, str]]) -> str:
    rows = "".join(f"<tr><th>{escape(name)}</th><td>{escape(text)}</td></tr>" for name, text in pairs)
    return f'<table class="pairs">{rows}</table>'


def _notes(sentences: Sequence[str]) -> str:
    return f'<p class="note">{escape(" ".join(sentences))}</p>' if sentences else ""


def _regions(table: Table) -> str:
    return _table(table, "regions", lambda cell: f'<span class="none">{cell}</span>' if cell == "0" else escape(cell))


def _findings(table: Table) -> str:
    return _table(table, "findings", escape)


def _table(table: Table, name: str, cell: Callable[[str], str]) -> str:
    head = "".join(f"<th>{escape(text)}</th>" for text in table.head)
    rows = "\n".join(f"<tr{_STRONG * (number in table.strong)}>"
                     + "".join(f"<td>{cell(text)}</td>" for text in row) + "</tr>"
                     for number, row in enumerate(table.rows))
    return f'<table class="{name}"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'


def _legend() -> str:
    return ('<p class="legend"><span>Microbleeds in a region:</span>'
            + "".join(f'<span><i style="background:{colour}"></i>{escape(name)}</span>' for name, _, colour in SHADES)
            + "</p>")


def _card(card: Card) -> str:
    facts = "".join(f"<span>{escape(fact)}</span>" for fact in card.facts)
    return (f'<section class="finding"><h3><b>{escape(card.number)}</b>{facts}</h3><div class="pictures">'
            f'{"".join(_figure(picture, card.number) for picture in card.pictures)}</div></section>')


def _figure(picture: Picture, number: str) -> str:
    svg = _crop_svg(picture.pixels, picture.plane, escape(number))
    return f"<figure>{svg}<figcaption>{picture.caption}</figcaption></figure>"


def _page_foot(content: ReportContent) -> str:
    """Return the style that puts banners, subject and page number at the foot of each printed page."""
    style = "font: 7.5pt Arial, sans-serif; color:"
    return (f"@page {{ @bottom-left {{ content: {_css_string(content.title)}; {style} #59636e; }}\n"
            f"@bottom-center {{ content: {_css_string('. '.join(content.banners))}; {style} #8a1c1c; }}\n"
            f'@bottom-right {{ content: "Page " counter(page) " of " counter(pages); {style} #59636e; }} }}\n')


def _css_string(text: str) -> str:
    """Return a text as a CSS string, all but letters, digits and spaces escaped."""
    return '"' + "".join(one if one.isalnum() or one == " " else f"\\{ord(one):x} " for one in text) + '"'

"""The report of one scan: a single HTML page with nothing outside it."""

import json
from base64 import b64encode
from collections import Counter
from html import escape

import numpy as np

from .findings import DetectionResult, Finding, Provenance
from .geometry import to_canonical
from .snapshots import CROP_MM, LOCATOR_PIXEL_MM, PLANES, Plane, axial_locator, crop, grey_window, png
from .volume import Volume

MAX_PICTURED = 60
"""Findings with pictures; the table lists all of them."""

NOT_CLINICAL = "Research tool - not for clinical use"
SIMULATED = "Simulated scan - not from a patient or volunteer"

_STYLE = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { margin: 0; background: #fff; color: #1c2126; font: 14px/1.45 system-ui, "Segoe UI", Arial, sans-serif; }
.banner { background: #8a1c1c; color: #fff; text-align: center; font-weight: 600; padding: 7px 12px; }
.banner.simulated { background: #f2c230; color: #1c2126; }
main { max-width: 940px; margin: 0 auto; padding: 20px 24px 40px; }
h1 { font-size: 15px; font-weight: 600; margin: 0; color: #59636e; overflow-wrap: anywhere; }
.count { font-size: 32px; font-weight: 650; line-height: 1.2; margin: 2px 0 4px; }
.facts, .note { color: #59636e; margin: 0 0 12px; }
h2 { font-size: 17px; margin: 28px 0 8px; border-bottom: 1px solid #d0d7de; padding-bottom: 4px; }
.warnings { border-left: 4px solid #f2c230; background: #fff9e5; padding: 8px 12px; margin: 12px 0; }
.warnings p { margin: 0; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: 3px 14px 3px 0; border-bottom: 1px solid #e4e8ec; white-space: nowrap; }
th { font-weight: 600; color: #59636e; }
th:first-child, td:first-child, .words th, .words td { text-align: left; }
.words td { white-space: normal; overflow-wrap: anywhere; padding-right: 0; }
.words th { vertical-align: top; }
.findings th { white-space: normal; vertical-align: bottom; }
.findings th:last-child, .findings td:last-child { text-align: left; white-space: normal; padding-right: 0; }
a { color: inherit; }
.finding { break-inside: avoid; margin: 0 0 16px; border: 1px solid #d0d7de; border-radius: 6px; overflow: hidden; }
.finding h3 { font-size: 14px; font-weight: 400; margin: 0; padding: 6px 12px; background: #f3f5f7; }
.finding h3 b { font-size: 16px; margin-right: 10px; }
.finding h3 span { margin-right: 14px; white-space: nowrap; }
.pictures { display: flex; background: #000; }
figure { margin: 0; flex: 1 1 25%; min-width: 0; padding: 4px 8px 0; border-left: 1px solid #333; }
figure:first-child { border-left: 0; }
figure svg { display: block; width: 100%; height: auto; }
figcaption { color: #b6bec6; text-align: center; font-size: 12px; padding: 0 0 6px; }
svg text { fill: #9fd0ff; font: 9px system-ui, Arial, sans-serif; text-anchor: middle; dominant-baseline: central; }
svg path { stroke: #ffd54a; stroke-width: 1; fill: none; }
@page { size: A4; margin: 11mm; }
@media print {
  body { font-size: 10.5pt; }
  main { max-width: none; padding: 10px 0 0; }
  .findings { font-size: 9pt; }
  .findings th, .findings td { padding-right: 9px; }
  h2 { break-after: avoid; }
  .banner, .pictures, .warnings, .finding h3 { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
@media screen and (max-width: 600px) { .pictures { flex-wrap: wrap; } figure { flex-basis: 50%; } }
"""


def report_html(result: DetectionResult, volume: Volume) -> str:
    """Return the report page of one scan.

    Parameters
    ----------
    result : DetectionResult
    volume : Volume
        The scan as it was read; only its values and grid are used.

    Returns
    -------
    str
        A complete HTML document: banner, count, table, three orthogonal 30 mm crops of each finding, provenance.
    """
    provenance = result.provenance
    title = f"Microbleed report: {escape(provenance.input_name)}"
    parts = [_banners(provenance), "<main>", f"<h1>{title}</h1>", _headline(result), _warnings(provenance)]
    if result.findings:
        parts += ["<h2>Findings</h2>", _table(result.findings), "<h2>Pictures</h2>", _pictures(result, volume)]
    parts += [_removed(result), "<h2>How this was made</h2>", _provenance(provenance), "</main>"]
    return (f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f"<style>{_STYLE}{_page_foot(provenance)}</style></head>\n"
            "<body>\n" + "\n".join(filter(None, parts)) + "\n</body></html>\n")


def _banners(provenance: Provenance) -> str:
    banners = f'<div class="banner">{NOT_CLINICAL}</div>'
    if provenance.simulated:
        banners += f'<div class="banner simulated">{SIMULATED}</div>'
    return banners


def _page_foot(provenance: Provenance) -> str:
    """Return the style that repeats the banners at the foot of each printed page."""
    text = f"{NOT_CLINICAL}. {SIMULATED}." if provenance.simulated else NOT_CLINICAL
    return f'@page {{ @bottom-center {{ content: "{text}"; font: 8pt Arial, sans-serif; color: #8a1c1c; }} }}\n'


def _headline(result: DetectionResult) -> str:
    provenance, found = result.provenance, len(result.findings)
    count = {0: "No microbleeds found", 1: "1 microbleed found"}.get(found, f"{found} microbleeds found")
    voxel = " × ".join(f"{side:.3g}" for side in provenance.spacing_mm)
    facts = (f"{provenance.modality.upper()} scan, voxels {voxel} mm; operating point {provenance.operating_point}. "
             f"{found} of {len(result.candidates)} candidates kept; automatic, not reviewed by a reader.")
    return f'<p class="count">{count}</p>\n<p class="facts">{escape(facts)}</p>'


def _warnings(provenance: Provenance) -> str:
    sentences = "".join(f"<p>{escape(sentence)}</p>" for sentence in provenance.warnings)
    return f'<div class="warnings">{sentences}</div>' if sentences else ""


def _table(findings: tuple[Finding, ...]) -> str:
    rows = "\n".join(
        f'<tr><td>{_link(finding, number)}</td><td>{finding.probability:.2f}</td>'
        f"<td>{'</td><td>'.join(_position(finding))}</td>"
        f"<td>{finding.diameter_mm:.1f}</td><td>{finding.volume_mm3:.1f}</td><td>{_region(finding)}</td></tr>"
        for number, finding in enumerate(findings))
    return ('<table class="findings"><tr><th>No.</th><th>Probability</th><th>Right/left (mm)</th>'
            "<th>Ant./post. (mm)</th><th>Sup./inf. (mm)</th><th>Diameter (mm)</th><th>Volume (mm³)</th>"
            "<th>Region (confidence)</th></tr>\n" + rows + "</table>")


def _link(finding: Finding, number: int) -> str:
    return f'<a href="#finding-{finding.id}">{finding.id}</a>' if number < MAX_PICTURED else str(finding.id)


def _position(finding: Finding) -> list[str]:
    """Return "R 12.3", "P 4.5", "S 6.7": the side of the scanner's origin in letters, as readers write it."""
    sides = zip(finding.position_ras, ("RL", "AP", "SI"), strict=True)
    return [f"{letters[0] if round(value, 1) >= 0 else letters[1]} {abs(value):.1f}" for value, letters in sides]


def _region(finding: Finding) -> str:
    place = finding.place
    return f"{place.side} {place.region} ({place.confidence:.0%})" if place else "–"


def _pictures(result: DetectionResult, volume: Volume) -> str:
    canonical = to_canonical(volume)
    note = (f"Left: the axial slice and where the crops lie. Then {CROP_MM:.0f} × {CROP_MM:.0f} mm crops along the "
            "axes of the scan, centred on the finding: the ticks outside each crop meet at it. Radiological "
            "convention: the patient's right is on the left.")
    cards = [_card(finding, canonical) for finding in result.findings[:MAX_PICTURED]]
    if len(result.findings) > MAX_PICTURED:
        cards.append(f'<p class="note">Pictures are shown for the {MAX_PICTURED} most probable of '
                     f"{len(result.findings)} findings; the table lists all of them.</p>")
    return f'<p class="note">{note}</p>\n' + "\n".join(cards)


def _card(finding: Finding, canonical: Volume) -> str:
    window = grey_window(canonical, finding.position_ras)
    figures = _locator_figure(finding, canonical, window)
    for plane in PLANES:
        pixels = crop(canonical, finding.position_ras, plane, window)
        figures += f"<figure>{_crop_svg(pixels, plane, finding.id)}<figcaption>{plane.name}</figcaption></figure>"
    facts = (f"probability {finding.probability:.2f}", " ".join(_position(finding)) + " mm",
             f"diameter {finding.diameter_mm:.1f} mm", f"volume {finding.volume_mm3:.1f} mm³")
    if finding.place:
        facts = (*facts, f"{finding.place.side} {finding.place.region}")
    heading = " ".join(f"<span>{fact}</span>" for fact in facts)
    return (f'<section class="finding" id="finding-{finding.id}"><h3><b>{finding.id}</b>{heading}</h3>'
            f'<div class="pictures">{figures}</div></section>')


def _crop_svg(pixels: np.ndarray, plane: Plane, number: int) -> str:
    """Return a crop in a 156-unit square: 120 units of picture, ticks and letters in the margin around it."""
    ticks = "M78 11v5M78 140v5M11 78h5M140 78h5"
    letters = ((5, 78, plane.left), (151, 78, plane.right), (78, 5, plane.top), (78, 151, plane.bottom))
    text = "".join(f'<text x="{x}" y="{y}">{letter}</text>' for x, y, letter in letters)
    return (f'<svg viewBox="0 0 156 156" role="img" aria-label="{plane.name} crop of finding {number}">'
            f'<image x="18" y="18" width="120" height="120" href="{_data_uri(pixels)}"/>'
            f'<path d="{ticks}"/>{text}</svg>')


def _locator_figure(finding: Finding, canonical: Volume, window: tuple[float, float]) -> str:
    """Return the whole axial slice, fitted into a 156-unit square, with the corners of the crop marked on it."""
    locator = axial_locator(canonical, finding.position_ras, window)
    height, width = locator.pixels.shape
    scale = 132 / max(height, width)
    width, height, half = width * scale, height * scale, CROP_MM / LOCATOR_PIXEL_MM / 2 * scale
    left, top = (156 - width) / 2, (156 - height) / 2
    x, y = left + locator.x * scale, top + locator.y * scale
    frame = f"M{x - half:.1f} {y - half:.1f}h{2 * half:.1f}v{2 * half:.1f}h{-2 * half:.1f}z"
    text = '<text x="5" y="78">R</text><text x="151" y="78">L</text>'
    return (f'<figure><svg viewBox="0 0 156 156" role="img" aria-label="Axial slice of finding {finding.id}">'
            f'<image x="{left:.1f}" y="{top:.1f}" width="{width:.1f}" height="{height:.1f}" '
            f'href="{_data_uri(locator.pixels)}"/><path d="{frame}"/>{text}</svg>'
            "<figcaption>Axial slice</figcaption></figure>")


def _data_uri(pixels: np.ndarray) -> str:
    return "data:image/png;base64," + b64encode(png(pixels)).decode("ascii")


def _removed(result: DetectionResult) -> str:
    rules = Counter(candidate.removed_by for candidate in result.candidates if candidate.removed_by)
    if not rules:
        return ""
    rows = "".join(f"<tr><td>{escape(rule)}</td><td>{count}</td></tr>" for rule, count in rules.most_common())
    return (f"<h2>Candidates removed</h2>\n<table><tr><th>Step and rule</th><th>Candidates</th></tr>{rows}</table>")


def _provenance(provenance: Provenance) -> str:
    seconds = ", ".join(f"{step} {value:.1f}" for step, value in provenance.seconds.items())
    rows = {
        "Scan": f"{provenance.input_name}, {' × '.join(map(str, provenance.shape))} voxels",
        "SHA-256 of the scan": provenance.input_sha256,
        "Modality": f"{provenance.modality.upper()}: {provenance.modality_reason}",
        "Model": provenance.model_name,
        "SHA-256 of the model": provenance.model_sha256,
        "Operating point": provenance.operating_point,
        "Seconds": f"{sum(provenance.seconds.values()):.1f} in all: {seconds}",
        "Versions": ", ".join(f"{name} {version}" for name, version in provenance.versions.items()),
        "Settings": json.dumps(provenance.parameters),
    }
    body = "\n".join(f"<tr><th>{name}</th><td>{escape(text)}</td></tr>" for name, text in rows.items())
    return f'<table class="words">{body}</table>'

"""The report of a reviewed case as a PDF on A4, drawn with reportlab, which need not be installed for anything else.

Text is real text: Western European letters in Helvetica, others in the font that reportlab ships (Vera) or in the
Chinese, Japanese and Korean ones that PDF viewers bring along (they have Greek and Cyrillic letters too). A letter that
none of them has is shown without its accent, or else as a square.
"""

import unicodedata
from collections.abc import Callable, Sequence
from functools import cache
from io import BytesIO
from itertools import groupby
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from ..errors import SettingsError
from ..read_write import atomic_path, told_if_not_writable
from ..reviewed_case import ReviewedCase
from ..subject_counts import SubjectCounts
from . import region_diagram as diagram
from .guards import require_free
from .report_content import SCHEMATIC, Card, Comparison, Picture, ReportContent, report_content
from .report_content import Table as Cells

try:
    from PIL.Image import fromarray
    from reportlab.graphics.shapes import Drawing, Group, Image, Line, Rect, String
    from reportlab.graphics.shapes import Path as Curve
    from reportlab.lib.colors import HexColor
    from reportlab.lib.pagesizes import A4
    from reportlab.lib.styles import ParagraphStyle
    from reportlab.lib.units import mm
    from reportlab.pdfbase.cidfonts import UnicodeCIDFont
    from reportlab.pdfbase.pdfmetrics import registerFont, stringWidth
    from reportlab.pdfbase.ttfonts import TTFont
    from reportlab.platypus import (
        BaseDocTemplate,
        CallerMacro,
        CondPageBreak,
        Frame,
        PageTemplate,
        Paragraph,
        Spacer,
        Table,
    )
except ImportError:
    _HAS_REPORTLAB = False
else:
    _HAS_REPORTLAB = True

_TEXT, _BOLD, _VERA = "Helvetica", "Helvetica-Bold", "Vera"
_CHINESE, _JAPANESE, _KOREAN = "STSong-Light", "HeiseiKakuGo-W5", "HYGothic-Medium"
_ASIAN = ((_CHINESE, "gbk"), (_JAPANESE, "cp932"), (_KOREAN, "cp949"))
"""Fonts of the viewer, and the character set that each of them has at least."""
_NO_GLYPH = "□"
_LOSSY = ("Letters that a PDF without fonts of its own cannot show stand without their accent or as a square; the HTML "
          "report shows them.")
_INK, _GREY, _FAINT, _LINE, _PALE = "#1c2126", "#59636e", "#b3bac1", "#d0d7de", "#f3f5f7"
_RED, _YELLOW, _YELLOW_PALE = "#8a1c1c", "#f2c230", "#fff9e5"
_LETTERS, _TICKS, _CAPTION = "#9fd0ff", "#ffd54a", "#b6bec6"
_MARGIN_MM, _TOP_MM, _FOOT_MM, _BANNER_MM = 11.0, 11.0, 12.0, 5.0
_WIDTH_MM = 210 - 2 * _MARGIN_MM
_GAP_MM = 2.0
_PAGES = "pages"
"""Name of the form that holds the number of pages."""
_PICTURE_UNITS, _CROP_UNITS = 156.0, 120.0
"""Side of a picture with its letters, and of the crop in the middle of it."""
_FINDING_WIDTHS_MM = (9, 30, 34, 10, 16, 18, 15, 11, 45)
_CHANGE_WIDTH_MM = 17
_REGION_WIDTHS_MM = (6, 49)


def write_pdf(case: ReviewedCase, counts: SubjectCounts, path: Path, comparison: Comparison | None = None,
              overwrite: bool = False) -> None:
    """Write the report of a case as a PDF; see `page.case_page`, which says the same.

    Raises
    ------
    SettingsError
        If reportlab is not installed.
    InputError
        If the file exists or cannot be written; what was there before is still there.
    """
    require_reportlab()
    path = Path(path)
    require_free((path,), overwrite)
    document = _pdf(report_content(case, counts, comparison), case.reader)
    with told_if_not_writable(path), atomic_path(path) as staged:
        staged.write_bytes(document)


def require_reportlab() -> None:
    """Raise a SettingsError if reportlab is not installed."""
    if not _HAS_REPORTLAB:
        raise SettingsError("The PDF report needs the Python package reportlab; install it (pip install reportlab), or "
                            "write the HTML report and print it.")


def _pdf(content: ReportContent, author: str) -> bytes:
    _register_fonts()
    file = BytesIO()
    height_mm = 297 - _TOP_MM - len(content.banners) * _BANNER_MM - _FOOT_MM
    frame = Frame(_MARGIN_MM * mm, _FOOT_MM * mm, _WIDTH_MM * mm, height_mm * mm, 0, 0, 0, 0)
    document = BaseDocTemplate(file, pagesize=A4, title=f"Microbleed report: {content.title}", author=author,
                               subject=". ".join(content.banners), creator="CMBDetection", lang="en")
    document.addPageTemplates(PageTemplate("page", [frame], onPage=_page_marks(content)))
    document.build([*_story(content), CallerMacro(_number_of_pages)])
    return file.getvalue()


def _page_marks(content: ReportContent) -> Callable[[Any, Any], None]:
    """Return what draws the banners at the top of a page, and subject and page number at its foot."""
    def draw(canvas: Any, document: Any) -> None:
        left, width = _MARGIN_MM * mm, _WIDTH_MM * mm
        for number, text in enumerate(content.banners):
            bottom = A4[1] - (_TOP_MM - 3 + (number + 1) * _BANNER_MM) * mm
            canvas.setFillColor(HexColor(_YELLOW if number else _RED))
            canvas.rect(left, bottom, width, _BANNER_MM * mm, stroke=0, fill=1)
            canvas.setFillColor(HexColor(_INK if number else "#ffffff"))
            canvas.setFont(_BOLD, 9)
            canvas.drawCentredString(left + width / 2, bottom + 1.6 * mm, text)
        foot = _paragraph(content.title, 7.5, _GREY)
        foot.wrap(width * 0.8, 10 * mm)
        foot.drawOn(canvas, left, 6 * mm)
        canvas.setFillColor(HexColor(_GREY))
        canvas.setFont(_TEXT, 7.5)
        canvas.drawRightString(left + width - 4 * mm, 7 * mm, f"Page {document.page} of ")
        canvas.doForm(_PAGES)
    return draw


def _number_of_pages(last: Any) -> None:
    """Fill in the number of pages, which is known where the last thing is drawn."""
    canvas = last.canv
    canvas.beginForm(_PAGES)
    canvas.setFillColor(HexColor(_GREY))
    canvas.setFont(_TEXT, 7.5)
    canvas.drawString((_MARGIN_MM + _WIDTH_MM - 4) * mm, 7 * mm, str(canvas.getPageNumber()))
    canvas.endForm()


def _story(content: ReportContent) -> list[Any]:
    half = _WIDTH_MM * 0.41
    left = [_tiles(content.tiles, half), Spacer(1, 1.5 * mm), _pairs(content.meaning, half, 18, 8.2),
            _notes(content.notes)]
    story = [_paragraph("Microbleed report", 15, bold=True, after=f"   {content.title}"), _facts(content.facts)]
    story += [_warning(text) for text in content.warnings]
    story += [*_heading("Counts", content.acquisition),
              _grid([[left, "", _regions(content.regions, _WIDTH_MM - 6 - half)]], (half, 6, _WIDTH_MM - 6 - half)),
              *_heading("Regions", SCHEMATIC, 60),
              _diagram(content.region_counts), _legend()]
    if content.comparison:
        story += [*_heading("Since the baseline", content.acquisition), _pairs(content.comparison, _WIDTH_MM, 21, 7.8),
                  _notes(content.comparison_notes)]
    if content.findings.rows:
        story += [*_heading("Findings", content.acquisition), _findings(content.findings),
                  _notes(content.findings_notes)]
    if content.cards:
        story += [*_heading("Pictures", needs_mm=60), _notes((content.cards_note,)), *_cards(content.cards)]
    if content.rejected:
        story += [*_heading("Rejected"), _paragraph(f"{content.rejected}.", 8.2)]
    story += [*_heading("How this was made"), _pairs(content.provenance, _WIDTH_MM, 21, 7.4)]
    return [*story, _notes((_LOSSY,))] if any(map(_is_lossy, _texts(content))) else story


def _heading(text: str, beside: str = "", needs_mm: float = 25) -> list[Any]:
    """Return a heading that begins a new page where less than `needs_mm` are left."""
    cells = [[_paragraph(text, 10.5, bold=True), _paragraph(beside, 7.4, _GREY, right=True)]]
    table = _grid(cells, (40, _WIDTH_MM - 40), [("VALIGN", (0, 0), (-1, -1), "BOTTOM"),
                                                ("LINEBELOW", (0, 0), (-1, -1), 0.6, HexColor(_LINE)),
                                                ("BOTTOMPADDING", (0, 0), (-1, -1), 1.5)])
    table.spaceBefore, table.spaceAfter = 2.6 * mm, 1.4 * mm
    return [CondPageBreak(needs_mm * mm), table]


def _facts(facts: Sequence[tuple[str, str]]) -> Any:
    cells = [_paragraph(text, 8.4, colour) for pair in facts for text, colour in zip(pair, (_GREY, _INK), strict=True)]
    cells += [""] * (-len(cells) % 4)
    table = _grid([cells[start:start + 4] for start in range(0, len(cells), 4)],
                  (16, _WIDTH_MM / 2 - 16, 18, _WIDTH_MM / 2 - 18))
    table.spaceBefore = 1.5 * mm
    return table


def _warning(text: str) -> Any:
    table = _grid([[_paragraph(text, 8.2)]], (_WIDTH_MM,),
                  [("BACKGROUND", (0, 0), (-1, -1), HexColor(_YELLOW_PALE)), ("LEFTPADDING", (0, 0), (-1, -1), 8),
                   ("LINEBEFORE", (0, 0), (0, -1), 3, HexColor(_YELLOW)), ("TOPPADDING", (0, 0), (-1, -1), 2.5),
                   ("BOTTOMPADDING", (0, 0), (-1, -1), 3.5)])
    table.spaceBefore = 1.2 * mm
    return table


def _tiles(tiles: Sequence[tuple[str, str]], width_mm: float) -> Any:
    side, gap, height = (width_mm - 2 * (len(tiles) - 1)) / len(tiles), 2.0, 13.0
    drawing = Drawing(width_mm * mm, height * mm)
    for number, (name, count) in enumerate(tiles):
        left, last = number * (side + gap) * mm, number == len(tiles) - 1
        drawing.add(Rect(left, 0, side * mm, height * mm, rx=3, ry=3, fillColor=HexColor(_PALE if last else "#ffffff"),
                         strokeColor=HexColor(_LINE), strokeWidth=0.7))
        for text, font, size, height_mm in ((count, _BOLD, 17, 5.6), (name, _TEXT, 8, 1.8)):
            drawing.add(String(left + side / 2 * mm, height_mm * mm, text, fontName=font, fontSize=size,
                               fillColor=HexColor(_INK), textAnchor="middle"))
    return drawing


def _pairs(pairs: Sequence[tuple[str, str]], width_mm: float, name_mm: float, size: float) -> Any:
    rows = [[_paragraph(name, size, _GREY), _paragraph(text, size)] for name, text in pairs]
    return _grid(rows, (name_mm, width_mm - name_mm), _lined(1), split=True)


def _notes(sentences: Sequence[str]) -> Any:
    return _paragraph(" ".join(sentences), 7.2, _GREY, space=1.2 * mm) if sentences else Spacer(1, 0)


def _regions(table: Cells, width_mm: float) -> Any:
    numbers = len(table.head) - len(_REGION_WIDTHS_MM)
    widths = (*_REGION_WIDTHS_MM, *[(width_mm - sum(_REGION_WIDTHS_MM)) / numbers] * numbers)
    rows = [[_paragraph(text.replace(" ", "\n"), 7, _GREY, bold=True, right=place != 1)
             for place, text in enumerate(table.head)]]
    for number, row in enumerate(table.rows):
        bold = number in table.strong
        rows.append([_paragraph(text, 7.6, _GREY if place == 0 else _FAINT if text == "0" else _INK, bold=bold,
                                right=place != 1) for place, text in enumerate(row)])
    shaded = [("BACKGROUND", (0, number + 1), (-1, number + 1), HexColor(_PALE)) for number in table.strong]
    return _grid(rows, widths, [*_lined(0.2), *shaded, ("VALIGN", (0, 0), (-1, -1), "BOTTOM"),
                                ("LEFTPADDING", (1, 0), (1, -1), 5)])


def _findings(table: Cells) -> Any:
    right = (0, 4, 7)
    rows = [[_paragraph(text, 7.6, _GREY, bold=True, right=place in right) for place, text in enumerate(table.head)]]
    rows += [[_paragraph(text, 7.6, right=place in right) for place, text in enumerate(row)] for row in table.rows]
    widths = list(_FINDING_WIDTHS_MM)
    if len(table.head) > len(widths):
        widths[-1:] = [_CHANGE_WIDTH_MM, widths[-1] - _CHANGE_WIDTH_MM]
    return _grid(rows, widths, [*_lined(0.6), ("RIGHTPADDING", (0, 0), (-2, -1), 6)], heads=1, split=True)


def _lined(padding: float) -> list[tuple]:
    return [("LINEBELOW", (0, 0), (-1, -1), 0.4, HexColor("#e4e8ec")), ("TOPPADDING", (0, 0), (-1, -1), padding),
            ("BOTTOMPADDING", (0, 0), (-1, -1), padding + 1.2)]


def _grid(rows: Sequence[Sequence[Any]], widths_mm: Sequence[float], style: Sequence[tuple] = (), heads: int = 0,
          split: bool = False) -> Any:
    """Return a table without padding, whose rows may be split across pages if `split`."""
    plain = [("LEFTPADDING", (0, 0), (-1, -1), 0), ("RIGHTPADDING", (0, 0), (-1, -1), 0),
             ("TOPPADDING", (0, 0), (-1, -1), 0), ("BOTTOMPADDING", (0, 0), (-1, -1), 0),
             ("VALIGN", (0, 0), (-1, -1), "TOP")]
    return Table(rows, [width * mm for width in widths_mm], style=[*plain, *style], repeatRows=heads,
                 splitInRow=int(split))


def _diagram(counts: dict[tuple[str, str], int]) -> Any:
    scale = _WIDTH_MM * mm / diagram.WIDTH
    drawing = Drawing(_WIDTH_MM * mm, diagram.HEIGHT * scale)
    # its y runs downward
    group = Group(transform=(scale, 0, 0, scale, 0, 0))
    for shape in diagram.shapes():
        count = counts.get((shape.region, shape.side), 0)
        points = [(x, diagram.HEIGHT - y) for x, y in shape.curve]
        curve = Curve(fillColor=HexColor(diagram.shade(count) if shape.region else diagram.VENTRICLE),
                      strokeColor=HexColor(diagram.OUTLINE), strokeWidth=diagram.LINE_WIDTH)
        curve.moveTo(*points[0])
        for start in range(1, len(points), 3):
            curve.curveTo(*points[start], *points[start + 1], *points[start + 2])
        curve.closePath()
        group.add(curve)
        if shape.label:
            group.add(_centred(diagram.number_of(shape), *shape.label, shape.label_size, diagram.label_ink(count)))
    for caption in diagram.CAPTIONS:
        group.add(_centred(caption.text, caption.x, caption.y, caption.size, diagram.CAPTION_INK))
    drawing.add(group)
    return drawing


def _centred(text: str, x: float, y: float, size: float, colour: str) -> Any:
    # capitals and figures of Helvetica are 0.72 high
    return String(x, diagram.HEIGHT - y - 0.36 * size, text, fontName=_TEXT, fontSize=size, fillColor=HexColor(colour),
                  textAnchor="middle")


def _legend() -> Any:
    drawing = Drawing(_WIDTH_MM * mm, 4.5 * mm)
    place = 64.0
    drawing.add(String(place * mm, mm, "Microbleeds in a region:", fontName=_TEXT, fontSize=7.4,
                       fillColor=HexColor(_GREY), textAnchor="end"))
    for name, _, colour in diagram.SHADES:
        drawing.add(Rect((place + 4) * mm, 0.7 * mm, 6 * mm, 2.8 * mm, fillColor=HexColor(colour),
                         strokeColor=HexColor(diagram.OUTLINE), strokeWidth=0.5))
        drawing.add(String((place + 11.5) * mm, mm, name, fontName=_TEXT, fontSize=7.4, fillColor=HexColor(_GREY)))
        place += 16
    return drawing


def _cards(cards: Sequence[Card]) -> list[Any]:
    """Return the cards, two beside each other."""
    width = (_WIDTH_MM - _GAP_MM) / 2
    rows = []
    for start in range(0, len(cards), 2):
        pair = [_card(card, width) for card in cards[start:start + 2]]
        row = _grid([[pair[0], "", pair[1] if len(pair) > 1 else ""]], (width, _GAP_MM, width))
        row.spaceBefore = 1.6 * mm
        rows.append(row)
    return rows


def _card(card: Card, width_mm: float) -> Any:
    head_mm, caption_mm = 4.8, 3.4
    side = width_mm * mm / len(card.pictures)
    height = side + (head_mm + caption_mm) * mm
    drawing = Drawing(width_mm * mm, height)
    drawing.add(Rect(0, 0, width_mm * mm, height, fillColor=HexColor(_PALE), strokeColor=HexColor(_LINE),
                     strokeWidth=0.6))
    drawing.add(Rect(0, 0, width_mm * mm, height - head_mm * mm, fillColor=HexColor("#000000"), strokeColor=None))
    drawing.add(String(2 * mm, height - 3.6 * mm, card.number, fontName=_BOLD, fontSize=9, fillColor=HexColor(_INK)))
    drawing.add(String(5 * mm + stringWidth(card.number, _BOLD, 9), height - 3.5 * mm, "   ".join(card.facts),
                       fontName=_TEXT, fontSize=7.6, fillColor=HexColor(_INK)))
    for number, picture in enumerate(card.pictures):
        drawing.add(_picture(picture, number * side, caption_mm * mm, side))
        drawing.add(String((number + 0.5) * side, 1.2 * mm, picture.caption, fontName=_TEXT, fontSize=7,
                           fillColor=HexColor(_CAPTION), textAnchor="middle"))
        if number:
            drawing.add(Line(number * side, 0, number * side, height - head_mm * mm, strokeColor=HexColor("#333333"),
                             strokeWidth=0.5))
    return drawing


def _picture(picture: Picture, left: float, bottom: float, side: float) -> Any:
    """Return a crop with ticks and letters in the margin around it, as on the page."""
    scale, middle, margin = side / _PICTURE_UNITS, _PICTURE_UNITS / 2, (_PICTURE_UNITS - _CROP_UNITS) / 2
    group = Group(transform=(scale, 0, 0, scale, left, bottom))
    group.add(Image(margin, margin, _CROP_UNITS, _CROP_UNITS, fromarray(picture.pixels)))
    near, far, plane = margin - 7, _PICTURE_UNITS - margin + 2, picture.plane
    for start in (near, far):
        for ends in ((middle, start, middle, start + 5), (start, middle, start + 5, middle)):
            group.add(Line(*ends, strokeColor=HexColor(_TICKS), strokeWidth=1))
    for x, y, letter in ((5, middle, plane.left), (_PICTURE_UNITS - 5, middle, plane.right),
                         (middle, _PICTURE_UNITS - 5, plane.top), (middle, 5, plane.bottom)):
        group.add(String(x, y - 3, letter, fontName=_TEXT, fontSize=9, fillColor=HexColor(_LETTERS),
                         textAnchor="middle"))
    return group


def _paragraph(text: str, size: float, colour: str = _INK, bold: bool = False, right: bool = False, space: float = 0,
               after: str = "") -> Any:
    style = ParagraphStyle("", fontName=_BOLD if bold else _TEXT, fontSize=size, leading=size * 1.2,
                           textColor=HexColor(colour), alignment=2 if right else 0, spaceBefore=space)
    marked = _marked(text)
    if after:
        marked += f'<font name="{_TEXT}" size="{size * 0.72:.1f}" color="{_GREY}">{_marked(after)}</font>'
    return Paragraph(marked, style)


def _marked(text: str) -> str:
    """Return a text as reportlab's markup, each part in a font that has its letters."""
    text = unicodedata.normalize("NFC", text)
    letters = [shown for letter in text for shown in _with_font(letter, text)]
    parts = []
    for font, run in groupby(letters, key=lambda pair: pair[0]):
        part = escape("".join(letter for _, letter in run)).replace("\n", "<br/>").replace("\t", "&nbsp;" * 4)
        part = part.replace("  ", "&nbsp; ")
        parts.append(f'<font name="{font}">{part}</font>' if font else part)
    return "".join(parts)


def _with_font(letter: str, text: str) -> list[tuple[str, str]]:
    """Return (font, letter) pairs to show a letter with; no font for that of the paragraph."""
    if letter in "\n\t" or _has("cp1252", letter):
        return [("", letter)]
    if ord(letter) in _vera_letters():
        return [(_VERA, letter)]
    for font, letters in sorted(_ASIAN, key=lambda one: one[0] != _script_font(text)):
        if _has(letters, letter):
            return [(font, letter)]
    plain = [one for one in unicodedata.normalize("NFKD", letter) if not unicodedata.combining(one)]
    if plain and plain != [letter]:
        return [shown for one in plain for shown in _with_font(one, text)]
    return [] if unicodedata.category(letter) in ("Mn", "Cf") else [(_CHINESE, _NO_GLYPH)]


def _script_font(text: str) -> str:
    """Return the font of the language that a text with Chinese characters is probably in."""
    names = " ".join(unicodedata.name(letter, "") for letter in text)
    return _KOREAN if "HANGUL" in names else _JAPANESE if "HIRAGANA" in names or "KATAKANA" in names else _CHINESE


def _is_lossy(text: str) -> bool:
    text = unicodedata.normalize("NFC", text)
    return any(shown != letter for letter in text for _, shown in _with_font(letter, text) or [("", "")])


def _texts(content: ReportContent) -> list[str]:
    """Return the texts that people have written."""
    pairs = (*content.facts, *content.provenance)
    return [content.title, *content.warnings, *(text for _, text in pairs), *(row[-1] for row in content.findings.rows)]


def _has(encoding: str, letter: str) -> bool:
    try:
        return bool(letter.encode(encoding))
    except UnicodeEncodeError:
        return False


@cache
def _vera_letters() -> frozenset[int]:
    return frozenset(TTFont(_VERA, "Vera.ttf").face.charToGlyph)


@cache
def _register_fonts() -> None:
    registerFont(TTFont(_VERA, "Vera.ttf"))
    for font, _ in _ASIAN:
        registerFont(UnicodeCIDFont(font))

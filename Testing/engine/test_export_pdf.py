"""The report as a PDF: pages, words, and a file that is whole or not there."""

import base64
import re
import zlib

import pytest
from microbleeds.errors import InputError, SettingsError
from microbleeds.export import pdf
from microbleeds.export.pdf import write_pdf
from microbleeds.subject_counts import count_microbleeds
from report_phantoms import case, many, unreviewed, with_baseline


def write(path, made, comparison=None, **options):
    write_pdf(made, count_microbleeds(made), path, comparison, **options)
    return path.read_bytes()


def pages_of(content):
    return len(re.findall(rb"/Type /Page\b", content))


def words_of(content):
    """Return what is drawn in the built-in fonts, in one line."""
    streams = re.findall(rb"stream\r?\n(.*?)endstream", content, re.DOTALL)
    text = b""
    for stream in streams:
        data = stream.strip()
        if data.endswith(b"~>"):
            data = zlib.decompress(base64.a85decode(b"<~" + data, adobe=True))
        text += b" ".join(re.findall(rb"\((.*?)(?<!\\)\) Tj", data, re.DOTALL)) + b" "
    return text.decode("latin-1")


def test_a_typical_case_has_two_pages_that_say_what_they_are(tmp_path):
    content = write(tmp_path / "a.pdf", case())
    words = words_of(content)
    assert pages_of(content) == 2 and content.startswith(b"%PDF")
    assert words.count("not for clinical use") >= 2 and "mixed" in words and "Page 2 of" in words


def test_what_is_not_reviewed_says_so(tmp_path):
    assert "nreviewed" in words_of(write(tmp_path / "a.pdf", unreviewed()))


def test_many_findings_go_on_to_more_pages(tmp_path):
    assert pages_of(write(tmp_path / "a.pdf", many(30))) > 2


def test_a_baseline_gives_the_band(tmp_path):
    words = words_of(write(tmp_path / "a.pdf", *with_baseline()))
    assert "ARIA-H" in words and "mild" in words


def test_nothing_is_replaced_unless_asked(tmp_path):
    path = tmp_path / "a.pdf"
    path.write_text("mine")
    with pytest.raises(InputError, match=r"a\.pdf"):
        write(path, case())
    assert path.read_text() == "mine"
    assert write(path, case(), overwrite=True).startswith(b"%PDF")


def test_without_reportlab_one_sentence_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(pdf, "_HAS_REPORTLAB", False)
    with pytest.raises(SettingsError, match="pip install reportlab"):
        write(tmp_path / "a.pdf", case())
    assert not list(tmp_path.iterdir())

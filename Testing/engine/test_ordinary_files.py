import math
import os

import pytest
from microbleeds.ordinary_files import parse_json, read_ordinary_bytes, read_ordinary_text, require_ordinary


def test_an_ordinary_file_is_read(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes("\ufeffä\r\n".encode())
    assert require_ordinary(path) == 7 and read_ordinary_bytes(path) == path.read_bytes()
    assert read_ordinary_text(path, "utf-8-sig") == "ä\r\n"


@pytest.mark.parametrize("make, told", [
    (os.mkfifo, "not an ordinary file"), (os.mkdir, "directory"), (lambda path: path.symlink_to(path.name), "symbolic"),
    (lambda path: path.symlink_to("/dev/zero"), "not an ordinary file"), (lambda path: None, "No such file"),
    (lambda path: (path.touch(), os.truncate(path, 4 << 30)), "4295 MB, more than 268")])
@pytest.mark.skipif(os.name == "nt", reason="POSIX files")
def test_what_would_never_end_or_fill_the_memory_is_told_at_once(tmp_path, make, told):
    make(tmp_path / "a")
    with pytest.raises(OSError) as caught:
        read_ordinary_bytes(tmp_path / "a")
    assert told in caught.value.strerror and caught.value.filename == str(tmp_path / "a")


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "NaN", '{"a": [-Infinity]}', "1e999", "{", "",
                                  '{"a": ' + "9" * 10_000 + "e9999}"])
def test_json_that_is_none_is_a_value_error(text):
    with pytest.raises(ValueError):
        parse_json(text)


def test_json_of_others_may_hold_numbers_that_are_none():
    told = parse_json('{"a": [NaN, -Infinity, 1e999], "b": 1}', foreign=True)
    assert math.isnan(told["a"][0]) and told["a"][1:] == [-math.inf, math.inf] and told["b"] == 1
    with pytest.raises(ValueError):
        parse_json("[" * 100_000, foreign=True)


def test_json_is_what_it_says():
    assert parse_json(b'{"a": [1.5, -2e-3, 7, null, "\\ud800"]}') == {"a": [1.5, -0.002, 7, None, "\ud800"]}

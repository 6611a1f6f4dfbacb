"""How a run tells what it does: a bar for people, JSON lines for the panel, or hardly anything.

Results go to standard output; the bar, warnings and errors for people go to standard error.
"""

import json
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TextIO

BAR_WIDTH = 24
_NOT_SHOWN = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Line ends and other orders to a terminal, marks that turn the text around, and halves of characters."""


def printable(text: str) -> str:
    """Return a text in one line, with what cannot be shown as escapes; names of files may hold anything.

    Examples
    --------
    >>> printable("line\\nfeed")
    'line\\\\nfeed'
    """
    return _NOT_SHOWN.sub(lambda found: found[0].encode("unicode_escape", "surrogatepass").decode(), text)


class Reporter(Protocol):
    """What the command line tells while it runs; `image` is the path as the user gave it, None for the whole run."""

    def progress(self, image: str, step: str, message: str, fraction: float) -> None:
        """A step of one scan began or went on; `fraction` of the whole scan in [0, 1]."""

    def warning(self, image: str, message: str) -> None:
        """Something the user should know about a result."""

    def result(self, image: str, files: Mapping[str, Path], findings: int, candidates: int,
               questions: Sequence[Mapping[str, Any]] = ()) -> None:
        """A scan is finished and its files are written; `questions` are those that a reader has to answer."""

    def say(self, text: str) -> None:
        """A line for people about the run, such as where its files are."""

    def error(self, image: str | None, kind: str, message: str) -> None:
        """A scan, or the run, failed; `kind` is one of input, model, settings, memory, cuda_memory, internal."""

    def done(self, exit_code: int) -> None:
        """The run is over."""


class JsonLines:
    """One JSON object per line on standard output, each written at once."""

    def __init__(self, stream: TextIO | None = None):
        self._stream = stream or sys.stdout

    def progress(self, image: str, step: str, message: str, fraction: float) -> None:
        self._write("progress", image=image, step=step, message=message, fraction=round(fraction, 4))

    def warning(self, image: str, message: str) -> None:
        self._write("warning", image=image, message=message)

    def result(self, image: str, files: Mapping[str, Path], findings: int, candidates: int,
               questions: Sequence[Mapping[str, Any]] = ()) -> None:
        asked = {"questions": list(questions)} if questions else {}
        self._write("result", image=image, files={name: str(path) for name, path in files.items()},
                    counts={"findings": findings, "candidates": candidates}, **asked)

    def say(self, text: str) -> None:
        pass

    def error(self, image: str | None, kind: str, message: str) -> None:
        self._write("error", image=image, kind=kind, message=message)

    def done(self, exit_code: int) -> None:
        self._write("done", exit_code=exit_code)

    def _write(self, event: str, **fields: Any) -> None:
        print(json.dumps({"event": event, **fields}), file=self._stream, flush=True)


class Plain:
    """Results, warnings and errors as plain lines, without progress."""

    def __init__(self, out: TextIO | None = None, err: TextIO | None = None):
        self._out, self._err = out or sys.stdout, err or sys.stderr

    def progress(self, image: str, step: str, message: str, fraction: float) -> None:
        pass

    def warning(self, image: str, message: str) -> None:
        print(f"{_name(image)}: warning: {printable(message)}", file=self._err, flush=True)

    def result(self, image: str, files: Mapping[str, Path], findings: int, candidates: int,
               questions: Sequence[Mapping[str, Any]] = ()) -> None:
        noun = "microbleed" if findings == 1 else "microbleeds"
        report = printable(str(files["report"]))
        print(f"{_name(image)}: {findings} {noun} found; report: {report}", file=self._out, flush=True)

    def say(self, text: str) -> None:
        print(text, file=self._out, flush=True)

    def error(self, image: str | None, kind: str, message: str) -> None:
        where = f"{_name(image)}: " if image else ""
        print(f"{where}error: {message}", file=self._err, flush=True)

    def done(self, exit_code: int) -> None:
        pass


class Bar(Plain):
    """Plain lines and a progress bar, redrawn in place on a terminal; elsewhere one line per step."""

    def __init__(self, out: TextIO | None = None, err: TextIO | None = None):
        super().__init__(out, err)
        self._in_place = self._err.isatty()
        self._drawn = False
        self._last = None

    def progress(self, image: str, step: str, message: str, fraction: float) -> None:
        if self._in_place:
            filled = round(BAR_WIDTH * min(max(fraction, 0.0), 1.0))
            bar = "#" * filled + "." * (BAR_WIDTH - filled)
            line = f"[{bar}] {fraction:4.0%}  {_name(image)}: {message}"
            columns = max(shutil.get_terminal_size().columns - 1, 1)
            print(f"\r{line[:columns]:<{columns}}", end="", file=self._err, flush=True)
            self._drawn = True
        elif (image, step) != self._last:
            print(f"{_name(image)}: {message}", file=self._err, flush=True)
        self._last = (image, step)

    def warning(self, image: str, message: str) -> None:
        self._clear()
        super().warning(image, message)

    def result(self, image: str, files: Mapping[str, Path], findings: int, candidates: int,
               questions: Sequence[Mapping[str, Any]] = ()) -> None:
        self._clear()
        super().result(image, files, findings, candidates, questions)

    def say(self, text: str) -> None:
        self._clear()
        super().say(text)

    def error(self, image: str | None, kind: str, message: str) -> None:
        self._clear()
        super().error(image, kind, message)

    def done(self, exit_code: int) -> None:
        self._clear()

    def _clear(self) -> None:
        if self._drawn:
            columns = max(shutil.get_terminal_size().columns - 1, 1)
            print("\r" + " " * columns, end="\r", file=self._err, flush=True)
            self._drawn = False


_REPORTERS = {"bar": Bar, "json": JsonLines, "none": Plain}
STYLES = tuple(_REPORTERS)
"""Ways to tell progress; the first is the usual one."""


def make_reporter(kind: str) -> Reporter:
    """Return the reporter of one of the `STYLES`."""
    return _REPORTERS[kind]()


def _name(image: str) -> str:
    return printable(Path(image).name or image)

"""What the longer benchmarks share: commands in processes of their own, links to files, numbers as Markdown."""

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import microbleeds
from microbleeds.batch import BAD_INPUT, CANCELLED, OK
from microbleeds.errors import InputError, MicrobleedError


def exit_code_of(run: Callable[[argparse.Namespace], None], options: argparse.Namespace) -> int:
    """Run a script and return its exit code; what is wrong is told in a sentence."""
    try:
        run(options)
    except MicrobleedError as error:
        print(f"error: {error}", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        print("Stopped; the same command goes on from here.", file=sys.stderr)
        return CANCELLED
    return OK


def run_command(command: str, *arguments: object) -> None:
    """Run ``cmbdetect COMMAND ARGUMENTS`` in a process of its own, which gives its memory back when it ends.

    Raises
    ------
    InputError
        If it fails; it has told the reason itself.
    """
    package = str(Path(microbleeds.__file__).resolve().parents[1])
    paths = os.pathsep.join(filter(None, (package, os.environ.get("PYTHONPATH"))))
    code = subprocess.run([sys.executable, "-m", "microbleeds", command, *map(str, arguments)],
                          env={**os.environ, "PYTHONPATH": paths}, check=False).returncode
    if code == CANCELLED:
        raise KeyboardInterrupt
    if code != OK:
        raise InputError(f"cmbdetect {command} failed with exit code {code}; see above for the reason, correct it and "
                         "start again.")


def group_names(edges: Sequence[float]) -> list[str]:
    """Return what the groups between edges are called, as `numpy.digitize` numbers them."""
    return [f"under {edges[0]:g}", *(f"{low:g} to {high:g}" for low, high in zip(edges, edges[1:], strict=False)),
            f"{edges[-1]:g} and more"]


def link_or_copy(source: Path, target: Path) -> None:
    """Make a file appear in another place, as a link where the system allows it; what is there stays."""
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        target.symlink_to(source.resolve())
    except OSError:
        # Windows lets only some users make links
        shutil.copyfile(source, target)


def number(value: float | None, digits: int = 2) -> str:
    """Return a number with so many digits, a dash for None."""
    return "–" if value is None else f"{value:.{digits}f}"


def with_interval(value: float | None, interval: Sequence[float] | None, digits: int = 2) -> str:
    """Return a number and its interval."""
    if interval is None:
        return number(value, digits)
    return f"{number(value, digits)} [{number(interval[0], digits)}, {number(interval[1], digits)}]"


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table, the first column to the left and the others to the right."""
    lines = [header, ["---"] + ["---:"] * (len(header) - 1), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)

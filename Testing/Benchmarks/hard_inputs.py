"""Makes several hundred bad inputs and checks that each is refused in one sentence, soon, and without a trace.

    python Testing/Benchmarks/hard_inputs.py                     all, about five minutes; prints a table
    python Testing/Benchmarks/hard_inputs.py --kind masks DICOM  some kinds
    python Testing/Benchmarks/hard_inputs.py --keep DIR          keep the files there
    python Testing/Benchmarks/hard_inputs.py --case WORD         cases with a word in their names, and what they said

Refused means: exit code 2, one sentence on standard error that names what is to blame, no traceback, nothing in the
folder of results, nothing changed beside the input, no code of the file run, within 20 s and 2 GB of resident memory.
What is only unusual must work (exit code 0, results there). The command ends with 1 if any case does not do what is
expected of it.
"""

import argparse
import importlib
import os
import pickle
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

_HERE = Path(__file__).resolve().parent
sys.path[:1] = [str(_HERE.parents[1] / "CMBDetection"), str(_HERE)]

if TYPE_CHECKING:
    from hard_input_cases import HardInput

SECONDS, MEGABYTES = 20, 2000
LONGEST = 1200
"""Characters of a sentence, the path of a file with 300 characters included."""
NOBODY = 65534
INPUTS = "inputs"
_VERIFY = ("models", "verify")


@dataclass(frozen=True)
class Outcome:
    """What a case did: exit code (negative: a signal), wall seconds, MB of memory, what it said, and what is wrong."""

    case: "HardInput"
    code: int
    seconds: float
    megabytes: float
    said: str
    faults: tuple[str, ...]


def main() -> int:
    """Run the cases, print the table and the failures, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", nargs="+", metavar="KIND")
    parser.add_argument("--case", metavar="WORD")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="of each kind the first, and every Nth after "
                        "it; of those that want to run code, all")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="a new folder for the files")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="longer is a fault (default: %(default)s)")
    options = parser.parse_args()
    prepare_process()
    folder = options.keep or Path(tempfile.mkdtemp(prefix="hard-inputs-"))
    try:
        made = made_cases(folder, options.seed)
        cases = [case for case in every_nth(made, options.every)
                 if (not options.kind or case.kind in options.kind)
                 and (not options.case or options.case in case.name or options.case in case.kind)]
        outcomes = []
        for outcome in run_cases(cases, folder, options.seconds):
            outcomes.append(outcome)
            if options.case or outcome.faults:
                print(described(outcome), file=sys.stderr, flush=True)
    finally:
        if not options.keep:
            _remove(folder)
    print(table(outcomes))
    print(f"\n{len(made)} inputs were made, {len(outcomes)} of them tried.")
    if len(outcomes) < len(cases):
        print(f"{len(cases) - len(outcomes)} without rights could not be: a folder is closed to other users.")
    return 1 if any(outcome.faults for outcome in outcomes) else 0


def prepare_process() -> None:
    """Import what the commands need, once, in the process that all cases are forked from.

    A fork of a process that has no threads of its own, and has run nothing of torch that would have started some, is a
    fresh process for all that is tested here, and saves the seconds that the import takes for each of several hundred
    cases. Therefore torch and the other libraries are held to one thread, and nothing is computed with them here that
    they would share among threads. The memory of the imports is in the measured figures.
    """
    os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS",
                                     "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"), "1"))
    for name in ("hard_input_cases", *(f"microbleeds.{part}" for part in (
            "cli", "pipeline", "report", "cohort.run", "evaluation.evaluate", "export.formats", "training.finetune"))):
        importlib.import_module(name)


def made_cases(folder: Path, seed: int = 1) -> list["HardInput"]:
    """Write the files of all cases into a new folder and return the cases.

    A process of its own does it: what it computes with torch, and the memory it takes, are not handed on to the cases.
    """
    folder.mkdir(parents=True, exist_ok=True)
    listing = folder / "cases.pickle"
    child = os.fork()
    if child == 0:
        code = 1
        try:
            listing.write_bytes(pickle.dumps(list(_make(folder / INPUTS, seed))))
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
        raise SystemExit("The inputs could not be made.")
    return pickle.loads(listing.read_bytes())


def _make(folder: Path, seed: int) -> Iterator["HardInput"]:
    from hard_input_cases import Shelf
    from hard_input_images import hard_images
    from hard_input_labels import hard_labels
    from hard_input_models import hard_models
    from hard_input_reviews import hard_reviews

    shelf = Shelf(folder, seed)
    for kind in (hard_images, hard_labels, hard_models, hard_reviews):
        yield from kind(shelf)


def every_nth(cases: Sequence["HardInput"], step: int) -> list["HardInput"]:
    """Return of each kind every `step`th case, and all that want to run code."""
    numbers: Counter[str] = Counter()
    chosen = []
    for case in cases:
        if case.marker is not None or numbers[case.kind] % step == 0:
            chosen.append(case)
        numbers[case.kind] += 1
    return chosen


def run_cases(cases: Iterable["HardInput"], folder: Path, limit_s: float) -> Iterator[Outcome]:
    """Run cases one after another, each in a process and a folder of results of its own."""
    # others must be able to come here, to try what they may not read
    folder.chmod(0o755)
    place = folder / "results"
    for case in cases:
        # the inputs, and what the command itself reads
        read = folder, Path(__file__).parent
        if case.unprivileged and os.getuid() == 0 and not all(map(_open_to_all, read)):
            continue
        place.mkdir()
        place.chmod(0o777)
        yield _run(case, place, limit_s)
        _remove(place)


def _run(case: "HardInput", place: Path, limit_s: float) -> Outcome:
    out, told = place / "out", place / "told.txt"
    before = _inputs_of(case, place.parent / INPUTS)
    started = time.monotonic()
    child = os.fork()
    if child == 0:
        _be_the_command(case, out, told)
    killed, peak = False, 0.0
    while True:
        done, status, usage = os.wait4(child, os.WNOHANG)
        if done:
            break
        peak = max(peak, _resident_megabytes(child))
        if not killed and (time.monotonic() - started > limit_s or peak > MEGABYTES):
            os.kill(child, signal.SIGKILL)
            killed = True
        time.sleep(0.005)
    seconds, megabytes = time.monotonic() - started, max(peak, usage.ru_maxrss / 1024)
    said = told.read_text(encoding="utf-8", errors="backslashreplace") if told.exists() else ""
    code = os.waitstatus_to_exitcode(status)
    faults = [*_faults(case, code, megabytes, said, out)]
    if seconds > limit_s:
        faults.append(f"{seconds:.1f} s")
    if case.expected and _inputs_of(case, place.parent / INPUTS) != before:
        faults.append("changed something beside the input")
    return Outcome(case, code, seconds, megabytes, said, tuple(faults))


def _inputs_of(case: "HardInput", root: Path) -> dict[str, tuple[int, int]]:
    """Return size and time of change of everything in the folders that the arguments of a case lie in."""
    folders = {root.joinpath(*Path(argument).relative_to(root).parts[:2]) for argument in case.arguments
               if argument.startswith(f"{root}{os.sep}")}
    paths = (os.path.join(place, name) for folder in folders for place, *names in os.walk(folder)
             for name in (*names[0], *names[1]))
    return {path: (found.st_size, found.st_mtime_ns) for path in paths for found in [os.lstat(path)]}


def _be_the_command(case: "HardInput", out: Path, told: Path) -> None:
    """Run the command in this forked process and end it."""
    code = 70
    try:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        output = os.open(told, os.O_WRONLY | os.O_CREAT, 0o666)
        # the verdicts of `models verify` are its results, on standard output
        os.dup2(output if case.arguments[:2] == _VERIFY else os.open(os.devnull, os.O_WRONLY), 1)
        os.dup2(output, 2)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.chdir(out.parent)
        if case.unprivileged and os.getuid() == 0:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
        from hard_input_cases import OUT
        from microbleeds.cli import main as command

        os.environ.update({name: value.replace(OUT, str(out)) for name, value in case.environment.items()})
        code = command([argument.replace(OUT, str(out)) for argument in case.arguments])
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException as error:
        os.write(2, f"Traceback: {error!r}\n".encode(errors="backslashreplace"))
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _resident_megabytes(process: int) -> float:
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return 0.0
    found = re.search(r"VmHWM:\s+(\d+)", status)
    return int(found[1]) / 1024 if found else 0.0


def _faults(case: "HardInput", code: int, megabytes: float, said: str, out: Path) -> Iterator[str]:
    if code != case.expected:
        yield f"exit code {code} instead of {case.expected}"
    if megabytes > MEGABYTES:
        yield f"{megabytes:.0f} MB"
    if "Traceback" in said:
        yield "a traceback"
    if case.marker is not None and case.marker.exists():
        yield "code of the file was run"
    left = sorted(path.relative_to(out).as_posix() for path in out.rglob("*")) if out.is_dir() else []
    hidden = [name for name in left if Path(name).name.startswith(".") and (out / name).is_dir()]
    if hidden:
        yield f"left {', '.join(hidden[:3])}"
    if case.expected:
        if left and not hidden:
            yield f"left {', '.join(left[:3])}"
        yield from _faults_of_sentence(case, said)
    elif code == 0 and not left:
        yield "no results"


def _faults_of_sentence(case: "HardInput", said: str) -> Iterator[str]:
    lines = [line for line in said.splitlines() if line.strip()]
    if case.arguments[:2] == _VERIFY:
        # the bundled models are verified only without a name
        lines = [line for line in lines if not line.endswith("undamaged, loads")]
    lines = [line for line in lines if ": warning: " not in line]
    if len(lines) != 1 and not (case.listed and lines):
        yield f"{len(lines)} lines instead of a sentence"
    elif not case.listed and not lines[0].rstrip().endswith("."):
        yield "no sentence"
    if max(map(len, lines), default=0) > LONGEST:
        yield f"a line of {max(map(len, lines))} characters"
    # "scan: error: what is wrong"
    told = said.partition("error: ")[2] if case.arguments[:2] != _VERIFY else said
    if case.named not in told:
        yield f"does not name {case.named[:60]}"


def described(outcome: Outcome) -> str:
    """Return what a case did, and what is wrong about that, in some lines."""
    case = outcome.case
    return (f"{case.kind}, {case.name}: {'; '.join(outcome.faults) or 'as expected'} (exit code {outcome.code}, "
            f"{outcome.seconds:.1f} s, {outcome.megabytes:.0f} MB)\n"
            f"  cmbdetect {' '.join(map(ascii, case.arguments))}\n  said: {outcome.said[-600:]!a}")


def table(outcomes: Sequence[Outcome]) -> str:
    """Return the table by kind, as Markdown."""
    lines = ["| kind | cases | to be refused: refused in one sentence | unusual only: work | slowest s | largest MB |",
             "|---|---:|---:|---:|---:|---:|"]
    for kind in [*dict.fromkeys(outcome.case.kind for outcome in outcomes), "all"]:
        own = [outcome for outcome in outcomes if kind in (outcome.case.kind, "all")]
        bad = [outcome for outcome in own if outcome.case.expected]
        good = [outcome for outcome in own if not outcome.case.expected]
        cells = [f"{sum(not one.faults for one in some)} of {len(some)}" if some else "" for some in (bad, good)]
        lines.append(f"| {kind} | {len(own)} | {cells[0]} | {cells[1]} | {max(one.seconds for one in own):.1f} | "
                     f"{max(one.megabytes for one in own):.0f} |")
    return "\n".join(lines)


def _open_to_all(folder: Path) -> bool:
    """Whether a user without rights can come into a folder."""
    return all(parent.stat().st_mode & 0o001 for parent in (folder, *folder.resolve().parents))


def _remove(folder: Path) -> None:
    # folders without rights are among the inputs
    for path, folders, _ in os.walk(folder):
        for name in folders:
            if not os.path.islink(os.path.join(path, name)):
                os.chmod(os.path.join(path, name), 0o700)
    shutil.rmtree(folder)


if __name__ == "__main__":
    sys.exit(main())

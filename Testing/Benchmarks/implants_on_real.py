"""Sensitivity on real scans with implants: what of the simulated microbleeds in them is found, and what else is.

    python Testing/Benchmarks/implants_on_real.py --scans FILE... -o OUT [--echo-time MS --field T] [--labels TABLE]

Each scan gets microbleeds and mimics several times over, always others. Predictions on the scans' own labelled
microbleeds count neither as right nor as wrong. Scans that lack their echo time and field strength have to share those
given. Nothing that is made here is part of the software; images stay in OUT.
"""

import argparse
import csv
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from benchmark_scores import diameter_group, prediction_of
from microbleeds.batch import BAD_INPUT, CANCELLED, OK, Job, run_scans
from microbleeds.errors import InputError, MicrobleedError
from microbleeds.evaluation.by_kind import Verdict, count_found, judge
from microbleeds.evaluation.cases import read_prediction
from microbleeds.evaluation.drawn_truth import read_drawn_truth
from microbleeds.evaluation.matching import CENTRE_LIMIT_MM
from microbleeds.progress import make_reporter
from microbleeds.read_write import scan_stem, write_text
from microbleeds.settings import MODALITIES, OPERATING_POINTS
from microbleeds.simulation.implant_files import ImplantJob, implant_files
from microbleeds.simulation.shapes import MIMICS
from scipy.spatial.distance import cdist

GROUPS = ("under 3 mm", "3 to 5 mm", "5 mm and more")
"""Of `benchmark_scores.diameter_group`, for the columns."""


@dataclass(frozen=True)
class Result:
    """One scan with one set of implants: the verdict, false positives elsewhere, and predictions on own microbleeds."""

    stem: str
    verdict: Verdict
    on_mimics: int
    elsewhere: int
    own: int


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    options = _parser().parse_args(arguments)
    try:
        results = [result for seed in range(1, options.repeats + 1) for result in _run(seed, options)]
    except MicrobleedError as error:
        print(f"error: {error}", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        return CANCELLED
    text = table(results)
    write_text(options.output / "implants_on_real.md", text)
    print(text)
    return OK


def table(results: Sequence[Result]) -> str:
    """Return the figures of each scan and of all as a Markdown table."""
    lines = ["| scan | runs | " + " | ".join(f"found, {group}" for group in GROUPS)
             + " | found, all | false positives per run on mimics (visible ones) | elsewhere |",
             "|---|---|" + "---|" * (len(GROUPS) + 3)]
    stems = list(dict.fromkeys(result.stem for result in results))
    for name, own in [(stem, [result for result in results if result.stem == stem]) for stem in stems] + [
            ("all", list(results))]:
        found = count_found([result.verdict for result in own], diameter_group)
        total = tuple(map(sum, zip(*found.values(), strict=True))) if found else (0, 0)
        mimics = sum(item.visible and item.kind in MIMICS for result in own for item in result.verdict.drawn)
        cells = [name, str(len(own)), *(_share(*found.get(group, (0, 0))) for group in GROUPS), _share(*total),
                 f"{_mean(own, 'on_mimics')} ({mimics / len(own):.1f})", _mean(own, "elsewhere")]
        lines.append("| " + " | ".join(cells) + " |")
    note = ("Found: visible implanted microbleeds by visible diameter, centres nearer than "
            f"{CENTRE_LIMIT_MM:g} mm, one to one.")
    if left_out := sum(result.own for result in results):
        note += f" Left out: {left_out} predictions on the scans' own labelled microbleeds."
    return "\n".join([*lines, "", note]) + "\n"


def _run(seed: int, options: argparse.Namespace) -> list[Result]:
    """Implant with one seed into all scans, detect, and judge."""
    folder = options.output / f"seed-{seed}"
    reporter = make_reporter("bar")
    masks = options.masks or [None] * len(options.scans)
    results = []
    for scan, mask in zip(options.scans, masks, strict=True):
        job = ImplantJob(folder, options.modality, mask and str(mask), options.bleeds, options.mimics, seed,
                         options.echo_time, options.field)
        stem = scan_stem(scan)
        image, brain = folder / f"{stem}.nii.gz", folder / f"{stem}_desc-brain_mask.nii.gz"
        if implant_files([str(scan)], job, reporter) != OK:
            raise InputError(f"Nothing could be implanted into {scan}; see above for the reason.")
        detection = Job(folder / "results", options.model, options.modality, options.operating_point, mask=str(brain))
        if run_scans([str(image)], detection, reporter) != OK:
            raise InputError(f"The detection failed on {image}; see above for the reason.")
        results.append(_judged(image, brain, folder / "results", _own_lesions(options.labels, stem)))
    return results


def _judged(image: Path, brain: Path, predictions: Path, own_ras: np.ndarray) -> Result:
    labels = prediction_of(predictions, image)
    clusters, _ = read_prediction(labels, None)
    verdict = judge(clusters, read_drawn_truth(image, brain, clusters, labels))
    places = np.reshape([item.position_ras for item in verdict.false_positives], (-1, 3))
    own = (cdist(places, own_ras) < CENTRE_LIMIT_MM).any(axis=1)
    mimic = np.array([item.cause in MIMICS for item in verdict.false_positives], bool)
    return Result(scan_stem(image), verdict, int((mimic & ~own).sum()), int((~mimic & ~own).sum()), int(own.sum()))


def _own_lesions(path: Path | None, stem: str) -> np.ndarray:
    """Return the places (n, 3) RAS mm of the labelled microbleeds whose subject begins the name of the scan."""
    if path is None:
        return np.empty((0, 3))
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = [row for row in csv.DictReader(file) if stem.split("_")[0] == row["subject"]]
        return np.reshape([[float(row[axis]) for axis in ("R_mm", "A_mm", "S_mm")] for row in rows], (-1, 3))
    except (OSError, KeyError, ValueError) as error:
        raise InputError(f"{path} is not a table with the columns subject, R_mm, A_mm, S_mm ({error}).") from None


def _share(found: int, whole: int) -> str:
    return f"{found}/{whole} ({found / whole:.0%})" if whole else "–"


def _mean(results: Sequence[Result], name: str) -> str:
    return f"{np.mean([getattr(result, name) for result in results]):.1f}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scans", type=Path, nargs="+", required=True, metavar="FILE")
    parser.add_argument("--masks", type=Path, nargs="+", metavar="FILE", help="brain masks in the order of the scans")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR")
    parser.add_argument("--labels", type=Path, metavar="TABLE",
                        help="CSV of the scans' own microbleeds: subject, R_mm, A_mm, S_mm")
    parser.add_argument("--repeats", type=int, default=3, metavar="N", help="sets of implants (default: %(default)s)")
    parser.add_argument("--bleeds", type=int, default=10, metavar="N")
    parser.add_argument("--mimics", type=int, default=6, metavar="N")
    parser.add_argument("--modality", choices=("auto", *MODALITIES), default="auto")
    parser.add_argument("--echo-time", type=float, metavar="MS")
    parser.add_argument("--field", type=float, metavar="T")
    parser.add_argument("--model", metavar="NAME|DIR")
    parser.add_argument("--operating-point", choices=OPERATING_POINTS, default=OPERATING_POINTS[0])
    return parser


if __name__ == "__main__":
    sys.exit(main())

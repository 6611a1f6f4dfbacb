"""Figures on real scans that are for evaluation only: nothing may be trained on or tuned to them, nor shipped.

    python Testing/Benchmarks/real_scans.py --data /work/shared/data/real --model NAME|DIR [--work DIR]

Runs ``cmbdetect detect`` at both operating points and prints, as Markdown: sensitivity, false positives and precision
on labelled scans, by both rules of ``cmbdetect evaluate``; false positives on healthy scans; counts on scans that
nobody labelled. What is missing in the folder is named and left out. Everything is written to --work, which must not
be a part of the repository that git keeps; results that are there already are not made again.
"""

import argparse
import csv
import io
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import numpy as np
from benchmark_tables import best_sensitivity
from benchmark_tools import exit_code_of, markdown_table, number, with_interval
from microbleeds.errors import InputError
from microbleeds.evaluation.cases import find_cases, read_case
from microbleeds.evaluation.evaluate import CURVES, RULES, ScanEvaluation, evaluate_folders, scored_candidates
from microbleeds.evaluation.intervals import bootstrap
from microbleeds.evaluation.matching import match_centres
from microbleeds.evaluation.metrics import ScoredCandidates, false_positives, froc, pool, rates
from microbleeds.findings import DetectionResult
from microbleeds.outputs import FILE_NAMES, read_result
from microbleeds.read_write import scan_stem, write_text
from microbleeds.settings import OPERATING_POINTS
from simulated import detect_missing

WORK = Path("build", "real-scans")
LABELS = Path("valdo_t2star", "expert_centres.csv")
LABELLED_SCAN = "{0}/{0}_*_T2S.nii.gz"
"""Of a subject, beside the table."""
HEALTHY = ("qsm/healthy_cosmos_chi.nii.gz", "qsm/healthy_tissue_phase.nii.gz")
UNLABELLED = ("unlabelled/*.nii.gz", "qsm/haemorrhage_qsm.nii.gz", "valdo_t2star/*/skull_stripped/*_T2S.nii.gz")
FALSE_POSITIVES = (0.5, 1.0, 2.0, 3.0, 5.0, 10.0)
_NOTICE = ("Evaluation only: these scans are never trained on, never used to choose a threshold or a model, and "
           "neither they nor what is made of them belongs into the repository.")
_HEALTHY_NOTE = ("Both are of one person. The tissue phase is no kind of image that the model is made for; its values "
                 "are signed around zero, so it is taken for QSM.")


@dataclass(frozen=True)
class Scans:
    """The scans of each group that are there, the rows of the table of points, and what is missing."""

    labelled: tuple[Path, ...]
    rows: tuple[dict[str, str], ...]
    healthy: tuple[Path, ...]
    unlabelled: tuple[Path, ...]
    missing: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Labelled:
    """One labelled scan: its counts by each rule, its result, candidates of each step, microbleeds step 1 found."""

    scan: ScanEvaluation
    result: DetectionResult
    candidates: dict[str, ScoredCandidates]
    found_by_step_1: int


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return exit_code_of(_run, _parser().parse_args(arguments))


def find_scans(data: Path) -> Scans:
    """Look for the scans in the folder of real data.

    Raises
    ------
    InputError
        If none of them is there.
    """
    table, missing = data / LABELS, []
    rows = _rows(table) if table.is_file() else []
    if not rows:
        missing.append(str(LABELS))
    labelled = {}
    for subject in dict.fromkeys(row["subject"] for row in rows):
        images = sorted(table.parent.glob(LABELLED_SCAN.format(subject)))
        if images:
            labelled[subject] = images[0]
        else:
            missing.append(f"the scan of {subject}")
    healthy, unlabelled = [], []
    for group, patterns in ((healthy, HEALTHY), (unlabelled, UNLABELLED)):
        for pattern in patterns:
            found = sorted(data.glob(pattern))
            group += found
            missing += [] if found else [pattern]
    if not (labelled or healthy or unlabelled):
        raise InputError(f"{data} holds none of the real scans; name the folder with valdo_t2star, qsm and unlabelled.")
    return Scans(tuple(labelled.values()), tuple(row for row in rows if row["subject"] in labelled), tuple(healthy),
                 tuple(unlabelled), tuple(missing))


def evaluated(predictions: Path, rows: Sequence[dict[str, str]]) -> list[Labelled]:
    """Compare results with the points of their subjects, as ``cmbdetect evaluate`` does."""
    table = predictions.with_name(f"{predictions.name}.csv")
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(table, text.getvalue())
    scans = {scan.stem: scan for scan in evaluate_folders(predictions, table).scans}
    labelled = []
    for case in map(read_case, find_cases(predictions, table)[0]):
        candidates = scored_candidates(case)
        step_1 = candidates["step 1"]
        labelled.append(Labelled(scans[case.stem], case.result, candidates,
                                 match_centres(step_1.positions_ras, step_1.lesions_ras).found))
    return labelled


def labelled_tables(labelled: Sequence[Labelled]) -> str:
    """Return the figures of labelled scans at one operating point: per scan, then pooled with intervals."""
    header = ["scan", "taken for", "microbleeds", "found by step 1", "candidates of step 1"]
    header += [f"{rule}: {name}" for rule in RULES for name in ("found", "FP", "precision")]
    rows = []
    for one in labelled:
        provenance = one.result.provenance
        row = [one.scan.stem, provenance.modality, str(len(one.candidates["step 1"].lesions_ras)),
               str(one.found_by_step_1), str(len(one.result.candidates))]
        for rule in RULES:
            counts = one.scan.counts[rule]
            row += [str(counts.found), str(counts.false_positives), number(rates(counts).precision)]
        rows.append(row)
    pooled = []
    for rule, meaning in RULES.items():
        counts = [one.scan.counts[rule] for one in labelled]
        whole, own, bounds = pool(counts), rates(pool(counts)), bootstrap(counts)
        pooled.append([f"{rule} ({meaning})", f"{whole.found} of {whole.lesions}",
                       with_interval(own.sensitivity, bounds.sensitivity),
                       with_interval(false_positives(counts).per_scan, bounds.false_positives_per_scan),
                       with_interval(own.precision, bounds.precision)])
    lesions = sum(len(one.candidates["step 1"].lesions_ras) for one in labelled)
    step_1 = (f"Step 1 alone finds {sum(one.found_by_step_1 for one in labelled)} of {lesions} (distance rule), with "
              f"{fmean(len(one.result.candidates) for one in labelled):.1f} candidates per scan.")
    return "\n\n".join([markdown_table(header, rows), step_1,
                        markdown_table(["rule", "found", "sensitivity", "FP per scan", "precision"], pooled)])


def froc_table(labelled: Sequence[Labelled]) -> str:
    """Return the highest sensitivity at most so many false positives per scan, over all thresholds there are."""
    rows = []
    for curve in CURVES:
        scored = [one.candidates[curve] for one in labelled]
        thresholds = np.unique(np.concatenate([[1.0], *(one.scores for one in scored)]))
        points = froc(scored, thresholds.tolist())
        rows.append([curve, *(number(best_sensitivity(points, limit)) for limit in FALSE_POSITIVES)])
    return markdown_table(["FP per scan at most", *(f"{limit:g}" for limit in FALSE_POSITIVES)], rows)


def counts_table(results: Sequence[dict[str, DetectionResult]]) -> str:
    """Return the findings of scans without labels, one column per operating point; one entry of `results` per scan."""
    rows = []
    for points in results:
        first = next(iter(points.values()))
        rows.append([first.provenance.input_name, first.provenance.modality, str(len(first.candidates)),
                     *(str(len(result.findings)) for result in points.values()),
                     f"{sum(first.provenance.seconds.values()):.0f}", " ".join(first.provenance.warnings) or "–"])
    if rows:
        means = [number(fmean(len(points[name].findings) for points in results)) for name in results[0]]
        rows.append(["mean per scan", "", "", *means, "", ""])
    names = [f"findings, {name}" for name in (results[0] if results else OPERATING_POINTS)]
    return markdown_table(["scan", "taken for", "candidates of step 1", *names, "s", "warnings"], rows)


def _run(options: argparse.Namespace) -> None:
    _refuse_repository(options.work)
    scans = find_scans(options.data)
    # torch is behind it
    from microbleeds.weights import load_model

    model = load_model(options.model)
    place = options.work / f"{model.name}-{model.sha256[:8]}"
    failed = [sentence for point in OPERATING_POINTS for sentence in _detect(scans, place / point, point, options)]
    parts = [f"# Real scans, {model.name}", _NOTICE, f"Weights {model.sha256}."]
    if scans.missing:
        parts.append(f"Not there, so left out: {', '.join(scans.missing)}.")
    parts += list(dict.fromkeys(failed))
    parts += _labelled_parts(scans, place)
    for title, name, images in (("Healthy scans: every finding is false", "healthy", scans.healthy),
                                ("Scans without labels: counts only", "unlabelled", scans.unlabelled)):
        results = _results(images, place, name)
        if results:
            parts += [f"## {title}", counts_table(results), *([_HEALTHY_NOTE] if name == "healthy" else [])]
    text = "\n\n".join(parts) + "\n"
    write_text(place / "real_scans.md", text)
    print(text)
    print(f"Written to {place / 'real_scans.md'}.")


def _labelled_parts(scans: Scans, place: Path) -> list[str]:
    parts, labelled = [], []
    for point in OPERATING_POINTS:
        folder = place / point / "labelled"
        done = [image for image in scans.labelled if _findings(image, folder).is_file()]
        rows = [row for row in scans.rows if any(image.name.startswith(f"{row['subject']}_") for image in done)]
        if rows:
            labelled = evaluated(folder, rows)
            parts += [f"## Labelled T2*-GRE, {point}", labelled_tables(labelled)]
    if labelled:
        parts += ["## FROC of the labelled scans (distance rule)", froc_table(labelled)]
    return parts


def _detect(scans: Scans, folder: Path, point: str, options: argparse.Namespace) -> list[str]:
    """Detect in all scans at one operating point; return a sentence for each group in which one failed."""
    failed = []
    wanted = argparse.Namespace(model=options.model, operating_point=point, device=options.device, again=False)
    for name in ("labelled", "healthy", "unlabelled"):
        try:
            detect_missing(getattr(scans, name), folder / name, wanted)
        except InputError as error:
            failed.append(str(error))
    return failed


def _results(images: Sequence[Path], place: Path, name: str) -> list[dict[str, DetectionResult]]:
    """Return the results of the scans that have one at every operating point."""
    paths = [{point: _findings(image, place / point / name) for point in OPERATING_POINTS} for image in images]
    return [{point: read_result(path) for point, path in points.items()} for points in paths
            if all(path.is_file() for path in points.values())]


def _findings(image: Path, folder: Path) -> Path:
    return folder / FILE_NAMES["findings"].format(scan_stem(image))


def _rows(table: Path) -> list[dict[str, str]]:
    with table.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    if rows and "subject" not in rows[0]:
        raise InputError(f"{table} has no column subject; restore the table that came with the scans.")
    return rows


def _refuse_repository(work: Path) -> None:
    root = Path(__file__).resolve().parents[2]
    inside = work.resolve()
    if inside.is_relative_to(root) and not inside.is_relative_to(root / "build"):
        raise InputError(f"{work} lies in the repository, where nothing of these scans may go; choose a folder "
                         "elsewhere with --work.")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="folder of the real scans")
    parser.add_argument("--model", required=True, metavar="NAME|DIR")
    parser.add_argument("--work", type=Path, default=WORK, metavar="DIR", help="default: %(default)s")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="default: %(default)s")
    return parser


if __name__ == "__main__":
    sys.exit(main())

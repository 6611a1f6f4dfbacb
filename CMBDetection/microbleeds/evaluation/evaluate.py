"""A folder of results against its reference: figures, tables, files."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from ..read_write import write_text
from .cases import Case, find_cases, read_case
from .matching import CENTRE_LIMIT_MM, Counts, cluster_centres_ras, match_centres, match_clusters
from .metrics import FrocPoint, ScoredCandidates, Summary, froc, rates, summarise

SCHEMA_VERSION = "1.0"
OVERLAP, DISTANCE = "overlap", "distance"
RULES = {
    OVERLAP: "26-connected clusters, 1 voxel of overlap; sensitivity counts lesions, precision counts predictions",
    DISTANCE: f"centres nearer than {CENTRE_LIMIT_MM:g} mm, matched one to one",
}
CURVES = {
    "step 1": "every candidate, by its detector probability",
    "final": "candidates that the clean-up did not remove, by their probability; below the threshold of the run it "
             "also holds candidates that the clean-up may not have been asked about",
}


@dataclass(frozen=True)
class ScanEvaluation:
    """One scan: its counts by each rule of `RULES`."""

    stem: str
    counts: dict[str, Counts]


@dataclass(frozen=True)
class Evaluation:
    """All scans.

    `summaries` has one entry per rule, `froc` one curve per entry of `CURVES` (none when a findings file is missing),
    `left_out` names the results without a reference.
    """

    scans: tuple[ScanEvaluation, ...]
    summaries: dict[str, Summary]
    froc: dict[str, tuple[FrocPoint, ...]]
    left_out: tuple[str, ...]


def evaluate_folders(predictions: Path, truth: Path) -> Evaluation:
    """Compare the results in a folder with their reference; see `cases.find_cases` for the files.

    Raises
    ------
    InputError
        If files are missing or do not fit together.
    """
    files, left_out = find_cases(predictions, truth)
    scans, scored = [], {name: [] for name in CURVES}
    for case in map(read_case, files):
        scans.append(ScanEvaluation(case.stem, _counts(case)))
        for name, candidates in scored_candidates(case).items():
            scored[name].append(candidates)
    complete = all(len(candidates) == len(scans) for candidates in scored.values())
    return Evaluation(
        scans=tuple(scans),
        summaries={rule: summarise([scan.counts[rule] for scan in scans]) for rule in RULES},
        froc={name: froc(candidates) for name, candidates in scored.items()} if complete else {},
        left_out=left_out)


def text_tables(evaluation: Evaluation) -> str:
    """Return everything as text to read."""
    parts = []
    for rule, description in RULES.items():
        summary = evaluation.summaries[rule]
        parts += [f"{rule.capitalize()} rule: {description}", _table(_scan_rows(evaluation, rule)),
                  _table(_summary_rows(summary)), _table(_false_positive_rows(summary))]
    for name, points in evaluation.froc.items():
        parts += [f"FROC, {name}: {CURVES[name]} (distance rule)", _table(_froc_rows(points))]
    if not evaluation.froc:
        parts.append("No FROC table: not every scan has its S_desc-cmb_findings.json.")
    if evaluation.left_out:
        parts.append(f"Left out, because there is no reference: {', '.join(evaluation.left_out)}")
    return "\n\n".join(parts)


def write_evaluation(evaluation: Evaluation, folder: Path) -> None:
    """Write ``evaluation.tsv`` (one row per scan and rule) and ``evaluation.json`` (everything) into a folder."""
    header, rows = ["rule"], []
    for rule in RULES:
        names, *values = _scan_rows(evaluation, rule)
        header = ["rule", *names]
        rows += [[rule, *row] for row in values]
    write_text(folder / "evaluation.tsv", "".join("\t".join(row) + "\n" for row in [header, *rows]))
    content = {"schema_version": SCHEMA_VERSION, "rules": RULES, "curves": CURVES, **asdict(evaluation)}
    write_text(folder / "evaluation.json", json.dumps(content, indent=1) + "\n")


def scored_candidates(case: Case) -> dict[str, ScoredCandidates]:
    """Return one scan's candidates for each FROC curve of `CURVES`; empty when the result is not known."""
    if case.result is None:
        return {}
    every = case.result.candidates
    clean = [candidate for candidate in every if not (candidate.removed_by or "").startswith("step3")]
    return {
        name: ScoredCandidates(np.reshape([candidate.position_ras for candidate in chosen], (-1, 3)),
                               np.array([getattr(candidate, score) for candidate in chosen]),
                               case.lesions.centres_ras)
        for name, chosen, score in (("step 1", every, "detector_probability"), ("final", clean, "probability"))}


def _counts(case: Case) -> dict[str, Counts]:
    """Count by both rules; predicted centres are those of the findings, of the clusters where these are not known."""
    centres_ras = cluster_centres_ras(case.clusters)
    if case.result is not None:
        centres_ras = [finding.position_ras for finding in case.result.findings]
    return {OVERLAP: match_clusters(case.clusters, case.lesions),
            DISTANCE: match_centres(centres_ras, case.lesions.centres_ras)}


def _scan_rows(evaluation: Evaluation, rule: str) -> list[list[str]]:
    rows = [["scan", "lesions", "found", "missed", "predictions", "correct", "false_positives", "sensitivity",
             "precision", "f1"]]
    for scan in evaluation.scans:
        counts = scan.counts[rule]
        rows.append([scan.stem, *map(str, (counts.lesions, counts.found, counts.missed, counts.predictions,
                                           counts.correct, counts.false_positives)),
                     *map(_rate, asdict(rates(counts)).values())])
    return rows


def _summary_rows(summary: Summary) -> list[list[str]]:
    averages = summary.per_scan.values()
    return [["", *summary.per_scan],
            ["pooled", *map(_rate, asdict(summary.pooled).values())],
            ["mean per scan", *(_rate(average.mean) for average in averages)],
            ["median per scan", *(_rate(average.median) for average in averages)],
            ["scans counted", *(str(average.scans) for average in averages)]]


def _false_positive_rows(summary: Summary) -> list[list[str]]:
    wrong = summary.false_positives
    return [["false positives", "scans", "per scan", "scans without any"],
            ["all scans", str(summary.scans), _rate(wrong.per_scan), ""],
            ["with lesions", str(summary.scans - wrong.clean_scans), _rate(wrong.per_scan_with_lesions), ""],
            ["without lesions", str(wrong.clean_scans), _rate(wrong.per_scan_without_lesions),
             str(wrong.clean_scans_kept_clean)]]


def _froc_rows(points: Sequence[FrocPoint]) -> list[list[str]]:
    header = ["threshold", "sensitivity", "precision", "FP/scan", "with lesions", "without"]
    return [header, *([f"{point.threshold:.2f}", *map(_rate, list(asdict(point).values())[1:])] for point in points)]


def _rate(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.3f}"


def _table(rows: Sequence[Sequence[str]]) -> str:
    """Align columns, the first to the left and the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip()
                     for row in rows)

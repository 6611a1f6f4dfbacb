"""What the numbers that cut the detector's map into candidates were chosen on: held-out simulated scans.

    python Testing/Benchmarks/candidate_choice.py --validation DIR/valid --work DIR

DIR/valid is the set for thresholds (README, "Training"), not that of the benchmark. The detector runs once over every
scan; its map is cut with several settings, the student judges the candidates, and for each setting the TPR at some
false positives per scan is printed, with the calibration of the model, after the clean-up.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from benchmark_tools import markdown_table, number
from microbleeds.settings import CandidateSettings
from microbleeds.tiling import probability_map
from microbleeds.training.cases import Case, prepare_cases
from microbleeds.training.scoring import CANDIDATE_SETTINGS, ScoredCase, probabilities, score_case
from microbleeds.training.train import DataFolders, collect
from microbleeds.weights import DEFAULT_MODEL, Model, load_model
from sampled_curves import curve_of, samples_of, tpr_at

CHOICES = (*(replace(CANDIDATE_SETTINGS, prominence=value) for value in (0.1, 0.2, 0.3, 0.5, 1.2)),
           *(replace(CANDIDATE_SETTINGS, threshold=value) for value in (0.14,)))
ALLOWED = (0.25, 0.5, 1, 2, 4, 8)


def main() -> None:
    """Score every scan with every setting and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--validation", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True, help="keeps the prepared scans")
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--limit", type=int, help="only the first scans")
    options = parser.parse_args()
    model = load_model(options.model)
    scans = collect(DataFolders((options.validation,)))[:options.limit]
    cases = prepare_cases(scans, options.work / "cases", None, lambda *told: None)
    scored = []
    for case in cases:
        scored.append(scored_with(case, model, CHOICES))
        print(f"{case.name}: {len(scored[-1][0].lesions_mm)} microbleeds", flush=True)
    print(table(list(zip(*scored, strict=True)), model))


def scored_with(case: Case, model: Model, choices: Sequence[CandidateSettings]) -> list[ScoredCase]:
    """Run the detector once over a case and score its candidates with each of the settings."""
    found = []

    def once(*given: object) -> np.ndarray:
        if not found:
            found.append(probability_map(*given))
        return found[0]

    score = partial(score_case, case, model.detector, model.student, "cpu", run=once)
    return [score(settings) for settings in choices]


def table(scored: Sequence[Sequence[ScoredCase]], model: Model) -> str:
    """Return the TPR at `ALLOWED` false positives per scan for the scored scans of each of `CHOICES`."""
    rows = []
    for settings, own in zip(CHOICES, scored, strict=True):
        scans = [one.candidates(probabilities(one, model.calibration), kept_only=True) for one in own]
        curve = curve_of(scans, max(ALLOWED))
        rates = [float(tpr_at(curve, allowed, samples_of(len(scans)))[0]) for allowed in ALLOWED]
        rows.append([f"{settings.threshold:g}", f"{settings.prominence:g}", *map(number, rates),
                     number(float(np.mean(rates[:-1]))), f"{np.mean([len(one.kept) for one in own]):.0f}"])
    return markdown_table(["threshold", "prominence", *(f"{allowed:g} FP" for allowed in ALLOWED), "mean to 4 FP",
                           "candidates per scan"], rows)


if __name__ == "__main__":
    main()

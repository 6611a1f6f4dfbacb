"""How far simulated scans are from real ones: figures of the foci, pictures, and a classifier that tells them apart.

    python Testing/Benchmarks/real_and_simulated.py --real DIR --permissive DIR --simulated DIR -o OUT

`--real` is data for evaluation only: what is written to OUT from it must not be published. Only
``montage_permissive.png`` shows nothing but permissive and simulated data. Written are ``report.md``, and the montages
with and without labels (``montage_blind_*.png`` with a key, to test oneself).
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from microbleeds.errors import MicrobleedError
from real_and_simulated_classifier import (
    LEAST_SCANS,
    Folds,
    Outcome,
    betrayal_table,
    betrayals,
    cross_validated,
    folds,
    halves,
    logistic_scores,
    network_scores,
)
from real_and_simulated_data import Labelled, permissive_scans, real_scans, simulated_scans
from real_and_simulated_features import feature_table
from real_and_simulated_foci import measure_background, measure_foci
from real_and_simulated_montage import COLUMNS, tiles, write_montages
from real_and_simulated_patches import PATCH_MM, Patches, common_grid_mm, foci_patches, join, tissue_patches
from real_and_simulated_table import BACKGROUND, profile_table, quantile_table

TITLES = {"gre": "T2*-GRE", "swi": "SWI", "qsm": "QSM"}
BACKGROUND_SHELLS = 1200
"""Random places of tissue measured, over all scans of one side."""
TISSUE_PATCHES, LEAST_PER_SCAN = 900, 25
MONTAGE = 6 * COLUMNS
FEATURES_SHOWN = 12
_READING = """Foci on real T2* are the experts' microbleeds; on real QSM compact bodies above .25 ppm of one patient
with a haematoma, veins among them. The real SWI is one crop at 7 T and TE 12 ms. AUC: where scans are left out, neither
the real nor the simulated test scans were trained on; far below .5 it means that the scan left out lies on the other
side of the simulated ones than the other real scans do. Where halves are left out the style of every scan is known, and
the AUC an upper bound; it is given of tissue in any case."""


def main() -> int:
    """Read the folders, write the report and the pictures; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--real", type=Path, required=True, help="folder with valdo_t2star, qsm and unlabelled")
    parser.add_argument("--permissive", type=Path, required=True, help="folder with mriresearchtools")
    parser.add_argument("--simulated", type=Path, required=True, help="simulated data set, sub-*/anat")
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args()
    try:
        text = compare(options.real, options.permissive, options.simulated, options.output)
    except MicrobleedError as error:
        print(error, file=sys.stderr)
        return 1
    print(text)
    return 0


def compare(real_folder: Path, permissive_folder: Path, simulated_folder: Path, output: Path) -> str:
    """Write report and montages to `output`; return the report."""
    output.mkdir(parents=True, exist_ok=True)
    evaluation, permissive = real_scans(real_folder), permissive_scans(permissive_folder)
    texts, blocks = ["# Real and simulated", "", _READING, ""], []
    for modality in TITLES:
        started = time.perf_counter()
        simulated = list(simulated_scans(simulated_folder, modality))
        open_ones = [scan for scan in permissive if scan.modality == modality]
        real = open_ones if modality == "swi" else [scan for scan in evaluation if scan.modality == modality]
        rng = np.random.default_rng(0)
        texts += [f"## {TITLES[modality]}", "", f"Real: {_names(real)}. Simulated: {len(simulated)} scans.", "",
                  foci_text(real, simulated, modality, rng), "", classifier_text(real, simulated, rng), "",
                  f"({time.perf_counter() - started:.0f} s)", ""]
        write_montages(modality, montage_rows(real, simulated, rng), output, rng)
        if open_ones:
            blocks.append([tiles(side, 3 * COLUMNS, PATCH_MM["swi"], False, rng) for side in (open_ones, simulated)])
    write_montages("permissive", blocks, output, np.random.default_rng(1))
    text = "\n".join(texts)
    (output / "report.md").write_text(text, encoding="utf-8")
    return text


def foci_text(real: Sequence[Labelled], simulated: Sequence[Labelled], modality: str,
              rng: np.random.Generator) -> str:
    """Return the tables of foci, of their profile, and of tissue anywhere."""
    foci, tissue = [], []
    for side in (real, simulated):
        foci.append([figures for scan in side for figures in
                     measure_foci(scan.volume, scan.brain, scan.centres_ras, scan.voxel_counts, modality)])
        share = max(LEAST_PER_SCAN, BACKGROUND_SHELLS // max(1, len(side)))
        tissue.append([figures for scan in side for figures in
                       measure_background(scan.volume, scan.brain, modality, share, rng)])
    unit = "ppm above the shell" if modality == "qsm" else "share of the shell's median"
    return "\n".join([f"Foci ({unit}; quantiles 5 / 25 / 50 / 75 / 95):", "", quantile_table(*foci, modality == "gre"),
                      "", profile_table(*foci), "", "Tissue anywhere:", "", quantile_table(*tissue, False, BACKGROUND)])


def classifier_text(real: Sequence[Labelled], simulated: Sequence[Labelled], rng: np.random.Generator) -> str:
    """Return the AUC of both classifiers on both sorts of patches, and what betrays the simulation."""
    scans = [*real, *simulated]
    grid_mm = common_grid_mm(scans)
    counts = {side: max(LEAST_PER_SCAN, TISSUE_PATCHES // max(1, len(group)))
              for side, group in ((True, real), (False, simulated))}
    tissue = join([tissue_patches(scan, grid_mm, counts[scan.real], rng) for scan in scans])
    foci = join([foci_patches(scan, grid_mm, rng) for scan in scans])
    sorts = [("tissue anywhere", tissue, folds), ("around foci", foci, folds)]
    if len(real) >= LEAST_SCANS:
        sorts.insert(1, ("tissue anywhere", tissue, halves))
    lines = [f"Real against simulated, AUC (.5 is the aim; patches on {grid_mm:.2f} mm):", "",
             "| patches | real | simulated | left out | features | network |", "|---|---|---|---|---|---|"]
    details = []
    for name, patches, cuts in sorts:
        if not (patches.real.any() and (~patches.real).any()):
            lines.append(f"| {name} | {patches.real.sum()} | {(~patches.real).sum()} | - | - | - |")
            continue
        table, names = feature_table(patches.values)
        by_features = cross_validated(patches, table, logistic_scores, cuts)
        by_network = cross_validated(patches, patches.values, network_scores, cuts)
        lines.append(f"| {name} | {patches.real.sum()} | {(~patches.real).sum()} | {_left_out(patches, cuts)} | "
                     f"{_number(by_features)} | {_number(by_network)} |")
        details += [f"{name}, {_left_out(patches, cuts)}: features {_by_fold(by_features)}; network "
                    f"{_by_fold(by_network)}.", ""]
        if cuts is folds:
            worst = betrayals(table, names, patches.real)
            details += ["What betrays the simulation:", "", betrayal_table(worst, FEATURES_SHOWN), ""]
    return "\n".join([*lines, "", *details])


def montage_rows(real: Sequence[Labelled], simulated: Sequence[Labelled],
                 rng: np.random.Generator) -> list[tuple[list[np.ndarray], list[np.ndarray]]]:
    """Return a block of patches around foci where the real scans have any, and one of patches anywhere."""
    size_mm = PATCH_MM[real[0].modality]
    rows = [[tiles(side, MONTAGE, size_mm, foci, rng) for side in (real, simulated)] for foci in (True, False)]
    return [(shown, made[:len(shown)]) for shown, made in rows if shown]


def _left_out(patches: Patches, cuts: Folds) -> str:
    scans = len(np.unique(patches.scan[patches.real]))
    if cuts is folds and scans >= LEAST_SCANS:
        return f"one of {scans} real scans"
    return "half of every volume" if scans >= LEAST_SCANS else "half of every volume (too few real scans)"


def _number(outcome: Outcome) -> str:
    return f"{outcome.auc:.2f}" if outcome.folds else "too few"


def _by_fold(outcome: Outcome) -> str:
    return ", ".join(f"{name} {value:.2f}" for name, value in outcome.folds.items()) or "not to be had"


def _names(scans: Sequence[Labelled]) -> str:
    return ", ".join(f"{scan.name} ({len(scan.centres_ras)} foci)" for scan in scans)


if __name__ == "__main__":
    sys.exit(main())

"""Leave one modality out: train on two of GRE, SWI and QSM, test on the third with the simulated benchmark.

    python Testing/Benchmarks/leave_modality_out.py --training DIR --validation DIR --work DIR
        [--modality gre] [--all-modalities MODEL] [options of cmbdetect train]

Data sets are simulated ones (``python -m microbleeds.training.simulated_sets``). Thresholds and calibration are chosen
on the validation cases of the two modalities trained on, so nothing of the third is seen before the test. With
``--all-modalities`` a model that was trained on all three is measured beside. Steps, width, seed and threads go
to the training as they are. Models that are there already are not trained again, and an interrupted training goes on.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import simulated
from benchmark_set import TIERS, VERSION
from benchmark_tables import best_sensitivity
from benchmark_tools import exit_code_of, link_or_copy, markdown_table, number, run_command, with_interval
from microbleeds.batch import OK
from microbleeds.errors import InputError
from microbleeds.evaluation.metrics import FrocPoint
from microbleeds.model_folders import CARD
from microbleeds.read_write import scan_stem, write_text
from microbleeds.settings import MODALITIES, OPERATING_POINTS
from microbleeds.training.layouts import find_labelled_scans
from microbleeds.training.layouts_simulated import SIMULATED

ALLOWED = 2.0
"""False positives per scan at which the TPR of the curve is told."""
_HEADER = ("test", "trained on", "scans (without)", "microbleeds", "TPR", "FP per scan", "without, no FP",
           f"TPR at ≤ {ALLOWED:g} FP per scan")
_NOTE = ("TPR and FP per scan at the model's own operating point, whose threshold was chosen on the modalities trained "
         "on; the last column is the best of the FROC curve. In brackets 95 % bootstrap intervals over scans.")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    options, recipe = _parser().parse_known_args(arguments)
    return exit_code_of(lambda given: _run(given, recipe), options)


def split_by_modality(data: Path, folder: Path, role: str) -> dict[str, Path]:
    """Make a data set of each modality's scans, of links to the files of a simulated one.

    Parameters
    ----------
    data : the simulated data set
    folder : where the data sets ``ROLE-gre`` and so on go
    role : "training" or "validation"

    Returns
    -------
    dict
        The folder of each modality.

    Raises
    ------
    InputError
        If the data set is no simulated one, or lacks a modality.
    """
    folders = {modality: folder / f"{role}-{modality}" for modality in MODALITIES}
    for scan in find_labelled_scans(data, SIMULATED):
        anatomical, case = scan.image.parent, scan.image.parents[1].name
        for file in sorted(anatomical.iterdir()):
            # the subject's files, and those of this image only: a case may hold images of several modalities
            if file.name.startswith((f"{case}_desc-", f"{scan_stem(scan.image)}.", f"{scan_stem(scan.image)}_desc-")):
                link_or_copy(file, folders[scan.modality] / case / "anat" / file.name)
    missing = [modality for modality, own in folders.items() if not own.is_dir()]
    if missing:
        raise InputError(f"{data} has no scans of {', '.join(missing)}; simulate a data set of all modalities.")
    return folders


def train_without(modality: str, sets: dict[str, dict[str, Path]], work: Path, recipe: Sequence[str]) -> Path:
    """Train a model without a modality, unless it is there; return its folder."""
    output = work / f"without-{modality}"
    if not (output / CARD).is_file():
        data, held_out = ([folder for name, folder in sets[role].items() if name != modality]
                          for role in ("training", "validation"))
        _share_cases(work / f"without-{modality}-work", work / "cases")
        run_command("train", "--data", *data, "--held-out", *held_out, "-o", output,
                    "--work", work / f"without-{modality}-work", *recipe)
    return output


def measure(model: str, modality: str, options: argparse.Namespace) -> list[dict]:
    """Run the simulated benchmark's cases of one modality; return the figures of its tiers.

    Raises
    ------
    InputError
        If the benchmark fails; it has told the reason itself.
    """
    # torch is behind it
    from microbleeds.weights import load_model

    arguments = ["--work", str(options.benchmark), "--model", model, "--modality", modality,
                 "--operating-point", options.operating_point, "--device", options.device]
    arguments += ["--limit", str(options.limit)] if options.limit else []
    if simulated.main(arguments) != OK:
        raise InputError(f"The benchmark of {model} failed; see above for the reason.")
    loaded = load_model(model)
    name = f"{loaded.name}-{loaded.sha256[:8]}-{options.operating_point}-part.json"
    results = json.loads((options.benchmark / f"results-{VERSION}" / name).read_text(encoding="utf-8"))
    return [group for group in results["groups"] if group["name"] in {f"{tier}, {modality}" for tier in TIERS}]


def row(group: dict, trained_on: str) -> list[str]:
    """Return the row of one group of the benchmark's results."""
    summary, intervals, wrong = group["summary"], group["intervals"], group["summary"]["false_positives"]
    curve = [FrocPoint(**point) for point in group["froc"].get("final", ())]
    return [group["name"], trained_on, f"{summary['scans']} ({wrong['clean_scans']})",
            str(summary["counts"]["lesions"]),
            with_interval(summary["pooled"]["sensitivity"], intervals["sensitivity"]),
            with_interval(wrong["per_scan"], intervals["false_positives_per_scan"]),
            f"{wrong['clean_scans_kept_clean']} of {wrong['clean_scans']}", number(best_sensitivity(curve, ALLOWED))]


def _share_cases(folder: Path, cases: Path) -> None:
    """Let the trainings prepare each scan once; where the system allows no links, each prepares its own."""
    cases.mkdir(parents=True, exist_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    with suppress(OSError):
        (folder / "cases").symlink_to(cases.resolve(), target_is_directory=True)


def _run(options: argparse.Namespace, recipe: Sequence[str]) -> None:
    # both roles' folders begin with their names, so that scans of the same name stay apart in the prepared cases
    sets = {role: split_by_modality(data, options.work / "sets", role)
            for role, data in (("training", options.training), ("validation", options.validation))}
    recipe = [*recipe, "--device", options.device]
    chosen = options.modality or MODALITIES
    models = {modality: train_without(modality, sets, options.work, recipe) for modality in chosen}
    rows = []
    for modality, folder in models.items():
        others = ", ".join(name for name in MODALITIES if name != modality)
        rows += [row(group, others) for group in measure(str(folder), modality, options)]
        if options.all_modalities:
            rows += [row(group, "all") for group in measure(options.all_modalities, modality, options)]
    text = f"# Leave one modality out, {options.operating_point}\n\n{markdown_table(_HEADER, rows)}\n\n{_NOTE}\n"
    write_text(options.work / "leave_modality_out.md", text)
    print(text)
    print(f"Written to {options.work / 'leave_modality_out.md'}.")


def _parser() -> argparse.ArgumentParser:
    # without abbreviations, because what is not known here belongs to the training
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
                                     allow_abbrev=False)
    parser.add_argument("--training", type=Path, required=True, metavar="DIR", help="simulated data set")
    parser.add_argument("--validation", type=Path, required=True, metavar="DIR", help="the same of other subjects")
    parser.add_argument("--work", type=Path, required=True, metavar="DIR", help="folder of models and results")
    parser.add_argument("--benchmark", type=Path, default=simulated.WORK, metavar="DIR",
                        help="--work of simulated.py, whose cases are made once (default: %(default)s)")
    parser.add_argument("--modality", choices=MODALITIES, action="append", help="only without this one; repeatable")
    parser.add_argument("--all-modalities", metavar="MODEL", help="a model trained on all three, to compare with")
    parser.add_argument("--operating-point", choices=OPERATING_POINTS, default=OPERATING_POINTS[0],
                        help="default: %(default)s")
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N cases of each tier")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="default: %(default)s")
    return parser


if __name__ == "__main__":
    sys.exit(main())

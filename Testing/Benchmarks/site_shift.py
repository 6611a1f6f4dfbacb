"""Guarded adaptation at a simulated site whose scans are unlike any that the model was trained on.

    python Testing/Benchmarks/site_shift.py --model NAME|DIR --work DIR --labels FILE... --test-labels FILE...
        [--reviewed 20 --test 40 --training 60 --clean 20] [--slice 6 --echo-time 58 ...]
        [--train-options="--detector-steps 6000"] [--finetune-options="--detector-steps 400"]

``--labels`` are the label maps of the site's own cases, ``--test-labels`` those of its test cases. Four models are
measured on the test cases: the given one; the same after ``cmbdetect finetune`` on the site's reviewed cases (its own
findings, judged by a simulated reader); after ``finetune`` on microbleeds that ``cmbdetect implant`` put into the
site's clean scans, for which nobody has to label anything; and one that ``cmbdetect train`` trained on many cases of
the site. Whatever is there already is not made again.
"""

import argparse
import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from benchmark_scores import CaseScore, score_case, score_group
from benchmark_tools import exit_code_of, markdown_table, number, run_command, with_interval
from microbleeds.batch import OK
from microbleeds.errors import InputError
from microbleeds.model_folders import CARD
from microbleeds.progress import make_reporter
from microbleeds.read_write import write_text
from microbleeds.simulation.data_set import CasePlan, make_data_set
from sampled_curves import Estimate, curve_of, estimate, samples_of, tpr_at
from simulated import detect_missing
from site_data import CLEAN, PARTS, REVIEWED, TEST, TRAINING, Site, as_benchmark_case, site_plans
from site_reviews import verdicts_of, write_site_review
from site_scores import ALLOWED, MOST_FALSE, gap_closed, share_above_zero

_NOTE = (f"TPR at ≤ {ALLOWED:g} FP per scan is the best of the FROC curve, which needs no threshold. Of it the share "
         "of the gap closed is (adapted − base) / (trained on the site − base); – where there is no gap, and without "
         "interval where the gap is not sure. The other columns are at the balanced point of each model. In brackets "
         "95 % bootstrap intervals over scans, the same samples for all models.")
_HEADER = ("model", f"TPR at ≤ {ALLOWED:g} FP per scan", "gap closed", "TPR, balanced", "FP per scan", "precision",
           "without, no FP")


@dataclass(frozen=True)
class Arm:
    """One model to measure: its name in the table, where it is, and what the guard said ("" without one)."""

    name: str
    model: str
    verdict: str = ""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return exit_code_of(_run, _parser().parse_args(arguments))


def adapted(name: str, data: Path, place: Path, options: argparse.Namespace) -> Arm:
    """Fine-tune on a data set of the site; where the guard keeps the old weights, the model stays as it is."""
    output, work = place / f"adapted-{data.name}", place / f"adapted-{data.name}-work"
    told = work / "adaptation.json"
    # the model is written after the verdict
    if not (told.is_file() and ((output / CARD).is_file() or not _read(told)["accepted"])):
        run_command("finetune", "--from", options.model, "--data", data, "-o", output, "--work", work,
                    *_common(options), *shlex.split(options.finetune_options))
    verdict = _read(told)
    said = (f"{name}: score {verdict['before']:.3f} before and {verdict['after']:.3f} after on "
            f"{verdict['held_out_scans']} held-out scans, not worse in {verdict['sure']:.0%} of samples; "
            + ("taken" if verdict["accepted"] else "not taken, the old weights stay"))
    return Arm(name, str(output) if verdict["accepted"] else options.model, said)


def trained_on_site(data: Path, options: argparse.Namespace) -> Arm:
    """Train on the site's own cases alone, from random weights."""
    output = options.work / "in-domain"
    if not (output / CARD).is_file():
        run_command("train", "--data", data, "-o", output, "--work", options.work / "in-domain-work",
                    *_common(options), *shlex.split(options.train_options))
    return Arm("trained on the site", str(output))


def implanted(plans: Sequence[CasePlan], options: argparse.Namespace) -> Path:
    """Put microbleeds and mimics into the site's clean scans; return the folder."""
    folder = options.work / "implanted"
    images = [options.work / CLEAN / as_benchmark_case(plan).image for plan in plans]
    missing = [image for image in images if not (folder / image.name).is_file()]
    if missing:
        run_command("implant", *missing, "-o", folder, "--modality", "gre", "--bleeds", options.implants,
                    "--mimics", options.implants // 2, "--seed", options.seed)
    return folder


def reviewed(plans: Sequence[CasePlan], place: Path, options: argparse.Namespace) -> Path:
    """Detect in the site's cases at the sensitive point and let the reader judge; return the folder of the reviews."""
    folder, data = place / "reviews", options.work / REVIEWED
    cases = [as_benchmark_case(plan) for plan in plans]
    detect_missing([data / case.image for case in cases], place / "detected", _detection(options.model, "sensitive",
                                                                                         options))
    for case in cases:
        write_site_review(data / case.image, data / case.brain, place / "detected", folder, case.modality)
    return folder


def measured(arm: Arm, plans: Sequence[CasePlan], options: argparse.Namespace) -> list[CaseScore]:
    """Detect in the test cases with a model at the balanced point, and score them."""
    # torch is behind it
    from microbleeds.weights import load_model

    model = load_model(arm.model)
    predictions = options.work / "tested" / f"{model.name}-{model.sha256[:8]}"
    cases = [as_benchmark_case(plan) for plan in plans]
    detect_missing([options.work / TEST / case.image for case in cases], predictions,
                   _detection(arm.model, "balanced", options))
    return [score_case(case, options.work / TEST, predictions) for case in cases]


def table(arms: Sequence[Arm], scores: Sequence[Sequence[CaseScore]]) -> str:
    """Return the figures of all models as Markdown; the first is the base, the last was trained on the site."""
    samples = samples_of(len(scores[0]))
    values = [tpr_at(curve_of([score.candidates["final"] for score in own], MOST_FALSE), ALLOWED, samples)
              for own in scores]
    rows = []
    for place, (arm, own) in enumerate(zip(arms, scores, strict=True)):
        group = score_group(arm.name, own)
        pooled, wrong, bounds = group.summary.pooled, group.summary.false_positives, group.intervals
        between = 0 < place < len(arms) - 1
        rows.append([
            arm.name, _told(estimate(values[place])),
            _told(gap_closed(values[0], values[place], values[-1])) if between else "",
            with_interval(pooled.sensitivity, bounds.sensitivity),
            with_interval(wrong.per_scan, bounds.false_positives_per_scan),
            with_interval(pooled.precision, bounds.precision),
            f"{wrong.clean_scans_kept_clean} of {wrong.clean_scans}"])
    gap = values[-1] - values[0]
    sure = f"The site's gap, {gap[0]:.2f}, is above 0 in {share_above_zero(gap):.0%} of the bootstrap samples."
    return f"{markdown_table(_HEADER, rows)}\n\n{sure} {_NOTE}"


def _run(options: argparse.Namespace) -> None:
    # torch is behind it
    from microbleeds.weights import load_model

    if shared := {path.resolve() for path in options.labels} & {path.resolve() for path in options.test_labels}:
        raise InputError(f"{sorted(shared)[0]} is given for the site's own cases and for its test; a head may be on "
                         "one side only.")
    model = load_model(options.model)
    site = Site(**{field.name: getattr(options, field.name) for field in fields(Site)})
    plans = _make_data(site, options)
    place = options.work / f"{model.name}-{model.sha256[:8]}"
    reviews = reviewed(plans[REVIEWED], place, options)
    arms = [Arm(f"{model.name}, as it is", options.model),
            adapted(f"after {options.reviewed} reviewed cases", reviews, place, options),
            adapted(f"after implants into {options.clean} clean scans", implanted(plans[CLEAN], options), place,
                    options),
            trained_on_site(options.work / TRAINING, options)]
    figures = table(arms, [measured(arm, plans[TEST], options) for arm in arms])
    counted = ", ".join(f"{count} {verdict}" for verdict, count in sorted(verdicts_of(reviews).items()))
    text = "\n\n".join([f"# Adaptation to a simulated site, {model.name}", _about(site, options), figures,
                        f"Reviews: {counted}.", *(f"Guard, {arm.verdict}." for arm in arms if arm.verdict)]) + "\n"
    write_text(place / "site_shift.md", text)
    print(text)
    print(f"Written to {place / 'site_shift.md'}.")


def _make_data(site: Site, options: argparse.Namespace) -> dict[str, tuple[CasePlan, ...]]:
    plans, reporter = {}, make_reporter("bar")
    for part in PARTS:
        labels = options.test_labels if part == TEST else options.labels
        plans[part] = site_plans(site, part, getattr(options, part), options.seed, labels)
        make_data_set(plans[part], options.work / part, options.jobs, reporter)
    reporter.done(OK)
    return plans


def _about(site: Site, options: argparse.Namespace) -> str:
    return (f"GRE at {site.field_tesla:g} T, TE {site.echo_time_ms:g} ms, {site.in_plane_mm:g} mm in plane, slices "
            f"of {site.slice_mm:g} mm with {site.gap_mm:g} mm between them, magnitude filter {site.smoothing_mm:g} mm, "
            f"SNR {site.signal_to_noise:g} before it. {options.test} test cases on {len(options.test_labels)} heads; "
            f"trained on the site: {options.training} cases on {len(options.labels)} other heads.")


def _detection(model: str, point: str, options: argparse.Namespace) -> argparse.Namespace:
    return argparse.Namespace(model=model, operating_point=point, device=options.device, again=False)


def _common(options: argparse.Namespace) -> list[object]:
    return ["--seed", options.seed, "--device", options.device, *(["--jobs", options.jobs] if options.jobs else [])]


def _read(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def _told(figure: Estimate) -> str:
    return number(None) if figure.value is None else with_interval(figure.value, figure.interval)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, metavar="NAME|DIR", help="the model to adapt")
    parser.add_argument("--work", type=Path, required=True, metavar="DIR", help="folder of data, models and results")
    parser.add_argument("--labels", type=Path, nargs="+", required=True, metavar="FILE")
    parser.add_argument("--test-labels", type=Path, nargs="+", required=True, metavar="FILE")
    for part, count in ((REVIEWED, 20), (TEST, 40), (TRAINING, 60), (CLEAN, 20)):
        parser.add_argument(f"--{part}", type=int, default=count, metavar="N", help="cases (default: %(default)s)")
    parser.add_argument("--implants", type=int, default=12, metavar="N",
                        help="microbleeds put into each clean scan, and half as many mimics (default: %(default)s)")
    site = parser.add_argument_group("protocol of the site")
    for name, field in (("--field", "field_tesla"), ("--echo-time", "echo_time_ms"), ("--in-plane", "in_plane_mm"),
                        ("--slice", "slice_mm"), ("--gap", "gap_mm"), ("--smoothing", "smoothing_mm"),
                        ("--snr", "signal_to_noise")):
        site.add_argument(name, type=float, dest=field, default=getattr(Site, field), help="default: %(default)s")
    parser.add_argument("--train-options", default="", metavar="OPTIONS", help="of cmbdetect train, in one text")
    parser.add_argument("--finetune-options", default="", metavar="OPTIONS", help="of cmbdetect finetune")
    parser.add_argument("--seed", type=int, default=31, help="default: %(default)s")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="default: %(default)s")
    parser.add_argument("--jobs", type=int, metavar="N", help="cases made and prepared at the same time")
    return parser


if __name__ == "__main__":
    sys.exit(main())

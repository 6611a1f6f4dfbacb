"""From label maps to figures: one score per case, then the figures of any group of cases.

The rule is the one by distance: a prediction finds a visible microbleed if their centres are nearer than 5 mm, one to
one. Where every number of a label map is one connected region, each of them is a prediction, also if two touch; else,
as in a binary map, the 26-connected clusters are. See `microbleeds.evaluation.by_kind` for what the others are put
down to.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import numpy as np
from benchmark_calibration import CalibrationScore, Labelled, label, score_calibration
from benchmark_set import BenchmarkCase
from benchmark_steps import StepScore, count_steps, score_steps
from microbleeds.errors import InputError
from microbleeds.evaluation.by_kind import (
    CauseCounts,
    Verdict,
    count_causes,
    count_found,
    invisible_ras,
    judge,
    visible_centres_ras,
)
from microbleeds.evaluation.cases import Case, read_prediction
from microbleeds.evaluation.drawn_truth import Drawn, read_drawn_truth
from microbleeds.evaluation.evaluate import scored_candidates
from microbleeds.evaluation.intervals import Intervals, bootstrap
from microbleeds.evaluation.matching import Counts, Lesions, near
from microbleeds.evaluation.metrics import FrocPoint, ScoredCandidates, Summary, froc, summarise
from microbleeds.outputs import FILE_NAMES
from microbleeds.read_write import read_labels, scan_stem
from microbleeds.volume import Volume

DIAMETERS_MM = (3.0, 5.0)
"""Between small, middle and large visible microbleeds."""
ALL = "all"
"""Name of a group of all modalities."""


@dataclass(frozen=True, eq=False)
class CaseScore:
    """One case.

    `candidates` has the candidates of each FROC curve, `steps` the counts after each step, `labelled` the candidates
    with their truth, `seconds` the wall time of the detection and `modality` the one it took the image for: empty or
    None for programs that write no findings file.
    """

    case: BenchmarkCase
    verdict: Verdict
    candidates: dict[str, ScoredCandidates]
    steps: dict[str, Counts]
    labelled: Labelled | None
    seconds: float | None
    modality: str | None


@dataclass(frozen=True)
class GroupScore:
    """The figures of a group of cases; `found_by_diameter` and `found_by_region` hold (found, visible).

    `froc` and `steps` are empty where the candidates are not known.
    """

    name: str
    summary: Summary
    intervals: Intervals
    spared: int
    causes: tuple[CauseCounts, ...]
    found_by_diameter: dict[str, tuple[int, int]]
    found_by_region: dict[str, tuple[int, int]]
    froc: dict[str, tuple[FrocPoint, ...]]
    steps: dict[str, StepScore]
    median_seconds: float | None


def prediction_of(folder: Path, image: Path) -> Path:
    """Return the label map of an image in a folder of results: ``S_desc-cmb_dseg.nii.gz`` or ``S.nii.gz``.

    Raises
    ------
    InputError
        If there is none.
    """
    stem = scan_stem(image)
    paths = [folder / name for name in (FILE_NAMES["labels"].format(stem), f"{stem}.nii.gz", f"{stem}.nii")]
    found = next((path for path in paths if path.is_file()), None)
    if found is None:
        raise InputError(f"{folder} has neither {paths[0].name} nor {paths[1].name}; write one label map for each "
                         "case, an empty one where nothing was found.")
    return found


def score_case(case: BenchmarkCase, data_set: Path, predictions: Path) -> CaseScore:
    """Compare the result of one case with its truth.

    Raises
    ------
    InputError
        If a file is missing or cannot be used.
    """
    labels = prediction_of(predictions, case.image)
    findings = predictions / FILE_NAMES["findings"].format(scan_stem(case.image))
    clusters, result = read_prediction(labels, findings if findings.exists() else None)
    truth = read_drawn_truth(data_set / case.image, data_set / case.brain, clusters, labels)
    lesions = Lesions(visible_centres_ras(truth), ())
    candidates = {name: replace(item, spared=near(item.positions_ras, invisible_ras(truth)))
                  for name, item in scored_candidates(Case(case.name, clusters, lesions, result)).items()}
    verdict = judge(_predictions(clusters, read_labels(labels)), truth)
    if result is None:
        return CaseScore(case, verdict, candidates, {}, None, None, None)
    steps = count_steps(result, lesions.centres_ras, invisible_ras(truth), verdict.counts)
    return CaseScore(case, verdict, candidates, steps, label(candidates["final"]),
                     sum(result.provenance.seconds.values()), result.provenance.modality)


def _predictions(clusters: Volume, labels: Volume) -> Volume:
    """Return the numbered regions of a label map if each is connected, otherwise its clusters; numbers from 1 on."""
    marked = clusters.data > 0
    numbers = np.unique(labels.data[marked])
    pairs = np.unique(np.stack([labels.data[marked], clusters.data[marked]]), axis=1)
    if pairs.shape[1] > len(numbers):
        return clusters
    return clusters.with_data(np.where(marked, np.searchsorted(numbers, labels.data) + 1, 0).astype(np.int32))


def score_group(name: str, scores: Sequence[CaseScore]) -> GroupScore:
    """Return the figures of some cases together."""
    verdicts = [score.verdict for score in scores]
    counts = [verdict.counts for verdict in verdicts]
    seconds = [score.seconds for score in scores if score.seconds is not None]
    curves = set.intersection(*(set(score.candidates) for score in scores)) if scores else set()
    return GroupScore(
        name, summarise(counts), bootstrap(counts), sum(verdict.spared for verdict in verdicts),
        count_causes(verdicts), count_found(verdicts, diameter_group), count_found(verdicts, region_group),
        {curve: froc([score.candidates[curve] for score in scores]) for curve in sorted(curves)},
        score_steps([score.steps for score in scores]),
        median(seconds) if seconds else None)


def score_groups(scores: Sequence[CaseScore]) -> tuple[tuple[GroupScore, ...], tuple[GroupScore, ...]]:
    """Return the figures by tier and modality (and all modalities of a tier), and the standard tier's splits."""
    main, splits = [], []
    for tier in dict.fromkeys(score.case.tier for score in scores):
        own = [score for score in scores if score.case.tier == tier]
        main += _split(own, tier, lambda case: case.modality)
        if len({score.case.modality for score in own}) > 1:
            main.append(score_group(f"{tier}, {ALL}", own))
    for modality in dict.fromkeys(score.case.modality for score in scores):
        own = [score for score in scores if (score.case.tier, score.case.modality) == ("standard", modality)]
        splits += _split(own, modality, lambda case: f"{case.slices} slices")
        splits += _split(own, modality, lambda case: f"{case.field_tesla:g} T")
    return tuple(main), tuple(splits)


def score_calibrations(scores: Sequence[CaseScore]) -> tuple[CalibrationScore, ...]:
    """Return the calibration of each modality, both tiers together, and last that of all; () if not all are known."""
    if not all(score.labelled for score in scores):
        return ()
    by_modality = {}
    for score in scores:
        by_modality.setdefault(score.case.modality, []).append(score.labelled)
    if len(by_modality) > 1:
        by_modality[ALL] = [score.labelled for score in scores]
    return tuple(score_calibration(name, scans) for name, scans in by_modality.items())


def diameter_group(item: Drawn) -> str:
    """Return the group of a visible microbleed by its visible diameter."""
    small, large = DIAMETERS_MM
    diameter = item.visible_diameter_mm or 0.0
    if diameter < small:
        return f"under {small:g} mm"
    return f"{small:g} to {large:g} mm" if diameter < large else f"{large:g} mm and more"


def region_group(item: Drawn) -> str:
    """Return lobar, deep or infratentorial: what follows the comma in the region."""
    return item.region.rpartition(", ")[2]


def _split(scores: Sequence[CaseScore], name: str, key: Callable[[BenchmarkCase], str]) -> list[GroupScore]:
    return [score_group(f"{name}, {value}", [score for score in scores if key(score.case) == value])
            for value in dict.fromkeys(key(score.case) for score in scores)]

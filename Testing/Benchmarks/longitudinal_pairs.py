"""Registration and pairing of two simulated scans of one head, whose motion and microbleeds are known.

    python Testing/Benchmarks/longitudinal_pairs.py -o pairs.json
    python Testing/Benchmarks/longitudinal_pairs.py --modality gre --pairs 2

Each pair is one head of the benchmark's label maps with vessels and mimics. At follow-up it lies elsewhere (turned by
about 8 degrees, shifted by about 15 mm), some microbleeds are taken away, some have come, and noise, coil and motion
are drawn anew. Every other follow-up has another protocol of the same sequence too, and two of four have ventricles
about 1 mm and sulci 0.2 mm wider on each side. Findings are the visible regions of the truth, all accepted, so that
registration and pairing alone are measured. True is what can be seen: a microbleed that was there and could not be seen
is new.

An error is the distance in mm between where the registration puts the centre of a microbleed's source in the baseline,
and where it is. Strangers are a follow-up and the baseline of the pair before it.
"""

import argparse
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from benchmark_set import ANATOMY
from microbleeds.components import equivalent_diameter_mm
from microbleeds.geometry import apply_affine, voxel_to_ras
from microbleeds.longitudinal import NEW, NOT_SEEN, STABLE, PairedFinding, pair_findings
from microbleeds.read_write import write_json
from microbleeds.review_files import ACCEPTED
from microbleeds.reviewed_case import Acquisition, CaseFinding, ReviewedCase
from microbleeds.rigid_registration import register
from microbleeds.settings import MODALITIES
from microbleeds.simulation.anatomy import Anatomy, read_anatomy
from microbleeds.simulation.data_set import IMAGES_OF
from microbleeds.simulation.deformation import deform
from microbleeds.simulation.protocol import Protocol, draw_protocol
from microbleeds.simulation.shapes import Focus, Vessel
from microbleeds.simulation.simulate import simulate
from microbleeds.simulation.subject import Subject, SubjectSettings, draw_subject
from microbleeds.simulation.surroundings import hollowed
from scipy import ndimage
from scipy.spatial.transform import Rotation

SEED = 20261124
BLEEDS, GONE, COME = 16, 3, 4
"""Microbleeds of both scans together; the first are not there at follow-up, the last not before."""
TURN_DEGREES, SHIFT_MM = 5.0, 9.0
"""Standard deviations for each axis."""
WIDER_VENTRICLES_MM, WIDER_SULCI_MM = 2.5, 0.2
"""As `simulation.deformation.Deformation` has them; a ventricular wall moves about .4 of it."""


@dataclass(frozen=True, eq=False)
class Pair:
    """Two scans as reviewed cases, the motion of the head between them ((4, 4), RAS mm), and the sources' centres."""

    name: str
    modality: str
    same_protocol: bool
    atrophy: bool
    baseline: ReviewedCase
    follow_up: ReviewedCase
    motion: np.ndarray
    centres_ras: np.ndarray


@dataclass(frozen=True)
class Measured:
    """What was measured on one pair; the keys of `fates` are "true -> found" statuses of a microbleed."""

    name: str
    modality: str
    same_protocol: bool
    atrophy: bool
    errors_mm: tuple[float, ...]
    agreement: float
    is_refused: bool
    strangers_agreement: float | None
    strangers_are_trusted: bool
    seconds: float
    fates: dict[str, int]


def main() -> None:
    """Make the pairs one by one, measure, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--modality", nargs="+", choices=MODALITIES, default=MODALITIES)
    parser.add_argument("--pairs", type=int, default=4, help="of each modality (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="of the simulation (default: %(default)s)")
    parser.add_argument("-o", "--output", type=Path, help="JSON file for all pairs")
    options = parser.parse_args()
    results, before = [], {}
    for number in range(1, options.pairs + 1):
        for modality in options.modality:
            pair = make_pair(modality, number, options.threads)
            results.append(measure(pair, before.get(modality)))
            before[modality] = pair.baseline
            print(line(pair.name, [results[-1]]), flush=True)
            if options.output:
                write_json(options.output, [asdict(one) for one in results])
    print("\n" + table(results))


def make_pair(modality: str, number: int, threads: int) -> Pair:
    """Simulate a baseline and a follow-up; the same number gives the same pair."""
    subject_rng, motion_rng, *scan_rngs = np.random.default_rng((SEED, MODALITIES.index(modality), number)).spawn(6)
    heads = sorted(ANATOMY.glob("*.nii.gz"))
    label_map = read_anatomy(heads[number % len(heads)])
    subject = draw_subject(label_map, SubjectSettings(bleeds=BLEEDS), subject_rng)
    motion = np.eye(4)
    motion[:3, :3] = Rotation.from_rotvec(np.deg2rad(motion_rng.normal(0, TURN_DEGREES, 3))).as_matrix()
    motion[:3, 3] = motion_rng.normal(0, SHIFT_MM, 3)
    same, atrophy = number % 2 == 1, number % 4 in (0, 3)
    protocol = draw_protocol(scan_rngs[0], modality)
    other = protocol if same else draw_protocol(scan_rngs[1], modality)
    count = len(subject.bleeds)
    name = f"sub-{modality}{number:02d}"
    older = moved(shrunk(subject, label_map) if atrophy else subject, motion)
    return Pair(
        name, modality, same, atrophy,
        scanned(subject, range(count - COME), protocol, f"{name}_ses-1", modality, scan_rngs[2], threads),
        scanned(older, range(GONE, count), other, f"{name}_ses-2", modality, scan_rngs[3], threads),
        motion, np.array([bleed.centre_ras for bleed in subject.bleeds]))


def shrunk(subject: Subject, label_map: Anatomy) -> Subject:
    """Return a head with wider ventricles and sulci; everything else stays where it is."""
    drawn = subject.deformation
    wider = replace(drawn, ventricles_mm=drawn.ventricles_mm + WIDER_VENTRICLES_MM,
                    sulci_mm=drawn.sulci_mm + WIDER_SULCI_MM)
    return replace(subject, anatomy=hollowed(deform(label_map, wider), subject.air))


def moved(subject: Subject, motion: np.ndarray) -> Subject:
    """Return a head with everything in it at another place of the scanner; B0 stays."""
    def focus(one: Focus) -> Focus:
        return replace(one, parts=tuple(replace(part, centre_ras=apply_affine(motion, part.centre_ras),
                                                rotation=motion[:3, :3] @ part.rotation) for part in one.parts))

    def vessel(one: Vessel) -> Vessel:
        return replace(one, points_ras=apply_affine(motion, one.points_ras))

    classes = subject.anatomy.classes
    anatomy = Anatomy(subject.anatomy.name, replace(classes, affine=motion @ classes.affine))
    foci = {name: tuple(map(focus, getattr(subject, name))) for name in ("nuclei", "air", "mimics", "bleeds")}
    return replace(subject, anatomy=anatomy, vessels=tuple(map(vessel, subject.vessels)), **foci)


def scanned(subject: Subject, chosen: range, protocol: Protocol, stem: str, modality: str, rng: np.random.Generator,
            threads: int) -> ReviewedCase:
    """Scan a head with some of its microbleeds; what can be seen of them are the findings, by their place in the
    subject from 1 on.
    """
    kind = IMAGES_OF[modality][0]
    present = replace(subject, bleeds=tuple(subject.bleeds[number] for number in chosen))
    scan = simulate(present, protocol, (kind,), rng, threads)
    image, labels = scan.images[kind], scan.truths[kind].microbleeds
    found = []
    for place, box in enumerate(ndimage.find_objects(labels.data)):
        if box is None:
            continue
        voxels = np.argwhere(labels.data[box] == place + 1) + [side.start for side in box]
        diameter_mm = equivalent_diameter_mm(len(voxels) * labels.voxel_volume_mm3)
        centre = voxel_to_ras(labels, voxels.mean(0))
        found.append(CaseFinding(chosen[place] + 1, tuple(centre.tolist()), diameter_mm, 0.0, None, ACCEPTED))
    acquisition = Acquisition(modality, protocol.field_tesla, protocol.echo_times_ms[-1],
                              (protocol.in_plane_mm, protocol.in_plane_mm, float(protocol.spacing[2])))
    return ReviewedCase(stem, "", stem, f"{stem}.nii.gz", stem, image, labels, acquisition, tuple(found),
                        is_reviewed=True, is_finished=True)


def measure(pair: Pair, stranger: ReviewedCase | None) -> Measured:
    """Register and pair two scans, and register the follow-up with a stranger's scan."""
    started = time.perf_counter()
    registration = register(pair.follow_up.image, pair.baseline.image)
    seconds = time.perf_counter() - started
    put = apply_affine(registration.to_moving, apply_affine(pair.motion, pair.centres_ras))
    errors_mm = np.linalg.norm(put - pair.centres_ras, axis=1)
    found = pair_findings(pair.baseline, pair.follow_up, registration, {})
    strangers = register(pair.follow_up.image, stranger.image) if stranger else None
    return Measured(pair.name, pair.modality, pair.same_protocol, pair.atrophy, tuple(errors_mm.round(3).tolist()),
                    registration.agreement, not registration.is_trusted, strangers and strangers.agreement,
                    strangers is not None and strangers.is_trusted, seconds, dict(fates(pair, found)))


def fates(pair: Pair, found: Sequence[PairedFinding]) -> Counter:
    """Count what was true of the findings of both scans, and what was said; a wrong partner is "wrong"."""
    now, before = ({one.id for one in case.findings} for case in (pair.follow_up, pair.baseline))
    counts = Counter()
    for one in found:
        if one.follow_up_id is None:
            true = STABLE if one.baseline_id in now else NOT_SEEN
            if true == STABLE:  # counted with the finding of the follow-up
                continue
        else:
            true = STABLE if one.follow_up_id in before else NEW
        wrong = one.status == STABLE and one.follow_up_id != one.baseline_id
        counts[f"{true} -> {'wrong' if wrong else one.status}"] += 1
    return counts


def table(results: Sequence[Measured]) -> str:
    """Return a line for each modality, for each kind of pair, and for all."""
    groups = {name: [one for one in results if one.modality == name] for name in MODALITIES}
    groups |= {"same protocol": [one for one in results if one.same_protocol],
               "other protocol": [one for one in results if not one.same_protocol],
               "atrophy": [one for one in results if one.atrophy], "all": results}
    return "\n".join(line(name, group) for name, group in groups.items() if group)


def line(name: str, results: Sequence[Measured]) -> str:
    """Return errors, agreement, time and fates of some pairs in one line."""
    errors = np.concatenate([one.errors_mm for one in results])
    said = sum((Counter(one.fates) for one in results), Counter())
    strangers = [one.strangers_agreement for one in results if one.strangers_agreement is not None]
    refused, trusted = sum(one.is_refused for one in results), sum(one.strangers_are_trusted for one in results)
    least, most = min(one.agreement for one in results), max(strangers, default=np.nan)
    seconds = np.median([one.seconds for one in results])
    return (f"{name}: {len(results)} pairs; error median {np.median(errors):.2f}, "
            f"95 % {np.quantile(errors, 0.95):.2f}, largest {errors.max():.2f} mm; "
            f"agreement from {least:.2f}, {refused} refused; strangers' up to {most:.2f}, {trusted} trusted; "
            f"{seconds:.0f} s; "
            + ", ".join(f"{key} {count}" for key, count in sorted(said.items())))


if __name__ == "__main__":
    main()

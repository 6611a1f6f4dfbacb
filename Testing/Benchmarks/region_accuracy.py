"""How often the region map is right, on the images of the simulated benchmark, whose anatomy is known.

    python Testing/Benchmarks/simulated.py --make-only --work DIR          the images, if they are not there yet
    python Testing/Benchmarks/region_accuracy.py --set DIR/set-1           the network that ships
    python Testing/Benchmarks/region_accuracy.py --set DIR/set-1 --slab 0 0.7        slabs that miss the vertex
    python Testing/Benchmarks/region_accuracy.py --set DIR/set-1 --method registration --atlas LABEL_MAP --limit 10

The points are all drawn microbleeds, seen or not: where findings lie. Brain mask and region map are made as in a
detection; the truth is ``simulation/region_rules.py`` on the deformed label map, and no label map of the set was
trained on. The other method registers a label map to the scan (affine, then B-splines, mutual information) and takes
its regions over.
"""

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from benchmark_set import BenchmarkCase, all_cases, choose, plan
from microbleeds.brain_mask import brain_mask
from microbleeds.evaluation.drawn_truth import read_drawn_table
from microbleeds.geometry import crop, ras_to_voxel, to_canonical
from microbleeds.read_write import read_scan, write_json
from microbleeds.region_lookup import locate
from microbleeds.region_map import find_regions
from microbleeds.regions import LEFT, REGIONS, RIGHT, Place, category_of
from microbleeds.settings import MODALITIES
from microbleeds.simulation import anatomy as tissues
from microbleeds.simulation.anatomy import read_anatomy
from microbleeds.simulation.region_rules import region_map
from microbleeds.training.region_scans import drawn_anatomy
from microbleeds.volume import Volume

CONFIDENCES = (0.0, 0.6, 0.8, 0.95, 1.0001)


@dataclass(frozen=True)
class Point:
    """One microbleed: its case, where it is, and where the map puts it (None if it gives no region)."""

    case: BenchmarkCase
    region: str
    side: str
    found: Place | None


def main() -> None:
    """Run the chosen cases and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--set", type=Path, required=True, help="folder of the benchmark's images")
    parser.add_argument("--method", choices=("network", "registration"), default="network")
    parser.add_argument("--modality", nargs="+", choices=MODALITIES, default=MODALITIES)
    parser.add_argument("--slab", type=float, nargs=2, default=(0.0, 1.0), metavar=("FROM", "TO"),
                        help="part of the brain's height from below that the scan is cut to (default: all)")
    parser.add_argument("--limit", type=int, help="cases of each modality and tier")
    parser.add_argument("--atlas", type=Path, help="label map for the registration")
    parser.add_argument("-o", "--output", type=Path, help="JSON file for all points")
    options = parser.parse_args()
    if options.method == "registration" and options.atlas is None:
        parser.error("--method registration needs --atlas")
    points, seconds, without = [], [], []
    for case in choose(all_cases(), options.modality, limit=options.limit):
        if not (options.set / case.image).exists():
            continue
        truth = true_regions(options.set, case)
        scan = read_scan(options.set / case.image)
        volume = slab_of(scan.volume, *options.slab)
        brain = brain_mask(volume)
        started = time.perf_counter()
        if options.method == "network":
            regions, margin = find_regions(volume, brain)
        else:
            regions, margin = registered_regions(volume, brain, options.atlas)
        seconds.append(time.perf_counter() - started)
        if regions is None:
            without.append(f"{case.name} ({margin:.2f})")
        points += points_of(case, options.set, truth, regions, volume)
        print(f"{case.name}: {len(points)} points, margin {margin:.3f}, {seconds[-1]:.1f} s", flush=True)
    print(tables(points))
    print(f"\nNo map: {', '.join(without) or 'none'} of {len(seconds)} scans. Seconds of a map: median "
          f"{np.median(seconds):.2f}, longest {max(seconds):.2f}.")
    if options.output:
        write_json(options.output, [
            {"case": point.case.name, "region": point.region, "side": point.side,
             "found": vars(point.found) if point.found else None} for point in points])


def true_regions(folder: Path, case: BenchmarkCase) -> tuple[Volume, np.ndarray]:
    """Return the region map of the deformed anatomy of a case, and where it lies on the right."""
    head = drawn_anatomy(folder / case.image.parent / f"{case.name}_desc-drawn.json", plan(case).labels.parent)
    regions, right = region_map(head)
    return head.classes.with_data(regions), right


def slab_of(volume: Volume, start: float, stop: float) -> Volume:
    """Return the slices (along the axis nearest to S) of a part of the brain's height, from below."""
    if (start, stop) == (0, 1):
        return volume
    volume = to_canonical(volume)
    filled = np.flatnonzero(brain_mask(volume).data.any(axis=(0, 1)))
    low, high = (round(filled[0] + share * (filled[-1] + 1 - filled[0])) for share in (start, stop))
    return crop(volume, [(0, 0, low), (*volume.shape[:2], high)])


def points_of(case: BenchmarkCase, folder: Path, truth: tuple[Volume, np.ndarray], found: Volume | None,
              scan: Volume) -> list[Point]:
    """Return the microbleeds of a case that lie in the scan, with the true and the found region."""
    table = folder / case.image.parent / (case.image.name.removesuffix(".nii.gz") + "_desc-truth.tsv")
    regions, right = truth
    points = []
    for thing in read_drawn_table(table):
        place = ras_to_voxel(scan, np.array([thing.position_ras]))[0]
        if thing.kind != "microbleed" or (place < -0.5).any() or (place > np.array(scan.shape) - 0.5).any():
            continue
        voxel = np.rint(ras_to_voxel(regions, np.array([thing.position_ras]))[0]).astype(int)
        voxel = tuple(np.clip(voxel, 0, np.array(regions.shape) - 1))
        number = int(regions.data[voxel])
        if number:
            points.append(Point(case, REGIONS[number - 1], RIGHT if right[voxel] else LEFT,
                                locate(found, thing.position_ras) if found is not None else None))
    return points


def registered_regions(image: Volume, brain: Volume, atlas_path: Path) -> tuple[Volume, float]:
    """Return the regions of a label map after registration to a scan, on a grid of 2.5 mm, and the mutual information.

    The label map becomes an image with the mean intensities of a T2*-weighted scan.
    """
    atlas = read_anatomy(atlas_path)
    fixed = _itk(image, np.where(brain.data, image.data, 0).astype(np.float32))
    size = [max(8, round(n * s / 2.5)) for n, s in zip(fixed.GetSize(), fixed.GetSpacing(), strict=True)]
    spacing = [n * s / m for n, s, m in zip(fixed.GetSize(), fixed.GetSpacing(), size, strict=True)]
    coarse = sitk.Resample(sitk.SmoothingRecursiveGaussian(fixed, 1.0), size, sitk.Transform(), sitk.sitkLinear,
                           fixed.GetOrigin(), spacing, fixed.GetDirection())
    table = np.zeros(17, np.float32)
    for tissue, value in {tissues.WHITE: 50, tissues.CORTEX: 65, tissues.CSF: 100, tissues.VENTRICLE: 100,
                          tissues.CHOROID: 60, tissues.CAUDATE: 45, tissues.PUTAMEN: 42, tissues.PALLIDUM: 28,
                          tissues.THALAMUS: 50, tissues.HIPPOCAMPUS: 65, tissues.VENTRAL_DC: 45, tissues.BRAINSTEM: 50,
                          tissues.CEREBELLAR_WHITE: 50, tissues.CEREBELLAR_CORTEX: 62}.items():
        table[tissue] = value
    moving = _itk(atlas.classes, table[atlas.classes.data])
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(32)
    method.SetMetricSamplingStrategy(method.RANDOM)
    method.SetMetricSamplingPercentage(0.2, 1)
    method.SetOptimizerAsGradientDescentLineSearch(0.5, 100, 1e-5, 10)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel([2, 1])
    method.SetSmoothingSigmasPerLevel([2, 0])
    method.SetInterpolator(sitk.sitkLinear)
    affine = sitk.CenteredTransformInitializer(coarse, moving, sitk.AffineTransform(3),
                                               sitk.CenteredTransformInitializerFilter.MOMENTS)
    method.SetInitialTransform(affine, inPlace=True)
    method.Execute(coarse, moving)
    bend = sitk.BSplineTransformInitializer(coarse, [5, 5, 4], order=3)
    method.SetMovingInitialTransform(affine)
    method.SetInitialTransform(bend, inPlace=True)
    method.SetOptimizerAsLBFGSB(numberOfIterations=30)
    method.Execute(coarse, moving)
    regions, right = region_map(atlas)
    labels = _itk(atlas.classes, regions + np.where(right & (regions > 0), 16, 0).astype(np.uint8))
    whole = sitk.CompositeTransform([affine, bend])
    moved = sitk.Resample(labels, coarse, whole, sitk.sitkNearestNeighbor)
    to_ras = np.eye(4)
    to_ras[:3, :3] = np.reshape(moved.GetDirection(), (3, 3)) * moved.GetSpacing()
    to_ras[:3, 3] = moved.GetOrigin()
    return Volume(sitk.GetArrayFromImage(moved).T, np.diag([-1.0, -1, 1, 1]) @ to_ras), -method.GetMetricValue()


def _itk(volume: Volume, data: np.ndarray) -> sitk.Image:
    image = sitk.GetImageFromArray(np.ascontiguousarray(data.T))
    affine = np.diag([-1.0, -1, 1, 1]) @ volume.affine
    image.SetSpacing(volume.spacing.tolist())
    image.SetDirection((affine[:3, :3] / volume.spacing).ravel().tolist())
    image.SetOrigin(affine[:3, 3].tolist())
    return image


def tables(points: list[Point]) -> str:
    """Return the shares that are right, with 95 % intervals over cases, and by confidence and region."""
    lines = ["", "| group | points | category | region | side | of those with a region |", "|---|---|---|---|---|---|"]
    groups = {"all": points}
    for modality in MODALITIES:
        groups[modality] = [point for point in points if point.case.modality == modality]
    for slices in ("thin", "thick"):
        groups[slices] = [point for point in points if point.case.slices == slices]
    for name, group in groups.items():
        if group:
            known = [point for point in group if point.found]
            shares = [interval(known, right) for right in (category_right, region_right, side_right)]
            lines.append(f"| {name} | {len(group)} | {' | '.join(shares)} | {len(known) / len(group):.3f} |")
    lines += ["", "| confidence | points | region right | mean confidence | category right | its mean |",
              "|---|---|---|---|---|---|"]
    known = [point for point in points if point.found]
    for low, high in zip(CONFIDENCES, CONFIDENCES[1:], strict=False):
        own = [point for point in known if low <= point.found.confidence < high]
        if own:
            lines.append(f"| {low:g} to {min(high, 1):g} | {len(own)} | {np.mean(list(map(region_right, own))):.3f} | "
                         f"{np.mean([point.found.confidence for point in own]):.3f} | "
                         f"{np.mean(list(map(category_right, own))):.3f} | "
                         f"{np.mean([point.found.category_confidence for point in own]):.3f} |")
    lines += ["", "| true region | points | right | most often taken for |", "|---|---|---|---|"]
    for region in REGIONS:
        own = [point for point in known if point.region == region]
        wrong = [point.found.region for point in own if not region_right(point)]
        if own:
            most = max(set(wrong), key=wrong.count) if wrong else "-"
            lines.append(f"| {region} | {len(own)} | {1 - len(wrong) / len(own):.2f} | {most} |")
    return "\n".join(lines)


def category_right(point: Point) -> bool:
    """Whether lobar, deep or infratentorial is right."""
    return category_of(point.found.region) == category_of(point.region)


def region_right(point: Point) -> bool:
    """Whether the MARS region is right."""
    return point.found.region == point.region


def side_right(point: Point) -> bool:
    """Whether left or right is right."""
    return point.found.side == point.side


def interval(points: list[Point], right) -> str:
    """Return a share with its 95 % bootstrap interval over cases."""
    cases = sorted({point.case.name for point in points})
    by_case = [[right(point) for point in points if point.case.name == name] for name in cases]
    sums, counts = np.array([sum(own) for own in by_case]), np.array([len(own) for own in by_case])
    drawn = np.random.default_rng(1).integers(len(cases), size=(2000, len(cases)))
    low, high = np.quantile(sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1), (0.025, 0.975))
    return f"{sums.sum() / counts.sum():.3f} [{low:.3f}, {high:.3f}]"


if __name__ == "__main__":
    main()

"""Small simulated cases with known answers, and a stand-in for the detection, for the tests of the benchmarks."""

import hashlib
from pathlib import Path

import numpy as np
from microbleeds.findings import KEPT, REMOVED, DetectionResult, Extrema, Finding, Provenance
from microbleeds.outputs import write_result
from microbleeds.read_write import scan_stem, write_image, write_json, write_label_map, write_text
from microbleeds.simulation.shapes import MICROBLEED, VEIN
from microbleeds.volume import Volume

SHAPE = (40, 40, 12)
AFFINE = np.diag([1.0, 1.0, 2.0, 1.0])
SEEN, MISSED, HIDDEN, VEIN_AT, NOWHERE = (10, 10, 6), (20, 20, 6), (30, 10, 6), (10, 30, 6), (30, 30, 6)
"""Voxels of two visible microbleeds, of one that cannot be seen, of a vein, and of nothing."""
_HEADER = "id\tkind\tR_mm\tA_mm\tS_mm\tsource_diameter_mm\tvisible_diameter_mm\tvisible\tsusceptibility_ppm\tregion\n"


def place_ras(voxel) -> tuple[float, float, float]:
    """Return the place of a voxel in RAS mm."""
    return tuple(float(value) for value in np.array(voxel) * AFFINE.diagonal()[:3])


def cubes(numbers) -> Volume:
    """Return a map with cubes of 3³ voxels: `numbers` maps a number to the voxel in the middle of its cube."""
    data = np.zeros(SHAPE, np.int32)
    for number, centre in numbers.items():
        data[tuple(slice(c - 1, c + 2) for c in centre)] = number
    return Volume(data, AFFINE)


def write_simulated_case(folder: Path, name: str, suffix: str = "T2starw", clean: bool = False, head: str = "h.nii.gz"):
    """Write a case as the simulator does: a vein and, unless it is clean, the three microbleeds; return the image."""
    image = folder / name / "anat" / f"{name}_{suffix}.nii.gz"
    image.parent.mkdir(parents=True)
    stem, rng = scan_stem(image), np.random.default_rng(int.from_bytes(name.encode(), "little") % 2**32)
    rows = [(1, VEIN, VEIN_AT, 1)]
    rows += [] if clean else [(2, MICROBLEED, SEEN, 1), (3, MICROBLEED, MISSED, 1), (4, MICROBLEED, HIDDEN, 0)]
    lines = ["\t".join(map(str, (number, kind, *place_ras(at), 2, 3.0 if visible else "", visible, 0.5, "left, deep")))
             for number, kind, at, visible in rows]
    write_text(image.with_name(f"{stem}_desc-truth.tsv"), _HEADER + "\n".join(lines) + "\n")
    data = rng.normal(500, 20, SHAPE).astype(np.float32)
    data[cubes({number: at for number, _, at, visible in rows if visible}).data > 0] = 150
    write_image(image, Volume(data, AFFINE))
    for what, kinds in (("cmb", (MICROBLEED,)), ("all", (MICROBLEED, VEIN))):
        write_label_map(image.with_name(f"{stem}_desc-{what}_truth.nii.gz"),
                        cubes({number: at for number, kind, at, visible in rows if visible and kind in kinds}))
    write_json(image.with_name(f"{stem}.json"), {"EchoTime": 0.02, "MagneticFieldStrength": 3})
    write_label_map(image.with_name(f"{name}_desc-brain_mask.nii.gz"), Volume(np.ones(SHAPE, np.uint8), AFFINE))
    write_json(image.with_name(f"{name}_desc-drawn.json"), {"plan": {"labels": {"name": head}}})
    return image


def write_found(image: Path, folder: Path, found, point: str = "balanced", threshold: float = 0.5) -> None:
    """Write a result: `found` holds (voxel, probability); those under the threshold were removed by the classifier."""
    findings = []
    for number, (at, score) in enumerate(found, 1):
        position = place_ras(at)
        kept = score >= threshold
        findings.append(Finding(number, position, score, score, 54.0, 4.7, (position, position),
                                Extrema(0.0, 1.0, position, position), KEPT if kept else REMOVED,
                                None if kept else "step2_classify: probability"))
    digest = hashlib.sha256(image.read_bytes()).hexdigest()
    provenance = Provenance(image.name, digest, "gre", "", "m", "1" * 64, point, SHAPE, (1, 1, 2),
                            {"classify": {"threshold": threshold}}, {}, {"all": 2.0})
    labels = cubes({number: at for number, (at, score) in enumerate(found, 1) if score >= threshold})
    write_result(DetectionResult(tuple(findings), provenance), labels, Volume(np.zeros(SHAPE, np.float32), AFFINE),
                 scan_stem(image), folder, "")

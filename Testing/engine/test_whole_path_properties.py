"""What a detection may not depend on: the real pipeline with the shipped weights on a part of the bundled scan.

Two kinds of movement are kept apart throughout:

- *stored otherwise*: the array is turned and its affine with it. It is the same scan in the same place, so the result
  is the same to rounding errors.
- *moved*: the affine alone is changed, the head lies elsewhere. Findings go with it. Where the networks see the same
  voxels (shifts, tilts that keep the nearest axes) they go exactly; where they see them turned or mirrored, and where
  the scan is sampled anew, only clear findings do, to the tolerances below, which are up to twice what was
  measured (see ``Resources/hard-use.md``).
"""

import gzip
import json
import re
import shutil
import struct
from dataclasses import dataclass, replace
from itertools import permutations, product

import numpy as np
import pytest
import SimpleITK as sitk
from dicom_phantoms import write_mr_series
from microbleeds import cli, pipeline, region_map
from microbleeds.assemble import make_findings
from microbleeds.brain_mask import brain_mask
from microbleeds.cohort.quality import noise_share
from microbleeds.findings import KEPT
from microbleeds.geometry import apply_affine, bounding_box, crop, resample_like, to_canonical
from microbleeds.orientation import canonical_axes
from microbleeds.outputs import read_result
from microbleeds.pipeline import detect
from microbleeds.read_write import Scan, read_labels, read_scan, write_image
from microbleeds.reference_prepare import prepare_as_reference
from microbleeds.resources import resource_path
from microbleeds.settings import PrepareSettings
from microbleeds.step0_prepare import prepare
from microbleeds.step1_candidates import Candidate
from microbleeds.volume import Volume
from microbleeds.weights import DEFAULT_MODEL, Model, load_model
from scipy.spatial.transform import Rotation

ORIENTATIONS = [(order, flips) for order in permutations(range(3)) for flips in product((False, True), repeat=3)]
"""All 48 ways to store a volume: the order of its axes, and which of them are reversed."""

SAME_MM, SAME_PROBABILITY = 1e-6, 1e-6
"""For what the networks see in the same voxels."""
HEADER_MM, HEADER_PROBABILITY = 1e-3, 1e-3
"""For a scan read from another kind of file: headers are rounded to float32."""
TURNED_MM, TURNED_PROBABILITY = 1.0, 0.15
"""For clear findings in an image that the networks see mirrored or turned by 90 degrees (measured: 0.6 mm, 0.09)."""
RESAMPLED_MM, RESAMPLED_PROBABILITY = 1.25, 0.15
"""For clear findings on another grid: half a slice of 2.5 mm, by which it can miss a centre (measured: 0.9, 0.05)."""
CLEAR_PROBABILITY, CLEAR_DIAMETER_MM = 0.85, 5.5


def stored(volume: Volume, order, flips) -> Volume:
    """Return the same image at the same place, with its axes in another order and some of them reversed."""
    to_input = np.zeros((4, 4))
    to_input[3, 3] = 1
    for axis, (source, flip) in enumerate(zip(order, flips, strict=True)):
        to_input[source, axis] = -1 if flip else 1
        to_input[source, 3] = volume.shape[source] - 1 if flip else 0
    data = np.flip(np.transpose(volume.data, order), [axis for axis in range(3) if flips[axis]])
    return Volume(np.ascontiguousarray(data), volume.affine @ to_input)


def moved(volume: Volume, motion: np.ndarray) -> Volume:
    """Return the same array elsewhere: `motion` (4, 4) takes RAS mm to RAS mm."""
    return Volume(volume.data, motion @ volume.affine)


def motion(turn, shift=(0, 0, 0)) -> np.ndarray:
    result = np.eye(4)
    result[:3, :3], result[:3, 3] = turn, shift
    return result


def on_grid(volume: Volume, spacing_mm, shift_voxels=(0, 0, 0), angles_deg=(0, 0, 0)) -> Volume:
    """Return the grid of `volume`, turned about its centre, with other voxels, shifted by some of these."""
    shape = np.ceil(np.array(volume.shape) * volume.spacing / spacing_mm).astype(int)
    affine = np.eye(4)
    turn = Rotation.from_euler("xyz", angles_deg, degrees=True).as_matrix()
    affine[:3, :3] = turn @ (volume.affine[:3, :3] / volume.spacing * spacing_mm)
    centre = apply_affine(volume.affine, (np.array(volume.shape) - 1) / 2)
    affine[:3, 3] = centre - affine[:3, :3] @ ((shape - 1) / 2 - shift_voxels)
    return Volume(np.broadcast_to(np.uint8(0), tuple(shape)), affine)


@dataclass(frozen=True, eq=False)
class Slab:
    """A part of the bundled scan with clear findings; `brain` is that of the whole scan, cut to less than the slab."""

    scan: Scan
    brain: Volume
    model: Model

    def detect(self, volume: Volume, brain: Volume | None, regions: bool = False, modality: str = "gre"):
        """Run the pipeline as it is; without `regions` the region network, half of the time, is left out.

        A slab is too little for that network to know its way. What it would say is taken anyway: here it only matters
        that it says the same.
        """
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(region_map, "LEAST_MARGIN", -1.0)
            if not regions:
                patch.setattr(pipeline, "find_regions", lambda *arguments: (None, 0.0))
            return detect(replace(self.scan, volume=volume), self.model, mask=brain, modality=modality, device="cpu")


@pytest.fixture(scope="module")
def whole():
    """The bundled scan and its brain."""
    scan = read_scan(resource_path(cli.SAMPLE))
    return scan, brain_mask(scan.volume)


@pytest.fixture(scope="module")
def slab(whole):
    scan, brain = whole
    low, high = np.array([58, 59, 21]), np.array([167, 134, 40])
    part = np.zeros(scan.volume.shape, bool)
    part[tuple(map(slice, low, high))] = True
    brain = brain.with_data(brain.data & part)
    box = np.stack([low, high]) + np.array([[-10, -10, -4], [10, 10, 4]])
    return Slab(replace(scan, volume=crop(scan.volume, box)), crop(brain, box), load_model(DEFAULT_MODEL))


@pytest.fixture(scope="module")
def base(slab):
    """The detection that all others are compared with."""
    detection = slab.detect(slab.scan.volume, slab.brain, regions=True)
    assert len(clear(detection)) >= 4 and len(detection.result.candidates) > len(clear(detection))
    return detection


def clear(detection):
    return [one for one in detection.result.findings
            if one.probability >= CLEAR_PROBABILITY and one.diameter_mm <= CLEAR_DIAMETER_MM]


def places(candidates) -> np.ndarray:
    return np.reshape([one.position_ras for one in candidates], (-1, 3))


def assert_same(detection, expected, move=None, mm=SAME_MM, probability=SAME_PROBABILITY):
    """All candidates agree, the removed ones too: place, probabilities, size, fate, darkest and brightest voxel."""
    there, here = expected.result.candidates, detection.result.candidates
    assert [(one.id, one.status, one.removed_by) for one in here] == [
        (one.id, one.status, one.removed_by) for one in there]
    move = np.eye(4) if move is None else move
    assert np.allclose(places(here), apply_affine(move, places(there)), rtol=0, atol=mm)
    for what in ("probability", "detector_probability"):
        assert np.allclose([getattr(one, what) for one in here], [getattr(one, what) for one in there], rtol=0,
                           atol=probability)
    assert [one.volume_mm3 for one in here] == pytest.approx([one.volume_mm3 for one in there], rel=1e-6)
    for what in ("minimum_ras", "maximum_ras"):
        points = np.array([getattr(one.extrema, what) for one in there])
        assert np.allclose([getattr(one.extrema, what) for one in here], apply_affine(move, points), atol=mm)


def assert_clear_ones_follow(detection, expected, move, mm, probability):
    """Clear findings are kept and near where they belong; none as clear appears where nothing was suspected."""
    for one in clear(expected):
        distances = np.linalg.norm(places(detection.result.findings) - apply_affine(move, one.position_ras), axis=1)
        nearest = detection.result.findings[int(distances.argmin())]
        assert distances.min() <= mm, (one.id, distances.min())
        assert abs(nearest.probability - one.probability) <= probability, (one.id, one.probability, nearest.probability)
    known = apply_affine(move, places(expected.result.candidates))
    for one in clear(detection):
        assert np.linalg.norm(known - one.position_ras, axis=1).min() <= 3.0, one


# the same scan, stored otherwise


@pytest.mark.parametrize(("order", "flips"), [((0, 1, 2), (True, True, True)), ((2, 0, 1), (True, False, True)),
                                              ((1, 0, 2), (False, True, False))])
def test_a_scan_stored_otherwise_has_the_same_findings_labels_and_regions(slab, base, order, flips):
    detection = slab.detect(stored(slab.scan.volume, order, flips), stored(slab.brain, order, flips), regions=True)
    assert_same(detection, base)
    assert [one.place for one in detection.result.candidates] == [one.place for one in base.result.candidates]
    assert all(one.place for one in base.result.findings)
    assert detection.labels.same_grid(stored(base.labels, order, flips))
    np.testing.assert_array_equal(detection.labels.data, stored(base.labels, order, flips).data)


def test_the_brain_mask_of_a_scan_stored_otherwise_is_the_same(slab):
    order, flips = (1, 2, 0), (True, False, False)
    own, other = (brain_mask(volume) for volume in (slab.scan.volume, stored(slab.scan.volume, order, flips)))
    assert own.data.any()
    np.testing.assert_array_equal(stored(own, order, flips).data, other.data)


@pytest.mark.parametrize("way", [prepare, prepare_as_reference])
@pytest.mark.parametrize(("spacing", "modality"), [((0.7, 0.8, 3.0), "gre"), ((1, 1, 1), "qsm"), ((2, 0.3, 2), "qsm")])
def test_in_all_48_orientations_the_networks_see_the_same_voxels(draw_affine, way, spacing, modality):
    rng = np.random.default_rng(5)
    volume = Volume(rng.normal(300, 60, (26, 22, 18)).astype(np.float32), draw_affine(rng, True, spacing))
    brain = np.zeros(volume.shape, bool)
    brain[4:20, 3:21, 5:15] = rng.random((16, 18, 10)) < 0.9
    brain = volume.with_data(brain)
    expected = way(volume, brain, modality, PrepareSettings())
    for order, flips in ORIENTATIONS:
        seen = way(stored(volume, order, flips), stored(brain, order, flips), modality, PrepareSettings())
        np.testing.assert_array_equal(seen.brain.data, expected.brain.data)
        for name in ("image", "symmetry"):
            # resampling, of the third spacing only, sees rounding errors of the affine
            np.testing.assert_allclose(getattr(seen, name).data, getattr(expected, name).data, rtol=0, atol=1e-6)
        np.testing.assert_allclose(seen.image.affine, expected.image.affine, atol=1e-9)


@pytest.mark.parametrize("angles_deg", [(0, 0, 0), (12, -20, 7), (0, 0, 45), (45, 0, 0), (0, 45, 90), (45, 45, 0)])
@pytest.mark.parametrize("spacing", [(1, 1, 1), (0.9, 0.9, 3), (2, 1, 2)])
def test_in_all_48_orientations_the_axes_nearest_to_ras_are_the_same(angles_deg, spacing):
    affine = np.diag([*map(float, spacing), 1.0])
    affine[:3, :3] = Rotation.from_euler("xyz", angles_deg, degrees=True).as_matrix() @ affine[:3, :3]
    affine[:3, 3] = (-31.7, 12.9, 40.1)
    volume = Volume(np.arange(60.0).reshape(3, 4, 5), affine)
    expected = to_canonical(volume)
    slices = volume.affine[:3, volume.slice_axis]
    for order, flips in ORIENTATIONS:
        other = stored(volume, order, flips)
        np.testing.assert_array_equal(to_canonical(other).data, expected.data)
        np.testing.assert_allclose(to_canonical(other).affine, expected.affine, atol=1e-9)
        across = np.linalg.norm(np.cross(other.affine[:3, other.slice_axis], slices))
        assert across == pytest.approx(0, abs=1e-9), (order, flips)
    assert canonical_axes(expected.affine) == ((0, 1, 2), (False, False, False))


@pytest.mark.parametrize("working_mm", [0.5, 1.0, 2.0])
def test_in_all_48_orientations_ties_end_in_the_same_voxels(draw_affine, working_mm):
    """Equal intensities, scan voxels on the border of working voxels, and lesions that want the same scan voxel."""
    rng = np.random.default_rng(8)
    scan = Volume(rng.integers(0, 3, (12, 10, 8)).astype(np.float32), draw_affine(rng, True, (1, 1, 1)))
    canonical = to_canonical(scan)
    scale = np.diag([working_mm, working_mm, 1, 1])
    scale[:2, 3] = working_mm / 2
    shape = (*(int(n / working_mm) for n in canonical.shape[:2]), canonical.shape[2])
    working = Volume(np.ones(shape, bool), canonical.affine @ scale)
    blocks = [(i, j, k) for i in range(1, shape[0] - 2, 2) for j in range(1, min(shape[1] - 2, 8), 3) for k in (2, 3)]
    candidates = []
    for number, (i, j, k) in enumerate(blocks):
        voxels = np.argwhere(np.ones((1 + number % 2, 2, 1))) + (i, j, k)
        place = apply_affine(working.affine, voxels.mean(axis=0))
        candidates.append(Candidate(tuple(place.tolist()), 0.9, voxels, 0.5 + 0.001 * number))
    rules = [None] * len(candidates)
    findings, labels = make_findings(candidates, rules, 0.0, scan, working)
    for order, flips in ORIENTATIONS:
        same, there = make_findings(candidates, rules, 0.0, stored(scan, order, flips), working)
        np.testing.assert_array_equal(there.data, stored(labels, order, flips).data, str((order, flips)))
        for one, other in zip(findings, same, strict=True):
            np.testing.assert_allclose(one.extrema.minimum_ras, other.extrema.minimum_ras, atol=1e-6)
            np.testing.assert_allclose(one.extrema.maximum_ras, other.extrema.maximum_ras, atol=1e-6)


def test_the_noise_of_a_scan_does_not_depend_on_how_it_is_stored(draw_affine):
    rng = np.random.default_rng(2)
    volume = Volume(np.cumsum(rng.normal(0, 9, (14, 12, 10)), axis=2).astype(np.float32),
                    draw_affine(rng, False, (1, 1, 1)))
    brain = volume.with_data(np.ones(volume.shape, bool))
    shares = {noise_share(stored(volume, *way), stored(brain, *way)) for way in ORIENTATIONS}
    assert len(shares) == 1


# the head lies elsewhere


def test_findings_go_along_exactly_with_a_shift_and_a_tilt(slab, base):
    move = motion(Rotation.from_euler("xyz", (3, -2, 4), degrees=True).as_matrix(), (13.7, -210.3, 55.1))
    detection = slab.detect(moved(slab.scan.volume, move), moved(slab.brain, move))
    assert_same(detection, base, move)
    np.testing.assert_array_equal(detection.labels.data, base.labels.data)


@pytest.mark.parametrize("turn", [
    Rotation.from_euler("z", 90, degrees=True).as_matrix(), Rotation.from_euler("y", 90, degrees=True).as_matrix(),
    np.diag([-1, 1, 1]), np.diag([1, 1, -1])], ids=["90 degrees about S", "90 degrees about A", "left to right",
                                                    "upside down"])
def test_clear_findings_go_along_with_mirrors_and_turns_by_90_degrees(slab, base, turn):
    move = motion(turn)
    detection = slab.detect(moved(slab.scan.volume, move), moved(slab.brain, move))
    assert_clear_ones_follow(detection, base, move, TURNED_MM, TURNED_PROBABILITY)


# the scan is cut or sampled anew


def test_cutting_away_what_is_far_from_the_brain_changes_nothing(slab, base):
    box = bounding_box(slab.brain.data, 6.0, slab.brain.spacing)
    assert np.prod(box[1] - box[0]) < slab.brain.data.size
    detection = slab.detect(crop(slab.scan.volume, box), crop(slab.brain, box))
    assert_same(detection, base)
    np.testing.assert_array_equal(detection.labels.data, crop(base.labels, box).data)


def test_clear_findings_stay_where_the_scan_is_cut_at_the_edge_of_the_brain(slab, base):
    box = bounding_box(slab.brain.data, 0.0, slab.brain.spacing)
    detection = slab.detect(crop(slab.scan.volume, box), crop(slab.brain, box))
    assert_clear_ones_follow(detection, base, np.eye(4), TURNED_MM, TURNED_PROBABILITY)


def test_the_brain_mask_stays_where_air_around_the_head_is_cut_away(whole):
    scan, brain = whole
    box = np.stack([[8, 8, 2], np.array(scan.volume.shape) - (8, 8, 0)])
    there, here = crop(brain, box).data, brain_mask(crop(scan.volume, box)).data
    assert 2 * np.count_nonzero(there & here) >= 0.99 * (np.count_nonzero(there) + np.count_nonzero(here))


@pytest.mark.parametrize("grid", [
    {"spacing_mm": (0.9, 0.9, 2.5), "shift_voxels": (0.5, 0.5, 0.5)}, {"spacing_mm": (0.95, 0.95, 2.6)},
    {"spacing_mm": (0.85, 0.85, 2.4), "angles_deg": (2, 1, 3)}], ids=["half a voxel", "coarser", "finer, turned"])
def test_clear_findings_stay_where_they_are_on_another_grid(slab, base, grid):
    grid = on_grid(slab.scan.volume, **grid)
    volume = resample_like(slab.scan.volume, grid, order=3)
    brain = resample_like(slab.brain.with_data(slab.brain.data.astype(np.uint8)), grid, order=0)
    detection = slab.detect(volume, brain.with_data(brain.data > 0))
    assert_clear_ones_follow(detection, base, np.eye(4), RESAMPLED_MM, RESAMPLED_PROBABILITY)


# intensities and files


@pytest.mark.parametrize("factor", [3.7, 1e-6])
def test_the_scale_of_intensities_changes_nothing(slab, base, factor):
    volume = slab.scan.volume.with_data(slab.scan.volume.data * np.float32(factor))
    detection = slab.detect(volume, slab.brain)
    assert_same(detection, base, probability=1e-4, mm=1e-4)
    np.testing.assert_array_equal(detection.labels.data, base.labels.data)


def test_ppm_and_ppb_of_a_susceptibility_map_are_the_same(slab):
    ppm = slab.scan.volume.with_data((300 - slab.scan.volume.data) / np.float32(3000))
    own = slab.detect(ppm, slab.brain, modality="qsm")
    other = slab.detect(ppm.with_data(ppm.data * np.float32(1000)), slab.brain, modality="qsm")
    assert len(own.result.findings) >= 3
    assert_same(other, own, probability=1e-4, mm=1e-4)


def test_the_type_of_the_numbers_in_a_file_changes_nothing(slab, tmp_path):
    for kind in (np.int16, np.uint16, np.int32, np.uint32, np.float32, np.float64):
        path = tmp_path / f"{np.dtype(kind).name}.nii.gz"
        write_image(path, slab.scan.volume.with_data(slab.scan.volume.data.astype(kind)))
        np.testing.assert_array_equal(read_scan(path).volume.data, slab.scan.volume.data)
    # the factor that a NIfTI header gives (bytes 112 to 115)
    content = bytearray(gzip.decompress((tmp_path / "int16.nii.gz").read_bytes()))
    struct.pack_into("<f", content, 112, 0.25)
    (tmp_path / "scaled.nii").write_bytes(content)
    np.testing.assert_array_equal(read_scan(tmp_path / "scaled.nii").volume.data, slab.scan.volume.data / 4)


def test_the_order_of_the_files_of_a_series_changes_nothing(slab, base, tmp_path):
    """The series holds the slab on an axial grid, so that its findings are in the same voxels, not in the same mm."""
    series = write_mr_series(tmp_path / "series", values=slab.scan.volume.data, spacing=tuple(slab.scan.volume.spacing),
                             ImageOrientationPatient=[-1, 0, 0, 0, -1, 0])
    scan = read_scan(series)
    files = sorted(series.iterdir())
    for name, order in (("sorted", sorted(files, key=lambda file: int(file.stem) * 29 % 101)), ("back", files[::-1])):
        other = tmp_path / name / "series"
        other.mkdir(parents=True)
        for number, file in enumerate(order):
            shutil.copy(file, other / f"IM{number:05d}")
        again = read_scan(other)
        assert again.sha256 == scan.sha256 and again.metadata == scan.metadata
        np.testing.assert_array_equal(again.volume.affine, scan.volume.affine)
        np.testing.assert_array_equal(again.volume.data, scan.volume.data)
    np.testing.assert_array_equal(scan.volume.data, slab.scan.volume.data)
    detection = slab.detect(scan.volume, scan.volume.with_data(slab.brain.data))
    assert_same(detection, base, scan.volume.affine @ np.linalg.inv(slab.scan.volume.affine), HEADER_MM,
                HEADER_PROBABILITY)


def test_the_command_gives_the_same_files_again_and_whatever_the_order_of_its_scans(slab, tmp_path):
    """Of two scans: a NIfTI file, and the same image stored otherwise as NRRD. The brain mask is the automatic one."""
    part = crop(slab.scan.volume, [(7, 43, 0), (87, 95, 23)])
    first, second = tmp_path / "first_T2star.nii.gz", tmp_path / "second_T2star.nrrd"
    way = ((1, 0, 2), (False, True, True))
    whole_numbers = part.with_data(part.data.astype(np.int16))
    write_image(first, whole_numbers)
    write_image(second, stored(whole_numbers, *way))
    for folder, scans in (("one", (first, second)), ("two", (second, first))):
        assert cli.main(["detect", *map(str, scans), "-o", str(tmp_path / folder), "--progress", "none",
                         "--device", "cpu"]) == 0
    files = {path.name: path for path in (tmp_path / "one").iterdir()}
    assert len(files) == 10
    for name, path in files.items():
        again = tmp_path / "two" / name
        if name.endswith("_findings.json"):
            contents = [json.loads(one.read_text(encoding="utf-8")) for one in (path, again)]
            seconds = [content["provenance"].pop("seconds") for content in contents]
            assert set(seconds[0]) == set(seconds[1]) and contents[0] == contents[1]
        elif name.endswith("_report.html"):
            pages = [re.sub(rb"[0-9.]+ in all: [^<]+", b"", one.read_bytes()) for one in (path, again)]
            assert pages[0] == pages[1] and len(pages[0]) < path.stat().st_size
        else:
            assert path.read_bytes() == again.read_bytes(), name
    here, there = (read_result(files[f"{stem}_T2star_desc-cmb_findings.json"]) for stem in ("first", "second"))
    assert len(here.findings) == 3 and here.findings[0].status == KEPT
    assert [one.id for one in here.findings] == [one.id for one in there.findings]
    assert np.allclose(places(here.candidates), places(there.candidates), rtol=0, atol=HEADER_MM)
    assert np.allclose([one.probability for one in here.candidates], [one.probability for one in there.candidates],
                       rtol=0, atol=HEADER_PROBABILITY)
    labels = [to_canonical(read_labels(files[f"{stem}_T2star_desc-cmb_dseg.nii.gz"])) for stem in ("first", "second")]
    assert labels[0].same_grid(labels[1], HEADER_MM)
    np.testing.assert_array_equal(labels[0].data, labels[1].data)
    # the label map lies on the scan, voxel by voxel, in the order in which the scan is stored
    assert sitk.ReadImage(str(files["second_T2star_desc-cmb_dseg.nii.gz"])).GetSize() == stored(
        part, *way).shape

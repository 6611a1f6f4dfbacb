"""Implants: what they change, by how much, where they may lie, and that they agree with the simulator itself."""

import json
from io import StringIO

import numpy as np
import pytest
from microbleeds.errors import InputError, SettingsError
from microbleeds.evaluation.drawn_truth import read_drawn_truth
from microbleeds.progress import Plain
from microbleeds.read_write import read_scan, write_image, write_json
from microbleeds.simulation.image_formation import TissueMaps, acquired_kspace, reconstruct
from microbleeds.simulation.implant import (
    ImplantSettings,
    implant,
    implant_things,
)
from microbleeds.simulation.implant_files import ImplantJob, implant_files
from microbleeds.simulation.implant_sites import CLOSEST_MM, EDGE_MM, Quality, body_of, free_places, measure
from microbleeds.simulation.protocol import Protocol, make_grids
from microbleeds.simulation.shapes import CALCIFICATION, MICROBLEED, VEIN, Focus, Part, Vessel
from microbleeds.simulation.simulate import add_to_tissue
from microbleeds.simulation.susceptibility import field_of
from microbleeds.volume import Volume
from scipy import fft, ndimage

LEVEL = 500.0
GRE = ImplantSettings("gre", 25.0, 3.0)


def ball(centre_ras, diameter_mm=3.0, ppm=0.4, r2star_hz=30.0, density=1.0, kind=MICROBLEED):
    return Focus(kind, (Part(np.asarray(centre_ras, float), np.full(3, diameter_mm / 2), np.eye(3), np.zeros((0, 4)),
                             ppm, r2star_hz, density),))


def tube(centre_ras, length_mm=12.0, radius_mm=0.6):
    step = 0.3
    along = np.arange(-length_mm / 2, length_mm / 2, step)
    points = np.asarray(centre_ras, float) + along[:, None] * [0, 1, 0]
    return Vessel(VEIN, points, np.full(len(points), radius_mm), np.full(len(points), step), 0.4, 45.0, 1.0)


def head(shape=(72, 72, 20), spacing=(0.8, 0.8, 2.0), noise=10.0, kept=1.0, seed=0, level=LEVEL):
    """Return even tissue in an ellipsoid with complex noise (`noise` per channel, `kept` bandwidth), and its mask."""
    rng = np.random.default_rng(seed)
    places = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    brain = sum(x**2 for x in places) < 0.9
    white = rng.normal(size=(*shape, 2)) @ [1, 1j]
    spectrum = fft.fft2(white, axes=(0, 1))
    outside = np.logical_or.outer(*(np.abs(fft.fftfreq(n)) * 2 > kept for n in shape[:2]))
    spectrum[outside] = 0
    white = fft.ifft2(spectrum, axes=(0, 1))
    image = np.abs(np.where(brain, level, 0) + noise * white / white.real.std())
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = -0.5 * np.array(spacing) * (np.array(shape) - 1)
    return Volume(image.astype(np.float32), affine), Volume(brain, affine)


def at(volume, point_ras=(0, 0, 0)):
    """Return the voxel nearest to a point."""
    return tuple(np.rint(np.linalg.inv(volume.affine) @ [*point_ras, 1]).astype(int)[:3])


def loss(settings, thing, spacing=(0.8, 0.8, 2.0)):
    """Return what a thing takes of even tissue in all, in voxels."""
    scan, brain = head(spacing=spacing, noise=0.0)
    quality = Quality((1.0, 1.0), 0.0, LEVEL, 1.0)
    done = implant_things(scan, brain, [thing], [], settings, np.random.default_rng(0), quality)
    return float((scan.data - done.image.data).sum() / LEVEL)


@pytest.mark.parametrize("modality", ["gre", "swi", "qsm"])
def test_a_thing_without_properties_changes_nothing(modality):
    scan, brain = head()
    done = implant_things(scan, brain, [ball((0, 0, 0), ppm=0, r2star_hz=0)], [], ImplantSettings(modality, 30, 3),
                          np.random.default_rng(0))
    np.testing.assert_array_equal(done.image.data, scan.data)
    assert not done.truth.microbleeds.data.any() and not done.truth.rows[0].visible


@pytest.mark.parametrize("modality", ["gre", "swi", "qsm"])
def test_far_voxels_keep_every_bit(modality):
    scan, brain = head(shape=(120, 120, 30))
    done = implant_things(scan, brain, [ball((0, 0, 0))], [tube((20, 0, 0))], ImplantSettings(modality, 30, 3),
                          np.random.default_rng(0))
    changed = np.argwhere(done.image.data != scan.data) @ scan.affine[:3, :3].T + scan.affine[:3, 3]
    assert len(changed) and np.abs(changed - np.clip(changed, [0, -6, 0], [20, 6, 0])).max() < 18


def test_what_is_lost_grows_with_echo_time_and_field():
    echoes = [loss(ImplantSettings("gre", te, 3.0), ball((0, 0, 0))) for te in (5, 10, 20, 40)]
    fields = [loss(ImplantSettings("gre", 20, tesla), ball((0, 0, 0))) for tesla in (1.5, 3.0, 7.0)]
    assert np.all(np.diff(echoes) > 0) and np.all(np.diff(fields) > 0)


def test_r2star_alone_takes_what_the_exponential_says():
    scan, brain = head(noise=0.0)
    wide = ball((0, 0, 0), diameter_mm=14, ppm=0, r2star_hz=30)
    done = implant_things(scan, brain, [wide], [], GRE, np.random.default_rng(0), Quality((1.0, 1.0), 0.0, LEVEL, 1.0))
    assert done.image.data[at(scan)] / LEVEL == pytest.approx(np.exp(-0.025 * 30), rel=0.02)


def test_qsm_rises_by_the_things_own_susceptibility():
    scan, brain = head(noise=0.0, level=0.01)
    things = [ball((-12, 0, 0), 9, 0.3), ball((12, 0, 0), 9, -1.5, kind=CALCIFICATION)]
    done = implant_things(scan, brain, things[:1], things[1:], ImplantSettings("qsm"), np.random.default_rng(0))
    change = done.image.data - scan.data
    assert change[at(scan, (-12, 0, 0))] == pytest.approx(0.3, rel=0.05)
    assert change[at(scan, (12, 0, 0))] == pytest.approx(-1.5, rel=0.05)
    # all of it is there, however it is blurred
    voxel = scan.voxel_volume_mm3
    assert change[:36].sum() * voxel == pytest.approx(0.3 * np.pi / 6 * 9**3, rel=0.05)


def test_qsm_in_ppb_gets_ppb():
    scan, brain = head(noise=30.0, level=10.0)
    scan = scan.with_data(scan.data * np.sign(np.random.default_rng(0).normal(size=scan.shape)).astype(np.float32))
    done = implant_things(scan, brain, [ball((0, 0, 0), 9, 0.3)], [], ImplantSettings("qsm"), np.random.default_rng(0))
    assert (done.image.data - scan.data)[at(scan)] == pytest.approx(300, rel=0.05)


@pytest.mark.parametrize("modality", ["gre", "swi"])
@pytest.mark.parametrize("ppm", [0.4, -1.5])
def test_both_signs_are_dark_on_magnitude_and_swi(modality, ppm):
    assert loss(ImplantSettings(modality, 25, 3.0), ball((0, 0, 0), ppm=ppm)) > 3


def test_swi_is_darker_than_magnitude_beside_a_vein():
    losses = [loss(ImplantSettings(modality, 25, 3.0), tube((0, 0, 0)), (0.8, 0.8, 1.2)) for modality in ("gre", "swi")]
    assert losses[1] > 1.2 * losses[0]


@pytest.mark.parametrize("kept", [1.0, 0.6])
def test_noise_and_bandwidth_are_measured(kept):
    scan, brain = head(shape=(160, 160, 12), noise=15.0, kept=kept)
    quality = measure(scan, brain.data, "gre")
    assert quality.kept == pytest.approx((kept, kept), abs=0.07)
    assert quality.noise == pytest.approx(15.0, rel=0.15)


@pytest.mark.parametrize("kept", [1.0, 0.6])
def test_noise_inside_a_deep_implant_is_that_outside(kept):
    scan, brain = head(shape=(160, 160, 12), noise=15.0, kept=kept)
    # no susceptibility, so that what is left is even
    wide = ball((0, 0, 0), diameter_mm=24, ppm=0, r2star_hz=70)
    done = implant_things(scan, brain, [wide], [], GRE, np.random.default_rng(1))
    places = np.argwhere(brain.data) @ scan.affine[:3, :3].T + scan.affine[:3, 3]
    distance = np.linalg.norm(places, axis=1)
    values = done.image.data[brain.data]
    inside, outside = values[distance < 9], values[(distance > 20) & (distance < 40)]
    assert inside.mean() < 0.25 * outside.mean()
    assert inside.std() == pytest.approx(outside.std(), rel=0.15)


def test_placement_respects_mask_margin_foci_and_other_implants():
    scan, brain = head(shape=(120, 120, 40), noise=10.0)
    data = scan.data.copy()
    foci = [np.array(voxel) for voxel in np.argwhere(brain.data)[::9001]]
    for voxel in foci:
        data[tuple(slice(n - 2, n + 2) for n in voxel[:2]) + (voxel[2],)] *= 0.4
    scan = scan.with_data(data)
    done = implant(scan, brain, ImplantSettings("gre", 25, 3.0, 20, 10), np.random.default_rng(2))
    things = (*done.bleeds, *done.mimics)
    assert len(done.bleeds) == 20 and len(done.mimics) == 10 and not done.warnings
    edge = ndimage.distance_transform_edt(brain.data, scan.spacing)
    for thing in done.bleeds:
        assert edge[at(scan, thing.parts[0].centre_ras)] >= EDGE_MM - 1.5
        for voxel in foci:
            place = scan.affine[:3, :3] @ voxel + scan.affine[:3, 3]
            assert np.linalg.norm(place - thing.parts[0].centre_ras) > 2.5
    bodies = [body_of(thing) for thing in things]
    for number, (points, radius) in enumerate(bodies):
        for others, other in bodies[:number]:
            assert np.linalg.norm(points[:, None] - others, axis=-1).min() >= CLOSEST_MM + radius + other


@pytest.mark.parametrize("factor", [0.4, 1.6])
def test_neither_fluid_nor_dark_areas_are_tissue(factor):
    scan, brain = head(shape=(100, 100, 30), noise=5.0)
    half = np.where(np.arange(100)[:, None, None] < 30, factor, 1.0)
    scan = scan.with_data((scan.data * half).astype(np.float32))
    tissue, room = free_places(scan, brain.data, "gre", measure(scan, brain.data, "gre"))
    free = tissue & (room >= EDGE_MM)
    assert not free[:28].any() and free[40:].any()


def test_no_room_is_said():
    scan, brain = head(shape=(32, 32, 8))
    thin, empty = (brain.with_data(ndimage.binary_erosion(brain.data, iterations=n)) for n in (2, 20))
    many = ImplantSettings("gre", 25, 3.0, 60, 0)
    done = implant(scan, brain, many, np.random.default_rng(0))
    assert len(done.bleeds) < 60 and "Only" in done.warnings[0] and "of 60 microbleeds" in done.warnings[0]
    for mask, says in ((thin, "no free tissue"), (empty, "mask is empty")):
        with pytest.raises(InputError, match=says):
            implant(scan, mask, many, np.random.default_rng(0))


def test_same_seed_same_bytes():
    scan, brain = head()
    first, second, other = (implant(scan, brain, GRE, np.random.default_rng(seed)) for seed in (5, 5, 6))
    assert first.image.data.tobytes() == second.image.data.tobytes() and first.truth.rows == second.truth.rows
    assert first.image.data.tobytes() != other.image.data.tobytes()


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
def test_the_order_of_the_axes_does_not_matter(order):
    scan, brain = head()
    turned, mask = (Volume(volume.data.transpose(order), volume.affine[:, [*order, 3]]) for volume in (scan, brain))
    quality = Quality((1.0, 1.0), 0.0, LEVEL, 1.0)
    plain, done = (implant_things(*pair, [ball((3, 2, 1))], [], GRE, np.random.default_rng(0), quality)
                   for pair in ((scan, brain), (turned, mask)))
    if order.index(0) < order.index(1):
        np.testing.assert_allclose(done.image.data, plain.image.data.transpose(order), atol=1e-3)
    assert abs(done.image.data.sum() - plain.image.data.sum()) < 1e-4 * plain.image.data.sum()
    np.testing.assert_array_equal(done.image.affine, turned.affine)


@pytest.mark.parametrize("kept", [1.0, 0.65])
@pytest.mark.parametrize("slice_mm", [1.5, 4.0])
def test_agrees_with_the_same_microbleed_simulated(kept, slice_mm):
    """The implant multiplies magnitudes, the simulator adds fields: they differ by the texture under the bleed only."""
    protocol = Protocol(3.0, (25.0,), 0.7, slice_mm, tilt_degrees=(12.0, 5.0, 0.0), kept_bandwidth=kept)
    points = np.array([[-22.0, -22, -13], [22, 22, 13]])
    grids = make_grids(protocol, points)
    rng = np.random.default_rng(4)
    texture = ndimage.gaussian_filter(rng.normal(size=grids.fine_shape), 4 / grids.fine_spacing)
    density = (0.8 * (1 + 0.03 * texture / texture.std())).astype(np.float32)
    ramp = 0.02 * np.linspace(-1, 1, grids.fine_shape[0], dtype=np.float32)[:, None, None]
    bleed = ball((2.0, -3.0, 1.0), 2.4, 0.35)

    def scanned(things):
        maps = TissueMaps(density.copy(), np.full(density.shape, 20, np.float32), np.zeros_like(density))
        for thing in things:
            add_to_tissue(maps, thing, grids, protocol)
        field = field_of(maps.susceptibility_ppm, grids.fine_spacing, grids.b0_direction) + ramp
        signal = reconstruct(acquired_kspace(maps, field, protocol, grids, protocol.echo_times_ms, 1), protocol, grids)
        return np.abs(signal[0])

    clean, direct = scanned([]), scanned([bleed])
    level = float(np.median(clean))
    done = implant_things(Volume(clean, grids.affine), Volume(np.ones(clean.shape, bool), grids.affine), [bleed], [],
                          GRE, rng, Quality((kept, kept), 0.0, level, 1.0))
    error = np.abs(done.image.data - direct) / level
    assert (1 - direct / clean).max() > 0.2
    assert error.max() < 0.05 and error[clean - direct > 0.1 * level].mean() < 0.02


def test_truth_numbers_bleeds_before_mimics():
    scan, brain = head(noise=5.0)
    done = implant_things(scan, brain, [ball((-10, 0, 0))], [tube((10, 0, 0)), ball((0, 12, 0), ppm=-1.5,
                          kind=CALCIFICATION)], GRE, np.random.default_rng(0))
    assert [row.kind for row in done.truth.rows] == [MICROBLEED, CALCIFICATION, VEIN]
    assert all(row.visible and row.visible_diameter_mm > 2 for row in done.truth.rows)
    assert set(np.unique(done.truth.microbleeds.data)) == {0, 1}
    assert set(np.unique(done.truth.everything.data)) == {0, 1, 2, 3}
    assert done.truth.microbleeds.data[at(scan, (-10, 0, 0))] == 1


@pytest.mark.parametrize(("settings", "says"), [
    ({"modality": "gre", "field_tesla": 3.0}, "--echo-time"), ({"modality": "swi", "echo_time_ms": 20.0}, "--field"),
    ({"modality": "t1"}, "modality"), ({"modality": "qsm", "bleeds": -1}, "-1 microbleeds")])
def test_bad_settings_are_one_sentence(settings, says):
    with pytest.raises(SettingsError, match=says):
        ImplantSettings(**settings)


class TestFiles:
    @pytest.fixture
    def scan(self, tmp_path):
        volume, brain = head(noise=10.0)
        write_image(tmp_path / "in" / "sub-1_T2star.nii.gz", volume)
        write_image(tmp_path / "in" / "mask.nii.gz", brain.with_data(brain.data.astype(np.uint8)))
        return tmp_path / "in" / "sub-1_T2star.nii.gz"

    def job(self, scan, **given):
        return ImplantJob(**{"folder": scan.parents[1] / "out", "mask": str(scan.with_name("mask.nii.gz")), **given})

    def test_layout_is_that_of_the_data_sets(self, scan):
        write_json(scan.with_name("sub-1_T2star.json"), {"EchoTime": 0.025, "MagneticFieldStrength": 3})
        out = StringIO()
        assert implant_files([str(scan)], self.job(scan), Plain(out)) == 0
        assert out.getvalue().startswith(f"1 scan with implants is in {(scan.parents[1] / 'out').resolve()}; ")
        image = scan.parents[1] / "out" / scan.name
        truth = read_drawn_truth(image, image.with_name("sub-1_T2star_desc-brain_mask.nii.gz"), read_scan(image).volume,
                                 image)
        assert [item.id for item in truth.drawn] == list(range(1, 9)) and truth.microbleeds.data.any()
        said = json.loads(image.with_name("sub-1_T2star.json").read_text())
        assert said["Implanted"] is True and said["EchoTime"] == 0.025 and len(said["things"]) == 8
        assert read_scan(image).metadata["field_strength_t"] == 3

    def test_an_unknown_echo_time_is_asked_for(self, scan, capsys):
        assert implant_files([str(scan)], self.job(scan), Plain()) == 2
        assert "sub-1_T2star.nii.gz: error: The echo time" in capsys.readouterr().err
        assert implant_files([str(scan)], self.job(scan, echo_time_ms=20.0, field_tesla=1.5), Plain()) == 0

    @pytest.mark.parametrize(("given", "said"), [
        ({"bleeds": -1}, "-1 microbleeds"), ({"mimics": 10_000}, "10000 mimics"), ({"echo_time_ms": 0.0}, "of 0 ms"),
        ({"field_tesla": 90.0}, "of 90 T")])
    def test_what_no_scan_can_have_is_refused_before_any_is_read(self, scan, given, said, capsys):
        scan.unlink()
        with pytest.raises(SettingsError, match=said):
            implant_files([str(scan)], self.job(scan, **given), Plain())
        assert not (scan.parents[1] / "out").exists() and capsys.readouterr() == ("", "")

    def test_the_scan_itself_is_never_overwritten(self, scan, capsys):
        before = scan.read_bytes()
        assert implant_files([str(scan)], self.job(scan, folder=scan.parent), Plain()) == 2
        assert "choose another folder" in capsys.readouterr().err and scan.read_bytes() == before

    def test_two_scans_of_one_name_are_refused(self, scan):
        with pytest.raises(InputError, match="same name"):
            implant_files([str(scan), str(scan)], self.job(scan, mask=None), Plain())

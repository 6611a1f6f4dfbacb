"""Testing/Benchmarks/real_and_simulated*.py: figures of drawn foci, AUC of known classes, montages, the whole run."""

import csv
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from microbleeds.errors import InputError
from microbleeds.read_write import write_image, write_label_map
from microbleeds.volume import Volume
from scipy import ndimage

sys.path.insert(0, str(Path(__file__).parents[1] / "Benchmarks"))

import real_and_simulated
import real_and_simulated_classifier as classifier
import real_and_simulated_data as data
import real_and_simulated_features as features
import real_and_simulated_foci as foci
import real_and_simulated_montage as montage
import real_and_simulated_patches as cutting
import real_and_simulated_table as table


def _grid(spacing_mm, extent_mm=(40, 40, 40)):
    shape = tuple(int(extent / size) for extent, size in zip(extent_mm, spacing_mm, strict=True))
    return Volume(np.full(shape, 200.0, np.float32), np.diag([*spacing_mm, 1.0]))


def _ball(grid, centre_mm, diameter_mm):
    places = np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), axis=-1) * grid.spacing
    return np.linalg.norm(places - centre_mm, axis=-1) <= diameter_mm / 2


def _measure(volume, centre, modality="gre", count=0, brain=None):
    brain = np.ones(volume.shape, bool) if brain is None else brain
    return foci.measure_focus(volume, brain, np.array(centre, float), count, np.nan, modality)


@pytest.mark.parametrize(("modality", "flat", "focus"), [("gre", 200, 100), ("qsm", 0.02, 0.42)])
def test_a_drawn_ball_gives_its_contrast_and_diameter(modality, flat, focus):
    grid = _grid((0.5, 0.5, 0.5))
    ball = _ball(grid, (20, 20, 20), 4)
    figures = _measure(grid.with_data(np.where(ball, focus, flat)), (20.4, 19.7, 20), modality, int(ball.sum()))
    contrast = 0.5 if modality == "gre" else 0.4
    assert (figures.inside, figures.extreme, figures.profile[0]) == pytest.approx((contrast,) * 3, abs=1e-6)
    assert figures.drawn_inside == pytest.approx(contrast, abs=0.02)
    assert figures.diameter_mm == pytest.approx(4, rel=0.05)
    assert figures.slices in (8, 9) and figures.roundness > 0.95
    around = 1 if modality == "gre" else 0
    assert figures.profile[4:] == pytest.approx((around,) * 5, abs=1e-6)
    assert (figures.shell_deviation, figures.company, figures.noise) == pytest.approx((0, 0, 0), abs=1e-6)


def test_an_ellipse_in_one_thick_slice_is_not_round_and_shows_on_one_slice():
    grid = _grid((0.5, 0.5, 4))
    places = np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), axis=-1) * grid.spacing - (20, 20, 20)
    ellipse = ((places / (3, 1.5, 2)) ** 2).sum(axis=-1) <= 1
    figures = _measure(grid.with_data(np.where(ellipse, 80, 200)), (20, 20, 20))
    assert figures.slices == 1
    assert figures.roundness == pytest.approx(0.5, abs=0.06)


def test_company_gradient_and_noise_are_those_drawn():
    rng = np.random.default_rng(0)
    grid = _grid((0.7, 0.7, 2))
    noisy = 200 + rng.normal(0, 6, grid.shape)
    lonely = _measure(grid.with_data(noisy), (20, 20, 20))
    assert lonely.noise == pytest.approx(0.03, rel=0.2)
    assert lonely.shell_deviation == pytest.approx(0.03, rel=0.2)
    assert lonely.company == 0
    vessel = np.abs(np.indices(grid.shape)[1] * 0.7 - 20) < 1
    beside = grid.with_data(np.where(vessel, 100, 200))
    assert _measure(beside, (20, 20, 20)).company > 0.1
    assert _measure(beside, (20, 20, 20), brain=~vessel).company == 0
    ramp = 200 + 10 * (np.indices(grid.shape)[0] * 0.7 - 20) - 100 * _ball(grid, (20, 20, 20), 3)
    assert _measure(grid.with_data(ramp), (20, 20, 20)).gradient_per_mm == pytest.approx(0.05, rel=0.1)


def test_the_nearest_focus_is_measured_and_foci_without_brain_are_left_out():
    grid = _grid((1, 1, 2))
    centres = np.array([[12.0, 12, 20], [12, 18, 20], [30, 30, 20]])
    found = foci.measure_foci(grid, np.ones(grid.shape, bool), centres, np.zeros(3, int), "gre")
    assert [figures.nearest_mm for figures in found] == pytest.approx([6, 6, np.hypot(18, 12)])
    assert foci.measure_foci(grid, np.zeros(grid.shape, bool), centres, np.zeros(3, int), "gre") == []


def test_the_table_has_a_row_per_figure_and_the_published_quantiles():
    grid = _grid((1, 1, 2))
    figures = foci.measure_background(grid, np.ones(grid.shape, bool), "gre", 5, np.random.default_rng(0))
    text = table.quantile_table(figures, [], published=True)
    assert len(text.splitlines()) == 2 + len(foci.SCALARS)
    assert "0.060 / 0.21 / 0.35 / 0.56 / 0.67" in text and "real (n=5)" in text


@pytest.mark.parametrize("scores", [classifier.logistic_scores, classifier.network_scores])
def test_auc_is_near_half_for_the_same_distribution_and_1_for_separable_ones(scores, monkeypatch):
    monkeypatch.setattr(classifier, "EPOCHS", 4)
    rng = np.random.default_rng(1)
    patches = _drawn_patches(rng)
    same = _inputs(patches.values, scores)
    assert classifier.cross_validated(patches, same, scores).auc == pytest.approx(0.5, abs=0.12)
    rough = np.where(patches.real[:, None, None], patches.values, ndimage.gaussian_filter(patches.values, (0, 1, 1)))
    assert classifier.cross_validated(patches, _inputs(rough, scores), scores).auc > 0.98


def _drawn_patches(rng, count=288):
    scan = np.array([f"scan {number % 12}" for number in range(count)])
    return cutting.Patches(rng.normal(1, 0.1, (count, 14, 14)).astype(np.float32), scan,
                           np.arange(count) % 12 < 6, rng.uniform(-40, 40, count))


def _inputs(values, scores):
    return features.feature_table(values)[0] if scores is classifier.logistic_scores else values.astype(np.float32)


def test_auc_counts_pairs_and_half_of_the_ties():
    real = np.array([True, True, False, False])
    assert classifier.auc(np.array([3.0, 2, 1, 0]), real) == 1
    assert classifier.auc(np.array([3.0, 1, 2, 0]), real) == 0.75
    assert classifier.auc(np.zeros(4), real) == 0.5


def test_no_scan_is_on_both_sides_of_a_fold_and_few_scans_are_cut_into_halves():
    patches = _drawn_patches(np.random.default_rng(0))
    left_out = list(classifier.folds(patches))
    assert [name for name, _, _ in left_out] == [f"scan {number}" for number in range(6)]
    for _, train, test in left_out:
        assert not set(patches.scan[train]) & set(patches.scan[test])
    few = replace(patches, scan=np.where(patches.real, "only", patches.scan))
    for _, train, test in classifier.folds(few):
        gap_mm = np.subtract.outer(few.above_mm[train], few.above_mm[test])
        assert np.abs(gap_mm).min() >= 2 * classifier.MIDDLE_MM
        assert len(set(np.sign(few.above_mm[test]))) == 1


def test_the_feature_that_differs_betrays_the_simulation():
    patches = _drawn_patches(np.random.default_rng(0))
    noise = np.where(patches.real, 1, 2)[:, None, None] * (patches.values - 1) + 1
    worst = {row[0]: row[1] for row in classifier.betrayals(*features.feature_table(noise), patches.real)}
    assert worst["noise"] < 0.02 and worst["deviation"] < 0.02
    assert 0.4 < worst["skewness"] < 0.6


def test_patches_keep_neither_scale_nor_voxel_size_nor_mask():
    coarse, fine = (_scan(_scene(spacing)) for spacing in ((1, 1, 3), (0.5, 0.5, 3)))
    grid_mm = cutting.common_grid_mm([coarse, fine])
    assert grid_mm == pytest.approx(1.2)
    one, other = (cutting.foci_patches(scan, grid_mm, np.random.default_rng(0)).values for scan in (coarse, fine))
    assert one.shape == (cutting.SHIFTS, 20, 20)
    assert np.abs(one - other).max() < 0.05 < one.std()
    brighter = replace(coarse, volume=coarse.volume.with_data(coarse.volume.data * 30))
    assert cutting.foci_patches(brighter, grid_mm, np.random.default_rng(0)).values == pytest.approx(one, abs=1e-4)
    known = np.ones((4, 4), bool)
    known[0] = False
    assert cutting.normalised(np.full((4, 4), 7.0), known, "gre") == pytest.approx(1)
    assert cutting.normalised(np.full((4, 4), 0.2), known, "qsm") == pytest.approx(0)


def _scene(spacing_mm):
    grid = _grid(spacing_mm, (60, 60, 12))
    across, along, _ = np.indices(grid.shape) * grid.spacing[:, None, None, None]
    return grid.with_data((200 + 60 * np.sin(across / 3) * np.cos(along / 4)).astype(np.float32))


def _scan(volume, name="scan", real=True, modality="gre"):
    return data.Labelled(name, modality, volume, np.ones(volume.shape, bool), np.array([[30.0, 30, 6]]), np.array([9]),
                         real, True)


def test_montages_have_the_expected_size_and_the_key_is_right(tmp_path):
    rng = np.random.default_rng(0)
    real = [np.full((montage.TILE, montage.TILE), 200, np.uint8)] * 7
    made = [np.full((montage.TILE, montage.TILE), 90, np.uint8)] * 7
    montage.write_montages("gre", [(real, made)], tmp_path, rng)
    cell = montage.TILE + montage.GAP
    picture = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "montage_gre.png")))
    assert picture.shape == (2 * cell, 2 * montage.COLUMNS * cell + montage.BAR)
    blind = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "montage_blind_gre.png")))
    assert blind.shape == (2 * cell, 2 * montage.COLUMNS * cell)
    with (tmp_path / "montage_blind_gre_key.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert sorted(row["kind"] for row in rows) == ["real"] * 7 + ["simulated"] * 7
    for row in rows:
        shown = blind[(int(row["line"]) - 1) * cell + 5, (int(row["column"]) - 1) * cell + 5]
        assert shown == (200 if row["kind"] == "real" else 90)


def test_swi_of_a_crop_darkens_veins_whatever_the_sign_of_the_stored_phase():
    rng = np.random.default_rng(0)
    grid = _grid((0.5, 0.5, 1), (24, 24, 10))
    vein = _ball(grid, (12, 12, 5), 3)
    magnitude = grid.with_data(np.where(vein, 150, 200) + rng.normal(0, 1, grid.shape))
    phase = np.where(vein, -0.002, 0) + np.where(np.indices(grid.shape)[0] == 0, 0.004, 0)
    weighted = data.susceptibility_weighted(magnitude, phase)
    assert weighted[vein].mean() < 0.5 * weighted[~vein].mean()
    assert data.susceptibility_weighted(magnitude, -phase) == pytest.approx(weighted, rel=1e-4)


def test_bright_bodies_are_small_and_compact():
    grid = _grid((1, 1, 2))
    image = np.where(_ball(grid, (10, 10, 20), 5) | _ball(grid, (25, 25, 20), 20), 0.4, 0)
    image[30:, 2, 3] = 0.4
    centres, counts = data.bright_bodies(grid.with_data(image), np.ones(grid.shape, bool))
    assert centres == pytest.approx(np.array([[10, 10, 20]]), abs=1)
    assert counts.shape == (1,)


def test_the_whole_comparison_writes_report_and_montages(tmp_path, monkeypatch):
    for name, value in (("TISSUE_PATCHES", 60), ("LEAST_PER_SCAN", 8), ("BACKGROUND_SHELLS", 20), ("MONTAGE", 5)):
        monkeypatch.setattr(real_and_simulated, name, value)
    monkeypatch.setattr(classifier, "EPOCHS", 1)
    _write_real(tmp_path / "real", np.random.default_rng(0))
    _write_permissive(tmp_path / "permissive", np.random.default_rng(1))
    _write_simulated(tmp_path / "simulated", np.random.default_rng(2))
    text = real_and_simulated.compare(tmp_path / "real", tmp_path / "permissive", tmp_path / "simulated",
                                      tmp_path / "out")
    assert text == (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    for expected in ("## T2*-GRE", "## SWI", "## QSM", "one of 3 real scans", "too few real scans",
                     "What betrays the simulation"):
        assert expected in text
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert {f"montage_{kind}{name}.png" for kind in ("", "blind_") for name in ("gre", "swi", "qsm", "permissive")
            } < written
    with pytest.raises(InputError, match="give a simulated data set"):
        list(data.simulated_scans(tmp_path, "gre"))


def _head(rng, modality, masked=True):
    """Draw a noisy head of 1 x 1 x 3 mm with three foci; return it, its brain, its foci and their centres."""
    grid = Volume(np.zeros((64, 64, 12), np.float32), np.diag([1, 1, 3, 1.0]))
    brain = _ball(grid, (32, 32, 16), 58)
    centres = np.array([[26.0, 30, 12], [38, 36, 15], [30, 26, 21]])
    truth = sum(number * _ball(grid, centre, 4) for number, centre in enumerate(centres, 1))
    values = rng.normal(0, 0.02, grid.shape) + 0.3 * (truth > 0) if modality == "qsm" else \
        rng.normal(200, 10, grid.shape) * np.where(truth > 0, 0.5, 1)
    image = grid.with_data((values * (brain if masked else 1)).astype(np.float32))
    return image, brain, truth.astype(np.int32), centres


def _write_real(folder, rng):
    rows = ["subject,label,i,j,k,R_mm,A_mm,S_mm,expert_voxels,equivalent_diameter_mm"]
    for subject in ("sub-101", "sub-102", "sub-103"):
        image, _, _, centres = _head(rng, "gre")
        (folder / "valdo_t2star" / subject).mkdir(parents=True)
        write_image(folder / "valdo_t2star" / subject / f"{subject}_space-T2S_desc-masked_T2S.nii.gz", image)
        rows += [f"{subject},1,0,0,0,{r},{a},{s},12,3" for r, a, s in centres]
    (folder / "valdo_t2star" / "expert_centres.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    (folder / "qsm").mkdir()
    for name in ("haemorrhage_qsm", "healthy_cosmos_chi"):
        write_image(folder / "qsm" / f"{name}.nii.gz", _head(rng, "qsm")[0])


def _write_permissive(folder, rng):
    (folder / "mriresearchtools").mkdir(parents=True)
    for name, values in (("Mag", rng.normal(200, 10, (3, 20, 51, 51))), ("Phase", rng.uniform(-4, 4, (3, 20, 51, 51)))):
        parts = [sitk.GetImageFromArray(part.astype(np.float32)) for part in values]
        for part in parts:
            part.SetSpacing((0.5, 0.5, 1))
        sitk.WriteImage(sitk.JoinSeries(parts), str(folder / "mriresearchtools" / f"{name}.nii"))


def _write_simulated(folder, rng):
    columns = ("id", "kind", "R_mm", "A_mm", "S_mm", "source_diameter_mm", "visible_diameter_mm", "visible",
               "susceptibility_ppm", "region")
    for number in (1, 2, 3):
        anat = folder / f"sub-{number:04d}" / "anat"
        anat.mkdir(parents=True)
        for modality, name in data.STEMS.items():
            image, brain, truth, centres = _head(rng, modality, masked=False)
            stem = f"sub-{number:04d}_{name}"
            write_image(anat / f"{stem}.nii.gz", image)
            write_label_map(anat / f"sub-{number:04d}_desc-brain_mask.nii.gz", image.with_data(brain.astype(np.int32)))
            write_label_map(anat / f"{stem}_desc-cmb_truth.nii.gz", image.with_data(truth))
            rows = [columns, *((place, "microbleed", *centre, 2, 4, int(place != 3), 1, "lobar")
                               for place, centre in enumerate(centres, 1)), (9, "vein", 0, 0, 0, 1, 1, 1, 0.2, "x")]
            (anat / f"{stem}_desc-truth.tsv").write_text("".join("\t".join(map(str, row)) + "\n" for row in rows),
                                                         encoding="utf-8")
    scans = list(data.simulated_scans(folder, "gre"))
    assert [len(scan.centres_ras) for scan in scans] == [2, 2, 2]
    assert (scans[0].voxel_counts > 5).all()

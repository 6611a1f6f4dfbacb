"""Imports inside the engine go downward only, those inside functions too, and heavy packages stay in few files."""

import ast
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "CMBDetection" / "microbleeds"
LAYERS = {
    "words of the domain": "calibration errors ordinary_files nifti_header orientation volume regions findings "
                           "settings resources progress subject_names",
    "tools": "model_folders geometry components conspicuity point_regions probe image_files dicom_series read_write "
             "radial_symmetry reference_symmetry networks reference_networks tiling reference_tiling weight_files "
             "weights reference_import coarse_network region_lookup",
    "parts of step 0": "modality intensity bias_field brain_mask head_atlas tissue_mixture region_anatomy region_map",
    "the method": "step0_prepare reference_prepare step1_candidates step2_classify step3_cleanup assemble pipeline",
    "results": "slicer_points review_files region_codes outputs review_log review_sidecar reviewed_case "
               "work_list snapshots report case_files stored_review subject_counts rigid_registration longitudinal "
               "batch",
    "simulation": "simulation.anatomy simulation.region_rules simulation.shapes simulation.protocol "
                  "simulation.susceptibility simulation.image_formation simulation.weighted_images simulation.qsm "
                  "simulation.deformation simulation.tissue simulation.surroundings simulation.vessel_growth "
                  "simulation.vessels simulation.nuclei simulation.bleeds simulation.mimics simulation.subject "
                  "simulation.truth simulation.simulate simulation.data_set simulation.implant_sites "
                  "simulation.implant simulation.implant_files simulation.sample_scan",
    "evaluation": "evaluation.matching evaluation.metrics evaluation.cases evaluation.intervals "
                  "evaluation.reliability evaluation.curves "
                  "evaluation.drawn_truth evaluation.by_kind evaluation.evaluate",
    "training": "training.labelled_scans training.label_maps training.layouts_folders "
                "training.layouts_simulated training.layouts_public training.layouts_reviews training.layouts "
                "training.check_data_set training.splits training.training_settings training.cases training.augment "
                "training.sampling training.losses training.precision training.fit training.work_clock "
                "training.mining training.batches training.stages training.fit_calibration training.scoring "
                "training.operating_points training.export training.train training.crossvalidate training.finetune "
                "training.simulated_sets "
                "training.coarse_training training.brain_mask_images training.train_brain_mask training.region_scans "
                "training.region_images "
                "training.train_region_map training.make_head_atlas",
    "export": "export.region_diagram export.guards export.table_cells export.tables export.pair_answers "
              "export.cohort_table export.label_files export.point_files "
              "export.bids export.dicom_codes export.dicom_seg export.dicom_sr export.dicom_objects "
              "export.report_content export.page export.pdf export.training_set export.nnunet export.formats "
              "import_files import_review",
    "cohort": "cohort.inputs cohort.records cohort.plan cohort.quality cohort.process cohort.child cohort.cluster "
              "cohort.failures cohort.run cohort.outliers cohort.page cohort.group",
    "doors": "command_options cohort_commands export_commands import_commands models_command training_commands cli "
             "__main__",
}
ORDER = [name for layer in LAYERS.values() for name in layer.split()]
FILES = {".".join(path.relative_to(PACKAGE).with_suffix("").parts): path for path in sorted(PACKAGE.rglob("*.py"))
         if path.name != "__init__.py"}

WITH_TORCH = {"networks", "reference_networks", "weight_files", "weights", "reference_import", "tiling",
              "reference_tiling",
              "brain_mask", "head_atlas", "region_anatomy", "region_map", "coarse_network", "step1_candidates",
              "step2_classify", "pipeline"}
ALLOWED = {"numpy", "scipy", "SimpleITK", "torch"}
OPTIONAL = {"export.pdf": {"reportlab", "PIL"}, "cohort.cluster": {"dask", "distributed"},
            **dict.fromkeys(("export.dicom_codes", "export.dicom_seg", "export.dicom_sr", "export.dicom_objects"),
                            {"highdicom", "pydicom"})}
"""What a file needs that is not always installed; `export.formats` and `cohort.cluster` say so."""


def imports_of(name):
    """Return what a file imports: names in `ORDER`, and names of other packages."""
    inside, outside = set(), set()
    parents = name.split(".")[:-1]
    for node in ast.walk(ast.parse(FILES[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = [*(["microbleeds"] + parents)[:len(parents) + 2 - node.level]] if node.level else []
            base += node.module.split(".") if node.module else []
            names = [".".join(base)] + [".".join([*base, alias.name]) for alias in node.names]
        else:
            continue
        for full in names:
            package, _, rest = full.partition(".")
            if package != "microbleeds":
                outside.add(package)
            elif rest in ORDER:
                inside.add(rest)
    return inside, outside


def test_every_file_has_a_place():
    assert sorted(FILES) == sorted(ORDER)


@pytest.mark.parametrize("name", FILES)
def test_imports_go_down(name):
    inside, _ = imports_of(name)
    assert not [other for other in inside if ORDER.index(other) >= ORDER.index(name)]


@pytest.mark.parametrize("name", FILES)
def test_other_packages_are_few(name):
    _, outside = imports_of(name)
    others = outside - set(sys.stdlib_module_names) - OPTIONAL.get(name, set())
    assert others <= ALLOWED
    if not name.startswith("training."):
        assert "torch" not in others or name in WITH_TORCH


def test_imports_are_seen_in_every_form():
    assert "read_write" in imports_of("evaluation.evaluate")[0]
    assert "evaluation.evaluate" in imports_of("cli")[0]
    assert "simulation.anatomy" in imports_of("simulation.bleeds")[0]

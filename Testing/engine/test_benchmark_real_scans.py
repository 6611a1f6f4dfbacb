"""The benchmark on real scans, on drawn scans in the same folders: figures, what is missing, what is not made again."""

import argparse
import sys
from pathlib import Path

import numpy as np
import pytest
from benchmark_phantoms import AFFINE, MISSED, NOWHERE, SEEN, SHAPE, place_ras, write_found
from microbleeds.errors import InputError
from microbleeds.read_write import write_image
from microbleeds.volume import Volume

sys.path.append(str(Path(__file__).resolve().parents[1] / "Benchmarks"))
import real_scans
import simulated

LABELLED = "valdo_t2star/{0}/{0}_space-T2S_desc-masked_T2S.nii.gz"
OTHERS = ("qsm/healthy_cosmos_chi.nii.gz", "qsm/healthy_tissue_phase.nii.gz", "qsm/haemorrhage_qsm.nii.gz",
          "unlabelled/a.nii.gz", "valdo_t2star/sub-1/skull_stripped/sub-1_space-T2S_desc-masked_T2S.nii.gz")


def draw_image(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(len(str(path)))
    write_image(path, Volume(rng.normal(500, 20, SHAPE).astype(np.float32), AFFINE))


@pytest.fixture
def data(tmp_path):
    """Two labelled scans: the first has two microbleeds, the second one."""
    folder = tmp_path / "real"
    for name in (LABELLED.format("sub-1"), LABELLED.format("sub-2"), *OTHERS):
        draw_image(folder / name)
    rows = [("sub-1", SEEN), ("sub-1", MISSED), ("sub-2", SEEN)]
    (folder / "valdo_t2star" / "expert_centres.csv").write_text(
        "subject,label,R_mm,A_mm,S_mm,equivalent_diameter_mm\n"
        + "".join(",".join(map(str, (subject, 1, *place_ras(at), 3.0))) + "\n" for subject, at in rows))
    return folder


class FakeDetection:
    """Stands for the child process: finds two things surely at both points, and a third at the sensitive one."""

    def __init__(self):
        self.asked = []

    def __call__(self, command, env, check):
        images = command[command.index("detect") + 1:command.index("-o")]
        folder, point = (command[command.index(option) + 1] for option in ("-o", "--operating-point"))
        for image in map(Path, images):
            self.asked.append(image.name)
            write_found(image, Path(folder), [(SEEN, 0.9), (NOWHERE, 0.8), (MISSED, 0.4)], point,
                        0.3 if point == "sensitive" else 0.5)


@pytest.fixture
def fake(monkeypatch):
    detection = FakeDetection()
    monkeypatch.setattr(simulated.subprocess, "run", detection)
    monkeypatch.setattr("microbleeds.weights.load_model", lambda name: argparse.Namespace(name=name, sha256="a" * 64))
    return detection


def run(data, tmp_path):
    return real_scans.main(["--data", str(data), "--model", "m", "--work", str(tmp_path / "work")])


def test_figures_of_all_groups(data, fake, tmp_path, capsys):
    assert run(data, tmp_path) == 0
    out = capsys.readouterr().out
    balanced, sensitive = (out[out.index(f"## Labelled T2*-GRE, {point}"):] for point in ("balanced", "sensitive"))
    assert "| sub-1_space-T2S_desc-masked_T2S | gre | 2 | 2 | 3 | 1 | 1 | 0.50 | 1 | 1 | 0.50 |" in balanced
    assert "Step 1 alone finds 3 of 3 (distance rule), with 3.0 candidates per scan." in balanced
    assert "| 2 of 3 | 0.67 [0.50, 1.00] | 1.00 [1.00, 1.00] | 0.50 [0.50, 0.50] |" in balanced.split("## Labelled")[1]
    assert "| 3 of 3 | 1.00 [1.00, 1.00] | 1.50 [1.00, 2.00] |" in sensitive
    assert "| final | 0.67 | 0.67 | 1.00 |" in out
    assert "| healthy_tissue_phase.nii.gz | gre | 3 | 2 | 3 |" in out and "| mean per scan |  |  | 2.00 | 3.00 |" in out
    assert "Evaluation only" in out and "Not there" not in out
    assert (tmp_path / "work" / "m-aaaaaaaa" / "real_scans.md").read_text(encoding="utf-8") in out
    assert run(data, tmp_path) == 0 and len(fake.asked) == 14


def test_what_is_missing_is_named_and_the_rest_measured(data, fake, tmp_path, capsys):
    for name in (LABELLED.format("sub-2"), *OTHERS[1:3]):
        (data / name).unlink()
    assert run(data, tmp_path) == 0
    out = capsys.readouterr().out
    assert "left out: the scan of sub-2, qsm/healthy_tissue_phase.nii.gz, qsm/haemorrhage_qsm.nii.gz." in out
    assert "| 1 of 2 |" in out and "healthy_cosmos_chi" in out


def test_a_scan_that_fails_is_told(data, fake, tmp_path, capsys, monkeypatch):
    def without_healthy(command, env, check):
        if not any("healthy" in part for part in command):
            fake(command, env, check)

    monkeypatch.setattr(simulated.subprocess, "run", without_healthy)
    assert run(data, tmp_path) == 0
    out = capsys.readouterr().out
    assert "The detection failed on 2 of 2 images, healthy_cosmos_chi.nii.gz" in out
    assert "## Healthy" not in out and "## Labelled" in out


def test_a_folder_without_any_of_them_is_refused(tmp_path):
    with pytest.raises(InputError, match="holds none of the real scans"):
        real_scans.find_scans(tmp_path)


def test_nothing_goes_into_the_repository(data, fake, capsys):
    inside = Path(real_scans.__file__).with_name("results")
    assert real_scans.main(["--data", str(data), "--model", "m", "--work", str(inside)]) == 2
    assert "lies in the repository" in capsys.readouterr().err and not fake.asked and not inside.exists()

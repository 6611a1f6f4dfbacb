"""Training cases: simulated scans and implanted crops on the working grid, with their microbleeds."""

import numpy as np
import SimpleITK as sitk
from microbleeds.training.cases import load_case, make_case, make_crop_case
from simulation_phantoms import toy_labels, write_labels


def test_a_case_shows_its_microbleeds_bright(tmp_path):
    labels = write_labels(tmp_path / "toy.nii.gz", toy_labels())
    make_case(0, 1, [labels], tmp_path)
    case = load_case(tmp_path / "case-0000.npz")
    assert (case.modality, case.subject) == ("gre", "toy.nii.gz")
    assert case.image.shape == case.truth.shape == case.brain.shape
    assert len(np.unique(case.truth)) > 5
    image = case.image.astype(np.float32)
    inside, around = image[case.truth > 0], image[case.brain & (case.truth == 0)]
    assert inside.mean() > around.mean() + around.std()


def test_microbleeds_are_implanted_into_the_last_echo_of_a_crop(tmp_path):
    rng = np.random.default_rng(0)
    echoes = 500 + 15 * rng.standard_normal((3, 30, 60, 60))
    echoes[2] += 100
    image = sitk.GetImageFromArray(echoes.astype(np.float32), isVector=False)
    image.SetSpacing((0.7, 0.7, 1.0, 1.0))
    crop = tmp_path / "scan" / "Mag.nii.gz"
    crop.parent.mkdir()
    sitk.WriteImage(image, str(crop))
    make_crop_case(0, 1, [crop], tmp_path)
    case = load_case(tmp_path / "crop-0000.npz")
    assert (case.modality, case.subject) == ("gre", "scan")
    assert 1 <= len(np.unique(case.truth)) - 1 <= 5

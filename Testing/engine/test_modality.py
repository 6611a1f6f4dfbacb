"""Modality from values, names and image evidence."""

import numpy as np
import pytest
from microbleeds.modality import decide_modality
from microbleeds.volume import Volume


def scan(kind="gre", slice_mm=1.5):
    """Draw a noisy brain in its mask: magnitude, magnitude with dark veins, or signed susceptibility."""
    rng = np.random.default_rng(0)
    shape = (48, 48, 40)
    mask = np.zeros(shape, bool)
    mask[6:-6, 6:-6, 4:-4] = True
    data = rng.normal(200, 12, shape)
    if kind == "swi":
        data[::6, ::6] *= 0.4
    if kind == "qsm":
        data = rng.normal(0.002, 0.03, shape)
    volume = Volume((data * mask).astype(np.float32), np.diag([0.8, 0.8, slice_mm, 1]))
    return volume, volume.with_data(mask)


@pytest.mark.parametrize(("name", "expected"), [
    ("sub-01_swi", "swi"), ("mySWI2_brain", "swi"), ("3D_SWIp", "swi"), ("ep_mIP", "swi"), ("VEN_BOLD", "swi"),
    ("Susceptibility weighted", "swi"), ("sub-107_space-T2S_desc-masked_T2S", "gre"), ("T2starw", "gre"),
    ("t2_fl2d_tra_hemo", "gre"), ("Ax T2* GRE", "gre"), ("T2-FFE", "gre"), ("sub-1_part-mag_MEGRE", "gre"),
])
def test_names_of_magnitude_images(name, expected):
    volume, brain = scan()
    modality, reason = decide_modality(volume, brain, name, {})
    assert modality == expected
    assert reason.startswith("The file name says “") and reason.endswith(".")


@pytest.mark.parametrize("name", ["sub-01_qsm", "healthy_cosmos_chi", "Chimap", "susceptibility_map", "scan"])
def test_signed_values_are_qsm(name):
    volume, brain = scan("qsm")
    assert decide_modality(volume, brain, name, {})[0] == "qsm"
    assert decide_modality(volume, None, name, {})[0] == "qsm"


@pytest.mark.parametrize("name", ["china", "swift", "greta", "flower", "chip01", "magic", "image"])
def test_words_inside_words_say_nothing(name):
    volume, brain = scan(slice_mm=4)
    assert decide_modality(volume, brain, name, {}) == ("gre", "Nothing names it and its slices are 4 mm thick, as in "
                                                        "T2*-GRE.")


def test_metadata_after_the_name():
    volume, brain = scan()
    metadata = {"series_description": "SWI_Images", "protocol_name": "t2_gre", "echo_time_ms": 20.0}
    assert decide_modality(volume, brain, "IM0001", metadata) == ("swi", "The series description says “swi” (SWI).")
    assert decide_modality(volume, brain, "IM0001_gre", metadata)[0] == "gre"
    assert decide_modality(volume, brain, "x", {"image_type": "ORIGINAL\\PRIMARY\\M\\SWI"})[0] == "swi"
    assert decide_modality(volume, brain, "x", {"sequence_name": "*swi3d1r"})[0] == "swi"
    assert decide_modality(volume, brain, "x", {"sequence_name": None, "protocol_name": ""})[0] == "gre"


def test_values_overrule_names():
    chi, brain = scan("qsm")
    modality, reason = decide_modality(chi, brain, "sub-01_swi", {})
    assert modality == "qsm" and "signed around zero" in reason and "swi" in reason
    magnitude, brain = scan("gre")
    modality, reason = decide_modality(magnitude, brain, "sub-01_QSM", {})
    assert modality == "gre" and "no negative values" in reason


def test_dark_veins_on_thin_slices_are_swi():
    assert decide_modality(*scan("swi"), "x", {})[0] == "swi"


@pytest.mark.parametrize("arguments", [("gre", 1.5), ("swi", 2.2)])
def test_undecided_says_so(arguments):
    modality, reason = decide_modality(*scan(*arguments), "x", {})
    assert modality == "gre" and "undecided" in reason and "treated as GRE" in reason


def test_without_mask_thin_slices_are_undecided():
    volume, _ = scan("swi")
    assert "undecided" in decide_modality(volume, None, "x", {})[1]


def test_a_few_negative_voxels_do_not_make_qsm():
    volume, brain = scan()
    data = volume.data.copy()
    data[20:24, 20:24] *= -1
    assert decide_modality(volume.with_data(data), brain, "x", {})[0] == "gre"


def test_one_hot_voxel_and_empty_images():
    volume, brain = scan("swi")
    data = volume.data.copy()
    data[24, 24, 20] = 1e9
    assert decide_modality(volume.with_data(data), brain, "x", {})[0] == "swi"
    assert decide_modality(volume.with_data(0 * data), brain, "x", {})[0] == "gre"
    assert decide_modality(volume, brain.with_data(brain.data & False), "x", {})[0] == "gre"

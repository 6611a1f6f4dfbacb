"""The published weights of MicrobleedNet, from the authors' files to a model folder of ours.

Two files make a model: the detector (``..._cdet_model_weights.pth``) and the student
(``..._cdisc_student_model_weights.pth``). Accepted too are the variants ``..._model.pth``, of which the weights are
one entry (``model_state_dict``), those of 2023 (``Microbleednet_cdet_model.pth``), and keys that begin with
``module.``, as networks saved from several graphics cards have. The teacher's files are not needed.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .errors import ModelError
from .model_folders import CARD, DETECTION, new_user_model
from .read_write import write_json
from .reference_networks import ReferenceDetector, ReferenceStudent
from .weight_files import load_content, read_content, require_plain
from .weights import REFERENCE, load_model, outline

_NETWORKS: dict[str, type[nn.Module]] = {"detector": ReferenceDetector, "student": ReferenceStudent}
_FILE_NAMES = {"detector": "..._cdet_model_weights.pth", "student": "..._cdisc_student_model_weights.pth"}
# the keys by which a file tells what it holds; the teacher's segmentor has those of the detector
_SIGNS = {"outconv.conv.weight": "the detector or the teacher's segmentor", "classconvfirst.single_conv.0.weight":
          "the student", "convfirst.single_conv.0.weight": "the teacher's classification head"}
_LIMITS = {
    "prepare": {"correct_bias": True},
    "cleanup": {"min_volume_mm3": 2.5, "max_diameter_mm": None, "min_edge_distance_mm": 5.0, "max_linearity": None}}


def _operating_point(detector_threshold: float, student_threshold: float) -> dict[str, Any]:
    return {**_LIMITS, "candidates": {"threshold": detector_threshold}, "classify": {"threshold": student_threshold}}


OPERATING_POINTS = {"balanced": _operating_point(0.2, 0.5), "sensitive": _operating_point(0.2, 0.2)}
"""``balanced``: the thresholds of the authors' code, whose student takes the larger logit. ``sensitive``: the lowest
that the paper uses for both stages. Least volume and edge are the paper's (2.5 mm³, 5 mm); the code has 2 and 8 voxels,
whatever their size. The paper does not define its ellipticity; our elongation stands for it."""


def import_reference(paths: Sequence[str | Path], name: str | None = None) -> Path:
    """Read, check and install published weights; return the new model folder.

    Parameters
    ----------
    paths : sequence of path
        The two files, or the folder that holds them; a folder may hold the teacher's files too.
    name : str, optional
        Of the new model; by default what stands before ``_cdet`` in the detector's file name, in lower case.

    Raises
    ------
    ModelError
        If a file is missing, is not what its name says, or a key or shape differs; or if the name is taken.
    """
    files = find_files([Path(path) for path in paths])
    states = {part: read_published(files[part], part) for part in _NETWORKS}
    if name is None:
        name = re.split(r"_?cdet", files["detector"].name, maxsplit=1, flags=re.IGNORECASE)[0].lower() \
            or "microbleednet"
    with new_user_model(name) as folder:
        entries = {part: _write_weights(folder / f"{part}.pt", state) for part, state in states.items()}
        write_json(folder / CARD, {
            "kind": DETECTION, "architecture": REFERENCE, "name": name, "title": f"{name} (MicrobleedNet's authors)",
            "files": entries, "networks": {part: {} for part in _NETWORKS}, "operating_points": OPERATING_POINTS,
            "licence": "not stated by the authors",
            "source": {part: {"file": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
                       for part, path in files.items()}})
        load_model(folder)
        target = folder.parent / name
    return target


def find_files(paths: Sequence[Path]) -> dict[str, Path]:
    """Return the detector's and the student's file among files and folders, by their names.

    Raises
    ------
    ModelError
        If a given file is not one of the two, or if there is not exactly one of each.
    """
    found: dict[str, list[Path]] = {part: [] for part in _NETWORKS}
    for path in paths:
        for file in _weight_files(path):
            part = _part_by_name(file.name)
            if part in found:
                found[part].append(file)
            elif file is path:
                raise ModelError(f"{file} is {part or 'not named as published weights are'}; give "
                                 f"{' and '.join(_FILE_NAMES.values())}, or their folder.")
    where = ", ".join(map(str, paths))
    for part, files in found.items():
        if not files:
            raise ModelError(f"{where} holds no file of the {part}; give {_FILE_NAMES[part]} too.")
        if len(files) > 1:
            raise ModelError(f"There are several files of the {part} ({', '.join(file.name for file in files)}); give "
                             "the two files to import instead of their folder.")
    return {part: files[0] for part, files in found.items()}


def _weight_files(path: Path) -> list[Path]:
    if path.is_dir():
        return sorted(file for file in path.iterdir() if file.suffix.lower() in (".pth", ".pt") and file.is_file())
    if not path.is_file():
        raise ModelError(f"{path} does not exist; give the files of published weights, or their folder.")
    return [path]


def _part_by_name(name: str) -> str | None:
    """Return "detector" or "student", what else a file is, or None for a name that says nothing."""
    name = name.lower()
    if "teacher" in name:
        return "the teacher's, which detection does not use"
    if "cdisc_student" in name:
        return "student"
    return "detector" if "cdet" in name else None


def read_published(path: Path, part: str) -> dict[str, torch.Tensor]:
    """Read one published file and check every key and shape; numbers come back as float32 on the CPU.

    Parameters
    ----------
    path : Path
    part : {"detector", "student"}

    Raises
    ------
    ModelError
        If it cannot be read safely, or does not hold that network.
    """
    try:
        # nothing but tensors and plain values is unpickled: no code of the file runs
        size = len(packed := read_content(path))
        content = load_content(packed)
    except OSError as error:
        raise ModelError(f"{path} cannot be read ({error.strerror}); check the path and its rights.") from error
    except Exception as error:  # torch.load raises many kinds
        raise ModelError(f"{path} is damaged, or holds more than weights and is not loaded for safety; download it "
                         "again.") from error
    if isinstance(content, Mapping) and isinstance(content.get("model_state_dict"), Mapping):
        content = content["model_state_dict"]
    if not isinstance(content, Mapping) or not content \
            or not all(isinstance(key, str) and isinstance(value, torch.Tensor) for key, value in content.items()):
        raise ModelError(f"{path} does not hold the weights of a network; give {_FILE_NAMES[part]}.")
    state = {key.removeprefix("module."): value for key, value in content.items()}
    try:
        require_plain(state.values(), size)
    except ValueError as error:
        raise ModelError(f"{path} is damaged ({error}); download it again.") from error
    _check(state, path, part)
    return {key: value.float() if value.is_floating_point() else value for key, value in state.items()}


def _check(state: Mapping[str, torch.Tensor], path: Path, part: str) -> None:
    expected = {key: tuple(shape) for key, shape in outline(_NETWORKS[part]).items()}
    missing = [key for key in expected if key not in state]
    unknown = [key for key in state if key not in expected]
    if missing or unknown:
        holds = next((kind for key, kind in _SIGNS.items() if key in state), None)
        if holds and part not in holds:
            raise ModelError(f"{path} holds {holds}, not the {part}; give {_FILE_NAMES[part]}.")
        faults = [f"{len(keys)} {word}, first {keys[0]}" for word, keys in (("missing", missing),
                                                                           ("unknown", unknown)) if keys]
        raise ModelError(f"{path} does not have the layers of the {part} ({'; '.join(faults)}): it is of another "
                         "version or damaged, so give the published file.")
    for key, shape in expected.items():
        found = state[key]
        if tuple(found.shape) != shape:
            raise ModelError(f"{path} has another {part}: {key} is {tuple(found.shape)} and not {shape}; give the "
                             "published file.")
        if not torch.isfinite(found).all():
            raise ModelError(f"{path} is damaged: {key} holds numbers that are not finite; download it again.")


def _write_weights(path: Path, state: Mapping[str, torch.Tensor]) -> dict[str, str]:
    """Write a state dict; return its entry for the card."""
    torch.save(dict(state), path)
    return {"file": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}

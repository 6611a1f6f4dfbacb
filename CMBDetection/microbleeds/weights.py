"""Trained models: a folder with a card (``model.json``) and the weights it names, checked before they are loaded.

The card of a detection model::

    {"kind": "detection", "name": "physics-0.3", "title": "...",
     "files": {"detector": {"file": "detector.pt", "sha256": "..."}, "student": {...}},
     "networks": {"detector": {"width": 16, "classes": 4}, "student": {"width": 16}},
     "calibration": {"student": 0.8, "detector": 0.3, "offset": -1.2},
     "operating_points": {"balanced": {"candidates": {"threshold": 0.3}}, "sensitive": {}}}

``"architecture": "reference"`` says that the networks are MicrobleedNet's (`reference_networks`), whose size is fixed
(``{}``), and that scans are prepared for them in its way (`reference_prepare`). Without it the networks are ours.
Without ``"calibration"`` the probability is the student's own.
"""

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .calibration import Calibration
from .errors import ModelError, SettingsError
from .model_folders import CARD, DEFAULT_ARCHITECTURE, DETECTION, find_model, read_card
from .networks import Detector, Student
from .reference_networks import ReferenceDetector, ReferenceStudent
from .settings import Settings
from .weight_files import load_content, read_content, require_finite, require_plain

DEFAULT_MODEL = "physics-0.3"
REFERENCE = "reference"
_LARGEST_SIZE = 1024
"""Channels of the finest level, or classes."""
_NETWORKS: dict[str, dict[str, type[nn.Module]]] = {
    DEFAULT_ARCHITECTURE: {"detector": Detector, "student": Student},
    REFERENCE: {"detector": ReferenceDetector, "student": ReferenceStudent}}


@dataclass(frozen=True, eq=False)
class Model:
    """The networks of one model, in eval mode, and its settings.

    Attributes
    ----------
    name : str
    sha256 : str
        Of the two weight files after one another, detector first.
    detector, student : nn.Module
    operating_points : dict
        Settings by the name of the operating point.
    calibration : Calibration
        Of the probability of a finding.
    architecture : {"microbleeds", "reference"}
        Whose networks they are; decides how a scan is prepared for them.
    """

    name: str
    sha256: str
    detector: nn.Module
    student: nn.Module
    operating_points: dict[str, Settings]
    calibration: Calibration = Calibration()
    architecture: str = DEFAULT_ARCHITECTURE

    def settings(self, operating_point: str) -> Settings:
        """Return the settings of an operating point.

        Raises
        ------
        SettingsError
            If the model has none of that name.
        """
        if operating_point not in self.operating_points:
            raise SettingsError(f"The model {self.name} has no operating point {operating_point!r}; choose one of "
                                f"{', '.join(self.operating_points)}.")
        return self.operating_points[operating_point]


def load_model(name_or_folder: str | Path = DEFAULT_MODEL) -> Model:
    """Load a model by its name among those that are installed, or from its folder.

    Raises
    ------
    ModelError
        If it is missing or damaged, or not a detection model; the sentence names the file and what to do.
    """
    folder = find_folder(name_or_folder)
    card = read_card(folder)
    if card.get("kind") != DETECTION:
        raise ModelError(f"{folder / CARD} is not the card of a detection model; choose another model.")
    try:
        files, sizes = card["files"], card["networks"]
        architecture = card.get("architecture", DEFAULT_ARCHITECTURE)
        networks = _NETWORKS[architecture]
        points = {str(name): Settings.from_json(value) for name, value in card["operating_points"].items()}
        makers = {part: partial(network, **sizes[part]) for part, network in networks.items()}
        for number in (number for part in networks for number in sizes[part].values()):
            if type(number) is not int or not 1 <= number <= _LARGEST_SIZE:
                raise ValueError(f"a network of the size {number!r}")
        outlines = {part: outline(make) for part, make in makers.items()}
        entries = [files[part] for part in networks]
        calibration = Calibration(**{part: float(value) for part, value in card.get("calibration", {}).items()})
        if not all(map(math.isfinite, vars(calibration).values())):
            raise ValueError(f"a calibration of {calibration}")
        name = str(card["name"])
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError, ArithmeticError, SettingsError) as error:
        raise ModelError(f"{folder / CARD} is not a complete card ({type(error).__name__}: {error}); correct it or use "
                         "another model.") from error
    made = {}
    for part, entry in zip(networks, entries, strict=True):
        state = read_checked_state(folder, entry)
        if {key: value.shape for key, value in state.items()} != outlines[part]:
            raise ModelError(f"{folder / entry['file']} does not hold the {part} network that {CARD} describes; train "
                             "it again or use another model.")
        # made only now: its size is that of the file
        made[part] = makers[part]()
        made[part].load_state_dict(state)
    digest = hashlib.sha256(b"".join((folder / entry["file"]).read_bytes() for entry in entries)).hexdigest()
    return Model(name, digest, made["detector"].eval(), made["student"].eval(), points, calibration,
                 architecture)


def outline(make: Callable[[], nn.Module]) -> dict[str, torch.Size]:
    """Return the shapes of the weights of a network without making it: a card may ask for one of any size."""
    with torch.device("meta"):
        return {key: value.shape for key, value in make().state_dict().items()}


def read_checked_state(folder: Path, entry: dict[str, Any]) -> dict[str, torch.Tensor]:
    """Read a state dict whose file and SHA-256 stand in a card, ``{"file": ..., "sha256": ...}``.

    Numbers stored as float16 to save space come back as float32.

    Raises
    ------
    ModelError
        If the file is missing or too large, lies elsewhere, has another SHA-256, or is not a state dict.
    """
    try:
        name, expected = entry["file"], entry["sha256"]
        # a card must not send anybody to another folder, when a model is copied too
        if not isinstance(name, str) or name in ("", ".", "..") or any(sign in name for sign in "/\\\0"):
            raise TypeError(f"{name!r} is not the name of a file beside it")
    except (KeyError, TypeError) as error:
        raise ModelError(f"{folder / CARD} does not name a weights file beside it and its SHA-256; correct it or use "
                         "another model.") from error
    path = folder / name
    try:
        content = read_content(path)
    except OSError as error:
        raise ModelError(f"{path} cannot be read ({error.strerror}); install the model again.") from error
    # checked first: nothing of a file that is not the published one is unpickled
    if hashlib.sha256(content).hexdigest() != expected:
        raise ModelError(f"{path} is damaged or not the file that {CARD} means (its SHA-256 differs); install the "
                         "model again.")
    try:
        state = load_content(content)
        if not isinstance(state, Mapping) or not all(isinstance(key, str) for key in state):
            raise TypeError(f"{type(state).__name__} instead of names with weights")
        require_plain(state.values(), len(content))
        require_finite(state.values())
        return {key: value.float() if value.is_floating_point() else value for key, value in state.items()}
    except Exception as error:  # torch.load raises many kinds
        raise ModelError(f"{path} does not hold network weights; install the model again.") from error


def find_folder(name_or_folder: str | Path) -> Path:
    """Return the folder of a model, see `load_model`.

    Raises
    ------
    ModelError
        If there is none.
    """
    folder = Path(name_or_folder)
    if (folder / CARD).is_file():
        return folder
    if folder.is_dir():
        raise ModelError(f"{folder} has no {CARD}; give the folder of a model, or its name.")
    return find_model(str(name_or_folder), to_detect=True).folder

"""Write a model folder: float16 weights, and the card that names them with their SHA-256."""

import hashlib
import io
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..calibration import Calibration
from ..errors import InputError
from ..model_folders import CARD, DETECTION
from ..networks import Detector, Student
from ..read_write import staging_folder, write_json


def export_model(folder: Path, detector: Detector, student: Student, calibration: Calibration,
                 operating_points: Mapping[str, Any], about: Mapping[str, Any]) -> None:
    """Write a model folder, whole or not at all; its name is the model's.

    Parameters
    ----------
    folder : must not hold a model yet
    operating_points : settings by name, as JSON
    about : what else the card says: figures, data, command and so on, as JSON

    Raises
    ------
    InputError
        If there is a model in the folder.
    """
    if (folder / CARD).exists():
        raise InputError(f"{folder} holds a model already; choose another name or remove it.")
    networks = {"detector": detector, "student": student}
    sizes = {"detector": {"width": _width(detector), "classes": detector.segmentor.out.out_channels},
             "student": {"width": _width(student)}}
    with staging_folder(folder) as staging:
        files = {part: write_weights(staging / f"{part}.pt", network) for part, network in networks.items()}
        write_json(staging / CARD, {
            "kind": DETECTION, "name": folder.name, "title": f"{folder.name} (GRE, SWI, QSM)", "files": files,
            "networks": sizes, "calibration": asdict(calibration), "operating_points": dict(operating_points), **about})


def write_weights(path: Path, network: nn.Module) -> dict[str, str]:
    """Write a state dict with float16 numbers; return its entry for the card."""
    state = {name: value.detach().cpu().half() if value.is_floating_point() else value.detach().cpu()
             for name, value in network.state_dict().items()}
    buffer = io.BytesIO()
    torch.save(state, buffer)
    path.write_bytes(buffer.getvalue())
    return {"file": path.name, "sha256": hashlib.sha256(buffer.getvalue()).hexdigest()}


def _width(network: Detector | Student) -> int:
    return network.extractor.level0[0].out_channels

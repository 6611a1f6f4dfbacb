"""Write a model folder: float16 weights, and the card that names them with their SHA-256."""

import hashlib
import io
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..read_write import write_json

_EXPORTED = ("detector", "student")


def export_model(folder: Path, networks: dict[str, nn.Module], width: int, points: dict[str, Any],
                 figures: dict[str, Any], options: dict[str, Any]) -> None:
    """Write weights and ``model.json``; figures and options are kept in the card as they are."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {part: write_weights(folder / f"{part}.pt", networks[part]) for part in _EXPORTED}
    write_json(folder / "model.json", {
        "kind": "detection", "name": folder.name, "title": f"{folder.name} (GRE, SWI, QSM)",
        "files": files, "networks": {part: {"width": width} for part in _EXPORTED}, "operating_points": points,
        "held_out_figures": figures, "licence": "Apache-2.0",
        "training": {name: str(value) if isinstance(value, Path) else value for name, value in options.items()}})


def write_weights(path: Path, network: nn.Module) -> dict[str, str]:
    """Write a state dict with float16 numbers; return its entry for the card."""
    state = {name: value.detach().cpu().half() if value.is_floating_point() else value.detach().cpu()
             for name, value in network.state_dict().items()}
    buffer = io.BytesIO()
    torch.save(state, buffer)
    path.write_bytes(buffer.getvalue())
    return {"file": path.name, "sha256": hashlib.sha256(buffer.getvalue()).hexdigest()}

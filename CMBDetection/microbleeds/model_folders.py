"""Where models lie and what their cards say: those that come with the software, and the user's own.

The user's folder is that of the environment variable ``CMBDETECT_MODELS``; without it ``%APPDATA%\\cmbdetect\\models``
on Windows and ``~/.local/share/cmbdetect/models`` elsewhere. It is not part of the installation, so updates keep it.
Nothing here needs torch: the panel lists models too.
"""

import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import ModelError
from .ordinary_files import parse_json, read_ordinary_text
from .resources import resource_path

CARD = "model.json"
MODELS_VARIABLE = "CMBDETECT_MODELS"
DETECTION = "detection"
"""Value of ``kind`` in the card of a model that `detect` can use."""
DEFAULT_ARCHITECTURE = "microbleeds"
"""Value of ``architecture`` in a card that has none."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True)
class InstalledModel:
    """A folder with a card; its name is how users call the model."""

    folder: Path
    is_bundled: bool

    @property
    def name(self) -> str:
        return self.folder.name


def user_models_folder() -> Path:
    """Return the folder of the user's own models, which need not exist."""
    given = os.environ.get(MODELS_VARIABLE)
    if given:
        return Path(given)
    if sys.platform == "win32" and os.environ.get("APPDATA"):
        return Path(os.environ["APPDATA"], "cmbdetect", "models")
    return Path.home() / ".local" / "share" / "cmbdetect" / "models"


def installed_models() -> tuple[InstalledModel, ...]:
    """Return all models, those that come with the software first, each kind by name."""
    try:
        bundled = _models_in(resource_path("Models"), True)
    except FileNotFoundError:
        bundled = []
    return (*bundled, *_models_in(user_models_folder(), False))


def _models_in(folder: Path, is_bundled: bool) -> list[InstalledModel]:
    try:
        cards = sorted(folder.glob(f"*/{CARD}"))
    except OSError:
        # somebody else's, as in a container with another's home
        return []
    return [InstalledModel(card.parent, is_bundled) for card in cards if not card.parent.name.startswith(".")]


def find_model(name: str, to_detect: bool = False) -> InstalledModel:
    """Return the installed model of a name; one that came with the software goes first.

    If it is asked for `to_detect`, a name that is unknown is answered with those of detection models only.

    Raises
    ------
    ModelError
        If there is none; the sentence names those that there are.
    """
    models = installed_models()
    for model in models:
        if model.name == name:
            return model
    names = dict(detection_models()) if to_detect else [model.name for model in models]
    raise ModelError(f"There is no model {name}; give the folder of a model, or one of the installed: "
                     f"{', '.join(names) or 'none'}.")


def detection_models() -> list[tuple[str, str]]:
    """Return (name, title) of each installed detection model; one whose card cannot be read is left out."""
    found: dict[str, str] = {}
    for model in installed_models():
        try:
            card = read_card(model.folder)
        except ModelError:
            continue
        if card.get("kind") == DETECTION:
            found.setdefault(model.name, str(card.get("title", model.name)))
    return list(found.items())


def read_card(folder: Path) -> dict[str, Any]:
    """Read the card of a model of any kind.

    Raises
    ------
    ModelError
        If it is missing or not a JSON object.
    """
    path = folder / CARD
    try:
        card = parse_json(read_ordinary_text(path))
    except OSError as error:
        raise ModelError(f"{path} cannot be read ({error.strerror}); install the model again.") from error
    except ValueError as error:
        raise ModelError(f"{path} is not JSON or is damaged; install the model again.") from error
    if not isinstance(card, dict):
        raise ModelError(f"{path} is not the card of a detection model; choose another model.")
    return card


@contextmanager
def new_user_model(name: str) -> Iterator[Path]:
    """Give an empty folder to write a model into; when the block ends well, it appears under its name, whole.

    Raises
    ------
    ModelError
        If the name is not one, or taken, or the user's folder cannot be written to.
    """
    if not _NAME.fullmatch(name):
        raise ModelError(f"{name!r} cannot be the name of a model; use letters, digits, '.', '_' and '-', 100 at most, "
                         "with --name.")
    if any(model.name == name for model in installed_models()) or (user_models_folder() / name).exists():
        raise ModelError(f"There is a model {name} already; choose another name with --name, or remove it first.")
    target = user_models_folder() / name
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=".importing-", dir=target.parent))
    except OSError as error:
        raise ModelError(f"{target.parent} cannot be written to ({error.strerror}); set {MODELS_VARIABLE} to another "
                         "folder.") from error
    try:
        yield staging
        staging.chmod(0o755)  # mkdtemp's folders are the user's alone
        os.rename(staging, target)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def remove_model(name: str) -> Path:
    """Delete one of the user's models; return where it was.

    Raises
    ------
    ModelError
        If it came with the software, does not exist, or cannot be deleted.
    """
    own = [model for model in installed_models() if model.name == name and not model.is_bundled]
    if not own:
        find_model(name)
        raise ModelError(f"The model {name} came with the software and is not removed; only models in "
                         f"{user_models_folder()} are.")
    folder = own[0].folder
    try:
        # out of sight in one step, so that a half deleted model is never offered
        hidden = folder.with_name(f".removed-{name}")
        os.rename(folder, hidden)
        shutil.rmtree(hidden)
    except OSError as error:
        raise ModelError(f"{folder} cannot be removed ({error.strerror}); close what uses it or delete it by "
                         "hand.") from error
    return folder


def folder_size_bytes(folder: Path) -> int:
    """Return the size of all files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())

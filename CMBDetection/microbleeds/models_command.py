"""The command ``cmbdetect models``: list, show, verify, import and remove."""

import argparse
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from .batch import BAD_INPUT, OK
from .command_options import add_debug_option
from .errors import ModelError
from .model_folders import (
    CARD,
    DEFAULT_ARCHITECTURE,
    DETECTION,
    InstalledModel,
    find_model,
    folder_size_bytes,
    installed_models,
    new_user_model,
    read_card,
    remove_model,
    user_models_folder,
)
from .progress import Reporter


def add_models_command(commands: Any) -> None:
    """Add ``models`` and what can be done with them to the sub-commands of argparse."""
    models = commands.add_parser("models", help="list, show, verify, import and remove models")
    actions = models.add_subparsers(title="what to do", required=True, metavar="ACTION")

    _add(actions, "list", _list, "installed models, those that came with the software and yours")
    show = _add(actions, "show", _show, "the card of a model: data, figures, licence")
    show.add_argument("name", metavar="NAME", help="as cmbdetect models list has it")
    verify = _add(actions, "verify", _verify, "check that models are undamaged and load")
    verify.add_argument("name", nargs="?", metavar="NAME", help="default: all of them")
    add = _add(actions, "import", _import, "install a model of your own, or published weights of "
               "MicrobleedNet")
    add.add_argument("paths", nargs="+", type=Path, metavar="FILE|DIR", help="model folder, as cmbdetect train "
                     "writes it; or ..._cdet_model_weights.pth and ..._cdisc_student_model_weights.pth, or their "
                     "folder")
    add.add_argument("--name", help="of the new model (default: from the names of the files)")
    remove = _add(actions, "remove", _remove, "delete one of your models")
    remove.add_argument("name", metavar="NAME", help="one of your own, as cmbdetect models list has it")


def _add(actions: Any, name: str, command: Any, text: str) -> argparse.ArgumentParser:
    parser = actions.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
    add_debug_option(parser)
    parser.set_defaults(command=command, progress="none")
    return parser


def _list(options: argparse.Namespace, reporter: Reporter) -> int:
    rows = [("NAME", "WHERE", "ARCHITECTURE", "LICENCE", "SIZE", "TITLE"), *map(_row, installed_models())]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    print(f"\nYours are in {user_models_folder()}.")
    return OK


def _row(model: InstalledModel) -> tuple[str, ...]:
    where = "bundled" if model.is_bundled else "yours"
    size = f"{folder_size_bytes(model.folder) / 1e6:.1f} MB"
    try:
        card = read_card(model.folder)
    except ModelError:
        return model.name, where, "?", "?", size, "(damaged card; see cmbdetect models verify)"
    licence, title = str(card.get("licence", "not stated")), str(card.get("title", model.name))
    return model.name, where, _architecture(card), licence, size, title


def _architecture(card: dict[str, Any]) -> str:
    found = card.get("architecture", DEFAULT_ARCHITECTURE)
    return str(found.get("kind", "?") if isinstance(found, dict) else found)


def _show(options: argparse.Namespace, reporter: Reporter) -> int:
    model = find_model(options.name)
    print(f"folder: {model.folder}")
    for line in _lines(read_card(model.folder)):
        print(line)
    return OK


def _lines(value: dict[str, Any], indent: str = "") -> Iterator[str]:
    """Yield a JSON object as ``key: value`` lines, what is inside another indented."""
    for key, entry in value.items():
        if isinstance(entry, dict):
            yield f"{indent}{key}:"
            yield from _lines(entry, indent + "  ")
        else:
            text = ", ".join(map(str, entry)) if isinstance(entry, list) else "none" if entry is None else entry
            yield f"{indent}{key}: {text}"


def _verify(options: argparse.Namespace, reporter: Reporter) -> int:
    models = [find_model(options.name)] if options.name else installed_models()
    exit_code = OK
    for model in models:
        try:
            _load(model)
            print(f"{model.name}: undamaged, loads")
        except ModelError as error:
            print(f"{model.name}: {error}")
            exit_code = BAD_INPUT
    return exit_code


def _load(model: InstalledModel) -> None:
    """Load a model of any kind, which compares the SHA-256 of its files with its card."""
    card = read_card(model.folder)
    if card.get("kind") == DETECTION:
        from .weights import load_model

        load_model(model.folder)
        return
    from .coarse_network import load_network

    load_network(model.folder)
    if "atlas" in card:
        from .head_atlas import read_atlas

        read_atlas(model.folder)


def _import(options: argparse.Namespace, reporter: Reporter) -> int:
    if (options.paths[0] / CARD).is_file():
        folder = _import_folder(options.paths, options.name)
    else:
        from .reference_import import import_reference

        folder = import_reference(options.paths, options.name)
    print(f"The model {folder.name} is in {folder}; use it with cmbdetect detect --model {folder.name}.")
    return OK


def _import_folder(paths: Sequence[Path], name: str | None) -> Path:
    """Install a copy of a model folder, as ``cmbdetect train`` writes it, if it is undamaged; return the copy."""
    from .read_write import write_json

    if len(paths) > 1:
        raise ModelError(f"{paths[0]} is a whole model; import one model at a time.")
    card = read_card(paths[0])
    if card.get("kind") != DETECTION:
        raise ModelError(f"{paths[0]} holds no detection model; choose another folder.")
    _load(InstalledModel(paths[0], False))
    name = str(card["name"]) if name is None else name
    with new_user_model(name) as folder:
        # those that were checked; a card may name others, wherever they lie
        files = {part: card["files"][part] for part in ("detector", "student")}
        for entry in files.values():
            shutil.copyfile(paths[0] / entry["file"], folder / entry["file"])
        write_json(folder / CARD, {**card, "files": files, "name": name, "title": str(card.get("title", name)).replace(
            str(card["name"]), name)})
    return user_models_folder() / name


def _remove(options: argparse.Namespace, reporter: Reporter) -> int:
    print(f"{remove_model(options.name)} is deleted.")
    return OK

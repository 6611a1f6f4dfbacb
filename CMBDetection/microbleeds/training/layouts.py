"""The layouts that a labelled data set may have, and how one is recognised."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError, SettingsError
from .labelled_scans import LabelledScan
from .layouts_folders import FOLDERS, find_in_folders, is_folders
from .layouts_public import CUHK, VALDO, find_cuhk, find_valdo, is_cuhk, is_valdo
from .layouts_reviews import REVIEWS, find_reviews, is_reviews
from .layouts_simulated import IMPLANTED, SIMULATED, find_implanted, find_simulated, is_implanted, is_simulated

AUTO = "auto"


@dataclass(frozen=True)
class _Layout:
    """How a folder of this layout is recognised, and what lists its scans."""

    recognises: Callable[[Path], bool]
    find: Callable[[Path], list[LabelledScan]]


_OWN = {SIMULATED: _Layout(is_simulated, find_simulated), IMPLANTED: _Layout(is_implanted, find_implanted),
        REVIEWS: _Layout(is_reviews, find_reviews), VALDO: _Layout(is_valdo, find_valdo),
        CUHK: _Layout(is_cuhk, find_cuhk)}
"""Layouts with file names of their own. Some of them look like plain folders too, so those are thought of last."""
LAYOUTS = (AUTO, *_OWN, FOLDERS)


def find_labelled_scans(folder: Path, layout: str = AUTO, clean_scans: bool = False) -> tuple[LabelledScan, ...]:
    """Return the scans of a data set, those whose files are incomplete too; `check_data_set` tells what is wrong.

    Parameters
    ----------
    folder : Path
    layout : str
        One of `LAYOUTS`; "auto" tells it by the files.
    clean_scans : bool
        Empty label maps in plain folders are scans without microbleeds.

    Raises
    ------
    InputError
        If the folder is missing, holds nothing of this layout, or its layout cannot be told.
    SettingsError
        If there is no such layout.
    """
    if layout not in LAYOUTS:
        raise SettingsError(f"There is no layout {layout!r}; choose one of {', '.join(LAYOUTS)}.")
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; name the one that holds the data set.")
    layout = _recognise(folder) if layout == AUTO else layout
    scans = find_in_folders(folder, clean_scans) if layout == FOLDERS else _OWN[layout].find(folder)
    if not scans:
        raise InputError(f"{folder} holds no scans in the layout {layout!r}; name another folder or layout.")
    return tuple(scans)


def _recognise(folder: Path) -> str:
    fitting = [name for name, layout in _OWN.items() if layout.recognises(folder)]
    if len(fitting) > 1:
        raise InputError(f"{folder} looks like several layouts ({', '.join(fitting)}); put them into folders of their "
                         "own, or name the one that is meant.")
    if not fitting and not is_folders(folder):
        raise InputError(f"{folder} holds no labelled scans in a layout that is known ({', '.join(LAYOUTS[1:])}); put "
                         "images and label maps into folders named images and labels.")
    return fitting[0] if fitting else FOLDERS

"""Reviewed scans as a raw data set of nnU-Net v2, with the split by subject of `training_set`.

Rules followed: ``documentation/dataset_format.md``, ``ignore_label.md`` and ``manual_data_splits.md`` of
MIC-DKFZ/nnUNet (Isensee et al. 2021, Nat Methods 18:203). Training and validation subjects are in ``imagesTr``, test
subjects in ``imagesTs`` and ``labelsTs``. In ``splits_final.json`` fold 0 validates on our validation part, and the
other folds on parts of the training subjects, so that every subject is validated on once.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from ..errors import InputError, SettingsError
from ..read_write import write_image, write_json, write_label_map, write_text
from ..report import NOT_CLINICAL
from ..reviewed_case import ReviewedCase
from ..training.splits import folds_by_subject
from .training_set import (
    CLASS_NAMES,
    FRACTIONS,
    TEST,
    VALIDATION,
    NamedCase,
    key_written,
    label_case,
    name_cases,
    new_folder,
    splits_json,
)

ENDING = ".nii.gz"
CHANNEL = "_0000"
FOLDS = 5
CHANNEL_NAMES = {"gre": "T2starGRE", "swi": "SWI", "qsm": "QSM", "auto": "susceptibility"}
"""None of them is a name that nnU-Net has a normalisation of its own for, so images are z-scored."""

_README = f"""{NOT_CLINICAL}.

Raw data set for nnU-Net v2: {{marks}}.

Labels: 0 background, 1 microbleed (accepted by a reader, definite or possible), 2 mimic (rejected), 3 ignore
(undecided; nothing is learned there).

nnU-Net looks for splits among the preprocessed data. After nnUNetv2_plan_and_preprocess -d {{number}} copy
splits_final.json into nnUNet_preprocessed/{{dataset}};
otherwise nnU-Net splits by scan, and may train and validate on the same subject.
With one subject there is no split: train with fold "all".
splits.json says which subject is in training, validation or test.
"""


def write_nnunet(cases: Sequence[ReviewedCase], raw_folder: Path, number: int, name: str, *, seed: int = 1,
                 fractions: Sequence[float] = FRACTIONS, key_file: Path | None = None, include_unreviewed: bool = False,
                 overwrite: bool = False) -> Path:
    """Write ``DatasetXXX_Name`` into the folder of nnU-Net's raw data; everything or nothing.

    Parameters
    ----------
    cases : sequence of ReviewedCase
        All of one modality: nnU-Net wants the same channel in every case.
    raw_folder : Path
        What ``nnUNet_raw`` names.
    number : int
        1 to 999; of no other data set in the folder.
    name : str
        Letters, digits, "-" and "_".
    seed, fractions, key_file, include_unreviewed, overwrite
        See `training_set.write_training_set`.

    Returns
    -------
    Path
        The folder of the data set.

    Raises
    ------
    InputError
        See `training_set.write_training_set`; also if the modalities differ, no case is left for training, or the
        number is taken.
    SettingsError
        If number, name or fractions are none.
    """
    folder = dataset_folder(raw_folder, number, name)
    channel = channel_name(cases)
    named = name_cases(cases, seed, fractions, key_file is not None, include_unreviewed)
    training = [one for one in named if one.part != TEST]
    with key_written(key_file, named, folder, overwrite), new_folder(folder, overwrite) as staging:
        for place in ("imagesTr", "labelsTr"):
            (staging / place).mkdir()
        for one in named:
            _write_case(staging, one)
        write_json(staging / "dataset.json", {
            "channel_names": {"0": channel},
            "labels": {"background": 0, **{label: value for value, label in CLASS_NAMES.items()}},
            "numTraining": len(training), "file_ending": ENDING, "name": name, "description": NOT_CLINICAL})
        folds = folds_of(named)
        if folds:
            write_json(staging / "splits_final.json", folds)
        write_json(staging / "splits.json", splits_json(named, seed, fractions))
        write_text(staging / "README.txt", _README.format(dataset=folder.name, number=number, marks=_marks(cases)))
    return folder


def dataset_folder(raw_folder: Path, number: int, name: str) -> Path:
    """Return the folder of a data set; see `write_nnunet`.

    Raises
    ------
    InputError
        If the number is taken.
    SettingsError
        If number or name are none.
    """
    if not 1 <= number <= 999 or not re.fullmatch("[A-Za-z0-9_-]+", name):
        raise SettingsError(f"Dataset {number} {name!r} is no number and name for nnU-Net; give a number from 1 to 999 "
                            "and a name of letters, digits, - and _.")
    folder = Path(raw_folder) / f"Dataset{number:03d}_{name}"
    _refuse_taken_number(folder)
    return folder


def channel_name(cases: Sequence[ReviewedCase]) -> str:
    """Return what nnU-Net calls the images.

    Raises
    ------
    InputError
        If they are of several modalities.
    """
    modalities: dict[str, str] = {}
    for case in cases:
        modalities.setdefault(case.acquisition.modality, case.scan_name)
    if len(modalities) > 1:
        told = ", ".join(f"{name} is {modality if modality != 'auto' else 'of unknown modality'}"
                         for modality, name in modalities.items())
        raise InputError(f"nnU-Net wants one kind of image in a data set ({told}); write one data set for each "
                         "modality.")
    return CHANNEL_NAMES[next(iter(modalities), "auto")]


def _marks(cases: Sequence[ReviewedCase]) -> str:
    unreviewed = sum(not case.is_reviewed for case in cases)
    simulated = sum(case.simulated for case in cases)
    return f"{len(cases)} scans, of which {unreviewed} unreviewed and {simulated} simulated"


def _refuse_taken_number(folder: Path) -> None:
    start = folder.name[:len("Dataset000_")]
    others = [path for path in folder.parent.glob(f"{start}*") if path.is_dir() and path != folder]
    if others:
        raise InputError(f"{others[0]} has the same number; nnU-Net wants another one for every data set.")


def identifier_of(one: NamedCase) -> str:
    """Return the case identifier: the name, which must not end like nnU-Net's own files of preprocessed labels."""
    return f"{one.name}-scan" if one.name.lower().endswith("_seg") else one.name


def folds_of(named: Sequence[NamedCase]) -> list[dict[str, list[str]]]:
    """Return the content of ``splits_final.json``: up to 5 folds of identifiers, empty with a single subject."""
    validation = [one for one in named if one.part == VALIDATION]
    training = [one for one in named if one.part not in (VALIDATION, TEST)]
    subjects = len({one.subject for one in training})
    held_out = [validation] if validation else []
    held_out += folds_by_subject(training, min(FOLDS - len(held_out), subjects), seed=0)
    if len(held_out) < 2:
        return []
    everyone = [identifier_of(one) for one in named if one.part != TEST]
    folds = []
    for part in held_out:
        out = [identifier_of(one) for one in part]
        folds.append({"train": [identifier for identifier in everyone if identifier not in out], "val": out})
    return folds


def _write_case(folder: Path, one: NamedCase) -> None:
    ending, identifier = "Ts" if one.part == TEST else "Tr", identifier_of(one)
    for place in (f"images{ending}", f"labels{ending}"):
        (folder / place).mkdir(exist_ok=True)
    write_image(folder / f"images{ending}" / f"{identifier}{CHANNEL}{ENDING}", one.case.image)
    write_label_map(folder / f"labels{ending}" / f"{identifier}{ENDING}",
                    one.case.image.with_data(label_case(one.case).classes))

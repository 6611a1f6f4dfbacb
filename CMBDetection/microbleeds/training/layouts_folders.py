"""Plain folders of images and label maps: ``images`` and ``labels``, nnU-Net's pair of folders, or side by side."""

import json
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..components import label_components
from ..errors import InputError
from ..read_write import read_json, scan_stem
from ..subject_names import subject_of_file
from ..volume import Volume
from .label_maps import BRAIN_NAMES, brain_beside, image_files, read_lesions, read_map
from .labelled_scans import IGNORED, MICROBLEED, MIMIC, LabelledScan, ScanTruth, truth_of_lesions

FOLDERS = "folders"
LABEL_NAMES = ("_desc-cmb_truth", "_desc-cmb_dseg", "_dseg", "_label", "_mask", "_seg", "_cmb")
"""What may follow the stem of an image in the name of its label map; capitals do not matter."""
_PAIRS = (("images", "labels"), ("imagesTr", "labelsTr"))
_LESION = "microbleed"
_OTHERS = {"mimic": MIMIC, "ignore": IGNORED}
"""What the other labels of a ``dataset.json`` may be called; "ignore" is nnU-Net's own word."""
_CHANNEL = re.compile(r"_(\d{4})$")
"""nnU-Net numbers the channels of an image; the first one is 0000."""


def is_folders(folder: Path) -> bool:
    """Whether a folder holds images and label maps in one of these ways."""
    return _pair_in(folder) is not None or any(map(_without_label_name, map(scan_stem, _images(folder, True))))


def find_in_folders(folder: Path, clean_scans: bool) -> list[LabelledScan]:
    """Return the images with their label maps; an image without one, or the reverse, names the file that is missing.

    Of the label maps, numbered ones keep their numbers and those of one value are split into 26-connected regions (see
    `label_maps.read_lesions`), unless a ``dataset.json`` of nnU-Net says what the values are.
    """
    pair = _pair_in(folder)
    matched = _match_beside(_images(folder, True)) if pair is None else _match_pair(*pair)
    return [LabelledScan(name=scan_stem(image), subject=_subject(image, folder), image=image, modality="auto",
                         brain=brain_beside(image), truth=label, layout=FOLDERS, reader=_read, maps=(label,),
                         described_by=(_listing(label),) if _is_nnunet(label) else (), clean_allowed=clean_scans)
            for image, label in matched]


def _read(scan: LabelledScan, volume: Volume) -> ScanTruth:
    values = _values_of_nnunet(scan.truth)
    lesions_are = [_LESION] if _LESION in values else [name for name in values if name not in _OTHERS]
    if len(lesions_are) > 1:
        raise InputError(f"{_listing(scan.truth)} lists labels of several kinds ({', '.join(lesions_are)}); call that "
                         f"of the microbleeds {_LESION}.")
    if values and not lesions_are:
        raise InputError(f"{_listing(scan.truth)} lists no label of microbleeds, only {', '.join(values)}; call theirs "
                         f"{_LESION}.")
    if not lesions_are or (lesions_are != [_LESION] and len(values) == 1):
        return truth_of_lesions(read_lesions(scan.truth, volume, scan.image))
    marked = np.rint(read_map(scan.truth, volume, scan.image)).astype(np.int32)
    lesions, _ = label_components(marked == values[lesions_are[0]])
    classes = np.where(lesions > 0, MICROBLEED, 0).astype(np.uint8)
    for name, kind in _OTHERS.items():
        if name in values:
            classes[marked == values[name]] = kind
    return ScanTruth(lesions, classes, kinds_known=False)


def _values_of_nnunet(label_map: Path) -> dict[str, int]:
    """Return names and values (1 and more) of the labels that nnU-Net's ``dataset.json`` lists, nothing without one."""
    listing = _listing(label_map)
    if not _is_nnunet(label_map) or not listing.is_file():
        return {}
    content = read_json(listing, "export the data set again")
    labels = content.get("labels") if isinstance(content, dict) else None
    if not isinstance(labels, dict):
        return {}
    if all(key.isdigit() and isinstance(value, str) for key, value in labels.items()):
        # as version 1 lists them
        labels = {name: int(key) for key, name in labels.items()}
    for name, value in labels.items():
        if type(value) is not int:
            raise InputError(f"{listing} gives the label {name} as {json.dumps(value)}, not as one number; give every "
                             "label its own.")
    return {name: value for name, value in labels.items() if value > 0}


def _is_nnunet(label_map: Path) -> bool:
    return label_map.parent.name == "labelsTr"


def _listing(label_map: Path) -> Path:
    return label_map.parent.parent / "dataset.json"


def _pair_in(folder: Path) -> tuple[Path, Path] | None:
    return next(((folder / images, folder / labels) for images, labels in _PAIRS
                 if (folder / images).is_dir() or (folder / labels).is_dir()), None)


def _images(folder: Path, recursive: bool) -> list[Path]:
    """Return the image files in a folder that are no brain masks."""
    return [path for path in image_files(folder, recursive) if not scan_stem(path).lower().endswith(BRAIN_NAMES)]


def _subject(image: Path, folder: Path) -> str:
    return subject_of_file(scan_stem(image).removesuffix("_0000"), image.parent.relative_to(folder))


def _without_label_name(stem: str) -> str:
    """Return the stem of the image that a label map of this stem belongs to, "" if it is not named like one."""
    ending = next((ending for ending in LABEL_NAMES if stem.lower().endswith(ending)), "")
    return stem[:len(stem) - len(ending)] if ending else ""


def _match_pair(images: Path, labels: Path) -> list[tuple[Path, Path]]:
    """Match the files of two folders by their names; several label maps of one image come one by one."""
    stems = {scan_stem(path) for path in _images(images, False)}
    bases: dict[str, list[Path]] = {}
    for path in _images(labels, False):
        stem = scan_stem(path)
        known = stem in stems or f"{stem}_0000" in stems
        bases.setdefault(stem if known else _without_label_name(stem) or stem, []).append(path)
    matched, used = [], set()
    for image in _images(images, False):
        stem = scan_stem(image)
        channel = _CHANNEL.search(stem)
        base = stem[:channel.start()] if channel and stem not in bases else stem
        if channel and channel[1] != "0000" and base != stem and base in bases:
            continue
        base = base if base in bases else stem
        used.add(base)
        expected = base.removesuffix("_0000") if images.name == "imagesTr" else base
        matched += [(image, label) for label in bases.get(base, [labels / f"{expected}.nii.gz"])]
    return matched + [(images / label.name, label) for base in bases if base not in used for label in bases[base]]


def _match_beside(files: Sequence[Path]) -> list[tuple[Path, Path]]:
    """Match files that lie beside each other; "S_cmb" is a label map unless it has one of its own."""
    labels: dict[Path, list[Path]] = {}
    for path in files:
        base = _without_label_name(scan_stem(path))
        if base:
            labels.setdefault(path.with_name(base), []).append(path)
    images: dict[Path, list[Path]] = {}
    for path in files:
        place = path.with_name(scan_stem(path))
        if place in labels or not _without_label_name(place.name):
            images.setdefault(place, []).append(path)
    matched = []
    for place in sorted({*images, *labels}):
        own = [label for label in labels.get(place, ()) if label.with_name(scan_stem(label)) not in images]
        matched += [(image, label) for image in images.get(place, [place.with_name(f"{place.name}.nii.gz")])
                    for label in own or [place.with_name(f"{place.name}_dseg.nii.gz")]]
    return matched

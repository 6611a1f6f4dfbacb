"""Data sets that the simulator made: whole scans (``cmbdetect simulate``), implants in scans (``cmbdetect implant``).

Of what was drawn, vessels become `VESSEL`; focal mimics, the signal loss beside air among them, become `MIMIC`. Ghosts
and ringing become `TISSUE`: they are nowhere and everywhere, and a network that took half a brain for a mimic would
learn nothing from it. Around a microbleed that cannot be seen on the image nothing is learned.
"""

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..evaluation.drawn_truth import Drawn, read_drawn_truth
from ..point_regions import voxels_within
from ..read_write import scan_stem
from ..simulation.shapes import ARTEFACTS, VESSELS
from ..simulation.shapes import MICROBLEED as MICROBLEED_KIND
from ..simulation.simulate import MAGNITUDE, QSM, SWI
from ..subject_names import subject_of
from ..volume import Volume
from .label_maps import image_files
from .labelled_scans import IGNORED, MICROBLEED, MIMIC, TISSUE, VESSEL, LabelledScan, ScanTruth

SIMULATED, IMPLANTED = "simulated", "implanted"
MODALITY_OF = {MAGNITUDE: "gre", SWI: "swi", QSM: "qsm"}
"""Of the images that have a truth."""
LEAST_IGNORED_MM, IGNORED_MARGIN_MM = 2.0, 1.0
"""Around an invisible microbleed: at least this radius, and this much more than that of its source."""
_LESIONS, _EVERYTHING, _TABLE, _BRAIN = ("_desc-cmb_truth.nii.gz", "_desc-all_truth.nii.gz", "_desc-truth.tsv",
                                         "_desc-brain_mask.nii.gz")


def is_simulated(folder: Path) -> bool:
    """Whether a folder was written by ``cmbdetect simulate``."""
    return any(True for ending in (_LESIONS, "_desc-drawn.json") for _ in folder.glob(f"sub-*/anat/*{ending}"))


def find_simulated(folder: Path) -> list[LabelledScan]:
    """Return the images of a simulated data set that microbleeds are read on.

    Scans of one label map share an anatomy, so that map is their subject.
    """
    scans = []
    for anatomical in sorted(folder.glob("sub-*/anat")):
        case = anatomical.parent.name
        subject = _label_map_of(anatomical / f"{case}_desc-drawn.json")
        for kind, modality in MODALITY_OF.items():
            image = anatomical / f"{case}_{kind}.nii.gz"
            if image.exists() or _beside(image, _LESIONS).exists():
                scans.append(_scan(image, subject, modality, anatomical / f"{case}{_BRAIN}", SIMULATED))
    return scans


def is_implanted(folder: Path) -> bool:
    """Whether a folder was written by ``cmbdetect implant``."""
    return any(True for _ in folder.glob(f"*{_TABLE}"))


def find_implanted(folder: Path) -> list[LabelledScan]:
    """Return the scans of a folder written by ``cmbdetect implant``; the sidecar tells the subject or the source."""
    images = {path for path in image_files(folder) if not path.name.endswith((_LESIONS, _EVERYTHING, _BRAIN))}
    images |= {_image_of(path, _LESIONS) for path in folder.glob(f"*{_LESIONS}")}
    scans = []
    for image in sorted(images):
        sidecar = _read_object(image.with_name(f"{scan_stem(image)}.json"))
        source, modality = _within(sidecar, "source", "name"), _within(sidecar, "settings", "modality")
        subject = _within(sidecar, "subject") or subject_of(scan_stem(source or image.name))
        scans.append(_scan(image, subject, modality or "auto", _beside(image, _BRAIN), IMPLANTED))
    return scans


def _scan(image: Path, subject: str, modality: str, brain: Path, layout: str) -> LabelledScan:
    lesions = _beside(image, _LESIONS)
    return LabelledScan(name=scan_stem(image), subject=subject, image=image, modality=modality, brain=brain,
                        truth=lesions, layout=layout, reader=_read_drawn,
                        maps=(lesions, _beside(image, _EVERYTHING)), described_by=(_beside(image, _TABLE),))


def _beside(image: Path, ending: str) -> Path:
    return image.with_name(f"{scan_stem(image)}{ending}")


def _image_of(path: Path, ending: str) -> Path:
    return path.with_name(f"{path.name.removesuffix(ending)}.nii.gz")


def _label_map_of(drawn: Path) -> str:
    """Return the name of the label map that a case was made from, "" if it is not known."""
    return _within(_read_object(drawn), "plan", "labels", "name")


def _within(content: Any, *keys: str) -> str:
    """Return the text that stands in nested objects under these keys, "" if there is none."""
    for key in keys:
        content = content.get(key) if isinstance(content, dict) else None
    return content if isinstance(content, str) else ""


def _read_object(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file, an empty one if there is none that can be read."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _read_drawn(scan: LabelledScan, volume: Volume) -> ScanTruth:
    assert scan.brain is not None, "the simulator always writes one"
    truth = read_drawn_truth(scan.image, scan.brain, volume, scan.image)
    class_of = np.zeros(max((thing.id for thing in truth.drawn), default=0) + 1, np.uint8)
    for thing in truth.drawn:
        class_of[thing.id] = _class_of_kind(thing.kind)
    classes = class_of[truth.everything.data]
    # the two maps agree where the simulator made them; the microbleeds' own decides
    classes[classes == MICROBLEED] = TISSUE
    classes[truth.microbleeds.data > 0] = MICROBLEED
    _ignore_invisible(classes, volume, truth.drawn, _source_diameters_mm(_beside(scan.image, _TABLE)))
    return ScanTruth(truth.microbleeds.data, classes, kinds_known=scan.layout == SIMULATED)


def _class_of_kind(kind: str) -> int:
    if kind == MICROBLEED_KIND:
        return MICROBLEED
    if kind in VESSELS:
        return VESSEL
    return TISSUE if kind in ARTEFACTS else MIMIC


def _ignore_invisible(classes: np.ndarray, volume: Volume, drawn: Sequence[Drawn], diameters_mm: dict[int, float]):
    """Mark the tissue around microbleeds that cannot be seen, in place; what can be seen there stays as it is."""
    for thing in drawn:
        if thing.kind == MICROBLEED_KIND and not thing.visible:
            radius_mm = max(LEAST_IGNORED_MM, diameters_mm[thing.id] / 2 + IGNORED_MARGIN_MM)
            place = tuple(voxels_within(volume, np.array(thing.position_ras), radius_mm)[0].T)
            classes[place] = np.where(classes[place] == TISSUE, IGNORED, classes[place])


def _source_diameters_mm(table: Path) -> dict[int, float]:
    """Return the diameter of the body behind each row of a table that `read_drawn_truth` has read already."""
    with table.open(encoding="utf-8", newline="") as file:
        try:
            return {int(row["id"]): float(row["source_diameter_mm"]) for row in csv.DictReader(file, delimiter="\t")}
        except (KeyError, ValueError, TypeError):
            raise InputError(f"{table} has no diameter of the sources; make the data set again.") from None

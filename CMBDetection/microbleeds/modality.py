"""Which kind of image is it: T2*-weighted GRE, SWI or QSM, and why do we think so.

GRE and SWI are processed alike (lesions dark); QSM is not (lesions bright), so that is the decision that must be right.
It is taken from the values themselves: only a susceptibility map has many negative ones. Between GRE and SWI names
decide, then slice thickness and dark veins.
"""

import re
from typing import Any

import numpy as np
from scipy import ndimage

from .volume import Volume

_WORDS = {
    "qsm": r"qsm|chi|chi[ _-]?map|susceptibility[ _-]?map(ping)?|quantitative[ _-]?susceptibility",
    "swi": r"swip?|swan|ven[ _-]?bold|susceptibility[ _-]?weighted|m(in)?ip|mnip",
    "gre": r"(me|mp|m)?gre|t2[ _-]?star(w|map)?|t2[ _-]?s|t2\*w?|ffe|ha?emo|flash|fl[23]d|mag(nitude)?",
}
# No letter may touch a word, but a number may: "3D_SWI2" says SWI, "china" does not say chi.
_PATTERNS = {name: re.compile(rf"(?<![a-z])(?:[23]d)?(?:{words})(?![a-z])") for name, words in _WORDS.items()}
_TEXTS = {"series_description": "series description", "image_type": "image type", "protocol_name": "protocol name",
          "sequence_name": "sequence name"}
_SPACED = r"\1 \2"
_NAMES = {"gre": "GRE", "swi": "SWI", "qsm": "QSM"}

_SIGNED_SHARE = 0.1
_SWI_MAX_SLICE_MM = 2.0
_GRE_MIN_SLICE_MM = 2.5
# Veins fill some 2 % of the brain. On SWI they fall below .6 of their surroundings; on the magnitude image at the same
# echo time (T2* 22 against 50 ms, 20 ms) only undiluted ones do. Half of them is asked for.
_VEIN_RATIO = 0.6
_VEIN_SHARE = 0.01
_SURROUNDINGS_MM = 9.0
_RIM_MM = 5.0


def decide_modality(volume: Volume, brain: Volume | None, name: str, metadata: dict[str, Any]) -> tuple[str, str]:
    """Decide between GRE, SWI and QSM.

    Parameters
    ----------
    volume : Volume
        The image as read, in any units.
    brain : Volume or None
        Bool mask on the same grid, if there is one already.
    name : str
        File or folder name; checked before the metadata, which a derived image may have from its source.
    metadata : dict
        Texts of the scan (`read_write.Scan.metadata`).

    Returns
    -------
    modality : {"gre", "swi", "qsm"}
    reason : str
        One sentence for the user.
    """
    signed = _is_signed(volume, brain)
    said, text = _said(name, metadata)
    if said is None:
        return _from_image(volume, brain, signed)
    if signed and said != "qsm":
        return "qsm", f"{text}, but its values are signed around zero, so it is taken as QSM."
    if not signed and said == "qsm":
        return "gre", f"{text}, but it has no negative values, so it is taken as the magnitude image (GRE)."
    return said, f"{text}."


def _said(name: str, metadata: dict[str, Any]) -> tuple[str | None, str]:
    """What the first telling text says, and the clause to quote it."""
    texts = {"file name": name} | {label: metadata.get(key) for key, label in _TEXTS.items()}
    for label, text in texts.items():
        text = str(text or "")
        # "subjectSWI" has to be split before its word, "mIP" must not be: look at both.
        plain = f"{text} {re.sub('([a-z])([A-Z])', _SPACED, text)}".lower()
        for modality, pattern in _PATTERNS.items():
            if found := pattern.search(plain):
                return modality, f"The {label} says “{found[0]}” ({_NAMES[modality]})"
    return None, ""


def _is_signed(volume: Volume, brain: Volume | None) -> bool:
    inside = volume.data != 0 if brain is None else np.asarray(brain.data, bool) & (volume.data != 0)
    values = volume.data[inside]
    return values.size > 0 and _SIGNED_SHARE <= np.mean(values < 0) <= 1 - _SIGNED_SHARE


def _from_image(volume: Volume, brain: Volume | None, signed: bool) -> tuple[str, str]:
    if signed:
        return "qsm", "Its values are signed around zero, as in QSM."
    slice_mm = volume.spacing.max()
    if slice_mm >= _GRE_MIN_SLICE_MM:
        return "gre", f"Nothing names it and its slices are {slice_mm:.2g} mm thick, as in T2*-GRE."
    if slice_mm <= _SWI_MAX_SLICE_MM and brain is not None and _vein_share(volume, brain) > _VEIN_SHARE:
        return "swi", f"Nothing names it, but it has thin slices ({slice_mm:.2g} mm) and dark veins, as in SWI."
    return "gre", "GRE or SWI is undecided; it is treated as GRE, which makes no difference to the detection."


def _vein_share(volume: Volume, brain: Volume) -> float:
    """Share of the inner brain that is much darker than the mean of its surroundings."""
    mask = np.asarray(brain.data, bool)
    width = np.maximum(1, 2 * np.round(_SURROUNDINGS_MM / volume.spacing / 2).astype(int) + 1)
    data = np.where(mask, volume.data, 0).astype(np.float32)
    # A hot voxel would darken its surroundings.
    np.minimum(data, 3 * np.median(data[mask]) if mask.any() else 0, out=data)
    total = ndimage.uniform_filter(data, width, mode="constant")
    weight = ndimage.uniform_filter(mask.astype(np.float32), width, mode="constant")
    rim = np.maximum(1, np.round(_RIM_MM / volume.spacing).astype(int))
    inner = ndimage.minimum_filter(mask, 2 * rim + 1, mode="constant") & (data > 0)
    if not inner.any():
        return 0.0
    return float(np.mean(data[inner] < _VEIN_RATIO * total[inner] / weight[inner]))

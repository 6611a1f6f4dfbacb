"""What was drawn into one image of a simulated data set: a table of everything, maps of what is visible, the brain."""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..read_write import read_on_grid
from ..volume import Volume

COLUMNS = ("id", "kind", "R_mm", "A_mm", "S_mm", "visible_diameter_mm", "visible", "region")
"""Of the table, those that are read here."""


@dataclass(frozen=True)
class Drawn:
    """One row of the table: a microbleed or a mimic; `visible_diameter_mm` is None where it cannot be seen."""

    id: int
    kind: str
    position_ras: tuple[float, float, float]
    visible: bool
    visible_diameter_mm: float | None
    region: str


@dataclass(frozen=True, eq=False)
class DrawnTruth:
    """The truth of one image.

    Attributes
    ----------
    drawn : tuple of Drawn
    microbleeds, everything : Volume
        int32 maps, value = id: visible microbleeds alone, and with the mimics.
    brain : Volume
        bool, on the same grid.
    """

    drawn: tuple[Drawn, ...]
    microbleeds: Volume
    everything: Volume
    brain: Volume


def read_drawn_truth(image: Path, brain: Path, grid: Volume, labels: Path) -> DrawnTruth:
    """Read the truth that lies beside a simulated image.

    Parameters
    ----------
    image : Path
        ``S.nii.gz``; beside it lie ``S_desc-cmb_truth.nii.gz``, ``S_desc-all_truth.nii.gz`` and ``S_desc-truth.tsv``.
    brain : Path
        The brain mask.
    grid, labels : Volume, Path
        A volume on the grid of a result, and where that was read; the maps are returned on this grid.

    Raises
    ------
    InputError
        If a file is missing, cannot be read, or does not lie on the grid.
    """
    start = image.name.removesuffix(".nii.gz")
    microbleeds, everything, mask = (
        read_on_grid(path, grid, labels)
        for path in (image.with_name(f"{start}_desc-cmb_truth.nii.gz"),
                     image.with_name(f"{start}_desc-all_truth.nii.gz"), brain))
    table = image.with_name(f"{start}_desc-truth.tsv")
    drawn = read_drawn_table(table)
    for name, volume in (("cmb", microbleeds), ("all", everything)):
        numbers = np.flatnonzero(np.bincount(volume.data.ravel()))
        unknown = np.setdiff1d(numbers, [0, *(item.id for item in drawn)])
        if unknown.size:
            raise InputError(f"{table} does not list {unknown[0]}, which stands in {start}_desc-{name}_truth.nii.gz; "
                             "make the data set again.")
    return DrawnTruth(drawn, microbleeds, everything, mask.with_data(mask.data > 0))


def read_drawn_table(path: Path) -> tuple[Drawn, ...]:
    """Read ``S_desc-truth.tsv``.

    Raises
    ------
    InputError
        If it is missing or not such a table.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file, delimiter="\t")
            missing = set(COLUMNS) - set(reader.fieldnames or ())
            if missing:
                raise InputError(f"{path} has no column {', '.join(sorted(missing))}; make the data set again.")
            return tuple(map(_drawn, reader))
    except OSError as error:
        raise InputError(f"{path} cannot be opened ({error.strerror}); make the data set again.") from None
    except (ValueError, TypeError) as error:
        raise InputError(f"{path} is not a table of what was drawn ({error}); make the data set again.") from None


def _drawn(row: dict[str, str]) -> Drawn:
    position = np.array([row["R_mm"], row["A_mm"], row["S_mm"]], float)
    return Drawn(int(row["id"]), row["kind"], tuple(position.tolist()), bool(int(row["visible"])),
                 float(row["visible_diameter_mm"]) if row["visible_diameter_mm"] else None, row["region"])

"""The fixed test set: which cases it has. Whoever changes anything here, or what the simulator draws, raises `VERSION`.

Per modality the standard tier has 30 cases, 10 of them without any microbleed, 15 of thin and 15 of thick slices, 15 at
1.5 and 15 at 3 T, 10 of each head; the hard tier has 12, 4 without. The order is mixed, so that the first few cases of
a tier are a fair sample of it. The heads are label maps that no training uses (`ANATOMY`), and so is the seed.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from microbleeds.settings import MODALITIES
from microbleeds.simulation.data_set import IMAGES_OF, CasePlan
from microbleeds.simulation.protocol import draw_protocol
from microbleeds.simulation.subject import SubjectSettings

VERSION = "1"
SEED = 20261123
"""First number of the seed of every case; training seeds are one small number."""
ANATOMY = Path(__file__).resolve().parent / "anatomy"

STANDARD, HARD = "standard", "hard"
TIERS = (STANDARD, HARD)
THIN, THICK = "thin", "thick"

_BLEEDS = {STANDARD: (5, 4, 4, 3, 30, 25, 20, 15, 1, 1, 1, 1, 6, 8, 10, 12, 2, 2, 2, 3),
           HARD: (4, 2, 8, 1, 15, 3, 6, 10)}
"""Microbleeds drawn in the cases that have any: few in most, many in some, as in patients (not all can be seen)."""
_CELLS = {STANDARD: ((THIN, 3.0), (THICK, 3.0), (THIN, 1.5), (THICK, 1.5)), HARD: ((THICK, 3.0), (THICK, 1.5))}
_CLEAN_CELLS = {STANDARD: (0, 3, 1, 2), HARD: (0, 1)}
"""In which order cases without microbleeds go through the cells; the first two get one more, which balances both."""
_SLICES_MM = {"gre": {THIN: (1.0, 1.5, 2.0), THICK: (4.0, 3.0, 5.0)},
              "swi": {THIN: (1.2, 1.5, 1.0), THICK: (2.5, 3.0, 3.5)},
              "qsm": {THIN: (1.2, 1.0, 1.5), THICK: (2.5, 3.0, 3.5)}}
_HARD_PROTOCOL = {"slice_mm": 5.0, "signal_to_noise": 8.0, "smoothing_mm": 0.0, "motion_mm": 1.0}
_HARD_MIMICS = 2.0


@dataclass(frozen=True)
class BenchmarkCase:
    """One case: where it belongs, and what is drawn; `bleeds` is 0 in a clean case, `head` numbers the anatomies."""

    name: str
    number: int
    modality: str
    tier: str
    slices: str
    slice_mm: float
    field_tesla: float
    bleeds: int
    head: int

    @property
    def image(self) -> Path:
        """The image to detect in, relative to the folder of the set."""
        return Path(self.name, "anat", f"{self.name}_{IMAGES_OF[self.modality][0]}.nii.gz")

    @property
    def brain(self) -> Path:
        """Its brain mask, likewise."""
        return Path(self.name, "anat", f"{self.name}_desc-brain_mask.nii.gz")


def all_cases() -> tuple[BenchmarkCase, ...]:
    """Return every case of the set, always the same ones."""
    cases = []
    for modality in MODALITIES:
        for tier in TIERS:
            cases += _tier(modality, tier, len(cases) + 1)
    return tuple(cases)


def choose(cases: Sequence[BenchmarkCase], modalities: Sequence[str] = MODALITIES, tiers: Sequence[str] = TIERS,
           limit: int | None = None) -> tuple[BenchmarkCase, ...]:
    """Return the cases of these modalities and tiers, of each pair of them at most the first `limit`."""
    chosen = []
    for modality in (name for name in MODALITIES if name in modalities):
        for tier in (name for name in TIERS if name in tiers):
            chosen += [case for case in cases if (case.modality, case.tier) == (modality, tier)][:limit]
    return tuple(chosen)


def plan(case: BenchmarkCase) -> CasePlan:
    """Return what the simulator needs to make a case; the protocol's other numbers come from the case's seed."""
    fixed = {"field_tesla": case.field_tesla, "slice_mm": case.slice_mm, "gap_mm": 0.0}
    if case.tier == HARD:
        fixed |= _HARD_PROTOCOL
    labels = sorted(ANATOMY.glob("*.nii.gz"))[case.head]
    return CasePlan(
        name=case.name, seed=(SEED, case.number), labels=labels, images=IMAGES_OF[case.modality],
        protocol=draw_protocol(np.random.default_rng((SEED, case.number, 1)), case.modality, **fixed),
        subject=SubjectSettings(bleeds=case.bleeds, mimics=_HARD_MIMICS if case.tier == HARD else 1.0))


def fingerprint(cases: Sequence[BenchmarkCase]) -> str:
    """Return the SHA-256 of all that the plans say, their numbers to six digits, and of the anatomies' content."""
    plans = [asdict(plan(case)) for case in cases]
    content = [_plain({**entry, "labels": hashlib.sha256(entry["labels"].read_bytes()).hexdigest()})
               for entry in plans]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _tier(modality: str, tier: str, first: int) -> list[BenchmarkCase]:
    """Return one tier: with, clean, with, and so on; those with and the clean ones go through the cells apart."""
    cells, counts, cases = _CELLS[tier], list(_BLEEDS[tier]), []
    uses = dict.fromkeys(cells, 0)
    for index in range(len(counts) * 3 // 2):
        block, place = divmod(index, 3)
        clean = place == 1
        cell = cells[_CLEAN_CELLS[tier][block % len(cells)]] if clean \
            else cells[(2 * block + place // 2) % len(cells)]
        slices, field_tesla = cell
        options = (5.0,) if tier == HARD else _SLICES_MM[modality][slices]
        slice_mm = options[uses[cell] % len(options)]
        uses[cell] += 1
        name = f"sub-{modality}{'' if tier == STANDARD else tier}{index + 1:02d}"
        cases.append(BenchmarkCase(name, first + index, modality, tier, slices, slice_mm, field_tesla,
                                   0 if clean else counts[2 * block + place // 2], (index + block) % 3))
    return cases


def _plain(value):
    """Return paths as text and floats rounded, so that the last digit of another machine does not count."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value

"""Settings: one frozen dataclass per step, checked on creation. Defaults are written here and nowhere else."""

from dataclasses import asdict, dataclass, field, fields
from typing import Any

from .errors import SettingsError

MODALITIES = ("gre", "swi", "qsm")
OPERATING_POINTS = ("balanced", "sensitive")
DEVICES = ("auto", "cpu", "cuda")
"""Where networks run; "auto" is the graphics card if there is one."""


def _check(condition: bool, name: str, value: Any, expected: str) -> None:
    if not condition:
        raise SettingsError(f"{name} must be {expected}, got {value!r}.")


@dataclass(frozen=True)
class PrepareSettings:
    """Step 0: brain mask, bias field, intensity scale, radial symmetry."""

    correct_bias: bool = True
    """N4 bias field correction; GRE and SWI only."""
    bias_grid_mm: float = 4.0
    """Voxel size on which the bias field is estimated."""
    in_plane_min_mm: float = 0.4
    """Finer in-plane grids are resampled to this voxel size before the networks."""
    in_plane_max_mm: float = 1.0
    """Coarser in-plane grids are resampled to this voxel size before the networks."""
    slice_min_mm: float = 0.8
    """Thinner slices are resampled to this thickness before the networks."""
    symmetry_radii_mm: tuple[float, ...] = (1.0, 1.5, 2.0, 3.0)
    """Radii of the radial symmetry transform."""

    def __post_init__(self):
        _check(self.bias_grid_mm > 0, "bias_grid_mm", self.bias_grid_mm, "> 0 mm")
        _check(0 < self.in_plane_min_mm <= self.in_plane_max_mm, "in_plane_min_mm", self.in_plane_min_mm,
               f"in (0, {self.in_plane_max_mm}] mm")
        _check(self.slice_min_mm > 0, "slice_min_mm", self.slice_min_mm, "> 0 mm")
        object.__setattr__(self, "symmetry_radii_mm", tuple(float(r) for r in self.symmetry_radii_mm))
        _check(len(self.symmetry_radii_mm) > 0 and min(self.symmetry_radii_mm) > 0, "symmetry_radii_mm",
               self.symmetry_radii_mm, "one or more radii > 0 mm")


@dataclass(frozen=True)
class CandidateSettings:
    """Step 1: the detector and how its map becomes candidates."""

    threshold: float = 0.2
    """Detector probability from which a voxel belongs to a candidate."""
    peak_share: float = 0.0
    """Share of a candidate's own peak under which its voxels are left out again; 0 keeps all."""
    prominence: float = 0.3
    """How far the log-odds must fall between two peaks that are two candidates, so that noise splits none. Between two
    sure lesions the probability may fall from .98 to .95 only."""
    max_candidates: int = 5000
    """The most probable ones are kept when there are more."""

    def __post_init__(self):
        _check(0 < self.threshold < 1, "threshold", self.threshold, "between 0 and 1")
        _check(0 <= self.peak_share < 1, "peak_share", self.peak_share, "in [0, 1)")
        _check(self.prominence > 0, "prominence", self.prominence, "> 0")
        _check(self.max_candidates > 0, "max_candidates", self.max_candidates, "> 0")


@dataclass(frozen=True)
class ClassifySettings:
    """Step 2: the student network."""

    threshold: float = 0.5
    """Probability under which a candidate is removed."""
    batch_size: int = 16
    """Patches per batch; memory depends on this, not on the number of candidates. Larger ones do not fit the caches."""

    def __post_init__(self):
        _check(0 <= self.threshold <= 1, "threshold", self.threshold, "between 0 and 1")
        _check(self.batch_size > 0, "batch_size", self.batch_size, "> 0")


@dataclass(frozen=True)
class CleanupSettings:
    """Step 3: the morphological rules. None switches a rule off."""

    min_volume_mm3: float | None = 2.5
    """Smaller regions are removed (paper: 2.5 mm³)."""
    min_diameter_mm: float | None = None
    """Smaller equivalent diameters are removed; off, because thick slices make small lesions look smaller."""
    max_diameter_mm: float | None = 10.0
    """Larger ones are macrobleeds, cavernomas or artefacts (STRIVE-2: up to 10 mm)."""
    max_elongation: float | None = 3.0
    """Longest over middle principal axis of the region, from its 3-D second moments, voxel size taken out."""
    min_edge_distance_mm: float | None = 1.5
    """Centres nearer to the brain edge are removed (paper: 5 mm, but half of the cortex lies within that)."""
    max_linearity: float | None = 0.65
    """Line-likeness of the image around the centre, across slices, in [0, 1]."""

    def __post_init__(self):
        for item in fields(self):
            value = getattr(self, item.name)
            _check(value is None or value > 0, item.name, value, "> 0 or None")


@dataclass(frozen=True)
class Settings:
    """All steps together."""

    prepare: PrepareSettings = field(default_factory=PrepareSettings)
    candidates: CandidateSettings = field(default_factory=CandidateSettings)
    classify: ClassifySettings = field(default_factory=ClassifySettings)
    cleanup: CleanupSettings = field(default_factory=CleanupSettings)

    def to_json(self) -> dict[str, Any]:
        """Return plain dicts and lists, equal to what JSON gives back."""
        return asdict(self, dict_factory=lambda items: {
            name: list(value) if isinstance(value, tuple) else value for name, value in items})

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "Settings":
        """Build from plain dicts; missing keys keep their default.

        Raises
        ------
        SettingsError
            On an unknown key or a value out of range.
        """
        parts = {"prepare": PrepareSettings, "candidates": CandidateSettings, "classify": ClassifySettings,
                 "cleanup": CleanupSettings}
        unknown = set(value) - set(parts)
        _check(not unknown, "settings", sorted(unknown), f"made of {sorted(parts)}")
        made = {}
        for name, part in parts.items():
            given = value.get(name, {})
            bad = set(given) - {item.name for item in fields(part)}
            _check(not bad, f"settings.{name}", sorted(bad), f"made of {[item.name for item in fields(part)]}")
            made[name] = part(**given)
        return cls(**made)

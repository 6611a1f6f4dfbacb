"""One subject: everything about a head that does not depend on how it is scanned."""

from dataclasses import dataclass

import numpy as np

from ..errors import SettingsError
from .anatomy import Anatomy
from .bleeds import MAX_COUNT, draw_count, draw_microbleeds
from .deformation import Deformation, deform, draw_deformation
from .mimics import draw_mimics
from .nuclei import draw_nuclei
from .shapes import Focus, Vessel
from .surroundings import draw_air, hollowed
from .tissue import TissueValues, draw_tissue
from .vessels import draw_vessels

AGES = (45.0, 90.0)


@dataclass(frozen=True)
class SubjectSettings:
    """What is asked of a subject.

    Attributes
    ----------
    bleeds : number of microbleeds, None to draw it
    prevalence : probability that a drawn number is not zero
    mimics : factor of how often focal mimics occur, 0 for none (vessels and air remain)
    whole_head : False leaves the brain only
    """

    bleeds: int | None = None
    prevalence: float = 0.6
    mimics: float = 1.0
    whole_head: bool = True

    def __post_init__(self):
        if self.bleeds is not None and not 0 <= self.bleeds <= MAX_COUNT:
            raise SettingsError(f"{self.bleeds} microbleeds cannot be drawn; give a number from 0 to {MAX_COUNT}.")
        if not 0 <= self.prevalence <= 1:
            raise SettingsError(f"A prevalence of {self.prevalence:g} is none; give one from 0 to 1.")
        if not 0 <= self.mimics <= 20:
            raise SettingsError(f"A rate of mimics of {self.mimics:g} cannot be drawn; give one from 0 to 20.")


@dataclass(frozen=True, eq=False)
class Subject:
    """A head with everything in it; all places are RAS mm of `anatomy`, which is already deformed."""

    age: float
    deformation: Deformation
    anatomy: Anatomy
    tissue: TissueValues
    nuclei: tuple[Focus, ...]
    vessels: tuple[Vessel, ...]
    air: tuple[Focus, ...]
    mimics: tuple[Focus, ...]
    bleeds: tuple[Focus, ...]
    whole_head: bool


def draw_subject(anatomy: Anatomy, settings: SubjectSettings, rng: np.random.Generator) -> Subject:
    """Draw a subject from a label map; the same generator state gives the same subject."""
    shape, tissue, nuclei, vessels, air, mimics, count, bleeds = rng.spawn(8)
    age = float(shape.uniform(*AGES))
    deformation = draw_deformation(shape, age)
    head = deform(anatomy, deformation)
    values = draw_tissue(tissue, age)
    tubes = draw_vessels(head, vessels)
    spaces = draw_air(head, air)
    head = hollowed(head, spaces)
    wanted = draw_count(count, settings.prevalence) if settings.bleeds is None else settings.bleeds
    return Subject(age, deformation, head, values, draw_nuclei(head, values.iron, age, nuclei), tubes, spaces,
                   draw_mimics(head, settings.mimics, age, mimics), draw_microbleeds(head, tubes, wanted, bleeds),
                   settings.whole_head)

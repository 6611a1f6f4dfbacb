"""Options that several commands share, each in one place."""

import argparse

from .progress import STYLES
from .settings import DEVICES, MODALITIES, OPERATING_POINTS


def positive(text: str) -> int:
    """Return the number that an option gives, as argparse asks for it."""
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number of 1 or more")
    return value


def add_telling_options(parser: argparse.ArgumentParser) -> None:
    """Add how progress and our own faults are told."""
    parser.add_argument("--progress", choices=STYLES, default=STYLES[0],
                        help="json writes one object per line (default: %(default)s)")
    add_debug_option(parser)


def add_debug_option(parser: argparse.ArgumentParser) -> None:
    """Add that tracebacks are printed."""
    parser.add_argument("--debug", action="store_true", help="print tracebacks")


def add_device_option(parser: argparse._ActionsContainer) -> None:
    """Add where networks run."""
    parser.add_argument("--device", choices=DEVICES, default=DEVICES[0],
                        help="where the networks run (default: the graphics card if there is one)")


def add_modality_option(parser: argparse.ArgumentParser, default: str = "told from the scan itself") -> None:
    """Add of which kind scans are; `default` is how it is known otherwise."""
    parser.add_argument("--modality", choices=("auto", *MODALITIES), default="auto",
                        help=f"kind of scan (default: {default})")


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Add the model, its operating point, and what its label maps hold."""
    parser.add_argument("--model", metavar="NAME|DIR", help="default: the model that comes with this version")
    parser.add_argument("--operating-point", choices=OPERATING_POINTS, default=OPERATING_POINTS[0],
                        help="sensitive finds more and is wrong more often (default: %(default)s)")
    parser.add_argument("--improbable-regions", action="store_true",
                        help="the label map holds the candidates below the threshold too, for a reader who lowers it")

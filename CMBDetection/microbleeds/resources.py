"""Where the files that are loaded at run time lie, in all three forms of the software."""

from pathlib import Path


def resource_path(name: str) -> Path:
    """Return the path of a file or folder under ``Resources``, for example ``"Models/brain-mask"``.

    In a source checkout and in the packaged extension ``Resources`` lies beside the package
    (``CMBDetection/Resources``, ``qt-scripted-modules/Resources``); ``pip install`` puts it inside the package.

    Raises
    ------
    FileNotFoundError
        If the file is in neither place.
    """
    package = Path(__file__).resolve().parent
    for root in (package / "Resources", package.parent / "Resources"):
        if (root / name).exists():
            return root / name
    raise FileNotFoundError(f"{name} is missing from this installation of CMBDetection; install it again.")

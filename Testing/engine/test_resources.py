"""The engine finds its files in all three forms of the software; each form is made anew and asked by a child."""

import shutil
import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest
from microbleeds.resources import resource_path

REPOSITORY = Path(__file__).resolve().parents[2]
MODULE = REPOSITORY / "CMBDetection"
NAMES = sorted(str(path.relative_to(MODULE / "Resources").as_posix()) for path in (MODULE / "Resources").rglob("*")
               if path.is_file())
ASK = """
import sys
sys.path.insert(0, sys.argv[1])
from microbleeds.resources import resource_path
for name in sys.stdin.read().splitlines():
    print(resource_path(name))
"""


def ask(root):
    """Return where a child with the engine in `root` finds each file of `NAMES`."""
    # -I: neither PYTHONPATH nor the current folder lead back to the checkout
    child = subprocess.run([sys.executable, "-I", "-c", ASK, str(root)], input="\n".join(NAMES), cwd=root,
                           capture_output=True, text=True, check=True)
    return [Path(line) for line in child.stdout.splitlines()]


def copy(folder, name, target):
    shutil.copytree(folder / name, target / name, ignore=shutil.ignore_patterns("__pycache__"))


def test_there_is_something_to_find():
    assert "UI/CMBDetection.ui" in NAMES


@pytest.mark.parametrize("root", ["CMBDetection", "lib/Slicer-5.12/qt-scripted-modules"],
                         ids=["source checkout", "packaged extension"])
def test_resources_beside_the_package(tmp_path, root):
    root = tmp_path.resolve() / root
    copy(MODULE, "microbleeds", root)
    copy(MODULE, "Resources", root)
    assert ask(root) == [root / "Resources" / name for name in NAMES]


def test_resources_inside_the_package_after_pip_install(tmp_path):
    source, wheels, site = tmp_path / "source", tmp_path / "wheels", tmp_path.resolve() / "site-packages"
    copy(REPOSITORY, "CMBDetection", source)
    for name in ("pyproject.toml", "LICENSE"):
        shutil.copy(REPOSITORY / name, source)
    (source / "README.md").write_text("The wheel is built from a copy, which keeps the checkout clean.\n")
    isolation = ["--no-build-isolation"] if find_spec("hatchling") else []
    subprocess.run([sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-deps",
                    *isolation, "--wheel-dir", wheels, source], check=True)
    wheel, = wheels.iterdir()
    zipfile.ZipFile(wheel).extractall(site)
    assert ask(site) == [site / "microbleeds" / "Resources" / name for name in NAMES]
    command = next(site.glob("*.dist-info")) / "entry_points.txt"
    assert "cmbdetect = microbleeds.cli:main" in command.read_text()


def test_a_missing_file_says_what_to_do():
    with pytest.raises(FileNotFoundError, match="^no/such.file is missing from this installation of CMBDetection; "
                                                "install it again"):
        resource_path("no/such.file")

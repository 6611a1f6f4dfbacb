"""Builds the extension's package with Slicer's own CMake macros, then compares its content file by file with the lists.

    python Testing/package_extension.py --slicer-source SLICER -o DIR   # a git checkout of Slicer, not built
    python Testing/package_extension.py --slicer-build BUILD -o DIR     # the build that holds SlicerConfig.cmake
    python Testing/package_extension.py --check PACKAGE.tar.gz          # one that is there

`SLICER_SOURCE` or `SLICER_BUILD` in the environment does instead of an option. A source checkout must hold
Utilities/Scripts/package_python_extension.py (2026 and later): the script with which the Extensions Index packages
extensions without C++. Needs git, CMake 3.28 or newer, and the compiler that CMake's `project()` asks for.

What is committed is packaged, not what lies beside it. Exit code 1 if a file is missing, superfluous or different.
"""

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections import Counter
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).resolve().parents[1]
NAME = "CMBDetection"
MODULES = re.compile(r"lib/Slicer-\d+\.\d+/qt-scripted-modules/(.+)")
DESCRIPTION = re.compile(rf"share/Slicer-\d+\.\d+/{NAME}\.s4ext")
COMPILED = re.compile(r"(?:__pycache__/)?([^/]+?)(?:\.cpython-\d+)?\.pyc")
LARGEST_BYTES = 100_000_000


def listed(cmake_file, variable):
    """Return the entries of ``set(VARIABLE ...)``, one a line in the file."""
    block = re.search(rf"set\({variable}\n(.*?)\n? *\)", cmake_file.read_text(encoding="utf-8"), re.DOTALL)
    return [line.strip() for line in block.group(1).splitlines()]


def expected_files(root=ROOT):
    """Return the path of every file that the package must hold in Slicer's module folder, by its name there."""
    module = root / NAME
    names = [*listed(module / "CMakeLists.txt", "MODULE_PYTHON_SCRIPTS"),
             *listed(module / "CMakeLists.txt", "MODULE_PYTHON_RESOURCES")]
    return {name: module / name for name in names}


def read_package(path):
    """Return size and SHA-256 of every file of a .tar.gz, by its name below the package's single top folder.

    Raises
    ------
    ValueError
        If the archive has a link, a name that leaves the folder, or several top folders.
    """
    found, tops = {}, set()
    with tarfile.open(path, "r:gz") as archive:
        for member in archive:
            top, *rest = PurePosixPath(member.name).parts
            tops.add(top)
            if member.isdir():
                continue
            if not member.isfile() or ".." in rest or top in ("/", ".."):
                raise ValueError(f"{path}: {member.name} is not a plain file inside the package")
            data = archive.extractfile(member).read()
            found["/".join(rest)] = (len(data), hashlib.sha256(data).hexdigest())
    if len(tops) != 1:
        raise ValueError(f"{path}: one top folder expected, found {sorted(tops)}")
    return found


def complaints(found, expected):
    """Return what is missing, superfluous, different or too large in a package.

    Parameters
    ----------
    found : dict
        (bytes, SHA-256) by name, as `read_package` returns it.
    expected : dict
        Path of the source by name in the module folder, as `expected_files` returns it.
    """
    problems, modules, descriptions = [], {}, 0
    for name, content in found.items():
        match = MODULES.fullmatch(name)
        if match:
            modules[match.group(1)] = content
        elif DESCRIPTION.fullmatch(name):
            descriptions += 1
        else:
            problems.append(f"superfluous: {name}")
    for name, path in expected.items():
        if name not in modules:
            problems.append(f"missing: {name}")
        elif modules[name][1] != hashlib.sha256(path.read_bytes()).hexdigest():
            problems.append(f"different from its source: {name}")
    problems += [f"superfluous: {name}" for name in modules if name not in expected and not _compiled(name, expected)]
    if descriptions != 1:
        problems.append(f"one description ({NAME}.s4ext) expected, found {descriptions}")
    size = sum(size for size, _ in found.values())
    if size > LARGEST_BYTES:
        problems.append(f"{size / 1e6:.0f} MB, more than {LARGEST_BYTES / 1e6:.0f} MB")
    return sorted(problems)


def _compiled(name, expected):
    """Whether a file is what Slicer's build compiles from an expected script."""
    folder, _, last = name.replace("__pycache__/", "").rpartition("/")
    match = COMPILED.fullmatch(last)
    return bool(match) and f"{folder}/{match.group(1)}.py".lstrip("/") in expected


def size_table(found):
    """Return the lines of a table: files and bytes by folder."""
    files, sizes = Counter(), Counter()
    for name, (size, _) in found.items():
        match = MODULES.fullmatch(name)
        parts = PurePosixPath(match.group(1) if match else name).parts
        group = "/".join(parts[:2] if parts[0] == "Resources" and len(parts) > 2 else parts[:-1][:1]) or "(module)"
        files[group] += 1
        sizes[group] += size
    lines = [f"{group:40} {files[group]:5d} files {sizes[group] / 1e6:8.2f} MB" for group in sorted(files)]
    return [*lines, f"{'all':40} {len(found):5d} files {sum(sizes.values()) / 1e6:8.2f} MB"]


def build(folder, slicer_source, slicer_build):
    """Package a clone of what is committed and return (clone, package).

    Raises
    ------
    subprocess.CalledProcessError
        If git, CMake or CPack fails.
    FileNotFoundError
        If a tool or the package is missing.
    """
    clone, build_folder = folder / NAME, folder / "build"
    _run("git", "clone", "--quiet", str(ROOT), str(clone))
    homepage = re.search(r'EXTENSION_HOMEPAGE "(.+)"', (clone / "CMakeLists.txt").read_text(encoding="utf-8")).group(1)
    _run("git", "-C", str(clone), "remote", "set-url", "origin", homepage)
    if slicer_source:
        script = Path(slicer_source, "Utilities", "Scripts", "package_python_extension.py").resolve(strict=True)
        cmake = shutil.which("cmake")
        if cmake is None:
            raise FileNotFoundError("CMake is not on the PATH: install it, for example with pip install cmake.")
        _run(sys.executable, str(script), "--ext-src", str(clone), "--slicer-src", str(Path(slicer_source).resolve()),
             "--build-dir", str(build_folder), "--dummy-build", str(folder / "SlicerDummyBuild"), "--cmake", cmake,
             "--cmake-arg", "-DBUILD_TESTING=OFF")
    else:
        _run("cmake", "-S", str(clone), "-B", str(build_folder), f"-DSlicer_DIR={Path(slicer_build).resolve()}",
             "-DBUILD_TESTING=OFF", "-DCMAKE_BUILD_TYPE=Release")
        _run("cmake", "--build", str(build_folder), "--config", "Release")
        _run("cpack", "-C", "Release", cwd=build_folder)
    packages = sorted(build_folder.glob("*.tar.gz"))
    if len(packages) != 1:
        raise FileNotFoundError(f"One package expected in {build_folder}, found {[path.name for path in packages]}.")
    return clone, packages[0]


def _run(*command, cwd=None):
    subprocess.run(command, cwd=cwd, check=True)


def report(package, expected):
    """Print sizes and complaints of a package; return the exit code."""
    found = read_package(package)
    print(*size_table(found), f"the package itself: {package.stat().st_size / 1e6:.2f} MB", sep="\n")
    problems = complaints(found, expected)
    good = f"{len(expected)} files of the lists are in the package, equal to their sources; nothing else"
    print(*(problems or [good]), sep="\n")
    return 1 if problems else 0


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slicer-source", default=os.environ.get("SLICER_SOURCE"), metavar="DIR")
    parser.add_argument("--slicer-build", default=os.environ.get("SLICER_BUILD"), metavar="DIR")
    parser.add_argument("--check", type=Path, metavar="PACKAGE")
    parser.add_argument("-o", "--output", type=Path, default=Path.cwd(), metavar="DIR")
    options = parser.parse_args(arguments)
    if options.check:
        return report(options.check, expected_files())
    if not options.slicer_source and not options.slicer_build:
        parser.error("Slicer's macros are needed: name a checkout (--slicer-source) or a build (--slicer-build) of it.")
    with tempfile.TemporaryDirectory() as temporary:
        clone, package = build(Path(temporary), options.slicer_source, options.slicer_build)
        options.output.mkdir(parents=True, exist_ok=True)
        kept = Path(shutil.copy2(package, options.output))
        print(kept)
        return report(kept, expected_files(clone))


if __name__ == "__main__":
    sys.exit(main())

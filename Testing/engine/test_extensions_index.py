"""What the Slicer Extensions Index checks when an extension is submitted, as far as that can be checked here.

After ExtensionsIndex:scripts/check_description_files.py and the questions of scripts/extension_ai_analysis.py; the
table of all criteria is Resources/extensions-index.md.
"""

import ast
import json
import re
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from package_extension import expected_files

ROOT = Path(__file__).resolve().parents[2]
MODULE = ROOT / "CMBDetection"
ENTRY = ROOT / "Resources" / "ExtensionsIndex" / "CMBDetection.json"
SCHEMA = ("https://raw.githubusercontent.com/Slicer/Slicer/main/Schemas/"
          "slicer-extension-catalog-entry-schema-v1.0.1.json#")
FIELDS = {"$schema", "build_dependencies", "build_subdirectory", "category", "enabled", "scm_revision", "scm_type",
          "scm_url", "tier"}
CMAKE = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
ALLOWED_AT_FILE_SCOPE = {"slicer", "vtk", "qt", "ctk", "numpy", "scipy", "SimpleITK"}
NETWORK = {"requests", "urllib3", "urllib.request", "http.client", "ftplib", "smtplib", "telnetlib"}
PANEL_SIDE = [MODULE / "CMBDetection.py", *sorted((MODULE / "CMBDetectionLib").glob("*.py"))]


def cmake_value(name):
    """Return a value as the Index finds it: quoted, in one ``set``."""
    return re.search(rf'set\s*\({name}\s*"([^"]+)"\s*\)', CMAKE).group(1)


def test_entry_agrees_with_the_cmake_file():
    entry = json.loads(ENTRY.read_text(encoding="utf-8"))
    assert set(entry) <= FIELDS and entry["$schema"] == SCHEMA
    assert re.search(r"project\s*\(\s*([^\s)]+)", CMAKE).group(1) == ENTRY.stem
    assert entry["category"] == cmake_value("EXTENSION_CATEGORY") == "Neuroimaging"
    assert entry["build_dependencies"] == cmake_value("EXTENSION_DEPENDS").split()
    assert entry["scm_url"].removesuffix(".git") == cmake_value("EXTENSION_HOMEPAGE")
    assert entry["scm_url"].startswith("https://") and entry["scm_url"].endswith("/Slicer" + ENTRY.stem)
    assert (entry["scm_revision"], entry["build_subdirectory"]) == ("main", ".")
    assert entry["tier"] in (1, 3, 5)


def test_pictures_are_where_the_cmake_file_says():
    urls = [cmake_value("EXTENSION_ICONURL"), *cmake_value("EXTENSION_SCREENSHOTURLS").split()]
    raw = cmake_value("EXTENSION_HOMEPAGE").replace("github.com", "raw.githubusercontent.com") + "/main/"
    assert len(urls) >= 2
    for url in urls:
        assert url.startswith(raw)
        assert (ROOT / url.removeprefix(raw)).read_bytes().startswith(b"\x89PNG")


def test_licence_is_where_the_index_looks_and_goes_with_the_package():
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License" in text
    assert (MODULE / "Resources" / "LICENSE.txt").read_text(encoding="utf-8") == text
    for name in ("LICENSE_FILE", "README_FILE"):
        path = cmake_value(f"EXTENSION_{name}").replace("${CMAKE_CURRENT_SOURCE_DIR}", str(ROOT))
        assert Path(path).is_file()


def test_description_is_one_or_two_sentences_for_anyone():
    description = cmake_value("EXTENSION_DESCRIPTION")
    assert "microbleeds" in description and "not for clinical use" in description
    assert len(re.findall(r"[.!?](?:\s|$)", description)) <= 2


def test_readme_has_what_the_home_page_needs():
    headings = re.findall(r"^#+ (.+)$", README, re.MULTILINE)
    for needed in ("CMBDetection", "In Slicer", "Modules", "A first reading", "Data and licences", "Citation"):
        assert needed in headings
    assert README.startswith("# CMBDetection\n\nFinds cerebral microbleeds")
    assert "Load the sample scan" in README and "Sample Data" in README
    assert "https://doi.org/" in README and "Apache-2.0" in README
    pictures = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", README)
    assert sum("Screenshots/" in name for name in pictures) >= 3


@pytest.mark.parametrize("document", sorted([ROOT / "README.md", *(ROOT / "Resources").glob("*.md"),
                                             MODULE / "Resources" / "licences.md"]), ids=lambda path: path.name)
def test_links_to_files_lead_somewhere(document):
    links = re.findall(r"\]\((?!https?://|#|mailto:)([^)#\s]+)", document.read_text(encoding="utf-8"))
    missing = [link for link in links if not (document.parent / link).exists()]
    assert not missing


def file_scope_imports(path):
    """Return the absolute names that a file imports when it is imported, ``try`` and ``if`` included."""
    names, pending = set(), list(ast.parse(path.read_text(encoding="utf-8")).body)
    while pending:
        statement = pending.pop()
        if isinstance(statement, ast.Import):
            names |= {alias.name for alias in statement.names}
        elif isinstance(statement, ast.ImportFrom):
            base = statement.module or ""
            if statement.level:
                package = path.relative_to(MODULE).parent.parts[: None if statement.level == 1 else 1 - statement.level]
                base = ".".join([*package, base]).rstrip(".")
            names |= {base, *(f"{base}.{alias.name}" for alias in statement.names)}
        elif isinstance(statement, (ast.If, ast.Try, ast.With, ast.ClassDef)):
            pending += [child for child in ast.walk(statement) if isinstance(child, (ast.Import, ast.ImportFrom))]
    return names


def imported_with_the_panel():
    """Return the name of every module outside the extension that is imported with the panel, and by which file."""
    outside, seen, pending = {}, set(), list(PANEL_SIDE)
    while pending:
        path = pending.pop()
        if path in seen:
            continue
        seen.add(path)
        for name in file_scope_imports(path):
            parts = name.split(".")
            candidates = [MODULE.joinpath(*parts).with_suffix(".py"), MODULE.joinpath(*parts, "__init__.py")]
            own = [candidate for candidate in candidates if candidate.is_file()]
            pending += own
            if not own and not (MODULE / parts[0]).is_dir():
                outside.setdefault(parts[0], path.name)
    return outside


def test_only_packages_of_slicer_are_imported_with_the_panel():
    outside = imported_with_the_panel()
    assert "numpy" in outside and "slicer" in outside
    foreign = {name: by for name, by in outside.items()
               if name not in ALLOWED_AT_FILE_SCOPE and name not in sys.stdlib_module_names}
    assert not foreign


def translation_complaints(source):
    """Return the lines on which a text is put together before it is translated."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("_", "translate"):
            found += [node.lineno for argument in node.args
                      if not (isinstance(argument, ast.Constant) and isinstance(argument.value, str))]
    return found


@pytest.mark.parametrize("path", PANEL_SIDE, ids=lambda path: path.name)
def test_texts_are_translated_before_they_are_formatted(path):
    assert translation_complaints(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("source", ['_(f"{n} found")', '_("%d found" % n)', '_("{n}".format(n=n))', "_(text)"])
def test_translation_rule_finds(source):
    assert translation_complaints(source) == [1]


def test_translation_rule_lets_pass():
    assert translation_complaints('_("{n} found").format(n=1); translate("context", "text"); f"{_(\'a\')}"') == []


def pip_requirements(source):
    """Return every text in a call whose name speaks of pip."""
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    return [constant.value for call in calls if "pip" in ast.unparse(call.func).lower()
            for constant in ast.walk(call) if isinstance(constant, ast.Constant) and isinstance(constant.value, str)]


def test_pytorch_is_left_to_its_extension():
    for path in PANEL_SIDE:
        assert not [text for text in pip_requirements(path.read_text(encoding="utf-8")) if "torch" in text]
    source = (MODULE / "CMBDetectionLib" / "dependencies.py").read_text(encoding="utf-8")
    small = ast.literal_eval(re.search(r"^_REQUIREMENTS = (.+)$", source, re.MULTILINE).group(1))
    assert small and not [text for text in small.values() if "torch" in text or "==" in text]
    assert pip_requirements('slicer.util.pip_install("torch>=2")') == ["torch>=2"]


def test_nothing_is_downloaded_or_sent():
    for path in (path for name, path in expected_files().items() if name.endswith(".py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
        imported |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module}
        used = {ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        assert not imported & NETWORK, path.name
        assert not used & {"socket.socket", "socket.create_connection", "slicer.util.downloadFile"}, path.name


def test_the_form_keeps_slicers_own_style_and_speaks_of_research():
    form = ElementTree.parse(MODULE / "Resources" / "UI" / "CMBDetection.ui")
    assert not [node for node in form.iter("property") if node.get("name") == "styleSheet"]
    texts = [node.text or "" for node in form.iter("string")]
    assert any("not for clinical use" in text for text in texts)


def test_the_working_tree_is_far_below_the_limit_of_the_index():
    folders = ("CMBDetection", "Resources", "Testing")
    files = [path for folder in folders for path in (ROOT / folder).rglob("*")
             if path.is_file() and "__pycache__" not in path.parts]
    assert sum(path.stat().st_size for path in files) < 40e6

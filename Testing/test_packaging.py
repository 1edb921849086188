"""What Slicer's build and the Extensions Index need: lists, addresses, an install that runs."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from LiverTumorSegLib.model.catalog import shipped_models
from looped import looped
from packaging.requirements import Requirement

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
MODULE_FOLDER = ROOT / "LiverTumorSeg"
FAKE_SLICER = ROOT / "Testing" / "cmake"
DESCRIPTION = ROOT / "Resources" / "ExtensionsIndex" / "LiverTumorSeg.json"
EXTENSION = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
LARGEST_CHECKOUT_BYTES = 100_000_000  # of the Extensions Index

# The rules of the Index's catalog entry, schema 1.0.2: the keys there are, and their types.
ENTRY_TYPES = {
    "$schema": str,
    "category": str,
    "scm_url": str,
    "scm_revision": str,
    "scm_type": str,
    "build_dependencies": list,
    "dicom_support_rule": str,
    "build_subdirectory": str,
    "enabled": bool,
    "tier": int,
}
NEEDED_KEYS = {"$schema", "category", "scm_url"}


def field(name: str) -> str:
    """A field of the top-level CMakeLists.txt, read by the Index's own pattern."""
    (value,) = re.findall(rf'set\s*\({name}\s*"([^"]+)"[ ]*\)', EXTENSION)
    return str(value)


def listed(variable: str, folder: Path = MODULE_FOLDER) -> list[str]:
    """The files that a list of patterns in the module's CMakeLists.txt names."""
    text = (folder / "CMakeLists.txt").read_text(encoding="utf-8")
    found = re.search(rf"file\(GLOB {variable} RELATIVE .*? CONFIGURE_DEPENDS\n(.*?)\)", text, re.S)
    assert found, f"no {variable} in the module's CMakeLists.txt"
    names = []
    for pattern in found[1].replace("${MODULE_NAME}", "LiverTumorSeg").split():
        files = [path.relative_to(folder).as_posix() for path in folder.glob(pattern)]
        assert files, f"{pattern} in LiverTumorSeg/CMakeLists.txt names no file"
        names += files
    return names


def on_disk() -> set[str]:
    """What lies in the module's folder and belongs to it."""
    paths = (path.relative_to(MODULE_FOLDER) for path in MODULE_FOLDER.rglob("*"))
    files = (path for path in paths if (MODULE_FOLDER / path).is_file())
    made = ("__pycache__", "CMakeLists.txt", "README.md")  # a page for who reads the code
    return {p.as_posix() for p in files if not any(_is_made(part, made) for part in p.parts)}


def _is_made(part: str, made: tuple[str, ...]) -> bool:
    return part in made or part.startswith(".") or part.endswith((".part", ".egg-info"))


def test_every_file_of_the_module_is_listed_once() -> None:
    names = listed("MODULE_PYTHON_SCRIPTS") + listed("MODULE_PYTHON_RESOURCES")
    assert len(names) == len(set(names))
    assert sorted(on_disk() - set(names)) == [], "add these to LiverTumorSeg/CMakeLists.txt"
    assert sorted(set(names) - on_disk()) == [], "LiverTumorSeg/CMakeLists.txt lists too much"


def test_scripts_and_resources_are_told_apart() -> None:
    assert all(name.endswith(".py") for name in listed("MODULE_PYTHON_SCRIPTS"))
    assert not any(name.endswith(".py") for name in listed("MODULE_PYTHON_RESOURCES"))


def test_slicer_asks_for_no_more_than_the_library_does() -> None:
    """The same lower bounds as pyproject.toml, and torch is left to the PyTorch extension."""
    lines = (MODULE_FOLDER / "Resources" / "requirements.txt").read_text().splitlines()
    asked = {str(Requirement(line)) for line in lines if line and not line.startswith("#")}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = {str(Requirement(line)) for line in project["dependencies"]}
    assert asked
    assert asked <= declared
    assert not any(line.startswith("torch") for line in asked)


def png_size(path: Path) -> tuple[int, int]:
    """Width and height in pixels, from the file's header."""
    data = path.read_bytes()
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    return int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")


def test_the_icons_are_one_picture_of_the_right_size() -> None:
    icon = ROOT / "LiverTumorSeg.png"
    assert png_size(icon) == (128, 128)
    inside = MODULE_FOLDER / "Resources" / "Icons" / "LiverTumorSeg.png"
    assert inside.read_bytes() == icon.read_bytes()


def test_the_extension_is_described() -> None:
    for name in ("HOMEPAGE", "CONTRIBUTORS", "DESCRIPTION", "DEPENDS"):
        assert field(f"EXTENSION_{name}")
    assert "not for diagnosis" in field("EXTENSION_DESCRIPTION")
    licenses = {entry.licence for entry in shipped_models()}
    assert all(name in field("EXTENSION_DESCRIPTION") for name in licenses), "as the Index asks"
    assert re.search(r"project\s*\(\s*([^\s\)]+)", EXTENSION)[1] == "LiverTumorSeg"  # type: ignore[index]
    assert "VERSION 3.16.3...3.28.0" in EXTENSION


@looped("name", ["EXTENSION_ICONURL", "EXTENSION_SCREENSHOTURLS"])
def test_pictures_lie_in_the_repository_under_their_addresses(name: str) -> None:
    base = field("EXTENSION_HOMEPAGE").replace("github.com", "raw.githubusercontent.com") + "/main/"
    for url in field(name).split():
        assert url.startswith(base), "all addresses start with the homepage"
        assert url.endswith(".png")
        assert (ROOT / url.removeprefix(base)).is_file(), f"{url} names no file of the repository"


def entry() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(DESCRIPTION.read_text(encoding="utf-8"))
    return loaded


def test_the_index_entry_keeps_the_schema_and_agrees_with_the_extension() -> None:
    # the index entry keeps the schema
    data = DESCRIPTION.read_bytes()
    assert b"\r" not in data, "the Index wants LF line endings"
    found = entry()
    assert found.keys() >= NEEDED_KEYS
    assert found.keys() <= ENTRY_TYPES.keys(), "the schema allows no other keys"
    for key, value in found.items():
        assert type(value) is ENTRY_TYPES[key], key
    assert all(isinstance(name, str) for name in found["build_dependencies"])
    assert found["scm_type"] in ("git", "local")
    assert 1 <= found["tier"] <= 5
    assert found["$schema"].endswith("slicer-extension-catalog-entry-schema-v1.0.2.json#")

    # the index entry agrees with the extension
    found = entry()
    assert found["scm_url"] == field("EXTENSION_HOMEPAGE") + ".git"
    assert found["scm_url"].startswith("https://")
    assert "slicer" in found["scm_url"].rpartition("/")[2].lower()
    assert " ".join(found["build_dependencies"]) == field("EXTENSION_DEPENDS")
    assert found["category"] == "Segmentation"
    assert DESCRIPTION.stem == "LiverTumorSeg"
    assert (ROOT / "LICENSE").is_file()


def test_other_files_give_the_same_public_address() -> None:
    home = field("EXTENSION_HOMEPAGE").removeprefix("https://github.com/")
    texts = [ROOT / "README.md", ROOT / "pyproject.toml", *MODULE_FOLDER.rglob("*.py")]
    for path in (path for path in texts if path.is_file()):
        for address in re.findall(r"github[.]com/([\w.-]+/[\w.-]*LiverTumorSeg)", _read(path)):
            assert address == home, f"{path.name} says {address}"


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def test_a_checkout_is_small_enough_for_the_index() -> None:
    """It sums all files as cloned; half of the limit is left to the history."""
    try:
        done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    files = (ROOT / name for name in done.stdout.decode().split("\0") if name)
    assert sum(f.stat().st_size for f in files if f.is_file()) < LARGEST_CHECKOUT_BYTES / 2


# With CMake, against the stand-in for Slicer's package

needs_cmake = pytest.mark.skipif(shutil.which("cmake") is None, reason="CMake is not installed")
needs_slicer = pytest.mark.skipif(
    importlib.util.find_spec("slicer_core") is None or importlib.util.find_spec("PySide6") is None,
    reason="slicer-core and PySide6 have wheels for Linux only",
)


def run(
    *command: str | Path, folder: Path, path: Path | None = None, check: bool = True
) -> subprocess.CompletedProcess[str]:
    """A command in a folder, with no other Python path than the given one."""
    hidden = ("PYTHONPATH", "DISPLAY")
    environment = {k: v for k, v in os.environ.items() if k not in hidden}
    environment["QT_QPA_PLATFORM"] = "offscreen"
    if path:
        environment["PYTHONPATH"] = str(path)
    done = subprocess.run(
        [str(part) for part in command],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if check:
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done


def configure(source: Path, folder: Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    options = [f"-DSlicer_DIR={FAKE_SLICER}", f"-DSLICERSIM_PYTHON={sys.executable}"]
    options += [f"-DCMAKE_INSTALL_PREFIX={folder / 'installed'}"]
    return run("cmake", "-S", source, "-B", folder / "build", *options, folder=folder, check=check)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the extension configured in build/ and installed in installed/."""
    folder = tmp_path_factory.mktemp("extension")
    configure(ROOT, folder)
    run("cmake", "--install", folder / "build", folder=folder)
    return folder


@needs_cmake
@needs_slicer
@pytest.mark.slow
def test_the_laid_out_module_passes_its_self_tests(built: Path) -> None:
    done = run("ctest", "--output-on-failure", "--no-tests=error", folder=built / "build")
    assert "py_LiverTumorSeg" in done.stdout
    assert "qSlicerLiverTumorSegModuleGenericTest" in done.stdout


@needs_cmake
@needs_slicer
def test_the_installed_module_opens_without_the_checkout(built: Path) -> None:
    (installed,) = (built / "installed").glob("lib/Slicer-*/qt-scripted-modules")
    names = listed("MODULE_PYTHON_SCRIPTS") + listed("MODULE_PYTHON_RESOURCES")
    assert all((installed / name).is_file() for name in names)
    script = built / "where.py"
    script.write_text(
        "import sys, slicer\n"
        "slicer.modules.livertumorseg.widgetRepresentation()\n"
        "ours = [m for n, m in sys.modules.items() if n.startswith('LiverTumorSeg')]\n"
        f"strangers = [m for m in ours if not m.__file__.startswith({str(installed)!r})]\n"
        "assert ours and not strangers, strangers\n"
    )
    simulator = built / "simulator"  # without the rest of the checkout beside it
    shutil.copytree(ROOT / "Testing" / "slicersim", simulator / "slicersim")
    command = (sys.executable, "-m", "slicersim", "script", installed, script)
    run(*command, folder=built, path=simulator)


@needs_cmake
def test_the_installed_library_answers_on_the_command_line(built: Path) -> None:
    """As the module calls it: the installed folder is the child's path."""
    (installed,) = (built / "installed").glob("lib/Slicer-*/qt-scripted-modules")
    command = (sys.executable, "-m", "LiverTumorSegLib", "models", "list")
    run(*command, folder=built, path=installed)
    where = "import LiverTumorSegLib; print(LiverTumorSegLib.__file__)"
    done = run(sys.executable, "-c", where, folder=built, path=installed)
    assert done.stdout.startswith(str(installed))


def unwrapped(text: str) -> str:
    """CMake breaks long messages into lines."""
    return " ".join(text.split())


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The extension's own files, to be spoiled."""
    source = tmp_path / "source"
    source.mkdir()
    shutil.copy(ROOT / "CMakeLists.txt", source)
    skip = shutil.ignore_patterns("__pycache__", "*.safetensors")
    shutil.copytree(MODULE_FOLDER, source / "LiverTumorSeg", ignore=skip)
    for name in listed("MODULE_PYTHON_RESOURCES"):
        (source / "LiverTumorSeg" / name).touch()  # weights need not be copied
    return source


@needs_cmake
def test_a_file_that_no_pattern_names_stops_the_configuration(copy: Path, tmp_path: Path) -> None:
    unlisted = ("LiverTumorSegLib/attic/new.py", "LiverTumorSegLib/model/weights/new.onnx")
    for name in unlisted:
        path = copy / "LiverTumorSeg" / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    done = configure(copy, tmp_path, check=False)
    assert done.returncode != 0
    for name in unlisted:
        assert f"'{name}' is in the folder and not in" in unwrapped(done.stderr)


@needs_cmake
def test_what_the_patterns_name_is_installed(built: Path) -> None:
    (installed,) = (built / "installed").glob("lib/Slicer-*/qt-scripted-modules")
    there = {p.relative_to(installed).as_posix() for p in installed.rglob("*") if p.is_file()}
    assert on_disk() <= there

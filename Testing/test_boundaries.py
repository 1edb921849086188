"""Who may import whom, how large things may grow, and what must never be committed."""

from __future__ import annotations

import ast
import graphlib
import os
import subprocess
import sys
from collections.abc import Iterator
from fnmatch import fnmatch
from functools import cache
from pathlib import Path

import pytest
from packaging.requirements import Requirement

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
MODULE_FOLDER = ROOT / "LiverTumorSeg"
LIB = MODULE_FOLDER / "LiverTumorSegLib"
SLICER_SIDE = MODULE_FOLDER / "LiverTumorSegSlicer"
TRAINING = ROOT / "training"
TESTING = ROOT / "Testing"
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
CONSTRAINTS = TESTING / "constraints.txt"

# Which package may import which, and itself. A name stands for all that is below it and has no row.
GROUND = (
    "LiverTumorSegLib LiverTumorSegLib.volume LiverTumorSegLib.labels LiverTumorSegLib.files"
    " LiverTumorSegLib.tables LiverTumorSegLib.sentences LiverTumorSegLib.settings"
)
ALLOWED = {
    "LiverTumorSegLib": "",
    "LiverTumorSegLib.__main__": "LiverTumorSegLib.cli",
    "LiverTumorSegLib.labels": "",
    "LiverTumorSegLib.sentences": "",
    "LiverTumorSegLib.files": "LiverTumorSegLib.sentences",
    "LiverTumorSegLib.tables": "",
    "LiverTumorSegLib.settings": "LiverTumorSegLib.sentences",
    "LiverTumorSegLib.volume": "LiverTumorSegLib.sentences",
    "LiverTumorSegLib.nets": "",
    "LiverTumorSegLib.ct": GROUND,
    "LiverTumorSegLib.model": f"{GROUND} LiverTumorSegLib.nets",
    "LiverTumorSegLib.phantom": GROUND,
    "LiverTumorSegLib.inference": f"{GROUND} LiverTumorSegLib.nets LiverTumorSegLib.model",
    "LiverTumorSegLib.result": f"{GROUND} LiverTumorSegLib.ct LiverTumorSegLib.model"
    " LiverTumorSegLib.inference",
    "LiverTumorSegLib.importers": f"{GROUND} LiverTumorSegLib.ct LiverTumorSegLib.nets"
    " LiverTumorSegLib.model LiverTumorSegLib.inference",
    "LiverTumorSegLib.cli": f"{GROUND} LiverTumorSegLib.ct LiverTumorSegLib.model"
    " LiverTumorSegLib.phantom LiverTumorSegLib.importers LiverTumorSegLib.inference"
    " LiverTumorSegLib.result",
    "LiverTumorSegSlicer": "*",  # the self test
    "LiverTumorSegSlicer.privacy": "",
    "LiverTumorSegSlicer.scene": "LiverTumorSegLib*",
    "LiverTumorSegSlicer.run": "LiverTumorSegLib* LiverTumorSegSlicer.scene"
    " LiverTumorSegSlicer.privacy",
    "LiverTumorSegSlicer.environment": "LiverTumorSegLib* LiverTumorSegSlicer.run"
    " LiverTumorSegSlicer.privacy",
    "LiverTumorSegSlicer.panel": "LiverTumorSegLib* LiverTumorSegSlicer.environment"
    " LiverTumorSegSlicer.run LiverTumorSegSlicer.scene",
    "training": "*",  # the commands
    "training.files": "LiverTumorSegLib.files",
    "training.cases": "LiverTumorSegLib* training.files",
    "training.data": "LiverTumorSegLib* training.cases training.files",
    "training.learn": "LiverTumorSegLib* training.cases training.data training.files",
    "training.score": "LiverTumorSegLib* training.cases",
    "training.tuning": "LiverTumorSegLib* training.score",
    "training.reproduce": "LiverTumorSegLib*",
    "training.reports": "LiverTumorSegLib* training.cases training.data training.score",
}
SLICER_MAY_USE = {
    "settings",
    "files",
    "sentences",
    "tables",
    "labels",
    "volume",
    "ct.checks",
    "ct.nifti",
    "cli.exchange",
    "model.catalog",
    "model.spec",
    "inference.add_lesion",
    "phantom.phantom",
    "result.followup.change",
    "result.followup.corrections",
    "result.lesions",
    "result.parts",
    "result.step_labels",
}
HEAVY = {"torch", "cv2", "nibabel", "scipy", "safetensors", "monai", "skimage", "pydicom", "jinja2"}
SLICER = {"slicer", "qt", "ctk", "vtk", "LiverTumorSegSlicer"}
IMPORT_NAMES = {"opencv-python-headless": "cv2", "scikit-image": "skimage"}
RUNTIME_OF = {"onnx.py": "onnxruntime"}  # a net that torch cannot run
NEEDED_TO_TRAIN = {"torch", "numpy", "scipy", "cv2", "skimage", "safetensors", "matplotlib", "tqdm"}

NO_COMMANDS = {"training.__init__", "training.command", "training.files"}
LONGEST_FILE, LONGEST_FUNCTION = 600, 80
LARGEST_FILE_BYTES = 3_000_000
LARGEST_MODEL_BYTES = 21 * 2**20
# Put together here so that this file does not hold them.
MACHINE_PATHS = ["/" + "work/", "/" + "tmp/bash_jobs", "/" + "opt/pypi"]
PACKAGE_HOSTS = ["pypi" + ".org", "python" + "hosted"]
FOR_IT = MODULE_FOLDER / "README.md"  # says which hosts a firewall must let through


@cache
def python_files(folder: Path) -> tuple[Path, ...]:
    return tuple(sorted(folder.rglob("*.py")))


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


@cache
def imported(path: Path) -> frozenset[str]:
    """Full names of all imports in a file, inside functions too; relative ones made absolute.

    ``from a import b`` counts as ``a.b``, for b may be a module.
    """
    names: set[str] = set()
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = _package_of(path, node.level)
            source = ".".join(part for part in (*package, node.module) if part)
            names.update(f"{source}.{alias.name}" for alias in node.names)
    return frozenset(names)


def _package_of(path: Path, level: int) -> tuple[str, ...]:
    """The package that so many leading dots mean."""
    if level == 0:
        return ()
    base = MODULE_FOLDER if MODULE_FOLDER in path.parents else ROOT
    parts = path.relative_to(base).parent.parts
    return parts[: len(parts) - level + 1]


def top_levels(path: Path) -> set[str]:
    return {name.partition(".")[0] for name in imported(path)}


def module_name(path: Path) -> str:
    """ "training.train" for training/train.py; a package has its folder's name."""
    base = MODULE_FOLDER if MODULE_FOLDER in path.parents else ROOT
    parts = path.relative_to(base).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


PRODUCT = (*python_files(LIB), *python_files(SLICER_SIDE), *python_files(TRAINING))
PRODUCT_NAMES = {module_name(path) for path in PRODUCT}


def modules_imported(path: Path) -> set[str]:
    """Which of our modules a file imports."""
    found = set()
    for name in imported(path):
        parts = name.split(".")
        prefixes = [".".join(parts[:n]) for n in range(len(parts), 0, -1)]
        found.update([p for p in prefixes if p in PRODUCT_NAMES][:1])
    return found


def package(name: str) -> str:
    """The row of ALLOWED that a module belongs to: the longest that its name begins with."""
    rows = [row for row in ALLOWED if f"{name}.".startswith(f"{row}.")]
    return max(rows, key=len)


def lib_imports(path: Path) -> set[str]:
    """Which files of the library a file imports."""
    names = modules_imported(path)
    return {n.removeprefix("LiverTumorSegLib.") for n in names if n.startswith("LiverTumorSegLib.")}


def run_child(code: str) -> str:
    """Run code in a new Python that has loaded nothing; its output."""
    path = os.pathsep.join([str(MODULE_FOLDER), str(ROOT)])
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_package_imports_only_what_its_row_allows() -> None:
    offenders = []
    for path in PRODUCT:
        row = package(module_name(path))
        allowed = [row, *ALLOWED[row].split()]
        found = {package(name) for name in modules_imported(path)}
        strangers = {p for p in found if not any(fnmatch(p, pattern) for pattern in allowed)}
        if strangers:
            offenders.append(f"{path.relative_to(ROOT)} imports {', '.join(sorted(strangers))}")
    assert not offenders


def test_a_command_of_training_imports_no_other() -> None:
    commands = {f"training.{path.stem}" for path in TRAINING.glob("*.py")} - NO_COMMANDS
    for path in python_files(TRAINING):
        strangers = modules_imported(path) & commands - {module_name(path)}
        assert not strangers, f"{path.name} imports {sorted(strangers)}"


def test_no_circle_of_imports() -> None:
    graph = {module_name(path): modules_imported(path) for path in PRODUCT}
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError with the circle


def test_sub_packages_are_empty_so_that_one_file_can_be_imported_alone() -> None:
    inits = [path for path in PRODUCT if path.name == "__init__.py"]
    filled = {module_name(path) for path in inits if path.read_text(encoding="utf-8").strip()}
    assert filled == {"LiverTumorSegLib", "LiverTumorSegLib.nets", "LiverTumorSegSlicer"}


def test_nets_import_torch_the_standard_library_and_each_other_only() -> None:
    nets = [path for path in python_files(LIB / "nets") if path.name != "__init__.py"]
    assert nets
    for path in nets:
        outside = {name for name in imported(path) if not name.startswith("LiverTumorSegLib.nets.")}
        tops = {name.partition(".")[0] for name in outside}
        strangers = tops - sys.stdlib_module_names - {"torch", RUNTIME_OF.get(path.name)}
        assert not strangers, f"{path.name} imports {sorted(strangers)}"


def test_spec_and_catalog_need_the_standard_library_only() -> None:
    for name in ("spec", "catalog"):
        strangers = top_levels(LIB / "model" / f"{name}.py") - sys.stdlib_module_names
        assert strangers <= {"LiverTumorSegLib"}, f"{name} imports {sorted(strangers)}"


def test_library_and_training_know_nothing_of_slicer_or_of_those_above() -> None:
    for path in python_files(LIB):
        assert not top_levels(path) & (SLICER | {"training", "Testing"}), path.name
    for path in python_files(TRAINING):
        assert not top_levels(path) & (SLICER | {"Testing"}), path.name


def test_the_slicer_side_uses_torch_free_files_only() -> None:
    files = [*python_files(SLICER_SIDE), *MODULE_FOLDER.glob("*.py")]
    for path in files:
        strangers = lib_imports(path) - SLICER_MAY_USE
        assert not strangers, f"{path.name} may not import {sorted(strangers)}"
        assert "torch" not in top_levels(path), path.name


def test_light_files_load_nothing_heavy() -> None:
    """Slicer imports these before the user has agreed to install anything."""
    light = SLICER_MAY_USE - {"phantom.phantom"} | {"cli.selfcheck", "cli.child", "cli.main"}
    code = "import sys\n"
    for name in sorted(light):
        code += (
            f"import LiverTumorSegLib.{name}\nprint('{name}', *({HEAVY!r} & sys.modules.keys()))\n"
        )
    assert run_child(code).splitlines() == sorted(light)


def test_the_phantom_needs_scipy_alone() -> None:
    code = f"import sys, LiverTumorSegLib.phantom.phantom; print(*({HEAVY!r} & sys.modules.keys()))"
    assert run_child(code) == "scipy"


def test_training_runs_without_the_packages_a_gpu_machine_lacks() -> None:
    """After ``prepare`` a machine without nibabel, MONAI and Jinja must do."""
    blocked = sorted(third_party_names("training") - NEEDED_TO_TRAIN)
    assert blocked == ["jinja2", "monai", "nibabel"]
    code = f"import sys; sys.modules.update(dict.fromkeys({blocked!r}))\nimport training.train"
    run_child(code)


def third_party_names(*extras: str) -> set[str]:
    """Import names of the packages that pyproject.toml asks for."""
    return {IMPORT_NAMES.get(r.name, r.name) for r in requirements(*extras)}


def requirements(*extras: str) -> list[Requirement]:
    project = PYPROJECT["project"]
    lines = list(project["dependencies"])
    for extra in extras:
        lines += project["optional-dependencies"][extra]
    return [Requirement(line) for line in lines]


def test_every_import_is_a_declared_dependency() -> None:
    ours = {"LiverTumorSegLib", "training"}
    offenders = []
    for folder, extras in (
        (LIB, ["dicom", "formats", "cluster", "onnx"]),
        (TRAINING, ["training", "dicom"]),
    ):
        known = sys.stdlib_module_names | ours | third_party_names(*extras)
        for path in python_files(folder):
            offenders += [f"{path.relative_to(ROOT)}: {name}" for name in top_levels(path) - known]
    assert not offenders


def test_every_dependency_has_a_tested_version_that_its_lower_bound_allows() -> None:
    pinned = {r.name: r for r in _requirement_lines(CONSTRAINTS)}
    for wanted in requirements(*PYPROJECT["project"]["optional-dependencies"]):
        assert wanted.name in pinned, f"{wanted.name} has no line in {CONSTRAINTS.name}"
        (pin,) = pinned[wanted.name].specifier
        assert pin.operator == "=="
        assert wanted.specifier.contains(pin.version), f"{wanted} does not allow {pin.version}"


def test_requirement_files_name_declared_packages_only() -> None:
    declared = {r.name for r in requirements(*PYPROJECT["project"]["optional-dependencies"])}
    for path in MODULE_FOLDER.rglob("requirements*.txt"):
        strangers = {r.name for r in _requirement_lines(path)} - declared
        assert not strangers, f"{path.name} names {sorted(strangers)}"


def _requirement_lines(path: Path) -> list[Requirement]:
    lines = (line.partition("#")[0].strip() for line in path.read_text().splitlines())
    return [Requirement(line) for line in lines if line]


def function_lengths(path: Path) -> Iterator[tuple[str, int]]:
    """Name and number of lines, docstring included, of every function in a file."""
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            yield node.name, node.end_lineno - node.lineno + 1


def test_files_and_functions_stay_short() -> None:
    offenders = []
    for folder in (MODULE_FOLDER, TRAINING, TESTING):
        for path in python_files(folder):
            name = path.relative_to(ROOT)
            lines = len(path.read_text(encoding="utf-8").splitlines())
            if lines > LONGEST_FILE:
                offenders.append(f"{name}: {lines} lines; give a second subject a file of its own")
            long = [f for f, length in function_lengths(path) if length > LONGEST_FUNCTION]
            offenders += [f"{name}: {f} has over {LONGEST_FUNCTION} lines" for f in long]
    assert not offenders


@cache
def tracked_files() -> tuple[Path, ...]:
    """Files that git tracks and that are there; skips the test where git cannot say."""
    try:
        done = subprocess.run(
            ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
        )
    except OSError:
        pytest.skip("git is not installed")
    if done.returncode != 0 or not done.stdout:
        pytest.skip("not a git checkout")
    files = (ROOT / name for name in done.stdout.split("\0") if name)
    return tuple(file for file in files if file.is_file())


def test_no_tracked_text_names_a_machine_path_or_package_host() -> None:
    found = []
    for path in tracked_files():
        data = path.read_bytes()
        unwanted = MACHINE_PATHS + ([] if path == FOR_IT else PACKAGE_HOSTS)
        if b"\0" not in data[:8192] and any(t.encode() in data for t in unwanted):
            found.append(str(path.relative_to(ROOT)))
    assert not found


def test_no_large_file_is_tracked_but_the_models() -> None:
    models = LIB / "model" / "weights"
    for path in tracked_files():
        is_model = path.parent == models and path.suffix == ".safetensors"
        limit = LARGEST_MODEL_BYTES if is_model else LARGEST_FILE_BYTES
        assert path.stat().st_size <= limit, f"{path.relative_to(ROOT)} is too large to commit"

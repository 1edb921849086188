"""Who may import whom, how large things may grow, and what must never be committed."""

from __future__ import annotations

import ast
import graphlib
import os
import re
import statistics
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

# What a file of the library may import of the library (the package itself is always allowed).
ALLOWED = {
    "__init__": "",
    "__main__": "cli",
    "labels": "",
    "volume": "",
    "nets": "nets.*",
    "nets.*": "",
    "ct_checks": "",
    "drawing": "",
    "events": "",
    "scan": "",
    "engine": "",
    "patch_engine": "engine",
    "nifti": "labels volume ct_checks",
    "preprocess": "labels volume",
    "preprocess_volume": "preprocess volume",
    "postprocess": "labels volume",
    "postprocess_cascade": "labels postprocess preprocess_volume",
    "decision": "postprocess",
    "lesions": "decision labels volume",
    "sliding_window": "labels volume",
    "agreement": "labels volume lesions",
    "phantom*": "labels volume phantom*",
    "spec": "",
    "catalog": "spec",
    "exchange": "volume",
    "slice_range": "labels volume",
    "probe": "catalog",
    "bundle": "nets preprocess spec",
    "segmentation": "labels postprocess postprocess_cascade preprocess preprocess_volume"
    " slice_range spec volume",
    "slice_answers": "decision labels preprocess scan segmentation",
    "cascade_answers": "decision labels postprocess_cascade preprocess_volume segmentation",
    "cascade": "bundle cascade_answers catalog decision labels patch_engine postprocess_cascade"
    " preprocess_volume segmentation sliding_window spec volume",
    "segment": "bundle cascade catalog decision engine labels postprocess preprocess segmentation"
    " slice_answers spec volume",
    "overview*": "drawing labels lesions overview* spec volume",
    "results": "agreement labels lesions nifti overview* segment volume",
    "dicom_headers": "",
    "dicom_grid": "volume",
    "dicom": "ct_checks dicom_* volume",
    "ct_input": "dicom dicom_headers nifti volume",
    "describe_file": "catalog ct_input dicom spec volume",
    "case_run": "events lesions results segment volume",
    "command_parser": "child events",
    "cli_models": "catalog command_parser events",
    "batch_summary": "results",
    "batch_cases": "batch_summary dicom dicom_headers nifti results spec volume",
    "batch_folder": "batch_summary results",
    "batch": "batch_* case_run command_parser engine events results segment",
    "child": "ct_checks events exchange results volume",
    "cli": "*",
}
SLICER_MAY_USE = {"labels", "volume", "nifti", "lesions", "catalog", "spec", "phantom"} | {
    "exchange",
    "ct_checks",
}
HEAVY = {"torch", "cv2", "nibabel", "scipy", "safetensors", "monai", "skimage", "pydicom"}
SLICER = {"slicer", "qt", "ctk", "vtk", "LiverTumorSegSlicer"}
IMPORT_NAMES = {"opencv-python-headless": "cv2", "scikit-image": "skimage"}
NEEDED_TO_TRAIN = {"torch", "numpy", "scipy", "cv2", "skimage", "safetensors", "matplotlib", "tqdm"}

LONGEST_FILE, LONGEST_FUNCTION, MEDIAN_FUNCTION, NINTH_DECILE = 400, 80, 12, 40
LARGEST_FILE_BYTES = 3_000_000
LARGEST_MODEL_BYTES = 21 * 2**20
# Put together here so that this file does not hold them; the last two are hosts of packages.
UNWANTED = [
    "/" + "work/",
    "/" + "tmp/bash_jobs",
    "/" + "opt/pypi",
    "pypi" + ".org",
    "python" + "hosted",
]


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


def lib_name(path: Path) -> str:
    """ "nets.hybrid2d" for LiverTumorSegLib/nets/hybrid2d.py; a package has its folder's name."""
    parts = path.relative_to(LIB).with_suffix("").parts
    return ".".join(parts[:-1] if len(parts) > 1 and parts[-1] == "__init__" else parts)


LIB_NAMES = {lib_name(path) for path in python_files(LIB)}


def lib_imports(path: Path) -> set[str]:
    """Which files of the library a file imports."""
    found = set()
    for name in imported(path):
        if name.startswith("LiverTumorSegLib."):
            parts = name.split(".")[1:]
            prefixes = [".".join(parts[:n]) for n in range(len(parts), 0, -1)]
            found.update([p for p in prefixes if p in LIB_NAMES][:1])
    return found


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


@pytest.mark.parametrize("path", python_files(LIB), ids=lib_name)
def test_a_library_file_imports_only_what_its_row_allows(path: Path) -> None:
    name = lib_name(path)
    rows = [allowed for pattern, allowed in ALLOWED.items() if fnmatch(name, pattern)]
    assert rows, f"give {name} a row in ALLOWED: what may it import?"
    patterns = " ".join(rows).split()
    strangers = {n for n in lib_imports(path) if not any(fnmatch(n, p) for p in patterns)}
    assert not strangers, f"{name} may not import {sorted(strangers)}"


def test_the_library_has_no_circle_of_imports() -> None:
    graph = {lib_name(path): lib_imports(path) for path in python_files(LIB)}
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError with the circle


def test_nets_import_torch_and_the_standard_library_only() -> None:
    nets = [path for path in python_files(LIB / "nets") if path.name != "__init__.py"]
    assert nets
    for path in nets:
        strangers = top_levels(path) - sys.stdlib_module_names - {"torch"}
        assert not strangers, f"{path.name} imports {sorted(strangers)}"


def test_spec_and_catalog_need_the_standard_library_only() -> None:
    for name in ("spec", "catalog"):
        strangers = top_levels(LIB / f"{name}.py") - sys.stdlib_module_names
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


@pytest.mark.parametrize("name", sorted(SLICER_MAY_USE - {"phantom"} | {"probe", "child", "cli"}))
def test_light_files_load_nothing_heavy(name: str) -> None:
    """Slicer imports these before the user has agreed to install anything."""
    code = f"import sys, LiverTumorSegLib.{name}; print(*({HEAVY!r} & sys.modules.keys()))"
    assert run_child(code) == ""


def test_the_phantom_needs_scipy_alone() -> None:
    code = f"import sys, LiverTumorSegLib.phantom; print(*({HEAVY!r} & sys.modules.keys()))"
    assert run_child(code) == "scipy"


def test_training_runs_without_the_packages_a_gpu_machine_lacks() -> None:
    """After ``prepare`` a machine without nibabel and MONAI must do."""
    blocked = sorted(third_party_names("training") - NEEDED_TO_TRAIN)
    assert blocked == ["monai", "nibabel"]
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


@pytest.mark.parametrize(
    ("folder", "extras"),
    [(LIB, ("dicom",)), (TRAINING, ("training", "dicom"))],
    ids=["library", "training"],
)
def test_every_import_is_a_declared_dependency(folder: Path, extras: tuple[str, ...]) -> None:
    ours = {"LiverTumorSegLib", "training"}
    for path in python_files(folder):
        strangers = top_levels(path) - sys.stdlib_module_names - ours - third_party_names(*extras)
        assert not strangers, f"{path.name} imports {sorted(strangers)}"


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


@pytest.mark.parametrize(
    "path",
    [path for folder in (MODULE_FOLDER, TRAINING, TESTING) for path in python_files(folder)],
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_files_and_functions_stay_short(path: Path) -> None:
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= LONGEST_FILE, f"{lines} lines: split the file"
    long = [name for name, length in function_lengths(path) if length > LONGEST_FUNCTION]
    assert not long, f"over {LONGEST_FUNCTION} lines: {', '.join(long)}"


@pytest.mark.parametrize("folder", [LIB, TRAINING], ids=lambda folder: folder.name)
def test_most_functions_are_small(folder: Path) -> None:
    lengths = [n for path in python_files(folder) for _, n in function_lengths(path)]
    assert statistics.median(lengths) <= MEDIAN_FUNCTION
    assert statistics.quantiles(lengths, n=10)[8] <= NINTH_DECILE


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
    unwanted = re.compile("|".join(map(re.escape, UNWANTED)).encode())
    found = []
    for path in tracked_files():
        data = path.read_bytes()
        if b"\0" not in data[:8192] and (match := unwanted.search(data)):
            found.append(f"{path.relative_to(ROOT)}: {match[0].decode()}")
    assert not found


def test_no_large_file_is_tracked_but_the_models() -> None:
    models = LIB / "models"
    for path in tracked_files():
        is_model = path.parent == models and path.suffix == ".safetensors"
        limit = LARGEST_MODEL_BYTES if is_model else LARGEST_FILE_BYTES
        assert path.stat().st_size <= limit, f"{path.relative_to(ROOT)} is too large to commit"

"""Measure the code's own order: files, lines, functions, imports between packages, frames to a net.

    python -m Testing.house            # tables of the library, the Slicer side, training and tests
    python -m Testing.house --frames   # also segment a phantom and count the frames to net(...)

Nothing is judged here: Testing/test_boundaries.py holds the limits.
"""

from __future__ import annotations

import argparse
import ast
import statistics
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ROOTS = {
    "LiverTumorSegLib": ROOT / "LiverTumorSeg",
    "LiverTumorSegSlicer": ROOT / "LiverTumorSeg",
    "training": ROOT,
    "Testing": ROOT,
}


def package_of(path: Path, base: Path) -> str:
    """The dotted name of the folder that a file lies in."""
    return ".".join(path.relative_to(base).parent.parts)


def function_lengths(tree: ast.Module) -> Iterator[int]:
    """Lines of every function, docstring included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield (node.end_lineno or node.lineno) - node.lineno + 1


def imported_names(tree: ast.Module) -> Iterator[str]:
    """Full names of all imports, inside functions too; ``from a import b`` gives a and a.b."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def table(root: str) -> list[str]:
    """A line a package: files, lines, functions, their median and longest, whom it imports."""
    base = ROOTS[root]
    paths = sorted((base / root).rglob("*.py"))
    packages = {package_of(path, base) for path in paths}
    lines = [f"{'package':<38}{'files':>6}{'lines':>7}{'functions':>10}{'median':>7}{'longest':>8}"]
    arrows = 0
    for package in sorted(packages):
        files = [path for path in paths if package_of(path, base) == package]
        trees = [ast.parse(path.read_text(encoding="utf-8")) for path in files]
        lengths = [length for tree in trees for length in function_lengths(tree)]
        count = sum(len(path.read_text(encoding="utf-8").splitlines()) for path in files)
        targets = Counter(
            target
            for tree in trees
            for name in imported_names(tree)
            if (target := _package_named(name, base)) not in (None, package)
        )
        arrows += len(targets)
        median = statistics.median(lengths) if lengths else 0
        longest = max(lengths, default=0)
        shown = f"{package:<38}{len(files):>6}{count:>7}{len(lengths):>10}{median:>7g}{longest:>8}"
        lines.append(shown)
        if targets:
            lines.append("    imports " + ", ".join(sorted(map(str, targets))))
    lines.append(f"{len(packages)} packages, {len(paths)} files, {arrows} arrows between packages")
    return lines


def _package_named(name: str, base: Path) -> str | None:
    """The package of ours that an imported name lies in; ``None`` for what is not ours."""
    parts = name.split(".")
    if parts[0] not in ROOTS:
        return None
    base = ROOTS[parts[0]]
    for length in range(len(parts), 0, -1):
        path = base.joinpath(*parts[:length])
        if path.is_dir():
            return ".".join(parts[:length])
        if path.with_suffix(".py").is_file():
            return ".".join(parts[: length - 1])
    return None


def frames_to_net() -> int:
    """Frames of this project between the command line's ``main`` and a network's call."""
    sys.path[:0] = [str(ROOT / "LiverTumorSeg"), str(ROOT)]
    from LiverTumorSegLib.cli.main import main
    from LiverTumorSegLib.ct.nifti import write_ct
    from LiverTumorSegLib.nets.hybrid2d import Hybrid2d
    from LiverTumorSegLib.phantom.phantom import make_phantom

    seen: list[int] = []
    forward = Hybrid2d.forward

    def counted(self: Hybrid2d, slices: object) -> object:
        names = []
        frame = sys._getframe(1)
        while frame is not None and frame.f_code.co_name != "frames_to_net":
            if "LiverTumorSegLib" in frame.f_code.co_filename:
                names.append(f"{Path(frame.f_code.co_filename).stem}.{frame.f_code.co_name}")
            frame = frame.f_back  # type: ignore[assignment]
        if not seen:
            print("  " + " > ".join(reversed(names)))
        seen.append(len(names))
        return forward(self, slices)  # type: ignore[arg-type]

    Hybrid2d.forward = counted  # type: ignore[assignment,method-assign]
    try:
        with tempfile.TemporaryDirectory() as folder:
            ct = Path(folder) / "ct.nii.gz"
            phantom = make_phantom(shape_kji=(12, 128, 128), spacing_kji_mm=(20.0, 3.0, 3.0))
            write_ct(ct, phantom.ct)
            main(["segment", str(ct), "-o", str(Path(folder) / "result"), "--device", "cpu"])
    finally:
        Hybrid2d.forward = forward  # type: ignore[method-assign]
    return max(seen)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--frames", action="store_true", help="segment a phantom and count frames")
    args = parser.parse_args()
    for root in ROOTS:
        print("\n".join(table(root)), end="\n\n")
    if args.frames:
        print(f"{frames_to_net()} frames of the library from main to net(...)")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Walk once through everything: split, prepare, train, choose, export, evaluate, segment, batch.

    python Testing/tour.py
    python Testing/tour.py --data ../shared/data/lits-subset

On three phantoms, written as a folder in LiTS layout, and then, with --data, on real cases 0 and 22
of a LiTS folder. It shows that every step works, not a model: the network is the smallest there is
and sees 24 slices twice. All it writes lies in a temporary folder that is removed at the end.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SCORE_FILES = ("report.html", "cases.csv", "lesions.csv", "slices.csv", "figures/fig07-dice.png")
RESULT_FILES = ("seg.nii.gz", "lesions.csv", "lesions.json", "overview.png")
PHANTOM_SHAPE_KJI, PHANTOM_SPACING_KJI_MM = (12, 256, 256), (16.0, 1.5, 1.5)
REAL_CASES = {"0": "train", "0-context": "train", "22": "val"}  # small ones, of two patients


def phantom_cases(folder: Path) -> Path:
    """Two phantoms to train on, 12 slices each, and one to validate; the table of the splits."""
    from LiverTumorSegLib.ct.nifti import write_ct, write_labels
    from LiverTumorSegLib.phantom.phantom import make_phantom

    folder.mkdir()
    for seed in range(3):
        phantom = make_phantom(
            seed=seed, shape_kji=PHANTOM_SHAPE_KJI, spacing_kji_mm=PHANTOM_SPACING_KJI_MM
        )
        write_ct(folder / f"volume-{seed}.nii.gz", phantom.ct)
        write_labels(folder / f"segmentation-{seed}.nii.gz", phantom.labels, phantom.ct)
    return write_table(folder, {"0": "train", "1": "train", "2": "val"})


def real_cases(data: Path, folder: Path) -> Path:
    """Links to a few real cases, and the table of the splits."""
    folder.mkdir()
    for name in REAL_CASES:
        for file in (f"volume-{name}.nii.gz", f"segmentation-{name}.nii.gz"):
            (folder / file).symlink_to((data / file).resolve(strict=True))
    return write_table(folder, REAL_CASES)


def write_table(folder: Path, splits: dict[str, str]) -> Path:
    """A CSV as ``training.prepare --table`` reads it: each number is a patient."""
    table = folder / "cases.csv"
    with open(table, "w", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(["file", "patient_group", "split"])
        for name, split in splits.items():
            lines.writerow([f"volume-{name}.nii.gz", name.partition("-")[0], split])
    return table


def walk(table: Path, validation: str, folder: Path) -> None:
    """All steps on the cases of a table; what each leaves is checked."""
    data, prepared, run_folder = table.parent, folder / "prepared", folder / "run"
    model, scores, result = folder / "tour.safetensors", folder / "scores", folder / "result"
    split, many = folder / "split.json", folder / "many"
    python("training.split", data, "--table", table, "--from-table", "-o", split)
    python("training.prepare", data, "--split-file", split, "-o", prepared, "--workers", 2)
    python("training.train", prepared, "-o", run_folder, "--recipe", "tour")
    epochs = (run_folder / "history.jsonl").read_text().splitlines()
    check(len(epochs) == 2, f"two epochs were wanted, {len(epochs)} were trained")
    best, choice = run_folder / "best.safetensors", folder / "choice"
    python("training.tune", best, data, "--split-file", split, "-o", choice)
    chosen = choice / "choice.json"
    words = ("--name", "tour", "--prepared", prepared, "--choice", chosen)
    python("training.export", run_folder, "-o", model, *words)
    python(
        "training.evaluate", model, data, "--split-file", split, "-o", scores, "--run", run_folder
    )
    summary = json.loads((scores / "summary.json").read_text())
    check(summary["counts"]["volumes"] == 1, "one volume was to be scored")
    check(any("mean nothing" in w for w in summary["warnings"]), "evaluate did not warn of a toy")
    refuse_missing(scores, SCORE_FILES, "evaluate")
    ct = data / f"volume-{validation}.nii.gz"
    python("LiverTumorSegLib", "segment", ct, "-o", result, "--model", model)
    refuse_missing(result, RESULT_FILES, "segment")
    for _ in range(2):  # the second time there is nothing left to do
        python("LiverTumorSegLib", "batch", data, many, "--only", ct.name, "--model", model)
    status = [row["status"] for row in csv.DictReader((many / "summary.csv").open())]
    check(status == ["skipped"], f"batch was to skip what is done, and said {status}")


def python(module: str, *arguments: object) -> None:
    """``python -m module arguments``, from the repository, with this very Python."""
    words = [module, *map(str, arguments)]
    print("\n$ python -m " + " ".join(words), flush=True)
    started = time.monotonic()
    paths = [str(ROOT / "LiverTumorSeg"), str(ROOT), os.environ.get("PYTHONPATH", "")]
    subprocess.run(
        [sys.executable, "-m", *words],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
        stdin=subprocess.DEVNULL,
        check=True,
    )
    print(f"({time.monotonic() - started:.0f} s)", flush=True)


def refuse_missing(folder: Path, names: Sequence[str], command: str) -> None:
    """Stop when a command left less than it should."""
    missing = [name for name in names if not (folder / name).is_file()]
    check(not missing, f"{command} left no {', '.join(missing)}")


def check(holds: bool, otherwise: str) -> None:
    if not holds:
        raise RuntimeError(f"The tour stops: {otherwise}.")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python Testing/tour.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", type=Path, help="LiTS folder for a second walk, on real cases")
    data = parser.parse_args(arguments).data
    sys.path.insert(0, str(ROOT / "LiverTumorSeg"))
    with tempfile.TemporaryDirectory(prefix="livertumorseg-tour-") as scratch:
        print("Tour on phantoms", flush=True)
        folder = Path(scratch) / "phantoms"
        folder.mkdir()
        walk(phantom_cases(folder / "lits"), "2", folder)
        if data is not None:
            print("\nTour on real cases", flush=True)
            folder = Path(scratch) / "real"
            folder.mkdir()
            walk(real_cases(data, folder / "lits"), "22", folder)
    print("\nThe tour is complete.")
    return 0


if __name__ == "__main__":
    sys.exit(main())

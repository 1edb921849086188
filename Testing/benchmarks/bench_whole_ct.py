"""Time and peak memory of a whole CT, short and long: with the scan, without it, and naively.

    python Testing/benchmarks/bench_whole_ct.py
    python Testing/benchmarks/bench_whole_ct.py --slices 150 --naive-slices 150

Each way runs in a child process of its own, one after the other, and reads the CT from a file, as
in real use. Naive is what a short script does: the CT as float64 and every slice, one after the
other, through the nets as they were trained. Since that takes long, it sees --naive-slices of the
slices, spread evenly, and its time is scaled up. Its memory is not: it holds the whole CT anyway.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from bench_memory import HEIGHT_MM, peak_gb
from LiverTumorSegLib.ct.nifti import write_ct
from LiverTumorSegLib.phantom.phantom import make_phantom
from LiverTumorSegLib.volume import CtVolume
from pairs import print_table

WAYS = ("scan", "every slice", "naive")
COLUMNS = ("slices", "way", "run", "s", "of naive", "peak GB", "above idle GB")


def child(ct_file: str, way: str, model: str | None, naive_slices: int) -> None:
    """Segment a CT one way; prints seconds, slices run and memory as JSON."""
    import LiverTumorSegLib.inference.network  # noqa: F401
    from LiverTumorSegLib.ct.nifti import read_ct
    from LiverTumorSegLib.inference.segmenter import load_segmenter
    from LiverTumorSegLib.settings import RunSettings

    idle_gb, started = peak_gb(), time.perf_counter()
    if way == "naive":
        run, scale = naive(ct_file, model, naive_slices)
    else:
        ct, _ = read_ct(ct_file)
        run, scale = (
            load_segmenter(RunSettings(model=model, device="cpu", coarse_search=way == "scan"))
            .segment(ct)
            .slices_run,
            1.0,
        )
    seconds = (time.perf_counter() - started) * scale
    print(json.dumps({"run": run, "s": seconds, "idle": idle_gb, "peak": peak_gb()}))


def naive(ct_file: str, model: str | None, wanted: int) -> tuple[int, float]:
    """Slices run, and how many times as long all of them would have taken."""
    import nibabel
    from bench_segment import eager

    image = nibabel.Nifti1Image.from_filename(ct_file)
    hu = image.get_fdata()  # float64, as scripts do
    step = max(1, hu.shape[2] // wanted)
    some = np.ascontiguousarray(hu[:, :, ::step].T.astype(np.int16))
    affine = image.affine @ np.diag([1, 1, step, 1])
    eager(model).segment(CtVolume(some, affine))
    return len(some), hu.shape[2] / len(some)


def measure(slices: int, model: str | None, naive_slices: int) -> list[list[str]]:
    """The rows of one CT."""
    spacing_kji_mm = (HEIGHT_MM / slices, 0.75, 0.75)
    with tempfile.TemporaryDirectory() as folder:
        ct_file = Path(folder) / "ct.nii.gz"
        phantom = make_phantom(seed=5, shape_kji=(slices, 512, 512), spacing_kji_mm=spacing_kji_mm)
        write_ct(ct_file, phantom.ct)
        del phantom
        found = {way: _in_child(ct_file, way, model, naive_slices) for way in WAYS}
    return [
        [
            str(slices),
            way if way != "naive" or row["run"] == slices else "naive, scaled up",
            str(row["run"]),
            f"{row['s']:.1f}",
            f"{row['s'] / found['naive']['s']:.2f}",
            f"{row['peak']:.2f}",
            f"{row['peak'] - row['idle']:.2f}",
        ]
        for way, row in found.items()
    ]


def _in_child(ct_file: Path, way: str, model: str | None, naive_slices: int) -> dict[str, float]:
    command = [sys.executable, __file__, "--child", str(ct_file), way]
    command += ["--naive-slices", str(naive_slices), *(["--model", model] if model else [])]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    row: dict[str, float] = json.loads(done.stdout)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", metavar="NAME|FILE", help="a model whose networks take slices")
    parser.add_argument("--slices", type=int, nargs="+", default=[150, 800])
    parser.add_argument("--naive-slices", type=int, default=40)
    parser.add_argument("--child", nargs=2, metavar=("CT", "WAY"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        child(*args.child, args.model, args.naive_slices)
        return
    rows = [row for n in args.slices for row in measure(n, args.model, args.naive_slices)]
    print_table(COLUMNS, rows)


if __name__ == "__main__":
    main()

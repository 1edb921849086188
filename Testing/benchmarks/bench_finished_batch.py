"""How long a batch takes to say that all is done, beside the empty command line.

    .venv/bin/python Testing/benchmarks/bench_finished_batch.py
    .venv/bin/python Testing/benchmarks/bench_finished_batch.py --cases 400

A phantom is segmented once, and its file and its result are copied for the other cases; then both
commands run in turns, each in a process of its own. What the batch takes above the empty command
line is its work.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from LiverTumorSegLib.ct.nifti import write_ct
from LiverTumorSegLib.phantom.phantom import make_phantom
from pairs import print_table

SHAPE, SPACING_MM = (12, 64, 64), (25.0, 6.0, 6.0)
MODEL = "gunetrpp-small"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--cases", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        cts, out = Path(scratch) / "cts", Path(scratch) / "out"
        cts.mkdir()
        phantom = make_phantom(seed=1, shape_kji=SHAPE, spacing_kji_mm=SPACING_MM)
        write_ct(cts / "ct0.nii.gz", phantom.ct)
        batch = ["batch", str(cts), str(out), "--model", MODEL, "--device", "cpu"]
        seconds_of(batch)
        for n in range(1, args.cases):
            shutil.copy2(cts / "ct0.nii.gz", cts / f"ct{n}.nii.gz")
            shutil.copytree(out / "ct0", out / f"ct{n}")
        empty_s, finished_s = [], []
        for _ in range(args.rounds):
            empty_s.append(seconds_of(["--version"]))
            finished_s.append(seconds_of(batch, must_say=f"{args.cases} skipped"))
    rows = [
        ["--version", f"{median(empty_s):.2f}", ""],
        [
            f"batch, {args.cases} done",
            f"{median(finished_s):.2f}",
            f"{median(finished_s) - median(empty_s):.2f}",
        ],
    ]
    print_table(["", "s", "above it s"], rows)


def seconds_of(words: list[str], must_say: str = "") -> float:
    """Of a command in a process of its own, from its start to its end."""
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "LiverTumorSegLib", *words], capture_output=True, text=True
    )
    if done.returncode != 0 or must_say not in done.stdout:
        raise SystemExit(f"It ended with {done.returncode}: {done.stderr[-500:]}")
    return time.monotonic() - began


if __name__ == "__main__":
    main()

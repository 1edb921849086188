"""What Ray costs a batch: 40 phantoms one after the other, and on one and two workers.

    .venv/bin/python Testing/benchmarks/bench_cluster.py
    .venv/bin/python Testing/benchmarks/bench_cluster.py --cases 8 --slices 60

A case's own seconds stand in ``summary.csv``, with its reading and without its writing. What the
workers have in seconds beside these is overhead: scheduling, writing, and in each worker Python and
the model once. Both are taken in one run, so other programs disturb them alike; trust the shares.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from LiverTumorSegLib.ct.nifti import write_ct
from LiverTumorSegLib.phantom.phantom import make_phantom
from pairs import print_table


@dataclass(frozen=True)
class Run:
    """A batch. start_s: until its first case has ended, less that case's own seconds."""

    name: str
    workers: int
    wall_s: float
    start_s: float
    cases_s: tuple[float, ...]

    @property
    def efficiency(self) -> float:
        """The share of the workers' seconds that are the cases' own, after the start."""
        return sum(self.cases_s) / (self.workers * (self.wall_s - self.start_s))

    @property
    def overhead_s(self) -> float:
        """A case's, of a worker, after the start."""
        lost = self.workers * (self.wall_s - self.start_s) - sum(self.cases_s)
        return lost / len(self.cases_s)

    def row(self) -> list[str]:
        own_s = sum(self.cases_s) / len(self.cases_s)
        return [
            self.name,
            f"{self.wall_s:.1f}",
            f"{self.start_s:.1f}",
            f"{own_s:.2f}",
            f"{self.overhead_s:.2f}",
            f"{self.overhead_s / own_s:.2f}",
            f"{self.efficiency:.2f}",
        ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--cases", type=int, default=40)
    parser.add_argument("--slices", type=int, default=12)
    parser.add_argument("--pixels", type=int, default=96)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        cts = Path(scratch) / "cts"
        cts.mkdir()
        for n in range(args.cases):
            shape = (args.slices, args.pixels, args.pixels)
            spacing = (300 / args.slices, 400 / args.pixels, 400 / args.pixels)
            write_ct(
                cts / f"ct{n}.nii.gz",
                make_phantom(seed=n, shape_kji=shape, spacing_kji_mm=spacing).ct,
            )
        runs = [
            run_batch("one after the other", 1, cts, Path(scratch) / "plain", []),
            run_batch("Ray, 1 worker", 1, cts, Path(scratch) / "one", ["--ray"]),
            run_batch("Ray, 2 workers", 2, cts, Path(scratch) / "two", ["--ray"]),
        ]
    columns = ["", "s", "start s", "a case s", "overhead s", "of a case", "efficiency"]
    print_table(columns, [run.row() for run in runs])


def run_batch(name: str, workers: int, cts: Path, out: Path, words: list[str]) -> Run:
    """In a process of its own; Ray's workers are as many as the processors it is given."""
    command = ["batch", str(cts), str(out), "--device", "cpu", "--events", *words]
    if words:
        command += ["--cpus-per-case", str(processors() / workers)]
    began = time.monotonic()
    first_s = 0.0
    with subprocess.Popen(
        [sys.executable, "-m", "LiverTumorSegLib", *command], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if not first_s and json.loads(line)["event"] == "case":
                first_s = time.monotonic() - began
    if process.returncode != 0:
        raise SystemExit(f"{name}: the batch ended with {process.returncode}.")
    wall_s = time.monotonic() - began
    with (out / "summary.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    cases_s = tuple(float(row["seconds"]) for row in rows)
    return Run(name, workers, wall_s, max(first_s - max(cases_s), 0.0), cases_s)


def processors() -> float:
    """As Ray counts them."""
    import multiprocessing

    return float(multiprocessing.cpu_count())


if __name__ == "__main__":
    main()

"""What a long CT costs outside the networks: processor time of each step, and peak memory.

    python Testing/benchmarks/bench_long_ct.py
    python Testing/benchmarks/bench_long_ct.py --slices 600 --sagittal

A phantom, each of its slices several times with other noise, is written to a .nii.gz. A child
process goes through the steps of the command line with the default model: read, segment, check and
measure, draw and write. The networks' own time is left out, that of preparing and bringing back
their slices is not. Processor time of all threads is told, so that a busy machine changes little.
Goals at 1,200 slices: under 90 s, and under 2 GB above the idle program (everything imported,
PyTorch too).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from bench_memory import peak_gb
from LiverTumorSegLib.ct.nifti import write_ct
from LiverTumorSegLib.phantom.phantom import make_phantom
from LiverTumorSegLib.volume import CtVolume
from pairs import print_table

SLICES, SLICE_MM, TIMES = 1200, 0.5, 6
GOAL_SECONDS, GOAL_GB = 90.0, 2.0


def timed(call: Callable[..., Any], spent: list[float]) -> Callable[..., Any]:
    """The same call; the processor time of each goes into ``spent``."""

    def measured(*args: Any) -> Any:
        started = time.process_time()
        try:
            return call(*args)
        finally:
            spent.append(time.process_time() - started)

    return measured


def child(folder: Path) -> None:
    """Go through the steps; prints seconds of each, and memory, as JSON."""
    from LiverTumorSegLib.cli.progress import JsonLines
    from LiverTumorSegLib.cli.segment import segment_case, write_case
    from LiverTumorSegLib.ct.read import read_input
    from LiverTumorSegLib.inference.network import SliceRunner
    from LiverTumorSegLib.inference.segmenter import load_segmenter
    from LiverTumorSegLib.settings import RunSettings
    from scipy import ndimage, spatial  # noqa: F401

    class Silent(JsonLines):
        def _say(self, event: str, **values: Any) -> None:
            if "phrase" in values:
                marks.setdefault(str(values["phrase"]), time.process_time())

    marks: dict[str, float] = {}
    in_networks: list[float] = []
    SliceRunner.__call__ = timed(SliceRunner.__call__, in_networks)  # type: ignore[method-assign]
    segmenter, idle_gb = load_segmenter(RunSettings(device="cpu")), peak_gb()
    started = time.process_time()
    ct, notes = read_input(folder / "ct.nii.gz")
    read = time.process_time()
    result = segment_case(segmenter, RunSettings(), Silent(), ct, notes)
    checked = time.process_time()
    write_case(result, folder, Silent())
    ended = time.process_time()
    checking = marks["Checking and measuring"]
    seconds = {
        "read": read - started,
        "segment": checking - read - sum(in_networks),
        "check and measure": checked - checking,
        "draw and write": ended - checked,
    }
    memory = {"peak": peak_gb(), "above": peak_gb() - idle_gb}
    print(json.dumps({"seconds": seconds, "lesions": len(result.measures.lesions), **memory}))


def write_scan(folder: Path, slices: int, *, sagittal: bool) -> None:
    """A CT."""
    phantom = make_phantom(
        seed=5,
        shape_kji=(slices // TIMES, 512, 512),
        spacing_kji_mm=(SLICE_MM * TIMES, 0.75, 0.75),
    )
    rng = np.random.default_rng(0)
    hu = np.repeat(phantom.ct.hu, TIMES, axis=0)
    noise = rng.integers(-8, 9, (512, 512), np.int16)
    for k, plane in enumerate(hu):
        plane += np.roll(noise, 37 * k)
    affine = phantom.ct.ijk_to_ras @ np.diag([1, 1, 1 / TIMES, 1])
    if sagittal:  # the file's slowest axis runs to the left
        hu = hu.transpose(2, 0, 1)
        affine = affine[:, [1, 2, 0, 3]]
    write_ct(folder / "ct.nii.gz", CtVolume(np.ascontiguousarray(hu), affine))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--slices", type=int, default=SLICES)
    parser.add_argument("--sagittal", action="store_true", help="slices that run along the body")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        child(args.child)
        return
    with tempfile.TemporaryDirectory() as folder:
        write_scan(Path(folder), args.slices, sagittal=args.sagittal)
        command = [sys.executable, __file__, "--child", folder]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    told = json.loads(done.stdout.splitlines()[-1])
    seconds = {**told["seconds"], "all of it": sum(told["seconds"].values())}
    print_table(["step", "processor s"], [[name, f"{s:.1f}"] for name, s in seconds.items()])
    print(
        f"{args.slices} slices of 512 x 512, {told['lesions']} lesions:"
        f" {told['above']:.2f} GB above idle at the peak.\n"
        f"Goals at {SLICES} slices: under {GOAL_SECONDS:.0f} s, under {GOAL_GB:.0f} GB."
    )


if __name__ == "__main__":
    main()

"""What a long CT costs outside the network: processor time of each step, and peak memory.

    python Testing/benchmarks/bench_long_ct.py
    python Testing/benchmarks/bench_long_ct.py --slices 600 --lesions 100 --sagittal

A phantom, each of its slices several times with other noise, is written to a .nii.gz. A child
process goes through the steps of the command line: read, segment, check and measure, draw and
write. In place of the network stands one that knows the truth; its own time is left out, that of
preparing and bringing back its slices is not. Processor time of all threads is told, so that a busy
machine changes little. Goals at 1,200 slices: under 90 s, and under 2 GB above the idle program
(everything imported, PyTorch too).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from bench_memory import peak_gb
from LiverTumorSegLib.ct.nifti import write_ct
from LiverTumorSegLib.inference.preprocess import SlicePreprocessing
from LiverTumorSegLib.labels import Label
from LiverTumorSegLib.phantom.phantom import make_phantom
from LiverTumorSegLib.volume import CtVolume
from numpy.typing import NDArray
from pairs import print_table

SLICES, SLICE_MM, TIMES = 1200, 0.5, 6
MAP_PX = 128  # of the truth that is known, a side
GOAL_SECONDS, GOAL_GB = 90.0, 2.0


@dataclass(frozen=True, kw_only=True)
class NotingPreprocessing(SlicePreprocessing):
    """The product's own, which also notes what is on the slice; a middle row tells which it is."""

    def __call__(self, hu: NDArray[np.int16], spacing_ji_mm: tuple[float, float]) -> Any:
        TRUTH.prepared.append(hu[len(hu) // 2].tobytes())
        return super().__call__(hu, spacing_ji_mm)


@dataclass
class Truth:
    """In place of a network: answers with what is known of the slice that was prepared."""

    labels: dict[bytes, NDArray[np.uint8]] = field(default_factory=dict)
    prepared: deque[bytes] = field(default_factory=deque)
    seconds: float = 0.0
    device: str = "cpu"
    batch: int = 1
    warnings: list[str] = field(default_factory=list)

    def __call__(self, inputs: NDArray[Any]) -> NDArray[np.float32]:
        started = time.thread_time()
        step = inputs.shape[1] // len(next(iter(self.labels.values())))
        maps = [
            self.labels[self.prepared.popleft()].repeat(step, axis=0).repeat(step, axis=1)
            for _ in inputs
        ]
        answer = np.eye(3, dtype=np.float32)[np.stack(maps)]
        self.seconds += time.thread_time() - started
        return answer


TRUTH = Truth()


def child(folder: Path) -> None:
    """Go through the steps; prints seconds of each, and memory, as JSON."""
    import LiverTumorSegLib.inference.network  # noqa: F401
    from LiverTumorSegLib.cli.progress import JsonLines
    from LiverTumorSegLib.cli.segment import segment_case, write_case
    from LiverTumorSegLib.ct.read import read_input
    from LiverTumorSegLib.inference.segmenter import Segmenter, load_segmenter
    from LiverTumorSegLib.inference.slices import SliceNetwork
    from LiverTumorSegLib.settings import RunSettings
    from scipy import ndimage, spatial  # noqa: F401

    class Silent(JsonLines):
        def _say(self, event: str, **values: Any) -> None:
            if "phrase" in values:
                marks.setdefault(str(values["phrase"]), time.process_time())

    marks: dict[str, float] = {}
    shipped, idle_gb = load_segmenter(RunSettings(device="cpu")), peak_gb()
    started = time.process_time()
    ct, notes = read_input(folder / "ct.nii.gz")
    read = time.process_time()
    with np.load(folder / "truth.npz") as stored:
        TRUTH.labels = {row.tobytes(): plane for row, plane in zip(*stored.values(), strict=True)}
    begun = time.process_time()
    steps = NotingPreprocessing.from_dict(shipped.preprocessing.to_dict())
    segmenter = Segmenter(SliceNetwork(TRUTH, steps), shipped.spec, shipped.decision)
    result = segment_case(segmenter, RunSettings(), Silent(), ct, notes)
    checked = time.process_time()
    write_case(result, folder, Silent())
    ended = time.process_time()
    checking = marks["Checking and measuring"]
    seconds = {
        "read": read - started,
        "segment": checking - begun - TRUTH.seconds,
        "check and measure": checked - checking,
        "draw and write": ended - checked,
    }
    memory = {"peak": peak_gb(), "above": peak_gb() - idle_gb}
    print(json.dumps({"seconds": seconds, "lesions": len(result.measures.lesions), **memory}))


def write_scan(folder: Path, slices: int, lesions: int, *, sagittal: bool) -> None:
    """A CT and its truth."""
    phantom = make_phantom(
        seed=5,
        shape_kji=(slices // TIMES, 512, 512),
        spacing_kji_mm=(SLICE_MM * TIMES, 0.75, 0.75),
    )
    rng = np.random.default_rng(0)
    hu, labels = (np.repeat(array, TIMES, axis=0) for array in (phantom.ct.hu, phantom.labels))
    noise = rng.integers(-8, 9, (512, 512), np.int16)
    for k, plane in enumerate(hu):
        plane += np.roll(noise, 37 * k)
    for at in rng.choice(np.argwhere(labels[::, ::8, ::8] == Label.LIVER), lesions):
        k, j, i = at * (1, 8, 8)
        labels[k : k + 8, j : j + 6, i : i + 6][labels[k : k + 8, j : j + 6, i : i + 6] > 0] = 2
    np.savez(folder / "truth.npz", hu[:, 256], labels[:, :: 512 // MAP_PX, :: 512 // MAP_PX])
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
    parser.add_argument("--lesions", type=int, default=0, help="small ones, beside the phantom's")
    parser.add_argument("--sagittal", action="store_true", help="slices that run along the body")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        child(args.child)
        return
    with tempfile.TemporaryDirectory() as folder:
        write_scan(Path(folder), args.slices, args.lesions, sagittal=args.sagittal)
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

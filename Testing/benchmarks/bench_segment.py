"""Seconds per CT of our segmenter against eager inference of every slice, in one run, on the CPU.

    python Testing/benchmarks/bench_segment.py
    python Testing/benchmarks/bench_segment.py --slices 60 150 --pairs 7 --no-coarse-search

The CTs are phantoms of 512 x 512 pixels and 375 mm height. Eager means: slice by slice, the same
preprocessing and postprocessing, the net as it was trained, in PyTorch's default memory layout.
Ours folds batch norms, takes channels last, prepares the next slice meanwhile and skips slices far
from the liver (not with --no-coarse-search), and decides with the neighboring slices where the
model says so. Goals: at most 5 % of our time outside the network; the likeliest classes as those of
the eager run.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from LiverTumorSegLib.inference.decision import Decision
from LiverTumorSegLib.inference.network import SliceRunner
from LiverTumorSegLib.inference.segmenter import Segmentation, Segmenter, load_segmenter
from LiverTumorSegLib.model.catalog import find_model
from LiverTumorSegLib.model.file import ModelFile
from LiverTumorSegLib.phantom.phantom import make_phantom
from LiverTumorSegLib.settings import RunSettings
from LiverTumorSegLib.volume import CtVolume
from numpy.typing import NDArray
from pairs import print_table, run_in_turns
from torch import nn

HEIGHT_MM = 375.0
GOAL_OUTSIDE = 0.05


def watch_forward(net: nn.Module) -> Callable[[], float]:
    """Make the net, and copies of it, count the seconds in ``forward``; reads and clears the sum.

    The hooks are closures, for a deep copy of the net shares functions but copies objects.
    """
    began: list[float] = []
    seconds: list[float] = []
    net.register_forward_pre_hook(lambda *_: began.append(time.perf_counter()))
    net.register_forward_hook(lambda *_: seconds.append(time.perf_counter() - began.pop()))

    def read() -> float:
        total = sum(seconds)
        seconds.clear()
        return total

    return read


class OurRun:
    """Our segmenter on a CT, with the share of its time that is not the network."""

    def __init__(self, segmenter: Segmenter, net: nn.Module, ct: CtVolume) -> None:
        self.in_network_s = watch_forward(net)
        network = replace(segmenter.network, runner=SliceRunner(net, "cpu"))  # type: ignore[type-var]
        self.segmenter = replace(segmenter, network=network)
        self.ct = ct
        self.last: Segmentation
        self.outside: list[float] = []

    def __call__(self) -> None:
        self.last = self.segmenter.segment(self.ct)
        self.outside.append(1 - self.in_network_s() / self.last.seconds)


def eager(ct: CtVolume, segmenter: Segmenter, net: nn.Module) -> NDArray[np.uint8]:
    """Every slice, one after the other; labels (k, j, i) on the CT's own grid."""
    lps, turn = ct.to_lps()
    spacing_ji_mm = lps.spacing_kji_mm[1:]
    step = segmenter.preprocessing
    _, rows, columns = lps.shape_kji
    grid = step.grid((rows, columns), spacing_ji_mm)
    labels = np.empty(lps.shape_kji, np.uint8)
    for k, hu in enumerate(lps.hu):
        grays = torch.from_numpy(step(hu, spacing_ji_mm))
        with torch.no_grad():
            probabilities = net(grays[None, None].float() / 255).softmax(1)[0]
        native = grid.to_native(probabilities.permute(1, 2, 0).contiguous().numpy())
        labels[k] = native.argmax(axis=2)
    return turn.undo(segmenter.postprocessing(labels, lps.spacing_kji_mm))


def compare(model: str | None, slices: int, pairs: int, *, scan: bool) -> list[str]:
    """A row of the table."""
    spacing_kji_mm = (HEIGHT_MM / slices, 0.75, 0.75)
    ct = make_phantom(seed=5, shape_kji=(slices, 512, 512), spacing_kji_mm=spacing_kji_mm).ct
    segmenter = load_segmenter(RunSettings(model=model, device="cpu", coarse_search=scan))
    bundle = ModelFile.load(find_model(model).file.path)
    ours, net = OurRun(segmenter, bundle.build_net(), ct), bundle.build_net()
    expected = eager(ct, segmenter, net)  # both are warm after this and the next line
    ours()
    plain = replace(ours.segmenter, decision=Decision())  # eager takes the likeliest class
    unlike = int(np.count_nonzero(plain.segment(ct).labels_kji != expected))
    ours.in_network_s()
    times = run_in_turns(ours, lambda: eager(ct, segmenter, net), pairs, warm_up=False)
    return [
        str(slices),
        str(ours.last.slices_run),
        f"{times.ours_median_s:.1f}",
        f"{times.other_median_s:.1f}",
        f"{times.ratio:.2f}",
        times.ratio_range,
        f"{times.ours_median_s / ours.last.slices_run:.3f}",
        f"{times.other_median_s / slices:.3f}",
        f"{100 * float(np.median(ours.outside[1:])):.1f}",
        str(unlike),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--model", metavar="NAME|FILE", default="hybrid2d-w32", help="a model of one network"
    )
    parser.add_argument("--slices", type=int, nargs="+", default=[60, 150])
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--no-coarse-search", action="store_true", help="we run every slice too")
    given = parser.parse_args()
    columns = ["slices", "run", "ours s", "eager s", "ratio", "range", "ours s/slice run"]
    columns += ["eager s/slice", "not network %", "voxels unlike"]
    rows = [
        compare(given.model, n, given.pairs, scan=not given.no_coarse_search) for n in given.slices
    ]
    print(f"{torch.get_num_threads()} threads, medians of {given.pairs} pairs")
    print_table(columns, rows)
    print(f"Goal: at most {100 * GOAL_OUTSIDE:.0f} % of our time outside the network.")


if __name__ == "__main__":
    main()

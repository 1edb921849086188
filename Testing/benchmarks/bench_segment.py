"""Seconds per CT of our segmenter against eager inference of every slice, in one run, on the CPU.

    python Testing/benchmarks/bench_segment.py
    python Testing/benchmarks/bench_segment.py --slices 60 150 --pairs 7 --no-coarse-search

The CTs are phantoms of 512 x 512 pixels and 375 mm height. Eager means: the same preprocessing,
search region and postprocessing, every slice through the nets as they were trained, one at a time,
in PyTorch's default memory layout. Ours folds batch norms, takes channels last and skips slices far
from the liver (not with --no-coarse-search). Goals: at most 5 % of our time outside the networks;
the likeliest classes as those of the eager run.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from LiverTumorSegLib.inference.cascade import Cascade
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


@dataclass
class EagerRunner:
    """A network as a short script runs it: as it was trained, one slice after the other."""

    net: nn.Module
    device: str = "cpu"
    batch: int = 1
    warnings: list[str] = field(default_factory=list)

    @torch.no_grad()
    def __call__(self, inputs: NDArray[Any]) -> NDArray[np.float32]:
        images = torch.from_numpy(inputs)
        if images.ndim == 3:
            images = images[:, None].float() / 255
        found: NDArray[np.float32] = self.net(images).softmax(1).permute(0, 2, 3, 1).numpy()
        return np.ascontiguousarray(found)


def with_runners(segmenter: Segmenter, runners: Mapping[str, Any]) -> Segmenter:
    """The same segmenter, whose networks of slices run otherwise. runners: as the spec names
    them."""
    network: Any = segmenter.network
    if isinstance(network, Cascade):
        places = {n: replace(getattr(network, n), runner=r) for n, r in runners.items()}
        return replace(segmenter, network=replace(network, **places))
    (runner,) = runners.values()
    return replace(segmenter, network=replace(network, runner=runner))


def eager(model: str | None) -> Segmenter:
    """A segmenter that runs every slice eagerly and takes each voxel's likeliest class."""
    segmenter = load_segmenter(RunSettings(model=model, device="cpu", coarse_search=False))
    nets = ModelFile.load(find_model(model).file.path).build_nets()
    plain = with_runners(segmenter, {name: EagerRunner(net) for name, net in nets.items()})
    return replace(plain, decision=Decision())


class OurRun:
    """Our segmenter on a CT, with the share of its time that is not the networks'."""

    def __init__(self, segmenter: Segmenter, nets: Mapping[str, nn.Module], ct: CtVolume) -> None:
        self.read_s = [watch_forward(net) for net in nets.values()]
        runners = {name: SliceRunner(net, "cpu") for name, net in nets.items()}
        self.segmenter = with_runners(segmenter, runners)
        self.ct = ct
        self.last: Segmentation
        self.outside: list[float] = []

    def in_networks_s(self) -> float:
        return sum(read() for read in self.read_s)

    def __call__(self) -> None:
        self.last = self.segmenter.segment(self.ct)
        self.outside.append(1 - self.in_networks_s() / self.last.seconds)


def compare(model: str | None, slices: int, pairs: int, *, scan: bool) -> list[str]:
    """A row of the table."""
    spacing_kji_mm = (HEIGHT_MM / slices, 0.75, 0.75)
    ct = make_phantom(seed=5, shape_kji=(slices, 512, 512), spacing_kji_mm=spacing_kji_mm).ct
    segmenter = load_segmenter(RunSettings(model=model, device="cpu", coarse_search=scan))
    ours = OurRun(segmenter, ModelFile.load(find_model(model).file.path).build_nets(), ct)
    other = eager(model)
    expected = other.segment(ct).labels_kji  # both are warm after this and the next line
    ours()
    plain = replace(ours.segmenter, decision=Decision())  # eager takes the likeliest class
    unlike = int(np.count_nonzero(plain.segment(ct).labels_kji != expected))
    ours.in_networks_s()
    times = run_in_turns(ours, lambda: other.segment(ct), pairs, warm_up=False)
    return [
        str(slices),
        str(ours.last.slices_run),
        f"{times.ours_median_s:.1f}",
        f"{times.other_median_s:.1f}",
        f"{times.ratio:.2f}",
        times.ratio_range,
        f"{100 * float(np.median(ours.outside[1:])):.1f}",
        str(unlike),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", metavar="NAME|FILE", help="a model whose networks take slices")
    parser.add_argument("--slices", type=int, nargs="+", default=[60, 150])
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--no-coarse-search", action="store_true", help="we run every slice too")
    args = parser.parse_args()
    columns = ["slices", "run", "ours s", "eager s", "ratio", "range", "not network %"]
    columns += ["voxels unlike"]
    rows = [compare(args.model, n, args.pairs, scan=not args.no_coarse_search) for n in args.slices]
    print(f"{torch.get_num_threads()} threads, medians of {args.pairs} pairs")
    print_table(columns, rows)
    print(f"Goal: at most {100 * GOAL_OUTSIDE:.0f} % of our time outside the network.")


if __name__ == "__main__":
    main()

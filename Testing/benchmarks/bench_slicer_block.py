"""For how long does a run keep Slicer's main thread busy at a stretch? The promise is 200 ms.

And how long do the hand-over of the CT and the removal of its files take while Slicer only waits
for events, so that no other thread may run Python? The promise is 1 s and 2 s.

    python Testing/benchmarks/bench_slicer_block.py                    # 512 x 512 x 300 voxels
    python Testing/benchmarks/bench_slicer_block.py --slices 800 --probabilities
    python Testing/benchmarks/bench_slicer_block.py --model some.safetensors --slices 60

A timer beats every 5 ms in the event loop of the stand-in application (Testing/slicersim). The
longest pause between two beats is the longest time in which a click would not have been answered.
Unless a model is named, the child answers at once with made-up labels: the network's time is not
Slicer's, what is handed over is the same.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

TESTING = Path(__file__).resolve().parents[1]
MODULE_FOLDER = TESTING.parent / "LiverTumorSeg"
BEAT_MS = 5
PROMISED_MS = 200
PROMISED_S = {"hand-over": 1.0, "removal": 2.0}
LOOK_MS = 50  # whether the folder is gone; a look is Python, and so a chance for threads
CHILD = """
import json, sys, time, numpy as np
from pathlib import Path
from LiverTumorSegLib.cli.exchange import Answer, read_request, write_answer
def say(event, **values): print(json.dumps({"event": event, **values}), flush=True)
folder = Path(sys.argv[sys.argv.index("--raw") + 1])
say("started", pid=__import__("os").getpid())
ct = read_request(folder)
labels = np.zeros(ct.hu.shape, np.uint8)
k, j, i = (n // 4 for n in labels.shape)
labels[k:-k, j:-j, i:-i] = 1
labels[2 * k : 2 * k + 8, 2 * j : 2 * j + 20, 2 * i : 2 * i + 20] = 2
share = None
if "--probabilities" in sys.argv:
    share = np.zeros((3, *labels.shape), np.float16)
for n in range(300):
    say("progress", fraction=n / 300, phrase=f"Slice {n}", seconds_left=1.0)
    time.sleep(0.005)
write_answer(folder, Answer(labels, {"notice": "for research"}, share))
say("finished", summary="")
"""


class Heart:
    """Beats in the event loop, and keeps the longest pause of each phase."""

    def __init__(self) -> None:
        import qt

        self.pauses: dict[str, float] = {}
        self.phase = "before"
        self._last = time.perf_counter()
        self._timer = qt.QTimer()
        self._timer.setInterval(BEAT_MS)
        self._timer.connect("timeout()", self.beat)
        self._timer.start()

    def beat(self) -> None:
        now = time.perf_counter()
        pause = 1000 * (now - self._last)
        self.pauses[self.phase] = max(pause, self.pauses.get(self.phase, 0.0))
        self._last = now

    def enter(self, phase: str) -> None:
        """What is done from here on counts for ``phase``."""
        self.beat()
        self.phase = phase


def main() -> None:
    """Print a table of phases."""
    args = parse()
    sys.path[:0] = [str(TESTING), str(MODULE_FOLDER)]
    from slicersim.app import boot, leave
    from slicersim.loop import in_event_loop

    boot()
    in_event_loop(lambda: measure(args))
    in_event_loop(lambda: measureWaiting(args))
    leave(0)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--slices", type=int, default=300)
    parser.add_argument("--probabilities", action="store_true")
    parser.add_argument("--model", help="a model file: then the real command line runs")
    return parser.parse_args()


def measure(args: argparse.Namespace) -> None:
    import qt
    import slicer
    from LiverTumorSegSlicer.run.job import JobResult, SegmentationJob
    from LiverTumorSegSlicer.run.later import callLater
    from LiverTumorSegSlicer.scene.nodes import writeSegmentation

    volumeNode = makeVolume(args.slices)
    heart, ends, loop = Heart(), [], qt.QEventLoop()

    def end(result: Any = None) -> None:
        ends.append(result)
        heart.enter("removing the folder")
        callLater(1500, loop.quit)

    def onProgress(fraction: float, phrase: str, left: float | None) -> None:
        if phrase != heart.phase and not phrase.startswith("Slice"):
            heart.enter(phrase)

    slicer.app.processEvents()
    heart.enter("copying the voxels")
    request = makeRequest(volumeNode, args)
    heart.enter("starting the job")
    job = SegmentationJob(
        request,
        makeRunner(args.model),
        onProgress=onProgress,
        onFinished=end,
        onFailed=end,
        onCancelled=end,
    )
    job.start()
    loop.exec_()
    if not isinstance(ends[0], JobResult):
        raise SystemExit(f"The run failed: {ends[0]}")
    heart.enter("result into the scene")
    writeSegmentation(ends[0].labelsKji, volumeNode, ends[0].record)
    slicer.app.processEvents()
    heart.enter("after")
    report(heart, args)


def measureWaiting(args: argparse.Namespace) -> None:
    """Print seconds of a run in which nothing but the job itself asks for the main thread."""
    import qt
    from LiverTumorSegSlicer.run.folder import PREFIX, temporaryFolder
    from LiverTumorSegSlicer.run.job import SegmentationJob

    request = makeRequest(makeVolume(args.slices), args)
    times, loop, look = {"start": time.perf_counter()}, qt.QEventLoop(), qt.QTimer()

    def onProgress(fraction: float, phrase: str, left: float | None) -> None:
        if phrase != "Handing over the CT":
            times.setdefault("handed over", time.perf_counter())

    def end(result: Any = None) -> None:
        times["end"] = time.perf_counter()
        look.start(LOOK_MS)

    def isGone() -> None:
        if not list(temporaryFolder().glob(f"{PREFIX}*")):
            times["gone"] = time.perf_counter()
            loop.quit()

    look.connect("timeout()", isGone)
    ends = {"onFinished": end, "onFailed": end, "onCancelled": end}
    SegmentationJob(request, makeRunner(None), onProgress=onProgress, **ends).start()
    loop.exec_()
    look.stop()
    seconds = {
        "hand-over": times["handed over"] - times["start"],
        "removal": times["gone"] - times["end"],
    }
    for name, taken in seconds.items():
        mark = "  too long" if taken > PROMISED_S[name] else ""
        print(f"{name + ', threads starved':<28} {taken:6.2f} s{mark}")


def makeVolume(slices: int) -> Any:
    import slicer

    voxels = np.random.default_rng(0).integers(-1000, 1000, (512, 512), dtype=np.int16)
    volume = np.broadcast_to(voxels, (slices, 512, 512))
    affine = np.diag([-0.7, -0.7, 1.0, 1.0])
    return slicer.util.addVolumeFromArray(np.array(volume), ijkToRAS=affine, name="CT")


def makeRequest(volumeNode: Any, args: argparse.Namespace) -> Any:
    from LiverTumorSegLib.settings import RunSettings
    from LiverTumorSegSlicer.run.job import JobRequest
    from LiverTumorSegSlicer.scene.nodes import readVolume

    ct = readVolume(volumeNode)
    settings = RunSettings(model=args.model, probabilities=args.probabilities)
    return JobRequest(ct.hu, ct.ijk_to_ras, settings)


def makeRunner(model: str | None) -> Any:
    from LiverTumorSegSlicer.run.process import ProcessRunner

    class QuickRunner(ProcessRunner):
        """Its child only pretends."""

        def start(self, arguments: list[str], *callbacks: Any) -> None:
            super().start(["-c", CHILD, *arguments[2:]], *callbacks)

    return ProcessRunner() if model else QuickRunner()


def report(heart: Heart, args: argparse.Namespace) -> None:
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
    print(f"512 x 512 x {args.slices} voxels, {os.cpu_count()} CPUs, load {load:.1f}")
    for phase, pause in heart.pauses.items():
        if phase not in ("before", "after"):
            mark = "  too long" if pause > PROMISED_MS else ""
            print(f"{phase:<28} {pause:6.0f} ms{mark}")


if __name__ == "__main__":
    main()

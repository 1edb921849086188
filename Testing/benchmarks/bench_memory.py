"""Greatest memory of segmenting a CT above what the idle program holds, in a child process.

    python Testing/benchmarks/bench_memory.py
    python Testing/benchmarks/bench_memory.py --model FILE --slices 60 150

Idle is a Python with everything imported, PyTorch too, but no model and no CT. The peak is the
child's resident memory at its highest, with model, int16 CT, segmentation and lesion table; the CT
is read from a file as in real use, so that making the phantom does not count. Goal: at most 1.0 GB
above idle at 150 slices of 512 x 512. Linux and macOS.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

from LiverTumorSegLib.ct.nifti import write_ct
from LiverTumorSegLib.phantom.phantom import make_phantom
from pairs import print_table

HEIGHT_MM = 375.0
GOAL_GB = 1.0
BYTES_PER_UNIT = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss


def peak_gb() -> float:
    """This process's resident memory at its highest so far, in GB (1e9 bytes)."""
    status = Path("/proc/self/status")
    if status.is_file():  # Linux: ru_maxrss would begin at the peak of the process that started us
        high = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(high.split()[1]) * 1024 / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * BYTES_PER_UNIT / 1e9


def child(ct_file: str, model: str | None, scan: bool) -> None:
    """Segment a CT as the command line does; prints the measures as JSON."""
    import LiverTumorSegLib.inference.network  # noqa: F401
    from LiverTumorSegLib.ct.nifti import read_ct
    from LiverTumorSegLib.inference.segmenter import load_segmenter
    from LiverTumorSegLib.result.lesions import measure
    from LiverTumorSegLib.settings import RunSettings
    from scipy import ndimage, spatial  # noqa: F401

    idle_gb = peak_gb()
    ct, _ = read_ct(ct_file)
    with_ct_gb = peak_gb()
    done = load_segmenter(RunSettings(model=model, device="cpu", coarse_search=scan)).segment(ct)
    measure(done.labels_kji, ct)
    print(json.dumps({"idle": idle_gb, "with CT": with_ct_gb, "peak": peak_gb()}))


def measure_in_child(slices: int, model: str | None, *, scan: bool) -> list[str]:
    """A row of the table."""
    spacing_kji_mm = (HEIGHT_MM / slices, 0.75, 0.75)
    with tempfile.TemporaryDirectory() as folder:
        ct_file = Path(folder) / "ct.nii.gz"
        phantom = make_phantom(seed=5, shape_kji=(slices, 512, 512), spacing_kji_mm=spacing_kji_mm)
        write_ct(ct_file, phantom.ct)
        del phantom
        command = [sys.executable, __file__, "--child", str(ct_file)]
        command += ["--model", model] if model else []
        command += [] if scan else ["--no-coarse-search"]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    gb = json.loads(done.stdout)
    above = gb["peak"] - gb["idle"]
    return [str(slices), *(f"{gb[key]:.2f}" for key in ("idle", "with CT", "peak")), f"{above:.2f}"]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", metavar="NAME|FILE", help="default: the shipped one")
    parser.add_argument("--slices", type=int, nargs="+", default=[150])
    parser.add_argument("--no-coarse-search", action="store_true", help="run every slice")
    parser.add_argument("--child", metavar="CT", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        child(args.child, args.model, not args.no_coarse_search)
        return
    rows = [measure_in_child(n, args.model, scan=not args.no_coarse_search) for n in args.slices]
    print_table(["slices", "idle GB", "with CT GB", "peak GB", "above idle GB"], rows)
    print(f"Goal: at most {GOAL_GB} GB above idle at 150 slices.")


if __name__ == "__main__":
    main()

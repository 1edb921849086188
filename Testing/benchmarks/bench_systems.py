"""Two models on the same CT: seconds and peak memory, the 3D cascade's beside the default's.

    python Testing/benchmarks/bench_systems.py
    python Testing/benchmarks/bench_systems.py --cascade gunetrpp-small --slices 60 150 --pairs 3
    python Testing/benchmarks/bench_systems.py --cascade mine.safetensors

Each run is a child process of its own that reads the CT from a file, as in real use, and the two
systems take turns. Without --cascade its networks are made here, with random weights (--net small
or full): they mark about half of all as liver, so the tumor network looks everywhere, which is the
longest that a cascade can take. On a GPU (--device cuda) its own memory is told too.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench_memory import HEIGHT_MM, peak_gb
from LiverTumorSegLib.ct.nifti import write_ct
from LiverTumorSegLib.phantom.phantom import make_phantom
from pairs import Pairs, print_table

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

COLUMNS = ("slices", "system", "steps", "s", "loading s", "peak GB", "above idle GB", "GPU GB")
SYSTEMS = ("default", "cascade")
Row = dict[str, Any]


def child(ct_file: str, model: str | None, device: str) -> None:
    """Segment a CT; prints seconds, steps (slices or windows) and memory as JSON."""
    import LiverTumorSegLib.inference.network  # noqa: F401
    import torch
    from LiverTumorSegLib.ct.nifti import read_ct
    from LiverTumorSegLib.inference.segmenter import load_segmenter
    from LiverTumorSegLib.settings import RunSettings

    idle_gb, started = peak_gb(), time.perf_counter()
    segmenter = load_segmenter(RunSettings(model=model, device=device))
    loaded = time.perf_counter()
    steps: list[str] = []
    ct, _ = read_ct(ct_file)
    done = segmenter.segment(ct, lambda fraction, phrase: steps.append(phrase))
    on_gpu = torch.cuda.max_memory_allocated() / 1e9 if segmenter.device != "cpu" else 0.0
    told: Row = {
        "device": done.device,
        "steps": sum(": Window " in s or "Slice " in s for s in dict.fromkeys(steps)),
        "s": done.seconds,
        "loading": loaded - started,
        "idle": idle_gb,
        "peak": peak_gb(),
        "gpu": on_gpu,
    }
    print(json.dumps(told))


def random_cascade(folder: Path, net: str) -> str:
    """A model whose weights are random, the head's so that half of noise is foreground."""
    import torch
    from LiverTumorSegLib.inference.postprocess import Postprocessing
    from LiverTumorSegLib.inference.preprocess_volume import VolumePreprocessing
    from LiverTumorSegLib.model.file import ModelFile, join_files
    from LiverTumorSegLib.model.spec import STAGES, ModelSpec
    from LiverTumorSegLib.nets import NETS

    from training.learn.recipes3d import SMALL_NET

    full = VolumePreprocessing(window_hu=(-40, 160))
    sees_all = replace(full, size_px=128) if net == "small" else full  # as it is shipped
    steps = {"liver": sees_all, "tumor": replace(full, liver_margin_mm=10.0)}
    halves = []
    for seed, (stage, labels) in enumerate(STAGES.items()):
        torch.manual_seed(seed)
        args = SMALL_NET if net == "small" else {}
        model: Any = NETS["gunetrpp"](**args).eval()
        with torch.no_grad():
            noise = torch.rand(1, 1, *model.patch_kji)
            model.heads[0].bias -= model(noise).mean((0, 2, 3, 4))
        spec = ModelSpec(
            name=f"random-{net}-{stage}",
            version="0",
            net="gunetrpp",
            net_args=args,
            preprocessing=steps[stage].to_dict(),
            labels=labels,
            training_hu_range=None,
            postprocessing=Postprocessing(clean_liver=True, smallest_lesion_mm=3.0).to_dict(),
            provenance={},
            storage="fp16",
        )
        halves.append(ModelFile(spec, model.state_dict()))
    liver, tumor = halves
    path = folder / "random.safetensors"
    join_files(liver, tumor, name=f"random-{net}", version="0", cascade={}).save(path)
    return str(path)


def in_child(ct_file: Path, model: str | None, device: str) -> Row:
    command = [sys.executable, __file__, "--child", str(ct_file), "--device", device]
    command += ["--cascade", model] if model else []
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    row: Row = json.loads(done.stdout)
    return row


def compare(slices: int, models: dict[str, str | None], args: argparse.Namespace) -> None:
    """Print one CT's part of the table, and the ratio."""
    spacing_kji_mm = (HEIGHT_MM / slices, 0.75, 0.75)
    runs: dict[str, list[Row]] = {system: [] for system in SYSTEMS}
    with tempfile.TemporaryDirectory() as folder:
        ct_file = Path(folder) / "ct.nii.gz"
        phantom = make_phantom(seed=5, shape_kji=(slices, 512, 512), spacing_kji_mm=spacing_kji_mm)
        write_ct(ct_file, phantom.ct)
        del phantom
        for n in range(args.pairs):
            for system in SYSTEMS if n % 2 == 0 else SYSTEMS[::-1]:
                runs[system].append(in_child(ct_file, models[system], args.device))
    print_table(COLUMNS, [_line(slices, system, rows) for system, rows in runs.items()])
    seconds = (tuple(row["s"] for row in runs[system]) for system in SYSTEMS[::-1])
    times = Pairs(*seconds)
    print(f"Cascade over default: {times.ratio:.2f} times the seconds ({times.ratio_range}).")


def _line(slices: int, system: str, rows: list[Row]) -> list[str]:
    """Medians; the most memory of all runs."""
    seconds, loading = (statistics.median(row[key] for row in rows) for key in ("s", "loading"))
    peak = max(row["peak"] for row in rows)
    return [
        str(slices),
        f"{system}, {rows[0]['device']}",
        str(rows[0]["steps"]),
        f"{seconds:.1f}",
        f"{loading:.1f}",
        f"{peak:.2f}",
        f"{peak - rows[0]['idle']:.2f}",
        f"{max(row['gpu'] for row in rows):.2f}" if rows[0]["gpu"] else "-",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--model", metavar="NAME|FILE", help="in place of the default model")
    add("--cascade", metavar="NAME|FILE", help="its name or its file")
    add("--net", choices=("small", "full"), default="small", help="without --cascade")
    add("--slices", type=int, nargs="+", default=[60])
    add("--pairs", type=int, default=3)
    add("--device", default="cpu")
    add("--child", metavar="CT", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        child(args.child, args.cascade, args.device)
        return
    with tempfile.TemporaryDirectory() as folder:
        cascade = args.cascade or random_cascade(Path(folder), args.net)
        models = {"default": args.model, "cascade": cascade}
        for slices in args.slices:
            compare(slices, models, args)


if __name__ == "__main__":
    main()

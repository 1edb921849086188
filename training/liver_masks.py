"""Liver masks for the training of a cascade's tumor network, by networks that do not know them.

    python -m training.liver_masks prepared3d -o masks --final runs/liver/best.safetensors \\
        --folds 2 --recipe gunetrpp-liver
    python -m training.liver_masks prepared3d -o masks --final runs/liver/best.safetensors \\
        --models runs/liver-1/best.safetensors runs/liver-2/best.safetensors

A liver network marks the scans that it was trained on better than any other. A tumor network that
learned on such masks would meet worse ones later. So every training scan is marked by a network
that has not seen its patient: one of ``--models``, or of ``--folds`` that are trained here
(runs in the folder's fold-1, fold-2, ...), each without one part of the patients. Validation scans
are marked by the final network. Model files name their training patients, and no mask is made
against them; test scans are left out.

Writes a mask a scan (name.npy, uint8 (k, size, size), cleaned as inference does it, not dilated)
and manifest.json last. A second call goes on where the first stopped.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from LiverTumorSegLib.inference.network import PatchRunner
from LiverTumorSegLib.inference.postprocess import clean_liver
from LiverTumorSegLib.inference.preprocess_volume import Mask, VolumePreprocessing
from LiverTumorSegLib.inference.sliding_window import SlidingWindow
from LiverTumorSegLib.model.file import ModelFile
from LiverTumorSegLib.model.spec import stage_of
from numpy.typing import NDArray

from training import command
from training.data.patches import fingerprint, read_array
from training.data.slices import read_manifest
from training.files import read_record, write_array, write_json
from training.learn.distributed import ALONE
from training.learn.recipes3d import VOLUME_RECIPES
from training.learn.run import BEST, RunOptions, train_run

Case = dict[str, Any]
Show = Callable[[Iterable[Any]], Iterable[Any]]


@dataclass(frozen=True, eq=False)
class LiverNet:
    """A trained liver network, and whom it knows.

    groups: patients that it was trained on. overlap: of its windows.
    """

    path: Path
    sha256: str
    groups: frozenset[str]
    runner: PatchRunner
    preprocessing: VolumePreprocessing
    window: SlidingWindow

    @classmethod
    def load(cls, path: Path, device: str = "auto", overlap: float = 0.5) -> LiverNet:
        """``ValueError`` for the model of another stage or kind."""
        file = ModelFile.load(path)
        spec = file.spec
        if stage_of(spec) != "liver":
            raise ValueError(f"{path.name} is not the liver network of a cascade; give that.")
        net: Any = file.build_net()
        return cls(
            path,
            str(file.sha256),
            frozenset(spec.provenance["train_groups"]),
            PatchRunner(net, device),
            VolumePreprocessing.from_dict(spec.preprocessing),
            SlidingWindow(patch_kji=net.patch_kji, overlap=overlap),
        )

    def mask(self, image: NDArray[np.float16]) -> Mask:
        """The liver (k, j, i) in a prepared image, cleaned as inference does it."""
        found = np.zeros(image.shape, np.bool_)
        channels = self.preprocessing.channels(image)
        for first, slab in self.window.slabs(channels, self.runner):
            found[first : first + slab.shape[1]] = slab[0] > 0.5
        return clean_liver(found)


def choose_nets(
    cases: Sequence[Case], final: LiverNet, others: Sequence[LiverNet]
) -> dict[str, LiverNet]:
    """Choose the network that marks each case, by its name: the final one for validation, else the
    first of ``others`` that has not seen the patient.

    Raises ``ValueError`` when every network knows a patient.
    """
    chosen: dict[str, LiverNet] = {}
    for case in cases:
        able = [final] if case["split"] == "val" else others
        net = next((net for net in able if case["group"] not in net.groups), None)
        if net is None:
            raise ValueError(
                f"Every network was trained on the patient of {case['name']}; give the networks of"
                " all folds, made with the same number of folds."
            )
        chosen[case["name"]] = net
    return chosen


def make_masks(
    prepared: Path,
    folder: Path,
    final: LiverNet,
    others: Sequence[LiverNet],
    show: Show = iter,
) -> dict[str, Any]:
    """Write all masks and ``manifest.json``; returns the manifest.

    Raises ``ValueError`` for networks that were made for other volumes than these.
    """
    manifest = read_manifest(prepared)
    for net in (final, *others):
        if net.preprocessing.to_dict() != manifest["preprocessing"]:
            raise ValueError(
                f"{net.path.name} was trained on volumes prepared otherwise than {prepared.name};"
                " prepare them alike."
            )
    cases = [case for case in manifest["cases"] if case["split"] in ("train", "val")]
    chosen = choose_nets(cases, final, others)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "manifest.json").unlink(missing_ok=True)  # it vouches for masks written below
    records = {}
    for case in show(cases):
        records[case["name"]] = _mark(prepared, folder, case, chosen[case["name"]])
    made = {"format": 1, "dice": _mean_dice(records, cases), "cases": records}
    write_json(folder / "manifest.json", made)
    return made


def _mark(prepared: Path, folder: Path, case: Case, net: LiverNet) -> dict[str, Any]:
    """The mask of one scan, unless it is there already; its record."""
    overlap = net.window.overlap
    expected = {**fingerprint(case), "model_sha256": net.sha256, "overlap": overlap}
    path = folder / f"{case['name']}.npy"
    beside = path.with_suffix(".json")
    if path.is_file() and beside.is_file():
        known = read_record(beside, f"delete it, or the folder {folder.name}, and run again")
        if all(known.get(key) == value for key, value in expected.items()):
            return known
    beside.unlink(missing_ok=True)
    mask = net.mask(read_array(prepared, case, "image"))
    liver = read_array(prepared, case, "labels") > 0
    shared, both = int((mask & liver).sum()), int(mask.sum()) + int(liver.sum())
    write_array(path, mask.astype(np.uint8))
    record = {**expected, "dice": round(2 * shared / max(both, 1), 4)}
    write_json(beside, record)
    return record


def _mean_dice(records: Mapping[str, Any], cases: Sequence[Case]) -> dict[str, float]:
    """How good the masks are, by set: the mean over its scans."""
    means = {}
    for split in ("train", "val"):
        values = [records[case["name"]]["dice"] for case in cases if case["split"] == split]
        if values:
            means[split] = round(float(np.mean(values)), 4)
    return means


def train_folds(folds: int, options: RunOptions) -> list[Path]:
    """Train, or finish, a network without each part of the patients; their model files.

    options: of a run; its folder gets one for each fold.
    """
    models = []
    for number in range(1, folds + 1):
        run = options.output / f"fold-{number}"
        of_fold = replace(options, output=run, fold=f"{number}/{folds}")
        train_run(of_fold, ALONE)
        models.append(run / BEST)
    return models


def _parser() -> argparse.ArgumentParser:
    parser = command.parser("liver_masks", __doc__)
    add = parser.add_argument
    add("prepared", type=Path, help="folder written by training.prepare --volumes")
    command.add_output(parser, "folder to write")
    add("--final", type=Path, required=True, help="liver network trained on all training scans")
    how = parser.add_mutually_exclusive_group(required=True)
    how.add_argument("--folds", type=int, help="train so many networks, each without a part")
    how.add_argument("--models", type=Path, nargs="+", help="networks that were trained so")
    liver = [name for name, recipe in VOLUME_RECIPES.items() if recipe.stage == "liver"]
    add("--recipe", choices=liver, default="gunetrpp-liver", help="of the folds")
    add("--minutes", type=float, help="of each fold's training")
    add("--epochs", type=int, help="of each fold's training")
    add("--overlap", type=float, default=0.5, help="of the windows (default 0.5)")
    command.add_device(parser)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    from tqdm import tqdm

    def work(args: argparse.Namespace) -> None:
        final = LiverNet.load(args.final, args.device, args.overlap)
        options = RunOptions(
            prepared=args.prepared,
            output=args.output,
            recipe=args.recipe,
            minutes=args.minutes,
            epochs=args.epochs,
            device=args.device,
        )
        models = args.models or train_folds(args.folds, options)
        others = [LiverNet.load(path, args.device, args.overlap) for path in models]
        made = make_masks(
            args.prepared, args.output, final, others, lambda cases: tqdm(cases, unit="scan")
        )
        for split, dice in made["dice"].items():
            print(f"{split}: mean liver Dice of the masks {dice:.4f}")

    return command.run(_parser(), work, arguments)


if __name__ == "__main__":
    sys.exit(main())

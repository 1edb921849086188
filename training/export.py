"""Make the shipped form of a trained model, also of two networks as one cascade.

    python -m training.export runs/mine -o mine.safetensors --name mine \\
        --prepared prepared --storage int8

    python -m training.export runs/liver runs/tumor -o pair.safetensors --name pair
    python -m training.export runs/liver runs/tumor1 runs/tumor2 -o pair.safetensors --name pair
    python -m training.tune pair.safetensors LITS_FOLDER -o choice
    python -m training.export pair.safetensors -o final.safetensors --name final \\
        --choice choice/choice.json

Takes the best epoch of a run, or a model file; of several, the first is the liver network of a
cascade and the second its tumor network, and they become one file; more tumor networks of the same
shape answer together with it, by their mean. Gives the model a name, version, licence and summary,
stores the weights as int8, fp16 or fp32, and, with --prepared, measures the pooled Dice on the
validation slices, or volumes, with the fp32 weights and with the stored ones, so that the file
itself says what its storage costs. The tumor network of a cascade is measured inside the liver
masks, before it is joined. With --choice the file decides on tumors as training.tune has found best
for these very weights. With --livers the file says how bright the livers are that it was trained
on, so that a run can tell of one that is unlike them:

    python -m training.export pair.safetensors -o final.safetensors --name final \\
        --livers LITS_FOLDER
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from LiverTumorSegLib.inference.postprocess import Postprocessing
from LiverTumorSegLib.inference.preprocess_volume import VolumePreprocessing
from LiverTumorSegLib.inference.region import CascadeSettings
from LiverTumorSegLib.inference.sliding_window import SlidingWindow
from LiverTumorSegLib.model.file import ModelFile, join_files, join_members
from LiverTumorSegLib.model.spec import LIVER_HU, STORAGES, ModelSpec, stage_of

from training import command
from training.cases.livers import liver_hu_range
from training.data.slices import load_split, read_manifest
from training.learn.distributed import pick_device
from training.learn.recipes import SliceRecipe
from training.learn.recipes3d import PatchRecipe, Validation
from training.learn.trainer import Facts, SliceTrainer
from training.learn.trainer3d import PatchTrainer, load_volumes_for
from training.score.folds import network_kinds, with_all_settings
from training.tuning.record import FOLDS, RECORD, REGION, StoredChoice, read_choice

LICENCE = "CC BY-NC-SA 4.0"
NOTICE = "For research only, not for diagnosis."


def validation_dice(
    file: ModelFile, prepared: Path, device: str, masks: Path | None = None
) -> dict[str, float]:
    """Pooled Dice of what the net finds over the prepared validation set, in fp32."""
    of_volumes = file.spec.preprocessing["kind"] == VolumePreprocessing.KIND
    found = (
        _volume_facts(file, prepared, device, masks)
        if of_volumes
        else _facts(file, prepared, device)
    )
    return {
        name: round(found[f"val_{name}_dice"], 4)
        for name in file.spec.labels
        if name != "background"
    }


def _facts(file: ModelFile, prepared: Path, device: str) -> Facts:
    data = load_split(prepared, "val")
    recipe = SliceRecipe(net=file.spec.net, net_args=file.spec.net_args)
    trainer = SliceTrainer(recipe, data, device=device, bf16=False)
    trainer.net.load_state_dict(file.state)
    return trainer.validate(data, file.spec.preprocessing["size_px"])


def _volume_facts(file: ModelFile, prepared: Path, device: str, masks: Path | None) -> Facts:
    """Validation scores of a patch network, by windows that overlap as in inference."""
    spec = file.spec
    steps = VolumePreprocessing.from_dict(spec.preprocessing)
    recipe = PatchRecipe(
        net=spec.net,
        net_args=spec.net_args,
        stage=stage_of(spec),
        check=Validation(overlap=SlidingWindow().overlap),
        liver_margin_mm=steps.liver_margin_mm,
        mask_as_channel=steps.mask_as_channel,
    )
    data = load_volumes_for(recipe, prepared, "val", masks)
    trainer = PatchTrainer(recipe, data, device=device, bf16=False)
    trainer.net.load_state_dict(file.state)
    return trainer.validate(data, recipe.size_at(1.0))


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """The run to export, and what the model file says of itself.

    model: a run folder or a model file; for a cascade the liver's, then the tumor's, or several of
        tumors that answer by their mean. prepared, masks: to
        measure on. livers: folder of the CTs it was trained on, for the range of their livers'
        HU. choice: file of training.tune. closing_mm, margin_mm, join_liver: of a cascade,
        as in ``CascadeSettings``.
    """

    model: Sequence[Path]
    output: Path
    name: str
    version: str
    title: str
    summary: str
    licence: str
    storage: str
    prepared: Path | None
    masks: Path | None
    livers: Path | None
    choice: Path | None
    closing_mm: float
    margin_mm: float
    join_liver: bool
    device: str


def export(options: ExportOptions) -> dict[str, Any]:
    """Write the model file; what was measured, as JSON-able values."""
    if len(options.model) > 1 and options.prepared is not None:
        raise ValueError("--prepared measures one network; export each alone, then join the files.")
    trained = _trained(options)
    spec = trained.spec if options.choice is None else _as_chosen(trained, options.choice)
    provenance: dict[str, Any] = {
        **spec.provenance,
        "title": options.title,
        "summary": options.summary,
        "licence": options.licence,
        "notice": NOTICE,
        "code_version": options.version,
    }
    if options.livers is not None:
        provenance[LIVER_HU] = liver_hu_range(options.livers, spec.provenance.get("train", []))
    spec = replace(
        spec,
        name=options.name,
        version=options.version,
        provenance=provenance,
        storage=options.storage,
    )
    file = ModelFile(spec, trained.state)
    measured: dict[str, Any] = {}
    if options.prepared is not None:
        low, high = read_manifest(options.prepared)["hu_range"]
        spec = replace(spec, training_hu_range=(low, high))
        device = pick_device(options.device)
        of_volumes = spec.preprocessing["kind"] == VolumePreprocessing.KIND
        key = "validation_volumes_dice" if of_volumes else "validation_slices_dice"
        measured[key] = {
            "fp32": validation_dice(file, options.prepared, device, options.masks),
            options.storage: validation_dice(
                _stored(file), options.prepared, device, options.masks
            ),
        }
        provenance |= measured
        file = ModelFile(replace(spec, provenance=provenance), trained.state)
    sha256 = file.save(options.output)
    return {
        "file": options.output.name,
        "sha256": sha256,
        "bytes": options.output.stat().st_size,
        **(measured or {"validation_slices_dice": None}),
    }


def _trained(options: ExportOptions) -> ModelFile:
    """The run or model file that is named, or several as one."""
    files = [_load(path) for path in options.model]
    if len(files) == 1:
        return files[0]
    liver, *tumors = files
    tumor = join_members(tumors) if len(tumors) > 1 else tumors[0]
    own = Postprocessing.from_dict(tumor.spec.postprocessing)
    search = CascadeSettings(
        smallest_liver_ml=own.smallest_liver_ml,
        closing_mm=options.closing_mm,
        fill_holes=options.closing_mm > 0,
        margin_mm=options.margin_mm,
        join_liver=options.join_liver,
    )
    cascade = search.to_dict()
    return join_files(liver, tumor, name=options.name, version=options.version, cascade=cascade)


def _load(path: Path) -> ModelFile:
    return ModelFile.load(path / "best.safetensors" if path.is_dir() else path)


def _as_chosen(trained: ModelFile, path: Path) -> ModelSpec:
    """The description with the decision that was chosen for these weights, and by which cases."""
    choice, spec = read_choice(path), trained.spec
    if trained.sha256 is None:
        raise ValueError("Join the two networks first, then choose for the file and give it here.")
    if FOLDS in choice.how:
        _refuse_another_kind(trained, path, choice)
    elif choice.how["sha256"] != trained.sha256:
        raise ValueError(
            f"{path.name} was chosen for other weights than these; run training.tune on them."
        )
    if spec.is_cascade and REGION in choice.how:
        tumor = spec.pair["tumor"]
        seen = {**tumor.preprocessing, REGION: choice.how[REGION]}
        spec = replace(spec, pair={**spec.pair, "tumor": replace(tumor, preprocessing=seen)})
    return replace(
        spec,
        decision=choice.decision.to_dict(),
        postprocessing=choice.postprocessing.to_dict(),
        tuning=choice.curve,
        provenance={**spec.provenance, "chosen": choice.how},
    )


def _refuse_another_kind(trained: ModelFile, path: Path, choice: StoredChoice) -> None:
    """Refuse a choice for other networks: one made on folds holds only for
    the same networks trained on all patients."""
    if with_all_settings(choice.how["networks"]) != network_kinds(trained.spec):
        raise ValueError(
            f"{path.name} was chosen for networks of another kind than those of this model; run"
            " training.tune on folds that were trained in the same way."
        )


def _stored(file: ModelFile) -> ModelFile:
    """The model as it comes back from its file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "stored.safetensors"
        file.save(path)
        return ModelFile.load(path)


def _parser() -> argparse.ArgumentParser:
    parser = command.parser("export", __doc__)
    parser.add_argument(
        "model",
        type=Path,
        nargs="+",
        help="run folder of training.train, or a model file; of a cascade the liver's first, then"
        " the tumor's, or several that answer by their mean",
    )
    command.add_output(parser, "model file to write")
    parser.add_argument("--name", required=True)
    parser.add_argument("--version", default="1")
    parser.add_argument("--title", default="Liver and liver tumors in CT")
    parser.add_argument("--summary", default="")
    parser.add_argument(
        "--licence",
        default=LICENCE,
        metavar="TEXT",
        help=f"of the weights; what they were trained on may ask for one (default: {LICENCE}, as"
        " LiTS does)",
    )
    parser.add_argument("--storage", choices=STORAGES, default="int8")
    parser.add_argument(
        "--prepared", type=Path, help="measure on the validation set of this folder"
    )
    parser.add_argument("--masks", type=Path, help="liver masks of training.liver_masks")
    parser.add_argument(
        "--livers", type=Path, metavar="FOLDER", help="labeled CTs that it was trained on"
    )
    parser.add_argument("--choice", type=Path, help=f"{RECORD} of training.tune")
    parser.add_argument(
        "--closing-mm",
        type=float,
        default=20.0,
        help="of a cascade: over how much the first liver is closed, and filled, to be searched",
    )
    parser.add_argument(
        "--margin-mm",
        type=float,
        default=10.0,
        help="of a cascade: how far beyond that liver tumors are looked for, if the tumor network"
        " was not trained with a margin of its own",
    )
    parser.add_argument(
        "--join-liver",
        action="store_true",
        help="of a cascade: both networks decide together on the liver, by their mean",
    )
    command.add_device(parser)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    def work(args: argparse.Namespace) -> None:
        print(json.dumps(export(ExportOptions(**vars(args))), indent=1))

    return command.run(_parser(), work, arguments)


if __name__ == "__main__":
    sys.exit(main())

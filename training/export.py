"""Make the shipped form of a trained model.

    python -m training.export runs/mine -o hybrid2d-w32.safetensors --name hybrid2d-w32 \\
        --prepared prepared --storage int8

    python -m training.export runs/tumor -o gunetrpp-small-tumor.safetensors \\
        --name gunetrpp-small-tumor --prepared prepared3d --masks masks

    python -m training.export runs/mine -o mine.safetensors --name mine --choice choice/choice.json

Takes the run's best epoch, gives it a name, version, licence and summary, stores the weights as
int8, fp16 or fp32, and, with --prepared, measures the pooled Dice on the validation slices, or
volumes, with the fp32 weights and with the stored ones, so that the file itself says what its
storage costs. The tumor network of a cascade is measured inside the liver masks. With --choice the
file decides on tumors as training.tune has found best for these very weights; that of a cascade
goes into its tumor network's file.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from LiverTumorSegLib.inference.preprocess_volume import VolumePreprocessing
from LiverTumorSegLib.inference.sliding_window import SlidingWindow
from LiverTumorSegLib.model.file import ModelBundle
from LiverTumorSegLib.model.spec import STORAGES, ModelSpec, stage_of

from training import command
from training.data.slices import load_split, read_manifest
from training.learn.distributed import pick_device
from training.learn.recipes import Recipe
from training.learn.recipes3d import VolumeCheck, VolumeRecipe
from training.learn.trainer import Facts, Trainer
from training.learn.trainer3d import VolumeTrainer, load_volumes_for
from training.tuning.record import RECORD, REGION, read_choice

LICENCE = "CC BY-NC-SA 4.0"
NOTICE = "For research only, not for diagnosis."


def validation_dice(
    bundle: ModelBundle, prepared: Path, device: str, masks: Path | None = None
) -> dict[str, float]:
    """Pooled Dice of what the net finds over the prepared validation set, in fp32."""
    stage = stage_of(bundle.spec)
    found = (
        _volume_facts(bundle, prepared, device, masks)
        if stage
        else _facts(bundle, prepared, device)
    )
    return {
        name: round(found[f"val_{name}_dice"], 4)
        for name in bundle.spec.labels
        if name != "background"
    }


def _facts(bundle: ModelBundle, prepared: Path, device: str) -> Facts:
    data = load_split(prepared, "val")
    recipe = Recipe(net=bundle.spec.net, net_args=bundle.spec.net_args)
    trainer = Trainer(recipe, data, device=device, bf16=False)
    trainer.net.load_state_dict(bundle.state)
    return trainer.validate(data, bundle.spec.preprocessing["size_px"])


def _volume_facts(bundle: ModelBundle, prepared: Path, device: str, masks: Path | None) -> Facts:
    """By windows that overlap as in inference."""
    spec = bundle.spec
    steps = VolumePreprocessing.from_dict(spec.preprocessing)
    recipe = VolumeRecipe(
        net=spec.net,
        net_args=spec.net_args,
        stage=stage_of(spec),
        check=VolumeCheck(overlap=SlidingWindow().overlap),
        liver_margin_mm=steps.liver_margin_mm,
        mask_as_channel=steps.mask_as_channel,
    )
    data = load_volumes_for(recipe, prepared, "val", masks)
    trainer = VolumeTrainer(recipe, data, device=device, bf16=False)
    trainer.net.load_state_dict(bundle.state)
    return trainer.validate(data, recipe.size_at(1.0))


def export(given: argparse.Namespace) -> dict[str, Any]:
    """Write the model file; what was measured, as JSON-able values."""
    best = ModelBundle.load(given.run / "best.safetensors")
    trained = best.spec if given.choice is None else _as_chosen(best, given.choice)
    provenance: dict[str, Any] = {
        **trained.provenance,
        "title": given.title,
        "summary": given.summary,
        "licence": LICENCE,
        "notice": NOTICE,
        "code_version": given.version,
    }
    spec = replace(
        trained,
        name=given.name,
        version=given.version,
        provenance=provenance,
        storage=given.storage,
    )
    bundle = ModelBundle(spec, best.state)
    measured: dict[str, Any] = {}
    if given.prepared is not None:
        low, high = read_manifest(given.prepared)["hu_range"]
        spec = replace(spec, training_hu_range=(low, high))
        device = pick_device(given.device)
        of_volumes = bool(stage_of(spec))
        key = "validation_volumes_dice" if of_volumes else "validation_slices_dice"
        measured[key] = {
            "fp32": validation_dice(bundle, given.prepared, device, given.masks),
            given.storage: validation_dice(_stored(bundle), given.prepared, device, given.masks),
        }
        provenance |= measured
        bundle = ModelBundle(replace(spec, provenance=provenance), best.state)
    sha256 = bundle.save(given.output)
    return {
        "file": given.output.name,
        "sha256": sha256,
        "bytes": given.output.stat().st_size,
        **(measured or {"validation_slices_dice": None}),
    }


def _as_chosen(best: ModelBundle, path: Path) -> ModelSpec:
    """The description with the decision that was chosen for these weights, and by which cases."""
    stage = stage_of(best.spec)
    if stage == "liver":
        raise ValueError(
            "This run is the liver network of a cascade, whose tumor network decides; leave out"
            " --choice here, and give it there."
        )
    choice = read_choice(path)
    chosen_for = choice.how.get("stages", {}).get(stage) if stage else choice.how["sha256"]
    if chosen_for != best.sha256:
        raise ValueError(
            f"{path.name} was chosen for other weights than this run's best; run training.tune on"
            " its best.safetensors."
        )
    region = {REGION: choice.how[REGION]} if REGION in choice.how else {}
    return replace(
        best.spec,
        preprocessing={**best.spec.preprocessing, **region},
        decision=choice.decision.to_dict(),
        postprocessing=choice.postprocessing.to_dict(),
        provenance={**best.spec.provenance, "chosen": choice.how},
    )


def _stored(bundle: ModelBundle) -> ModelBundle:
    """The bundle as it comes back from its file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "stored.safetensors"
        bundle.save(path)
        return ModelBundle.load(path)


def _parser() -> argparse.ArgumentParser:
    parser = command.parser("export", __doc__)
    parser.add_argument("run", type=Path, help="run folder of training.train")
    command.add_output(parser, "model file to write")
    parser.add_argument("--name", required=True)
    parser.add_argument("--version", default="1")
    parser.add_argument("--title", default="Liver and liver tumors in CT")
    parser.add_argument("--summary", default="")
    parser.add_argument("--storage", choices=STORAGES, default="int8")
    parser.add_argument(
        "--prepared", type=Path, help="measure on the validation set of this folder"
    )
    parser.add_argument("--masks", type=Path, help="liver masks of training.liver_masks")
    parser.add_argument("--choice", type=Path, help=f"{RECORD} of training.tune")
    command.add_device(parser)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    return command.run(
        _parser(), lambda given: print(json.dumps(export(given), indent=1)), arguments
    )


if __name__ == "__main__":
    sys.exit(main())

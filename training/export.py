"""Make the shipped form of a trained model.

    python -m training.export runs/mine -o hybrid2d-w32.safetensors --name hybrid2d-w32 \\
        --prepared prepared --storage int8

Takes the run's best epoch, gives it a name, version, licence and summary, stores the weights as
int8, fp16 or fp32, and, with --prepared, measures the validation slices' pooled Dice with the
fp32 weights and with the stored ones, so that the file itself says what its storage costs.
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

from LiverTumorSegLib.bundle import ModelBundle
from LiverTumorSegLib.spec import STORAGES, BundleError

from training.datasets import load_split, read_manifest
from training.recipes import Recipe
from training.trainer import Trainer, pick_device

LICENCE = "CC BY-NC-SA 4.0"
NOTICE = "For research only, not for diagnosis."


def validation_dice(bundle: ModelBundle, prepared: Path, device: str) -> dict[str, float]:
    """Pooled Dice of liver and tumor over the prepared validation slices, in fp32."""
    data = load_split(prepared, "val")
    recipe = Recipe(net=bundle.spec.net, net_args=bundle.spec.net_args)
    trainer = Trainer(recipe, data, device=device, bf16=False)
    trainer.net.load_state_dict(bundle.state)
    facts = trainer.validate(data, data.images.shape[-1])
    return {"liver": round(facts["val_liver_dice"], 4), "tumor": round(facts["val_tumor_dice"], 4)}


def export(given: argparse.Namespace) -> dict[str, Any]:
    """Write the model file; what was measured, as JSON-able values."""
    best = ModelBundle.load(given.run / "best.safetensors")
    provenance: dict[str, Any] = {
        **best.spec.provenance,
        "title": given.title,
        "summary": given.summary,
        "licence": LICENCE,
        "notice": NOTICE,
        "code_version": given.version,
    }
    spec = replace(
        best.spec,
        name=given.name,
        version=given.version,
        provenance=provenance,
        storage=given.storage,
    )
    bundle = ModelBundle(spec, best.state)
    if given.prepared is not None:
        low, high = read_manifest(given.prepared)["hu_range"]
        spec = replace(spec, training_hu_range=(low, high))
        device = pick_device(given.device)
        provenance["validation_slices_dice"] = {
            "fp32": validation_dice(bundle, given.prepared, device),
            given.storage: validation_dice(_stored(bundle), given.prepared, device),
        }
        bundle = ModelBundle(replace(spec, provenance=provenance), best.state)
    sha256 = bundle.save(given.output)
    return {
        "file": given.output.name,
        "sha256": sha256,
        "bytes": given.output.stat().st_size,
        "validation_slices_dice": provenance.get("validation_slices_dice"),
    }


def _stored(bundle: ModelBundle) -> ModelBundle:
    """The bundle as it comes back from its file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "stored.safetensors"
        bundle.save(path)
        return ModelBundle.load(path)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m training.export",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", type=Path, help="run folder of training.train")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--version", default="1")
    parser.add_argument("--title", default="Liver and liver tumors in CT")
    parser.add_argument("--summary", default="")
    parser.add_argument("--storage", choices=STORAGES, default="int8")
    parser.add_argument("--prepared", type=Path, help="measure on these validation slices")
    parser.add_argument("--device", default="auto")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    given = _parser().parse_args(arguments)
    try:
        print(json.dumps(export(given), indent=1))
    except (ValueError, OSError, BundleError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())

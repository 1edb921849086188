"""Train a network on prepared slices, or on prepared volumes.

    python -m training.train prepared -o runs/paper --recipe paper
    python -m training.train prepared -o runs/small --recipe cpu --minutes 90
    python -m training.train prepared -o runs/more --init model.safetensors --epochs 20
    python -m training.train prepared -o runs/calm --recipe cpu --size-px 128 --ema 0.995
    torchrun --nproc_per_node=4 -m training.train prepared -o runs/paper --recipe paper
    python -m training.train prepared3d -o runs/liver --recipe gunetrpp-small-liver --minutes 25
    python -m training.train prepared3d -o runs/tumor --recipe gunetrpp-tumor --masks masks

The run folder gets recipe.json, history.jsonl (a line an epoch), last.pt (to go on from, by calling
the same command again) and best.safetensors (the best epoch as a model file). On a CPU, a run that
was stopped after an epoch and continued gives the same bits as one that was not.

The recipes tumor-boxes and liver-slices (prepare --recipe) count in steps; their run folder gets
checkpoint.pt, log.csv and run.json (:mod:`training.learn.step_trainer`):

    python -m training.train boxes -o runs/base --recipe tumor-boxes --weak-only --constant
    python -m training.train boxes -o runs/fold1 --recipe tumor-boxes --init runs/base \\
        --hold-out fold1.json

With --init the model file says what it began with, and what that was trained on counts as training
data of both. With --ema, validation and best.safetensors take the running average of the weights.

With torchrun several processes share each batch of the recipe, which stays as large as it is, and
take the steps that one would take. Each has a GPU of its own, over which batch norm is
synchronized, or a part of the CPU (set OMP_NUM_THREADS to the cores divided by the processes),
where batch norm sees the process's own part only. Only the first writes. A run may go on with
another number of processes; torchrun adds a report of its own to an error.
"""

from __future__ import annotations

import argparse
import errno
import json
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, redirect_stderr, redirect_stdout
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from LiverTumorSegLib.files import whole_file
from LiverTumorSegLib.model.file import ModelFile, ModelSpec
from torch import nn

from training import command
from training.cases.splits import load_split as load_split_file
from training.data.slices import load_split, read_manifest, shrink_step
from training.files import read_record, write_json
from training.learn.distributed import Processes, pick_bf16, pick_device, run_together
from training.learn.model_spec import (
    as_dict,
    begun_with,
    init_words,
    known_validation_cases,
    new_spec,
    new_volume_spec,
    with_defaults,
)
from training.learn.recipes import RECIPES, Recipe, Stage
from training.learn.recipes3d import VOLUME_RECIPES, VolumeRecipe
from training.learn.step_trainer import STEP_RECIPES, train_steps
from training.learn.trainer import SELECTORS, DataT, RecipeT, Trainer, Training
from training.learn.trainer3d import VolumeTrainer, load_for

AnyRecipe = Recipe | VolumeRecipe


def train(
    trainer: Training[RecipeT, DataT], validation: DataT, folder: Path, spec: ModelSpec
) -> None:
    """Run epochs until the recipe is done; files in ``folder`` as the module says.

    Of several processes the first writes, and all read what there is to go on from.
    """
    first = trainer.processes.first
    _go_on(trainer, folder / "last.pt")
    while not trainer.finished:
        started = time.monotonic()
        epoch = trainer.epoch
        facts = trainer.run_epoch(_progress_bar(epoch) if first else iter)
        facts |= trainer.validate(validation, int(facts["size_px"]))
        rate = trainer.optimizer.param_groups[0]["lr"]
        better = trainer.finish_epoch(facts)
        facts |= {"epoch": epoch, "learning_rate": rate, "seconds": time.monotonic() - started}
        facts |= {"processes": trainer.processes.count}
        if first and better:
            ModelFile(spec, dict(trainer.kept.state_dict())).save(folder / "best.safetensors")
        if first:
            _save_checkpoint(folder / "last.pt", trainer.state())
            with open(folder / "history.jsonl", "a") as history:
                history.write(json.dumps({k: _six_digits(v) for k, v in facts.items()}) + "\n")


def _go_on(trainer: Training[Any, Any], checkpoint: Path) -> None:
    """Load the checkpoint if there is one; the first process knows."""
    if not trainer.processes.agreed(float(checkpoint.is_file())):
        return
    if not checkpoint.is_file():
        raise ValueError(
            f"Process {trainer.processes.rank} finds no {checkpoint.name} in"
            f" {checkpoint.parent.name}; give all machines the same run folder."
        )
    try:
        state = torch.load(checkpoint, map_location=trainer.device, weights_only=True)
        trainer.restore(state)
    except Exception as error:  # whatever torch, zip and pickle say of a file that is none of ours
        raise ValueError(
            f"{checkpoint.name} in {checkpoint.parent.name} is no checkpoint of this run, or it is"
            f" damaged ({type(error).__name__}); delete it to begin anew, or name a new folder."
        ) from error


def _progress_bar(epoch: int) -> Callable[[Iterable[Any]], Iterable[Any]]:
    from tqdm import tqdm

    def show(batches: Iterable[Any]) -> Iterable[Any]:
        bar: Iterable[Any] = tqdm(
            batches, desc=f"epoch {epoch}", unit="batch", leave=False, mininterval=5
        )
        return bar

    return show


def _six_digits(value: float) -> float:
    """Six significant digits: a late learning rate is far below one millionth."""
    return value if isinstance(value, int) else float(f"{value:.6g}")


def _save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    with whole_file(path) as part:
        try:
            torch.save(state, part)
        except RuntimeError as error:  # how its zip writer says that the disk refused
            raise OSError(errno.ENOSPC, "No space left on device") from error


def _choose_recipe(given: argparse.Namespace) -> AnyRecipe:
    known: dict[str, AnyRecipe] = {**RECIPES, **VOLUME_RECIPES}
    options = ("epochs", "seed", "learning_rate", "ema", "select")
    asked = {name: getattr(given, name) for name in options}
    changes = {name: value for name, value in asked.items() if value is not None}
    recipe = replace(known[given.recipe], **changes)
    if given.init is not None:
        recipe = _with_net_of(recipe, ModelFile.load(given.init).spec)
    return _with_size(recipe, given.width, given.size_px)


def _with_size(recipe: AnyRecipe, width: int | None, size_px: int | None) -> AnyRecipe:
    """The recipe with a net of another width, or slices of one size from the first to the last."""
    if width is None and size_px is None:
        return recipe
    if isinstance(recipe, VolumeRecipe):
        raise ValueError(
            "A patch network has neither --width nor --size-px; choose a recipe with another net."
        )
    if width is not None:
        recipe = replace(recipe, net_args={**recipe.net_args, "width": width})
    if size_px is not None:
        recipe = replace(recipe, stages=(Stage(size_px=size_px, share=1.0),))
    return recipe


def _with_net_of(recipe: AnyRecipe, spec: ModelSpec) -> AnyRecipe:
    """The recipe with the net that a model file was made for; how it drops out stays its own."""
    dropout = {k: v for k, v in recipe.net_args.items() if k in ("dropout", "attention_dropout")}
    return replace(recipe, net=spec.net, net_args={**spec.net_args, **dropout})


def _begin_with(net: nn.Module, file: ModelFile) -> None:
    try:
        net.load_state_dict(file.state)
    except RuntimeError as error:
        raise ValueError(
            f"The weights of {file.spec.name} do not fit this net; leave out --width."
        ) from error


def _start_folder(folder: Path, recipe: AnyRecipe, init: ModelFile | None) -> None:
    """Make the run folder, or check that it holds a run of the same recipe and beginning."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "recipe.json"
    wanted = {"init": init_words(init) if init else None, **as_dict(recipe)}
    if not path.is_file():
        write_json(path, wanted)
        return
    known = read_record(path, "name a new folder with -o")
    stored = with_defaults(known, recipe)
    stored.setdefault("init", wanted["init"])  # an older version did not write it down
    if stored != wanted:
        raise ValueError(
            f"{folder.name} holds a run of another recipe; name a new folder with -o, or call it"
            " with the options it was begun with."
        )


def _parser() -> argparse.ArgumentParser:
    parser = command.parser("train", __doc__)
    parser.add_argument("prepared", type=Path, help="folder of training.prepare or prepare_volumes")
    command.add_output(parser, "run folder")
    recipes = [*RECIPES, *VOLUME_RECIPES, *STEP_RECIPES]
    parser.add_argument("--recipe", choices=recipes, default="paper")
    parser.add_argument(
        "--init",
        type=Path,
        help="begin with a model file, or a run counted in steps",
    )
    parser.add_argument("--masks", type=Path, help="liver masks, for a tumor network of a cascade")
    parser.add_argument(
        "--fold",
        metavar="N/K",
        help="leave out part N of K of the training patients, for liver masks by nets that have"
        " not seen them",
    )
    parser.add_argument("--minutes", type=float, help="stop, annealed, after so many minutes")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--width", type=int, help="channels of the first level")
    parser.add_argument(
        "--size-px", type=int, help="side of the slices throughout; the prepared ones or a part"
    )
    parser.add_argument("--learning-rate", type=float)
    parser.add_argument("--seed", type=int)
    parser.add_argument(
        "--select", choices=SELECTORS, help="which epoch is the best; last: the last one"
    )
    parser.add_argument(
        "--ema", type=float, help="keep the average of the weights, which decays so at each step"
    )
    parser.add_argument("--steps", type=int, help="of a recipe that counts in steps")
    parser.add_argument(
        "--constant", action="store_true", help="keep the rate after the warm-up: a base to branch"
    )
    parser.add_argument(
        "--hold-out", type=Path, metavar="SPLIT.json", help="leave out the test patients of a fold"
    )
    parser.add_argument(
        "--weak-only", action="store_true", help="train on none but those who are never scored"
    )
    command.add_device(parser)
    parser.add_argument("--precision", choices=("auto", "fp32", "bf16"), default="auto")
    return parser


def _arguments(words: Sequence[str] | None, processes: Processes) -> argparse.Namespace:
    """What was asked for; help and complaints are the first process's."""
    with ExitStack() as quiet:
        if not processes.first:
            quiet.enter_context(redirect_stdout(StringIO()))
            quiet.enter_context(redirect_stderr(StringIO()))
        return _parser().parse_args(words)


def _train_as_asked(given: argparse.Namespace, processes: Processes) -> None:
    if given.recipe in STEP_RECIPES:
        _train_steps(given, processes)
        return
    recipe = _choose_recipe(given)
    if isinstance(recipe, VolumeRecipe):
        _train_volumes(given, recipe, processes)
    else:
        _train_slices(given, recipe, processes)


def _train_steps(given: argparse.Namespace, processes: Processes) -> None:
    if processes.count > 1:
        raise ValueError(f"{given.recipe} trains in one process; start it without torchrun.")
    recipe = STEP_RECIPES[given.recipe]
    options = ("steps", "seed", "learning_rate", "ema")
    changes = {n: getattr(given, n) for n in options if getattr(given, n) is not None}
    if given.width is not None:
        changes["net_args"] = {**recipe.net_args, "width": given.width}
    held_out: set[str] = set()
    if given.hold_out is not None:
        split = load_split_file(given.hold_out)
        held_out = {split.groups.get(name, name) for name in split.test}
    device = pick_device(given.device, processes)
    train_steps(
        replace(recipe, constant=given.constant, **changes),
        given.prepared,
        given.output,
        device=device,
        bf16=pick_bf16(given.precision, device, vectors=True),
        init=given.init,
        hold_out=held_out,
        weak_only=given.weak_only,
        minutes=given.minutes,
    )


def _train_slices(given: argparse.Namespace, recipe: Recipe, processes: Processes) -> None:
    if given.masks is not None or given.fold is not None:
        raise ValueError("--masks and --fold are for the recipes of a cascade; leave them out.")
    data = load_split(given.prepared, "train", with_windowed=recipe.hu_shift > 0)
    validation = load_split(given.prepared, "val")
    for part in (data, validation):
        for stage in recipe.stages:
            shrink_step(part.preprocessing.size_px, stage.size_px)  # now, not an hour later
    trainer = Trainer(recipe, data, **_machine(given, processes))
    spec = new_spec(recipe, given.prepared, validation, data, processes.count)
    _run(given, trainer, validation, spec)


def _train_volumes(given: argparse.Namespace, recipe: VolumeRecipe, processes: Processes) -> None:
    data, validation = load_for(recipe, given.prepared, given.masks, given.fold)
    trainer = VolumeTrainer(recipe, data, **_machine(given, processes))
    spec = new_volume_spec(recipe, given.prepared, validation, data, processes.count)
    _run(given, trainer, validation, spec)


def _machine(given: argparse.Namespace, processes: Processes) -> dict[str, Any]:
    device = pick_device(given.device, processes)
    bf16 = pick_bf16(given.precision, device)
    return {"device": device, "bf16": bf16, "minutes": given.minutes, "processes": processes}


def _run(
    given: argparse.Namespace,
    trainer: Training[Any, DataT],
    validation: DataT,
    spec: ModelSpec,
) -> None:
    processes, recipe = trainer.processes, trainer.recipe
    file = ModelFile.load(given.init) if given.init is not None else None
    if file is not None:
        _begin_with(trainer.net, file)
        spec = begun_with(spec, file)
    if processes.first:
        _start_folder(given.output, recipe, file)
        if file is not None and known_validation_cases(file, read_manifest(given.prepared)):
            print(_seen_warning(file.spec.name), file=sys.stderr)
        if trainer.normalizes_alone:
            print(_alone_warning(recipe.batch, processes.count), file=sys.stderr)
    train(trainer, validation, given.output, spec)


def _seen_warning(name: str) -> str:
    return (
        f"{name} was trained on patients of the validation set, so that validation scores of this"
        " run say nothing; prepare the data with the sets that it was trained with."
    )


def _alone_warning(batch: int, processes: int) -> str:
    return (
        f"On CPUs batch norm is not synchronized: each of the {processes} processes normalizes by"
        f" its own part of {batch} slices, and their running statistics are averaged after each"
        " epoch; train on GPUs or with one process for the statistics of whole batches."
    )


def main(arguments: Sequence[str] | None = None) -> int:
    return run_together(
        lambda processes: _train_as_asked(_arguments(arguments, processes), processes),
        command.EXPECTED,
    )


if __name__ == "__main__":
    sys.exit(main())

"""A run of a training: from prepared data and options to a folder with history and model file.

    run_together(lambda processes: train_run(options, processes), (ValueError, OSError))

The folder gets recipe.json, history.jsonl (a line an epoch), last.pt (to go on from, by the same
options again) and best.safetensors (the best epoch as a model file). A recipe that counts in steps
has files of its own (:mod:`training.learn.step_trainer`). Of several processes the first writes.
"""

from __future__ import annotations

import errno
import json
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from LiverTumorSegLib.files import whole_file
from LiverTumorSegLib.model.file import ModelFile, ModelSpec
from torch import nn

from training.cases.splits import load_split as load_split_file
from training.data.box_patches import PatchSettings
from training.data.slices import load_split, read_manifest, shrink_step
from training.files import read_record, write_json, write_text
from training.learn.distributed import Processes, pick_bf16, pick_device
from training.learn.provenance import (
    as_dict,
    init_record,
    initialized_from,
    known_validation_cases,
    new_spec,
    new_volume_spec,
    with_defaults,
)
from training.learn.recipes import RECIPES, SizePhase, SliceRecipe
from training.learn.recipes3d import VOLUME_RECIPES, PatchRecipe
from training.learn.step_trainer import STEP_RECIPES, StepRecipe, train_steps
from training.learn.tensorboard_log import Log, no_log, tensorboard_log
from training.learn.trainer import DataT, RecipeT, SliceTrainer, Trainer
from training.learn.trainer3d import PatchTrainer, load_for

AnyRecipe = SliceRecipe | PatchRecipe
BEST = "best.safetensors"


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """The options of a training run; None leaves a value to the recipe.

    prepared, output: folders of the prepared data and of the run. init: a model file, or a run
        counted in steps, to begin with. masks: liver masks, for a tumor network. fold: part N of K
        ("N/K") of the training patients is left out. hold_out: splits whose test patients are.
    weak_only: train on none but those who are never scored. constant: no annealing. tensorboard:
        write its log, too. synthetic_share: of a tumor network's patches without a real tumor those
        with synthetic lesions. single_slices: it sees no neighbors, in training and afterwards.
        gray: how gray values are shown to it. paper_loss: it learns by the hybrid2d paper's loss.
    """

    prepared: Path
    output: Path
    recipe: str = "paper"
    init: Path | None = None
    masks: Path | None = None
    fold: str | None = None
    minutes: float | None = None
    epochs: int | None = None
    steps: int | None = None
    width: int | None = None
    size_px: int | None = None
    learning_rate: float | None = None
    seed: int | None = None
    select: str | None = None
    ema: float | None = None
    constant: bool = False
    hold_out: Sequence[Path] = ()
    weak_only: bool = False
    synthetic_share: float | None = None
    single_slices: bool = False
    gray: str | None = None
    paper_loss: bool = False
    tensorboard: bool = False
    device: str = "auto"
    precision: str = "auto"

    def changes(self, *names: str) -> dict[str, Any]:
        """Which of a recipe's values the options replace."""
        values = {name: getattr(self, name) for name in names}
        return {name: value for name, value in values.items() if value is not None}


def train(
    trainer: Trainer[RecipeT, DataT],
    validation: DataT,
    folder: Path,
    spec: ModelSpec,
    log: Log = no_log,
) -> None:
    """Run epochs until the recipe is done; files in ``folder`` as the module says.

    log: receives the numbers of each epoch, too.
    Of several processes the first writes, and all read what there is to go on from.
    """
    first, history = trainer.processes.is_main, folder / "history.jsonl"
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
            ModelFile(spec, dict(trainer.eval_model.state_dict())).save(folder / BEST)
        if first:
            line = json.dumps({k: _six_digits(v) for k, v in facts.items()})
            write_text(history, "\n".join([*_history_until(history, epoch), line]) + "\n")
            _save_checkpoint(folder / "last.pt", trainer.state())
            log(epoch, facts)


def _history_until(path: Path, epoch: int) -> list[str]:
    """The lines of the epochs before this one, for a run that was killed may have written of it."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    return lines[:epoch]


def _go_on(trainer: Trainer[Any, Any], checkpoint: Path) -> None:
    """Load the checkpoint if there is one; the first process knows."""
    if not trainer.processes.broadcast(float(checkpoint.is_file())):
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


def _choose_recipe(options: RunOptions) -> AnyRecipe:
    known: dict[str, AnyRecipe] = {**RECIPES, **VOLUME_RECIPES}
    changes = options.changes("epochs", "seed", "learning_rate", "ema", "select")
    recipe = replace(known[options.recipe], **changes)
    if options.init is not None:
        recipe = _with_net_of(recipe, ModelFile.load(options.init).spec)
    return _with_size(recipe, options.width, options.size_px)


def _with_size(recipe: AnyRecipe, width: int | None, size_px: int | None) -> AnyRecipe:
    """The recipe with a net of another width, or slices of one size from the first to the last."""
    if width is None and size_px is None:
        return recipe
    if isinstance(recipe, PatchRecipe):
        raise ValueError(
            "A patch network has neither --width nor --size-px; choose a recipe with another net."
        )
    if width is not None:
        recipe = replace(recipe, net_args={**recipe.net_args, "width": width})
    if size_px is not None:
        recipe = replace(recipe, stages=(SizePhase(size_px=size_px, share=1.0),))
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
    record = {"init": init_record(init) if init else None, **as_dict(recipe)}
    if not path.is_file():
        write_json(path, record)
        return
    known = read_record(path, "name a new folder with -o")
    stored = with_defaults(known, recipe)
    stored.setdefault("init", record["init"])  # an older version did not write it down
    if stored != record:
        raise ValueError(
            f"{folder.name} holds a run of another recipe; name a new folder with -o, or call it"
            " with the options it was begun with."
        )


def train_run(options: RunOptions, processes: Processes) -> None:
    """Train, or finish, the run that the options describe; ``ValueError`` for what cannot be."""
    log = tensorboard_log(options.output) if options.tensorboard and processes.is_main else no_log
    if options.recipe in STEP_RECIPES:
        _train_steps(options, processes, log)
        return
    only = (options.gray, options.synthetic_share)
    if options.paper_loss or options.single_slices or any(one is not None for one in only):
        raise ValueError(
            "--gray, --paper-loss, --single-slices and --synthetic-share are for a tumor network"
            " that counts in steps; leave them out."
        )
    recipe = _choose_recipe(options)
    if isinstance(recipe, PatchRecipe):
        _train_volumes(options, recipe, processes, log)
    else:
        _train_slices(options, recipe, processes, log)


def _patches(recipe: StepRecipe, options: RunOptions) -> PatchSettings:
    """How patches are drawn: synthetic lesions beside real ones change in proportion."""
    share, patches = (
        options.synthetic_share,
        replace(recipe.patches, **options.changes("gray", "size_px")),
    )
    only = (share, options.gray, options.size_px, options.single_slices or None)
    if recipe.data != "boxes" and any(one is not None for one in only):
        raise ValueError(
            "--synthetic-share, --single-slices, --gray and --size-px are for a tumor network;"
            " leave them out."
        )
    if share is not None:
        if not 0 <= share <= 1:
            raise ValueError("--synthetic-share is a share of the patches, from 0 to 1.")
        beside = min(1.0, share * patches.lesions_beside / patches.lesions_without)
        patches = replace(patches, lesions_without=share, lesions_beside=beside)
    return replace(patches, single_share=1.0) if options.single_slices else patches


def _train_steps(options: RunOptions, processes: Processes, log: Log) -> None:
    if processes.count > 1:
        raise ValueError(f"{options.recipe} trains in one process; start it without torchrun.")
    recipe = STEP_RECIPES[options.recipe]
    changes = options.changes("steps", "seed", "learning_rate", "ema")
    if options.width is not None:
        changes["net_args"] = {**recipe.net_args, "width": options.width}
    changes["patches"] = patches = _patches(recipe, options)
    # as many pixels a step, whatever the patch
    changes["batch"] = max(1, round(recipe.batch * (recipe.patches.size_px / patches.size_px) ** 2))
    held_out: set[str] = set()
    for path in options.hold_out:
        split = load_split_file(path)
        held_out |= {split.groups.get(name, name) for name in split.test}
    device = pick_device(options.device, processes)
    train_steps(
        replace(recipe, constant=options.constant, paper_loss=options.paper_loss, **changes),
        options.prepared,
        options.output,
        device=device,
        bf16=pick_bf16(options.precision, device, vectors=True),
        init=options.init,
        hold_out=held_out,
        weak_only=options.weak_only,
        minutes=options.minutes,
        log=log,
    )


def _train_slices(options: RunOptions, recipe: SliceRecipe, processes: Processes, log: Log) -> None:
    if options.masks is not None or options.fold is not None:
        raise ValueError("--masks and --fold are for the recipes of a cascade; leave them out.")
    data = load_split(options.prepared, "train", with_windowed=recipe.hu_shift > 0)
    validation = load_split(options.prepared, "val")
    for part in (data, validation):
        for stage in recipe.stages:
            shrink_step(part.preprocessing.size_px, stage.size_px)  # now, not an hour later
    trainer = SliceTrainer(recipe, data, **_machine(options, processes))
    spec = new_spec(recipe, options.prepared, validation, data, processes.count)
    _run(options, trainer, validation, spec, log)


def _train_volumes(
    options: RunOptions, recipe: PatchRecipe, processes: Processes, log: Log
) -> None:
    data, validation = load_for(recipe, options.prepared, options.masks, options.fold)
    trainer = PatchTrainer(recipe, data, **_machine(options, processes))
    spec = new_volume_spec(recipe, options.prepared, validation, data, processes.count)
    _run(options, trainer, validation, spec, log)


def _machine(options: RunOptions, processes: Processes) -> dict[str, Any]:
    device = pick_device(options.device, processes)
    bf16 = pick_bf16(options.precision, device)
    return {"device": device, "bf16": bf16, "minutes": options.minutes, "processes": processes}


def _run(
    options: RunOptions,
    trainer: Trainer[Any, DataT],
    validation: DataT,
    spec: ModelSpec,
    log: Log,
) -> None:
    processes, recipe = trainer.processes, trainer.recipe
    file = ModelFile.load(options.init) if options.init is not None else None
    if file is not None:
        _begin_with(trainer.net, file)
        spec = initialized_from(spec, file)
    if processes.is_main:
        _start_folder(options.output, recipe, file)
        if file is not None and known_validation_cases(file, read_manifest(options.prepared)):
            print(_seen_warning(file.spec.name), file=sys.stderr)
        if trainer.normalizes_alone:
            print(_alone_warning(recipe.batch, processes.count), file=sys.stderr)
    train(trainer, validation, options.output, spec, log)


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

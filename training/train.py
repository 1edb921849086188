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
import sys
from collections.abc import Sequence
from contextlib import ExitStack, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

from LiverTumorSegLib.inference.preprocess_liver_box import GRAYS

from training import command
from training.learn.distributed import Processes, run_together
from training.learn.recipes import RECIPES
from training.learn.recipes3d import VOLUME_RECIPES
from training.learn.run import RunOptions, train_run
from training.learn.step_trainer import STEP_RECIPES
from training.learn.trainer import SELECTORS


def _parser() -> argparse.ArgumentParser:
    parser = command.parser("train", __doc__)
    parser.add_argument("prepared", type=Path, help="folder of training.prepare")
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
        "--size-px",
        type=int,
        help="side of the slices throughout, the prepared ones or a part; of a tumor network its"
        " patches",
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
        "--synthetic-share",
        type=float,
        metavar="SHARE",
        help="of a tumor network's patches without real tumor those with synthetic lesions (0.6)",
    )
    parser.add_argument(
        "--single-slices",
        action="store_true",
        help="a tumor network that sees each slice without its neighbors, always",
    )
    parser.add_argument(
        "--gray", choices=GRAYS, help="how a tumor network sees gray values (liver: relative to it)"
    )
    parser.add_argument(
        "--paper-loss",
        action="store_true",
        help="a network of steps learns by the hybrid2d paper's loss, small lesions as all else",
    )
    parser.add_argument(
        "--hold-out",
        type=Path,
        nargs="+",
        default=(),
        metavar="SPLIT.json",
        help="leave out the test patients of these folds",
    )
    parser.add_argument(
        "--tensorboard",
        action="store_true",
        help="also write the numbers of each epoch for TensorBoard, into the run folder",
    )
    parser.add_argument(
        "--weak-only", action="store_true", help="train on none but those who are never scored"
    )
    command.add_device(parser)
    parser.add_argument("--precision", choices=("auto", "fp32", "bf16"), default="auto")
    return parser


def _options(argv: Sequence[str] | None, processes: Processes) -> RunOptions:
    """The options of the command line; only the first process prints help and errors."""
    with ExitStack() as quiet:
        if not processes.is_main:
            quiet.enter_context(redirect_stdout(StringIO()))
            quiet.enter_context(redirect_stderr(StringIO()))
        return RunOptions(**vars(_parser().parse_args(argv)))


def main(arguments: Sequence[str] | None = None) -> int:
    def work(processes: Processes) -> None:
        train_run(_options(arguments, processes), processes)

    try:
        return run_together(work, command.EXPECTED)
    except KeyboardInterrupt:
        return command.cancelled()


if __name__ == "__main__":
    sys.exit(main())

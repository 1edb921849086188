"""How a command is added to the parser, and the options that several commands share."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from .child import add_part_options
from .progress import Reporter

MODEL, MODEL_FILE = "--model", ".safetensors"
AND = "\0"  # no word of a command line can hold it


def with_joined_models(words: Sequence[str]) -> list[str]:
    """``--model A B`` as one value, A and B, where B is a model's file: those of a cascade.

    argparse's own way to let an option take several words would take a CT that follows it as well.
    """
    joined: list[str] = []
    for before_last, word in zip(["", "", *words], words, strict=False):
        if before_last == MODEL and word.endswith(MODEL_FILE):
            joined[-1] += AND + word
        else:
            joined.append(word)
    return joined


def _models(value: str) -> list[str]:
    return value.split(AND)


def add_command(
    commands: Any,
    name: str,
    command: Callable[[argparse.Namespace, Reporter], int],
    summary: str,
    text: str | None = None,
) -> argparse.ArgumentParser:
    """A command (or an action of one) that ``main`` calls; text is its own help, line by line."""
    parser = add_group(commands, name, summary, text or summary[0].upper() + summary[1:] + ".")
    parser.set_defaults(command=command)
    return parser


def add_group(commands: Any, name: str, summary: str, text: str) -> argparse.ArgumentParser:
    """A command that does nothing itself, but may get actions."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=summary,
        description=text,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    return parser


def add_run_options(parser: argparse.ArgumentParser, overwrite: str) -> None:
    """How a model is chosen and run; overwrite says what that option does."""
    add = parser.add_argument
    add(
        MODEL,
        type=_models,
        metavar="NAME|FILE",
        help="from `models list`, or a .safetensors file; of a cascade both, one after the other",
    )
    add("--device", default="auto", help="auto (a GPU if there is one), cpu, cuda, cuda:1, mps")
    add("--probabilities", action="store_true", help="also write probabilities.nii.gz")
    add("--no-scan", action="store_true", help="run every slice, also far from the liver")
    add_part_options(parser)
    add("--overwrite", action="store_true", help=overwrite)
    add("--events", action="store_true", help="JSON lines instead of text, for programs")
    add_folder_option(parser)


def add_folder_option(parser: argparse.ArgumentParser) -> None:
    """Where imported models lie."""
    parser.add_argument(
        "--model-folder",
        type=Path,
        metavar="FOLDER",
        help="imported models (default: LIVERTUMORSEG_MODELS, else the user's data folder)",
    )

"""Shared by the commands of training: common options, and how a command ends.

    def main(arguments: Sequence[str] | None = None) -> int:
        parser = command.parser("check", "Check a folder of labeled CTs.")
        command.add_cases(parser)
        return command.run(parser, check, arguments)

A command that cannot do what it was asked for prints one sentence and ends with exit code 2; one
that is stopped by Ctrl-C ends with 130.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from LiverTumorSegLib.model.spec import BundleError

from training.files import error_sentence

EXIT_REFUSED = 2
EXIT_CANCELLED = 130
EXPECTED: tuple[type[Exception], ...] = (ValueError, OSError, BundleError)


def run(
    parser: argparse.ArgumentParser,
    work: Callable[[argparse.Namespace], int | None],
    arguments: Sequence[str] | None = None,
) -> int:
    """Do ``work`` with the parsed arguments; its exit code, 0 when it returns none.

    2 when the input was bad, a file could not be read or written, or a model file is damaged; 130
    after Ctrl-C.
    """
    try:
        return work(parser.parse_args(arguments)) or 0
    except KeyboardInterrupt:
        return cancelled()
    except EXPECTED as error:
        print(error_sentence(error), file=sys.stderr)
        return EXIT_REFUSED


def cancelled() -> int:
    """Say that a person has stopped the command; the exit code."""
    print("Cancelled; no file is left half-written.", file=sys.stderr)
    return EXIT_CANCELLED


def parser(name: str, description: str | None) -> argparse.ArgumentParser:
    """The parser of ``python -m training.NAME``; its description keeps its line breaks."""
    return argparse.ArgumentParser(
        prog=f"python -m training.{name}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def add_cases(
    parser: argparse.ArgumentParser, *, nargs: str | None = None, split_file: bool = False
) -> None:
    """The labeled CTs to read: ``data`` and ``table``, and ``split_file`` where sets are needed.

    nargs: as argparse has it, where there may be none or several folders.
    """
    add = parser.add_argument
    add("data", type=Path, nargs=nargs, help="folder in LiTS, MSD Task03 or 3D-IRCADb layout")
    add(
        "--table",
        type=Path,
        metavar="CSV",
        help="columns file, patient_group, split (default: manifest.csv in the folder)",
    )
    if split_file:
        add(
            "--split-file",
            type=Path,
            metavar="JSON",
            help="sets made by training.split, not the table's",
        )


def add_output(parser: argparse.ArgumentParser, what: str, *, replaces: str | None = None) -> None:
    """``output``, and ``overwrite`` where that replaces something; what: the help text."""
    parser.add_argument("-o", "--output", type=Path, required=True, help=what)
    if replaces is not None:
        parser.add_argument("--overwrite", action="store_true", help=f"replace {replaces}")


def add_report(parser: argparse.ArgumentParser) -> None:
    """Add the options that evaluate and report share: figures, and other runs to compare with."""
    add = parser.add_argument
    add("--figures", default="png", metavar="png|pdf|svg", help="draw them in this format too")
    add("--plain", action="store_true", help="figures without the paper's numbers and our notice")
    add("--latex", action="store_true", help="tables as LaTeX too, in the folder tables")
    add("--papers", action="store_true", help="the hybrid2d paper's tables beside ours")
    add("--no-figures", action="store_true", help="draw none")
    add("--run", type=Path, help="run folder of the model: Table 5, Figures 6 and 7")
    add("--validation", type=Path, metavar="SCORES", help="its validation scores, for Table 7")
    add("--baseline", type=Path, metavar="SCORES", help="another model's scores on the same cases")
    add(
        "--ablation",
        action="append",
        default=[],
        metavar="NAME=SCORES",
        help="a row of Table 4, such as neither=FOLDER; may be repeated",
    )


def named_folders(items: Sequence[str]) -> dict[str, Path]:
    """Folders by name, of ``NAME=FOLDER``; ``ValueError`` for one without a name."""
    folders = {}
    for item in items:
        name, equals, folder = item.partition("=")
        if not (name and equals and folder):
            raise ValueError(f'--ablation wants NAME=SCORES, not "{item}".')
        folders[name] = Path(folder)
    return folders


def add_device(parser: argparse.ArgumentParser) -> None:
    """``device``, as torch calls it."""
    parser.add_argument(
        "--device", default="auto", help="cpu, cuda, cuda:1, ... (default: CUDA if there is one)"
    )

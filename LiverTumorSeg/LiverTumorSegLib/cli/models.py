"""``livertumorseg models``: list, check, import and remove models."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from .arguments import add_command, add_folder_option, add_group
from .progress import Reporter, say

MODELS_HELP = """List, check, import and remove models.

  livertumorseg models list                      what --model can name
  livertumorseg models import mine.safetensors   copy a model file into your model folder
  livertumorseg models import liver.safetensors tumor.safetensors
                                                 the same for the two of a cascade
  livertumorseg models verify                    is every file as it was?
  livertumorseg models remove mine               delete an imported model
  livertumorseg models where                     print your model folder

Nothing is ever fetched from a network."""


def add_models(commands: Any) -> None:
    """The command and its actions."""
    parser = add_group(commands, "models", "list, check, import and remove models", MODELS_HELP)
    actions = parser.add_subparsers(title="actions", required=True, metavar="ACTION")
    add_folder_option(add_command(actions, "list", models_list, "models that can be named"))
    check = add_command(
        actions, "verify", models_verify, "compare files with their recorded SHA-256"
    )
    check.add_argument("name", nargs="?", metavar="NAME", help="one model (default: all)")
    bring = add_command(actions, "import", models_import, "copy a model file into the model folder")
    bring.add_argument(
        "file",
        type=Path,
        nargs="+",
        metavar="FILE",
        help="a .safetensors model file, or a cascade's two",
    )
    bring.add_argument("--name", help="what to call it (default: as the file says)")
    bring.add_argument(
        "--overwrite", action="store_true", help="replace an imported model of that name"
    )
    drop = add_command(actions, "remove", models_remove, "delete an imported model")
    drop.add_argument("name", metavar="NAME", help="as `models list` shows it")
    where = add_command(actions, "where", models_where, "print the model folder")
    for action in (check, bring, drop, where):
        add_folder_option(action)


def models_list(given: argparse.Namespace, reporter: Reporter) -> int:
    """``livertumorseg models list``"""
    from LiverTumorSegLib.model.catalog import damaged_records, installed_models

    entries = installed_models(given.model_folder)
    for entry in entries:
        mark = "*" if entry.default else " "
        size = f"{entry.size_bytes / 1e6:.1f} MB"
        files = f" in {len(entry.files)} files" if len(entry.files) > 1 else ""
        say(f"{mark} {entry.name:<20} {entry.version:<8} {size:>8}{files}  {entry.licence}")
        say(f"    {entry.title}. {entry.summary}")
        for name, value in entry.scores.items():
            say("".join(c if c.isprintable() else " " for c in f"    {name}: {value}"))
    for problem in damaged_records(given.model_folder):
        reporter.warning(problem)
    if not entries:
        say("There are no models; add one with `livertumorseg models import FILE`.")
    say("* is used where no model is named. For research only, not for diagnosis.")
    return 0


def models_verify(given: argparse.Namespace, reporter: Reporter) -> int:
    """``livertumorseg models verify``"""
    from LiverTumorSegLib.model.catalog import find_model, installed_models, verify

    chosen = [find_model(given.name, given.model_folder)] if given.name else None
    for entry in chosen or installed_models(given.model_folder):
        verify(entry)
        say(f"{entry.name}: whole")
    return 0


def models_import(given: argparse.Namespace, reporter: Reporter) -> int:
    """``livertumorseg models import``"""
    from LiverTumorSegLib.inference.segmenter import load_segmenter
    from LiverTumorSegLib.model.catalog import import_model

    entry = import_model(
        given.file,
        given.model_folder,
        name=given.name,
        overwrite=given.overwrite,
        check=lambda file: load_segmenter(file, "cpu"),  # now, and not when it is first used
    )
    say(f"Imported as {entry.name}; use it with --model {entry.name}.")
    return 0


def models_remove(given: argparse.Namespace, reporter: Reporter) -> int:
    """``livertumorseg models remove``"""
    from LiverTumorSegLib.model.catalog import remove_model

    remove_model(given.name, given.model_folder)
    say(f"Removed {given.name}.")
    return 0


def models_where(given: argparse.Namespace, reporter: Reporter) -> int:
    """``livertumorseg models where``"""
    from LiverTumorSegLib.model.catalog import default_model_folder

    say(str(default_model_folder(given.model_folder)))
    return 0

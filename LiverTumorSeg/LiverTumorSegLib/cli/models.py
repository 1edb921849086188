"""``livertumorseg models``: list, check, import and remove models."""

from __future__ import annotations

import tempfile
from pathlib import Path

from LiverTumorSegLib.importers.choices import ImportChoices

from .progress import Reporter, say


def list_models(folder: Path | None, reporter: Reporter) -> int:
    """``livertumorseg models list``"""
    from LiverTumorSegLib.model.catalog import damaged_records, installed_models

    entries = installed_models(folder)
    for entry in entries:
        mark = "*" if entry.default else " "
        size = f"{(entry.file.size_bytes or 0) / 1e6:.1f} MB"
        say(f"{mark} {entry.name:<20} {entry.version:<8} {size:>8}  {entry.licence}")
        say(f"    {entry.title}. {entry.summary}")
        for name, value in entry.scores.items():
            say("".join(c if c.isprintable() else " " for c in f"    {name}: {value}"))
    for problem in damaged_records(folder):
        reporter.warning(problem)
    if not entries:
        say("There are no models; add one with `livertumorseg models import FILE`.")
    say("* is used where no model is named. For research only, not for diagnosis.")
    return 0


def verify_models(name: str | None, folder: Path | None) -> int:
    """``livertumorseg models verify``"""
    from LiverTumorSegLib.model.catalog import find_model, installed_models, verify

    chosen = [find_model(name, folder)] if name else None
    for entry in chosen or installed_models(folder):
        verify(entry)
        say(f"{entry.name}: whole")
    return 0


def import_file(
    file: Path,
    folder: Path | None,
    *,
    name: str | None,
    overwrite: bool,
    choices: ImportChoices,
) -> int:
    """``livertumorseg models import``"""
    if file.is_dir():
        return _import_network(file, folder, name=name, overwrite=overwrite, choices=choices)
    if choices != ImportChoices():
        options = " ".join(choices.to_arguments()[:1])
        raise ValueError(f"{options} is for a folder of nnU-Net or MONAI, not for a model file.")
    _import(file, folder, name=name, overwrite=overwrite)
    return 0


def _import_network(
    source: Path, folder: Path | None, *, name: str | None, overwrite: bool, choices: ImportChoices
) -> int:
    """A network from elsewhere, by way of a model file of its own."""
    from LiverTumorSegLib.importers.read import read_network

    model = read_network(source, choices)
    with tempfile.TemporaryDirectory() as place:
        file = Path(place) / f"{model.spec.name}.safetensors"
        model.save(file)
        _import(file, folder, name=name, overwrite=overwrite)
    say(
        f"It is {model.spec.provenance['title']}. Which cases it was trained on is not known here,"
        " so evaluate it on none of them."
    )
    return 0


def _import(file: Path, folder: Path | None, *, name: str | None, overwrite: bool) -> None:
    from LiverTumorSegLib.inference.segmenter import load_segmenter
    from LiverTumorSegLib.model.catalog import import_model
    from LiverTumorSegLib.settings import RunSettings

    entry = import_model(
        file,
        folder,
        name=name,
        overwrite=overwrite,
        check=lambda path: load_segmenter(
            RunSettings(model=str(path), device="cpu")
        ),  # now, and not when it is first used
    )
    say(f"Imported as {entry.name}; use it with --model {entry.name}.")


def remove(name: str, folder: Path | None) -> int:
    """``livertumorseg models remove``"""
    from LiverTumorSegLib.model.catalog import remove_model

    remove_model(name, folder)
    say(f"Removed {name}.")
    return 0


def print_folder(folder: Path | None) -> int:
    """``livertumorseg models where``"""
    from LiverTumorSegLib.model.catalog import default_model_folder

    say(str(default_model_folder(folder)))
    return 0

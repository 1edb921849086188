"""Models of two files in the list of models and in the folder of imported ones."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from LiverTumorSegLib.model.catalog import (
    common_name,
    find_model,
    import_model,
    imported_models,
    remove_model,
    verify,
)
from LiverTumorSegLib.model.spec import STAGES, BundleError, stage_of
from test_catalog import SPEC, contents, write_model


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "user" / "models"


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """The files of a cascade, the liver's first."""
    paths = []
    for stage, labels in STAGES.items():
        told = {"title": f"The {stage}'s", "licence": "CC0", "scores": {stage: 0.5}}
        spec = replace(
            SPEC,
            name=f"pair-{stage}",
            preprocessing={"kind": "volume"},
            labels=labels,
            provenance=told,
        )
        weight = stage[:4].encode()
        paths.append(write_model(tmp_path / f"{stage}.safetensors", spec, weight))
    return paths[0], paths[1]


def test_two_files_are_one_model_in_either_order(pair: tuple[Path, Path], folder: Path) -> None:
    entry = find_model(pair, folder)
    assert entry == find_model([str(path) for path in pair[::-1]], folder)
    assert (entry.name, entry.title, entry.version, entry.licence) == (
        *("pair", "The tumor's"),
        *("2", "CC0"),
    )
    assert entry.paths == pair
    assert entry.scores == {"liver": 0.5, "tumor": 0.5}
    assert entry.size_bytes == sum(path.stat().st_size for path in pair)
    verify(entry)


def test_what_the_files_of_a_cascade_do_not_share_is_told_of_both(
    pair: tuple[Path, Path], folder: Path
) -> None:
    for path, (stage, labels) in zip(pair, STAGES.items(), strict=True):
        told = {"licence": f"L-{stage}"}
        spec = replace(
            SPEC,
            name=f"{stage}net",
            version=stage,
            preprocessing={"kind": "volume"},
            labels=labels,
            provenance=told,
        )
        write_model(path, spec)
    entry = find_model(pair, folder)
    assert (entry.name, entry.version) == ("livernet-tumornet", "liver, tumor")
    assert entry.licence == "L-liver, L-tumor"


@pytest.mark.parametrize(
    ("names", "name"),
    [
        (["a-b-liver", "a-b-tumor"], "a-b"),
        (["a-liver", "a-lime"], "a"),
        (["same", "same"], "same"),
        (["liver", "lime"], "liver-lime"),
        (["only.-"], "only.-"),
    ],
)
def test_common_name(names: list[str], name: str) -> None:
    assert common_name(names) == name


def test_stage_of() -> None:
    volume = replace(SPEC, preprocessing={"kind": "volume"})
    assert stage_of(volume) == "liver"
    assert stage_of(replace(volume, labels=STAGES["tumor"])) == "tumor"
    assert stage_of(replace(volume, labels={"background": 0, "liver": 1, "tumor": 2})) == ""
    assert stage_of(SPEC) == "", "a slice network that finds the liver alone is whole"


def test_files_that_make_no_cascade(pair: tuple[Path, Path], folder: Path, tmp_path: Path) -> None:
    liver, tumor = pair
    source = write_model(tmp_path / "whole.safetensors")
    for several in ([liver, liver], [tumor, source], [source, source], [*pair, source]):
        with pytest.raises(ValueError, match="one is a cascade's liver network"):
            find_model(several, folder)
        with pytest.raises(ValueError, match="one is a cascade's liver network"):
            import_model(several, folder)
    with pytest.raises(BundleError, match="no such model file"):
        find_model([liver, tmp_path / "absent.safetensors"], folder)
    assert not folder.exists()


def test_a_cascade_is_imported_as_a_whole(pair: tuple[Path, Path], folder: Path) -> None:
    entry = import_model(pair[::-1], folder)
    assert imported_models(folder) == (entry,)
    assert find_model("pair", folder) == entry
    assert [path.read_bytes() for path in entry.paths] == [path.read_bytes() for path in pair]
    assert len(contents(folder)) == 3
    verify(entry)
    before = contents(folder)
    assert import_model(pair, folder, overwrite=True) == entry
    assert contents(folder) == before
    write_model(pair[1], replace(SPEC, **_tumor()), b"new!")
    again = import_model(pair, folder, overwrite=True)
    assert again.files[0] == entry.files[0]
    assert again.files[1] != entry.files[1]
    assert len(contents(folder)) == 3, "the tumor's old file is gone"
    entry.paths[0].write_bytes(b"cut")
    with pytest.raises(BundleError, match="Import the model again"):
        verify(again)
    remove_model("pair", folder)
    assert contents(folder) == {}


def _tumor() -> dict[str, object]:
    return {
        "name": "pair-tumor",
        "preprocessing": {"kind": "volume"},
        "labels": STAGES["tumor"],
    }


def test_half_a_cascade_is_not_imported(pair: tuple[Path, Path], folder: Path) -> None:
    for path, other in zip(pair, ("tumor", "liver"), strict=True):
        with pytest.raises(ValueError, match=f"together with the file of the {other} network"):
            import_model(path, folder)
        assert find_model(path, folder).paths == (path,), "it can be looked at"
    assert not folder.exists()


@pytest.mark.parametrize("copies", [0, 1])
def test_a_failed_import_of_a_cascade_leaves_nothing(
    pair: tuple[Path, Path], folder: Path, monkeypatch: pytest.MonkeyPatch, copies: int
) -> None:
    copy, done = shutil.copyfile, []

    def full(*arguments: object) -> None:
        if len(done) == copies:
            raise OSError(28, "No space left on device")
        done.append(copy(*arguments))

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(ValueError, match="the disk is full"):
        import_model(pair, folder)
    assert contents(folder) == {}

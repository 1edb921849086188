"""The list of models and the folder of imported ones."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from LiverTumorSegLib.model import catalog
from LiverTumorSegLib.model.catalog import (
    damaged_records,
    default_model_folder,
    find_model,
    import_model,
    imported_models,
    installed_models,
    remove_model,
    shipped_models,
    verify,
)
from LiverTumorSegLib.model.spec import BundleError, ModelSpec
from looped import looped

PACKAGE_FOLDER = Path(__file__).resolve().parents[3] / "LiverTumorSeg"
SPEC = ModelSpec(
    name="mine",
    version="2",
    net="hybrid2d",
    net_args={},
    preprocessing={},
    labels={"background": 0, "liver": 1, "tumor": 2},
    training_hu_range=None,
    postprocessing={},
    provenance={"licence": "CC0", "scores": {"dice": 0.5}, "title": "Mine"},
    storage="fp32",
)


def write_model(path: Path, spec: ModelSpec = SPEC, weight: bytes = b"\0\0\0\0") -> Path:
    tensor = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
    header = json.dumps({"__metadata__": {"spec": spec.to_json()}, "w": tensor}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + weight)
    return path


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_model(tmp_path / "source.safetensors")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "user" / "models"


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A catalog of two models, of which the second is the default."""
    place = tmp_path / "shipped"
    place.mkdir()
    files = []
    for name in ("one", "both"):
        data = write_model(place / f"{name}.safetensors", replace(SPEC, name=name)).read_bytes()
        sha256 = hashlib.sha256(data).hexdigest()
        files.append({"file": f"{name}.safetensors", "sha256": sha256, "bytes": len(data)})
    common = {"title": "T", "version": "1", "licence": "L", "scores": {}, "summary": "S"}
    models = [
        {"name": "one", "file": files[0], **common},
        {"name": "both", "file": files[1], "default": True, **common},
    ]
    (place / "models.json").write_text(json.dumps({"models": models}))
    monkeypatch.setattr(catalog, "CATALOG_FILE", place / "models.json")
    monkeypatch.setattr(catalog, "SHIPPED_FOLDER", place)
    return place


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*")}


def test_what_is_shipped_is_whole() -> None:
    entries = shipped_models()
    assert len({entry.name for entry in entries}) == len(entries)
    assert sum(entry.default for entry in entries) == min(1, len(entries))
    for entry in entries:
        assert catalog.NAME_PATTERN.fullmatch(entry.name)
        assert entry.shipped
        assert entry.licence
        verify(entry)


def test_shipped_and_imported_are_found_by_name(shipped: Path, source: Path, folder: Path) -> None:
    import_model(source, folder)
    assert [entry.name for entry in installed_models(folder)] == ["one", "both", "mine"]
    assert find_model("both", folder).file.path == shipped / "both.safetensors"
    mine = find_model("mine", folder)
    assert (mine.title, mine.version, mine.licence) == ("Mine", "2", "CC0")
    assert (mine.scores, mine.shipped, mine.file.size_bytes) == (
        {"dice": 0.5},
        False,
        source.stat().st_size,
    )
    assert mine.file.path.read_bytes() == source.read_bytes()
    for entry in installed_models(folder):
        verify(entry)


def test_default_is_the_catalog_s(
    shipped: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert find_model(None, folder).name == "both"
    (tmp_path / "default").write_text("a file of that name in the working directory")
    monkeypatch.chdir(tmp_path)
    assert find_model("default", folder).name == "both"


def test_no_default_names_what_there_is(
    source: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "models.json").write_text('{"models": []}')
    monkeypatch.setattr(catalog, "CATALOG_FILE", tmp_path / "models.json")
    with pytest.raises(ValueError, match=r"no default model.*known: none"):
        find_model(None, folder)
    import_model(source, folder)
    with pytest.raises(ValueError, match=r"no default model.*known: mine"):
        find_model("default", folder)


def test_a_file_is_named_by_its_path_or_ending_and_never_stands_in_for_a_known_model(
    shipped: Path, source: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = find_model(source, folder)
    assert (entry.name, entry.file.path, entry.file.sha256) == ("mine", source, None)
    verify(entry)
    monkeypatch.chdir(tmp_path)
    shutil.copy(source, "one")
    assert find_model("one", folder).file.path != Path("one")
    for named in ("./one", str(tmp_path / "one"), Path("one")):
        assert find_model(named, folder).name == "mine"
    (tmp_path / "text").write_text("no model")
    with pytest.raises(ValueError, match="no model 'text'"):
        find_model("text", folder)
    with pytest.raises(BundleError, match="not a model file"):
        find_model("./text", folder)


@looped("name", ["absent", "absent.safetensors", "a" * 5000, "~nobody/x", "../x"])
def test_unknown_names_list_the_known_ones(
    shipped: Path, source: Path, folder: Path, name: str
) -> None:
    import_model(source, folder)
    with pytest.raises(ValueError, match=r"known: one, both, mine"):
        find_model(name, folder)
    with pytest.raises(ValueError, match=r"Name one of: mine"):
        remove_model(name, folder)


def test_a_broken_record_stops_only_its_own_model(
    shipped: Path, source: Path, folder: Path
) -> None:
    import_model(source, folder)
    (folder / "mine.model.json").write_text("{")
    assert find_model(None, folder).name == "both"
    with pytest.raises(BundleError, match=r"cannot be read.*Remove the model 'mine'"):
        find_model("mine", folder)
    remove_model("mine", folder)
    assert contents(folder) == {}


@looped(
    "change",
    [
        {"color": "red"},
        {"file": {"file": "../x", "sha256": "0" * 64, "bytes": 1}},
        {"file": {"file": "x", "sha256": "0", "bytes": 1}},
        {"file": {"file": "x", "sha256": "0" * 64, "bytes": "1"}},
        {"file": {"file": "x", "sha256": "0" * 64, "bytes": 1, "url": "x"}},
        {"file": {"file": "x"}},
        {"file": []},
        {"file": 5},
        {"files": 5},
        {"scores": 5},
        {"version": []},
        {"title": "a\x1b[2J"},
        {"default": 1},
    ],
)
def test_records_that_are_not_understood_are_refused(
    source: Path, folder: Path, change: dict[str, object]
) -> None:
    import_model(source, folder)
    record = folder / "mine.model.json"
    record.write_text(json.dumps({**json.loads(record.read_text()), **change}))
    with pytest.raises(BundleError, match="damaged or from a newer version"):
        find_model("mine", folder)
    assert imported_models(folder) == ()
    (problem,) = damaged_records(folder)
    assert "'mine'" in problem


def test_records_of_earlier_versions(source: Path, folder: Path) -> None:
    """One file in a list is read; a cascade's two files have to be joined."""
    entry = import_model(source, folder)
    record = folder / "mine.model.json"
    stored = json.loads(record.read_text())
    file = stored.pop("file")
    record.write_text(json.dumps({**stored, "files": [file]}))
    assert imported_models(folder) == (entry,)
    record.write_text(json.dumps({**stored, "files": [file, file]}))
    with pytest.raises(BundleError, match=r"python -m training\.export LIVER\.safetensors TUMOR"):
        find_model("mine", folder)


def test_verify_notices_every_change(source: Path, folder: Path) -> None:
    entry = import_model(source, folder)
    path, data = entry.file.path, source.read_bytes()
    verify(entry)
    path.write_bytes(data[:-1] + b"\1")
    with pytest.raises(BundleError, match="was changed"):
        verify(entry)
    path.write_bytes(data + b"\1")
    with pytest.raises(BundleError, match=f"has {len(data) + 1} bytes instead of {len(data)}"):
        verify(entry)
    path.unlink()
    with pytest.raises(BundleError, match=r"missing. Import the model again"):
        verify(entry)


def test_import_under_another_name_and_again(source: Path, folder: Path) -> None:
    first = import_model(source, folder, name="other")
    assert [entry.name for entry in imported_models(folder)] == ["other"]
    assert imported_models(folder) == (first,)
    before = contents(folder)
    with pytest.raises(ValueError, match="is there already"):
        import_model(source, folder, name="other")
    assert import_model(source, folder, name="other", overwrite=True) == first
    assert contents(folder) == before
    write_model(source, weight=b"\0\0\0\1")
    second = import_model(source, folder, name="other", overwrite=True)
    assert second.file.sha256 != first.file.sha256
    assert len(contents(folder)) == 2
    verify(second)


@looped("name", ["default", "A", "a/b", "..", "a b", "", "a" * 65, "one"])
def test_names_that_cannot_be_are_refused(
    shipped: Path, source: Path, folder: Path, name: str
) -> None:
    if not name:
        write_model(source, replace(SPEC, name="Not a name"))
    with pytest.raises(ValueError, match="Choose a"):
        import_model(source, folder, name=name)
    assert not folder.exists()


def test_a_broken_file_is_not_imported(source: Path, folder: Path, tmp_path: Path) -> None:
    source.write_bytes(source.read_bytes()[:-1])
    for path in (source, tmp_path / "absent.safetensors"):
        with pytest.raises(BundleError):
            import_model(path, folder)
    assert not folder.exists()


@looped("fails_at", ["_copy", "_write_record"])
@looped("there_already", ["nothing", "the same", "an older one"])
def test_a_failed_import_leaves_the_folder_as_it_was(
    source: Path,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    fails_at: str,
    there_already: str,
) -> None:
    folder.mkdir(parents=True)
    if there_already != "nothing":
        import_model(source, folder)
    if there_already == "an older one":
        write_model(source, weight=b"\0\0\0\1")
    before = contents(folder)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    if fails_at == "_copy":
        monkeypatch.setattr(shutil, "copyfile", full)
    else:
        monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(ValueError, match="the disk is full"):
        import_model(source, folder, overwrite=True)
    assert contents(folder) == before


def test_a_folder_that_cannot_be_made_says_so(source: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="Cannot make the folder"):
        import_model(source, tmp_path / "file" / "models")


def test_only_imported_models_are_removed(shipped: Path, source: Path, folder: Path) -> None:
    import_model(source, folder)
    import_model(source, folder, name="mine-2")
    before = contents(shipped)
    with pytest.raises(ValueError, match="came with LiverTumorSeg"):
        remove_model("one", folder)
    remove_model("mine", folder)
    assert [entry.name for entry in imported_models(folder)] == ["mine-2"]
    verify(find_model("mine-2", folder))
    remove_model("mine-2", folder)
    assert contents(folder) == {}
    assert contents(shipped) == before


def test_other_files_in_the_folder_are_left_alone(source: Path, folder: Path) -> None:
    folder.mkdir(parents=True)
    for name in ("notes.json", "mine-old.safetensors"):
        (folder / name).write_text("the user's")
    import_model(source, folder)
    remove_model("mine", folder)
    assert contents(folder).keys() == {"notes.json", "mine-old.safetensors"}


def test_where_models_lie(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    for name in (catalog.FOLDER_VARIABLE, "XDG_DATA_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    places = {
        "linux": tmp_path / ".local" / "share",
        "darwin": tmp_path / "Library" / "Application Support",
        "win32": tmp_path / "AppData" / "Local",
    }
    for platform, place in places.items():
        monkeypatch.setattr(sys, "platform", platform)
        assert default_model_folder() == place / "livertumorseg" / "models"
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "L"))
    assert default_model_folder() == tmp_path / "L" / "livertumorseg" / "models"
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_DATA_HOME", "relative/is/ignored")
    assert default_model_folder() == places["linux"] / "livertumorseg" / "models"
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "X"))
    assert default_model_folder() == tmp_path / "X" / "livertumorseg" / "models"
    monkeypatch.setenv(catalog.FOLDER_VARIABLE, str(tmp_path / "V"))
    assert default_model_folder() == tmp_path / "V"
    assert default_model_folder(tmp_path / "O") == tmp_path / "O"
    assert not any(tmp_path.iterdir())  # asking makes nothing


def test_no_network_and_no_package(source: Path, folder: Path) -> None:
    """In a Python of its own, which stops at the first socket."""
    code = f"""
import sys
before = set(sys.modules)
def watch(event, _):
    assert not event.startswith(("socket.", "urllib.", "http.")), event
sys.addaudithook(watch)
from LiverTumorSegLib.model import catalog
folder = {str(folder)!r}
catalog.import_model({str(source)!r}, folder, name="x")
for entry in catalog.installed_models(folder):
    catalog.verify(entry)
catalog.find_model("x", folder)
catalog.remove_model("x", folder)
new = set(sys.modules) - before
assert not new & {{"socket", "_socket", "ssl", "urllib.request", "http.client"}}
roots = {{name.split(".")[0] for name in new}}
assert roots <= set(sys.stdlib_module_names) | {{"LiverTumorSegLib"}}, roots
"""
    subprocess.run([sys.executable, "-c", code], cwd=PACKAGE_FOLDER, check=True)

"""Which models there are and where their files lie. Standard library only; never the network.

Shipped models are listed in ``models.json`` and lie in ``weights/``. Imported models lie in a
folder of the user's, each with a JSON file of the same form beside it that keeps its SHA-256::

    entry = find_model("default")           # or a name, or the path of a .safetensors file
    verify(entry)                           # BundleError when a file is missing or was changed
    import_model("mine.safetensors", name="mine")
    remove_model("mine")
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from LiverTumorSegLib.files import whole_file
from LiverTumorSegLib.sentences import sentence, sentence_of

from .spec import (
    JOIN_COMMAND,
    BundleError,
    file_sha256,
    naming_file,
    read_spec,
    stage_of,
)

CATALOG_FILE = Path(__file__).with_name("models.json")
SHIPPED_FOLDER = Path(__file__).with_name("weights")
FOLDER_VARIABLE = "LIVERTUMORSEG_MODELS"
DEFAULT = "default"
NAME_PATTERN = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")  # one spelling on every file system
FILE_ENDING = ".safetensors"
RECORD = ".model.json"  # an imported model's entry, beside its file
LESIONS_FOUND, BY_SIZE = "lesions found", "by size"  # in the names of figures
SMALL = "under 10 mm"
RECALL_UNKNOWN = "How many tumors this model misses is not known."  # in pictures and pages
COUNTS = re.compile(r"(\d+) of (\d+)")
REINSTALL = "Install LiverTumorSeg again."


@dataclass(frozen=True)
class FileRecord:
    """A model's file. sha256 and size_bytes are None for a file that is in no catalog."""

    path: Path
    sha256: str | None
    size_bytes: int | None


@dataclass(frozen=True)
class ModelEntry:
    """A model one can choose.

    scores: name of a figure -> its value, as measured by the commands in the model's file.
    shipped: whether it came with LiverTumorSeg; the others were imported or named by their path.
    """

    name: str
    title: str
    version: str
    file: FileRecord
    licence: str
    scores: dict[str, Any]
    summary: str
    default: bool = False
    shipped: bool = False

    @property
    def lesions_found(self) -> tuple[int, int] | None:
        """Lesions that the model found in its tests, and all; None where that is not known."""
        for name, value in self.scores.items():
            if LESIONS_FOUND in name and BY_SIZE not in name:
                counts = COUNTS.match(str(value))
                return (int(counts[1]), int(counts[2])) if counts else None
        return None

    @property
    def large_lesions_found(self) -> tuple[int, int] | None:
        """The same of those from 10 mm."""
        for name, value in self.scores.items():
            if LESIONS_FOUND in name and BY_SIZE in name:
                sizes = [text for text in str(value).split(",") if SMALL not in text]
                counts = [found for text in sizes for found in COUNTS.findall(text)]
                totals = [sum(int(pair[n]) for pair in counts) for n in (0, 1)]
                return (totals[0], totals[1]) if counts else None
        return None

    @property
    def recall(self) -> str:
        """How much the model is known to find, one sentence; for whoever reads its result."""
        if self.large_lesions_found is None:
            return RECALL_UNKNOWN
        found, there = self.large_lesions_found
        return f"As tested, this model finds {found} of {there} lesions of 10 mm and more."


def default_model_folder(folder: str | Path | None = None) -> Path:
    """Where imported models lie: ``folder``, else $LIVERTUMORSEG_MODELS, else the platform's place.

    The folder need not exist yet.
    """
    if chosen := folder or os.environ.get(FOLDER_VARIABLE):
        return Path(chosen).expanduser()
    return _platform_data_folder() / "livertumorseg" / "models"


def shipped_models() -> tuple[ModelEntry, ...]:
    """The models that come with LiverTumorSeg, in the catalog's order."""
    listed = _read_json(CATALOG_FILE, REINSTALL).get("models", [])
    if not isinstance(listed, list):
        raise BundleError(
            sentence(
                "{file}: The list of models is damaged. {mend}",
                file=CATALOG_FILE.name,
                mend=REINSTALL,
            )
        )
    return tuple(
        replace(_entry(values, SHIPPED_FOLDER, REINSTALL), shipped=True) for values in listed
    )


def imported_models(folder: str | Path | None = None) -> tuple[ModelEntry, ...]:
    """The models in the user's folder, by name; empty when there is no such folder.

    A model whose record is damaged is not among them: see :func:`damaged_records`.
    """
    return _read_records(folder)[0]


def damaged_records(folder: str | Path | None = None) -> tuple[str, ...]:
    """A sentence for each imported model that cannot be listed."""
    return _read_records(folder)[1]


def _read_records(folder: str | Path | None) -> tuple[tuple[ModelEntry, ...], tuple[str, ...]]:
    place = default_model_folder(folder)
    entries, problems = [], []
    for name in _imported_names(place):
        try:
            entries.append(_imported_model(name, place))
        except BundleError as error:
            problems.append(sentence_of(error))
    return tuple(entries), tuple(problems)


def installed_models(folder: str | Path | None = None) -> tuple[ModelEntry, ...]:
    """Shipped models, then imported ones."""
    return shipped_models() + imported_models(folder)


def find_model(
    name_or_file: str | Path | None = None, folder: str | Path | None = None
) -> ModelEntry:
    """The model of that name, or in that file.

    A text without a folder and without the ending .safetensors is a name, whatever files there are.
    None and "default" mean the catalog's default. ``ValueError`` naming the known models when there
    is no such one; ``BundleError`` when a file is not a model.
    """
    name, place = str(name_or_file or DEFAULT), default_model_folder(folder)
    shipped = shipped_models()
    path = os.path.expanduser(name)
    is_file = isinstance(name_or_file, Path) or _looks_like_file(name)
    if is_file and os.path.isfile(path):
        return _loose_model(Path(path))
    for entry in shipped:
        if entry.name == name or (name == DEFAULT and entry.default):
            return entry
    if name in _imported_names(place):
        return _imported_model(name, place)
    known = ", ".join([entry.name for entry in shipped] + _imported_names(place)) or "none"
    problem = (
        "There is no default model"
        if name == DEFAULT
        else sentence("There is no model {wanted!r}", wanted=name)
    )
    raise ValueError(
        sentence(
            "{problem}. Give the path of a model file or a known name (known: {known}).",
            problem=problem,
            known=known,
        )
    )


def _looks_like_file(text: str) -> bool:
    """A path or a model's file, and no name: so that no stray file stands in for a known model."""
    separators = os.sep + (os.altsep or "")
    return text.endswith(FILE_ENDING) or text.startswith("~") or bool(set(separators) & set(text))


def verify(entry: ModelEntry) -> None:
    """``BundleError`` when a file is missing, has another size or hash, or is not a model."""
    again = REINSTALL if entry.shipped else "Import the model again."
    file = entry.file
    with naming_file(file.path):
        if not file.path.is_file():
            raise BundleError(sentence("The model's file is missing. {again}", again=again))
        size = file.path.stat().st_size
        if file.size_bytes not in (None, size):
            raise BundleError(
                sentence(
                    "It has {size} bytes instead of {wanted}. {again}",
                    size=size,
                    wanted=file.size_bytes,
                    again=again,
                )
            )
        if file.sha256 is not None and file_sha256(file.path) != file.sha256:
            raise BundleError(
                sentence(
                    "It was changed: its SHA-256 is not {sha256}. {again}",
                    sha256=file.sha256,
                    again=again,
                )
            )
    read_spec(file.path)


def import_model(
    file: str | Path,
    folder: str | Path | None = None,
    *,
    name: str | None = None,
    overwrite: bool = False,
    check: Callable[[Path], object] | None = None,
) -> ModelEntry:
    """Copy a model's file into the user's folder; return its entry.

    check: is called with the file before anything is written, and may refuse it.
    name: what to call it here; the model's own name when None. A copy carries its hash in its
    name and the record is written last, in one step: when anything fails before that, the models
    in the folder are as they were.
    """
    place, source = default_model_folder(folder), Path(file).expanduser()
    loose = _loose_model(source)
    _refuse_half(source)  # before anything is written
    if check is not None:
        check(source)
    name = name or loose.name
    _check_new_name(name, place, overwrite)
    sha256 = file_sha256(source)
    copy, earlier = place / f"{name}-{sha256[:12]}.safetensors", _files_of(name, place)
    _make_folder(place)
    try:
        _copy(source, copy, sha256)
        record = FileRecord(copy, sha256, loose.file.size_bytes)
        entry = replace(loose, name=name, file=record)
        _write_record(entry, place)
    except BaseException:
        _delete([copy] if copy not in earlier else [])
        raise
    _delete([old for old in earlier if old != copy])
    return entry


def remove_model(name: str, folder: str | Path | None = None) -> None:
    """Delete an imported model; ``ValueError`` for a shipped or an unknown one."""
    place = default_model_folder(folder)
    if name in _imported_names(place):
        _delete_record(name, place)  # first: there is never a record without its file
        _delete(_files_of(name, place))
    elif any(entry.name == name for entry in shipped_models()):
        raise ValueError(
            sentence(
                "The model {name!r} came with LiverTumorSeg and stays; only imported models can be "
                "removed.",
                name=name,
            )
        )
    else:
        imported = ", ".join(_imported_names(place)) or "none"
        raise ValueError(
            sentence(
                "There is no imported model {name!r}. Name one of: {imported}.",
                name=name,
                imported=imported,
            )
        )


def _platform_data_folder() -> Path:
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support"
    shared = Path(os.environ.get("XDG_DATA_HOME", ""))
    return shared if shared.is_absolute() else Path.home() / ".local" / "share"


def _record(name: str, place: Path) -> Path:
    return place / f"{name}{RECORD}"


def _imported_names(place: Path) -> list[str]:
    return sorted(record.name.removesuffix(RECORD) for record in place.glob(f"*{RECORD}"))


def _files_of(name: str, place: Path) -> list[Path]:
    """The copies made under that name, also one that an interrupted import left without record."""
    return list(place.glob(f"{name}-{'[0-9a-f]' * 12}.safetensors"))


def _imported_model(name: str, place: Path) -> ModelEntry:
    mend = sentence("Remove the model {name!r} and import it again.", name=name)
    values = _read_json(_record(name, place), mend)
    return replace(_entry(values, place, mend), name=name, default=False, shipped=False)


def _loose_model(path: Path) -> ModelEntry:
    """The model in a file, as it tells of itself."""
    spec = read_spec(path)
    scores = spec.provenance.get("scores")
    return ModelEntry(
        name=spec.name,
        title=_one_line(spec.provenance.get("title", spec.name)),
        version=spec.version,
        file=FileRecord(path, None, path.stat().st_size),
        licence=_one_line(spec.provenance.get("licence", "not stated")),
        scores=scores if isinstance(scores, dict) else {},
        summary=_one_line(spec.provenance.get("summary", "")),
    )


def _refuse_half(path: Path) -> None:
    if stage := stage_of(read_spec(path)):
        raise ValueError(
            sentence(
                "{file} is the {stage} network of a cascade; first join both by {command}.",
                file=path.name,
                stage=stage,
                command=JOIN_COMMAND,
            )
        )


def _one_line(text: object) -> str:
    """Without what would move a terminal's cursor."""
    return "".join(letter if letter.isprintable() else " " for letter in str(text))


def _entry(values: object, folder: Path, mend: str) -> ModelEntry:
    """An entry from its JSON form; its files lie in ``folder``."""
    try:
        if not isinstance(values, dict):
            raise TypeError("not an object")
        values = _with_one_file(values)
        file = _file(values["file"], folder)
        _check_texts(values)
        return ModelEntry(**{**values, "file": file})
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise BundleError(
            sentence(
                "An entry of the model catalog is damaged or from a newer version ({problem}). "
                "{mend}",
                problem=sentence_of(error),
                mend=mend,
            )
        ) from error


def _check_texts(values: Mapping[str, Any]) -> None:
    """``TypeError`` where an entry is no text of one line, or its scores are no object."""
    for key in ("name", "title", "version", "licence", "summary"):
        if not isinstance(values[key], str) or not values[key].isprintable():
            raise TypeError(sentence("{key} is no text of one line", key=key))
    if not isinstance(values["scores"], dict):
        raise TypeError("its scores are no object")
    if not isinstance(values.get("default", False), bool):
        raise TypeError("default is neither true nor false")


def _with_one_file(values: Mapping[str, Any]) -> dict[str, Any]:
    """Earlier versions had a list of files; one of two files is a cascade that was not joined."""
    if "files" not in values:
        return dict(values)
    files = values["files"]
    if len(files) != 1:
        raise ValueError(
            sentence(
                "it has {count} files; join them: {command}", count=len(files), command=JOIN_COMMAND
            )
        )
    return {**{name: v for name, v in values.items() if name != "files"}, "file": files[0]}


def _file(listed: Mapping[str, Any], folder: Path) -> FileRecord:
    file, sha256, size_bytes = listed["file"], listed["sha256"], listed["bytes"]
    if Path(file).name != file or not re.fullmatch("[0-9a-f]{64}", sha256):
        raise ValueError(sentence("{file!r} is not a plain file name with its SHA-256", file=file))
    if type(size_bytes) is not int or listed.keys() != {"file", "sha256", "bytes"}:
        raise ValueError(sentence("{file!r} has no size in bytes or unknown keys", file=file))
    return FileRecord(folder / file, sha256, size_bytes)


def _read_json(path: Path, mend: str) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise BundleError(
            sentence("{file}: The list of models cannot be read. {mend}", file=path.name, mend=mend)
        ) from error
    if not isinstance(values, dict):
        raise BundleError(
            sentence(
                "{file}: The list of models is not a JSON object. {mend}", file=path.name, mend=mend
            )
        )
    return values


def _check_new_name(name: str, place: Path, overwrite: bool) -> None:
    if not NAME_PATTERN.fullmatch(name) or name == DEFAULT:
        raise ValueError(
            sentence(
                "{name!r} cannot name an imported model. Choose a name of small letters, digits, "
                "'.', '_' and '-' that starts with a letter or digit and is not {default!r}.",
                name=name,
                default=DEFAULT,
            )
        )
    if any(entry.name == name for entry in shipped_models()):
        raise ValueError(
            sentence("{name!r} is a model of LiverTumorSeg's own. Choose another name.", name=name)
        )
    if name in _imported_names(place) and not overwrite:
        raise ValueError(
            sentence(
                "A model {name!r} is there already. Choose another name or overwrite it.", name=name
            )
        )


def _make_folder(place: Path) -> None:
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(
            sentence(
                "Cannot make the folder {folder}: {reason}. Choose another with {variable}.",
                folder=str(place),
                reason=error.strerror or str(error),
                variable=FOLDER_VARIABLE,
            )
        ) from error


def _copy(source: Path, target: Path, sha256: str) -> None:
    with whole_file(target) as part:
        shutil.copyfile(source, part)
        if file_sha256(part) != sha256:
            raise BundleError(
                sentence(
                    "{file}: It changed while it was copied. Import it again.", file=source.name
                )
            )


def _write_record(entry: ModelEntry, place: Path) -> None:
    values = {field.name: getattr(entry, field.name) for field in fields(entry)}
    del values["default"], values["shipped"]
    file = entry.file
    values["file"] = {"file": file.path.name, "sha256": file.sha256, "bytes": file.size_bytes}
    with whole_file(_record(entry.name, place)) as part:
        part.write_text(json.dumps(values, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def _delete_record(name: str, place: Path) -> None:
    try:
        _record(name, place).unlink()
    except OSError as error:
        raise ValueError(
            sentence(
                "Cannot remove {file}: {reason}. Check who may write to its folder.",
                file=str(_record(name, place)),
                reason=error.strerror or str(error),
            )
        ) from error


def _delete(paths: list[Path]) -> None:
    for path in paths:
        with contextlib.suppress(
            OSError
        ):  # in use on Windows: it is no longer listed, and harmless
            path.unlink()

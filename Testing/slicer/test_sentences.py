"""What the child says is shown in the person's language: no sentence of it lacks its key."""

from __future__ import annotations

import ast
import inspect
import json
from collections.abc import Callable
from pathlib import Path

import LiverTumorSegLib
import numpy as np
import pytest
from dicom_files import changed, save_series
from LiverTumorSegLib.cli.child import SCAN_NAME
from LiverTumorSegLib.cli.progress import JsonLines
from LiverTumorSegLib.ct.dicom import NAME, find_series
from LiverTumorSegLib.model.file import ModelFile
from LiverTumorSegLib.model.spec import BundleError
from LiverTumorSegLib.result.export.dicom_source import DicomSource
from LiverTumorSegLib.sentences import as_event, key_and_values, sentence, sentence_of
from LiverTumorSegSlicer.run import (
    sentences,
    sentences_of_dicom,
    sentences_of_files,
    sentences_of_models,
)
from LiverTumorSegSlicer.run.sentences import forTranslators, translated, translatedError
from panel_desk import PanelDesk, writeModel
from slicersim import scripted

LIB = Path(LiverTumorSegLib.__file__).parent
SAID_IN_THE_CHILD = [  # where a run from Slicer comes by
    *(LIB / f"{name}.py" for name in ("settings", "volume", "files")),
    *(LIB / "cli" / f"{name}.py" for name in ("child", "exchange", "main", "selfcheck", "segment")),
    LIB / "cli" / "export.py",
    *(LIB / "result" / "export" / f"{name}.py" for name in ("export", "dicom_source")),
    *sorted((LIB / "model").glob("*.py")),
    *(LIB / "ct" / f"{name}.py" for name in ("checks", "body", "gray_values", "study")),
    *sorted((LIB / "ct").glob("dicom*.py")),
    LIB / "result" / "plausibility.py",
    *(LIB / "result" / "followup" / f"{name}.py" for name in ("comparison", "registration")),
    *sorted((LIB / "inference").glob("*.py")),
]
FOR_THE_SHELL = {  # the panel names no series, and asks for none among several
    "Name a CT and -o FOLDER, or --raw FOLDER alone; see segment --help.",
    "{which!r} fits {found} CT series; choose one with --series, 1 to {count}"
    " (`livertumorseg info` on the folder lists them).",
    "No series here holds several phases; leave out --phase.",
    "There is no phase {wanted} here; choose a number from {first} to {last}.",
    "There is no series {wanted} in this folder; choose a number from 1 to {count}.",
    "No series in this folder is called like {wanted!r}; `livertumorseg info` on the folder lists"
    " them.",
    "This folder holds several examinations; give the folder of one, or choose a series with"
    " --series, 1 to {count} (`livertumorseg info` on the folder lists them).",
    "Of {count} CT series number {number} was taken ({which}); --series chooses another.",
}
OF_REPORTS = LIB / "model" / "catalog.py"  # its only mixed sentence stands in the report
TOLD = {"progress", "failed"}
KINDS = {"input", "model", "memory", "cancelled", "fault", "output"}  # words of the protocol


def keysOf(path: Path) -> set[str]:
    """What a file says: keys of sentences and the texts put into them, phrases of progress, why
    something is refused, and whole sentences as warnings."""
    found: set[str | None] = set()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    texts = {
        node.targets[0].id: textsOf(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            if getattr(node.exc.func, "id", "") == "OSError":
                continue  # for the file's own use: what is said of the disk is a sentence
            found |= {textOf(argument) for argument in node.exc.args}
        elif isinstance(node, ast.Call):
            name = getattr(node.func, "id", getattr(node.func, "attr", ""))
            if name == "sentence":
                found.add(textOf(node.args[0]))
                for word in node.keywords:
                    found |= texts.get(getattr(word.value, "id", ""), set())
            elif name in (TOLD if path.name != "main.py" else {"failed"}):  # of all commands
                found |= {textOf(argument) for argument in node.args}
        elif isinstance(node, ast.Return | ast.Yield) and node.value is not None:
            parts = node.value.elts if isinstance(node.value, ast.Tuple) else [node.value]
            found |= {text for part in parts if (text := textOf(part) or "").endswith(".")}
    return {text for text in found if text} - FOR_THE_SHELL - KINDS


def test_the_panel_knows_what_the_child_says_while_it_makes_a_page() -> None:
    for name in ("report", "compare"):
        tree = ast.parse((LIB / "cli" / f"{name}.py").read_text(encoding="utf-8"))
        calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
        said = {
            textOf(call.args[1]) for call in calls if getattr(call.func, "attr", "") == "progress"
        }
        assert said - {"Measuring the liver parts"} <= set(forTranslators()), "parts: shell only"


def textsOf(node: ast.expr) -> set[str]:
    """The text that is assigned, or both of which one is; names of things have no blank."""
    parts = [node.body, node.orelse] if isinstance(node, ast.IfExp) else [node]
    return {text for part in parts if " " in (text := textOf(part) or "")}


def textOf(node: ast.expr) -> str | None:
    isText = isinstance(node, ast.Constant) and isinstance(node.value, str)
    return node.value if isText else None


def test_the_panel_knows_every_key_of_the_child() -> None:
    known = set(forTranslators())
    for path in SAID_IN_THE_CHILD:
        assert keysOf(path) <= known, path.name
    assert {SCAN_NAME, NAME} <= known, "what a scan is called in the sentences of checks"
    assert len(known) == len(forTranslators()), "each is there once"


def test_nothing_that_is_said_is_put_together_without_a_key() -> None:
    """A text with values in it is translated by its key or not at all."""
    for path in SAID_IN_THE_CHILD:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            call = node.exc if isinstance(node, ast.Raise) else node
            if isinstance(call, ast.Call):
                name = getattr(call.func, "id", getattr(call.func, "attr", ""))
                mixed = [a for a in call.args if isinstance(a, ast.JoinedStr)]
                isSaid = name in TOLD or name.endswith("Error")
                assert not isSaid or not mixed, f"{path.name}:{node.lineno}"
            elif isinstance(node, ast.JoinedStr) and path != OF_REPORTS:
                end = textOf(node.values[-1]) or ""
                assert not end.endswith(".") or end == "...", (
                    f"{path.name}:{node.lineno} is a whole sentence"
                )


def test_a_sentence_is_its_english_text_and_keeps_what_it_was_made_of() -> None:
    inner = sentence("its {hu:.0f} HU are those of fluid", hu=np.float64(12.3))
    text = sentence("Dropped, because {why}: {count} in {name!r}.", why=inner, count=3, name="x{y}")
    assert text == "Dropped, because its 12 HU are those of fluid: 3 in 'x{y}'."
    assert translated(json.loads(json.dumps(key_and_values(text)))) == text
    assert translated(key_and_values("Cleaning up")) == "Cleaning up"
    assert sentence_of(ValueError(text)) is text
    assert sentence_of(ValueError("plain")) == "plain"


def test_the_words_are_the_translator_s_and_nested_ones_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    german = {
        "The scan looks {kind} (liver {liver_hu:.0f} HU), and the model has learned from"
        " portal-venous CT: expect missed tumors and false ones.": "{kind}: {liver_hu:.0f} HE",
        "unenhanced": "nativ",
    }
    monkeypatch.setattr(scripted, "translations", german)
    key = next(iter(german))
    text = sentence(key, kind="unenhanced", liver_hu=55.4)
    assert translated(key_and_values(text), text) == "nativ: 55 HE"


def test_what_another_version_says_is_shown_as_it_came() -> None:
    for told in (None, 3, {}, {"key": 3}, {"key": "{a} of {b}", "values": {"a": 1}}):
        assert translated(told, "In English.") == "In English."


def test_what_is_wrong_with_a_model_is_translated_with_all_that_is_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In English it is what the child says; in another language, whole and part by part."""
    good = writeModel(tmp_path / "good.safetensors").read_bytes()
    files = {
        "cut.safetensors": good[:-2],
        "long.safetensors": good + b"12",
        "other.safetensors": b"PK\x03\x04 and so on",
        "odd.safetensors": good.replace(b"hybrid2d", b"hybrid9d"),
        "key.safetensors": good.replace(b"net_args", b"net_argz"),
        "absent.safetensors": None,
    }
    errors = []
    for name, data in files.items():
        if data is not None:
            (tmp_path / name).write_bytes(data)
        with pytest.raises((BundleError, ValueError)) as caught:
            ModelFile.load(tmp_path / name)
        errors.append(caught.value)
        sent = json.loads(json.dumps(key_and_values(sentence_of(caught.value))))
        assert translated(sent, "") == translatedError(caught.value) == str(caught.value)
    german = {
        "{file}: {problem}": "{file} geht nicht: {problem}",
        "The file is cut off: {count} bytes are missing. {again}": "{count} Bytes fehlen. {again}",
        "Get the file again from where it came.": "Bitte neu laden.",
    }
    monkeypatch.setattr(scripted, "translations", german)
    shown = translatedError(errors[0])
    assert shown == "cut.safetensors geht nicht: 2 Bytes fehlen. Bitte neu laden."


def saveCutOff(folder: Path) -> None:
    path = save_series(folder, names="{:03}".format)[3]
    path.write_bytes(path.read_bytes()[:400])


DAMAGED: dict[str, tuple[Callable[[Path], object], dict[str, object], str]] = {
    "{file} is a damaged DICOM file; copy or export it again.": (
        saveCutOff,
        {"file": key_and_values("003")},
        "{file} ist kaputt.",
    ),
    "Slices are missing from this series: there is a gap of {widest_mm:g} mm where others lie"
    " {least_mm:g} mm apart; copy or export the whole series again.": (
        lambda folder: save_series(folder, only=[0, 1, 2, 3, 5, 6, 7]),
        {"widest_mm": pytest.approx(8), "least_mm": pytest.approx(4)},
        "{widest_mm:g} statt {least_mm:g} mm.",
    ),
    "This series does not say where its images lie in the patient; export it again with their"
    " positions.": (
        lambda folder: save_series(folder, change=changed(ImagePositionPatient=None)),
        {},
        "Irgendwo.",
    ),
}


def test_why_a_damaged_series_gets_no_dicom_is_translated_with_all_that_is_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the child says of the images that a DICOM SEG would refer to."""
    pytest.importorskip("highdicom")
    told = []
    for key, (save, values, _) in DAMAGED.items():
        folder = tmp_path / str(len(told))
        save(folder)
        with pytest.raises(ValueError, match=r"\.$") as refused:
            DicomSource.read(find_series(folder)[0])
        said = sentence_of(refused.value)
        assert key_and_values(said) == {"key": key, "values": values}
        assert as_event(said) or not values, "a plain text is its own key"
        told.append(json.loads(json.dumps(key_and_values(said))))
        assert translated(told[-1]) == said
    german = {key: words for key, (_, _, words) in DAMAGED.items()}
    monkeypatch.setattr(scripted, "translations", german)
    shown = [translated(parts) for parts in told]
    assert shown == ["003 ist kaputt.", "8 statt 4 mm.", "Irgendwo."]


def test_a_run_s_steps_refusals_and_warnings_are_translated(
    desk: PanelDesk, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    german = {
        "Slice {done} of about {expected}": "Schicht {done} von etwa {expected}",
        "Cleaning up": "Aufgeräumt wird",
        "{name} holds one slice only; give the whole 3D scan.": "{name} hat eine Schicht.",
        "The volume": "Das Volumen",
        "The field of view cuts off the liver at a side: its volume is that of a part.": "Ab.",
    }
    monkeypatch.setattr(scripted, "translations", german)
    desk.loadCt()
    runner, child, ui = desk.start(), JsonLines(), desk.ui
    capsys.readouterr()
    child.progress(0.5, sentence("Slice {done} of about {expected}", done=5, expected=9))
    child.progress(0.9, "Cleaning up")
    refusal = sentence("{name} holds one slice only; give the whole 3D scan.", name="The volume")
    child.failed("input", refusal)
    lines = capsys.readouterr().out.splitlines()
    runner.begin()
    for line, shown in zip(lines, ("Schicht 5 von etwa 9", "Aufgeräumt wird"), strict=False):
        runner.print(line)
        assert ui.statusLabel.text.startswith(shown)
    runner.print(lines[2])
    runner.exit(2)
    assert desk.questions.failures == ["Das Volumen hat eine Schicht."]
    warning = next(reversed(german))
    desk.answerWith(warnings=[warning], said=[key_and_values(warning)])
    desk.run()
    assert ui.warningsLabel.text == "Ab."


def test_translators_find_the_texts_in_plain_calls() -> None:
    """Slicer's tools read the source, and take literals only."""
    literals = set[str | None]()
    for file in (sentences, sentences_of_dicom, sentences_of_files, sentences_of_models):
        calls = [n for n in ast.walk(ast.parse(inspect.getsource(file))) if isinstance(n, ast.Call)]
        own = {textOf(c.args[0]) for c in calls if getattr(c.func, "id", "") == "_"} - {None}
        assert not literals & own, "each has its place in one file"
        literals |= own
    assert set(forTranslators()) <= literals


def test_a_sentence_is_looked_up_among_those_of_the_file_that_has_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Slicer finds a text only by the name of the file where it stands."""
    keys = (
        "Cleaning up",
        "Get the file again from where it came.",
        "This series has a broken orientation in its header; export the series again.",
    )
    monkeypatch.setattr(scripted, "translations", dict.fromkeys((*keys, "Of no file."), "Erkannt."))
    assert [translated({"key": key}) for key in keys] == ["Erkannt."] * 3
    assert translated({"key": "Of no file."}) == "Of no file."

"""A model of two files in the panel: imported, listed, chosen, run by its name, looked after."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import slicer
from LiverTumorSegLib.model import catalog
from LiverTumorSegLib.model.spec import STAGES
from LiverTumorSegSlicer.environment.diagnostics import modelRows
from panel_desk import PanelDesk, writeModel


@pytest.fixture
def halves(desk: PanelDesk) -> list[Path]:
    """The liver's file, then the tumor's."""
    steps = {"kind": "volume"}
    return [
        writeModel(
            desk.folder / f"pair-{stage}.safetensors",
            labels=labels,
            preprocessing=steps,
            title=f"Two stages, {stage}",
        )
        for stage, labels in STAGES.items()
    ]


class Answers:
    """Files a person names, one after the other; the titles of the dialogs are kept."""

    def __init__(self, desk: PanelDesk, *paths: Path | None) -> None:
        self.paths, self.titles = list(paths), []
        desk.questions.openPath = self  # type: ignore[method-assign]

    def __call__(self, title: str, nameFilter: str) -> Path | None:
        self.titles.append(title)
        return self.paths.pop(0)


def importPair(desk: PanelDesk, *paths: Path | None) -> Answers:
    answers = Answers(desk, *paths)
    if desk.ui.environmentCollapsibleButton.collapsed:
        desk.click(desk.ui.environmentCollapsibleButton)
    desk.click(desk.ui.importModelButton)
    return answers


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_the_other_file_is_asked_for(
    desk: PanelDesk, halves: list[Path], order: tuple[int, int]
) -> None:
    answers = importPair(desk, *(halves[n] for n in order))
    assert desk.questions.failures == []
    assert ("tumor", "liver")[order[0]] in answers.titles[1]
    assert desk.ui.modelComboBox.currentText == "Two stages, tumor"
    assert desk.parameters.model == "pair"
    (entry,) = [e for e in desk.environment.models() if e.name == "pair"]
    assert [path.read_bytes() for path in entry.paths] == [path.read_bytes() for path in halves]


def test_a_changed_mind_imports_nothing(desk: PanelDesk, halves: list[Path]) -> None:
    importPair(desk, halves[0], None)
    assert desk.questions.failures == []
    assert desk.ui.modelComboBox.count == 1


def test_another_model_s_file_is_no_other_half(desk: PanelDesk, halves: list[Path]) -> None:
    importPair(desk, halves[0], desk.folder / "first.safetensors")
    assert len(desk.questions.failures) == 1
    assert "the other its tumor network" in desk.questions.failures[0]
    assert desk.ui.modelComboBox.count == 1


def test_the_child_is_given_its_name(desk: PanelDesk, halves: list[Path]) -> None:
    importPair(desk, *halves)
    desk.loadCt()
    runner = desk.start()
    desk.click(desk.ui.segmentButton)
    runner.exit(130)
    slicer.app.processEvents()
    assert runner.arguments[runner.arguments.index("--model") + 1] == "pair"
    assert not any(".safetensors" in word for word in runner.arguments)


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("how", ["missing", "cut"])
def test_it_runs_only_when_both_files_are_whole(
    desk: PanelDesk, halves: list[Path], which: int, how: str
) -> None:
    importPair(desk, *halves)
    desk.loadCt()
    assert desk.ui.segmentButton.enabled
    path = desk.environment.models()[-1].paths[which]
    path.unlink() if how == "missing" else path.write_bytes(b"cut")
    desk.panel.environmentPanel.look()
    assert not desk.ui.segmentButton.enabled
    assert "One of the model's files is missing or cut off. Import the" in (
        desk.ui.segmentButton.toolTip
    )
    assert not desk.ui.environmentCollapsibleButton.collapsed
    desk.ui.modelComboBox.currentIndex = 0
    desk.ui.modelComboBox.activated.emit(0)
    assert desk.ui.segmentButton.enabled, "another model runs all the same"


def test_one_that_is_shipped_is_whole_with_both_files(
    desk: PanelDesk, halves: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    files = tuple(catalog.ModelFile(p, "ab" * 32, p.stat().st_size) for p in halves)
    shipped: Any = catalog.ModelEntry(
        "pair", "Two stages", "1", files, "CC0", {}, "", default=True, shipped=True
    )
    monkeypatch.setattr(catalog, "shipped_models", lambda: (shipped,))
    assert desk.environment.check().model
    halves[1].write_bytes(b"cut")
    report = desk.environment.check()
    assert not report.model
    assert report.problems[0].sentence.endswith("cut off. Install LiverTumorSeg again.")


def test_diagnostics_name_both_files(desk: PanelDesk, halves: list[Path]) -> None:
    importPair(desk, *halves)
    entry = desk.environment.models()[-1]
    _, (_, text) = modelRows(desk.models, [entry])
    assert all(str(file.sha256) in text for file in entry.files)

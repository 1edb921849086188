"""A model whose license forbids some uses is run after a person has agreed, once."""

from __future__ import annotations

import pytest
from fake_environment import forgetAll
from panel_desk import PanelDesk, writeModel

NON_COMMERCIAL = "CC BY-NC-SA 4.0"


@pytest.fixture(autouse=True)
def forgetful() -> None:
    """Nobody has agreed to anything yet."""
    forgetAll()


def test_a_free_license_asks_nothing(desk: PanelDesk) -> None:
    desk.loadCt()
    desk.answerWith()
    assert desk.run() is not None
    assert desk.questions.asked == []


def test_no_run_before_the_license_is_agreed_to_and_no_second_question(desk: PanelDesk) -> None:
    desk.loadCt()
    desk.answerWith()
    desk.environment.importModel(writeModel(desk.folder / "nc.safetensors", licence=NON_COMMERCIAL))
    desk.panel.environmentPanel.look()
    desk.panel.models.choose("nc")
    desk.questions.agrees = False
    desk.click(desk.ui.segmentButton)
    assert desk.runners == []
    (question,) = desk.questions.asked
    for words in (NON_COMMERCIAL, "forbids commercial use", "not for diagnosis"):
        assert words in question
    desk.questions.agrees = True
    for runs in (1, 2):
        desk.run()
        assert len(desk.runners) == runs
        assert len(desk.questions.asked) == 2, "asked again after no, and never after yes"


def test_another_license_of_the_same_model_is_asked_for_anew(desk: PanelDesk) -> None:
    remembered = desk.environment.remembered
    remembered.noteAgreement("nc", NON_COMMERCIAL)
    assert remembered.hasAgreed("nc", NON_COMMERCIAL)
    assert not remembered.hasAgreed("nc", "something else")
    assert not remembered.hasAgreed("other", NON_COMMERCIAL)

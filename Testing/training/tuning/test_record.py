"""A choice comes back from its file, and what is no choice is refused in a sentence."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from choice_material import Spot, answered, search
from looped import looped

from training.tune import best_choice
from training.tuning.record import Choice, choice_record, choice_text, read_choice, write_choice

HEADER = {
    "model": "tiny 1",
    "sha256": "ab" * 32,
    "split": "val",
    "code": "0.1 (abc)",
    "date": "2026-01-01",
}
UNSURE = Spot(4, 5, 40, share=0.65, true=False)


@pytest.fixture(scope="module")
def choice() -> Choice:
    """Two scans of one patient, one of another, and a tumor-free one."""
    spots = {"3": "anna", "4": "anna", "23": "ben"}
    volumes = [answered(case, patient, [Spot(2, 7, 10), UNSURE]) for case, patient in spots.items()]
    return best_choice(search(*volumes, answered("41", "carl", [UNSURE])))


def test_what_is_written_is_read(choice: Choice, tmp_path: Path) -> None:
    write_choice(tmp_path, choice, HEADER)
    stored = read_choice(tmp_path / "choice.json")
    assert stored.decision == choice.chosen.decision
    assert stored.decision.calibration is not None
    assert stored.postprocessing == choice.chosen.postprocessing
    assert stored.how["cases"] == ["3", "4", "23", "41"]
    assert stored.how["patients"] == 3


def test_those_left_out_are_pooled(choice: Choice) -> None:
    record = choice_record(choice, HEADER)["how"]["leave_one_patient_out"]
    pooled, patients = record["scores"], [one["scores"] for one in record["parts"]]
    for key in ("lesions_found", "lesions_true", "false_lesions"):
        assert pooled[key] == sum(one[key] for one in patients)
    assert [one["cases"] for one in record["parts"]] == [["3", "4"], ["23"], ["41"]]


def test_every_table_of_the_text_has_as_many_cells_in_each_line(choice: Choice) -> None:
    blocks = [part for part in choice_text(choice, HEADER).split("\n\n") if part.startswith("|")]
    assert len(blocks) == 4
    for block in blocks:
        assert len({line.count("|") for line in block.splitlines()}) == 1


def test_a_confidence_that_tells_nothing_says_so(choice: Choice) -> None:
    flat = replace(choice, chosen=choice.chosen.without_confidence())
    assert "would get the same one" in choice_text(flat, HEADER)
    assert "would get the same one" not in choice_text(choice, HEADER)


def change(stored: dict[str, Any], key: str, value: Any) -> str:
    return json.dumps({**stored, key: value})


@looped(
    ("key", "value", "words"),
    [
        ("decision", {"wavelet": 3}, "wavelet"),
        ("decision", {"tumor_threshold": 2.0}, "tumor_threshold"),
        ("postprocessing", {"polish": True}, "polish"),
        ("decision", None, "is no choice"),
        ("how", {"sha256": "ab"}, "is no choice"),
        ("how", [], "is no choice"),
    ],
)
def test_a_file_that_cannot_be_used(
    choice: Choice, tmp_path: Path, key: str, value: Any, words: str
) -> None:
    write_choice(tmp_path, choice, HEADER)
    path = tmp_path / "choice.json"
    path.write_text(change(json.loads(path.read_text()), key, value))
    with pytest.raises(ValueError, match=words) as raised:
        read_choice(path)
    assert "\n" not in str(raised.value)


@looped("text", ["", "[]", "no", '{"notice": 1}', "[" * 100_000])
def test_other_files_and_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "other.json").write_text(text)
    with pytest.raises(ValueError, match=r"other\.json is no choice"):
        read_choice(tmp_path / "other.json")
    with pytest.raises(ValueError, match="cannot be read"):
        read_choice(tmp_path / "missing.json")

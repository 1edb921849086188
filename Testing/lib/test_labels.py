"""The numbers are those of LiTS, and every label can be shown and exported."""

from __future__ import annotations

import pytest
from LiverTumorSegLib.labels import Label


def test_numbers_are_those_of_lits() -> None:
    assert [int(label) for label in Label] == [0, 1, 2]
    assert [label.display_name for label in Label] == ["Background", "Liver", "Tumor"]


def test_snomed_codes() -> None:
    assert Label.LIVER.snomed == ("10200004", "Liver")
    assert Label.TUMOR.snomed == ("108369006", "Neoplasm")
    with pytest.raises(ValueError, match="background"):
        _ = Label.BACKGROUND.snomed


def test_colors_are_distinct_and_liver_green_tumor_red() -> None:
    assert len({label.color_rgb for label in Label}) == len(Label)
    assert all(0 <= c <= 255 for label in Label for c in label.color_rgb)
    assert max(range(3), key=Label.LIVER.color_rgb.__getitem__) == 1
    assert max(range(3), key=Label.TUMOR.color_rgb.__getitem__) == 0

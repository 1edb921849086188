"""Matches of two dates corrected by a reader: whatever was done can be said, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from LiverTumorSegLib.result.followup.change import (
    DatedLesion,
    Link,
    change_of,
    read_links,
)
from LiverTumorSegLib.result.followup.corrections import (
    Corrections,
    in_order,
    joined_link,
    parted,
)

PROPOSED = (Link((1,), (1, 4)), Link((2, 3), (2,)), Link((4,), ()), Link((), (3,)))


def lesions(diameters_mm: list[float], targets: tuple[int, ...] = ()) -> list[DatedLesion]:
    return [
        DatedLesion(number, mm**3 / 2000, mm, (0.0, 0.0, 0.0), number in targets, mm >= 5)
        for number, mm in enumerate(diameters_mm, start=1)
    ]


def test_whatever_a_reader_does_by_clicks_is_said_in_words_that_lead_there() -> None:
    """Any number of rows taken apart and joined, then said, parsed and applied."""
    random = np.random.default_rng(0)
    for _ in range(200):
        links = list(PROPOSED)
        for _ in range(random.integers(1, 8)):
            one = links[random.integers(len(links))]
            other = links[random.integers(len(links))]
            if one.baseline and one.followup:
                links.remove(one)
                links += parted(one)
            elif one.baseline and other.followup and one != other:
                links = [link for link in links if link not in (one, other)]
                links.append(joined_link(one, other))
        wanted = in_order(links)
        said = Corrections.between(PROPOSED, wanted)
        words = dict(zip(said.arguments()[::2], said.arguments()[1::2], strict=True))
        read = Corrections.parse(words.get("--match"), words.get("--no-match"))
        assert read == said
        assert read.applied_to(PROPOSED) == wanted
        assert bool(read) == (wanted != in_order(PROPOSED))


def test_a_correction_that_cannot_be_is_one_sentence() -> None:
    for match, no_match, sentence in (
        ("5=1", None, "There is no lesion 5 in the baseline"),
        ("4=9", None, "There is no lesion 9 in the follow-up"),
        (None, "0", "There is no lesion 0"),
        (None, "4", "has no match that could be taken apart"),
        (None, "2,3", "has no match that could be taken apart"),
        ("1=4", None, "are matched already"),
        ("4=3,4=3", None, "are matched already"),
        ("1=2", None, "are both matched with others; take one match apart first: --no-match 1."),
        ("2", None, "--match takes"),
        ("a=b", None, "--match takes"),
        ("", None, "--match takes"),
        (None, "1=2", "--no-match takes"),
        (None, "", "--no-match takes"),
    ):
        with pytest.raises(ValueError, match=r"\.$") as caught:
            Corrections.parse(match, no_match).applied_to(PROPOSED)
        assert sentence in str(caught.value)
        assert str(caught.value).count(". ") == 0, "one sentence"


def test_changes_sums_and_category_follow_a_correction() -> None:
    """Of a target that was matched with its neighbor: shrunk, not gone, and nothing is new."""
    before, after = lesions([30, 12], targets=(1, 2)), lesions([28, 12])
    wrong = (Link((1,), (2,)), Link((2,), ()), Link((), (1,)))
    first = change_of(wrong, before, after)
    assert (first.response.followup_mm, first.response.new_lesions) == (12, (1,))
    assert first.response.category == "partial response"
    right = Corrections.parse("1=1,2=2", "1").applied_to(wrong)
    second = change_of(right, before, after)
    assert [row.change for row in second.rows] == ["unchanged", "unchanged"]
    assert second.response.to_dict() == {
        "baseline_sum_mm": 42,
        "followup_sum_mm": 40,
        "change_percent": -4.8,
        "category_of_targets": "stable disease",
        "new_lesions_to_be_confirmed": [],
    }


def test_matches_and_lesions_are_read_back_from_a_record() -> None:
    change = change_of(PROPOSED, lesions([30, 20, 11, 9], (1,)), lesions([31.25, 20, 4, 7]))
    assert read_links(row.to_dict() for row in change.rows) == PROPOSED
    for lesion in lesions([30, 20.123456789], (1,)):
        again = DatedLesion.from_dict(lesion.to_dict())
        assert again.longest_mm == pytest.approx(lesion.longest_mm, abs=1e-6)
        assert (again.number, again.target) == (lesion.number, lesion.target)

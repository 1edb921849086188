"""Which of the CTs in a folder a batch runs: one a study, some descriptions, enough slices.

    cases = choose_cases(cases, Choice(one_per_study=True, min_slices=40))

What is left out stays in the list with the reason, and so gets a row in the table: no patient is
missing in silence.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from LiverTumorSegLib.ct.phase import Phase
from LiverTumorSegLib.ct.read import axial_slices
from LiverTumorSegLib.ct.study import StudySeries, describe_series, fits, propose_series, say_series

from .batch_cases import BatchItem


@dataclass(frozen=True)
class Choice:
    """one_per_study: the likely portal-venous thin axial series of each examination alone.
    description: a pattern that a DICOM series' description must be like. min_slices: axial ones."""

    one_per_study: bool = False
    description: str | None = None
    min_slices: int = 0


def choose_cases(
    cases: Sequence[BatchItem],
    choice: Choice,
    phase_of_image: Callable[[StudySeries], Phase] | None = None,
    is_done: Callable[[BatchItem], bool] = lambda case: False,
) -> list[BatchItem]:
    """All cases, those that are left out with their ``problem``.

    phase_of_image: as ``propose_series`` takes it. is_done: whether a case has its result already;
    where one series of a study has, it is the one that was chosen before.
    Raises ``ValueError`` where all that could be read is left out.
    """
    needs_headers = choice.one_per_study or choice.description is not None
    entries = {
        case.name: describe_series(case.series)
        for case in cases
        if needs_headers and case.series is not None
    }
    chosen = [
        case if case.problem else replace(case, problem=_why_not(case, entries, choice))
        for case in cases
    ]
    if choice.one_per_study:
        done = {case.name for case in chosen if not case.problem and is_done(case)}
        chosen = _one_a_study(chosen, entries, phase_of_image, done)
    if all(case.problem for case in chosen):
        left = [now for now, before in zip(chosen, cases, strict=True) if not before.problem]
        raise ValueError(f"No CT is left to be segmented. {left[0].problem}")
    return chosen


def _why_not(case: BatchItem, entries: dict[str, StudySeries], choice: Choice) -> str:
    """Why a case is not run, in a sentence; "" where it may be."""
    if choice.description is not None:
        entry = entries.get(case.name)
        if entry is None:
            return "This is no DICOM series and has no description for --description."
        if not fits(entry.description, choice.description):
            return "Its series description is not like --description asks for."
    if choice.min_slices > 1:
        slices = case.series.shape_kji[0] if case.series else axial_slices(case.files[0])
        if slices is not None and slices < choice.min_slices:
            return f"It has {slices} slices, fewer than the {choice.min_slices} of --min-slices."
    return ""


def _one_a_study(
    cases: Sequence[BatchItem],
    entries: dict[str, StudySeries],
    phase_of_image: Callable[[StudySeries], Phase] | None,
    done: set[str],
) -> list[BatchItem]:
    """Leave out all but one series of each examination; a file is an examination of its own."""
    studies: dict[str, dict[str, StudySeries]] = {}
    for case in cases:
        if case.name in entries and not case.problem:
            entry = entries[case.name]
            studies.setdefault(entry.study, {})[case.name] = entry
    problems: dict[str, str] = {}
    for members in studies.values():
        before = [members[name] for name in members if name in done]
        among = before if len(before) == 1 else list(members.values())
        taken = propose_series(among, phase_of_image=phase_of_image)[0]
        name = next(name for name, entry in members.items() if entry.series is taken.series)
        for other, entry in members.items():
            if other != name:
                problems[other] = (
                    f"Another series of this study was taken, {name} ({say_series(taken)});"
                    f" this one: {say_series(entry)}."
                )
    return [
        replace(case, problem=problems[case.name]) if case.name in problems else case
        for case in cases
    ]

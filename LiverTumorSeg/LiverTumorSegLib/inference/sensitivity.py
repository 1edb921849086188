"""How readily a model marks a tumor: the decisions that its tuning has tried, in an order.

    sensitivity = Sensitivity.of(spec)            # None where the model's file knows no others
    stop = sensitivity.at(+1)                     # one step more than as tested
    stop.decision, stop.expected()

A model's file holds what other thresholds found on the patients they were chosen on. Those that
find more only at the price of more false marks are steps, from fewer to more. Of them the nearest
and the farthest are kept either way: a run decides and checks once for each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from LiverTumorSegLib.model.spec import ModelSpec
from LiverTumorSegLib.sentences import Sentence, sentence

from .decision import Decision

THRESHOLDS = ("tumor_threshold", "seed_threshold")  # of a decision, by which marks are traded
POINTS = "points"
STEPS_EACH_WAY = 2


@dataclass(frozen=True, kw_only=True)
class Stop:
    """One decision, and what it did on patients whom the networks that were asked had not seen.

    steps: from the decision that the model was tested with: 0 is that one, above 0 marks more.
    large, small: lesions found and lesions there, from 10 mm and under it.
    false_lesions_per_volume: marks that touch no lesion, a CT.
    """

    steps: int
    decision: Decision
    large: tuple[int, int]
    small: tuple[int, int]
    false_lesions_per_volume: float

    def expected(self) -> Sentence:
        """The sentence with the lesions found and false marks to expect of this decision."""
        return sentence(
            "Where it was tuned it found {large} of {large_true} tumors from 10 mm and {small} of"
            " {small_true} smaller ones, with {false_marks:.1f} false marks a CT.",
            large=self.large[0],
            large_true=self.large[1],
            small=self.small[0],
            small_true=self.small[1],
            false_marks=self.false_lesions_per_volume,
        )

    def to_dict(self) -> dict[str, Any]:
        """This decision for a result's record, JSON-able."""
        thresholds = {name: getattr(self.decision, name) for name in THRESHOLDS}
        return {
            "steps": self.steps,
            **thresholds,
            "lesions_from_10_mm": list(self.large),
            "lesions_under_10_mm": list(self.small),
            "false_lesions_per_volume": self.false_lesions_per_volume,
        }


@dataclass(frozen=True)
class Sensitivity:
    """All stops of a model, from the one that marks fewest; one of them is as tested."""

    stops: tuple[Stop, ...]

    @classmethod
    def of(cls, spec: ModelSpec) -> Sensitivity | None:
        """The decisions that a model's file stores; None where there is none beside its own.

        That holds as well for a curve that this version does not understand: a model works without
        one. Raises ``ValueError`` for such a decision.
        """
        tested = Decision.from_dict(spec.decision)
        try:
            stops = [_stop(tested, point) for point in spec.tuning.get(POINTS, ())]
        except (KeyError, TypeError, ValueError, IndexError):
            return None
        its_own = [stop for stop in stops if stop.decision == tested]
        if len(stops) < 2 or not its_own:
            return None
        fewer, more = (_ends(_steps([its_own[0], *stops], more=way)) for way in (False, True))
        ordered = [*reversed(fewer), its_own[0], *more]
        return cls(tuple(replace(s, steps=n - len(fewer)) for n, s in enumerate(ordered)))

    @property
    def fewest(self) -> int:
        """Steps of the first stop: 0 or less."""
        return self.stops[0].steps

    @property
    def most(self) -> int:
        """Steps of the last stop: 0 or more."""
        return self.stops[-1].steps

    def at(self, steps: int) -> Stop:
        """The decision so many steps from the tested one; ``ValueError`` beyond the ends."""
        if not self.fewest <= steps <= self.most:
            raise ValueError(
                sentence(
                    "The sensitivity is {steps}; this model has {fewest} (fewer marks) to {most}"
                    " (more marks), and 0 as tested.",
                    steps=steps,
                    fewest=self.fewest,
                    most=self.most,
                )
            )
        return self.stops[steps - self.fewest]


def _stop(tested: Decision, point: Mapping[str, Any]) -> Stop:
    thresholds = {name: point.get(name, getattr(Decision(), name)) for name in THRESHOLDS}
    large, small = (tuple(point[f"lesions_{size}_10_mm"]) for size in ("from", "under"))
    return Stop(
        steps=0,
        decision=replace(tested, **thresholds),
        large=(int(large[0]), int(large[1])),
        small=(int(small[0]), int(small[1])),
        false_lesions_per_volume=float(point["false_lesions_per_volume"]),
    )


def _steps(stops: Sequence[Stop], *, more: bool) -> list[Stop]:
    """The stops beyond the first in one direction, the nearest first.

    Each finds more (or fewer) lesions than the one before at more (or fewer) false marks, with no
    threshold the other way: so none takes away what the one before it has added.
    """
    sign = 1 if more else -1

    def found(stop: Stop) -> int:
        return sign * (stop.large[0] + stop.small[0])

    def false_marks(stop: Stop) -> float:
        return sign * stop.false_lesions_per_volume

    chain: list[Stop] = []
    last = stops[0]
    for stop in sorted(stops[1:], key=lambda one: (false_marks(one), -sign * found(one))):
        is_further = found(stop) > found(last) and false_marks(stop) > false_marks(last)
        if is_further and _is_beyond(stop.decision, last.decision, sign):
            chain.append(stop)
            last = stop
    return chain


def _ends(chain: list[Stop]) -> list[Stop]:
    """The nearest stop and the farthest."""
    return chain if len(chain) <= STEPS_EACH_WAY else [chain[0], chain[-1]]


def _is_beyond(decision: Decision, last: Decision, sign: int) -> bool:
    """Whether no threshold is higher than before, or none lower where ``sign`` is below 0."""
    return all(sign * getattr(decision, name) <= sign * getattr(last, name) for name in THRESHOLDS)

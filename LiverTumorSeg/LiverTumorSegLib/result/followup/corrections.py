"""A reader's corrections of matches that were proposed: not the same lesion, or the same one.

corrections = Corrections.parse(match="2=3", no_match="1")
links = corrections.applied_to(proposed)
Corrections.between(proposed, links) == corrections
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from .change import Link


@dataclass(frozen=True)
class Corrections:
    """Matches taken apart, then lesions joined.

    no_match: lesions of the baseline that are none of the follow-up's, nor are those that they were
    matched with. match: a lesion of the baseline and one of the follow-up, which are the same.
    """

    no_match: tuple[int, ...] = ()
    match: tuple[tuple[int, int], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.no_match or self.match)

    @classmethod
    def parse(cls, match: str | None, no_match: str | None) -> Corrections:
        """Read ``2=3,4=4`` and ``1,5``. ``ValueError`` with one sentence for anything else."""
        apart, pairs = _parts(no_match), _parts(match)
        try:
            numbers = tuple(int(number) for number in apart)
        except ValueError:
            raise ValueError(
                "--no-match takes numbers of lesions of the baseline such as 1 or 1,5, not"
                f" {no_match!r}."
            ) from None
        try:
            split = [part.split("=") for part in pairs]
            joined = tuple((int(before), int(after)) for before, after in split)
        except ValueError:
            raise ValueError(
                "--match takes a lesion of the baseline and one of the follow-up such as 2=3, or"
                f" several pairs as 2=3,4=4, not {match!r}."
            ) from None
        return cls(numbers, joined)

    @classmethod
    def between(cls, proposed: Sequence[Link], corrected: Sequence[Link]) -> Corrections:
        """The corrections that lead from one set of matches to another."""
        apart = [link.baseline[0] for link in proposed if link.is_pair and link not in corrected]
        joined = list[tuple[int, int]]()
        for link in corrected:
            if link.is_pair and link not in proposed:
                joined += [(link.baseline[0], number) for number in link.followup]
                joined += [(number, link.followup[0]) for number in link.baseline[1:]]
        return cls(tuple(apart), tuple(joined))

    def applied_to(self, links: Iterable[Link]) -> tuple[Link, ...]:
        """The matches as the reader sees them, by baseline number, the new ones last.

        ``ValueError`` with one sentence for a lesion that is not there, one without a match that
        shall lose it, and two that are the same already or are both matched with others.
        """
        found = list(links)
        for number in self.no_match:
            link = _holding(found, baseline=number)
            if not link.followup:
                raise ValueError(
                    f"Lesion {number} of the baseline has no match that could be taken apart."
                )
            found.remove(link)
            found += parted(link)
        for before, after in self.match:
            one, other = _holding(found, baseline=before), _holding(found, followup=after)
            if one == other:
                raise ValueError(
                    f"Lesion {before} of the baseline and {after} of the follow-up are matched"
                    " already."
                )
            if one.followup and other.baseline:
                raise ValueError(
                    f"Lesion {before} of the baseline and {after} of the follow-up are both matched"
                    f" with others; take one match apart first: --no-match {before}."
                )
            found = [link for link in found if link not in (one, other)]
            found.append(joined_link(one, other))
        return in_order(found)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return {"no_match": list(self.no_match), "match": [f"{b}={f}" for b, f in self.match]}

    def arguments(self) -> list[str]:
        """The same for the command line."""
        pairs = ",".join(f"{before}={after}" for before, after in self.match)
        apart = ",".join(map(str, self.no_match))
        return [*(["--match", pairs] if pairs else []), *(["--no-match", apart] if apart else [])]


def _parts(text: str | None) -> list[str]:
    return [] if text is None else text.split(",")


def parted(link: Link) -> list[Link]:
    """Each lesion of a match by itself: gone and new."""
    gone = [Link((number,), ()) for number in link.baseline]
    return gone + [Link((), (number,)) for number in link.followup]


def joined_link(one: Link, other: Link) -> Link:
    """All lesions of two links as the same lesion."""
    return Link(
        tuple(sorted(one.baseline + other.baseline)), tuple(sorted(one.followup + other.followup))
    )


def in_order(links: Iterable[Link]) -> tuple[Link, ...]:
    """Sort matches by baseline number, the new lesions last by their own."""
    return tuple(sorted(links, key=lambda link: (not link.baseline, link.baseline, link.followup)))


def _holding(links: Iterable[Link], *, baseline: int = 0, followup: int = 0) -> Link:
    number, date = (baseline, "baseline") if baseline else (followup, "follow-up")
    for link in links:
        if number in (link.baseline if baseline else link.followup):
            return link
    raise ValueError(
        f"There is no lesion {number} in the {date}; see the table without corrections."
    )

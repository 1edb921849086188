"""Runs cases in a child process, each with a limit of time and memory, and sorts what came of them.

    outcomes = fuzz("nifti", Path("home"), range(300), seed="1", ...)   # number -> Outcome

A case that hangs in C code, or that takes the memory, ends the child; the next case gets a new one.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from LiverTumorSegLib.model.spec import BundleError

SECRET = "DOE_JANE"  # the folder that cases lie in; no sentence may say it
ACCEPTED, REFUSED = "accepted", "refused in a sentence"
FAULT, SENTENCE, MEMORY = "fault", "no plain sentence", "out of memory"
HANG, DIED = "hang", "process died"
OUTCOMES = (ACCEPTED, REFUSED, FAULT, SENTENCE, MEMORY, HANG, DIED)


@dataclass(frozen=True)
class Outcome:
    """What a case led to, one of :data:`OUTCOMES`, and what was said."""

    kind: str
    text: str = ""

    @property
    def is_survived(self) -> bool:
        return self.kind in (ACCEPTED, REFUSED)


def fuzz(
    kind: str, home: Path, numbers: range, seed: str, *, seconds: float, spare_bytes: int
) -> dict[int, Outcome]:
    """The cases of a kind with these numbers, each the same for the same seed. home: a folder."""
    from Testing.fuzz.cases import KINDS

    case = KINDS[kind](home)
    place = home / SECRET / "place"
    place.mkdir(parents=True)

    def one(number: int) -> object:
        return case(random.Random(f"{seed} {kind} {number}"), place)

    return run_cases(one, numbers, SECRET, seconds=seconds, spare_bytes=spare_bytes)


def table_line(name: str, counts: Mapping[str, int] | None) -> str:
    """A row of the table of outcomes; without counts its head."""
    cells = (outcome if counts is None else counts.get(outcome, 0) for outcome in OUTCOMES)
    return f"{name:10}" + "".join(f"{cell:>23}" for cell in cells)


def run_cases(
    case: Callable[[int], object],
    numbers: range,
    secret: str,
    *,
    seconds: float,
    spare_bytes: int,
) -> dict[int, Outcome]:
    """Every case of ``numbers``.

    secret: what no sentence may hold, as a folder's path. seconds, spare_bytes: a case's limits.
    """
    outcomes: dict[int, Outcome] = {}
    context = multiprocessing.get_context("fork")
    while waiting := numbers[len(outcomes) :]:
        ours, theirs = context.Pipe()
        child = context.Process(target=_work, args=(theirs, case, waiting, secret, spare_bytes))
        child.start()
        theirs.close()
        for number in waiting:
            if not ours.poll(seconds):
                outcomes[number] = Outcome(HANG, f"over {seconds:.0f} s")
                break
            try:
                outcomes[number] = Outcome(*ours.recv())
            except EOFError:
                child.join()
                outcomes[number] = Outcome(DIED, f"exit code {child.exitcode}")
                break
        child.kill()
        child.join()
        ours.close()
    return outcomes


def _work(
    to: Connection,
    case: Callable[[int], object],
    numbers: range,
    secret: str,
    spare_bytes: int,
) -> None:
    _without_threads()
    _limit_memory(spare_bytes)
    for number in numbers:
        to.send(_outcome(case, number, secret))
    to.close()
    os._exit(0)  # without what the test run would do at its end


def _outcome(case: Callable[[int], object], number: int, secret: str) -> tuple[str, str]:
    try:
        case(number)
    except (ValueError, BundleError) as error:
        text = str(error)
        is_plain = text.endswith(".") and len(text.splitlines()) == 1 and secret not in text
        is_plain = is_plain and "\x1b" not in text
        return (REFUSED if is_plain else SENTENCE), text
    except MemoryError as error:
        return MEMORY, repr(error)
    except Exception as error:
        return FAULT, repr(error)
    return ACCEPTED, ""


def _without_threads() -> None:
    """A fork has none of its parent's threads, and OpenMP would wait for them without end."""
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)


def _limit_memory(spare_bytes: int) -> None:
    """Beyond what the process holds already."""
    import resource

    with open("/proc/self/statm", encoding="ascii") as file:
        held = int(file.read().split()[0]) * resource.getpagesize()
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (held + spare_bytes, most))

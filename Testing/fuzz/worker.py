"""Runs cases in a child process, each with a limit of time and memory, and sorts what came of them.

    outcomes = run_cases(lambda number: some_call(number), count=300)   # number -> Outcome

A case that hangs in C code, or that takes the memory, ends the child; the next case gets a new one.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection

from LiverTumorSegLib.model.spec import BundleError

SECONDS = 20.0  # a case takes milliseconds; a busy machine must not look like a hang
SPARE_BYTES = 3 * 2**30
ACCEPTED, REFUSED = "accepted", "refused in a sentence"
FAULT, SENTENCE, MEMORY = "fault", "no plain sentence", "out of memory"
HANG, DIED = "hang", "process died"
KINDS = (ACCEPTED, REFUSED, FAULT, SENTENCE, MEMORY, HANG, DIED)


@dataclass(frozen=True)
class Outcome:
    """What a case led to, one of :data:`KINDS`, and what was said."""

    kind: str
    text: str = ""

    @property
    def is_survived(self) -> bool:
        return self.kind in (ACCEPTED, REFUSED)


def run_cases(case: Callable[[int], object], count: int, secret: str) -> dict[int, Outcome]:
    """Every case from 0 to ``count``. secret: what no sentence may hold, as a folder's path."""
    outcomes: dict[int, Outcome] = {}
    context = multiprocessing.get_context("fork")
    while len(outcomes) < count:
        ours, theirs = context.Pipe()
        first = len(outcomes)
        child = context.Process(target=_work, args=(theirs, case, first, count, secret))
        child.start()
        theirs.close()
        while len(outcomes) < count:
            number = len(outcomes)
            if not ours.poll(SECONDS):
                outcomes[number] = Outcome(HANG, f"over {SECONDS:.0f} s")
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
    to: Connection, case: Callable[[int], object], first: int, count: int, secret: str
) -> None:
    _limit_memory()
    for number in range(first, count):
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


def _limit_memory() -> None:
    """Beyond what the process holds already."""
    import resource

    with open("/proc/self/statm", encoding="ascii") as file:
        held = int(file.read().split()[0]) * resource.getpagesize()
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (held + SPARE_BYTES, most))

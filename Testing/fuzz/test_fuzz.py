"""300 damaged inputs of each kind; ``python -m Testing.fuzz --count 10000`` tries more."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from Testing.fuzz.__main__ import MEMORY_MB, SECONDS, main
from Testing.fuzz.cases import KINDS
from Testing.fuzz.worker import FAULT, HANG, MEMORY, REFUSED, SENTENCE, fuzz, run_cases

COUNT, SEED = 300, "1"
pytestmark = [
    pytest.mark.timeout(0),
    pytest.mark.skipif(sys.platform != "linux", reason="limits of memory as Linux has them"),
]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_each_is_taken_or_refused_in_one_sentence(kind: str, tmp_path: Path) -> None:
    if kind in ("nrrd", "mha"):
        pytest.importorskip("SimpleITK")
    outcomes = fuzz(
        kind, tmp_path, range(COUNT), SEED, seconds=SECONDS, spare_bytes=MEMORY_MB * 2**20
    )
    failed = {n: outcome for n, outcome in outcomes.items() if not outcome.is_survived}
    assert not failed, f"python -m Testing.fuzz --kind {kind} --only NUMBER: {failed}"
    refused = sum(outcome.kind == REFUSED for outcome in outcomes.values())
    assert refused > COUNT // 20, "the changes are too harmless to test"


def test_the_worker_tells_faults_from_refusals() -> None:
    """And goes on after a case that hangs, takes the memory or dies."""
    import os
    import time

    def case(number: int) -> object:
        if number == 0:
            raise ValueError("This is a sentence.")
        if number == 1:
            raise ValueError("DOE_JANE is in the way.")
        if number == 2:
            raise KeyError("x")
        if number == 3:
            time.sleep(60)
        if number == 4:
            return bytearray(2**31)
        if number == 5:
            os._exit(3)
        return None

    outcomes = run_cases(case, range(7), "DOE_JANE", seconds=5.0, spare_bytes=2**30)
    kinds = [outcomes[number].kind for number in range(7)]
    assert kinds == [REFUSED, SENTENCE, FAULT, HANG, MEMORY, "process died", "accepted"]


def test_a_network_runs_in_a_case_after_one_has_run_here_with_threads() -> None:
    """OpenMP's threads are not forked with the rest, and it waits for them without end."""
    import torch

    def case(_: int) -> object:
        return torch.nn.Conv2d(8, 8, 3)(torch.zeros(4, 8, 128, 128)).shape

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        case(0)
        outcomes = run_cases(case, range(2), "DOE_JANE", seconds=20.0, spare_bytes=2**30)
    finally:
        torch.set_num_threads(before)
    assert [outcome.kind for outcome in outcomes.values()] == ["accepted"] * 2


def test_the_command_counts_what_came_of_the_cases(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--kind", "settings", "--kind", "catalog", "--count", "30", "--seed", "5"]) == 0
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.split()[:2] == ["accepted", "refused"]
    for kind, row in zip(("settings", "catalog"), rows, strict=True):
        name, *counts = row.split()
        assert name == kind
        assert sum(map(int, counts)) == 30
        assert set(counts[2:]) == {"0"}

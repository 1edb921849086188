"""Damaged and hostile inputs by the thousands: each is taken, or refused in one sentence.

    python -m Testing.fuzz                                     # 300 of each kind, as CI does
    python -m Testing.fuzz --count 10000 --kind nifti          # only of NIfTI; several are possible
    python -m Testing.fuzz --kind model --seed 7 --only 4711   # one case again, and what it said

A case is made from the seed, the kind and its number alone, so that a failure comes again. Prints a
table of outcomes and each failure; the exit code is 1 when there was one. Linux only.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from pathlib import Path

TESTING = Path(__file__).resolve().parents[1]
SECONDS, MEMORY_MB = 20.0, 3072  # a case takes milliseconds; a busy machine must look like no hang


def main(arguments: list[str] | None = None) -> int:
    sys.path[:0] = [str(TESTING / "support"), str(TESTING.parent / "LiverTumorSeg")]
    from Testing.fuzz.cases import KINDS
    from Testing.fuzz.worker import Outcome, fuzz, table_line

    parser = argparse.ArgumentParser(prog="python -m Testing.fuzz", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--kind", action="append", choices=list(KINDS), help="default: all")
    parser.add_argument("--count", type=int, default=300, metavar="N", help="cases a kind")
    parser.add_argument("--seed", default="1", help="another one makes other cases")
    parser.add_argument("--only", type=int, metavar="NUMBER", help="this case alone")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="that a case may take")
    parser.add_argument(
        "--memory", type=int, default=MEMORY_MB, metavar="MB", help="that a case may take"
    )
    args = parser.parse_args(arguments)
    kinds = args.kind or list(KINDS)
    numbers = range(args.count) if args.only is None else range(args.only, args.only + 1)
    failed: list[tuple[str, int, Outcome]] = []
    print(table_line("", None), flush=True)
    for kind in kinds:
        with tempfile.TemporaryDirectory() as home:
            outcomes = fuzz(
                kind,
                Path(home),
                numbers,
                args.seed,
                seconds=args.seconds,
                spare_bytes=args.memory * 2**20,
            )
        counts = Counter(outcome.kind for outcome in outcomes.values())
        print(table_line(kind, counts), flush=True)
        failed += [(kind, n, one) for n, one in outcomes.items() if not one.is_survived]
        if args.only is not None:
            print("\n".join(f"{one.kind}: {one.text}" for one in outcomes.values()))
    for kind, number, outcome in failed:
        print(f"--kind {kind} --seed {args.seed} --only {number}: {outcome.kind}: {outcome.text}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
